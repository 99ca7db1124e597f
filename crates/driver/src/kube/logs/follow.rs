//! Follows the log of a task's container into the task's own log, live, and knows when it is complete.
//!
//! A kubelet ends a followed log up to a second after its container. The runner reports how many bytes it passed on, so
//! the log is complete as soon as that many have arrived, and the driver does not wait for the second.
//!
//! Kubernetes separates standard output and standard error only with the feature `PodLogsQuerySplitStreams` (alpha, and
//! off by default up to 1.36). Without it both arrive as one stream, which counts as standard output.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use futures_util::{AsyncRead, AsyncReadExt};
use hybrid_cache_model::outcome::Output;
use k8s_openapi::api::core::v1::Pod;
use kube::Resource;
use kube::api::{LogParams, Request};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::kube::api::cluster::Cluster;
use crate::kube::api::pulse::Pulse;
use crate::kube::api::retry::{ANSWER_TIMEOUT, OUTAGE_TIMEOUT};
use crate::kube::logs::log_filter::{LogFilter, LogStreams};
use crate::kube::logs::notes::NoteFilter;
use crate::kube::names::TASK_CONTAINER;
use crate::kube::observe::observed::ContainerEnd;
use crate::kube::workload::kind::WorkloadKind;
use crate::log::{LogWriter, Stream};

/// How long the last output may take after the container's end, while the cluster answers.
const LAST_OUTPUT_TIMEOUT: Duration = Duration::from_secs(5);
/// The same while the log's reader is behind, or more output keeps arriving.
const LATE_OUTPUT_TIMEOUT: Duration = Duration::from_secs(600);
/// First pause before a log that broke off is requested again.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// Longest such pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// If a log ends while its container seems to run: how long the container's end may take to be shown.
const END_SHOWN_TIMEOUT: Duration = Duration::from_secs(2);

/// Once the container has ended: how long its followed log may stay silent before it is requested without following. A
/// connection whose other end is gone shows no error, and a kubelet ends a followed log within about a second.
const SILENCE_TIMEOUT: Duration = Duration::from_millis(1500);
/// How often the log of an ended container is requested again if it ends too early.
const MAX_SHORT_READS: u32 = 3;

/// Whether the cluster separates the two streams: unknown, split, or joined.
#[derive(Default)]
pub struct StreamSplitting(AtomicU8);

const UNKNOWN: u8 = 0;
const SPLIT: u8 = 1;
const JOINED: u8 = 2;

/// What is known of the container whose log is followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ContainerState {
    Running,
    /// It has ended. The bytes that its runner passed on by stream; `None` if there is no report.
    Ended(Option<[u64; 2]>),
}

/// How much of a log has arrived.
#[derive(Clone, Copy, Debug, Default)]
pub struct LogProgress {
    /// Bytes of both streams so far.
    pub bytes: u64,
    /// When a stream last ended by itself.
    pub ended: Option<Instant>,
    /// When the runner's report had arrived.
    pub reported_at: Option<Instant>,
    /// True, by stream, while the cluster does not answer, or sends nothing although something is missing.
    cut_off: [bool; 2],
}

/// A container's log that is being followed.
pub struct LogTail {
    container: watch::Sender<ContainerState>,
    /// How much has arrived.
    pub progress: watch::Receiver<LogProgress>,
    following: JoinSet<()>,
    log: Arc<LogWriter>,
}

/// Which log is followed, and where it goes.
pub struct LogSource {
    /// The cluster.
    pub cluster: Arc<Cluster>,
    /// Whether it separates the streams.
    pub splitting: Arc<StreamSplitting>,
    /// The kind of workload that owns the pod.
    pub kind: WorkloadKind,
    /// The pod's name.
    pub pod: String,
    /// The task's own log.
    pub log: Arc<LogWriter>,
    /// The token that marks the runner's report; `None` if the log holds none.
    pub token: Option<String>,
    /// Receives the report.
    pub early: watch::Sender<Option<ContainerEnd>>,
    /// What has arrived already over another connection.
    pub known: KnownOutput,
}

/// Output that has arrived over another connection, by stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KnownOutput {
    /// Bytes of the log, including what the runner says in it.
    pub read: [u64; 2],
    /// Bytes of the task's output.
    pub passed: [u64; 2],
    /// True if the container was started again since: its log is that of an earlier container.
    pub is_previous: bool,
}

