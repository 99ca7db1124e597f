//! Decides who owns the namespace. In a namespace that another user made, `up` sets no label and no quota, and `down` removes only
//! our own objects.

use hybrid_cache_tools::Result;
use serde_json::{Value, json};

use crate::api::{ClusterApi, FIELD_MANAGER};

/// Kinds that affect everything in a namespace, not only our objects.
const RULING: [&str; 3] = ["Namespace", "ResourceQuota", "LimitRange"];
/// Label of everything that we apply, and its value.
const OURS: (&str, &str) = ("app.kubernetes.io/part-of", "hybrid-cache");

/// Who made a namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// There is no namespace yet; we create it.
    Nobody,
    /// We made it.
    Ours,
    /// Somebody else made it.
    Theirs,
}

/// Determines who made this cluster's namespace.
///
/// # Errors
/// The server does not answer, or refuses.
pub async fn owner(api: &ClusterApi) -> Result<Owner> {
    Ok(owner_of(api.get(&bare(&api.namespace)).await?.as_ref()))
}

/// Determines who made a namespace. One with our label is ours, unless another program's fields are as old as the namespace: in
/// that case our label was added later.
fn owner_of(found: Option<&Value>) -> Owner {
    let Some(found) = found else { return Owner::Nobody };
    let made = &found["metadata"]["creationTimestamp"];
    let fields = found["metadata"]["managedFields"].as_array();
    let mut makers = fields.into_iter().flatten().filter(|entry| {
        let is_main = entry["subresource"].as_str().unwrap_or_default().is_empty();
        is_main && entry["manager"] != FIELD_MANAGER && entry["time"] == *made
    });
    if is_labelled(found) && makers.next().is_none() {
        Owner::Ours
    } else {
        Owner::Theirs
    }
}

/// True if an object carries our label.
pub fn is_labelled(object: &Value) -> bool {
    object["metadata"]["labels"][OURS.0] == OURS.1
}

/// A namespace without labels of ours; applying it removes our labels.
pub fn bare(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
}

/// Removes the objects that affect the whole namespace from `wanted`. Returns which of them the cluster lacks and the command to
/// run, as text for a person.
///
/// # Errors
/// The server does not answer, or refuses.
pub async fn keep_out(api: &ClusterApi, wanted: &mut Vec<Value>) -> Result<Option<String>> {
    let ruling: Vec<Value> = wanted.extract_if(.., |object| rules(object)).collect();
    let mut missing = Vec::new();
    for object in &ruling {
        let found = api.get(object).await?;
        missing.extend(missing_of(object, found.as_ref()));
    }
    Ok(explain(&api.namespace, &missing))
}

/// True if an object affects the whole namespace.
pub fn rules(object: &Value) -> bool {
    object["kind"].as_str().is_some_and(|kind| RULING.contains(&kind))
}

/// The command that creates what a cluster lacks of `wanted`; `None` if it lacks nothing.
fn missing_of(wanted: &Value, found: Option<&Value>) -> Option<String> {
    let name = wanted["metadata"]["name"].as_str().unwrap_or_default();
    if wanted["kind"] != "Namespace" {
        return found
            .is_none()
            .then(|| "kubectl apply -f manifests/resource-quota.yaml".to_owned());
    }
    let labels = wanted["metadata"]["labels"].as_object()?;
    let has = |label: &String| found.map(|found| &found["metadata"]["labels"][label]);
    let missing: Vec<_> = labels
        .iter()
        .filter(|(label, value)| *label != OURS.0 && has(label) != Some(value))
        .filter_map(|(label, value)| Some(format!("{label}={}", value.as_str()?)))
        .collect();
    (!missing.is_empty()).then(|| format!("kubectl label namespace {name} {}", missing.join(" ")))
}

fn explain(namespace: &str, missing: &[String]) -> Option<String> {
    let mut commands: Vec<String> = missing.iter().map(|command| format!("`{command}`")).collect();
    // One file may create several of the objects.
    commands.dedup();
    let first = commands.first()?.clone();
    let rest: String = commands
        .iter()
        .skip(1)
        .map(|command| format!(" and {command}"))
        .collect();
    Some(format!(
        "`up` did not create namespace {namespace}, so it sets neither Pod Security labels nor a quota there\nhint: run \
         {first}{rest} (with its `namespace` changed), or choose another namespace with --namespace NAME"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made_by(manager: &str, labelled: bool) -> Value {
        let mut namespace = bare("argo");
        namespace["metadata"]["creationTimestamp"] = json!("2026-01-01T00:00:00Z");
        namespace["metadata"]["managedFields"] = json!([
            {"manager": manager, "operation": "Apply", "time": "2026-01-01T00:00:00Z"},
            {"manager": FIELD_MANAGER, "operation": "Apply", "time": "2026-02-01T00:00:00Z"},
            {"manager": "controller", "subresource": "status", "time": "2026-01-01T00:00:00Z"},
        ]);
        if labelled {
            namespace["metadata"]["labels"] = json!({OURS.0: OURS.1});
        }
        namespace
    }

    #[test]
    fn a_namespace_is_ours_only_if_we_made_it() {
        assert_eq!(owner_of(None), Owner::Nobody);
        assert_eq!(owner_of(Some(&made_by(FIELD_MANAGER, true))), Owner::Ours);
        assert_eq!(owner_of(Some(&made_by("kubectl-create", false))), Owner::Theirs);
        // An earlier version labelled any namespace that it found.
        assert_eq!(owner_of(Some(&made_by("kubectl-create", true))), Owner::Theirs);
    }

    #[test]
    fn what_is_not_done_to_somebody_elses_namespace_is_said_with_a_command() {
        let checkout = crate::tests::checkout();
        let source = crate::manifests::VolumeSource::StorageClass(None);
        let wanted = crate::manifests::objects(&checkout, &source, &Default::default()).unwrap();
        let ruling: Vec<_> = wanted.iter().filter(|object| rules(object)).collect();
        assert!(ruling.len() >= 3, "{ruling:?}");
        let found = made_by("kubectl-create", false);
        let missing: Vec<_> = ruling
            .iter()
            .filter_map(|object| missing_of(object, (object["kind"] == "Namespace").then_some(&found)))
            .collect();
        let reported = explain("argo", &missing).unwrap();
        for words in [
            "`up` did not create namespace argo",
            "hint: run `kubectl label namespace argo ",
            "pod-security.kubernetes.io/enforce=restricted",
            "`kubectl apply -f manifests/resource-quota.yaml`",
            "--namespace",
        ] {
            assert!(reported.contains(words), "{words}: {reported}");
        }
        assert_eq!(reported.matches("resource-quota").count(), 1, "{reported}");
        let complete: Vec<_> = ruling
            .iter()
            .filter_map(|object| missing_of(object, Some(object)))
            .collect();
        assert_eq!(explain("argo", &complete), None);
    }
}
