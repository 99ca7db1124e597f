//! The report of `size`: terminal, Markdown, a page with the curves, and a patch for the manifests.
//!
//! All forms use the same sentences (`sentences`).

mod claim;
mod fleet;
mod markdown;
mod page;
mod patch;
mod plot;
mod proof;
mod render;
mod report;
mod section;
mod sentences;
mod terminal;

pub use claim::claim_name;
pub use patch::{PatchError, Resize, patch};
pub use report::SizingReport;
