//! A task service in a separate process, which can be killed, and a record of what its tasks did.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener as Listener};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;

use crate::caches::within;
use crate::chaos::judge::TaskFacts;
use crate::error::TrialError;
use crate::service::{Response, ask_at};

/// The token of a trial's service, which listens on loopback only and lives for seconds.
const TOKEN: &str = "chaos-trial-token-of-a-service-on-loopback";
/// Deadline for the first answer of a service.
const START: Duration = Duration::from_secs(120);
/// Number of characters of the service's output that an error shows.
const SHOWN: usize = 400;

/// The address and the folders of a trial's service.
#[derive(Clone, Debug)]
pub struct ServeAt {
    /// Address on which the service listens.
    pub listen: SocketAddr,
    /// Folder of the service's tasks.
    pub data: PathBuf,
    /// Folder of the service's caches, if it runs tasks on this machine.
    pub caches: PathBuf,
    /// File with the token that the service requires.
    pub token_file: PathBuf,
}

/// Builds the command that starts the service there, in this process's own environment. Tasks on this machine can reach its
/// loopback.
pub type Serve = Arc<dyn Fn(&ServeAt) -> std::process::Command + Send + Sync>;

/// A service that runs in a separate process.
pub struct Served {
    at: ServeAt,
    child: Child,
}

impl ServeAt {
    /// Chooses a place below `folder`, with a token.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn below(folder: &Path) -> Result<ServeAt, TrialError> {
        let token_file = folder.join("token");
        let failed = TrialError::io(format!("writing {}", token_file.display()));
        let write = || {
            use std::io::Write;
            let mut file = File::options()
                .create(true)
                .truncate(true)
                .write(true)
                .mode(0o600)
                .open(&token_file)?;
            file.write_all(TOKEN.as_bytes())
        };
        write().map_err(failed)?;
        Ok(ServeAt {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            data: folder.join("data"),
            caches: folder.join("caches"),
            token_file,
        })
    }

    fn log(&self) -> PathBuf {
        self.data.with_extension("log")
    }
}

impl Served {
    /// Starts the process, which may take a while to answer.
    ///
    /// # Errors
    /// The process cannot be started.
    pub fn start(serve: &Serve, at: &ServeAt) -> Result<Served, TrialError> {
        let mut at = at.clone();
        let failed = || TrialError::io("starting a service");
        // The port was free a moment ago. If another program takes it first, the service does not answer, and the trial reports
        // why.
        at.listen = Listener::bind(at.listen)
            .and_then(|free| free.local_addr())
            .map_err(failed())?;
        let log = File::options()
            .create(true)
            .append(true)
            .open(at.log())
            .map_err(failed())?;
        let mut command = Command::from(serve(&at));
        command
            .stdin(std::process::Stdio::null())
            .stdout(std::process::Stdio::null())
            .stderr(log)
            .kill_on_drop(true);
        let child = command.spawn().map_err(failed())?;
        Ok(Served { at, child })
    }

