//! Gathers the facts. A fact that cannot be read is recorded with its reason and never ends the search.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use hybrid_cache_driver::kube::KubeDriver;
use hybrid_cache_driver::{Driver, SubmitOptions};
use hybrid_cache_image::docker::{Engine, EngineError, Settings};
use hybrid_cache_image::task_image::{self, REPOSITORY};
use hybrid_cache_model::pod::{IMAGE_FILE, ImageRecord};
use hybrid_cache_model::protocol::Provider;
use hybrid_cache_model::{CacheStatus, End, TaskSpec, quantity};
use hybrid_cache_report::units;
use hybrid_cache_tools::{Checkout, ErrorContext, Result, default_root};
use tokio::time::timeout;

use crate::api::ClusterApi;
use crate::connection::{self, ClusterConnection};
use crate::doctor::facts::{
    Addresses, Claim, Cluster, Docker, Fact, Facts, Image, KindProgram, Name, SmokeTest, Standby,
};
use crate::doctor::host;
use crate::facts::{ClaimFacts, NodeFacts, VolumeFacts};
use crate::manifests::{self, FOLDERS};
use crate::nodes::Nodes;
use crate::options::DoctorOptions;
use crate::ranges::{self, Ranges};
use crate::setup_record::SetupRecord;
use crate::state::StateFolder;
use crate::{kind_cli, node, standby, status, volume_sets};

/// Longest time for the two runs of the smoke test; the first may install a package.
const SMOKE_TEST_TIMEOUT: Duration = Duration::from_secs(300);
/// Needs one small package from each cache, and prints nothing.
const SMOKE_TEST_PYTHON: &str = "six";
const SMOKE_TEST_SYSTEM: &str = "gnused";

/// Gathers all facts.
///
/// # Errors
/// The command line names no cluster.
pub async fn facts(checkout: &Checkout, options: &DoctorOptions) -> Result<Facts> {
    let (docker, engine) = docker().await;
    let kind = match &options.cluster.context {
        Some(_) => KindProgram::NotNeeded,
        None => KindProgram::Searched(kind_cli::look(checkout).await?),
    };
    let reference = task_image::reference(checkout).unwrap_or_else(|| REPOSITORY.to_owned());
    let image = match &engine {
        Some(engine) => known(image(engine, &reference).await),
        None => Fact::Unknown("see docker.running".to_owned()),
    };
    let engine = engine.as_ref().filter(|_| options.cluster.context.is_none());
    let image_id = match &image {
        Fact::Known(image) => image.id.clone(),
        Fact::Unknown(_) => None,
    };
    let api = match connection::api(&options.cluster).await {
        Ok(api) => known(api_says(&api, options).await.map(|cluster| (api, cluster))),
        Err(error) => Fact::Unknown(format!("{error:#}")),
    };
    let (cluster, smoke_test) = match api {
        Fact::Known((api, mut cluster)) => {
            if let Some(engine) = engine {
                nodes_say(
                    engine,
                    &options.cluster.name,
                    &reference,
                    image_id.as_deref(),
                    &mut cluster,
                )
                .await;
            }
            let smoke_test = pods_say(checkout, api, options, &mut cluster).await;
            (Fact::Known(cluster), smoke_test)
        }
        Fact::Unknown(why) => (Fact::Unknown(why), Fact::Unknown("see cluster.reachable".to_owned())),
    };
    Ok(Facts {
        host: host::look(checkout, &folders(options)?, &ports(checkout, options)?),
        docker,
        kind,
        image,
        cluster,
        smoke_test,
        names: names(checkout, &options.system),
    })
}

fn known<T>(result: Result<T>) -> Fact<T> {
    match result {
        Ok(fact) => Fact::Known(fact),
        Err(error) => Fact::Unknown(format!("{error:#}")),
    }
}

async fn docker() -> (Docker, Option<Engine>) {
    let unusable = |error| (Docker::Unusable(error), None);
    let endpoint = match Settings::read().endpoint() {
        Ok(endpoint) => endpoint,
        Err(error) => return unusable(EngineError::NoAnswer(format!("{error:#}"))),
    };
    let engine = match Engine::look(&endpoint).await {
        Ok(engine) => engine,
        Err(found) => return unusable(found),
    };
    match engine.info().await {
        Ok(info) => {
            let running = Docker::Running {
                version: info.version,
                api: info.api_version,
                default_runtime: info.default_runtime,
            };
            (running, Some(engine))
        }
        Err(error) => unusable(EngineError::NoAnswer(format!("{error:#}"))),
    }
}

