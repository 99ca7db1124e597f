//! The tenant that sends a request, and the engine as that tenant sees it.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use hybrid_cache_model::Tenant;

use super::app::App;
use super::rejection::Rejection;
use crate::engine::Engine;
use hybrid_cache_api::{Problem, ProblemType};

/// The tenant, in the extensions of an admitted request.
#[derive(Clone, Debug)]
pub struct Caller(pub Tenant);

/// The engine as the caller sees it.
pub struct Own(pub Engine);

impl FromRequestParts<App> for Own {
    type Rejection = Rejection;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Own, Rejection> {
        let Some(Caller(tenant)) = parts.extensions.get() else {
            return Err(Problem::new(ProblemType::Internal, "something went wrong in the service").into());
        };
        Ok(Own(app.engine().for_tenant(tenant)))
    }
}
