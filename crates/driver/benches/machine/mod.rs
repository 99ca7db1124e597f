//! What the driver's benchmarks stand on: this machine's tools, caches of their own that stay warm, and two ways to
//! run a program, ours and the shortest one there is.

#![expect(dead_code, reason = "each of the benchmarks uses another part of this")]
#![expect(clippy::unwrap_used, reason = "all of this is benchmark code")]

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use hybrid_cache_driver::local::{LocalConfig, LocalDriver};
use hybrid_cache_driver::log::Stream;
use hybrid_cache_driver::{Driver, SubmitOptions};
use hybrid_cache_model::{Outcome, Scenario, TaskSpec};
use tokio::runtime::Runtime;

/// Names the file with this machine's configuration.
const CONFIG_VARIABLE: &str = "HYBRID_CACHE_LOCAL_CONFIG";
/// Where `cargo xtask test` leaves it.
const CONFIG_FILE: &str = "../../target/local-config.json";
const SCENARIOS: &str = "../../bench-scenarios";

/// This machine with warm caches.
pub struct Machine {
    pub driver: LocalDriver,
    config: LocalConfig,
    runtime: Runtime,
}

/// One cached run, as its client saw it.
pub struct Ran {
    /// From submitting to having the outcome.
    pub wall: Duration,
    pub outcome: Outcome,
}

impl Machine {
    /// `None`, and a word about it, if the tools are not provisioned. `runtime` is the one of the program whose
    /// place the benchmark takes.
    pub fn open(bench: &str, runtime: Runtime) -> Option<Machine> {
        let standard = Path::new(env!("CARGO_MANIFEST_DIR")).join(CONFIG_FILE);
        let file = std::env::var_os(CONFIG_VARIABLE).map_or(standard, PathBuf::from);
        let Ok(text) = std::fs::read(&file) else {
            println!(
                "skipped: {bench}: there is no {}; `cargo xtask test` makes it",
                file.display()
            );
            return None;
        };
        let mut config: LocalConfig = serde_json::from_slice(&text).unwrap();
        // Kept from one benchmark to the next: filling them takes longer than measuring.
        config.root = Path::new(env!("CARGO_TARGET_TMPDIR")).join("bench-caches");
        let driver = LocalDriver::open(config.clone()).unwrap();
        Some(Machine {
            driver,
            config,
            runtime,
        })
    }

    /// The scenario of that name with its caches filled; `None`, with a message, if this machine lacks Nix.
    pub fn warm(&self, name: &str) -> Option<Scenario> {
        let file = format!("{}/{SCENARIOS}/{name}.yaml", env!("CARGO_MANIFEST_DIR"));
        let scenario = Scenario::from_yaml(&file, &std::fs::read_to_string(&file).unwrap()).unwrap();
        if scenario.asks_system() && self.config.system.is_none() {
            println!("skipped: {name}: this machine has no Nix");
            return None;
        }
        self.runtime.block_on(async {
            let ticket = self.submit(&scenario.request).await;
            let outcome = self.driver.settle(&ticket).await.unwrap();
            let log = self.driver.logs(&ticket).unwrap();
            let stdout = String::from_utf8_lossy(&log.collect(Stream::Stdout)).into_owned();
            assert!(outcome.end.is_success(), "{:?}", outcome.end);
            scenario.expect.stdout.check(&stdout).unwrap();
            self.driver.forget(&ticket);
        });
        Some(scenario)
    }

    async fn submit(&self, spec: &TaskSpec) -> hybrid_cache_driver::Ticket {
        self.driver.submit(spec, &SubmitOptions::default()).await.unwrap()
    }

    /// One cached run through the whole driver, the sandbox included.
    pub fn cached(&self, spec: &TaskSpec) -> Ran {
        self.runtime.block_on(self.cached_in(spec))
    }

