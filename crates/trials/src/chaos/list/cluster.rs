//! Faults of a cluster that loses pods, is unreachable for a while, or restarts.

use std::time::Duration;

use hybrid_cache_driver::{Driver, Epoch, SubmitOptions, Ticket};
use hybrid_cache_model::outcome::FailureKind;
use hybrid_cache_model::{End, TaskSpec};

use crate::attack_context::with_python;
use crate::caches::{Caches, within};
use crate::chaos::fault::{Fault, Finding, Pledge};
use crate::chaos::fault_context::FaultContext;
use crate::chaos::fault_need::FaultNeed;
use crate::chaos::judge::{self, TaskFacts};
use crate::chaos::serve::{code, mark};
use crate::error::TrialError;
use crate::site::Site;

/// Sites of these faults: clusters only.
const PODS: &[Site] = &[Site::Pod];
/// Active tasks when the cluster becomes unreachable.
const TASKS: u32 = 8;
/// Longest time before a preparation's pod is deleted.
const LIFE: Duration = Duration::from_secs(6);
/// Longest and shortest time for which the cluster is unreachable.
const AWAY: Duration = Duration::from_secs(30);
const AWAY_LEAST: Duration = Duration::from_secs(10);

/// The faults.
pub const FAULTS: &[Fault] = &[
    Fault {
        id: "delete-a-pod",
        promise: Pledge::WholeOrMissed,
        tries: "The pod of a preparation is deleted at a random moment.",
        sites: PODS,
        needs: &[],
        work: |field| Box::pin(pods_deleted(field)),
    },
    Fault {
        id: "replace-the-driver",
        promise: Pledge::ExactlyOnce,
        tries: "The driver that submitted tasks is dropped at a random moment, and another one attaches to them.",
        sites: PODS,
        needs: &[],
        work: |field| Box::pin(driver_replaced(field)),
    },
    Fault {
        id: "pause-the-cluster",
        promise: Pledge::OutagesWait,
        tries: "The node with the API server stands still while tasks are submitted and run.",
        sites: PODS,
        needs: &[FaultNeed::Node],
        work: |field| Box::pin(paused(field)),
    },
    Fault {
        id: "restart-the-node",
        promise: Pledge::ExactlyOnce,
        tries: "The node's container is restarted while tasks run.",
        sites: PODS,
        needs: &[FaultNeed::Node],
        work: |field| Box::pin(restarted(field)),
    },
];

/// Returns the caches to run tasks on: the cluster's own standing caches, or others.
fn caches(field: &FaultContext, driver: std::sync::Arc<dyn Driver>, epoch: Epoch) -> Caches {
    Caches {
        driver,
        epoch,
        patience: field.patience(),
    }
}

async fn pods_deleted(field: &FaultContext) -> Result<Finding, TrialError> {
    let mut dice = field.dice("delete-a-pod");
    let driver = field.driver()?;
    let spec = with_python("six", "import six; print('good')");
    let (mut deleted, mut evicted, mut unread, mut problems) = (0, 0, 0, Vec::new());
    for _ in 0..field.rounds() {
        let epoch = within("making caches", field.patience(), driver.fresh_epoch()).await??;
        let here = caches(field, driver.clone(), epoch.clone());
        let ticket = here.submit(&spec, &serde_json::json!({})).await?;
        tokio::time::sleep(dice.within(LIFE)).await;
        deleted += field.hands()?.delete_pods(&ticket.id).await?;
        let ran = here.finish(&ticket).await?;
        driver.forget(&ticket);
        match &ran.outcome.end {
            End::Exited { code: 0 } if ran.stdout.trim() == "good" => {}
            End::Failed { failure } if failure.kind == FailureKind::Evicted => evicted += 1,
            // The pod was deleted after its program had ended and before its log was read, and the outcome says so.
            End::Exited { code: 0 } if judge::has_lost_output(&ran) => unread += 1,
            end => problems.push(format!(
                "a task whose pod was deleted ended as {end:?} and printed {:?} {:?}, with warnings {:?}",
                ran.stdout, ran.stderr, ran.outcome.warnings
            )),
        }
        if let Err(error) = here.run_well("runs after its pod was deleted", &spec).await {
            problems.push(error.to_string());
        }
        problems.extend(judge::unclean(&field.hands()?.verify(&epoch).await?));
        within("deleting caches", field.patience(), driver.discard_epoch(&epoch)).await??;
    }
    damage(field, &mut problems);
    Ok(Finding {
        tried: format!("{} preparations, {deleted} pods deleted", field.rounds()),
        seen: format!("{evicted} tasks were reported as evicted, {unread} that their output was lost"),
        held: "all next runs worked, and the caches were clean",
        problems,
    })
}

/// Reports that the checker is not tested here: nothing on a cluster is damaged, and the local faults test the same judges.
fn damage(field: &FaultContext, problems: &mut Vec<String>) {
    if field.makes_damage() {
        problems.push("damage was asked for".to_owned());
    }
}

/// Submits tasks that print their marks.
async fn submitted(
    field: &FaultContext,
    driver: &dyn Driver,
    sleep: Duration,
) -> Result<Vec<(u32, Ticket)>, TrialError> {
    let mut tickets = Vec::new();
    for number in 0..TASKS {
        let spec = TaskSpec::new(code(number, sleep, None));
        let options = SubmitOptions::default();
        let submit = driver.submit(&spec, &options);
        tickets.push((number, within("submitting a task", field.patience(), submit).await??));
    }
    Ok(tickets)
}

