//! Files on their way from an upstream into the recording. One that is asked for twice is fetched once, and goes on if its client goes.

use std::collections::HashMap;
use std::io::Read as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Semaphore, watch};
use url::Url;

use crate::client::{Answer, Client};
use crate::counts::Counts;
use crate::recording::{Entry, Recording};

/// Most files that are fetched at once.
const AT_ONCE: usize = 16;
/// Bytes that are written at once.
const PIECE: usize = 128 << 10;
/// Bytes that clients get only when the whole file is known to be right, so that none takes a wrong one for whole.
const HELD_BACK: u64 = 1;

/// How far a file is.
#[derive(Clone, Debug)]
pub enum State {
    /// The upstream has not answered.
    Waiting,
    /// It is coming.
    Running {
        /// The file that it is written to.
        path: PathBuf,
        /// Its size, if the upstream says it.
        length: Option<u64>,
        /// Its media type.
        media_type: String,
        /// Bytes that may be read.
        readable: u64,
    },
    /// It is recorded.
    Done(Entry),
    /// It is not recorded; the status is for the client.
    Failed(u16),
}

/// What is to be fetched.
pub struct Wanted {
    pub place: String,
    /// Identity of the upstream's address, as [`Entry`] has it.
    pub upstream: Option<String>,
    /// The request, for messages.
    pub shown: String,
    pub url: Url,
    pub sha256: Option<String>,
}

/// All files on their way.
pub struct Transfers {
    client: Arc<Client>,
    recording: Arc<Recording>,
    counts: Arc<Counts>,
    running: Arc<Mutex<HashMap<String, watch::Receiver<State>>>>,
    slots: Arc<Semaphore>,
    stop: Arc<AtomicBool>,
}

impl Transfers {
    pub fn new(
        client: Arc<Client>,
        recording: Arc<Recording>,
        counts: Arc<Counts>,
        stop: Arc<AtomicBool>,
    ) -> Transfers {
        Transfers {
            client,
            recording,
            counts,
            running: Arc::default(),
            slots: Arc::new(Semaphore::new(AT_ONCE)),
            stop,
        }
    }

    /// True if nothing is on its way.
    pub fn is_idle(&self) -> bool {
        lock(&self.running).is_empty()
    }

    /// Follows a file, which is fetched if that has not begun.
    pub fn follow(&self, wanted: Wanted) -> watch::Receiver<State> {
        let mut running = lock(&self.running);
        if let Some(state) = running.get(&wanted.place) {
            return state.clone();
        }
        let (progress, state) = watch::channel(State::Waiting);
        running.insert(wanted.place.clone(), state.clone());
        drop(running);
        let (client, recording) = (Arc::clone(&self.client), Arc::clone(&self.recording));
        let (counts, all) = (Arc::clone(&self.counts), Arc::clone(&self.running));
        let (slots, stop) = (Arc::clone(&self.slots), Arc::clone(&self.stop));
        tokio::spawn(async move {
            let slot = slots.acquire_owned().await;
            let (place, shown) = (wanted.place.clone(), wanted.shown.clone());
            let progress = Arc::new(progress);
            let inner = Arc::clone(&progress);
            let fetched = tokio::task::spawn_blocking(move || fetch(&client, &recording, &wanted, &inner, &stop)).await;
            let fetched = fetched.unwrap_or_else(|_| Err((502, "the mirror failed".to_owned())));
            let end = fetched.map_or_else(
                |(status, why)| {
                    counts.problem(format!("{shown}: {why}"));
                    State::Failed(status)
                },
                State::Done,
            );
            // Whoever finds that nothing is on its way also finds the problem.
            lock(&all).remove(&place);
            drop(slot);
            progress.send_replace(end);
        });
        state
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Fetches a file into the recording.
///
/// # Errors
/// The status for the client, and what was wrong.
fn fetch(
    client: &Client,
    recording: &Recording,
    wanted: &Wanted,
    progress: &watch::Sender<State>,
    stop: &AtomicBool,
) -> Result<Entry, (u16, String)> {
    let bad = |why: String| (502, why);
    let answer = client.get(&wanted.url, None).map_err(bad)?;
    let mut entry = Entry {
        place: wanted.place.clone(),
        upstream: wanted.upstream.clone(),
        status: answer.status,
        blob: None,
        media_type: answer.media_type.clone(),
        cache_control: answer.cache_control.clone(),
        gzip: None,
        links: None,
    };
    match answer.status {
        200 => entry.blob = Some(body(recording, answer, wanted, progress, stop)?),
        404 | 410 => {}
        status => return Err((passed_on(status), format!("the upstream answered {status}"))),
    }
    recording.keep(entry.clone()).map_err(|why| (502, why.to_string()))?;
    Ok(entry)
}

/// The status of an answer that is not recorded, for the client.
pub fn passed_on(status: u16) -> u16 {
    if (400..600).contains(&status) { status } else { 502 }
}

fn body(
    recording: &Recording,
    mut answer: Answer,
    wanted: &Wanted,
    progress: &watch::Sender<State>,
    stop: &AtomicBool,
) -> Result<crate::recording::Blob, (u16, String)> {
    let disk = |why: crate::recording::Unkept| (507, why.to_string());
    let mut incoming = recording.incoming().map_err(|error| disk(error.into()))?;
    let state = |readable| State::Running {
        path: incoming_path(&incoming),
        length: answer.length,
        media_type: answer.media_type.clone(),
        readable,
    };
    progress.send_replace(state(0));
    let (mut buffer, mut bytes) = (vec![0; PIECE], 0_u64);
    loop {
        if stop.load(Ordering::Relaxed) {
            return Err((503, "the mirror ended before it was whole".to_owned()));
        }
        let read = answer.body.read(&mut buffer);
        let read = read.map_err(|error| (502, format!("it ended early: {}", error.kind())))?;
        if read == 0 {
            break;
        }
        incoming.write(&buffer[..read]).map_err(disk)?;
        bytes += read as u64;
        progress.send_modify(|state| {
            if let State::Running { readable, .. } = state {
                *readable = bytes.saturating_sub(HELD_BACK);
            }
        });
    }
    if let Some(length) = answer.length.filter(|length| *length != bytes) {
        return Err((502, format!("it ended after {bytes} of {length} bytes")));
    }
    incoming
        .keep(wanted.sha256.as_deref())
        .map_err(|why| (502, why.to_string()))
}

fn incoming_path(incoming: &crate::recording::Incoming<'_>) -> PathBuf {
    incoming.path().to_owned()
}
