//! The pages for people: made by the server, complete without a script, brought up to date by a small one.

mod charts;
mod form;
mod history;
mod home;
pub mod layout;
mod login;
mod task;
mod units;
mod waterfall;

use axum::Router;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use hybrid_cache_api::Problem;
use maud::{Markup, html};

pub use history::History;

use crate::http::App;

const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("live.js");

/// Every path of the pages.
pub fn routes() -> Router<App> {
    Router::new()
        .route("/", get(home::home))
        .route("/tasks", get(async || Redirect::permanent("/")).post(form::submit))
        .route("/tasks/{id}", get(task::task))
        .route("/tasks/{id}/run", post(form::run))
        .route("/tasks/{id}/cancel", post(form::cancel))
        .route("/tasks/{id}/delete", post(form::delete))
        .route("/login", get(login::show).post(login::sign_in))
        .route("/logout", post(login::sign_out))
        .route(
            layout::STYLE_PATH,
            get(async || asset("text/css; charset=utf-8", STYLE)),
        )
        .route(
            layout::SCRIPT_PATH,
            get(async || asset("text/javascript; charset=utf-8", SCRIPT)),
        )
}

/// A file of the pages. Its address carries its version, so that a browser may keep it.
fn asset(kind: &'static str, text: &'static str) -> Response {
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(kind)),
        (
            header::CACHE_CONTROL,
            HeaderValue::from_static("public, max-age=31536000, immutable"),
        ),
    ];
    (headers, text).into_response()
}

/// An error as a person sees it.
pub fn problem(problem: &Problem) -> Markup {
    layout::document(
        &problem.title,
        layout::Here::Elsewhere,
        &html! {
            p class="eyebrow" { (problem.status) }
            h1 { (problem.title) }
            p class="lede" { (capital(&layout::foreign(&problem.detail))) "." }
            @if let Some(hint) = &problem.hint { p { (capital(&layout::foreign(hint))) "." } }
            p { (layout::prose(problem.code.advice())) }
            p { a class="button" href="/" { "To the tasks" } }
        },
    )
}

/// The same sentence with a capital letter.
pub(crate) fn capital(sentence: &str) -> String {
    let mut chars = sentence.chars();
    match chars.next() {
        Some(first) => first.to_uppercase().chain(chars).collect(),
        None => String::new(),
    }
}
