//! The node of a kind cluster, for a proof: mounts through its container, and a namespace and PersistentVolumes of the proof's own
//! through the API server.

use std::fs::{self, File};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use hybrid_cache_driver::kube::{KubeConfig, KubeDriver};
use hybrid_cache_driver::{Driver, Epoch};
use hybrid_cache_image::docker::Engine;
use hybrid_cache_model::maintain::{MaintainReport, VerifyReport};
use hybrid_cache_model::pod::{PodMaintainReport, PodMaintenanceCommand};
use hybrid_cache_model::protocol::{Identity, IndexScope};
use hybrid_cache_model::{TaskSpec, Tenant};
use hybrid_cache_tools::{Checkout, Error, ErrorContext, Result, certificates};
use hybrid_cache_trials::TrialError;
use hybrid_cache_trials::prove::{ClaimOrder, Claims, Device, Node, PACKAGES, VOLUME};
use serde_json::{Value, json};

use crate::api::ClusterApi;
use crate::apply::refused;
use crate::connection::ClusterConnection;
use crate::manifests::{self, Sizes, VolumeSource};
use crate::names::{NIX_CLAIM, OWNER, PYTHON_CLAIM};
use crate::options::ClusterChoice;
use crate::ranges::Ranges;
use crate::setup_record::SetupRecord;
use crate::{namespace, node};

/// Prefix of all names of a proof.
const PREFIX: &str = "hybrid-cache-proof-";
/// Suffixes of the names of a proof's two PersistentVolumes.
const ENDS: [&str; 2] = ["-python", "-system"];
/// The folder in the node with a proof's folders and mounts.
const FOLDER: &str = "/var/lib/hybrid-cache-proof";
/// Prefix that kind puts before a cluster's name in the name of its context.
const KIND_CONTEXT: &str = "kind-";
/// Longest time for a command in the node.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(60);
/// Longest time for a namespace's claims to be bound, or for the namespace to be deleted.
const NAMESPACE_TIMEOUT: Duration = Duration::from_secs(120);

/// Mounts the volume, and mounts the packages read-only over one of its folders. A privileged container has only the device nodes
/// that existed when it started. One file system cannot be mounted writable in one place and read-only in another, but a bind
/// mount of it can be read-only.
const MOUNT: &str = r#"
set -e
at=$1 owner=$2 volume=$3 packages=$4 over=$5
mkdir -p "$at/python" "$at/system"
chown "$owner" "$at/system"
for device in "$volume" "$packages"; do
  test -b "/dev/loop${device#*:}" || mknod "/dev/loop${device#*:}" b "${device%:*}" "${device#*:}"
