//! `cargo xtask serve`: runs the task service in this process, on this machine's driver or a cluster's.

use std::io::IsTerminal;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use hybrid_cache_cluster::Backend;
use hybrid_cache_driver::Driver;
use hybrid_cache_driver::kube::KubeDriver;
use hybrid_cache_driver::local::NetworkStatus;
use hybrid_cache_service::host::{self, ClusterVolumes, Ended, Host, HostError, LocalVolumes, Settings};
use hybrid_cache_service::{Engine, Parts, SystemClock, Volumes};
use hybrid_cache_tools::{Error, ErrorClass, ErrorContext, Result, cache_root, failed};

use crate::exit::Exit;
use crate::progress::Reporter;
use crate::{backend, flags, runtime};

/// Runs the command.
pub fn run(flags: &flags::Serve) -> Result<Exit> {
    if flags.with_parent {
        let signal = Some(rustix::process::Signal::TERM);
        let asked = rustix::process::set_parent_process_death_signal(signal);
        asked.map_err(|error| failed!("asking to end with the parent process: {error}"))?;
    }
    let host = Host {
        listen: flags.listen,
        access: host::access(flags.listen, flags.token_file.as_deref()).map_err(ServeError::from)?,
        names: flags.host.clone(),
        grace: Duration::from_secs(flags.grace),
    };
    let terminal = std::io::stderr().is_terminal();
    let log = tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(terminal)
        .with_target(false);
    // This fails only if the process already has a logger.
    let _ = log.try_init();
    let runtime = runtime::threads(None)?;
    let pools = OnceLock::new();
    let engine = async { open(flags, &pools).await.map_err(ServeError) };
    let ended = runtime.block_on(host.run(engine, |line| eprintln!("{line}")));
    if let (Ok(Ended::Good), Some(driver)) = (&ended, pools.get())
        && let Err(failure) = runtime.block_on(driver.end_standby())
    {
        eprintln!("warning: standby pods are left: {failure}");
    }
    // After a second Ctrl-C, do not wait for running work.
    runtime.shutdown_background();
    Ok(match ended? {
        Ended::Good => Exit::Good,
        Ended::Interrupted => Exit::Interrupted,
    })
}

/// Refuses to serve without a token if tasks on this machine could send requests too.
fn may_serve(network: &NetworkStatus, has_token: bool) -> Result<()> {
    if has_token || network.allows_service_without_token() {
        return Ok(());
    }
    let reason = match &network.reason {
        Some(reason) => format!("tasks cannot have a network of their own here: {reason}"),
        None => "tasks share this machine's network".to_owned(),
    };
    Err(Error::input(format!(
        "without a token every task could call this service\n{reason}\n\
         hint: give --token-file FILE with a token in it, or `--network isolated` if this machine can have it"
    )))
}

/// Opens the engine on its driver. `pools` gets the driver if its standby pods end with this process.
async fn open(flags: &flags::Serve, pools: &OnceLock<Arc<KubeDriver>>) -> Result<Engine> {
    let folder = match &flags.data_dir {
        Some(folder) => std::path::absolute(folder).with_context(|| format!("finding {}", folder.display()))?,
        None => cache_root(flags.local.cache_dir.as_deref())?.join("service"),
    };
    let choice = flags.cluster.with_standby(flags.standby);
    let backend = backend::open(flags.driver, &flags.local, &choice, &Reporter::new()).await?;
    if let Backend::Local(local) = &backend {
        may_serve(&local.driver.network().await, flags.token_file.is_some())?;
    }
    let settings = settings(flags, &backend);
    let mut config = settings.config(folder);
    config.limits = settings.limits(backend.limits());
    let (driver, volumes): (Arc<dyn Driver>, Arc<dyn Volumes>) = match backend {
        Backend::Local(local) => {
            let driver = Arc::new(local.driver);
            (driver.clone(), Arc::new(LocalVolumes(driver)))
        }
        Backend::Cluster(cluster) => {
            let (owns_standby, driver) = (cluster.owns_standby, Arc::new(cluster.driver));
            if owns_standby {
                // It is set once, because the engine is opened once.
                let _ = pools.set(driver.clone());
            }
            (driver.clone(), Arc::new(ClusterVolumes::new(driver)))
        }
    };
    let parts = Parts {
        driver,
        clock: Arc::new(SystemClock),
        volumes: Some(volumes),
    };
    let engine = Engine::open_with(config, parts).await;
    engine.map_err(|error| of_class(error.class(), error))
}

fn settings(flags: &flags::Serve, backend: &Backend) -> Settings {
    let asked = flags.max_running.and_then(|count| usize::try_from(count).ok());
    Settings {
        running: asked.unwrap_or_else(|| match backend {
            Backend::Local(_) => std::thread::available_parallelism().map_or(2, usize::from),
            Backend::Cluster(_) => Settings::ON_CLUSTER,
        }),
        queued: flags.max_queued,
        timeout_s: flags.timeout,
        output_bytes: flags.local.bounds.limits().output_bytes,
        retain_days: flags.retain_days,
        retain_tasks: flags.retain_tasks,
        retain_bytes: flags.retain_size,
        retain_saved_hours: flags.retain_saved,
    }
}

/// An error of the service's host or of the engine, converted to one of this program.
struct ServeError(Error);

impl From<HostError> for ServeError {
    fn from(error: HostError) -> ServeError {
        ServeError(of_class(error.class(), error))
    }
}

impl From<ServeError> for Error {
    fn from(error: ServeError) -> Error {
        error.0
    }
}

/// An error of the service, with its error class.
fn of_class(class: host::ErrorClass, error: impl std::error::Error + Send + Sync + 'static) -> Error {
    let class = match class {
        host::ErrorClass::Usage => ErrorClass::Input,
        host::ErrorClass::Prerequisite => ErrorClass::Prerequisite,
        host::ErrorClass::Program => ErrorClass::Failed,
    };
    Error::other(class, error)
}

#[cfg(test)]
mod tests {
    use hybrid_cache_driver::local::Network;

    use super::*;

    #[test]
    fn a_service_without_a_token_is_refused_where_tasks_share_its_network() {
        let status = |actual, reason: Option<&str>| NetworkStatus {
            requested: Network::Isolated,
            actual,
            reason: reason.map(str::to_owned),
        };
        let shared = status(Network::Shared, Some("no /dev/net/tun"));
        let refused = may_serve(&shared, false).unwrap_err();
        assert_eq!(Exit::from(&refused), Exit::Usage);
        assert!(refused.to_string().contains("no /dev/net/tun") && refused.to_string().contains("hint: "));
        for (network, has_token) in [
            (shared, true),
            (status(Network::Isolated, None), false),
            (status(Network::None, None), false),
        ] {
            may_serve(&network, has_token).unwrap();
        }
    }
}
