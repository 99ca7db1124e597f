//! Packages without a wheel in pods: built in a container of their own, once, and what hostile ones try there.

#[path = "../shared/package_index.rs"]
mod package_index;
#[path = "../shared/sdists.rs"]
mod sdists;

use std::time::{Duration, Instant};

use hybrid_cache_driver::kube::KubeDriver;
use hybrid_cache_driver::{Driver, Epoch};
use hybrid_cache_model::{CacheStatus, End, FailureKind, Phase, TaskSpec};

use super::bench::{self, Bench, Ran, on, run, spec, within};
use package_index::PackageIndex;

/// An index on this machine with source distributions, and a driver whose pods use it, on caches of their own.
struct Builds {
    _index: PackageIndex,
    driver: KubeDriver,
    epoch: Epoch,
}

impl Builds {
    async fn new(bench: &Bench, packages: &[(&str, &str, &str)]) -> Builds {
        let index = PackageIndex::serve(bench.own_address().await, packages);
        let bench = bench.with(|config| {
            let variables = &mut config.network.python_variables;
            variables.retain(|(name, _)| !name.starts_with("UV_") && !name.to_uppercase().ends_with("_PROXY"));
            variables.push(("UV_DEFAULT_INDEX".to_owned(), index.url()));
            // Not for code of packages.
            variables.push(("UV_INDEX_OURS_PASSWORD".to_owned(), "hunter2".to_owned()));
        });
        let driver = bench.driver().await;
        let epoch = within(driver.fresh_epoch()).await.unwrap();
        Builds {
            _index: index,
            driver,
            epoch,
        }
    }

    async fn run(&self, package: &str, code: &str) -> Ran {
        run(&self.driver, &spec(code, package, ""), &on(&self.epoch)).await
    }

    async fn end(self) {
        within(self.driver.discard_epoch(&self.epoch)).await.unwrap();
    }
}

