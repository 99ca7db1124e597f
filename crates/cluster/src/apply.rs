//! Applies objects to a cluster, but only those that are not in the requested state.

use std::time::Duration;

use hybrid_cache_tools::{Error, Result, Steps};
use serde_json::Value;

use crate::api::ClusterApi;
use crate::objects::{DryRun, Refusal, describe, explain_terminating};
use crate::options::RecreatePolicy;

/// Longest time for the deletion of an object. A claim waits for the tasks that use it.
pub const DELETE_TIMEOUT: Duration = Duration::from_secs(120);

/// Applies the objects that are not in the requested state.
///
/// # Errors
/// Something blocks an object, with an explanation; or the server refuses.
pub async fn apply(
    api: &ClusterApi,
    objects: &[(Value, DryRun)],
    recreate: RecreatePolicy,
    steps: &Steps<'_>,
) -> Result<()> {
    for (object, dry_run) in objects {
        let name = describe(object);
        match dry_run {
            DryRun::Same => continue,
            DryRun::Terminating => return Err(Error::prerequisite(explain_terminating(object))),
            DryRun::Absent | DryRun::Differs(_) => {
                steps.detail(&name);
                refused(object, api.apply(object).await?)?;
            }
            DryRun::Refused(refusal) if recreate == RecreatePolicy::Never => {
                return Err(Error::prerequisite(refusal.explain(object)));
            }
            DryRun::Refused(Refusal::Immutable(_)) => {
                steps.detail(&format!("deleting {name}"));
                api.delete(object, DELETE_TIMEOUT).await?;
                for volume in volumes_of(object, objects) {
                    api.release(volume).await?;
                }
                refused(object, api.apply(object).await?)?;
            }
            DryRun::Refused(Refusal::Conflict(_)) => refused(object, api.take_over(object).await?)?,
            DryRun::Refused(refusal) => return Err(Error::failed(refusal.explain(object))),
        }
    }
    Ok(())
}

/// The names of our volumes for this claim. A volume whose claim was deleted must be released before it can be claimed again.
fn volumes_of<'a>(claim: &Value, objects: &'a [(Value, DryRun)]) -> Vec<&'a str> {
    if claim["kind"] != "PersistentVolumeClaim" {
        return Vec::new();
    }
    let volumes = objects.iter().map(|(object, _)| object);
    volumes
        .filter(|object| object["kind"] == "PersistentVolume")
        .filter(|object| object.pointer("/spec/claimRef/name") == claim.pointer("/metadata/name"))
        .filter_map(|object| object.pointer("/metadata/name")?.as_str())
        .collect()
}

/// Turns a refusal by the server into an error.
///
/// # Errors
/// The server refused.
pub fn refused(object: &Value, answer: Result<Value, Refusal>) -> Result<()> {
    answer.map_err(|refusal| Error::failed(refusal.explain(object)))?;
    Ok(())
}
