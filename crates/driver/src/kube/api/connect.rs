//! Connects to a cluster: as a pod of it, or by a kubeconfig.

use std::path::PathBuf;
use std::time::Duration;

use hybrid_cache_model::{Failure, FailureKind};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

/// How long connecting to the API server may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How this process reaches a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reach {
    /// As a pod of the cluster, with a service account.
    Inside,
    /// By the current context of this kubeconfig.
    Kubeconfig(PathBuf),
}

/// Makes a client. Sends no request yet.
///
/// # Errors
/// The kubeconfig or the pod's token cannot be read.
pub async fn client(reach: &Reach) -> Result<Client, Failure> {
    let failed = |what: String| Failure::new(FailureKind::Cluster, what);
    let mut config = match reach {
        Reach::Inside => Config::incluster().map_err(|error| {
            let what = failed(format!("this process does not run in a pod of a cluster: {error}"));
            what.hint("give `--kubeconfig FILE`; in a pod, set `automountServiceAccountToken: true`")
        })?,
        Reach::Kubeconfig(file) => {
            let unfit = |error| {
                let what = failed(format!("{}: {error}", file.display()));
                what.hint("check that it is a kubeconfig and that this user may read it")
            };
            let read = Kubeconfig::read_from(file).map_err(unfit)?;
            let options = KubeConfigOptions::default();
            Config::from_custom_kubeconfig(read, &options).await.map_err(unfit)?
        }
    };
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    let address = config.cluster_url.to_string();
    Client::try_from(config).map_err(|error| failed(format!("cannot make a client for {address}: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_file_that_is_not_a_kubeconfig_is_named() {
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
