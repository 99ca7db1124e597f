//! Runs with a Python volume: hits, stale environments, and leases.

#![expect(clippy::unwrap_used, reason = "a test may panic, in its helpers as well")]

#[expect(dead_code, reason = "each test binary uses its own part of the harness")]
mod run_harness;

use std::path::Path;
use std::time::Duration;

use hybrid_cache_model::protocol::{EXIT_MISSED, Environments, Missed, RunReport};
use hybrid_cache_model::{CacheReport, CacheStatus, End, PythonRequest, RequestKey, Resolved};
use hybrid_cache_runner::store::lock::{Missing, Mode, attempt};
use run_harness::Case;

/// A case with a handmade published environment.
fn with_environment(code: &str) -> Case {
    let case = Case::new(code).change(|request| request.task.dependencies = "numpy".to_owned());
    let root = Path::new(&case.request.context.volumes.python).join("tenants/default");
    let environment = root.join("envs/e");
    std::fs::create_dir_all(environment.join("venv/bin")).unwrap();
    std::fs::create_dir_all(root.join("requests")).unwrap();
    std::os::unix::fs::symlink(run_harness::interpreter(), environment.join("venv/bin/python")).unwrap();
    std::fs::write(root.join("FORMAT"), "hybrid-cache python 2\n").unwrap();
    std::fs::write(environment.join(".lease"), "").unwrap();
    std::fs::write(environment.join("lock.txt"), "numpy==2.4.1\n").unwrap();
    std::fs::write(environment.join("manifest.json"), "{}").unwrap();
    let task = case.request.task.check().unwrap();
    let key = RequestKey::new(&PythonRequest::of(&task, &case.request.context));
    std::os::unix::fs::symlink("../envs/e", root.join("requests").join(key.as_str())).unwrap();
    case
}

#[test]
fn a_hit_runs_in_the_environment_and_reports_its_pins() {
    let case = with_environment("import os\nprint(os.environ['VIRTUAL_ENV'], os.environ['PATH'])");
    let ran = case.run();
    let environment = format!("{}/tenants/default/envs/e/venv", case.request.context.volumes.python);
    assert_eq!(
        ran.text(),
        format!("{environment} {environment}/bin:/usr/bin:/bin"),
        "{}",
        ran.stderr
    );
    let Some(RunReport::Finished { cache, resolved, .. }) = ran.report else {
        panic!("{:?}", ran.report)
    };
    assert_eq!(cache.python, CacheStatus::Hit);
    assert_eq!(resolved.python, ["numpy==2.4.1"]);
}

#[test]
fn a_stale_environment_is_a_miss_unless_it_is_accepted() {
    let case = with_environment("print('ran')").change(|request| request.context.max_age_s = 0);
    std::thread::sleep(Duration::from_millis(30));
    let ran = case.run();
    let expected = Missed {
        python: false,
        python_stale: true,
        system: false,
    };
    assert!(
        matches!(ran.report, Some(RunReport::Missed { missed, .. }) if missed == expected),
        "{:?}",
        ran.report
    );
    assert_eq!((ran.code, ran.text().as_str()), (EXIT_MISSED, ""));
    let ran = case.change(|request| request.accept_stale = true).run();
    assert_eq!(ran.text(), "ran");
    assert!(ran.warnings().contains("could not be reached"), "{}", ran.warnings());
}

#[test]
fn a_prepared_environment_does_not_run_without_its_lease() {
    let case = with_environment("print('ran')").change(|request| {
        let environment = format!("{}/tenants/default/envs/e", request.context.volumes.python);
        request.environments = Environments::Prepared {
            python: Some(environment),
            system: Vec::new(),
            cache: CacheReport {
                python: CacheStatus::Hit,
                system: CacheStatus::NotAsked,
            },
            resolved: Resolved::default(),
        };
    });
    let environment = Path::new(&case.request.context.volumes.python).join("tenants/default/envs/e");
    let evictor = attempt(&environment.join(".lease"), Mode::Exclusive, Missing::Absent).unwrap();
    let ran = case.run();
    assert_eq!((ran.code, ran.text().as_str()), (EXIT_MISSED, ""), "{:?}", ran.report);
    drop(evictor);
    assert_eq!(case.run().text(), "ran");
    std::fs::rename(&environment, environment.with_file_name("gone")).unwrap();
    assert_eq!(case.run().code, EXIT_MISSED);
}

#[test]
fn the_lease_is_held_until_the_program_has_ended() {
    let case = with_environment("print('up', flush=True)\nimport time\ntime.sleep(1)");
    let lease = Path::new(&case.request.context.volumes.python).join("tenants/default/envs/e/.lease");
    let mut running = case.start();
    let mut up = [0; 3];
    std::io::Read::read_exact(running.child.stdout.as_mut().unwrap(), &mut up).unwrap();
    assert!(attempt(&lease, Mode::Exclusive, Missing::Absent).unwrap().is_none());
    assert_eq!(*running.finish().end(), End::Exited { code: 0 });
    assert!(attempt(&lease, Mode::Exclusive, Missing::Absent).unwrap().is_some());
}
