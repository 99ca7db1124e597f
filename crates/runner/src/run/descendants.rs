//! Signals and reaps every process that the user's program leaves behind, so that none outlives a run.

use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus};

use super::kernel::{self, Signals};

/// A killed process that still exists after this time hangs in the kernel, for example on a dead NFS server.
const REAP_DEADLINE: Duration = Duration::from_secs(5);

/// Makes the runner the parent of orphaned user processes, so that it can find them.
///
/// # Errors
/// The kernel refuses it.
pub fn adopt_orphans() -> rustix::io::Result<()> {
    if kernel::is_first_process() {
        return Ok(());
    }
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))
}

/// Tells the user's program and everything it started to end, with SIGTERM.
pub fn tell_all() {
    if kernel::is_first_process() {
        return kernel::signal_namespace(Signal::TERM);
    }
    for pid in living_descendants() {
        // It may have ended since it was listed.
        let _ = rustix::process::kill_process(pid, Signal::TERM);
    }
}

/// Kills the user's program and everything it started. Does not reap them.
pub fn kill_all() {
    if kernel::is_first_process() {
        kernel::signal_namespace(Signal::KILL);
    } else {
        kill_descendants();
    }
}

/// Kills until no descendant is alive. The dead are not reaped meanwhile, because they count against the process limit:
/// a program that forks faster than it is killed soon cannot fork.
fn kill_descendants() {
    let deadline = Instant::now() + REAP_DEADLINE;
    loop {
        let living = living_descendants();
        if living.is_empty() || Instant::now() > deadline {
            return;
        }
        for pid in living {
            // It may have ended since it was listed.
            let _ = rustix::process::kill_process(pid, Signal::KILL);
        }
    }
}

/// Reaps all ended children, and returns the status of `main` if it is among them.
pub fn reap(main: Pid) -> Reaped {
    let mut reaped = Reaped::default();
    loop {
        match rustix::process::wait(WaitOptions::NOHANG) {
            Ok(Some((pid, status))) if pid == main => reaped.main = Some(status),
            Ok(Some(_)) | Err(Errno::INTR) => {}
            Ok(None) => return reaped,
            Err(_) => {
                return Reaped {
                    nobody_left: true,
                    ..reaped
                };
            }
        }
    }
}

/// The result of [`reap`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Reaped {
    /// How the user's program ended, if it did.
    pub main: Option<WaitStatus>,
    /// True if no child is left, dead or alive.
    pub nobody_left: bool,
}

/// Kills and reaps what is left after `main` has ended. False if a process did not die in time.
pub fn end_all(main: Pid, signals: &Signals) -> bool {
    let deadline = Instant::now() + REAP_DEADLINE;
    loop {
        // The common case: the program left no processes.
        if reap(main).nobody_left {
            return true;
        }
        kill_all();
        if reap(main).nobody_left {
            return true;
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return false;
        }
        wait_for_child(signals, left.min(Duration::from_millis(50)));
    }
}

/// Kills and reaps a process that has begun no task, and everything that it started, without a look at signals: whoever waits for them
/// goes on waiting.
pub fn end_now(main: Pid) {
    let deadline = Instant::now() + REAP_DEADLINE;
    while !reap(main).nobody_left && Instant::now() < deadline {
        kill_all();
        if reap(main).nobody_left {
            return;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn wait_for_child(signals: &Signals, at_most: Duration) {
    let timeout = Timespec {
        tv_sec: 0,
        tv_nsec: at_most.subsec_nanos().into(),
    };
    // Ignore errors: the caller checks again.
    let _ = rustix::event::poll(&mut [PollFd::new(signals, PollFlags::IN)], Some(&timeout));
    let _ = signals.take();
}

/// Every living descendant of this process, from one pass over /proc.
fn living_descendants() -> Vec<Pid> {
    let mut processes = list_processes();
    let mut found = Vec::new();
    let mut parents = vec![rustix::process::getpid().as_raw_nonzero().get()];
    while let Some(parent) = parents.pop() {
        processes.retain(|process| {
            if process.parent != parent {
                return true;
            }
            parents.push(process.pid);
            if process.alive {
                found.extend(Pid::from_raw(process.pid));
            }
            false
        });
    }
    found
}

#[derive(Debug, PartialEq, Eq)]
struct Process {
    pid: i32,
    parent: i32,
    alive: bool,
}

fn list_processes() -> Vec<Process> {
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    let pids = entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter_map(|pid| parse_stat(pid, &std::fs::read(format!("/proc/{pid}/stat")).ok()?))
        .collect()
}

/// Parses state and parent from `pid (name) S ppid …`; the name may contain `) `.
fn parse_stat(pid: i32, stat: &[u8]) -> Option<Process> {
    let end_of_name = stat.iter().rposition(|byte| *byte == b')')?;
    let rest = std::str::from_utf8(&stat[end_of_name + 1..]).ok()?;
    let mut fields = rest.split_ascii_whitespace();
    let state = fields.next()?;
    let parent = fields.next()?.parse().ok()?;
    Some(Process {
        pid,
        parent,
        alive: !matches!(state, "Z" | "X" | "x"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_name_cannot_forge_its_parent() {
        let stat = b"7 (evil) S 1 (x) Z 42 7 7 0 -1";
        assert_eq!(
            parse_stat(7, stat),
            Some(Process {
                pid: 7,
                parent: 42,
                alive: false
            })
        );
        assert_eq!(parse_stat(7, b"garbage"), None);
    }
}
