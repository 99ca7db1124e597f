//! Schemas of the model's types, because the model does not know HTTP.

use hybrid_cache_model::outcome::FailureKind;
use hybrid_cache_model::task::MAX_CODE_BYTES;
use hybrid_cache_model::{Lane, Phase};
use serde::Serialize;
use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};
use utoipa::openapi::{Object, RefOr};
use utoipa::{PartialSchema, ToSchema};

const LANES: [Lane; 5] = [Lane::Driver, Lane::Runner, Lane::Python, Lane::System, Lane::Publish];
const FAILURES: [FailureKind; 19] = [
    FailureKind::InvalidTask,
    FailureKind::UnknownPackage,
    FailureKind::Unsatisfiable,
    FailureKind::UnknownSystemPackage,
    FailureKind::Offline,
    FailureKind::DiskFull,
    FailureKind::CacheFormat,
    FailureKind::CacheAccess,
    FailureKind::CacheDamaged,
    FailureKind::Sandbox,
    FailureKind::Deadline,
    FailureKind::OutOfMemory,
    FailureKind::Unschedulable,
    FailureKind::ImagePull,
    FailureKind::Refused,
    FailureKind::Evicted,
    FailureKind::Cluster,
    FailureKind::Tool,
    FailureKind::Internal,
];

/// A schema of the words that serde writes for these values.
pub(crate) fn words<T: Serialize>(description: &str, values: &[T]) -> Object {
    let words = values.iter().filter_map(|value| serde_json::to_value(value).ok());
    ObjectBuilder::new()
        .schema_type(Type::String)
        .description(Some(description))
        .enum_values(Some(words.collect::<Vec<_>>()))
        .build()
}

/// What happened in a part of a run.
pub(crate) fn phase() -> Object {
    words("What happened.", &Phase::ALL)
}

/// Which part of a run a span belongs to.
pub(crate) fn lane() -> Object {
    words("Which lane it ran in; lanes overlap.", &LANES)
}

/// Why a run failed outside the user's program.
pub(crate) fn failure_kind() -> Object {
    words("The class, for programs.", &FAILURES)
}

/// The schema of [`hybrid_cache_model::TaskSpec`]: the body of a submit.
pub struct TaskBody;

impl ToSchema for TaskBody {}

impl PartialSchema for TaskBody {
    fn schema() -> RefOr<Schema> {
        let text = |description: &str, example: &str| {
            ObjectBuilder::new()
                .schema_type(Type::String)
                .description(Some(description))
                .default(Some("".into()))
                .examples([example])
        };
        let code = ObjectBuilder::new()
            .schema_type(Type::String)
            .description(Some(
                "The program, as text; at most 1 MiB of UTF-8, without NUL characters.",
            ))
            .examples(["import numpy; print(numpy.__version__)"])
            .pattern(Some(r"\S"))
            .max_length(Some(MAX_CODE_BYTES));
        let use_cache = ObjectBuilder::new()
            .schema_type(Type::Boolean)
            .description(Some(
                "False makes the run bypass both caches and leave nothing in them.",
            ))
            .default(Some(true.into()));
        ObjectBuilder::new()
            .description(Some(
                "A task. Only the program is required; an unknown field is refused.",
            ))
            .property("pythonCode", code)
            .required("pythonCode")
            .property(
                "dependencies",
                text("Python packages, separated by commas.", "numpy,pandas"),
            )
            .property(
                "requirementsFile",
                text(
                    "The text of a requirements file; combines with `dependencies`.",
                    "numpy>=1.0.0\n",
                ),
            )
            .property(
                "constraints",
                text(
                    "The text of a constraints file: versions that packages must have if they are installed. Installs nothing by itself.",
                    "urllib3<2\n",
                ),
            )
            .property(
                "pythonVersion",
                text(
                    "The Python to run on: a version, or bounds such as `>=3.10,<3.13`. Without it, the operator's default.",
                    "3.12",
                ),
            )
            .property(
                "systemDependencies",
                text("System tools, separated by commas.", "gcc,make"),
            )
            .property("useCache", use_cache)
            .additional_properties(Some(utoipa::openapi::schema::AdditionalProperties::<Schema>::FreeForm(
                false,
            )))
            .into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lists_are_complete() {
        assert_eq!(Lane::Publish as usize + 1, LANES.len());
        assert_eq!(FailureKind::Internal as usize + 1, FAILURES.len());
    }

    #[test]
    fn the_schema_takes_the_documented_body_and_no_other_fields() {
        let schema = serde_json::to_value(TaskBody::schema()).unwrap();
        let validator = jsonschema::validator_for(&schema).unwrap();
        let body = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
        assert!(validator.is_valid(&body(
            r#"{"pythonCode": "print(1)", "dependencies": "numpy", "requirementsFile": "", "systemDependencies": "gcc", "useCache": false}"#
        )));
        for bad in [
            "{}",
            r#"{"pythonCode": " "}"#,
            r#"{"pythonCode": "1", "usecache": true}"#,
            "[]",
        ] {
            assert!(!validator.is_valid(&body(bad)), "{bad}");
        }
    }
}
