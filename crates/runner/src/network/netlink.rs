//! The route netlink messages that a task's network needs: encodes, sends and acknowledges them, and parses dumps. `man
//! 7 rtnetlink` describes the forms; constants have the kernel's names.

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLM_F_REQUEST: u16 = 0x1;
const NLM_F_ACK: u16 = 0x4;
const NLM_F_DUMP: u16 = 0x300;
const NLM_F_REPLACE: u16 = 0x100;
const NLM_F_CREATE: u16 = 0x400;
const RTM_NEWLINK: u16 = 16;
const RTM_NEWADDR: u16 = 20;
const RTM_NEWROUTE: u16 = 24;
const RTM_DELROUTE: u16 = 25;
const RTM_GETROUTE: u16 = 26;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_LINKINFO: u16 = 18;
const IFLA_NET_NS_FD: u16 = 28;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const VETH_INFO_PEER: u16 = 1;
const NLA_F_NESTED: u16 = 0x8000;
const IFF_UP: u32 = 1;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_F_NODAD: u8 = 2;
const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const RTA_PRIORITY: u16 = 6;
const RTA_TABLE: u16 = 15;
const RT_TABLE_MAIN: u8 = 254;
const RTPROT_STATIC: u8 = 4;
/// Multicast groups for changes of links, addresses and routes of both families.
const GROUPS: u32 = 0x1 | 0x10 | 0x40 | 0x100 | 0x400;
/// A dump's parts are at most this large.
const BUFFER_BYTES: usize = 64 << 10;
const MESSAGE_HEADER: usize = 16;
const ROUTE_HEADER: usize = 12;

/// Routing table of the machine's own addresses.
pub const RT_TABLE_LOCAL: u32 = 255;
/// Type of a route to somewhere else.
pub const RTN_UNICAST: u8 = 1;
/// Type of a route to the machine itself.
pub const RTN_LOCAL: u8 = 2;
/// Type of a route to every machine of a network.
pub const RTN_BROADCAST: u8 = 3;
/// Type of a route to an address that several machines share.
pub const RTN_ANYCAST: u8 = 4;
/// Type of a route that answers "unreachable".
pub const RTN_UNREACHABLE: u8 = 7;

/// An address prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Prefix {
    /// The first address.
    pub address: IpAddr,
    /// The length of the prefix in bits.
    pub bits: u8,
}

/// A route, as a dump shows it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Route {
    /// To.
    pub to: Prefix,
    /// The routing table.
    pub table: u32,
    /// One of the `RTN_` constants, or another type.
    pub kind: u8,
    /// The next hop, if there is one.
    pub gateway: Option<IpAddr>,
    /// Index of the interface, if there is one.
    pub interface: Option<u32>,
}

/// A route netlink socket of the network namespace in which it was opened.
pub struct Netlink {
    socket: OwnedFd,
    sequence: u32,
}

impl AsFd for Netlink {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Netlink {
    /// Opens a socket in the network namespace of this thread. With `listen` it also receives change notices.
    ///
    /// # Errors
    /// The kernel refuses it.
    pub fn open(listen: bool) -> io::Result<Netlink> {
        let flags = SocketFlags::CLOEXEC;
        let socket = rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None)?;
        rustix::net::bind(&socket, &SocketAddrNetlink::new(0, if listen { GROUPS } else { 0 }))?;
        Ok(Netlink { socket, sequence: 0 })
    }

    /// Reads all pending notices without waiting. True if there was one; a lost notice counts.
    pub fn take_notices(&self) -> bool {
        let mut buffer = vec![0; BUFFER_BYTES];
        let mut any = false;
        loop {
            match rustix::net::recv(&self.socket, buffer.as_mut_slice(), RecvFlags::DONTWAIT) {
                Ok(_) | Err(rustix::io::Errno::NOBUFS) => any = true,
                Err(_) => return any,
            }
        }
    }

    /// Every route of both families.
    ///
    /// # Errors
    /// The kernel refuses, or answers with something else.
    pub fn routes(&mut self) -> io::Result<Vec<Route>> {
        let mut routes = Vec::new();
        self.send(RTM_GETROUTE, NLM_F_DUMP, &[0; ROUTE_HEADER])?;
        self.receive(|body| routes.extend(parse_route(body)))?;
        Ok(routes)
    }

    /// Makes `to` unreachable, or reachable again.
    ///
    /// # Errors
    /// The kernel refuses it.
    pub fn set_unreachable(&mut self, to: Prefix, on: bool) -> io::Result<()> {
        let mut body = route_header(to, RTN_UNREACHABLE, if on { RTPROT_STATIC } else { 0 });
        put(&mut body, RTA_DST, &octets(to.address));
        // A high priority, before other routes to the same prefix.
        put(&mut body, RTA_PRIORITY, &1_u32.to_ne_bytes());
        let (kind, flags) = if on {
            (RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE)
        } else {
            (RTM_DELROUTE, 0)
        };
        self.ask(kind, flags, &body)
    }

