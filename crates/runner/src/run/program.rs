//! Lays the user's program out in its scratch folder and starts the interpreter on it.

use std::fs::{self, Permissions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use hybrid_cache_model::protocol::{Identity, RunRequest};
use hybrid_cache_model::{Failure, FailureKind};
use rustix::process::Pid;

use super::kernel::{self, ChildSetup};
use super::supervise::Started;

/// The environments a program runs in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Environment {
    /// The virtual environment's folder, where the task asked for Python packages.
    pub python: Option<PathBuf>,
    /// Store paths in the order of the search path.
    pub system: Vec<String>,
}

/// The scratch folder of one run:
///
/// ```text
/// <scratch>/work/main.py   the program; the folder is its working directory and first on its import path
/// <scratch>/home           HOME
/// <scratch>/tmp            TMPDIR
/// ```
struct Scratch {
    work: PathBuf,
    home: PathBuf,
    tmp: PathBuf,
    program: PathBuf,
}

impl Scratch {
    fn new(root: &Path) -> Scratch {
        let work = root.join("work");
        Scratch {
            home: root.join("home"),
            tmp: root.join("tmp"),
            program: work.join("main.py"),
            work,
        }
    }

    /// Makes the folders and writes the program.
    fn lay_out(&self, root: &Path, code: &str, owner: Option<Identity>) -> Result<(), Failure> {
        let fail = |path: &Path, error: io::Error| {
            let kind = match error.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => FailureKind::DiskFull,
                _ => FailureKind::Sandbox,
            };
            Failure::new(
                kind,
                format!("cannot prepare the scratch folder {}: {error}", path.display()),
            )
            .hint("it must be writable for the runner and private to this run")
        };
        for folder in [root, &self.work, &self.home, &self.tmp] {
            match fs::create_dir(folder) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(fail(folder, error)),
                _ => {}
            }
        }
        fs::write(&self.program, code).map_err(|error| fail(&self.program, error))?;
        let Some(owner) = owner else { return Ok(()) };
        // Before the owner changes: afterwards it would take one more capability.
        fs::set_permissions(root, Permissions::from_mode(0o700)).map_err(|error| fail(root, error))?;
        for path in [&self.program, &self.work, &self.home, &self.tmp, root] {
            std::os::unix::fs::lchown(path, Some(owner.uid), Some(owner.gid)).map_err(|error| fail(path, error))?;
        }
        Ok(())
    }
}

/// Starts the program.
///
/// # Errors
/// Where the scratch folder cannot be used or the interpreter cannot be started; never for what the program does.
pub fn start(request: &RunRequest, environment: &Environment) -> Result<Started, Failure> {
    let root = Path::new(&request.scratch);
    let scratch = Scratch::new(root);
    scratch.lay_out(root, &request.task.python_code, request.identity)?;
    let interpreter = interpreter(request, environment);
    let mut command = Command::new(&interpreter);
    command.arg(&scratch.program);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command.env_clear().envs(variables(request, environment, &scratch));
    let setup = ChildSetup {
        identity: request.identity,
        processes: request.limits.processes,
        folder: scratch.work.clone(),
    };
    kernel::on_exec(&mut command, &setup);
    let mut child = command
        .spawn()
        .map_err(|error| not_started(&interpreter, request.identity, &error))?;
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    match (pid, child.stdout.take(), child.stderr.take()) {
        (Some(pid), Some(stdout), Some(stderr)) => Ok(Started {
            pid,
            stdout: OwnedFd::from(stdout),
            stderr: OwnedFd::from(stderr),
        }),
        _ => Err(Failure::new(
            FailureKind::Internal,
            "the user's program started without its pipes",
        )),
    }
}

fn interpreter(request: &RunRequest, environment: &Environment) -> PathBuf {
    match &environment.python {
        Some(folder) => folder.join("bin/python"),
        None => PathBuf::from(&request.place.interpreter.path),
    }
}

/// What the program sees of the outside: nothing but this.
fn variables(request: &RunRequest, environment: &Environment, scratch: &Scratch) -> Vec<(String, String)> {
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let threads = request.limits.threads.to_string();
    let mut variables: Vec<(String, String)> = [
        ("PATH", search_path(&request.base_path, environment)),
        ("HOME", text(&scratch.home)),
        ("TMPDIR", text(&scratch.tmp)),
        ("LANG", "C.UTF-8".to_owned()),
        ("PYTHONNOUSERSITE", "1".to_owned()),
        // Prepared environments hold their byte-code, and the program's folder is thrown away.
        ("PYTHONDONTWRITEBYTECODE", "1".to_owned()),
        // Output is followed live, and what was printed before a kill is worth most.
        ("PYTHONUNBUFFERED", "1".to_owned()),
        // OpenBLAS starts a thread for each core of the machine otherwise: 55 ms of CPU for nothing.
        ("OPENBLAS_NUM_THREADS", threads.clone()),
        ("OMP_NUM_THREADS", threads.clone()),
        ("MKL_NUM_THREADS", threads),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into();
    if let Some(folder) = &environment.python {
        variables.push(("VIRTUAL_ENV".to_owned(), text(folder)));
    }
    variables.extend(request.variables.iter().cloned());
    variables
}

fn search_path(base: &str, environment: &Environment) -> String {
    let python = environment
        .python
        .iter()
        .map(|folder| format!("{}/bin", folder.display()));
    let system = environment.system.iter().map(|path| format!("{path}/bin"));
    let mut folders: Vec<String> = python.chain(system).collect();
    folders.extend((!base.is_empty()).then(|| base.to_owned()));
    folders.join(":")
}

/// Tells a missing interpreter from a sandbox that does not let us become who we should.
fn not_started(interpreter: &Path, identity: Option<Identity>, error: &io::Error) -> Failure {
    let path = interpreter.display();
    if let Err(missing) = fs::metadata(interpreter) {
        return Failure::new(
            FailureKind::Tool,
            format!("the interpreter {path} is not there: {missing}"),
        )
        .hint("the interpreter must have the same path inside the sandbox; `cargo xtask doctor` checks it");
    }
    let whom = identity
        .map(|identity| format!(" as user {} group {}", identity.uid, identity.gid))
        .unwrap_or_default();
    Failure::new(
        FailureKind::Sandbox,
        format!("the interpreter {path} cannot be started{whom}: {error}"),
    )
    .hint("it must be executable, and every folder above it open to that user")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_comes_before_system_packages_before_the_base() {
        let environment = Environment {
            python: Some(PathBuf::from("/cache/python/envs/k")),
            system: vec!["/nix/store/a-gcc".to_owned(), "/nix/store/b-make".to_owned()],
        };
        let expected = "/cache/python/envs/k/bin:/nix/store/a-gcc/bin:/nix/store/b-make/bin:/usr/bin:/bin";
        assert_eq!(search_path("/usr/bin:/bin", &environment), expected);
        assert_eq!(search_path("/usr/bin", &Environment::default()), "/usr/bin");
    }
}
