//! Where attacks run: a driver with caches of the trial's own, and how its tasks are started, awaited and judged.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hybrid_cache_driver::local::LocalConfig;
use hybrid_cache_driver::log::Stream;
use hybrid_cache_driver::{Driver, Epoch, SubmitOptions, Ticket};
use hybrid_cache_model::{End, Outcome, TaskSpec};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::OnceCell;
use tokio::time::timeout;

use crate::attack::{Need, Packages, Probe, Site, Verdict};
use crate::error::TrialError;
use crate::local::LocalSite;
use crate::wheel::Wheel;

/// Goes before the program of every probe.
const PRELUDE: &str = include_str!("probes/prelude.py");
/// Milliseconds that a task of a trial may take.
const TASK_MS: u64 = 20_000;
/// How much of a task's output an error shows, in characters.
const SHOWN: usize = 600;

/// A place for attacks.
pub struct Ground {
    site: Site,
    driver: Arc<dyn Driver>,
    local: Option<LocalSite>,
    /// What the attack in progress has made, to be deleted behind it.
    epochs: Mutex<Vec<Epoch>>,
    /// What all probes share, to be deleted at the end unless it is another ground's.
    warm: OnceCell<Caches>,
    is_borrowed: bool,
    warm_system: OnceCell<()>,
}

/// Caches of a trial's own, and the driver that uses them.
#[derive(Clone)]
pub struct Caches {
    /// The driver.
    pub driver: Arc<dyn Driver>,
    /// The caches.
    pub epoch: Epoch,
    /// How long anything may take here.
    pub patience: Duration,
}

/// A finished run with its output.
#[derive(Clone, Debug)]
pub struct Ran {
    /// How it ended.
    pub outcome: Outcome,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

/// What a probe reports.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Findings {
    /// How many things it tried.
    pub tried: u32,
    /// What it could do.
    pub got: Vec<String>,
}

/// Code with the warm Python package.
pub fn with_six(code: &str) -> TaskSpec {
    with_python("six", code)
}

/// Code with Python packages.
pub fn with_python(dependencies: &str, code: &str) -> TaskSpec {
    TaskSpec {
        dependencies: dependencies.to_owned(),
        ..TaskSpec::new(code)
    }
}

/// A probe's program: the prelude, what the trial knows, and the attack.
pub fn program(known: &Value, code: &str) -> String {
    // A JSON text is a Python string once it is quoted as one.
    format!(
        "{PRELUDE}\nKNOWN = json.loads({:?})\n{code}\ndone()\n",
        known.to_string()
    )
}

impl Ground {
    /// This machine, with caches below the root that `site` was opened with.
    pub fn local(site: LocalSite) -> Ground {
        Ground::new(Site::Local, site.driver(), Some(site))
    }

    /// A cluster.
    pub fn pod(driver: Arc<dyn Driver>) -> Ground {
        Ground::new(Site::Pod, driver, None)
    }

    fn new(site: Site, driver: Arc<dyn Driver>, local: Option<LocalSite>) -> Ground {
        Ground {
            site,
            driver,
            local,
            epochs: Mutex::default(),
            warm: OnceCell::new(),
            is_borrowed: false,
            warm_system: OnceCell::new(),
        }
    }

    /// Another ground on this machine, whose driver is told something else, on the same warm caches: they belong to this
    /// ground, which has to outlive the other.
    ///
    /// # Errors
    /// The warm caches cannot be made, or this is a cluster.
    pub async fn beside(&self, config: LocalConfig) -> Result<Ground, TrialError> {
        let epoch = self.warm().await?.epoch.clone();
        let site = LocalSite::open(config)?;
        let driver = site.with_wheels(&epoch, &[])?.driver;
        let mut ground = Ground::local(site);
        ground.warm = OnceCell::new_with(Some(ground.caches(driver, epoch)));
        ground.is_borrowed = true;
        Ok(ground)
    }

    /// Which kind of place it is.
    pub fn site(&self) -> Site {
        self.site
    }

