//! Slots on disk: claiming them, creating their networks, and giving them back.

use std::fs::{self, File, TryLockError};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use hybrid_cache_model::Protection;
use hybrid_cache_model::network::{self, Held, HoldReport, HoldRequest};
use hybrid_cache_model::protocol::Identity;
use rustix::process::{Pid, PidfdFlags, Signal};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::Command;

use crate::local::config::LocalConfig;

/// Most slots of one cache folder, and so most holder processes.
pub const MAX_SLOTS: usize = 256;
/// How long creating a network may take. Its holder gives pasta ten seconds.
const HOLDER_START_TIMEOUT: Duration = Duration::from_secs(15);
/// How long to wait for the end of a killed holder, and the time between two checks.
const HOLDER_EXIT_TIMEOUT: Duration = Duration::from_secs(2);
const HOLDER_EXIT_CHECK: Duration = Duration::from_millis(2);
const RESOLVER: &str = "/etc/resolv.conf";
/// First byte of a slot's `lock`: free, or used by a task now or when its driver died.
const FREE: &[u8] = b"0";
const TAKEN: &[u8] = b"1";

/// The slots of one cache folder.
pub struct Slots {
    folder: PathBuf,
    config: Arc<LocalConfig>,
    keeper: Option<Identity>,
}

/// Why there is no slot for a task.
#[derive(Debug)]
pub enum SlotError {
    /// This machine cannot have any.
    Unsupported(String),
    /// It can have some, but none can be created now.
    Failed(String),
    /// Others use all of them.
    Full,
}

impl From<String> for SlotError {
    fn from(problem: String) -> SlotError {
        SlotError::Failed(problem)
    }
}

impl From<SlotError> for String {
    fn from(problem: SlotError) -> String {
        match problem {
            SlotError::Unsupported(reason) | SlotError::Failed(reason) => reason,
            SlotError::Full => format!("all {MAX_SLOTS} networks of this cache folder are in use"),
        }
    }
}

/// A read-only cache folder cannot hold a network; any other error may be temporary.
fn problem(folder: &Path, error: &io::Error) -> SlotError {
    let text = format!("{}: {error}", folder.display());
    if error.kind() == io::ErrorKind::ReadOnlyFilesystem {
        SlotError::Unsupported(text)
    } else {
        SlotError::Failed(text)
    }
}

/// The state of one slot.
enum SlotState {
    /// This process has claimed it.
    Claimed(SlotClaim),
    /// Others use it, or no one can.
    Busy,
    /// It has no holder, and this process has locked it.
    Empty(File),
    /// There is no such slot.
    Absent,
}

impl Slots {
    /// Slots below the cache folder. `keeper` is the user that holders become, if this process is root.
    pub fn new(config: &Arc<LocalConfig>, keeper: Option<Identity>) -> Slots {
        Slots {
            folder: config.root.join("network"),
            config: Arc::clone(config),
            keeper,
        }
    }

    /// Claims a slot that no one else uses, and creates its network if it has none.
    pub async fn claim(&self) -> Result<SlotClaim, SlotError> {
        let pasta = self.config.pasta.as_ref().ok_or_else(|| {
            let hint = "hint: install the package passt, or give `--network shared` to do without";
            SlotError::Unsupported(format!("pasta is not available\n{hint}"))
        })?;
        let resolver = fs::read(RESOLVER).unwrap_or_default();
        let hash = network::resolver_hash(&resolver);
        let mut vacancy = None;
        for number in 0..MAX_SLOTS {
            let folder = self.folder.join(number.to_string());
            let state = look(&folder, &hash).await;
            match state.map_err(|error| problem(&folder, &error))? {
                SlotState::Claimed(claim) => return Ok(claim),
                SlotState::Busy => {}
                SlotState::Empty(lock) => vacancy = vacancy.or(Some((folder, lock))),
                SlotState::Absent => {
                    if vacancy.is_none() {
                        let made = create_folder(&folder).map_err(|error| problem(&folder, &error))?;
                        vacancy = made.map(|lock| (folder, lock));
                    }
                    if vacancy.is_some() {
                        break;
                    }
                }
            }
        }
        let (folder, lock) = vacancy.ok_or(SlotError::Full)?;
        let at = |error: io::Error| format!("{}: {error}", folder.display());
        // What the last task left ended with its holder's network.
        lock.write_all_at(FREE, 0).map_err(at)?;
        self.start_holder(pasta, &folder).await?;
        match inspect(&folder, lock, &hash).await {
            Ok(SlotState::Claimed(claim)) => Ok(claim),
            Ok(_) => Err(SlotError::Failed(
                "its holder ended at once, or this machine's network keeps changing".to_owned(),
            )),
            Err(error) => Err(at(error).into()),
        }
    }

