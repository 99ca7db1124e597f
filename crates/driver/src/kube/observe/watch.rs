//! The watches of a namespace (Jobs, Workflows, pods, warnings), shared by all tasks. Each event updates the observed state
//! of its workload.

use std::collections::HashSet;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Event as KubeEvent, Pod};
use kube::api::Api;
use kube::runtime::utils::{Backoff, StreamBackoff};
use kube::runtime::watcher::{self, Event};
use kube::{Resource, ResourceExt};
use serde::de::DeserializeOwned;
use tokio::task::JoinSet;

use crate::kube::api::cluster::Cluster;
use crate::kube::api::retry::LastOutage;
use crate::kube::names;
use crate::kube::observe::observed::{ObservedPod, ObservedWorkload};
use crate::kube::observe::registry::WorkloadRegistry;
use crate::kube::standby::pool::StandbyPools;
use crate::kube::workload::kind::WorkloadKind;
use crate::kube::workload::state::WorkloadObject;

/// First pause after a watch breaks. An API server that restarts is back within seconds.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// Longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(3);

/// The running watches. They end when this is dropped.
pub struct Watches {
    _running: JoinSet<()>,
}

impl Watches {
    /// Starts them.
    pub fn start(cluster: &Cluster, registry: &Arc<WorkloadRegistry>, standby: &Arc<StandbyPools>) -> Watches {
        let (client, namespace) = (&cluster.client, &cluster.namespace);
        let mut running = JoinSet::new();
        let last_outage = || Arc::clone(&cluster.last_outage);
        let ours = watcher::Config::default().labels(&names::selector());
        let jobs: Api<Job> = Api::namespaced(client.clone(), namespace);
        running.spawn(watch_workloads(
            WorkloadKind::Job,
            jobs,
            ours.clone(),
            Arc::clone(registry),
            last_outage(),
        ));
        if let Some(workflows) = cluster.workflows().cloned() {
            running.spawn(watch_workloads(
                WorkloadKind::Workflow,
                workflows,
                ours.clone(),
                Arc::clone(registry),
                last_outage(),
            ));
        }
        let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
        let seen = SeenPods {
            registry: Arc::clone(registry),
            standby: Arc::clone(standby),
        };
        running.spawn(watch_pods(pods, ours, seen, last_outage()));
        let events: Api<KubeEvent> = Api::namespaced(client.clone(), namespace);
        let warnings = watcher::Config::default().fields("type=Warning");
        running.spawn(watch_events(events, warnings, Arc::clone(registry)));
        Watches { _running: running }
    }
}

/// A complete listing, as far as it has arrived.
#[derive(Default)]
struct Listing {
    began: Option<Instant>,
    names: HashSet<String>,
}

impl Listing {
    fn begin() -> Listing {
        Listing {
            began: Some(Instant::now()),
            names: HashSet::new(),
        }
    }

    /// True if an object is gone that was seen before the listing began. An object that was first seen later may have been
    /// created during the listing.
    fn lacks(&self, name: &str, seen: Option<Instant>) -> bool {
        !self.names.contains(name) && seen < self.began
    }
}

async fn watch_workloads<K>(
    kind: WorkloadKind,
    api: Api<K>,
    config: watcher::Config,
    registry: Arc<WorkloadRegistry>,
    last_outage: Arc<LastOutage>,
) where
    K: WorkloadObject + Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let mut events = StreamBackoff::new(watcher::watcher(api, config), WatchBackoff::default()).boxed();
    let mut listing = Listing::default();
    let see = |found: &K| {
        registry.update(&found.name_any(), |observed| {
            observed.apply_workload(found, Instant::now())
        })
    };
    while let Some(event) = events.next().await {
        match event {
            Ok(Event::Apply(found)) => see(&found),
            Ok(Event::InitApply(found)) => {
                see(&found);
                listing.names.insert(found.name_any());
            }
            Ok(Event::Delete(gone)) => registry.update(&gone.name_any(), ObservedWorkload::workload_deleted),
            Ok(Event::Init) => listing = Listing::begin(),
            Ok(Event::InitDone) => {
                // A workload that no watch has shown is about to be created.
                let unlisted = |observed: &ObservedWorkload, name: &str| {
                    observed.kind == kind
                        && observed.workload.was_there()
                        && listing.lacks(name, observed.first_seen.workload)
                };
                registry.remove_missing(unlisted, ObservedWorkload::workload_deleted);
            }
            // The watcher recovers by itself; if it cannot, the time limit of each task ends the wait.
            Err(_) => last_outage.note(),
        }
    }
}

