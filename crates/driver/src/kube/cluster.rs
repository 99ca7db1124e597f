//! The thin layer that talks to the API server: bounded, repeated where that helps, and told in our own failures.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use hybrid_cache_model::{Failure, FailureKind};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use serde_json::json;
use tokio::sync::Semaphore;

use super::explain;
use super::job::{self, CancelFlag};
use super::names::{self, Attempt};
use super::retry::{PATIENCE, Refusal, Trouble, persist};
use super::workflow::{self, Workflow};
use super::workload::{Kind, Workload, explain_absent};

/// Requests that write, at one time: hundreds of tasks submitted at once are no attack on the API server.
const WRITES: usize = 16;

/// How long it may take to say whether one may look at it at all: somebody is waiting.
const CHECK: Duration = Duration::from_secs(10);

/// Pause before a quota that was full is tried again.
const ROOM_PAUSE: Duration = Duration::from_secs(2);

/// How long a workload may take to be made.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// While the cluster does not answer.
    pub answer: Duration,
    /// While the namespace's quota is full.
    pub room: Duration,
}

/// Why a workload was not made, or may not have been. The same one may be tried again.
#[derive(Clone, Debug)]
pub enum NotMade {
    /// It certainly was not: the cluster has no room now, or did not answer before it was asked for the workload.
    Certainly(Failure),
    /// The cluster was asked for it and did not answer.
    Perhaps(Failure),
    /// The cluster says no, and will say no again.
    Never(Failure),
}

impl NotMade {
    /// Why.
    pub fn failure(&self) -> &Failure {
        match self {
            NotMade::Certainly(failure) | NotMade::Perhaps(failure) | NotMade::Never(failure) => failure,
        }
    }

    /// Before the workload was asked for, for a reason that is no fault of the task, such as rights that are missing for a
    /// moment: it may be tried again.
    pub fn not_yet(failure: Failure) -> NotMade {
        NotMade::Certainly(Failure {
            kind: FailureKind::Cluster,
            ..failure
        })
    }

    /// Before the workload was asked for.
    pub fn before(failure: Failure) -> NotMade {
        match failure.kind {
            FailureKind::Cluster | FailureKind::Unschedulable => NotMade::Certainly(failure),
            _ => NotMade::Never(failure),
        }
    }
}

/// One namespace of a cluster.
pub struct Cluster {
    /// For log streams and watches.
    pub client: kube::Client,
    /// Its name.
    pub namespace: String,
    jobs: Api<Job>,
    workflows: Option<Api<Workflow>>,
    pods: Api<Pod>,
    secrets: Api<Secret>,
    writes: Semaphore,
    /// When it last did not answer.
    pub trouble: Arc<Trouble>,
}

impl Cluster {
    /// The namespace as `client` reaches it; with its Workflows where tasks run as such.
    pub fn new(client: kube::Client, namespace: &str, with_workflows: bool) -> Cluster {
        let workflows = || Api::namespaced_with(client.clone(), namespace, &workflow::resource());
        Cluster {
            workflows: with_workflows.then(workflows),
            jobs: Api::namespaced(client.clone(), namespace),
            pods: Api::namespaced(client.clone(), namespace),
            secrets: Api::namespaced(client.clone(), namespace),
            writes: Semaphore::new(WRITES),
            trouble: Arc::default(),
            namespace: namespace.to_owned(),
            client,
        }
    }

    /// The Workflows, where tasks run as such.
    pub fn workflows(&self) -> Option<&Api<Workflow>> {
        self.workflows.as_ref()
    }

    /// Asks whether the cluster answers and lets us look at Jobs, and at Workflows where tasks run as such.
    ///
    /// # Errors
    /// It does not; after a few seconds, for somebody is waiting.
    pub async fn check(&self) -> Result<(), Failure> {
        let what = format!("look at the Jobs of namespace {}", self.namespace);
        let params = ListParams::default().limit(1);
        let listed = self.read(&what, CHECK, || self.jobs.list_metadata(&params)).await;
        listed.map_err(|refusal| refusal.explain(&what))?;
        let Some(workflows) = &self.workflows else {
            return Ok(());
        };
        let what = format!("look at the Workflows of namespace {}", self.namespace);
        let listed = self.read(&what, CHECK, || workflows.list_metadata(&params)).await;
        listed.map(|_| ()).map_err(|refusal| match refusal.is_absent() {
            true => explain_absent(refusal.explain(&what)),
            false => refusal.explain(&what),
        })
    }

