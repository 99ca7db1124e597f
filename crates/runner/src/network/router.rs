//! Addresses and routes of the two namespaces.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::net::IpAddr;
use std::os::fd::AsFd;

use super::netlink::{Netlink, Prefix, RT_TABLE_LOCAL, RTN_ANYCAST, RTN_BROADCAST, RTN_LOCAL, RTN_UNICAST, Route};

/// Addresses of the pair between the namespaces. RFC 7335 reserves 192.0.0.0/29 for this use, so no outside host has
/// them.
const PAIR_IPV4: (&str, &str) = ("192.0.0.1", "192.0.0.2");
/// A unique local prefix (RFC 4193) with a random global id.
const PAIR_IPV6: (&str, &str) = ("fd5e:9a1c:63d7::1", "fd5e:9a1c:63d7::2");
/// Name of the router's end.
const ROUTER_END: &str = "task";
/// Name of the task's end.
const TASK_END: &str = "eth0";
/// The MTU, the same as on pasta's interface.
const MTU: u32 = 65520;
/// Prefixes that are never outside this machine: "this network", loopback, link-local addresses, and IPv4 addresses
/// written as IPv6 ones, for which pasta's socket would open an IPv4 connection.
const NEVER: [(&str, u8); 7] = [
    ("0.0.0.0", 8),
    ("127.0.0.0", 8),
    ("169.254.0.0", 16),
    ("fe80::", 10),
    ("fec0::", 10),
    ("::ffff:0:0", 96),
    ("::", 96),
];

/// The parts of this machine's network that matter for tasks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostNetwork {
    /// Every address that leads to this machine.
    pub own: BTreeSet<Prefix>,
    /// The default routes. pasta copies them when it starts.
    pub exits: Vec<Route>,
}

impl HostNetwork {
    /// Reads them with a socket of this machine's network namespace.
    pub fn read(machine: &mut Netlink) -> io::Result<HostNetwork> {
        let routes = machine.routes()?;
        let own = |route: &&Route| {
            route.table == RT_TABLE_LOCAL && matches!(route.kind, RTN_LOCAL | RTN_BROADCAST | RTN_ANYCAST)
        };
        let mut exits: Vec<Route> = routes.iter().filter(|route| is_exit(route)).cloned().collect();
        exits.sort();
        exits.dedup();
        Ok(HostNetwork {
            own: routes.iter().filter(own).map(|route| route.to).collect(),
            exits,
        })
    }

    /// What a task must not reach.
    fn blocked(&self) -> BTreeSet<Prefix> {
        let never = NEVER.iter().filter_map(|(address, bits)| {
            let address = address.parse().ok()?;
            Some(Prefix { address, bits: *bits })
        });
        never.chain(self.own.iter().copied()).collect()
    }
}

fn is_exit(route: &Route) -> bool {
    route.to.bits == 0 && route.kind == RTN_UNICAST && route.table != RT_TABLE_LOCAL
}

/// The router namespace.
pub struct Router {
    netlink: Netlink,
    blocked: BTreeSet<Prefix>,
}

impl Router {
    /// Opens the namespace that this process is in.
    pub fn open() -> io::Result<Router> {
        Ok(Router {
            netlink: Netlink::open(true)?,
            blocked: BTreeSet::new(),
        })
    }

    /// True once pasta has set a default route.
    pub fn has_exit(&mut self) -> io::Result<bool> {
        self.netlink.take_notices();
        Ok(self.netlink.routes()?.iter().any(is_exit))
    }

    /// Enables forwarding in this namespace, which must be the current one.
    pub fn forward(&mut self) -> Result<(), String> {
        let write = |path: &str| fs::write(path, "1").map_err(|error| format!("{path}: {error}"));
        write("/proc/sys/net/ipv4/ip_forward")?;
        if fs::exists("/proc/sys/net/ipv6").unwrap_or(false) {
            write("/proc/sys/net/ipv6/conf/all/forwarding")?;
        }
        Ok(())
    }

    /// Blocks what a task must not reach, and unblocks addresses that this machine no longer has.
    pub fn block(&mut self, host_network: &HostNetwork) -> io::Result<()> {
        let wanted = host_network.blocked();
        for prefix in wanted.difference(&self.blocked) {
            match self.netlink.set_unreachable(*prefix, true) {
                // Without IPv6, IPv6 addresses are unreachable anyway.
                Err(error) if prefix.address.is_ipv6() && !is_fatal(&error) => {}
                other => other?,
            }
        }
        for prefix in self.blocked.difference(&wanted) {
            // It fails if the kernel has already dropped the route.
            let _ = self.netlink.set_unreachable(*prefix, false);
        }
        self.blocked = wanted;
        Ok(())
    }

    /// Connects the current namespace, the task's, with the router's namespace `there`.
    pub fn connect(&mut self, there: &File) -> io::Result<()> {
        let ipv6 = self
            .netlink
            .routes()?
            .iter()
            .any(|route| is_exit(route) && route.to.address.is_ipv6());
        let mut task = Netlink::open(false)?;
        task.add_pair(TASK_END, ROUTER_END, there.as_fd(), MTU)?;
        let loopback = task.index("lo")?;
        task.switch_on(loopback)?;
        let (own, other) = (task.index(TASK_END)?, self.netlink.index(ROUTER_END)?);
        self.netlink.switch_on(other)?;
        task.switch_on(own)?;
        let pairs = [Some(PAIR_IPV4), ipv6.then_some(PAIR_IPV6)];
        for (router_address, task_address) in pairs.into_iter().flatten() {
            let parse = |text: &str| text.parse::<IpAddr>().map_err(io::Error::other);
            let (router_address, task_address) = (parse(router_address)?, parse(task_address)?);
            self.netlink.add_address(other, router_address, task_address)?;
            task.add_address(own, task_address, router_address)?;
            task.add_default_route(router_address, own)?;
        }
        Ok(())
    }
}

/// False for the errors of a kernel without IPv6.
fn is_fatal(error: &io::Error) -> bool {
    let absent = [
        rustix::io::Errno::AFNOSUPPORT,
        rustix::io::Errno::OPNOTSUPP,
        rustix::io::Errno::PFNOSUPPORT,
    ];
    !absent
        .iter()
        .any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}
