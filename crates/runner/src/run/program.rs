//! Writes the user's program to its scratch folder and starts the interpreter.

use std::fs::{self, Permissions};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use hybrid_cache_model::protocol::{Identity, RunRequest};
use hybrid_cache_model::python_start::{PREPARE, SITECUSTOMIZE};
use hybrid_cache_model::{Failure, FailureKind, coding};
use rustix::process::Pid;

use super::build_tools;
use super::confine;
use super::environment::Environment;
use super::kernel::{self, ChildSetup};
use super::standard_input;
use super::supervise::Started;

/// Folder of what an interpreter runs that is prepared.
const PREPARATION: &str = "prepare";

/// The scratch folder of one run:
///
/// ```text
/// <scratch>/work/main.py   the program; the folder is its working directory and first on its import path
/// <scratch>/home           HOME
/// <scratch>/tmp            TMPDIR
/// <scratch>/site           what every Python of the task imports at its start
/// <scratch>/venv           an empty virtual environment, if the task requests no packages
/// <scratch>/system.cmake   settings for CMake, if the task requests system packages
/// <scratch>/prepare        what an interpreter imports at its start that is prepared for a task
/// ```
pub struct Scratch {
    root: PathBuf,
    work: PathBuf,
    home: PathBuf,
    tmp: PathBuf,
    site: PathBuf,
    venv: PathBuf,
    program: PathBuf,
}

impl Scratch {
    /// The folders below this one, which need not exist.
    pub fn new(root: &Path) -> Scratch {
        let work = root.join("work");
        Scratch {
            home: root.join("home"),
            tmp: root.join("tmp"),
            site: root.join("site"),
            venv: root.join("venv"),
            program: work.join("main.py"),
            root: root.to_owned(),
            work,
        }
    }

    /// Creates an empty virtual environment, so that a task without packages does not see the packages that are
    /// installed on this machine. These files are all that PEP 405 requires.
    fn make_venv(&self, interpreter: &Path) -> io::Result<()> {
        let bin = self.venv.join("bin");
        fs::create_dir_all(&bin)?;
        for name in ["python", "python3"] {
            symlink(interpreter, bin.join(name))?;
        }
        let home = interpreter.parent().unwrap_or(Path::new("/")).display();
        fs::write(
            self.venv.join("pyvenv.cfg"),
            format!("home = {home}\ninclude-system-site-packages = false\n"),
        )
    }

    /// Creates the folders, and the empty environment if the task requests no packages.
    pub fn lay_out(&self, request: &RunRequest, environment: &Environment) -> Result<(), Failure> {
        let fail = |path: &Path, error: io::Error| not_laid_out(path, &error);
        let interpreter = &request.context.interpreter;
        for folder in [&self.root, &self.work, &self.home, &self.tmp, &self.site] {
            match fs::create_dir(folder) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(fail(folder, error)),
                _ => {}
            }
        }
        let customize = self.customize();
        fs::write(&customize, SITECUSTOMIZE).map_err(|error| fail(&customize, error))?;
        if let Ok(bytecode) = BASE64_STANDARD.decode(&interpreter.start) {
            // A Python without usable bytecode compiles the source.
            let _ = write_bytecode(&self.site, &interpreter.abi, &bytecode);
        }
        if !environment.system.is_empty() {
            let file = build_tools::toolchain(&self.root);
            build_tools::write_toolchain(&self.root).map_err(|error| fail(&file, error))?;
        }
        if environment.python.is_none() {
            self.make_venv(Path::new(&interpreter.path))
                .map_err(|error| fail(&self.venv, error))?;
        }
        Ok(())
    }

    /// Writes the program.
    pub fn write_program(&self, request: &RunRequest) -> Result<(), Failure> {
        let code = coding::as_utf8(&request.task.python_code);
        fs::write(&self.program, code.as_bytes()).map_err(|error| not_laid_out(&self.program, &error))
    }

    /// Writes what an interpreter runs that imports modules and waits for its program at the other end of `link`.
    pub fn write_preparation(&self, link: &UnixStream, imports: &[String]) -> Result<(), Failure> {
        let folder = self.root.join(PREPARATION);
        let file = folder.join("sitecustomize.py");
        // Text and lists of text are written in Python as in JSON.
        let [site, imports] =
            [serde_json::to_string(&self.site), serde_json::to_string(imports)].map(Result::unwrap_or_default);
        let text = format!(
            "{PREPARE}\n\nraise_if(prepare({}, {site}, {imports}))\n",
            link.as_raw_fd()
        );
        let write = || {
            fs::create_dir_all(&folder)?;
            fs::write(&file, text)
        };
        write().map_err(|error| not_laid_out(&file, &error))
    }

    /// The folder of what [`Scratch::write_preparation`] writes.
    pub fn preparation_folder(&self) -> String {
        self.root.join(PREPARATION).to_string_lossy().into_owned()
    }

    /// Deletes everything in the folder, as far as possible.
    pub fn clear(&self) {
        for entry in fs::read_dir(&self.root).into_iter().flatten().flatten() {
            let path = entry.path();
            let _ = match entry.file_type() {
                Ok(kind) if kind.is_dir() => fs::remove_dir_all(&path),
                _ => fs::remove_file(&path),
            };
        }
    }

    /// Gives everything to the user who runs the program.
    fn give(&self, owner: Identity, has_toolchain: bool) -> Result<(), Failure> {
        let fail = |path: &Path, error: io::Error| not_laid_out(path, &error);
        let root = self.root.as_path();
        // Change the owner last: root without capabilities could not enter the folder afterwards.
        fs::set_permissions(root, Permissions::from_mode(0o700)).map_err(|error| fail(root, error))?;
        let (customize, toolchain) = (self.customize(), has_toolchain.then(|| build_tools::toolchain(root)));
        let paths = [&self.program, &customize, &self.work, &self.home, &self.tmp, &self.site];
        for path in paths.into_iter().chain(&toolchain).map(PathBuf::as_path).chain([root]) {
            std::os::unix::fs::lchown(path, Some(owner.uid), Some(owner.gid)).map_err(|error| fail(path, error))?;
        }
        Ok(())
    }

    fn customize(&self) -> PathBuf {
        self.site.join("sitecustomize.py")
    }
}

