//! The one-time setup of a cluster, recorded in a ConfigMap there.

use hybrid_cache_tools::Result;
use serde_json::json;

use crate::api::ClusterApi;
use crate::apply::refused;
use crate::manifests;
use crate::ranges::Range;

/// One-time setup of a cluster's pair of volumes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SetupRecord {
    /// The claims whose volumes have their inner folders, by uid.
    pub volumes: Option<String>,
    /// The image with which a task has succeeded.
    pub task_image: Option<String>,
    /// The ranges that the user named to be closed to tasks.
    pub closed_ranges: Vec<Range>,
}

impl SetupRecord {
    /// Reads the record from the cluster; empty if the cluster has none.
    ///
    /// # Errors
    /// The server does not answer, or refuses.
    pub async fn read(api: &ClusterApi) -> Result<SetupRecord> {
        let state = api.get(&manifests::state(&json!({}))).await?.unwrap_or_default();
        let text = |key: &str| state["data"][key].as_str().map(str::to_owned);
        let ranges = text("closedRanges").unwrap_or_default();
        Ok(SetupRecord {
            volumes: text("volumes"),
            task_image: text("taskImage"),
            closed_ranges: ranges
                .split_whitespace()
                .filter_map(|range| range.parse().ok())
                .collect(),
        })
    }

    /// Writes the record into the cluster.
    ///
    /// # Errors
    /// The server refuses.
    pub async fn write(&self, api: &ClusterApi) -> Result<()> {
        let mut data = json!({});
        for (key, value) in [("volumes", &self.volumes), ("taskImage", &self.task_image)] {
            if let Some(value) = value {
                data[key] = json!(value);
            }
        }
        if !self.closed_ranges.is_empty() {
            let ranges: Vec<String> = self.closed_ranges.iter().map(ToString::to_string).collect();
            data["closedRanges"] = json!(ranges.join(" "));
        }
        let object = manifests::state(&data);
        refused(&object, api.apply(&object).await?)
    }
}
