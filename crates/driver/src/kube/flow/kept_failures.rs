//! Workloads of failed tasks that stay in the cluster, so that people can look at them.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use crate::kube::workload::kind::WorkloadKind;

/// Workloads of failed tasks that stay at one time; the oldest are deleted first.
const MAX_KEPT: usize = 16;

/// The workloads that stay.
#[derive(Default)]
pub struct KeptFailures(Mutex<VecDeque<(WorkloadKind, String)>>);

impl KeptFailures {
    /// Keeps one. Returns the one that has to be deleted for it.
    pub fn keep(&self, kind: WorkloadKind, name: String) -> Option<(WorkloadKind, String)> {
        // The list is complete between its calls, even if one panicked.
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.push_back((kind, name));
        if kept.len() > MAX_KEPT { kept.pop_front() } else { None }
    }
}