    /// Starts the holder of a slot that this process has locked, and waits until its network exists.
    async fn start_holder(&self, pasta: &[String], folder: &Path) -> Result<(), SlotError> {
        let request = HoldRequest {
            folder: folder.to_string_lossy().into_owned(),
            pasta: pasta.to_vec(),
            identity: self.keeper,
            idle_s: self.config.network_idle_s,
            block_routes: Protection::BlockedRoutes.is_on(),
        };
        let mut text = serde_json::to_vec(&request).map_err(|error| error.to_string())?;
        text.push(b'\n');
        let runner = &self.config.runner;
        // Not killed with this handle, because it continues for other tasks. It creates a session of its own, so that it has
        // neither this process's terminal nor its Ctrl-C.
        let mut holder = Command::new(runner)
            .arg("hold-network")
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| format!("cannot start {}: {error}", runner.display()))?;
        let (stdin, stdout) = (holder.stdin.take(), holder.stdout.take());
        let answer = async {
            let (mut stdin, stdout) = (stdin?, stdout?);
            // A holder that does not read has ended; the missing answer shows that.
            let _ = stdin.write_all(&text).await;
            drop(stdin);
            let mut line = String::new();
            BufReader::new(stdout).read_line(&mut line).await.ok()?;
            serde_json::from_str(&line).ok()
        };
        match tokio::time::timeout(HOLDER_START_TIMEOUT, answer).await {
            Ok(Some(HoldReport::Ready)) => Ok(()),
            Ok(Some(HoldReport::Failed(problem))) => Err(SlotError::Unsupported(problem)),
            Ok(None) => Err("its holder process ended without a report".to_owned().into()),
            Err(_) => {
                // It may have ended already.
                let _ = holder.start_kill();
                Err(format!(
                    "its holder process was not ready within {} s",
                    HOLDER_START_TIMEOUT.as_secs()
                )
                .into())
            }
        }
    }
}

/// Creates a slot's folder and locks it; `None` if another process was faster.
fn create_folder(folder: &Path) -> io::Result<Option<File>> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let open = |name: &str| {
        let mut options = File::options();
        options.read(true).write(true).create(true).truncate(false);
        options.open(folder.join(name))
    };
    open("holder")?;
    let lock = open("lock")?;
    Ok(lock.try_lock().is_ok().then_some(lock))
}

