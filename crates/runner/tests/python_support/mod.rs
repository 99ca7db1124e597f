//! Shared by the tests of the Python volume: real tools if available, requests, and events.

#![expect(dead_code, reason = "each of the test programs uses another part of this")]
#![expect(clippy::unwrap_used, reason = "all of this is test code")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use hybrid_cache_model::budget::Budgets;
use hybrid_cache_model::protocol::{
    BuildOrder, BuildReport, EnvironmentContext, IndexScope, Interpreter, Keep, PrepareEvent, PrepareRequest,
    PythonTools, Volumes,
};
use hybrid_cache_model::{CacheStatus, Failure, FailureKind, PythonRequest, RequestKey, TaskSpec, Tenant, Timeline};
use hybrid_cache_runner::clock::Recorder;
use hybrid_cache_runner::prepare;
use hybrid_cache_runner::python::{Lookup, PythonVolume};
use hybrid_cache_runner::system::SystemPrepared;

pub mod wheel;

/// Settings of the machine that uv needs to reach its index.
const PASSED_ON: [&str; 6] = [
    "SSL_CERT_FILE",
    "HTTPS_PROXY",
    "HTTP_PROXY",
    "NO_PROXY",
    "UV_DEFAULT_INDEX",
    "UV_NATIVE_TLS",
];

/// A volume in a temporary folder and the tools to fill it.
pub struct Bench {
    pub dir: tempfile::TempDir,
    pub tools: PythonTools,
    pub interpreter: Interpreter,
}

/// The result of a preparation.
pub struct Prepared {
    pub events: Vec<PrepareEvent>,
}

impl Bench {
    /// `None`, with a message, if this machine has no uv or no Python.
    pub fn new() -> Option<Bench> {
        let (Some(uv), Some(interpreter)) = (uv(), interpreter()) else {
            println!("skipped: no uv at hand");
            return None;
        };
        let variables = PASSED_ON
            .iter()
            .filter_map(|name| Some(((*name).to_owned(), std::env::var(name).ok()?)));
        let tools = PythonTools {
            uv,
            variables: variables.collect(),
        };
        Some(Bench {
            dir: tempfile::tempdir().unwrap(),
            tools,
            interpreter,
        })
    }

    /// The same, with an index that has only the wheels in `wheels()`.
    pub fn offline() -> Option<Bench> {
        let mut bench = Bench::new()?;
        let wheels = bench.wheels().to_str().unwrap().to_owned();
        std::fs::create_dir(&wheels).unwrap();
        let variables = [("UV_FIND_LINKS", wheels.as_str()), ("UV_NO_INDEX", "1")];
        let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
        bench.tools.variables.retain(|(name, _)| !name.starts_with("UV_"));
        bench.tools.variables.extend(variables);
        Some(bench)
    }

    pub fn wheels(&self) -> PathBuf {
        self.dir.path().join("wheels")
    }

    pub fn root(&self) -> PathBuf {
        self.dir.path().join("volume")
    }

    pub fn volume(&self) -> PythonVolume {
        std::fs::create_dir_all(self.root()).unwrap();
        PythonVolume::open_write(&self.root(), &Tenant::default()).unwrap()
    }

    pub fn request(&self, dependencies: &str) -> PrepareRequest {
        std::fs::create_dir_all(self.root()).unwrap();
        PrepareRequest {
            task: TaskSpec {
                dependencies: dependencies.to_owned(),
                ..TaskSpec::new("print(1)")
            },
            context: EnvironmentContext {
                volumes: Volumes {
                    python: self.root().to_str().unwrap().to_owned(),
                    nix: "/nix".into(),
                },
                interpreter: self.interpreter.clone(),
                index: "default".into(),
                system_source: "none".into(),
                max_age_s: 604_800,
                tenant: Tenant::default(),
                index_scope: IndexScope::Public,
                no_builds: false,
                sources: Default::default(),
            },
            keep: Keep::Publish,
            python_tools: Some(self.tools.clone()),
            system_tools: None,
            deadline_ms: 120_000,
            other_pythons: Vec::new(),
            budgets: Budgets::default(),
            describe: false,
            builds: None,
        }
    }

    pub fn prepare(&self, dependencies: &str) -> Prepared {
        prepare(&self.request(dependencies))
    }

    pub fn lookup(&self, dependencies: &str) -> Lookup {
        let request = self.request(dependencies);
        let task = request.task.check().unwrap();
        let key = RequestKey::new(&PythonRequest::of(&task, &request.context));
        let volume = PythonVolume::open_read(&self.root(), &Tenant::default()).unwrap();
        volume
            .lookup(&key, std::time::Duration::from_secs(request.context.max_age_s))
            .unwrap()
    }

    /// Runs a program in the environment that a request finds.
    pub fn run(&self, dependencies: &str, code: &str) -> String {
        let Lookup::Hit(leased) = self.lookup(dependencies) else {
            panic!("{dependencies} is no hit")
        };
        run(&leased.python(), code)
    }
}

