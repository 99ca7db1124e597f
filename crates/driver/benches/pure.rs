//! The parts of a cached run that only compute: checking a task, making its keys, putting its sandbox's command line
//! together. All of them together stay far below a system call's noise, and this says when they no longer do.

#![expect(
    clippy::unwrap_used,
    reason = "a benchmark that cannot be set up has nothing to measure"
)]

use std::hint::black_box;
use std::path::PathBuf;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use hybrid_cache_driver::local::sandbox::{HostLayout, task_command};
use hybrid_cache_driver::local::{LocalConfig, Network, VolumePair};
use hybrid_cache_driver::needs::Needs;
use hybrid_cache_model::protocol::{Interpreter, Limits, PythonTools};
use hybrid_cache_model::{PythonRequest, RequestKey, SystemKey, TaskSpec, Tenant};

fn task() -> TaskSpec {
    TaskSpec {
        dependencies: "numpy,pandas>=2,scipy==1.14.*".to_owned(),
        requirements_file:
            "# what the report needs\nmatplotlib>=3.9\nseaborn\nrequests[socks]; python_version >= '3.9'\n".to_owned(),
        system_dependencies: "gcc,make,git".to_owned(),
        ..TaskSpec::new("import numpy\n".repeat(200))
    }
}

fn config() -> LocalConfig {
    LocalConfig {
        root: "/cache".into(),
        runner: "/build/runner".into(),
        bubblewrap: vec!["bwrap".into()],
        interpreter: Interpreter {
            path: "/opt/python/bin/python3.11".into(),
            implementation: "cpython".into(),
            version: "3.11.7".into(),
            abi: "cpython-311".into(),
            platform: "linux-x86_64".into(),
            libc: String::new(),
            binary_hash: "0".repeat(64),
            start: String::new(),
        },
        interpreter_prefix: "/opt/python".into(),
        other_interpreters: Vec::new(),
        index: "default".into(),
        index_scope: Default::default(),
        no_builds: false,
        sources: Default::default(),
        python_tools: PythonTools {
            uv: "/tools/uv".into(),
            variables: Vec::new(),
        },
        system: None,
        tool_folders: Vec::new(),
        max_age_s: 1,
        task_variables: Vec::new(),
        certificates: Vec::new(),
        network: Network::Shared,
        pasta: None,
        network_idle_s: 1,
        budget_bytes: 0,
        budget_inodes: 0,
        trace_bytes: 0,
    }
}

fn pure(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("pure");
    group
        .measurement_time(Duration::from_secs(2))
        .warm_up_time(Duration::from_millis(500));
    let (spec, config) = (task(), config());
    let (checked, context) = (spec.check().unwrap(), config.context(&Default::default()));
    let wire = serde_json::to_vec(&spec).unwrap();
    group.bench_function("parse and check a task", |bencher| {
        bencher.iter(|| {
            let spec: TaskSpec = serde_json::from_slice(black_box(&wire)).unwrap();
            spec.check().unwrap()
        });
    });
    group.bench_function("make both keys", |bencher| {
        bencher.iter(|| {
            let context = black_box(&context);
            (
                RequestKey::new(&PythonRequest::of(&checked, context)),
                SystemKey::new(&checked.system, context),
            )
        });
    });
    let shared = tempfile::tempdir().unwrap();
    let host = HostLayout::read(shared.path()).unwrap();
    let volumes = VolumePair {
        python: PathBuf::from("/cache/volumes/python"),
        system: PathBuf::from("/cache/volumes/system"),
    };
    let needs = Needs {
        python: true,
        system: true,
    };
    let (tenant, limits) = (Tenant::default(), Limits::default());
    group.bench_function("render the sandbox's command", |bencher| {
        bencher.iter(|| task_command(black_box(&config), &host, &volumes, &tenant, needs, None, &limits));
    });
    group.finish();
}

criterion_group!(benches, pure);
criterion_main!(benches);
