//! The handover from the preparing container to the task's container beside it.
//!
//! The result is one file in a shared folder, written atomically; the other side watches the folder. Either may start
//! first. The two processes have different clocks, so their timelines are aligned at the moment of the handover.

use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use hybrid_cache_model::protocol::{Environments, PrepareEvent, RunReport};
use hybrid_cache_model::{Failure, FailureKind, Lane, Phase, Span, Timeline};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};

use crate::run::kernel::Signals;
use crate::store::IoContext;
use crate::store::files;

const READY: &str = "ready";
/// A file that the task's container opens once it has its own leases; the opening is the signal.
const LEASED: &str = "leased";
/// How long the preparing container keeps its leases without this signal.
const LEASE_MARGIN: Duration = Duration::from_secs(10);
/// Polling interval if the folder cannot be watched.
const POLL_INTERVAL: Duration = Duration::from_millis(20);
/// Extra time beyond the preparing container's own deadline, for one that died.
const DEADLINE_MARGIN: Duration = Duration::from_secs(15);

/// The result that was handed over.
#[derive(Debug)]
pub struct Handover {
    event: PrepareEvent,
    /// The preparation's timeline up to that moment.
    pub timeline: Timeline,
}

impl Handover {
    /// The task's environments, with the Python volume mounted at `python`.
    ///
    /// # Errors
    /// Why the preparation failed.
    pub fn environments(&self, python: &str) -> Result<Environments, Failure> {
        match &self.event {
            PrepareEvent::Ready {
                python: relative,
                system,
                cache,
                resolved,
                ..
            } => Ok(Environments::Prepared {
                python: relative.as_ref().map(|relative| format!("{python}/{relative}")),
                system: system.clone(),
                cache: *cache,
                resolved: resolved.clone(),
            }),
            PrepareEvent::Failed { failure, .. } => Err(failure.clone()),
            PrepareEvent::Phase { .. } | PrepareEvent::Build { .. } | PrepareEvent::Published { .. } => {
                let message = "the preparing container handed over an event that is not a result";
                Err(Failure::new(FailureKind::Internal, message))
            }
        }
    }
}

/// Waits in the preparing container until the task's container has its leases.
#[derive(Debug)]
pub struct LeaseWatch {
    watch: Option<OwnedFd>,
    since: Instant,
}

impl LeaseWatch {
    /// Creates the file in `folder` and watches it. Call this before the handover.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn watch(folder: &Path) -> Result<LeaseWatch, Failure> {
        let file = folder.join(LEASED);
        std::fs::write(&file, b"").io_context("write", &file)?;
        let since = Instant::now();
        Ok(LeaseWatch {
            watch: watched(&file, WatchFlags::OPEN),
            since,
        })
    }

    /// Waits until the task's container has its leases, at most for `limit` or a few seconds.
    pub fn wait(&self, limit: Duration) {
        let left = LEASE_MARGIN.saturating_sub(self.since.elapsed()).min(limit);
        match &self.watch {
            // Ignore a failure: the task checks its own leases.
            Some(watch) => drop(until_changed(Some(watch), None, left)),
            // Without a watch the opening cannot be noticed.
            None => std::thread::sleep(left),
        }
    }
}

/// Signals from the task's container that it has its leases. If that fails, the other side waits a few seconds longer.
pub fn leased(folder: &Path) {
    drop(std::fs::File::open(folder.join(LEASED)));
}

/// Hands the result over to the task's container.
///
/// # Errors
/// The folder cannot be written.
pub fn hand_over(folder: &Path, event: &PrepareEvent) -> Result<(), Failure> {
    let text = serde_json::to_vec(event).map_err(|error| {
        Failure::new(
            FailureKind::Internal,
            format!("a preparation's result cannot be written: {error}"),
        )
    })?;
    files::write_atomic(&folder.join(READY), &text)
}

/// Waits for the preparing container's result. `None` if `signals` tell the runner to stop before it comes.
///
/// # Errors
/// It does not come within `prepare_ms` and a margin, or the folder cannot be read.
pub fn wait(folder: &Path, prepare_ms: u64, signals: Option<&Signals>) -> Result<Option<Handover>, Failure> {
    let limit = Duration::from_millis(prepare_ms).saturating_add(DEADLINE_MARGIN);
    // Watch before the first check, so that no change is missed.
    let watch = watched(folder, WatchFlags::MOVED_TO);
    let started = Instant::now();
    let file = folder.join(READY);
    loop {
        match std::fs::read(&file) {
            Ok(text) => return read(&text).map(Some),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(error).io_context("read", &file),
        }
        let Some(left) = limit.checked_sub(started.elapsed()) else {
            let message = format!("the preparing container has not answered within {} s", limit.as_secs());
            return Err(Failure::new(FailureKind::Deadline, message).hint("see its log: kubectl logs -c prepare"));
        };
        let left = if watch.is_some() { left } else { left.min(POLL_INTERVAL) };
        until_changed(watch.as_ref(), signals, left).io_context("watch", folder)?;
        if signals.is_some_and(|signals| signals.take().stop) {
            return Ok(None);
        }
    }
}

