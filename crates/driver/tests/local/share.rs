//! Many who share one pair of volumes: what a task locks, what it sees of others, and an evictor that never rests.

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use hybrid_cache_driver::{Driver, SubmitOptions};
use hybrid_cache_model::CacheStatus;
use hybrid_cache_model::protocol::IndexScope;

use crate::bench::{Bench, PATIENCE, is_built, machine, machine_with_nix, python};

/// Locks all that it can open, in every way that excludes others, then says so and holds on.
const HOLDER: &str = r#"
import errno, fcntl, os, struct, sys, time
held, excluding = [], []
for top in ("/cache", "/nix", sys.prefix, os.path.dirname(sys.prefix)):
    for folder, _, files in os.walk(top):
        for name in [os.path.join(folder, name) for name in files + [".lease", "lock.txt"]] + [folder]:
            try:
                fd = os.open(name, os.O_RDONLY)
            except OSError:
                continue
            if len(held) < 400 or name.endswith("lease"):
                held.append(fd)
                for operation in (fcntl.LOCK_SH, fcntl.LOCK_EX):
                    try: fcntl.flock(fd, operation | fcntl.LOCK_NB)
                    except OSError: pass
                try: fcntl.fcntl(fd, 37, struct.pack("hhqqi4x", fcntl.F_RDLCK, 0, 0, 0, 0))
                except OSError: pass
            for command in (fcntl.F_SETLK, 37):
                try: excluding.append((name, fcntl.fcntl(fd, command, struct.pack("hhqqi4x", fcntl.F_WRLCK, 0, 0, 0, 0))))
                except OSError: pass
            if fd not in held: os.close(fd)
