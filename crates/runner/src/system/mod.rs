//! The system volume: a Nix store mounted at `/nix`, an index of what tasks asked for, and how it is filled.
//!
//! ```text
//! <nix>/                               the volume's `.nix-portable/nix`, mounted at /nix
//!   store/                             Nix's own
//!   var/nix/                           Nix's own: database, profiles
//!   var/nix/gcroots/hybrid-cache/<key>/<n>   links to the store paths of one index entry, in their order
//!   var/hybrid-cache/FORMAT            `hybrid-cache system 1`
//!   var/hybrid-cache/index/<key>.json  what a set of packages was realised to; written after its GC roots exist
//!   var/hybrid-cache/leases/<key>      shared lock: a task uses the entry; its mtime is the entry's last known use
//!   var/hybrid-cache/locks/<name>      build locks
//! ```
//!
//! A warm lookup reads one small file, takes one shared lock and looks whether a handful of paths exist. No Nix
//! process, no evaluation, no namespace.

mod index;
mod volume;

pub use index::IndexEntry;
pub use volume::{SystemFound, SystemVolume};
