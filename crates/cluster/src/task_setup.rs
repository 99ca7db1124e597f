//! What `up` installs for tasks in any cluster: the image, the objects, the folders of the volumes.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::{join_all, try_join_all};
use hybrid_cache_driver::kube::{KubeConfig, StandbyRange};
use hybrid_cache_tools::{Checkout, ErrorContext, Result, Steps, certificates, failed};
use serde_json::Value;
use tokio::time::{Instant, sleep};

use crate::api::ClusterApi;
use crate::apply::{apply, refused};
use crate::facts::ClaimFacts;
use crate::manifests::{self, Sizes, VolumeSource};
use crate::names::LOCAL_CLASS;
use crate::namespace;
use crate::node::{self, Folder};
use crate::nodes::{Nodes, OpenRanges};
use crate::objects::DryRun;
use crate::options::{RecreatePolicy, StandbyChoice, UpOptions};
use crate::plan::{self, Decision, Planned};
use crate::ranges::Ranges;
use crate::resource_kinds::RESOURCE_QUOTA;
use crate::setup_record::SetupRecord;
use crate::volume_sets::{self, Pair, StorageClassFacts};

/// Longest time until a claim is Bound.
const BOUND_TIMEOUT: Duration = Duration::from_secs(120);
/// Longest time until the server counts by a quota that was changed.
const QUOTA_TIMEOUT: Duration = Duration::from_secs(10);
/// Pause between two looks at it.
const RETRY_PAUSE: Duration = Duration::from_millis(250);

/// The state of a cluster's task setup.
pub struct TaskSetup {
    /// Every object that is applied, and what applying it would change.
    pub objects: Vec<(Value, DryRun)>,
    /// The folders of the volumes, on a kind node.
    pub folders: Option<Vec<Folder>>,
    /// The claims of each volume set, if both exist.
    pub claims: Vec<Option<Pair>>,
    /// Volume sets that are requested, or were recorded.
    pub sets: u32,
    /// The StorageClass of the claims; `None` for folders of the nodes, or if this account may not read it.
    pub class: Option<StorageClassFacts>,
    /// Claims of sets that are not used any longer.
    pub left_claims: Vec<String>,
    /// What forbids the claims, for a person.
    pub set_faults: Vec<String>,
    /// What is unwise about the sets, for a person.
    pub set_warning: Option<String>,
    /// Volumes whose claim was deleted.
    pub released: Vec<String>,
    /// The one-time setup: as recorded, with what the user asks for now.
    pub record: SetupRecord,
    /// The standby pods of the last `up`.
    pub recorded_standby: Option<StandbyRange>,
    /// True if the node has the image, on a kind node.
    pub image_on_node: Option<bool>,
    /// The ranges of pods that can reach link-local addresses, on a kind node.
    pub open_ranges: Option<Vec<OpenRanges>>,
    /// Who provides the volumes.
    pub source: VolumeSource,
    /// What is not applied because the namespace is not ours, as text for a person.
    pub kept_out: Option<String>,
    /// The cluster's addresses.
    pub ranges: Ranges,
    /// True if the user names other ranges than before.
    pub has_new_ranges: bool,
}

impl TaskSetup {
    /// A cluster with nothing in it.
    #[cfg(test)]
    pub fn empty() -> TaskSetup {
        TaskSetup {
            objects: Vec::new(),
            folders: None,
            claims: vec![None],
            sets: 1,
            class: None,
            left_claims: Vec::new(),
            set_faults: Vec::new(),
            set_warning: None,
            released: Vec::new(),
            record: SetupRecord::default(),
            recorded_standby: None,
            image_on_node: None,
            open_ranges: None,
            source: VolumeSource::NodeFolders,
            kept_out: None,
            ranges: Ranges::default(),
            has_new_ranges: false,
        }
    }

