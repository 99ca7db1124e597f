//! Faults of preparations that are killed with SIGKILL, at random moments and in each phase; also checks the leftovers.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use hybrid_cache_driver::{Driver, Ticket};
use hybrid_cache_model::{CacheStatus, Phase};
use rustix::process::Signal;
use serde_json::json;

use crate::caches::{Ran, within};
use crate::chaos::dice::Dice;
use crate::chaos::fault::{Fault, Finding, Pledge};
use crate::chaos::fault_caches::FaultCaches;
use crate::chaos::fault_context::FaultContext;
use crate::chaos::leftovers::{self, LeftOvers};
use crate::chaos::victim::{self, Role};
use crate::chaos::{judge, stock};
use crate::error::TrialError;
use crate::site::LOCAL;

/// Longest time until a preparation reaches a phase.
const BEGIN: Duration = Duration::from_secs(30);
/// Longest time between the begin of a phase and the kill.
const INTO_PHASE: Duration = Duration::from_millis(10);
/// Number of rounds after which everything is evicted, so that all rounds take equally long.
const FRESH_AFTER: u32 = 20;
/// Most bytes that one kill may leave, in addition to the packages of its own environment.
const MOST_BYTES: u64 = 32 << 20;
/// Most files that one kill may leave, in addition to those of its own environment.
const MOST_FILES: u64 = 2000;

/// Further rounds for a machine so busy that every kill came too late.
const TOO_LATE_ROUNDS: u32 = 20;

/// When to kill.
#[derive(Clone, Copy, Debug)]
enum Aim {
    /// When the driver reports this phase.
    Phase(Phase),
    /// When a task has received the environment's path: compiling, syncing and exchanging continue while the task runs.
    Publishing,
}

const AIMS: [Aim; 5] = [
    Aim::Phase(Phase::PythonVenv),
    Aim::Phase(Phase::PythonInstall),
    Aim::Phase(Phase::PythonVerify),
    Aim::Publishing,
    Aim::Publishing,
];

/// The faults.
pub const FAULTS: &[Fault] = &[
    Fault {
        id: "kill-a-preparation",
        promise: Pledge::WholeOrMissed,
        tries: "bubblewrap, the runner, uv or an interpreter of a preparation is killed at a random moment.",
        sites: LOCAL,
        needs: &[],
        work: |field| Box::pin(at_random(field)),
    },
    Fault {
        id: "kill-at-each-phase",
        promise: Pledge::WholeOrMissed,
        tries: "The same in each phase: making, installing, verifying, compiling, publishing.",
        sites: LOCAL,
        needs: &[],
        work: |field| Box::pin(at_each_phase(field)),
    },
    Fault {
        id: "left-overs-of-kills",
        promise: Pledge::LeftOversGo,
        tries: "Preparations are killed, and what they leave on the volume is measured, aged and looked for again.",
        sites: LOCAL,
        needs: &[],
        work: |field| Box::pin(left_overs(field)),
    },
];

/// The processes that were killed, and the contents of the caches afterwards.
#[derive(Debug, Default)]
struct Tally {
    killed: BTreeMap<Role, u32>,
    too_late: u32,
    whole: u32,
    missed: u32,
}

impl Tally {
    fn count(&mut self, struck: Option<Role>) {
        match struck {
            Some(role) => *self.killed.entry(role).or_default() += 1,
            None => self.too_late += 1,
        }
    }

    fn kills(&self) -> u32 {
        self.killed.values().sum()
    }

    fn tried(&self) -> String {
        let kinds: Vec<String> = self
            .killed
            .iter()
            .map(|(role, count)| format!("{count} {role:?}"))
            .collect();
        let late = match self.too_late {
            0 => String::new(),
            count => format!(", {count} came too late"),
        };
        format!("{} kills ({}){late}", self.kills(), kinds.join(", ").to_lowercase())
    }

    fn finding(self, problems: Vec<String>) -> Result<Finding, TrialError> {
        if self.kills() == 0 {
            return Err(TrialError::Other(
                "every preparation had ended before it was killed".to_owned(),
            ));
        }
        Ok(Finding {
            tried: self.tried(),
            seen: format!(
                "afterwards {} environments were whole and {} missed",
                self.whole, self.missed
            ),
            held: "every next run worked",
            problems,
        })
    }
}

