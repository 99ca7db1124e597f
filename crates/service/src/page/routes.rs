//! The paths of the pages and of their style and script.

use std::sync::LazyLock;

use axum::Router;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};

use super::{form, home, layout, login, task};
use crate::http::App;

/// The shared sheet, and what only these pages have.
static STYLE: LazyLock<String> = LazyLock::new(|| format!("{}{}", hybrid_cache_web::STYLE, include_str!("style.css")));
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
            get(async || asset("text/css; charset=utf-8", &STYLE)),
        )
        .route(
            layout::SCRIPT_PATH,
            get(async || asset("text/javascript; charset=utf-8", SCRIPT)),
        )
}

/// A file of the pages. Its path holds its version, so that a browser may keep it.
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