    /// Reads everything at once. Changes nothing. `remembered` is the number of volume sets that this machine has recorded.
    ///
    /// # Errors
    /// The cluster or a node does not answer, or there are more volume sets than nodes.
    pub async fn observe(
        api: &ClusterApi,
        checkout: &Checkout,
        (nodes, remembered): (Option<Nodes<'_>>, Option<u32>),
        options: &UpOptions,
        image: (&str, Option<&str>),
    ) -> Result<TaskSetup> {
        let (claims, volumes, mut record, sources, classes, quotas) = tokio::try_join!(
            api.claims(&api.namespace),
            api.volumes(),
            SetupRecord::read(api),
            api.address_sources(),
            api.storage_classes(),
            api.labelled(RESOURCE_QUOTA, "")
        )?;
        let sets = options.volume_sets.or(remembered).unwrap_or_else(|| record.sets());
        let sets = sets.clamp(1, volume_sets::MAX_SETS);
        let recorded_standby = record.standby;
        let has_new_ranges = ask_for(&mut record, options);
        let ranges = Ranges::from_sources(&sources, record.closed_ranges.iter().copied().collect());
        let pairs = volume_sets::pairs(&claims, sets);
        let source = source(nodes.is_some(), options.storage_class.as_ref(), pairs[0].as_ref());
        if let (VolumeSource::NodeFolders, Some(nodes)) = (&source, nodes) {
            volume_sets::check_nodes(sets, u32::try_from(nodes.containers.len()).unwrap_or(u32::MAX))?;
        }
        let class = class_of(&source, &classes.unwrap_or_default());
        let on_nodes = on_nodes(nodes, sets, image).await?;
        let mut wanted = manifests::objects_of_sets(checkout, &source, &sizes(options, &claims, sets), sets)?;
        wanted.push(manifests::certificates(&certificates::bundle()?));
        let mut wanted: Vec<_> = wanted
            .into_iter()
            .map(|object| api.placed(ranges.fitted(object)))
            .collect();
        // A cluster that we made is ours as a whole.
        let kept_out = match nodes {
            None if namespace::owner(api).await? == namespace::Owner::Theirs => {
                namespace::keep_out(api, &mut wanted).await?
            }
            _ => None,
        };
        let dry_runs = try_join_all(wanted.iter().map(|object| api.dry_run(object))).await?;
        let ours = |name: &String| wanted.iter().any(|object| object["metadata"]["name"] == *name);
        let released = volumes.into_iter().filter(|volume| volume.phase == "Released");
        let released = released.map(|volume| volume.name).filter(ours).collect();
        let (folders, image_on_node, open_ranges) = on_nodes;
        let objects: Vec<(Value, DryRun)> = wanted.into_iter().zip(dry_runs).collect();
        let set_faults = set_faults(&objects, quotas.unwrap_or_default());
        Ok(TaskSetup {
            folders: folders.filter(|_| source == VolumeSource::NodeFolders),
            set_faults,
            set_warning: volume_sets::warning(sets, sources.nodes.len(), (class.as_ref(), &pairs)),
            left_claims: volume_sets::claims_beyond(&claims, sets),
            sets,
            class,
            objects,
            claims: pairs,
            released,
            record,
            image_on_node,
            open_ranges,
            source,
            kept_out,
            ranges,
            has_new_ranges,
            recorded_standby,
        })
    }

    /// True if the volumes of the sets attach to the node of the pod that mounts them.
    pub fn follows_pods(&self) -> bool {
        self.class.as_ref().is_some_and(StorageClassFacts::follows_pods)
    }

    /// The claims as they will be after `up`.
    pub fn wanted_claims(&self) -> Vec<ClaimFacts> {
        let objects = self.objects.iter().map(|(object, _)| object);
        objects
            .filter(|object| is_claim(object))
            .map(ClaimFacts::from_claim)
            .collect()
    }

    /// What has to be done, in order.
    pub fn plan(&self, config: &KubeConfig, recreate: RecreatePolicy) -> Vec<Planned> {
        let load = self.image_on_node.map(|there| plan::load(&config.image, there));
        let mut todo: Vec<Planned> = load.into_iter().collect();
        let kept_out = self.kept_out.iter();
        todo.extend(kept_out.map(|what| Planned::new("namespace", Decision::Nothing, what)));
        let unknown = self.ranges.unknown();
        todo.extend(unknown.map(|what| Planned::new("addresses", Decision::Nothing, what)));
        let faults = self.set_faults.join("\n");
        todo.extend((!faults.is_empty()).then(|| Planned::new("sets", Decision::Conflict, faults)));
        let warning = self.set_warning.iter();
        todo.extend(warning.map(|what| Planned::new("nodes", Decision::Nothing, what)));
        todo.extend(plan::objects(&self.objects, recreate));
        let release = |name: &String| {
            let what =
                format!("PersistentVolume {name}: its claim is gone; it can be claimed again, with what is on it");
            Planned::new("objects", Decision::Change, what)
        };
        todo.extend(self.released.iter().map(release));
        todo.extend(self.folders.as_deref().map(plan::folders));
        let pairs: Option<Vec<Pair>> = self.claims.iter().cloned().collect();
        let bound = pairs.filter(|pairs| pairs.iter().flatten().all(ClaimFacts::bound));
        let claims = bound.as_deref().map(identity);
        todo.push(plan::volumes(&self.record, claims.as_deref(), self.folders.as_deref()));
        todo.extend(plan::sets(
            self.record.sets(),
            self.sets,
            &self.left_claims,
            &config.namespace,
        ));
        let changed = todo.iter().any(Planned::acts);
        todo.extend(self.open_ranges.as_deref().map(plan::routes));
        todo.push(plan::task(&self.record, &config.image, changed));
        todo
    }

    /// Applies the objects that are not in the requested state.
    ///
    /// # Errors
    /// Something blocks an object, with an explanation; or the server refuses.
    pub async fn apply(&self, api: &ClusterApi, recreate: RecreatePolicy, steps: &Steps<'_>) -> Result<()> {
        // Release volumes before the claims are created: a claim for a free volume is bound at once, otherwise within 15 s.
        try_join_all(self.released.iter().map(|volume| api.release(volume))).await?;
        for (object, dry_run) in &self.objects {
            if object["kind"] == "ResourceQuota" && matches!(dry_run, DryRun::Differs(_)) {
                raise_quota(api, object).await?;
            }
        }
        apply(api, &self.objects, recreate, steps).await?;
        if self.has_new_ranges {
            SetupRecord::change(api, |record| {
                record.closed_ranges.clone_from(&self.record.closed_ranges)
            })
            .await?;
        }
        Ok(())
    }
}

/// Identifies the claims of all sets by their uids: new claims of the same names differ.
pub fn identity(pairs: &[Pair]) -> String {
    let uids: Vec<&str> = pairs.iter().flatten().map(|claim| claim.uid.as_str()).collect();
    uids.join(" ")
}

/// Puts what the user asks for now into the record. Returns true if that are other ranges than before.
fn ask_for(record: &mut SetupRecord, options: &UpOptions) -> bool {
    record.standby = match options.cluster.standby {
        StandbyChoice::None => None,
        StandbyChoice::Recorded => record.standby,
        StandbyChoice::Pods(range) => Some(range),
    };
    let has_new_ranges = !options.closed_ranges.is_empty() && options.closed_ranges != record.closed_ranges;
    if has_new_ranges {
        record.closed_ranges.clone_from(&options.closed_ranges);
    }
    has_new_ranges
}

fn class_of(source: &VolumeSource, classes: &[StorageClassFacts]) -> Option<StorageClassFacts> {
    match source {
        VolumeSource::NodeFolders => None,
        VolumeSource::StorageClass(name) => volume_sets::class_of(classes, name.as_deref()).cloned(),
    }
}

fn is_claim(object: &Value) -> bool {
    object["kind"] == "PersistentVolumeClaim"
}

/// What forbids the claims that do not exist yet.
fn set_faults(objects: &[(Value, DryRun)], mut quotas: Vec<Value>) -> Vec<String> {
    let further = objects
        .iter()
        .filter(|(object, dry_run)| is_claim(object) && *dry_run == DryRun::Absent);
    // Our own quota is raised before the claims are created.
    let ours = objects.iter().filter(|(object, _)| object["kind"] == "ResourceQuota");
    let ours: Vec<&Value> = ours.map(|(object, _)| &object["metadata"]["name"]).collect();
    quotas.retain(|quota| !ours.contains(&&quota["metadata"]["name"]));
    volume_sets::quota_faults(&quotas, further.count())
}

/// Applies a quota and waits until the server counts by it. One that does not get there in time is no error: the server refuses a
/// claim that is too many.
async fn raise_quota(api: &ClusterApi, quota: &Value) -> Result<()> {
    refused(quota, api.apply(quota).await?)?;
    let deadline = Instant::now() + QUOTA_TIMEOUT;
    while Instant::now() < deadline {
        let found = api.get(quota).await?.unwrap_or_default();
        if found.pointer("/status/hard") == found.pointer("/spec/hard") {
            break;
        }
        sleep(RETRY_PAUSE).await;
    }
    Ok(())
}

/// The sizes of the claims: the requested ones for all sets, otherwise the current ones, otherwise those of set 0 or the manifest's.
fn sizes(options: &UpOptions, claims: &[ClaimFacts], sets: u32) -> Sizes {
    let asked = [&options.python_size, &options.system_size];
    let mut kept = BTreeMap::new();
    for set in 0..sets {
        for (name, asked) in volume_sets::claim_names(set).into_iter().zip(asked) {
            let claim = claims.iter().find(|claim| claim.name == name && asked.is_none());
            kept.extend(claim.map(|claim| (name, claim.requested.clone())));
        }
    }
    let first = |place: usize| kept.get(&volume_sets::claim_names(0)[place]).cloned();
    Sizes {
        python: asked[0].clone().or_else(|| first(0)),
        system: asked[1].clone().or_else(|| first(1)),
        kept,
    }
}

/// The requested source of volumes, otherwise the current one, otherwise the one that fits the cluster.
fn source(kind: bool, asked: Option<&String>, claims: Option<&Pair>) -> VolumeSource {
    if let Some(class) = asked {
        return VolumeSource::StorageClass(Some(class.clone()));
    }
    let was = claims.and_then(|[python, _]| python.storage_class.clone());
    match was {
        Some(class) if class != LOCAL_CLASS => VolumeSource::StorageClass(Some(class)),
        None if !kind => VolumeSource::StorageClass(None),
        _ => VolumeSource::NodeFolders,
    }
}

/// The folders of the volumes, whether the image is there, and the ranges of pods that can reach link-local addresses.
type OnNodes = (Option<Vec<Folder>>, Option<bool>, Option<Vec<OpenRanges>>);

async fn on_nodes(nodes: Option<Nodes<'_>>, sets: u32, (image, id): (&str, Option<&str>)) -> Result<OnNodes> {
    let Some(nodes) = nodes else {
        return Ok((None, None, None));
    };
    let (folders, images, open) = tokio::try_join!(nodes.folders(sets), nodes.images(), nodes.open_ranges())?;
    let has = id.is_some_and(|id| node::has_image(&images, image, id));
    Ok((folders, Some(has), Some(open)))
}

/// Waits until the claims of all sets are Bound, and returns them.
///
/// # Errors
/// A claim is not Bound in time; the error names every such claim, its set, and what the cluster says of it.
pub async fn wait_bound(api: &ClusterApi, sets: u32) -> Result<Vec<Pair>> {
    let names = (0..sets).flat_map(volume_sets::claim_names);
    let waits = names.map(|name| async move { api.wait_bound(&api.namespace, &name, BOUND_TIMEOUT).await });
    let waited = join_all(waits).await;
    let Some(first) = waited.into_iter().find_map(Result::err) else {
        return claims(api, sets).await;
    };
    Err(unbound(api, sets).await.map_or(first, |unbound| failed!("{unbound}")))
}

/// Which claims are not Bound, for a person, with the next step; `None` if all are, or if nothing can be read.
pub async fn unbound(api: &ClusterApi, sets: u32) -> Option<String> {
    let found = api.claims(&api.namespace).await.ok()?;
    let mut lines = Vec::new();
    for (set, name) in (0..sets).flat_map(|set| volume_sets::claim_names(set).map(|name| (set, name))) {
        let claim = found.iter().find(|claim| claim.name == name);
        if claim.is_some_and(ClaimFacts::bound) {
            continue;
        }
        let event = api.last_event(&api.namespace, "PersistentVolumeClaim", &name).await;
        let phase = claim.map_or("missing", |claim| &claim.phase);
        lines.push(format!(
            "claim {}/{name} of volume set {set} is {phase}{}",
            api.namespace,
            event.map_or_else(String::new, |event| format!(": {event}"))
        ));
    }
    if lines.is_empty() {
        return None;
    }
    let within = BOUND_TIMEOUT.as_secs();
    lines.push(format!(
        "hint: these claims were not Bound within {within} s: no node has room for them, or their StorageClass provides no volumes. \
         `kubectl describe pvc --namespace {}` says what each waits for; have fewer sets with --volume-sets, smaller ones with \
         --python-size and --system-size, or another class with --storage-class",
        api.namespace
    ));
    Some(lines.join("\n"))
}

/// The claims of all sets, whether Bound or not.
///
/// # Errors
/// One of the claims does not exist.
pub async fn claims(api: &ClusterApi, sets: u32) -> Result<Vec<Pair>> {
    let found = api.claims(&api.namespace).await?;
    let pairs: Option<Vec<Pair>> = volume_sets::pairs(&found, sets).into_iter().collect();
    pairs.context("the claims of the volumes are not all there")
}
