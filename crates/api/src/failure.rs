//! A failure that is not the program's own.

use hybrid_cache_model::Failure;
use hybrid_cache_model::outcome::FailureKind;
use serde::{Deserialize, Deserializer, Serialize};

#[cfg(feature = "openapi")]
use crate::schema;

/// A failure that is not the program's own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct FailureView {
    /// The class, for programs.
    #[cfg_attr(feature = "openapi", schema(schema_with = schema::failure_kind))]
    #[serde(deserialize_with = "known_kind")]
    pub kind: FailureKind,
    /// What was wrong and where.
    pub message: String,
    /// What to do next.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl From<Failure> for FailureView {
    fn from(failure: Failure) -> FailureView {
        FailureView {
            kind: failure.kind,
            message: failure.message,
            hint: failure.hint,
        }
    }
}

impl FailureView {
    /// The failure in the model's words.
    pub fn failure(&self) -> Failure {
        Failure {
            hint: self.hint.clone(),
            ..Failure::new(self.kind, self.message.clone())
        }
    }
}

/// Reads a class that a newer service may have added as [`FailureKind::Internal`]: the message still says what happened.
fn known_kind<'de, D: Deserializer<'de>>(deserializer: D) -> Result<FailureKind, D::Error> {
    let value = serde_json::Value::deserialize(deserializer)?;
    Ok(serde_json::from_value(value).unwrap_or(FailureKind::Internal))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_of_a_newer_service_reads_as_internal() {
        let read = |kind: &str| {
            let text = format!("{{\"kind\": \"{kind}\", \"message\": \"m\", \"new\": 1}}");
            serde_json::from_str::<FailureView>(&text).unwrap().failure().kind
        };
        assert_eq!(
            ["offline", "coffee"].map(read),
            [FailureKind::Offline, FailureKind::Internal]
        );
    }
}