/// Follows one log, in a background task.
struct Follower {
    source: LogSource,
    container: watch::Receiver<ContainerState>,
    progress: watch::Sender<LogProgress>,
}

impl LogTail {
    /// Begins to follow.
    pub fn start(source: LogSource) -> LogTail {
        let (container, container_state) = watch::channel(ContainerState::Running);
        let (progress_sender, progress) = watch::channel(LogProgress {
            bytes: source.known.passed.iter().sum(),
            ..LogProgress::default()
        });
        let log = Arc::clone(&source.log);
        let follower = Follower {
            source,
            container: container_state,
            progress: progress_sender,
        };
        let mut following = JoinSet::new();
        following.spawn(follower.follow());
        LogTail {
            container,
            progress,
            following,
            log,
        }
    }

    /// Waits until everything has arrived that the container wrote before it ended: as many bytes as its runner passed on,
    /// or the end of the log. Returns how much arrived, and a warning if something is missing.
    pub async fn finish(mut self, passed: Option<[Output; 2]>, pulse: &Arc<Pulse>) -> (LogProgress, Option<String>) {
        let expected = passed.map(|passed| passed.map(|output| output.passed_bytes));
        self.container.send_replace(ContainerState::Ended(expected));
        let clock = pulse.begin();
        let (began, mut seen) = (Instant::now(), self.progress.borrow().bytes);
        loop {
            let all_read = async { while self.following.join_next().await.is_some() {} };
            let in_time = tokio::time::timeout(LAST_OUTPUT_TIMEOUT, all_read).await.is_ok();
            let received = *self.progress.borrow();
            // Output that the reader has not taken yet has arrived; output that keeps arriving is not lost.
            let is_moving = self.log.is_behind() || received.bytes > seen;
            seen = received.bytes;
            if !in_time && is_moving && began.elapsed() < LATE_OUTPUT_TIMEOUT {
                continue;
            }
            // A restarting API server still has the log when it is back. What never arrives is reported below.
            if in_time || received.cut_off == [false; 2] || clock.elapsed() > OUTAGE_TIMEOUT {
                break;
            }
        }
        let received = *self.progress.borrow();
        (received, missing(expected, received.bytes))
    }
}

/// A warning if fewer bytes have arrived than the runner passed on.
pub fn missing(expected: Option<[u64; 2]>, received: u64) -> Option<String> {
    let expected: u64 = expected.iter().flatten().sum();
    let missing = expected.checked_sub(received).filter(|missing| *missing > 0)?;
    Some(format!(
        "{missing} bytes of output were lost on the way: the node had removed them, or did not send them"
    ))
}

/// How far one connection's log has been read.
struct StreamPosition {
    /// Bytes of the log, including the runner's report.
    read: u64,
    /// Bytes of the task's output.
    passed: u64,
    filter: LogFilter,
}

impl Follower {
    async fn follow(self) {
        if self.source.splitting.0.load(Ordering::Relaxed) != JOINED {
            let split = [Stream::Stdout, Stream::Stderr].map(|stream| self.follow_streams(LogStreams::One(stream)));
            let [stdout, stderr] = split;
            let (one, other) = tokio::join!(stdout, stderr);
            if one.is_ok() && other.is_ok() {
                return;
            }
        }
        // The cluster refused to split the streams before a byte arrived.
        let _ = self.follow_streams(LogStreams::Both).await;
    }

    /// Follows one or both streams to their end. An error means that the cluster does not split them.
    async fn follow_streams(&self, streams: LogStreams) -> Result<(), NotSplit> {
        let known = &self.source.known;
        let mut position = StreamPosition {
            read: streams.expected(known.read),
            passed: streams.expected(known.passed),
            filter: LogFilter::new(streams, self.source.kind, self.source.token.as_deref()),
        };
        self.read_to_end(streams, &mut position).await?;
        self.set_cut_off(streams, false);
        let held = position.filter.finish();
        self.pass(streams, &held, &mut position).await;
        Ok(())
    }

