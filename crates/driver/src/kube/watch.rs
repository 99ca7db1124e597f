//! The three watches of a namespace (Jobs, pods, warnings), shared by all tasks: each object goes to its Job's [`Sight`].

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Event as KubeEvent, Pod};
use kube::ResourceExt;
use kube::api::Api;
use kube::runtime::utils::{Backoff, StreamBackoff};
use kube::runtime::watcher::{self, Event};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::names;
use super::sight::Sight;

/// First pause after a watch broke; an API server that restarts is back within seconds.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// Longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(3);

/// Which Jobs somebody waits for, by name, and what the watches have shown of them.
#[derive(Default)]
pub struct Registry {
    sights: Mutex<HashMap<String, watch::Sender<Sight>>>,
}

impl Registry {
    /// Follows a Job. What the watches showed before is not seen: follow first, then create or ask.
    pub fn follow(self: &Arc<Self>, job: &str) -> Following {
        let mut sights = self.lock();
        let sender = sights.entry(job.to_owned()).or_default();
        Following {
            sight: sender.subscribe(),
            job: job.to_owned(),
            registry: Arc::clone(self),
        }
    }

    /// Takes in something about a Job; nothing where nobody waits for it.
    pub fn see(&self, job: &str, change: impl FnOnce(&mut Sight)) {
        if let Some(sender) = self.lock().get(job) {
            sender.send_if_modified(|sight| {
                let before = sight.clone();
                change(sight);
                *sight != before
            });
        }
    }

    /// Tells those whose object a complete listing did not show; `seen` holds the objects' names.
    fn missed(&self, gone: impl Fn(&Sight, &str) -> bool, lose: impl Fn(&mut Sight)) {
        for (job, sender) in self.lock().iter() {
            sender.send_if_modified(|sight| {
                let gone = gone(sight, job);
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

/// One Job being followed, until this is dropped.
pub struct Following {
    /// What the watches have shown of it.
    pub sight: watch::Receiver<Sight>,
    job: String,
    registry: Arc<Registry>,
}

impl Following {
    /// Takes in what was asked directly, as the watches do.
    pub fn see(&self, change: impl FnOnce(&mut Sight)) {
        self.registry.see(&self.job, change);
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        let mut sights = self.registry.lock();
        // This one's receiver is still there, so one is none beside it.
        if sights.get(&self.job).is_some_and(|sender| sender.receiver_count() <= 1) {
            sights.remove(&self.job);
        }
    }
}

/// The running watches; they end when this is dropped.
pub struct Watches {
    _running: JoinSet<()>,
}

impl Watches {
    /// Starts them.
    pub fn start(client: &kube::Client, namespace: &str, registry: &Arc<Registry>) -> Watches {
        let mut running = JoinSet::new();
        let ours = watcher::Config::default().labels(&names::selector());
        let jobs: Api<Job> = Api::namespaced(client.clone(), namespace);
        running.spawn(watch_jobs(jobs, ours.clone(), Arc::clone(registry)));
        let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
        running.spawn(watch_pods(pods, ours, Arc::clone(registry)));
        let events: Api<KubeEvent> = Api::namespaced(client.clone(), namespace);
        let warnings = watcher::Config::default().fields("type=Warning");
        running.spawn(watch_events(events, warnings, Arc::clone(registry)));
        Watches { _running: running }
    }
}

async fn watch_jobs(api: Api<Job>, config: watcher::Config, registry: Arc<Registry>) {
    let mut events = StreamBackoff::new(watcher::watcher(api, config), Pause::default()).boxed();
    let mut listed = HashSet::new();
    while let Some(event) = events.next().await {
        match event {
            Ok(Event::Apply(job)) => registry.see(&job.name_any(), |sight| sight.see_job(&job)),
            Ok(Event::InitApply(job)) => {
                registry.see(&job.name_any(), |sight| sight.see_job(&job));
                listed.insert(job.name_any());
            }
            Ok(Event::Delete(job)) => registry.see(&job.name_any(), Sight::lose_job),
            Ok(Event::Init) => listed.clear(),
            Ok(Event::InitDone) => {
                // A Job that nobody has shown yet is about to be created.
                let unlisted = |sight: &Sight, job: &str| sight.job.was_there() && !listed.contains(job);
                registry.missed(unlisted, Sight::lose_job);
            }
            // The watcher mends itself; what it cannot mend, the deadline of every task ends.
            Err(_) => {}
        }
    }
}

async fn watch_pods(api: Api<Pod>, config: watcher::Config, registry: Arc<Registry>) {
    let mut events = StreamBackoff::new(watcher::watcher(api, config), Pause::default()).boxed();
    let mut listed = HashSet::new();
    let see = |pod: &Pod| {
        if let Some(job) = pod.labels().get(names::JOB_NAME) {
            registry.see(job, |sight| sight.see_pod(pod, Instant::now()));
        }
    };
    while let Some(event) = events.next().await {
        match event {
            Ok(Event::Apply(pod)) => see(&pod),
            Ok(Event::InitApply(pod)) => {
                see(&pod);
                listed.insert(pod.name_any());
            }
            Ok(Event::Delete(pod)) => {
                see(&pod);
                if let Some(job) = pod.labels().get(names::JOB_NAME) {
                    registry.see(job, |sight| sight.lose_pod(&pod.name_any()));
                }
            }
            Ok(Event::Init) => listed.clear(),
            Ok(Event::InitDone) => {
                let unlisted = |sight: &Sight, _: &str| {
                    let unlisted = sight.pod.as_ref().filter(|pod| !listed.contains(&pod.name));
                    unlisted.is_some() && !sight.pod_gone
                };
                registry.missed(unlisted, |sight| sight.pod_gone = true);
            }
            Err(_) => {}
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
        let job = match about.kind.as_deref() {
            Some("Job") => Some(name),
            Some("Pod") => names::job_of_pod(name),
            _ => None,
        };
        if let Some(job) = job {
            registry.see(job, |sight| sight.see_event(&event));
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
        let mut one = registry.follow("a");
        let two = registry.follow("a");
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
    fn what_changes_nothing_wakes_nobody() {
        let registry = Arc::<Registry>::default();
        let mut following = registry.follow("a");
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
