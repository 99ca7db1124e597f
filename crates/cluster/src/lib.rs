//! A cluster that runs tasks: creates it, installs what tasks need, observes it, judges it and deletes it.
//!
//! - [`up`] and [`down`] create and delete. Pure code in [`plan`] decides what has to be done from what was observed.
//! - [`status`] and [`doctor`] read a cluster: `status` shows it, `doctor` judges it and names the fix.
//! - [`Backend`] is a driver together with what it runs on: this machine or a cluster.
//! - [`trace`] finds and reads the recorded requests of both.
//! - [`TestCluster`], [`ProofNode`] and [`FaultyCluster`] are the parts of a cluster that tests, `size --prove` and `chaos` use.
//!
//! The crate knows neither a command line nor a terminal. Options come in as plain data, results go out as typed values, and
//! progress for a person goes to a [`Progress`](hybrid_cache_tools::Progress).

pub mod api;
mod apply;
pub mod argo;
mod backend;
mod compose;
pub mod connection;
mod contents;
pub mod doctor;
mod down;
pub mod facts;
mod fault_injection;
mod kind_cli;
mod kind_cluster;
mod manifests;
pub mod names;
mod namespace;
pub mod node;
mod node_archive;
mod nodes;
mod objects;
mod options;
pub mod plan;
mod proof_node;
mod ranges;
mod request_error;
mod resource_kinds;
mod rights;
pub mod rollout;
mod service;
mod setup_record;
pub mod standby;
mod state;
pub mod status;
mod task_image;
mod task_setup;
mod test_cluster;
pub mod trace;
pub mod up;
mod volume_sets;

pub use backend::{Backend, ClusterBackend, LocalBackend};
pub use connection::ClusterConnection;
pub use down::down;
pub use fault_injection::FaultyCluster;
pub use options::{
    BackendKind, ClusterChoice, DoctorOptions, DownOptions, RecreatePolicy, ServiceDriver, StandbyChoice, UpOptions,
    claim_size,
};
pub use proof_node::{ProofNode, kind_cluster_name};
pub use ranges::Range;
pub use test_cluster::{TestCluster, write_private};

#[cfg(test)]
mod tests {
    use std::path::Path;

    use hybrid_cache_tools::Checkout;

    /// The checkout that these tests belong to.
    pub fn checkout() -> Checkout {
        Checkout::open(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))).unwrap()
    }
}
