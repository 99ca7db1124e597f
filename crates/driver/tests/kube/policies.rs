//! Network policies in force: what a task must not reach is closed, and what it needs is open.

use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::Duration;

use hybrid_cache_model::{End, TaskSpec};
use k8s_openapi::api::core::v1::{Node, Pod, Service};
use kube::api::{Api, ListParams};

use super::bench::{self, options, run};

/// Ports of the kubelet and of the API server on a node, and of the name server's metrics in its pod.
const KUBELET: u16 = 10250;
const API_SERVER: u16 = 6443;
const NAMES_METRICS: u16 = 9153;
/// The name that every pod may look up.
const NAME: &str = "kubernetes.default.svc.cluster.local";
/// Waits until the network knows the pod (up to 0.4 s were seen), then looks the name up and tries each address.
const LOOK: &str = r#"
import socket, time
time.sleep(5)
print("name", socket.getaddrinfo(NAME, 443)[0][4][0])
for host, port in WAYS:
    try:
        socket.create_connection((host, port), 3).close()
        print("open", host, port)
    except OSError:
        print("closed", host, port)
"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_task_reaches_neither_node_nor_api_server_nor_other_pods_and_can_look_names_up() {
    let Some(bench) = bench::cluster("network policies").await else {
        return;
    };
    let nodes: Api<Node> = Api::all(bench.client.clone());
    let node = nodes.list(&ListParams::default()).await.unwrap().items.remove(0);
    let addresses = node.status.and_then(|status| status.addresses).unwrap();
    let node = addresses.iter().find(|one| one.type_ == "InternalIP").unwrap();
    let node: IpAddr = node.address.parse().unwrap();
    // They listen: what follows says something.
    for port in [KUBELET, API_SERVER] {
        TcpStream::connect_timeout(&SocketAddr::new(node, port), Duration::from_secs(5)).unwrap();
    }
    let services: Api<Service> = Api::namespaced(bench.client.clone(), "default");
    let service = services.get("kubernetes").await.unwrap();
    let service = service.spec.and_then(|spec| spec.cluster_ip).unwrap();
    let pods: Api<Pod> = Api::namespaced(bench.client.clone(), "kube-system");
    let names = ListParams::default().labels("k8s-app=kube-dns");
    let pod = pods.list(&names).await.unwrap().items.remove(0);
    let pod = pod.status.and_then(|status| status.pod_ip).unwrap();
    let ways = [
        (node.to_string(), KUBELET),
        (node.to_string(), API_SERVER),
        (service.clone(), 443),
        (pod, NAMES_METRICS),
    ];
    let tried: Vec<String> = ways.iter().map(|(host, port)| format!("({host:?}, {port})")).collect();
    let code = format!("NAME = {NAME:?}\nWAYS = [{}]\n{LOOK}", tried.join(", "));
    let ran = run(&bench.driver().await, &TaskSpec::new(code), &options()).await;
    assert_eq!(ran.outcome.end, End::Exited { code: 0 }, "{}", ran.stdout);
    let closed = ways.iter().map(|(host, port)| format!("closed {host} {port}\n"));
    assert_eq!(ran.stdout, format!("name {service}\n") + &closed.collect::<String>());
}
