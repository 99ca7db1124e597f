//! Schemas of the model's types, because the model does not know HTTP.

use hybrid_cache_model::outcome::FailureKind;
use hybrid_cache_model::program_input::{MAX_ARGS, MAX_STDIN_BYTES, MAX_TIMEOUT_SECONDS};
use hybrid_cache_model::task::MAX_CODE_BYTES;
use hybrid_cache_model::{Lane, Phase};
use serde::Serialize;
use serde_json::json;
use utoipa::openapi::schema::{AdditionalProperties, ArrayBuilder, ObjectBuilder, Schema, SchemaType, Type};
use utoipa::openapi::{Object, RefOr};
use utoipa::{PartialSchema, ToSchema};

const LANES: [Lane; 5] = [Lane::Driver, Lane::Runner, Lane::Python, Lane::System, Lane::Publish];
const FAILURES: [FailureKind; 20] = [
    FailureKind::InvalidTask,
    FailureKind::UnknownPackage,
    FailureKind::Unsatisfiable,
    FailureKind::NoWheel,
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
        ObjectBuilder::new()
            .description(Some(
                "A task. Only the program is required; an unknown field is refused.",
            ))
            .property("pythonCode", code())
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
            .property("useCache", use_cache())
            .property("timeoutSeconds", timeout())
            .property(
                "env",
                texts(
                    "Environment variables of the program, by name: letters, digits and `_`. At most 256, of 64 KiB each and 256 KiB \
                     together, with those of `secretEnv`. The runner sets PATH, HOME, TMPDIR, VIRTUAL_ENV and PYTHONHOME itself.",
                ),
            )
            .property("secretEnv", secrets())
            .property(
                "stdin",
                text("The program's standard input; at most 1 MiB.", "one line\n").max_length(Some(MAX_STDIN_BYTES)),
            )
            .property("args", arguments())
            .property(
                "labels",
                texts("Pairs by which tasks are listed; keys and values have the form of Kubernetes' labels. At most 64.")
                    .examples([json!({"team": "blue"})]),
            )
            .property("resources", resources())
            .additional_properties(Some(AdditionalProperties::<Schema>::FreeForm(false)))
            .into()
    }
}

fn resources() -> ObjectBuilder {
    let amount = |description: &str, example: &str| {
        ObjectBuilder::new()
            .schema_type(SchemaType::from_iter([Type::String, Type::Null]))
            .description(Some(description))
            .examples([example])
    };
    ObjectBuilder::new()
        .schema_type(Type::Object)
        .description(Some(
            "CPU, memory and disk for the program, as Kubernetes quantities, each at most the operator's maximum. What is left out \
             is the operator's choice.",
        ))
        .property("cpu", amount("CPUs that it may use; at least `10m`. On one machine only its number of threads.", "500m"))
        .property("memory", amount("Memory that it may use; at least `16Mi`.", "2Gi"))
        .property("disk", amount("Disk that it may write in `/tmp` and its working folder; at least `16Mi`.", "1Gi"))
        .additional_properties(Some(AdditionalProperties::<Schema>::FreeForm(false)))
}

fn text(description: &str, example: &str) -> ObjectBuilder {
    ObjectBuilder::new()
        .schema_type(Type::String)
        .description(Some(description))
        .default(Some("".into()))
        .examples([example])
}

fn code() -> ObjectBuilder {
    ObjectBuilder::new()
        .schema_type(Type::String)
        .description(Some(
            "The program, as text; at most 1 MiB of UTF-8, without NUL characters. Packages of a `# /// script` block (PEP 723) are installed too.",
        ))
        .examples(["import numpy; print(numpy.__version__)"])
        .pattern(Some(r"\S"))
        .max_length(Some(MAX_CODE_BYTES))
}

fn use_cache() -> ObjectBuilder {
    ObjectBuilder::new()
        .schema_type(Type::Boolean)
        .description(Some(
            "False makes the run bypass both caches and leave nothing in them.",
        ))
        .default(Some(true.into()))
}

fn timeout() -> ObjectBuilder {
    ObjectBuilder::new()
        .schema_type(SchemaType::from_iter([Type::Integer, Type::Null]))
        .description(Some(
            "Seconds until the program gets SIGTERM, and 5 s later SIGKILL; at most the operator's limit, which is the default.",
        ))
        .minimum(Some(1))
        .maximum(Some(MAX_TIMEOUT_SECONDS))
}

fn texts(description: &str) -> ObjectBuilder {
    let value: Schema = ObjectBuilder::new().schema_type(Type::String).into();
    ObjectBuilder::new()
        .schema_type(Type::Object)
        .description(Some(description))
        .additional_properties(Some(value))
}

fn secrets() -> ObjectBuilder {
    let value: Schema = ObjectBuilder::new()
        .schema_type(SchemaType::from_iter([Type::String, Type::Null]))
        .into();
    texts("Likewise, but the values are never shown again: they are null in every answer. A submit needs them.")
        .additional_properties(Some(value))
}

fn arguments() -> ArrayBuilder {
    ArrayBuilder::new()
        .description(Some(
            "The program's arguments, `sys.argv[1:]`. At most 1024, of 64 KiB each and 256 KiB together.",
        ))
        .items(ObjectBuilder::new().schema_type(Type::String))
        .max_items(Some(MAX_ARGS))
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
        assert!(validator.is_valid(&body(
            r#"{"pythonCode": "1", "timeoutSeconds": 5, "env": {"A": "1"}, "secretEnv": {"B": null}, "stdin": "x",
                "args": ["-v"], "labels": {"team": "blue"}, "resources": {"cpu": "2", "memory": "1Gi"}}"#
        )));
        for bad in [
            "{}",
            r#"{"pythonCode": " "}"#,
            r#"{"pythonCode": "1", "usecache": true}"#,
            r#"{"pythonCode": "1", "env": {"A": 1}}"#,
            r#"{"pythonCode": "1", "timeoutSeconds": 0}"#,
            r#"{"pythonCode": "1", "resources": {"gpu": "1"}}"#,
            r#"{"pythonCode": "1", "resources": {"cpu": 1}}"#,
            "[]",
        ] {
            assert!(!validator.is_valid(&body(bad)), "{bad}");
        }
    }
}
