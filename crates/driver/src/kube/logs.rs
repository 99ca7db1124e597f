//! Follows the log of a task's container into the task's own log, live, and knows when it is complete.
//!
//! A kubelet ends a followed log up to a second after its container. The runner has counted what it passed on, so the
//! log is known to be complete as soon as so many bytes have come, and nobody waits for that second.
//!
//! Kubernetes tells standard output and standard error apart only with the feature `PodLogsQuerySplitStreams` (alpha
//! and off by default up to 1.36). Without it both arrive as one, and all of it counts as standard output.

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

use super::cluster::Cluster;
use super::lane::{Lane, Sieve};
use super::names::TASK_CONTAINER;
use super::pulse::Pulse;
use super::retry::{ANSWER, PATIENCE};
use super::sight::Ended;
use super::workload::Kind;
use crate::log::{LogWriter, Stream};

/// How long the last output may take after the container's end, while the cluster answers.
const LAST_OUTPUT: Duration = Duration::from_secs(5);
/// The same while what came is still being kept elsewhere, or more keeps coming.
const LAST_OUTPUT_MOST: Duration = Duration::from_secs(600);
/// First pause before a log that broke off is asked for again.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// Longest such pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// A log that ends while its container seems to run: how long its end may take to be shown.
const END_SHOWN: Duration = Duration::from_secs(2);

/// Once the container has ended: how long its followed log may stay silent before it is asked for without following. A
/// connection whose other end is gone says nothing, and a kubelet ends a followed log within about a second.
const SILENCE: Duration = Duration::from_millis(1500);
/// How often the log of a container that has ended is asked for again where it ends before all of it has come.
const SHORT_TRIES: u32 = 3;

/// Whether a cluster can tell the two streams apart.
#[derive(Default)]
pub struct Splitting(AtomicU8);

const UNKNOWN: u8 = 0;
const SPLIT: u8 = 1;
const JOINED: u8 = 2;

/// What is known of the container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Container {
    Runs,
    /// It has ended, and its runner passed on so many bytes, where it could say so.
    Ended(Option<[u64; 2]>),
}

/// How far a log has come.
#[derive(Clone, Copy, Debug, Default)]
pub struct Received {
    /// Bytes so far, of both streams.
    pub bytes: u64,
    /// When a stream last ended by itself.
    pub ended: Option<Instant>,
    /// When the runner's report had come.
    pub told: Option<Instant>,
    /// True, for each stream, while the cluster does not answer or sends nothing where something must come.
    cut_off: [bool; 2],
}

/// One container's log being followed.
pub struct Tail {
    container: watch::Sender<Container>,
    /// How far it has come.
    pub received: watch::Receiver<Received>,
    following: JoinSet<()>,
    log: Arc<LogWriter>,
}

/// Whose log is followed, and to where.
pub struct Source {
    /// The cluster.
    pub cluster: Arc<Cluster>,
    /// Whether it tells the streams apart.
    pub splitting: Arc<Splitting>,
    /// What carries the pod.
    pub kind: Kind,
    /// The pod.
    pub pod: String,
    /// The task's own log.
    pub log: Arc<LogWriter>,
    /// What its runner's report is known by.
    pub token: Option<String>,
    /// Hears of the report.
    pub early: watch::Sender<Option<Ended>>,
}

/// What one follower works with.
struct Follower {
    source: Source,
    container: watch::Receiver<Container>,
    received: watch::Sender<Received>,
}

impl Tail {
    /// Begins to follow.
    pub fn start(source: Source) -> Tail {
        let (container, container_state) = watch::channel(Container::Runs);
        let (received_sender, received) = watch::channel(Received::default());
        let log = Arc::clone(&source.log);
        let follower = Follower {
            source,
            container: container_state,
            received: received_sender,
        };
        let mut following = JoinSet::new();
        following.spawn(follower.follow());
        Tail {
            container,
            received,
            following,
            log,
        }
    }

    /// Waits until everything has come that the container wrote before it ended: as many bytes as its runner passed
    /// on, or the end of the log. Returns how far it came, and what is missing.
    pub async fn finish(mut self, passed: Option<[Output; 2]>, pulse: &Arc<Pulse>) -> (Received, Option<String>) {
        let expected = passed.map(|passed| passed.map(|output| output.passed_bytes));
        self.container.send_replace(Container::Ended(expected));
        let counted = pulse.begin();
        let (began, mut seen) = (Instant::now(), self.received.borrow().bytes);
        loop {
            let whole = async { while self.following.join_next().await.is_some() {} };
            let in_time = tokio::time::timeout(LAST_OUTPUT, whole).await.is_ok();
            let received = *self.received.borrow();
            // Output that waits to be kept has come; output that keeps coming is on its way.
            let moves = self.log.is_behind() || received.bytes > seen;
            seen = received.bytes;
            if !in_time && moves && began.elapsed() < LAST_OUTPUT_MOST {
                continue;
            }
            // An API server that restarts has the log when it is back. What does not come at all is told below.
            if in_time || received.cut_off == [false; 2] || counted.elapsed() > PATIENCE {
                break;
            }
        }
        let received = *self.received.borrow();
        let expected: u64 = expected.iter().flatten().sum();
        let missing = expected.checked_sub(received.bytes).filter(|missing| *missing > 0);
        let missing = missing.map(|missing| {
            format!("{missing} bytes of output were lost on the way: the node had removed them, or did not send them")
        });
        (received, missing)
    }
}

