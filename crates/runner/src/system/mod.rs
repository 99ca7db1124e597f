//! The system volume: a Nix store mounted at `/nix`, an index of requested packages, and the code that fills both.
//!
//! ```text
//! <nix>/                               the volume's `.nix-portable/nix`, mounted at /nix
//!   store/                             Nix's own
//!   var/nix/                           Nix's own: database, profiles
//!   var/nix/gcroots/hybrid-cache/<tenant>/<key>/<n>   links to the store paths of one index entry, in their order
//!   var/hybrid-cache/FORMAT            `hybrid-cache system 2`
//!   var/hybrid-cache/tenants/<tenant>/ one tenant's files
//!     FORMAT                           the same line
//!     index/<key>.json                 the store paths of a set of packages; written after its GC roots exist
//!     leases/<key>                     shared lock: a task uses the entry; its mtime is the entry's last known use
//!   var/hybrid-cache/ledger            parts and disk usage of entries (see `ledger`)
//!   var/hybrid-cache/locks/<name>      one build of one key at a time; `store`: shared by builds, exclusive for collection
//!   var/hybrid-cache/locks/<key>.failed  the last failure of a build, for builds that waited for it
//!   var/hybrid-cache/work/<name>/      home and temporary files of one running Nix
//!   var/hybrid-cache/work/gc/          the same for collections; it always exists
//!   var/hybrid-cache/content/<name>    hash, mode and path of each file of a store path, as it was registered
//!   var/hybrid-cache/damaged/<name>    a store path that a verification found damaged, until it is gone
//!   var/hybrid-cache/nix-cache/        Nix's cache
//!   var/hybrid-cache/nix-portable/     nix-portable's own folder, if it is used
//! ```
//!
//! A task has only `store` and `var/hybrid-cache/tenants/<tenant>` mounted, read-only. A warm lookup reads one small
//! file, takes one shared lock and checks that a few paths exist. It needs no Nix process, no evaluation and no
//! namespace.

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

/// Name of the lock that builds share and a garbage collection holds exclusively.
pub const STORE_LOCK: &str = "store";
/// Name of the lock that a collection holds while it waits for builds to end; new builds wait for it.
pub const COLLECTION_LOCK: &str = "collection";

/// The system packages that a preparation found or built.
#[derive(Debug)]
pub struct SystemPrepared {
    /// Store paths in the order of the search path.
    pub paths: Vec<String>,
    /// What the cache did.
    pub status: CacheStatus,
    /// Prevents eviction until the task has its own lease; `None` if nothing was registered.
    pub lease: Option<Lock>,
}
