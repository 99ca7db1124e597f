//! Handles the forms: submitting a task, and the buttons that run, cancel and delete one.

use hybrid_cache_api::{ListQuery, Problem};
use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{Html, IntoResponse, Redirect, Response};
use bytes::Bytes;
use maud::Markup;

use super::draft::Draft;
use super::home::Home;
use crate::engine::Engine;
use crate::http::{App, Own, Params, ReceivedBody, Rejection, hold, id_in, read_body};
use hybrid_cache_api::ProblemType;

const MEDIA_TYPE: &str = "application/x-www-form-urlencoded";
/// Submits the task in the form.
///
/// # Errors
/// The form cannot be read, or the task is saved but cannot be queued.
pub async fn submit(
    State(app): State<App>,
    Own(engine): Own,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Rejection> {
    let ReceivedBody { bytes, reservation } = read_body(&app, &headers, MEDIA_TYPE, body).await?;
    let mut draft = Draft::read(&bytes);
    drop(bytes);
    let reservation = Arc::new(reservation);
    if let Some(mistake) = draft.more.mistake.take() {
        let page = refused(&app, &engine, draft, mistake).await?;
        let page = Html(hold(Bytes::from(page.into_string()), reservation));
        return Ok((StatusCode::UNPROCESSABLE_ENTITY, page).into_response());
    }
    let key = Some(draft.key.as_str()).filter(|key| !key.is_empty());
    let submitted = match engine.submit_holding(&draft.spec, key, Arc::clone(&reservation)).await {
        Ok(submitted) => submitted,
        Err(error) => {
            let page = refused(&app, &engine, draft, Rejection::from(error).into_problem()).await?;
            let page = Html(hold(Bytes::from(page.into_string()), reservation));
            return Ok((StatusCode::UNPROCESSABLE_ENTITY, page).into_response());
        }
    };
    let path = format!("/tasks/{}", submitted.id);
    if draft.run
        && let Err(error) = engine.run(&submitted.id).await
    {
        let problem = Rejection::from(error).into_problem();
        return Err(problem
            .hint(format!("the task is saved; run it later at {path}"))
            .into());
    }
    Ok(Redirect::to(&path).into_response())
}

/// Shows the form again, with the mistake in it.
async fn refused(app: &App, engine: &Engine, draft: Draft, problem: Problem) -> Result<Markup, Rejection> {
    if problem.code != ProblemType::InvalidTask {
        return Err(problem.into());
    }
    let mut home = Home::read(app, engine, ListQuery::default()).await?;
    // What is sent next is another task.
    home.draft = Draft {
        key: Draft::empty().key,
        ..draft
    };
    home.refused = Some(problem);
    Ok(home.show())
}

/// The button "run".
///
/// # Errors
/// There is no such task, or it cannot be queued.
pub async fn run(Own(engine): Own, params: Params) -> Result<Redirect, Rejection> {
    let id = id_in(params)?;
    engine.run(&id).await?;
    Ok(Redirect::to(&format!("/tasks/{id}")))
}

/// The button "cancel".
///
/// # Errors
/// There is no such task, or the store does not answer.
pub async fn cancel(Own(engine): Own, params: Params) -> Result<Redirect, Rejection> {
    let id = id_in(params)?;
    engine.cancel(&id).await?;
    Ok(Redirect::to(&format!("/tasks/{id}")))
}

/// The button "delete".
///
/// # Errors
/// There is no such task, or it waits or runs.
pub async fn delete(Own(engine): Own, params: Params) -> Result<Redirect, Rejection> {
    engine.delete(&id_in(params)?).await?;
    Ok(Redirect::to("/"))
}
