//! Processes of a preparation: finds them through /proc below our own children, and kills or stops them.
//!
//! A process is never found by its name alone: a sandbox is a child of this process whose arguments contain the trial's own
//! volume, and every other process is below a sandbox. A process is identified by its number and its start time.

use std::fs;
use std::path::Path;
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::Serialize;

use crate::caches::within;
use crate::error::TrialError;

/// Deadline for the start of a preparation.
const BEGIN: Duration = Duration::from_secs(30);

/// The role of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// bubblewrap.
    Sandbox,
    /// The runner.
    Runner,
    /// uv.
    Uv,
    /// An interpreter.
    Python,
    /// A process that one of the others started.
    Other,
}

/// One process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Process {
    pid: Pid,
    /// Start time, in ticks since the machine's start.
    began: u64,
    /// Role of the process.
    pub role: Role,
}

/// The name in `/proc/<pid>/stat`, and the fields after it.
fn stat(pid: Pid) -> Option<(String, Vec<String>)> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (front, fields) = text.rsplit_once(')')?;
    let name = front.split_once('(')?.1.to_owned();
    Some((name, fields.split_whitespace().map(str::to_owned).collect()))
}

impl Process {
    /// Opens a running process; `None` for a zombie.
    fn open(pid: Pid) -> Option<Process> {
        let (name, fields) = stat(pid)?;
        if fields.first().is_none_or(|state| state == "Z" || state == "X") {
            return None;
        }
        let role = match name.as_str() {
            "bwrap" => Role::Sandbox,
            "runner" => Role::Runner,
            "uv" => Role::Uv,
            name if name.starts_with("python") => Role::Python,
            _ => Role::Other,
        };
        let began = fields.get(19)?.parse().ok()?;
        Some(Process { pid, began, role })
    }

    /// Sends a signal if the number still belongs to this process; true if it was sent.
    pub fn signal(&self, signal: Signal) -> bool {
        let Ok(handle) = pidfd_open(self.pid, PidfdFlags::empty()) else {
            return false;
        };
        // Check with the handle open: from now on the number cannot become another process's.
        let is_same = Process::open(self.pid).is_some_and(|found| found.began == self.began);
        is_same && pidfd_send_signal(&handle, signal).is_ok()
    }
}

fn children(pid: &str) -> Vec<Pid> {
    let threads = fs::read_dir(Path::new("/proc").join(pid).join("task"));
    let lists = threads.into_iter().flatten().flatten().map(|thread| {
        let list = fs::read_to_string(thread.path().join("children")).unwrap_or_default();
        let pids = list.split_whitespace().filter_map(|pid| pid.parse().ok());
        pids.filter_map(Pid::from_raw).collect::<Vec<_>>()
    });
    lists.flatten().collect()
}

/// The processes of the preparation that fills this Python volume; empty before its begin and after its end.
pub fn preparation(volume: &Path) -> Vec<Process> {
    let is_wanted = |pid: &Pid| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let arguments: Vec<&[u8]> = line.split(|byte| *byte == 0).filter(|one| !one.is_empty()).collect();
        let names_volume = arguments.contains(&volume.as_os_str().as_encoded_bytes());
        names_volume && arguments.last().is_some_and(|last| *last == b"prepare")
    };
    let mut left: Vec<Pid> = children("self").into_iter().filter(is_wanted).collect();
    let mut found = Vec::new();
    while let Some(pid) = left.pop() {
        found.extend(Process::open(pid));
        left.extend(children(&pid.to_string()));
    }
    found
}

/// Waits until a preparation is running on this Python volume.
///
/// # Errors
/// No preparation begins in time.
pub async fn begun(volume: &Path) -> Result<(), TrialError> {
    let begun = async {
        while preparation(volume).is_empty() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    within("the begin of a preparation", BEGIN, begun).await
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};
    use std::time::Instant;

    use super::*;

    #[test]
    fn only_our_own_children_that_name_the_volume_are_found() {
        let start = |argument: &str| {
            let mut command = Command::new("sh");
            command
                .args(["-c", "read line", argument, "prepare"])
                .stdin(Stdio::piped());
            command.spawn().unwrap()
        };
        let (mut wanted, mut other) = (start("/trial/volume-a"), start("/trial/volume-b"));
        // The kernel shows a new program's arguments only a moment after `spawn` has returned.
        let deadline = Instant::now() + BEGIN;
        let mut found = Vec::new();
        while found.is_empty() && Instant::now() < deadline {
            found = preparation(Path::new("/trial/volume-a"));
        }
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].pid, Pid::from_child(&wanted));
        assert!(found[0].signal(Signal::KILL));
        wanted.wait().unwrap();
        assert!(!found[0].signal(Signal::KILL), "it has ended");
        assert!(preparation(Path::new("/trial/volume-a")).is_empty());
        drop(other.stdin.take());
        other.wait().unwrap();
    }
}
