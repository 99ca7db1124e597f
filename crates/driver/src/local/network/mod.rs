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
use std::time::{Duration, Instant};

use hybrid_cache_model::protocol::Identity;
use hybrid_cache_model::{Failure, FailureKind, Protection};
use tokio::sync::{Mutex, OnceCell, watch};

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
    /// Held by the one who looks for a network while others have all of them: the next ones wait behind, in order.
    turn: Mutex<()>,
}

/// Time between two looks for a network while others have all of them.
const LOOK_AGAIN: Duration = Duration::from_millis(250);
/// Longest wait for one: no task may run or prepare for so long.
const LONGEST_WAIT: Duration = Duration::from_secs(24 * 3600);

impl Networks {
    /// Networks whose slots are below the driver's cache folder. Nothing is made yet.
    pub fn new(config: Arc<LocalConfig>, is_root: bool) -> Networks {
        Networks {
            slots: Slots::new(&config, is_root.then_some(KEEPER)),
            config,
            status: OnceCell::new(),
            told: AtomicBool::new(false),
            turn: Mutex::default(),
        }
    }

    /// Which network tasks get. The first call finds out, by making one.
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

    /// The status, and the slot that the first call has claimed on the way. An error says why there is no slot although
    /// this machine may well have one: tasks do not share the network because of that.
    async fn settle(&self) -> Result<(NetworkStatus, Option<Claim>), Problem> {
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
                Err(problem) => return Err(problem),
            }
            Ok(own)
        });
        let found = found.await?.clone();
        Ok((found, first))
    }

    /// A network for one task. While others have all of them it waits for one, which `waits` is told.
    ///
    /// # Errors
    /// Tasks get a network of their own here, but there is none for this one.
    pub async fn claim(&self, waits: &watch::Sender<Wait>) -> Result<TaskNetwork, Failure> {
        let claim = match self.claim_now().await {
            Err(Problem::Full) => {
                waits.send_modify(Wait::begin);
                let waited = tokio::time::timeout(LONGEST_WAIT, self.claim_in_turn()).await;
                waits.send_modify(Wait::end);
                waited.unwrap_or(Err(Problem::Full))
            }
            claimed => claimed,
        };
        Ok(TaskNetwork {
            claim: claim.map_err(|problem| unavailable(problem.into()))?,
            runner: self.config.runner.clone(),
        })
    }

    async fn claim_now(&self) -> Result<Option<Claim>, Problem> {
        let (status, first) = self.settle().await?;
        match (status.actual, first) {
            (Network::Isolated, Some(claim)) => Ok(Some(claim)),
            (Network::Isolated, None) => self.slots.claim().await.map(Some),
            (Network::Shared | Network::None, _) => Ok(None),
        }
    }

    async fn claim_in_turn(&self) -> Result<Option<Claim>, Problem> {
        let _turn = self.turn.lock().await;
        loop {
            match self.claim_now().await {
                Err(Problem::Full) => tokio::time::sleep(LOOK_AGAIN).await,
                claimed => return claimed,
            }
        }
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

/// A task's waits for a network.
#[derive(Clone, Debug, Default)]
pub struct Wait {
    /// Those that are over.
    before: Duration,
    /// When the one began that goes on.
    since: Option<Instant>,
}

impl Wait {
    fn begin(&mut self) {
        self.since = Some(Instant::now());
    }

    /// It has one, or is let go of.
    pub fn end(&mut self) {
        self.before = self.waited();
        self.since = None;
    }

    /// How long it has waited in all.
    pub fn waited(&self) -> Duration {
        self.before + self.since.map(|since| since.elapsed()).unwrap_or_default()
    }

    /// What it waits for, if it does.
    pub fn why(&self) -> Option<String> {
        self.since.is_some().then(|| Problem::Full.into())
    }
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

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    #[tokio::test]
    async fn a_task_beyond_the_number_of_networks_waits_for_one() {
        let root = tempfile::tempdir().unwrap();
        let config = LocalConfig {
            root: root.path().to_owned(),
            // A network is not made in this test.
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
        let waits = watch::Sender::new(Wait::default());
        let mut claims = std::pin::pin!(async { tokio::join!(networks.claim(&waits), networks.claim(&waits)) });
        let soon = tokio::time::timeout(LOOK_AGAIN * 3, &mut claims).await;
        assert!(soon.is_err(), "both wait");
        let why = waits.borrow().why().unwrap();
        assert!(why.contains("all 256 networks"), "{why}");
        assert!(waits.borrow().waited() >= LOOK_AGAIN * 2);
        locks.clear();
        let (one, other) = tokio::time::timeout(Duration::from_secs(20), claims).await.unwrap();
        for claimed in [one, other] {
            // It is being made by now.
            let failure = claimed.map(|_| ()).unwrap_err();
            assert!(failure.message.contains("cannot start"), "{failure}");
        }
        assert_eq!(waits.borrow().why(), None);
    }
}
