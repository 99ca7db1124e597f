//! The volume sets of a cluster as its API server reports them.

use hybrid_cache_driver::kube::VolumeSet;

use super::{claim_names, set_of_claim};
use crate::facts::{ClaimFacts, NodeFacts, VolumeFacts};

/// The claims of one set: for Python environments, and for system packages.
pub type Pair = [ClaimFacts; 2];

/// The claims of each of `sets` sets, in order; `None` for a set without both.
pub fn pairs(claims: &[ClaimFacts], sets: u32) -> Vec<Option<Pair>> {
    let find = |name: &String| claims.iter().find(|claim| claim.name == *name).cloned();
    let pair = |set| {
        let [python, system] = claim_names(set);
        Some([find(&python)?, find(&system)?])
    };
    (0..sets).map(pair).collect()
}

/// The claims of sets that are not among the first `sets`: an earlier `up` made more.
pub fn claims_beyond(claims: &[ClaimFacts], sets: u32) -> Vec<String> {
    let is_beyond = |claim: &&ClaimFacts| set_of_claim(&claim.name).is_some_and(|set| set >= sets);
    let mut beyond: Vec<&ClaimFacts> = claims.iter().filter(is_beyond).collect();
    beyond.sort_by_key(|claim| set_of_claim(&claim.name));
    beyond.into_iter().map(|claim| claim.name.clone()).collect()
}

/// The sets as the driver gets them; none if there is one only, which the driver knows already. A further set without its claims is
/// left out, unless no claims are known at all.
pub fn driver_sets(claims: &[ClaimFacts], sets: u32, follows_pods: bool) -> Vec<VolumeSet> {
    if sets < 2 {
        return Vec::new();
    }
    let bytes = |name: &String| {
        let claim = claims.iter().find(|claim| claim.name == *name);
        claim.map_or(0, ClaimFacts::bytes)
    };
    let set = |set: u32| {
        let [python_claim, nix_claim] = claim_names(set);
        VolumeSet {
            name: set.to_string(),
            python_claim_bytes: bytes(&python_claim),
            nix_claim_bytes: bytes(&nix_claim),
            python_claim,
            nix_claim,
            follows_pods,
        }
    };
    let is_there = |set: &u32| {
        let has = |name: String| claims.iter().any(|claim| claim.name == name);
        *set == 0 || claims.is_empty() || claim_names(*set).into_iter().all(has)
    };
    (0..sets).filter(is_there).map(set).collect()
}

/// The nodes that a claim's volume can be mounted on; all of them if the volume does not say. `None` if the volume is not known.
pub fn nodes_of<'a>(claim: &ClaimFacts, volumes: &[VolumeFacts], nodes: &'a [NodeFacts]) -> Option<Vec<&'a NodeFacts>> {
    let name = claim.volume.as_ref()?;
    let volume = volumes.iter().find(|volume| volume.name == *name)?;
    let fit = nodes.iter().filter(|node| volume.fits(&node.labels));
    Some(fit.collect())
}
