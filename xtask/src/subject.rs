//! What a command works on: this machine or a cluster, each with its driver and its caches.

use anyhow::{Context, Result};
use hybrid_cache_driver::kube::KubeDriver;
use hybrid_cache_driver::local::{LocalDriver, Maintenance};
use hybrid_cache_driver::trace::TraceConfig;
use hybrid_cache_driver::{Driver, Epoch, SubmitOptions};
use hybrid_cache_model::budget::{BudgetRequest, Budgets};
use hybrid_cache_model::maintain::MaintainReport;
use hybrid_cache_model::pod::{PodMaintainReport, PodMaintenanceCommand};
use hybrid_cache_model::protocol::{IndexScope, Limits};
use hybrid_cache_model::{CacheReport, End, Failure, FailureKind, Scenario, TaskSpec};

use crate::checkout::Checkout;
use crate::cluster::place::{self, ClusterPlace};
use crate::exit::Expected;
use crate::flags::{self, DriverName};
use crate::local::Machine;

/// A place to run tasks, opened.
pub enum Subject {
    /// This machine, in sandboxes.
    Machine(Box<OnMachine>),
    /// A cluster, in pods.
    Cluster(Box<OnCluster>),
}

/// This machine with its driver.
pub struct OnMachine {
    /// Its tools and settings.
    pub machine: Machine,
    /// The driver on them.
    pub driver: LocalDriver,
}

/// A cluster with its driver.
pub struct OnCluster {
    /// Its API server and settings.
    pub place: ClusterPlace,
    /// The driver on them.
    pub driver: KubeDriver,
}

impl OnMachine {
    /// Brings the tools, builds the runner and opens the caches.
    ///
    /// # Errors
    /// One of them cannot be had.
    pub fn open(checkout: &Checkout, flags: &flags::Local) -> Result<OnMachine> {
        let machine = Machine::provision(checkout, flags)?;
        let driver = machine.driver()?;
        Ok(OnMachine { machine, driver })
    }
}

impl Subject {
    /// Opens the place that the command line names. Runs within the runtime that is to run the tasks.
    ///
    /// # Errors
    /// This machine lacks a tool, there is no such cluster, or its caches cannot be opened.
    pub async fn open(
        checkout: &Checkout,
        name: DriverName,
        local: &flags::Local,
        cluster: &flags::Cluster,
    ) -> Result<Subject> {
        Ok(match name {
            DriverName::Local => Subject::Machine(OnMachine::open(checkout, local)?.into()),
            DriverName::Kube | DriverName::Argo => {
                let mut place = ClusterPlace::open(checkout, cluster).await?;
                if name == DriverName::Argo {
                    place.needs_argo().await?;
                    place.config = place::with_argo(place.config);
                }
                if local.private_index {
                    place.config.network.index_scope = IndexScope::Private;
                }
                let driver = place.driver().await?;
                if local.trace_bytes() > 0 {
                    driver.record(TraceConfig::new(place::trace_folder(cluster)?));
                }
                Subject::Cluster(OnCluster { place, driver }.into())
            }
        })
    }

    /// The driver.
    pub fn driver(&self) -> &dyn Driver {
        match self {
            Subject::Machine(subject) => &subject.driver,
            Subject::Cluster(subject) => &subject.driver,
        }
    }

    /// Refuses a task before anything is started, where that can be told already.
    ///
    /// # Errors
    /// The task is not acceptable, or asks for what this place cannot make.
    pub fn can_run_task(&self, spec: &TaskSpec) -> Result<()> {
        match self {
            Subject::Machine(subject) => subject.machine.can_run_task(spec),
            // What an image can make, its runner tells.
            Subject::Cluster(_) => match spec.check() {
                Ok(_) => Ok(()),
                Err(error) => Err(Expected::usage(error.to_string())),
            },
        }
    }

    /// The same for every scenario.
    ///
    /// # Errors
    /// See [`Subject::can_run_task`].
    pub fn can_run(&self, scenarios: &[Scenario]) -> Result<()> {
        match self {
            Subject::Machine(subject) => subject.machine.can_run(scenarios),
            // Scenarios are checked when they are read.
            Subject::Cluster(_) => Ok(()),
        }
    }

    /// Threads that numeric libraries of a task should use: the processors it may have.
    pub fn threads(&self) -> u32 {
        match self {
            Subject::Machine(_) => {
                std::thread::available_parallelism().map_or(1, |count| u32::try_from(count.get()).unwrap_or(u32::MAX))
            }
            Subject::Cluster(subject) => whole_cpus(&subject.place.config.task_resources.cpu_limit),
        }
    }

    /// Bounds on each task, without one on its time. Those of a pod are the cluster's.
    pub fn limits(&self) -> Limits {
        let limits = match self {
            Subject::Machine(subject) => subject.machine.limits.clone(),
            Subject::Cluster(_) => Limits::default(),
        };
        Limits {
            threads: self.threads(),
            ..limits
        }
    }

    /// How much each volume may hold.
    pub fn budgets(&self) -> Budgets {
        match self {
            Subject::Machine(subject) => {
                let config = &subject.machine.config;
                Budgets::both(BudgetRequest::from_settings(config.budget_bytes, config.budget_inodes))
            }
            Subject::Cluster(subject) => subject.driver.config().budgets(),
        }
    }

