//! The packages and the Python version that a task asks for, in the real sandbox.

use hybrid_cache_driver::local::LocalInterpreter;
use hybrid_cache_model::{CacheStatus, FailureKind, TaskSpec};

use crate::bench::{Bench, is_built, machine, python};

#[tokio::test]
async fn constraints_choose_versions_and_a_lock_gives_the_same_packages() {
    let Some(config) = machine("constraints_choose_versions_and_a_lock_gives_the_same_packages") else {
        return;
    };
    let bench = Bench::shared(config);
    let mut spec = python(
        "idna",
        "import idna, importlib.util; print(idna.__version__, importlib.util.find_spec('six'))",
    );
    spec.constraints = "idna<3.8\nsix==1.16.0\n".to_owned();
    let first = bench.run(&spec).await;
    assert_eq!(first.good(), "3.7 None");
    assert!(is_built(first.python()), "{:?}", first.python());
    let cached = bench.run(&spec).await;
    assert_eq!((cached.good(), cached.python()), ("3.7 None", CacheStatus::Hit));
    let lock = cached.outcome.resolved.lock().unwrap();
    assert!(lock.contains("--hash=sha256:"), "{lock}");
    assert_eq!(first.outcome.resolved.lock().as_ref(), Some(&lock));
    let locked = TaskSpec {
        requirements_file: lock.clone(),
        ..TaskSpec::new(spec.python_code.clone())
    };
    let again = bench.run(&locked).await;
    assert_eq!(again.good(), "3.7 None");
    assert_eq!(again.outcome.resolved.lock(), Some(lock));
    // Constraints alone ask for no environment.
    let alone = TaskSpec {
        constraints: "six==1.16.0".to_owned(),
        ..TaskSpec::new("print(1)")
    };
    assert_eq!(bench.run(&alone).await.python(), CacheStatus::NotAsked);
}

#[tokio::test]
async fn a_further_interpreter_that_was_removed_stops_no_cache_command() {
    let Some(mut config) = machine("a_further_interpreter_that_was_removed_stops_no_cache_command") else {
        return;
    };
    config.other_interpreters.push(LocalInterpreter {
        interpreter: config.interpreter.clone(),
        prefix: "/opt/python-that-was-removed".into(),
    });
    let bench = Bench::empty(config);
    bench.run(&python("idna", "import idna")).await.good();
    let found = bench.verify().await;
    assert!(found.is_clean() && found.environments == 1, "{found:?}");
    bench.gc(1 << 40).await;
}

#[tokio::test]
async fn a_task_runs_on_the_python_that_it_asks_for() {
    let test = "a_task_runs_on_the_python_that_it_asks_for";
    let Some(config) = machine(test) else { return };
    let Some(other) = config.other_interpreters.last().cloned() else {
        println!("skipped: {test}: this machine has one interpreter");
        return;
    };
    let default = config.interpreter.version.clone();
    let bench = Bench::shared(config);
    let code = "import idna, platform, sys; print(platform.python_version(), sys.prefix != sys.base_prefix)";
    let asking = |version: &str, dependencies: &str, code: &str| TaskSpec {
        python_version: version.to_owned(),
        ..python(dependencies, code)
    };
    for version in [other.interpreter.version.as_str(), &default] {
        let spec = asking(version, "idna", code);
        let first = bench.run(&spec).await;
        assert_eq!(first.good(), format!("{version} True"));
        let found = bench.verify().await;
        assert!(found.is_clean(), "{found:?}");
        let cached = bench.run(&spec).await;
        assert_eq!((cached.good(), cached.python()), (first.good(), CacheStatus::Hit));
        assert_eq!(cached.outcome.resolved.python_version.as_deref(), Some(version));
        let plain = asking(version, "", "import platform; print(platform.python_version())");
        assert_eq!(bench.run(&plain).await.good(), format!("{version}"));
        let block = format!("# /// script\n# requires-python = '=={version}'\n# ///\n");
        let required = asking(
            "",
            "",
            &format!("{block}import platform; print(platform.python_version())"),
        );
        assert_eq!(bench.run(&required).await.good(), version);
    }
    // The default's environments are those of tasks that name no version.
    assert_eq!(bench.run(&python("idna", code)).await.python(), CacheStatus::Hit);
    let reported = bench.refused(&asking("3.98", "", "1")).await.to_string();
    assert!(
        reported.contains("/pythonVersion: Python 3.98 is not on offer") && reported.contains(&default),
        "{reported}"
    );
}

#[tokio::test]
async fn a_package_without_a_wheel_names_interpreters_and_its_replacement() {
    let Some(mut config) = machine("a_package_without_a_wheel_names_interpreters_and_its_replacement") else {
        return;
    };
    config.no_builds = true;
    let version = config.interpreter.version.clone();
    let bench = Bench::shared(config);
    let reported = bench.run(&python("psycopg2", "1")).await;
    let reported = reported.failed(FailureKind::NoWheel).to_string();
    for part in [
        format!("no wheel for cpython {version} on linux"),
        "write `psycopg2-binary` instead of `psycopg2`".to_owned(),
        format!("no version of psycopg2 has a wheel for Python {version}"),
    ] {
        assert!(reported.contains(&part), "{part}: {reported}");
    }
}
