//! How a program ends, and that the outcome reports it as the program's own end.

use std::time::{Duration, Instant};

use hybrid_cache_driver::{Driver, SubmitOptions};
use hybrid_cache_model::protocol::Limits;
use hybrid_cache_model::{CacheStatus, End, TaskSpec};

use crate::bench::{Bench, machine};
use crate::roles::until;

fn within(time_ms: u64) -> SubmitOptions {
    let limits = Limits {
        time_ms,
        ..Limits::default()
    };
    SubmitOptions {
        limits,
        ..SubmitOptions::default()
    }
}

/// A driver whose tasks carry a variable of their own, by which their processes are found on this machine.
fn marked(config: hybrid_cache_driver::local::LocalConfig, mark: &str) -> Bench {
    let value = format!("{mark}-{}", std::process::id());
    Bench::shared(config).with(|config| config.task_variables.push(("E2E_MARK".to_owned(), value)))
}

/// How many processes on this machine carry the mark.
fn alive(bench: &Bench) -> usize {
    let (name, value) = bench.config.task_variables.last().unwrap();
    let wanted = format!("{name}={value}");
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let environments = processes.filter_map(|process| std::fs::read(process.path().join("environ")).ok());
    let carries = |text: &Vec<u8>| text.split(|byte| *byte == 0).any(|one| one == wanted.as_bytes());
    environments.filter(carries).count()
}

#[tokio::test]
async fn exit_codes_and_signals_are_the_programs() {
    let Some(config) = machine("exit_codes_and_signals_are_the_programs") else {
        return;
    };
    let bench = Bench::shared(config);
    // 70 and 75 are the runner's own for other things.
    for code in [0, 1, 7, 70, 75, 255] {
        let ran = bench
            .run(&TaskSpec::new(format!("import sys; print('x'); sys.exit({code})")))
            .await;
        assert_eq!((ran.outcome.end, ran.stdout.as_str()), (End::Exited { code }, "x\n"));
        assert_eq!(ran.outcome.cache.python, CacheStatus::NotAsked);
    }
    for signal in [9, 11, 15] {
        let ran = bench
            .run(&TaskSpec::new(format!("import os; os.kill(os.getpid(), {signal})")))
            .await;
        assert_eq!(ran.outcome.end, End::Signaled { signal });
    }
    let ran = bench.run(&TaskSpec::new("print('so far')\n1 / 0")).await;
    assert_eq!(
        (ran.outcome.end, ran.stdout.as_str()),
        (End::Exited { code: 1 }, "so far\n")
    );
    assert!(
        ran.stderr.contains("main.py\", line 2") && ran.stderr.contains("ZeroDivisionError"),
        "{}",
        ran.stderr
    );
    let ran = bench.run(&TaskSpec::new("this is no Python")).await;
    assert!(ran.outcome.end == End::Exited { code: 1 } && ran.stderr.contains("SyntaxError"));
}

#[tokio::test]
async fn a_time_limit_ends_the_program_and_keeps_what_it_printed() {
    let Some(config) = machine("a_time_limit_ends_the_program_and_keeps_what_it_printed") else {
        return;
    };
    let bench = marked(config, "limit");
    let code = "import time; print('begun')\nwhile True:\n    try: time.sleep(60)\n    except BaseException: pass";
    let began = Instant::now();
    let mut options = within(700);
    options.limits.grace_ms = 1000;
    let ran = bench.run_with(&TaskSpec::new(code), &options).await;
    assert_eq!(
        (ran.outcome.end, ran.stdout.as_str()),
        (End::TimedOut { limit_ms: 700 }, "begun\n")
    );
    assert!(began.elapsed() < Duration::from_secs(10));
    until("the program is gone", || alive(&bench) == 0).await;
    let code = "import time\ntry: time.sleep(60)\nfinally: print('cleaned up')";
    let ran = bench.run_with(&TaskSpec::new(code), &within(2000)).await;
    assert_eq!(
        (ran.outcome.end, ran.stdout.as_str()),
        (End::TimedOut { limit_ms: 2000 }, "cleaned up\n")
    );
}

