//! A cached task starts nothing but its sandbox, the runner, the interpreter and what the user's code starts itself:
//! no uv, no nix. Every program that the whole process tree executes is seen by ptrace; nothing can hide from it by
//! being quick, and an unprivileged user may do it.

#![expect(clippy::unwrap_used, reason = "all of this is test code")]

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use hybrid_cache_driver::local::{LocalConfig, LocalDriver, Network};
use hybrid_cache_driver::{Driver, SubmitOptions};
use hybrid_cache_model::{Outcome, TaskSpec};
use nix::errno::Errno;
use nix::sys::ptrace::{self, Options};
use nix::sys::signal;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

/// Names the file with this machine's configuration; `cargo xtask test` writes it.
const CONFIG_VARIABLE: &str = "HYBRID_CACHE_LOCAL_CONFIG";
/// The task of the traced process, as JSON.
const TASK_VARIABLE: &str = "HYBRID_CACHE_TEST_TASK";
/// What `PTRACE_O_TRACEEXEC` reports.
const EXEC_EVENT: i32 = ptrace::Event::PTRACE_EVENT_EXEC as i32;

/// Longest that a traced run may take.
const LIMIT: Duration = Duration::from_secs(120);

/// What one traced run came to.
struct Traced {
    outcome: Outcome,
    /// Every program that was executed, in order.
    executed: Vec<Executed>,
}

/// One program, as its process was when it had just become it.
#[derive(Debug)]
struct Executed {
    /// The file name of what the kernel runs; of a script that is its interpreter.
    program: String,
    /// Its arguments, the name that it was called by among them.
    arguments: Vec<String>,
}

impl Traced {
    /// True if a program of that name was executed, directly or through a loader or an interpreter.
    fn has(&self, name: &str) -> bool {
        let called = |argument: &String| Path::new(argument).file_name().is_some_and(|file| file == name);
        self.executed
            .iter()
            .any(|one| one.program == name || one.arguments.iter().any(called))
    }

    fn programs(&self) -> Vec<&str> {
        self.executed.iter().map(|one| one.program.as_str()).collect()
    }
}

fn machine(test: &str) -> Option<LocalConfig> {
    let Some(file) = std::env::var_os(CONFIG_VARIABLE) else {
        println!("skipped: {test}: {CONFIG_VARIABLE} is not set; `cargo xtask test` sets it");
        return None;
    };
    Some(serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap())
}

#[test]
fn a_cached_task_executes_the_sandbox_the_runner_the_interpreter_and_its_own_programs() {
    let Some(mut config) = machine("the programs of a cached task") else {
        return;
    };
    let root = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    config.root = root.path().to_owned();
    let isolated = has_network_of_its_own(&config);
    let has_nix = config.system.is_some();
    let mut spec = TaskSpec::new("import idna, subprocess; subprocess.run(['true'], check=True)");
    spec.dependencies = "idna".to_owned();
    if has_nix {
        spec.python_code = "import idna, subprocess; subprocess.run(['m4', '--version'], check=True)".to_owned();
        spec.system_dependencies = "m4".to_owned();
    }
    let Some(first) = traced(&config, &spec) else {
        println!("skipped: the programs of a cached task: this machine permits no tracing");
        make_writable(root.path());
        return;
    };
    // The absence below means something only because both are seen here, when they do run.
    assert!(!first.outcome.cache.all_hit(), "{:?}", first.outcome.cache);
    assert!(first.has("uv"), "{:?}", first.programs());
    assert_eq!(first.has("nix"), has_nix, "{:?}", first.programs());

    let cached = traced(&config, &spec).unwrap();
    make_writable(root.path());
    assert!(cached.outcome.cache.all_hit(), "{:?}", cached.outcome.cache);
    let interpreter = Path::new(&config.interpreter.path).canonicalize().unwrap();
    let own = if has_nix { "m4" } else { "true" };
    let expected = [
        // The first one joins the task's network and becomes bubblewrap.
        "runner",
        "bwrap",
        "runner",
        interpreter.file_name().unwrap().to_str().unwrap(),
        own,
    ];
    let expected = if isolated { &expected[..] } else { &expected[1..] };
    assert_eq!(cached.programs(), expected, "{:?}", cached.executed);
}

/// Makes a network that traced tasks find: one that they made would live on and be waited for. Its holder is the child of
/// another thread, because the tracing one waits for all of its own.
fn has_network_of_its_own(config: &LocalConfig) -> bool {
    std::thread::scope(|scope| scope.spawn(|| make_network(config)).join().unwrap())
}

fn make_network(config: &LocalConfig) -> bool {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let driver = LocalDriver::open(config.clone()).unwrap();
    runtime.block_on(driver.network()).actual == Network::Isolated
}

/// The part that is traced: waits for its tracer, runs one task and prints its outcome.
#[test]
#[ignore = "a part that the other test has another process play"]
fn traced_part() {
    let config = machine("the traced part").unwrap();
    let spec: TaskSpec = serde_json::from_str(&std::env::var(TASK_VARIABLE).unwrap()).unwrap();
    std::io::stdin().read_exact(&mut [0]).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let outcome = runtime.block_on(async {
        let driver = LocalDriver::open(config).unwrap();
        let ticket = driver.submit(&spec, &SubmitOptions::default()).await.unwrap();
        driver.settle(&ticket).await.unwrap()
    });
    println!("\n{}", serde_json::to_string(&outcome).unwrap());
}

