//! `runner hold-network`: creates and keeps the network namespaces of one slot, and follows changes of this machine's
//! network.

use std::fs::{self, File, TryLockError};
use std::io::{self, Read, Write};
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use hybrid_cache_model::network::{Held, HoldRequest, NAME_SERVER, name_servers, resolver_hash};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;

use super::namespaces;
use super::netlink::Netlink;
use super::router::{HostNetwork, Router};

/// Longest that pasta may take to start.
const PASTA_START_TIMEOUT: Duration = Duration::from_secs(10);
/// Interval between checks whether pasta has started.
const START_POLL_INTERVAL: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 2_000_000,
};
/// Interval between checks whether the slot is still needed.
const CHECK_INTERVAL: Timespec = Timespec { tv_sec: 5, tv_nsec: 0 };
/// Most bytes of pasta's standard error that are kept to explain a failed start.
const MAX_PASTA_STDERR_BYTES: usize = 4 << 10;

/// Creates a network, calls `ready`, and keeps it until no task has used it for a while, its folder is gone, or pasta
/// has ended.
///
/// # Errors
/// Why there is no network.
pub fn hold(request: &HoldRequest, ready: impl FnOnce() -> bool) -> Result<(), String> {
    // A new session is independent of the starter's terminal, because this process outlives its starter.
    rustix::process::setsid().map_err(|error| format!("no session of its own: {error}"))?;
    let slot = Slot::open(Path::new(&request.folder))?;
    let context = |what: &'static str| move |error: io::Error| format!("{what}: {error}");
    let mut machine = Netlink::open(true).map_err(context("this machine's routes cannot be watched"))?;
    let host_network = HostNetwork::read(&mut machine).map_err(context("this machine's routes cannot be read"))?;
    let resolver = fs::read("/etc/resolv.conf").unwrap_or_default();
    let local_name_servers = local_name_servers(&resolver, &host_network);
    let program = open_pasta(&request.pasta)?;
    if let Some(identity) = request.identity {
        namespaces::become_keeper(identity)?;
    }
    let mut pasta = Pasta::prepare(&request.pasta, program.as_ref(), !local_name_servers.is_empty())?;
    namespaces::enter_user_and_network()?;
    let mut router = Router::open().map_err(context("the router's routes cannot be set"))?;
    pasta.start(&mut router)?;
    router.forward()?;
    if request.block_routes {
        router
            .block(&host_network)
            .map_err(context("addresses cannot be made unreachable"))?;
    }
    let routers = namespaces::enter_another_network()?;
    router
        .connect(&routers)
        .map_err(context("the task's namespace cannot be connected"))?;
    let inode = |kind: &str| fs::metadata(format!("/proc/self/ns/{kind}")).map(|metadata| metadata.ino());
    let mut keeper = Keeper {
        held: Held {
            pid: std::process::id(),
            user_namespace: inode("user").map_err(context("/proc/self/ns/user"))?,
            network_namespace: inode("net").map_err(context("/proc/self/ns/net"))?,
            resolver: resolver_hash(&resolver),
            local_name_servers,
            routes_blocked: request.block_routes,
            retired: false,
        },
        slot,
        machine,
        host_network,
        router,
        idle: Duration::from_secs(request.idle_s),
    };
    keeper
        .slot
        .describe(&keeper.held)
        .map_err(context("the slot's description"))?;
    if ready() {
        leave_streams().map_err(context("/dev/null"))?;
    }
    keeper.keep(&mut pasta);
    Ok(())
}

/// The files of a slot, opened before this process changed to a user who may not open them.
struct Slot {
    lock: File,
    description: File,
}

impl Slot {
    fn open(folder: &Path) -> Result<Slot, String> {
        let open = |name: &str| {
            let path = folder.join(name);
            let file = File::options()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .open(&path);
            file.map_err(|error| format!("{}: {error}", path.display()))
        };
        let (lock, description) = (open("lock")?, open("holder")?);
        description
            .try_lock()
            .map_err(|error| format!("{} is held by another process: {error}", folder.display()))?;
        description.set_len(0).map_err(|error| error.to_string())?;
        Ok(Slot { lock, description })
    }

