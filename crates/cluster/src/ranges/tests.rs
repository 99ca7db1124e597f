//! Tests of the addresses that several kinds of clusters state, and of the resulting policies.

use super::*;
use crate::manifests::{self, VolumeSource};

fn kubeadm(pods: &str, services: &str) -> Value {
    let text = format!("kind: ClusterConfiguration\nnetworking:\n  podSubnet: {pods}\n  serviceSubnet: {services}\n");
    json!({"data": {"ClusterConfiguration": text}})
}

fn node(address: &str, pods: &[&str]) -> NodeFacts {
    NodeFacts::from_node(&json!({
        "spec": {"podCIDRs": pods},
        "status": {"addresses": [
            {"type": "InternalIP", "address": address},
            {"type": "ExternalIP", "address": "203.0.113.9"},
            {"type": "Hostname", "address": "node"},
        ]},
    }))
}

fn address_sources() -> AddressSources {
    AddressSources {
        kubeadm: Some(kubeadm("10.0.0.0/8,fd00:1::/56", "10.200.0.0/16")),
        service_ranges: Vec::new(),
        api_service: Some(json!({"spec": {"clusterIPs": ["10.200.0.1", "fd00:2::1"]}})),
        api_endpoints: Some(json!({
            "endpoints": [{"addresses": ["192.168.7.2"]}, {"addresses": ["192.168.7.3"]}],
            "ports": [{"name": "https", "port": 8443}],
        })),
        nodes: vec![
            node("192.168.7.2", &["10.3.0.0/24"]),
            node("192.168.7.4", &["10.3.1.0/24"]),
        ],
    }
}

fn shown(ranges: impl IntoIterator<Item = Range>) -> Vec<String> {
    ranges.into_iter().map(|range| range.to_string()).collect()
}

/// The policies of the manifests with these addresses, by name.
fn policy(ranges: &Ranges, name: &str) -> Value {
    let checkout = crate::tests::checkout();
    let mut objects = manifests::objects(&checkout, &VolumeSource::NodeFolders, &Default::default()).unwrap();
    objects.extend(manifests::argo(&checkout).unwrap());
    let found = objects
        .into_iter()
        .find(|object| object["metadata"]["name"] == name && object["kind"] == "NetworkPolicy");
    ranges.fitted(found.unwrap())
}

fn excepts(policy: &Value, block: usize) -> Vec<&str> {
    texts(policy, &format!("/spec/egress/0/to/{block}/ipBlock/except")).collect()
}

#[test]
fn a_range_is_read_strictly_and_covers_what_is_in_it() {
    let range = |text: &str| text.parse::<Range>();
    for wrong in [
        "",
        "10.0.0.0",
        "10.0.0.0/33",
        "10.0.0.0/0",
        "a/8",
        "10.0.0.0/x",
        "::/0",
        "fd00::/129",
    ] {
        assert!(range(wrong).unwrap_err().contains(wrong), "{wrong}");
    }
    let covers = |outer: &str, inner: &str| range(outer).unwrap().covers(&range(inner).unwrap());
    assert!(
        covers("10.96.0.0/12", "10.96.0.0/16")
            && covers("fd00::/8", "fd00:1::/56")
            && covers("10.0.0.7/32", "10.0.0.7/32")
    );
    assert!(!covers("10.96.0.0/16", "10.96.0.0/12") && !covers("10.96.0.0/16", "10.97.0.0/24"));
    assert!(!covers("10.0.0.0/8", "a00::/16"), "of another family");
}

