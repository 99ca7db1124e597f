//! What is shown of standby pods. Pure: it reads Kubernetes' objects that the caller has fetched.

use hybrid_cache_driver::kube::StandbyRange;
use hybrid_cache_report::units;
use serde::Serialize;
use serde_json::Value;

use crate::api::age_s;
use crate::facts::TaskPod;
use crate::names::{CLAIMED_UNTIL, STANDBY_POOL};

/// The standby pods of a namespace, of all its drivers.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StandbyReport {
    /// What the last `up` recorded, such as `4` or `2..8`; `None` if nothing.
    pub recorded: Option<String>,
    /// Pods that the ReplicaSets should have; `None` if this account may not list ReplicaSets.
    pub wanted: Option<u64>,
    /// Pods that wait for a task.
    pub ready: u64,
    /// Pods that are starting, or will never be ready.
    pub starting: u64,
    /// Pods that run a task, or have run one and are not deleted yet.
    pub claimed: u64,
    /// Age in seconds of the oldest pod that waits; `None` if there is none.
    pub oldest_s: Option<u64>,
    /// What the pods that wait use; `None` if that is not known.
    pub idle: Option<IdleUse>,
    /// Why there are fewer pods than wanted, as far as the cluster says.
    pub trouble: Option<String>,
    /// Names and nodes of the pods that wait.
    #[serde(skip)]
    pub(crate) waiting: Vec<(String, String)>,
}

/// What pods use that wait for a task, together.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct IdleUse {
    /// Pods that were measured.
    pub pods: u64,
    /// Bytes of memory in use.
    pub memory_bytes: u64,
    /// Processors in use; 0.001 is a thousandth of one.
    pub cpus: f64,
}

impl StandbyReport {
    /// Reads the objects; `None` if nothing is recorded and there are none. `sets` is `None` if they may not be listed.
    pub(super) fn new(recorded: Option<StandbyRange>, sets: Option<&[Value]>, pods: &[Value]) -> Option<StandbyReport> {
        let mut report = StandbyReport {
            recorded: recorded.map(|range| range.to_string()),
            wanted: sets.map(|sets| sets.iter().filter_map(|set| set["spec"]["replicas"].as_u64()).sum()),
            trouble: sets.unwrap_or_default().iter().find_map(refusal),
            ..StandbyReport::default()
        };
        let is_leaving = |pod: &&Value| pod["metadata"]["deletionTimestamp"].is_string();
        for pod in pods.iter().filter(|pod| !is_leaving(pod)) {
            let metadata = &pod["metadata"];
            if metadata["annotations"][CLAIMED_UNTIL].is_string() {
                report.claimed += 1;
            } else if metadata["labels"][STANDBY_POOL].is_string() {
                report.add_waiting(pod);
            }
        }
        let has_any = sets.is_some_and(|sets| !sets.is_empty()) || report.pods() > 0;
        (recorded.is_some() || has_any).then_some(report)
    }

    fn pods(&self) -> u64 {
        self.ready + self.starting + self.claimed
    }

    fn add_waiting(&mut self, pod: &Value) {
        let container = &pod["status"]["containerStatuses"][0];
        let is_ready = container["ready"] == true && container["restartCount"].as_u64().unwrap_or(0) == 0;
        if !is_ready {
            self.starting += 1;
            self.trouble = self.trouble.take().or_else(|| trouble(pod));
            return;
        }
        self.ready += 1;
        self.oldest_s = self.oldest_s.max(age_s(pod));
        let text = |at: &str| pod.pointer(at).and_then(Value::as_str).unwrap_or_default().to_owned();
        self.waiting.push((text("/metadata/name"), text("/spec/nodeName")));
    }

    /// Sums what the pods that wait use, from the summaries of their nodes' kubelets; `None` if these know none of them.
    pub(super) fn used_in(&self, namespace: &str, summaries: &[Value]) -> Option<IdleUse> {
        let is_ours = |pod: &&Value| {
            let named = |(name, _): &(String, String)| pod["podRef"]["name"] == **name;
            pod["podRef"]["namespace"] == namespace && self.waiting.iter().any(named)
        };
        let pods = summaries
            .iter()
            .filter_map(|summary| summary["pods"].as_array())
            .flatten();
        let mut used = IdleUse {
            pods: 0,
            memory_bytes: 0,
            cpus: 0.0,
        };
        for pod in pods.filter(is_ours) {
            let Some(bytes) = pod["memory"]["workingSetBytes"].as_u64() else {
                continue;
            };
            used.pods += 1;
            used.memory_bytes = used.memory_bytes.saturating_add(bytes);
            used.cpus += pod["cpu"]["usageNanoCores"].as_f64().unwrap_or(0.0) / 1e9;
        }
        (used.pods > 0).then_some(used)
    }

    /// Everything but the trouble, in one line.
    pub fn in_words(&self) -> String {
        let wanted = self.wanted.map_or_else(String::new, |wanted| format!(" of {wanted}"));
        let mut words = vec![
            format!("{}{wanted} ready", self.ready),
            format!("{} claimed", self.claimed),
            format!("{} starting", self.starting),
        ];
        words.extend(
            self.oldest_s
                .map(|age_s| format!("the oldest waits since {}", age(age_s))),
        );
        if self.ready > 0 {
            words.push(match &self.idle {
                Some(used) => used.in_words(),
                None => "what they use is not known".to_owned(),
            });
        }
        match &self.recorded {
            Some(range) => words.push(format!("`up --standby {range}`")),
            None => words.push("not of `up`".to_owned()),
        }
        words.join(", ")
    }
}

impl IdleUse {
    fn in_words(&self) -> String {
        // So few pods that the mean is exact enough.
        let pods = self.pods.max(1);
        format!(
            "each uses {} and {:.1} % of a processor",
            units::bytes(self.memory_bytes / pods),
            100.0 * self.cpus / pods as f64
        )
    }
}

/// A duration in the largest unit of which it holds two.
fn age(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        7200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}

/// Why a ReplicaSet cannot make pods, in its controller's words: a quota has its numbers there.
fn refusal(set: &Value) -> Option<String> {
    let conditions = set["status"]["conditions"].as_array()?;
    let is_failed = |condition: &&Value| condition["type"] == "ReplicaFailure" && condition["status"] == "True";
    let message = conditions.iter().find(is_failed)?["message"].as_str()?;
    Some(format!("the cluster refuses standby pods: {message}"))
}

/// Why a pod is not ready; `None` if it only needs time.
fn trouble(pod: &Value) -> Option<String> {
    let name = pod["metadata"]["name"].as_str().unwrap_or_default();
    if let Some(message) = TaskPod::from_pod(pod).unpulled {
        return Some(format!("the image of pod {name} is not available: {message}"));
    }
    let container = &pod["status"]["containerStatuses"][0];
    let ended = ["state", "lastState"].map(|state| &container[state]["terminated"]);
    if let Some(code) = ended.iter().find_map(|ended| ended["exitCode"].as_i64()) {
        let image = container["image"].as_str().unwrap_or_default();
        return Some(format!(
            "the runner of pod {name} ended with code {code} instead of waiting for a task\nhint: `kubectl logs {name}` says why;              if its image, {image}, is older than this program, `cargo xtask up` brings a newer one"
        ));
    }
    let conditions = pod["status"]["conditions"].as_array()?;
    let unscheduled = |condition: &&Value| condition["type"] == "PodScheduled" && condition["status"] == "False";
    let message = conditions.iter().find(unscheduled)?["message"].as_str()?;
    Some(format!("pod {name} has no node: {message}"))
}

#[cfg(test)]
mod tests;
