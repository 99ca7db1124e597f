//! What `up` installs for tasks in any cluster: the image, the objects, the folders of the volumes.

use std::time::Duration;

use futures_util::future::try_join_all;
use hybrid_cache_driver::kube::{KubeConfig, StandbyRange};
use hybrid_cache_tools::{Checkout, ErrorContext, Result, Steps, certificates};
use serde_json::Value;

use crate::api::ClusterApi;
use crate::apply::apply;
use crate::facts::ClaimFacts;
use crate::manifests::{self, Sizes, VolumeSource};
use crate::names::{LOCAL_CLASS, NIX_CLAIM, PYTHON_CLAIM};
use crate::namespace;
use crate::node::{self, Folder, Node};
use crate::objects::DryRun;
use crate::options::{RecreatePolicy, StandbyChoice, UpOptions};
use crate::plan::{self, Decision, Planned};
use crate::ranges::Ranges;
use crate::setup_record::SetupRecord;

/// Longest time until a claim is Bound.
const BOUND_TIMEOUT: Duration = Duration::from_secs(120);

/// The state of a cluster's task setup.
pub struct TaskSetup {
    /// Every object that is applied, and what applying it would change.
    pub objects: Vec<(Value, DryRun)>,
    /// The folders of the volumes, on a kind node.
    pub folders: Option<Vec<Folder>>,
    /// Both claims, if both exist.
    pub claims: Option<[ClaimFacts; 2]>,
    /// Volumes whose claim was deleted.
    pub released: Vec<String>,
    /// The one-time setup: as recorded, with what the user asks for now.
    pub record: SetupRecord,
    /// The standby pods of the last `up`.
    pub recorded_standby: Option<StandbyRange>,
    /// True if the node has the image, on a kind node.
    pub image_on_node: Option<bool>,
    /// The ranges of pods that can reach link-local addresses, on a kind node.
    pub open_ranges: Option<Vec<String>>,
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
            claims: None,
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

