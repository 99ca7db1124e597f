//! Two builds of this program as the target of a bench run: each task is a `run` of one of them, in caches of its own.
//!
//! Both sides are measured alike: the time is what the build's own driver measured from submit to end, so the start of the process
//! counts on neither side.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use async_trait::async_trait;
use hybrid_cache_model::sample::{Acceptance, LayerUsage, Peer, judge};
use hybrid_cache_model::scenario::ExpectedOutput;
use hybrid_cache_model::{Failure, FailureKind, Outcome, Scenario, TaskSpec, Temperature};
use hybrid_cache_tools::{ErrorContext, Result, failed};
use tempfile::TempDir;
use tokio::process::Command;

use crate::builds::TwoBuilds;
use crate::folder::delete;
use crate::machine::Stopwatch;
use crate::target::{BenchTarget, PeerRun, Run, TIME_LIMIT};

/// Longest time that a process of a build may take beyond its task: it brings tools and builds its runner the first time.
const MOST_SETUP: Duration = Duration::from_secs(1800);

/// After so many crashes of our build in a row, the run ends: each may take as long as the longest task.
const MAX_CRASHES: u32 = 3;
/// Beginning of the name of a run's folder, and the file in it that the run locks.
const PREFIX: &str = "against-";
const IN_USE: &str = "in-use";

/// Two builds.
pub struct BuildsTarget {
    ours: Build,
    other: Build,
    arguments: Vec<OsString>,
    /// Crashes of our build since its last run that succeeded.
    crashes: u32,
    /// The caches of both; deleted at the end.
    folder: TempDir,
    /// Locked until this run has ended.
    _in_use: File,
}

/// One build, with its caches of each scenario.
struct Build {
    program: PathBuf,
    folder: PathBuf,
    caches: HashMap<usize, PathBuf>,
    fillings: u32,
}

impl BuildsTarget {
    /// Opens both builds: each is copied, because a later build may replace its file, and runs a task that needs nothing, so that it
    /// has its tools and its runner before anything is measured.
    ///
    /// # Errors
    /// One of them cannot be copied or cannot run a task.
    pub async fn open(builds: &TwoBuilds, other: &Path) -> Result<BuildsTarget> {
        let parent = &builds.caches;
        std::fs::create_dir_all(parent).with_context(|| format!("making {}", parent.display()))?;
        sweep(parent);
        let folder = tempfile::Builder::new().prefix(PREFIX).tempdir_in(parent);
        let folder = folder.with_context(|| format!("making a folder in {}", parent.display()))?;
        let in_use = lock(folder.path()).with_context(|| format!("locking {}", folder.path().display()))?;
        let build = |program: &Path, name: &str| -> Result<Build> {
            let copy = folder.path().join(format!("{name}-program"));
            std::fs::copy(program, &copy).with_context(|| format!("copying {}", program.display()))?;
            Ok(Build {
                program: copy,
                folder: folder.path().join(name),
                caches: HashMap::new(),
                fillings: 0,
            })
        };
        let target = BuildsTarget {
            ours: build(&builds.ours, "ours")?,
            other: build(other, "other")?,
            arguments: builds.arguments.clone(),
            crashes: 0,
            folder,
            _in_use: in_use,
        };
        let nothing = TaskSpec::new("print('ready')");
        for (build, named) in [(&target.ours, builds.ours.as_path()), (&target.other, other)] {
            let caches = build.folder.join("ready");
            let ended = run(&build.program, &target.arguments, &caches, &nothing).await;
            let ended = ended.with_context(|| format!("{} cannot run a task", named.display()))?;
            if !ended.outcome.end.is_success() {
                let (program, end) = (named.display(), &ended.outcome.end);
                return Err(failed!("{program} cannot run a task: {end:?}"));
            }
        }
        Ok(target)
    }
}

