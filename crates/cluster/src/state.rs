//! The folder in which this machine keeps the state of a kind cluster: its kubeconfig, the progress of its creation, its volumes,
//! and a lock.
//!
//! ```text
//! <user cache folder>/hybrid-cache/clusters/<name>/
//!     lock           held while the cluster is made or deleted, by us and by the `kind` we started
//!     test.lock      held by `cargo xtask test` for as long as it uses the cluster
//!     record.json    how far it came
//!     kubeconfig     how to reach it; the user's own kubeconfig is never touched
//!     kind.json      the configuration that kind got
//!     service/       what compose.yaml mounts: kubeconfig, driver.json, token, data/
//!     trace/         what tasks asked for that this machine has submitted, for `cargo xtask size`
//!     kubelet.log    what the kubelet said when a cluster could not be made
//!     volumes/       python/ and system/, mounted into the node; they outlive the cluster
//! ```

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use hybrid_cache_tools::{Error, ErrorContext, Result};
use serde::{Deserialize, Serialize};

/// Longest name of a cluster: kind appends `-control-plane`, and a host name has at most 63 characters.
const MAX_NAME: usize = 49;

/// Progress of creating a cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "stage")]
pub enum Stage {
    /// `kind create` was started.
    Creating,
    /// The cluster was Ready once.
    Complete {
        /// Id of the node's container.
        node: String,
    },
    /// The cluster was deleted.
    Down,
}

/// The recorded state of a cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Progress of creating the cluster.
    #[serde(flatten)]
    pub stage: Stage,
    /// The folder of this machine that keeps its volumes.
    pub volumes: PathBuf,
    /// True if the task service was started in the cluster and keeps its tasks there.
    #[serde(default)]
    pub service: bool,
    /// Worker nodes of the cluster; 0 for a control plane that runs tasks.
    #[serde(default)]
    pub workers: u32,
    /// Volume sets of the cluster; `None` if no `up` with sets has written the record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volume_sets: Option<u32>,
}

/// The folder of one cluster.
#[derive(Clone, Debug)]
pub struct StateFolder {
    root: PathBuf,
}

impl StateFolder {
    /// Returns the folder of the cluster with this name. Creates nothing.
    ///
    /// # Errors
    /// The name cannot be a cluster's, or the user has no cache folder.
    pub fn for_cluster(name: &str) -> Result<StateFolder> {
        let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if name.is_empty() || name.len() > MAX_NAME || !name.chars().all(good) || name.starts_with('-') {
            return Err(Error::input(format!(
                "{name:?} cannot be the name of a cluster\nhint: use lower-case letters, digits and `-`, {MAX_NAME} at most"
            )));
        }
        let root = hybrid_cache_tools::default_root()?.join("clusters").join(name);
        Ok(StateFolder { root })
    }

    /// Uses a given folder, for tests.
    #[cfg(test)]
    pub fn at(root: PathBuf) -> StateFolder {
        StateFolder { root }
    }

    /// Path of the folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Creates the folder.
    ///
    /// # Errors
    /// The folder cannot be created.
    pub fn make(&self) -> Result<()> {
        fs::create_dir_all(&self.root).with_context(|| format!("making {}", self.root.display()))
    }

    /// The kubeconfig of the cluster.
    pub fn kubeconfig(&self) -> PathBuf {
        self.root.join("kubeconfig")
    }

    /// The folder for the service beside the cluster: its files and its tasks.
    pub fn service(&self) -> PathBuf {
        self.root.join("service")
    }

    /// kind's configuration file.
    pub fn kind_config(&self) -> PathBuf {
        self.root.join("kind.json")
    }

    /// The kubelet's journal of a cluster that could not be created.
    pub fn journal(&self) -> PathBuf {
        self.root.join("kubelet.log")
    }

    /// The default folder of the volumes.
    pub fn default_volumes(&self) -> PathBuf {
        self.root.join("volumes")
    }

    /// The record; `None` if there is no readable one.
    pub fn record(&self) -> Option<Record> {
        let bytes = fs::read(self.root.join("record.json")).ok()?;
        serde_json::from_slice(&bytes).ok()
    }

    /// Writes the record atomically.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn keep(&self, record: &Record) -> Result<()> {
        self.write(&self.root.join("record.json"), &serde_json::to_vec_pretty(record)?)
    }

    /// Writes one of the folder's files atomically, readable by its owner only.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn write(&self, path: &Path, bytes: &[u8]) -> Result<()> {
        let written = tempfile::NamedTempFile::new_in(&self.root).and_then(|mut file| {
            std::io::Write::write_all(&mut file, bytes)?;
            file.persist(path).map_err(|error| error.error)
        });
        written.with_context(|| format!("writing {}", path.display()))?;
        Ok(())
    }

    /// Deletes the kubeconfig of a cluster that no longer exists.
    pub fn forget_kubeconfig(&self) {
        let inside_docker = self.service().join("kubeconfig");
        for file in [self.kubeconfig(), inside_docker, self.kind_config()] {
            // The file may never have been written.
            let _ = fs::remove_file(file);
        }
    }

    /// Opens the lock's file without locking it. A process that inherits it keeps the lock: `kind` gets it as its standard input,
    /// so that no second creation starts while a `kind` without its parent is still running.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn lock_file(&self) -> Result<File> {
        self.open("lock")
    }

    /// Opens the file that a test run locks while it uses the cluster, without locking it.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn test_lock_file(&self) -> Result<File> {
        self.open("test.lock")
    }

    fn open(&self, name: &str) -> Result<File> {
        let path = self.root.join(name);
        let opened = File::options().create(true).append(true).read(true).open(&path);
        opened.with_context(|| format!("opening {}", path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_lead_out_of_the_folder() {
        for name in ["", "..", "a/b", "A", "-x", &"a".repeat(50)] {
            assert!(StateFolder::for_cluster(name).is_err(), "{name:?}");
        }
    }

    #[test]
    fn a_record_survives_and_a_torn_one_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateFolder::at(folder.path().to_owned());
        assert_eq!(state.record(), None);
        let record = Record {
            stage: Stage::Complete { node: "abc".into() },
            volumes: "/v".into(),
            service: true,
            workers: 2,
            volume_sets: Some(2),
        };
        state.keep(&record).unwrap();
        assert_eq!(state.record(), Some(record));
        fs::write(
            folder.path().join("record.json"),
            r#"{"stage": "down", "volumes": "/v"}"#,
        )
        .unwrap();
        let old = state.record().unwrap();
        assert!(!old.service, "an older record says nothing of a service");
        assert_eq!((old.workers, old.volume_sets), (0, None));
        fs::write(folder.path().join("record.json"), "{\"stage\"").unwrap();
        assert_eq!(state.record(), None);
    }

    #[test]
    fn a_lock_is_kept_by_a_child_that_inherits_it() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateFolder::at(folder.path().to_owned());
        let lock = state.lock_file().unwrap();
        lock.try_lock().unwrap();
        let mut child = std::process::Command::new("sleep")
            .arg("30")
            .stdin(lock.try_clone().unwrap())
            .spawn()
            .unwrap();
        drop(lock);
        let second = state.lock_file().unwrap();
        assert!(second.try_lock().is_err(), "the child holds it");
        child.kill().unwrap();
        child.wait().unwrap();
        second.lock().unwrap();
    }
}
