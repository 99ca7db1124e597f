//! `cargo xtask serve`: the task service in this process, on this machine's driver or a cluster's.

use std::io::IsTerminal;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use async_trait::async_trait;
use hybrid_cache_driver::kube::KubeDriver;
use hybrid_cache_driver::local::{LocalDriver, Maintenance};
use hybrid_cache_driver::{Driver, Epoch};
use hybrid_cache_model::Failure;
use hybrid_cache_model::maintain::MaintainReport;
use hybrid_cache_model::pod::{PodMaintainReport, PodQuestion};
use hybrid_cache_service::http::{Access, App, Farewell, HttpConfig, Server, Token};
use hybrid_cache_service::{Engine, OpenError, Parts, ServiceConfig, SystemClock, VolumeGauge, Volumes};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::checkout::Checkout;
use crate::exit::{Exit, Expected};
use crate::subject::Subject;
use crate::{flags, local};

/// Tasks that run on a cluster at one time, where nobody says.
const ON_CLUSTER: usize = 16;
/// How old a figure of a cluster's volumes may be: asking takes a pod.
const ON_CLUSTER_EVERY: Duration = Duration::from_secs(900);
/// Grace for requests under way; what they ask is done in milliseconds.
const REQUESTS: Duration = Duration::from_secs(5);

/// Runs the command.
///
/// # Errors
/// The address is taken, a tool or the cluster is missing, or the folder cannot be used.
pub fn run(flags: &flags::Serve) -> Result<Exit> {
    let access = access(flags)?;
    let terminal = std::io::stderr().is_terminal();
    let log = tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(terminal)
        .with_target(false);
    // Only a second one of a process could fail.
    let _ = log.try_init();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("starting the runtime")?;
    let exit = runtime.block_on(serve(flags, access));
    // Whoever is still at work after a second Ctrl-C is not waited for.
    runtime.shutdown_background();
    exit
}

fn access(flags: &flags::Serve) -> Result<Access> {
    let usage = |message: String| Expected::usage(message);
    let token = match &flags.token_file {
        None => None,
        Some(file) => {
            let text = std::fs::read_to_string(file).map_err(|error| usage(format!("{}: {error}", file.display())))?;
            Some(Token::read(&text).map_err(|error| usage(format!("{}: {error}", file.display())))?)
        }
    };
    Access::to(flags.listen, token).map_err(|error| usage(error.to_string()))
}

async fn serve(flags: &flags::Serve, access: Access) -> Result<Exit> {
    let mut signals = Signals::listen()?;
    // First of all: whoever starts a second service by mistake should learn of it at once.
    let server = Server::bind(flags.listen)
        .await
        .map_err(|error| taken(flags.listen, &error))?;
    let address = server.address().context("asking for the address")?;
    let opened = tokio::select! {
        opened = open(flags) => opened?,
        () = signals.next() => return Ok(Exit::Interrupted),
    };
    let mut http = HttpConfig::new(access);
    http.hosts.clone_from(&flags.host);
    let app = App::new(opened, http).context("reading random bytes")?;
    eprintln!("listening on http://{address}");
    let engine = app.engine().clone();
    let farewell = server.serve(app, signals.next(), REQUESTS).await;
    eprintln!("ending; once more Ctrl-C ends at once");
    let grace = Duration::from_secs(flags.grace);
    tokio::select! {
        report = engine.shutdown(grace) => {
            if let Farewell::Cut(count) = farewell {
                eprintln!("{count} connections were cut");
            }
            eprintln!("tasks under way: {} ended, {} go on without this process, {} stopped", report.finished, report.handed_over, report.stopped);
            Ok(Exit::Good)
        }
        () = signals.next() => Ok(Exit::Interrupted),
    }
}

