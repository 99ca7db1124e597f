//! The address ranges of a cluster. Network policies close them to tasks, and no two clusters have the same ranges.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde_json::{Value, json};

use crate::facts::NodeFacts;

/// The policy that allows tasks to reach the outside, in manifests/network-policy.yaml.
const OUTSIDE: &str = "hybrid-cache-allow-outside";
/// The policy that allows Argo's container to reach the API server, in manifests/argo.yaml.
const ARGO: &str = "hybrid-cache-allow-argo";
/// kind's own ranges, as written in manifests/network-policy.yaml.
const KIND: [&str; 4] = ["10.244.0.0/16", "10.96.0.0/16", "fd00:10:244::/56", "fd00:10:96::/112"];
/// Most node addresses that are closed one by one: a policy is one object, and every node reads it.
const MAX_NODES: usize = 256;

/// A range of addresses, such as `10.244.0.0/16`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Range {
    address: IpAddr,
    bits: u8,
}

impl Range {
    /// The range that holds one address.
    pub fn one(address: IpAddr) -> Range {
        let bits = if address.is_ipv4() { 32 } else { 128 };
        Range { address, bits }
    }

    /// True if every address of `other` is in this range.
    pub fn covers(&self, other: &Range) -> bool {
        let bits = |address: IpAddr| match address {
            IpAddr::V4(address) => (u128::from(address.to_bits()) << 96, 32),
            IpAddr::V6(address) => (address.to_bits(), 128),
        };
        let ((ours, width), (theirs, their_width)) = (bits(self.address), bits(other.address));
        let differing = (ours ^ theirs).leading_zeros();
        width == their_width && self.bits <= other.bits && differing >= u32::from(self.bits)
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}

impl FromStr for Range {
    type Err = String;

    fn from_str(text: &str) -> Result<Range, String> {
        let wrong = || format!("{text:?} is not a range of addresses, such as 10.244.0.0/16 or fd00:10:244::/56");
        let (address, bits) = text.trim().split_once('/').ok_or_else(wrong)?;
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let bits: u8 = bits.parse().map_err(|_| wrong())?;
        let most = Range::one(address).bits;
        if bits == 0 || bits > most {
            return Err(format!(
                "{text:?}: the prefix must have 1 to {most} bits; 0 would close all addresses"
            ));
        }
        Ok(Range { address, bits })
    }
}

/// Name and kind of the policy that closes the cluster's addresses.
pub fn policy() -> Value {
    json!({"kind": "NetworkPolicy", "metadata": {"namespace": crate::names::NAMESPACE, "name": OUTSIDE}})
}

/// The addresses of an API server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ApiServer {
    /// Addresses of the server as a Service.
    pub service: Vec<IpAddr>,
    /// Addresses of the server itself.
    pub addresses: Vec<IpAddr>,
    /// The port at the server's own addresses; the Service's port is 443.
    pub port: Option<u16>,
}

/// The addresses of a cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ranges {
    /// Ranges of pods; empty if no source states them.
    pub pods: BTreeSet<Range>,
    /// Ranges of Services; empty if no source states them.
    pub services: BTreeSet<Range>,
    /// Addresses of nodes.
    pub nodes: BTreeSet<Range>,
    /// Ranges that the user named.
    pub named: BTreeSet<Range>,
    /// Addresses of the API server.
    pub api: ApiServer,
}

/// The objects that state a cluster's addresses, as the API server returns them.
#[derive(Debug, Default)]
pub struct AddressSources {
    /// kubeadm's ConfigMap, on clusters that kubeadm made, including kind's.
    pub kubeadm: Option<Value>,
    /// ServiceCIDR objects, from Kubernetes 1.33 on.
    pub service_ranges: Vec<Value>,
    /// The Service `kubernetes` of the namespace `default`.
    pub api_service: Option<Value>,
    /// The EndpointSlice of that Service.
    pub api_endpoints: Option<Value>,
    /// The nodes.
    pub nodes: Vec<NodeFacts>,
}

impl Ranges {
    /// Reads the API server's answers. `named` are the ranges that the user named.
    pub fn from_sources(sources: &AddressSources, named: BTreeSet<Range>) -> Ranges {
        let kubeadm = sources.kubeadm.as_ref().map(networking).unwrap_or_default();
        let of_nodes = || {
            sources
                .nodes
                .iter()
                .flat_map(|node| many(node.pod_ranges.iter().map(String::as_str)))
        };
        let mut pods: BTreeSet<Range> = many(list(&kubeadm, "podSubnet"));
        if pods.is_empty() {
            pods = of_nodes().collect();
        }
        let mut services: BTreeSet<Range> = sources
            .service_ranges
            .iter()
            .flat_map(|object| many(texts(object, "/spec/cidrs")))
            .collect();
        if services.is_empty() {
            services = many(list(&kubeadm, "serviceSubnet"));
        }
        let addresses = sources.nodes.iter().flat_map(|node| &node.addresses);
        let nodes = addresses
            .filter_map(|address| address.parse().ok())
            .map(Range::one)
            .collect();
        Ranges {
            pods,
            services,
            nodes,
            named,
            api: ApiServer::from_sources(sources),
        }
    }

    /// The ranges that have to be closed to tasks.
    pub fn closed(&self) -> BTreeSet<Range> {
        let mut closed: BTreeSet<Range> = [&self.pods, &self.services, &self.named]
            .into_iter()
            .flatten()
            .copied()
            .collect();
        if self.nodes.len() <= MAX_NODES {
            let open: Vec<Range> = self
                .nodes
                .iter()
                .filter(|node| !closed.iter().any(|range| range.covers(node)))
                .copied()
                .collect();
            closed.extend(open);
        }
        closed
    }

