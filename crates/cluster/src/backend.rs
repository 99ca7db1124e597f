//! Backends that run tasks: this machine or a cluster, each with its driver and its caches.

use hybrid_cache_driver::kube::KubeDriver;
use hybrid_cache_driver::local::{LocalDriver, Maintenance};
use hybrid_cache_driver::trace::TraceConfig;
use hybrid_cache_driver::{Driver, Epoch, SubmitOptions};
use hybrid_cache_model::budget::{BudgetRequest, Budgets};
use hybrid_cache_model::maintain::MaintainReport;
use hybrid_cache_model::pod::{PodMaintainReport, PodMaintenanceCommand};
use hybrid_cache_model::protocol::{IndexScope, Limits};
use hybrid_cache_model::{CacheReport, End, Failure, FailureKind, Scenario, TaskSpec};
use hybrid_cache_tools::{
    Checkout, Error, ErrorContext, Machine, MachineOptions, Progress, Result, TaskNetwork, failed,
};

use crate::connection::{self, ClusterConnection};
use crate::options::{BackendKind, ClusterChoice, StandbyChoice};

/// A driver together with what it runs on.
pub enum Backend {
    /// This machine, in sandboxes.
    Local(Box<LocalBackend>),
    /// A cluster, in pods.
    Cluster(Box<ClusterBackend>),
}

/// This machine with its driver.
pub struct LocalBackend {
    /// Tools and settings of the machine.
    pub machine: Machine,
    /// The driver.
    pub driver: LocalDriver,
}

/// A cluster with its driver.
pub struct ClusterBackend {
    /// API client and driver settings.
    pub connection: ClusterConnection,
    /// The driver.
    pub driver: KubeDriver,
    /// True if the standby pods are this driver's alone: no `up` has recorded any.
    pub owns_standby: bool,
}

impl ClusterBackend {
    /// Ends the standby pods if they are this driver's alone. Those that `up` recorded stay.
    ///
    /// # Errors
    /// The cluster refuses, or does not answer.
    pub async fn end_standby(&self) -> Result<()> {
        match self.owns_standby {
            true => Ok(self.driver.end_standby().await?),
            false => Ok(()),
        }
    }
}

impl LocalBackend {
    /// Provides the tools, builds the runner and opens the caches.
    ///
    /// # Errors
    /// A tool is not available, the runner does not build, or the caches cannot be opened.
    pub fn open(checkout: &Checkout, options: &MachineOptions, progress: &dyn Progress) -> Result<LocalBackend> {
        LocalBackend::of(Machine::provision(checkout, options, progress)?)
    }

    /// Opens the caches of a machine whose tools are ready.
    ///
    /// # Errors
    /// The caches cannot be opened.
    pub fn of(machine: Machine) -> Result<LocalBackend> {
        let driver = machine.driver()?;
        Ok(LocalBackend { machine, driver })
    }
}

impl Backend {
    /// Opens a backend. Call it within the runtime that will run the tasks.
    ///
    /// # Errors
    /// This machine lacks a tool, there is no such cluster, or its caches cannot be opened.
    pub async fn open(
        checkout: &Checkout,
        kind: BackendKind,
        local: &MachineOptions,
        cluster: &ClusterChoice,
        progress: &dyn Progress,
    ) -> Result<Backend> {
        check_standby(kind, cluster.standby)?;
        if kind == BackendKind::Local {
            return Ok(Backend::Local(LocalBackend::open(checkout, local, progress)?.into()));
        }
        let mut connection = ClusterConnection::open(checkout, cluster).await?;
        let tasks = TaskNetwork::in_pods(&connection.config.network);
        tasks.warnings.iter().for_each(|warning| progress.line(warning));
        if kind == BackendKind::Argo {
            connection.needs_argo().await?;
            connection.config = connection::with_argo(connection.config);
        }
        connection.config.network.no_builds |= local.no_builds;
        if local.private_index {
            connection.config.network.index_scope = IndexScope::Private;
        }
        let owns_standby = match kind {
            BackendKind::Kube => connection.choose_standby(cluster.standby).await,
            BackendKind::Argo | BackendKind::Local => false,
        };
        let driver = connection.driver().await?;
        if local.trace_bytes > 0 {
            driver.record(TraceConfig::new(connection::trace_folder(cluster)?));
        }
        let backend = ClusterBackend {
            connection,
            driver,
            owns_standby,
        };
        Ok(Backend::Cluster(backend.into()))
    }

    /// The driver.
    pub fn driver(&self) -> &dyn Driver {
        match self {
            Backend::Local(backend) => &backend.driver,
            Backend::Cluster(backend) => &backend.driver,
        }
    }

    /// Refuses a task before anything starts, if the problem is already known.
    ///
    /// # Errors
    /// The task is not acceptable, or asks for something that this backend cannot provide.
    pub fn can_run_task(&self, spec: &TaskSpec) -> Result<()> {
        match self {
            Backend::Local(backend) => backend.machine.can_run_task(spec),
            // The runner in the image reports what the image cannot provide.
            Backend::Cluster(backend) => match backend.driver.check(spec) {
                Ok(()) => Ok(()),
                Err(error) => Err(Error::input(error.to_string())),
            },
        }
    }

    /// Checks every scenario like [`Backend::can_run_task`].
    ///
    /// # Errors
    /// See [`Backend::can_run_task`].
    pub fn can_run(&self, scenarios: &[Scenario]) -> Result<()> {
        match self {
            Backend::Local(backend) => backend.machine.can_run(scenarios),
            // Scenarios are checked when they are read.
            Backend::Cluster(_) => Ok(()),
        }
    }

