//! Deletes the cluster that `up` made, or the objects that `up` applied to another cluster. The caches stay unless the options say
//! otherwise.

use std::path::Path;

use futures_util::future::try_join_all;
use hybrid_cache_tools::{Checkout, Error, ErrorContext, Progress, Result, Steps};
use serde_json::Value;

use crate::api::ClusterApi;
use crate::apply::{DELETE_TIMEOUT, refused};
use crate::kind_cluster::KindCluster;
use crate::manifests::{self, VolumeSource};
use crate::names::DRIVER_LABEL;
use crate::node::Folder;
use crate::objects::describe;
use crate::options::{DownOptions, RecreatePolicy};
use crate::plan::{self, Decision, WorkerRequest};
use crate::state::{Record, Stage};
use crate::{connection, contents, namespace, resource_kinds, service, volume_sets};

/// Deletes the cluster that `up` made, or the objects that `up` applied to another cluster.
///
/// # Errors
/// The cluster is not ours, or something cannot be deleted.
pub async fn down(checkout: &Checkout, options: &DownOptions, progress: &dyn Progress) -> Result<()> {
    let steps = Steps::new(progress);
    match &options.cluster.context {
        Some(_) => remove_objects(&connection::api(&options.cluster).await?, checkout, options, &steps).await,
        None => delete(checkout, options, &steps).await,
    }
}

async fn delete(checkout: &Checkout, options: &DownOptions, steps: &Steps<'_>) -> Result<()> {
    let name = &options.cluster.name;
    let mut cluster = KindCluster::observe(checkout, name, steps).await?;
    let volumes = cluster.volumes(None)?;
    let asked = (None, WorkerRequest::Any);
    let todo = cluster.plan(&volumes, asked, RecreatePolicy::Never).await?;
    if todo.decision == Decision::Conflict {
        return Err(Error::prerequisite(format!(
            "kind cluster {name} was not made by this program, so it stays\nhint: `kind delete cluster --name {name}` deletes it"
        )));
    }
    let running = cluster
        .container
        .as_ref()
        .filter(|container| container.state == "running");
    let held = cluster.container.is_some() && holds_tasks(checkout, &cluster, running.is_some()).await?;
    if let Some(why) = plan::service_data(name, held, options.service_data) {
        return Err(Error::prerequisite(why));
    }
    if options.volumes {
        // Check this before anything is deleted.
        for set in volume_sets::sets_on_disk(&volumes) {
            contents::check(&volume_sets::folder(&volumes, set), &manifests::FOLDERS)?;
        }
    }
    if options.volumes && running.is_some() {
        steps.begin("volumes", "deleting the caches");
        let nodes = cluster.task_nodes();
        let folders = nodes.folders(volume_sets::MAX_SETS).await?.unwrap_or_default();
        refuse_strange(&folders)?;
        nodes.clear_folders().await?;
        steps.end("the caches are deleted");
    }
    match cluster.container.is_some() {
        true => {
            steps.begin("cluster", "deleting it");
            cluster.kind.delete(name, &cluster.state.kubeconfig()).await?;
            steps.end(&format!("kind cluster {name} is gone"));
        }
        false => steps.skip("cluster", &format!("there is no kind cluster {name}")),
    }
    cluster.state.forget_kubeconfig();
    if options.volumes {
        remove(&volumes)?;
    } else if volumes.exists() {
        steps.skip("volumes", &format!("the caches stay in {}", volumes.display()));
    }
    let record = Record {
        stage: Stage::Down,
        volumes,
        service: false,
        workers: cluster.workers(None),
        volume_sets: cluster.volume_sets(None),
    };
    if cluster.record.is_some() {
        cluster.state.keep(&record)?;
    }
    cluster.record = Some(record);
    Ok(())
}