async fn image(engine: &Engine, reference: &str) -> Result<Image> {
    let stored = engine.image(reference).await?;
    let (mut nix, mut pythons) = (None, Vec::new());
    if stored.is_some()
        && let Ok(archive) = engine.copy_out(reference, IMAGE_FILE).await
        && let Some(record) = record_in(&archive)
    {
        let all = std::iter::once(&record.interpreter).chain(&record.other_interpreters);
        pythons.extend(all.map(|one| one.version.clone()));
        nix = record.system.map(|system| match system.tools.provider {
            Provider::NixPortable { .. } => "nix-portable".to_owned(),
            Provider::Nix { .. } => "nix".to_owned(),
        });
    }
    Ok(Image {
        reference: reference.to_owned(),
        id: stored.map(|image| image.id),
        nix,
        pythons,
    })
}

/// The image's record, from the archive in which Docker copies a file.
fn record_in(archive: &[u8]) -> Option<ImageRecord> {
    let mut archive = tar::Archive::new(archive);
    let file = archive.entries().ok()?.next()?.ok()?;
    serde_json::from_reader(file).ok()
}

/// Adds the facts that need a pod, and the smoke test if it was run.
async fn pods_say(
    checkout: &Checkout,
    api: ClusterApi,
    options: &DoctorOptions,
    cluster: &mut Cluster,
) -> Fact<SmokeTest> {
    let ready = cluster.nodes.iter().any(|(_, ready)| ready.is_ok());
    let bound = |claim: &Claim| claim.phase.as_deref() == Some("Bound");
    if !ready || !cluster.claims.iter().all(bound) {
        return Fact::Unknown("see cluster.node-ready and pvc.bound".to_owned());
    }
    let driver = match connection::config(checkout, None).await {
        Ok(config) => ClusterConnection { api, config }.driver().await,
        Err(error) => Err(error),
    };
    let driver = match driver {
        Ok(driver) => driver,
        Err(error) => return Fact::Unknown(format!("{error:#}")),
    };
    cluster.leftovers = match driver.leftovers().await {
        Ok(found) => found,
        Err(failure) => vec![format!("something that cannot be listed: {failure}")],
    };
    if options.no_smoke_test {
        return Fact::Unknown("left out by --no-smoke-test".to_owned());
    }
    for (set, usage) in status::measure_sets(&driver).await {
        let Ok(usage) = usage else { continue };
        for (volume, name) in [("python", &set.python_claim), ("system", &set.nix_claim)] {
            let claim = cluster.claims.iter_mut().find(|claim| claim.name == *name);
            if let Some(claim) = claim {
                claim.used_bytes = Some(usage.volume_bytes(volume));
            }
        }
    }
    match timeout(SMOKE_TEST_TIMEOUT, smoke_test(&driver)).await {
        Ok(smoke_test) => known(smoke_test),
        Err(_) => Fact::Unknown(format!("two runs took longer than {} s", SMOKE_TEST_TIMEOUT.as_secs())),
    }
}

async fn api_says(api: &ClusterApi, options: &DoctorOptions) -> Result<Cluster> {
    let (nodes, claims) = tokio::try_join!(api.nodes(), api.claims(&api.namespace))?;
    // An account that may not read the record or the volumes sees one set, and not where it is.
    let (record, volumes) = tokio::join!(SetupRecord::read(api), api.volumes());
    let (sets, volumes) = (record.unwrap_or_default().sets(), volumes.unwrap_or_default());
    let names = (0..sets).flat_map(volume_sets::claim_names);
    let mut claims: Vec<Claim> = names.map(|name| claim(name, &claims, &volumes, &nodes)).collect();
    let nodes = nodes.into_iter().map(|node| {
        let ready = if node.ready { Ok(()) } else { Err(node.condition) };
        (node.name, ready)
    });
    for claim in claims
        .iter_mut()
        .filter(|claim| claim.phase.as_deref() == Some("Pending"))
    {
        claim.event = api
            .last_event(&api.namespace, "PersistentVolumeClaim", &claim.name)
            .await;
    }
    let unseen = || "its node is not a container of this machine".to_owned();
    let context = options.cluster.context.clone();
    Ok(Cluster {
        context: context.unwrap_or_else(|| format!("kind-{}", options.cluster.name)),
        nodes: nodes.collect(),
        image_on_node: Fact::Unknown(unseen()),
        volumes_mounted: Fact::Unknown(unseen()),
        owners: Fact::Unknown(unseen()),
        claims,
        clock_ahead_s: known(api.clock_ahead_s(&api.namespace).await),
        addresses: known(addresses(api).await),
        leftovers: Vec::new(),
        standby: standby_facts(api).await,
        kubelet_accepts_cgroup_v1: Fact::Unknown(unseen()),
    })
}

