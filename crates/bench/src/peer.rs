//! The peers on this machine: the same work without hybrid-cache, with as little overhead as possible.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use hybrid_cache_driver::local::LocalConfig;
use hybrid_cache_model::protocol::PythonTools;
use hybrid_cache_model::{PythonRequest, RequestKey, Scenario, Task, Tenant};
use hybrid_cache_tools::{Error, ErrorContext, Machine, Result, failed};
use rustix::process::{Pid, Signal, kill_process_group};
use tempfile::TempDir;
use tokio::process::Command;

use crate::machine;

/// Longest time for a step of a peer.
const LIMIT: Duration = Duration::from_secs(600);

/// `uv venv`, `uv pip install` and the program, on an empty uv cache below `parent`, a folder on the same volume. The cache is a new
/// folder each time and is deleted however the run ends: what a failed one left must not make the next one warm.
///
/// # Errors
/// A step failed, or the program's output differs from the expected one.
pub async fn plain_uv(machine: &Machine, scenario: &Scenario, parent: &Path) -> Result<Duration> {
    std::fs::create_dir_all(parent).with_context(|| format!("making {}", parent.display()))?;
    let folder = own_folder(parent)?;
    let wall = in_folder(machine, scenario, folder.path()).await;
    let path = folder.path().to_owned();
    folder.close().with_context(|| format!("deleting {}", path.display()))?;
    wall
}

/// An empty folder that nothing else has used, deleted when it is dropped.
fn own_folder(parent: &Path) -> Result<TempDir> {
    let prefix = format!("peer-{}-", std::process::id());
    let made = tempfile::Builder::new().prefix(&prefix).tempdir_in(parent);
    made.with_context(|| format!("making a folder in {}", parent.display()))
}

async fn in_folder(machine: &Machine, scenario: &Scenario, folder: &Path) -> Result<Duration> {
    let requirements = folder.join("requirements.txt");
    let task = checked(scenario)?;
    let lines: String = task
        .requirements
        .iter()
        .flat_map(|requirement| [requirement.as_str(), "\n"])
        .collect();
    std::fs::write(&requirements, lines)?;
    let program = write_program(scenario, folder)?;
    let venv = folder.join("venv");
    let tools = &machine.config.python_tools;
    let uv = |arguments: &[&std::ffi::OsStr]| {
        let mut command = Command::new(&tools.uv);
        command.args(arguments).env_clear().envs(uv_variables(tools, folder));
        command
    };
    let interpreter = interpreter(&machine.config, &task)?;
    let started = Instant::now();
    run(uv(&[
        "venv".as_ref(),
        "--python".as_ref(),
        interpreter.as_ref(),
        venv.as_ref(),
    ]))
    .await?;
    let python = venv.join("bin/python");
    let install = [
        "pip".as_ref(),
        "install".as_ref(),
        "--python".as_ref(),
        python.as_ref(),
        "-r".as_ref(),
    ];
    let mut command = uv(&install);
    command.arg(&requirements).arg("--no-build");
    run(command).await?;
    let stdout = run(python_command(&python, &program, folder)).await?;
    let wall = started.elapsed();
    check(scenario, &stdout)?;
    Ok(wall)
}

/// Starts the prepared environment's interpreter on the same program without a runner and without a sandbox. `folder` is the
/// tenant's folder on the Python volume.
///
/// # Errors
/// The environment does not exist, or the program's output differs from the expected one.
pub async fn direct_exec(machine: &Machine, scenario: &Scenario, folder: &Path) -> Result<Duration> {
    let task = checked(scenario)?;
    let other = machine.config.for_task(&task).map_err(|error| failed!("{error}"))?;
    let context = other.as_ref().unwrap_or(&machine.config).context(&Tenant::default());
    let key = RequestKey::new(&PythonRequest::of(&task, &context));
    let environment = folder.join("requests").join(key.as_str());
    let environment = environment
        .canonicalize()
        .with_context(|| format!("no environment at {}", environment.display()))?;
    let folder = tempfile::tempdir()?;
    let program = write_program(scenario, folder.path())?;
    let command = python_command(&environment.join("venv/bin/python"), &program, folder.path());
    let started = Instant::now();
    let stdout = run(command).await?;
    let wall = started.elapsed();
    check(scenario, &stdout)?;
    Ok(wall)
}

/// The interpreter that our own run uses for the task.
///
/// # Errors
/// No interpreter has the version that it asks for.
pub fn interpreter(config: &LocalConfig, task: &Task) -> Result<PathBuf> {
    let other = config.for_task(task).map_err(|error| failed!("{error}"))?;
    Ok(PathBuf::from(&other.as_ref().unwrap_or(config).interpreter.path))
}

