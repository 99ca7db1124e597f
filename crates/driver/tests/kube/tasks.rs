//! Tasks that end well: code alone, first and cached runs of both kinds of packages, without the cache.

#[path = "../shared/programs.rs"]
mod shared;

use hybrid_cache_driver::local::sandbox::basic_tools;
use hybrid_cache_driver::log::Stream;
use hybrid_cache_driver::{Driver, Epoch};
use hybrid_cache_model::{CacheStatus, Lane, Phase, TaskSpec, Timeline};

use super::bench::{self, on, options, run, spec, within};

/// Checks that a timeline is whole: it adds up, and what is not explained is small.
pub fn check_timeline(timeline: &Timeline, runner_us: u64) {
    let path = timeline.critical_path();
    assert_eq!(path.iter().map(|(_, us)| us).sum::<u64>(), timeline.total_us);
    let unattributed: u64 = path.iter().filter(|(phase, _)| phase.is_none()).map(|(_, us)| us).sum();
    assert!(unattributed * 10 < timeline.total_us, "{path:?}");
    assert!(
        runner_us > 0 && runner_us < timeline.total_us,
        "{runner_us} {timeline:?}"
    );
    for phase in [Phase::Submit, Phase::UserCode] {
        assert!(timeline.phase_us(phase) > 0, "{phase:?} of {timeline:?}");
    }
    // On a busy machine the watch may deliver "scheduled" and "running" together.
    let has_sandbox = timeline.spans.iter().any(|span| span.phase == Phase::Sandbox);
    assert!(has_sandbox, "{timeline:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn code_alone_needs_no_volume_and_its_output_is_complete_when_it_has_ended() {
    let Some(bench) = bench::cluster("code_alone").await else {
        return;
    };
    let driver = bench.driver().await;
    let ran = run(
        &driver,
        &TaskSpec::new("import sys\nfor i in range(20000): print(i)\nsys.exit(3)"),
        &options(),
    )
    .await;
    let expected: String = (0..20000).map(|i| format!("{i}\n")).collect();
    assert_eq!(ran.outcome.end, hybrid_cache_model::End::Exited { code: 3 });
    assert_eq!(ran.stdout, expected);
    assert_eq!(ran.outcome.cache.python, CacheStatus::NotAsked);
    check_timeline(&ran.outcome.timeline, ran.outcome.runner_us);
}

#[tokio::test(flavor = "multi_thread")]
async fn console_scripts_run_in_a_pod_from_staging_and_from_the_cache() {
    let Some(bench) = bench::cluster("console_scripts").await else {
        return;
    };
    let driver = bench.driver().await;
    // A `python` in the current folder must not run in the place of the environment's.
    let code = "import os, subprocess\nopen('python', 'w').write('#!/bin/sh\\necho stranger\\n')\n\
                os.chmod('python', 0o755)\n\
                print(subprocess.run(['black', '--version'], capture_output=True, text=True, check=True).stdout)";
    for run_of in ["first", "cached"] {
        let ran = run(&driver, &spec(code, "black", ""), &options()).await;
        assert_eq!(
            ran.outcome.end,
            hybrid_cache_model::End::Exited { code: 0 },
            "{run_of}: {}",
            ran.stdout
        );
        assert!(ran.stdout.starts_with("black, "), "{run_of}: {}", ran.stdout);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_host_name_the_time_zone_and_the_streams_are_as_on_an_ordinary_machine() {
    let Some(bench) = bench::cluster("what_an_ordinary_machine_has").await else {
        return;
    };
    let task = spec(shared::EXPECTS_A_MACHINE, "tzlocal", "");
    let ran = run(&bench.driver().await, &task, &options()).await;
    // Of the two streams nothing but their own order is promised.
    let lines: Vec<&str> = ran.stdout.lines().filter(|line| *line != "the other too").collect();
    assert_eq!(lines, [&["Etc/UTC"][..], &shared::MACHINE_LINES].concat());
}

#[tokio::test(flavor = "multi_thread")]
async fn scripts_find_the_same_basic_tools_as_on_a_machine() {
    let Some(bench) = bench::cluster("scripts_find_the_basic_tools").await else {
        return;
    };
    let task = TaskSpec::new(shared::USES_BASIC_TOOLS);
    let ran = run(&bench.driver().await, &task, &options()).await;
    let mut expected: Vec<&str> = basic_tools().collect();
    expected.sort_unstable();
    ran.printed(&format!("{}\n", expected.join(" ")));
}

#[tokio::test(flavor = "multi_thread")]
async fn user_code_in_a_pod_is_told_of_the_machines_certificates() {
    let Some(bench) = bench::cluster("user_code_is_told_of_certificates").await else {
        return;
    };
    let code = "import os, requests, ssl\n\
                file = os.environ['REQUESTS_CA_BUNDLE']\n\
                assert os.environ['SSL_CERT_FILE'] == os.environ['CURL_CA_BUNDLE'] == file\n\
                own = requests.Session().merge_environment_settings('https://x', {}, None, None, None)['verify']\n\
                print(own == file, ssl.create_default_context(cafile=file).cert_store_stats()['x509_ca'] > 0)";
    let ran = run(&bench.driver().await, &spec(code, "requests", ""), &options()).await;
    ran.printed("True True\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn output_without_a_last_newline_and_standard_error_arrive() {
    let Some(bench) = bench::cluster("output_without_a_last_newline").await else {
        return;
    };
    let driver = bench.driver().await;
    let code = "import sys\nsys.stderr.write('to stderr\\n')\nsys.stderr.flush()\nprint('x' * 70000, end='')";
    let ticket = driver.submit(&TaskSpec::new(code), &options()).await.unwrap();
    let ran = bench::wait(&driver, &ticket).await;
    let stderr = driver.logs(&ticket).unwrap().collect(Stream::Stderr);
    let stderr = String::from_utf8_lossy(&stderr);
    let long = "x".repeat(70_000);
    if stderr.is_empty() {
        // Kubernetes joins the two unless its feature PodLogsQuerySplitStreams is on; by lines, in either order.
        println!("this cluster does not tell the streams apart");
        assert!(
            ran.stdout.contains("to stderr\n") && ran.stdout.contains(&long),
            "{}",
            ran.stdout
        );
        assert_eq!(ran.stdout.len(), long.len() + "to stderr\n".len());
    } else {
        assert_eq!(stderr, "to stderr\n");
        assert_eq!(ran.stdout, long);
    }
    assert_eq!(ran.outcome.warnings, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_run_fills_the_caches_and_the_next_one_hits_with_one_container() {
    let Some(bench) = bench::cluster("a_first_run_fills_the_caches").await else {
        return;
    };
    let driver = bench.driver().await;
    let epoch = within(driver.fresh_epoch()).await.unwrap();
    let task = spec("import numpy; print(int(numpy.arange(4).sum()))", "numpy", "");
    let ticket = driver.submit(&task, &on(&epoch)).await.unwrap();
    let first = bench::wait(&driver, &ticket).await;
    first.printed("6\n");
    assert!(
        matches!(first.outcome.cache.python, CacheStatus::Built { .. }),
        "{:?}",
        first.outcome.cache
    );
    assert!(first.outcome.timeline.phase_us(Phase::PythonInstall) > 0);
    check_timeline(&first.outcome.timeline, first.outcome.runner_us);
    let settled = within(driver.settle(&ticket)).await.unwrap();
    let published = settled.timeline.spans.iter().filter(|span| span.lane == Lane::Publish);
    assert!(published.count() > 0, "{:?}", settled.timeline);
    assert_eq!(settled.not_kept, None);
    let cached = run(&driver, &task, &on(&epoch)).await;
    cached.printed("6\n");
    assert_eq!(cached.outcome.cache.python, CacheStatus::Hit);
    check_timeline(&cached.outcome.timeline, cached.outcome.runner_us);
    within(driver.discard_epoch(&epoch)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn system_packages_are_there_and_a_driver_that_knows_nothing_finds_them() {
    let Some(bench) = bench::cluster("system_packages_are_there").await else {
        return;
    };
    let driver = bench.driver().await;
    let epoch = within(driver.fresh_epoch()).await.unwrap();
    let code =
        "import subprocess; print(subprocess.run(['make', '--version'], capture_output=True).stdout[:8].decode())";
    let task = spec(code, "", "make");
    let ticket = driver.submit(&task, &on(&epoch)).await.unwrap();
    bench::wait(&driver, &ticket).await.printed("GNU Make\n");
    let settled = within(driver.settle(&ticket)).await.unwrap();
    assert!(matches!(settled.cache.system, CacheStatus::Built { .. }), "{settled:?}");
    let other = bench.driver().await;
    let cached = run(&other, &task, &on(&epoch)).await;
    cached.printed("GNU Make\n");
    assert_eq!(cached.outcome.cache.system, CacheStatus::Hit);
    within(driver.discard_epoch(&epoch)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_without_the_cache_says_so_and_leaves_the_caches_alone() {
    let Some(bench) = bench::cluster("a_run_without_the_cache").await else {
        return;
    };
    let driver = bench.driver().await;
    let mut task = spec("import six; print(six.__name__)", "six", "");
    task.use_cache = false;
    let ran = run(&driver, &task, &options()).await;
    ran.printed("six\n");
    assert_eq!(ran.outcome.cache.python, CacheStatus::Bypassed);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_warm_pod_that_misses_is_followed_by_a_prepared_one() {
    let Some(bench) = bench::cluster("a_warm_pod_that_misses").await else {
        return;
    };
    let driver = bench.driver().await;
    let epoch = within(driver.fresh_epoch()).await.unwrap();
    let Epoch::Fresh(name) = &epoch else {
        panic!("{epoch:?}")
    };
    let task = spec("import six; print(six.__name__)", "six", "");
    let ticket = driver.submit(&task, &on(&epoch)).await.unwrap();
    within(driver.settle(&ticket)).await.unwrap();
    // Somebody empties the caches that the driver believes to be warm.
    for question in [
        hybrid_cache_model::pod::PodMaintenanceCommand::DeleteEpoch { epoch: name.clone() },
        hybrid_cache_model::pod::PodMaintenanceCommand::CreateEpoch {
            epoch: Some(name.clone()),
            tenant: Default::default(),
        },
    ] {
        within(driver.maintain(&Epoch::Standing, question)).await.unwrap();
    }
    let ran = run(&driver, &task, &on(&epoch)).await;
    ran.printed("six\n");
    assert!(
        matches!(ran.outcome.cache.python, CacheStatus::Built { .. }),
        "{:?}",
        ran.outcome
    );
    let submits = ran
        .outcome
        .timeline
        .spans
        .iter()
        .filter(|span| span.phase == Phase::Submit);
    assert_eq!(submits.count(), 2);
    within(driver.discard_epoch(&epoch)).await.unwrap();
}

/// In a prepared pod and in a warm one.
#[tokio::test(flavor = "multi_thread")]
async fn arguments_variables_input_and_a_time_limit_reach_a_program_in_a_pod() {
    let Some(bench) = bench::cluster("program_fields").await else {
        return;
    };
    let driver = bench.driver().await;
    // The program names its package itself, so preparing must read that, too.
    let code = "# /// script\n# dependencies = [\"idna\"]\n# ///\nimport os, sys, idna\n\
                print(sys.argv[1:], os.environ['OPEN'], os.environ['TOKEN'], sys.stdin.read())";
    for word in ["first", "cached"] {
        let mut spec = TaskSpec::new(code);
        spec.args = vec![word.to_owned(), "--flag".to_owned()];
        spec.stdin = "typed".to_owned();
        spec.env.insert("OPEN".to_owned(), word.to_owned());
        spec.secret_env.insert("TOKEN", "hush");
        spec.labels.insert("example.org/team".to_owned(), "blue".to_owned());
        let ran = run(&driver, &spec, &options()).await;
        assert_eq!(
            ran.stdout,
            format!("['{word}', '--flag'] {word} hush typed\n"),
            "{:?}",
            ran.outcome
        );
    }
    let mut slow = TaskSpec::new("import time; time.sleep(600)");
    slow.timeout_seconds = Some(2);
    let ran = run(&driver, &slow, &options()).await;
    assert_eq!(ran.outcome.end, hybrid_cache_model::End::TimedOut { limit_ms: 2000 });
}
