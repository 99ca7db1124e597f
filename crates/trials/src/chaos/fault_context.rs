//! The context of faults: a driver or a machine, a seed, and a folder that holds everything they create.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use hybrid_cache_driver::Driver;
use hybrid_cache_driver::local::{LocalConfig, Network};

use crate::caches::within;
use crate::chaos::control::{ClusterControl, NodeControl};
use crate::chaos::dice::Dice;
use crate::chaos::disk;
use crate::chaos::fault_caches::FaultCaches;
use crate::chaos::fault_need::FaultNeed;
use crate::chaos::serve::Serve;
use crate::chaos::stock::Stock;
use crate::error::TrialError;
use crate::site::Site;

/// Name of the locked file in a trial's folder: if the file is unlocked, the trial's process has ended.
const OWNER: &str = ".owner";

/// Settings for faults.
#[derive(Clone)]
pub struct Settings {
    /// Seed of all random numbers.
    pub seed: u64,
    /// Number of repetitions, for faults that can be repeated.
    pub rounds: u32,
    /// Starts a task service as a separate process; `None` if the caller cannot.
    pub serve: Option<Serve>,
}

/// The context in which faults are tried.
pub struct FaultContext {
    site: Site,
    settings: Settings,
    config: Option<LocalConfig>,
    hands: Option<Arc<dyn ClusterControl>>,
    driver: Option<Arc<dyn Driver>>,
    folder: PathBuf,
    makes_damage: bool,
    places: AtomicU32,
    _owner: File,
}

impl Drop for FaultContext {
    fn drop(&mut self) {
        clear(&self.folder);
    }
}