pub fn run(python: &Path, code: &str) -> String {
    let output = Command::new(python)
        .args(["-c", code])
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// Gives this thread a view of mounts of its own, which threads and programs that it starts share.
#[expect(
    unsafe_code,
    reason = "only the mounts of this thread change; it shares no folder with another one"
)]
pub fn own_mounts() -> rustix::io::Result<()> {
    use rustix::thread::{UnshareFlags, unshare_unsafe};
    // SAFETY: neither descriptors nor memory become unshared.
    unsafe { unshare_unsafe(UnshareFlags::NEWNS | UnshareFlags::FS) }
}

/// Prepares in this process, without a system side.
pub fn prepare(request: &PrepareRequest) -> Prepared {
    prepare_observed(request, |_| {})
}

/// The same, with a callback for each event.
pub fn prepare_observed(request: &PrepareRequest, observe: impl Fn(&PrepareEvent) + Sync) -> Prepared {
    let events = Mutex::new(Vec::new());
    let emit = |event: &PrepareEvent| {
        events.lock().unwrap().push(event.clone());
        observe(event);
    };
    prepare::run_with(request, &Recorder::start(), &emit, &no_system);
    Prepared {
        events: events.into_inner().unwrap(),
    }
}

/// The same, with somebody who runs orders for builds.
pub fn prepare_building(
    request: &PrepareRequest,
    observe: impl Fn(&PrepareEvent) + Sync,
    build: &(dyn Fn(&BuildOrder) -> Result<BuildReport, Failure> + Sync),
) -> Prepared {
    let events = Mutex::new(Vec::new());
    let emit = |event: &PrepareEvent| {
        events.lock().unwrap().push(event.clone());
        observe(event);
    };
    prepare::run_building(request, &Recorder::start(), &emit, &no_system, build);
    Prepared {
        events: events.into_inner().unwrap(),
    }
}

fn no_system(_: &PrepareRequest, _: &Recorder) -> Result<SystemPrepared, Failure> {
    Err(Failure::new(FailureKind::Tool, "these tests have no system side"))
}

impl Prepared {
    pub fn failure(&self) -> &Failure {
        match self.events.last() {
            Some(PrepareEvent::Failed { failure, .. }) => failure,
            other => panic!("a failure was expected, not {other:?}"),
        }
    }

    pub fn status(&self) -> CacheStatus {
        let status = self.events.iter().find_map(|event| match event {
            PrepareEvent::Ready { cache, .. } => Some(cache.python),
            _ => None,
        });
        status.unwrap_or_else(|| panic!("no Ready in {:?}", self.events.last()))
    }

    /// The path of the environment when it became ready, relative to the volume.
    pub fn path(&self) -> String {
        let path = self.events.iter().find_map(|event| match event {
            PrepareEvent::Ready { python, .. } => python.clone(),
            _ => None,
        });
        path.unwrap_or_else(|| panic!("no Ready in {:?}", self.events.last()))
    }

    pub fn warnings(&self) -> Vec<String> {
        match self.events.last() {
            Some(PrepareEvent::Published { warnings, .. }) => warnings.clone(),
            other => panic!("it was not published: {other:?}"),
        }
    }

    /// What was added or chosen for the user.
    pub fn notes(&self) -> Vec<String> {
        match self.events.last() {
            Some(PrepareEvent::Published { notes, .. }) => notes.clone(),
            other => panic!("it was not published: {other:?}"),
        }
    }

    pub fn timeline(&self) -> Timeline {
        match self.events.last() {
            Some(PrepareEvent::Published { timeline, .. }) => timeline.clone(),
            other => panic!("it was not published: {other:?}"),
        }
    }
}

fn uv() -> Option<String> {
    let named = std::env::var("HYBRID_CACHE_UV").ok().map(PathBuf::from);
    let checkout = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.tools");
    let tools = std::fs::read_dir(checkout).into_iter().flatten().flatten();
    let tools = tools.filter(|entry| entry.file_name().to_string_lossy().starts_with("uv-"));
    let tools = tools.filter_map(|entry| find_program(&entry.path(), "uv", 5));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path: Vec<PathBuf> = std::env::split_paths(&path).map(|folder| folder.join("uv")).collect();
    let mut candidates = named.into_iter().chain(tools).chain(path);
    candidates
        .find(|path| path.is_file())
        .map(|path| path.to_string_lossy().into_owned())
}

fn find_program(folder: &Path, name: &str, depth: usize) -> Option<PathBuf> {
    let candidate = folder.join(name);
    if candidate.is_file() {
        return Some(candidate);
    }
    let folders = std::fs::read_dir(folder)
        .ok()?
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.is_dir());
    folders
        .filter_map(|inner| {
            if depth == 0 {
                None
            } else {
                find_program(&inner, name, depth - 1)
            }
        })
        .next()
}

fn interpreter() -> Option<Interpreter> {
    let script = "import os, sys, platform, sysconfig; print(sys._base_executable, platform.python_version(), \
                  sys.implementation.cache_tag, sysconfig.get_platform(), \
                  os.confstr('CS_GNU_LIBC_VERSION'), sep='\\n')";
    let output = Command::new("python3").args(["-c", script]).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let mut lines = text.lines().map(str::to_owned);
    Some(Interpreter {
        path: lines.next()?,
        implementation: "cpython".into(),
        version: lines.next()?,
        abi: lines.next()?,
        platform: lines.next()?,
        libc: lines.next()?,
        binary_hash: "0".repeat(64),
        start: String::new(),
    })
}
