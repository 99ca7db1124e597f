//! Slots on disk: claimed, made, and given back.

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

/// Most slots of one cache folder, and so most holders.
pub const MAX_SLOTS: usize = 256;
/// Longest that making a slot may take: its holder gives pasta ten seconds.
const START: Duration = Duration::from_secs(15);
/// Longest wait for a holder that was killed, and the time between two looks.
const DYING: Duration = Duration::from_secs(2);
const LOOK_AGAIN: Duration = Duration::from_millis(2);
const RESOLVER: &str = "/etc/resolv.conf";
/// First byte of a slot's `lock`: whether a task has it, or had it when its driver died.
const FREE: &[u8] = b"0";
const TAKEN: &[u8] = b"1";

/// The slots of one cache folder.
pub struct Slots {
    folder: PathBuf,
    config: Arc<LocalConfig>,
    keeper: Option<Identity>,
}

/// Why there is no slot.
#[derive(Debug)]
pub enum Problem {
    /// This machine cannot have any.
    Lacking(String),
    /// It can, but there is none now.
    Failed(String),
    /// Others have all of them.
    Full,
}

impl From<String> for Problem {
    fn from(problem: String) -> Problem {
        Problem::Failed(problem)
    }
}

impl From<Problem> for String {
    fn from(problem: Problem) -> String {
        match problem {
            Problem::Lacking(reason) | Problem::Failed(reason) => reason,
            Problem::Full => format!("all {MAX_SLOTS} networks of this cache folder are in use"),
        }
    }
}

/// A read-only cache folder can keep no network; any other error may pass.
fn problem(folder: &Path, error: &io::Error) -> Problem {
    let text = format!("{}: {error}", folder.display());
    if error.kind() == io::ErrorKind::ReadOnlyFilesystem {
        Problem::Lacking(text)
    } else {
        Problem::Failed(text)
    }
}

/// What one look at a slot has found.
enum Look {
    /// It is ours now.
    Ours(Claim),
    /// Others use it, or nobody can.
    Busy,
    /// It has no holder, and its lock is ours.
    Empty(File),
    /// There is no such slot.
    Absent,
}

impl Slots {
    /// Slots below the cache folder; `keeper` is the user that holders become, if this process is root.
    pub fn new(config: &Arc<LocalConfig>, keeper: Option<Identity>) -> Slots {
        Slots {
            folder: config.root.join("network"),
            config: Arc::clone(config),
            keeper,
        }
    }

    /// A slot that nobody else uses.
    pub async fn claim(&self) -> Result<Claim, Problem> {
        let pasta = self.config.pasta.as_ref().ok_or_else(|| {
            let hint = "hint: install the package passt, or give `--network shared` to do without";
            Problem::Lacking(format!("pasta is not available\n{hint}"))
        })?;
        let resolver = fs::read(RESOLVER).unwrap_or_default();
        let hash = network::resolver_hash(&resolver);
        let mut vacancy = None;
        for number in 0..MAX_SLOTS {
            let folder = self.folder.join(number.to_string());
            let look = look(&folder, &hash).await;
            match look.map_err(|error| problem(&folder, &error))? {
                Look::Ours(claim) => return Ok(claim),
                Look::Busy => {}
                Look::Empty(lock) => vacancy = vacancy.or(Some((folder, lock))),
                Look::Absent => {
                    if vacancy.is_none() {
                        let made = make_folder(&folder).map_err(|error| problem(&folder, &error))?;
                        vacancy = made.map(|lock| (folder, lock));
                    }
                    if vacancy.is_some() {
                        break;
                    }
                }
            }
        }
        let (folder, lock) = vacancy.ok_or(Problem::Full)?;
        let at = |error: io::Error| format!("{}: {error}", folder.display());
        // What the last task has left ended with its holder's network.
        lock.write_all_at(FREE, 0).map_err(at)?;
        self.make(pasta, &folder).await?;
        match inspect(&folder, lock, &hash).await {
            Ok(Look::Ours(claim)) => Ok(claim),
            Ok(_) => Err(Problem::Failed(
                "its holder ended at once, or this machine's network changes all the time".to_owned(),
            )),
            Err(error) => Err(at(error).into()),
        }
    }

