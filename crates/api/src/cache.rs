//! What the caches did for a run.

use hybrid_cache_model::CacheStatus;
use serde::{Deserialize, Serialize};

/// What both caches did for a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct CacheView {
    /// The Python environments.
    pub python: CacheStatusView,
    /// The system packages.
    pub system: CacheStatusView,
}

/// What one cache did for a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct CacheStatusView {
    /// The cache's result.
    pub status: CacheName,
    /// Bytes fetched and unpacked, if it was built.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub downloaded_bytes: Option<u64>,
    /// Bytes shared with what the volume already held, if it was built.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reused_bytes: Option<u64>,
}

impl From<CacheStatus> for CacheStatusView {
    fn from(status: CacheStatus) -> CacheStatusView {
        let (downloaded_bytes, reused_bytes) = match status {
            CacheStatus::Built {
                downloaded_bytes,
                reused_bytes,
            } => (Some(downloaded_bytes), Some(reused_bytes)),
            _ => (None, None),
        };
        CacheStatusView {
            status: CacheName::from_status(status),
            downloaded_bytes,
            reused_bytes,
        }
    }
}

impl From<CacheStatusView> for CacheStatus {
    fn from(view: CacheStatusView) -> CacheStatus {
        match view.status {
            CacheName::Hit => CacheStatus::Hit,
            CacheName::Built => CacheStatus::Built {
                downloaded_bytes: view.downloaded_bytes.unwrap_or_default(),
                reused_bytes: view.reused_bytes.unwrap_or_default(),
            },
            CacheName::Bypassed => CacheStatus::Bypassed,
            CacheName::NotAsked | CacheName::Unknown => CacheStatus::NotAsked,
        }
    }
}

/// A cache's result, without its details.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub enum CacheName {
    /// The cache had it.
    Hit,
    /// It was built for this run.
    Built,
    /// The task has `useCache: false`.
    Bypassed,
    /// The task needs nothing of this cache.
    NotAsked,
    /// A word of a newer version of the service that this one does not know.
    #[serde(other)]
    Unknown,
}

impl CacheName {
    /// All results that this version knows.
    pub const ALL: [CacheName; 4] = [
        CacheName::Hit,
        CacheName::Built,
        CacheName::Bypassed,
        CacheName::NotAsked,
    ];

    /// The name of a report's status.
    pub fn from_status(status: CacheStatus) -> CacheName {
        match status {
            CacheStatus::Hit => CacheName::Hit,
            CacheStatus::Built { .. } => CacheName::Built,
            CacheStatus::Bypassed => CacheName::Bypassed,
            CacheStatus::NotAsked => CacheName::NotAsked,
        }
    }

    /// The word on the wire and in the database.
    pub fn name(self) -> &'static str {
        match self {
            CacheName::Hit => "hit",
            CacheName::Built => "built",
            CacheName::Bypassed => "bypassed",
            CacheName::NotAsked => "notAsked",
            CacheName::Unknown => "unknown",
        }
    }

    /// Reads [`CacheName::name`] of a stored row; any other text is `Unknown`.
    pub fn kept(text: &str) -> CacheName {
        let known = CacheName::ALL.into_iter().find(|cache| cache.name() == text);
        known.unwrap_or(CacheName::Unknown)
    }
}
