//! What another service on the same folder does with the tasks of the one before it.

use std::sync::atomic::Ordering;
use std::time::Duration;

use hybrid_cache_model::outcome::FailureKind;
use hybrid_cache_service::EndName;
use hybrid_cache_service::{CancelAnswer, Follow, ServiceError, StateName};

use crate::bench::{Bench, read_all, until};
use crate::scripted::Scripted;

#[tokio::test]
async fn tasks_that_outlive_the_service_are_adopted_by_the_next() {
    let bench = Bench::with(Scripted::independent(), |config| config.concurrency = 1).await;
    let running = bench.start("print one\nsleep 300\nprint two").await;
    let queued = bench.start("print queued").await;
    bench.reaches(&running, StateName::Running).await;
    until("the first line is kept", || async {
        let kept = read_all(&bench.engine, &running, 0, Follow::Stored).await;
        (kept == b"one\n").then_some(())
    })
    .await;
    let report = bench.engine.shutdown(Duration::from_secs(30)).await;
    assert_eq!((report.finished, report.handed_over, report.stopped), (0, 1, 0));
    assert!(matches!(
        bench.engine.run(&queued).await,
        Err(ServiceError::ShuttingDown)
    ));
    assert!(!bench.engine.ready().await.ready);
    let bench = bench.reopen().await;
    let ended = bench.reaches(&running, StateName::Ended).await;
    // Output that was stored before is not stored twice.
    assert_eq!(ended.output.stdout, "one\ntwo\n");
    bench.reaches(&queued, StateName::Ended).await;
    for id in [running, queued] {
        assert_eq!(bench.driver.times_started(id.as_str()), 1);
    }
}

#[tokio::test]
async fn tasks_that_die_with_the_service_get_time_and_report_if_they_do_not_end() {
    let bench = Bench::with(Scripted::with_process(), |config| config.concurrency = 2).await;
    let quick = bench.start("sleep 100\nprint done").await;
    let slow = bench.start("print begun\nhold").await;
    let queued = bench.start("exit 0").await;
    bench.reaches(&quick, StateName::Running).await;
    bench.reaches(&slow, StateName::Running).await;
    let report = bench.engine.shutdown(Duration::from_millis(500)).await;
    assert_eq!((report.finished, report.handed_over, report.stopped), (1, 0, 1));
    let bench = bench.reopen().await;
    assert_eq!(bench.reaches(&quick, StateName::Ended).await.output.stdout, "done\n");
    let slow = bench.reaches(&slow, StateName::Ended).await;
    assert_eq!(slow.failure.unwrap().kind, FailureKind::Evicted);
    assert_eq!(slow.output.stdout, "begun\n");
    bench.reaches(&queued, StateName::Ended).await;
}

#[tokio::test]
async fn tasks_stay_queued_with_the_reason_while_the_driver_is_down() {
    for driver in [Scripted::independent(), Scripted::with_process()] {
        let bench = Bench::with(driver, |config| config.concurrency = 2).await;
        bench.driver.down.store(true, Ordering::SeqCst);
        let mut ids = Vec::new();
        for _ in 0..4 {
            ids.push(bench.start("exit 0").await);
        }
        until("all say why they wait", || async {
            for id in &ids {
                let summary = bench.engine.get(id).await.unwrap().summary;
                assert_eq!(summary.state, StateName::Queued);
                summary.waiting_for.filter(|why| why.contains("does not answer"))?;
            }
            Some(())
        })
        .await;
        assert!(!bench.engine.metrics().driver_up);
        let ready = bench.engine.ready().await;
        assert!(ready.ready && ready.driver.is_some());
        // Called again and again, but not by every task.
        tokio::time::sleep(Duration::from_millis(300)).await;
        let attempts = bench.driver.attempts.load(Ordering::SeqCst);
        assert!((2..60).contains(&attempts), "{attempts}");
        let last = ids.pop().unwrap();
        assert_eq!(bench.engine.cancel(&last).await.unwrap(), CancelAnswer::Cancelled);
        bench.driver.down.store(false, Ordering::SeqCst);
        for id in &ids {
            let ended = bench.reaches(id, StateName::Ended).await;
            assert_eq!(ended.summary.waiting_for, None);
            assert_eq!(bench.driver.times_started(id.as_str()), 1);
        }
        assert!(bench.engine.metrics().driver_up);
        assert_eq!(bench.driver.times_started(last.as_str()), 0);
    }
}

