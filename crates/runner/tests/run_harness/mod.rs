//! Starts the real runner binary on a request and collects its output and report.

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::{OnceLock, mpsc};
use std::time::{Duration, Instant};

use hybrid_cache_model::protocol::{
    EnvironmentContext, Environments, Identity, Interpreter, Limits, RunReport, RunRequest, Volumes,
};
use hybrid_cache_model::{End, Output, TaskSpec};
use tempfile::TempDir;

/// Time limit for a runner, so that no test hangs.
pub const TEST_DEADLINE: Duration = Duration::from_secs(60);

/// The interpreter tests run on: the base one, not a version manager's wrapper.
pub fn interpreter() -> &'static str {
    static PATH: OnceLock<String> = OnceLock::new();
    PATH.get_or_init(|| {
        let asked = Command::new("python3")
            .args(["-c", "import sys; print(sys._base_executable)"])
            .output()
            .unwrap();
        String::from_utf8(asked.stdout).unwrap().trim().to_owned()
    })
}

/// A request under construction, with its scratch folder.
pub struct Case {
    pub request: RunRequest,
    pub scratch: TempDir,
    launcher: Vec<String>,
}

/// The result of a run.
#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    pub stdout: Vec<u8>,
    pub stderr: String,
    pub report: Option<RunReport>,
    pub elapsed: Duration,
    pub peak_rss_kib: u64,
}

/// A running runner.
pub struct Running {
    pub child: Child,
    report: PathBuf,
    began: Instant,
}

impl Case {
    pub fn new(code: &str) -> Case {
        let scratch = tempfile::tempdir().unwrap();
        std::fs::create_dir(scratch.path().join("python")).unwrap();
        let volume = |name: &str| scratch.path().join(name).display().to_string();
        let context = EnvironmentContext {
            volumes: Volumes {
                python: volume("python"),
                nix: volume("nix"),
            },
            interpreter: Interpreter {
                path: interpreter().to_owned(),
                implementation: "cpython".to_owned(),
                version: "3.11.7".to_owned(),
                abi: "cpython-311".to_owned(),
                platform: "x86_64-linux-gnu".to_owned(),
                libc: String::new(),
                binary_hash: "0".repeat(64),
                start: String::new(),
            },
            index: "default".to_owned(),
            system_source: "test:1".to_owned(),
            max_age_s: 60,
            tenant: Default::default(),
            index_scope: Default::default(),
            no_builds: false,
            sources: Default::default(),
        };
        let limits = Limits {
            time_ms: 30_000,
            processes: 4096,
            ..Limits::default()
        };
        let request = RunRequest {
            task: TaskSpec::new(code),
            context,
            environments: Environments::Lookup,
            accept_stale: false,
            limits,
            identity: None,
            scratch: scratch.path().join("scratch").display().to_string(),
            base_path: "/usr/bin:/bin".to_owned(),
            require_landlock: false,
            variables: Vec::new(),
            readable: Vec::new(),
        };
        Case {
            request,
            scratch,
            launcher: Vec::new(),
        }
    }

    pub fn limits(mut self, change: impl FnOnce(&mut Limits)) -> Case {
        change(&mut self.request.limits);
        self
    }

    pub fn change(mut self, change: impl FnOnce(&mut RunRequest)) -> Case {
        change(&mut self.request);
        self
    }

    /// Runs as the user nobody; `None` if this machine does not allow that.
    pub fn run_by_nobody(mut self) -> Option<Case> {
        use std::os::unix::fs::PermissionsExt;
        const SHARED_INTERPRETER: &str = "/usr/bin/python3";
        if !rustix::process::geteuid().is_root() || !Path::new(SHARED_INTERPRETER).exists() {
            eprintln!("skipped: needs root and {SHARED_INTERPRETER}");
            return None;
        }
        // The scratch folder's parent, which tempfile creates for this user only.
        std::fs::set_permissions(self.scratch.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        self.request.identity = Some(Identity { uid: 65534, gid: 65534 });
        self.request.context.interpreter.path = SHARED_INTERPRETER.to_owned();
        Some(self)
    }

    /// Makes the runner the first process of a PID namespace; `None` if this machine does not allow that.
    pub fn first_in_namespace(mut self) -> Option<Case> {
        let unshare = [
            "unshare",
            "--user",
            "--map-root-user",
            "--pid",
            "--fork",
            "--mount-proc",
            "--kill-child",
        ];
        let tried = Command::new(unshare[0]).args(&unshare[1..]).arg("true").status();
        if !tried.is_ok_and(|status| status.success()) {
            eprintln!("skipped: unshare cannot make a PID namespace here");
            return None;
        }
        self.launcher = unshare.map(str::to_owned).to_vec();
        Some(self)
    }

    pub fn start(&self) -> Running {
        let report = self.scratch.path().join("report.json");
        let mut words = self.launcher.clone();
        words.push(env!("CARGO_BIN_EXE_runner").to_owned());
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).arg("run").arg("--report-file").arg(&report);
        command.env("SECRET_OF_THE_HOST", "1");
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let began = Instant::now();
        let mut child = command.spawn().unwrap();
        let text = serde_json::to_vec(&self.request).unwrap();
        child.stdin.take().unwrap().write_all(&text).unwrap();
        Running { child, report, began }
    }

