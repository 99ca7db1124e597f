//! What people would use instead of a cached run ([`Peer::ALTERNATIVES`]): the same program with the same packages at the same
//! versions, each in a folder of its own, which is filled by a first run that does not count.
//!
//! ```text
//! <epoch of the bench run>/python/<peer>-<random>/
//!   main.py, requirements.txt      the program, and what our own run resolved
//!   cache, pex, nix, home, tmp     what the peer keeps between its runs
//!   environment                    what a run makes anew; deleted after it
//! ```
//! A run that fails deletes its folder, so that nothing that it left makes a later run warm.

mod command_lines;
mod same;
mod tools;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use hybrid_cache_model::outcome::Resolved;
use hybrid_cache_model::sample::{AbsentPeer, Peer};
use hybrid_cache_model::{Scenario, Task};
use hybrid_cache_tools::{ErrorContext, Result, failed};
use tempfile::TempDir;
use tokio::process::Command;

use crate::folder;
use crate::peer;
use command_lines::{CommandLine, CommandLines, Workplace};
pub use tools::AlternativeTools;

/// Failures in a row after which a peer is not tried again, so that a broken one does not hold a bench run up.
const MAX_FAILURES: u32 = 3;

/// The peers of one bench run with what they keep.
pub struct Alternatives {
    tools: AlternativeTools,
    /// Parent of each peer's folder.
    folder: PathBuf,
    kept: HashMap<(String, Peer), Kept>,
}

/// What is known of a peer of a scenario.
#[derive(Default)]
struct Kept {
    warm: Option<Warm>,
    failures: u32,
    last_failure: String,
}

/// A peer that has run before.
struct Warm {
    folder: TempDir,
    lines: CommandLines,
    /// What it was filled with.
    resolved: Resolved,
}

impl Drop for Warm {
    fn drop(&mut self) {
        // Those of a Nix store may not be written, which only matters to users other than root.
        folder::make_writable(self.folder.path());
    }
}

/// One run of a peer.
#[derive(Clone, Copy)]
pub struct PeerTask<'a> {
    /// What it runs.
    pub scenario: &'a Scenario,
    /// One of [`Peer::ALTERNATIVES`].
    pub peer: Peer,
    /// The interpreter that our own run uses.
    pub interpreter: &'a Path,
    /// What our own run of the scenario used.
    pub resolved: &'a Resolved,
}

/// How a scenario concerns a peer.
pub enum Fit {
    /// It is measured.
    Measured,
    /// It cannot be measured, for this reason.
    Absent(String),
    /// It is about other packages.
    Foreign,
}

/// Whether a peer of [`Peer::ALTERNATIVES`] can do the scenario's work.
pub fn fit(tools: &AlternativeTools, scenario: &Scenario, peer: Peer) -> Fit {
    let (python, system) = (scenario.asks_python(), scenario.asks_system());
    let is_nix = peer == Peer::NixShell;
    match (python, system) {
        (false, false) => return Fit::Foreign,
        (true, true) if is_nix => return Fit::Absent("it cannot install Python packages from an index".to_owned()),
        (true, true) => return Fit::Absent("it cannot install system packages".to_owned()),
        _ if is_nix != system => return Fit::Foreign,
        _ => {}
    }
    // By name alone, an index may offer a stranger's package, and these peers have no sandbox.
    let is_by_address = |task: Task| task.requirements.iter().any(|one| one.reference().is_some());
    if peer::checked(scenario).is_ok_and(is_by_address) {
        return Fit::Absent("the scenario names a package by its address".to_owned());
    }
    let names_its_packages = scenario
        .request
        .python_code
        .lines()
        .any(|line| line.trim_end() == "# /// script");
    if names_its_packages && matches!(peer, Peer::UvRunWith | Peer::UvRunScript) {
        return Fit::Absent("the scenario's code already names packages".to_owned());
    }
    match tools.missing(peer) {
        Some(reason) => Fit::Absent(reason.to_owned()),
        None => Fit::Measured,
    }
}

/// The peers that are measured for a scenario. Adds those that cannot be to `absent`.
pub fn peers(tools: &AlternativeTools, scenario: &Scenario, absent: &mut Vec<AbsentPeer>) -> Vec<Peer> {
    let mut measured = Vec::new();
    for peer in Peer::ALTERNATIVES {
        match fit(tools, scenario, peer) {
            Fit::Measured => measured.push(peer),
            Fit::Absent(reason) => absent.push(AbsentPeer {
                scenario: scenario.name.clone(),
                peer,
                reason,
            }),
            Fit::Foreign => {}
        }
    }
    measured
}