    fn describe(&mut self, held: &Held) -> io::Result<()> {
        let text = serde_json::to_vec(held)?;
        self.description.set_len(0)?;
        self.description.write_all_at(&text, 0)
    }

    /// True if no task will use the slot: it was deleted, or was unused for `idle` and is now locked.
    fn is_over(&self, idle: Duration) -> bool {
        let Ok(metadata) = self.lock.metadata() else {
            return true;
        };
        if metadata.nlink() == 0 {
            return true;
        }
        let used = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
        let unused = SystemTime::now().duration_since(used).unwrap_or_default();
        // Keep the lock until this process ends.
        unused >= idle && !matches!(self.lock.try_lock(), Err(TryLockError::WouldBlock))
    }
}

/// The state of a holder whose network exists.
struct Keeper {
    slot: Slot,
    held: Held,
    machine: Netlink,
    host_network: HostNetwork,
    router: Router,
    idle: Duration,
}

impl Keeper {
    fn keep(&mut self, pasta: &mut Pasta) {
        loop {
            let idle = if self.held.retired { Duration::ZERO } else { self.idle };
            if self.slot.is_over(idle) {
                return;
            }
            let mut watched = [
                PollFd::new(&self.machine, PollFlags::IN),
                PollFd::new(&pasta.stderr, PollFlags::IN),
            ];
            // An interruption counts as an event.
            let _ = poll(&mut watched, Some(&CHECK_INTERVAL));
            let (changed, said) = (!watched[0].revents().is_empty(), !watched[1].revents().is_empty());
            if said && !pasta.listen(&mut Vec::new()) {
                return;
            }
            if changed && self.machine.take_notices() && self.adapt().is_err() {
                // End the network, even for a task that uses it: it could reach addresses that should be blocked.
                return;
            }
        }
    }

    /// Adapts to a change of this machine's network.
    fn adapt(&mut self) -> io::Result<()> {
        let host_network = HostNetwork::read(&mut self.machine)?;
        if host_network == self.host_network {
            return Ok(());
        }
        if self.held.routes_blocked {
            self.router.block(&host_network)?;
        }
        // pasta copied the default routes and name servers at its start, so a network with other ones is retired.
        let resolver = fs::read("/etc/resolv.conf").unwrap_or_default();
        let local = local_name_servers(&resolver, &host_network);
        if host_network.exits != self.host_network.exits || local != self.held.local_name_servers {
            self.held.retired = true;
            self.slot.describe(&self.held)?;
        }
        self.host_network = host_network;
        Ok(())
    }
}

/// The name servers that a task cannot reach, because they are on this machine or on its link.
fn local_name_servers(resolver: &[u8], host_network: &HostNetwork) -> Vec<String> {
    let text = String::from_utf8_lossy(resolver);
    let is_local = |server: &&str| {
        let bare = server.split_once('%').map_or(*server, |(address, _)| address);
        match bare.parse::<IpAddr>() {
            Ok(IpAddr::V4(v4)) if v4.is_loopback() || v4.is_link_local() || v4.is_unspecified() => true,
            Ok(IpAddr::V6(v6)) if v6.is_loopback() || v6.is_unicast_link_local() || v6.is_unspecified() => true,
            Ok(address) => host_network.own.iter().any(|prefix| prefix.address == address),
            Err(_) => false,
        }
    };
    name_servers(&text).filter(is_local).map(str::to_owned).collect()
}

/// Opens pasta's program while this process still has access: it may be in a folder that only root can read.
fn open_pasta(command: &[String]) -> Result<Option<File>, String> {
    let [program] = command else { return Ok(None) };
    let file = File::open(program).map_err(|error| format!("{program}: {error}"))?;
    Ok(Some(file))
}

/// The pasta process, or the process that becomes it.
struct Pasta {
    child: Child,
    stderr: std::process::ChildStderr,
}