    /// How long anything may take here.
    pub fn patience(&self) -> Duration {
        match self.site {
            Site::Local => Duration::from_secs(60),
            Site::Pod => Duration::from_secs(240),
        }
    }

    /// This machine.
    ///
    /// # Errors
    /// This is a cluster: the list says of such an attack that it runs locally, so this is a mistake in the list.
    pub fn machine(&self) -> Result<&LocalSite, TrialError> {
        let wrong = || TrialError::Other("this attack runs on the local driver alone".to_owned());
        self.local.as_ref().ok_or_else(wrong)
    }

    /// Why an attack with this need cannot be tried here; `None` where it can.
    pub fn lacks(&self, need: Need) -> Option<&'static str> {
        let is_there = match need {
            Need::Nix => self.local.as_ref().is_none_or(LocalSite::has_nix),
            Need::X86 => cfg!(target_arch = "x86_64"),
            Need::Tenants => true,
        };
        let why = match need {
            Need::Nix => "system packages cannot be made here",
            Need::X86 => "it is written for x86-64",
            Need::Tenants => "tenants cannot be kept apart here",
        };
        (!is_there).then_some(why)
    }

    fn epochs(&self) -> MutexGuard<'_, Vec<Epoch>> {
        self.epochs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Empty caches for the attack in progress.
    ///
    /// # Errors
    /// The driver cannot make them.
    pub async fn fresh(&self) -> Result<Caches, TrialError> {
        let epoch = within("making caches", self.patience(), self.driver.fresh_epoch()).await??;
        self.epochs().push(epoch.clone());
        Ok(self.caches(Arc::clone(&self.driver), epoch))
    }

    pub(crate) fn caches(&self, driver: Arc<dyn Driver>, epoch: Epoch) -> Caches {
        Caches {
            driver,
            epoch,
            patience: self.patience(),
        }
    }

    /// Caches that hold `six` and, beside it, [`Ground::other`]. No attack may break them.
    ///
    /// # Errors
    /// They cannot be made or filled.
    pub async fn warm(&self) -> Result<&Caches, TrialError> {
        let fill = async || {
            let epoch = within("making caches", self.patience(), self.driver.fresh_epoch()).await??;
            let caches = match &self.local {
                Some(site) => {
                    let wheels = ["six", "trialother"].map(|name| Wheel::module(name, "1.0.0", "MARK = 'genuine'\n"));
                    let driver = site.with_wheels(&epoch, &wheels)?.driver;
                    self.caches(driver, epoch)
                }
                None => self.caches(Arc::clone(&self.driver), epoch),
            };
            for package in ["six", self.other()] {
                let spec = with_python(package, &format!("import {package}"));
                caches.run_well("fills the caches", &spec).await?;
            }
            Ok::<_, TrialError>(caches)
        };
        self.warm.get_or_try_init(fill).await
    }

    /// The package that is in the warm caches beside `six`.
    pub fn other(&self) -> &'static str {
        match self.site {
            Site::Local => "trialother",
            Site::Pod => "idna",
        }
    }

    /// The task of a probe, with what it asks for in the warm caches.
    async fn probe_task(&self, packages: Packages, code: String) -> Result<(&Caches, TaskSpec), TrialError> {
        let caches = self.warm().await?;
        Ok(match packages {
            Packages::None => (caches, TaskSpec::new(code)),
            Packages::Python => (caches, with_six(&code)),
            Packages::Both => {
                let both = |code: &str| TaskSpec {
                    system_dependencies: "m4".to_owned(),
                    ..with_six(code)
                };
                let fill = async || caches.run_well("fills the caches", &both("import six")).await.map(drop);
                self.warm_system.get_or_try_init(fill).await?;
                (caches, both(&code))
            }
        })
    }

    /// Runs a probe: held where it could do nothing.
    ///
    /// # Errors
    /// It did not report, or tried nothing.
    pub async fn probe(&self, probe: &Probe) -> Result<Verdict, TrialError> {
        self.probe_with(probe, &Value::Null, &json!({})).await
    }

    /// The same with something that the trial knows, and with options set.
    ///
    /// # Errors
    /// See [`Ground::probe`].
    pub async fn probe_with(&self, probe: &Probe, known: &Value, options: &Value) -> Result<Verdict, TrialError> {
        let (caches, spec) = self.probe_task(probe.packages, program(known, probe.code)).await?;
        let ran = caches.run_with(&spec, options).await?;
        Ok(Verdict::held_if_none(&ran.findings("attacks")?.got))
    }

    /// Deletes what the attack in progress has made.
    ///
    /// # Errors
    /// Something cannot be deleted.
    pub async fn clear(&self) -> Result<(), TrialError> {
        let epochs = std::mem::take(&mut *self.epochs());
        self.discard(epochs).await
    }

    /// Deletes what all attacks shared. Nothing can be run afterwards.
    ///
    /// # Errors
    /// Something cannot be deleted.
    pub async fn close(&mut self) -> Result<(), TrialError> {
        let mut epochs = std::mem::take(&mut *self.epochs());
        let warm = self.warm.take().filter(|_| !self.is_borrowed);
        epochs.extend(warm.map(|caches| caches.epoch));
        self.discard(epochs).await
    }

    async fn discard(&self, epochs: Vec<Epoch>) -> Result<(), TrialError> {
        let mut first = Ok(());
        for epoch in epochs {
            let discarded = within("deleting caches", self.patience(), self.driver.discard_epoch(&epoch)).await;
            let discarded = discarded.and_then(|discarded| discarded.map_err(TrialError::from));
            first = first.and(discarded);
        }
        first
    }
}

