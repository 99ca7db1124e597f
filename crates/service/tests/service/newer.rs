//! What a newer version of the service stored: this one shows it as far as it can, and continues with everything else.

use std::path::Path;
use std::time::Duration;

use hybrid_cache_service::store::sqlite::{Connection, OpenMode};
use hybrid_cache_service::{CacheName, EndName};
use hybrid_cache_service::{CancelAnswer, ListQuery, ServiceError, StateName};

use crate::bench::Bench;

/// Changes rows in a way that no statement of this version does.
fn rewrite(folder: &Path, statements: &[String]) {
    let sql = Connection::open(&folder.join("tasks.sqlite3"), OpenMode::Write, Duration::from_secs(5)).unwrap();
    sql.batch("PRAGMA ignore_check_constraints = ON; DROP TRIGGER task_steps")
        .unwrap();
    for statement in statements {
        sql.batch(statement).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn words_and_fields_of_a_newer_version_are_shown_as_such_and_stop_nothing() {
    let bench = Bench::new().await;
    let mut ended = Vec::new();
    for _ in 0..4 {
        let id = bench.start("print x").await;
        bench.reaches(&id, StateName::Ended).await;
        ended.push(id);
    }
    let [paused, later, phase, fields] = [&ended[0], &ended[1], &ended[2], &ended[3]].map(Clone::clone);
    let [asks, waits] = [bench.submit("print y").await, bench.submit("print z").await];
    bench.engine.shutdown(Duration::ZERO).await;
    let set = |what: &str, id: &hybrid_cache_service::TaskId| format!("UPDATE task SET {what} WHERE id = '{id}'");
    let queued = "state = 'queued', queued_us = 1, queue_seq";
    rewrite(
        bench.root.path(),
        &[
            set("state = 'paused', ended_us = NULL", &paused),
            set(
                "end_kind = 'hibernated', python_cache = 'borrowed', outcome = json_set(outcome, '$.end', 'hibernated')",
                &later,
            ),
            set(
                "outcome = json_insert(outcome, '$.timeline.spans[#]', \
                 json('{\"phase\":\"teleport\",\"lane\":\"runner\",\"start_us\":1,\"duration_us\":2}'))",
                &phase,
            ),
            set("outcome = json_insert(outcome, '$.colour', 'blue')", &fields),
            set(&format!("{queued} = 1001, spec = json_insert(spec, '$.gpu', 2)"), &asks),
            set(&format!("{queued} = 1002"), &waits),
        ],
    );
    let bench = bench.reopen().await;
    // The queue continues after the task that cannot run as it was submitted.
    bench.reaches(&waits, StateName::Ended).await;
    let failed = bench.reaches(&asks, StateName::Ended).await;
    assert_eq!(failed.summary.end, Some(EndName::Failed));
    assert!(failed.failure.unwrap().message.contains("`gpu`"));
    assert_eq!(bench.driver.times_started(asks.as_str()), 0);
    assert_eq!(failed.request.python_code, "print y");

    assert_eq!(bench.engine.list(&ListQuery::default()).await.unwrap().items.len(), 6);
    let view = bench.engine.get(&paused).await.unwrap();
    assert_eq!(view.summary.state, StateName::Unknown);
    assert!(view.warnings[0].contains("\"paused\""), "{:?}", view.warnings);
    let view = bench.engine.get(&later).await.unwrap();
    assert_eq!(
        (view.summary.state, view.summary.end),
        (StateName::Ended, Some(EndName::Unknown))
    );
    assert_eq!(view.summary.cache.unwrap().python.status, CacheName::Unknown);
    assert!(view.warnings[0].contains("hibernated"), "{:?}", view.warnings);
    let view = bench.engine.get(&phase).await.unwrap();
    assert!(view.warnings[0].contains("teleport"), "{:?}", view.warnings);
    assert!(!view.timeline.unwrap().spans.is_empty());
    let view = bench.engine.get(&fields).await.unwrap();
    assert_eq!((view.summary.end, view.warnings.len()), (Some(EndName::Exited), 0));

    // It leaves alone what it does not understand.
    let refused = bench.engine.delete(&paused).await.unwrap_err();
    assert!(matches!(refused, ServiceError::Conflict { .. }), "{refused}");
    let answer = bench.engine.cancel(&paused).await.unwrap();
    assert_eq!(answer, CancelAnswer::Before(StateName::Unknown));
    let run = bench.engine.run(&paused).await.unwrap();
    assert_eq!(run.state, StateName::Unknown);
    bench.engine.delete(&later).await.unwrap();
    let id = bench.start("exit 0").await;
    bench.reaches(&id, StateName::Ended).await;
}
