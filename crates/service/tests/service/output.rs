//! Output: followed by many, read from any position, kept across restarts, bounded.

use std::time::Duration;

use hybrid_cache_service::{Follow, StateName};
use tokio::time::timeout;

use crate::bench::{Bench, PATIENCE, read_all};
use crate::scripted::Scripted;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_followers_miss_nothing() {
    const LINES: usize = 20_000;
    let bench = Bench::with(Scripted::independent(), |config| config.concurrency = 1).await;
    // Nothing is printed before all follow, some of them slowly.
    let first = bench.start("hold").await;
    bench.reaches(&first, StateName::Running).await;
    let id = bench.start(&format!("burst {LINES}")).await;
    let followers: Vec<_> = (0..200)
        .map(|number| {
            let (engine, id) = (bench.engine.clone(), id.clone());
            tokio::spawn(async move {
                let mut reader = engine.output(&id, 0, Follow::UntilEnd).await.unwrap();
                let (mut all, mut pieces, mut next) = (Vec::<u8>::new(), 0, 0);
                while let Some(chunk) = timeout(PATIENCE, reader.next()).await.unwrap().unwrap() {
                    all.extend(&chunk.bytes);
                    next = chunk.next;
                    pieces += 1;
                    if number % 10 == 0 && pieces < 20 {
                        tokio::time::sleep(Duration::from_millis(5)).await;
                    }
                }
                assert_eq!(next, all.len() as u64);
                all
            })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(50)).await;
    bench.engine.cancel(&first).await.unwrap();
    let expected: String = (0..LINES).map(|number| format!("line {number}\n")).collect();
    for follower in followers {
        assert!(follower.await.unwrap() == expected.as_bytes());
    }
    assert_eq!(bench.engine.metrics().live_outputs, 0);
}

#[tokio::test]
async fn a_reader_continues_where_it_was() {
    let bench = Bench::new().await;
    let id = bench.start("print one\nerr two\nprint three").await;
    let all = b"one\ntwo\nthree\n";
    // A follower sees the same before, while and after the task runs.
    assert_eq!(read_all(&bench.engine, &id, 0, Follow::UntilEnd).await, all);
    bench.reaches(&id, StateName::Ended).await;
    for from in 0..=all.len() + 1 {
        let expected = all.get(from..).unwrap_or_default();
        for follow in [Follow::Stored, Follow::UntilEnd] {
            assert_eq!(
                read_all(&bench.engine, &id, from as u64, follow).await,
                expected,
                "{from}"
            );
        }
    }
}

#[tokio::test]
async fn followers_of_a_task_that_never_runs_see_its_end() {
    let bench = Bench::new().await;
    let [cancelled, deleted] = [bench.submit("exit 0").await, bench.submit("exit 0").await];
    let follow = |id: &hybrid_cache_service::TaskId| {
        let (engine, id) = (bench.engine.clone(), id.clone());
        tokio::spawn(async move { read_all(&engine, &id, 0, Follow::UntilEnd).await })
    };
    let followers = [follow(&cancelled), follow(&deleted)];
    tokio::time::sleep(Duration::from_millis(20)).await;
    bench.engine.cancel(&cancelled).await.unwrap();
    bench.engine.delete(&deleted).await.unwrap();
    for follower in followers {
        assert_eq!(follower.await.unwrap(), b"");
    }
}

#[tokio::test]
async fn a_disconnected_follower_leaves_nothing_behind() {
    let bench = Bench::new().await;
    let saved = bench.submit("exit 0").await;
    let one = bench.engine.output(&saved, 0, Follow::UntilEnd).await.unwrap();
    let mut other = bench.engine.output(&saved, 0, Follow::UntilEnd).await.unwrap();
    assert_eq!(bench.engine.metrics().live_outputs, 1);
    assert!(timeout(Duration::from_millis(10), other.next()).await.is_err());
    drop(one);
    assert_eq!(bench.engine.metrics().live_outputs, 1);
    drop(other);
    assert_eq!(bench.engine.metrics().live_outputs, 0);
}

#[tokio::test]
async fn output_is_bounded_and_its_beginning_and_end_shown_with_the_task() {
    let change = |config: &mut hybrid_cache_service::ServiceConfig| {
        config.limits.output_bytes = 1000;
        config.shown_output_bytes = 10;
    };
    let bench = Bench::with(Scripted::independent(), change).await;
    let id = bench.start("burst 500\nerr end").await;
    let view = bench.reaches(&id, StateName::Ended).await;
    assert_eq!(
        (view.output.stdout.as_str(), view.output.stderr.as_str()),
        (
            "line \n[1990 bytes are left out here; the log has them]\n\nline",
            "end\n"
        )
    );
    assert!(view.output.truncated);
    let kept = read_all(&bench.engine, &id, 0, Follow::Stored).await;
    // Twice the limit, because a cluster may deliver both streams as one.
    assert_eq!(kept.len(), 2000 + "end\n".len());
}