impl Caches {
    /// Options for a task of a trial, with `changes` over the defaults. Fields are named as JSON names them.
    ///
    /// # Errors
    /// A change that does not fit.
    pub fn options(&self, changes: &Value) -> Result<SubmitOptions, TrialError> {
        let mut options = SubmitOptions {
            epoch: self.epoch.clone(),
            ..SubmitOptions::default()
        };
        options.limits.time_ms = TASK_MS;
        options.prepare_ms = u64::try_from(self.patience.as_millis()).unwrap_or(u64::MAX);
        changed(&options, changes)
    }

    /// Starts a task.
    ///
    /// # Errors
    /// The driver refuses it.
    pub async fn submit(&self, spec: &TaskSpec, changes: &Value) -> Result<Ticket, TrialError> {
        let options = self.options(changes)?;
        Ok(within("submitting a task", self.patience, self.driver.submit(spec, &options)).await??)
    }

    /// Runs a task to its end, publishing included.
    ///
    /// # Errors
    /// The driver refuses it, or it does not end in time.
    pub async fn run(&self, spec: &TaskSpec) -> Result<Ran, TrialError> {
        self.run_with(spec, &json!({})).await
    }

    /// The same with options set.
    ///
    /// # Errors
    /// See [`Caches::run`].
    pub async fn run_with(&self, spec: &TaskSpec, changes: &Value) -> Result<Ran, TrialError> {
        let ticket = self.submit(spec, changes).await?;
        let ran = self.finish(&ticket).await;
        self.driver.forget(&ticket);
        ran
    }

    /// The same; a task that does not exit with 0 is an error.
    ///
    /// # Errors
    /// See [`Caches::run`].
    pub async fn run_well(&self, task: &str, spec: &TaskSpec) -> Result<Ran, TrialError> {
        self.run(spec).await?.good(task)
    }

    /// Waits for the end of a task. One that does not come is cancelled.
    ///
    /// # Errors
    /// It does not end in time.
    pub async fn finish(&self, ticket: &Ticket) -> Result<Ran, TrialError> {
        let settled = within("a task", self.patience, self.driver.settle(ticket)).await;
        let outcome = match settled {
            Ok(outcome) => outcome?,
            Err(late) => {
                // The first problem is the one to report.
                let _ = self.driver.cancel(ticket).await;
                return Err(late);
            }
        };
        let log = self.driver.logs(ticket)?;
        let text = |stream| String::from_utf8_lossy(&log.collect(stream)).into_owned();
        Ok(Ran {
            outcome,
            stdout: text(Stream::Stdout),
            stderr: text(Stream::Stderr),
        })
    }

