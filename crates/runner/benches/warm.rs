//! The runner's overhead on a warm run: `runner run` against exec of the same interpreter on the same program.
//!
//! Run `cargo xtask test none` once for the tools and the static runner, then `cargo bench --package
//! hybrid-cache-runner`. Without the first step it uses this build's dynamically linked runner. Without uv the program
//! is `pass` in the bare interpreter. The names of the benchmarks say which.
//!
//! `overhead` is the main figure: both run alternately, under the same load and page cache.

#![expect(
    clippy::unwrap_used,
    reason = "a benchmark that cannot be set up has nothing to measure"
)]

#[path = "../tests/python_support/mod.rs"]
mod python_support;

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use hybrid_cache_model::TaskSpec;
use hybrid_cache_model::protocol::{
    EnvironmentContext, Environments, Interpreter, Limits, PythonTools, RunRequest, Volumes,
};
use hybrid_cache_model::python_start::{COMPILE, SITECUSTOMIZE};
use hybrid_cache_runner::python::Lookup;
use python_support::Bench;

/// How many pairs of runs the overhead is computed from.
const TURNS: usize = 61;
/// Half the width of the median's 95 % interval, in ranks: 0.98 times the root of [`TURNS`].
const REACH: usize = 8;
/// Where `cargo xtask test` leaves this machine's configuration.
const CONFIG: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/local-config.json");
const NUMPY_TASK: &str = "import numpy\nprint(numpy.arange(6).reshape(2, 3))\n";

/// The part of the configuration that is used here.
#[derive(serde::Deserialize)]
struct Config {
    runner: PathBuf,
    interpreter: Interpreter,
    python_tools: PythonTools,
}

/// One warm task and both ways to run it.
struct Warm {
    what: String,
    runner: PathBuf,
    python: PathBuf,
    request: RunRequest,
    /// Contains the volume and the scratch folder.
    _bench: Option<Bench>,
    scratch: tempfile::TempDir,
}

impl Warm {
    fn new() -> Warm {
        let scratch = tempfile::tempdir().unwrap();
        let config: Option<Config> = std::fs::read(CONFIG)
            .ok()
            .map(|text| serde_json::from_slice(&text).unwrap());
        let (runner, bench) = match config {
            Some(config) => {
                let dir = tempfile::tempdir().unwrap();
                let (tools, interpreter) = (config.python_tools, config.interpreter);
                let bench = Bench {
                    dir,
                    tools,
                    interpreter,
                };
                (Some(config.runner), Some(bench))
            }
            None => (None, Bench::new()),
        };
        let mut warm = match bench {
            Some(bench) => Warm::numpy(bench, scratch),
            None => Warm::bare(scratch),
        };
        match runner {
            Some(runner) => warm.runner = runner,
            None => warm.what += "/dynamic",
        }
        warm
    }

    fn numpy(bench: Bench, scratch: tempfile::TempDir) -> Warm {
        bench.prepare("numpy");
        let Lookup::Hit(leased) = bench.lookup("numpy") else {
            return Warm::bare(scratch);
        };
        let prepared = bench.request("numpy");
        let task = TaskSpec {
            python_code: NUMPY_TASK.to_owned(),
            ..prepared.task
        };
        let request = request(task, prepared.context, &scratch);
        Warm {
            what: "numpy".to_owned(),
            runner: env!("CARGO_BIN_EXE_runner").into(),
            python: leased.python(),
            request,
            _bench: Some(bench),
            scratch,
        }
    }

    fn bare(scratch: tempfile::TempDir) -> Warm {
        let asked = Command::new("python3")
            .args(["-c", "import sys; print(sys._base_executable)"])
            .output()
            .unwrap();
        let path = String::from_utf8(asked.stdout).unwrap().trim().to_owned();
        let start = Command::new(&path)
            .args(["-I", "-c", COMPILE, SITECUSTOMIZE])
            .output()
            .unwrap();
        let tag = Command::new(&path)
            .args(["-c", "import sys; print(sys.implementation.cache_tag)"])
            .output()
            .unwrap();
        let interpreter = Interpreter {
            path: path.clone(),
            implementation: "cpython".to_owned(),
            version: String::new(),
            abi: String::from_utf8(tag.stdout).unwrap().trim().to_owned(),
            platform: String::new(),
            libc: String::new(),
            binary_hash: String::new(),
            start: String::from_utf8(start.stdout).unwrap().trim().to_owned(),
        };
        let volumes = Volumes {
            python: "/none".to_owned(),
            nix: "/none".to_owned(),
        };
        let context = EnvironmentContext {
            volumes,
            interpreter,
            index: String::new(),
            system_source: String::new(),
            max_age_s: 0,
            tenant: Default::default(),
            index_scope: Default::default(),
            no_builds: false,
            sources: Default::default(),
        };
        let request = request(TaskSpec::new("pass"), context, &scratch);
        Warm {
            what: "bare".to_owned(),
            runner: env!("CARGO_BIN_EXE_runner").into(),
            python: PathBuf::from(path),
            request,
            _bench: None,
            scratch,
        }
    }

