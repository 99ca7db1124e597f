//! Summaries, computed from a record whenever it is read and never stored with it.

mod scenario;

use hybrid_cache_model::sample::{LayerUsage, RunRecord};
use serde::Serialize;

use crate::alternatives::{self, MissingPeer, PeerRatio};
use crate::claim::ClaimResult;
use crate::figure::{self, Figure, FigureKind};
use crate::kubelet::{self, KubeletDelay};
use crate::samples::{Measured, scenario_names};
use crate::stats::holm;
use crate::warning::{self, Warning};

pub use scenario::{GroupSummary, ScenarioSummary};

/// Everything a rendered report says, computed from a [`RunRecord`].
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// By scenario, in the order of the record.
    pub scenarios: Vec<ScenarioSummary>,
    /// The overhead, by kind and then by scenario; only figures that this run has samples for.
    pub figures: Vec<Figure>,
    /// Cached runs beside what people would use instead, by scenario; empty unless that was asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub alternatives: Vec<PeerRatio>,
    /// Peers that were not measured, or not always.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub missing_peers: Vec<MissingPeer>,
    /// How much later a container's state shows an end than its log; on a cluster only.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub kubelet: Vec<KubeletDelay>,
    /// What a reader should know before trusting a figure.
    pub warnings: Vec<Warning>,
}

impl Summary {
    /// Computes the summary of a record.
    pub fn from_record(record: &RunRecord) -> Summary {
        let names = scenario_names(record);
        let measured = Measured::new(record);
        let mut scenarios: Vec<ScenarioSummary> =
            names.iter().map(|name| scenario::scenario(&measured, name)).collect();
        let mut figures = figure::collect(&measured, &names);
        let tests = conclude(&mut scenarios, &mut figures);
        let warnings = warning::collect(record, &scenarios, tests);
        Summary {
            alternatives: alternatives::ratios(&measured, &names),
            missing_peers: alternatives::missing(record),
            kubelet: kubelet::delays(&measured, &names),
            figures,
            scenarios,
            warnings,
        }
    }

    /// Every claim with its scenario and group.
    pub fn claims(&self) -> impl Iterator<Item = (&ScenarioSummary, &GroupSummary, &ClaimResult)> {
        self.scenarios.iter().flat_map(|scenario| {
            scenario
                .groups
                .iter()
                .filter_map(move |group| Some((scenario, group, group.claim.as_ref()?)))
        })
    }

    /// Figures of one kind, in the order of the record's scenarios.
    pub fn figures_of(&self, kind: FigureKind) -> impl Iterator<Item = &Figure> {
        self.figures.iter().filter(move |figure| figure.kind == kind)
    }
}

/// Decides every claim and every target together: a run of many tests is not to be wrong in one of them by chance. Returns
/// how many tests there are.
fn conclude(scenarios: &mut [ScenarioSummary], figures: &mut [Figure]) -> usize {
    let mut claims: Vec<&mut ClaimResult> = scenarios
        .iter_mut()
        .flat_map(|scenario| &mut scenario.groups)
        .filter_map(|group| group.claim.as_mut())
        .collect();
    let of_claims = claims.iter().map(|claim| claim.decision.p);
    let p: Vec<f64> = of_claims
        .chain(figures.iter().map(|figure| figure.decision.p))
        .collect();
    let mut adjusted = holm(&p).into_iter();
    let mut next = || adjusted.next().unwrap_or(1.0);
    for claim in &mut claims {
        claim.conclude(next(), p.len());
    }
    for figure in figures {
        figure.conclude(next(), p.len());
    }
    p.len()
}

/// False for a layer of a cache that the scenario does not ask for: a row of zeros says nothing.
pub(crate) fn holds_something(layer: &LayerUsage) -> bool {
    layer.bytes > 0 || layer.inodes > 0 || layer.entries > 0
}
