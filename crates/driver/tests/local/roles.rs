//! Parts that another process plays: this program started again, alone, with other rights or to be killed.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use hybrid_cache_driver::local::{LocalConfig, LocalDriver, Maintenance};
use hybrid_cache_driver::log::Stream;
use hybrid_cache_driver::{Driver, Epoch, SubmitOptions};
use hybrid_cache_model::TaskSpec;

use crate::bench::{CONFIG_VARIABLE, PATIENCE};

/// Names the file with the tasks that [`play`] runs one after the other.
const TASKS_VARIABLE: &str = "HYBRID_CACHE_TEST_TASKS";
/// Most bytes of a task's output that a part reports.
const MAX_SHOWN_BYTES: usize = 1 << 12;

/// A configuration and tasks, on disk for another process.
pub struct Play {
    folder: tempfile::TempDir,
}

impl Play {
    pub fn new(config: &LocalConfig, tasks: &[TaskSpec]) -> Play {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("config.json"), serde_json::to_vec(config).unwrap()).unwrap();
        std::fs::write(folder.path().join("tasks.json"), serde_json::to_vec(tasks).unwrap()).unwrap();
        Play { folder }
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// This program as another process that plays the part; `prefix` stands in front of it.
    pub fn command(&self, prefix: &[&str]) -> Command {
        let program = std::env::current_exe().unwrap();
        self.command_of(&program, prefix)
    }

    pub fn command_of(&self, program: &Path, prefix: &[&str]) -> Command {
        let part = ["--exact", "roles::play", "--ignored", "--nocapture", "--quiet"];
        let mut command = match prefix.split_first() {
            Some((first, rest)) => {
                let mut command = Command::new(first);
                command.args(rest).arg(program);
                command
            }
            None => Command::new(program),
        };
        command.args(part).stdin(Stdio::null());
        command
            .env(CONFIG_VARIABLE, self.folder.path().join("config.json"))
            .env(TASKS_VARIABLE, self.folder.path().join("tasks.json"));
        command
    }

    /// Plays it to its end; what it said.
    pub fn run(&self, prefix: &[&str]) -> String {
        said(&self.command(prefix).output().unwrap())
    }

    pub fn spawn(self) -> Playing {
        let mut command = self.command(&[]);
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        Playing { child, _play: self }
    }
}

/// A running part, with the files that it reads.
pub struct Playing {
    pub child: Child,
    _play: Play,
}

impl Playing {
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

pub fn said(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// Opens the driver and runs the tasks; prints an outcome and the output of each as a line of JSON.
#[tokio::test]
#[ignore = "a part that other tests have another process play"]
async fn play() {
    let read = |name: &str| std::fs::read(PathBuf::from(std::env::var_os(name).unwrap())).unwrap();
    let config: LocalConfig = serde_json::from_slice(&read(CONFIG_VARIABLE)).unwrap();
    let tasks: Vec<TaskSpec> = serde_json::from_slice(&read(TASKS_VARIABLE)).unwrap();
    let driver = LocalDriver::open(config).unwrap();
    let mut trace_warnings = Vec::new();
    for task in tasks {
        let ticket = driver.submit(&task, &SubmitOptions::default()).await.unwrap();
        let settled = tokio::time::timeout(PATIENCE, driver.settle(&ticket)).await;
        let outcome = settled.expect("the task does not end").unwrap();
        let log = driver.logs(&ticket).unwrap();
        let mut text = String::from_utf8_lossy(&log.collect(Stream::Stdout)).into_owned();
        text.truncate(text.floor_char_boundary(MAX_SHOWN_BYTES));
        println!("{}", serde_json::json!({ "outcome": outcome, "stdout": text }));
        trace_warnings.extend(driver.flush_trace().await);
    }
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let most = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let most: u64 = most.trim().trim_end_matches(" kB").parse().unwrap();
    let verify = driver.maintain(&Epoch::Standing, Maintenance::Verify { repair: false });
    let verified = tokio::time::timeout(PATIENCE, verify)
        .await
        .expect("verifying does not end");
    println!(
        "{}",
        serde_json::json!({ "most_memory_kib": most, "verified": verified.ok(), "trace_warnings": trace_warnings })
    );
}

/// Waits until something is so, looking every millisecond.
pub async fn until(what: &str, is_so: impl Fn() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < PATIENCE, "in vain: {what}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// True if there are at least `wanted` files and folders below `folder`.
pub fn count_below(folder: &Path, wanted: usize) -> bool {
    let mut found = 0;
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            found += 1;
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                folders.push(entry.path());
            }
        }
    }
    found >= wanted
}