/// Kills one process of the running preparation. Returns its role; `None` if none was alive.
fn strike(place: &FaultCaches, dice: &mut Dice) -> Option<Role> {
    let alive = victim::preparation(&place.volumes.python);
    let mut roles: Vec<Role> = alive.iter().map(|process| process.role).collect();
    roles.sort_unstable();
    roles.dedup();
    // Each role is equally likely, however many processes it has.
    let role = *dice.pick(&roles)?;
    let ours: Vec<_> = alive.into_iter().filter(|process| process.role == role).collect();
    let victim = dice.pick(&ours)?;
    victim.signal(Signal::KILL).then_some(role)
}

/// Starts the preparation of a version and kills it this long after its begin.
async fn killed_after(
    place: &FaultCaches,
    number: u32,
    after: Duration,
    dice: &mut Dice,
) -> Result<(Option<Role>, Ran), TrialError> {
    let ticket = place.caches.submit(&place.task(number)?, &json!({})).await?;
    // On a busy machine a preparation can begin and end without being seen; the kill then comes too late.
    let has_begun = victim::begun(&place.volumes.python).await.is_ok();
    tokio::time::sleep(after).await;
    let struck = if has_begun { strike(place, dice) } else { None };
    Ok((struck, ended(place, &ticket).await?))
}

/// Starts the preparation of a version and kills it when it reaches an aim.
async fn killed_at(
    place: &FaultCaches,
    number: u32,
    aim: Aim,
    into: Duration,
    dice: &mut Dice,
) -> Result<(Option<Role>, Ran), TrialError> {
    let before = ready(place);
    let ticket = place.caches.submit(&place.task(number)?, &json!({})).await?;
    let has_come = match aim {
        Aim::Phase(phase) => {
            let mut phases = place.driver.preparing(&ticket)?;
            let come = within("a phase", BEGIN, phases.wait_for(|now| *now == Some(phase))).await;
            come.is_ok_and(|come| come.is_ok())
        }
        Aim::Publishing => {
            let come = async {
                while ready(place).is_subset(&before) {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            };
            within("a publication", BEGIN, come).await.is_ok()
        }
    };
    tokio::time::sleep(dice.within(into)).await;
    let struck = if has_come { strike(place, dice) } else { None };
    Ok((struck, ended(place, &ticket).await?))
}

/// The staging folders whose paths tasks have received: their contents are being published, or were when the preparation was
/// killed.
fn ready(place: &FaultCaches) -> BTreeSet<PathBuf> {
    let entries = |folder: PathBuf| {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).collect::<Vec<_>>()
    };
    let tenants = entries(place.volumes.python.join("tenants"));
    let stages = tenants.iter().flat_map(|tenant| entries(tenant.join("staging")));
    stages.filter(|stage| stage.join(".ready").exists()).collect()
}

async fn ended(place: &FaultCaches, ticket: &Ticket) -> Result<Ran, TrialError> {
    let ran = place.caches.finish(ticket).await;
    place.driver.forget(ticket);
    ran
}

/// Judges the state after a kill: visible environments must be complete, and the next two runs must build and hit.
async fn judged(
    field: &FaultContext,
    place: &FaultCaches,
    number: u32,
    ran: &Ran,
    tally: &mut Tally,
    problems: &mut Vec<String>,
) -> Result<(), TrialError> {
    problems.extend(judge::end_after_kill(ran, &stock::printed(number)));
    problems.extend(judge::environments(place).await?);
    match place.works(number, "the run after a kill", problems).await {
        Some(CacheStatus::Hit) => tally.whole += 1,
        Some(_) => tally.missed += 1,
        None => {}
    }
    let again = place.works(number, "the second run after a kill", problems).await;
    if let Some(status) = again.filter(|status| *status != CacheStatus::Hit) {
        problems.push(format!("the second run after a kill did not hit: {status:?}"));
    }
    if field.makes_damage() {
        judge::damage(place)?;
        problems.extend(judge::environments(place).await?);
    }
    Ok(())
}

