//! What `up` puts into a cluster, whoever made it: the image, the objects, the folders of the volumes, a first task.

use std::time::Duration;

use anyhow::{Context, Result};
use futures_util::future::try_join_all;
use hybrid_cache_driver::kube::KubeConfig;
use serde_json::{Value, json};

use super::api::ClusterApi;
use super::facts::ClaimFacts;
use super::manifests::{self, Sizes, VolumeSource};
use super::node::{self, Folder};
use super::objects::{Examined, Refusal, explain_leaving};
use super::plan::{self, Decision, Leave, Planned, Remembered};
use super::ranges::Ranges;
use super::talk::Talk;
use super::{NIX_CLAIM, PYTHON_CLAIM, certificates, namespace};
use crate::checkout::Checkout;
use crate::docker::Engine;
use crate::exit::Expected;
use crate::flags;

/// Longest that a claim may take to be Bound.
const BOUND: Duration = Duration::from_secs(120);
/// Longest that an object may take to be gone.
const GONE: Duration = Duration::from_secs(120);

/// The node of a kind cluster, which can be looked into.
#[derive(Clone, Copy)]
pub struct Node<'a> {
    /// The Docker engine.
    pub engine: &'a Engine,
    /// The node's container.
    pub container: &'a str,
}

/// What is in a cluster.
pub struct Inside {
    /// Everything that is applied, and what applying it would do.
    pub objects: Vec<(Value, Examined)>,
    /// The folders of the volumes, on a kind node.
    pub folders: Option<Vec<Folder>>,
    /// Both claims, where both are there.
    pub claims: Option<[ClaimFacts; 2]>,
    /// Volumes whose claim is gone.
    pub released: Vec<String>,
    /// What was done once.
    pub remembered: Remembered,
    /// Whether the node has the image, on a kind node.
    pub image_on_node: Option<bool>,
    /// The ranges of pods that reach link-local addresses, on a kind node.
    pub open_ranges: Option<Vec<String>>,
    /// Who provides the volumes.
    pub source: VolumeSource,
    /// What is not done because the namespace is not ours, for a person.
    pub kept_out: Option<String>,
    /// The cluster's addresses.
    pub ranges: Ranges,
    /// True where a person names other ranges than before.
    named_anew: bool,
}

impl Inside {
    /// Looks at everything at once. Changes nothing.
    ///
    /// # Errors
    /// The cluster or its node does not answer.
    pub async fn observe(
        api: &ClusterApi,
        checkout: &Checkout,
        node: Option<Node<'_>>,
        asked: &flags::Up,
        image: (&str, Option<&str>),
    ) -> Result<Inside> {
        let (claims, volumes, mut remembered, on_node, told) = tokio::try_join!(
            api.claims(&api.namespace),
            api.volumes(),
            remembered(api),
            on_node(node, image),
            api.told_addresses()
        )?;
        let named_anew = !asked.closed_range.is_empty() && asked.closed_range != remembered.closed_ranges;
        if named_anew {
            remembered.closed_ranges.clone_from(&asked.closed_range);
        }
        let ranges = Ranges::of(&told, remembered.closed_ranges.iter().copied().collect());
        let pair = pair(&claims);
        let source = source(node.is_some(), asked.storage_class.as_ref(), pair.as_ref());
        let mut wanted = manifests::objects(checkout, &source, &sizes(asked, pair.as_ref()))?;
        wanted.push(manifests::certificates(&certificates::bundle()?));
        let mut wanted: Vec<_> = wanted
            .into_iter()
            .map(|object| api.placed(ranges.fitted(object)))
            .collect();
        // The cluster that we made is ours as a whole.
        let kept_out = match node {
            None if namespace::owner(api).await? == namespace::Owner::Theirs => {
                namespace::keep_out(api, &mut wanted).await?
            }
            _ => None,
        };
        let examined = try_join_all(wanted.iter().map(|object| api.examine(object))).await?;
        let ours = |name: &String| wanted.iter().any(|object| object["metadata"]["name"] == *name);
        let released = volumes.into_iter().filter(|volume| volume.phase == "Released");
        let released = released.map(|volume| volume.name).filter(ours).collect();
        let (folders, image_on_node, open_ranges) = on_node;
        Ok(Inside {
            folders: folders.filter(|_| source == VolumeSource::NodeFolders),
            objects: wanted.into_iter().zip(examined).collect(),
            claims: pair,
            released,
            remembered,
            image_on_node,
            open_ranges,
            source,
            kept_out,
            ranges,
            named_anew,
        })
    }