#[tokio::test]
async fn a_cancelled_program_cleans_up_unless_it_takes_too_long() {
    let Some(config) = machine("a_cancelled_program_cleans_up_unless_it_takes_too_long") else {
        return;
    };
    let bench = marked(config, "told");
    let code = "import time\ntry: print('begun'); time.sleep(600)\nfinally: print('cleaned up')";
    let ticket = bench.submit(&TaskSpec::new(code)).await;
    bench.until_printed(&ticket, "begun").await;
    bench.driver.cancel(&ticket).await.unwrap();
    let ran = bench.finish(&ticket).await;
    assert_eq!(
        (ran.outcome.end, ran.stdout.as_str()),
        (End::Cancelled, "begun\ncleaned up\n")
    );
    let code = "import signal, time\nsignal.signal(15, signal.SIG_IGN)\nprint('begun')\ntime.sleep(600)";
    let mut options = within(60_000);
    options.limits.grace_ms = 500;
    let ticket = bench.driver.submit(&TaskSpec::new(code), &options).await.unwrap();
    bench.until_printed(&ticket, "begun").await;
    let asked = Instant::now();
    bench.driver.cancel(&ticket).await.unwrap();
    let ran = bench.finish(&ticket).await;
    assert_eq!((ran.outcome.end, ran.stdout.as_str()), (End::Cancelled, "begun\n"));
    assert!(asked.elapsed() >= Duration::from_millis(500) && asked.elapsed() < Duration::from_secs(10));
    until("the task's processes are gone", || alive(&bench) == 0).await;
}

#[tokio::test]
async fn cancelling_ends_all_of_the_task() {
    let Some(config) = machine("cancelling_ends_all_of_the_task") else {
        return;
    };
    let bench = marked(config, "cancel");
    let code = "import subprocess, time\nfor _ in range(3): subprocess.Popen(['sleep', '600'], start_new_session=True)\n\
                print('begun')\ntime.sleep(600)";
    let ticket = bench.submit(&TaskSpec::new(code)).await;
    bench.until_printed(&ticket, "begun").await;
    // On a busy machine a child may be counted a moment before or after its own exec.
    until("the task and its three children run", || alive(&bench) == 4).await;
    bench.driver.cancel(&ticket).await.unwrap();
    let ran = bench.finish(&ticket).await;
    assert_eq!((ran.outcome.end, ran.stdout.as_str()), (End::Cancelled, "begun\n"));
    until("the task's processes are gone", || alive(&bench) == 0).await;
    // Once more does no harm, and what is forgotten is unknown.
    bench.driver.cancel(&ticket).await.unwrap();
    bench.driver.forget(&ticket);
    assert!(bench.driver.cancel(&ticket).await.is_err() && bench.driver.logs(&ticket).is_err());
}

#[tokio::test]
async fn processes_that_a_program_leaves_running_block_nothing() {
    let Some(config) = machine("processes_that_a_program_leaves_running_block_nothing") else {
        return;
    };
    let bench = marked(config, "background");
    let code = "import subprocess\nsubprocess.Popen('(sleep 600 &) ; sleep 600', shell=True, start_new_session=True)\nprint('done')";
    let began = Instant::now();
    let ran = bench.run(&TaskSpec::new(code)).await;
    assert_eq!(ran.good(), "done");
    assert!(began.elapsed() < Duration::from_secs(10));
    until("what was left behind is gone", || alive(&bench) == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fork_bomb_is_bounded_while_another_task_runs_fine() {
    let Some(config) = machine("a_fork_bomb_is_bounded_while_another_task_runs_fine") else {
        return;
    };
    let bench = marked(config, "bomb");
    let code = "import os, time\nprint('lit')\nwhile True:\n    try: os.fork()\n    except OSError: time.sleep(0.01)";
    let mut options = within(20_000);
    options.limits.processes = 64;
    let bomb = bench.driver.submit(&TaskSpec::new(code), &options).await.unwrap();
    bench.until_printed(&bomb, "lit").await;
    until("the bomb has grown", || alive(&bench) >= 32).await;
    let fine = "import subprocess; print(subprocess.run(['echo', 'fine'], capture_output=True, text=True).stdout)";
    let other = Bench::shared(bench.config.clone()).with(|config| config.task_variables.clear());
    assert_eq!(other.run_with(&TaskSpec::new(fine), &options).await.good(), "fine");
    let at_once = alive(&bench);
    assert!((32..=64).contains(&at_once), "{at_once} processes");
    bench.driver.cancel(&bomb).await.unwrap();
    assert_eq!(bench.finish(&bomb).await.outcome.end, End::Cancelled);
    until("the bomb is gone", || alive(&bench) == 0).await;
}
