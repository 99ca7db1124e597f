//! A standby pod as `runner pod-standby` sees it, made of namespaces: the first process, its mounts, an order on standard input.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use hybrid_cache_model::budget::Budgets;
use hybrid_cache_model::pod::{
    ImageRecord, NetworkSettings, POD_PROTOCOL_VERSION, PREPARED_VARIABLE, PodEnvironments, PodRequest, PreparedSetup,
    STANDBY_ACCEPTED, STANDBY_NOTE, StandbyOrder, TRAILER_MARK,
};
use hybrid_cache_model::protocol::{EnvironmentContext, Identity, Interpreter, Keep, Limits, RunReport, Volumes};
use hybrid_cache_model::{End, PythonRequest, RequestKey, TaskSpec};
use tempfile::TempDir;

use super::run_harness::{TEST_DEADLINE, interpreter};

const TOKEN: &str = "0123456789abcdef0123456789abcdef";
/// What the environment's module `heavy` does in most tests.
pub const HEAVY: &str = "import os\nvalue = 42\nmode = os.environ.get('HEAVY_MODE')\n";

/// Makes the root of a pod in `$1`, an empty folder, and becomes its runner. `$2` holds what the pod shares with the test.
const MAKE_POD: &str = r#"
set -eu
root=$1 shared=$2 runner=$3
mount -t tmpfs tmpfs "$root"
cd "$root"
for name in usr bin sbin lib lib64 lib32 opt root home sys proc; do
    if [ -L "/$name" ]; then ln -s "$(readlink "/$name")" "$name"
    elif [ -d "/$name" ]; then mkdir "$name"; mount --rbind "/$name" "$name"; fi
done
mkdir -p dev/shm tmp scratch standby etc/hybrid-cache ".$shared"
chmod 1777 tmp
for name in null zero full random urandom; do touch "dev/$name"; mount --bind "/dev/$name" "dev/$name"; done
for name in passwd group ld.so.cache; do [ ! -f "/etc/$name" ] || cp "/etc/$name" etc; done
for name in shm; do mount --bind "$shared/$name" "dev/$name"; done
for name in scratch standby; do mount --bind "$shared/$name" "$name"; done
mount --bind "$shared" ".$shared"
cp "$shared/image.json" etc/hybrid-cache
touch dev/termination-log runner
mount --bind "$shared/termination" dev/termination-log
mount --bind "$runner" runner
exec chroot "$root" /runner pod-standby
"#;

/// A folder with an environment in a volume, from which pods are made.
pub struct Place {
    pub dir: TempDir,
    pub request: PodRequest,
}

/// A pod that waits.
pub struct Pod {
    pub shared: PathBuf,
    child: Child,
    input: Option<ChildStdin>,
    lines: mpsc::Receiver<Vec<u8>>,
    stderr: mpsc::Receiver<Vec<u8>>,
}

/// What a task in a pod left.
#[derive(Debug, PartialEq)]
pub struct Ran {
    pub stdout: String,
    pub stderr: String,
    pub end: End,
    /// True if the prepared process ran it.
    pub was_prepared: bool,
    pub notes: String,
}

