//! On-disk primitives of both volumes: layout version, locks, atomic file operations, staging folders, hashes, disk
//! usage.
//!
//! Nothing here depends on Python or Nix. Every error names its path, and every wait has a deadline.

pub mod build_failure;
pub mod digest;
pub mod failure;
pub mod files;
pub mod folder;
pub mod format;
pub mod known_files;
pub mod lock;
pub mod measure;
pub mod sha256;
pub mod stage;
pub mod tenants;
pub mod tree;

pub use failure::IoContext;
pub use lock::Lock;
