//! One process that serves: it listens, opens the engine, serves until a signal comes, and shuts down.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::error::HostError;
use super::token_file;
use crate::engine::{Engine, ShutdownReport};
use crate::http::{Access, App, DrainResult, HttpConfig, Server};

/// Time for requests in progress at shutdown; they take milliseconds.
pub const REQUESTS: Duration = Duration::from_secs(5);

/// Where to listen, who has access, and how long shutdown may take.
#[derive(Clone, Debug)]
pub struct Host {
    /// The address.
    pub listen: SocketAddr,
    /// Who has access.
    pub access: Access,
    /// Host names that clients may use, in addition to localhost.
    pub names: Vec<String>,
    /// Time for tasks that cannot outlive this process.
    pub grace: Duration,
}

/// How the process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// In order.
    Good,
    /// By a second signal, or by one before it served; something may still run.
    Interrupted,
}

/// Who has access at an address, with the tokens of a file if there is one.
///
/// # Errors
/// The file cannot be read, others can read it, a token is invalid, or others can reach the address and there is no
/// token.
pub fn access(listen: SocketAddr, token_file: Option<&Path>) -> Result<Access, HostError> {
    let tokens = token_file.map(token_file::read).transpose()?;
    Ok(Access::to(listen, tokens)?)
}

impl Host {
    /// Listens, opens the engine, serves until a signal comes, and shuts down. `say` receives progress messages.
    ///
    /// # Errors
    /// The address is not available, or the engine cannot be opened.
    pub async fn run<E: From<HostError>>(
        self,
        open: impl Future<Output = Result<Engine, E>>,
        say: impl Fn(&str),
    ) -> Result<Ended, E> {
        let mut signals = Signals::listen()?;
        // Bind first, so that a second service that was started by mistake fails at once.
        let server = Server::bind(self.listen).await.map_err(|source| HostError::Address {
            address: self.listen,
            source,
        })?;
        let address = server.address().map_err(system("asking for the address"))?;
        let engine = tokio::select! {
            opened = open => opened?,
            () = signals.next() => return Ok(Ended::Interrupted),
        };
        let mut http = HttpConfig::new(self.access);
        http.hosts = self.names;
        let app = App::new(engine.clone(), http).map_err(system("reading random bytes"))?;
        say(&format!("listening on http://{address}"));
        let drained = server.serve(app, signals.next(), REQUESTS).await;
        say("shutting down; press Ctrl-C again to exit at once");
        tokio::select! {
            report = engine.shutdown(self.grace) => {
                shutdown_summary(drained, report).iter().for_each(|line| say(line));
                Ok(Ended::Good)
            }
            () = signals.next() => Ok(Ended::Interrupted),
        }
    }
}

fn system(what: &'static str) -> impl FnOnce(std::io::Error) -> HostError {
    move |source| HostError::System { what, source }
}

fn shutdown_summary(drained: DrainResult, report: ShutdownReport) -> Vec<String> {
    let mut lines = Vec::new();
    if let DrainResult::Cut(count) = drained {
        lines.push(format!("{count} connections were cut"));
    }
    lines.push(format!(
        "active tasks: {} ended, {} go on without this process, {} stopped",
        report.finished, report.handed_over, report.stopped
    ));
    lines
}

/// SIGINT (Ctrl-C) and SIGTERM.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn listen() -> Result<Signals, HostError> {
        Ok(Signals {
            interrupt: signal(SignalKind::interrupt()).map_err(system("listening for Ctrl-C"))?,
            terminate: signal(SignalKind::terminate()).map_err(system("listening for SIGTERM"))?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::super::error::ErrorClass;
    use super::*;

    #[test]
    fn a_reachable_address_needs_a_token_and_an_invalid_token_is_not_shown() {
        let open: SocketAddr = "0.0.0.0:8000".parse().unwrap();
        assert_eq!(access(open, None).unwrap_err().class(), ErrorClass::Usage);
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        let refused = |what: &str| {
            let error = access(open, Some(&file)).unwrap_err().to_string();
            assert!(
                error.starts_with(file.to_str().unwrap()) && error.contains(what),
                "{error}"
            );
            assert!(!error.contains("secret"), "{error}");
        };
        refused("No such file");
        std::fs::write(&file, "secret").unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
        refused("at least 32");
        std::fs::write(&file, "s".repeat(64)).unwrap();
        assert!(matches!(access(open, Some(&file)).unwrap(), Access::Tokens(_)));
    }

    #[test]
    fn the_shutdown_summary_counts_cut_connections_and_tasks() {
        let report = ShutdownReport {
            finished: 1,
            handed_over: 2,
            stopped: 0,
        };
        let tasks = "active tasks: 1 ended, 2 go on without this process, 0 stopped";
        assert_eq!(shutdown_summary(DrainResult::Complete, report), [tasks]);
        assert_eq!(
            shutdown_summary(DrainResult::Cut(3), report),
            ["3 connections were cut", tasks]
        );
    }
}