    /// Sends everything that has no other route through `gateway`.
    ///
    /// # Errors
    /// The kernel refuses it.
    pub fn add_default_route(&mut self, gateway: IpAddr, interface: u32) -> io::Result<()> {
        let everything = Prefix {
            address: match gateway {
                IpAddr::V4(_) => IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED),
                IpAddr::V6(_) => IpAddr::V6(std::net::Ipv6Addr::UNSPECIFIED),
            },
            bits: 0,
        };
        let mut body = route_header(everything, RTN_UNICAST, RTPROT_STATIC);
        put(&mut body, RTA_GATEWAY, &octets(gateway));
        put(&mut body, RTA_OIF, &interface.to_ne_bytes());
        self.ask(RTM_NEWROUTE, NLM_F_CREATE, &body)
    }

    /// Gives an interface an address, with `peer` at the other end of the link. For IPv6 both share the first 64 bits.
    ///
    /// # Errors
    /// The kernel refuses it.
    pub fn add_address(&mut self, interface: u32, own: IpAddr, peer: IpAddr) -> io::Result<()> {
        let (bits, peer) = match own {
            IpAddr::V4(_) => (32, peer),
            IpAddr::V6(_) => (64, own),
        };
        let mut body = vec![family(own), bits, IFA_F_NODAD, 0];
        body.extend(interface.to_ne_bytes());
        put(&mut body, IFA_LOCAL, &octets(own));
        put(&mut body, IFA_ADDRESS, &octets(peer));
        self.ask(RTM_NEWADDR, NLM_F_CREATE, &body)
    }

    /// Switches an interface on.
    ///
    /// # Errors
    /// The kernel refuses it.
    pub fn switch_on(&mut self, interface: u32) -> io::Result<()> {
        self.ask(RTM_NEWLINK, 0, &link_header(interface, IFF_UP))
    }

    /// Makes a pair of connected interfaces: `name` here, `peer` in the namespace `there`.
    ///
    /// # Errors
    /// The kernel refuses it, or has no such interfaces.
    pub fn add_pair(&mut self, name: &str, peer: &str, there: BorrowedFd<'_>, mtu: u32) -> io::Result<()> {
        let end = |name: &str| {
            let mut body = link_header(0, 0);
            put(&mut body, IFLA_IFNAME, &[name.as_bytes(), &[0]].concat());
            put(&mut body, IFLA_MTU, &mtu.to_ne_bytes());
            body
        };
        let mut other = end(peer);
        put(&mut other, IFLA_NET_NS_FD, &there.as_raw_fd().to_ne_bytes());
        let mut data = Vec::new();
        put(&mut data, VETH_INFO_PEER | NLA_F_NESTED, &other);
        let mut info = Vec::new();
        put(&mut info, IFLA_INFO_KIND, b"veth");
        put(&mut info, IFLA_INFO_DATA | NLA_F_NESTED, &data);
        let mut body = end(name);
        put(&mut body, IFLA_LINKINFO | NLA_F_NESTED, &info);
        self.ask(RTM_NEWLINK, NLM_F_CREATE, &body)
    }

    /// The index of the interface `name`.
    ///
    /// # Errors
    /// There is none.
    pub fn index(&self, name: &str) -> io::Result<u32> {
        Ok(rustix::net::netdevice::name_to_index(&self.socket, name)?)
    }

    fn ask(&mut self, kind: u16, flags: u16, body: &[u8]) -> io::Result<()> {
        self.send(kind, flags | NLM_F_ACK, body)?;
        self.receive(|_| ())
    }

    fn send(&mut self, kind: u16, flags: u16, body: &[u8]) -> io::Result<()> {
        self.sequence = self.sequence.wrapping_add(1);
        let length = u32::try_from(MESSAGE_HEADER + body.len()).map_err(io::Error::other)?;
        let mut message = length.to_ne_bytes().to_vec();
        message.extend(kind.to_ne_bytes());
        message.extend((flags | NLM_F_REQUEST).to_ne_bytes());
        message.extend(self.sequence.to_ne_bytes());
        message.extend([0; 4]);
        message.extend(body);
        rustix::net::send(&self.socket, &message, SendFlags::empty())?;
        Ok(())
    }

    /// Reads the answers to the last request, up to its end.
    fn receive(&self, mut each: impl FnMut(&[u8])) -> io::Result<()> {
        let mut buffer = vec![0; BUFFER_BYTES];
        loop {
            let (count, _) = match rustix::net::recv(&self.socket, buffer.as_mut_slice(), RecvFlags::empty()) {
                // Only notices were lost; an answer is never dropped.
                Err(rustix::io::Errno::NOBUFS | rustix::io::Errno::INTR) => continue,
                other => other?,
            };
            let mut rest = buffer.get(..count).unwrap_or_default();
            while let Some((kind, sequence, body, next)) = split_message(rest) {
                rest = next;
                if sequence != self.sequence {
                    continue;
                }
                match kind {
                    NLMSG_DONE => return Ok(()),
                    NLMSG_ERROR => {
                        let code = body.first_chunk().map_or(0, |bytes| i32::from_ne_bytes(*bytes));
                        return if code == 0 {
                            Ok(())
                        } else {
                            Err(io::Error::from_raw_os_error(-code))
                        };
                    }
                    _ => each(body),
                }
            }
        }
    }
}