/// An inotify watch; `None` if this user has no more: the limit counts all pods on the node.
fn watched(path: &Path, what: WatchFlags) -> Option<OwnedFd> {
    let watch = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).ok()?;
    inotify::add_watch(&watch, path, what).ok()?;
    Some(watch)
}

fn read(text: &[u8]) -> Result<Handover, Failure> {
    let event: PrepareEvent = serde_json::from_slice(text).map_err(|error| {
        Failure::new(
            FailureKind::Internal,
            format!("the preparing container's result cannot be read: {error}"),
        )
    })?;
    let timeline = match &event {
        PrepareEvent::Ready { timeline, .. } | PrepareEvent::Failed { timeline, .. } => timeline.clone(),
        PrepareEvent::Phase { .. } | PrepareEvent::Build { .. } | PrepareEvent::Published { .. } => Timeline::default(),
    };
    Ok(Handover { event, timeline })
}

/// Waits for an event of the watch or a signal, at most for `limit`.
fn until_changed(watch: Option<&OwnedFd>, signals: Option<&Signals>, limit: Duration) -> std::io::Result<()> {
    let timeout = Timespec::try_from(limit).ok();
    let descriptors = watch.map(AsFd::as_fd).into_iter().chain(signals.map(AsFd::as_fd));
    let mut polled: Vec<_> = descriptors
        .map(|descriptor| PollFd::from_borrowed_fd(descriptor, PollFlags::IN))
        .collect();
    match rustix::event::poll(&mut polled, timeout.as_ref()) {
        Ok(_) | Err(rustix::io::Errno::INTR) => {}
        Err(error) => return Err(error.into()),
    }
    let Some(watch) = watch else { return Ok(()) };
    // Drain the events; the caller checks the state itself.
    let mut buffer = [MaybeUninit::uninit(); 1024];
    let mut notes = inotify::Reader::new(watch, &mut buffer);
    while notes.next().is_ok() {}
    Ok(())
}