#[test]
fn a_cluster_s_ranges_stand_in_place_of_kind_s_and_cover_its_nodes() {
    let ranges = Ranges::from_sources(&address_sources(), BTreeSet::new());
    assert_eq!(ranges.unknown(), None);
    let outside = policy(&ranges, OUTSIDE);
    let fourth = excepts(&outside, 0);
    for closed in [
        "10.0.0.0/8",
        "10.200.0.0/16",
        "192.168.7.2/32",
        "192.168.7.4/32",
        "169.254.0.0/16",
    ] {
        assert!(fourth.contains(&closed), "{closed}: {fourth:?}");
    }
    let sixth = excepts(&outside, 1);
    assert!(
        sixth.contains(&"fd00:1::/56") && sixth.contains(&"fe80::/10"),
        "{sixth:?}"
    );
    for of_kind in KIND {
        assert!(!fourth.contains(&of_kind) && !sixth.contains(&of_kind), "{of_kind}");
    }
    assert_eq!(ranges.left_open(&outside), []);
    // The policy is older than a node and than another range of Services.
    let mut before = address_sources();
    before.nodes.pop();
    before.kubeadm = Some(kubeadm("10.0.0.0/8,fd00:1::/56", "10.1.0.0/16"));
    before.service_ranges = vec![json!({"spec": {"cidrs": ["10.1.0.0/16"]}})];
    let before = policy(&Ranges::from_sources(&before, BTreeSet::new()), OUTSIDE);
    assert_eq!(
        shown(ranges.left_open(&before)),
        ["192.168.7.4/32"],
        "10.200.0.0/16 is in the pods' range"
    );
}

#[test]
fn the_api_server_alone_is_opened_to_argo_s_container_at_its_own_port() {
    let argo = policy(&Ranges::from_sources(&address_sources(), BTreeSet::new()), ARGO);
    let to = |addresses: &[&str], port: u16| {
        let blocks: Vec<_> = addresses
            .iter()
            .map(|cidr| json!({"ipBlock": {"cidr": cidr}}))
            .collect();
        json!({"to": blocks, "ports": [{"protocol": "TCP", "port": port}]})
    };
    let wanted = json!([
        to(&["10.200.0.1/32", "fd00:2::1/128"], 443),
        to(&["192.168.7.2/32", "192.168.7.3/32"], 8443)
    ]);
    assert_eq!(argo["spec"]["egress"], wanted);
    let unknown = Ranges::default();
    assert_eq!(
        policy(&unknown, ARGO)["spec"]["egress"][0]["ports"][0]["port"],
        6443,
        "as in the file"
    );
}

#[test]
fn what_a_cluster_does_not_tell_is_said_until_a_person_names_it() {
    let bare = AddressSources {
        nodes: vec![node("192.168.7.2", &[])],
        ..AddressSources::default()
    };
    let unknown = Ranges::from_sources(&bare, BTreeSet::new()).unknown().unwrap();
    assert!(
        unknown.contains("pods' addresses and its Services'") && unknown.contains("--closed-range"),
        "{unknown}"
    );
    let named = Ranges::from_sources(&bare, ["10.8.0.0/14".parse().unwrap()].into());
    assert_eq!(named.unknown(), None);
    assert!(excepts(&policy(&named, OUTSIDE), 0).contains(&"10.8.0.0/14"));
    // A managed cluster assigns its pods' ranges itself, and states the Services' ranges since Kubernetes 1.33.
    let managed = AddressSources {
        service_ranges: vec![json!({"spec": {"cidrs": ["10.30.0.0/20"]}})],
        nodes: vec![
            node("192.168.7.2", &["10.3.0.0/24"]),
            node("192.168.7.4", &["10.3.1.0/24"]),
        ],
        ..AddressSources::default()
    };
    let managed = Ranges::from_sources(&managed, BTreeSet::new());
    assert_eq!(managed.unknown(), None);
    assert_eq!(shown(managed.pods.clone()), ["10.3.0.0/24", "10.3.1.0/24"]);
    assert_eq!(shown(managed.services), ["10.30.0.0/20"]);
}

#[test]
fn the_addresses_of_very_many_nodes_are_not_listed_one_by_one() {
    let nodes =
        (0..=MAX_NODES).map(|number| node(&format!("172.16.{}.{}", number / 200, number % 200), &["10.3.0.0/24"]));
    let many = AddressSources {
        nodes: nodes.collect(),
        ..address_sources()
    };
    let ranges = Ranges::from_sources(&many, BTreeSet::new());
    assert!(ranges.unknown().unwrap().contains("range of its many nodes"));
    assert!(ranges.closed().len() < 10);
    let named = Ranges::from_sources(&many, ["172.16.0.0/16".parse().unwrap()].into());
    assert_eq!(named.unknown(), None);
}