    fn direct(&self) -> Duration {
        let folder = self.scratch.path();
        let program = folder.join("main.py");
        std::fs::write(&program, &self.request.task.python_code).unwrap();
        let began = Instant::now();
        let mut command = Command::new(&self.python);
        command.arg(program).current_dir(folder).env_clear();
        // The same variables as the runner sets.
        for (name, value) in [("PATH", "/usr/bin:/bin"), ("LANG", "C.UTF-8")] {
            command.env(name, value);
        }
        for name in ["HOME", "TMPDIR", "VIRTUAL_ENV"] {
            command.env(name, folder);
        }
        for name in [
            "OPENBLAS_NUM_THREADS",
            "OMP_NUM_THREADS",
            "MKL_NUM_THREADS",
            "PYTHONNOUSERSITE",
            "PYTHONDONTWRITEBYTECODE",
        ] {
            command.env(name, "1");
        }
        let output = command.stdin(Stdio::null()).output().unwrap();
        assert!(output.status.success());
        began.elapsed()
    }

    fn runner(&self) -> Duration {
        let text = serde_json::to_vec(&self.request).unwrap();
        let began = Instant::now();
        let mut child = Command::new(&self.runner)
            .args(["run", "--report-file"])
            .arg(self.scratch.path().join("report"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(&text).unwrap();
        let output = child.wait_with_output().unwrap();
        let elapsed = began.elapsed();
        let report = std::fs::read_to_string(self.scratch.path().join("report")).unwrap();
        assert!(
            report.contains("\"end\":\"exited\",\"code\":0"),
            "{report}{}",
            String::from_utf8_lossy(&output.stderr)
        );
        elapsed
    }
}

fn request(task: TaskSpec, context: EnvironmentContext, scratch: &tempfile::TempDir) -> RunRequest {
    RunRequest {
        task,
        context,
        environments: Environments::Lookup,
        accept_stale: false,
        limits: Limits::default(),
        identity: None,
        scratch: scratch.path().join("run").display().to_string(),
        base_path: "/usr/bin:/bin".to_owned(),
        require_landlock: false,
        variables: Vec::new(),
        readable: Vec::new(),
    }
}

fn warm(criterion: &mut Criterion) {
    let warm = Warm::new();
    let mut group = criterion.benchmark_group(format!("warm/{}", warm.what));
    group.sample_size(10).measurement_time(Duration::from_secs(3));
    group.bench_function("direct", |bencher| {
        bencher.iter_custom(|rounds| (0..rounds).map(|_| warm.direct()).sum());
    });
    group.bench_function("runner", |bencher| {
        bencher.iter_custom(|rounds| (0..rounds).map(|_| warm.runner()).sum());
    });
    group.finish();
}

/// Runs both alternately and takes the median of the differences: criterion cannot handle negative times, and the mean
/// of the rest would be too large on a busy machine.
fn overhead(_: &mut Criterion) {
    let warm = Warm::new();
    let ms = |duration: Duration| duration.as_secs_f64() * 1e3;
    let pair = |turn: usize| {
        // Alternate the order, because going first may be an advantage or a disadvantage.
        if turn.is_multiple_of(2) {
            let direct = ms(warm.direct());
            (direct, ms(warm.runner()))
        } else {
            let runner = ms(warm.runner());
            (ms(warm.direct()), runner)
        }
    };
    let turns: Vec<(f64, f64)> = (0..TURNS).map(pair).collect();
    let direct = sorted(turns.iter().map(|turn| turn.0));
    let runner = sorted(turns.iter().map(|turn| turn.1));
    let added = sorted(turns.iter().map(|turn| turn.1 - turn.0));
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    println!(
        "warm/{}/overhead, {TURNS} turns, load {}",
        warm.what,
        load.split(' ').next().unwrap_or_default()
    );
    for (name, values) in [("direct", &direct), ("runner", &runner), ("added", &added)] {
        let (median, low, high) = (TURNS / 2, TURNS / 2 - REACH, TURNS / 2 + REACH);
        println!(
            "    {name} median {:.2} ms [{:.2}, {:.2}] least {:.2}",
            values[median], values[low], values[high], values[0]
        );
    }
    println!(
        "    ratio of medians {:.3}, of the least {:.3}",
        runner[TURNS / 2] / direct[TURNS / 2],
        runner[0] / direct[0]
    );
}

fn sorted(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values
}

criterion_group!(benches, overhead, warm);
criterion_main!(benches);