    /// True where the API server answers, whatever it says.
    pub async fn answers(&self) -> bool {
        // Version 0: from the API server's own memory.
        let params = ListParams::default().limit(1).at("0");
        match self.jobs.list_metadata(&params).await {
            Ok(_) => true,
            Err(kube::Error::Api(status)) => status.code < 500,
            Err(_) => false,
        }
    }

    /// Creates a Secret and then the workload that mounts it. Both may be there already, from an earlier try. Who cancels
    /// does not wait for room any more.
    ///
    /// # Errors
    /// The cluster refuses one of them or does not answer, or an object of that name is somebody else's.
    pub async fn create(
        &self,
        secret: &Secret,
        workload: &Workload,
        patience: Patience,
        cancel: &mut CancelFlag,
    ) -> Result<Workload, NotMade> {
        let began = tokio::time::Instant::now();
        loop {
            match self.create_both(secret, workload, patience.answer).await {
                Err(NotMade::Certainly(full))
                    if full.kind == FailureKind::Unschedulable && began.elapsed() < patience.room =>
                {
                    tokio::select! {
                        () = tokio::time::sleep(ROOM_PAUSE) => {}
                        () = job::cancelled(cancel) => return Err(NotMade::Certainly(full)),
                    }
                }
                made => return made,
            }
        }
    }

    async fn create_both(&self, secret: &Secret, workload: &Workload, patience: Duration) -> Result<Workload, NotMade> {
        let name = workload.name();
        let params = PostParams::default();
        self.create_secret(secret, patience).await.map_err(NotMade::before)?;
        let what = format!(
            "create the {} {name} in namespace {}",
            workload.kind().name(),
            self.namespace
        );
        let made = match workload {
            Workload::Job(job) => self
                .write(&what, patience, || self.jobs.create(&params, job))
                .await
                .map(Workload::from),
            Workload::Workflow(workflow) => {
                let workflows = self.known_workflows().map_err(NotMade::Never)?;
                let made = self
                    .write(&what, patience, || workflows.create(&params, workflow))
                    .await;
                made.map(Workload::from)
            }
        };
        match made {
            Ok(made) => Ok(made),
            Err(refusal) if refusal.is_taken() => self.taken(workload, patience).await,
            Err(Refusal::Unanswered(failure)) => Err(NotMade::Perhaps(failure)),
            Err(refusal) => {
                // It is no use without its workload; the sweep takes it where this fails.
                let _ = self.secrets.delete(name, &DeleteParams::default()).await;
                Err(NotMade::before(full_or(refusal, &what)))
            }
        }
    }

    fn known_workflows(&self) -> Result<&Api<Workflow>, Failure> {
        let missing = || Failure::new(FailureKind::Internal, "this driver was not told to use Workflows");
        self.workflows.as_ref().ok_or_else(missing)
    }

    /// Creates a Secret, which may be there already.
    ///
    /// # Errors
    /// The cluster refuses it or does not answer.
    pub async fn create_secret(&self, secret: &Secret, patience: Duration) -> Result<(), Failure> {
        let what = format!(
            "create the Secret {} in namespace {}",
            secret.name_any(),
            self.namespace
        );
        let params = PostParams::default();
        match self
            .write(&what, patience, || self.secrets.create(&params, secret))
            .await
        {
            Err(refusal) if !refusal.is_taken() => Err(full_or(refusal, &what)),
            _ => Ok(()),
        }
    }

