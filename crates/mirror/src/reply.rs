//! Answers: what was recorded, and what is on its way.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Empty, StreamBody};
use hyper::body::Frame;
use hyper::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderName,
    HeaderValue,
};
use hyper::{HeaderMap, Method, Response, StatusCode};
use tokio::sync::watch;

use crate::counts::Counts;
use crate::network::Pacer;
use crate::range::{self, Part};
use crate::recording::{Blob, Entry, Recording};
use crate::transfer::State;

/// Bytes that are sent at once without a pacer.
const PIECE: usize = 64 << 10;
/// Longest wait for the next piece of a file that is on its way.
const WAIT: Duration = Duration::from_secs(120);

pub type Body = UnsyncBoxBody<Bytes, io::Error>;

/// How bodies are sent.
#[derive(Clone)]
pub struct Sending {
    pub counts: Arc<Counts>,
    /// `None` sends as fast as the machine can.
    pub pacer: Option<Arc<Pacer>>,
}

/// A status without a body.
pub fn status(status: u16) -> Response<Body> {
    let mut response = Response::new(empty());
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY);
    response
        .headers_mut()
        .insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
    response
}

fn empty() -> Body {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

fn set(response: &mut Response<Body>, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}

/// An answer of the recording.
pub fn recorded(
    recording: &Recording,
    entry: &Entry,
    (method, headers): (&Method, &HeaderMap),
    sending: &Sending,
) -> Response<Body> {
    let Some(whole) = &entry.blob else {
        return status(entry.status);
    };
    let packed = entry.gzip.as_ref().filter(|_| range::takes_gzip(headers));
    let blob = packed.unwrap_or(whole);
    let tag = format!("\"{}\"", &blob.sha256[..32]);
    let part = if packed.is_some() {
        Part::Whole
    } else {
        Part::wanted(headers, blob.bytes)
    };
    let mut response = match (range::has_already(headers, &tag), part) {
        (true, _) => status(304),
        (false, Part::Outside) => status(416),
        (false, part) => content(recording, blob, part, method, sending),
    };
    if part == Part::Outside {
        set(&mut response, CONTENT_RANGE, &format!("bytes */{}", blob.bytes));
    }
    set(&mut response, ETAG, &tag);
    set(&mut response, CONTENT_TYPE, &entry.media_type);
    if packed.is_some() {
        set(&mut response, CONTENT_ENCODING, "gzip");
    } else {
        set(&mut response, ACCEPT_RANGES, "bytes");
    }
    if let Some(kept) = &entry.cache_control {
        set(&mut response, CACHE_CONTROL, kept);
    }
    response
}

fn content(recording: &Recording, blob: &Blob, part: Part, method: &Method, sending: &Sending) -> Response<Body> {
    let (from, to) = match part {
        Part::Bytes(from, to) => (from, to),
        _ => (0, blob.bytes),
    };
    let Ok(file) = recording.open(blob) else {
        return status(500);
    };
    let mut response = Response::new(match *method {
        Method::HEAD => empty(),
        _ => file_body(file, (from, to), sending.clone()),
    });
    if let Part::Bytes(..) = part {
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
        set(
            &mut response,
            CONTENT_RANGE,
            &format!("bytes {from}-{}/{}", to - 1, blob.bytes),
        );
    }
    set(&mut response, CONTENT_LENGTH, &(to - from).to_string());
    response
}

/// A part of a file, piece by piece.
fn file_body(file: File, (from, to): (u64, u64), sending: Sending) -> Body {
    let pieces = stream::unfold((file, from), move |(file, at)| {
        let sending = sending.clone();
        async move {
            if at >= to {
                return None;
            }
            let piece = read(&file, at, to, &sending).await;
            let next = at + piece.as_ref().map_or(to, |piece| piece.len() as u64);
            Some((piece.map(Frame::data), (file, next)))
        }
    });
    StreamBody::new(pieces).boxed_unsync()
}

/// The next piece, when the network has let it pass.
async fn read(file: &File, at: u64, to: u64, sending: &Sending) -> io::Result<Bytes> {
    let most = sending.pacer.as_ref().map_or(PIECE, |pacer| pacer.piece());
    let length = usize::try_from(to - at).unwrap_or(usize::MAX).min(most);
    let mut piece = vec![0; length];
    // From memory as a rule: recordings are read once before they are served, and recorders have just written.
    file.read_exact_at(&mut piece, at)?;
    if let Some(pacer) = &sending.pacer {
        pacer.pass(length).await;
    }
    sending.counts.sent(length);
    Ok(piece.into())
}

/// Waits for an answer to a file that is on its way, and begins to send it.
pub async fn following(
    recording: &Recording,
    mut state: watch::Receiver<State>,
    (method, headers): (&Method, &HeaderMap),
    sending: &Sending,
) -> Response<Body> {
    let begun = state.wait_for(|state| !matches!(state, State::Waiting));
    let begun = match tokio::time::timeout(WAIT, begun).await {
        Ok(Ok(state)) => state.clone(),
        _ => State::Failed(504),
    };
    match begun {
        State::Done(entry) => recorded(recording, &entry, (method, headers), sending),
        State::Running {
            path,
            length,
            media_type,
            ..
        } => match File::open(path) {
            Ok(file) => {
                let mut response = Response::new(match *method {
                    Method::HEAD => empty(),
                    _ => growing_body(file, state, sending.clone()),
                });
                set(&mut response, CONTENT_TYPE, &media_type);
                if let Some(length) = length {
                    set(&mut response, CONTENT_LENGTH, &length.to_string());
                }
                response
            }
            // It has got its name meanwhile.
            Err(_) => finished(recording, state, (method, headers), sending).await,
        },
        State::Waiting | State::Failed(502) => status(502),
        State::Failed(code) => status(code),
    }
}

async fn finished(
    recording: &Recording,
    mut state: watch::Receiver<State>,
    request: (&Method, &HeaderMap),
    sending: &Sending,
) -> Response<Body> {
    let ended = state.wait_for(|state| matches!(state, State::Done(_) | State::Failed(_)));
    match tokio::time::timeout(WAIT, ended).await {
        Ok(Ok(ended)) => match &*ended {
            State::Done(entry) => recorded(recording, entry, request, sending),
            _ => status(502),
        },
        _ => status(504),
    }
}

/// A file that is still being written. It ends early, so that the client sees it, if the file turns out to be wrong.
fn growing_body(file: File, state: watch::Receiver<State>, sending: Sending) -> Body {
    let pieces = stream::unfold(Some((file, 0, state)), move |going| {
        let sending = sending.clone();
        async move {
            let (file, at, mut state) = going?;
            let piece = match readable(&mut state, at).await {
                Ok(to) if at < to => read(&file, at, to, &sending).await,
                Ok(_) => return None,
                Err(error) => Err(error),
            };
            let next = piece.as_ref().ok().map(|piece| at + piece.len() as u64);
            Some((piece.map(Frame::data), next.map(|next| (file, next, state))))
        }
    });
    StreamBody::new(pieces).boxed_unsync()
}

/// Waits until there is more than `at` to read, and returns the end of it; the same as `at` if that is all.
async fn readable(state: &mut watch::Receiver<State>, at: u64) -> io::Result<u64> {
    let more = state.wait_for(|state| match state {
        State::Running { readable, .. } => *readable > at,
        _ => true,
    });
    let more = tokio::time::timeout(WAIT, more)
        .await
        .map_err(|_| io::ErrorKind::TimedOut)?;
    match &*more.map_err(|_| io::ErrorKind::BrokenPipe)? {
        State::Running { readable, .. } => Ok(*readable),
        State::Done(entry) => Ok(entry.blob.as_ref().map_or(0, |blob| blob.bytes)),
        State::Waiting | State::Failed(_) => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}
