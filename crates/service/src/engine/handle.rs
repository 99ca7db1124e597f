//! The engine as one tenant sees it.

use std::sync::Arc;

use hybrid_cache_model::{Protection, Tenant};

use super::inner::Inner;

/// The task service without a face, as one tenant sees it. Cheap to clone; all clones are one engine.
#[derive(Clone)]
pub struct Engine {
    pub(super) inner: Arc<Inner>,
    /// Whose tasks it tells of and takes. A task of another tenant is as one that there is not.
    pub(super) tenant: Tenant,
}

impl Engine {
    /// The same engine as another tenant sees it. A new engine is that of [`Tenant::default`].
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

    /// The tenant whose tasks it tells of.
    pub fn tenant(&self) -> &Tenant {
        &self.tenant
    }
}
