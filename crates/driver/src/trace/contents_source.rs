//! What a driver can say about the content of its volumes.

use std::time::Duration;

use async_trait::async_trait;
use hybrid_cache_model::contents::Contents;
use hybrid_cache_model::{Failure, Tenant};

/// Lists what a driver's volumes hold.
#[async_trait]
pub trait ContentsSource: Send + Sync {
    /// The environments of the standing caches, and what they are made of. May take seconds.
    ///
    /// # Errors
    /// They cannot be listed.
    async fn contents(&self) -> Result<Contents, Failure>;

    /// The environment that a Python request leads to now; `None` if that is unknown, or would take a list.
    fn environment_of(&self, _tenant: &Tenant, _request: &str) -> Option<String> {
        None
    }

    /// Least time between two lists. The first is always allowed.
    fn pause(&self) -> Duration;
}
