//! The list of attacks on this machine's driver, and on the cluster that a variable names: every promise must hold.

#![expect(clippy::unwrap_used, reason = "all of this is test code")]

mod machine;

use hybrid_cache_trials::{Ground, Standing, list, promise, run};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_promise_holds_on_the_local_driver() {
    let Some(machine) = machine::open("every_promise_holds_on_the_local_driver") else {
        return;
    };
    holds(Ground::local(machine.site())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_promise_holds_in_a_pod() {
    let Some(driver) = machine::cluster("every_promise_holds_in_a_pod").await else {
        return;
    };
    holds(Ground::pod(driver)).await;
}

/// Tries the whole list and names everything that did not hold or could not be tried.
async fn holds(mut ground: Ground) {
    let trials = run(&list::all(), &ground, |trial| {
        println!(
            "{} {} {} ms {}",
            trial.standing(),
            trial.id,
            trial.took_ms,
            trial.detail().unwrap_or_default()
        );
    })
    .await;
    let closed = ground.close().await;
    let mut problems = Vec::new();
    for row in promise::table(&trials) {
        let bad = row
            .trials
            .iter()
            .filter(|trial| trial.standing() >= Standing::CouldNotTry);
        problems.extend(bad.map(|trial| {
            let what = trial.detail().unwrap_or_default();
            format!(
                "{}: {} ({}): {}\n  {what}",
                row.protection,
                row.promise,
                trial.id,
                trial.standing()
            )
        }));
    }
    assert!(problems.is_empty(), "\n{}\n", problems.join("\n"));
    closed.unwrap();
}
