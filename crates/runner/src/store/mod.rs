//! What both volumes share on disk: the layout version, locks, atomic publishing, staging folders, disk usage.
//!
//! Nothing here knows of Python or Nix. Every function names the path it failed at, and every wait has a deadline.

pub mod content;
pub mod digest;
pub mod failed;
pub mod failure;
pub mod format;
pub mod known;
pub mod lock;
pub mod measure;
pub mod publish;
pub mod stage;
pub mod tenants;

pub use failure::At;
pub use lock::Lock;
