//! Packages without a wheel: built in a sandbox of their own, once, and what hostile ones try there.

#[path = "../shared/sdists.rs"]
mod sdists;

use std::path::Path;

use hybrid_cache_driver::SubmitOptions;
use hybrid_cache_driver::local::{LocalConfig, Network};
use hybrid_cache_model::protocol::Limits;
use hybrid_cache_model::{CacheStatus, FailureKind, Phase, TaskSpec};

use crate::bench::{Bench, difference, is_built, machine, machine_with_nix, python};

/// A configuration whose only index is a folder with these source distributions.
fn with_index(mut config: LocalConfig, folder: &Path, packages: &[(&str, &str, &str)]) -> LocalConfig {
    sdists::write(&config.interpreter.path, folder, packages);
    let variables = &mut config.python_tools.variables;
    variables.retain(|(name, _)| !name.starts_with("UV_"));
    variables.push(("UV_FIND_LINKS".to_owned(), folder.display().to_string()));
    variables.push(("UV_NO_INDEX".to_owned(), "1".to_owned()));
    config.tool_folders.push(folder.to_owned());
    config
}

/// A folder that the user of user code can reach, as an operator's folder of packages must be.
fn index_folder() -> tempfile::TempDir {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    folder
}

/// Caches whose only index is a folder of source distributions.
struct SourceBench {
    bench: Bench,
    _folder: tempfile::TempDir,
}

impl std::ops::Deref for SourceBench {
    type Target = Bench;

    fn deref(&self) -> &Bench {
        &self.bench
    }
}

/// Empty caches on this machine, if it is one, for these packages: name, version and what their build backend does.
/// `change` has the last word on the configuration.
fn bench_with(
    machine: Option<LocalConfig>,
    packages: &[(&str, &str, &str)],
    change: impl FnOnce(&mut LocalConfig),
) -> Option<SourceBench> {
    let folder = index_folder();
    let mut config = with_index(machine?, folder.path(), packages);
    change(&mut config);
    Some(SourceBench {
        bench: Bench::empty(config),
        _folder: folder,
    })
}

#[tokio::test]
async fn a_package_without_a_wheel_is_built_once_for_all_environments() {
    let machine = machine("a_package_without_a_wheel_is_built_once_for_all_environments");
    let Some(bench) = bench_with(machine, &[("alpha", "1.0", ""), ("beta", "2.0", "")], |_| {}) else {
        return;
    };
    let code = "import alpha; print(alpha.BUILD)";
    let first = bench.run(&python("alpha", code)).await;
    let build = first.good().to_owned();
    assert!(is_built(first.python()), "{:?}", first.python());
    assert!(first.outcome.timeline.phase_us(Phase::PythonBuild) > 0);
    assert_eq!(first.outcome.resolved.python, ["alpha==1.0"]);
    let again = bench.run(&python("alpha", code)).await;
    assert_eq!((again.good(), again.python()), (build.as_str(), CacheStatus::Hit));
    assert_eq!(again.outcome.timeline.phase_us(Phase::PythonBuild), 0);
    // Another environment takes the same wheel, also without the cache of this request.
    let both = bench
        .run(&python("alpha,beta", "import alpha, beta; print(alpha.BUILD)"))
        .await;
    assert_eq!(both.good(), build);
    assert!(bench.verify().await.is_clean());
    assert!(
        !bench.config.root.join("builds").exists(),
        "the files of builds are deleted"
    );
    let mut bypass = python("alpha", code);
    bypass.use_cache = false;
    assert_ne!(bench.run(&bypass).await.good(), build);
}

#[tokio::test]
async fn without_builds_the_interpreter_that_no_wheel_fits_is_named() {
    let machine = machine("without_builds_the_interpreter_that_no_wheel_fits_is_named");
    let Some(bench) = bench_with(machine, &[("alpha", "1.0", "")], |config| config.no_builds = true) else {
        return;
    };
    let version = &bench.config.interpreter.version;
    let ran = bench.run(&python("alpha", "print(1)")).await;
    let reported = ran.failed(FailureKind::NoWheel).to_string();
    assert!(
        reported.contains(&format!("no wheel for cpython {version} on linux")),
        "{reported}"
    );
    assert!(reported.contains("--no-builds"), "{reported}");
    assert_eq!(ran.outcome.timeline.phase_us(Phase::PythonBuild), 0);
}

#[tokio::test]
async fn a_file_may_say_that_a_package_is_not_built() {
    let machine = machine("a_file_may_say_that_a_package_is_not_built");
    let Some(bench) = bench_with(machine, &[("alpha", "1.0", ""), ("beta", "2.0", "")], |_| {}) else {
        return;
    };
    let asking = |option: &str| TaskSpec {
        requirements_file: format!("{option}\nalpha\n"),
        ..TaskSpec::new("import alpha; print(1)")
    };
    for (option, kind, part) in [
        ("--only-binary :all:", FailureKind::NoWheel, "--only-binary :all:"),
        (
            "--only-binary Alpha",
            FailureKind::Unsatisfiable,
            "building from source is disabled",
        ),
    ] {
        let ran = bench.run(&asking(option)).await;
        let reported = ran.failed(kind).to_string();
        assert!(reported.contains(part), "{reported}");
    }
    assert_eq!(bench.run(&asking("--only-binary beta")).await.good(), "1");
}