    /// The claims as they will be.
    pub fn wanted_claims(&self) -> Vec<ClaimFacts> {
        let objects = self.objects.iter().map(|(object, _)| object);
        objects
            .filter(|object| object["kind"] == "PersistentVolumeClaim")
            .map(ClaimFacts::of)
            .collect()
    }

    /// What has to be done, in order.
    pub fn plan(&self, config: &KubeConfig, leave: Leave) -> Vec<Planned> {
        let load = self.image_on_node.map(|there| plan::load(&config.image, there));
        let mut todo: Vec<Planned> = load.into_iter().collect();
        let kept_out = self.kept_out.iter();
        todo.extend(kept_out.map(|what| Planned::new("namespace", Decision::Nothing, what)));
        let unknown = self.ranges.unknown();
        todo.extend(unknown.map(|what| Planned::new("addresses", Decision::Nothing, what)));
        todo.extend(plan::objects(&self.objects, leave));
        let release = |name: &String| {
            let what =
                format!("PersistentVolume {name}: its claim is gone; it can be claimed again, with what is on it");
            Planned::new("objects", Decision::Change, what)
        };
        todo.extend(self.released.iter().map(release));
        todo.extend(self.folders.as_deref().map(plan::folders));
        let bound = self.claims.as_ref().filter(|pair| pair.iter().all(ClaimFacts::bound));
        let claims = bound.map(identity);
        todo.push(plan::volumes(
            &self.remembered,
            claims.as_deref(),
            self.folders.as_deref(),
        ));
        let changed = todo.iter().any(Planned::acts);
        todo.extend(self.open_ranges.as_deref().map(plan::routes));
        todo.push(plan::task(&self.remembered, &config.image, changed));
        todo
    }

    /// Applies the objects that are not as they should be.
    ///
    /// # Errors
    /// Something stands in the way, explained; or the server refuses.
    pub async fn apply(&self, api: &ClusterApi, leave: Leave, talk: &mut Talk) -> Result<()> {
        // Before the claims: a claim that comes to a free volume is bound at once, the other way round within 15 s.
        try_join_all(self.released.iter().map(|volume| api.release(volume))).await?;
        apply(api, &self.objects, leave, talk).await?;
        if self.named_anew {
            remember(api, &self.remembered).await?;
        }
        Ok(())
    }
}

/// Applies those that are not as they should be.
///
/// # Errors
/// Something stands in the way, explained; or the server refuses.
pub async fn apply(api: &ClusterApi, objects: &[(Value, Examined)], leave: Leave, talk: &mut Talk) -> Result<()> {
    for (object, examined) in objects {
        let name = super::objects::describe(object);
        match examined {
            Examined::Same => continue,
            Examined::Leaving => return Err(Expected::prerequisite(explain_leaving(object))),
            Examined::Absent | Examined::Differs(_) => {
                talk.hear(&name);
                refused(object, api.apply(object).await?)?;
            }
            Examined::Refused(refusal) if leave == Leave::Everything => {
                return Err(Expected::prerequisite(refusal.explain(object)));
            }
            Examined::Refused(Refusal::Immutable(_)) => {
                talk.hear(&format!("deleting {name}"));
                api.delete(object, GONE).await?;
                for volume in volumes_of(object, objects) {
                    api.release(volume).await?;
                }
                refused(object, api.apply(object).await?)?;
            }
            Examined::Refused(Refusal::Conflict(_)) => refused(object, api.take_over(object).await?)?,
            Examined::Refused(refusal) => anyhow::bail!(refusal.explain(object)),
        }
    }
    Ok(())
}

