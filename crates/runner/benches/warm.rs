//! What the runner adds to a warm run: `runner run` against exec'ing the same interpreter on the same program.
//!
//! `direct` and `runner` are for the eye. `overhead` is the figure that counts: both are run in turns, so that load and
//! page cache are the same for both, and the median of the differences is told. The task imports numpy from a
//! published environment where uv and an index are at hand, else it is `pass` in the bare interpreter; the names of the
//! benchmarks say which.

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
use hybrid_cache_model::protocol::{Environments, Limits, Place, RunRequest, Volumes};
use hybrid_cache_runner::python::Lookup;
use python_support::Bench;

/// Pairs of runs that the overhead is taken from.
const TURNS: usize = 101;
const NUMPY_TASK: &str = "import numpy\nprint(numpy.arange(6).reshape(2, 3))\n";

/// One warm task and both ways to run it.
struct Warm {
    what: &'static str,
    python: PathBuf,
    request: RunRequest,
    /// Holds the volume and the scratch folder.
    _bench: Option<Bench>,
    scratch: tempfile::TempDir,
}

impl Warm {
    fn new() -> Warm {
        let scratch = tempfile::tempdir().unwrap();
        match Bench::new() {
            Some(bench) => Warm::numpy(bench, scratch),
            None => Warm::bare(scratch),
        }
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
        let request = request(task, prepared.place, &scratch);
        Warm {
            what: "numpy",
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
        let interpreter = hybrid_cache_model::protocol::Interpreter {
            path: path.clone(),
            implementation: "cpython".to_owned(),
            version: String::new(),
            abi: String::new(),
            platform: String::new(),
            binary_hash: String::new(),
        };
        let volumes = Volumes {
            python: "/none".to_owned(),
            nix: "/none".to_owned(),
        };
        let place = Place {
            volumes,
            interpreter,
            index: String::new(),
            system_source: String::new(),
            max_age_s: 0,
        };
        let request = request(TaskSpec::new("pass"), place, &scratch);
        Warm {
            what: "bare",
            python: PathBuf::from(path),
            request,
            _bench: None,
            scratch,
        }
    }

    fn direct(&self) -> Duration {
        let program = self.scratch.path().join("main.py");
        std::fs::write(&program, &self.request.task.python_code).unwrap();
        let began = Instant::now();
        let mut command = Command::new(&self.python);
        command
            .arg(program)
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("LANG", "C.UTF-8");
        for name in [
            "OPENBLAS_NUM_THREADS",
            "OMP_NUM_THREADS",
            "PYTHONUNBUFFERED",
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
        let mut child = Command::new(env!("CARGO_BIN_EXE_runner"))
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

fn request(task: TaskSpec, place: Place, scratch: &tempfile::TempDir) -> RunRequest {
    RunRequest {
        task,
        place,
        environments: Environments::Lookup,
        accept_stale: false,
        limits: Limits::default(),
        identity: None,
        scratch: scratch.path().join("run").display().to_string(),
        base_path: "/usr/bin:/bin".to_owned(),
        variables: Vec::new(),
    }
}

fn warm(criterion: &mut Criterion) {
    let warm = Warm::new();
    let mut group = criterion.benchmark_group(format!("warm/{}", warm.what));
    group.sample_size(20).measurement_time(Duration::from_secs(10));
    group.bench_function("direct", |bencher| {
        bencher.iter_custom(|rounds| (0..rounds).map(|_| warm.direct()).sum());
    });
    group.bench_function("runner", |bencher| {
        bencher.iter_custom(|rounds| (0..rounds).map(|_| warm.runner()).sum());
    });
    group.finish();
}

/// Both in turns, and the median of the differences: criterion knows no negative time, and a mean of what is left would
/// be too large on a busy machine.
fn overhead(_: &mut Criterion) {
    let warm = Warm::new();
    let turns: Vec<(f64, f64)> = (0..TURNS)
        .map(|_| (warm.direct().as_secs_f64() * 1e3, warm.runner().as_secs_f64() * 1e3))
        .collect();
    let direct = median(turns.iter().map(|turn| turn.0).collect());
    let runner = median(turns.iter().map(|turn| turn.1).collect());
    let difference = median(turns.iter().map(|turn| turn.1 - turn.0).collect());
    let least = |of: fn(&(f64, f64)) -> f64| turns.iter().map(of).fold(f64::INFINITY, f64::min);
    println!(
        "warm/{}/overhead, {TURNS} turns, ms: direct median {direct:.2} least {:.2}, runner median {runner:.2} least \
         {:.2}, median difference {difference:.2}",
        warm.what,
        least(|turn| turn.0),
        least(|turn| turn.1),
    );
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

criterion_group!(benches, overhead, warm);
criterion_main!(benches);
