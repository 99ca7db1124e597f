//! Sends a claimed standby pod its task, and reads the output and the report, over one connection.

use std::sync::Arc;
use std::time::{Duration, Instant};

use hybrid_cache_model::outcome::Output;
use hybrid_cache_model::pod::StandbyOrder;
use hybrid_cache_model::protocol::RunReport;
use kube::api::{AttachParams, AttachedProcess};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::watch;

use crate::kube::api::cluster::Cluster;
use crate::kube::logs::follow::KnownOutput;
use crate::kube::logs::trailer::TrailerScanner;
use crate::kube::names::TASK_CONTAINER;
use crate::kube::observe::observed::ContainerEnd;
use crate::log::{LogWriter, Stream};

/// How long connecting to the pod may take.
const ATTACH_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the runner may take to accept the order.
const ACCEPT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the last output may take after the report.
const LAST_OUTPUT_TIMEOUT: Duration = Duration::from_secs(5);
/// The same while the log's reader is behind, or more output keeps arriving.
const LATE_OUTPUT_TIMEOUT: Duration = Duration::from_secs(600);
/// How long the status may take after the streams have ended.
const STATUS_TIMEOUT: Duration = Duration::from_millis(500);
/// Bytes that are read at once, of each stream.
const BUFFER_BYTES: usize = 64 << 10;

/// How an exchange ended.
#[derive(Debug, PartialEq, Eq)]
pub enum ExchangeEnd {
    /// Everything has arrived that the container wrote.
    Complete,
    /// The connection broke before.
    Broken(KnownOutput),
    /// The runner did not accept the order, as far as is known.
    Unaccepted(String),
    /// The order was not sent, so no task has begun.
    NotSent(String),
    /// The same, because the cluster does not allow the connection.
    Refused(String),
}

/// A pod that has been claimed, and where what it sends goes.
pub struct Exchange {
    /// The cluster.
    pub cluster: Arc<Cluster>,
    /// The pod's name.
    pub pod: String,
    /// What it is sent.
    pub order: StandbyOrder,
    /// The task's own log.
    pub log: Arc<LogWriter>,
    /// Receives the report.
    pub early: watch::Sender<Option<ContainerEnd>>,
    /// Receives how much has arrived.
    pub progress: watch::Sender<ExchangeProgress>,
}

/// How far an exchange has come.
#[derive(Clone, Copy, Debug, Default)]
pub struct ExchangeProgress {
    /// When the report had arrived.
    pub reported_at: Option<Instant>,
    /// What has arrived.
    pub known: KnownOutput,
}

impl Exchange {
    /// Sends the order and reads to the end.
    pub async fn run(&self) -> ExchangeEnd {
        let params = AttachParams::default()
            .container(TASK_CONTAINER)
            .stdin(true)
            .stdout(true)
            .stderr(true)
            .max_stdin_buf_size(BUFFER_BYTES)
            .max_stdout_buf_size(BUFFER_BYTES)
            .max_stderr_buf_size(BUFFER_BYTES);
        let mut line = match serde_json::to_vec(&self.order) {
            Ok(line) => line,
            Err(error) => return ExchangeEnd::NotSent(format!("the order cannot be written: {error}")),
        };
        line.push(b'\n');
        let attached = tokio::time::timeout(ATTACH_TIMEOUT, self.cluster.pods.attach(&self.pod, &params)).await;
        let attached = match attached {
            Ok(Ok(attached)) => attached,
            Ok(Err(kube::Error::Api(status))) if matches!(status.code, 401 | 403) => {
                return ExchangeEnd::Refused(format!(
                    "the cluster refuses connections to pods, the right `create` on `pods/attach`: {}",
                    status.message
                ));
            }
            Ok(Err(error)) => return ExchangeEnd::NotSent(error.to_string()),
            Err(_) => return ExchangeEnd::NotSent(format!("no connection within {} s", ATTACH_TIMEOUT.as_secs())),
        };
        self.talk(attached, &line).await
    }

    async fn talk(&self, mut attached: AttachedProcess, order: &[u8]) -> ExchangeEnd {
        let streams = (attached.stdin(), attached.stdout(), attached.stderr());
        let (Some(mut input), Some(stdout), Some(stderr)) = streams else {
            return ExchangeEnd::NotSent("the connection lacks a stream".to_owned());
        };
        let sent = async { input.write_all(order).await.and(input.flush().await) };
        if !matches!(tokio::time::timeout(ACCEPT_TIMEOUT, sent).await, Ok(Ok(()))) {
            return ExchangeEnd::Unaccepted("the connection broke while the order was sent".to_owned());
        }
        let mut progress = self.progress.subscribe();
        let status = attached.take_status();
        tokio::select! {
            // Both streams share one connection, so each must be read whatever the other does.
            ((), ()) = async { tokio::join!(self.read_stdout(stdout), self.read_stderr(stderr)) } => {}
            end = self.wait_for_end(&mut progress, input) => return end,
        }
        let known = self.progress.borrow().known;
        if known.read == [0; 2] {
            return ExchangeEnd::Unaccepted("the connection ended before the runner accepted the order".to_owned());
        }
        // The node sends a status when the container has ended.
        let status = async { status?.await };
        let has_ended = matches!(tokio::time::timeout(STATUS_TIMEOUT, status).await, Ok(Some(_)));
        if has_ended || self.is_complete() {
            ExchangeEnd::Complete
        } else {
            ExchangeEnd::Broken(known)
        }
    }

