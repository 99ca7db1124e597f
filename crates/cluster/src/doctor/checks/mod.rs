//! Judges the facts. Every check is a pure function. For each fault that a check knows, a test passes it exactly that fault.

mod cluster;
mod host;
mod size;
mod standby;
#[cfg(test)]
mod tests;

use crate::doctor::facts::Facts;
use crate::doctor::finding::Finding;

/// Every finding, in the order in which a person would fix things.
pub fn judge(facts: &Facts) -> Vec<Finding> {
    let mut findings = vec![
        host::docker_installed(facts),
        host::docker_running(facts),
        host::docker_api(facts),
        host::capability(facts),
        host::cgroup(facts),
        host::kind_installed(facts),
        host::kind_version(facts),
        host::ports(facts),
        host::disk(facts),
        host::inotify(facts),
        host::user_namespaces(facts),
        host::landlock(facts),
        host::memory_limit(facts),
        host::task_network(facts),
        cluster::image_built(facts),
        cluster::image_nix(facts),
        cluster::reachable(facts),
        cluster::nodes(facts),
        cluster::image_on_node(facts),
        cluster::volumes_mounted(facts),
        cluster::volume_owner(facts),
        cluster::claims_found(facts),
        cluster::claims_bound(facts),
        cluster::claims_on_nodes(facts),
        cluster::claims_large_enough(facts),
        cluster::addresses(facts),
        cluster::clock(facts),
        cluster::leftovers(facts),
        cluster::cache_works(facts),
    ];
    findings.extend(standby::all(facts));
    findings.extend(facts.names.iter().map(cluster::name));
    findings
}
