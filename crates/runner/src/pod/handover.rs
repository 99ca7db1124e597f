//! How the preparing container tells the task's container beside it that everything is there.
//!
//! One file in a folder that both mount, written whole and renamed; the other side watches the folder. Neither needs
//! to have started first. Two processes, two clocks: the moment of the handover is what they have in common, so the
//! two timelines are laid together at it, from durations alone.

use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::{Duration, Instant};

use hybrid_cache_model::protocol::{Environments, PrepareEvent, RunReport};
use hybrid_cache_model::{Failure, FailureKind, Lane, Phase, Span, Timeline};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};

use crate::store::IoContext;
use crate::store::files;

const READY: &str = "ready";
/// A file that the task's container opens when it has leases of its own; the opening is the message.
const LEASED: &str = "leased";
/// How long the preparing container keeps its leases for a task that does not say so.
const LEASE_MARGIN: Duration = Duration::from_secs(10);
/// How often to look where nothing can be watched.
const POLL_INTERVAL: Duration = Duration::from_millis(20);
/// The preparing container keeps its own deadline; this is for one that cannot say so any more.
const DEADLINE_MARGIN: Duration = Duration::from_secs(15);

/// What was handed over.
#[derive(Debug)]
pub struct Handover {
    event: PrepareEvent,
    /// The preparation's timeline up to that moment.
    pub timeline: Timeline,
}

impl Handover {
    /// Where the task finds its environments, with the Python volume mounted at `python`.
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
            PrepareEvent::Phase { .. } | PrepareEvent::Published { .. } => {
                let message = "the preparing container handed over something else than its result";
                Err(Failure::new(FailureKind::Internal, message))
            }
        }
    }
}

/// Tells from the preparing container when the task's has its leases.
#[derive(Debug)]
pub struct LeaseWatch {
    watch: Option<OwnedFd>,
    since: Instant,
}

impl LeaseWatch {
    /// Makes the file in `folder` and watches it; before the task's container is told anything.
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

    /// Waits until the task's container has them, for `limit` or some seconds at most.
    pub fn wait(&self, limit: Duration) {
        let left = LEASE_MARGIN.saturating_sub(self.since.elapsed()).min(limit);
        match &self.watch {
            // Where it cannot be asked, the task's own look at its leases decides.
            Some(watch) => drop(until_changed(watch, left)),
            // An opening leaves nothing to look for.
            None => std::thread::sleep(left),
        }
    }
}

/// Says from the task's container that it has its leases. Where that fails, the other side waits in vain for some seconds.
pub fn leased(folder: &Path) {
    drop(std::fs::File::open(folder.join(LEASED)));
}

/// Tells the task's container.
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

/// Waits until the preparing container has told.
///
/// # Errors
/// It did not within its own deadline of `prepare_ms`, or the folder cannot be read.
pub fn wait(folder: &Path, prepare_ms: u64) -> Result<Handover, Failure> {
    let limit = Duration::from_millis(prepare_ms).saturating_add(DEADLINE_MARGIN);
    // Watched before the first look, so that nothing comes in between.
    let watch = watched(folder, WatchFlags::MOVED_TO);
    let started = Instant::now();
    let file = folder.join(READY);
    loop {
        match std::fs::read(&file) {
            Ok(text) => return read(&text),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(error).io_context("read", &file),
        }
        let Some(left) = limit.checked_sub(started.elapsed()) else {
            let message = format!("the preparing container has not answered within {} s", limit.as_secs());
            return Err(Failure::new(FailureKind::Deadline, message).hint("see its log: kubectl logs -c prepare"));
        };
        match &watch {
            Some(watch) => until_changed(watch, left).io_context("watch", folder)?,
            None => std::thread::sleep(left.min(POLL_INTERVAL)),
        }
    }
}

/// A watch; `None` where the kernel gives this user no more of them: it counts those of all pods on the node together.
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
        PrepareEvent::Phase { .. } | PrepareEvent::Published { .. } => Timeline::default(),
    };
    Ok(Handover { event, timeline })
}

