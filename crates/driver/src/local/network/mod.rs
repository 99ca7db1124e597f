//! The network of user code: one namespace for each task that runs, kept for the next one.
//!
//! A slot is a folder `<root>/network/<n>/` and a process of the runner's (`runner hold-network`) that keeps the
//! namespaces and pasta. `lock` in it is held by the driver for as long as a task has the slot, `holder` by the process for as
//! long as it lives; the kernel frees both, however their owner ends.

mod slot;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use hybrid_cache_model::protocol::Identity;
use hybrid_cache_model::{Failure, FailureKind, Protection};
use tokio::sync::OnceCell;

use super::config::{LocalConfig, Network};
use slot::{Claim, Problem, Slots};

/// The user that keeps networks if the driver is root. Not the one that runs user code, which would own them.
const KEEPER: Identity = Identity { uid: 65533, gid: 65533 };

/// Which network tasks get.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkStatus {
    /// What the configuration asks for.
    pub requested: Network,
    /// What tasks get.
    pub actual: Network,
    /// Why the two differ, with a hint; `None` if they do not.
    pub reason: Option<String>,
}

impl NetworkStatus {
    /// True if a task may reach this machine's loopback and its abstract sockets.
    pub fn is_shared(&self) -> bool {
        self.actual == Network::Shared
    }

    /// True if a service on this machine's loopback may answer everybody on this machine: then no task is among them.
    pub fn allows_service_without_token(&self) -> bool {
        !self.is_shared() || !Protection::TokenRequired.is_on()
    }
}

/// Hands out networks.
pub struct Networks {
    config: Arc<LocalConfig>,
    slots: Slots,
    status: OnceCell<NetworkStatus>,
    told: AtomicBool,
}

impl Networks {
    /// Networks whose slots are below the driver's cache folder. Nothing is made yet.
    pub fn new(config: Arc<LocalConfig>, is_root: bool) -> Networks {
        Networks {
            slots: Slots::new(&config, is_root.then_some(KEEPER)),
            config,
            status: OnceCell::new(),
            told: AtomicBool::new(false),
        }
    }

    /// Which network tasks get. The first call finds out, by making one.
    pub async fn status(&self) -> NetworkStatus {
        match self.settle().await {
            Ok((status, _)) => status,
            Err(problem) => self.shared(problem),
        }
    }

    fn shared(&self, reason: String) -> NetworkStatus {
        NetworkStatus {
            requested: self.config.network,
            actual: Network::Shared,
            reason: Some(reason),
        }
    }

    /// The status, and the slot that the first call has claimed on the way. An error says why there is no slot although
    /// this machine may well have one: tasks do not share the network because of that.
    async fn settle(&self) -> Result<(NetworkStatus, Option<Claim>), String> {
        let mut first = None;
        let found = self.status.get_or_try_init(|| async {
            let requested = self.config.network;
            let own = NetworkStatus {
                requested,
                actual: requested,
                reason: None,
            };
            if requested != Network::Isolated {
                return Ok(own);
            }
            if !Protection::NetworkNamespace.is_on() {
                let actual = Network::Shared;
                return Ok(NetworkStatus { actual, ..own });
            }
            match self.slots.claim().await {
                Ok(claim) => first = Some(claim),
                Err(Problem::Lacking(reason)) => return Ok(self.shared(reason)),
                Err(Problem::Failed(reason)) => return Err(reason),
            }
            Ok(own)
        });
        let found = found.await?.clone();
        Ok((found, first))
    }

    /// A network for one task.
    ///
    /// # Errors
    /// Tasks get a network of their own here, but there is none for this one.
    pub async fn claim(&self) -> Result<TaskNetwork, Failure> {
        let (status, first) = self.settle().await.map_err(unavailable)?;
        let claim = match (status.actual, first) {
            (Network::Isolated, Some(claim)) => Some(claim),
            (Network::Isolated, None) => Some(
                self.slots
                    .claim()
                    .await
                    .map_err(|problem| unavailable(problem.into()))?,
            ),
            (Network::Shared | Network::None, _) => None,
        };
        Ok(TaskNetwork {
            claim,
            runner: self.config.runner.clone(),
        })
    }

    /// What a task's outcome says about a network that is shared against the configuration: once in this process.
    pub fn warning(&self) -> Option<String> {
        let reason = self.status.get()?.reason.as_ref()?;
        let first = !self.told.swap(true, Ordering::Relaxed);
        first.then(|| format!("tasks share this machine's network, its loopback included: {reason}"))
    }
}

fn unavailable(problem: String) -> Failure {
    Failure::new(
        FailureKind::Sandbox,
        format!("the task's network cannot be made: {problem}"),
    )
    .hint("`cargo xtask doctor` looks for the cause; `--network shared` gives tasks this machine's network")
}

/// The network of one task.
pub struct TaskNetwork {
    claim: Option<Claim>,
    runner: PathBuf,
}

impl TaskNetwork {
    /// `command`, started in this network.
    pub fn enter(&mut self, command: Vec<OsString>) -> Vec<OsString> {
        let Some(claim) = &mut self.claim else {
            return command;
        };
        claim.begin();
        let mut whole: Vec<OsString> = vec![self.runner.clone().into(), "join-network".into()];
        whole.extend(claim.namespaces().map(OsString::from));
        whole.extend(command);
        whole
    }

    /// Says that every process which was started in this network has ended: the next task may have it.
    pub fn left(&mut self) {
        if let Some(claim) = &mut self.claim {
            claim.end();
        }
    }

    /// The file that the task sees as `/etc/resolv.conf`; `None` if it is this machine's own.
    pub fn resolver(&self) -> Option<&Path> {
        self.claim.as_ref().and_then(Claim::resolver)
    }
}