    /// The workload that has the name already: ours where it carries the same labels.
    async fn taken(&self, ours: &Workload, patience: Duration) -> Result<Workload, NotMade> {
        let (kind, name) = (ours.kind(), ours.name());
        let there = self.workload(kind, name, patience).await.map_err(NotMade::Perhaps)?;
        let same = |there: &Workload| there.label(names::TASK) == ours.label(names::TASK);
        there.filter(same).ok_or_else(|| {
            let message = format!(
                "a {} {name} that this driver did not make is in namespace {}",
                kind.name(),
                self.namespace
            );
            NotMade::Never(Failure::new(FailureKind::Refused, message).hint("use another id"))
        })
    }

    /// Makes a Secret go when its workload goes.
    ///
    /// # Errors
    /// The cluster does not let us; the sweep takes it then.
    pub async fn own(&self, workload: &Workload, patience: Duration) -> Result<(), Failure> {
        let name = workload.name();
        let patch = Patch::Merge(json!({"metadata": {"ownerReferences": [workload.as_owner()]}}));
        let what = format!("bind the Secret {name} to its {}", workload.kind().name());
        let params = PatchParams::default();
        let patched = self.write(&what, patience, || self.secrets.patch_metadata(name, &params, &patch));
        absent(patched.await, &what).map(|_| ())
    }

    /// Deletes a workload; what belongs to it follows. Absent ones are a success.
    ///
    /// # Errors
    /// The cluster does not let us, or does not answer.
    pub async fn delete(&self, kind: Kind, name: &str, patience: Duration) -> Result<(), Failure> {
        let what = format!("delete the {} {name}", kind.name());
        let params = DeleteParams::background();
        let answer = match kind {
            Kind::Job => self
                .write(&what, patience, || self.jobs.delete(name, &params))
                .await
                .map(|_| ()),
            Kind::Workflow => {
                let workflows = self.known_workflows()?;
                self.write(&what, patience, || workflows.delete(name, &params))
                    .await
                    .map(|_| ())
            }
        };
        absent(answer, &what).map(|_| ())
    }

    /// Deletes a pod at once, with its grace, rather than when the garbage collector comes to it.
    ///
    /// # Errors
    /// The cluster does not let us, or does not answer.
    pub async fn delete_pod(&self, name: &str, patience: Duration) -> Result<(), Failure> {
        let what = format!("delete the pod {name}");
        let params = DeleteParams::default();
        absent(
            self.write(&what, patience, || self.pods.delete(name, &params)).await,
            &what,
        )
        .map(|_| ())
    }

    /// Deletes a Secret. Absent ones are a success.
    ///
    /// # Errors
    /// The cluster does not let us, or does not answer.
    pub async fn delete_secret(&self, name: &str) -> Result<(), Failure> {
        let what = format!("delete the Secret {name}");
        let params = DeleteParams::default();
        absent(
            self.write(&what, PATIENCE, || self.secrets.delete(name, &params)).await,
            &what,
        )
        .map(|_| ())
    }

    /// A request that writes, few at a time.
    async fn write<T, F: Future<Output = kube::Result<T>>>(
        &self,
        what: &str,
        patience: Duration,
        ask: impl Fn() -> F,
    ) -> Result<T, Refusal> {
        persist(&self.trouble, Some(&self.writes), what, patience, ask).await
    }

    async fn read<T, F: Future<Output = kube::Result<T>>>(
        &self,
        what: &str,
        patience: Duration,
        ask: impl Fn() -> F,
    ) -> Result<T, Refusal> {
        persist(&self.trouble, None, what, patience, ask).await
    }

    /// One workload, if it is there.
    ///
    /// # Errors
    /// The cluster does not let us, or does not answer.
    pub async fn workload(&self, kind: Kind, name: &str, patience: Duration) -> Result<Option<Workload>, Failure> {
        let what = format!("look at the {} {name}", kind.name());
        let answer = match kind {
            Kind::Job => self
                .read(&what, patience, || self.jobs.get(name))
                .await
                .map(Workload::from),
            Kind::Workflow => {
                let workflows = self.known_workflows()?;
                let answer = self.read(&what, patience, || workflows.get(name)).await;
                answer.map(Workload::from)
            }
        };
        absent(answer, &what)
    }

