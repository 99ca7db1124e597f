//! Replays a trace on real volumes and compares the result with what `size` predicts.
//!
//! A [`slice`] of the trace is cut out and made smaller, so that its environments fit a small file system. Each part
//! becomes a stand-in wheel ([`standin`]) or store path ([`system`]), and each request a real preparation by the runner
//! ([`store`]), so uv, hard links, bytecode, publishing, the ledger and eviction are the product's; only Nix is stood in for. The first replay has room for everything and shows
//! what the parts really take and how long requests wait ([`replay`]). From that the sizing crate predicts each size, and a
//! replay on an ext4 of exactly that size shows whether it is so ([`run`]). What is on a volume is measured from outside
//! ([`measure`]), by blocks and unique inodes, and not asked of the ledger.
//!
//! On this machine the runner is called as a pod would call it ([`store`]); in the node of a kind cluster ([`proof_site`]) each request
//! is a task in a pod ([`pods`]). [`keeper`] is what both have in common.

mod claims;
mod foreign;
mod keeper;
mod measure;
mod mounted_volume;
mod pods;
mod proof_site;
mod replay;
mod run;
mod slice;
mod standin;
mod store;
mod system;

pub use claims::{ClaimOrder, Claims, Node, PACKAGES};
pub use mounted_volume::{Device, VOLUME, cannot};
pub use proof_site::ProofSite;
pub use run::{AROUND, Control, Plan, ReplayProgress, prove};
pub use slice::{Bounds, Slice};