/// Looks for what it should not see or change, and puts what it found into the module.
const SPY: &str = r#"
found = []
for place in ("/cache", "/hybrid-cache/out", "/hybrid-cache/builds", "/root", "/home", "/run/secrets", "/nix/var"):
    try: found += [place + "/" + name for name in os.listdir(place)]
    except OSError: pass
for place in ("/cache/python", "/nix", "/hybrid-cache/out", "/hybrid-cache/builds", "/usr", "/etc", "/hybrid-cache/bin"):
    try:
        open(place + "/spy", "w").close()
        found.append("wrote " + place)
    except OSError: pass
for process in os.listdir("/proc"):
    try:
        text = open(f"/proc/{process}/environ").read()
        found += ["secret"] if "hunter2" in text else []
    except OSError: pass
found += ["secret"] if "hunter2" in str(os.environ) else []
FILES["spied.py"] = f"FOUND = {found!r}\nUID = {os.getuid()}\n"
"#;

#[tokio::test]
async fn the_code_of_a_package_reaches_neither_caches_nor_logins() {
    let machine = machine("the_code_of_a_package_reaches_neither_caches_nor_logins");
    let with_login = |config: &mut LocalConfig| {
        let login = ("UV_INDEX_OURS_PASSWORD".to_owned(), "hunter2".to_owned());
        config.python_tools.variables.push(login);
    };
    let Some(bench) = bench_with(machine, &[("spy", "1.0", SPY)], with_login) else {
        return;
    };
    let ran = bench
        .run(&python("spy", "import spied; print(spied.FOUND, spied.UID != 0)"))
        .await;
    assert_eq!(ran.good(), "[] True");
}

/// Behaves while it is resolved, and lies while it is built.
const LATE: &str = r#"
work = os.path.join(os.environ["TMPDIR"], "..", "work")
if "--hash" in open(work + "/requirements.txt").read():
    FILES["late-1.0.dist-info/METADATA"] = "Metadata-Version: 2.1\nName: good\nVersion: 1.0\n"
"#;
/// Leaves a link beside its wheel.
const LINKS: &str = r#"
out = os.path.join(os.environ["TMPDIR"], "..", "work", "out")
if not os.path.lexists(out + "/zzz.whl"):
    os.symlink("/etc/passwd", out + "/zzz.whl")
"#;
/// Changes every other package that it finds in the sandbox.
const POISON: &str = r#"
import time
for _ in range(50):
    for folder, _, names in os.walk(os.path.join(os.environ["TMPDIR"], "uv-cache")):
        for name in names:
            if "/good/" in folder and name == "backend.py":
                path = os.path.join(folder, name)
                text = open(path).read()
                open(path, "w").write(text.replace("genuine", "poisoned"))
    time.sleep(0.02)
"#;

#[tokio::test]
async fn a_hostile_build_fails_alone() {
    let genuine = "FILES['goodmark.py'] = \"MARK = 'genuine'\\n\"\n";
    let escape = "FILES['../../../../escaped.py'] = FILES['/tmp/escaped.py'] = 'x'\n";
    let inside = "FILES['inside-1.0.dist-info/METADATA'] = 'Metadata-Version: 2.1\\nName: good\\nVersion: 1.0\\n'\n";
    let packages = [
        ("good", "1.0", genuine),
        ("poison", "1.0", POISON),
        ("othername", "1.0", "WHEEL = 'good-1.0-py3-none-any.whl'\n"),
        (
            "otherversion",
            "1.0",
            "VERSION = '2.0'\nWHEEL = 'otherversion-2.0-py3-none-any.whl'\n",
        ),
        // The file has the right name, and holds another package.
        ("inside", "1.0", inside),
        ("late", "1.0", LATE),
        ("links", "1.0", LINKS),
        ("escape", "1.0", escape),
        ("broken", "1.0", "raise RuntimeError('it does not build')\n"),
    ];
    let Some(bench) = bench_with(machine("a_hostile_build_fails_alone"), &packages, |_| {}) else {
        return;
    };
    bench.run(&python("poison,good", "import poison, good")).await;
    let good = python("good", "import goodmark; print(goodmark.MARK)");
    assert_eq!(bench.run(&good).await.good(), "genuine");
    let before = bench.listing();
    for name in ["othername", "otherversion", "inside", "late", "links", "broken"] {
        let ran = bench.run(&python(name, "print(1)")).await;
        let reported = ran.failed(FailureKind::NoWheel).to_string();
        assert!(reported.contains("package"), "{name}: {reported}");
        assert_eq!(ran.stdout, "");
    }
    // uv refuses the names that lead out of the environment, or unpacks them inside.
    bench.run(&python("escape", "print(1)")).await;
    let after = bench.listing();
    let mut escaped = difference(&before, &after);
    escaped.retain(|path| path.contains("escaped.py") && !path.contains("/envs/"));
    assert_eq!(escaped, [] as [String; 0]);
    assert_eq!(bench.run(&good).await.good(), "genuine");
    assert!(bench.verify().await.is_clean());
}

