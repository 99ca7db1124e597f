//! What operators and programs request beside tasks: probes, metrics, and the reference.

use axum::Json;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderName, HeaderValue, header};
use axum::response::{Html, IntoResponse, Response};

use super::app::App;
use super::rejection::Answer;
use super::{description, prometheus, query, reference};
use hybrid_cache_api::{Probe, Problem, ProblemType};

/// Is the process alive?
#[utoipa::path(get, path = "/healthz", operation_id = "healthz", tag = "operation",
    responses((status = 200, description = "The process answers.", body = Probe)))]
pub async fn healthz(RawQuery(query): RawQuery) -> Answer<Json<Probe>> {
    query::none(query.as_deref())?;
    Ok(Json(Probe {
        status: "ok".to_owned(),
        driver: None,
    }))
}

/// Can it take tasks?
///
/// The check writes to the volume and to the database, and fails while the service shuts down. A driver that does not
/// answer is reported in `driver` but does not fail the check, because tasks can be submitted and wait for it.
#[utoipa::path(get, path = "/readyz", operation_id = "readyz", tag = "operation",
    responses((status = 200, description = "The service accepts tasks.", body = Probe)))]
pub async fn readyz(State(app): State<App>, RawQuery(query): RawQuery) -> Answer<Json<Probe>> {
    query::none(query.as_deref())?;
    let readiness = app.engine().ready().await;
    if !readiness.ready || *app.closing().borrow() {
        let reason = readiness
            .reason
            .unwrap_or_else(|| "the service is shutting down".to_owned());
        let detail = reason.split("\nhint: ").next().unwrap_or_default();
        return Err(Problem::new(ProblemType::NotReady, detail).retry_after(5).into());
    }
    Ok(Json(Probe {
        status: "ok".to_owned(),
        driver: readiness.driver,
    }))
}

/// Metrics
///
/// All metrics in Prometheus' text format.
#[utoipa::path(get, path = "/metrics", operation_id = "metrics", tag = "operation",
    responses((status = 200, description = "All metrics.", body = String, content_type = "text/plain")))]
pub async fn metrics(State(app): State<App>, RawQuery(query): RawQuery) -> Answer<Response> {
    query::none(query.as_deref())?;
    let text = prometheus::text(&app.engine().metrics(), &app.durations().read(), app.following());
    let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    Ok(([(header::CONTENT_TYPE, kind)], text).into_response())
}

/// This description
#[utoipa::path(get, path = "/openapi.json", operation_id = "openapi", tag = "operation",
    responses((status = 200, description = "The OpenAPI document.", body = Object, content_type = "application/json")))]
pub async fn description(RawQuery(query): RawQuery) -> Answer<Response> {
    query::none(query.as_deref())?;
    Ok((json_type(), description::OPENAPI).into_response())
}

fn json_type() -> [(HeaderName, HeaderValue); 1] {
    [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))]
}

/// The reference for people
#[utoipa::path(get, path = "/docs", operation_id = "docs", tag = "operation",
    responses((status = 200, description = "This description as a page.", body = String, content_type = "text/html")))]
pub async fn docs(RawQuery(query): RawQuery) -> Answer<Html<String>> {
    query::none(query.as_deref())?;
    Ok(Html(reference::page().into_string()))
}