    async fn read_to_end(&self, streams: LogStreams, position: &mut StreamPosition) -> Result<(), NotSplit> {
        let mut container = self.container.clone();
        let mut pause = FIRST_PAUSE;
        let mut short = 0;
        loop {
            let requested_in = *container.borrow_and_update();
            let follow = requested_in == ContainerState::Running;
            if self.is_complete(streams, position.passed, &container) {
                return Ok(());
            }
            let opened = tokio::select! {
                opened = self.open(streams, follow) => opened,
                // The cluster does not answer for a stream on which nothing is written before its container ends.
                () = self.becomes_complete(streams, position.passed) => return Ok(()),
                () = self.silence(follow) => {
                    self.set_cut_off(streams, true);
                    Err(OpenError::Broken)
                }
            };
            let read = match opened {
                Ok(stream) => {
                    pause = FIRST_PAUSE;
                    self.read(stream, streams, position, follow).await
                }
                Err(OpenError::NotSplit) => return Err(NotSplit),
                Err(OpenError::Gone) if !follow => return Ok(()),
                Err(OpenError::Gone | OpenError::Broken) => ReadEnd::Broken,
            };
            match read {
                ReadEnd::Complete => return Ok(()),
                // A node that is behind may still write the rest.
                ReadEnd::LogEnd
                    if !follow && matches!(requested_in, ContainerState::Ended(Some(_))) && short < MAX_SHORT_READS =>
                {
                    short += 1;
                    tokio::time::sleep(FIRST_PAUSE * short).await;
                }
                ReadEnd::LogEnd if !follow => return Ok(()),
                ReadEnd::LogEnd => {
                    // The log ended with its container, whose end is about to be shown, or the connection was closed.
                    let shown = container.wait_for(|state| *state != ContainerState::Running);
                    let shown = tokio::time::timeout(END_SHOWN_TIMEOUT, shown)
                        .await
                        .map(|shown| shown.is_ok());
                    if shown == Ok(false) || self.is_complete(streams, position.passed, &container) {
                        return Ok(());
                    }
                }
                ReadEnd::Broken => {
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
    }

    /// Resolves when it is certain that no more will arrive.
    async fn becomes_complete(&self, streams: LogStreams, passed: u64) {
        let mut container = self.container.clone();
        while !self.is_complete(streams, passed, &container) {
            if container.changed().await.is_err() {
                return;
            }
        }
    }

    /// Resolves once an ended container's log has been silent for so long that the connection counts as lost. The log of a
    /// running container may stay silent for any time.
    async fn silence(&self, follow: bool) {
        let mut container = self.container.clone();
        // An error means that no one waits for the log any longer; then this task is about to be dropped.
        let _ = container.wait_for(|state| *state != ContainerState::Running).await;
        tokio::time::sleep(if follow { SILENCE_TIMEOUT } else { ANSWER_TIMEOUT }).await;
    }

    fn is_complete(&self, streams: LogStreams, passed: u64, container: &watch::Receiver<ContainerState>) -> bool {
        match *container.borrow() {
            ContainerState::Ended(Some(expected)) => passed >= streams.expected(expected),
            ContainerState::Ended(None) | ContainerState::Running => false,
        }
    }

    /// Reads what the log holds beyond what was read before.
    async fn read(
        &self,
        mut stream: impl AsyncRead + Unpin,
        streams: LogStreams,
        position: &mut StreamPosition,
        follow: bool,
    ) -> ReadEnd {
        let mut container = self.container.clone();
        let mut buffer = vec![0; 64 << 10];
        let mut known = position.read;
        let mut notes = (self.source.kind == WorkloadKind::Pod).then(NoteFilter::default);
        loop {
            if self.is_complete(streams, position.passed, &container) {
                return ReadEnd::Complete;
            }
            let read = tokio::select! {
                read = stream.read(&mut buffer) => read,
                () = self.silence(follow) => Err(std::io::ErrorKind::TimedOut.into()),
                changed = container.changed() => match changed {
                    Ok(()) => continue,
                    Err(_) => return ReadEnd::Complete,
                },
            };
            let count = match read {
                Ok(0) => break,
                Ok(count) => count,
                Err(_) => {
                    self.set_cut_off(streams, true);
                    return ReadEnd::Broken;
                }
            };
            let piece = &buffer[..count];
            let piece = notes.as_mut().map_or(Cow::Borrowed(piece), |notes| notes.take(piece));
            // Each request reads the log from its beginning, so skip what was read before.
            let skipped = usize::try_from(known).map_or(piece.len(), |known| known.min(piece.len()));
            known -= skipped as u64;
            let new = &piece[skipped..];
            if !new.is_empty() {
                self.set_cut_off(streams, false);
            }
            position.read += new.len() as u64;
            let mut passed = Vec::new();
            let report = position.filter.take(new, &mut passed);
            self.pass(streams, &passed, position).await;
            if let Some(report) = report {
                self.report(report);
            }
        }
        self.set_cut_off(streams, false);
        self.progress
            .send_modify(|progress| progress.ended = Some(Instant::now()));
        if self.is_complete(streams, position.passed, &container) {
            ReadEnd::Complete
        } else {
            ReadEnd::LogEnd
        }
    }

    /// Passes on what the task wrote, once there is room for it.
    async fn pass(&self, streams: LogStreams, bytes: &[u8], position: &mut StreamPosition) {
        if bytes.is_empty() {
            return;
        }
        self.source.log.room().await;
        position.passed += bytes.len() as u64;
        self.source.log.append(streams.target(), bytes);
        self.progress
            .send_modify(|progress| progress.bytes += bytes.len() as u64);
    }

    /// Passes on the runner's report.
    fn report(&self, message: String) {
        self.progress
            .send_modify(|progress| progress.reported_at = Some(Instant::now()));
        self.source.early.send_replace(Some(ContainerEnd {
            code: 0,
            reason: "Completed".to_owned(),
            message,
        }));
    }

    fn set_cut_off(&self, streams: LogStreams, is_cut_off: bool) {
        let index = usize::from(streams.target() == Stream::Stderr);
        self.progress.send_if_modified(|progress| {
            let before = std::mem::replace(&mut progress.cut_off[index], is_cut_off);
            before != is_cut_off
        });
    }

    async fn open(&self, streams: LogStreams, follow: bool) -> Result<impl AsyncRead + Unpin + use<>, OpenError> {
        let params = LogParams {
            container: Some(TASK_CONTAINER.to_owned()),
            follow,
            previous: self.source.known.is_previous,
            ..LogParams::default()
        };
        let url = Pod::url_path(&(), Some(&self.source.cluster.namespace));
        let mut request = Request::new(url)
            .logs(&self.source.pod, &params)
            .map_err(|_| OpenError::Broken)?;
        let target = format!("{}{}", request.uri(), streams.query());
        *request.uri_mut() = target.parse().map_err(|_| OpenError::Broken)?;
        let opening = self.source.cluster.client.request_stream(request);
        let Ok(opened) = tokio::time::timeout(ANSWER_TIMEOUT, opening).await else {
            self.set_cut_off(streams, true);
            return Err(OpenError::Broken);
        };
        match &opened {
            // What it sends will show whether it answers.
            Ok(_) => {}
            Err(kube::Error::Api(status)) => self.set_cut_off(streams, status.code >= 500),
            Err(_) => self.set_cut_off(streams, true),
        }
        match opened {
            Ok(stream) => {
                if streams != LogStreams::Both {
                    self.source.splitting.0.store(SPLIT, Ordering::Relaxed);
                }
                Ok(Box::pin(stream))
            }
            Err(kube::Error::Api(status)) if status.code == 404 => Err(OpenError::Gone),
            Err(kube::Error::Api(status))
                if streams != LogStreams::Both && status.message.contains("stream") && status.code < 500 =>
            {
                let known = &self.source.splitting.0;
                let _ = known.compare_exchange(UNKNOWN, JOINED, Ordering::Relaxed, Ordering::Relaxed);
                Err(OpenError::NotSplit)
            }
            Err(_) => Err(OpenError::Broken),
        }
    }
}

/// The cluster does not separate the streams.
struct NotSplit;

/// How reading one connection ended.
enum ReadEnd {
    /// Everything has arrived.
    Complete,
    /// The log ended.
    LogEnd,
    /// The connection broke.
    Broken,
}

/// Why a log could not be opened.
enum OpenError {
    /// The cluster does not separate the streams.
    NotSplit,
    /// There is no such pod or container.
    Gone,
    /// The connection failed, or the cluster refused.
    Broken,
}
