//! The OpenAPI document as it is committed and served.

/// The OpenAPI document, as JSON. A test compares it with what [`super::openapi::generate`] makes of the handlers;
/// `UPDATE_OPENAPI=1 cargo test -p hybrid-cache-service --test http openapi` writes it.
pub const OPENAPI: &str = include_str!("../../openapi.json");
