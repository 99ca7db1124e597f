//! Signs browsers in with a token, because they send no header of ours.

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{Html, IntoResponse, Redirect, Response};
use maud::{Markup, html};

use super::layout;
use crate::http::{Access, App, Rejection, Sessions, read_body};

/// The page.
pub async fn show(State(app): State<App>, headers: HeaderMap) -> Response {
    match app.guard().access() {
        Access::Tokens(_) if app.guard().sessions().tenant(&headers).is_none() => {
            Html(page(None).into_string()).into_response()
        }
        _ => Redirect::to("/").into_response(),
    }
}

/// Takes the token.
///
/// # Errors
/// The form cannot be read.
pub async fn sign_in(State(app): State<App>, headers: HeaderMap, body: Body) -> Result<Response, Rejection> {
    let Access::Tokens(tokens) = app.guard().access() else {
        return Ok(Redirect::to("/").into_response());
    };
    let body = read_body(&app, &headers, "application/x-www-form-urlencoded", body).await?;
    let sent = form_urlencoded::parse(&body.bytes).find(|(name, _)| name == "token");
    if let Some(tenant) = sent.and_then(|(_, text)| tokens.tenant(text.trim().as_bytes())) {
        let cookie = [(header::SET_COOKIE, app.guard().sessions().cookie(tenant))];
        return Ok((cookie, Redirect::to("/")).into_response());
    }
    let again = page(Some("This is not a token of this service."));
    Ok((StatusCode::FORBIDDEN, Html(again.into_string())).into_response())
}

/// Signs the browser out.
pub async fn sign_out() -> Response {
    ([(header::SET_COOKIE, Sessions::no_cookie())], Redirect::to("/login")).into_response()
}

fn page(refused: Option<&str>) -> Markup {
    layout::document(
        "Sign in",
        layout::Here::Elsewhere,
        &html! {
            h1 { "Sign in" }
            p class="lede" { "Sign in with a token of this service. The operator's token file holds the tokens." }
            form method="post" action="/login" class="card narrow" {
                @if let Some(refused) = refused { p class="notice bad" role="alert" id="refused" { (refused) } }
                label for="token" { "Token" }
                input type="password" id="token" name="token" required autofocus autocomplete="current-password"
                    aria-describedby=[refused.map(|_| "refused")];
                div class="buttons" { button type="submit" class="main" { "Sign in" } }
            }
        },
    )
}