/// Blocks until something happened in the watched folder, or the time is up.
fn until_changed(watch: &OwnedFd, limit: Duration) -> std::io::Result<()> {
    let timeout = Timespec::try_from(limit).ok();
    match rustix::event::poll(&mut [PollFd::new(watch, PollFlags::IN)], timeout.as_ref()) {
        Ok(_) | Err(rustix::io::Errno::INTR) => {}
        Err(error) => return Err(error.into()),
    }
    // What happened is found by looking; the notes themselves are only taken away.
    let mut buffer = [MaybeUninit::uninit(); 1024];
    let mut notes = inotify::Reader::new(watch, &mut buffer);
    while notes.next().is_ok() {}
    Ok(())
}

/// Lays the preparation's timeline and that of the task's container together: the first ended at the moment
/// `told_us` on the clock of the second. The origin is then the start of whichever was first.
pub fn merge(report: RunReport, prepared: &Timeline, told_us: u64) -> RunReport {
    let lay = |own: Timeline| {
        let prepared_at = told_us.saturating_sub(prepared.total_us);
        let shift = prepared.total_us.saturating_sub(told_us);
        let mut whole = Timeline {
            total_us: own.total_us + shift,
            spans: Vec::new(),
        };
        if prepared_at > 0 {
            // This container was up before the one it waits for.
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

    /// Runs `work` in a thread of nobody's, who has as many watches as the kernel gives one user.
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
    fn a_user_without_a_watch_left_is_told_all_the_same() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::set_permissions(dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
        without_watches(|| {
            let leases = LeaseWatch::watch(dir.path()).unwrap();
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    std::thread::sleep(Duration::from_millis(50));
                    hand_over(dir.path(), &ready(Timeline::default())).unwrap();
                });
                wait(dir.path(), 20_000).unwrap().environments("/p").unwrap();
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
    fn what_was_handed_over_before_anybody_waited_is_found() {
        let dir = tempfile::tempdir().unwrap();
        hand_over(dir.path(), &ready(Timeline::default())).unwrap();
        let handed = wait(dir.path(), 1).unwrap();
        let Environments::Prepared { python, .. } = handed.environments("/cache/python").unwrap() else {
            panic!("{handed:?}");
        };
        assert_eq!(python.as_deref(), Some("/cache/python/staging/make-1/env"));
    }

    #[test]
    fn a_waiting_container_wakes_when_the_other_one_tells() {
        let dir = tempfile::tempdir().unwrap();
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| wait(dir.path(), 20_000));
            std::thread::sleep(Duration::from_millis(50));
            hand_over(dir.path(), &ready(Timeline::default())).unwrap();
            assert!(waiting.join().unwrap().is_ok());
        });
    }

    #[test]
    fn leases_are_kept_until_the_task_says_that_it_has_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let leases = LeaseWatch::watch(dir.path()).unwrap();
        let began = Instant::now();
        leases.wait(Duration::from_millis(50));
        assert!(began.elapsed() >= Duration::from_millis(50), "nobody has said so");
        leased(dir.path());
        // Said before anybody waited for it.
        leases.wait(Duration::from_secs(20));
        assert!(began.elapsed() < Duration::from_secs(15));
        leased(&dir.path().join("absent"));
    }

    #[test]
    fn a_failed_preparation_is_the_task_s_failure() {
        let dir = tempfile::tempdir().unwrap();
        let failure = Failure::new(FailureKind::UnknownPackage, "no package nunpy");
        let event = PrepareEvent::Failed {
            failure: failure.clone(),
            timeline: Timeline::default(),
        };
        hand_over(dir.path(), &event).unwrap();
        assert_eq!(wait(dir.path(), 1).unwrap().environments("/x").unwrap_err(), failure);
    }

    #[test]
    fn a_preparation_that_began_later_leaves_time_of_the_sandbox_in_front() {
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
    fn a_preparation_that_began_earlier_moves_the_origin_to_its_own() {
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
