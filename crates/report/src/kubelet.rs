//! How much later a container's state shows an end than its log: the kubelet's delay. It is not part of any figure, because a task
//! and the bare pod beside it are both seen to end in their logs.

use hybrid_cache_model::sample::Peer;
use serde::Serialize;

use crate::samples::Measured;
use crate::stats::Distribution;

/// What the rows say, in a sentence.
pub(crate) const KUBELET: &str = "The kubelet's delay is the time from the end of a bare pod's log until its container's state shows the end. \
                                  No figure includes it: both sides of \"cached run / bare pod\" end with the log.";

/// The delay in pods of one scenario.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct KubeletDelay {
    /// The scenario's name.
    pub scenario: String,
    /// Bare pods that were measured.
    pub n: usize,
    /// From the end of the log until the container's state showed the end.
    pub delay: Distribution,
}

/// The delays of a run, by scenario; empty if no bare pod's end was seen in its log.
pub(crate) fn delays(measured: &Measured<'_>, scenarios: &[&str]) -> Vec<KubeletDelay> {
    let of = |name: &&str| {
        let delays = measured.peer(name, Peer::BarePod, |sample| {
            Some(sample.state_us?.saturating_sub(sample.wall_us))
        });
        let in_rounds: Vec<(u32, u64)> = delays.iter().map(|timed| (timed.place.round, timed.us)).collect();
        Some(KubeletDelay {
            scenario: (*name).to_owned(),
            n: in_rounds.len(),
            delay: Distribution::from_rounds(&in_rounds)?,
        })
    };
    scenarios.iter().filter_map(of).collect()
}
