//! The program of the service's container: the task API, with tasks on a cluster.

mod flags;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use flags::{Command, Serve};
use hybrid_cache_driver::DriverError;
use hybrid_cache_driver::kube::{KubeConfig, KubeDriver};
use hybrid_cache_driver::trace::{self, TraceConfig};
use hybrid_cache_model::shown;
use hybrid_cache_service::host::{self, ClusterVolumes, Ended, ErrorClass, Host, HostError};
use hybrid_cache_service::{Engine, OpenError, Parts, SystemClock};

/// Longest wait of a probe.
const PROBE: Duration = Duration::from_secs(3);
/// The exit codes of `cargo xtask`.
const FAILED: u8 = 1;
const USAGE: u8 = 2;
const PREREQUISITE: u8 = 4;
const INTERRUPTED: u8 = 130;

/// Why the program ends with an error.
#[derive(Debug, thiserror::Error)]
enum MainError {
    #[error(transparent)]
    Host(#[from] HostError),
    #[error("{0}")]
    Config(String),
    #[error(transparent)]
    Driver(#[from] DriverError),
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error("starting the runtime: {0}")]
    Runtime(std::io::Error),
}

impl MainError {
    fn code(&self) -> u8 {
        let class = match self {
            MainError::Host(error) => error.class(),
            MainError::Open(error) => error.class(),
            MainError::Config(_) => ErrorClass::Usage,
            MainError::Driver(_) => ErrorClass::Prerequisite,
            MainError::Runtime(_) => ErrorClass::Program,
        };
        match class {
            ErrorClass::Usage => USAGE,
            ErrorClass::Prerequisite => PREREQUISITE,
            ErrorClass::Program => FAILED,
        }
    }
}

fn main() -> ExitCode {
    let code = match flags::parse(std::env::args_os().skip(1)) {
        Err(error) => {
            eprintln!("error: {error}\nhint: --help lists the flags");
            USAGE
        }
        Ok(Command::Help) => {
            println!("{}", flags::USAGE);
            0
        }
        Ok(Command::Version) => {
            println!("hybrid-cache-service {}", env!("CARGO_PKG_VERSION"));
            0
        }
        Ok(Command::Probe(address)) => match host::probe(address, PROBE) {
            Ok(()) => 0,
            Err(reason) => {
                eprintln!("error: {}", shown(&reason));
                FAILED
            }
        },
        Ok(Command::Serve(flags)) => match serve(*flags) {
            Ok(Ended::Good) => 0,
            Ok(Ended::Interrupted) => INTERRUPTED,
            Err(error) => {
                eprintln!("error: {}", shown(&error.to_string()));
                error.code()
            }
        },
    };
    code.into()
}

fn serve(flags: Serve) -> Result<Ended, MainError> {
    let access = host::access(flags.listen, flags.token_file.as_deref())?;
    let config = driver_config(&flags)?;
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .with_target(false)
        .init();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(MainError::Runtime)?;
    let host = Host {
        listen: flags.listen,
        access,
        names: flags.names.clone(),
        grace: flags.grace,
    };
    let ended = runtime.block_on(host.run(open(&flags, config), |line| eprintln!("{line}")));
    // After a second signal, work that is still in progress is abandoned.
    runtime.shutdown_background();
    ended
}

fn driver_config(flags: &Serve) -> Result<KubeConfig, MainError> {
    let name = flags.driver_config.display();
    let hint = "`cargo xtask up` writes it anew";
    let text = std::fs::read(&flags.driver_config);
    let text = text.map_err(|error| MainError::Config(format!("{name}: {error}\nhint: {hint}")))?;
    serde_json::from_slice(&text).map_err(|error| MainError::Config(format!("{name}: {error}\nhint: {hint}")))
}

async fn open(flags: &Serve, config: KubeConfig) -> Result<Engine, MainError> {
    let driver = Arc::new(KubeDriver::connect(&flags.reach, config).await?);
    if flags.trace_bytes > 0 {
        driver.record(TraceConfig {
            folder: flags.data_dir.join(trace::FOLDER),
            max_bytes: flags.trace_bytes,
        });
    }
    let parts = Parts {
        volumes: Some(Arc::new(ClusterVolumes::new(Arc::clone(&driver)))),
        driver,
        clock: Arc::new(SystemClock),
    };
    Ok(Engine::open_with(flags.settings.config(&flags.data_dir), parts).await?)
}
