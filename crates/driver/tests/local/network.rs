//! A task's own network: this machine is out of reach from inside, the outside is not, and no two tasks share one.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, ToSocketAddrs, UdpSocket};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr as UnixAddress, UnixListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use hybrid_cache_driver::Driver;
use hybrid_cache_driver::local::{Landlock, LocalConfig, Network};
use hybrid_cache_model::{End, TaskSpec};

use crate::bench::{Bench, machine, not_root};
use crate::roles::{Play, until};

/// Tries to connect to each address and port, in every way that chooses a route by itself, and prints those that worked.
const REACH: &str = r#"
import socket, struct, sys
def attempt(name, work):
    try:
        work()
        print("reached", name)
    except OSError:
        pass
def connect(address, port, option=None):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as s:
        s.settimeout(0.3)
        if option: s.setsockopt(*option)
        s.connect((address, port))
def ask(address, port, ancillary=(), flags=0):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as s:
        s.settimeout(0.3)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        s.sendmsg([b"?"], ancillary, flags, (address, port))
        s.recv(10)
MSG_DONTROUTE, SO_DONTROUTE = 4, 5
def reach(address, tcp, udp):
    attempt(f"{address} tcp", lambda: connect(address, tcp))
    attempt(f"{address} udp", lambda: ask(address, udp))
    for index, name in socket.if_nameindex():
        bound = (socket.SOL_SOCKET, 25, name.encode() + b"\0")
        if name != "lo":
            attempt(f"{address} tcp bound to {name}", lambda: connect(address, tcp, bound))
            if ":" not in address:
                info = [(socket.IPPROTO_IP, 8, struct.pack("=i8x", index))]
                attempt(f"{address} udp by {name}", lambda: ask(address, udp, info))
    attempt(f"{address} tcp without routes", lambda: connect(address, tcp, (socket.SOL_SOCKET, SO_DONTROUTE, 1)))
    attempt(f"{address} udp without routes", lambda: ask(address, udp, (), MSG_DONTROUTE))
"#;

/// This machine's configuration, with networks of their own; `None`, and a word about it, if it cannot have them.
async fn isolated(test: &str) -> Option<Bench> {
    let mut config = machine(test)?;
    config.network = Network::Isolated;
    let pasta = || Some(vec![find("pasta")?.display().to_string()]);
    config.pasta = config.pasta.or_else(pasta);
    let bench = Bench::empty(config);
    let status = bench.driver.network().await;
    if let Some(reason) = status.reason {
        let absent = [
            "pasta is not available",
            "/dev/net/tun",
            "not permitted here",
            "tun socket",
        ];
        assert!(absent.iter().any(|lack| reason.contains(lack)), "{reason}");
        println!("skipped: {test}: {reason}");
        return None;
    }
    assert_eq!(status.actual, Network::Isolated);
    Some(bench)
}

fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|folder| folder.join(program))
        .find(|file| file.is_file())
}

/// Servers on this machine that answer every client, by TCP and by UDP.
struct Servers {
    tcp: u16,
    udp: u16,
}

impl Servers {
    fn start() -> Servers {
        let tcp = TcpListener::bind("[::]:0").unwrap();
        let udp = UdpSocket::bind("[::]:0").unwrap();
        let servers = Servers {
            tcp: tcp.local_addr().unwrap().port(),
            udp: udp.local_addr().unwrap().port(),
        };
        std::thread::spawn(move || tcp.incoming().for_each(drop));
        std::thread::spawn(move || {
            while let Ok((_, from)) = udp.recv_from(&mut [0; 10]) {
                let _ = udp.send_to(b"!", from);
            }
        });
        servers
    }

    /// A program that tries to reach them at each of the addresses.
    fn reach(&self, addresses: &[String]) -> TaskSpec {
        let (tcp, udp) = (self.tcp, self.udp);
        let calls = addresses
            .iter()
            .map(|address| format!("reach({address:?}, {tcp}, {udp})\n"));
        TaskSpec::new(format!("{REACH}{}print('tried')", calls.collect::<String>()))
    }
}

