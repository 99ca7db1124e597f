//! What a driver reports of its volume sets.

use serde::{Deserialize, Serialize};

/// One volume set, as a driver sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeSetStatus {
    /// Its name.
    pub name: String,
    /// True while tasks avoid it, because its volumes or their node could not be used.
    pub is_down: bool,
    /// Tasks of this driver that use it now.
    pub tasks: u64,
}