impl Alternatives {
    /// Keeps everything below `folder`, which belongs to this bench run.
    pub fn new(tools: AlternativeTools, folder: PathBuf) -> Alternatives {
        Alternatives {
            tools,
            folder,
            kept: HashMap::new(),
        }
    }

    /// Takes one run of a peer. Before its first one, and after a failure, runs that are not measured fill its caches.
    ///
    /// # Errors
    /// Its tool failed, it installed other versions, or the program's output differs from the expected one.
    pub async fn run(&mut self, task: PeerTask<'_>) -> Result<Duration> {
        let key = (task.scenario.name.clone(), task.peer);
        let mut kept = self.kept.remove(&key).unwrap_or_default();
        if kept.failures >= MAX_FAILURES {
            let (times, last) = (kept.failures, kept.last_failure.clone());
            self.kept.insert(key, kept);
            return Err(failed!("not tried again after {times} failures; the last one: {last}"));
        }
        // An interrupted run drops this, and its folder with it.
        let is_same = |warm: &Warm| same::versions(&warm.resolved) == same::versions(task.resolved);
        let warm = kept.warm.take().filter(is_same);
        let result = self.attempt(warm, task).await;
        let wall = match result {
            Ok((warm, wall)) => {
                kept = Kept {
                    warm: Some(warm),
                    ..Kept::default()
                };
                Ok(wall)
            }
            Err(error) => {
                kept.failures += 1;
                kept.last_failure = format!("{error:#}");
                Err(error)
            }
        };
        self.kept.insert(key, kept);
        wall
    }

    async fn attempt(&self, warm: Option<Warm>, task: PeerTask<'_>) -> Result<(Warm, Duration)> {
        let warm = match warm {
            Some(warm) => warm,
            None => self.fill(task).await?,
        };
        let (wall, stdout) = warm.run().await?;
        peer::check(task.scenario, &stdout)?;
        Ok((warm, wall))
    }

    /// Two runs that do not count: one that prints which versions it sees, and the scenario's own.
    async fn fill(&self, task: PeerTask<'_>) -> Result<Warm> {
        let PeerTask {
            scenario,
            peer,
            interpreter,
            resolved,
        } = task;
        let task = peer::checked(scenario)?;
        let prefix = format!("{peer:?}-");
        let made = tempfile::Builder::new().prefix(&prefix).tempdir_in(&self.folder);
        let folder = made.with_context(|| format!("making a folder in {}", self.folder.display()))?;
        for name in ["home", "tmp", "nix"] {
            std::fs::create_dir(folder.path().join(name))?;
        }
        let packages: Vec<String> = task.system.iter().map(ToString::to_string).collect();
        let at = Workplace {
            tools: &self.tools,
            folder: folder.path(),
            interpreter,
            pins: &resolved.python,
            packages: &packages,
        };
        let lines = at.command_lines(peer);
        let lines = lines.with_context(|| format!("{} has no command line here", peer.name()))?;
        let pins: String = resolved.python.iter().flat_map(|pin| [pin.as_str(), "\n"]).collect();
        std::fs::write(at.requirements(), pins)?;
        std::fs::write(at.program(), at.program_text(peer, same::PROGRAM))?;
        for line in &lines.once {
            peer::run(command(line, folder.path())).await?;
        }
        let (program, text) = (at.program(), at.program_text(peer, &scenario.request.python_code));
        let warm = Warm {
            lines,
            resolved: resolved.clone(),
            folder,
        };
        let (_, seen) = warm.run().await?;
        same::check(&seen, resolved)?;
        std::fs::write(program, text)?;
        let (_, stdout) = warm.run().await?;
        peer::check(scenario, &stdout)?;
        Ok(warm)
    }
}

impl Warm {
    /// Starts the command lines of one run; returns the time from the start of the first one to the end of the last one, and what that
    /// one printed.
    async fn run(&self) -> Result<(Duration, Vec<u8>)> {
        let mut stdout = Vec::new();
        let started = Instant::now();
        for line in &self.lines.each {
            stdout = peer::run(command(line, self.folder.path())).await?;
        }
        let wall = started.elapsed();
        let environment = self.folder.path().join("environment");
        if environment.exists() {
            std::fs::remove_dir_all(&environment).with_context(|| format!("deleting {}", environment.display()))?;
        }
        Ok((wall, stdout))
    }
}

fn command(line: &CommandLine, folder: &Path) -> Command {
    let mut command = Command::new(&line.program);
    command
        .args(&line.arguments)
        .env_clear()
        .envs(line.variables.iter().map(|(name, value)| (name, value)))
        .current_dir(folder);
    command
}

#[cfg(test)]
mod tests;
