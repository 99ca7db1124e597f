//! The API's handlers for tasks, except for their output.

use axum::Json;
use axum::body::Body;
use axum::extract::{RawPathParams, RawQuery, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use hybrid_cache_api::{
    CancelResult, CancelView, EndName, Problem, ProblemType, RunView, StateName, SubmitAnswer, TaskBody, TaskId,
    TaskList, TaskView,
};

use super::app::App;
use super::body::ReceivedBody;
use super::caller::Own;
use super::rejection::{Answer, Rejection};
use super::response_cache::Key;
use super::{body, query};
use crate::engine::{CancelAnswer, Engine, Novelty};
use crate::error::ServiceError;

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// Reads the id in the path.
///
/// # Errors
/// The text cannot be an id.
pub fn id_of(params: &RawPathParams) -> Answer<TaskId> {
    let text = params.iter().find(|(name, _)| *name == "id").map(|(_, value)| value);
    query::task_id(text.unwrap_or_default())
}

/// Path parameters, or an error that is answered like an unknown id.
pub type Params = Result<RawPathParams, axum::extract::rejection::RawPathParamsRejection>;

/// See [`id_of`].
///
/// # Errors
/// The path is not UTF-8 after decoding, or holds no id.
pub fn id_in(params: Params) -> Answer<TaskId> {
    match params {
        Ok(params) => id_of(&params),
        Err(_) => Err(ServiceError::NotFound.into()),
    }
}

/// Save a task
///
/// Checks the task and stores it. It does not run before `run` is called. With an `Idempotency-Key`, sending the same
/// body again returns the same task.
#[utoipa::path(
    post, path = "/api/v1/tasks/submit", operation_id = "submitTask", tag = "tasks",
    params(("Idempotency-Key" = Option<String>, Header, description = "The key of one task: 1 to 255 visible ASCII characters. Sending the same body with it again returns the same task.",
        min_length = 1, max_length = 255, pattern = "^[!-~]+$")),
    request_body(content = TaskBody, content_type = "application/json"),
    responses((status = 200, description = "The task is saved.", body = SubmitAnswer,
        headers(("Location" = String, description = "The task's path."),
                ("Idempotency-Replayed" = Option<String>, description = "`true` if an earlier request with this key created the task.")))),
)]
pub async fn submit(
    State(app): State<App>,
    Own(engine): Own,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Body,
) -> Answer<Response> {
    query::none(query.as_deref())?;
    let key = key_of(&headers)?;
    let ReceivedBody { bytes, reservation } = body::read(&app, &headers, "application/json", body).await?;
    let spec = hybrid_cache_api::parse_task(&bytes)?;
    drop(bytes);
    let submitted = engine.submit_holding(&spec, key, reservation).await?;
    let id = submitted.id;
    let answer = SubmitAnswer {
        message: format!("Task saved successfully. Use /api/v1/tasks/{id}/run to execute it."),
        id,
    };
    let location = location(&answer.id);
    let mut response = Json(answer).into_response();
    response.headers_mut().extend(location);
    if submitted.novelty == Novelty::Repeated {
        response
            .headers_mut()
            .insert(REPLAYED, HeaderValue::from_static("true"));
    }
    Ok(response)
}

fn key_of(headers: &HeaderMap) -> Answer<Option<&str>> {
    let refuse = |detail: &str| {
        let kind = ProblemType::InvalidParameter;
        Rejection::from(Problem::new(kind, detail).parameter("Idempotency-Key"))
    };
    let mut sent = headers.get_all(IDEMPOTENCY_KEY).iter();
    let Some(key) = sent.next() else { return Ok(None) };
    if sent.next().is_some() {
        return Err(refuse("the header appears twice"));
    }
    let key = key
        .to_str()
        .map_err(|_| refuse("visible ASCII characters are expected"))?;
    Ok(Some(key))
}

fn location(id: &TaskId) -> Option<(HeaderName, HeaderValue)> {
    let path = HeaderValue::try_from(format!("/api/v1/tasks/{id}")).ok()?;
    Some((header::LOCATION, path))
}

/// Run a task
///
/// Puts the task into the queue. Calling it again changes nothing, because a task runs once.
#[utoipa::path(
    post, path = "/api/v1/tasks/{id}/run", operation_id = "runTask", tag = "tasks",
    params(("id" = String, Path, description = "The task's id.", example = "task-abc123")),
    responses((status = 202, description = "The task is queued, or was queued before.", body = RunView,
        headers(("Location" = String, description = "The task's path.")))),
)]
pub async fn run(Own(engine): Own, params: Params, RawQuery(query): RawQuery) -> Answer<Response> {
    query::none(query.as_deref())?;
    let run = engine.run(&id_in(params)?).await?;
    let location = location(&run.id);
    let view = RunView {
        id: run.id,
        state: run.state,
    };
    let mut response = (StatusCode::ACCEPTED, Json(view)).into_response();
    response.headers_mut().extend(location);
    Ok(response)
}

/// Read a task
///
/// The task's state, how it ended, its output (its log has all of it), where its time went, what the
/// caches did, and which package versions it got.
#[utoipa::path(
    get, path = "/api/v1/tasks/{id}", operation_id = "getTask", tag = "tasks",
    params(("id" = String, Path, description = "The task's id.", example = "task-abc123")),
    responses((status = 200, description = "Everything known of the task.", body = TaskView)),
)]
pub async fn read(
    State(app): State<App>,
    Own(engine): Own,
    params: Params,
    RawQuery(query): RawQuery,
) -> Answer<Response> {
    query::none(query.as_deref())?;
    let key = (engine.tenant().clone(), id_in(params)?);
    let body = app.memory().answer(|| task_body(&app, &engine, &key)).await?;
    let json = HeaderValue::from_static("application/json");
    Ok(([(header::CONTENT_TYPE, json)], body).into_response())
}