/// Every address of this machine.
fn own_addresses() -> Vec<String> {
    let text = std::fs::read_to_string("/proc/net/fib_trie").unwrap();
    let mut lines = text
        .lines()
        .map(|line| line.trim_start_matches([' ', '|', '+', '-']))
        .peekable();
    let mut found = vec![
        "127.0.0.1".to_owned(),
        "127.1.2.3".into(),
        "0.0.0.0".into(),
        "::1".into(),
        "::".into(),
    ];
    while let Some(line) = lines.next() {
        if lines.peek().is_some_and(|next| next.starts_with("/32 host LOCAL")) {
            found.push(line.trim().to_owned());
        }
    }
    let text = std::fs::read_to_string("/proc/net/if_inet6").unwrap_or_default();
    for line in text.lines() {
        let number = line.get(..32).and_then(|hex| u128::from_str_radix(hex, 16).ok());
        found.extend(number.map(|number| std::net::Ipv6Addr::from(number).to_string()));
    }
    let mapped = found.iter().filter_map(|address| address.parse::<Ipv4Addr>().ok());
    let mapped: Vec<_> = mapped.map(|address| format!("::ffff:{address}")).collect();
    found.extend(mapped);
    found.sort();
    found.dedup();
    found
}

#[tokio::test]
async fn a_task_reaches_no_address_of_this_machine() {
    let Some(bench) = isolated("a_task_reaches_no_address_of_this_machine").await else {
        return;
    };
    let (servers, addresses) = (Servers::start(), own_addresses());
    let task = servers.reach(&addresses);
    assert_eq!(bench.run(&task).await.good(), "tried");
    // The servers do answer: a task that shares the network reaches them.
    let shared = bench.with(|config| config.network = Network::Shared);
    let ran = shared.run(&servers.reach(&["127.0.0.1".to_owned()])).await;
    assert!(
        ran.good().contains("reached 127.0.0.1 tcp\nreached 127.0.0.1 udp\n"),
        "{}",
        ran.stdout
    );
}

