//! A task's own `resources` on this machine: memory and disk are bounds, CPU is a number of threads, and no cache key has them.

use hybrid_cache_driver::local::memory_limit_lacking;
use hybrid_cache_driver::{Driver, DriverError, SubmitOptions};
use hybrid_cache_model::{CacheStatus, End, TaskResources, TaskSpec};

use crate::bench::{Bench, machine, python};

fn asking(cpu: &str, memory: &str, disk: &str, code: &str) -> TaskSpec {
    let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    TaskSpec {
        resources: TaskResources {
            cpu: some(cpu),
            memory: some(memory),
            disk: some(disk),
        },
        ..TaskSpec::new(code)
    }
}

#[tokio::test]
async fn a_tasks_own_memory_limit_ends_it_and_the_field_is_named() {
    let test = "a_tasks_own_memory_limit_ends_it_and_the_field_is_named";
    let Some(config) = machine(test) else { return };
    if let Some(why) = memory_limit_lacking() {
        println!("skipped: {test}: {why}");
        return;
    }
    let bench = Bench::shared(config);
    let code = "held = bytearray()\nfor _ in range(2048): held += bytes(1 << 20)";
    let ran = bench.run(&asking("", "128Mi", "", code)).await;
    assert_eq!(ran.outcome.end, End::Signaled { signal: 9 });
    let warnings = ran.outcome.warnings.join("\n");
    assert!(
        warnings.contains("more memory than the limit of 128 MiB") && warnings.contains("`resources.memory`"),
        "{warnings}"
    );
}

#[tokio::test]
async fn disk_bounds_tmp_and_cpu_sets_threads_with_a_warning() {
    let Some(config) = machine("disk_bounds_tmp_and_cpu_sets_threads_with_a_warning") else {
        return;
    };
    let bench = Bench::shared(config);
    let code = "import errno\n\
                try:\n    \
                    with open('/tmp/x', 'wb', 0) as file:\n        \
                        for _ in range(64): file.write(bytes(1 << 20))\n\
                except OSError as error: print(errno.errorcode[error.errno])";
    let ran = bench.run(&asking("", "", "32Mi", code)).await;
    assert!(ran.good().starts_with("ENOSPC"), "{}", ran.good());
    assert_eq!(ran.outcome.warnings, Vec::<String>::new());
    let mut options = SubmitOptions::default();
    options.limits.threads = 8;
    let spec = asking("2500m", "", "", "import os; print(os.environ['OMP_NUM_THREADS'])");
    let ran = bench.run_with(&spec, &options).await;
    assert_eq!(ran.good(), "3");
    let warnings = ran.outcome.warnings.join("\n");
    assert!(
        warnings.contains("`resources.cpu` of 2500m is not enforced"),
        "{warnings}"
    );
}

#[tokio::test]
async fn more_than_the_limits_is_refused_before_anything_starts() {
    let Some(config) = machine("more_than_the_limits_is_refused_before_anything_starts") else {
        return;
    };
    let bench = Bench::shared(config);
    let mut options = SubmitOptions::default();
    options.limits.memory_bytes = 256 << 20;
    let submitted = bench
        .driver
        .submit(&asking("64", "257Mi", "2Gi", "print(1)"), &options)
        .await;
    let Err(DriverError::Invalid(errors)) = submitted else {
        panic!("{submitted:?}")
    };
    let reported = errors.to_string();
    for part in [
        "2 errors",
        "/resources/memory",
        "`256Mi`",
        "--memory",
        "/resources/disk",
        "--tmp-size",
    ] {
        assert!(reported.contains(part), "{part}: {reported}");
    }
    // Without a limit of the operator a task may ask for any amount of memory.
    let any = asking("", "64Gi", "1Gi", "print(1)");
    assert_eq!(
        bench.driver.check_limits(&any, &SubmitOptions::default().limits),
        Ok(())
    );
}

#[tokio::test]
async fn tasks_with_other_resources_share_one_environment() {
    let Some(config) = machine("tasks_with_other_resources_share_one_environment") else {
        return;
    };
    let bench = Bench::empty(config);
    let plain = python("six", "import six; print(six.__name__)");
    bench.run(&plain).await.good();
    let asked = TaskSpec {
        resources: asking("2", "512Mi", "64Mi", "1").resources,
        ..plain
    };
    let ran = bench.run(&asked).await;
    assert_eq!((ran.good(), ran.python()), ("six", CacheStatus::Hit));
}