fn build_us(ran: &Ran) -> u64 {
    ran.outcome.timeline.phase_us(Phase::PythonBuild)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_package_without_a_wheel_is_built_in_a_pod_and_then_cached() {
    let Some(bench) = bench::cluster("a_package_without_a_wheel_is_built_in_a_pod").await else {
        return;
    };
    let driver = bench.driver().await;
    let epoch = within(driver.fresh_epoch()).await.unwrap();
    let task = spec("import docopt; print(docopt.__version__)", "docopt==0.6.2", "");
    let ticket = driver.submit(&task, &on(&epoch)).await.unwrap();
    let first = bench::wait(&driver, &ticket).await;
    first.printed("0.6.2\n");
    assert!(
        matches!(first.outcome.cache.python, CacheStatus::Built { .. }) && build_us(&first) > 0,
        "{:?}",
        first.outcome
    );
    assert_eq!(within(driver.settle(&ticket)).await.unwrap().not_kept, None);
    let cached = run(&driver, &task, &on(&epoch)).await;
    cached.printed("0.6.2\n");
    assert_eq!((cached.outcome.cache.python, build_us(&cached)), (CacheStatus::Hit, 0));
    within(driver.discard_epoch(&epoch)).await.unwrap();
}

/// A first run and a cached one, which prints where its environment is.
async fn twice(driver: &KubeDriver, epoch: &Epoch, task: &TaskSpec) -> (Ran, Ran) {
    let ticket = driver.submit(task, &on(epoch)).await.unwrap();
    let first = bench::wait(driver, &ticket).await;
    assert!(first.outcome.end.is_success(), "{:?}", first.outcome);
    assert_eq!(within(driver.settle(&ticket)).await.unwrap().not_kept, None);
    let cached = run(driver, task, &on(epoch)).await;
    assert_eq!(cached.outcome.cache.python, CacheStatus::Hit, "{:?}", cached.outcome);
    (first, cached)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_lock_of_a_task_in_a_pod_can_be_submitted_again() {
    let Some(bench) = bench::cluster("the_lock_of_a_task_in_a_pod").await else {
        return;
    };
    let driver = bench.driver().await;
    let epoch = within(driver.fresh_epoch()).await.unwrap();
    // One with a wheel, and what it needs, and one that is built.
    let code = "import docopt, jinja2, sys; print(sys.prefix)";
    let (first, cached) = twice(&driver, &epoch, &spec(code, "docopt==0.6.2,jinja2==3.1.4", "")).await;
    assert!(build_us(&first) > 0);
    let lock = first.outcome.resolved.lock().unwrap();
    // A cached run offers the same.
    assert_eq!(cached.outcome.resolved.lock().unwrap(), lock);
    for package in ["docopt==0.6.2", "jinja2==3.1.4", "markupsafe=="] {
        assert!(lock.contains(package) && lock.contains("--hash=sha256:"), "{lock}");
    }
    let again = TaskSpec {
        requirements_file: lock.clone(),
        ..spec(code, "", "")
    };
    let (resubmitted, hit) = twice(&driver, &epoch, &again).await;
    assert!(
        matches!(resubmitted.outcome.cache.python, CacheStatus::Built { .. }),
        "another request: {:?}",
        resubmitted.outcome.cache
    );
    assert_eq!(resubmitted.outcome.resolved.python, first.outcome.resolved.python);
    assert_eq!(hit.stdout, cached.stdout, "the same environment");
    assert_eq!(hit.outcome.resolved.lock().unwrap(), lock);
    // A wrong hash of the lock is no environment.
    let at = lock.find("sha256:").unwrap() + "sha256:".len();
    let wrong = TaskSpec {
        requirements_file: format!("{}{}{}", &lock[..at], "0".repeat(64), &lock[at + 64..]),
        ..again
    };
    let ran = run(&driver, &wrong, &on(&epoch)).await;
    ran.failed(FailureKind::Unsatisfiable, &["hash"]);
    within(driver.discard_epoch(&epoch)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn without_builds_a_pod_names_the_interpreter_that_no_wheel_fits() {
    let Some(bench) = bench::cluster("without_builds_a_pod_names_the_interpreter").await else {
        return;
    };
    let bench = bench.with(|config| config.network.no_builds = true);
    let ran = run(
        &bench.driver().await,
        &spec("print(1)", "docopt==0.6.2", ""),
        &bench::options(),
    )
    .await;
    ran.failed(FailureKind::NoWheel, &["no wheel for cpython 3.", "--no-builds"]);
    assert_eq!(build_us(&ran), 0);
}

/// Looks for what it should not see or change, and puts what it found into a module.
const SPY: &str = r#"
import socket
found = []
for place in ("/cache", "/task", "/handover", "/nix", "/seed", "/var/run/argo", "/var/run/secrets", "/run/secrets", "/root"):
    try: found += [place + "/" + name for name in os.listdir(place)]
    except OSError: pass
for place in ("/cache/python", "/nix", "/builds", "/handover", "/task", "/usr", "/etc", "/dev"):
    try:
        open(place + "/spy", "w").close()
        found.append("wrote " + place)
    except OSError: pass
try:
    socket.socket(socket.AF_UNIX).connect("/builds/socket")
    found.append("connected")
except OSError: pass
secrets = str(os.environ)
for process in os.listdir("/proc"):
    for name in ("environ", "cmdline"):
        try:
            text = open(f"/proc/{process}/{name}").read()
        except OSError: continue
        secrets += text
        found += ["another process: " + text for other in ("pod-prepare", "pod-run") if other in text]
found += ["a secret" for secret in ("hunter2", "KUBERNETES", "TRAILER") if secret in secrets]
try:
    os.kill(1, 9)
    os.kill(1, 0)
    found.append("signalled the runner")
except OSError: pass
FILES["spied.py"] = f"FOUND = {found!r}\nUID = {os.getuid()}\n"
"#;
/// Leaves a process and files for the builds that follow it.
const LEAVES: &str = r#"
import time
for folder in ("/tmp", "/dev/shm", os.environ["TMPDIR"]):
    open(folder + "/left-behind", "w").close()
if os.fork() == 0:
    os.setsid()
    for descriptor in range(64):
        try: os.close(descriptor)
        except OSError: pass
    if os.fork() == 0:
        time.sleep(600)
    os._exit(0)
"#;
/// Lists what an earlier build has left.
const LOOKS: &str = r#"
left = [folder + "/" + name for folder in ("/tmp", "/dev/shm") for name in os.listdir(folder)]
left += [pid for pid in os.listdir("/proc") if pid.isdigit() and int(pid) not in (1, os.getpid(), os.getppid())
         and "left-behind" in open(f"/proc/{pid}/cmdline").read()]
FILES["left.py"] = f"LEFT = {left!r}\n"
"#;
const ENDLESS: &str = "import time, signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\ntime.sleep(600)\n";
const OTHER_NAME: &str = "WHEEL = 'looks-1.0-py3-none-any.whl'\n";
const INSIDE: &str =
    "FILES['inside-1.0.dist-info/METADATA'] = 'Metadata-Version: 2.1\\nName: looks\\nVersion: 1.0\\n'\n";

#[tokio::test(flavor = "multi_thread")]
async fn the_code_of_a_package_reaches_nothing_of_its_pod() {
    let Some(bench) = bench::cluster("the_code_of_a_package_reaches_nothing").await else {
        return;
    };
    let packages = [("spy", "1.0", SPY), ("leaves", "1.0", LEAVES), ("looks", "1.0", LOOKS)];
    let builds = Builds::new(&bench, &packages).await;
    let spied = builds.run("spy", "import spied; print(spied.FOUND, spied.UID)").await;
    spied.printed(&format!("[] {}\n", bench.config.identity.uid));
    // Both are resolved in one order, and built in one each.
    let left = builds
        .run("leaves,looks", "import leaves, left; print(left.LEFT)")
        .await;
    left.printed("[]\n");
    builds.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hostile_build_in_a_pod_fails_alone_and_in_time() {
    let Some(bench) = bench::cluster("a_hostile_build_in_a_pod").await else {
        return;
    };
    let packages = [
        ("othername", "1.0", OTHER_NAME),
        ("inside", "1.0", INSIDE),
        ("endless", "1.0", ENDLESS),
        ("broken", "1.0", "raise RuntimeError('it does not build')\n"),
    ];
    let builds = Builds::new(&bench, &packages).await;
    for name in ["othername", "inside", "broken"] {
        let ran = builds.run(name, "print(1)").await;
        ran.failed(FailureKind::NoWheel, &["package"]);
        assert_eq!(ran.stdout, "");
    }
    let (task, mut limits) = (spec("print(1)", "endless", ""), on(&builds.epoch));
    limits.prepare_ms = 20_000;
    let began = Instant::now();
    let ran = run(&builds.driver, &task, &limits).await;
    assert!(matches!(ran.outcome.end, End::Failed { .. }), "{:?}", ran.outcome.end);
    assert!(began.elapsed() < Duration::from_secs(70), "{:?}", began.elapsed());
    builds.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_build_in_a_pod_is_shown_and_another_process_can_cancel_it() {
    let Some(bench) = bench::cluster("a_build_in_a_pod_is_shown").await else {
        return;
    };
    let builds = Builds::new(&bench, &[("endless", "1.0", ENDLESS)]).await;
    let task = spec("print(1)", "endless", "");
    let ticket = builds.driver.submit(&task, &on(&builds.epoch)).await.unwrap();
    let mut preparing = builds.driver.preparing(&ticket).unwrap();
    let shown = within(preparing.wait_for(|phase| *phase == Some(Phase::PythonBuild))).await;
    assert!(shown.is_ok());
    let second = bench.driver().await;
    second.cancel(&ticket).await.unwrap();
    let asked = Instant::now();
    assert_eq!(bench::wait(&second, &ticket).await.outcome.end, End::Cancelled);
    assert!(asked.elapsed() < Duration::from_secs(15), "{:?}", asked.elapsed());
    builds.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_package_that_needs_a_compiler_gets_it_from_the_system_packages_of_its_pod() {
    let Some(bench) = bench::cluster("a_package_that_needs_a_compiler_in_a_pod").await else {
        return;
    };
    let builds = Builds::new(&bench, &[("native", "1.0", sdists::COMPILES)]).await;
    let task = spec("import compiled; print(compiled.__name__)", "native", "gcc");
    for status in ["first", "cached"] {
        let ran = run(&builds.driver, &task, &on(&builds.epoch)).await;
        assert_eq!(ran.stdout, "compiled\n", "{status}: {:?}", ran.outcome);
    }
    builds.end().await;
}