    /// Waits for what ends the exchange although the connection lasts. Closes the input once the report is there: the runner
    /// waits for that, so that nothing it wrote is cut off.
    async fn wait_for_end(
        &self,
        progress: &mut watch::Receiver<ExchangeProgress>,
        input: impl AsyncWrite + Unpin,
    ) -> ExchangeEnd {
        let accepted = progress.wait_for(|progress| progress.known.read[0] > 0);
        if tokio::time::timeout(ACCEPT_TIMEOUT, accepted).await.is_err() {
            let message = format!(
                "the runner did not accept the order within {} s",
                ACCEPT_TIMEOUT.as_secs()
            );
            return ExchangeEnd::Unaccepted(message);
        }
        // An error cannot occur: this exchange holds the sender.
        let _ = progress.wait_for(|progress| progress.reported_at.is_some()).await;
        let began = Instant::now();
        loop {
            let seen = self.progress.borrow().known;
            let complete = progress.wait_for(|_| self.is_complete());
            if tokio::time::timeout(LAST_OUTPUT_TIMEOUT, complete).await.is_ok() {
                break;
            }
            // Output that the reader has not taken yet has arrived; output that keeps arriving is not lost.
            let is_moving = self.log.is_behind() || self.progress.borrow().known != seen;
            if !is_moving || began.elapsed() > LATE_OUTPUT_TIMEOUT {
                break;
            }
        }
        drop(input);
        // What has not arrived by now is lost, and the outcome says so.
        ExchangeEnd::Complete
    }

    /// True if the report is there, and all output that it counts.
    fn is_complete(&self) -> bool {
        let end = self.early.borrow();
        let Some(end) = end.as_ref() else { return false };
        let expected = match serde_json::from_str(&end.message) {
            Ok(RunReport::Finished { stdout, stderr, .. }) => {
                [stdout, stderr].map(|output: Output| output.passed_bytes)
            }
            Ok(RunReport::Missed { .. }) => [0; 2],
            // The text is no report, so the container's state decides.
            Err(_) => return true,
        };
        let passed = self.progress.borrow().known.passed;
        passed
            .iter()
            .zip(expected)
            .all(|(passed, expected)| *passed >= expected)
    }

    async fn read_stdout(&self, stdout: impl AsyncRead + Unpin) {
        let mut scanner = TrailerScanner::new(Some(&self.order.token));
        self.read(Stream::Stdout, stdout, |piece, passed| scanner.take(piece, passed))
            .await;
        let held = scanner.finish();
        self.pass(Stream::Stdout, 0, &held).await;
    }

    async fn read_stderr(&self, stderr: impl AsyncRead + Unpin) {
        let take = |piece: &[u8], passed: &mut Vec<u8>| {
            passed.extend_from_slice(piece);
            None
        };
        self.read(Stream::Stderr, stderr, take).await;
    }

    async fn read(
        &self,
        stream: Stream,
        mut source: impl AsyncRead + Unpin,
        mut take: impl FnMut(&[u8], &mut Vec<u8>) -> Option<String>,
    ) {
        let mut buffer = vec![0; BUFFER_BYTES];
        // An error is the end: the caller sees that the report is missing.
        while let Ok(count @ 1..) = source.read(&mut buffer).await {
            let mut passed = Vec::new();
            let report = take(&buffer[..count], &mut passed);
            self.pass(stream, count, &passed).await;
            if let Some(message) = report {
                self.early.send_replace(Some(ContainerEnd {
                    code: 0,
                    reason: "Completed".to_owned(),
                    message,
                }));
                self.progress
                    .send_modify(|progress| progress.reported_at = Some(Instant::now()));
            }
        }
    }

    /// Passes on what the task wrote, once there is room for it.
    async fn pass(&self, stream: Stream, read: usize, passed: &[u8]) {
        if !passed.is_empty() {
            self.log.room().await;
            self.log.append(stream, passed);
        }
        let at = usize::from(stream == Stream::Stderr);
        self.progress.send_modify(|progress| {
            progress.known.read[at] += read as u64;
            progress.known.passed[at] += passed.len() as u64;
        });
    }
}
