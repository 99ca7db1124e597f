//! What these tests stand on: this machine's tools, cache folders of their own or a shared warm one, and runs.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Once};
use std::time::Duration;

use hybrid_cache_driver::local::{LocalConfig, LocalDriver, Maintenance};
use hybrid_cache_driver::log::Stream;
use hybrid_cache_driver::{Driver, DriverError, Epoch, SubmitOptions, Ticket};
use hybrid_cache_model::maintain::{GcReport, MaintainReport, VerifyReport};
use hybrid_cache_model::outcome::FailureKind;
use hybrid_cache_model::{CacheStatus, End, Failure, Outcome, TaskSpec};

/// Names the file with this machine's configuration; `cargo xtask test` writes it.
pub const CONFIG_VARIABLE: &str = "HYBRID_CACHE_LOCAL_CONFIG";
/// No test waits longer than this for anything.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// This machine's configuration; `None`, with a message, if the tools are not provisioned.
pub fn machine(test: &str) -> Option<LocalConfig> {
    let Some(file) = std::env::var_os(CONFIG_VARIABLE) else {
        println!("skipped: {test}: {CONFIG_VARIABLE} is not set; `cargo xtask test` sets it");
        return None;
    };
    let text = std::fs::read(&file).unwrap_or_else(|error| panic!("{}: {error}", Path::new(&file).display()));
    Some(serde_json::from_slice(&text).unwrap())
}

/// The same if system packages can be built.
pub fn machine_with_nix(test: &str) -> Option<LocalConfig> {
    let config = machine(test)?;
    if config.system.is_none() {
        println!("skipped: {test}: this machine has no Nix");
        return None;
    }
    Some(config)
}

/// True, with a message, if the test needs root and runs as another user.
pub fn not_root(test: &str) -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        println!("skipped: {test}: only root may do this");
    }
    !root
}

/// The folder of this test program's run. The one of a run that has ended is deleted by the next.
fn run_folder() -> PathBuf {
    static SWEEP: Once = Once::new();
    let all = Path::new(env!("CARGO_TARGET_TMPDIR")).join("local");
    SWEEP.call_once(|| {
        for entry in std::fs::read_dir(&all).into_iter().flatten().flatten() {
            if !Path::new("/proc").join(entry.file_name()).exists() {
                delete(&entry.path());
            }
        }
    });
    let own = all.join(std::process::id().to_string());
    std::fs::create_dir_all(&own).unwrap();
    own
}

/// Deletes a cache folder, read-only store folders included.
fn delete(folder: &Path) {
    // `chmod` follows no link below its argument, and what cannot be deleted only takes space.
    let _ = std::process::Command::new("chmod")
        .args(["-R", "u+w"])
        .arg(folder)
        .output();
    let _ = std::fs::remove_dir_all(folder);
}

/// A cache folder that is deleted with its last user.
#[derive(Debug)]
pub struct Root {
    path: PathBuf,
    keep: bool,
}

impl Drop for Root {
    fn drop(&mut self) {
        if !self.keep {
            delete(&self.path);
        }
    }
}

/// A driver on some cache folder.
#[derive(Clone)]
pub struct Bench {
    pub config: LocalConfig,
    pub driver: Arc<LocalDriver>,
    _root: Arc<Root>,
}

/// A finished run with its output.
pub struct Ran {
    pub outcome: Outcome,
    pub stdout: String,
    pub stderr: String,
}

impl Bench {
    /// Caches that are empty and used by no one else.
    pub fn empty(config: LocalConfig) -> Bench {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("own-{}", COUNT.fetch_add(1, Ordering::Relaxed));
        let path = run_folder().join(name);
        Bench::at(config, Root { path, keep: false })
    }

    /// Caches that the tests of this program fill together. Nobody may count on what is in them, nor break them.
    pub fn shared(config: LocalConfig) -> Bench {
        let path = run_folder().join("shared");
        Bench::at(config, Root { path, keep: true })
    }

    fn at(mut config: LocalConfig, root: Root) -> Bench {
        config.root.clone_from(&root.path);
        let driver = Arc::new(LocalDriver::open(config.clone()).unwrap());
        Bench {
            config,
            driver,
            _root: Arc::new(root),
        }
    }

    /// Another driver on the same caches, with another configuration.
    pub fn with(&self, change: impl FnOnce(&mut LocalConfig)) -> Bench {
        let mut bench = self.clone();
        change(&mut bench.config);
        bench.driver = Arc::new(LocalDriver::open(bench.config.clone()).unwrap());
        bench
    }

    pub async fn submit(&self, spec: &TaskSpec) -> Ticket {
        self.driver.submit(spec, &SubmitOptions::default()).await.unwrap()
    }

    pub async fn run(&self, spec: &TaskSpec) -> Ran {
        self.run_with(spec, &SubmitOptions::default()).await
    }

    /// Runs a task to its end, publishing included.
    pub async fn run_with(&self, spec: &TaskSpec, options: &SubmitOptions) -> Ran {
        let ticket = self.driver.submit(spec, options).await.unwrap();
        self.finish(&ticket).await
    }

