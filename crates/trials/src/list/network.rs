//! Attacks from a task on this machine's network, and access to the task from the network.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr as UnixAddress, UnixListener};

use hybrid_cache_model::{Protection, TaskSpec};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::attack::{Attack, AttackMethod};
use crate::attack_context::{AttackContext, program};
use crate::caches::within;
use crate::error::TrialError;
use crate::probe::{Packages, Probe};
use crate::site::{ANYWHERE, LOCAL};
use crate::verdict::Verdict;

const LISTEN: &str = include_str!("../probes/listen.py");
const CONNECT: Probe = Probe {
    code: include_str!("../probes/network.py"),
    packages: Packages::None,
};

pub const ATTACKS: &[Attack] = &[
    Attack {
        id: "connect-to-loopback",
        promise: Protection::NetworkNamespace,
        tries: "A task connects to a server on this machine's loopback.",
        sites: LOCAL,
        needs: &[],
        layers: &[],
        method: AttackMethod::Steps(|ground| Box::pin(connect_to(ground, Which::Loopback))),
    },
    Attack {
        id: "connect-to-an-abstract-socket",
        promise: Protection::NetworkNamespace,
        tries: "A task connects to an abstract socket of this machine.",
        sites: LOCAL,
        needs: &[],
        layers: &[Protection::Landlock],
        method: AttackMethod::Steps(|ground| Box::pin(connect_to_abstract(ground))),
    },
    Attack {
        id: "be-reached-from-the-machine",
        promise: Protection::NetworkNamespace,
        tries: "A task listens on all addresses and waits for somebody on this machine to connect.",
        sites: LOCAL,
        needs: &[],
        layers: &[],
        method: AttackMethod::Steps(|ground| Box::pin(be_reached(ground))),
    },
    Attack {
        id: "connect-to-the-machines-addresses",
        promise: Protection::BlockedRoutes,
        tries: "A task connects to servers on this machine's own addresses, bridges included.",
        sites: LOCAL,
        needs: &[],
        layers: &[],
        method: AttackMethod::Steps(|ground| Box::pin(connect_to(ground, Which::Addresses))),
    },
    Attack {
        id: "route-to-link-local",
        promise: Protection::BlockedRoutes,
        tries: "A task looks for ways to the metadata services of clouds and to link-local addresses.",
        sites: ANYWHERE,
        needs: &[],
        layers: &[],
        method: AttackMethod::Steps(|ground| Box::pin(route_to_link_local(ground))),
    },
];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Which {
    Loopback,
    Addresses,
}

/// This machine's own addresses, except loopback and link-local ones.
fn addresses() -> Vec<IpAddr> {
    let text = std::fs::read_to_string("/proc/net/fib_trie").unwrap_or_default();
    let mut found = Vec::new();
    let mut last = None;
    for line in text.lines() {
        let line = line.trim();
        if let Some(address) = line.strip_prefix("|-- ") {
            last = address.parse::<Ipv4Addr>().ok();
        } else if line.starts_with("/32 host LOCAL") {
            found.extend(last.filter(|address| !address.is_loopback() && !address.is_link_local()));
        }
    }
    let mut all: Vec<IpAddr> = found.into_iter().map(IpAddr::V4).collect();
    let text = std::fs::read_to_string("/proc/net/if_inet6").unwrap_or_default();
    for line in text.lines() {
        // Fields: address, index, prefix length, scope (00: global), flags, name.
        let words: Vec<&str> = line.split_whitespace().collect();
        if let [digits, _, _, "00", ..] = words[..]
            && let Ok(bits) = u128::from_str_radix(digits, 16)
        {
            all.push(IpAddr::V6(bits.into()));
        }
    }
    all.sort();
    all.dedup();
    all
}