    /// Reads everything at once. Changes nothing.
    ///
    /// # Errors
    /// The cluster or its node does not answer.
    pub async fn observe(
        api: &ClusterApi,
        checkout: &Checkout,
        node: Option<Node<'_>>,
        options: &UpOptions,
        image: (&str, Option<&str>),
    ) -> Result<TaskSetup> {
        let (claims, volumes, mut record, on_node, sources) = tokio::try_join!(
            api.claims(&api.namespace),
            api.volumes(),
            SetupRecord::read(api),
            on_node(node, image),
            api.address_sources()
        )?;
        let has_new_ranges = !options.closed_ranges.is_empty() && options.closed_ranges != record.closed_ranges;
        if has_new_ranges {
            record.closed_ranges.clone_from(&options.closed_ranges);
        }
        let recorded_standby = record.standby;
        record.standby = match options.cluster.standby {
            StandbyChoice::None => None,
            StandbyChoice::Recorded => recorded_standby,
            StandbyChoice::Pods(range) => Some(range),
        };
        let ranges = Ranges::from_sources(&sources, record.closed_ranges.iter().copied().collect());
        let pair = pair(&claims);
        let source = source(node.is_some(), options.storage_class.as_ref(), pair.as_ref());
        let mut wanted = manifests::objects(checkout, &source, &sizes(options, pair.as_ref()))?;
        wanted.push(manifests::certificates(&certificates::bundle()?));
        let mut wanted: Vec<_> = wanted
            .into_iter()
            .map(|object| api.placed(ranges.fitted(object)))
            .collect();
        // A cluster that we made is ours as a whole.
        let kept_out = match node {
            None if namespace::owner(api).await? == namespace::Owner::Theirs => {
                namespace::keep_out(api, &mut wanted).await?
            }
            _ => None,
        };
        let dry_runs = try_join_all(wanted.iter().map(|object| api.dry_run(object))).await?;
        let ours = |name: &String| wanted.iter().any(|object| object["metadata"]["name"] == *name);
        let released = volumes.into_iter().filter(|volume| volume.phase == "Released");
        let released = released.map(|volume| volume.name).filter(ours).collect();
        let (folders, image_on_node, open_ranges) = on_node;
        Ok(TaskSetup {
            folders: folders.filter(|_| source == VolumeSource::NodeFolders),
            objects: wanted.into_iter().zip(dry_runs).collect(),
            claims: pair,
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

    /// The claims as they will be after `up`.
    pub fn wanted_claims(&self) -> Vec<ClaimFacts> {
        let objects = self.objects.iter().map(|(object, _)| object);
        objects
            .filter(|object| object["kind"] == "PersistentVolumeClaim")
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
        todo.extend(plan::objects(&self.objects, recreate));
        let release = |name: &String| {
            let what =
                format!("PersistentVolume {name}: its claim is gone; it can be claimed again, with what is on it");
            Planned::new("objects", Decision::Change, what)
        };
        todo.extend(self.released.iter().map(release));
        todo.extend(self.folders.as_deref().map(plan::folders));
        let bound = self.claims.as_ref().filter(|pair| pair.iter().all(ClaimFacts::bound));
        let claims = bound.map(identity);
        todo.push(plan::volumes(&self.record, claims.as_deref(), self.folders.as_deref()));
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
        apply(api, &self.objects, recreate, steps).await?;
        if self.has_new_ranges {
            self.record.write(api).await?;
        }
        Ok(())
    }
}

/// Identifies a pair of claims by their uids: new claims of the same names differ.
pub fn identity(pair: &[ClaimFacts; 2]) -> String {
    format!("{} {}", pair[0].uid, pair[1].uid)
}

fn pair(claims: &[ClaimFacts]) -> Option<[ClaimFacts; 2]> {
    let find = |name: &str| claims.iter().find(|claim| claim.name == name).cloned();
    Some([find(PYTHON_CLAIM)?, find(NIX_CLAIM)?])
}

/// The sizes of the claims: the requested ones, otherwise the current ones, otherwise the manifest's.
fn sizes(options: &UpOptions, claims: Option<&[ClaimFacts; 2]>) -> Sizes {
    let was = |place: usize| claims.map(|pair| pair[place].requested.clone());
    Sizes {
        python: options.python_size.clone().or_else(|| was(0)),
        system: options.system_size.clone().or_else(|| was(1)),
    }
}

/// The requested source of volumes, otherwise the current one, otherwise the one that fits the cluster.
fn source(kind: bool, asked: Option<&String>, claims: Option<&[ClaimFacts; 2]>) -> VolumeSource {
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
type OnNode = (Option<Vec<Folder>>, Option<bool>, Option<Vec<String>>);

async fn on_node(node: Option<Node<'_>>, (image, id): (&str, Option<&str>)) -> Result<OnNode> {
    let Some(Node { engine, container }) = node else {
        return Ok((None, None, None));
    };
    let (folders, images, open) = tokio::try_join!(
        node::folders(engine, container),
        node::images(engine, container),
        node::open_ranges(engine, container)
    )?;
    let has = id.is_some_and(|id| node::has_image(&images, image, id));
    Ok((folders, Some(has), Some(open)))
}

/// Waits until both claims are Bound, and returns them.
///
/// # Errors
/// The claims are not Bound in time.
pub async fn wait_bound(api: &ClusterApi) -> Result<[ClaimFacts; 2]> {
    let (python, system) = tokio::try_join!(
        api.wait_bound(&api.namespace, PYTHON_CLAIM, BOUND_TIMEOUT),
        api.wait_bound(&api.namespace, NIX_CLAIM, BOUND_TIMEOUT)
    )?;
    Ok([python, system])
}

/// Both claims, whether Bound or not.
///
/// # Errors
/// One of the claims does not exist.
pub async fn claims(api: &ClusterApi) -> Result<[ClaimFacts; 2]> {
    pair(&api.claims(&api.namespace).await?).context("the claims of both volumes are not there")
}