/// Who learns of pods.
struct SeenPods {
    registry: Arc<WorkloadRegistry>,
    standby: Arc<StandbyPools>,
}

impl SeenPods {
    fn see(&self, pod: &Pod) {
        self.standby.see(pod);
        if let Some(name) = names::workload_of(pod) {
            self.registry
                .update(name, |observed| observed.apply_pod(pod, Instant::now()));
        }
    }

    fn delete(&self, pod: &Pod) {
        self.see(pod);
        self.standby.gone(&pod.name_any());
        if let Some(name) = names::workload_of(pod) {
            self.registry
                .update(name, |observed| observed.pod_deleted(&pod.name_any()));
        }
    }

    /// Applies the end of a complete listing.
    fn keep_only(&self, listing: &Listing) {
        self.standby.keep_only(&listing.names);
        let unlisted = |observed: &ObservedWorkload, _: &str| {
            let lacks = |pod: &ObservedPod| listing.lacks(&pod.name, observed.first_seen.pod);
            observed.pod.as_ref().is_some_and(lacks) && !observed.pod_gone
        };
        self.registry
            .remove_missing(unlisted, |observed| observed.pod_gone = true);
    }
}

async fn watch_pods(api: Api<Pod>, config: watcher::Config, seen: SeenPods, last_outage: Arc<LastOutage>) {
    let mut events = StreamBackoff::new(watcher::watcher(api, config), WatchBackoff::default()).boxed();
    let mut listing = Listing::default();
    while let Some(event) = events.next().await {
        match event {
            Ok(Event::Apply(pod)) => seen.see(&pod),
            Ok(Event::InitApply(pod)) => {
                seen.see(&pod);
                listing.names.insert(pod.name_any());
            }
            Ok(Event::Delete(pod)) => seen.delete(&pod),
            Ok(Event::Init) => listing = Listing::begin(),
            Ok(Event::InitDone) => seen.keep_only(&listing),
            Err(_) => last_outage.note(),
        }
    }
}

async fn watch_events(api: Api<KubeEvent>, config: watcher::Config, registry: Arc<WorkloadRegistry>) {
    let mut events = StreamBackoff::new(watcher::watcher(api, config), WatchBackoff::default()).boxed();
    while let Some(event) = events.next().await {
        let Ok(Event::Apply(event) | Event::InitApply(event)) = event else {
            continue;
        };
        let about = &event.involved_object;
        let name = about.name.as_deref().unwrap_or_default();
        let workload = match about.kind.as_deref() {
            Some("Job" | "Workflow") => Some(name),
            // The pod of a Workflow has the Workflow's name; the pod of a Job has a name of its own.
            Some("Pod") if registry.follows(name) => Some(name),
            Some("Pod") => names::job_of_pod(name),
            _ => None,
        };
        if let Some(workload) = workload {
            registry.update(workload, |observed| observed.apply_event(&event));
        }
    }
}

/// Pauses that double from 0.1 s to 3 s, and start again from 0.1 s after 30 s without one.
#[derive(Debug, Default)]
struct WatchBackoff {
    failed: u32,
    last: Option<Instant>,
}

impl Iterator for WatchBackoff {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        if self.last.is_some_and(|last| last.elapsed() > LONGEST_PAUSE * 10) {
            self.failed = 0;
        }
        let pause = FIRST_PAUSE.saturating_mul(1 << self.failed.min(8)).min(LONGEST_PAUSE);
        self.failed = self.failed.saturating_add(1);
        self.last = Some(Instant::now());
        Some(pause)
    }
}

impl Backoff for WatchBackoff {
    // A watcher reports its start before it sends a request, so its idea of a success means nothing.
    fn reset(&mut self) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listing_says_nothing_of_what_was_created_during_it() {
        let before = Instant::now();
        let listing = Listing::begin();
        let after = before + Duration::from_secs(1);
        assert!(listing.lacks("a", Some(before - Duration::from_secs(1))));
        assert!(!listing.lacks("a", Some(after)));
    }

    #[test]
    fn pauses_grow_whatever_the_watcher_reports_as_success() {
        let mut pause = WatchBackoff::default();
        assert_eq!(pause.next(), Some(FIRST_PAUSE));
        pause.reset();
        assert_eq!(pause.next(), Some(FIRST_PAUSE * 2));
        assert_eq!(pause.nth(10), Some(LONGEST_PAUSE));
    }
}
