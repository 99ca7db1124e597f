//! Switches off single protections in test builds (feature `mutations`), to prove that the attack tests notice. No
//! other build contains this file.

use hybrid_cache_model::Protection;
use hybrid_cache_model::protection::MUTATIONS_VARIABLE;
use serde_json::Value;

/// Switches off the protections that a request names. Any of its variables may hold the names.
pub fn take_out(request: &[u8]) {
    if let Ok(request) = serde_json::from_slice(request) {
        names(&request).for_each(Protection::take_out_named);
    }
}

/// The values of all variables called [`MUTATIONS_VARIABLE`].
fn names(request: &Value) -> Box<dyn Iterator<Item = &str> + '_> {
    match request {
        Value::Array(items) => match &items[..] {
            [Value::String(name), Value::String(value)] if name == MUTATIONS_VARIABLE => {
                Box::new(std::iter::once(value.as_str()))
            }
            _ => Box::new(items.iter().flat_map(names)),
        },
        Value::Object(fields) => Box::new(fields.values().flat_map(names)),
        _ => Box::new(std::iter::empty()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn protections_named_in_any_request_are_switched_off() {
        let request = serde_json::json!({
            "variables": [["A", "b"], [MUTATIONS_VARIABLE, "landlock,seccomp"]],
            "python_tools": {"variables": [[MUTATIONS_VARIABLE, "own-files"]]},
        });
        let mut found: Vec<&str> = names(&request).collect();
        found.sort_unstable();
        assert_eq!(found, ["landlock,seccomp", "own-files"]);
    }
}
