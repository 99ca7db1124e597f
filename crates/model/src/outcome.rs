//! How a run ended: the user's result and hybrid-cache's own failures, kept apart.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::task_error::TaskErrors;
use crate::timeline::Timeline;

/// What one cache did for a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "status")]
pub enum CacheStatus {
    /// The prepared environment was there.
    Hit,
    /// The environment was made for this run and published.
    Built {
        /// Bytes that were fetched and unpacked for it.
        downloaded_bytes: u64,
        /// Bytes it shares with what the volume held before.
        reused_bytes: u64,
    },
    /// The task asked for `useCache: false`.
    Bypassed,
    /// The task needs nothing of this cache.
    NotAsked,
}

/// What both caches did for a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CacheReport {
    /// The Python environments made by uv.
    pub python: CacheStatus,
    /// The system packages in the Nix store.
    pub system: CacheStatus,
}

impl CacheReport {
    /// True if every cache that was asked answered with a hit.
    pub fn all_hit(&self) -> bool {
        [self.python, self.system]
            .iter()
            .all(|status| matches!(status, CacheStatus::Hit | CacheStatus::NotAsked))
    }
}

/// How the run came to its end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "end")]
pub enum End {
    /// The user's program exited by itself.
    Exited {
        /// Its exit code.
        code: i32,
    },
    /// The user's program was killed by a signal.
    Signaled {
        /// The signal's number.
        signal: i32,
    },
    /// The user's program ran into its time limit and was killed.
    TimedOut {
        /// The limit, in milliseconds.
        limit_ms: u64,
    },
    /// A user cancelled the run.
    Cancelled,
    /// The user's program never ran to its end because of us, the task's text, or the machine.
    Failed {
        /// What went wrong.
        failure: Failure,
    },
}

impl End {
    /// True if the user's program exited with code 0.
    pub fn is_success(&self) -> bool {
        matches!(self, End::Exited { code: 0 })
    }
}

/// Why a run failed before or outside the user's program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// The task's text is not acceptable.
    InvalidTask,
    /// No Python package of that name or version exists on the index.
    UnknownPackage,
    /// The requirements contradict each other.
    Unsatisfiable,
    /// A package has no wheel for the interpreter, and it could not be built, or must not be.
    NoWheel,
    /// The package source knows no system package of that name.
    UnknownSystemPackage,
    /// The package index or store could not be reached.
    Offline,
    /// A volume is full.
    DiskFull,
    /// A cache volume has a layout version this runner does not know.
    CacheFormat,
    /// A cache volume cannot be written, or not be read.
    CacheAccess,
    /// A cached environment is damaged.
    CacheDamaged,
    /// The sandbox could not be set up.
    Sandbox,
    /// A deadline of ours passed (not the user's time limit).
    Deadline,
    /// The program wanted more memory than its limit, and the kernel ended the whole sandbox.
    OutOfMemory,
    /// No node of the cluster has room for the pod, or none may take it.
    Unschedulable,
    /// The image is not on the node and cannot be pulled.
    ImagePull,
    /// The cluster's quota or admission refuses the pod.
    Refused,
    /// The node evicted the pod, was lost, or a user deleted the pod.
    Evicted,
    /// The cluster does not answer, or not as a cluster does.
    Cluster,
    /// A tool the runner needs is missing or failed in an unexpected way.
    Tool,
    /// A bug of ours.
    Internal,
}

/// One failure, worded so that a person can act on it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}{}", hint.as_ref().map(|hint| format!("\nhint: {hint}")).unwrap_or_default())]
pub struct Failure {
    /// The class, for programs.
    pub kind: FailureKind,
    /// What was wrong and where, in lower case.
    pub message: String,
    /// The next step, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl Failure {
    /// A failure without a hint.
    pub fn new(kind: FailureKind, message: impl Into<String>) -> Failure {
        Failure {
            kind,
            message: message.into(),
            hint: None,
        }
    }

    /// The same failure with its next step.
    #[must_use]
    pub fn hint(self, hint: impl Into<String>) -> Failure {
        Failure {
            hint: Some(hint.into()),
            ..self
        }
    }
}

/// One fault as message and hint; several as one message.
impl From<TaskErrors> for Failure {
    fn from(errors: TaskErrors) -> Failure {
        let first = errors.first();
        if errors.total() > 1 {
            return Failure::new(FailureKind::InvalidTask, errors.to_string());
        }
        let place = first.line.map_or_else(String::new, |line| format!(" line {line}"));
        let message = format!("{}{place}: {}", first.pointer, first.message);
        Failure {
            hint: first.hint.clone(),
            ..Failure::new(FailureKind::InvalidTask, message)
        }
    }
}

/// How much one of the user's streams carried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {
    /// Bytes the user's program wrote.
    pub written_bytes: u64,
    /// Bytes that were passed on; fewer than written if the limit cut the rest.
    pub passed_bytes: u64,
}

/// The hashes of the files that packages were installed from, by `name==version`: `sha256:…`, as the index states them.
pub type PackageHashes = BTreeMap<String, Vec<String>>;