    /// Says which addresses no source states, and the next step; `None` if all are known.
    pub fn unknown(&self) -> Option<String> {
        let known = |ranges: &BTreeSet<Range>| !ranges.is_empty() || !self.named.is_empty();
        let mut unknown = Vec::new();
        if !known(&self.pods) {
            unknown.push("its pods' addresses");
        }
        if !known(&self.services) {
            unknown.push("its Services' addresses");
        }
        if self.nodes.len() > MAX_NODES && self.named.is_empty() {
            unknown.push("the range of its many nodes");
        }
        let hint = "so tasks can reach them\nhint: name each range with `cargo xtask up --closed-range RANGE`";
        (!unknown.is_empty()).then(|| format!("the cluster does not state {}, {hint}", unknown.join(" and ")))
    }

    /// Replaces kind's addresses in the two policies by this cluster's; other objects stay as they are.
    pub fn fitted(&self, mut object: Value) -> Value {
        let name = object.pointer("/metadata/name").and_then(Value::as_str);
        match (object["kind"].as_str(), name) {
            (Some("NetworkPolicy"), Some(OUTSIDE)) => self.close(&mut object),
            (Some("NetworkPolicy"), Some(ARGO)) => self.api.open(&mut object),
            _ => {}
        }
        object
    }

    fn close(&self, policy: &mut Value) {
        let rules = policy.pointer_mut("/spec/egress").and_then(Value::as_array_mut);
        let peers = rules
            .into_iter()
            .flatten()
            .filter_map(|rule| rule["to"].as_array_mut())
            .flatten();
        for block in peers.filter_map(|peer| peer.get_mut("ipBlock")) {
            let fourth = block["cidr"].as_str().is_some_and(|range| !range.contains(':'));
            let Some(except) = block["except"].as_array_mut() else {
                continue;
            };
            except.retain(|range| !range.as_str().is_some_and(|range| KIND.contains(&range)));
            let closed = self
                .closed()
                .into_iter()
                .filter(|range| range.address.is_ipv4() == fourth);
            let closed: Vec<Value> = closed
                .map(|range| json!(range.to_string()))
                .filter(|range| !except.contains(range))
                .collect();
            except.splice(0..0, closed);
        }
    }

    /// The ranges of the cluster that a policy in the cluster leaves open; empty if it closes all of them.
    pub fn left_open(&self, policy: &Value) -> Vec<Range> {
        let rules = policy.pointer("/spec/egress").and_then(Value::as_array);
        let peers = rules
            .into_iter()
            .flatten()
            .filter_map(|rule| rule["to"].as_array())
            .flatten();
        let except = peers.flat_map(|peer| texts(peer, "/ipBlock/except"));
        let except: Vec<Range> = except.filter_map(|range| range.parse().ok()).collect();
        let is_open = |range: &Range| !except.iter().any(|closed| closed.covers(range));
        self.closed().into_iter().filter(is_open).collect()
    }
}

impl ApiServer {
    fn from_sources(sources: &AddressSources) -> ApiServer {
        let addresses = |object: Option<&Value>, pointer: &str| -> Vec<IpAddr> {
            let found = object.into_iter().flat_map(|object| texts(object, pointer));
            found.filter_map(|address| address.parse().ok()).collect()
        };
        let endpoints = sources.api_endpoints.as_ref();
        let slices = endpoints.and_then(|slice| slice["endpoints"].as_array());
        let own = slices
            .into_iter()
            .flatten()
            .flat_map(|endpoint| addresses(Some(endpoint), "/addresses"));
        let port = endpoints.and_then(|slice| slice.pointer("/ports/0/port")?.as_u64());
        ApiServer {
            service: addresses(sources.api_service.as_ref(), "/spec/clusterIPs"),
            addresses: own.collect(),
            port: port.and_then(|port| u16::try_from(port).ok()),
        }
    }

    /// Opens the way to this API server and to nothing else.
    fn open(&self, policy: &mut Value) {
        let rule = |addresses: &[IpAddr], port: u16| {
            let blocks: Vec<Value> = addresses
                .iter()
                .map(|address| json!({"ipBlock": {"cidr": Range::one(*address).to_string()}}))
                .collect();
            json!({"to": blocks, "ports": [{"protocol": "TCP", "port": port}]})
        };
        if let (Some(port), false, false) = (self.port, self.service.is_empty(), self.addresses.is_empty()) {
            policy["spec"]["egress"] = json!([rule(&self.service, 443), rule(&self.addresses, port)]);
        }
    }
}

/// The `networking` of kubeadm's ConfigMap.
fn networking(map: &Value) -> Value {
    let text = map.pointer("/data/ClusterConfiguration").and_then(Value::as_str);
    let read: Option<Value> = text.and_then(|text| serde_yaml::from_str(text).ok());
    read.map(|read| read["networking"].clone()).unwrap_or_default()
}

fn list<'a>(networking: &'a Value, name: &str) -> impl Iterator<Item = &'a str> + use<'a> {
    networking[name].as_str().unwrap_or_default().split(',')
}

fn texts<'a>(object: &'a Value, pointer: &str) -> impl Iterator<Item = &'a str> + use<'a> {
    let found = object.pointer(pointer).and_then(Value::as_array);
    found.into_iter().flatten().filter_map(Value::as_str)
}

fn many<'a>(texts: impl Iterator<Item = &'a str>) -> BTreeSet<Range> {
    texts.filter_map(|text| text.parse().ok()).collect()
}

#[cfg(test)]
mod tests;