/// Runs with a preparation that may take `prepare_ms`.
async fn run_within(bench: &Bench, spec: &TaskSpec, prepare_ms: u64, limits: Limits) -> crate::bench::Ran {
    let options = SubmitOptions {
        prepare_ms,
        limits,
        ..SubmitOptions::default()
    };
    bench.run_with(spec, &options).await
}

#[tokio::test]
async fn a_build_that_never_ends_or_fills_the_disk_is_ended() {
    let packages = [
        (
            "endless",
            "1.0",
            "import time, signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\ntime.sleep(600)\n",
        ),
        (
            "forks",
            "1.0",
            "import time\nwhile True:\n    os.fork()\n    time.sleep(0.01)\n",
        ),
        ("loud", "1.0", "while True:\n    sys.stderr.write('x' * 65536)\n"),
    ];
    let machine = machine("a_build_that_never_ends_or_fills_the_disk_is_ended");
    let Some(bench) = bench_with(machine, &packages, |_| {}) else {
        return;
    };
    let limits = Limits {
        tmp_bytes: 64 << 20,
        processes: 64,
        ..Limits::default()
    };
    for (name, _, _) in packages {
        let began = std::time::Instant::now();
        let ran = run_within(&bench, &python(name, "print(1)"), 15_000, limits.clone()).await;
        assert!(
            matches!(ran.outcome.end, hybrid_cache_model::End::Failed { .. }),
            "{name}: {:?}",
            ran.outcome.end
        );
        assert!(began.elapsed().as_secs() < 60, "{name} took {:?}", began.elapsed());
        assert_eq!(ran.stdout, "");
    }
    assert!(!bench.config.root.join("builds").exists());
}

#[tokio::test]
async fn real_packages_without_a_wheel_run() {
    let Some(config) = machine("real_packages_without_a_wheel_run") else {
        return;
    };
    if config.network == Network::None {
        println!("skipped: real_packages_without_a_wheel_run: no network");
        return;
    }
    let bench = Bench::empty(config);
    let code =
        "import docopt, langdetect, six; print(docopt.__version__, langdetect.detect('this is plain English text'))";
    let ran = bench.run(&python("docopt==0.6.2,langdetect==1.0.9", code)).await;
    assert_eq!(ran.good(), "0.6.2 en");
    // A lock names the source distribution of what was built, and the wheel of the rest.
    let resolved = &ran.outcome.resolved;
    assert_eq!(resolved.python_hashes["docopt==0.6.2"], [format!("sha256:{DOCOPT}")]);
    assert_eq!(resolved.python_hashes.len(), resolved.python.len(), "{resolved:?}");
    let locked = TaskSpec {
        requirements_file: resolved.lock().unwrap(),
        ..TaskSpec::new(code)
    };
    let again = bench.run(&locked).await;
    assert_eq!(
        (again.good(), &again.outcome.resolved.python),
        ("0.6.2 en", &resolved.python)
    );
    let pinned = TaskSpec {
        requirements_file: format!("docopt==0.6.2 --hash=sha256:{DOCOPT}\n"),
        ..TaskSpec::new("import docopt; print(docopt.__version__)")
    };
    assert_eq!(bench.run(&pinned).await.good(), "0.6.2");
    let wrong = TaskSpec {
        requirements_file: format!("docopt==0.6.2 --hash=sha256:{}\n", "0".repeat(64)),
        ..TaskSpec::new("print(1)")
    };
    bench.run(&wrong).await.failed(FailureKind::Unsatisfiable);
}

/// Of docopt's source distribution.
const DOCOPT: &str = "49b3a825280bd66b3aa83585ef59c4a8c82f2c8a522dbe754a8bc8d08c85c491";

#[tokio::test]
async fn a_package_that_needs_a_compiler_gets_it_from_the_system_packages() {
    let machine = machine_with_nix("a_package_that_needs_a_compiler_gets_it_from_the_system_packages");
    let Some(bench) = bench_with(machine, &[("native", "1.0", sdists::COMPILES)], |_| {}) else {
        return;
    };
    let mut spec = python("native", "import compiled; print(compiled.__name__)");
    let reported = bench.run(&spec).await.failed(FailureKind::NoWheel).to_string();
    assert!(
        reported.contains("gcc") && reported.contains("system packages"),
        "{reported}"
    );
    spec.system_dependencies = "gcc".to_owned();
    assert_eq!(bench.run(&spec).await.good(), "compiled");
    let again = bench.run(&spec).await;
    assert_eq!((again.good(), again.python()), ("compiled", CacheStatus::Hit));
}