impl Pasta {
    /// Starts the process that waits to become pasta, in the namespaces in which pasta must run.
    fn prepare(command: &[String], program: Option<&File>, forward_names: bool) -> Result<Pasta, String> {
        use std::os::fd::AsRawFd;
        let mut words = command.to_vec();
        if let (Some(file), Some(first)) = (program, words.first_mut()) {
            // The child has the same descriptor number; it must stay open until the exec.
            rustix::io::fcntl_setfd(file, rustix::io::FdFlags::empty()).map_err(|error| error.to_string())?;
            *first = format!("/proc/self/fd/{}", file.as_raw_fd());
        }
        let own = std::process::id().to_string();
        let options = "--foreground --stderr --config-net --no-map-gw -t none -u none -T none -U none \
                       --no-dhcp --no-dhcpv6 --no-ra";
        let names = ["--dns-forward", NAME_SERVER];
        let mut child = Command::new("/proc/self/exe")
            .arg("start-pasta")
            .args(words)
            .args(options.split_whitespace())
            .args(names.iter().filter(|_| forward_names))
            .arg(own)
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| format!("cannot start the process that becomes pasta: {error}"))?;
        let stderr = child.stderr.take().ok_or("pasta's standard error is missing")?;
        rustix::fs::fcntl_setfl(&stderr, OFlags::NONBLOCK).map_err(|error| error.to_string())?;
        Ok(Pasta { child, stderr })
    }

    /// Lets the process become pasta, and waits until the namespace has a default route.
    fn start(&mut self, router: &mut Router) -> Result<(), String> {
        let go = self.child.stdin.take().ok_or("pasta's standard input is missing")?;
        (&go)
            .write_all(b"1")
            .map_err(|error| format!("pasta has ended: {error}"))?;
        drop(go);
        let (deadline, mut said) = (Instant::now() + PASTA_START_TIMEOUT, Vec::new());
        while !router
            .has_exit()
            .map_err(|error| format!("the router's routes: {error}"))?
        {
            if !self.listen(&mut said) {
                return Err(format!("pasta ended: {}", last_lines(&said)));
            }
            if Instant::now() > deadline {
                let limit = PASTA_START_TIMEOUT.as_secs();
                return Err(format!(
                    "pasta provided no default route within {limit} s: {}",
                    last_lines(&said)
                ));
            }
            let mut watched = [PollFd::from_borrowed_fd(self.stderr.as_fd(), PollFlags::empty())];
            let _ = poll(&mut watched, Some(&START_POLL_INTERVAL));
        }
        Ok(())
    }

    /// Reads pasta's standard error; false once pasta has ended.
    fn listen(&mut self, said: &mut Vec<u8>) -> bool {
        let mut part = [0; 1024];
        loop {
            match self.stderr.read(&mut part) {
                Ok(0) => return false,
                Ok(count) if said.len() < MAX_PASTA_STDERR_BYTES => said.extend_from_slice(&part[..count]),
                Ok(_) => {}
                Err(error) => return error.kind() == io::ErrorKind::WouldBlock,
            }
        }
    }
}

impl Drop for Pasta {
    fn drop(&mut self) {
        // The kernel kills it when this process ends, if this fails.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The last lines of pasta's standard error, without the complaint about a missing system log.
fn last_lines(said: &[u8]) -> String {
    let text = String::from_utf8_lossy(said);
    let lines: Vec<&str> = text.lines().filter(|line| !line.contains("syslog")).collect();
    lines
        .get(lines.len().saturating_sub(2)..)
        .unwrap_or_default()
        .join("; ")
}

/// Replaces the standard streams by /dev/null, because the starter may wait for them to close.
fn leave_streams() -> io::Result<()> {
    let null = File::options().read(true).write(true).open("/dev/null")?;
    rustix::stdio::dup2_stdin(&null)?;
    rustix::stdio::dup2_stdout(&null)?;
    rustix::stdio::dup2_stderr(&null)?;
    Ok(())
}