/// What the task's requests were resolved to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resolved {
    /// `name==version`, sorted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub python: Vec<String>,
    /// The hashes of `python`; a package whose hash is not known is left out.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub python_hashes: PackageHashes,
    /// The version of the interpreter that `python` is installed for: `3.11.7`. `None` without packages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub python_version: Option<String>,
    /// Store paths in the order of the search path.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub system: Vec<String>,
}

impl Resolved {
    /// The Python packages as a requirements file with hashes. On the same interpreter it gives the same environment
    /// again. `None` if no packages are known.
    pub fn lock(&self) -> Option<String> {
        if self.python.is_empty() {
            return None;
        }
        let mut text = String::from("# The Python packages of a task. Submit this text as requirementsFile");
        match &self.python_version {
            Some(version) => text.push_str(&format!(", with Python {version}.\n")),
            None => text.push_str(".\n"),
        }
        let unknown = self.python.iter().filter(|pin| !self.python_hashes.contains_key(*pin));
        match unknown.count() {
            0 => {}
            1 => text.push_str("# The hash of one package is not known.\n"),
            count => text.push_str(&format!("# The hashes of {count} packages are not known.\n")),
        }
        for pin in &self.python {
            text.push_str(pin);
            for hash in self.python_hashes.get(pin).into_iter().flatten() {
                text.push_str(" \\\n    --hash=");
                text.push_str(hash);
            }
            text.push('\n');
        }
        Some(text)
    }
}

/// The name of a signal of Linux, such as `SIGSEGV`. `None` if it has none: a real-time signal, or a number that is no signal.
pub fn signal_name(signal: i32) -> Option<&'static str> {
    // The numbers of x86_64 and aarch64 (signal(7)).
    const NAMES: [&str; 31] = [
        "SIGHUP",
        "SIGINT",
        "SIGQUIT",
        "SIGILL",
        "SIGTRAP",
        "SIGABRT",
        "SIGBUS",
        "SIGFPE",
        "SIGKILL",
        "SIGUSR1",
        "SIGSEGV",
        "SIGUSR2",
        "SIGPIPE",
        "SIGALRM",
        "SIGTERM",
        "SIGSTKFLT",
        "SIGCHLD",
        "SIGCONT",
        "SIGSTOP",
        "SIGTSTP",
        "SIGTTIN",
        "SIGTTOU",
        "SIGURG",
        "SIGXCPU",
        "SIGXFSZ",
        "SIGVTALRM",
        "SIGPROF",
        "SIGWINCH",
        "SIGIO",
        "SIGPWR",
        "SIGSYS",
    ];
    let index = usize::try_from(signal).ok()?.checked_sub(1)?;
    NAMES.get(index).copied()
}

/// Everything known of a finished run, except the output itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// How it ended.
    #[serde(flatten)]
    pub end: End,
    /// What the caches did.
    pub cache: CacheReport,
    /// Where the time went, as the driver saw it, the runner's phases inside.
    pub timeline: Timeline,
    /// Microseconds from the last runner's start to its exit, by its own clock: the pod-internal latency.
    pub runner_us: u64,
    /// The user's standard output.
    pub stdout: Output,
    /// The user's standard error.
    pub stderr: Output,
    /// What was resolved.
    pub resolved: Resolved,
    /// Things the user should know that did not fail the run (a stale environment used offline, output cut).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// Why what was prepared for this run is not in the caches, though it was used; absent if it is, and where there was
    /// nothing to keep.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_kept: Option<Failure>,
}

impl Outcome {
    /// The outcome of a task that ended before anything started, or that got none from its driver.
    pub fn without_start(failure: Failure) -> Outcome {
        Outcome {
            end: End::Failed { failure },
            cache: CacheReport {
                python: CacheStatus::NotAsked,
                system: CacheStatus::NotAsked,
            },
            timeline: Timeline::default(),
            runner_us: 0,
            stdout: Output::default(),
            stderr: Output::default(),
            resolved: Resolved::default(),
            warnings: Vec::new(),
            not_kept: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_a_requirements_file_of_all_pins_with_the_known_hashes() {
        assert_eq!(Resolved::default().lock(), None);
        let hash = format!("sha256:{}", "0f".repeat(32));
        let mut resolved = Resolved {
            python: vec!["a==1".to_owned(), "b==2.0+cpu".to_owned()],
            python_hashes: PackageHashes::from([("a==1".to_owned(), vec![hash.clone()])]),
            ..Resolved::default()
        };
        let read = |resolved: &Resolved| {
            let text = resolved.lock().unwrap();
            let file = crate::requirement::parse_file("/requirementsFile", &text, &Default::default()).unwrap();
            let names: Vec<_> = file.requirements.iter().map(ToString::to_string).collect();
            assert_eq!(names, resolved.python);
            (text, file.options.hashes)
        };
        let (text, hashes) = read(&resolved);
        assert!(text.contains("The hash of one package is not known"), "{text}");
        assert_eq!(hashes, [("a==1".to_owned(), hash.clone())]);
        resolved.python_hashes.insert("b==2.0+cpu".to_owned(), vec![hash; 2]);
        resolved.python_version = Some("3.11.7".to_owned());
        let (text, _) = read(&resolved);
        assert!(
            text.contains("with Python 3.11.7.\n") && !text.contains("not known"),
            "{text}"
        );
    }
}