/// Plays the part in a process that is traced with everything that it starts; `None` if tracing is not permitted.
fn traced(config: &LocalConfig, spec: &TaskSpec) -> Option<Traced> {
    let file = config.root.join("config.json");
    std::fs::write(&file, serde_json::to_vec(config).unwrap()).unwrap();
    let mut part = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "traced_part", "--ignored", "--nocapture", "--quiet"])
        .env(CONFIG_VARIABLE, file)
        .env(TASK_VARIABLE, serde_json::to_string(spec).unwrap())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    if let Err(error) = seize(&part) {
        assert_eq!(error, Errno::EPERM);
        part.kill().unwrap();
        part.wait().unwrap();
        return None;
    }
    let executed = {
        let _limit = Limit::on(&part);
        follow(&mut part)
    };
    let mut text = String::new();
    // Its few kilobytes fit into the pipe, so they can be read now that all writers are gone.
    part.stdout.take().unwrap().read_to_string(&mut text).unwrap();
    let outcome: Outcome = serde_json::from_str(text.lines().find(|line| line.starts_with('{')).unwrap()).unwrap();
    assert!(outcome.end.is_success(), "{:?}", outcome.end);
    Some(Traced { outcome, executed })
}

/// Kills a process that takes longer than any test may, unless this is dropped before.
struct Limit {
    _sender: mpsc::Sender<()>,
}

impl Limit {
    fn on(part: &Child) -> Limit {
        let (sender, receiver) = mpsc::channel();
        let pid = Pid::from_raw(i32::try_from(part.id()).unwrap());
        std::thread::spawn(move || {
            if receiver.recv_timeout(LIMIT) == Err(mpsc::RecvTimeoutError::Timeout) {
                // It may have ended in this moment.
                let _ = signal::kill(pid, signal::Signal::SIGKILL);
            }
        });
        Limit { _sender: sender }
    }
}

/// Begins to trace every thread of a process; whatever they start is traced from its first instruction.
fn seize(part: &Child) -> Result<(), Errno> {
    let options = Options::PTRACE_O_TRACEFORK
        | Options::PTRACE_O_TRACEVFORK
        | Options::PTRACE_O_TRACECLONE
        | Options::PTRACE_O_TRACEEXEC
        | Options::PTRACE_O_EXITKILL;
    let mut seized = BTreeSet::new();
    loop {
        let threads: BTreeSet<i32> = std::fs::read_dir(format!("/proc/{}/task", part.id()))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().to_str().unwrap().parse().unwrap())
            .collect();
        // Once none is new, a thread that started meanwhile was started by one that is traced.
        let new: Vec<i32> = threads.difference(&seized).copied().collect();
        if new.is_empty() {
            return Ok(());
        }
        for thread in new {
            match ptrace::seize(Pid::from_raw(thread), options) {
                // Gone by itself, or traced from its birth.
                Ok(()) | Err(Errno::ESRCH) => {}
                Err(Errno::EPERM) if !seized.is_empty() => {}
                Err(error) => return Err(error),
            }
            seized.insert(thread);
        }
    }
}

/// Lets the part and everything that it starts run to their end; returns what they executed.
fn follow(part: &mut Child) -> Vec<Executed> {
    part.stdin.take().unwrap().write_all(b"\n").unwrap();
    let own = Pid::from_raw(i32::try_from(part.id()).unwrap());
    let mut executed = Vec::new();
    let mut end = None;
    // Only what this thread traces: the harness may have other children.
    let flags = WaitPidFlag::__WALL | WaitPidFlag::__WNOTHREAD;
    loop {
        let (pid, signal) = match waitpid(None, Some(flags)) {
            Ok(WaitStatus::PtraceEvent(pid, _, event)) => {
                // The part itself may still have been about to become this program when it was seized.
                if event == EXEC_EVENT && pid != own {
                    executed.push(look_at(pid));
                }
                (pid, None)
            }
            Ok(WaitStatus::Stopped(pid, signal)) => (pid, Some(signal)),
            Ok(WaitStatus::PtraceSyscall(pid)) => (pid, None),
            Ok(status) => {
                end = if status.pid() == Some(own) { Some(status) } else { end };
                continue;
            }
            Err(Errno::EINTR) => continue,
            Err(Errno::ECHILD) => break,
            Err(error) => panic!("waiting for the traced processes: {error}"),
        };
        match ptrace::cont(pid, signal) {
            // It was killed while it stood still.
            Ok(()) | Err(Errno::ESRCH) => {}
            Err(error) => panic!("letting {pid} run on: {error}"),
        }
    }
    assert_eq!(end, Some(WaitStatus::Exited(own, 0)));
    executed
}

/// The program that a process has just become.
fn look_at(pid: Pid) -> Executed {
    let path: PathBuf = std::fs::read_link(format!("/proc/{pid}/exe")).unwrap();
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap();
    let text = |argument: &[u8]| String::from_utf8_lossy(argument).into_owned();
    Executed {
        program: path.file_name().unwrap().to_string_lossy().into_owned(),
        arguments: line.split(|byte| *byte == 0).map(text).collect(),
    }
}

/// Makes a store's read-only folders writable, because only root could delete them otherwise.
fn make_writable(folder: &Path) {
    // `chmod` follows no link below its argument; what it cannot change stays behind in the build folder.
    let _ = Command::new("chmod").args(["-R", "u+w"]).arg(folder).output();
}