    /// `count` cached runs at once; how long until the last of them had its outcome.
    pub fn cached_at_once(&self, spec: &TaskSpec, count: usize) -> Duration {
        let began = Instant::now();
        self.runtime.block_on(async {
            let mut tickets = Vec::with_capacity(count);
            for _ in 0..count {
                tickets.push(self.submit(spec).await);
            }
            for ticket in &tickets {
                self.take(ticket).await;
            }
        });
        began.elapsed()
    }

    async fn cached_in(&self, spec: &TaskSpec) -> Ran {
        let began = Instant::now();
        let ticket = self.submit(spec).await;
        let outcome = self.take(&ticket).await;
        Ran {
            wall: began.elapsed(),
            outcome,
        }
    }

    /// The outcome, which must be that of a cached run that went well.
    async fn take(&self, ticket: &hybrid_cache_driver::Ticket) -> Outcome {
        let outcome = self.driver.wait(ticket).await.unwrap();
        assert!(
            outcome.end.is_success() && outcome.cache.all_hit(),
            "{:?} {:?}",
            outcome.end,
            outcome.cache
        );
        self.driver.forget(ticket);
        outcome
    }

    /// The same prepared interpreter on the same program with the same variables, and nothing of ours around it.
    pub fn direct(&self, spec: &TaskSpec) -> Direct {
        let folder = std::fs::read_dir(self.config.root.join("volumes/python/tenants/default/envs"))
            .unwrap()
            .filter_map(|entry| Some(entry.ok()?.path()))
            .find(|folder| {
                std::fs::read_to_string(folder.join("lock.txt")).is_ok_and(|lock| lock.starts_with("numpy=="))
            })
            .unwrap();
        let scratch = tempfile::tempdir().unwrap();
        std::fs::write(scratch.path().join("main.py"), &spec.python_code).unwrap();
        Direct {
            folder: folder.join("venv"),
            threads: SubmitOptions::default().limits.threads.to_string(),
            scratch,
        }
    }
}

/// A program that is exec'ed without anything around it.
pub struct Direct {
    folder: PathBuf,
    threads: String,
    scratch: tempfile::TempDir,
}

impl Direct {
    fn command(&self) -> Command {
        let mut command = Command::new(self.folder.join("bin/python"));
        let path = format!("{}/bin:/usr/bin:/bin", self.folder.display());
        command.arg(self.scratch.path().join("main.py"));
        command.current_dir(self.scratch.path()).env_clear();
        command
            .env("PATH", path)
            .env("HOME", self.scratch.path())
            .env("TMPDIR", self.scratch.path());
        command.env("LANG", "C.UTF-8").env("VIRTUAL_ENV", &self.folder);
        for name in ["PYTHONNOUSERSITE", "PYTHONDONTWRITEBYTECODE"] {
            command.env(name, "1");
        }
        for name in ["OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"] {
            command.env(name, &self.threads);
        }
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// One run.
    pub fn run(&self) -> Duration {
        let began = Instant::now();
        let output = self.command().output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        began.elapsed()
    }

    /// `count` runs at once; how long until the last of them had ended.
    pub fn run_at_once(&self, count: usize) -> Duration {
        let began = Instant::now();
        let spawn = || {
            let mut command = self.command();
            own_session(&mut command);
            command.spawn().unwrap()
        };
        let children: Vec<_> = (0..count).map(|_| spawn()).collect();
        for child in children {
            assert!(child.wait_with_output().unwrap().status.success());
        }
        began.elapsed()
    }
}

/// Every sandbox has a session of its own, and the kernel shares processor time out by sessions (autogroup): thirty
/// programs that share one get no more of a busy machine than one of ours.
#[expect(unsafe_code, reason = "the only way to run a system call between fork and exec")]
fn own_session(command: &mut Command) {
    // SAFETY: one plain system call, which is async-signal-safe.
    unsafe { command.pre_exec(|| rustix::process::setsid().map(drop).map_err(std::io::Error::from)) };
}
