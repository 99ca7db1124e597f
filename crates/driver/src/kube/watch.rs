//! The three watches of a namespace (Jobs, pods, warnings), shared by all tasks: each object goes to its Job's [`Sight`].

use std::collections::{HashMap, HashSet};
use std::fmt::Debug;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Event as KubeEvent, Pod};
use kube::api::Api;
use kube::runtime::utils::{Backoff, StreamBackoff};
use kube::runtime::watcher::{self, Event};
use kube::{Resource, ResourceExt};
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::cluster::Cluster;
use super::names;
use super::retry::Trouble;
use super::sight::{PodSight, Sight};
use super::workload::{Carrier, Kind};

/// First pause after a watch broke; an API server that restarts is back within seconds.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// Longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(3);

/// Which workloads somebody waits for, by name, and what the watches have shown of them.
#[derive(Default)]
pub struct Registry {
    sights: Mutex<HashMap<String, watch::Sender<Sight>>>,
}

impl Registry {
    /// Follows a workload. What the watches showed before is not seen: follow first, then create or ask.
    pub fn follow(self: &Arc<Self>, kind: Kind, name: &str) -> Following {
        let new = || {
            watch::Sender::new(Sight {
                kind,
                ..Sight::default()
            })
        };
        let mut sights = self.lock();
        let sender = sights.entry(name.to_owned()).or_insert_with(new);
        Following {
            sight: sender.subscribe(),
            name: name.to_owned(),
            registry: Arc::clone(self),
        }
    }

    /// True where somebody waits for it.
    fn follows(&self, name: &str) -> bool {
        self.lock().contains_key(name)
    }

    /// True where nobody waits for any.
    pub fn is_idle(&self) -> bool {
        self.lock().is_empty()
    }

    /// Takes in something about a workload; nothing where nobody waits for it.
    pub fn see(&self, name: &str, change: impl FnOnce(&mut Sight)) {
        if let Some(sender) = self.lock().get(name) {
            sender.send_if_modified(|sight| {
                let before = sight.clone();
                change(sight);
                *sight != before
            });
        }
    }

