//! `cargo xtask down`: deletes the cluster that `up` made, or what it put into another one. The caches stay unless told.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use futures_util::future::try_join_all;
use serde_json::Value;

use super::api::ClusterApi;
use super::contents;
use super::making::KindCluster;
use super::manifests::{self, VolumeSource};
use super::node::{self, Folder};
use super::objects::describe;
use super::plan::{self, Decision, Leave};
use super::state::{Record, Stage};
use super::talk::Talk;
use super::{DRIVER_LABEL, inside, kinds, namespace, place, runtime, service};
use crate::checkout::Checkout;
use crate::exit::{Exit, Expected};
use crate::flags;

/// Longest that an object may take to be gone; a claim waits for the tasks that use it.
const GONE: Duration = Duration::from_secs(120);

/// Runs the command.
///
/// # Errors
/// The cluster is not ours, or something cannot be deleted.
pub fn run(flags: &flags::Down) -> Result<Exit> {
    let checkout = Checkout::find()?;
    runtime::block_on(down(&checkout, flags), "`cargo xtask down` goes on from there")
}

async fn down(checkout: &Checkout, flags: &flags::Down) -> Result<Exit> {
    let mut talk = Talk::new();
    match &flags.cluster.context {
        Some(_) => empty(&place::api(&flags.cluster).await?, checkout, flags, &mut talk).await?,
        None => delete(checkout, flags, &mut talk).await?,
    }
    Ok(Exit::Good)
}

async fn delete(checkout: &Checkout, flags: &flags::Down, talk: &mut Talk) -> Result<()> {
    let name = &flags.cluster.name;
    let mut cluster = KindCluster::observe(checkout, name, talk).await?;
    let volumes = cluster.volumes(None)?;
    let todo = cluster.plan(&volumes, None, Leave::Everything).await?;
    if todo.decision == Decision::Conflict {
        return Err(Expected::prerequisite(format!(
            "kind cluster {name} was not made by this program, so it stays\nhint: `kind delete cluster --name {name}` deletes it"
        )));
    }
    let running = cluster
        .container
        .as_ref()
        .filter(|container| container.state == "running");
    let held = cluster.container.is_some() && holds_tasks(checkout, &cluster, running.is_some()).await?;
    if let Some(why) = plan::service_data(name, held, flags.service_data) {
        return Err(Expected::prerequisite(why));
    }
    if flags.volumes {
        // Before anything is deleted.
        contents::check(&volumes, &manifests::FOLDERS)?;
    }
    if flags.volumes
        && let Some(container) = running
    {
        talk.begin("volumes", "deleting the caches");
        let folders = node::folders(&cluster.engine, &container.id).await?.unwrap_or_default();
        refuse_strange(&folders)?;
        node::clear_folders(&cluster.engine, &container.id).await?;
        talk.end("the caches are deleted");
    }
    match cluster.container.is_some() {
        true => {
            talk.begin("cluster", "deleting it");
            cluster.kind.delete(name, &cluster.state.kubeconfig()).await?;
            talk.end(&format!("kind cluster {name} is gone"));
        }
        false => talk.skip("cluster", &format!("there is no kind cluster {name}")),
    }
    cluster.state.forget_kubeconfig();
    if flags.volumes {
        remove(&volumes)?;
    } else if volumes.exists() {
        talk.skip("volumes", &format!("the caches stay in {}", volumes.display()));
    }
    let record = Record {
        stage: Stage::Down,
        volumes,
        service: false,
    };
    if cluster.record.is_some() {
        cluster.state.keep(&record)?;
    }
    cluster.record = Some(record);
    Ok(())
}

/// True if the task service keeps tasks in the cluster: its claim is there, or `up` noted a service and nobody answers.
async fn holds_tasks(checkout: &Checkout, cluster: &KindCluster, is_running: bool) -> Result<bool> {
    let noted = cluster.record.as_ref().is_some_and(|record| record.service);
    let claims = service::claims(checkout)?;
    let look = async {
        let api = cluster.api().await?;
        let found = try_join_all(claims.iter().map(|claim| api.get(claim))).await?;
        anyhow::Ok(found.iter().any(Option::is_some))
    };
    Ok(match is_running {
        true => look.await.unwrap_or(noted),
        false => noted,
    })
}

fn refuse_strange(folders: &[Folder]) -> Result<()> {
    let strange = plan::folders(folders);
    match strange.decision {
        Decision::Conflict => Err(Expected::prerequisite(strange.what)),
        _ => Ok(()),
    }
}

/// Removes the folders of both volumes from this machine.
fn remove(volumes: &Path) -> Result<()> {
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

/// Takes back what `up` applied to a cluster that is not ours, in the opposite order. The namespace stays, without our labels
/// if somebody else made it: their things may be in it. An object of our name without our label is not ours.
async fn empty(api: &ClusterApi, checkout: &Checkout, flags: &flags::Down, talk: &mut Talk) -> Result<()> {
    talk.begin("objects", "deleting what `up` applied");
    let mut objects = manifests::objects(checkout, &VolumeSource::StorageClass(None), &Default::default())?;
    objects.push(manifests::certificates(""));
    objects.push(manifests::state(&Value::Null));
    objects.extend(manifests::argo(checkout)?);
    objects.extend(service::everything(checkout)?);
    let tasks = service::claims(checkout)?;
    // A claim is not gone before the pods that mount it are, those that have ended included.
    for kind in [kinds::JOB, kinds::WORKFLOW] {
        api.delete_labelled(kind, &api.namespace, DRIVER_LABEL).await?;
    }
    let (mut deleted, mut kept) = (0, Vec::new());
    for object in objects.iter().rev() {
        let Some(found) = api.get(object).await? else { continue };
        let stays = match object["kind"].as_str() {
            Some("Namespace") => true,
            Some("PersistentVolumeClaim") if tasks.contains(object) => !flags.service_data,
            Some("PersistentVolumeClaim") => !flags.volumes,
            _ => !namespace::is_labelled(&found),
        };
        if stays {
            kept.push(describe(&found));
        } else if api.delete(object, GONE).await? {
            talk.hear(&format!("deleted {}", describe(object)));
            deleted += 1;
        }
    }
    if namespace::owner(api).await? == namespace::Owner::Theirs {
        let bare = namespace::bare(&api.namespace);
        inside::refused(&bare, api.apply(&bare).await?)?;
    }
    talk.end(&format!("{deleted} objects are deleted"));
    if !kept.is_empty() {
        talk.skip("kept", &kept.join(", "));
    }
    Ok(())
}
