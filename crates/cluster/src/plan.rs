//! Decides what `up` has to do from what was observed. Pure code: `--plan` prints the result, `up` carries it out.

use std::collections::BTreeSet;
use std::path::Path;

use crate::contents::{self, Contents};
use crate::names::OWNER;
use crate::node::Folder;
use crate::nodes::OpenRanges;
use crate::objects::{DryRun, Refusal, describe, explain_terminating};
use crate::options::RecreatePolicy;
use crate::setup_record::SetupRecord;
use crate::state::{Record, Stage};

/// What has to be done for one step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// The part is in the requested state.
    Nothing,
    /// The part does not exist yet.
    Create,
    /// The part exists and has to change.
    Change,
    /// The part has to be deleted and created again.
    Replace,
    /// Something that is not ours to remove blocks the step.
    Conflict,
}

impl Decision {
    /// The decision as a word for a person.
    pub fn word(&self) -> &'static str {
        match self {
            Decision::Nothing => "nothing to do",
            Decision::Create => "create",
            Decision::Change => "change",
            Decision::Replace => "delete and create",
            Decision::Conflict => "conflict",
        }
    }
}

/// A step, with what has to be done and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Planned {
    /// Which step.
    pub step: &'static str,
    /// What has to be done.
    pub decision: Decision,
    /// What was found, or what blocks the step and the next step to take.
    pub what: String,
}

impl Planned {
    /// Creates a step.
    pub fn new(step: &'static str, decision: Decision, what: impl Into<String>) -> Planned {
        let what = what.into();
        Planned { step, decision, what }
    }

    /// True if the step would change something.
    pub fn acts(&self) -> bool {
        !matches!(self.decision, Decision::Nothing | Decision::Conflict)
    }
}

/// The containers of a kind cluster's nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeContainer {
    /// Id of the control plane's container.
    pub id: String,
    /// State of the containers: `running`, or that of the first that does not run, such as `exited`.
    pub state: String,
    /// The node image that the containers were made from.
    pub image: String,
    /// Worker nodes beside the control plane.
    pub workers: u32,
    /// True if our folder is mounted into the first node that runs tasks; `None` if not all run.
    pub mounts_our_folder: Option<bool>,
    /// True if Kubernetes reports all nodes as Ready; `None` if nothing answers.
    pub ready: Option<bool>,
}

/// How many worker nodes a kind cluster must have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WorkerRequest {
    /// Any number: the cluster is deleted.
    Any,
    /// As many as it was created with.
    Kept,
    /// This many.
    Wanted(u32),
}

/// What the user requested of a kind cluster.
#[derive(Clone, Copy, Debug)]
pub struct ClusterRequest<'a> {
    /// Name of the cluster.
    pub name: &'a str,
    /// The folder of this machine for the cluster's volumes.
    pub volumes: &'a Path,
    /// The requested number of worker nodes.
    pub workers: WorkerRequest,
    /// The requested node image, if it is not the node's.
    pub other_image: Option<&'a str>,
    /// What may be deleted.
    pub recreate: RecreatePolicy,
}

/// What has to be done to the cluster.
pub fn cluster(asked: ClusterRequest<'_>, container: Option<&NodeContainer>, record: Option<&Record>) -> Planned {
    let name = asked.name;
    let planned = |decision, what: String| Planned::new("cluster", decision, what);
    let Some(container) = container else {
        let workers = match asked.workers {
            WorkerRequest::Wanted(workers) => workers,
            WorkerRequest::Any | WorkerRequest::Kept => record.map_or(0, |record| record.workers),
        };
        let with = (workers > 0).then(|| format!("; it gets {}", workers_in_words(workers)));
        return planned(
            Decision::Create,
            format!("kind cluster {name} is not there{}", with.unwrap_or_default()),
        );
    };
    let half_made = record.is_some_and(|record| record.stage == Stage::Creating);
    if half_made && container.mounts_our_folder != Some(false) {
        let what = format!("making cluster {name} was interrupted; nothing was in it yet");
        return planned(Decision::Replace, what);
    }
    let recreating = asked.recreate == RecreatePolicy::IfImmutable;
    match (obstacle(asked, container, record), container.ready == Some(true)) {
        (None, true) => planned(Decision::Nothing, format!("kind cluster {name} is Ready")),
        (Some(obstacle), _) if !recreating => planned(Decision::Conflict, obstacle),
        (_, _) if recreating => {
            let what = format!(
                "--recreate deletes cluster {name} with everything in it, including its service's tasks; the caches on \
                 this machine stay"
            );
            planned(Decision::Replace, what)
        }
        (_, _) if container.state == "running" => planned(
            Decision::Change,
            format!("kind cluster {name} runs, but is not Ready yet"),
        ),
        (_, _) => {
            let state = &container.state;
            planned(
                Decision::Change,
                format!("a node of kind cluster {name} is {state}, it is started"),
            )
        }
    }
}

