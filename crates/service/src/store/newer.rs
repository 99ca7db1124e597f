//! Reads what a newer version of the service may have stored: what this version does not know is reported, and stops
//! nothing else.

use hybrid_cache_model::task::TASK_FIELDS;
use hybrid_cache_model::{Outcome, TaskSpec};
use serde_json::Value;

/// A stored task's text, and why it cannot run as it was submitted if it holds fields that this version does not know.
pub fn spec(text: &str) -> (TaskSpec, Option<String>) {
    let error = match serde_json::from_str(text) {
        Ok(spec) => return (spec, None),
        Err(error) => error,
    };
    let mut value: Value = serde_json::from_str(text).unwrap_or_default();
    let mut unknown = Vec::new();
    if let Some(fields) = value.as_object_mut() {
        fields.retain(|name, _| {
            let known = TASK_FIELDS.contains(&name.as_str());
            if !known {
                unknown.push(format!("`{name}`"));
            }
            known
        });
    }
    match serde_json::from_value(value) {
        Ok(spec) => {
            let said = format!("a newer version of the service took it in with {}", unknown.join(", "));
            (spec, Some(said))
        }
        Err(_) => (
            TaskSpec::new(""),
            Some(format!("what was submitted cannot be read here: {error}")),
        ),
    }
}

/// A stored outcome, as far as this version can read it, and what is left out.
pub fn outcome(text: &str) -> (Option<Outcome>, Option<String>) {
    let error = match serde_json::from_str(text) {
        Ok(outcome) => return (Some(outcome), None),
        Err(error) => error,
    };
    let mut value: Value = serde_json::from_str(text).unwrap_or_default();
    // A new phase is the most likely difference, and the rest is worth more than one bar of the waterfall.
    if let Some(spans) = value.pointer_mut("/timeline/spans").and_then(Value::as_array_mut) {
        spans.retain(|span| serde_json::from_value::<hybrid_cache_model::timeline::Span>(span.clone()).is_ok());
    }
    let left_out = format!("a newer version of the service kept more of this outcome than can be read here: {error}");
    (serde_json::from_value(value).ok(), Some(left_out))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_of_a_newer_version_is_named_and_the_rest_is_read() {
        let (spec_read, unlike) = spec(r#"{"pythonCode": "1", "gpu": 2}"#);
        assert_eq!(spec_read, TaskSpec::new("1"));
        assert!(unlike.unwrap().contains("`gpu`"));
        assert_eq!(spec(r#"{"pythonCode": "1"}"#), (TaskSpec::new("1"), None));
        let (spec_read, unlike) = spec(r#"{"pythonCode": ["1"]}"#);
        assert_eq!((spec_read, unlike.is_some()), (TaskSpec::new(""), true));
        assert_eq!(outcome("no json").0, None);
    }
}