/// Deletes what runs that were killed have left.
fn sweep(parent: &Path) {
    for entry in std::fs::read_dir(parent).into_iter().flatten().flatten() {
        let is_ours = entry.file_name().to_string_lossy().starts_with(PREFIX);
        // Without the file, another run has only just made its folder.
        let Some(in_use) = File::open(entry.path().join(IN_USE)).ok().filter(|_| is_ours) else {
            continue;
        };
        if in_use.try_lock().is_ok() {
            // What cannot be deleted is in nobody's way.
            let _ = delete(&entry.path());
        }
    }
}

/// Locks a folder. The file appears locked, so that another run never finds it free.
fn lock(folder: &Path) -> std::io::Result<File> {
    let new = folder.join("in-use.new");
    let file = File::create(&new)?;
    file.lock()?;
    std::fs::rename(&new, folder.join(IN_USE))?;
    Ok(file)
}

/// A process of a build that has ended.
struct Ended {
    outcome: Outcome,
    /// The task's output and what the process said, in one stream.
    said: String,
}

impl Build {
    async fn measured(
        &mut self,
        at: usize,
        scenario: &Scenario,
        temperature: Temperature,
        arguments: &[OsString],
    ) -> Result<Ended> {
        let mut spec = scenario.request.clone();
        let caches = match temperature {
            Temperature::First => {
                self.fillings += 1;
                let fresh = self.folder.join(self.fillings.to_string());
                if let Some(old) = self.caches.insert(at, fresh.clone()) {
                    delete(&old)?;
                }
                fresh
            }
            Temperature::Cached => self.caches.get(&at).context("nothing has filled its caches")?.clone(),
            Temperature::Uncached => {
                spec.use_cache = false;
                self.folder.join("uncached")
            }
        };
        run(&self.program, arguments, &caches, &spec).await
    }

    fn delete_caches(&mut self) -> Result<()> {
        self.caches.drain().try_for_each(|(_, caches)| delete(&caches))
    }
}

/// Runs a task by a build, in these caches.
async fn run(program: &Path, arguments: &[OsString], caches: &Path, spec: &TaskSpec) -> Result<Ended> {
    let task = tempfile::NamedTempFile::with_suffix(".json")?;
    std::fs::write(task.path(), serde_json::to_vec(spec)?)?;
    let mut command = Command::new(program);
    command
        .args(["run", "--json", "--cache-dir"])
        .arg(caches)
        .args(arguments)
        .arg(task.path());
    command.stdin(Stdio::null()).kill_on_drop(true);
    let limit = TIME_LIMIT + MOST_SETUP;
    let output = match tokio::time::timeout(limit, command.output()).await {
        Ok(output) => output.with_context(|| format!("starting {}", program.display()))?,
        Err(_) => {
            return Err(failed!(
                "{} did not end within {} s",
                program.display(),
                limit.as_secs()
            ));
        }
    };
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let outcome = serde_json::from_slice(&output.stdout).map_err(|error| {
        let (program, status) = (program.display(), output.status);
        failed!(
            "{program} ended with {status} and no outcome that this build understands ({error}): {}",
            said.trim()
        )
    })?;
    Ok(Ended { outcome, said })
}

/// The output that the scenario is judged by. The task's output stands among what the process said, as lines of its own.
fn output(scenario: &Scenario, ended: &Ended) -> String {
    match &scenario.expect.stdout {
        ExpectedOutput::Equals(text) if has_lines(&ended.said, text.trim()) => text.clone(),
        _ => ended.said.clone(),
    }
}

/// Whether these lines follow each other in a text.
fn has_lines(text: &str, lines: &str) -> bool {
    format!("\n{text}\n").contains(&format!("\n{lines}\n"))
}

