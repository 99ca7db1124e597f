//! What both volumes share on disk: the layout version, locks, atomic publishing, staging folders, disk usage.
//!
//! Nothing here knows of Python or Nix. Every function names the path it failed at, and every wait has a deadline.

pub mod build_failure;
pub mod digest;
pub mod failure;
pub mod files;
pub mod folder;
pub mod format;
pub mod known_files;
pub mod lock;
pub mod measure;
pub mod stage;
pub mod tenants;
pub mod tree;

pub use failure::IoContext;
pub use lock::Lock;
