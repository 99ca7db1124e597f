//! What a fault needs in addition to a driver.

use serde::{Deserialize, Serialize};

/// What a fault needs in addition to a driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultNeed {
    /// The right to mount.
    Mounts,
    /// Loop devices, and the programs that make and mount a file system on one.
    Loop,
    /// A task service as a separate process.
    Service,
    /// The name of the container of a cluster's only node.
    Node,
}