/// True if the task service keeps tasks in the cluster: its claim exists, or `up` recorded a service and the cluster does not
/// answer.
async fn holds_tasks(checkout: &Checkout, cluster: &KindCluster, is_running: bool) -> Result<bool> {
    let noted = cluster.record.as_ref().is_some_and(|record| record.service);
    let claims = service::claims(checkout)?;
    let look = async {
        let api = cluster.api().await?;
        let found = try_join_all(claims.iter().map(|claim| api.get(claim))).await?;
        Ok::<_, Error>(found.iter().any(Option::is_some))
    };
    Ok(match is_running {
        true => look.await.unwrap_or(noted),
        false => noted,
    })
}

fn refuse_strange(folders: &[Folder]) -> Result<()> {
    let strange = plan::folders(folders);
    match strange.decision {
        Decision::Conflict => Err(Error::prerequisite(strange.what)),
        _ => Ok(()),
    }
}

/// Removes the folders of all volumes from this machine.
fn remove(volumes: &Path) -> Result<()> {
    for set in volume_sets::sets_on_disk(volumes) {
        let of_set = volume_sets::folder(volumes, set);
        remove_set(&of_set)?;
        if set > 0 {
            // Something else of the user may be in it.
            let _ = std::fs::remove_dir(&of_set);
        }
    }
    Ok(())
}

fn remove_set(volumes: &Path) -> Result<()> {
    for name in manifests::FOLDERS {
        let folder = volumes.join(name);
        if !folder.exists() {
            continue;
        }
        contents::check(volumes, &[name])?;
        std::fs::remove_dir_all(&folder).with_context(|| {
            format!(
                "deleting {}: what is in it belongs to the user of the tasks\nhint: `cargo xtask up` and then `cargo xtask \
                 down --volumes` deletes it from inside the cluster",
                folder.display()
            )
        })?;
    }
    Ok(())
}

/// Deletes the objects that `up` applied to a cluster that is not ours, in the opposite order. The namespace stays, because it may
/// hold objects of others; it loses our labels if another user made it. An object with our name but without our label is not ours.
async fn remove_objects(api: &ClusterApi, checkout: &Checkout, options: &DownOptions, steps: &Steps<'_>) -> Result<()> {
    steps.begin("objects", "deleting what `up` applied");
    // Claims of former sets are deleted as well.
    let claims = api.claims(&api.namespace).await?;
    let sets = claims.iter().filter_map(|claim| volume_sets::set_of_claim(&claim.name));
    let sets = sets
        .max()
        .map_or(1, |last| last.saturating_add(1).min(volume_sets::MAX_SETS));
    let source = VolumeSource::StorageClass(None);
    let mut objects = manifests::objects_of_sets(checkout, &source, &Default::default(), sets)?;
    objects.push(manifests::certificates(""));
    objects.push(manifests::state(&Value::Null));
    objects.extend(manifests::argo(checkout)?);
    objects.extend(service::everything(checkout)?);
    let tasks = service::claims(checkout)?;
    // A claim is deleted only after the pods that mount it, including those that have ended.
    for kind in [
        resource_kinds::JOB,
        resource_kinds::WORKFLOW,
        resource_kinds::REPLICA_SET,
        // A claimed standby pod belongs to nothing else.
        resource_kinds::POD,
    ] {
        api.delete_labelled(kind, &api.namespace, DRIVER_LABEL).await?;
    }
    let (mut deleted, mut kept) = (0, Vec::new());
    for object in objects.iter().rev() {
        let Some(found) = api.get(object).await? else { continue };
        let stays = match object["kind"].as_str() {
            Some("Namespace") => true,
            Some("PersistentVolumeClaim") if tasks.contains(object) => !options.service_data,
            Some("PersistentVolumeClaim") => !options.volumes,
            _ => !namespace::is_labelled(&found),
        };
        if stays {
            kept.push(describe(&found));
        } else if api.delete(object, DELETE_TIMEOUT).await? {
            steps.detail(&format!("deleted {}", describe(object)));
            deleted += 1;
        }
    }
    if namespace::owner(api).await? == namespace::Owner::Theirs {
        let bare = namespace::bare(&api.namespace);
        refused(&bare, api.apply(&bare).await?)?;
    }
    steps.end(&format!("{deleted} objects are deleted"));
    if !kept.is_empty() {
        steps.skip("kept", &kept.join(", "));
    }
    Ok(())
}
