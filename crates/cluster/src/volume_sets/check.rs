//! Refuses numbers of sets and of nodes that cannot work, all faults in one answer.

use hybrid_cache_tools::{Error, Result};
use serde_json::Value;

use super::{MAX_SETS, MAX_WORKERS, Pair, StorageClassFacts};
use crate::options::UpOptions;

/// What a quota calls the number of claims.
const CLAIMS: &str = "persistentvolumeclaims";

/// Checks the options of `up` before anything is done.
///
/// # Errors
/// They cannot work on any cluster; the error names all of their faults.
pub fn check(options: &UpOptions) -> Result<()> {
    let mut faults = Vec::new();
    match options.volume_sets {
        Some(0) => faults.push(
            "--volume-sets 0: there must be a set; the pair of claims of every cluster is one\nhint: leave the option out, or use \
             `--volume-sets 1`"
                .to_owned(),
        ),
        Some(sets) if sets > MAX_SETS => faults.push(format!(
            "--volume-sets {sets}: at most {MAX_SETS} sets are possible\nhint: give each set larger claims with --python-size and \
             --system-size"
        )),
        _ => {}
    }
    match (options.workers, &options.cluster.context) {
        (Some(_), Some(_)) => faults.push(
            "--workers makes the nodes of a kind cluster, and --context names a cluster that has nodes\nhint: leave --workers out"
                .to_owned(),
        ),
        (Some(workers), None) if workers > MAX_WORKERS => faults.push(format!(
            "--workers {workers}: at most {MAX_WORKERS} nodes fit on one machine\nhint: use `--workers {MAX_WORKERS}` or fewer"
        )),
        (Some(workers), None) if options.storage_class.is_none() => {
            let sets = options.volume_sets.filter(|sets| *sets <= MAX_SETS);
            faults.extend(sets.and_then(|sets| too_many(sets, workers)));
        }
        _ => {}
    }
    all(faults)
}

/// Checks that each set has a node of its own, on a kind cluster whose volumes are folders.
///
/// # Errors
/// There are more sets than nodes.
pub fn check_nodes(sets: u32, workers: u32) -> Result<()> {
    all(too_many(sets, workers).into_iter().collect())
}

fn too_many(sets: u32, workers: u32) -> Option<String> {
    // Without workers the control plane runs tasks and has the one set.
    let nodes = workers.max(1);
    let has = match workers {
        0 => "the cluster has one node".to_owned(),
        1 => "there is 1 worker node".to_owned(),
        workers => format!("there are {workers} worker nodes"),
    };
    (sets > nodes).then(|| {
        format!(
            "{sets} volume sets: {has}, and two sets on one node would share its disk and its processors\nhint: have fewer, \
             `--volume-sets {nodes}`; or more nodes, `cargo xtask up --workers {sets} --volume-sets {sets}`, after `cargo xtask \
             down` if the cluster exists: the caches stay"
        )
    })
}

/// What is unwise about so many sets on so many nodes, for a person; `None` if nothing, or if there is one set.
pub fn warning(
    sets: u32,
    nodes: usize,
    (class, pairs): (Option<&StorageClassFacts>, &[Option<Pair>]),
) -> Option<String> {
    if sets < 2 {
        return None;
    }
    let claims_shared = pairs.iter().flatten().flatten().any(|claim| claim.is_shared);
    if claims_shared || class.is_some_and(StorageClassFacts::is_shared) {
        let named = class.map_or_else(String::new, |class| format!(" of StorageClass {}", class.name));
        return Some(format!(
            "all nodes mount the volumes{named} at the same time (ReadWriteMany): one volume set is enough, and an environment is \
             built only once\nhint: `cargo xtask up --volume-sets 1`"
        ));
    }
    (sets as usize > nodes).then(|| {
        format!(
            "{sets} volume sets on {nodes} nodes: some nodes have several, which share their disks and processors\nhint: add nodes, or \
             have at most {} sets",
            nodes.max(1)
        )
    })
}

/// The quotas of a namespace that forbid so many further claims, one fault for each.
pub fn quota_faults(quotas: &[Value], further: usize) -> Vec<String> {
    let amount = |quota: &Value, of: &str| quota["status"][of][CLAIMS].as_str()?.parse::<usize>().ok();
    let fault = |quota: &Value| {
        let (hard, used) = (amount(quota, "hard")?, amount(quota, "used").unwrap_or(0));
        let name = quota.pointer("/metadata/name")?.as_str()?;
        (used + further > hard).then(|| {
            format!(
                "ResourceQuota {name} allows {hard} {CLAIMS}, {used} are used, and {further} more are needed\nhint: raise \
                 `{CLAIMS}` of this quota to {}, or have fewer sets",
                used + further
            )
        })
    };
    quotas.iter().filter_map(fault).collect()
}

fn all(faults: Vec<String>) -> Result<()> {
    match faults.is_empty() {
        true => Ok(()),
        false => Err(Error::input(faults.join("\n"))),
    }
}
