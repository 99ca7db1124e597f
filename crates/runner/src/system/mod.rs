//! The system volume: a Nix store mounted at `/nix`, an index of what tasks asked for, and how it is filled.
//!
//! ```text
//! <nix>/                               the volume's `.nix-portable/nix`, mounted at /nix
//!   store/                             Nix's own
//!   var/nix/                           Nix's own: database, profiles
//!   var/nix/gcroots/hybrid-cache/<tenant>/<key>/<n>   links to the store paths of one index entry, in their order
//!   var/hybrid-cache/FORMAT            `hybrid-cache system 2`
//!   var/hybrid-cache/tenants/<tenant>/ all that is one tenant's
//!     FORMAT                           the same line
//!     index/<key>.json                 what a set of packages was realised to; written after its GC roots exist
//!     leases/<key>                     shared lock: a task uses the entry; its mtime is the entry's last known use
//!   var/hybrid-cache/ledger            what entries are made of and take (see `ledger`)
//!   var/hybrid-cache/locks/<name>      one build of one key at a time; `store`: shared by builds, alone for collection
//!   var/hybrid-cache/locks/<key>.failed  the last failure of a build, for those who waited for it
//!   var/hybrid-cache/work/<name>/      home and temporary files of one Nix at work
//!   var/hybrid-cache/work/gc/          the same for collections, which make room; it is always there
//!   var/hybrid-cache/content/<name>    hash, mode and path of each file of a store path, as it was registered
//!   var/hybrid-cache/damaged/<name>    a store path that a verification found damaged, until it is gone
//!   var/hybrid-cache/nix-cache/        what Nix evaluated and fetched
//!   var/hybrid-cache/nix-portable/     nix-portable's own folder, where it is used
//! ```
//!
//! A task has `store` and `var/hybrid-cache/tenants/<tenant>` mounted, read-only and nothing else. A warm lookup reads one small file, takes one shared lock and looks whether a handful of paths exist. No Nix
//! process, no evaluation, no namespace.

pub mod damaged;
mod index;
pub mod index_entries;
pub mod nix;
mod nix_errors;
pub mod path_hashes;
pub mod provider;
mod volume;

use hybrid_cache_model::CacheStatus;

use crate::store::Lock;

pub use index::IndexEntry;
pub use volume::{CACHE_NAME, SystemFound, SystemVolume};

/// Name of the lock that builds share and a collection of garbage holds alone.
pub const STORE_LOCK: &str = "store";
/// Name of the lock that a collection holds while it waits for builds to end; a build that begins waits for it.
pub const COLLECTION_LOCK: &str = "collection";

/// What a preparation made or found.
#[derive(Debug)]
pub struct SystemPrepared {
    /// Store paths in the order of the search path.
    pub paths: Vec<String>,
    /// What the cache did.
    pub status: CacheStatus,
    /// Keeps eviction away until the task has a lease of its own; absent where nothing was registered.
    pub lease: Option<Lock>,
}
