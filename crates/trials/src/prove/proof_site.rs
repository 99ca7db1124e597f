//! Where a proof runs: on this machine, or in the node of a kind cluster on this machine.
//!
//! In both cases a file system is made in a file of this machine and mounted here, so everything is measured alike. For a
//! cluster the same device is mounted in the node as well, and a namespace of the proof's own has a claim on it.

use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use hybrid_cache_driver::local::LocalConfig;
use hybrid_cache_model::pod::PYTHON_MOUNT;
use hybrid_cache_model::protocol::Identity;
use hybrid_cache_sizing::{Volume, Weight};

use crate::caches::within;
use crate::error::TrialError;
use crate::prove::claims::{ClaimOrder, Claims, Node, PACKAGES};
use crate::prove::keeper::Keeper;
use crate::prove::mounted_volume::{Device, MountedVolume};
use crate::prove::pods::PodStore;
use crate::prove::slice::Slice;
use crate::prove::store::Store;
use crate::prove::{standin, system};

/// Deadline for the deletion of a namespace and its mounts.
const CLOSING: Duration = Duration::from_secs(300);

/// Where a proof runs.
#[derive(Clone, Copy)]
pub enum ProofSite<'a> {
    /// On this machine, by its runner.
    Machine(&'a LocalConfig),
    /// In the node of a cluster, by tasks in pods.
    Node {
        /// Folder of this machine for what is made.
        folder: &'a Path,
        /// The node.
        node: &'a dyn Node,
    },
}

/// What environments are made of.
pub struct PackageFolder {
    folder: PathBuf,
    ground: Option<MountedVolume>,
}

/// A volume of one size, with what answers requests on it.
pub struct Opened {
    /// Its file system.
    pub ground: MountedVolume,
    /// Answers requests.
    pub keeper: Box<dyn Keeper>,
    claims: Option<Arc<dyn Claims>>,
}

impl ProofSite<'_> {
    /// The volumes that can be replayed here, and what to say of the others.
    pub fn can(&self, volume: Volume) -> Result<(), &'static str> {
        match (self, volume) {
            (ProofSite::Node { .. }, Volume::System) => Err(
                "the system volume is not replayed in a cluster, where the image's own Nix fills it: prove it on this machine, with \
                 the same eviction",
            ),
            _ => Ok(()),
        }
    }

    /// What a reader should know of waiting times.
    pub fn note_on_waiting(&self) -> &'static str {
        match self {
            ProofSite::Machine(_) => "waiting is that of preparing on this machine, without a pod",
            ProofSite::Node { .. } => {
                "each request was a task in a pod of a namespace of its own, and waiting is from submit to end; uses were noted on \
                 the volume after a minute of the trace, where a driver waits for an hour: the order of eviction within an hour is not proved"
            }
        }
    }

    /// Writes what the slice's environments are made of.
    ///
    /// # Errors
    /// It cannot be written.
    pub async fn write(&self, folder: &Path, slice: &Slice, volume: Volume) -> Result<PackageFolder, TrialError> {
        let ground = match self {
            ProofSite::Machine(_) => None,
            ProofSite::Node { .. } => {
                let bytes = slice.union().bytes;
                Some(MountedVolume::make(folder, bytes + bytes / 4 + (96 << 20)).await?)
            }
        };
        let at = ground.as_ref().map_or_else(|| folder.to_owned(), MountedVolume::volume);
        let folder = match volume {
            Volume::Python => standin::write(&at, &slice.parts)?,
            Volume::System => system::write(&at, slice)?,
        };
        Ok(PackageFolder { folder, ground })
    }

    /// Makes a volume of that size. `assumed_bytes` is what the product takes for the size of the claim; `None`: nothing is ever evicted.
    ///
    /// # Errors
    /// The file system or the claim cannot be made.
    pub async fn open(
        &self,
        folder: &Path,
        packages: &PackageFolder,
        volume: Volume,
        bytes: u64,
        assumed_bytes: Option<u64>,
    ) -> Result<Opened, TrialError> {
        let ground = MountedVolume::make(folder, bytes).await?;
        let node = match self {
            ProofSite::Machine(config) => {
                let store = Store::new(config, volume, ground.volume(), &packages.folder, assumed_bytes)?;
                return Ok(Opened {
                    ground,
                    keeper: Box::new(store),
                    claims: None,
                });
            }
            ProofSite::Node { node, .. } => node,
        };
        let own = |path: &Path| {
            let Identity { uid, gid } = node.owner();
            chown(path, Some(uid), Some(gid)).map_err(TrialError::io(format!("owning {}", path.display())))
        };
        let over = ground.volume().join(PACKAGES);
        std::fs::create_dir(&over).map_err(TrialError::io(format!("making {}", over.display())))?;
        own(&over)?;
        own(&ground.volume())?;
        let order = ClaimOrder {
            device: ground.device()?,
            packages: packages.device()?,
            bytes,
            assumed_bytes,
            variables: packages.variables(),
        };
        let claims = node.open(&order).await?;
        let store = PodStore::new(Arc::clone(&claims), ground.volume(), node.max_age_s());
        Ok(Opened {
            ground,
            keeper: Box::new(store),
            claims: Some(claims),
        })
    }
}

impl PackageFolder {
    fn device(&self) -> Result<Device, TrialError> {
        let ground = self.ground.as_ref();
        let ground =
            ground.ok_or_else(|| TrialError::Other("packages are on no file system of their own".to_owned()))?;
        ground.device()
    }

    /// Where uv finds them in a pod.
    fn variables(&self) -> Vec<(String, String)> {
        let at = self.ground.as_ref().map(MountedVolume::at).unwrap_or(Path::new("/"));
        let inside = self.folder.strip_prefix(at).unwrap_or(&self.folder);
        let folder = Path::new(PYTHON_MOUNT).join(PACKAGES).join(inside);
        standin::variables(&folder)
    }

    /// Takes them away.
    ///
    /// # Errors
    /// Their file cannot be deleted.
    pub async fn end(self) -> Result<(), TrialError> {
        match self.ground {
            Some(ground) => ground.end().await,
            None => Ok(()),
        }
    }
}

impl Opened {
    /// What the file system had for an ordinary user.
    pub fn room(&self) -> Weight {
        self.ground.room
    }

    /// Takes the volume away, whatever was done on it.
    ///
    /// # Errors
    /// Something stays.
    pub async fn end(self) -> Result<(), TrialError> {
        let closed = match &self.claims {
            Some(claims) => within("taking a namespace away", CLOSING, claims.close())
                .await
                .flatten(),
            None => Ok(()),
        };
        // Who keeps files of it open goes first.
        drop((self.keeper, self.claims));
        let ended = self.ground.end().await;
        closed.and(ended)
    }
}
