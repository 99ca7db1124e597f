//! The standby pods of a cluster as its API server shows them, and what this account may do with them.

mod report;

use std::collections::BTreeSet;

use futures_util::future::try_join_all;
use hybrid_cache_driver::kube::StandbyRange;
use hybrid_cache_tools::Result;

pub use report::{IdleUse, StandbyReport};

use crate::api::ClusterApi;
use crate::names::{DRIVER_LABEL, STANDBY_POOL};
use crate::resource_kinds::{POD, REPLICA_SET};

/// Nodes that are asked for what their pods use.
const MAX_NODES: usize = 20;

/// Something that an account may do in a namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Right {
    /// The verb, such as `create`.
    pub verb: &'static str,
    /// API group; empty for Kubernetes' core.
    pub group: &'static str,
    /// Plural name of the kind.
    pub resource: &'static str,
    /// Part of the object, such as `attach`; empty for the object itself.
    pub subresource: &'static str,
}

/// What a driver must be allowed to do for standby pods, in addition to what it does for Jobs.
const RIGHTS: [Right; 7] = [
    right("create", "", "pods", "attach"),
    right("patch", "", "pods", ""),
    right("delete", "", "pods", ""),
    right("create", "apps", "replicasets", ""),
    right("list", "apps", "replicasets", ""),
    right("patch", "apps", "replicasets", ""),
    right("delete", "apps", "replicasets", ""),
];

const fn right(verb: &'static str, group: &'static str, resource: &'static str, subresource: &'static str) -> Right {
    Right {
        verb,
        group,
        resource,
        subresource,
    }
}

impl std::fmt::Display for Right {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.verb, self.resource)?;
        match self.subresource {
            "" => Ok(()),
            part => write!(f, "/{part}"),
        }
    }
}

/// The rights that this account lacks for standby pods, in words.
///
/// # Errors
/// The server does not answer.
pub async fn missing_rights(api: &ClusterApi) -> Result<Vec<String>> {
    let answers = try_join_all(RIGHTS.iter().map(|right| api.may(*right))).await?;
    let lacking = RIGHTS.iter().zip(answers).filter(|(_, allowed)| !allowed);
    Ok(lacking.map(|(right, _)| right.to_string()).collect())
}

/// Reads the standby pods; `None` if none are recorded and there is nothing of any.
///
/// # Errors
/// The server does not answer.
pub async fn read(api: &ClusterApi, recorded: Option<StandbyRange>) -> Result<Option<StandbyReport>> {
    let (sets, pods) = tokio::try_join!(api.labelled(REPLICA_SET, STANDBY_POOL), api.labelled(POD, DRIVER_LABEL))?;
    let pods = pods.unwrap_or_default();
    Ok(StandbyReport::new(recorded, sets.as_deref(), &pods))
}

/// Adds what the pods that wait use, as the kubelets of their nodes measure it.
///
/// # Errors
/// A node or the server does not answer.
pub async fn measure(api: &ClusterApi, report: &mut StandbyReport) -> Result<()> {
    let nodes: BTreeSet<String> = report.waiting.iter().map(|(_, node)| node.clone()).collect();
    let asked = nodes.iter().take(MAX_NODES).map(|node| api.pod_use(node));
    let answers = try_join_all(asked).await?;
    if answers.iter().all(Option::is_some) {
        let summaries: Vec<_> = answers.into_iter().flatten().collect();
        report.idle = report.used_in(&api.namespace, &summaries);
    }
    Ok(())
}
