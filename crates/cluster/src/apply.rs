//! Applies objects to a cluster, those alone that are not as they should be.

use std::time::Duration;

use hybrid_cache_tools::{Error, Result, Steps};
use serde_json::Value;

use crate::api::ClusterApi;
use crate::objects::{DryRun, Refusal, describe, explain_terminating};
use crate::options::RecreatePolicy;

/// Longest that an object may take to be gone. A claim waits for the tasks that use it.
pub const DELETE_TIMEOUT: Duration = Duration::from_secs(120);

/// Applies the objects that are not as they should be.
///
/// # Errors
/// Something stands in the way, explained; or the server refuses.
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

/// The names of our volumes that are for this claim: a volume whose claim was deleted is claimed again only once it is released.
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

/// Makes an error of what the server refused.
///
/// # Errors
/// It refused.
pub fn refused(object: &Value, answer: Result<Value, Refusal>) -> Result<()> {
    answer.map_err(|refusal| Error::failed(refusal.explain(object)))?;
    Ok(())
}