there = [name for name in ("bytecode", "tenants", "uv", "locks", "trash") if os.path.exists("/cache/python/" + name)]
print(there, [name for name, _ in excluding][:3])
print("holding", len(held) > 5, flush=True)
time.sleep(600)
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lock_of_a_task_blocks_no_other() {
    let Some(config) = machine("a_lock_of_a_task_blocks_no_other") else {
        return;
    };
    let bench = Bench::empty(config);
    let other = python("packaging", "import packaging; print('other')");
    assert_eq!(bench.run(&other).await.good(), "other");
    assert_eq!(bench.run(&python("idna", "print(1)")).await.good(), "1");
    let ticket = bench.submit(&python("idna", HOLDER)).await;
    bench.until_printed(&ticket, "holding True").await;
    let began = Instant::now();
    let warm = bench.run(&other).await;
    assert_eq!((warm.good(), warm.python()), ("other", CacheStatus::Hit));
    let warm = bench.run(&python("idna", "import idna; print('warm')")).await;
    assert_eq!((warm.good(), warm.python()), ("warm", CacheStatus::Hit));
    let cold = bench.run(&python("six", "import six; print('cold')")).await;
    assert!(cold.good() == "cold" && is_built(cold.python()));
    let report = bench.gc(1).await;
    assert_eq!((report.evicted_environments, report.kept_in_use), (2, 1), "{report:?}");
    assert!(began.elapsed() < Duration::from_secs(60), "{:?}", began.elapsed());
    bench.driver.cancel(&ticket).await.unwrap();
    let held = bench.finish(&ticket).await;
    assert!(held.stdout.starts_with("['bytecode', 'tenants'] []"), "{}", held.stdout);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_evictor_that_never_rests_pulls_nothing_from_under_a_task() {
    let Some(config) = machine_with_nix("an_evictor_that_never_rests_pulls_nothing_from_under_a_task") else {
        return;
    };
    let bench = Bench::empty(config);
    let done = Arc::new(AtomicBool::new(false));
    // Not even if no task ever ends.
    let give_up = Instant::now() + PATIENCE;
    let evictor = {
        let (bench, done) = (bench.with(|_| {}), Arc::clone(&done));
        tokio::spawn(async move {
            let mut evicted = 0;
            while !done.load(Ordering::Relaxed) && Instant::now() < give_up {
                let report = bench.gc(1).await;
                evicted += report.evicted_environments + report.evicted_system_sets;
            }
            evicted
        })
    };
    // Two sets of packages, each unused between its runs, so that the evictor finds something to take.
    let tasks = ["idna", "packaging"].map(|package| {
        let code = format!(
            "import time, subprocess\ntime.sleep(0.2)\nimport {package}, {package}.{}\n\
             print(subprocess.run(['m4', '--version'], capture_output=True).returncode)",
            if package == "idna" { "codec" } else { "version" }
        );
        let mut spec = python(package, &code);
        spec.system_dependencies = "m4".to_owned();
        let bench = bench.with(|_| {});
        tokio::spawn(async move {
            for _ in 0..4 {
                assert_eq!(bench.run(&spec).await.good(), "0");
                tokio::time::sleep(Duration::from_millis(300)).await;
            }
        })
    });
    let mut ended = Vec::new();
    for task in tasks {
        ended.push(task.await);
    }
    done.store(true, Ordering::Relaxed);
    let evicted = evictor.await.unwrap();
    assert!(ended.iter().all(Result::is_ok), "{ended:?}");
    assert!(evicted > 0, "the evictor had something to do");
}

#[tokio::test]
async fn tenants_have_environments_of_their_own_and_share_what_is_public() {
    let test = "tenants_have_environments_of_their_own_and_share_what_is_public";
    let Some(config) = machine(test) else { return };
    let bench = Bench::empty(config);
    let code = "import idna, os\n\
                print([name for name in ('team-a', 'team-b') if os.path.exists('/cache/python/tenants/' + name)], idna.__file__)";
    let volume = bench.config.root.join("volumes/python");
    for tenant in ["team-a", "team-b"] {
        let options = SubmitOptions {
            tenant: tenant.parse().unwrap(),
            ..SubmitOptions::default()
        };
        let first = bench.run_with(&python("idna", code), &options).await;
        assert!(first.good().starts_with(&format!("['{tenant}']")), "{}", first.stdout);
        assert!(is_built(first.python()), "another tenant's environment is no hit");
        if let (CacheStatus::Built { downloaded_bytes, .. }, "team-b") = (first.python(), tenant) {
            assert_eq!(downloaded_bytes, 0, "the download is shared");
        }
        let again = bench.run_with(&python("idna", code), &options).await;
        let expected = format!("['{tenant}'] /cache/python/tenants/{tenant}/envs/");
        assert!(again.good().starts_with(&expected), "{}", again.stdout);
        assert!(volume.join("uv").exists() && !volume.join("tenants").join(tenant).join("uv").exists());
    }
    let report = bench.verify().await;
    assert!(report.is_clean() && report.environments == 2, "{report:?}");
    let mode = |path: &std::path::Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&bench.config.root), mode(&volume)), (0o700, 0o700));
    // Least recently used over all of them.
    assert_eq!(bench.gc(1).await.evicted_environments, 2);
}

#[tokio::test]
async fn packages_of_a_private_index_stay_with_their_tenant() {
    let Some(mut config) = machine("packages_of_a_private_index_stay_with_their_tenant") else {
        return;
    };
    config.index_scope = IndexScope::Private;
    let bench = Bench::empty(config);
    let code = "import idna; print(idna.__cached__)";
    bench.run(&python("idna", code)).await.good();
    let again = bench.run(&python("idna", code)).await;
    assert_eq!(again.python(), CacheStatus::Hit);
    let volume = bench.config.root.join("volumes/python");
    let pool = |folder: &std::path::Path| folder.join("bytecode").read_dir().map_or(0, Iterator::count);
    let own = volume.join("tenants/default");
    assert!(own.join("uv").exists() && !volume.join("uv").exists());
    assert_eq!((pool(&own), pool(&volume)), (1, 0));
    let report = bench.verify().await;
    assert!(report.is_clean() && report.environments == 1, "{report:?}");
    assert_eq!(bench.gc(1).await.evicted_environments, 1);
}