    /// Waits for the first output of a task that contains `mark`.
    ///
    /// # Errors
    /// It does not come.
    pub async fn until_printed(&self, ticket: &Ticket, mark: &str) -> Result<(), TrialError> {
        let mut log = self.driver.logs(ticket)?;
        let mut seen = Vec::new();
        let read = async {
            while let Some(chunk) = log.next().await {
                seen.extend_from_slice(&chunk.bytes);
                if String::from_utf8_lossy(&seen).contains(mark) {
                    return true;
                }
            }
            false
        };
        if within("output", self.patience, read).await? {
            return Ok(());
        }
        Err(TrialError::NoResult {
            task: format!("should print `{mark}`"),
            said: tail(&String::from_utf8_lossy(&seen)),
        })
    }
}

impl Ran {
    /// The run, where its program exited with 0.
    ///
    /// # Errors
    /// It ended in another way.
    pub fn good(self, task: &str) -> Result<Ran, TrialError> {
        if self.outcome.end.is_success() {
            return Ok(self);
        }
        Err(self.ended(task))
    }

    fn ended(&self, task: &str) -> TrialError {
        TrialError::Ended {
            task: task.to_owned(),
            end: self.outcome.end.clone().into(),
            said: tail(&format!("{}{}", self.stdout, self.stderr)),
        }
    }

    /// What a probe reports.
    ///
    /// # Errors
    /// It does not report, or tried nothing.
    pub fn findings(&self, task: &str) -> Result<Findings, TrialError> {
        let found = self
            .stdout
            .lines()
            .rev()
            .find_map(|line| serde_json::from_str::<Findings>(line).ok());
        match found {
            Some(findings) if findings.tried > 0 => Ok(findings),
            _ if !matches!(self.outcome.end, End::Exited { code: 0 }) => Err(self.ended(task)),
            _ => Err(TrialError::NoResult {
                task: task.to_owned(),
                said: tail(&format!("{}{}", self.stdout, self.stderr)),
            }),
        }
    }
}

/// The end of a text, for an error.
fn tail(text: &str) -> String {
    let text = text.trim();
    let skipped = text.chars().count().saturating_sub(SHOWN);
    text.chars().skip(skipped).collect()
}

/// Bounds a wait.
///
/// # Errors
/// It took longer.
pub async fn within<T>(what: &str, limit: Duration, work: impl Future<Output = T>) -> Result<T, TrialError> {
    timeout(limit, work).await.map_err(|_| TrialError::Deadline {
        what: what.to_owned(),
        limit,
    })
}

/// `value` with fields replaced by those of `changes`, objects field by field.
///
/// # Errors
/// The result is no such value.
pub fn changed<T: serde::Serialize + serde::de::DeserializeOwned>(value: &T, changes: &Value) -> Result<T, TrialError> {
    let unfit = |error: serde_json::Error| TrialError::Other(format!("{changes} cannot be set: {error}"));
    let mut json = serde_json::to_value(value).map_err(unfit)?;
    merge(&mut json, changes);
    serde_json::from_value(json).map_err(unfit)
}

fn merge(into: &mut Value, changes: &Value) {
    match (into, changes) {
        (Value::Object(into), Value::Object(changes)) => {
            for (name, change) in changes {
                merge(into.entry(name.clone()).or_insert(Value::Null), change);
            }
        }
        (into, changes) => *into = changes.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_reach_single_fields() {
        let changed = changed(&SubmitOptions::default(), &json!({"limits": {"processes": 7}})).unwrap();
        let mut expected = SubmitOptions::default();
        expected.limits.processes = 7;
        assert_eq!(changed, expected);
    }

    #[test]
    fn what_a_trial_knows_reaches_its_program_whole() {
        let text = program(&json!({"path": "a\"b\\c\nd'é"}), "");
        let line = text.lines().find(|line| line.starts_with("KNOWN")).unwrap();
        assert_eq!(line, r#"KNOWN = json.loads("{\"path\":\"a\\\"b\\\\c\\nd'é\"}")"#);
    }
}