impl FaultContext {
    /// A context on this machine. Everything is created below `config.root`; leftovers of killed trials there are removed.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn local(mut config: LocalConfig, settings: Settings) -> Result<FaultContext, TrialError> {
        // The faults' tasks need no network, and a network that is kept for later tasks would outlive the trial.
        config.network = Network::None;
        let root = config.root.clone();
        FaultContext::open(Site::Local, &root, settings, Some(config), None)
    }

    /// A context with a folder of this machine and no caches; leftovers of killed trials in the folder are removed.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn bare(folder: &Path, settings: Settings) -> Result<FaultContext, TrialError> {
        FaultContext::open(Site::Local, folder, settings, None, None)
    }

    /// A context on a cluster; `folder` holds the files that are needed on this machine.
    ///
    /// # Errors
    /// The folder cannot be written, or the cluster does not answer.
    pub async fn cluster(
        hands: Arc<dyn ClusterControl>,
        folder: &Path,
        settings: Settings,
    ) -> Result<FaultContext, TrialError> {
        let driver = hands.driver().await?;
        let mut field = FaultContext::open(Site::Pod, folder, settings, None, Some(hands))?;
        field.driver = Some(driver);
        Ok(field)
    }

    fn open(
        site: Site,
        root: &Path,
        settings: Settings,
        config: Option<LocalConfig>,
        hands: Option<Arc<dyn ClusterControl>>,
    ) -> Result<FaultContext, TrialError> {
        let failed = || TrialError::io(format!("making a folder below {}", root.display()));
        fs::create_dir_all(root).map_err(failed())?;
        sweep(root);
        let folder = root.join(format!("chaos-{}-{}", std::process::id(), unique()));
        fs::create_dir(&folder).map_err(failed())?;
        let owner = File::create(folder.join(OWNER)).map_err(failed())?;
        // Only another trial's sweep could take the lock first. It deletes the folder, and every later step fails with a clear
        // error.
        owner
            .try_lock()
            .map_err(|error| TrialError::Other(format!("locking {}: {error}", folder.display())))?;
        Ok(FaultContext {
            site,
            settings,
            config,
            hands,
            driver: None,
            folder,
            makes_damage: false,
            places: AtomicU32::new(0),
            _owner: owner,
        })
    }

    /// Returns a context in which each fault also does the damage that its promise excludes, so that its judge must notice.
    #[must_use]
    pub fn with_damage(mut self) -> FaultContext {
        self.makes_damage = true;
        self
    }

    /// True if the fault should do its damage itself.
    pub fn makes_damage(&self) -> bool {
        self.makes_damage
    }

    /// The kind of site.
    pub fn site(&self) -> Site {
        self.site
    }

    /// Number of repetitions of a fault here.
    pub fn rounds(&self) -> u32 {
        self.settings.rounds.max(1)
    }

    /// The seed.
    pub fn seed(&self) -> u64 {
        self.settings.seed
    }

    /// Random numbers for one fault.
    pub fn dice(&self, fault: &str) -> Dice {
        Dice::new(self.settings.seed, fault)
    }

    /// Time limit for one step.
    pub fn patience(&self) -> Duration {
        match self.site {
            Site::Local => Duration::from_secs(120),
            Site::Pod => Duration::from_secs(300),
        }
    }

    /// The function that starts a service.
    ///
    /// # Errors
    /// The caller cannot start one: the list says that such a fault needs one.
    pub fn serve(&self) -> Result<&Serve, TrialError> {
        let lacking = || TrialError::Other("this fault needs a service".to_owned());
        self.settings.serve.as_ref().ok_or_else(lacking)
    }

    /// Control of the cluster.
    ///
    /// # Errors
    /// This is not a cluster: a mistake in the list.
    pub fn hands(&self) -> Result<&dyn ClusterControl, TrialError> {
        let wrong = || TrialError::Other("this fault needs a cluster".to_owned());
        self.hands.as_deref().ok_or_else(wrong)
    }

    /// The cluster's driver.
    ///
    /// # Errors
    /// This is not a cluster: a mistake in the list.
    pub fn driver(&self) -> Result<Arc<dyn Driver>, TrialError> {
        let wrong = || TrialError::Other("this fault needs a cluster".to_owned());
        self.driver.clone().ok_or_else(wrong)
    }

    /// The cluster's node.
    ///
    /// # Errors
    /// The caller did not name a node: the list says that such a fault needs one.
    pub fn node(&self) -> Result<&dyn NodeControl, TrialError> {
        let wrong = || TrialError::Other("this fault needs the name of the node's container".to_owned());
        self.hands()?.node().ok_or_else(wrong)
    }

    /// Why a fault with this need cannot be tried here; `None` if it can.
    pub fn lacks(&self, need: FaultNeed) -> Option<&'static str> {
        match need {
            FaultNeed::Mounts => disk::cannot_mount(),
            FaultNeed::Loop => disk::cannot_loop(),
            FaultNeed::Service => self
                .settings
                .serve
                .is_none()
                .then_some("no task service can be started as a process of its own here"),
            FaultNeed::Node => self.hands.as_deref().is_none_or(|hands| hands.node().is_none()).then_some(
                "it stops the container of the cluster's node, which is touched only if it is named (--node-container)",
            ),
        }
    }

    /// Creates a folder for the fault.
    ///
    /// # Errors
    /// The folder cannot be created.
    pub fn new_folder(&self, name: &str) -> Result<PathBuf, TrialError> {
        let number = self.places.fetch_add(1, Ordering::Relaxed);
        let folder = self.folder.join(format!("{name}-{number}"));
        fs::create_dir(&folder).map_err(TrialError::io(format!("making {}", folder.display())))?;
        Ok(folder)
    }

    /// The packages of all faults.
    ///
    /// # Errors
    /// The packages' folder cannot be created.
    pub fn stock(&self) -> Result<Stock, TrialError> {
        Stock::open(&self.folder.join("stock"))
    }

    /// Creates caches for the fault in a new folder.
    ///
    /// # Errors
    /// The caches cannot be created, or this is a cluster.
    pub fn place(&self, name: &str) -> Result<FaultCaches, TrialError> {
        self.place_in(&self.new_folder(name)?)
    }

    /// Creates caches for the fault in this folder, such as a mount.
    ///
    /// # Errors
    /// The caches cannot be created, or this is a cluster.
    pub fn place_in(&self, root: &Path) -> Result<FaultCaches, TrialError> {
        let wrong = || TrialError::Other("this fault runs on the local driver alone".to_owned());
        let config = self.config.clone().ok_or_else(wrong)?;
        FaultCaches::open(config, root, self.stock()?, self.patience())
    }

    /// Resumes a node that a fault paused and could not resume.
    ///
    /// # Errors
    /// The caller cannot reach the node.
    pub async fn recover(&self) -> Result<(), TrialError> {
        let node = self.hands.as_deref().and_then(|hands| hands.node());
        let Some(node) = node else { return Ok(()) };
        within("letting the node go on", self.patience(), node.resume()).await?
    }

    /// Removes what the previous fault created.
    pub fn clear(&self) {
        disk::unmount_below(&self.folder);
        for entry in fs::read_dir(&self.folder).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                remove(&entry.path());
            }
        }
    }
}

fn unique() -> u64 {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    u64::from(COUNT.fetch_add(1, Ordering::Relaxed))
}

/// Removes the folders of trials whose process has ended, after unmounting everything below them.
fn sweep(root: &Path) {
    for entry in fs::read_dir(root).into_iter().flatten().flatten() {
        let folder = entry.path();
        let is_trial = entry.file_name().to_string_lossy().starts_with("chaos-");
        let owner = File::open(folder.join(OWNER));
        let is_dead = owner.is_ok_and(|owner| owner.try_lock().is_ok());
        if is_trial && is_dead {
            clear(&folder);
        }
    }
}

fn clear(folder: &Path) {
    disk::unmount_below(folder);
    remove(folder);
}

/// Deletes a folder, even with read-only folders in it. The next sweep finds what cannot be deleted.
fn remove(folder: &Path) {
    use std::os::unix::fs::PermissionsExt;
    if fs::remove_dir_all(folder).is_ok() {
        return;
    }
    let mut left = vec![folder.to_owned()];
    while let Some(folder) = left.pop() {
        let _ = fs::set_permissions(&folder, fs::Permissions::from_mode(0o700));
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                left.push(entry.path());
            }
        }
    }
    let _ = fs::remove_dir_all(folder);
}