/// What is known of the standby pods, if `up` recorded any.
async fn standby_facts(api: &ClusterApi) -> Option<Fact<Standby>> {
    let range = SetupRecord::read(api).await.ok()?.standby?;
    let read = async {
        let (report, missing_rights) = tokio::try_join!(standby::read(api, Some(range)), standby::missing_rights(api))?;
        Ok(Standby {
            report: report.unwrap_or_default(),
            least: range.min().into(),
            missing_rights,
        })
    };
    Some(known(read.await))
}

/// Compares the network policy in the cluster with the cluster's addresses.
async fn addresses(api: &ClusterApi) -> Result<Addresses> {
    let policy = ranges::policy();
    let (sources, record, policy) = tokio::try_join!(api.address_sources(), SetupRecord::read(api), api.get(&policy))?;
    let policy = policy.context("its network policy is not there; `cargo xtask up` applies it")?;
    let ranges = Ranges::from_sources(&sources, record.closed_ranges.into_iter().collect());
    Ok(Addresses {
        left_open: ranges.left_open(&policy).iter().map(ToString::to_string).collect(),
        unknown: ranges.unknown(),
    })
}

fn claim(name: String, claims: &[ClaimFacts], volumes: &[VolumeFacts], nodes: &[NodeFacts]) -> Claim {
    let found = claims.iter().find(|claim| claim.name == name);
    let mounted = found.and_then(|claim| volume_sets::nodes_of(claim, volumes, nodes));
    Claim {
        name,
        nodes: mounted.map(|nodes| usable(&nodes)),
        phase: found.map(|claim| claim.phase.clone()),
        capacity_bytes: found
            .and_then(|claim| quantity::bytes(claim.capacity.as_deref()?))
            .unwrap_or(0),
        used_bytes: None,
        event: None,
    }
}

/// The nodes that accept pods, or why none does.
fn usable(nodes: &[&NodeFacts]) -> Result<Vec<String>, String> {
    let ready: Vec<String> = nodes
        .iter()
        .filter(|node| node.ready)
        .map(|node| node.name.clone())
        .collect();
    match nodes {
        _ if !ready.is_empty() => Ok(ready),
        [] => Err("no node of the cluster has its volume".to_owned()),
        nodes => {
            let names: Vec<&str> = nodes.iter().map(|node| node.name.as_str()).collect();
            Err(format!("its volume is on {}, which is not Ready", names.join(", ")))
        }
    }
}

/// Adds the facts that need the nodes' containers.
async fn nodes_say(engine: &Engine, name: &str, reference: &str, image_id: Option<&str>, cluster: &mut Cluster) {
    let containers = node::containers(engine, name).await.unwrap_or_default();
    let Some(first) = containers.iter().find(|container| container.state == "running") else {
        return;
    };
    cluster.kubelet_accepts_cgroup_v1 = known(node::kubelet_accepts_cgroup_v1(engine, &first.id).await);
    let run_tasks = if containers.len() > 1 {
        &containers[1..]
    } else {
        &containers[..]
    };
    let ids: Vec<String> = run_tasks.iter().map(|container| container.id.clone()).collect();
    let nodes = Nodes {
        engine,
        containers: &ids,
    };
    if let Some(image_id) = image_id {
        let images = nodes.images().await;
        cluster.image_on_node = known(images.map(|images| node::has_image(&images, reference, image_id)));
    }
    let folders = nodes
        .folders(u32::try_from(cluster.claims.len() / 2).unwrap_or(1))
        .await;
    cluster.volumes_mounted = match &folders {
        Ok(folders) => Fact::Known(folders.is_some()),
        Err(error) => Fact::Unknown(format!("{error:#}")),
    };
    cluster.owners = match folders {
        Ok(Some(folders)) => Fact::Known(
            folders
                .into_iter()
                .map(|folder| (folder.label(), folder.owner.map_or(u32::MAX, |(user, _)| user)))
                .collect(),
        ),
        Ok(None) => Fact::Unknown("see volume.mounted".to_owned()),
        Err(error) => Fact::Unknown(format!("{error:#}")),
    };
}

