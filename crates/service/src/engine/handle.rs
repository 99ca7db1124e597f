//! The engine as one tenant sees it.

use std::sync::Arc;

use hybrid_cache_model::{Protection, Tenant};

use super::inner::Inner;

/// The task service without an interface, as one tenant sees it. Cheap to clone; all clones are one engine.
#[derive(Clone)]
pub struct Engine {
    pub(super) inner: Arc<Inner>,
    /// The tenant. Another tenant's task looks like one that does not exist.
    pub(super) tenant: Tenant,
}

impl Engine {
    /// The same engine as another tenant sees it. A new engine belongs to [`Tenant::default`].
    #[must_use]
    pub fn for_tenant(&self, tenant: &Tenant) -> Engine {
        let everyone = Tenant::default();
        let tenant = if Protection::TenantTasks.is_on() {
            tenant
        } else {
            &everyone
        };
        Engine {
            inner: Arc::clone(&self.inner),
            tenant: tenant.clone(),
        }
    }

    /// The tenant whose tasks it shows.
    pub fn tenant(&self) -> &Tenant {
        &self.tenant
    }
}
