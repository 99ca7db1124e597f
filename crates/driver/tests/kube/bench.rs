//! What these tests stand on: the cluster that two variables name, a driver on it, runs.

use std::net::{IpAddr, UdpSocket};
use std::time::Duration;

use hybrid_cache_driver::kube::{KubeConfig, KubeDriver};
use hybrid_cache_driver::log::Stream;
use hybrid_cache_driver::{Driver, Epoch, SubmitOptions, Ticket};
use hybrid_cache_model::{End, Failure, FailureKind, Outcome, TaskSpec};
use k8s_openapi::api::core::v1::Node;
use kube::api::{Api, ListParams};
use kube::config::KubeConfigOptions;
use kube::{Client, Config};

use crate::CONFIG_VARIABLE;

/// Names the context of the kubeconfig.
const CONTEXT_VARIABLE: &str = "HYBRID_CACHE_KUBE_CONTEXT";
/// No test waits longer than this for anything.
pub const PATIENCE: Duration = Duration::from_secs(240);

/// A cluster, and the driver's configuration on it.
#[derive(Clone)]
pub struct Bench {
    pub client: Client,
    pub config: KubeConfig,
}

/// A finished run with its output.
#[derive(Debug)]
pub struct Ran {
    pub outcome: Outcome,
    pub stdout: String,
}

impl Ran {
    /// The failure it ended with.
    #[track_caller]
    pub fn failure(&self) -> &Failure {
        match &self.outcome.end {
            End::Failed { failure } => failure,
            end => panic!("{end:?} instead of a failure\n{}", self.stdout),
        }
    }

    /// Checks the kind of failure and that its text holds all of these.
    #[track_caller]
    pub fn failed(&self, kind: FailureKind, texts: &[&str]) {
        let failure = self.failure();
        assert_eq!(failure.kind, kind, "{failure}");
        for text in texts {
            assert!(failure.to_string().contains(text), "{failure}\nlacks {text:?}");
        }
    }

    /// Checks that it ended well and printed this.
    #[track_caller]
    pub fn printed(&self, stdout: &str) {
        assert!(self.outcome.end.is_success(), "{:?}\n{}", self.outcome, self.stdout);
        assert_eq!(self.stdout, stdout, "{:?}", self.outcome);
    }
}

/// The cluster; `None`, with a message, if none is named.
pub async fn cluster(test: &str) -> Option<Bench> {
    let (Ok(context), Some(file)) = (std::env::var(CONTEXT_VARIABLE), std::env::var_os(CONFIG_VARIABLE)) else {
        println!("skipped: {test}: no cluster: {CONTEXT_VARIABLE} and {CONFIG_VARIABLE} are not set");
        return None;
    };
    let options = KubeConfigOptions {
        context: Some(context),
        ..KubeConfigOptions::default()
    };
    let client = Client::try_from(Config::from_kubeconfig(&options).await.unwrap()).unwrap();
    let mut config: KubeConfig = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    // Tests run beside each other, some with dozens of pods; a place on the node is waited for.
    config.start_s = 200;
    Some(Bench { client, config })
}

impl Bench {
    /// A driver of its own, with nothing remembered.
    pub async fn driver(&self) -> KubeDriver {
        KubeDriver::open(self.client.clone(), self.config.clone())
            .await
            .unwrap()
    }

    /// The address of this machine that the cluster's nodes, and so its pods, can reach.
    pub async fn own_address(&self) -> IpAddr {
        let nodes: Api<Node> = Api::all(self.client.clone());
        let node = nodes.list(&ListParams::default()).await.unwrap().items.remove(0);
        let addresses = node.status.and_then(|status| status.addresses).unwrap();
        let node = addresses.iter().find(|one| one.type_ == "InternalIP").unwrap();
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        // Sends nothing: it only chooses a route.
        socket.connect((node.address.as_str(), 9)).unwrap();
        socket.local_addr().unwrap().ip()
    }

    /// The same cluster with another configuration.
    pub fn with(&self, change: impl FnOnce(&mut KubeConfig)) -> Bench {
        let mut config = self.config.clone();
        change(&mut config);
        Bench {
            client: self.client.clone(),
            config,
        }
    }
}

/// Options with a short limit for the task.
pub fn options() -> SubmitOptions {
    let mut options = SubmitOptions::default();
    options.limits.time_ms = 120_000;
    options.prepare_ms = 200_000;
    options
}

/// Options on an epoch.
pub fn on(epoch: &Epoch) -> SubmitOptions {
    SubmitOptions {
        epoch: epoch.clone(),
        ..options()
    }
}

/// Code with packages.
pub fn spec(code: &str, dependencies: &str, system: &str) -> TaskSpec {
    TaskSpec {
        dependencies: dependencies.to_owned(),
        system_dependencies: system.to_owned(),
        ..TaskSpec::new(code)
    }
}

/// Submits, waits, and collects.
pub async fn run(driver: &KubeDriver, spec: &TaskSpec, options: &SubmitOptions) -> Ran {
    let ticket = driver.submit(spec, options).await.unwrap();
    wait(driver, &ticket).await
}

/// Waits for a task and collects its output, which is complete then.
pub async fn wait(driver: &KubeDriver, ticket: &Ticket) -> Ran {
    let outcome = within(driver.wait(ticket)).await.unwrap();
    let stdout = driver.logs(ticket).unwrap().collect(Stream::Stdout);
    Ran {
        outcome,
        stdout: String::from_utf8_lossy(&stdout).into_owned(),
    }
}

/// Bounds every wait of a test.
pub async fn within<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, work)
        .await
        .expect("a test waited for too long")
}
