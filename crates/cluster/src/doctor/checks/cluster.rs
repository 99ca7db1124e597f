//! Checks of the image, the cluster, its volumes and its caches.

use super::size::size;
use crate::doctor::facts::{Claim, Cluster, Fact, Facts, Name};
use crate::doctor::finding::Finding;

/// User that runs tasks and preparations.
const OWNER: u32 = 10_001;
/// Smallest volume that holds more than one toolchain, in bytes.
const MIN_CLAIM_BYTES: u64 = 2 << 30;
/// Share of a volume, in percent, above which the volume will soon be full.
const FULL_PERCENT: u64 = 90;
/// Largest difference between clocks, in seconds: a larger one breaks certificates and tokens.
const MAX_SKEW_S: i64 = 30;

const UP: &str = "cargo xtask up";

/// Runs a check of the cluster, if there is a cluster.
fn with(id: &'static str, facts: &Facts, look: impl FnOnce(&Cluster) -> Finding) -> Finding {
    match &facts.cluster {
        Fact::Known(cluster) => look(cluster),
        Fact::Unknown(_) => Finding::skipped(id, "see cluster.reachable"),
    }
}

fn known<T>(id: &'static str, fact: &Fact<T>, look: impl FnOnce(&T) -> Finding) -> Finding {
    match fact {
        Fact::Known(fact) => look(fact),
        Fact::Unknown(why) => Finding::skipped(id, why.clone()),
    }
}

pub(super) fn image_built(facts: &Facts) -> Finding {
    const ID: &str = "image.built";
    known(ID, &facts.image, |image| match &image.id {
        Some(id) => {
            let pythons = image.pythons.join(", ");
            Finding::good(ID, format!("{} is {id}, with Python {pythons}", image.reference))
        }
        None => Finding::bad(
            ID,
            format!("Docker has no image {}", image.reference),
            "cargo xtask image",
        ),
    })
}

pub(super) fn image_nix(facts: &Facts) -> Finding {
    const ID: &str = "image.nix";
    known(ID, &facts.image, |image| match (&image.id, &image.nix) {
        (None, _) => Finding::skipped(ID, "see image.built"),
        (Some(_), Some(nix)) => Finding::good(ID, format!("the image brings {nix}")),
        (Some(_), None) => Finding::bad(
            ID,
            format!("neither nix-portable nor nix is in {}", image.reference),
            "`cargo xtask tools` shows why; then rebuild the image: cargo xtask image --force",
        ),
    })
}

pub(super) fn reachable(facts: &Facts) -> Finding {
    const ID: &str = "cluster.reachable";
    match &facts.cluster {
        Fact::Known(cluster) => Finding::good(ID, format!("context {}", cluster.context)),
        Fact::Unknown(why) => Finding::bad(ID, why.clone(), format!("create it: {UP}")),
    }
}

pub(super) fn nodes(facts: &Facts) -> Finding {
    const ID: &str = "cluster.node-ready";
    with(ID, facts, |cluster| {
        let bad = cluster
            .nodes
            .iter()
            .find_map(|(name, ready)| Some((name, ready.as_ref().err()?)));
        match bad {
            Some((name, why)) => Finding::bad(
                ID,
                format!("node {name} is not Ready: {why}"),
                format!(
                    "wait a minute, then `kubectl describe node {name}`; to recreate a kind node, run {UP} --recreate"
                ),
            ),
            None if cluster.nodes.is_empty() => Finding::bad(ID, "the cluster has no node", format!("{UP} --recreate")),
            None => Finding::good(
                ID,
                format!("{} of {} nodes Ready", cluster.nodes.len(), cluster.nodes.len()),
            ),
        }
    })
}

pub(super) fn image_on_node(facts: &Facts) -> Finding {
    const ID: &str = "image.on-node";
    with(ID, facts, |cluster| {
        known(ID, &cluster.image_on_node, |there| {
            if *there {
                return Finding::good(ID, "the node has the image");
            }
            Finding::bad(
                ID,
                "the node does not have the image; it would be pulled from a registry",
                format!("load it: {UP}"),
            )
        })
    })
}