/// An address that this machine has for the time of a test.
struct Borrowed(&'static str, String);

impl Borrowed {
    fn add(address: &'static str) -> Option<Borrowed> {
        let routes = std::fs::read_to_string("/proc/net/route").ok()?;
        let default = routes
            .lines()
            .find(|line| line.split_whitespace().nth(1) == Some("00000000"))?;
        let interface = default.split_whitespace().next()?.to_owned();
        let added = Command::new("ip")
            .args(["address", "add", address, "dev", &interface])
            .status();
        added
            .is_ok_and(|status| status.success())
            .then_some(Borrowed(address, interface))
    }
}

impl Drop for Borrowed {
    fn drop(&mut self) {
        let _ = Command::new("ip")
            .args(["address", "del", self.0, "dev", &self.1])
            .status();
    }
}

#[tokio::test]
async fn an_address_that_this_machine_gets_while_a_task_runs_is_out_of_its_reach() {
    let test = "an_address_that_this_machine_gets_while_a_task_runs_is_out_of_its_reach";
    if not_root(test) {
        return;
    }
    let Some(bench) = isolated(test).await else { return };
    let servers = Servers::start();
    let mut task = servers.reach(&["198.51.100.77".to_owned()]);
    task.python_code = format!(
        "import time\nprint('runs', flush=True)\ntime.sleep(1.5)\n{}",
        task.python_code
    );
    let ticket = bench.submit(&task).await;
    bench.until_printed(&ticket, "runs").await;
    let Some(_address) = Borrowed::add("198.51.100.77/32") else {
        bench.driver.cancel(&ticket).await.unwrap();
        println!("skipped: {test}: no address can be added");
        return;
    };
    assert_eq!(bench.finish(&ticket).await.good(), "runs\ntried");
}

#[tokio::test]
async fn a_task_reaches_neither_link_local_addresses_nor_abstract_sockets() {
    let test = "a_task_reaches_neither_link_local_addresses_nor_abstract_sockets";
    let Some(bench) = isolated(test).await else { return };
    let name = format!("hybrid-cache-{}", std::process::id());
    let _listener = UnixListener::bind_addr(&UnixAddress::from_abstract_name(&name).unwrap()).unwrap();
    let code = format!(
        "{REACH}\n\
         def local():\n    \
             with socket.socket(socket.AF_UNIX) as s: s.connect('\\0{name}')\n\
         attempt('abstract socket', local)\n\
         for address in ('169.254.169.254', '169.254.1.1', 'fe80::1'):\n    \
             for port in (53, 80): attempt(address, lambda: connect(address, port))\n\
         print('tried')"
    );
    let task = TaskSpec::new(code);
    assert_eq!(bench.run(&task).await.good(), "tried");
    // Where tasks share the network, Landlock closes the machine's abstract sockets.
    let shared = bench.with(|config| config.network = Network::Shared);
    if Landlock::from_kernel() == Landlock::FilesAndScopes {
        assert!(!shared.run(&task).await.good().contains("abstract socket"));
    }
}

#[tokio::test]
async fn a_task_has_a_loopback_of_its_own_and_no_rights_over_its_network() {
    let test = "a_task_has_a_loopback_of_its_own_and_no_rights_over_its_network";
    let Some(bench) = isolated(test).await else { return };
    let code = r#"
import os, socket
server = socket.create_server(("127.0.0.1", 0))
client = socket.create_connection(server.getsockname())
server.accept()[0].send(b"own loopback")
print(client.recv(100).decode())
def attempt(name, work):
    try:
        work()
        print("could", name)
    except OSError:
        pass
attempt("send raw packets", lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW))
attempt("send raw IP", lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 1))
for setting in ("ipv4/conf/all/route_localnet", "ipv4/conf/eth0/route_localnet", "ipv4/ip_unprivileged_port_start"):
    attempt("set " + setting, lambda: open("/proc/sys/net/" + setting, "w").write("1"))
def delete_route():
    # RTM_DELROUTE of the default route.
    s = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
    s.settimeout(2)
    s.send(b"\x1c\0\0\0\x19\0\x05\0\1\0\0\0\0\0\0\0" + bytes([2, 0, 0, 0, 254, 0, 0, 1, 0, 0, 0, 0]))
    code = int.from_bytes(s.recv(100)[16:20], "little", signed=True)
    if code: raise OSError(-code, "netlink")
attempt("delete a route", delete_route)
"#;
    assert_eq!(bench.run(&TaskSpec::new(code)).await.good(), "own loopback");
}

/// A name and a port outside this machine: that of its package index, or of its apt source.
fn outside() -> Option<(String, u16)> {
    let mut texts: Vec<String> = ["PIP_INDEX_URL", "UV_DEFAULT_INDEX", "UV_INDEX_URL"]
        .iter()
        .filter_map(|name| std::env::var(name).ok())
        .collect();
    for folder in ["/etc/apt/sources.list.d", "/etc/apt"] {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            texts.extend(std::fs::read_to_string(entry.path()).ok());
        }
    }
    texts.iter().flat_map(|text| text.split_whitespace()).find_map(|word| {
        let (scheme, rest) = word.split_once("://")?;
        let authority = rest.split('/').next()?;
        let host = authority.rsplit('@').next()?;
        let (name, port) = match host.rsplit_once(':') {
            Some((name, port)) => (name, port.parse().ok()?),
            None => (host, if scheme == "https" { 443 } else { 80 }),
        };
        let mut found = (name, port).to_socket_addrs().ok()?;
        let reached = |address: SocketAddr| std::net::TcpStream::connect_timeout(&address, Duration::from_secs(3));
        found
            .any(|address| reached(address).is_ok())
            .then(|| (name.to_owned(), port))
    })
}