/// Starts servers that greet every client.
async fn servers(which: Which, tasks: &mut JoinSet<()>) -> Vec<SocketAddr> {
    let hosts = match which {
        Which::Loopback => vec!["127.0.0.1".parse::<IpAddr>(), "::1".parse()]
            .into_iter()
            .flatten()
            .collect(),
        Which::Addresses => addresses(),
    };
    let mut listening = Vec::new();
    for host in hosts {
        // An address that cannot be listened on cannot be attacked.
        let Ok(listener) = TcpListener::bind((host, 0)).await else {
            continue;
        };
        listening.extend(listener.local_addr());
        tasks.spawn(async move {
            while let Ok((mut connection, _)) = listener.accept().await {
                // A client that leaves before the greeting has already learned enough.
                let _ = connection.write_all(b"trial").await;
            }
        });
    }
    listening
}

async fn connect_to(ground: &AttackContext, which: Which) -> Result<Verdict, TrialError> {
    let mut tasks = JoinSet::new();
    let listening = servers(which, &mut tasks).await;
    let mut targets: Vec<Value> = listening
        .iter()
        .map(|at| json!([at.ip().to_string(), at.port()]))
        .collect();
    match (which, listening.first()) {
        (_, None) => return Ok(Verdict::not_applicable("this machine has no such address")),
        (Which::Loopback, Some(at)) => {
            targets.push(json!(["localhost", at.port()]));
            targets.push(json!(["127.1.2.3", at.port()]));
            targets.push(json!(["0.0.0.0", at.port()]));
        }
        (Which::Addresses, Some(_)) => {}
    }
    let known = json!({"listening": targets, "abstract": []});
    ground.probe_with(&CONNECT, &known, &json!({})).await
}

async fn connect_to_abstract(ground: &AttackContext) -> Result<Verdict, TrialError> {
    let name = format!("hybrid-cache-trial-{}", std::process::id());
    let failed = || TrialError::io(format!("listening on the abstract socket {name}"));
    let address = UnixAddress::from_abstract_name(&name).map_err(failed())?;
    let listener = UnixListener::bind_addr(&address).map_err(failed())?;
    listener.set_nonblocking(true).map_err(failed())?;
    let listener = tokio::net::UnixListener::from_std(listener).map_err(failed())?;
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        while let Ok((mut connection, _)) = listener.accept().await {
            // As above.
            let _ = connection.write_all(b"trial").await;
        }
    });
    let known = json!({"listening": [], "abstract": [name]});
    ground.probe_with(&CONNECT, &known, &json!({})).await
}

async fn be_reached(ground: &AttackContext) -> Result<Verdict, TrialError> {
    let caches = ground.warm().await?;
    // This port is free at the moment.
    let free = TcpListener::bind(("127.0.0.1", 0))
        .await
        .map_err(TrialError::io("looking for a free port"))?;
    let port = free
        .local_addr()
        .map_err(TrialError::io("looking for a free port"))?
        .port();
    drop(free);
    let known = json!({"port": port});
    let ticket = caches
        .submit(&TaskSpec::new(program(&known, LISTEN)), &json!({}))
        .await?;
    caches.until_printed(&ticket, "listening").await?;
    for host in [IpAddr::V4(Ipv4Addr::LOCALHOST)].into_iter().chain(addresses()) {
        let limit = std::time::Duration::from_secs(1);
        // The connection may be refused; the task reports whether it was reached.
        let _ = within("connecting", limit, TcpStream::connect((host, port))).await;
    }
    let ran = caches.finish(&ticket).await?;
    caches.driver.forget(&ticket);
    Ok(Verdict::held_if_none(&ran.findings("listens")?.got))
}

async fn route_to_link_local(ground: &AttackContext) -> Result<Verdict, TrialError> {
    let probe = Probe {
        code: include_str!("../probes/routes.py"),
        packages: Packages::None,
    };
    let own: Vec<String> = addresses().iter().map(IpAddr::to_string).collect();
    ground.probe_with(&probe, &json!({"addresses": own}), &json!({})).await
}
