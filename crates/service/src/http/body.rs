//! Reads request bodies with bounds on size, time and memory.

use axum::body::Body;
use axum::http::{HeaderMap, header};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use tokio::time::timeout;

use super::app::App;
use super::memory::{Memory, Reservation, SMALL_BYTES};
use super::rejection::Answer;
use hybrid_cache_api::{Problem, ProblemType};

/// Bytes of a body that is too large which are read and thrown away, so that its sender reads the response.
const DRAINED_BYTES: usize = 24 << 20;
/// Most characters of a name that a response repeats.
const SHOWN_CHARS: usize = 60;

/// How many times its size a large body counts: for itself and for what is parsed from it.
const TIMES: usize = 2;

/// A body that was read completely.
pub struct ReceivedBody {
    /// Its bytes.
    pub bytes: Bytes,
    /// Its share of the memory, if it is large. Hold it as long as anything made from the body.
    pub reservation: Option<Reservation>,
}

/// Reads a body of this media type.
///
/// # Errors
/// The body has another type, is too large or too slow, or breaks off.
pub async fn read(app: &App, headers: &HeaderMap, media_type: &str, body: Body) -> Answer<ReceivedBody> {
    check_media_type(headers, media_type)?;
    let most = app.config().body_bytes;
    let announced = headers.get(header::CONTENT_LENGTH);
    let announced = announced.and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    let within = app.config().body_timeout;
    let reading = collect(body, app.memory(), announced.unwrap_or(most).min(most), most);
    match timeout(within, reading).await {
        Ok(read) => read,
        Err(_) => {
            let detail = format!("the body was not complete after {} s", within.as_secs());
            Err(Problem::new(ProblemType::TooSlow, detail).into())
        }
    }
}

fn check_media_type(headers: &HeaderMap, expected: &str) -> Answer<()> {
    let sent = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = sent.map(|sent| sent.split(';').next().unwrap_or_default().trim());
    let detail = match essence {
        Some(essence) if essence.eq_ignore_ascii_case(expected) => return Ok(()),
        Some(essence) => format!("the Content-Type is {}", shown(essence)),
        None => "there is no Content-Type header".to_owned(),
    };
    let problem = Problem::new(ProblemType::UnsupportedMediaType, detail).parameter("Content-Type");
    Err(problem.hint(format!("send `Content-Type: {expected}`")).into())
}

/// Reads up to `most` bytes of about `expected`. If the body is not small, it waits for memory.
async fn collect(mut body: Body, memory: &Memory, expected: usize, most: usize) -> Answer<ReceivedBody> {
    let mut read = BytesMut::new();
    let mut reservation = None;
    let mut passed = 0;
    while let Some(frame) = body.frame().await {
        let broken = |_| Problem::new(ProblemType::InvalidJson, "the body breaks off");
        let Ok(data) = frame.map_err(broken)?.into_data() else {
            continue;
        };
        passed += data.len();
        if passed > SMALL_BYTES && passed <= most && reservation.is_none() {
            reservation = memory.take(expected.saturating_mul(TIMES)).await;
            read.reserve(expected.saturating_sub(read.len()));
        }
        if passed <= most {
            read.extend_from_slice(&data);
        } else if passed > DRAINED_BYTES {
            break;
        } else {
            // The bytes read so far are no longer needed.
            (read, reservation) = (BytesMut::new(), None);
        }
    }
    if passed <= most {
        let bytes = read.freeze();
        return Ok(ReceivedBody { bytes, reservation });
    }
    let problem = Problem::new(ProblemType::TooLarge, format!("the body has more than {most} bytes"));
    Err(problem
        .hint("put the bulk into a package, or let the program read it as data")
        .into())
}

fn shown(text: &str) -> String {
    let cut: String = text.chars().take(SHOWN_CHARS).collect();
    let more = if cut.len() < text.len() { "…" } else { "" };
    format!("`{cut}{more}`")
}