#[tokio::test]
async fn a_submit_whose_answer_is_lost_starts_one_task() {
    let bench = Bench::new().await;
    bench.driver.mute.store(true, Ordering::SeqCst);
    let id = bench.start("print once\nsleep 50").await;
    until("it was tried twice", || async {
        (bench.driver.attempts.load(Ordering::SeqCst) > 1).then_some(())
    })
    .await;
    bench.driver.mute.store(false, Ordering::SeqCst);
    let ended = bench.reaches(&id, StateName::Ended).await;
    assert_eq!(ended.output.stdout, "once\n");
    assert_eq!(bench.driver.times_started(id.as_str()), 1);
}

#[tokio::test]
async fn a_task_whose_submit_may_have_arrived_is_cancelled_once_that_is_known() {
    let bench = Bench::new().await;
    bench.driver.mute.store(true, Ordering::SeqCst);
    let arrived = bench.start("hold").await;
    until("it has arrived", || async {
        (bench.driver.times_started(arrived.as_str()) == 1).then_some(())
    })
    .await;
    assert_eq!(bench.engine.cancel(&arrived).await.unwrap(), CancelAnswer::Requested);
    let view = bench.reaches(&arrived, StateName::Cancelled).await;
    assert_eq!(view.summary.end, Some(EndName::Cancelled));
    bench.driver.mute.store(false, Ordering::SeqCst);
    bench.driver.down.store(true, Ordering::SeqCst);
    let never = bench.start("hold").await;
    let attempts = bench.driver.attempts.load(Ordering::SeqCst);
    until("it was tried", || async {
        (bench.driver.attempts.load(Ordering::SeqCst) > attempts).then_some(())
    })
    .await;
    assert_eq!(bench.engine.cancel(&never).await.unwrap(), CancelAnswer::Requested);
    assert!(bench.engine.get(&never).await.unwrap().summary.cancel_requested);
    bench.driver.down.store(false, Ordering::SeqCst);
    bench.reaches(&never, StateName::Cancelled).await;
    assert_eq!(bench.driver.times_started(never.as_str()), 0);
}