/// What cannot be changed in place, with the next step; `None` if nothing.
fn obstacle(asked: ClusterRequest<'_>, container: &NodeContainer, record: Option<&Record>) -> Option<String> {
    let name = asked.name;
    let complete = record.filter(|record| matches!(&record.stage, Stage::Complete { node } if *node == container.id));
    // If the record is lost or belongs to an earlier cluster, our folder in the node shows that the cluster is ours.
    if complete.is_none() && container.mounts_our_folder != Some(true) {
        return Some(format!(
            "kind cluster {name} exists, but this program did not create it\nhint: choose another name with --name, use \
             it with --context kind-{name}, or replace it and everything in it with --recreate"
        ));
    }
    if complete.is_some_and(|record| record.volumes != asked.volumes) {
        return Some(format!(
            "cluster {name} keeps its volumes in another folder than {}\nhint: a mount cannot be changed in place; \
             create the cluster again with --recreate. The caches stay in the old folder",
            asked.volumes.display()
        ));
    }
    if let Some(obstacle) = other_workers(asked, container, complete) {
        return Some(obstacle);
    }
    let other = asked.other_image?;
    Some(format!(
        "cluster {name} was created from {}, not from {other}\nhint: create it again with --recreate; the caches stay",
        container.image
    ))
}

/// What is wrong with the number of workers; `None` if nothing.
fn other_workers(asked: ClusterRequest<'_>, container: &NodeContainer, record: Option<&Record>) -> Option<String> {
    let (name, found) = (asked.name, container.workers);
    if asked.workers == WorkerRequest::Any {
        return None;
    }
    if let Some(made) = record.map(|record| record.workers).filter(|made| *made != found) {
        return Some(format!(
            "cluster {name} was created with {}, and Docker has {found} of them\nhint: create it again with --recreate; the caches \
             stay",
            workers_in_words(made)
        ));
    }
    let wanted = match asked.workers {
        WorkerRequest::Wanted(wanted) if wanted != found => wanted,
        _ => return None,
    };
    Some(format!(
        "cluster {name} was created with {}, and the number of nodes is fixed when a cluster is made\nhint: `cargo xtask down`, then \
         `cargo xtask up --workers {wanted}`; the caches stay",
        workers_in_words(found)
    ))
}

fn workers_in_words(workers: u32) -> String {
    match workers {
        0 => "no worker nodes".to_owned(),
        1 => "1 worker node".to_owned(),
        workers => format!("{workers} worker nodes"),
    }
}

/// Why `down` leaves a cluster alone whose service keeps tasks in it; `None` if `down` may delete it.
pub fn service_data(cluster: &str, held: bool, delete: bool) -> Option<String> {
    (held && !delete).then(|| {
        format!(
            "the task service in cluster {cluster} keeps its tasks and their output there; deleting the cluster would delete \
             them\nhint: delete them too with `cargo xtask down --service-data`, or only stop the service with `kubectl -n \
             argo scale deployment/hybrid-cache-service --replicas=0`"
        )
    })
}

/// What has to be done about the image on the node. The engine has the image `reference`.
pub fn load(reference: &str, on_node: bool) -> Planned {
    match on_node {
        true => Planned::new("load", Decision::Nothing, format!("{reference} is on the node")),
        false => Planned::new("load", Decision::Create, format!("{reference} is not on the node")),
    }
}

/// What has to be done to the objects: one line for all that are in the requested state, and one for each of the others.
pub fn objects(dry_runs: &[(serde_json::Value, DryRun)], recreate: RecreatePolicy) -> Vec<Planned> {
    const STEP: &str = "objects";
    let mut planned = Vec::new();
    let mut same = 0;
    for (object, dry_run) in dry_runs {
        let name = describe(object);
        let recreating = recreate == RecreatePolicy::IfImmutable;
        planned.push(match dry_run {
            DryRun::Same => {
                same += 1;
                continue;
            }
            DryRun::Absent => Planned::new(STEP, Decision::Create, name),
            DryRun::Terminating => Planned::new(STEP, Decision::Conflict, explain_terminating(object)),
            DryRun::Differs(fields) => Planned::new(STEP, Decision::Change, format!("{name}: {}", fields.join(", "))),
            DryRun::Refused(Refusal::Conflict(_)) if recreating => Planned::new(
                STEP,
                Decision::Change,
                format!("{name}: fields that another manager owns are taken over"),
            ),
            DryRun::Refused(Refusal::Immutable(_)) if recreating => Planned::new(STEP, Decision::Replace, name),
            DryRun::Refused(refusal) => Planned::new(STEP, Decision::Conflict, refusal.explain(object)),
        });
    }
    if same > 0 {
        planned.insert(
            0,
            Planned::new(STEP, Decision::Nothing, format!("{same} are up to date")),
        );
    }
    planned
}