    /// The kinds of workload that this driver makes: tasks may be either, questions about the volumes are Jobs.
    pub fn kinds(&self) -> &'static [Kind] {
        match self.workflows {
            Some(_) => &[Kind::Job, Kind::Workflow],
            None => &[Kind::Job],
        }
    }

    /// The latest workload of a task, of whichever kind, and which of them it is. Their names are known, so that no other
    /// task is looked at.
    ///
    /// # Errors
    /// The cluster does not let us, or does not answer.
    pub async fn latest(&self, id: &str) -> Result<Option<(Attempt, Workload)>, Failure> {
        let one = async |kind: Kind, attempt: Attempt| {
            let found = self.workload(kind, &attempt.job(id), PATIENCE).await?;
            let ours = found.filter(|found| found.label(names::TASK).is_some_and(|task| task == id));
            Ok::<_, Failure>(ours.map(|found| (attempt, found)))
        };
        let all = async |kind: Kind| {
            let [first, prepared, stale] = Attempt::ALL;
            let (first, prepared, stale) = tokio::try_join!(one(kind, first), one(kind, prepared), one(kind, stale))?;
            Ok::<_, Failure>(stale.or(prepared).or(first))
        };
        let workflow = async {
            match self.workflows {
                Some(_) => all(Kind::Workflow).await,
                None => Ok(None),
            }
        };
        let (job, workflow) = tokio::try_join!(all(Kind::Job), workflow)?;
        Ok(workflow.or(job))
    }

    /// The data of a Secret; empty where there is none.
    ///
    /// # Errors
    /// The cluster does not let us, or does not answer.
    pub async fn secret(&self, name: &str) -> Result<BTreeMap<String, Vec<u8>>, Failure> {
        let what = format!("read the Secret {name}");
        let secret = absent(self.read(&what, PATIENCE, || self.secrets.get(name)).await, &what)?;
        let data = secret.and_then(|secret| secret.data).unwrap_or_default();
        Ok(data.into_iter().map(|(key, value)| (key, value.0)).collect())
    }

    /// The pods of a workload.
    ///
    /// # Errors
    /// The cluster does not let us, or does not answer.
    pub async fn pods(&self, kind: Kind, name: &str, patience: Duration) -> Result<Vec<Pod>, Failure> {
        let what = format!("look at the pods of the {} {name}", kind.name());
        let params = ListParams::default().labels(&format!("{}={name}", kind.pod_label()));
        let list = self.read(&what, patience, || self.pods.list(&params)).await;
        list.map(|list| list.items).map_err(|refusal| refusal.explain(&what))
    }

    /// All Secrets of this driver, without their data.
    ///
    /// # Errors
    /// The cluster does not let us, or does not answer.
    pub async fn secrets(&self) -> Result<Vec<kube::core::PartialObjectMeta<Secret>>, Failure> {
        let what = "look at the Secrets of tasks";
        let params = ListParams::default().labels(&names::selector());
        let list = self.read(what, PATIENCE, || self.secrets.list_metadata(&params)).await;
        list.map(|list| list.items).map_err(|refusal| refusal.explain(what))
    }
}

/// What a refusal means to whoever wants to make something: a quota that is full for now is no word for good.
fn full_or(refusal: Refusal, what: &str) -> Failure {
    match refusal {
        Refusal::Answered(status) if status.code == 403 && explain::is_no_word_for_good(&status.message) => {
            let message = format!("cannot {what} yet: {}", status.message);
            Failure::new(FailureKind::Unschedulable, message)
                .hint("it waits until others have ended; or have the namespace's ResourceQuota raised")
        }
        refusal => refusal.explain(what),
    }
}

fn absent<T>(answer: Result<T, Refusal>, what: &str) -> Result<Option<T>, Failure> {
    match answer {
        Ok(found) => Ok(Some(found)),
        Err(refusal) if refusal.is_absent() => Ok(None),
        Err(refusal) => Err(refusal.explain(what)),
    }
}