impl Place {
    /// `None` if this machine cannot make namespaces.
    pub fn new(heavy: &str) -> Option<Place> {
        let tried = Command::new("unshare")
            .args([
                "--user",
                "--map-root-user",
                "--mount",
                "--pid",
                "--fork",
                "--mount-proc",
                "true",
            ])
            .status();
        if !tried.is_ok_and(|status| status.success()) {
            println!("skipped: unshare cannot make namespaces here");
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        let volume = dir.path().join("volume");
        let image = image();
        let request = pod_request(&volume);
        let place = Place { dir, request };
        std::fs::write(place.dir.path().join("image.json"), serde_json::to_vec(&image).unwrap()).unwrap();
        place.publish("first", heavy, &image);
        Some(place)
    }

    /// Puts an environment with the module `heavy` into the volume, in the place of an earlier one.
    pub fn publish(&self, name: &str, heavy: &str, image: &ImageRecord) {
        let root = self.dir.path().join("volume/tenants/default");
        let environment = root.join("envs").join(name);
        let venv = environment.join("venv");
        let minor = image.interpreter.abi.replace("cpython-3", "");
        let packages = venv.join(format!("lib/python3.{minor}/site-packages"));
        for folder in [&venv.join("bin"), &packages, &root.join("requests")] {
            std::fs::create_dir_all(folder).unwrap();
        }
        std::os::unix::fs::symlink(interpreter(), venv.join("bin/python")).unwrap();
        let home = Path::new(interpreter()).parent().unwrap().display();
        let settings = format!("home = {home}\ninclude-system-site-packages = false\n");
        for (path, text) in [
            (root.join("FORMAT"), "hybrid-cache python 2\n"),
            (environment.join(".lease"), ""),
            (environment.join("lock.txt"), "heavy==1\n"),
            (environment.join("manifest.json"), "{}"),
            (venv.join("pyvenv.cfg"), settings.as_str()),
            (packages.join("heavy.py"), heavy),
        ] {
            std::fs::write(path, text).unwrap();
        }
        let task = self.request.task.check().unwrap();
        let key = RequestKey::new(&PythonRequest::of(&task, &context(image, &self.request)));
        let link = root.join("requests").join(key.as_str());
        let _ = std::fs::remove_file(&link);
        std::os::unix::fs::symlink(format!("../envs/{name}"), link).unwrap();
    }

    /// A pod that prepares `imports`; an ordinary one without.
    pub fn pod(&self, imports: Option<&[&str]>) -> Pod {
        let setup = imports.map(|imports| PreparedSetup {
            request: self.request.clone(),
            imports: imports.iter().map(|name| (*name).to_owned()).collect(),
        });
        self.pod_with(setup.map(|setup| serde_json::to_string(&setup).unwrap()))
    }

    /// A pod with any text in the variable that says what to prepare.
    pub fn pod_with(&self, setup: Option<String>) -> Pod {
        let shared = self.dir.path();
        for name in ["scratch", "standby", "shm", "root"] {
            let folder = shared.join(name);
            let _ = std::fs::remove_dir_all(&folder);
            std::fs::create_dir(&folder).unwrap();
        }
        std::fs::write(shared.join("termination"), "").unwrap();
        let mut command = Command::new("unshare");
        command.args([
            "--user",
            "--map-root-user",
            "--mount",
            "--pid",
            "--fork",
            "--mount-proc",
            "--kill-child",
        ]);
        command.args(["sh", "-c", MAKE_POD, "sh"]);
        command
            .arg(shared.join("root"))
            .arg(shared)
            .arg(env!("CARGO_BIN_EXE_runner"));
        command.envs(setup.map(|setup| (PREPARED_VARIABLE, setup)));
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            // A failed test no longer listens.
            stdout
                .split(b'\n')
                .map_while(Result::ok)
                .try_for_each(|line| sender.send(line))
        });
        let mut source = child.stderr.take().unwrap();
        let (sender, stderr) = mpsc::channel();
        std::thread::spawn(move || {
            let mut all = Vec::new();
            let _ = source.read_to_end(&mut all);
            drop(sender.send(all));
        });
        Pod {
            shared: shared.to_owned(),
            input: child.stdin.take(),
            child,
            lines,
            stderr,
        }
    }

    /// A request for this program.
    pub fn request(&self, code: &str) -> PodRequest {
        let mut request = self.request.clone();
        request.task.python_code = code.to_owned();
        request
    }

    /// Runs a program in a pod with `heavy` prepared and in an ordinary one, checks that it was used, and that all else is the same.
    pub fn run_both(&self, request: &PodRequest) -> Ran {
        let pod = self.pod(Some(&["heavy"]));
        pod.wait_for_file("shm/imported");
        let prepared = pod.run(request);
        assert!(prepared.was_prepared, "{prepared:?}");
        let mut plain = self.pod(None).run(request);
        assert!(!plain.was_prepared, "{plain:?}");
        plain.was_prepared = true;
        assert_eq!(prepared, plain);
        prepared
    }
}