async fn at_random(field: &FaultContext) -> Result<Finding, TrialError> {
    let mut dice = field.dice("kill-a-preparation");
    let place = field.place("kills")?;
    let (mut tally, mut problems) = (Tally::default(), Vec::new());
    // The second preparation is like all later ones; the first one also creates the volume's layout.
    place.good(0).await?;
    let began = Instant::now();
    place.good(1).await?;
    let whole = began.elapsed();
    for number in 2..2 + field.rounds() + TOO_LATE_ROUNDS {
        // On a busy machine every kill may come too late: more rounds follow until one hits.
        if number >= 2 + field.rounds() && tally.kills() > 0 {
            break;
        }
        let after = dice.within(whole);
        let (struck, ran) = killed_after(&place, number, after, &mut dice).await?;
        tally.count(struck);
        judged(field, &place, number, &ran, &mut tally, &mut problems).await?;
        if number % FRESH_AFTER == 0 {
            place.evict().await?;
        }
    }
    tally.finding(problems)
}

async fn at_each_phase(field: &FaultContext) -> Result<Finding, TrialError> {
    let mut dice = field.dice("kill-at-each-phase");
    let place = field.place("phases")?;
    let (mut tally, mut problems, mut hit) = (Tally::default(), Vec::new(), BTreeMap::<_, u32>::new());
    place.good(0).await?;
    let began = Instant::now();
    place.good(1).await?;
    let whole = began.elapsed();
    let mut number = 1;
    for aim in AIMS {
        let (name, into) = match aim {
            Aim::Phase(phase) => (format!("{phase:?}"), INTO_PHASE),
            Aim::Publishing => (format!("{aim:?}"), whole / 2),
        };
        for _ in 0..field.rounds().div_ceil(5) {
            number += 1;
            let (struck, ran) = killed_at(&place, number, aim, into, &mut dice).await?;
            tally.count(struck);
            *hit.entry(name.clone()).or_default() += u32::from(struck.is_some());
            judged(field, &place, number, &ran, &mut tally, &mut problems).await?;
            if number % FRESH_AFTER == 0 {
                place.evict().await?;
            }
        }
    }
    let mut finding = tally.finding(problems)?;
    let hit: Vec<String> = hit.iter().map(|(name, count)| format!("{count} in {name}")).collect();
    finding.tried = format!("{}; {}", finding.tried, hit.join(", "));
    Ok(finding)
}

async fn left_overs(field: &FaultContext) -> Result<Finding, TrialError> {
    let mut dice = field.dice("left-overs-of-kills");
    let place = field.place("left-overs")?;
    let python = &place.volumes.python;
    place.good(0).await?;
    let began = Instant::now();
    place.good(1).await?;
    let whole = began.elapsed();
    let (mut tally, mut problems) = (Tally::default(), Vec::new());
    let (mut most, mut last) = (LeftOvers::default(), leftovers::measure(python));
    let mut number = 1;
    for _ in 0..field.rounds() {
        number += 1;
        let after = dice.within(whole);
        let (struck, _) = killed_after(&place, number, after, &mut dice).await?;
        tally.count(struck);
        let now = leftovers::measure(python);
        most.bytes = most.bytes.max(now.bytes.saturating_sub(last.bytes));
        most.files = most.files.max(now.files.saturating_sub(last.files));
        last = now;
    }
    if most.bytes > MOST_BYTES || most.files > MOST_FILES {
        problems.push(format!("one kill left {most}"));
    }
    // This trial does not test the grace period of a minute.
    leftovers::make_old(python);
    place.good(number + 1).await?;
    let after_next = leftovers::measure(python);
    leftovers::make_old(python);
    place.gc(None).await?;
    if field.makes_damage() {
        leftovers::make_up(python);
    }
    let at_last = leftovers::measure(python);
    if at_last.files > 0 {
        let names: Vec<String> = leftovers::paths(python)
            .iter()
            .take(3)
            .map(|path| path.strip_prefix(python).unwrap_or(path).display().to_string())
            .collect();
        problems.push(format!("{at_last} are still there, such as {}", names.join(", ")));
    }
    Ok(Finding {
        tried: tally.tried(),
        seen: format!(
            "one kill left at most {most}; all of them {last}; after the next preparation {after_next}, after `cache gc` \
             {at_last}"
        ),
        held: "",
        problems,
    })
}