#[tokio::test]
async fn a_task_resolves_names_and_reaches_the_outside() {
    let test = "a_task_resolves_names_and_reaches_the_outside";
    let Some(bench) = isolated(test).await else { return };
    let Some((name, port)) = outside() else {
        println!("skipped: {test}: this machine reaches nothing outside");
        return;
    };
    let code = format!("import socket\nwith socket.create_connection(({name:?}, {port}), 10) as s: print('reached')");
    assert_eq!(bench.run(&TaskSpec::new(code)).await.good(), "reached");
}

/// Prints the task's network namespace, and goes on for a while.
fn namespace(seconds: f32) -> TaskSpec {
    TaskSpec::new(format!(
        "import os, time\nprint(os.readlink('/proc/self/ns/net'), flush=True)\ntime.sleep({seconds})"
    ))
}

fn own_namespace() -> String {
    std::fs::read_link("/proc/self/ns/net").unwrap().display().to_string()
}

#[tokio::test]
async fn a_network_is_used_again_but_never_by_two_tasks_at_once() {
    let test = "a_network_is_used_again_but_never_by_two_tasks_at_once";
    let Some(bench) = isolated(test).await else { return };
    let first = bench.run(&namespace(0.0)).await.good().to_owned();
    assert_ne!(first, own_namespace());
    // Another driver on the same caches, as another process would be.
    let again = bench.with(|_| ()).run(&namespace(0.0)).await.good().to_owned();
    assert_eq!(first, again);
    let mut tickets = Vec::new();
    for _ in 0..16 {
        tickets.push(bench.submit(&namespace(2.0)).await);
    }
    let mut seen = Vec::new();
    for ticket in &tickets {
        seen.push(bench.finish(ticket).await.good().to_owned());
    }
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), tickets.len(), "{seen:?}");
}

/// The process that keeps the slot's network.
fn holder(bench: &Bench, slot: u32) -> u32 {
    let file = bench.config.root.join(format!("network/{slot}/holder"));
    let text = std::fs::read(file).unwrap();
    let held: hybrid_cache_model::network::Held = serde_json::from_slice(&text).unwrap();
    held.pid
}

fn kill(pid: u32) {
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}

fn lives(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')')
        .next()
        .is_some_and(|rest| !rest.is_empty() && !rest.trim_start().starts_with('Z'))
}

fn child(pid: u32) -> u32 {
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    children.trim().parse().unwrap()
}

#[tokio::test]
async fn after_the_end_of_its_holder_or_of_pasta_the_next_task_has_a_new_network() {
    let test = "after_the_end_of_its_holder_or_of_pasta_the_next_task_has_a_new_network";
    let Some(bench) = isolated(test).await else { return };
    bench.run(&namespace(0.0)).await.good();
    let (first, pasta) = (holder(&bench, 0), child(holder(&bench, 0)));
    kill(first);
    until("pasta has ended with its holder", || !lives(pasta)).await;
    bench.run(&namespace(0.0)).await.good();
    // The kernel reuses the number of a namespace that is gone, so only the holder distinguishes two.
    let second = holder(&bench, 0);
    assert_ne!(first, second);
    kill(child(second));
    until("the holder has ended after pasta", || !lives(second)).await;
    bench.run(&namespace(0.0)).await.good();
    assert_ne!(holder(&bench, 0), second);
}

#[tokio::test]
async fn the_kernel_ends_a_network_before_the_driver() {
    let test = "the_kernel_ends_a_network_before_the_driver";
    let Some(bench) = isolated(test).await else { return };
    bench.run(&namespace(0.0)).await.good();
    let score = |process: &str| -> i32 {
        let text = std::fs::read_to_string(format!("/proc/{process}/oom_score_adj")).unwrap();
        text.trim().parse().unwrap()
    };
    let keeper = holder(&bench, 0);
    for process in [keeper, child(keeper)] {
        let (network, own) = (score(&process.to_string()), score("self"));
        assert!(network > own, "{network} and {own}");
    }
}