    /// Tells those whose object a complete listing did not show; `seen` holds the objects' names.
    fn missed(&self, gone: impl Fn(&Sight, &str) -> bool, lose: impl Fn(&mut Sight)) {
        for (name, sender) in self.lock().iter() {
            sender.send_if_modified(|sight| {
                let gone = gone(sight, name);
                if gone {
                    lose(sight);
                }
                gone
            });
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, watch::Sender<Sight>>> {
        // The map is whole between its calls, whatever panicked.
        self.sights.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One workload being followed, until this is dropped.
pub struct Following {
    /// What the watches have shown of it.
    pub sight: watch::Receiver<Sight>,
    name: String,
    registry: Arc<Registry>,
}

impl Following {
    /// Takes in what was asked directly, as the watches do.
    pub fn see(&self, change: impl FnOnce(&mut Sight)) {
        self.registry.see(&self.name, change);
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        let mut sights = self.registry.lock();
        // This one's receiver is still there, so one is none beside it.
        if sights
            .get(&self.name)
            .is_some_and(|sender| sender.receiver_count() <= 1)
        {
            sights.remove(&self.name);
        }
    }
}

/// The running watches; they end when this is dropped.
pub struct Watches {
    _running: JoinSet<()>,
}

impl Watches {
    /// Starts them.
    pub fn start(cluster: &Cluster, registry: &Arc<Registry>) -> Watches {
        let (client, namespace) = (&cluster.client, &cluster.namespace);
        let mut running = JoinSet::new();
        let trouble = || Arc::clone(&cluster.trouble);
        let ours = watcher::Config::default().labels(&names::selector());
        let jobs: Api<Job> = Api::namespaced(client.clone(), namespace);
        running.spawn(watch_workloads(
            Kind::Job,
            jobs,
            ours.clone(),
            Arc::clone(registry),
            trouble(),
        ));
        if let Some(workflows) = cluster.workflows().cloned() {
            running.spawn(watch_workloads(
                Kind::Workflow,
                workflows,
                ours.clone(),
                Arc::clone(registry),
                trouble(),
            ));
        }
        let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
        running.spawn(watch_pods(pods, ours, Arc::clone(registry), trouble()));
        let events: Api<KubeEvent> = Api::namespaced(client.clone(), namespace);
        let warnings = watcher::Config::default().fields("type=Warning");
        running.spawn(watch_events(events, warnings, Arc::clone(registry)));
        Watches { _running: running }
    }
}

/// A complete listing, as far as it has come.
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

    /// True where an object is gone that was seen before the listing began. One that was asked for meanwhile may have been
    /// made meanwhile.
    fn lacks(&self, name: &str, seen: Option<Instant>) -> bool {
        !self.names.contains(name) && seen < self.began
    }
}

async fn watch_workloads<K>(
    kind: Kind,
    api: Api<K>,
    config: watcher::Config,
    registry: Arc<Registry>,
    trouble: Arc<Trouble>,
) where
    K: Carrier + Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let mut events = StreamBackoff::new(watcher::watcher(api, config), Pause::default()).boxed();
    let mut listing = Listing::default();
    let see = |found: &K| registry.see(&found.name_any(), |sight| sight.see_workload(found, Instant::now()));
    while let Some(event) = events.next().await {
        match event {
            Ok(Event::Apply(found)) => see(&found),
            Ok(Event::InitApply(found)) => {
                see(&found);
                listing.names.insert(found.name_any());
            }
            Ok(Event::Delete(gone)) => registry.see(&gone.name_any(), Sight::lose_workload),
            Ok(Event::Init) => listing = Listing::begin(),
            Ok(Event::InitDone) => {
                // One that nobody has shown yet is about to be created.
                let unlisted = |sight: &Sight, name: &str| {
                    sight.kind == kind && sight.workload.was_there() && listing.lacks(name, sight.seen.workload)
                };
                registry.missed(unlisted, Sight::lose_workload);
            }
            // The watcher mends itself; what it cannot mend, the deadline of every task ends.
            Err(_) => trouble.note(),
        }
    }
}

async fn watch_pods(api: Api<Pod>, config: watcher::Config, registry: Arc<Registry>, trouble: Arc<Trouble>) {
    let mut events = StreamBackoff::new(watcher::watcher(api, config), Pause::default()).boxed();
    let mut listing = Listing::default();
    let see = |pod: &Pod| {
        if let Some(name) = names::workload_of(pod) {
            registry.see(name, |sight| sight.see_pod(pod, Instant::now()));
        }
    };
    while let Some(event) = events.next().await {
        match event {
            Ok(Event::Apply(pod)) => see(&pod),
            Ok(Event::InitApply(pod)) => {
                see(&pod);
                listing.names.insert(pod.name_any());
            }
            Ok(Event::Delete(pod)) => {
                see(&pod);
                if let Some(name) = names::workload_of(&pod) {
                    registry.see(name, |sight| sight.lose_pod(&pod.name_any()));
                }
            }
            Ok(Event::Init) => listing = Listing::begin(),
            Ok(Event::InitDone) => {
                let unlisted = |sight: &Sight, _: &str| {
                    let lacks = |pod: &PodSight| listing.lacks(&pod.name, sight.seen.pod);
                    sight.pod.as_ref().is_some_and(lacks) && !sight.pod_gone
                };
                registry.missed(unlisted, |sight| sight.pod_gone = true);
            }
            Err(_) => trouble.note(),
        }
    }
}

async fn watch_events(api: Api<KubeEvent>, config: watcher::Config, registry: Arc<Registry>) {
    let mut events = StreamBackoff::new(watcher::watcher(api, config), Pause::default()).boxed();
    while let Some(event) = events.next().await {
        let Ok(Event::Apply(event) | Event::InitApply(event)) = event else {
            continue;
        };
        let about = &event.involved_object;
        let name = about.name.as_deref().unwrap_or_default();
        let workload = match about.kind.as_deref() {
            Some("Job" | "Workflow") => Some(name),
            // The pod of a Workflow has its name, that of a Job a name of its own.
            Some("Pod") if registry.follows(name) => Some(name),
            Some("Pod") => names::job_of_pod(name),
            _ => None,
        };
        if let Some(workload) = workload {
            registry.see(workload, |sight| sight.see_event(&event));
        }
    }
}

/// Pauses that double, from a tenth of a second to three seconds, and begin anew once there was none for a while.
#[derive(Debug, Default)]
struct Pause {
    failed: u32,
    last: Option<Instant>,
}

impl Iterator for Pause {
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

impl Backoff for Pause {
    // A watcher says that it begins before it asks, so a success as it counts them means nothing.
    fn reset(&mut self) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_job_is_followed_until_the_last_one_loses_interest() {
        let registry = Arc::<Registry>::default();
        let mut one = registry.follow(Kind::Job, "a");
        let two = registry.follow(Kind::Job, "a");
        registry.see("a", |sight| sight.pod_gone = true);
        registry.see("b", |sight| sight.pod_gone = true);
        one.sight.changed().await.unwrap();
        assert!(two.sight.borrow().pod_gone);
        drop(two);
        assert_eq!(registry.lock().len(), 1);
        drop(one);
        assert!(registry.lock().is_empty());
    }

    #[test]
    fn a_listing_says_nothing_of_what_was_made_while_it_went_on() {
        let before = Instant::now();
        let listing = Listing::begin();
        let after = before + Duration::from_secs(1);
        assert!(listing.lacks("a", Some(before - Duration::from_secs(1))));
        assert!(!listing.lacks("a", Some(after)));
    }

    #[test]
    fn what_changes_nothing_wakes_nobody() {
        let registry = Arc::<Registry>::default();
        let mut following = registry.follow(Kind::Job, "a");
        following.sight.mark_unchanged();
        registry.see("a", |_| {});
        assert!(!following.sight.has_changed().unwrap());
    }

    #[test]
    fn pauses_grow_whatever_the_watcher_calls_a_success() {
        let mut pause = Pause::default();
        assert_eq!(pause.next(), Some(FIRST_PAUSE));
        pause.reset();
        assert_eq!(pause.next(), Some(FIRST_PAUSE * 2));
        assert_eq!(pause.nth(10), Some(LONGEST_PAUSE));
    }
}