    /// Threads that a task's numeric libraries should use: the number of processors that the task may use.
    pub fn threads(&self) -> u32 {
        match self {
            Backend::Local(_) => {
                std::thread::available_parallelism().map_or(1, |count| u32::try_from(count.get()).unwrap_or(u32::MAX))
            }
            Backend::Cluster(backend) => whole_cpus(&backend.connection.config.task_resources.cpu_limit),
        }
    }

    /// Limits of each task, without a time limit. The cluster sets those of a pod.
    pub fn limits(&self) -> Limits {
        let limits = match self {
            Backend::Local(backend) => backend.machine.limits.clone(),
            Backend::Cluster(_) => Limits::default(),
        };
        Limits {
            threads: self.threads(),
            ..limits
        }
    }

    /// How much each volume may hold.
    pub fn budgets(&self) -> Budgets {
        match self {
            Backend::Local(backend) => {
                let config = &backend.machine.config;
                Budgets::both(BudgetRequest::from_settings(config.budget_bytes, config.budget_inodes))
            }
            Backend::Cluster(backend) => backend.driver.config().budgets(),
        }
    }

    /// Maintains the caches of one epoch.
    ///
    /// # Errors
    /// The maintenance failed; the error has the reason.
    pub async fn maintain(&self, epoch: &Epoch, what: Maintenance) -> Result<MaintainReport> {
        let report = match self {
            Backend::Local(backend) => backend.driver.maintain(epoch, what).await?,
            Backend::Cluster(backend) => maintained(
                backend
                    .driver
                    .maintain(epoch, question(what, backend.driver.config().budgets()))
                    .await?,
            ),
        };
        match report {
            MaintainReport::Failed { failure } => Err(failure.into()),
            report => Ok(report),
        }
    }

    /// Moves caches of another layout out of the way. Returns their new places.
    ///
    /// # Errors
    /// The caches cannot be moved; the error has the reason.
    pub async fn set_aside(&self) -> Result<Vec<String>> {
        match self {
            Backend::Local(backend) => {
                let moved = backend.driver.set_aside()?;
                Ok(moved.iter().map(|folder| folder.display().to_string()).collect())
            }
            Backend::Cluster(backend) => {
                let command = PodMaintenanceCommand::SetAside;
                match backend.driver.maintain(&Epoch::Standing, command).await? {
                    // Name them as folders of the two volumes: nothing else is known of where the volumes are.
                    PodMaintainReport::SetAside { folders } => {
                        Ok(folders.iter().map(|folder| format!("volume {folder}")).collect())
                    }
                    other => Err(failed!(
                        "the pod answered with something other than the moved folders: {other:?}"
                    )),
                }
            }
        }
    }

    /// Prepares what a task needs, for the task's tenant and within the task's time limit.
    ///
    /// # Errors
    /// The task is not acceptable or the backend is gone. The inner error says why nothing could be prepared.
    pub async fn warm(
        &self,
        spec: &TaskSpec,
        options: &SubmitOptions,
        progress: &dyn Progress,
    ) -> Result<Result<CacheReport, Failure>> {
        match self {
            Backend::Local(backend) => Ok(backend.driver.warm(spec, options).await),
            // On a cluster only the pod of a task can prepare, so run a task.
            Backend::Cluster(backend) => run_to_warm(&backend.driver, spec, options, progress).await,
        }
    }
}

/// Refuses standby pods for a backend without Jobs. Recorded ones are no question there.
///
/// # Errors
/// Some are asked for.
fn check_standby(kind: BackendKind, choice: StandbyChoice) -> Result<()> {
    let message = match (kind, choice) {
        (BackendKind::Kube, _) | (_, StandbyChoice::None | StandbyChoice::Recorded) => return Ok(()),
        (BackendKind::Local, StandbyChoice::Pods(_)) => {
            "--standby is for a cluster, and tasks run on this machine\nhint: add `--driver kube`, or leave out --standby"
        }
        (BackendKind::Argo, StandbyChoice::Pods(_)) => {
            "standby pods replace Jobs, and this driver runs tasks as Workflows of Argo\nhint: run tasks as Jobs with `--driver \
             kube`, or leave out --standby"
        }
    };
    Err(Error::input(message))
}

/// Whole processors of a CPU limit in Kubernetes' notation (`2`, `1500m`); at least one.
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
    progress: &dyn Progress,
) -> Result<Result<CacheReport, Failure>> {
    let ticket = driver.submit(spec, options).await.context("submitting a task")?;
    let outcome = driver.settle(&ticket).await?;
    driver.forget(&ticket);
    if let Some(warning) = driver.flush_trace().await {
        progress.line(&format!("warning: {warning}"));
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
                "the pod answered with something other than a maintenance report",
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
    fn standby_pods_are_refused_where_no_task_is_a_job() {
        let pods: StandbyChoice = "4".parse().unwrap();
        check_standby(BackendKind::Kube, pods).unwrap();
        for (kind, reason) in [(BackendKind::Local, "this machine"), (BackendKind::Argo, "Workflows")] {
            let refused = check_standby(kind, pods).unwrap_err();
            assert_eq!(refused.class(), hybrid_cache_tools::ErrorClass::Input);
            assert!(
                refused.to_string().contains(reason) && refused.to_string().contains("hint: "),
                "{refused}"
            );
            check_standby(kind, StandbyChoice::Recorded).unwrap();
            check_standby(kind, StandbyChoice::None).unwrap();
        }
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