/// Ctrl-C and what a supervisor sends.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn listen() -> Result<Signals> {
        Ok(Signals {
            interrupt: signal(SignalKind::interrupt()).context("listening for Ctrl-C")?,
            terminate: signal(SignalKind::terminate()).context("listening for SIGTERM")?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

fn taken(address: SocketAddr, error: &std::io::Error) -> anyhow::Error {
    let hint = match error.kind() {
        std::io::ErrorKind::AddrInUse => "another program listens there; end it, or choose another port with --listen",
        std::io::ErrorKind::PermissionDenied => {
            "ports below 1024 are the administrator's; choose another one with --listen"
        }
        _ => "choose an address of this machine with --listen",
    };
    Expected::prerequisite(format!("cannot listen on {address}: {error}\nhint: {hint}"))
}

/// The engine on its driver.
async fn open(flags: &flags::Serve) -> Result<Engine> {
    let config = config(flags)?;
    let subject = Subject::open(&Checkout::find()?, flags.driver, &flags.local, &flags.cluster).await?;
    let config = ServiceConfig {
        concurrency: concurrency(flags, &subject),
        limits: hybrid_cache_model::protocol::Limits {
            threads: subject.threads(),
            ..config.limits
        },
        ..config
    };
    let (driver, volumes): (Arc<dyn Driver>, Arc<dyn Volumes>) = match subject {
        Subject::Machine(machine) => {
            let driver = Arc::new(machine.driver);
            (driver.clone(), Arc::new(OfMachine(driver)))
        }
        Subject::Cluster(cluster) => {
            let driver = Arc::new(cluster.driver);
            let seen = Mutex::default();
            (driver.clone(), Arc::new(OfCluster { driver, seen }))
        }
    };
    let parts = Parts {
        driver,
        clock: Arc::new(SystemClock),
        volumes: Some(volumes),
    };
    Engine::open_with(config, parts).await.map_err(|error| match error {
        OpenError::InUse { .. } | OpenError::Locked { .. } => Expected::prerequisite(error.to_string()),
        other => other.into(),
    })
}

fn config(flags: &flags::Serve) -> Result<ServiceConfig> {
    let folder = match &flags.data_dir {
        Some(folder) => std::path::absolute(folder).with_context(|| format!("finding {}", folder.display()))?,
        None => default_folder(flags)?,
    };
    let mut config = ServiceConfig::new(folder);
    config.queue = flags.max_queued;
    config.limits.time_ms = flags.timeout * 1000;
    config.retention.age = Duration::from_secs(flags.retain_days * 24 * 3600);
    config.retention.count = flags.retain_tasks;
    Ok(config)
}

fn default_folder(flags: &flags::Serve) -> Result<PathBuf> {
    let root = match &flags.local.cache_dir {
        Some(folder) => std::path::absolute(folder).with_context(|| format!("finding {}", folder.display()))?,
        None => local::default_root()?,
    };
    Ok(root.join("service"))
}

fn concurrency(flags: &flags::Serve, subject: &Subject) -> usize {
    let asked = flags.max_running.and_then(|count| usize::try_from(count).ok());
    asked.unwrap_or_else(|| match subject {
        Subject::Machine(_) => std::thread::available_parallelism().map_or(2, usize::from),
        Subject::Cluster(_) => ON_CLUSTER,
    })
}

/// The caches of this machine.
struct OfMachine(Arc<LocalDriver>);

#[async_trait]
impl Volumes for OfMachine {
    async fn usage(&self) -> Result<Vec<VolumeGauge>, String> {
        gauges(self.0.maintain(&Epoch::Standing, Maintenance::Usage).await)
    }
}

/// The volumes of a cluster, and what was last seen of them.
struct OfCluster {
    driver: Arc<KubeDriver>,
    seen: Mutex<Option<(Instant, Vec<VolumeGauge>)>>,
}

#[async_trait]
impl Volumes for OfCluster {
    async fn usage(&self) -> Result<Vec<VolumeGauge>, String> {
        let mut seen = self.seen.lock().await;
        if let Some((at, gauges)) = seen.as_ref()
            && at.elapsed() < ON_CLUSTER_EVERY
        {
            return Ok(gauges.clone());
        }
        let report = self.driver.maintain(&Epoch::Standing, PodQuestion::Usage).await;
        let report = report.map(|report| match report {
            PodMaintainReport::Maintained { report } => report,
            PodMaintainReport::Failed { failure } => MaintainReport::Failed { failure },
            PodMaintainReport::Done => MaintainReport::Usage(Default::default()),
        });
        let gauges =
            gauges(report.map_err(|error| Failure::new(hybrid_cache_model::FailureKind::Cluster, error.to_string())))?;
        *seen = Some((Instant::now(), gauges.clone()));
        Ok(gauges)
    }
}

fn gauges(report: Result<MaintainReport, Failure>) -> Result<Vec<VolumeGauge>, String> {
    match report.map_err(|failure| failure.to_string())? {
        MaintainReport::Usage(usage) => Ok(["python", "system"]
            .map(|volume| VolumeGauge {
                volume: volume.to_owned(),
                bytes: usage.volume_bytes(volume),
                inodes: usage.volume_inodes(volume),
            })
            .into()),
        MaintainReport::Failed { failure } => Err(failure.to_string()),
        MaintainReport::Gc(_) | MaintainReport::Verify(_) => Err("another question was answered".to_owned()),
    }
}
