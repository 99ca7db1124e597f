//! Lists what the standing caches of this machine hold, for the trace.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use hybrid_cache_model::contents::{Contents, name_of};
use hybrid_cache_model::maintain::MaintainReport;
use hybrid_cache_model::{Failure, FailureKind, Tenant};

use crate::local::cache_commands;
use crate::local::config::LocalConfig;
use crate::local::folders::Folders;
use crate::local::sandbox::HostLayout;
use crate::trace::ContentsSource;

/// How long a list may take. The trace that is being written waits for it.
const LIST_TIMEOUT: Duration = Duration::from_secs(60);
/// Least time between two lists.
const LIST_INTERVAL: Duration = Duration::from_secs(30);

/// Lists what the standing caches hold.
pub struct LocalContents {
    /// The driver's configuration.
    pub config: Arc<LocalConfig>,
    /// This machine's layout.
    pub host: Arc<HostLayout>,
    /// The cache folder.
    pub folders: Folders,
}

#[async_trait]
impl ContentsSource for LocalContents {
    async fn contents(&self) -> Result<Contents, Failure> {
        let (volumes, request) = (self.folders.standing(), cache_commands::request(&self.config));
        let answer = cache_commands::run(&self.config, &self.host, &volumes, "contents", &request);
        match tokio::time::timeout(LIST_TIMEOUT, answer).await {
            Ok(Ok(MaintainReport::Contents(contents))) => Ok(contents),
            Ok(Ok(MaintainReport::Failed { failure }) | Err(failure)) => Err(failure),
            Ok(Ok(_)) => Err(Failure::new(
                FailureKind::Internal,
                "the runner answered another command",
            )),
            Err(_) => {
                let message = format!("the caches were not listed within {} s", LIST_TIMEOUT.as_secs());
                Err(Failure::new(FailureKind::Deadline, message))
            }
        }
    }

    fn environment_of(&self, tenant: &Tenant, request: &str) -> Option<String> {
        let requests = self.folders.standing().python.join(tenant.folder()).join("requests");
        let environment = fs::read_link(requests.join(request)).ok()?;
        let key = environment.file_name()?.to_string_lossy();
        Some(name_of(&key, tenant))
    }

    fn pause(&self) -> Duration {
        LIST_INTERVAL
    }
}
