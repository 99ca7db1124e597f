//! What a record holds: its scenarios, the samples that count, and whether it was taken on a cluster or through a service.

use hybrid_cache_model::sample::{Acceptance, Peer, PeerSample, RunRecord, Sample};
use hybrid_cache_model::{Scenario, Temperature};

/// Names of the record's scenarios, then of those that only samples name (a record whose header was lost).
pub(crate) fn scenario_names(record: &RunRecord) -> Vec<&str> {
    let mut names: Vec<&str> = Vec::new();
    let declared = record.scenarios.iter().map(|scenario| scenario.name.as_str());
    for name in declared.chain(record.samples.iter().map(|sample| sample.scenario.as_str())) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

/// The scenario of that name as it was measured.
pub(crate) fn declared<'a>(record: &'a RunRecord, name: &str) -> Option<&'a Scenario> {
    record.scenarios.iter().find(|scenario| scenario.name == name)
}

/// The samples of a group that count, in the order in which they were taken.
pub(crate) fn accepted<'a>(record: &'a RunRecord, scenario: &str, temperature: Temperature) -> Vec<&'a Sample> {
    let mut samples: Vec<&Sample> = record
        .samples
        .iter()
        .filter(|sample| sample.scenario == scenario && sample.temperature == temperature)
        .filter(|sample| sample.acceptance == Acceptance::Accepted)
        .collect();
    samples.sort_by_key(|sample| sample.sequence);
    samples
}

/// True if the run was on a cluster. A pod costs more than a sandbox, so other targets apply. A record whose header
/// was lost does not name its driver; its peers may show it.
pub(crate) fn on_cluster(record: &RunRecord) -> bool {
    let provenance = &record.provenance;
    let beside_pods = |sample: &PeerSample| matches!(sample.peer, Peer::BarePod | Peer::LocalDriver);
    ["kube", "argo"].contains(&provenance.driver.as_str())
        || provenance.cluster.is_some()
        || record.peers.iter().any(beside_pods)
}

/// True if the run went through a task service, whose cost is reported apart from its driver's.
pub(crate) fn through_service(record: &RunRecord) -> bool {
    let provenance = &record.provenance;
    let beside_service = |sample: &PeerSample| matches!(sample.peer, Peer::DirectDriver | Peer::RoundTrip);
    provenance.service.is_some() || record.peers.iter().any(beside_service)
}

/// Why a sample does not count, its kind first; `None` if it counts.
pub(crate) fn reason(acceptance: &Acceptance) -> Option<(&'static str, &str)> {
    match acceptance {
        Acceptance::Accepted => None,
        Acceptance::WrongTemperature { reason } => Some(("rejected", reason)),
        Acceptance::Failed { reason } => Some(("failed", reason)),
    }
}