    /// Starts the holder of a slot whose lock is ours, and waits until its network is there.
    async fn make(&self, pasta: &[String], folder: &Path) -> Result<(), Problem> {
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
        // Not killed with this handle: it lives on for other tasks. It makes a session of its own, so that it has neither
        // our terminal nor its Ctrl-C.
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
            // One that does not read has ended; that it says nothing tells enough.
            let _ = stdin.write_all(&text).await;
            drop(stdin);
            let mut line = String::new();
            BufReader::new(stdout).read_line(&mut line).await.ok()?;
            serde_json::from_str(&line).ok()
        };
        match tokio::time::timeout(START, answer).await {
            Ok(Some(HoldReport::Ready)) => Ok(()),
            Ok(Some(HoldReport::Failed(problem))) => Err(Problem::Lacking(problem)),
            Ok(None) => Err("the process that keeps it ended without a word".to_owned().into()),
            Err(_) => {
                // It may have ended meanwhile.
                let _ = holder.start_kill();
                Err(format!("it was not there after {} s", START.as_secs()).into())
            }
        }
    }
}

/// Makes a slot's folder, with its lock ours; `None` if another process was quicker.
fn make_folder(folder: &Path) -> io::Result<Option<File>> {
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

async fn look(folder: &Path, resolver: &str) -> io::Result<Look> {
    let lock = match File::options().read(true).write(true).open(folder.join("lock")) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Look::Absent),
        other => other?,
    };
    match lock.try_lock() {
        Ok(()) => inspect(folder, lock, resolver).await,
        Err(TryLockError::WouldBlock) => Ok(Look::Busy),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Looks at a slot whose lock is ours.
async fn inspect(folder: &Path, lock: File, resolver: &str) -> io::Result<Look> {
    let mut description = File::options().read(true).write(true).open(folder.join("holder"))?;
    if !has_holder(&description) {
        return Ok(Look::Empty(lock));
    }
    let mut text = Vec::new();
    description.read_to_end(&mut text)?;
    let held = match serde_json::from_slice::<Held>(&text) {
        // A holder of this kernel whose id means something here, and no other process.
        Ok(held) if is_alive(&held) => held,
        // One that has not described itself yet, or of another container on the same cache folder.
        _ => return Ok(Look::Busy),
    };
    let mut taken = [0];
    let was_left = lock.read_at(&mut taken, 0)? == 0 || taken == FREE;
    let blocked = Protection::BlockedRoutes.is_on();
    if !was_left || held.retired || held.resolver != resolver || held.routes_blocked != blocked {
        // Processes of the last task may still live in it, or it no longer fits this machine's network.
        retire(&held);
        for _ in 0..DYING.as_millis() / LOOK_AGAIN.as_millis() {
            if !has_holder(&description) {
                return Ok(Look::Empty(lock));
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        return Ok(Look::Busy);
    }
    let own_resolver = (!held.local_name_servers.is_empty())
        .then(|| write_resolver(folder))
        .transpose()?;
    lock.write_all_at(TAKEN, 0)?;
    Ok(Look::Ours(Claim {
        lock,
        held,
        resolver: own_resolver,
        in_use: false,
    }))
}

fn has_holder(description: &File) -> bool {
    let free = description.try_lock_shared().is_ok();
    if free {
        // Only looked: the next holder wants it for itself.
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
    // By a descriptor, and looked at once more: the id cannot become another process's in between.
    if let Ok(process) = rustix::process::pidfd_open(pid, PidfdFlags::empty())
        && is_alive(held)
    {
        // It may just have ended.
        let _ = rustix::process::pidfd_send_signal(process, Signal::KILL);
    }
}

/// A slot that one task has.
pub struct Claim {
    lock: File,
    held: Held,
    resolver: Option<PathBuf>,
    in_use: bool,
}

impl Claim {
    /// Words that name the namespaces: the holder and the inodes. Root keeps its own user namespace, in which the
    /// runner can become somebody else.
    pub fn namespaces(&self) -> [String; 3] {
        let root = rustix::process::geteuid().is_root();
        let user = if root { 0 } else { self.held.user_namespace };
        [
            self.held.pid.to_string(),
            user.to_string(),
            self.held.network_namespace.to_string(),
        ]
    }

    /// The file that tasks see as `/etc/resolv.conf`; `None` if it is this machine's own.
    pub fn resolver(&self) -> Option<&Path> {
        self.resolver.as_deref()
    }

    /// A process is about to be started in it.
    pub fn begin(&mut self) {
        self.in_use = true;
    }

    /// Every process that was started in it has ended.
    pub fn end(&mut self) {
        self.in_use = false;
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if self.in_use || self.lock.write_all_at(FREE, 0).is_err() {
            // Killed processes take a moment to end, and the next task must not meet them.
            retire(&self.held);
        }
    }
}
