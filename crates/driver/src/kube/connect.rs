//! How a cluster is reached: as a pod of it, or by a kubeconfig.

use std::path::PathBuf;
use std::time::Duration;

use hybrid_cache_model::{Failure, FailureKind};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

use super::{KubeConfig, KubeDriver};
use crate::DriverError;

/// Longest that connecting to the API server may take.
const CONNECT: Duration = Duration::from_secs(5);

/// The way to a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reach {
    /// This process is a pod of it, with a service account.
    Inside,
    /// The current context of this kubeconfig.
    Kubeconfig(PathBuf),
}

impl KubeDriver {
    /// Connects, and opens the driver there; see [`KubeDriver::open`].
    ///
    /// # Errors
    /// The kubeconfig or the pod's token cannot be read, or the cluster does not answer.
    pub async fn connect(reach: &Reach, config: KubeConfig) -> Result<KubeDriver, DriverError> {
        KubeDriver::open(client(reach).await?, config).await
    }
}

async fn client(reach: &Reach) -> Result<Client, Failure> {
    let failed = |what: String| Failure::new(FailureKind::Cluster, what);
    let mut config = match reach {
        Reach::Inside => Config::incluster().map_err(|error| {
            let what = failed(format!("this process is no pod of a cluster: {error}"));
            what.hint("give --kubeconfig; in a pod, automountServiceAccountToken must be true")
        })?,
        Reach::Kubeconfig(file) => {
            let unfit = |error| {
                let what = failed(format!("{}: {error}", file.display()));
                what.hint("is it a kubeconfig, and may this user read it?")
            };
            let read = Kubeconfig::read_from(file).map_err(unfit)?;
            let options = KubeConfigOptions::default();
            Config::from_custom_kubeconfig(read, &options).await.map_err(unfit)?
        }
    };
    config.connect_timeout = Some(CONNECT);
    let address = config.cluster_url.to_string();
    Client::try_from(config).map_err(|error| failed(format!("preparing to talk to {address}: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_file_that_is_no_kubeconfig_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("kubeconfig");
        for text in [None, Some("- no\n- map")] {
            if let Some(text) = text {
                std::fs::write(&file, text).unwrap();
            }
            let reach = Reach::Kubeconfig(file.clone());
            let failure = client(&reach).await.map(|_| ()).unwrap_err();
            assert!(failure.message.starts_with(file.to_str().unwrap()), "{failure}");
        }
    }
}