/// How far one lane has come.
struct Position {
    /// Bytes of the log, the runner's report among them.
    read: u64,
    /// Bytes of the task.
    passed: u64,
    sieve: Sieve,
}

impl Follower {
    async fn follow(self) {
        if self.source.splitting.0.load(Ordering::Relaxed) != JOINED {
            let split = [Stream::Stdout, Stream::Stderr].map(|stream| self.lane(Lane::One(stream)));
            let [stdout, stderr] = split;
            let (one, other) = tokio::join!(stdout, stderr);
            if one.is_ok() && other.is_ok() {
                return;
            }
        }
        // The cluster has refused to split before a byte had come.
        let _ = self.lane(Lane::Both).await;
    }

    /// Follows one lane to its end. An error: the cluster does not split.
    async fn lane(&self, lane: Lane) -> Result<(), NotSplit> {
        let mut position = Position {
            read: 0,
            passed: 0,
            sieve: Sieve::of(lane, self.source.kind, self.source.token.as_deref()),
        };
        self.to_its_end(lane, &mut position).await?;
        self.cut_off(lane, false);
        let held = position.sieve.finish();
        self.pass(lane, &held, &mut position).await;
        Ok(())
    }

    async fn to_its_end(&self, lane: Lane, got: &mut Position) -> Result<(), NotSplit> {
        let mut container = self.container.clone();
        let mut pause = FIRST_PAUSE;
        let mut short = 0;
        loop {
            let asked_in = *container.borrow_and_update();
            let follow = asked_in == Container::Runs;
            if self.is_whole(lane, got.passed, &container) {
                return Ok(());
            }
            let opened = tokio::select! {
                opened = self.open(lane, follow) => opened,
                // A stream on which nothing is written is not answered before its container has ended.
                () = self.becomes_whole(lane, got.passed) => return Ok(()),
                () = self.silence(follow) => {
                    self.cut_off(lane, true);
                    Err(OpenError::Broken)
                }
            };
            let read = match opened {
                Ok(stream) => {
                    pause = FIRST_PAUSE;
                    self.read(stream, lane, got, follow).await
                }
                Err(OpenError::NotSplit) => return Err(NotSplit),
                Err(OpenError::Gone) if !follow => return Ok(()),
                Err(OpenError::Gone | OpenError::Broken) => Read::Broken,
            };
            match read {
                Read::Whole => return Ok(()),
                // A node that is behind may still write the last of it.
                Read::End if !follow && matches!(asked_in, Container::Ended(Some(_))) && short < SHORT_TRIES => {
                    short += 1;
                    tokio::time::sleep(FIRST_PAUSE * short).await;
                }
                Read::End if !follow => return Ok(()),
                Read::End => {
                    // It ended with its container, whose end is about to be shown, or was cut off politely.
                    let shown = container.wait_for(|state| *state != Container::Runs);
                    let shown = tokio::time::timeout(END_SHOWN, shown).await.map(|shown| shown.is_ok());
                    if shown == Ok(false) || self.is_whole(lane, got.passed, &container) {
                        return Ok(());
                    }
                }
                Read::Broken => {
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
    }

    /// Resolves when it is known that no more will come.
    async fn becomes_whole(&self, lane: Lane, got: u64) {
        let mut container = self.container.clone();
        while !self.is_whole(lane, got, &container) {
            if container.changed().await.is_err() {
                return;
            }
        }
    }

    /// Resolves where nothing has come for so long that the connection counts as lost: soon on one that follows a container
    /// which has ended. One that follows a running container may be silent for ever.
    async fn silence(&self, follow: bool) {
        let mut container = self.container.clone();
        // An error means that whoever waits for the log is gone, and this with it.
        let _ = container.wait_for(|state| *state != Container::Runs).await;
        tokio::time::sleep(if follow { SILENCE } else { ANSWER }).await;
    }

    fn is_whole(&self, lane: Lane, got: u64, container: &watch::Receiver<Container>) -> bool {
        match *container.borrow() {
            Container::Ended(Some(expected)) => got >= lane.expected(expected),
            Container::Ended(None) | Container::Runs => false,
        }
    }

    /// Reads what the log holds beyond what has been got already.
    async fn read(&self, mut stream: impl AsyncRead + Unpin, lane: Lane, got: &mut Position, follow: bool) -> Read {
        let mut container = self.container.clone();
        let mut buffer = vec![0; 64 << 10];
        let mut known = got.read;
        loop {
            if self.is_whole(lane, got.passed, &container) {
                return Read::Whole;
            }
            let read = tokio::select! {
                read = stream.read(&mut buffer) => read,
                () = self.silence(follow) => Err(std::io::ErrorKind::TimedOut.into()),
                changed = container.changed() => match changed {
                    Ok(()) => continue,
                    Err(_) => return Read::Whole,
                },
            };
            let count = match read {
                Ok(0) => break,
                Ok(count) => count,
                Err(_) => {
                    self.cut_off(lane, true);
                    return Read::Broken;
                }
            };
            // A log is asked for from its beginning each time; what has been got before is passed over.
            let skipped = usize::try_from(known).map_or(count, |known| known.min(count));
            known -= skipped as u64;
            let news = &buffer[skipped..count];
            if !news.is_empty() {
                self.cut_off(lane, false);
            }
            got.read += news.len() as u64;
            let mut passed = Vec::new();
            let report = got.sieve.take(news, &mut passed);
            self.pass(lane, &passed, got).await;
            if let Some(report) = report {
                self.tell(report);
            }
        }
        self.cut_off(lane, false);
        self.received
            .send_modify(|received| received.ended = Some(Instant::now()));
        if self.is_whole(lane, got.passed, &container) {
            Read::Whole
        } else {
            Read::End
        }
    }

    /// Passes on what the task wrote, once there is room for it.
    async fn pass(&self, lane: Lane, bytes: &[u8], got: &mut Position) {
        if bytes.is_empty() {
            return;
        }
        self.source.log.room().await;
        got.passed += bytes.len() as u64;
        self.source.log.append(lane.target(), bytes);
        self.received
            .send_modify(|received| received.bytes += bytes.len() as u64);
    }

    /// Tells of the runner's report.
    fn tell(&self, message: String) {
        self.received
            .send_modify(|received| received.told = Some(Instant::now()));
        self.source.early.send_replace(Some(Ended {
            code: 0,
            reason: "Completed".to_owned(),
            message,
        }));
    }

    fn cut_off(&self, lane: Lane, is_cut_off: bool) {
        let index = usize::from(lane.target() == Stream::Stderr);
        self.received.send_if_modified(|received| {
            let before = std::mem::replace(&mut received.cut_off[index], is_cut_off);
            before != is_cut_off
        });
    }

    async fn open(&self, lane: Lane, follow: bool) -> Result<impl AsyncRead + Unpin + use<>, OpenError> {
        let params = LogParams {
            container: Some(TASK_CONTAINER.to_owned()),
            follow,
            ..LogParams::default()
        };
        let url = Pod::url_path(&(), Some(&self.source.cluster.namespace));
        let mut request = Request::new(url)
            .logs(&self.source.pod, &params)
            .map_err(|_| OpenError::Broken)?;
        let target = format!("{}{}", request.uri(), lane.query());
        *request.uri_mut() = target.parse().map_err(|_| OpenError::Broken)?;
        let opening = self.source.cluster.client.request_stream(request);
        let Ok(opened) = tokio::time::timeout(ANSWER, opening).await else {
            self.cut_off(lane, true);
            return Err(OpenError::Broken);
        };
        match &opened {
            // What it sends shows whether it is one that answers.
            Ok(_) => {}
            Err(kube::Error::Api(status)) => self.cut_off(lane, status.code >= 500),
            Err(_) => self.cut_off(lane, true),
        }
        match opened {
            Ok(stream) => {
                if lane != Lane::Both {
                    self.source.splitting.0.store(SPLIT, Ordering::Relaxed);
                }
                Ok(Box::pin(stream))
            }
            Err(kube::Error::Api(status)) if status.code == 404 => Err(OpenError::Gone),
            Err(kube::Error::Api(status))
                if lane != Lane::Both && status.message.contains("stream") && status.code < 500 =>
            {
                let known = &self.source.splitting.0;
                let _ = known.compare_exchange(UNKNOWN, JOINED, Ordering::Relaxed, Ordering::Relaxed);
                Err(OpenError::NotSplit)
            }
            Err(_) => Err(OpenError::Broken),
        }
    }
}

/// The cluster does not tell the streams apart.
struct NotSplit;

/// How reading one connection came to its end.
enum Read {
    /// Everything has come.
    Whole,
    /// The log ended.
    End,
    /// The connection did.
    Broken,
}

enum OpenError {
    NotSplit,
    Gone,
    Broken,
}