/// Waits for the tasks' ends, possibly with another driver than the one that submitted them.
async fn facts_of(
    field: &FaultContext,
    driver: std::sync::Arc<dyn Driver>,
    tickets: &[(u32, Ticket)],
) -> Result<Vec<TaskFacts>, TrialError> {
    let here = caches(field, driver, Epoch::Standing);
    let mut tasks = Vec::new();
    for (number, ticket) in tickets {
        let ran = here.finish(ticket).await?;
        let (end, failure, said) = match &ran.outcome.end {
            End::Exited { code: 0 } => ("exited", String::new(), String::new()),
            End::Failed { failure } => {
                let kind = serde_json::to_value(failure.kind).unwrap_or_default();
                let kind = kind.as_str().unwrap_or_default().to_owned();
                ("failed", kind, failure.message.clone())
            }
            other => ("other", String::new(), format!("{other:?}")),
        };
        tasks.push(TaskFacts {
            number: *number,
            state: "ended".to_owned(),
            end: end.to_owned(),
            failure,
            said,
            marks: ran.stdout.matches(&mark(*number)).count(),
        });
        here.driver.forget(ticket);
    }
    if field.makes_damage() {
        tasks.iter_mut().for_each(|task| task.marks += 1);
    }
    Ok(tasks)
}

async fn driver_replaced(field: &FaultContext) -> Result<Finding, TrialError> {
    let mut dice = field.dice("replace-the-driver");
    let mut problems = Vec::new();
    let rounds = field.rounds().div_ceil(5);
    for _ in 0..rounds {
        let first = field.hands()?.driver().await?;
        let tickets = submitted(field, first.as_ref(), Duration::from_secs(2)).await?;
        tokio::time::sleep(dice.within(LIFE)).await;
        drop(first);
        let second = field.hands()?.driver().await?;
        problems.extend(judge::exactly_once(
            &facts_of(field, second, &tickets).await?,
            None,
            false,
        ));
    }
    Ok(Finding {
        tried: format!("{rounds} drivers dropped with {TASKS} tasks each"),
        seen: String::new(),
        held: "the next driver found all of them, and each ended once",
        problems,
    })
}

/// Creates caches for the fault with one environment, to be checked when the cluster is back.
async fn filled(field: &FaultContext) -> Result<Caches, TrialError> {
    let driver = field.driver()?;
    let epoch = within("making caches", field.patience(), driver.fresh_epoch()).await??;
    let here = caches(field, driver, epoch);
    let spec = with_python("six", "import six");
    here.run_well("fills the caches", &spec).await?;
    Ok(here)
}

/// The problems of these caches now. Deletes the caches.
async fn looked_at(field: &FaultContext, here: &Caches) -> Result<Vec<String>, TrialError> {
    let report = field.hands()?.verify(&here.epoch).await?;
    let mut problems = judge::unclean(&report);
    if report.environments == 0 {
        problems.push("the environment that was there before is gone".to_owned());
    }
    within(
        "deleting caches",
        field.patience(),
        here.driver.discard_epoch(&here.epoch),
    )
    .await??;
    Ok(problems)
}

async fn paused(field: &FaultContext) -> Result<Finding, TrialError> {
    let here = filled(field).await?;
    let mut dice = field.dice("pause-the-cluster");
    let (mut problems, mut away) = (Vec::new(), Duration::ZERO);
    let rounds = field.rounds().div_ceil(5);
    for _ in 0..rounds {
        let driver = field.driver()?;
        let tickets = submitted(field, driver.as_ref(), Duration::from_secs(3)).await?;
        tokio::time::sleep(dice.within(LIFE)).await;
        let pause = AWAY_LEAST + dice.within(AWAY - AWAY_LEAST);
        field.node()?.pause().await?;
        tokio::time::sleep(pause).await;
        field.node()?.resume().await?;
        away += pause;
        problems.extend(judge::exactly_once(
            &facts_of(field, driver, &tickets).await?,
            None,
            false,
        ));
    }
    problems.extend(looked_at(field, &here).await?);
    Ok(Finding {
        tried: format!(
            "{rounds} pauses of {} s in all, with {TASKS} tasks each",
            away.as_secs()
        ),
        seen: String::new(),
        held: "every task ended once, none failed, and the caches were clean",
        problems,
    })
}

async fn restarted(field: &FaultContext) -> Result<Finding, TrialError> {
    let here = filled(field).await?;
    let mut dice = field.dice("restart-the-node");
    let driver = field.driver()?;
    let tickets = submitted(field, driver.as_ref(), Duration::from_secs(5)).await?;
    tokio::time::sleep(dice.within(LIFE)).await;
    field.node()?.restart().await?;
    let tasks = facts_of(field, driver, &tickets).await?;
    // A task that ran when the node stopped is reported as ended by that, and does not run again.
    let mut problems = judge::exactly_once(&tasks, None, true);
    problems.extend(looked_at(field, &here).await?);
    let exited = tasks.iter().filter(|task| task.end == "exited").count();
    Ok(Finding {
        tried: format!("one restart with {TASKS} tasks"),
        seen: format!("{exited} exited, {} were ended by it", tasks.len() - exited),
        held: "none was lost or ran twice, and the caches were clean",
        problems,
    })
}