/// The first message: its type, its sequence number, its body, and what follows.
fn split_message(bytes: &[u8]) -> Option<(u16, u32, &[u8], &[u8])> {
    let length = usize::try_from(u32::from_ne_bytes(*bytes.first_chunk()?)).ok()?;
    let kind = u16::from_ne_bytes(*bytes.get(4..)?.first_chunk()?);
    let sequence = u32::from_ne_bytes(*bytes.get(8..)?.first_chunk()?);
    let body = bytes.get(MESSAGE_HEADER..length)?;
    let next = bytes.get(aligned(length)..).unwrap_or_default();
    Some((kind, sequence, body, next))
}

fn parse_route(body: &[u8]) -> Option<Route> {
    let header: &[u8; ROUTE_HEADER] = body.first_chunk()?;
    let [family, bits, _, _, table, _, _, kind, ..] = *header;
    let mut route = Route {
        to: Prefix {
            address: address(family, &[0; 16])?,
            bits,
        },
        table: table.into(),
        kind,
        gateway: None,
        interface: None,
    };
    let mut rest = body.get(ROUTE_HEADER..)?;
    while let Some(length) = rest.first_chunk().map(|bytes| usize::from(u16::from_ne_bytes(*bytes))) {
        let Some(value) = rest.get(4..length) else { break };
        let number = || value.first_chunk().map(|bytes| u32::from_ne_bytes(*bytes));
        match u16::from_ne_bytes(*rest.get(2..)?.first_chunk()?) {
            RTA_DST => route.to.address = address(family, value)?,
            RTA_GATEWAY => route.gateway = address(family, value),
            RTA_OIF => route.interface = number(),
            RTA_TABLE => route.table = number()?,
            _ => {}
        }
        rest = rest.get(aligned(length)..).unwrap_or_default();
    }
    Some(route)
}

fn route_header(to: Prefix, kind: u8, protocol: u8) -> Vec<u8> {
    let mut header = vec![family(to.address), to.bits, 0, 0, RT_TABLE_MAIN, protocol, 0, kind];
    header.extend([0; 4]);
    header
}

fn link_header(interface: u32, switched_on: u32) -> Vec<u8> {
    let mut header = vec![0; 4];
    header.extend(interface.to_ne_bytes());
    header.extend(switched_on.to_ne_bytes());
    // Which flags change.
    header.extend(switched_on.to_ne_bytes());
    header
}

fn put(body: &mut Vec<u8>, kind: u16, value: &[u8]) {
    let length = u16::try_from(4 + value.len()).unwrap_or(u16::MAX);
    body.extend(length.to_ne_bytes());
    body.extend(kind.to_ne_bytes());
    body.extend(value);
    body.resize(aligned(body.len()), 0);
}

/// Everything in a message begins at a multiple of four.
fn aligned(length: usize) -> usize {
    length.next_multiple_of(4)
}

fn family(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => 2,
        IpAddr::V6(_) => 10,
    }
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

fn address(family: u8, bytes: &[u8]) -> Option<IpAddr> {
    match family {
        2 => Some(IpAddr::from(*bytes.first_chunk::<4>()?)),
        10 => Some(IpAddr::from(*bytes.first_chunk::<16>()?)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dump_shows_the_loopback_addresses_of_this_machine_as_its_own() {
        let routes = Netlink::open(false).unwrap().routes().unwrap();
        let own = |text: &str| {
            let address: IpAddr = text.parse().unwrap();
            let local = |route: &&Route| route.table == RT_TABLE_LOCAL && route.kind == RTN_LOCAL;
            routes.iter().filter(local).any(|route| route.to.address == address)
        };
        assert!(own("127.0.0.1") && !own("192.0.2.99"), "{routes:?}");
    }

    #[test]
    fn a_truncated_message_is_ignored() {
        let mut body = route_header(
            Prefix {
                address: "10.0.0.0".parse().unwrap(),
                bits: 8,
            },
            RTN_LOCAL,
            0,
        );
        put(&mut body, RTA_DST, &[10, 0, 0, 0]);
        for length in 0..body.len() {
            let _ = parse_route(&body[..length]);
            assert!(split_message(&body[..length.min(15)]).is_none());
        }
        assert_eq!(parse_route(&body).unwrap().to.bits, 8);
    }
}
