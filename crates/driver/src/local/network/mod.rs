//! The network of user code: one namespace for each running task, kept for the next task.
//!
//! A slot is a folder `<root>/network/<n>/` and a process of the runner's (`runner hold-network`) that keeps the
//! namespaces and pasta. `lock` in it is held by the driver for as long as a task has the slot, `holder` by the process for as
//! long as it lives; the kernel frees both, however their owner ends.

mod slot;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use hybrid_cache_model::protocol::Identity;
use hybrid_cache_model::{Failure, FailureKind, Protection};
use tokio::sync::{Mutex, OnceCell, watch};

use crate::local::config::{LocalConfig, Network};
use slot::{SlotClaim, SlotError, Slots};

/// The user that holds networks if the driver is root. It differs from the user that runs user code, which would own them.
const KEEPER: Identity = Identity { uid: 65533, gid: 65533 };

/// The network that tasks get.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkStatus {
    /// The configured network.
    pub requested: Network,
    /// The network that tasks get.
    pub actual: Network,
    /// Why the two differ, with a hint; `None` if they do not.
    pub reason: Option<String>,
}

impl NetworkStatus {
    /// True if a task may reach this machine's loopback and its abstract sockets.
    pub fn is_shared(&self) -> bool {
        self.actual == Network::Shared
    }

    /// True if a service on this machine's loopback may answer every client on this machine, because no task can be one.
    pub fn allows_service_without_token(&self) -> bool {
        !self.is_shared() || !Protection::TokenRequired.is_on()
    }
}

/// Hands out networks.
pub struct Networks {
    config: Arc<LocalConfig>,
    slots: Slots,
    status: OnceCell<NetworkStatus>,
    has_warned: AtomicBool,
    /// Held by the task that looks for a network while others use all of them. Further tasks wait for the lock, in order.
    turn: Mutex<()>,
}

/// Time between two tries to get a network while others use all of them.
const CLAIM_INTERVAL: Duration = Duration::from_millis(250);
/// How long a task may wait for a network. No task may run or prepare for as long.
const CLAIM_TIMEOUT: Duration = Duration::from_secs(24 * 3600);

impl Networks {
    /// Networks whose slots are below the driver's cache folder. Creates none yet.
    pub fn new(config: Arc<LocalConfig>, is_root: bool) -> Networks {
        Networks {
            slots: Slots::new(&config, is_root.then_some(KEEPER)),
            config,
            status: OnceCell::new(),
            has_warned: AtomicBool::new(false),
            turn: Mutex::default(),
        }
    }

    /// The network that tasks get. The first call finds out, by making one.
    pub async fn status(&self) -> NetworkStatus {
        match self.settle().await {
            Ok((status, _)) => status,
            Err(problem) => self.shared(problem.into()),
        }
    }

    fn shared(&self, reason: String) -> NetworkStatus {
        NetworkStatus {
            requested: self.config.network,
            actual: Network::Shared,
            reason: Some(reason),
        }
    }

    /// The status, and the slot that the first call has claimed to find it out. An error says why there is no slot now,
    /// although this machine may have some; it does not make tasks share the machine's network.
    async fn settle(&self) -> Result<(NetworkStatus, Option<SlotClaim>), SlotError> {
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
                Err(SlotError::Unsupported(reason)) => return Ok(self.shared(reason)),
                Err(problem) => return Err(problem),
            }
            Ok(own)
        });
        let found = found.await?.clone();
        Ok((found, first))
    }

    /// A network for one task. Waits while others use all of them; `waits` receives that.
    ///
    /// # Errors
    /// Tasks get a network of their own on this machine, but none can be created for this task.
    pub async fn claim(&self, waits: &watch::Sender<NetworkWait>) -> Result<TaskNetwork, Failure> {
        let claim = match self.claim_now().await {
            Err(SlotError::Full) => {
                waits.send_modify(NetworkWait::begin);
                let waited = tokio::time::timeout(CLAIM_TIMEOUT, self.claim_in_turn()).await;
                waits.send_modify(NetworkWait::end);
                waited.unwrap_or(Err(SlotError::Full))
            }
            claimed => claimed,
        };
        Ok(TaskNetwork {
            claim: claim.map_err(|problem| unavailable(problem.into()))?,
            runner: self.config.runner.clone(),
        })
    }

    async fn claim_now(&self) -> Result<Option<SlotClaim>, SlotError> {
        let (status, first) = self.settle().await?;
        match (status.actual, first) {
            (Network::Isolated, Some(claim)) => Ok(Some(claim)),
            (Network::Isolated, None) => self.slots.claim().await.map(Some),
            (Network::Shared | Network::None, _) => Ok(None),
        }
    }

    async fn claim_in_turn(&self) -> Result<Option<SlotClaim>, SlotError> {
        let _turn = self.turn.lock().await;
        loop {
            match self.claim_now().await {
                Err(SlotError::Full) => tokio::time::sleep(CLAIM_INTERVAL).await,
                claimed => return claimed,
            }
        }
    }

    /// The warning that tasks share the machine's network although the configuration asks for another. Returned once in this
    /// process.
    pub fn warning(&self) -> Option<String> {
        let reason = self.status.get()?.reason.as_ref()?;
        let first = !self.has_warned.swap(true, Ordering::Relaxed);
        first.then(|| format!("tasks share this machine's network, its loopback included: {reason}"))
    }
}