#[tokio::test]
async fn a_task_beyond_the_number_of_networks_waits_and_runs_once_there_is_one() {
    let test = "a_task_beyond_the_number_of_networks_waits_and_runs_once_there_is_one";
    let Some(bench) = isolated(test).await else { return };
    bench.run(&namespace(0.0)).await.good();
    let mut locks = Vec::new();
    for number in 0..256 {
        let folder = bench.config.root.join(format!("network/{number}"));
        std::fs::create_dir_all(&folder).unwrap();
        let open = |name: &str| {
            let mut options = std::fs::File::options();
            options.read(true).write(true).create(true).truncate(false);
            options.open(folder.join(name)).unwrap()
        };
        open("holder");
        let lock = open("lock");
        lock.lock().unwrap();
        locks.push(lock);
    }
    let task = namespace(0.0);
    let (cancelled, ticket) = (bench.submit(&task).await, bench.submit(&task).await);
    until("the task waits", || bench.driver.waits(&ticket).is_some()).await;
    bench.driver.cancel(&cancelled).await.unwrap();
    assert_eq!(bench.finish(&cancelled).await.outcome.end, End::Cancelled);
    assert!(bench.driver.waited(&ticket) > Duration::ZERO);
    locks.clear();
    bench.finish(&ticket).await.good();
    assert_eq!(bench.driver.waits(&ticket), None);
}

#[tokio::test]
async fn a_killed_driver_leaves_no_network_that_is_used_again_and_a_cancelled_task_does() {
    let test = "a_killed_driver_leaves_no_network_that_is_used_again_and_a_cancelled_task_does";
    let Some(bench) = isolated(test).await else { return };
    let task = namespace(60.0);
    let ticket = bench.submit(&task).await;
    bench.until_printed(&ticket, "net:").await;
    let keeper = holder(&bench, 0);
    bench.driver.cancel(&ticket).await.unwrap();
    assert_eq!(bench.finish(&ticket).await.outcome.end, End::Cancelled);
    // The task's sandbox has waited for all of its processes, as after any other end.
    let seen = bench.run(&namespace(0.0)).await.good().to_owned();
    assert!(lives(keeper));
    let mut driver = Play::new(&bench.config, &[task]).spawn();
    let taken = || std::fs::read(bench.config.root.join("network/0/lock")).is_ok_and(|text| text == b"1");
    until("the other driver's task runs", taken).await;
    driver.kill();
    assert_ne!(bench.run(&namespace(0.0)).await.good(), seen);
}

#[tokio::test]
async fn an_unused_network_ends_by_itself_and_with_its_cache_folder() {
    let test = "an_unused_network_ends_by_itself_and_with_its_cache_folder";
    let Some(bench) = isolated(test).await else { return };
    bench.run(&namespace(0.0)).await.good();
    let long = holder(&bench, 0);
    let short = Bench::empty(LocalConfig {
        network_idle_s: 1,
        ..bench.config.clone()
    });
    short.run(&namespace(0.0)).await.good();
    let soon = holder(&short, 0);
    until("the unused network has ended", || !lives(soon)).await;
    assert!(lives(long));
    let root: &Path = &bench.config.root;
    std::fs::remove_dir_all(root.join("network")).unwrap();
    until("the network without a folder has ended", || !lives(long)).await;
}

#[tokio::test]
async fn without_pasta_tasks_share_the_network_and_one_outcome_says_so() {
    let test = "without_pasta_tasks_share_the_network_and_one_outcome_says_so";
    let Some(mut config) = machine(test) else { return };
    config.network = Network::Isolated;
    config.pasta = None;
    let bench = Bench::empty(config);
    let first = bench.run(&namespace(0.0)).await;
    assert_eq!(first.good(), own_namespace());
    assert!(
        first.outcome.warnings[0].contains("share this machine's network"),
        "{:?}",
        first.outcome.warnings
    );
    assert_eq!(bench.run(&namespace(0.0)).await.outcome.warnings, Vec::<String>::new());
    let status = bench.driver.network().await;
    assert_eq!((status.requested, status.actual), (Network::Isolated, Network::Shared));
    assert!(status.reason.unwrap().contains("hint: "));
}