    /// Waits until the service answers.
    ///
    /// # Errors
    /// The process ends, or takes too long.
    pub async fn ready(&mut self) -> Result<(), TrialError> {
        let ready = async {
            loop {
                if let Ok(Some(status)) = self.child.try_wait() {
                    return Err(self.ended(&status.to_string()));
                }
                let asked = ask_at(self.at.listen, "GET", "/healthz", &[], "").await;
                if asked.is_ok_and(|answer| answer.is_good()) {
                    return Ok(());
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        within("the start of a service", START, ready).await?
    }

    fn ended(&self, how: &str) -> TrialError {
        let said = fs::read_to_string(self.at.log()).unwrap_or_default();
        let skipped = said.chars().count().saturating_sub(SHOWN);
        let said: String = said.chars().skip(skipped).collect();
        TrialError::Other(format!("the service ended with {how}: {}", said.trim()))
    }

    /// Kills the process with SIGKILL and waits for its end.
    ///
    /// # Errors
    /// The process does not end.
    pub async fn kill(mut self) -> Result<(), TrialError> {
        within(
            "the end of a killed service",
            Duration::from_secs(20),
            self.child.kill(),
        )
        .await?
        .map_err(TrialError::io("killing a service"))
    }

    /// Sends a request.
    ///
    /// # Errors
    /// The service does not answer.
    pub async fn ask(&self, method: &str, path: &str, body: &str) -> Result<Response, TrialError> {
        let token = format!("Bearer {TOKEN}");
        ask_at(self.at.listen, method, path, &[("Authorization", &token)], body).await
    }

    /// Submits a task. Returns its id if the service acknowledged it.
    pub async fn submit(&self, code: &str) -> Option<String> {
        let body = serde_json::json!({"pythonCode": code}).to_string();
        let answer = self.ask("POST", "/api/v1/tasks/submit", &body).await.ok()?;
        let id = answer.json()["id"].as_str().map(str::to_owned);
        id.filter(|_| answer.is_good())
    }

    /// Asks the service to run the task; true if the service acknowledged it.
    pub async fn run(&self, id: &str) -> bool {
        let answer = self.ask("POST", &format!("/api/v1/tasks/{id}/run"), "").await;
        answer.is_ok_and(|answer| answer.is_good())
    }

    /// Waits for the end of a task and returns the facts about it.
    ///
    /// # Errors
    /// The service does not answer.
    pub async fn task_facts(&self, number: u32, id: &str, patience: Duration) -> Result<TaskFacts, TrialError> {
        let path = format!("/api/v1/tasks/{id}");
        let until = tokio::time::Instant::now() + patience;
        let view = loop {
            let view = self.ask("GET", &path, "").await?.json();
            let is_over = matches!(view["state"].as_str(), None | Some("ended" | "cancelled"));
            if is_over || tokio::time::Instant::now() > until {
                break view;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        };
        let output = self.ask("GET", &format!("{path}/logs?stream=stdout"), "").await?;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        Ok(TaskFacts {
            number,
            state: text(&view["state"]),
            end: text(&view["end"]),
            failure: text(&view["failure"]["kind"]),
            said: text(&view["failure"]["message"]),
            marks: output.body.matches(&mark(number)).count(),
        })
    }
}

/// The text that a task of this number prints.
pub fn mark(number: u32) -> String {
    format!("<task {number}>")
}

/// The code of a task that reports its start to a [`Counter`], sleeps and prints its mark.
pub fn code(number: u32, sleep: Duration, counter: Option<SocketAddr>) -> String {
    let tell = counter.map_or_else(String::new, |address| {
        format!(
            "import socket\nwith socket.create_connection(('127.0.0.1', {}), 10) as it: it.sendall(b'{number}')\n",
            address.port()
        )
    });
    format!(
        "import time\n{tell}time.sleep({})\nprint('{}')",
        sleep.as_secs_f64(),
        mark(number)
    )
}

/// Counts how often each task runs: at every start, a program sends its number over loopback.
pub struct Counter {
    address: SocketAddr,
    runs: Arc<Mutex<BTreeMap<u32, u32>>>,
    listening: JoinHandle<()>,
}

impl Drop for Counter {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

impl Counter {
    /// Listens on loopback.
    ///
    /// # Errors
    /// No port is free.
    pub async fn start() -> Result<Counter, TrialError> {
        let failed = || TrialError::io("listening on loopback");
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.map_err(failed())?;
        let address = listener.local_addr().map_err(failed())?;
        let runs: Arc<Mutex<BTreeMap<u32, u32>>> = Arc::default();
        let counted = Arc::clone(&runs);
        let listening = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let counted = Arc::clone(&counted);
                tokio::spawn(async move {
                    let mut text = String::new();
                    let mut stream = stream.take(16);
                    let read = stream.read_to_string(&mut text);
                    // A program that is killed while it sends its number has run, but its number is unknown.
                    let _ = tokio::time::timeout(Duration::from_secs(10), read).await;
                    if let Ok(number) = text.parse() {
                        *counted
                            .lock()
                            .unwrap_or_else(PoisonError::into_inner)
                            .entry(number)
                            .or_insert(0) += 1;
                    }
                });
            }
        });
        Ok(Counter {
            address,
            runs,
            listening,
        })
    }

    /// The address to send numbers to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How often each task ran.
    pub fn runs(&self) -> BTreeMap<u32, u32> {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