#[async_trait(?Send)]
impl BenchTarget for BuildsTarget {
    async fn run(&mut self, at: usize, scenario: &Scenario, temperature: Temperature) -> Result<Run> {
        let watch = Stopwatch::start();
        let ended = self.ours.measured(at, scenario, temperature, &self.arguments).await;
        let mut moment = watch.stop();
        // A crash of our build is a failed run, as that of the other build is a failed peer.
        let ended = match ended {
            Err(error) if self.crashes + 1 < MAX_CRASHES => {
                self.crashes += 1;
                Ended {
                    outcome: Outcome::without_start(Failure::new(FailureKind::Internal, format!("{error:#}"))),
                    said: String::new(),
                }
            }
            ended => ended?,
        };
        if ended.outcome.end.is_success() {
            self.crashes = 0;
        }
        moment.wall_us = ended.outcome.timeline.total_us;
        Ok(Run {
            moment,
            timeline: ended.outcome.timeline.clone(),
            stdout: output(scenario, &ended),
            outcome: ended.outcome,
            disturbed: None,
        })
    }

    async fn peer(&mut self, at: usize, scenario: &Scenario, peer: Peer) -> Result<PeerRun> {
        let temperature = peer.temperature();
        let ended = self.other.measured(at, scenario, temperature, &self.arguments).await?;
        match judge(scenario, temperature, &ended.outcome, &output(scenario, &ended)) {
            Acceptance::Accepted => {
                let wall = Duration::from_micros(ended.outcome.timeline.total_us);
                Ok(PeerRun::with_runner(wall, ended.outcome.runner_us))
            }
            Acceptance::WrongTemperature { reason } | Acceptance::Failed { reason } => Err(failed!("{reason}")),
        }
    }

    async fn usage(&mut self, _: usize) -> Result<Option<Vec<LayerUsage>>> {
        Ok(None)
    }

    async fn end_epochs(&mut self) -> Result<()> {
        self.ours.delete_caches()?;
        self.other.delete_caches()
    }

    /// The process of a step that was interrupted is killed when the step is dropped, and its sandbox with it.
    async fn end_running(&mut self) -> Result<()> {
        Ok(())
    }

