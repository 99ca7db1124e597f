//! Streams to and from the engine: uploads of archives, and progress messages.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::time::Duration;

use futures_util::{Stream, StreamExt};
use hybrid_cache_tools::{Error, ErrorContext, Result, failed};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::engine_error;
use super::types::Listener;

/// Longest time until the engine answers a request.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// Longest time without output during one piece of work, such as a silent step of a build or the unpacking of a layer.
pub const SILENCE_TIMEOUT: Duration = Duration::from_secs(600);

/// An error message of the engine.
pub trait Says {
    /// The text of the message.
    fn said(&self) -> String;
}

/// An error with the failed action, the engine's message and the next step.
pub fn failed(what: impl AsRef<str>, error: &impl Says) -> Error {
    let said = error.said();
    let (said, hint) = (said.trim(), engine_error::hint(&said));
    failed!("{}: {said}\nhint: {hint}", what.as_ref())
}

/// An error with its causes; the last cause of an HTTP client is the one that matters.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let said = error.to_string();
        if !text.contains(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        cause = error.source();
    }
    text
}

/// The error of an action that exceeded its time limit.
pub fn overdue(what: &str, deadline: Duration) -> Error {
    let (seconds, hint) = (deadline.as_secs(), engine_error::hint("i/o timeout"));
    failed!("{what}: not done after {seconds} s\nhint: {hint}")
}

/// Waits for the answer to a request.
///
/// # Errors
/// The engine refuses, or is silent for [`ANSWER_TIMEOUT`].
pub async fn answer<T, E: Says>(what: &str, question: impl Future<Output = Result<T, E>>) -> Result<T> {
    let answered = timeout(ANSWER_TIMEOUT, question).await;
    let answered = answered.map_err(|_| {
        failed!(
            "{what}: the Docker engine did not answer\nhint: {}",
            engine_error::hint("")
        )
    })?;
    answered.map_err(|error| failed(what, &error))
}

/// Passes each message of a stream to `take`. The stream may last for any time, but each message must come in time.
///
/// # Errors
/// The engine says that it failed, goes away, or is silent for [`SILENCE_TIMEOUT`].
pub async fn follow<T, E: Says>(
    what: &str,
    stream: impl Stream<Item = Result<T, E>>,
    mut take: impl FnMut(T),
) -> Result<()> {
    let mut stream = std::pin::pin!(stream);
    loop {
        match timeout(SILENCE_TIMEOUT, stream.next()).await {
            Ok(Some(item)) => take(item.map_err(|error| failed(what, &error))?),
            Ok(None) => return Ok(()),
            Err(_) => {
                let (seconds, hint) = (SILENCE_TIMEOUT.as_secs(), engine_error::hint(""));
                return Err(failed!(
                    "{what}: the Docker engine sent nothing for {seconds} s\nhint: {hint}"
                ));
            }
        }
    }
}

const PIECE_BYTES: usize = 1 << 20;
/// Pieces that wait for the engine: enough to keep disk and socket busy at the same time.
const PIECES: usize = 4;

/// A file that is uploaded to the engine.
pub struct Upload {
    file: File,
}

impl Upload {
    /// Opens the file.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn open(path: &Path) -> Result<Upload> {
        let file = File::open(path).with_context(|| format!("opening {}", path.display()))?;
        Ok(Upload { file })
    }

    /// The file's bytes, read on a separate thread, which ends when the receiver is dropped.
    pub fn pieces(self) -> impl Stream<Item = io::Result<Vec<u8>>> + Send + 'static {
        let (send, receive) = mpsc::channel(PIECES);
        let mut file = self.file;
        std::thread::spawn(move || {
            loop {
                let mut piece = Vec::with_capacity(PIECE_BYTES);
                let read = file.by_ref().take(PIECE_BYTES as u64).read_to_end(&mut piece);
                let is_last = !matches!(read, Ok(bytes) if bytes > 0);
                let piece = match read {
                    Ok(0) => return,
                    other => other.map(|_| piece),
                };
                if send.blocking_send(piece).is_err() || is_last {
                    return;
                }
            }
        });
        futures_util::stream::unfold(receive, |mut receive| async {
            let piece = receive.recv().await?;
            Some((piece, receive))
        })
    }
}

/// Passes on a progress message, with the layer that it belongs to.
pub fn pass_on(listen: Listener<'_>, said: Option<&str>, about: Option<&str>) {
    let Some(said) = said.map(str::trim).filter(|said| !said.is_empty()) else {
        return;
    };
    match about {
        Some(about) => listen(&[about, ": ", said].concat()),
        None => listen(said),
    }
}

/// The last lines of a build's output: if a build fails, the engine's message has only the exit code.
#[derive(Debug, Default)]
pub struct LastLines {
    lines: VecDeque<String>,
}

const LAST_LINES: usize = 12;

impl LastLines {
    /// Keeps a line.
    pub fn keep(&mut self, line: &str) {
        if self.lines.len() == LAST_LINES {
            self.lines.pop_front();
        }
        self.lines.push_back(line.trim_end().to_owned());
    }

    /// The kept lines as the beginning of an error message.
    pub fn in_words(&self) -> String {
        let mut text = String::from("the build said last:");
        for line in &self.lines {
            text.push_str("\n    ");
            text.push_str(line);
        }
        text.push('\n');
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_arrives_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let bytes: Vec<u8> = (0..=250).cycle().take(3 * PIECE_BYTES + 17).collect();
        std::fs::write(&path, &bytes).unwrap();
        let pieces = Upload::open(&path).unwrap().pieces();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let arrived = runtime.block_on(pieces.collect::<Vec<_>>());
        let arrived: Vec<u8> = arrived.into_iter().flat_map(Result::unwrap).collect();
        assert_eq!(arrived, bytes);
    }

    #[test]
    fn only_the_last_lines_are_kept() {
        let mut last = LastLines::default();
        (0..30).for_each(|number| last.keep(&format!("line {number}")));
        let words = last.in_words();
        assert!(words.contains("line 29") && words.contains("line 18") && !words.contains("line 17\n"));
    }
}