pub(super) fn volumes_mounted(facts: &Facts) -> Finding {
    const ID: &str = "volume.mounted";
    with(ID, facts, |cluster| {
        known(ID, &cluster.volumes_mounted, |there| {
            if *there {
                return Finding::good(ID, "the folder of the volumes is mounted into the node");
            }
            Finding::bad(
                ID,
                "the node has no mount for the volumes: caches would vanish with the cluster",
                format!("the cluster was created without manifests/kind-cluster.yaml; recreate it: {UP} --recreate"),
            )
        })
    })
}

pub(super) fn volume_owner(facts: &Facts) -> Finding {
    const ID: &str = "volume.owner";
    with(ID, facts, |cluster| {
        known(ID, &cluster.owners, |owners| {
            match owners.iter().find(|(_, owner)| *owner != OWNER) {
                Some((folder, owner)) => Finding::bad(
                    ID,
                    format!("{folder} belongs to user {owner}, preparations run as {OWNER}"),
                    format!("{UP} sets the owner; elsewhere: chown -R {OWNER}:{OWNER} on the volume"),
                ),
                None => Finding::good(ID, format!("the volumes belong to user {OWNER}")),
            }
        })
    })
}

pub(super) fn claims_found(facts: &Facts) -> Finding {
    const ID: &str = "pvc.found";
    with(ID, facts, |cluster| {
        match cluster.claims.iter().find(|claim| claim.phase.is_none()) {
            Some(claim) => Finding::bad(
                ID,
                format!("there is no PersistentVolumeClaim {}", claim.name),
                format!("{UP}, or kubectl apply -f manifests/pvc-cache-volumes.yaml"),
            ),
            None => Finding::good(ID, names(&cluster.claims)),
        }
    })
}

pub(super) fn claims_bound(facts: &Facts) -> Finding {
    const ID: &str = "pvc.bound";
    with(ID, facts, |cluster| {
        let unbound = cluster.claims.iter().find_map(|claim| {
            let phase = claim.phase.as_deref()?;
            (phase != "Bound").then_some((claim, phase))
        });
        let Some((claim, phase)) = unbound else {
            return Finding::good(ID, "every claim is Bound");
        };
        let event = claim
            .event
            .as_ref()
            .map(|event| format!(": {event}"))
            .unwrap_or_default();
        let fix = match phase {
            "Lost" => format!("its PersistentVolume no longer exists; create both again: {UP} --recreate"),
            _ => "it waits for a PersistentVolume of its class; `kubectl describe pvc` shows the class: choose a \
                  StorageClass of the cluster with --storage-class"
                .to_owned(),
        };
        Finding::bad(ID, format!("{} is {phase}{event}", claim.name), fix)
    })
}

pub(super) fn claims_large_enough(facts: &Facts) -> Finding {
    const ID: &str = "pvc.size";
    with(ID, facts, |cluster| {
        let bound = || cluster.claims.iter().filter(|claim| claim.capacity_bytes > 0);
        let fix = "enlarge it: cargo xtask up --python-size QUANTITY --system-size QUANTITY; add --recreate if its \
                   StorageClass cannot expand volumes";
        if let Some(claim) = bound().find(|claim| claim.capacity_bytes < MIN_CLAIM_BYTES) {
            return Finding::bad(ID, format!("{} has {}", claim.name, size(claim.capacity_bytes)), fix);
        }
        let full = bound().find_map(|claim| {
            let percent = claim.used_bytes? * 100 / claim.capacity_bytes;
            (percent >= FULL_PERCENT).then(|| format!("{} is full to {percent} percent", claim.name))
        });
        match full {
            Some(fact) => Finding::warning(
                ID,
                fact,
                format!("free space: cargo xtask cache gc --max-bytes SIZE --driver kube; or {fix}"),
            ),
            None => {
                let shown: Vec<_> = bound()
                    .map(|claim| format!("{} {}", claim.name, size(claim.capacity_bytes)))
                    .collect();
                Finding::good(ID, shown.join(", "))
            }
        }
    })
}

