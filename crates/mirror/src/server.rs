//! The server: a thread of its own, so that nothing that is measured waits behind a request of another program.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::{Semaphore, oneshot};

use crate::client::{Client, ClientSettings};
use crate::counts::Counts;
use crate::error::MirrorError;
use crate::network::{Pacer, ReplayNetwork};
use crate::recording::Recording;
use crate::reply::Sending;
use crate::serve::{Recorder, Site};
use crate::transfer::Transfers;
use crate::upstream::Upstream;

/// Most connections at once; further ones wait.
const MAX_CONNECTIONS: usize = 256;
/// Longest time until the next request of a connection is read.
const HEADER_LIMIT: Duration = Duration::from_secs(60);
/// Longest life of a connection.
const CONNECTION_LIMIT: Duration = Duration::from_secs(3600);
/// How long threads are waited for that still ask an upstream when the mirror ends.
const END_LIMIT: Duration = Duration::from_secs(1);
/// How often [`Mirror::settle`] looks.
const LOOK: Duration = Duration::from_millis(20);

/// Records or replays.
pub enum Mode {
    /// What is not recorded is fetched and kept.
    Record {
        /// How upstreams are reached.
        client: Box<ClientSettings>,
        /// Most bytes of the recording.
        max_bytes: u64,
        /// The sha256 of files by their path below an upstream of files, as far as they are known.
        digests: BTreeMap<String, String>,
    },
    /// Only what is recorded is served.
    Replay(ReplayNetwork),
}

/// What a mirror serves.
pub struct MirrorOptions {
    /// The recording's folder.
    pub folder: PathBuf,
    /// Records or replays.
    pub mode: Mode,
    /// The servers that it stands for. A replay serves only what was recorded from their addresses, and whatever was recorded for a
    /// label that is not among them.
    pub upstreams: Vec<Upstream>,
}

/// A mirror that serves until it is dropped. What is on its way then is not recorded.
pub struct Mirror {
    address: SocketAddr,
    site: Arc<Site>,
    stop: Arc<AtomicBool>,
    end: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// What a mirror has done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Served {
    /// Digest of the recording.
    pub digest: String,
    /// Requests of clients.
    pub requests: u64,
    /// Bytes of bodies that clients got.
    pub bytes: u64,
    /// Paths that were asked for and are not recorded; at most 200.
    pub missing: Vec<String>,
    /// What could not be recorded, and why; at most 200.
    pub problems: Vec<String>,
}

impl Mirror {
    /// Opens the recording and listens on a port of loopback.
    ///
    /// # Errors
    /// The recording cannot be used, or no port is free.
    pub fn start(options: MirrorOptions) -> Result<Mirror, MirrorError> {
        let counts = Arc::new(Counts::default());
        let stop = Arc::new(AtomicBool::new(false));
        let site = Arc::new(site(options, &counts, &stop)?);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(MirrorError::Start)?;
        listener.set_nonblocking(true).map_err(MirrorError::Start)?;
        let address = listener.local_addr().map_err(MirrorError::Start)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(MirrorError::Start)?;
        let (end, ended) = oneshot::channel();
        let served = Arc::clone(&site);
        let serve = move || {
            runtime.block_on(async {
                tokio::select! {
                    () = accept(listener, served) => {}
                    _ = ended => {}
                }
            });
            runtime.shutdown_timeout(END_LIMIT);
        };
        let thread = std::thread::Builder::new().name("mirror".to_owned()).spawn(serve);
        Ok(Mirror {
            address,
            site,
            stop,
            end: Some(end),
            thread: Some(thread.map_err(MirrorError::Start)?),
        })
    }

    /// The address that stands for an upstream, with a slash at its end. It holds the mirror's secret.
    pub fn address(&self, label: &str) -> String {
        format!("http://{}/{}/{label}/", self.address, self.site.secret)
    }

    /// Waits until every file that is on its way is recorded or has failed, but no longer than this. Returns false if one is still on
    /// its way then.
    pub async fn settle(&self, longest: Duration) -> bool {
        let ends = Instant::now() + longest;
        let Some(recorder) = &self.site.recorder else {
            return true;
        };
        while !recorder.transfers.is_idle() {
            if Instant::now() >= ends {
                return false;
            }
            tokio::time::sleep(LOOK).await;
        }
        true
    }

    /// What it has done until now.
    pub fn so_far(&self) -> Served {
        let counts = &self.site.counts;
        Served {
            digest: self.site.recording.digest(),
            requests: counts.requests(),
            bytes: counts.bytes(),
            missing: counts.all_missing(),
            problems: counts.all_problems(),
        }
    }

    fn stop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(end) = self.end.take() {
            let _ = end.send(());
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Mirror {
    fn drop(&mut self) {
        self.stop();
    }
}

fn site(options: MirrorOptions, counts: &Arc<Counts>, stop: &Arc<AtomicBool>) -> Result<Site, MirrorError> {
    let MirrorOptions {
        folder,
        mode,
        upstreams,
    } = options;
    let mut random = [0; 16];
    getrandom::fill(&mut random).map_err(|error| MirrorError::Start(std::io::Error::other(error.to_string())))?;
    let identities = upstreams.iter().map(|one| (one.label.clone(), one.identity()));
    let identities = identities.collect();
    let secret: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    let (recording, network, recorder) = match mode {
        Mode::Replay(network) => (Arc::new(Recording::to_replay(&folder)?), Some(network), None),
        Mode::Record {
            client,
            max_bytes,
            digests,
        } => {
            let recording = Arc::new(Recording::to_record(&folder, max_bytes)?);
            let client = Arc::new(Client::new(*client, &upstreams)?);
            let transfers = Transfers::new(
                Arc::clone(&client),
                Arc::clone(&recording),
                Arc::clone(counts),
                Arc::clone(stop),
            );
            let recorder = Recorder::new(client, upstreams, transfers, digests);
            (recording, None, Some(recorder))
        }
    };
    let pacer = network.map(|network| Arc::new(Pacer::new(network.bits_per_s)));
    Ok(Site {
        secret,
        recording,
        counts: Arc::clone(counts),
        identities,
        sending: Sending {
            counts: Arc::clone(counts),
            pacer,
        },
        round_trip: network.map_or(Duration::ZERO, |network| network.round_trip),
        recorder,
    })
}

async fn accept(listener: TcpListener, site: Arc<Site>) {
    let Ok(listener) = tokio::net::TcpListener::from_std(listener) else {
        return;
    };
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    while let Ok(place) = Arc::clone(&places).acquire_owned().await {
        let Ok((stream, _)) = listener.accept().await else {
            // As when there are too many open files: the next one may work.
            tokio::time::sleep(LOOK).await;
            continue;
        };
        let _ = stream.set_nodelay(true);
        let site = Arc::clone(&site);
        tokio::spawn(async move {
            let _place = place;
            let is_new = Arc::new(AtomicBool::new(true));
            let service = service_fn(move |request| {
                let (site, is_new) = (Arc::clone(&site), Arc::clone(&is_new));
                async move { Ok::<_, Infallible>(site.answer(&is_new, request).await) }
            });
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEADER_LIMIT)
                .serve_connection(TokioIo::new(stream), service);
            // What a connection ended with concerns its client alone.
            let _ = tokio::time::timeout(CONNECTION_LIMIT, connection).await;
        });
    }
}