fn not_laid_out(path: &Path, error: &io::Error) -> Failure {
    let kind = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => FailureKind::DiskFull,
        _ => FailureKind::Sandbox,
    };
    Failure::new(
        kind,
        format!("cannot prepare the scratch folder {}: {error}", path.display()),
    )
    .hint("it must be writable for the runner and private to this run")
}

/// Writes the bytecode of `sitecustomize.py` where an interpreter with this tag looks for it.
fn write_bytecode(site: &Path, tag: &str, bytecode: &[u8]) -> io::Result<()> {
    if bytecode.is_empty() {
        return Ok(());
    }
    let folder = site.join("__pycache__");
    fs::create_dir(&folder)?;
    fs::write(folder.join(format!("sitecustomize.{tag}.pyc")), bytecode)
}

/// Starts the program in the control group of `memory_group`. Also returns warnings about its confinement.
///
/// # Errors
/// The scratch folder cannot be used, the program cannot be confined, or the interpreter cannot be started.
pub fn start(
    request: &RunRequest,
    environment: &Environment,
    memory_group: Option<OwnedFd>,
) -> Result<(Started, Vec<String>), Failure> {
    let scratch = Scratch::new(Path::new(&request.scratch));
    scratch.lay_out(request, environment)?;
    scratch.write_program(request)?;
    if let Some(owner) = request.identity {
        scratch.give(owner, !environment.system.is_empty())?;
    }
    spawn(Launch {
        request,
        environment,
        scratch: &scratch,
        args: &request.task.args,
        variables: variables(request, environment, &scratch),
        stdin: standard_input::of(&request.task.stdin)?,
        memory_group,
        kept: None,
    })
}

/// How an interpreter is started.
pub struct Launch<'a> {
    /// Whose limits and interpreter it has.
    pub request: &'a RunRequest,
    /// Its environment.
    pub environment: &'a Environment,
    /// Its scratch folder, laid out.
    pub scratch: &'a Scratch,
    /// What follows the program on its command line.
    pub args: &'a [String],
    /// All its variables.
    pub variables: Vec<(String, String)>,
    /// Its standard input.
    pub stdin: Stdio,
    /// The file of a control group that bounds its memory.
    pub memory_group: Option<OwnedFd>,
    /// A descriptor that it keeps.
    pub kept: Option<OwnedFd>,
}

/// Starts an interpreter, confined as the task.
///
/// # Errors
/// It cannot be confined or started.
pub fn spawn(launch: Launch<'_>) -> Result<(Started, Vec<String>), Failure> {
    let Launch { request, scratch, .. } = launch;
    let base = Path::new(&request.context.interpreter.path);
    let venv = launch.environment.venv().unwrap_or_else(|| scratch.venv.clone());
    let mut command = Command::new(venv.join("bin/python"));
    command.arg(&scratch.program).args(launch.args);
    let (stdout, its_stdout) = pipe(request.identity)?;
    let (stderr, its_stderr) = pipe(request.identity)?;
    command.stdin(launch.stdin);
    command.stdout(its_stdout).stderr(its_stderr);
    command.env_clear().envs(launch.variables);
    let confinement = confine::prepare(request, launch.environment)?;
    let setup = ChildSetup {
        identity: request.identity,
        processes: request.limits.processes,
        open_files: request.limits.open_files,
        folder: scratch.work.clone(),
        memory_group: launch.memory_group,
        ruleset: confinement.ruleset,
        filter: confinement.filter,
        kept: launch.kept,
    };
    kernel::on_exec(&mut command, setup);
    let child = command
        .spawn()
        .map_err(|error| not_started(base, request.identity, &error))?;
    let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) else {
        let message = "the user's program started without a process id";
        return Err(Failure::new(FailureKind::Internal, message));
    };
    Ok((Started { pid, stdout, stderr }, confinement.warnings))
}

