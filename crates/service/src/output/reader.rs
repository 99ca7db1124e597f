//! Reads a task's output from any position, and follows it while it grows.
//!
//! A follower reads the file at a position of its own, and the writer only wakes it. So a slow client loses nothing and
//! costs one buffer, however much the task prints.

use hybrid_cache_api::TaskId;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;

use hybrid_cache_driver::log::Stream;
use tokio::sync::watch;

use super::frame::{self, MAX_FRAME_BYTES, MAX_HEAD_BYTES};
use super::live::{Live, OutputProgress};

/// Bytes read at once: at least one frame.
const BUFFER_BYTES: usize = MAX_FRAME_BYTES + MAX_HEAD_BYTES;

/// What a reader does at the end of the stored output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Follow {
    /// It ends.
    Stored,
    /// It waits until the task has ended.
    UntilEnd,
}

/// A chunk of output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutputChunk {
    /// The stream it is from.
    pub stream: Stream,
    /// The bytes, 64 KiB at most; not necessarily UTF-8, not necessarily whole lines.
    pub bytes: Vec<u8>,
    /// Bytes of both streams up to its end: where to continue after it.
    pub next: u64,
}

/// Reads one task's output.
pub struct OutputReader {
    path: PathBuf,
    file: Option<Arc<File>>,
    /// Where the next frame begins.
    at: u64,
    /// Bytes of both streams before it.
    passed: u64,
    /// Bytes of both streams to skip.
    from: u64,
    source: Source,
}

/// How far it may read, and whether more may come.
enum Source {
    /// Up to the end of the file.
    Kept,
    /// As far as the writer has come.
    Followed(Subscription),
}

struct Subscription {
    id: TaskId,
    live: Live,
    progress_sender: Arc<watch::Sender<OutputProgress>>,
    progress: watch::Receiver<OutputProgress>,
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.live.leave(&self.id, &self.progress_sender);
    }
}

impl OutputReader {
    /// Reads what is stored.
    pub(super) fn kept(path: PathBuf, from: u64) -> OutputReader {
        OutputReader {
            path,
            file: None,
            at: 0,
            passed: 0,
            from,
            source: Source::Kept,
        }
    }

    /// Reads what is stored and what is still to come.
    pub(super) fn followed(path: PathBuf, from: u64, id: &TaskId, live: &Live) -> OutputReader {
        let progress_sender = live.enter(id);
        let place = Subscription {
            id: id.clone(),
            live: live.clone(),
            progress: progress_sender.subscribe(),
            progress_sender,
        };
        OutputReader {
            source: Source::Followed(place),
            ..OutputReader::kept(path, from)
        }
    }

    /// The task has already ended, so nobody will announce it.
    pub(super) fn has_ended(&mut self) {
        self.source = Source::Kept;
    }

    /// The next chunk; a follower waits for it. `None` at the end. Dropping the future loses nothing.
    ///
    /// # Errors
    /// The file cannot be read.
    pub async fn next(&mut self) -> io::Result<Option<OutputChunk>> {
        loop {
            let (limit, closed) = match &mut self.source {
                Source::Kept => (u64::MAX, true),
                Source::Followed(place) => {
                    let progress = *place.progress.borrow_and_update();
                    (progress.extent.file_bytes, progress.closed)
                }
            };
            if self.at < limit
                && let Some(chunk) = self.read(limit).await?
            {
                return Ok(Some(chunk));
            }
            let Source::Followed(place) = &mut self.source else {
                return Ok(None);
            };
            if closed {
                return Ok(None);
            }
            // The subscription owns the sender, so this cannot fail.
            if place.progress.changed().await.is_err() {
                return Ok(None);
            }
        }
    }

    /// The next chunk in the file up to `limit`.
    async fn read(&mut self, limit: u64) -> io::Result<Option<OutputChunk>> {
        let (path, known) = (self.path.clone(), self.file.clone());
        let mut walk = Walk {
            at: self.at,
            passed: self.passed,
            from: self.from,
            limit,
        };
        let done = tokio::task::spawn_blocking(move || {
            let Some(file) = known.map_or_else(|| open(&path), |file| Ok(Some(file)))? else {
                return Ok((None, None, walk));
            };
            let chunk = walk.next(&file)?;
            Ok::<_, io::Error>((Some(file), chunk, walk))
        });
        let (file, chunk, walk) = done.await.map_err(io::Error::other)??;
        self.file = file;
        (self.at, self.passed) = (walk.at, walk.passed);
        Ok(chunk)
    }
}

fn open(path: &PathBuf) -> io::Result<Option<Arc<File>>> {
    match File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        other => Ok(Some(Arc::new(other?))),
    }
}

/// A walk over frames.
struct Walk {
    at: u64,
    passed: u64,
    from: u64,
    limit: u64,
}

impl Walk {
    fn next(&mut self, file: &File) -> io::Result<Option<OutputChunk>> {
        let mut buffer = vec![0; BUFFER_BYTES];
        loop {
            let room = usize::try_from(self.limit - self.at)
                .unwrap_or(usize::MAX)
                .min(BUFFER_BYTES);
            let read = read_at(file, &mut buffer[..room], self.at)?;
            let (used, chunk) = self.take(&buffer[..read]);
            self.at += used as u64;
            if chunk.is_some() || used == 0 {
                return Ok(chunk);
            }
        }
    }

    /// Takes complete frames from the front: those to be skipped, and then all adjacent ones of one stream.
    fn take(&mut self, mut bytes: &[u8]) -> (usize, Option<OutputChunk>) {
        let mut used = 0;
        let mut chunk: Option<OutputChunk> = None;
        while let Some(head) = frame::head(bytes) {
            let Some(whole) = bytes.get(head.head_bytes..head.head_bytes + head.bytes) else {
                break;
            };
            if chunk.as_ref().is_some_and(|chunk| chunk.stream != head.stream) {
                break;
            }
            used += head.head_bytes + head.bytes;
            bytes = &bytes[head.head_bytes + head.bytes..];
            let skip = self.from.saturating_sub(self.passed);
            self.passed += head.bytes as u64;
            let wanted = usize::try_from(skip).ok().and_then(|skip| whole.get(skip..));
            let Some(wanted) = wanted.filter(|wanted| !wanted.is_empty()) else {
                continue;
            };
            let chunk = chunk.get_or_insert_with(|| OutputChunk {
                stream: head.stream,
                bytes: Vec::new(),
                next: 0,
            });
            chunk.bytes.extend_from_slice(wanted);
            chunk.next = self.passed;
        }
        (used, chunk)
    }
}

/// Fills the buffer as far as the file goes.
fn read_at(file: &File, buffer: &mut [u8], at: u64) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read_at(&mut buffer[filled..], at + filled as u64) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
