//! All paths of the service, with the middleware around them.

use axum::Router;
use axum::middleware::from_fn_with_state;

use super::app::App;
use super::{middleware, openapi};
use crate::page;

/// Every path of the service.
pub fn router(app: &App) -> Router {
    let (api, _) = openapi::routes().split_for_parts();
    api.merge(page::routes())
        .layer(from_fn_with_state(app.clone(), middleware::handle))
        .with_state(app.clone())
}