    /// Looks after the caches of one epoch.
    ///
    /// # Errors
    /// It could not, with its reason.
    pub async fn maintain(&self, epoch: &Epoch, what: Maintenance) -> Result<MaintainReport> {
        let report = match self {
            Subject::Machine(subject) => subject.driver.maintain(epoch, what).await?,
            Subject::Cluster(subject) => maintained(
                subject
                    .driver
                    .maintain(epoch, question(what, subject.driver.config().budgets()))
                    .await?,
            ),
        };
        match report {
            MaintainReport::Failed { failure } => Err(failure.into()),
            report => Ok(report),
        }
    }

    /// Moves caches of another layout out of the way; where to.
    ///
    /// # Errors
    /// It could not, with its reason.
    pub async fn set_aside(&self) -> Result<Vec<String>> {
        match self {
            Subject::Machine(subject) => {
                let moved = subject.driver.set_aside()?;
                Ok(moved.iter().map(|folder| folder.display().to_string()).collect())
            }
            Subject::Cluster(subject) => {
                let question = PodMaintenanceCommand::SetAside;
                match subject.driver.maintain(&Epoch::Standing, question).await? {
                    // As folders of the two volumes: nothing else is known of where those are.
                    PodMaintainReport::SetAside { folders } => {
                        Ok(folders.iter().map(|folder| format!("volume {folder}")).collect())
                    }
                    other => anyhow::bail!("a pod answered another question than it was asked: {other:?}"),
                }
            }
        }
    }

    /// Prepares what a task needs, for its tenant and within its time.
    ///
    /// # Errors
    /// The task is not acceptable or its place is gone. Why nothing could be prepared is the inner error.
    pub async fn warm(&self, spec: &TaskSpec, options: &SubmitOptions) -> Result<Result<CacheReport, Failure>> {
        match self {
            Subject::Machine(subject) => Ok(subject.driver.warm(spec, options).await),
            // A pod prepares beside the task that asks for it.
            Subject::Cluster(subject) => run_to_warm(&subject.driver, spec, options).await,
        }
    }
}

/// Whole processors of a CPU limit in Kubernetes' notation (`2`, `1500m`), at least one.
fn whole_cpus(limit: &str) -> u32 {
    let whole = match limit.strip_suffix('m') {
        Some(thousandths) => thousandths.parse::<u32>().map(|thousandths| thousandths / 1000),
        None => limit.split('.').next().unwrap_or_default().parse(),
    };
    whole.unwrap_or(1).max(1)
}

async fn run_to_warm(
    driver: &dyn Driver,
    spec: &TaskSpec,
    options: &SubmitOptions,
) -> Result<Result<CacheReport, Failure>> {
    let ticket = driver.submit(spec, options).await.context("submitting a task")?;
    let outcome = driver.settle(&ticket).await?;
    driver.forget(&ticket);
    if let Some(warning) = driver.flush_trace().await {
        eprintln!("warning: {warning}");
    }
    Ok(match (outcome.end, outcome.not_kept) {
        (End::Failed { failure }, _) | (_, Some(failure)) => Err(failure),
        (End::Exited { code: 0 }, None) => Ok(outcome.cache),
        (end, None) => {
            let message = format!("the task that asks for the packages ended as {end:?}");
            Err(Failure::new(FailureKind::Internal, message))
        }
    })
}

fn question(what: Maintenance, mut budgets: Budgets) -> PodMaintenanceCommand {
    match what {
        Maintenance::Usage => PodMaintenanceCommand::Usage,
        Maintenance::Gc {
            budget_bytes,
            budget_inodes,
        } => {
            for budget in [&mut budgets.python, &mut budgets.system] {
                budget.bytes = budget_bytes.or(budget.bytes);
                budget.inodes = budget_inodes.or(budget.inodes);
            }
            PodMaintenanceCommand::Gc { budgets }
        }
        Maintenance::Verify { repair } => PodMaintenanceCommand::Verify { repair },
    }
}

fn maintained(report: PodMaintainReport) -> MaintainReport {
    match report {
        PodMaintainReport::Maintained { report } => report,
        PodMaintainReport::Failed { failure } => MaintainReport::Failed { failure },
        PodMaintainReport::Done | PodMaintainReport::SetAside { .. } => MaintainReport::Failed {
            failure: Failure::new(
                FailureKind::Internal,
                "a pod answered another question than it was asked",
            ),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cpu_limit_is_rounded_down_to_a_whole_processor_at_least() {
        let limits = ["1", "2", "500m", "2500m", "1.5", "many"];
        assert_eq!(limits.map(whole_cpus), [1, 2, 1, 2, 1, 1]);
    }

    #[test]
    fn what_a_pod_answers_is_what_a_sandbox_answers() {
        let report = MaintainReport::Verify(Default::default());
        assert_eq!(
            maintained(PodMaintainReport::Maintained { report: report.clone() }),
            report
        );
        let failure = Failure::new(FailureKind::DiskFull, "full");
        let failed = maintained(PodMaintainReport::Failed {
            failure: failure.clone(),
        });
        assert_eq!(failed, MaintainReport::Failed { failure });
    }
}