#[tokio::test]
async fn a_task_that_may_have_run_and_been_forgotten_is_not_run_again() {
    for by in ["a driver that went silent", "a process that ended"] {
        let bench = Bench::with(Scripted::independent(), |config| {
            config.driver_call = Duration::from_millis(50);
        })
        .await;
        *bench.driver.remembers.lock().unwrap() = Duration::from_millis(400);
        // The submit is still going on when the test sees that the task arrived.
        *bench.driver.slow.lock().unwrap() = Duration::from_millis(20);
        bench.driver.mute.store(true, Ordering::SeqCst);
        let id = bench.start("exit 0").await;
        until("it has arrived", || async {
            (bench.driver.times_started(id.as_str()) == 1).then_some(())
        })
        .await;
        bench.driver.mute.store(false, Ordering::SeqCst);
        bench.driver.down.store(true, Ordering::SeqCst);
        let bench = match by {
            "a process that ended" => {
                bench.engine.shutdown(Duration::ZERO).await;
                tokio::time::sleep(Duration::from_millis(400)).await;
                bench.reopen().await
            }
            _ => bench,
        };
        // It has ended, and the cluster has cleared it away.
        bench.driver.forget_all();
        let ended = bench.reaches(&id, StateName::Ended).await;
        let failure = ended.failure.expect("a failure");
        assert!(failure.message.contains("its record expired"), "{by}: {failure:?}");
        bench.driver.down.store(false, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!(bench.driver.times_started(id.as_str()), 1, "{by}");
    }
}

#[tokio::test]
async fn a_running_task_is_found_however_long_ago_it_started() {
    let bench = Bench::with(Scripted::independent(), |config| {
        config.driver_call = Duration::from_millis(50);
    })
    .await;
    *bench.driver.remembers.lock().unwrap() = Duration::from_millis(150);
    bench.driver.mute.store(true, Ordering::SeqCst);
    let id = bench.start("print begun\nsleep 600\nprint done").await;
    until("it has arrived", || async {
        (bench.driver.times_started(id.as_str()) == 1).then_some(())
    })
    .await;
    bench.driver.down.store(true, Ordering::SeqCst);
    bench.engine.shutdown(Duration::ZERO).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    let bench = bench.reopen().await;
    let ended = bench.reaches(&id, StateName::Ended).await;
    assert_eq!(ended.output.stdout, "begun\ndone\n");
    assert_eq!(bench.driver.times_started(id.as_str()), 1);
}

#[tokio::test]
async fn a_task_that_was_certainly_not_started_waits_as_long_as_needed() {
    let bench = Bench::with(Scripted::independent(), |config| {
        config.driver_call = Duration::from_millis(20);
    })
    .await;
    *bench.driver.remembers.lock().unwrap() = Duration::from_millis(100);
    bench.driver.away.store(true, Ordering::SeqCst);
    let id = bench.start("exit 0").await;
    tokio::time::sleep(Duration::from_millis(400)).await;
    let summary = bench.engine.get(&id).await.unwrap().summary;
    assert_eq!(summary.state, StateName::Queued);
    assert!(summary.waiting_for.is_some_and(|why| why.contains("does not answer")));
    bench.driver.away.store(false, Ordering::SeqCst);
    bench.reaches(&id, StateName::Ended).await;
    assert_eq!(bench.driver.times_started(id.as_str()), 1);
}

#[tokio::test]
async fn a_cancel_is_not_forgotten_by_a_restart() {
    let bench = Bench::new().await;
    let id = bench.start("hold").await;
    bench.reaches(&id, StateName::Running).await;
    bench.driver.down.store(true, Ordering::SeqCst);
    assert_eq!(bench.engine.cancel(&id).await.unwrap(), CancelAnswer::Requested);
    bench.engine.shutdown(Duration::ZERO).await;
    let bench = bench.reopen().await;
    assert!(bench.engine.get(&id).await.unwrap().summary.cancel_requested);
    bench.driver.down.store(false, Ordering::SeqCst);
    bench.reaches(&id, StateName::Cancelled).await;
}

#[tokio::test]
async fn a_lost_connection_to_the_driver_loses_no_output() {
    let bench = Bench::new().await;
    let id = bench
        .start("print one\nsleep 100\nerr two\nsleep 100\nprint three")
        .await;
    for kept in ["one\n", "one\ntwo\n"] {
        until("a line is kept", || async {
            let all = read_all(&bench.engine, &id, 0, Follow::Stored).await;
            (all == kept.as_bytes()).then_some(())
        })
        .await;
        bench.driver.blink();
    }
    let all = read_all(&bench.engine, &id, 0, Follow::UntilEnd).await;
    assert_eq!(String::from_utf8(all).unwrap(), "one\ntwo\nthree\n");
    assert_eq!(bench.reaches(&id, StateName::Ended).await.warnings, [""; 0]);
}

#[tokio::test]
async fn a_running_task_shows_that_its_driver_does_not_answer() {
    let bench = Bench::new().await;
    let id = bench.start("sleep 50").await;
    bench.driver.deaf.store(true, Ordering::SeqCst);
    bench.engine.shutdown(Duration::ZERO).await;
    let bench = bench.reopen().await;
    until("it says so", || async {
        bench.engine.get(&id).await.unwrap().summary.waiting_for
    })
    .await;
    bench.driver.deaf.store(false, Ordering::SeqCst);
    assert_eq!(bench.reaches(&id, StateName::Ended).await.summary.waiting_for, None);
}

#[tokio::test]
async fn a_task_that_is_seen_again_no_longer_shows_a_reason_to_wait() {
    let bench = Bench::with(Scripted::independent(), |config| {
        config.driver_call = Duration::from_millis(50);
    })
    .await;
    let id = bench.start("hold").await;
    bench.reaches(&id, StateName::Running).await;
    let waits = || async { bench.engine.get(&id).await.unwrap().summary.waiting_for };
    bench.driver.deaf.store(true, Ordering::SeqCst);
    bench.driver.blink();
    until("it says so", waits).await;
    bench.driver.deaf.store(false, Ordering::SeqCst);
    until("it says so no more", || async { waits().await.is_none().then_some(()) }).await;
    assert_eq!(bench.engine.get(&id).await.unwrap().summary.state, StateName::Running);
    bench.engine.cancel(&id).await.unwrap();
    bench.reaches(&id, StateName::Cancelled).await;
}

#[tokio::test]
async fn a_driver_of_another_name_adopts_nothing() {
    let bench = Bench::new().await;
    let id = bench.start("hold").await;
    bench.reaches(&id, StateName::Running).await;
    bench.engine.shutdown(Duration::ZERO).await;
    let Bench { engine, root, .. } = bench;
    drop(engine);
    let driver = std::sync::Arc::new(crate::cluster::Cluster::open(&root.path().join("cluster")));
    let config = crate::bench::config(root.path());
    let engine = until("the folder is let go of", || async {
        let driver = std::sync::Arc::clone(&driver) as std::sync::Arc<dyn hybrid_cache_driver::Driver>;
        hybrid_cache_service::Engine::open(config.clone(), driver).await.ok()
    })
    .await;
    let view = engine.get(&id).await.unwrap();
    assert!(view.failure.unwrap().message.contains("another driver"));
}
