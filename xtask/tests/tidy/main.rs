//! The invariants of ARCHITECTURE.md, held by machine: who may depend on whom, who may touch what, how files look.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod circles;
mod face;
mod layers;
mod libraries;
mod looks;
mod manifests;
mod promises;
mod syntax;
mod tree;
mod type_names;
