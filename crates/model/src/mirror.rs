//! What a bench run says about the mirror that its first runs fetched through.

use serde::{Deserialize, Serialize};

/// What a mirror did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MirrorMode {
    /// It fetched what was not recorded, and kept it.
    Record,
    /// It served only what was recorded, at a chosen speed.
    Replay,
}

/// The mirror between a bench run and the package index and Debian mirror.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MirrorRecord {
    /// What it did.
    pub mode: MirrorMode,
    /// Digest of the list of recorded answers, at the end of the run.
    pub digest: String,
    /// Bits a second of a replay, for all connections together; absent if it recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bits_per_s: Option<u64>,
    /// Round-trip time of a replay in microseconds; absent if it recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub round_trip_us: Option<u64>,
    /// Requests that it answered during the run.
    pub requests: u64,
    /// Bytes of bodies that it sent during the run.
    pub bytes: u64,
}