    pub fn run(&self) -> Ran {
        self.start().finish()
    }
}

impl Running {
    pub fn finish(mut self) -> Ran {
        let stdout = self.child.stdout.take().map(read_on_thread::<ChildStdout>);
        let stderr = self.child.stderr.take().map(read_on_thread);
        let mut peak_rss_kib = 0;
        let status = loop {
            peak_rss_kib = peak_rss_kib.max(rss_kib(self.child.id()));
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            if self.began.elapsed() > TEST_DEADLINE {
                self.child.kill().unwrap();
                panic!("the runner did not end within {TEST_DEADLINE:?}");
            }
            std::thread::sleep(Duration::from_millis(2));
        };
        let elapsed = self.began.elapsed();
        Ran {
            code: status.code().unwrap_or(-1),
            stdout: received(stdout),
            stderr: String::from_utf8_lossy(&received(stderr)).into_owned(),
            report: std::fs::read(&self.report)
                .ok()
                .and_then(|text| serde_json::from_slice(&text).ok()),
            elapsed,
            peak_rss_kib,
        }
    }
}

/// Receives everything from `source` once it has ended; a leftover process may keep it open.
fn read_on_thread<R: Read + Send + 'static>(mut source: R) -> mpsc::Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let mut all = Vec::new();
        source.read_to_end(&mut all).unwrap();
        // Ignore a failure: the test may have timed out.
        drop(sender.send(all));
    });
    receiver
}

/// A runner that has the case's request and reports back over the socket.
pub fn reporting_back(case: &Case) -> (UnixStream, Child) {
    let (mut ours, theirs) = UnixStream::pair().unwrap();
    let child = Command::new(env!("CARGO_BIN_EXE_runner"))
        .args(["run", "--report-back"])
        .stdin(Stdio::from(std::os::fd::OwnedFd::from(theirs)))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut request = serde_json::to_vec(&case.request).unwrap();
    request.push(b'\n');
    ours.write_all(&request).unwrap();
    (ours, child)
}

/// Waits for a process and its output; kills it at the deadline.
pub fn output_of(mut child: Child) -> std::process::Output {
    let stdout = child.stdout.take().map(read_on_thread);
    let stderr = child.stderr.take().map(read_on_thread);
    let began = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if began.elapsed() > TEST_DEADLINE {
            child.kill().unwrap();
            panic!("the process did not end within {TEST_DEADLINE:?}");
        }
        std::thread::sleep(Duration::from_millis(2));
    };
    std::process::Output {
        status,
        stdout: received(stdout),
        stderr: received(stderr),
    }
}

fn received(reader: Option<mpsc::Receiver<Vec<u8>>>) -> Vec<u8> {
    let text = |reader: mpsc::Receiver<Vec<u8>>| reader.recv_timeout(TEST_DEADLINE).expect("the output does not end");
    reader.map(text).unwrap_or_default()
}

fn rss_kib(pid: u32) -> u64 {
    let mut text = String::new();
    let read = File::open(format!("/proc/{pid}/status")).and_then(|mut file| file.read_to_string(&mut text));
    if read.is_err() {
        return 0;
    }
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok())
        .unwrap_or(0)
}

impl Ran {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).trim().to_owned()
    }

    pub fn end(&self) -> &End {
        match &self.report {
            Some(RunReport::Finished { end, .. }) => end,
            other => panic!("expected a finished run, got {other:?}, stderr {}", self.stderr),
        }
    }

    pub fn output(&self) -> Output {
        match &self.report {
            Some(RunReport::Finished { stdout, .. }) => *stdout,
            other => panic!("expected a finished run, got {other:?}"),
        }
    }

    /// Duration of draining output and killing leftover processes, in microseconds.
    pub fn drain_us(&self) -> u64 {
        match &self.report {
            Some(RunReport::Finished { timeline, .. }) => timeline.phase_us(hybrid_cache_model::Phase::Drain),
            other => panic!("expected a finished run, got {other:?}"),
        }
    }

    pub fn warnings(&self) -> String {
        match &self.report {
            Some(RunReport::Finished { warnings, .. }) => warnings.join("\n"),
            other => panic!("expected a finished run, got {other:?}"),
        }
    }
}
