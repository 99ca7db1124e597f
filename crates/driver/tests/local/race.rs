//! Many at once: one build for all, and no eviction under a running task.

use std::io::Write;
use std::net::TcpListener;

use hybrid_cache_driver::local::Network;
use hybrid_cache_model::CacheStatus;

use crate::bench::{Bench, is_built, machine_with_nix, python};
use crate::roles::until;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn eight_at_once_build_one_environment() {
    let Some(config) = machine_with_nix("eight_at_once_build_one_environment") else {
        return;
    };
    let bench = Bench::empty(config);
    let code = "import idna, packaging, subprocess; print(subprocess.run(['m4', '--version'], capture_output=True).returncode)";
    let mut spec = python("idna,packaging", code);
    spec.system_dependencies = "m4".to_owned();
    let racers = (0..8).map(|_| {
        // A driver of its own for each, as if they were eight processes.
        let (bench, spec) = (bench.with(|_| {}), spec.clone());
        tokio::spawn(async move { bench.run(&spec).await })
    });
    let mut ran = Vec::new();
    for racer in racers.collect::<Vec<_>>() {
        ran.push(racer.await.unwrap());
    }
    assert!(
        ran.iter()
            .all(|ran| ran.good() == "0" && ran.outcome.warnings.is_empty())
    );
    for statuses in [
        ran.iter().map(|ran| ran.python()).collect(),
        ran.iter().map(|ran| ran.system()).collect::<Vec<_>>(),
    ] {
        let built = statuses.iter().filter(|status| is_built(**status)).count();
        let hits = statuses.iter().filter(|status| **status == CacheStatus::Hit).count();
        assert_eq!((built, hits), (1, 7), "{statuses:?}");
    }
    let report = bench.verify().await;
    assert!(
        report.is_clean() && (report.environments, report.system_sets) == (1, 1),
        "{report:?}"
    );
}

#[tokio::test]
async fn eviction_leaves_a_running_task_alone() {
    let Some(mut config) = machine_with_nix("eviction_leaves_a_running_task_alone") else {
        return;
    };
    config.network = Network::Shared;
    let bench = Bench::empty(config);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    // Tells that it runs, waits for a word, then uses what it has not loaded yet.
    let code = format!(
        "import os, socket, subprocess, sys\nsocket.create_connection(('127.0.0.1', {port})).recv(1)\n\
         import packaging.version, packaging.specifiers\n\
         whole = all(os.path.getsize(os.path.join(d, f)) >= 0 for d, _, fs in os.walk(sys.prefix) for f in fs if f.endswith('.py'))\n\
         print(whole, subprocess.run(['m4', '--version'], capture_output=True).returncode)"
    );
    let mut used = python("packaging", &code);
    used.system_dependencies = "m4".to_owned();
    let mut unused = python("idna", "print('unused')");
    unused.system_dependencies = "gzip".to_owned();
    // Once cold, when it runs from staging and is published meanwhile, and once cached.
    for round in ["cold", "cached"] {
        assert_eq!(bench.run(&unused).await.good(), "unused");
        let ticket = bench.submit(&used).await;
        let door = listener.try_clone().unwrap();
        let (mut word, _) = tokio::task::spawn_blocking(move || door.accept())
            .await
            .unwrap()
            .unwrap();
        let published = || {
            std::fs::read_dir(bench.config.root.join("volumes/python/tenants/default/envs"))
                .is_ok_and(|all| all.count() == 2)
        };
        until("both environments are published", published).await;
        let report = bench.gc(1).await;
        assert_eq!(
            (report.evicted_environments, report.evicted_system_sets),
            (1, 1),
            "{round}: {report:?}"
        );
        assert!(report.kept_in_use >= 2, "{round}: {report:?}");
        word.write_all(b"!").unwrap();
        assert_eq!(bench.finish(&ticket).await.good(), "True 0", "{round}");
        assert!(bench.verify().await.is_clean());
    }
    // No task uses them any longer.
    let report = bench.gc(1).await;
    assert_eq!(
        (
            report.evicted_environments,
            report.evicted_system_sets,
            report.kept_in_use
        ),
        (1, 1, 0),
        "{report:?}"
    );
}