    pub async fn finish(&self, ticket: &Ticket) -> Ran {
        let settled = tokio::time::timeout(PATIENCE, self.driver.settle(ticket)).await;
        let outcome = settled.expect("the task does not end").unwrap();
        let log = self.driver.logs(ticket).unwrap();
        let text = |stream| String::from_utf8_lossy(&log.collect(stream)).into_owned();
        Ran {
            outcome,
            stdout: text(Stream::Stdout),
            stderr: text(Stream::Stderr),
        }
    }

    /// Waits for the first output that contains `mark`.
    pub async fn until_printed(&self, ticket: &Ticket, mark: &str) {
        let mut log = self.driver.logs(ticket).unwrap();
        let mut seen = Vec::new();
        let read = async {
            while let Some(chunk) = log.next().await {
                seen.extend_from_slice(&chunk.bytes);
                if String::from_utf8_lossy(&seen).contains(mark) {
                    return true;
                }
            }
            false
        };
        let found = tokio::time::timeout(PATIENCE, read).await.unwrap_or(false);
        assert!(found, "no {mark:?} in {}", String::from_utf8_lossy(&seen));
    }

    pub async fn refused(&self, spec: &TaskSpec) -> String {
        match self.driver.submit(spec, &SubmitOptions::default()).await {
            Err(DriverError::Invalid(error)) => error.to_string(),
            other => panic!("the task should be refused, not {other:?}"),
        }
    }

    pub async fn verify(&self) -> VerifyReport {
        match self.maintain(Maintenance::Verify { repair: false }).await {
            Ok(MaintainReport::Verify(report)) => report,
            other => panic!("verifying came to {other:?}"),
        }
    }

    async fn maintain(&self, what: Maintenance) -> Result<MaintainReport, Failure> {
        let asked = self.driver.maintain(&Epoch::Standing, what);
        tokio::time::timeout(PATIENCE, asked)
            .await
            .expect("the runner does not answer")
    }

    pub async fn gc(&self, budget_bytes: u64) -> GcReport {
        let what = Maintenance::Gc {
            budget_bytes: Some(budget_bytes),
            budget_inodes: None,
        };
        match self.maintain(what).await {
            Ok(MaintainReport::Gc(report)) => report,
            other => panic!("collecting came to {other:?}"),
        }
    }

    /// Everything in the cache folder, apart from the networks of tasks, which outlive them for a while.
    pub fn listing(&self) -> Vec<String> {
        let mut lines = listing(&self.config.root);
        lines.retain(|line| !line.starts_with("network/"));
        lines
    }
}

/// Everything below `folder`, files with their size and the time of their last change.
pub fn listing(folder: &Path) -> Vec<String> {
    let output = std::process::Command::new("find")
        .arg(folder)
        .args([
            "-type",
            "d",
            "-printf",
            "%P/ %m\n",
            "-o",
            "-printf",
            "%P %y %s %T@ %m %l\n",
        ])
        .output()
        .unwrap();
    let mut lines: Vec<String> = String::from_utf8_lossy(&output.stdout)
        .lines()
        .map(str::to_owned)
        .collect();
    lines.sort();
    lines
}

/// What was added and removed between two listings.
pub fn difference<'a>(before: &'a [String], after: &'a [String]) -> Vec<String> {
    let missing = |from: &'a [String], other: &'a [String], sign: &str| {
        let lines = from.iter().filter(|line| !other.contains(line));
        lines.map(|line| format!("{sign} {line}")).collect::<Vec<_>>()
    };
    [missing(before, after, "-"), missing(after, before, "+")].concat()
}

impl Ran {
    /// Standard output of a program that ended well.
    pub fn good(&self) -> &str {
        assert!(
            self.outcome.end.is_success(),
            "{:?} {:?}\n{}{}",
            self.outcome.end,
            self.outcome.warnings,
            self.stdout,
            self.stderr
        );
        self.stdout.trim()
    }

    /// The failure of a run that failed in this way.
    pub fn failed(&self, kind: FailureKind) -> &Failure {
        match &self.outcome.end {
            End::Failed { failure } if failure.kind == kind => failure,
            other => panic!("{kind:?} was expected, not {other:?}\n{}{}", self.stdout, self.stderr),
        }
    }

    pub fn python(&self) -> CacheStatus {
        self.outcome.cache.python
    }

    pub fn system(&self) -> CacheStatus {
        self.outcome.cache.system
    }
}

/// True if the environment was built for this run.
pub fn is_built(status: CacheStatus) -> bool {
    matches!(status, CacheStatus::Built { .. })
}

/// A task with Python packages.
pub fn python(dependencies: &str, code: &str) -> TaskSpec {
    TaskSpec {
        dependencies: dependencies.to_owned(),
        ..TaskSpec::new(code)
    }
}

/// A task with system packages.
pub fn system(dependencies: &str, code: &str) -> TaskSpec {
    TaskSpec {
        system_dependencies: dependencies.to_owned(),
        ..TaskSpec::new(code)
    }
}
