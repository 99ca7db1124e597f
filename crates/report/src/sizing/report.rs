//! A recommendation with its inputs: the source of every form of the report.

use hybrid_cache_sizing::Recommendation;
use hybrid_cache_sizing::fleet::FleetAdvice;
use hybrid_cache_sizing::proof::Proof;
use serde::Serialize;

use super::section::Section;
use super::{fleet, proof, sentences};

/// A recommendation, and what it was made from.
#[derive(Clone, Debug, Serialize)]
pub struct SizingReport {
    /// The trace: a file's name, or which synthetic one.
    pub origin: String,
    /// True if the trace is synthetic.
    pub is_synthetic: bool,
    /// What to know before trusting the sizes.
    pub warnings: Vec<String>,
    /// The sizes and the reasons.
    pub recommendation: Recommendation,
    /// What a replay on real volumes showed; `None` if there was none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proof: Option<Proof>,
    /// What placement is worth in a fleet, for each volume; empty if it was not requested.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub fleet: Vec<FleetAdvice>,
}

impl SizingReport {
    /// A report; it adds the warnings that follow from the recommendation itself.
    pub fn new(
        origin: String,
        is_synthetic: bool,
        mut warnings: Vec<String>,
        recommendation: Recommendation,
    ) -> SizingReport {
        warnings.extend(sentences::warnings(&recommendation, is_synthetic));
        SizingReport {
            origin,
            is_synthetic,
            warnings,
            recommendation,
            proof: None,
            fleet: Vec::new(),
        }
    }

    /// The optional parts that were requested.
    pub(super) fn sections(&self) -> Vec<Section> {
        let proof = self.proof.iter().map(proof::section);
        let fleet = (!self.fleet.is_empty()).then(|| fleet::section(&self.fleet));
        proof.chain(fleet).collect()
    }
}