/// Runs the same task twice; the second run must find what the first one left.
async fn smoke_test(driver: &KubeDriver) -> Result<SmokeTest> {
    let mut spec = TaskSpec::new("import six, subprocess; subprocess.run(['sed', '--version'], check=True, stdout=-3)");
    SMOKE_TEST_PYTHON.clone_into(&mut spec.dependencies);
    SMOKE_TEST_SYSTEM.clone_into(&mut spec.system_dependencies);
    let mut smoke_test = SmokeTest {
        second: Vec::new(),
        all_hit: false,
        failure: None,
        second_ms: 0,
    };
    for _ in 0..2 {
        let started = Instant::now();
        let ticket = driver.submit(&spec, &SubmitOptions::default()).await?;
        let outcome = driver.settle(&ticket).await?;
        smoke_test.second_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        driver.forget(&ticket);
        smoke_test.failure = match &outcome.end {
            End::Exited { code: 0 } => None,
            End::Failed { failure } => Some(failure.to_string()),
            other => Some(format!("{other:?}")),
        };
        if smoke_test.failure.is_some() {
            return Ok(smoke_test);
        }
        smoke_test.all_hit = outcome.cache.all_hit();
        smoke_test.second = [("python", outcome.cache.python), ("system", outcome.cache.system)]
            .map(|(name, status)| (name.to_owned(), in_words(status)))
            .to_vec();
    }
    Ok(smoke_test)
}

/// The status of a cache as a word.
fn in_words(status: CacheStatus) -> String {
    match status {
        CacheStatus::Hit => "hit".to_owned(),
        CacheStatus::Built {
            downloaded_bytes,
            reused_bytes,
        } => format!(
            "built ({} new, {} shared)",
            units::bytes(downloaded_bytes),
            units::bytes(reused_bytes)
        ),
        CacheStatus::Bypassed => "bypassed".to_owned(),
        CacheStatus::NotAsked => "not asked".to_owned(),
    }
}

/// Folders on the file systems that fill up.
fn folders(options: &DoctorOptions) -> Result<Vec<PathBuf>> {
    let mut folders = vec![PathBuf::from("/var/lib/docker"), default_root()?];
    if options.cluster.context.is_none() {
        let state = StateFolder::for_cluster(&options.cluster.name)?;
        let volumes = state
            .record()
            .map_or_else(|| state.default_volumes(), |record| record.volumes);
        folders.extend(FOLDERS.map(|name| volumes.join(name)));
    }
    Ok(folders)
}

/// Ports of this machine that the cluster's definition asks for; none if the cluster exists, because it then uses them itself.
fn ports(checkout: &Checkout, options: &DoctorOptions) -> Result<Vec<u16>> {
    let state = StateFolder::for_cluster(&options.cluster.name)?;
    if options.cluster.context.is_some() || state.kubeconfig().is_file() {
        return Ok(Vec::new());
    }
    let config = manifests::kind_config(checkout, &options.cluster.name, &state.default_volumes(), 0)?;
    let nodes = config["nodes"].as_array().cloned().unwrap_or_default();
    let mappings = nodes.iter().filter_map(|node| node["extraPortMappings"].as_array());
    let ports = mappings.flatten().filter_map(|mapping| mapping["hostPort"].as_u64());
    Ok(ports.filter_map(|port| u16::try_from(port).ok()).collect())
}

/// Looks names up if the package source can be searched without running a program: debnix is in the checkout.
fn names(checkout: &Checkout, asked: &[String]) -> Vec<Name> {
    let text = std::fs::read(checkout.path("images/debnix/pins.json")).unwrap_or_default();
    let pins: serde_json::Value = serde_json::from_slice(&text).unwrap_or_default();
    let arch = &pins["arch"][std::env::consts::ARCH]["set"];
    let known: Vec<String> = arch
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, _)| name.clone())
        .collect();
    let look = |asked: &String| host::look_up(asked, "debnix", Some(&known));
    asked.iter().map(look).collect()
}
