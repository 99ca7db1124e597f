//! The workloads that someone waits for, and what the watches have shown of each.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::kube::observe::observed::ObservedWorkload;
use crate::kube::workload::kind::WorkloadKind;

/// The workloads that someone waits for, by name, with their observed state.
#[derive(Default)]
pub struct WorkloadRegistry {
    workloads: Mutex<HashMap<String, watch::Sender<ObservedWorkload>>>,
}

impl WorkloadRegistry {
    /// Follows a workload. Earlier watch events are lost, so follow a workload before you create or fetch it.
    pub fn follow(self: &Arc<Self>, kind: WorkloadKind, name: &str) -> FollowedWorkload {
        let new = || {
            watch::Sender::new(ObservedWorkload {
                kind,
                ..ObservedWorkload::default()
            })
        };
        let mut workloads = self.lock();
        let sender = workloads.entry(name.to_owned()).or_insert_with(new);
        FollowedWorkload {
            observed: sender.subscribe(),
            name: name.to_owned(),
            registry: Arc::clone(self),
        }
    }

    /// True if someone follows it.
    pub fn follows(&self, name: &str) -> bool {
        self.lock().contains_key(name)
    }

    /// True if no workload is followed.
    pub fn is_idle(&self) -> bool {
        self.lock().is_empty()
    }

    /// Changes the observed state of a workload, and wakes its followers if that changes anything. Does nothing if no one
    /// follows it.
    pub fn update(&self, name: &str, change: impl FnOnce(&mut ObservedWorkload)) {
        if let Some(sender) = self.lock().get(name) {
            sender.send_if_modified(|observed| {
                let before = observed.clone();
                change(observed);
                *observed != before
            });
        }
    }

    /// Applies `mark_gone` to each workload for which `is_gone` holds, given its name.
    pub fn remove_missing(
        &self,
        is_gone: impl Fn(&ObservedWorkload, &str) -> bool,
        mark_gone: impl Fn(&mut ObservedWorkload),
    ) {
        for (name, sender) in self.lock().iter() {
            sender.send_if_modified(|observed| {
                let gone = is_gone(observed, name);
                if gone {
                    mark_gone(observed);
                }
                gone
            });
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, watch::Sender<ObservedWorkload>>> {
        // The map is complete between its calls, even if one panicked.
        self.workloads.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A workload that is followed, until this is dropped.
pub struct FollowedWorkload {
    /// The observed state, updated by the watches.
    pub observed: watch::Receiver<ObservedWorkload>,
    name: String,
    registry: Arc<WorkloadRegistry>,
}

impl FollowedWorkload {
    /// Changes the observed state by what was fetched directly.
    pub fn update(&self, change: impl FnOnce(&mut ObservedWorkload)) {
        self.registry.update(&self.name, change);
    }
}

impl Drop for FollowedWorkload {
    fn drop(&mut self) {
        let mut workloads = self.registry.lock();
        // This receiver still counts, so one receiver means no other follower.
        if workloads
            .get(&self.name)
            .is_some_and(|sender| sender.receiver_count() <= 1)
        {
            workloads.remove(&self.name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_workload_is_followed_until_its_last_follower_goes() {
        let registry = Arc::<WorkloadRegistry>::default();
        let mut one = registry.follow(WorkloadKind::Job, "a");
        let two = registry.follow(WorkloadKind::Job, "a");
        registry.update("a", |observed| observed.pod_gone = true);
        registry.update("b", |observed| observed.pod_gone = true);
        one.observed.changed().await.unwrap();
        assert!(two.observed.borrow().pod_gone);
        drop(two);
        assert_eq!(registry.lock().len(), 1);
        drop(one);
        assert!(registry.lock().is_empty());
    }

    #[test]
    fn an_update_that_changes_nothing_wakes_nobody() {
        let registry = Arc::<WorkloadRegistry>::default();
        let mut following = registry.follow(WorkloadKind::Job, "a");
        following.observed.mark_unchanged();
        registry.update("a", |_| {});
        assert!(!following.observed.has_changed().unwrap());
    }
}
