//! What applying an object would change, and what blocks it. Pure code; the API server's answers are its input.

use serde_json::Value;

/// Result of a server-side dry run: what the API server says an object would become.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DryRun {
    /// There is no such object yet.
    Absent,
    /// The object is in the requested state.
    Same,
    /// These fields would change.
    Differs(Vec<String>),
    /// The object is being deleted, and waits for something.
    Terminating,
    /// The server would refuse the object.
    Refused(Refusal),
}

/// Why the server refused an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Another manager owns fields that we request.
    Conflict(Vec<FieldConflict>),
    /// A field that cannot change once the object exists, in the API server's words.
    Immutable(String),
    /// Anything else, in the API server's words.
    Other(String),
}

/// A field that two managers want.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldConflict {
    /// The manager that owns the field.
    pub manager: String,
    /// The field, such as `.spec.capacity.storage`.
    pub field: String,
}

/// Kind and name of an object, such as `PersistentVolumeClaim argo/uv-cache-pvc`.
pub fn describe(object: &Value) -> String {
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str);
    let (kind, name) = (text("/kind").unwrap_or("object"), text("/metadata/name").unwrap_or("?"));
    match text("/metadata/namespace") {
        Some(namespace) => format!("{kind} {namespace}/{name}"),
        None => format!("{kind} {name}"),
    }
}

/// Says what an object that is being deleted waits for.
pub fn explain_terminating(object: &Value) -> String {
    let name = describe(object);
    let what = match object["kind"].as_str() {
        Some("PersistentVolumeClaim" | "PersistentVolume") => {
            "it waits for the pods that mount it, including ended ones\nhint: delete them with `kubectl delete jobs -n argo \
             -l app.kubernetes.io/managed-by=hybrid-cache`, then run this again"
        }
        _ => "it waits for its contents or its finalizers\nhint: run this again when the object no longer exists",
    };
    format!("{name} is being deleted: {what}")
}

/// Reads the manager from the cause of a conflict: `conflict with "kubectl-edit" using v1`.
pub fn conflict_of(field: &str, message: &str) -> FieldConflict {
    FieldConflict {
        manager: message.split('"').nth(1).unwrap_or(message).to_owned(),
        field: field.to_owned(),
    }
}

impl Refusal {
    /// Says what blocks `object`, and the next step.
    pub fn explain(&self, object: &Value) -> String {
        let name = describe(object);
        match self {
            Refusal::Conflict(conflicts) => {
                let fields: Vec<_> = conflicts
                    .iter()
                    .map(|FieldConflict { manager, field }| format!("{field} belongs to {manager:?}"))
                    .collect();
                format!(
                    "{name}: another manager owns fields that `up` sets: {}\nhint: undo that change, or run with \
                     --recreate, which takes the fields over and deletes nothing",
                    fields.join(", ")
                )
            }
            Refusal::Immutable(message) => {
                format!(
                    "{name}: {message}\nhint: this cannot be changed in place; delete the object and create it again with \
                     --recreate. {}",
                    what_goes(object)
                )
            }
            Refusal::Other(message) => format!("{name}: {message}"),
        }
    }
}

/// What is lost if an object is deleted and created again.
fn what_goes(object: &Value) -> &'static str {
    match object["kind"].as_str() {
        Some("PersistentVolume") => {
            "The caches stay, because its reclaim policy is Retain. Deletion waits until its tasks have ended"
        }
        Some("PersistentVolumeClaim") if object.pointer("/spec/storageClassName").is_some_and(is_ours) => {
            "The caches stay, because its volume's reclaim policy is Retain. Deletion waits until its tasks have ended"
        }
        Some("PersistentVolumeClaim") => {
            "If the reclaim policy of its StorageClass is Delete, its caches are deleted too, and the next runs are first runs"
        }
        Some("Namespace") => "Everything in the namespace is deleted too",
        Some("CustomResourceDefinition") => "Every object of this kind is deleted too",
        _ => "Nothing else is deleted",
    }
}

fn is_ours(class: &Value) -> bool {
    class == crate::names::LOCAL_CLASS
}

/// The fields in which two states of an object differ, without the server's own bookkeeping.
pub fn changed_fields(live: &Value, applied: &Value) -> Vec<String> {
    let mut fields = Vec::new();
    differing(live, applied, "", &mut fields);
    fields
}

/// Fields of the server's own bookkeeping.
const BOOKKEEPING: [&str; 5] = [
    ".metadata.managedFields",
    ".metadata.resourceVersion",
    ".metadata.generation",
    ".metadata.uid",
    ".metadata.creationTimestamp",
];

fn differing(a: &Value, b: &Value, at: &str, fields: &mut Vec<String>) {
    if BOOKKEEPING.contains(&at) || at == ".status" || a == b {
        return;
    }
    let (Value::Object(left), Value::Object(right)) = (a, b) else {
        fields.push(at.to_owned());
        return;
    };
    let names: std::collections::BTreeSet<_> = left.keys().chain(right.keys()).collect();
    for name in names {
        let part = |map: &serde_json::Map<String, Value>| map.get(name).cloned().unwrap_or_default();
        differing(&part(left), &part(right), &format!("{at}.{name}"), fields);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn bookkeeping_is_no_difference() {
        let live = json!({"metadata": {"resourceVersion": "1", "managedFields": [1]}, "spec": {"a": 1}, "status": {}});
        let mut applied = json!({"metadata": {"resourceVersion": "2", "managedFields": [2]}, "spec": {"a": 1}});
        assert_eq!(changed_fields(&live, &applied), [""; 0]);
        applied["spec"]["a"] = json!(2);
        applied["metadata"]["labels"] = json!({"x": "y"});
        assert_eq!(changed_fields(&live, &applied), [".metadata.labels", ".spec.a"]);
    }

    #[test]
    fn a_conflict_names_who_has_which_field() {
        let conflict = conflict_of(".spec.hard", "conflict with \"kubectl-edit\" using v1");
        let object = json!({"kind": "ResourceQuota", "metadata": {"name": "q", "namespace": "argo"}});
        let text = Refusal::Conflict(vec![conflict]).explain(&object);
        assert!(text.contains(".spec.hard belongs to \"kubectl-edit\""), "{text}");
        assert!(text.starts_with("ResourceQuota argo/q: "), "{text}");
    }

    #[test]
    fn what_recreating_destroys_is_said() {
        let text = |object: Value| Refusal::Immutable("field is immutable".into()).explain(&object);
        let claim = |class: &str| {
            json!({"kind": "PersistentVolumeClaim", "metadata": {"name": "c", "namespace": "argo"},
                   "spec": {"storageClassName": class}})
        };
        assert!(text(claim("fast")).contains("its caches are deleted too"));
        assert!(text(claim(crate::names::LOCAL_CLASS)).contains("The caches stay"));
    }
}