async fn task_body(app: &App, engine: &Engine, key: &Key) -> Answer<Bytes> {
    let age = match app.response_cache().recall(key) {
        Ok(body) => return Ok(body),
        Err(age) => age,
    };
    let view = engine.get(&key.1).await?;
    let body = Bytes::from(serde_json::to_vec(&view).map_err(unwritable)?);
    // A waiting or running task changes without notice: its output grows, and its driver may stop answering.
    if !matches!(view.summary.state, StateName::Queued | StateName::Running) {
        app.response_cache().keep(age, key.clone(), &body);
    }
    Ok(body)
}

/// Read a task's lock
///
/// The Python packages that the task got, as a requirements file with hashes. Submitted as `requirementsFile`, with the
/// same Python version, it gives the same environment again.
#[utoipa::path(
    get, path = "/api/v1/tasks/{id}/lock", operation_id = "getTaskLock", tag = "tasks",
    params(("id" = String, Path, description = "The task's id.", example = "task-abc123")),
    responses((status = 200, description = "The lock.", content((String = "text/plain")))),
)]
pub async fn lock(Own(engine): Own, params: Params, RawQuery(query): RawQuery) -> Answer<Response> {
    query::none(query.as_deref())?;
    let view = engine.get(&id_in(params)?).await?;
    let Some(lock) = view.outcome().resolved.lock() else {
        let (detail, hint) = match view.summary.state {
            StateName::Ended | StateName::Cancelled => (
                "no Python packages are known of this task",
                "only a task that asked for packages and started its program has a lock",
            ),
            _ => ("the task has not ended", "ask again when it has"),
        };
        return Err(Problem::new(ProblemType::Conflict, detail).hint(hint).into());
    };
    let kind = HeaderValue::from_static("text/plain; charset=utf-8");
    Ok(([(header::CONTENT_TYPE, kind)], lock).into_response())
}

fn unwritable(error: serde_json::Error) -> ServiceError {
    ServiceError::Internal {
        message: format!("a task cannot be written as JSON: {error}"),
    }
}

/// Cancel a task
///
/// A waiting task will never run, a running one is asked to end, and an ended one stays unchanged.
#[utoipa::path(
    post, path = "/api/v1/tasks/{id}/cancel", operation_id = "cancelTask", tag = "tasks",
    params(("id" = String, Path, description = "The task's id.", example = "task-abc123")),
    responses((status = 200, description = "The task will not run any further.", body = CancelView),
              (status = 202, description = "The task was asked to end.", body = CancelView)),
)]
pub async fn cancel(Own(engine): Own, params: Params, RawQuery(query): RawQuery) -> Answer<Response> {
    query::none(query.as_deref())?;
    let id = id_in(params)?;
    let (status, result) = match engine.cancel(&id).await? {
        CancelAnswer::Cancelled => (StatusCode::OK, CancelResult::Cancelled),
        CancelAnswer::Requested => (StatusCode::ACCEPTED, CancelResult::Ending),
        CancelAnswer::Before(_) => (StatusCode::OK, CancelResult::Unchanged),
    };
    Ok((status, Json(CancelView { id, result })).into_response())
}

/// Delete a task
///
/// Deletes a saved, ended or cancelled task with its output. A waiting or running task must be cancelled first.
#[utoipa::path(
    delete, path = "/api/v1/tasks/{id}", operation_id = "deleteTask", tag = "tasks",
    params(("id" = String, Path, description = "The task's id.", example = "task-abc123")),
    responses((status = 204, description = "The task is deleted.")),
)]
pub async fn delete(Own(engine): Own, params: Params, RawQuery(query): RawQuery) -> Answer<StatusCode> {
    query::none(query.as_deref())?;
    engine.delete(&id_in(params)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// List tasks
///
/// Returns the tasks, the one submitted last first. For the next page, request again with `cursor` set to `next`, until
/// there is none. Tasks that are submitted or deleted meanwhile do not shift the pages.
#[utoipa::path(
    get, path = "/api/v1/tasks", operation_id = "listTasks", tag = "tasks",
    params(
        ("state" = Option<Vec<StateName>>, Query, description = "Only tasks in these states, separated by commas.", style = Form, explode = false, max_items = 20),
        ("end" = Option<EndName>, Query, description = "Only tasks with this end."),
        ("label" = Option<Vec<String>>, Query, description = "Only tasks with this label, `key=value`; repeat it for tasks with all of several labels.", max_items = 8, example = "team=blue"),
        ("cursor" = Option<String>, Query, description = "The `next` of the previous page."),
        ("limit" = Option<u32>, Query, description = "Most tasks of the page; 50 by default.", minimum = 1, maximum = 200),
    ),
    responses((status = 200, description = "A page of the tasks.", body = TaskList)),
)]
pub async fn list(Own(engine): Own, RawQuery(query): RawQuery) -> Answer<Json<TaskList>> {
    let page = engine.list(&query::list(query.as_deref())?).await?;
    Ok(Json(page))
}