pub(super) fn claims_on_nodes(facts: &Facts) -> Finding {
    const ID: &str = "pvc.node";
    with(ID, facts, |cluster| {
        let lost = cluster
            .claims
            .iter()
            .find_map(|claim| Some((claim, claim.nodes.as_ref()?.as_ref().err()?)));
        if let Some((claim, why)) = lost {
            return Finding::bad(
                ID,
                format!("no pod can mount {}: {why}", claim.name),
                format!(
                    "tasks of other volume sets run; bring the node back: {UP} starts a kind node that is stopped. If it is gone for \
                     good, leave its set out: {UP} --volume-sets NUM, or create it again: {UP} --recreate"
                ),
            );
        }
        let on = |claim: &Claim| match claim.nodes.as_ref()?.as_ref().ok()?.as_slice() {
            [node] => Some(format!("{} on {node}", claim.name)),
            nodes => Some(format!("{} on any of {} nodes", claim.name, nodes.len())),
        };
        let known: Vec<String> = cluster.claims.iter().filter_map(on).collect();
        match known.is_empty() {
            true => Finding::skipped(ID, "the cluster does not say where the volumes are"),
            false => Finding::good(ID, known.join(", ")),
        }
    })
}

fn names(claims: &[Claim]) -> String {
    let names: Vec<_> = claims.iter().map(|claim| claim.name.as_str()).collect();
    names.join(", ")
}

pub(super) fn addresses(facts: &Facts) -> Finding {
    const ID: &str = "cluster.addresses";
    with(ID, facts, |cluster| {
        known(ID, &cluster.addresses, |addresses| {
            match (addresses.left_open.as_slice(), &addresses.unknown) {
                ([], None) => Finding::good(ID, "the network policy closes the cluster's own addresses to tasks"),
                ([], Some(unknown)) => {
                    let (fact, fix) = unknown.split_once("\nhint: ").unwrap_or((unknown, UP));
                    Finding::warning(ID, fact, fix)
                }
                (open, _) => Finding::warning(
                    ID,
                    format!(
                        "the network policy leaves addresses of the cluster open to tasks: {}",
                        open.join(", ")
                    ),
                    format!("bring it up to date: {UP}"),
                ),
            }
        })
    })
}

pub(super) fn clock(facts: &Facts) -> Finding {
    const ID: &str = "cluster.clock";
    with(ID, facts, |cluster| {
        known(ID, &cluster.clock_ahead_s, |ahead| {
            if ahead.abs() <= MAX_SKEW_S {
                return Finding::good(ID, format!("the cluster's clock is {ahead} s ahead of ours"));
            }
            Finding::warning(
                ID,
                format!("the cluster's clock is {ahead} s ahead of ours"),
                "set both by NTP; measured times do not depend on it, certificates and ages do",
            )
        })
    })
}

pub(super) fn leftovers(facts: &Facts) -> Finding {
    const ID: &str = "cluster.leftovers";
    with(ID, facts, |cluster| {
        let count = cluster.leftovers.len();
        let Some(first) = cluster.leftovers.first() else {
            return Finding::good(ID, "interrupted runs have left nothing");
        };
        Finding::warning(
            ID,
            format!("interrupted runs have left {count} things behind, such as {first}"),
            format!("{UP} removes them"),
        )
    })
}

pub(super) fn cache_works(facts: &Facts) -> Finding {
    const ID: &str = "cache.works";
    known(ID, &facts.smoke_test, |smoke_test| {
        if let Some(failure) = &smoke_test.failure {
            return Finding::bad(
                ID,
                format!("a task failed: {failure}"),
                "fix that, then run doctor again",
            );
        }
        if smoke_test.all_hit {
            return Finding::good(
                ID,
                format!("the second of two runs hit, in {} ms", smoke_test.second_ms),
            );
        }
        let said: Vec<_> = smoke_test
            .second
            .iter()
            .map(|(cache, status)| format!("{cache}: {status}"))
            .collect();
        Finding::bad(
            ID,
            format!("the second of two runs found nothing ({})", said.join(", ")),
            "the volumes must be the same ones for every pod: see volume.mounted, pvc.bound and `cargo xtask cache verify --driver kube`",
        )
    })
}

pub(super) fn name(name: &Name) -> Finding {
    const ID: &str = "system.name";
    let asked = &name.asked;
    match &name.attributes {
        Some(attributes) => Finding::good(ID, format!("{asked} is {} in {}", attributes.join(", "), name.source)),
        None => Finding::bad(
            ID,
            format!("{} has no package {asked}", name.source),
            match &name.suggestion {
                Some(suggestion) => format!("did you mean {suggestion}?"),
                None => "look its name up where the packages come from; with nixpkgs: nix search".to_owned(),
            },
        ),
    }
}