impl Pod {
    /// Waits until a file exists that the pod shares with the test.
    pub fn wait_for_file(&self, name: &str) {
        let until = Instant::now() + TEST_DEADLINE;
        while !self.shared.join(name).exists() {
            assert!(Instant::now() < until, "{name} does not appear");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits for a note in the log, before any order.
    pub fn note(&self) -> String {
        let line = self.lines.recv_timeout(TEST_DEADLINE).expect("a note");
        let line = String::from_utf8(line).unwrap();
        line.strip_prefix(STANDBY_NOTE).expect("a note").to_owned()
    }

    /// Closes the input as a driver does that goes away. True if the pod ends then.
    pub fn ends_without_order(&mut self) -> bool {
        self.input = None;
        let until = Instant::now() + TEST_DEADLINE;
        while Instant::now() < until {
            if self.child.try_wait().unwrap().is_some() {
                return true;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        false
    }

    /// Sends the one order, and waits for the end.
    pub fn run(mut self, request: &PodRequest) -> Ran {
        let order = StandbyOrder {
            token: TOKEN.to_owned(),
            request: request.clone(),
        };
        let mut line = serde_json::to_vec(&order).unwrap();
        line.push(b'\n');
        let mut input = self.input.take().unwrap();
        input.write_all(&line).unwrap();
        drop(input);
        let mut log = Vec::new();
        let until = Instant::now() + TEST_DEADLINE;
        loop {
            match self.lines.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(line) => log.extend([line.as_slice(), b"\n"].concat()),
                Err(mpsc::RecvTimeoutError::Disconnected) => break,
                Err(mpsc::RecvTimeoutError::Timeout) => panic!("the pod does not end"),
            }
        }
        let stderr = self.stderr.recv_timeout(TEST_DEADLINE).unwrap();
        let stderr = String::from_utf8_lossy(&stderr).into_owned();
        let log = String::from_utf8_lossy(&log).into_owned();
        let mark = [TRAILER_MARK, TOKEN, " "].concat();
        let accepted = [mark.as_str(), STANDBY_ACCEPTED, "\n"].concat();
        let (notes, rest) = log.split_once(&accepted).unwrap_or_else(|| panic!("{log}\n{stderr}"));
        let (stdout, report) = rest.split_once(&mark).unwrap_or_else(|| panic!("{log}\n{stderr}"));
        let report: RunReport = serde_json::from_str(report).unwrap();
        let RunReport::Finished { end, warnings, .. } = report else {
            panic!("{report:?}")
        };
        let left = std::fs::read_to_string(self.shared.join("termination")).unwrap();
        assert!(left.contains("finished"), "{left}");
        assert_eq!(warnings, [] as [String; 0]);
        Ran {
            stdout: stdout.to_owned(),
            stderr,
            end,
            was_prepared: self.shared.join("scratch/prepare").exists(),
            notes: notes.to_owned(),
        }
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An image with the interpreter of this machine.
pub fn image() -> ImageRecord {
    let script = "import sys; print('.'.join(map(str, sys.version_info[:3])), sys.implementation.cache_tag)";
    let asked = Command::new(interpreter()).args(["-c", script]).output().unwrap();
    let text = String::from_utf8(asked.stdout).unwrap();
    let (version, abi) = text.trim().split_once(' ').unwrap();
    ImageRecord {
        protocol: POD_PROTOCOL_VERSION,
        interpreter: Interpreter {
            path: interpreter().to_owned(),
            implementation: "cpython".to_owned(),
            version: version.to_owned(),
            abi: abi.to_owned(),
            platform: "linux".to_owned(),
            libc: String::new(),
            binary_hash: "0".repeat(64),
            start: String::new(),
        },
        other_interpreters: Vec::new(),
        uv: String::new(),
        system: None,
        base_path: "/usr/bin:/bin".to_owned(),
        identity: Identity { uid: 0, gid: 0 },
    }
}

fn pod_request(volume: &Path) -> PodRequest {
    PodRequest {
        protocol: POD_PROTOCOL_VERSION,
        task: TaskSpec {
            dependencies: "heavy".to_owned(),
            ..TaskSpec::new("pass")
        },
        environments: PodEnvironments::Lookup,
        volumes: Volumes {
            python: volume.display().to_string(),
            nix: volume.with_file_name("nix").display().to_string(),
        },
        keep: Keep::Publish,
        accept_stale: false,
        limits: Limits {
            time_ms: 30_000,
            processes: 4096,
            ..Limits::default()
        },
        prepare_ms: 1000,
        max_age_s: 3600,
        network: NetworkSettings {
            index: "default".to_owned(),
            ..NetworkSettings::default()
        },
        budgets: Budgets::default(),
        variables: vec![("OF_OPERATOR".to_owned(), "1".to_owned())],
        tenant: Default::default(),
        describe: false,
        builds: false,
        resources: Default::default(),
    }
}

fn context(image: &ImageRecord, request: &PodRequest) -> EnvironmentContext {
    EnvironmentContext {
        volumes: request.volumes.clone(),
        interpreter: image.interpreter.clone(),
        index: request.network.index.clone(),
        system_source: String::new(),
        max_age_s: request.max_age_s,
        tenant: request.tenant.clone(),
        index_scope: request.network.index_scope,
        no_builds: request.network.no_builds,
        sources: request.network.sources.clone(),
    }
}