/// A pipe of the user that runs the program. Otherwise the program could not open `/dev/stdout`, which leads to it.
fn pipe(owner: Option<Identity>) -> Result<(OwnedFd, OwnedFd), Failure> {
    let make = || -> io::Result<(OwnedFd, OwnedFd)> {
        let (read, write) = io::pipe()?;
        if let Some(Identity { uid, gid }) = owner {
            // Both ends are one file.
            std::os::unix::fs::fchown(&write, Some(uid), Some(gid))?;
        }
        Ok((read.into(), write.into()))
    };
    make().map_err(|error| {
        Failure::new(
            FailureKind::Sandbox,
            format!("cannot make a pipe for the program's output: {error}"),
        )
    })
}

/// All environment variables of the program. The task's come last and win: its check refuses the few that it may not set.
pub fn variables(request: &RunRequest, environment: &Environment, scratch: &Scratch) -> Vec<(String, String)> {
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let threads = request.limits.threads.to_string();
    let mut variables: Vec<(String, String)> = [
        ("PATH", search_path(&request.base_path, environment, scratch)),
        ("HOME", text(&scratch.home)),
        ("TMPDIR", text(&scratch.tmp)),
        ("LANG", "C.UTF-8".to_owned()),
        ("PYTHONNOUSERSITE", "1".to_owned()),
        // Prepared environments contain bytecode, and the program's folder is deleted.
        ("PYTHONDONTWRITEBYTECODE", "1".to_owned()),
        ("PYTHONPATH", text(&scratch.site)),
        // Otherwise OpenBLAS starts a thread for each core of the machine, which costs 55 ms of CPU time.
        ("OPENBLAS_NUM_THREADS", threads.clone()),
        ("OMP_NUM_THREADS", threads.clone()),
        ("MKL_NUM_THREADS", threads),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into();
    if let Some(venv) = environment.venv() {
        variables.push(("VIRTUAL_ENV".to_owned(), text(&venv)));
    }
    variables.extend(build_tools::variables(&environment.system, Path::new(&request.scratch)));
    let of_operator = request
        .variables
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()));
    let own = request
        .task
        .env
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()));
    for (name, value) in of_operator.chain(own).chain(request.task.secret_env.iter()) {
        let value = match name {
            "PYTHONPATH" => format!("{}:{value}", scratch.site.display()),
            _ => value.to_owned(),
        };
        variables.push((name.to_owned(), value));
    }
    variables
}

/// A prepared environment comes before the system packages. The empty one comes after them, so that a `python3`
/// requested as a system package is found.
fn search_path(base: &str, environment: &Environment, scratch: &Scratch) -> String {
    let bin = |folder: &Path| folder.join("bin").display().to_string();
    let mut folders: Vec<String> = environment.venv().iter().map(|venv| bin(venv)).collect();
    folders.extend(environment.system.iter().map(|path| bin(Path::new(path))));
    if environment.python.is_none() {
        folders.push(bin(&scratch.venv));
    }
    folders.extend((!base.is_empty()).then(|| base.to_owned()));
    folders.join(":")
}

/// Distinguishes a missing interpreter from one that cannot be started as this user.
fn not_started(interpreter: &Path, identity: Option<Identity>, error: &io::Error) -> Failure {
    let path = interpreter.display();
    if let Err(missing) = fs::metadata(interpreter) {
        return Failure::new(
            FailureKind::Tool,
            format!("the interpreter {path} does not exist: {missing}"),
        )
        .hint(
            "the interpreter must have the same path inside the sandbox; `cargo xtask tools` shows which one is used",
        );
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
            python: Some(PathBuf::from("/envs/k")),
            system: vec!["/nix/store/a-gcc".to_owned(), "/nix/store/b-make".to_owned()],
            ..Environment::default()
        };
        let expected = "/envs/k/venv/bin:/nix/store/a-gcc/bin:/nix/store/b-make/bin:/usr/bin:/bin";
        let scratch = Scratch::new(Path::new("/s"));
        assert_eq!(search_path("/usr/bin:/bin", &environment, &scratch), expected);
        assert_eq!(
            search_path("/usr/bin", &Environment::default(), &scratch),
            "/s/venv/bin:/usr/bin"
        );
    }
}
