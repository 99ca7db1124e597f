//! Serves a task's output, as text or as live events.

use hybrid_cache_api::{LogEvent, Problem, StreamName, TaskId};
use std::collections::VecDeque;

use axum::body::{Body, Bytes};
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use hybrid_cache_driver::log::Stream;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::{Instant, sleep, sleep_until};

use super::app::{App, closed};
use super::caller::Own;
use super::follow::{self, Utf8Decoder};
use super::query::{self, Wanted};
use super::rejection::Answer;
use super::tasks::{Params, id_in};
use crate::engine::Engine;
use crate::output::{Follow, OutputReader};
use hybrid_cache_api::ProblemType;

/// How long a client should wait before it continues with another request, in milliseconds.
const RETRY_MS: u32 = 1000;

/// Read or follow a task's output
///
/// Without `follow`, the response is everything printed so far, as text. With `follow=true`, it is a stream of
/// server-sent events: `stdout` and `stderr` events with a JSON string as data, and a final `end` event with the task's
/// state. The id of an event is a number of bytes; send it as `Last-Event-ID` (browsers do) or as `from` to continue
/// after that event.
#[utoipa::path(
    get, path = "/api/v1/tasks/{id}/logs", operation_id = "getTaskLogs", tag = "tasks",
    params(
        ("id" = String, Path, description = "The task's id.", example = "task-abc123"),
        ("follow" = Option<bool>, Query, description = "Live, as server-sent events; false by default."),
        ("stream" = Option<StreamName>, Query, description = "Only one stream; both in their order by default."),
        ("from" = Option<i64>, Query, description = "Bytes of both streams to skip.", minimum = 0),
        ("Last-Event-ID" = Option<i64>, Header, description = "Continue after this event; takes precedence over `from`.", minimum = 0),
    ),
    responses((status = 200, description = "The task's output.",
        content((String = "text/plain"), (LogEvent = "text/event-stream")))),
)]
pub async fn logs(
    State(app): State<App>,
    Own(engine): Own,
    params: Params,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Answer<Response> {
    let wanted = query::logs(query.as_deref())?;
    let from = last_event(&headers)?.or(wanted.from).unwrap_or_default();
    let id = id_in(params)?;
    if wanted.follow {
        return live(app, engine, id, from, wanted).await;
    }
    let reader = engine.output(&id, from, Follow::Stored).await?;
    Ok(text(reader, wanted.stream))
}

fn last_event(headers: &HeaderMap) -> Answer<Option<u64>> {
    let Some(sent) = headers.get("last-event-id") else {
        return Ok(None);
    };
    // A browser that has seen no event yet sends no header, or an empty one.
    let text = sent.to_str().unwrap_or("?").trim();
    if text.is_empty() {
        return Ok(None);
    }
    query::place(text).map(Some).ok_or_else(|| {
        let problem = Problem::new(
            ProblemType::InvalidParameter,
            "it is not the id of an event of this service",
        );
        problem.parameter("Last-Event-ID").into()
    })
}

fn text(reader: OutputReader, only: Option<Stream>) -> Response {
    let chunks = stream::try_unfold(reader, move |mut reader| async move {
        while let Some(chunk) = reader.next().await? {
            if only.is_none_or(|only| only == chunk.stream) {
                return Ok::<_, std::io::Error>(Some((Bytes::from(chunk.bytes), reader)));
            }
        }
        Ok(None)
    });
    let kind = HeaderValue::from_static("text/plain; charset=utf-8");
    ([(header::CONTENT_TYPE, kind)], Body::from_stream(chunks)).into_response()
}

/// One client that follows output. It is dropped with its connection.
struct Follower {
    app: App,
    engine: Engine,
    id: TaskId,
    reader: OutputReader,
    only: Option<Stream>,
    whole: Utf8Decoder,
    ready: VecDeque<Bytes>,
    closing: watch::Receiver<bool>,
    until: Instant,
    over: bool,
    _place: OwnedSemaphorePermit,
}

async fn live(app: App, engine: Engine, id: TaskId, from: u64, wanted: Wanted) -> Answer<Response> {
    let Ok(place) = app.followers().clone().try_acquire_owned() else {
        let detail = format!("{} clients already follow output", app.config().followers);
        return Err(Problem::new(ProblemType::TooMany, detail).retry_after(5).into());
    };
    let reader = engine.output(&id, from, Follow::UntilEnd).await?;
    let follower = Follower {
        until: Instant::now() + app.config().follow_timeout,
        closing: app.closing(),
        reader,
        only: wanted.stream,
        whole: Utf8Decoder::default(),
        ready: VecDeque::from([Bytes::from(format!("retry: {RETRY_MS}\n\n"))]),
        over: false,
        _place: place,
        app,
        engine,
        id,
    };
    let events = stream::unfold(follower, |mut follower| async move {
        let next = follower.next().await?;
        Some((Ok::<_, std::convert::Infallible>(next), follower))
    });
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream")),
        // A proxy that buffers events would delay them.
        (
            header::HeaderName::from_static("x-accel-buffering"),
            HeaderValue::from_static("no"),
        ),
    ];
    Ok((headers, Body::from_stream(events)).into_response())
}

impl Follower {
    /// The next bytes; `None` at the end.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(ready) = self.ready.pop_front() {
                return Some(ready);
            }
            if self.over {
                return None;
            }
            tokio::select! {
                biased;
                // The client continues with another request, to this service or the next one.
                () = closed(&mut self.closing) => return None,
                () = sleep_until(self.until) => return None,
                read = self.reader.next() => match read {
                    Ok(Some(chunk)) => {
                        let pieces = self.whole.take(chunk);
                        self.push(pieces);
                    }
                    Ok(None) => self.end().await,
                    Err(error) => {
                        tracing::warn!(task = %self.id, %error, "output cannot be read");
                        return None;
                    }
                },
                // Keep the connection alive; a failed write also shows that the client is gone.
                () = sleep(self.app.config().keep_alive) => return Some(Bytes::from_static(b": still here\n\n")),
            }
        }
    }

    fn push(&mut self, pieces: impl IntoIterator<Item = follow::TextChunk>) {
        let wanted = pieces
            .into_iter()
            .filter(|piece| self.only.is_none_or(|only| only == piece.stream));
        self.ready
            .extend(wanted.map(|piece| Bytes::from(follow::event(&piece))));
    }

    /// Sends what is left over, and how the task ended. If it has not (because it was deleted, for example), the stream
    /// just ends.
    async fn end(&mut self) {
        self.over = true;
        let left = self.whole.finish();
        self.push(left);
        let Ok(view) = self.engine.get(&self.id).await else {
            return;
        };
        if view.summary.state.is_final() {
            self.ready.push_back(Bytes::from(follow::end_event(&view.summary)));
        }
    }
}