/// The names of our volumes that are for this claim: a volume whose claim was deleted is claimed again only once it is released.
fn volumes_of<'a>(claim: &Value, objects: &'a [(Value, Examined)]) -> Vec<&'a str> {
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
    answer.map_err(|refusal| anyhow::anyhow!(refusal.explain(object)))?;
    Ok(())
}

/// Which claims these are: other claims of the same names are others.
pub fn identity(pair: &[ClaimFacts; 2]) -> String {
    format!("{} {}", pair[0].uid, pair[1].uid)
}

fn pair(claims: &[ClaimFacts]) -> Option<[ClaimFacts; 2]> {
    let find = |name: &str| claims.iter().find(|claim| claim.name == name).cloned();
    Some([find(PYTHON_CLAIM)?, find(NIX_CLAIM)?])
}

/// The sizes of the claims: as asked for, else as they are, else as in the manifest.
fn sizes(asked: &flags::Up, claims: Option<&[ClaimFacts; 2]>) -> Sizes {
    let was = |place: usize| claims.map(|pair| pair[place].requested.clone());
    Sizes {
        python: asked.python_size.clone().or_else(|| was(0)),
        system: asked.system_size.clone().or_else(|| was(1)),
    }
}

/// As asked for, else as it was, else what fits the cluster.
fn source(kind: bool, asked: Option<&String>, claims: Option<&[ClaimFacts; 2]>) -> VolumeSource {
    if let Some(class) = asked {
        return VolumeSource::StorageClass(Some(class.clone()));
    }
    let was = claims.and_then(|[python, _]| python.storage_class.clone());
    match was {
        Some(class) if class != manifests::LOCAL_CLASS => VolumeSource::StorageClass(Some(class)),
        None if !kind => VolumeSource::StorageClass(None),
        _ => VolumeSource::NodeFolders,
    }
}

/// The folders of the volumes, whether the image is there, and the ranges of pods that reach link-local addresses.
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

/// What was done once, as the cluster remembers it.
///
/// # Errors
/// The server does not answer, or refuses.
pub async fn remembered(api: &ClusterApi) -> Result<Remembered> {
    let state = api.get(&manifests::state(&json!({}))).await?.unwrap_or_default();
    let text = |key: &str| state["data"][key].as_str().map(str::to_owned);
    let ranges = text("closedRanges").unwrap_or_default();
    Ok(Remembered {
        volumes: text("volumes"),
        task_image: text("taskImage"),
        closed_ranges: ranges
            .split_whitespace()
            .filter_map(|range| range.parse().ok())
            .collect(),
    })
}

/// Remembers in the cluster what was done once.
///
/// # Errors
/// The server refuses.
pub async fn remember(api: &ClusterApi, remembered: &Remembered) -> Result<()> {
    let mut data = json!({});
    for (key, value) in [("volumes", &remembered.volumes), ("taskImage", &remembered.task_image)] {
        if let Some(value) = value {
            data[key] = json!(value);
        }
    }
    if !remembered.closed_ranges.is_empty() {
        let ranges: Vec<String> = remembered.closed_ranges.iter().map(ToString::to_string).collect();
        data["closedRanges"] = json!(ranges.join(" "));
    }
    let object = manifests::state(&data);
    refused(&object, api.apply(&object).await?)
}

/// Waits until both claims are Bound, and says which they are.
///
/// # Errors
/// They are not Bound in time.
pub async fn wait_bound(api: &ClusterApi) -> Result<[ClaimFacts; 2]> {
    let (python, system) = tokio::try_join!(
        api.wait_bound(&api.namespace, PYTHON_CLAIM, BOUND),
        api.wait_bound(&api.namespace, NIX_CLAIM, BOUND)
    )?;
    Ok([python, system])
}

/// Both claims, whether Bound or not.
///
/// # Errors
/// One of them is not there.
pub async fn claims(api: &ClusterApi) -> Result<[ClaimFacts; 2]> {
    pair(&api.claims(&api.namespace).await?).context("the claims of both volumes are not there")
}
