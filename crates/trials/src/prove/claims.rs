//! What a proof asks of a cluster: its node, and a namespace with a claim on a file system of the proof.
//!
//! The caller implements both, because it knows Docker and Kubernetes and this library does not.

use std::sync::Arc;

use async_trait::async_trait;
use hybrid_cache_driver::Driver;
use hybrid_cache_model::maintain::VerifyReport;
use hybrid_cache_model::protocol::Identity;
use hybrid_cache_model::{TaskSpec, Tenant};

use crate::error::TrialError;
use crate::prove::mounted_volume::Device;

/// A folder of a volume that the product leaves alone: packages are mounted there, in the node.
pub const PACKAGES: &str = "epochs";
/// What a claim is made of.
#[derive(Clone, Debug)]
pub struct ClaimOrder {
    /// The device with the file system of the Python volume, which is its folder `volume`.
    pub device: Device,
    /// The device that is mounted over [`PACKAGES`] of the volume, to be read.
    pub packages: Device,
    /// The size of the claim.
    pub bytes: u64,
    /// The size that the driver gets; `None`: nothing is ever evicted.
    pub assumed_bytes: Option<u64>,
    /// Variables that tell uv where its packages are.
    pub variables: Vec<(String, String)>,
}

/// The node of a kind cluster. The caller knows Docker and Kubernetes, this library does not.
#[async_trait]
pub trait Node: Send + Sync {
    /// Who owns the volumes.
    fn owner(&self) -> Identity;

    /// Age after which a request is resolved again, in seconds.
    fn max_age_s(&self) -> u64;

    /// Mounts the devices in the node, and makes a namespace with a claim on them. What was begun is taken back on an error.
    ///
    /// # Errors
    /// The node or the cluster refuses.
    async fn open(&self, order: &ClaimOrder) -> Result<Arc<dyn Claims>, TrialError>;
}

/// A namespace with a claim on a file system of the proof.
#[async_trait]
pub trait Claims: Send + Sync {
    /// Runs tasks on it.
    fn driver(&self) -> &dyn Driver;

    /// Makes the driver forget that the task's environment is there, as it does an hour after its use was noted.
    ///
    /// # Errors
    /// The task's text is wrong.
    fn forget_use(&self, spec: &TaskSpec, tenant: &Tenant) -> Result<(), TrialError>;

    /// `cache verify` of it.
    ///
    /// # Errors
    /// It does not answer.
    async fn verify(&self) -> Result<VerifyReport, TrialError>;

    /// Deletes the namespace, the PersistentVolumes and the mounts in the node.
    ///
    /// # Errors
    /// Something is not gone in time.
    async fn close(&self) -> Result<(), TrialError>;
}