/// The scenario's task.
///
/// # Errors
/// It is not acceptable.
pub fn checked(scenario: &Scenario) -> Result<Task> {
    let task = scenario.request.check();
    task.map_err(|error| Error::input(error.to_string()))
}

fn write_program(scenario: &Scenario, folder: &Path) -> Result<PathBuf> {
    let program = folder.join("main.py");
    std::fs::write(&program, &scenario.request.python_code)?;
    Ok(program)
}

/// The settings that the runner also gives uv, so that only our own work differs.
pub fn uv_variables(tools: &PythonTools, folder: &Path) -> Vec<(String, String)> {
    let path = |name: &str| folder.join(name).display().to_string();
    let own = [
        ("UV_CACHE_DIR", path("cache")),
        ("HOME", path("home")),
        ("UV_LINK_MODE", "hardlink".to_owned()),
        ("UV_PYTHON_DOWNLOADS", "never".to_owned()),
        ("UV_NO_CONFIG", "1".to_owned()),
        ("UV_NO_PROGRESS", "1".to_owned()),
    ];
    own.into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .chain(tools.variables.iter().cloned())
        .collect()
}

/// What the runner also sets for a program, which has this home.
pub fn program_variables(home: &Path, threads: u32) -> Vec<(String, String)> {
    let threads = threads.to_string();
    let own = [
        ("HOME", home.display().to_string()),
        ("LANG", "C.UTF-8".to_owned()),
        ("PATH", "/usr/bin:/bin".to_owned()),
        ("PYTHONNOUSERSITE", "1".to_owned()),
        ("OPENBLAS_NUM_THREADS", threads.clone()),
        ("OMP_NUM_THREADS", threads.clone()),
        ("MKL_NUM_THREADS", threads),
    ];
    own.map(|(name, value)| (name.to_owned(), value)).to_vec()
}

/// The program with the variables that the runner also sets.
fn python_command(python: &Path, program: &Path, home: &Path) -> Command {
    let mut command = Command::new(python);
    command.arg(program).env_clear();
    command.envs(program_variables(home, machine::cpus()));
    command.env("PYTHONDONTWRITEBYTECODE", "1");
    command
}

/// A running program with everything that it started, such as the Python of a `uv run`. All of it is killed when this is dropped.
struct ProcessGroup(Option<Pid>);

impl Drop for ProcessGroup {
    fn drop(&mut self) {
        if let Some(leader) = self.0 {
            let _ = kill_process_group(leader, Signal::KILL);
        }
    }
}

/// Runs a program to its end and returns its standard output.
///
/// # Errors
/// It cannot be started, fails, or does not end in time.
pub async fn run(mut command: Command) -> Result<Vec<u8>> {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command.kill_on_drop(true).process_group(0);
    let program = command.as_std().get_program().to_string_lossy().into_owned();
    let child = command.spawn().with_context(|| format!("starting {program}"))?;
    let leader = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
    let mut group = ProcessGroup(leader);
    let output = match tokio::time::timeout(LIMIT, child.wait_with_output()).await {
        Ok(output) => output.with_context(|| format!("waiting for {program}"))?,
        Err(_) => return Err(failed!("{program} did not end within {} s", LIMIT.as_secs())),
    };
    // It has ended: its number may belong to another process from now on.
    group.0 = None;
    let said = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        return Err(failed!("{program} ended with {}: {}", output.status, said.trim()));
    }
    Ok(output.stdout)
}

/// Compares what the program printed with what the scenario expects.
///
/// # Errors
/// They differ.
pub fn check(scenario: &Scenario, stdout: &[u8]) -> Result<()> {
    scenario
        .expect
        .stdout
        .check(&String::from_utf8_lossy(stdout))
        .map_err(Error::failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_failed_peer_left_is_not_there_for_the_next_one() {
        let parent = tempfile::tempdir().unwrap();
        let fails = || -> Result<()> {
            let folder = own_folder(parent.path())?;
            assert_eq!(std::fs::read_dir(folder.path())?.count(), 0, "its cache begins empty");
            std::fs::write(folder.path().join("cache"), "warm")?;
            Err(failed!("uv ended with 1"))
        };
        for _ in 0..2 {
            fails().unwrap_err();
            assert_eq!(std::fs::read_dir(parent.path()).unwrap().count(), 0);
        }
    }
}