fn unavailable(problem: String) -> Failure {
    Failure::new(
        FailureKind::Sandbox,
        format!("the task's network cannot be created: {problem}"),
    )
    .hint("find the cause with `cargo xtask doctor`, or give tasks this machine's network with `--network shared`")
}

/// How long a task has waited for a network.
#[derive(Clone, Debug, Default)]
pub struct NetworkWait {
    /// The waits that are over, together.
    before: Duration,
    /// When the wait began that goes on.
    since: Option<Instant>,
}

impl NetworkWait {
    fn begin(&mut self) {
        self.since = Some(Instant::now());
    }

    /// Ends the wait: the task has a network, or no longer needs one.
    pub fn end(&mut self) {
        self.before = self.waited();
        self.since = None;
    }

    /// How long the task has waited in all.
    pub fn waited(&self) -> Duration {
        self.before + self.since.map(|since| since.elapsed()).unwrap_or_default()
    }

    /// What the task waits for; `None` if it does not wait.
    pub fn why(&self) -> Option<String> {
        self.since.is_some().then(|| SlotError::Full.into())
    }
}

/// The network of one task.
pub struct TaskNetwork {
    claim: Option<SlotClaim>,
    runner: PathBuf,
}

impl TaskNetwork {
    /// The command line that starts `command` in this network.
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

    /// Says that every process that was started in this network has ended, so that the next task may have it.
    pub fn left(&mut self) {
        if let Some(claim) = &mut self.claim {
            claim.end();
        }
    }

    /// The file that the task sees as `/etc/resolv.conf`; `None` for this machine's own.
    pub fn resolver(&self) -> Option<&Path> {
        self.claim.as_ref().and_then(SlotClaim::resolver)
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    #[tokio::test]
    async fn a_task_beyond_the_number_of_networks_waits_for_one() {
        let root = tempfile::tempdir().unwrap();
        let config = LocalConfig {
            root: root.path().to_owned(),
            // This test creates no network.
            runner: root.path().join("no-runner"),
            pasta: Some(vec!["pasta".to_owned()]),
            network: Network::Isolated,
            ..crate::local::sandbox::tests::config()
        };
        let mut locks = Vec::new();
        for number in 0..slot::MAX_SLOTS {
            let folder = root.path().join(format!("network/{number}"));
            std::fs::create_dir_all(&folder).unwrap();
            File::create(folder.join("holder")).unwrap();
            let lock = File::create(folder.join("lock")).unwrap();
            lock.lock().unwrap();
            locks.push(lock);
        }
        let networks = Networks::new(Arc::new(config), false);
        let waits = watch::Sender::new(NetworkWait::default());
        let mut claims = std::pin::pin!(async { tokio::join!(networks.claim(&waits), networks.claim(&waits)) });
        let soon = tokio::time::timeout(CLAIM_INTERVAL * 3, &mut claims).await;
        assert!(soon.is_err(), "both wait");
        let why = waits.borrow().why().unwrap();
        assert!(why.contains("all 256 networks"), "{why}");
        assert!(waits.borrow().waited() >= CLAIM_INTERVAL * 2);
        locks.clear();
        let (one, other) = tokio::time::timeout(Duration::from_secs(20), claims).await.unwrap();
        for claimed in [one, other] {
            // By now the claim creates a network, which fails.
            let failure = claimed.map(|_| ()).unwrap_err();
            assert!(failure.message.contains("cannot start"), "{failure}");
        }
        assert_eq!(waits.borrow().why(), None);
    }
}
