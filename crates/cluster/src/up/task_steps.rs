//! The steps of `up` that make a cluster ready for tasks.

use std::time::Duration;

use hybrid_cache_sizing::claim::FileSystem;
use hybrid_cache_sizing::{Source, Volume};
use hybrid_cache_tools::{Result, Steps, failed};
use tokio::time::timeout;

use crate::names::OWNER;
use crate::options::BackendKind;
use crate::setup_record::SetupRecord;
use crate::task_setup::{self, TaskSetup};
use crate::up::context::UpContext;
use crate::up::{division, smoke_test};
use crate::{plan, trace};

/// Longest time for creating the inner folders of the volumes: a pod has to be scheduled and start.
const INITIALISE_TIMEOUT: Duration = Duration::from_secs(240);

/// Carries one step out.
///
/// # Errors
/// Something blocks the step, or the cluster refuses.
pub async fn act(step: &str, up: &UpContext<'_>, setup: &TaskSetup, steps: &Steps<'_>) -> Result<()> {
    match step {
        "load" => load(up, steps).await,
        "objects" => {
            steps.begin(step, "applying the manifests");
            setup.apply(&up.api, up.options.recreate, steps).await?;
            steps.end("all are up to date");
            Ok(())
        }
        "folders" => own_folders(up, setup, steps).await,
        "volumes" => initialise(up, setup, steps).await,
        "routes" => close_routes(up, setup, steps).await,
        "sets" => record_sets(up, setup, steps).await,
        _ => first_task(up, setup, steps).await,
    }
}

/// How each claim is divided, one line for each. `in_folders` is true if the volumes are folders of the node.
pub fn divided(up: &UpContext<'_>, in_folders: bool) -> Vec<String> {
    let found = trace::find(Some(BackendKind::Kube), None, &up.options.cluster);
    // A trace that cannot be read must not stop `up`: `size` reports it.
    let found = found.ok().flatten();
    let recorded = found.as_ref().map(|found| &found.recorded as &dyn Source);
    let sizes = [up.config.python_claim_bytes, up.config.nix_claim_bytes];
    let file_system = (!in_folders).then_some(FileSystem::Ext4);
    let volumes = Volume::ALL.into_iter().zip(sizes);
    let lines = volumes.map(|(volume, bytes)| division::line(volume, bytes, file_system, recorded));
    let sets = up.config.volume_sets.len();
    let each = (sets > 1).then(|| format!("each of the {sets} volume sets has a python and a system volume:"));
    each.into_iter().chain(lines).collect()
}

async fn own_folders(up: &UpContext<'_>, setup: &TaskSetup, steps: &Steps<'_>) -> Result<()> {
    let Some(nodes) = up.nodes() else { return Ok(()) };
    steps.begin(
        "folders",
        "giving the folders of the volumes to the user that tasks run as",
    );
    let folders = setup.folders.as_deref().unwrap_or_default();
    nodes.own_folders(&plan::folders_to_own(folders)).await?;
    steps.end(&format!("all belong to user {OWNER}"));
    Ok(())
}

async fn close_routes(up: &UpContext<'_>, setup: &TaskSetup, steps: &Steps<'_>) -> Result<()> {
    let Some(nodes) = up.nodes() else { return Ok(()) };
    steps.begin("routes", "blocking pods from link-local addresses");
    let open = setup.open_ranges.as_deref().unwrap_or_default();
    nodes.close_link_local(open).await?;
    steps.end("pods cannot reach link-local addresses");
    Ok(())
}

async fn load(up: &UpContext<'_>, steps: &Steps<'_>) -> Result<()> {
    let Some(cluster) = up.kind else { return Ok(()) };
    let image = &up.config.image;
    steps.begin("load", &format!("copying {image} onto the node"));
    cluster
        .kind
        .load(&cluster.name, image, &mut |line| steps.detail(line))
        .await?;
    steps.end(&format!("{image} is on the node"));
    Ok(())
}

async fn initialise(up: &UpContext<'_>, setup: &TaskSetup, steps: &Steps<'_>) -> Result<()> {
    steps.begin("volumes", "waiting for the claims to be Bound");
    if setup.folders.is_some() {
        // Elsewhere a claim may wait for its first pod, which is the one below.
        task_setup::wait_bound(&up.api, setup.sets).await?;
    }
    steps.detail("making the folders of the caches");
    let driver = up.driver().await?;
    let made = match timeout(INITIALISE_TIMEOUT, driver.initialise()).await {
        Ok(made) => made.map_err(|failure| failed!("making the folders of the caches: {failure}")),
        Err(_) => {
            let seconds = INITIALISE_TIMEOUT.as_secs();
            Err(failed!("the folders of the caches were not made within {seconds} s"))
        }
    };
    if let Err(error) = made {
        let unbound = task_setup::unbound(&up.api, setup.sets).await;
        return Err(unbound.map_or(error, |unbound| failed!("{unbound}")));
    }
    let claims = task_setup::identity(&task_setup::wait_bound(&up.api, setup.sets).await?);
    let done = format!("{} are Bound and have their folders", plan::all_claims(&claims));
    SetupRecord::change(&up.api, |record| record.volumes = Some(claims)).await?;
    steps.end(&done);
    for line in divided(up, setup.folders.is_some()) {
        steps.progress().line(&line);
    }
    Ok(())
}

async fn first_task(up: &UpContext<'_>, setup: &TaskSetup, steps: &Steps<'_>) -> Result<()> {
    steps.begin("task", "running a first task");
    let result = smoke_test::run(&up.driver().await?).await?;
    let claims = task_setup::identity(&task_setup::claims(&up.api, setup.sets).await?);
    SetupRecord::change(&up.api, |record| {
        record.volumes = Some(claims);
        record.task_image = Some(up.config.image.clone());
    })
    .await?;
    steps.end(&result);
    Ok(())
}

/// Later commands use these sets from now on.
async fn record_sets(up: &UpContext<'_>, setup: &TaskSetup, steps: &Steps<'_>) -> Result<()> {
    steps.begin("sets", "recording the volume sets");
    SetupRecord::change(&up.api, |record| {
        record.volume_sets = (setup.sets > 1).then_some(setup.sets);
        record.follows_pods = setup.sets > 1 && setup.follows_pods();
    })
    .await?;
    steps.end(
        &match plan::sets(setup.sets, setup.sets, &setup.left_claims, &up.api.namespace) {
            Some(planned) => planned.what,
            None => "1 volume set".to_owned(),
        },
    );
    Ok(())
}
