//! Where requests are recorded, and how much space they may take.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Name of a trace's folder, below the folder of the caches or of a service's data.
pub const FOLDER: &str = "trace";
/// Default for the bytes that the files of a trace may take together: about 400,000 requests.
pub const DEFAULT_MAX_BYTES: u64 = 64 << 20;

/// Where requests are recorded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceConfig {
    /// The folder; created with the first request.
    pub folder: PathBuf,
    /// Most bytes that its files take together. The oldest file is deleted if a new one would exceed them.
    pub max_bytes: u64,
}

impl TraceConfig {
    /// Records in this folder, with the default bound.
    pub fn new(folder: impl Into<PathBuf>) -> TraceConfig {
        TraceConfig {
            folder: folder.into(),
            max_bytes: DEFAULT_MAX_BYTES,
        }
    }
}
