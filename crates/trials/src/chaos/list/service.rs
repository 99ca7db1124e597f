//! A fault of the task service: killed with SIGKILL while tasks are submitted and run.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::chaos::dice::Dice;
use crate::chaos::fault::{Fault, Finding, Pledge};
use crate::chaos::fault_context::FaultContext;
use crate::chaos::fault_need::FaultNeed;
use crate::chaos::judge;
use crate::chaos::serve::{Counter, ServeAt, Served, code};
use crate::error::TrialError;
use crate::site::{ANYWHERE, Site};

/// Number of clients that submit tasks at one time.
const CLIENTS: u32 = 3;
/// Pause between two tasks of a client: without it the queue would only grow, and the trial would test its length.
const PAUSE: Duration = Duration::from_millis(60);
/// Longest sleep of a task.
const SLEEP: Duration = Duration::from_millis(300);

/// The faults.
pub const FAULTS: &[Fault] = &[Fault {
    id: "kill-the-service",
    promise: Pledge::ExactlyOnce,
    tries: "The task service is killed at random moments, its start included, while clients submit and run tasks.",
    sites: ANYWHERE,
    needs: &[FaultNeed::Service],
    work: |field| Box::pin(killed(field)),
}];

/// A task that was acknowledged.
struct Acknowledged {
    number: u32,
    id: String,
    /// True if the service also acknowledged that the task will run.
    will_run: bool,
}

/// The clients, and what the service acknowledged to them.
struct Clients<'a> {
    counter: Option<&'a Counter>,
    next: AtomicU32,
    acknowledged: Mutex<Vec<Acknowledged>>,
    sleep: Duration,
}

impl Clients<'_> {
    /// Submits and runs tasks until the future is dropped.
    async fn work(&self, served: &Served, mut dice: Dice) {
        loop {
            self.one(served, self.next.fetch_add(1, Ordering::Relaxed), &mut dice)
                .await;
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn one(&self, served: &Served, number: u32, dice: &mut Dice) {
        let address = self.counter.map(Counter::address);
        let Some(id) = served.submit(&code(number, dice.within(self.sleep), address)).await else {
            return;
        };
        // Record the task before asking to run it, because a kill can end this future anywhere.
        let place = {
            let mut list = self.acknowledged.lock().unwrap_or_else(PoisonError::into_inner);
            list.push(Acknowledged {
                number,
                id: id.clone(),
                will_run: false,
            });
            list.len() - 1
        };
        let will_run = served.run(&id).await;
        let mut list = self.acknowledged.lock().unwrap_or_else(PoisonError::into_inner);
        list[place].will_run = will_run;
    }
}

async fn killed(field: &FaultContext) -> Result<Finding, TrialError> {
    let mut dice = field.dice("kill-the-service");
    let at = ServeAt::below(&field.new_folder("service")?)?;
    let is_local = field.site() == Site::Local;
    let counter = if is_local { Some(Counter::start().await?) } else { None };
    let clients = Clients {
        counter: counter.as_ref(),
        next: AtomicU32::new(1),
        acknowledged: Mutex::default(),
        sleep: SLEEP,
    };
    let mut in_start = 0;
    for life in 0..field.rounds() {
        let mut served = Served::start(field.serve()?, &at)?;
        // Every fifth service is killed before it can answer.
        if life % 5 == 4 {
            tokio::time::sleep(dice.within(Duration::from_millis(800))).await;
            in_start += 1;
        } else {
            served.ready().await?;
            let until = Duration::from_millis(100) + dice.within(Duration::from_millis(1500));
            let work = (0..CLIENTS).map(|client| {
                let dice = field.dice(&format!("client {client} of life {life}"));
                clients.work(&served, dice)
            });
            let work: Vec<_> = work.collect();
            // The timeout ends all clients, wherever they are.
            let _ = tokio::time::timeout(until, all(work)).await;
        }
        served.kill().await?;
    }
    if field.makes_damage() {
        // This does what a service would do that starts a task twice.
        let mut served = Served::start(field.serve()?, &at)?;
        served.ready().await?;
        for _ in 0..2 {
            clients.one(&served, 1_000_000, &mut dice).await;
        }
        served.kill().await?;
    }
    judged(field, &at, &clients, counter.as_ref(), in_start).await
}

/// Waits for all of them, which never ends.
async fn all(work: Vec<impl Future<Output = ()>>) {
    let mut work: Vec<_> = work.into_iter().map(Box::pin).collect();
    std::future::poll_fn(|context| {
        for one in &mut work {
            let _ = one.as_mut().poll(context);
        }
        std::task::Poll::<()>::Pending
    })
    .await;
}

async fn judged(
    field: &FaultContext,
    at: &ServeAt,
    clients: &Clients<'_>,
    counter: Option<&Counter>,
    in_start: u32,
) -> Result<Finding, TrialError> {
    let mut served = Served::start(field.serve()?, at)?;
    served.ready().await?;
    let acknowledged = std::mem::take(&mut *clients.acknowledged.lock().unwrap_or_else(PoisonError::into_inner));
    let (mut tasks, mut problems, mut only_saved) = (Vec::new(), Vec::new(), 0);
    for task in &acknowledged {
        let patience = if task.will_run {
            field.patience()
        } else {
            Duration::ZERO
        };
        let facts = served.task_facts(task.number, &task.id, patience).await?;
        if task.will_run {
            tasks.push(facts);
        } else {
            only_saved += 1;
            if facts.state.is_empty() {
                problems.push(format!("task {} was saved and is lost", task.number));
            }
        }
    }
    let runs = counter.map(Counter::runs);
    // bubblewrap ends a task with the service that started it; on a cluster tasks keep running.
    problems.extend(judge::exactly_once(&tasks, runs.as_ref(), field.site() == Site::Local));
    served.kill().await?;
    if tasks.is_empty() {
        return Err(TrialError::Other("no task was acknowledged before a kill".to_owned()));
    }
    let exited = tasks.iter().filter(|task| task.end == "exited").count();
    Ok(Finding {
        tried: format!(
            "{} kills, {in_start} of them during a start; {} tasks acknowledged to run, {only_saved} only saved",
            field.rounds(),
            tasks.len()
        ),
        seen: format!(
            "{exited} exited, {} ended with the service or otherwise",
            tasks.len() - exited
        ),
        held: "none was lost or ran twice",
        problems,
    })
}