/// Merges the preparation's timeline into the task's. The preparation ended at `handed_over_us` on the task's clock. The
/// merged timeline starts with the container that started first.
pub fn merge(report: RunReport, prepared: &Timeline, handed_over_us: u64) -> RunReport {
    let lay = |own: Timeline| {
        let prepared_at = handed_over_us.saturating_sub(prepared.total_us);
        let shift = prepared.total_us.saturating_sub(handed_over_us);
        let mut whole = Timeline {
            total_us: own.total_us + shift,
            spans: Vec::new(),
        };
        if prepared_at > 0 {
            // This container started before the preparing one.
            whole.push(Phase::Sandbox, Lane::Runner, 0, prepared_at);
        }
        let moved = |by: u64| {
            move |span: Span| Span {
                start_us: span.start_us + by,
                ..span
            }
        };
        whole
            .spans
            .extend(prepared.spans.iter().copied().map(moved(prepared_at)));
        whole.spans.extend(own.spans.into_iter().map(moved(shift)));
        whole
    };
    match report {
        RunReport::Finished {
            end,
            cache,
            timeline,
            stdout,
            stderr,
            resolved,
            warnings,
            keys,
        } => RunReport::Finished {
            end,
            cache,
            timeline: lay(timeline),
            stdout,
            stderr,
            resolved,
            warnings,
            keys,
        },
        RunReport::Missed { missed, timeline } => RunReport::Missed {
            missed,
            timeline: lay(timeline),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::kernel;
    use hybrid_cache_model::{CacheReport, CacheStatus, Resolved};

    fn ready(timeline: Timeline) -> PrepareEvent {
        PrepareEvent::Ready {
            python: Some("staging/make-1/env".to_owned()),
            system: vec!["/nix/store/x-gcc".to_owned()],
            cache: CacheReport {
                python: CacheStatus::Hit,
                system: CacheStatus::Hit,
            },
            resolved: Resolved::default(),
            timeline,
        }
    }

    fn failed(total_us: u64, spans: Vec<Span>) -> RunReport {
        RunReport::Missed {
            missed: hybrid_cache_model::protocol::Missed {
                python: false,
                python_stale: false,
                system: false,
            },
            timeline: Timeline { total_us, spans },
        }
    }

    fn span(phase: Phase, lane: Lane, start_us: u64, duration_us: u64) -> Span {
        Span {
            phase,
            lane,
            start_us,
            duration_us,
        }
    }

    fn timeline_of(report: RunReport) -> Timeline {
        match report {
            RunReport::Missed { timeline, .. } | RunReport::Finished { timeline, .. } => timeline,
        }
    }

    /// More would take all descriptors of this process from the tests beside this one.
    const MOST_WATCHES: usize = 512;

    /// Runs `work` in a thread of the user nobody, which has used up its inotify watches.
    fn without_watches(work: impl FnOnce() + Send) {
        let limit = std::fs::read_to_string("/proc/sys/fs/inotify/max_user_instances").unwrap_or_default();
        let is_small = limit.trim().parse().is_ok_and(|limit: usize| limit <= MOST_WATCHES);
        if !is_small || !rustix::process::geteuid().is_root() {
            println!("skipped: the watches of a user who does nothing else cannot be used up");
            return;
        }
        let worker = || {
            let nobody = rustix::thread::Uid::from_raw(65534);
            rustix::thread::set_thread_res_uid(nobody, nobody, nobody).unwrap();
            let mut all = Vec::new();
            while let Ok(one) = inotify::init(CreateFlags::CLOEXEC) {
                all.push(one);
            }
            work();
        };
        std::thread::scope(|scope| scope.spawn(worker).join().unwrap());
    }

    #[test]
    fn a_handover_works_without_inotify_watches() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::set_permissions(dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
        without_watches(|| {
            let leases = LeaseWatch::watch(dir.path()).unwrap();
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    std::thread::sleep(Duration::from_millis(50));
                    hand_over(dir.path(), &ready(Timeline::default())).unwrap();
                });
                let handed = wait(dir.path(), 20_000, None).unwrap().unwrap();
                handed.environments("/p").unwrap();
            });
            let began = Instant::now();
            leases.wait(Duration::from_millis(100));
            assert!(
                began.elapsed() >= Duration::from_millis(100),
                "the leases were let go at once"
            );
        });
    }

    #[test]
    fn a_handover_before_the_wait_is_found() {
        let dir = tempfile::tempdir().unwrap();
        hand_over(dir.path(), &ready(Timeline::default())).unwrap();
        let handed = wait(dir.path(), 1, None).unwrap().unwrap();
        let Environments::Prepared { python, .. } = handed.environments("/cache/python").unwrap() else {
            panic!("{handed:?}");
        };
        assert_eq!(python.as_deref(), Some("/cache/python/staging/make-1/env"));
    }

    #[test]
    fn a_waiting_container_wakes_at_the_handover() {
        let dir = tempfile::tempdir().unwrap();
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| wait(dir.path(), 20_000, None));
            std::thread::sleep(Duration::from_millis(50));
            hand_over(dir.path(), &ready(Timeline::default())).unwrap();
            assert!(waiting.join().unwrap().unwrap().is_some());
        });
    }

    #[test]
    fn a_waiting_container_that_is_told_to_stop_waits_no_longer() {
        let dir = tempfile::tempdir().unwrap();
        let began = Instant::now();
        // In a thread of its own, because the signal stays blocked in it.
        let waited = std::thread::scope(|scope| {
            let waiting = scope.spawn(|| {
                let signals = Signals::watch().unwrap();
                kernel::tell_this_thread();
                wait(dir.path(), 20_000, Some(&signals)).unwrap()
            });
            waiting.join().unwrap()
        });
        assert!(waited.is_none());
        assert!(began.elapsed() < Duration::from_secs(15));
    }

    #[test]
    fn leases_are_kept_until_the_task_signals_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let leases = LeaseWatch::watch(dir.path()).unwrap();
        let began = Instant::now();
        leases.wait(Duration::from_millis(50));
        assert!(began.elapsed() >= Duration::from_millis(50), "nobody has said so");
        leased(dir.path());
        // The signal came before the wait.
        leases.wait(Duration::from_secs(20));
        assert!(began.elapsed() < Duration::from_secs(15));
        leased(&dir.path().join("absent"));
    }

    #[test]
    fn a_failed_preparation_fails_the_task() {
        let dir = tempfile::tempdir().unwrap();
        let failure = Failure::new(FailureKind::UnknownPackage, "no package nunpy");
        let event = PrepareEvent::Failed {
            failure: failure.clone(),
            timeline: Timeline::default(),
        };
        hand_over(dir.path(), &event).unwrap();
        let handed = wait(dir.path(), 1, None).unwrap().unwrap();
        assert_eq!(handed.environments("/x").unwrap_err(), failure);
    }

    #[test]
    fn a_preparation_that_began_later_is_preceded_by_sandbox_time() {
        let prepared = Timeline {
            total_us: 60,
            spans: vec![span(Phase::PythonInstall, Lane::Python, 10, 50)],
        };
        let own = vec![span(Phase::UserCode, Lane::Runner, 105, 20)];
        let whole = timeline_of(merge(failed(130, own), &prepared, 100));
        assert_eq!(whole.total_us, 130);
        assert_eq!(whole.spans[0], span(Phase::Sandbox, Lane::Runner, 0, 40));
        assert_eq!(whole.spans[1], span(Phase::PythonInstall, Lane::Python, 50, 50));
        assert_eq!(whole.spans[2], span(Phase::UserCode, Lane::Runner, 105, 20));
    }

    #[test]
    fn a_preparation_that_began_earlier_sets_the_origin() {
        let prepared = Timeline {
            total_us: 100,
            spans: vec![span(Phase::PythonInstall, Lane::Python, 0, 100)],
        };
        let own = vec![span(Phase::UserCode, Lane::Runner, 12, 20)];
        let whole = timeline_of(merge(failed(40, own), &prepared, 10));
        assert_eq!(whole.total_us, 130);
        assert_eq!(whole.spans[0].start_us, 0);
        assert_eq!(whole.spans[1].start_us, 102);
    }
}