async fn look(folder: &Path, resolver: &str) -> io::Result<SlotState> {
    let lock = match File::options().read(true).write(true).open(folder.join("lock")) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(SlotState::Absent),
        other => other?,
    };
    match lock.try_lock() {
        Ok(()) => inspect(folder, lock, resolver).await,
        Err(TryLockError::WouldBlock) => Ok(SlotState::Busy),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Reads the state of a slot that this process has locked.
async fn inspect(folder: &Path, lock: File, resolver: &str) -> io::Result<SlotState> {
    let mut description = File::options().read(true).write(true).open(folder.join("holder"))?;
    if !has_holder(&description) {
        return Ok(SlotState::Empty(lock));
    }
    let mut text = Vec::new();
    description.read_to_end(&mut text)?;
    let held = match serde_json::from_slice::<Held>(&text) {
        // A holder of this kernel, whose process id is valid here.
        Ok(held) if is_alive(&held) => held,
        // The holder has not described itself yet, or runs in another container on the same cache folder.
        _ => return Ok(SlotState::Busy),
    };
    let mut taken = [0];
    let was_left = lock.read_at(&mut taken, 0)? == 0 || taken == FREE;
    let blocked = Protection::BlockedRoutes.is_on();
    if !was_left || held.retired || held.resolver != resolver || held.routes_blocked != blocked {
        // Processes of the last task may still use it, or it no longer matches this machine's network.
        retire(&held);
        for _ in 0..HOLDER_EXIT_TIMEOUT.as_millis() / HOLDER_EXIT_CHECK.as_millis() {
            if !has_holder(&description) {
                return Ok(SlotState::Empty(lock));
            }
            tokio::time::sleep(HOLDER_EXIT_CHECK).await;
        }
        return Ok(SlotState::Busy);
    }
    let own_resolver = (!held.local_name_servers.is_empty())
        .then(|| write_resolver(folder))
        .transpose()?;
    lock.write_all_at(TAKEN, 0)?;
    Ok(SlotState::Claimed(SlotClaim {
        lock,
        held,
        resolver: own_resolver,
        in_use: false,
    }))
}

fn has_holder(description: &File) -> bool {
    let free = description.try_lock_shared().is_ok();
    if free {
        // This was only a check; the next holder needs the lock.
        let _ = description.unlock();
    }
    !free
}

fn is_alive(held: &Held) -> bool {
    let network = fs::metadata(format!("/proc/{}/ns/net", held.pid));
    network.is_ok_and(|metadata| metadata.ino() == held.network_namespace)
}

fn write_resolver(folder: &Path) -> io::Result<PathBuf> {
    let path = folder.join("resolv.conf");
    let own = fs::read_to_string(RESOLVER)?;
    let text = network::forwarded_resolver(&own);
    if fs::read_to_string(&path).ok().as_ref() != Some(&text) {
        fs::write(&path, text)?;
    }
    Ok(path)
}

/// Kills a holder; pasta dies with it.
fn retire(held: &Held) {
    let Some(pid) = i32::try_from(held.pid).ok().and_then(Pid::from_raw) else {
        return;
    };
    // Use a descriptor and check again, because the process id may have been reused meanwhile.
    if let Ok(process) = rustix::process::pidfd_open(pid, PidfdFlags::empty())
        && is_alive(held)
    {
        // The holder may just have ended.
        let _ = rustix::process::pidfd_send_signal(process, Signal::KILL);
    }
}

/// A slot that one task uses.
pub struct SlotClaim {
    lock: File,
    held: Held,
    resolver: Option<PathBuf>,
    in_use: bool,
}

impl SlotClaim {
    /// The arguments that identify the namespaces: the holder's process id, and the inodes of its user and network namespaces.
    /// For root the first inode is 0: it keeps its own user namespace, in which the runner can become another user.
    pub fn namespaces(&self) -> [String; 3] {
        let root = rustix::process::geteuid().is_root();
        let user = if root { 0 } else { self.held.user_namespace };
        [
            self.held.pid.to_string(),
            user.to_string(),
            self.held.network_namespace.to_string(),
        ]
    }

    /// The file that tasks see as `/etc/resolv.conf`; `None` for this machine's own.
    pub fn resolver(&self) -> Option<&Path> {
        self.resolver.as_deref()
    }

    /// Says that a process is about to be started in the network.
    pub fn begin(&mut self) {
        self.in_use = true;
    }

    /// Says that every process that was started in the network has ended.
    pub fn end(&mut self) {
        self.in_use = false;
    }
}

impl Drop for SlotClaim {
    fn drop(&mut self) {
        if self.in_use || self.lock.write_all_at(FREE, 0).is_err() {
            // Killed processes take a moment to end, and must not share the network with the next task.
            retire(&self.held);
        }
    }
}
