//! The one-time setup of a cluster, recorded in a ConfigMap there.

use hybrid_cache_driver::kube::StandbyRange;
use hybrid_cache_tools::Result;
use serde_json::{Value, json};

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
    /// How many standby pods the drivers of this cluster keep; `None` for none.
    pub standby: Option<StandbyRange>,
    /// How many volume sets the drivers of this cluster use; `None` for one.
    pub volume_sets: Option<u32>,
    /// True if the sets' volumes attach to the node of the pod that mounts them.
    pub follows_pods: bool,
}

impl SetupRecord {
    /// Reads the record from the cluster; empty if the cluster has none.
    ///
    /// # Errors
    /// The server does not answer, or refuses.
    pub async fn read(api: &ClusterApi) -> Result<SetupRecord> {
        let state = api.get(&manifests::state(&json!({}))).await?.unwrap_or_default();
        Ok(SetupRecord::from_data(&state["data"]))
    }

    /// Changes the record in the cluster, and leaves the rest of it as it is.
    ///
    /// # Errors
    /// The server does not answer, or refuses.
    pub async fn change(api: &ClusterApi, change: impl FnOnce(&mut SetupRecord)) -> Result<()> {
        let mut record = SetupRecord::read(api).await?;
        change(&mut record);
        record.write(api).await
    }

    /// Volume sets of the cluster.
    pub fn sets(&self) -> u32 {
        self.volume_sets.unwrap_or(1)
    }

    /// Writes the record into the cluster.
    ///
    /// # Errors
    /// The server refuses.
    pub async fn write(&self, api: &ClusterApi) -> Result<()> {
        let object = manifests::state(&self.data());
        refused(&object, api.apply(&object).await?)
    }

    /// What cannot be read counts as absent: a newer program may have written it.
    fn from_data(data: &Value) -> SetupRecord {
        let text = |key: &str| data[key].as_str().map(str::to_owned);
        let ranges = text("closedRanges").unwrap_or_default();
        SetupRecord {
            volumes: text("volumes"),
            task_image: text("taskImage"),
            closed_ranges: ranges
                .split_whitespace()
                .filter_map(|range| range.parse().ok())
                .collect(),
            standby: text("standby").and_then(|range| range.parse().ok()),
            volume_sets: text("volumeSets")
                .and_then(|sets| sets.parse().ok())
                .filter(|sets| *sets > 1),
            follows_pods: text("volumesFollowPods").as_deref() == Some("true"),
        }
    }

    fn data(&self) -> Value {
        let mut data = json!({});
        let standby = self.standby.map(|range| range.to_string());
        let sets = self.volume_sets.map(|sets| sets.to_string());
        let follows_pods = self.follows_pods.then(|| "true".to_owned());
        for (key, value) in [
            ("volumes", &self.volumes),
            ("taskImage", &self.task_image),
            ("standby", &standby),
            ("volumeSets", &sets),
            ("volumesFollowPods", &follows_pods),
        ] {
            if let Some(value) = value {
                data[key] = json!(value);
            }
        }
        if !self.closed_ranges.is_empty() {
            let ranges: Vec<String> = self.closed_ranges.iter().map(ToString::to_string).collect();
            data["closedRanges"] = json!(ranges.join(" "));
        }
        data
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read_as_it_was_written_and_nothing_is_none() {
        let record = SetupRecord {
            volumes: Some("a b".to_owned()),
            task_image: Some("image:1".to_owned()),
            closed_ranges: vec!["10.0.0.0/8".parse().unwrap()],
            standby: Some("2..8".parse().unwrap()),
            volume_sets: Some(3),
            follows_pods: true,
        };
        assert_eq!(record.data()["standby"], "2..8");
        assert_eq!(record.data()["volumeSets"], "3");
        assert_eq!(SetupRecord::from_data(&record.data()), record);
        assert_eq!(SetupRecord::from_data(&Value::Null), SetupRecord::default());
        assert_eq!(SetupRecord::default().data(), json!({}));
        assert_eq!(SetupRecord::from_data(&json!({"standby": "later"})).standby, None);
    }
}
