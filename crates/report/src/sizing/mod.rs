//! What `size` found out, for people: terminal, Markdown, a page with the curves, and a patch for the manifests.
//!
//! All three say the same sentences, which `words` makes of a recommendation.

mod fleet;
mod markdown;
mod page;
mod patch;
mod plot;
mod proof;
mod section;
mod terminal;
mod words;

use hybrid_cache_sizing::fleet::FleetAdvice;
use hybrid_cache_sizing::proof::Proof;
use hybrid_cache_sizing::{Recommendation, Volume};
use serde::Serialize;

pub use patch::{PatchError, Resize, patch};

/// A recommendation, and what it was made from.
#[derive(Clone, Debug, Serialize)]
pub struct SizingReport {
    /// The trace: a file's name, or which synthetic one.
    pub origin: String,
    /// True if nobody recorded the trace.
    pub is_synthetic: bool,
    /// What to know before trusting the sizes.
    pub warnings: Vec<String>,
    /// The sizes and the reasons.
    pub recommendation: Recommendation,
    /// What a replay on real volumes showed; `None` if there was none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proof: Option<Proof>,
    /// What placement is worth in a fleet, for each volume; empty if nobody asked.
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
        warnings.extend(words::warnings(&recommendation, is_synthetic));
        SizingReport {
            origin,
            is_synthetic,
            warnings,
            recommendation,
            proof: None,
            fleet: Vec::new(),
        }
    }

    /// Parts that are there if somebody asked for them.
    fn sections(&self) -> Vec<section::Section> {
        let proof = self.proof.iter().map(proof::section);
        let fleet = (!self.fleet.is_empty()).then(|| fleet::section(&self.fleet));
        proof.chain(fleet).collect()
    }

    /// As text for a terminal.
    pub fn terminal(&self) -> String {
        terminal::terminal(self)
    }

    /// As Markdown.
    pub fn markdown(&self) -> String {
        markdown::markdown(self)
    }

    /// As a page with nothing outside it.
    pub fn html(&self) -> String {
        page::page(self)
    }

    /// As JSON.
    ///
    /// # Errors
    /// Never: every type in it has a form in JSON.
    pub fn json(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string_pretty(self)
    }
}

/// The name of the claim that tasks mount for a volume.
pub fn claim_name(volume: Volume) -> &'static str {
    match volume {
        Volume::Python => "uv-cache-pvc",
        Volume::System => "nix-store-pvc",
    }
}