done
mount -t ext4 -o nosuid,nodev "/dev/loop${volume#*:}" "$at/python"
mount -t ext4 -o nosuid,nodev "/dev/loop${packages#*:}" "$at/python/$over"
mount -o remount,bind,ro,nosuid,nodev "$at/python/$over"
"#;
/// Unmounts and removes everything below a folder. A pod that is just ending may hold a mount for a moment.
const UNMOUNT: &str = r#"
at=$1
for try in 1 2 3 4 5 6 7 8 9 10; do
  mounts=$(while read -r _ mount _; do case $mount in "$at"/*) echo "$mount" ;; esac; done </proc/mounts | sort -r)
  test -n "$mounts" || break
  for mount in $mounts; do
    if test "$try" = 10; then umount -l "$mount"; else umount "$mount" 2>/dev/null || true; fi
  done
  test "$try" = 1 || sleep 1
done
rm -rf --one-file-system "$at"
"#;

/// A kind cluster on this machine.
pub struct ProofNode {
    inner: Arc<Inner>,
    _lock: File,
}

struct Inner {
    api: ClusterApi,
    config: KubeConfig,
    checkout: Checkout,
    engine: Engine,
    container: String,
    ranges: Ranges,
    opened: AtomicU32,
}

fn trial_error(error: impl std::fmt::Display) -> TrialError {
    TrialError::Other(format!("{error:#}"))
}

fn cannot(why: impl std::fmt::Display) -> Error {
    Error::prerequisite(format!(
        "no trace can be replayed in this cluster: {why}\nhint: leave out `--driver kube` to replay on this machine, or \
         `--prove` to compute the sizes only"
    ))
}

/// The name of the kind cluster that the command line selects.
///
/// # Errors
/// The selected cluster is not a kind cluster.
pub fn kind_cluster_name(choice: &ClusterChoice) -> Result<&str> {
    let Some(context) = &choice.context else {
        return Ok(&choice.name);
    };
    context.strip_prefix(KIND_CONTEXT).ok_or_else(|| {
        cannot(format!(
            "{context:?} is not the context of a kind cluster, and only a kind node is a container of this machine"
        ))
    })
}

impl ProofNode {
    /// Finds the cluster and its node, and removes the leftovers of a killed proof.
    ///
    /// # Errors
    /// The cluster is not a kind cluster with one node on this machine, tasks cannot run there, or another proof is running.
    pub async fn open(checkout: Checkout, choice: &ClusterChoice) -> Result<ProofNode> {
        let cluster = kind_cluster_name(choice)?;
        let connection = ClusterConnection::open(&checkout, choice).await?;
        let lock = lock(cluster)?;
        let engine = Engine::connect().await.map_err(|error| cannot(format!("{error:#}")))?;
        let container = container(&engine, cluster, &connection.api).await?;
        same_kernel(&engine, &container).await?;
        let images = node::images(&engine, &container).await?;
        let image = &connection.config.image;
        if !images.iter().any(|one| {
            one.repo_tags
                .iter()
                .any(|tag| tag == image || tag.ends_with(&format!("/{image}")))
        }) {
            return Err(cannot(format!(
                "its node does not have the image {image} of this checkout; run `cargo xtask up` to load it"
            )));
        }
        let (sources, record) = tokio::try_join!(connection.api.address_sources(), SetupRecord::read(&connection.api))?;
        let found = ProofNode {
            inner: Arc::new(Inner {
                ranges: Ranges::from_sources(&sources, record.closed_ranges.iter().copied().collect()),
                api: connection.api,
                config: connection.config,
                checkout,
                engine,
                container,
                opened: AtomicU32::new(0),
            }),
            _lock: lock,
        };
        found.inner.sweep().await?;
        Ok(found)
    }
}

/// Takes the lock: one proof in a cluster at a time, because each proof removes the leftovers that it finds.
fn lock(cluster: &str) -> Result<File> {
    let folder = hybrid_cache_tools::default_root()?.join("proof");
    fs::create_dir_all(&folder).with_context(|| format!("making the folder {}", folder.display()))?;
    let path = folder.join(format!("{cluster}.lock"));
    let file = File::create(&path).with_context(|| format!("opening {}", path.display()))?;
    file.try_lock()
        .map_err(|_| cannot("another proof is running there; wait for it to end"))?;
    Ok(file)
}

/// The container of the only node, which must be a node of that API server.
async fn container(engine: &Engine, cluster: &str, api: &ClusterApi) -> Result<String> {
    let containers = node::containers(engine, cluster).await?;
    let [container] = &containers[..] else {
        return Err(cannot(format!(
            "Docker has {} containers of kind cluster {cluster:?}, but a replay needs exactly one",
            containers.len()
        )));
    };
    let nodes = api.nodes().await?;
    if !nodes.iter().any(|node| node.name == container.name) {
        return Err(cannot(format!(
            "the cluster at {} has no node {:?}, which Docker knows by that name",
            api.address, container.name
        )));
    }
    Ok(container.name.clone())
}

/// Checks that this machine and the node share one kernel: only then is a device of this machine also a device in the node.
async fn same_kernel(engine: &Engine, container: &str) -> Result<()> {
    const BOOT: &str = "/proc/sys/kernel/random/boot_id";
    let here = fs::read_to_string(BOOT).with_context(|| format!("reading {BOOT}"))?;
    let there = engine.exec(container, &["cat", BOOT], COMMAND_TIMEOUT).await?;
    if there.stdout.trim() == here.trim() {
        return Ok(());
    }
    Err(cannot(
        "Docker runs on another machine, or in a virtual one, whose devices are not here",
    ))
}

/// The objects of a proof's namespace: those of every namespace, with PersistentVolumes of their own in folders of the node.
fn objects(checkout: &Checkout, api: &ClusterApi, ranges: &Ranges, at: &str, bytes: u64) -> Result<Vec<Value>> {
    let sizes = Sizes {
        python: Some(bytes.to_string()),
        system: Some("1Gi".to_owned()),
        ..Sizes::default()
    };
    let mut wanted = manifests::objects(checkout, &VolumeSource::NodeFolders, &sizes)?;
    wanted.push(manifests::certificates(&certificates::bundle()?));
    let placed = wanted.into_iter().map(|object| ranges.fitted(api.placed(object)));
    own_volumes(placed.collect(), &api.namespace, at)
}

/// The same objects with PersistentVolumes of another name, in folders of the node.
fn own_volumes(mut wanted: Vec<Value>, name: &str, at: &str) -> Result<Vec<Value>> {
    for object in &mut wanted {
        if object["kind"] != "PersistentVolume" {
            continue;
        }
        let is_python = object.pointer("/spec/claimRef/name") == Some(&json!(PYTHON_CLAIM));
        let (end, folder) = match is_python {
            true => (ENDS[0], format!("{at}/python/{VOLUME}")),
            false => (ENDS[1], format!("{at}/system")),
        };
        object["metadata"]["name"] = json!(format!("{name}{end}"));
        let spec = object["spec"]
            .as_object_mut()
            .context("a PersistentVolume without a spec")?;
        spec.remove("local");
        // A local volume would be mounted without the mounts below it, which hold the packages.
        spec.insert("hostPath".to_owned(), json!({"path": folder, "type": "Directory"}));
    }
    // Create the volumes first: a later proof finds the leftovers of a killed one by them.
    wanted.sort_by_key(|object| object["kind"] != "PersistentVolume");
    Ok(wanted)
}

impl Inner {
    async fn in_node(&self, script: &str, arguments: &[&str]) -> Result<()> {
        let command = [&["sh", "-c", script, "sh"], arguments].concat();
        let done = self.engine.exec(&self.container, &command, COMMAND_TIMEOUT).await?;
        let said = done.stderr.trim();
        if done.code != 0 {
            return Err(Error::failed(format!("in the node {}: {said}", self.container)));
        }
        Ok(())
    }

    /// Removes the leftovers of killed proofs.
    async fn sweep(&self) -> Result<()> {
        let volumes = self.api.volumes().await?;
        let names = volumes.iter().filter_map(|volume| {
            let end = ENDS.iter().find(|end| volume.name.ends_with(**end))?;
            volume.name.strip_suffix(end).filter(|name| name.starts_with(PREFIX))
        });
        let mut names: Vec<&str> = names.collect();
        names.dedup();
        for name in names {
            self.remove(name).await?;
        }
        self.in_node(UNMOUNT, &[FOLDER]).await
    }

    /// Removes a namespace, its volumes and its mounts. Every step is tried, even if one fails.
    async fn remove(&self, name: &str) -> Result<()> {
        let api = self.api.clone().within(name);
        let gone = api.delete(&namespace::bare(name), NAMESPACE_TIMEOUT).await;
        let mut volumes = Vec::new();
        for end in ENDS {
            let volume = json!({"kind": "PersistentVolume", "metadata": {"name": format!("{name}{end}")}});
            volumes.push(api.delete(&volume, NAMESPACE_TIMEOUT).await);
        }
        let unmounted = self.in_node(UNMOUNT, &[&format!("{FOLDER}/{name}")]).await;
        gone?;
        volumes.into_iter().collect::<Result<Vec<bool>>>()?;
        unmounted
    }

    async fn bring(&self, name: &str, order: &ClaimOrder) -> Result<KubeDriver> {
        let at = format!("{FOLDER}/{name}");
        let numbers = |device: Device| format!("{}:{}", device.major, device.minor);
        let (volume, packages) = (numbers(order.device), numbers(order.packages));
        let (owner, over) = (format!("{OWNER}:{OWNER}"), format!("{VOLUME}/{PACKAGES}"));
        self.in_node(MOUNT, &[&at, &owner, &volume, &packages, &over]).await?;
        let api = self.api.clone().within(name);
        for object in objects(&self.checkout, &api, &self.ranges, &at, order.bytes)? {
            refused(&object, api.apply(&object).await?)?;
        }
        tokio::try_join!(
            api.wait_bound(name, PYTHON_CLAIM, NAMESPACE_TIMEOUT),
            api.wait_bound(name, NIX_CLAIM, NAMESPACE_TIMEOUT)
        )?;
        let driver = api.driver(self.config_for(name, order)).await?;
        driver.initialise().await?;
        Ok(driver)
    }

    /// Settings of the driver: those of the cluster, with stand-ins as the only packages.
    fn config_for(&self, name: &str, order: &ClaimOrder) -> KubeConfig {
        let mut config = self.config.clone();
        name.clone_into(&mut config.namespace);
        let variables = &mut config.network.python_variables;
        variables.retain(|(name, _)| !name.starts_with("UV_"));
        variables.extend(order.variables.iter().cloned());
        name.clone_into(&mut config.network.index);
        config.network.index_scope = IndexScope::Public;
        config.max_age_s = config.max_age_s.max(3600);
        let unlimited = order.assumed_bytes.is_none();
        config.budget_bytes = if unlimited { u64::MAX } else { 0 };
        config.budget_inodes = config.budget_bytes;
        config.python_claim_bytes = order.assumed_bytes.unwrap_or(order.bytes);
        config.argo = None;
        config
    }
}

#[async_trait]
impl Node for ProofNode {
    fn owner(&self) -> Identity {
        self.inner.config.identity
    }

    fn max_age_s(&self) -> u64 {
        self.inner.config.max_age_s.max(3600)
    }

    async fn open(&self, order: &ClaimOrder) -> Result<Arc<dyn Claims>, TrialError> {
        let number = self.inner.opened.fetch_add(1, Ordering::Relaxed);
        let name = format!("{PREFIX}{}-{number}", std::process::id());
        match self.inner.bring(&name, order).await {
            Ok(driver) => Ok(Arc::new(Opened {
                inner: Arc::clone(&self.inner),
                driver,
                name,
            })),
            Err(error) => {
                // Report the original error; the next proof removes what is left here.
                drop(self.inner.remove(&name).await);
                Err(trial_error(error))
            }
        }
    }
}

/// The namespace of a proof.
struct Opened {
    inner: Arc<Inner>,
    driver: KubeDriver,
    name: String,
}

#[async_trait]
impl Claims for Opened {
    fn driver(&self) -> &dyn Driver {
        &self.driver
    }

    fn forget_use(&self, spec: &TaskSpec, tenant: &Tenant) -> Result<(), TrialError> {
        Ok(self.driver.forget_use(&Epoch::Standing, tenant, spec)?)
    }

    async fn verify(&self) -> Result<VerifyReport, TrialError> {
        let question = PodMaintenanceCommand::Verify { repair: false };
        match self.driver.maintain(&Epoch::Standing, question).await? {
            PodMaintainReport::Maintained {
                report: MaintainReport::Verify(report),
            } => Ok(report),
            other => Err(trial_error(format!("`verify` answered {other:?}"))),
        }
    }

    async fn close(&self) -> Result<(), TrialError> {
        self.inner.remove(&self.name).await.map_err(trial_error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proof_has_volumes_and_a_namespace_of_its_own_and_nothing_of_the_cluster_s() {
        let checkout = crate::tests::checkout();
        let sizes = Sizes::default();
        let standing = manifests::objects(&checkout, &VolumeSource::NodeFolders, &sizes).unwrap();
        let name = "hybrid-cache-proof-1-0";
        let placed = |object| manifests::in_namespace(object, name);
        let made = own_volumes(standing.iter().cloned().map(placed).collect(), name, "/at").unwrap();
        let key = |object: &Value| {
            format!(
                "{} {} {}",
                object["kind"], object["metadata"]["namespace"], object["metadata"]["name"]
            )
        };
        let taken: Vec<String> = standing.iter().map(key).collect();
        assert!(made.iter().all(|object| !taken.contains(&key(object))));
        assert_eq!(made.len(), standing.len());
        let paths: Vec<&Value> = made
            .iter()
            .filter_map(|object| object.pointer("/spec/hostPath/path"))
            .collect();
        assert_eq!(paths, ["/at/python/volume", "/at/system"]);
        assert!(
            made[..2]
                .iter()
                .all(|object| object["kind"] == "PersistentVolume" && object.pointer("/spec/local").is_none())
        );
        assert!(made.iter().all(|object| {
            object
                .pointer("/spec/claimRef/namespace")
                .is_none_or(|found| found == name)
        }));
    }
}
