//! The context of attacks: a driver with caches of the trials' own, some empty for one attack, some warm for all.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hybrid_cache_driver::local::LocalConfig;
use hybrid_cache_driver::{Driver, Epoch};
use hybrid_cache_model::TaskSpec;
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use crate::caches::{Caches, within};
use crate::error::TrialError;
use crate::local::LocalSite;
use crate::probe::{Packages, Probe};
use crate::site::{Need, Site};
use crate::verdict::Verdict;
use crate::wheel::Wheel;

/// Goes before the program of every probe.
const PRELUDE: &str = include_str!("probes/prelude.py");

/// Goes behind the attack of a package that is built.
const BACKEND: &str = include_str!("probes/backend.py");

/// What attacks are tried with.
pub struct AttackContext {
    site: Site,
    driver: Arc<dyn Driver>,
    local: Option<LocalSite>,
    /// What the current attack has created, to be deleted afterwards.
    epochs: Mutex<Vec<Epoch>>,
    /// What all probes share, to be deleted at the end unless it is another ground's.
    warm: OnceCell<Caches>,
    is_borrowed: bool,
    warm_system: OnceCell<()>,
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

/// A build backend that runs this attack while it builds. The module of its wheel is called as the package, and `FOUND` in it
/// is the report.
pub fn backend(known: &Value, code: &str) -> String {
    format!(
        "{PRELUDE}\nKNOWN = json.loads({:?})\n{code}\n{BACKEND}",
        known.to_string()
    )
}

impl AttackContext {
    /// This machine, with caches below the root that `site` was opened with.
    pub fn local(site: LocalSite) -> AttackContext {
        AttackContext::new(Site::Local, site.driver(), Some(site))
    }

    /// A cluster.
    pub fn pod(driver: Arc<dyn Driver>) -> AttackContext {
        AttackContext::new(Site::Pod, driver, None)
    }

    fn new(site: Site, driver: Arc<dyn Driver>, local: Option<LocalSite>) -> AttackContext {
        AttackContext {
            site,
            driver,
            local,
            epochs: Mutex::default(),
            warm: OnceCell::new(),
            is_borrowed: false,
            warm_system: OnceCell::new(),
        }
    }

    /// Another ground on this machine, whose driver has another configuration, on the same warm caches: they belong to this
    /// ground, which has to outlive the other.
    ///
    /// # Errors
    /// The warm caches cannot be made, or this is a cluster.
    pub async fn beside(&self, config: LocalConfig) -> Result<AttackContext, TrialError> {
        let epoch = self.warm().await?.epoch.clone();
        let site = LocalSite::open(config)?;
        let driver = site.with_wheels(&epoch, &[])?.driver;
        let mut ground = AttackContext::local(site);
        ground.warm = OnceCell::new_with(Some(ground.caches(driver, epoch)));
        ground.is_borrowed = true;
        Ok(ground)
    }

    /// Which kind of place it is.
    pub fn site(&self) -> Site {
        self.site
    }

    /// The deadline of one step here.
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

    /// Why an attack with this need cannot be tried here; `None` if it can.
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

    /// Caches that hold `six` and, beside it, [`AttackContext::other`]. No attack may break them.
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

    /// Runs a probe: held if it could do nothing.
    ///
    /// # Errors
    /// It did not report, or tried nothing.
    pub async fn probe(&self, probe: &Probe) -> Result<Verdict, TrialError> {
        self.probe_with(probe, &Value::Null, &json!({})).await
    }

    /// The same with something that the trial knows, and with options set.
    ///
    /// # Errors
    /// See [`AttackContext::probe`].
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_a_trial_reach_its_program_unchanged() {
        let text = program(&json!({"path": "a\"b\\c\nd'é"}), "");
        let line = text.lines().find(|line| line.starts_with("KNOWN")).unwrap();
        assert_eq!(line, r#"KNOWN = json.loads("{\"path\":\"a\\\"b\\\\c\\nd'é\"}")"#);
    }
}
