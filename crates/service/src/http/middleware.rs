//! What surrounds every request: access, a request id, a time limit, metrics, and the headers and error body of the
//! response.

use std::time::Instant;

use axum::body::Body;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Redirect, Response};
use tokio::time::timeout;

use super::app::App;
use super::caller::Caller;
use super::rejection::Rejection;
use crate::page::problem_page;
use hybrid_cache_api::{MEDIA_TYPE, Problem, ProblemType};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const MAX_REQUEST_ID: usize = 64;

/// What a response may do in a browser that shows it: use the pages' own scripts, styles and requests, and nothing
/// else.
const PAGE_POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self' data:; \
     form-action 'self'; base-uri 'none'; frame-ancestors 'none'";
const DATA_POLICY: &str = "default-src 'none'; frame-ancestors 'none'";

/// Headers of every response.
const ALWAYS: [(HeaderName, &str); 5] = [
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "same-origin"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
];

/// What is needed of a request after it was handled.
struct RequestInfo {
    method: Method,
    path: String,
    route: Option<MatchedPath>,
    by_person: bool,
    request_id: HeaderValue,
}

impl RequestInfo {
    fn new(request: &Request, app: &App) -> RequestInfo {
        let path = request.uri().path();
        RequestInfo {
            method: request.method().clone(),
            by_person: !path.starts_with("/api/") && wants_page(request.headers()),
            path: path.to_owned(),
            route: request.extensions().get::<MatchedPath>().cloned(),
            request_id: request_id(request.headers(), app),
        }
    }
}

/// The outermost layer.
pub async fn handle(State(app): State<App>, mut request: Request, next: Next) -> Response {
    let clock = Instant::now();
    let info = RequestInfo::new(&request, &app);
    let within = app.config().request_timeout;
    let mut response = match app.guard().admit(&request) {
        Err(rejection)
            if rejection.problem().code == ProblemType::Unauthorized
                && info.by_person
                && info.method == Method::GET =>
        {
            Redirect::to("/login").into_response()
        }
        Err(rejection) => rejection.into_response(),
        // A stream has time limits of its own: its head is here at once.
        Ok(tenant) => {
            request.extensions_mut().insert(Caller(tenant));
            match timeout(within, next.run(request)).await {
                Ok(response) => response,
                Err(_) => {
                    let detail = format!("there was no answer within {} s", within.as_secs());
                    Rejection::from(Problem::new(ProblemType::Timeout, detail).retry_after(5)).into_response()
                }
            }
        }
    };
    complete(&mut response, &info);
    let (status, took) = (response.status(), clock.elapsed());
    let route = info.route.as_ref().map(MatchedPath::as_str);
    app.durations().note(route, &info.method, status, took);
    log(&info, route, status, took.as_millis());
    response
}

/// Adds the document to an error, and the headers to every response.
fn complete(response: &mut Response, info: &RequestInfo) {
    let problem = match response.extensions_mut().remove::<Problem>() {
        Some(problem) => Some(problem),
        None => unexplained(response),
    };
    if let Some(mut problem) = problem {
        problem.instance = Some(info.path.clone());
        let (media_type, body) = if info.by_person {
            ("text/html; charset=utf-8", problem_page(&problem).into_string())
        } else {
            (MEDIA_TYPE, problem.json())
        };
        response
            .headers_mut()
            .insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
        response.headers_mut().remove(header::CONTENT_LENGTH);
        *response.body_mut() = Body::from(body);
    }
    let headers = response.headers_mut();
    for (name, value) in ALWAYS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    let is_page = headers
        .get(header::CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"text/html"));
    let policy = if is_page { PAGE_POLICY } else { DATA_POLICY };
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
    headers
        .entry(header::CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
    headers.insert(REQUEST_ID, info.request_id.clone());
}

/// The problem for an error of the router or an extractor.
fn unexplained(response: &Response) -> Option<Problem> {
    let status = response.status();
    if !status.is_client_error() && !status.is_server_error() {
        return None;
    }
    let already = response.headers().get(header::CONTENT_TYPE);
    if already.is_some_and(|kind| kind.as_bytes().starts_with(b"text/html")) {
        return None;
    }
    let problem = match status {
        StatusCode::NOT_FOUND => {
            Problem::new(ProblemType::UnknownRoute, "there is nothing at this path").hint("GET /docs lists the paths")
        }
        StatusCode::METHOD_NOT_ALLOWED => {
            Problem::new(ProblemType::MethodNotAllowed, "this path does not support this method")
        }
        status if status.is_client_error() => Problem::new(ProblemType::InvalidParameter, "the request cannot be read"),
        _ => Problem::new(ProblemType::Internal, "something went wrong in the service"),
    };
    Some(problem)
}

/// True if a browser shows the response to a person.
fn wants_page(headers: &HeaderMap) -> bool {
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
    accept.is_some_and(|accept| accept.contains("text/html"))
}

/// The client's own id for the request if it is a plain word, or a new one.
fn request_id(headers: &HeaderMap, app: &App) -> HeaderValue {
    let is_plain = |id: &&HeaderValue| {
        let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.".contains(byte);
        (1..=MAX_REQUEST_ID).contains(&id.len()) && id.as_bytes().iter().all(plain)
    };
    let sent = headers.get(REQUEST_ID).filter(is_plain).cloned();
    sent.unwrap_or_else(|| {
        let own = HeaderValue::try_from(app.next_request_id());
        own.unwrap_or_else(|_| HeaderValue::from_static("unknown"))
    })
}

/// Logs neither path nor query, because they hold the client's text.
fn log(info: &RequestInfo, route: Option<&str>, status: StatusCode, took_ms: u128) {
    let (method, route) = (&info.method, route.unwrap_or("none"));
    let (status, id) = (status.as_u16(), info.request_id.to_str().unwrap_or_default());
    match info.method {
        _ if status >= 500 => tracing::warn!(%method, route, status, took_ms, request = id, "answered"),
        Method::GET | Method::HEAD => tracing::debug!(%method, route, status, took_ms, request = id, "answered"),
        _ => tracing::info!(%method, route, status, took_ms, request = id, "answered"),
    }
}