/// What has to be done to the folders of the volumes on a kind node.
pub fn folders(folders: &[Folder]) -> Planned {
    const STEP: &str = "folders";
    for wanted in folders {
        if let Contents::Other(example) = &wanted.contents {
            let folder = format!("the folder of volume {}", wanted.label());
            return Planned::new(STEP, Decision::Conflict, contents::refusal(&folder, example));
        }
    }
    let wrong: Vec<String> = folders_to_own(folders).into_iter().map(Folder::label).collect();
    if wrong.is_empty() {
        let both = if folders.len() > 2 { "all" } else { "both" };
        return Planned::new(STEP, Decision::Nothing, format!("{both} belong to user {OWNER}"));
    }
    let missing = folders.iter().all(|folder| folder.owner.is_none());
    let decision = if missing { Decision::Create } else { Decision::Change };
    Planned::new(STEP, decision, format!("{} for user {OWNER}", wrong.join(" and ")))
}

/// What has to be done to keep pods from link-local addresses; `open` are the ranges of pods that can reach them through each node.
pub fn routes(open: &[OpenRanges]) -> Planned {
    const STEP: &str = "routes";
    let open: BTreeSet<&str> = open.iter().flat_map(|node| &node.ranges).map(String::as_str).collect();
    if open.is_empty() {
        return Planned::new(STEP, Decision::Nothing, "pods cannot reach link-local addresses");
    }
    let open: Vec<&str> = open.into_iter().collect();
    let what = format!("rules that keep pods ({}) from link-local addresses", open.join(", "));
    Planned::new(STEP, Decision::Create, what)
}

/// The folders that do not exist, or that do not belong with all their contents to the tasks' user.
pub fn folders_to_own(folders: &[Folder]) -> Vec<&Folder> {
    let wrong = |folder: &&Folder| folder.owner != Some((OWNER, OWNER)) || !folder.strange.is_empty();
    folders.iter().filter(wrong).collect()
}

/// Whether the inner folders of the volumes have to be created. `claims` identifies the current claims of all sets.
pub fn volumes(record: &SetupRecord, claims: Option<&str>, folders: Option<&[Folder]>) -> Planned {
    const STEP: &str = "volumes";
    // A kind node's folders can be read; on other clusters only the record is available. The Python volume is mounted by its root.
    let lost = |folder: &Folder| match folder.name.as_str() {
        "system" => !folder.entries.iter().any(|entry| entry == ".nix-portable"),
        _ => folder.owner.is_none(),
    };
    let emptied = folders.is_some_and(|folders| folders.iter().any(lost));
    let made = record.volumes.as_deref().unwrap_or_default();
    // Claims of sets that are no longer used may be recorded as well.
    let is_made = |claims: &str| claims.split(' ').all(|claim| made.split(' ').any(|made| made == claim));
    match claims {
        Some(claims) if is_made(claims) && !emptied => Planned::new(
            STEP,
            Decision::Nothing,
            format!("{} are Bound and have their folders", all_claims(claims)),
        ),
        _ => Planned::new(STEP, Decision::Create, "the folders of the caches are made"),
    }
}

/// The claims in words, from what identifies them.
pub fn all_claims(identity: &str) -> String {
    match identity.split(' ').count() {
        2 => "both claims".to_owned(),
        claims => format!("all {claims} claims"),
    }
}

/// What has to be recorded of the volume sets, and which claims of former ones are left; `None` if there was and is one set.
pub fn sets(before: u32, wanted: u32, left: &[String], namespace: &str) -> Option<Planned> {
    const STEP: &str = "sets";
    let kept = match left {
        [] => String::new(),
        left => format!(
            "; the claims of former sets stay with what they hold: {}\nhint: `cargo xtask up --volume-sets {}` uses them again; \
             `kubectl delete pvc --namespace {namespace} {}` deletes them",
            left.join(", "),
            before.max(wanted + 1),
            left.join(" ")
        ),
    };
    let in_words = |sets: u32| {
        if sets == 1 {
            "1 volume set".to_owned()
        } else {
            format!("{sets} volume sets")
        }
    };
    match (before == wanted, wanted == 1 && left.is_empty()) {
        (true, true) => None,
        (true, false) => Some(Planned::new(
            STEP,
            Decision::Nothing,
            format!("{}{kept}", in_words(wanted)),
        )),
        (false, _) => {
            let what = format!("{} instead of {before}{kept}", in_words(wanted));
            Some(Planned::new(STEP, Decision::Change, what))
        }
    }
}

/// Whether a first task has to run.
pub fn task(record: &SetupRecord, image: &str, changed: bool) -> Planned {
    const STEP: &str = "task";
    match record.task_image.as_deref() {
        Some(done) if done == image && !changed => {
            Planned::new(STEP, Decision::Nothing, "a task has succeeded with this image before")
        }
        _ => Planned::new(STEP, Decision::Create, "a first task is run"),
    }
}

#[cfg(test)]
mod tests;