    async fn close(self: Box<Self>) -> Result<Vec<String>> {
        delete(self.folder.path())?;
        Ok(Vec::new())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::builds::OtherBuild;

    /// A build that says it took so long, and whose caches are a file that it leaves.
    fn stand_in(folder: &Path, name: &str, total_us: u64) -> PathBuf {
        let program = folder.join(name);
        let outcome = r#"{"end":"exited","code":0,"cache":{"python":STATUS,"system":{"status":"not_asked"}},"timeline":{"total_us":TOTAL,"spans":[]},"runner_us":5,"stdout":{"written_bytes":0,"passed_bytes":0},"stderr":{"written_bytes":0,"passed_bytes":0},"resolved":{}}"#;
        let outcome = outcome.replace("TOTAL", &total_us.to_string());
        let built = outcome.replace("STATUS", r#"{"status":"built","downloaded_bytes":1,"reused_bytes":0}"#);
        let hit = outcome.replace("STATUS", r#"{"status":"hit"}"#);
        let text = format!(
            "#!/bin/sh\n# run --json --cache-dir DIR TASK\necho works >&2\nif [ -d \"$4\" ]; then echo '{hit}'; else mkdir -p \"$4\"; echo '{built}'; fi\n"
        );
        std::fs::write(&program, text).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        program
    }

    fn scenario() -> Scenario {
        let text = "name: small\nwhy: a test\nrequest:\n  pythonCode: print('works')\n  dependencies: idna\nexpect:\n  stdout:\n    equals: works\n";
        Scenario::from_yaml("small.yaml", text).unwrap()
    }

    #[tokio::test]
    async fn both_builds_run_alike_each_in_caches_of_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let builds = TwoBuilds {
            ours: stand_in(folder.path(), "ours", 100),
            other: OtherBuild::Same,
            caches: folder.path().join("caches"),
            arguments: Vec::new(),
        };
        let other = stand_in(folder.path(), "other", 200);
        let mut target = BuildsTarget::open(&builds, &other).await.unwrap();
        let scenario = scenario();
        let cold = target
            .peer(0, &scenario, Peer::OtherCached)
            .await
            .unwrap_err()
            .to_string();
        assert!(cold.contains("nothing has filled its caches"), "{cold}");
        for _ in 0..2 {
            for temperature in [Temperature::First, Temperature::Cached] {
                let run = target.run(0, &scenario, temperature).await.unwrap();
                let judged = judge(&scenario, temperature, &run.outcome, &run.stdout);
                assert_eq!((judged, run.moment.wall_us), (Acceptance::Accepted, 100));
            }
            for peer in [Peer::OtherFirst, Peer::OtherCached] {
                let run = target.peer(0, &scenario, peer).await.unwrap();
                assert_eq!((run.wall, run.runner_us), (Duration::from_micros(200), Some(5)));
            }
        }
        let crashed = folder
            .path()
            .join("caches")
            .read_dir()
            .unwrap()
            .next()
            .unwrap()
            .unwrap();
        std::fs::write(
            crashed.path().join("ours-program"),
            "#!/bin/sh\necho no luck >&2; exit 134\n",
        )
        .unwrap();
        let run = target.run(0, &scenario, Temperature::Cached).await.unwrap();
        let Acceptance::Failed { reason } = judge(&scenario, Temperature::Cached, &run.outcome, &run.stdout) else {
            panic!("a crash of our build is a failed run");
        };
        assert!(reason.contains("no luck"), "{reason}");
        target.end_epochs().await.unwrap();
        Box::new(target).close().await.unwrap();
        assert_eq!(
            std::fs::read_dir(folder.path().join("caches")).unwrap().count(),
            0,
            "nothing is left"
        );
    }

    #[tokio::test]
    async fn a_build_whose_file_is_replaced_meanwhile_stays_the_one_that_was_opened() {
        let folder = tempfile::tempdir().unwrap();
        let builds = TwoBuilds {
            ours: stand_in(folder.path(), "ours", 100),
            other: OtherBuild::Same,
            caches: folder.path().join("caches"),
            arguments: Vec::new(),
        };
        let left = builds.caches.join("against-killed");
        std::fs::create_dir_all(&left).unwrap();
        std::fs::write(left.join(IN_USE), "").unwrap();
        let mut target = BuildsTarget::open(&builds, &builds.ours).await.unwrap();
        assert!(!left.exists(), "nobody uses it any more");
        let beside = BuildsTarget::open(&builds, &builds.ours).await.unwrap();
        assert!(
            target.ours.program.exists() && beside.ours.program.exists(),
            "a run leaves another one's folder alone"
        );
        stand_in(folder.path(), "ours", 300);
        let run = target.run(0, &scenario(), Temperature::First).await.unwrap();
        assert_eq!(run.moment.wall_us, 100);
    }

    #[test]
    fn the_expected_output_is_looked_for_as_whole_lines() {
        assert!(has_lines("log\n14\nlog", "14") && has_lines("a\nb", "a\nb"));
        assert!(!has_lines("took 114 ms", "14") && !has_lines("a\n\nb", "a\nb"));
    }

    #[tokio::test]
    async fn a_build_that_cannot_run_a_task_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let broken = folder.path().join("broken");
        std::fs::write(&broken, "#!/bin/sh\necho 'no such command' >&2\nexit 2\n").unwrap();
        std::fs::set_permissions(&broken, std::fs::Permissions::from_mode(0o755)).unwrap();
        let builds = TwoBuilds {
            ours: stand_in(folder.path(), "ours", 100),
            other: OtherBuild::Same,
            caches: folder.path().join("caches"),
            arguments: Vec::new(),
        };
        let error = BuildsTarget::open(&builds, &broken).await.err().unwrap();
        let error = format!("{error:#}");
        assert!(
            error.contains("broken cannot run a task") && error.contains("no such command"),
            "{error}"
        );
    }
}
