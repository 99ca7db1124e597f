//! One namespace of a cluster: each request is bounded, retried if that helps, and explained if it fails.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use hybrid_cache_model::{Failure, FailureKind};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams, Preconditions};
use serde_json::json;
use tokio::sync::Semaphore;

use crate::cancel::{CancelFlag, cancelled};
use crate::kube::api::create_error::CreateError;
use crate::kube::api::retry::{LastOutage, OUTAGE_TIMEOUT, Refusal, persist};
use crate::kube::api::temporary;
use crate::kube::names::{self, Attempt};
use crate::kube::workload::kind::WorkloadKind;
use crate::kube::workload::object::Workload;
use crate::kube::workload::workflow::{self, Workflow};

/// Requests that write at one time, so that hundreds of tasks submitted at once do not flood the API server.
const MAX_WRITES: usize = 16;
/// How long the first check of the cluster may take. Someone is waiting for it.
const CHECK_TIMEOUT: Duration = Duration::from_secs(10);
/// Pause before another try while a quota is full.
const ROOM_PAUSE: Duration = Duration::from_secs(2);

/// How long creating a workload may take.
#[derive(Clone, Copy, Debug)]
pub struct CreateTimeouts {
    /// While the cluster does not answer.
    pub answer: Duration,
    /// While the namespace's quota is full; 0 does not wait.
    pub room: Duration,
}

/// One namespace of a cluster.
pub struct Cluster {
    /// The client, for log streams and watches.
    pub client: kube::Client,
    /// The namespace's name.
    pub namespace: String,
    jobs: Api<Job>,
    workflows: Option<Api<Workflow>>,
    /// Its pods.
    pub pods: Api<Pod>,
    secrets: Api<Secret>,
    writes: Semaphore,
    /// When the API server last did not answer.
    pub last_outage: Arc<LastOutage>,
}

impl Cluster {
    /// The namespace as `client` reaches it; with its Workflows if tasks run as Workflows.
    pub fn new(client: kube::Client, namespace: &str, with_workflows: bool) -> Cluster {
        let workflows = || Api::namespaced_with(client.clone(), namespace, &workflow::resource());
        Cluster {
            workflows: with_workflows.then(workflows),
            jobs: Api::namespaced(client.clone(), namespace),
            pods: Api::namespaced(client.clone(), namespace),
            secrets: Api::namespaced(client.clone(), namespace),
            writes: Semaphore::new(MAX_WRITES),
            last_outage: Arc::default(),
            namespace: namespace.to_owned(),
            client,
        }
    }

    /// The Workflows; `None` if tasks run as Jobs.
    pub fn workflows(&self) -> Option<&Api<Workflow>> {
        self.workflows.as_ref()
    }

    /// Checks that the cluster answers and lets the driver list Jobs, and Workflows if tasks run as Workflows.
    ///
    /// # Errors
    /// It does not, or takes longer than ten seconds.
    pub async fn check(&self) -> Result<(), Failure> {
        let what = format!("look at the Jobs of namespace {}", self.namespace);
        let params = ListParams::default().limit(1);
        let listed = self
            .read(&what, CHECK_TIMEOUT, || self.jobs.list_metadata(&params))
            .await;
        listed.map_err(|refusal| refusal.explain(&what))?;
        let Some(workflows) = &self.workflows else {
            return Ok(());
        };
        let what = format!("look at the Workflows of namespace {}", self.namespace);
        let listed = self
            .read(&what, CHECK_TIMEOUT, || workflows.list_metadata(&params))
            .await;
        listed.map(|_| ()).map_err(|refusal| {
            if refusal.is_absent() {
                workflow::not_installed(refusal.explain(&what))
            } else {
                refusal.explain(&what)
            }
        })
    }

    /// True if the API server answers, whatever it says.
    pub async fn answers(&self) -> bool {
        // Version 0 is answered from the API server's own memory.
        let params = ListParams::default().limit(1).at("0");
        match self.jobs.list_metadata(&params).await {
            Ok(_) => true,
            Err(kube::Error::Api(status)) => status.code < 500,
            Err(_) => false,
        }
    }

    /// Creates a Secret and then the workload that mounts it. Both may exist already, from an earlier try. Cancelling ends
    /// the wait for room.
    ///
    /// # Errors
    /// The cluster refuses one of them or does not answer, or another program owns an object of that name.
    pub async fn create(
        &self,
        secret: &Secret,
        workload: &Workload,
        timeouts: CreateTimeouts,
        cancel: &mut CancelFlag,
    ) -> Result<Workload, CreateError> {
        let began = tokio::time::Instant::now();
        loop {
            match self.create_both(secret, workload, timeouts.answer).await {
                Err(CreateError::NotCreated(full))
                    if full.kind == FailureKind::Unschedulable && began.elapsed() < timeouts.room =>
                {
                    tokio::select! {
                        () = tokio::time::sleep(ROOM_PAUSE) => {}
                        () = cancelled(cancel) => return Err(CreateError::NotCreated(full)),
                    }
                }
                created => return created,
            }
        }
    }

    async fn create_both(
        &self,
        secret: &Secret,
        workload: &Workload,
        timeout: Duration,
    ) -> Result<Workload, CreateError> {
        let name = workload.name();
        let params = PostParams::default();
        self.create_secret(secret, timeout).await?;
        let what = format!(
            "create the {} {name} in namespace {}",
            workload.kind().name(),
            self.namespace
        );
        let created = match workload {
            Workload::Job(job) => self
                .write(&what, timeout, || self.jobs.create(&params, job))
                .await
                .map(Workload::from),
            Workload::Workflow(workflow) => {
                let workflows = self.required_workflows().map_err(CreateError::Refused)?;
                let created = self.write(&what, timeout, || workflows.create(&params, workflow));
                created.await.map(Workload::from)
            }
            Workload::Pod(_) => {
                let message = "a standby pod is claimed, not created";
                return Err(CreateError::Refused(Failure::new(FailureKind::Internal, message)));
            }
        };
        match created {
            Ok(created) => Ok(created),
            Err(refusal) if refusal.is_taken() => self.existing(workload, timeout).await,
            Err(Refusal::Unanswered(failure)) => Err(CreateError::MaybeCreated(failure)),
            Err(refusal) => {
                // The Secret is useless without its workload. If this fails, the sweep deletes it.
                let _ = self.secrets.delete(name, &DeleteParams::default()).await;
                Err(CreateError::from(quota_full_or(refusal, &what)))
            }
        }
    }

    fn required_workflows(&self) -> Result<&Api<Workflow>, Failure> {
        let missing = || Failure::new(FailureKind::Internal, "this driver is not configured for Workflows");
        self.workflows.as_ref().ok_or_else(missing)
    }

    /// Creates a Secret, which may exist already.
    ///
    /// # Errors
    /// The cluster refuses it or does not answer.
    pub async fn create_secret(&self, secret: &Secret, timeout: Duration) -> Result<(), Failure> {
        let what = format!(
            "create the Secret {} in namespace {}",
            secret.name_any(),
            self.namespace
        );
        let params = PostParams::default();
        match self
            .write(&what, timeout, || self.secrets.create(&params, secret))
            .await
        {
            Err(refusal) if !refusal.is_taken() => Err(quota_full_or(refusal, &what)),
            _ => Ok(()),
        }
    }

    /// The workload that has the name already, if it has the same task label.
    async fn existing(&self, ours: &Workload, timeout: Duration) -> Result<Workload, CreateError> {
        let (kind, name) = (ours.kind(), ours.name());
        let existing = self.workload(kind, name, timeout).await;
        let existing = existing.map_err(CreateError::MaybeCreated)?;
        let is_same = |existing: &Workload| existing.label(names::TASK) == ours.label(names::TASK);
        existing.filter(is_same).ok_or_else(|| {
            let message = format!(
                "namespace {} has a {} {name} that this driver did not create",
                self.namespace,
                kind.name()
            );
            CreateError::Refused(Failure::new(FailureKind::Refused, message).hint("use another id"))
        })
    }

    /// Sets a workload as the owner of its Secret, so that Kubernetes deletes the Secret with it.
    ///
    /// # Errors
    /// The cluster denies it; the sweep deletes the Secret then.
    pub async fn own(&self, workload: &Workload, timeout: Duration) -> Result<(), Failure> {
        let name = workload.name();
        let patch = Patch::Merge(json!({"metadata": {"ownerReferences": [workload.as_owner()]}}));
        let what = format!("bind the Secret {name} to its {}", workload.kind().name());
        let params = PatchParams::default();
        let patched = self.write(&what, timeout, || self.secrets.patch_metadata(name, &params, &patch));
        absent(patched.await, &what).map(|_| ())
    }

    /// Deletes a workload with everything that belongs to it. Succeeds if there is none.
    ///
    /// # Errors
    /// The cluster denies access, or does not answer.
    pub async fn delete(&self, kind: WorkloadKind, name: &str, timeout: Duration) -> Result<(), Failure> {
        let what = format!("delete the {} {name}", kind.name());
        let params = DeleteParams::background();
        let answer = match kind {
            WorkloadKind::Job => self
                .write(&what, timeout, || self.jobs.delete(name, &params))
                .await
                .map(|_| ()),
            WorkloadKind::Workflow => {
                let workflows = self.required_workflows()?;
                self.write(&what, timeout, || workflows.delete(name, &params))
                    .await
                    .map(|_| ())
            }
            WorkloadKind::Pod => return self.delete_pod(name, timeout).await,
        };
        absent(answer, &what).map(|_| ())
    }

    /// Deletes a pod at once, with its grace period, rather than when the garbage collector reaches it.
    ///
    /// # Errors
    /// The cluster denies access, or does not answer.
    pub async fn delete_pod(&self, name: &str, timeout: Duration) -> Result<(), Failure> {
        let what = format!("delete the pod {name}");
        let params = DeleteParams::default();
        absent(
            self.write(&what, timeout, || self.pods.delete(name, &params)).await,
            &what,
        )
        .map(|_| ())
    }

    /// Deletes a pod if it is still as it was seen. True if it was, and so will never be what it was not then.
    ///
    /// # Errors
    /// The cluster denies access, or does not answer.
    pub async fn delete_unchanged(&self, pod: &Pod, timeout: Duration) -> Result<bool, Failure> {
        let name = pod.name_any();
        let what = format!("delete the pod {name}");
        let params = DeleteParams {
            preconditions: Some(Preconditions {
                resource_version: pod.metadata.resource_version.clone(),
                uid: pod.metadata.uid.clone(),
            }),
            ..DeleteParams::default()
        };
        // A conflict is an answer here, and no reason to try again.
        let ask = async || match self.pods.delete(&name, &params).await {
            Ok(_) => Ok(true),
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(false),
            Err(error) => Err(error),
        };
        let deleted = self.write(&what, timeout, ask).await;
        deleted.map_err(|refusal| refusal.explain(&what))
    }

    /// Deletes a Secret. Succeeds if there is none.
    ///
    /// # Errors
    /// The cluster denies access, or does not answer.
    pub async fn delete_secret(&self, name: &str) -> Result<(), Failure> {
        let what = format!("delete the Secret {name}");
        let params = DeleteParams::default();
        absent(
            self.write(&what, OUTAGE_TIMEOUT, || self.secrets.delete(name, &params))
                .await,
            &what,
        )
        .map(|_| ())
    }

    /// Sends a request that writes. Only a few are sent at one time.
    async fn write<T, F: Future<Output = kube::Result<T>>>(
        &self,
        what: &str,
        timeout: Duration,
        ask: impl Fn() -> F,
    ) -> Result<T, Refusal> {
        persist(&self.last_outage, Some(&self.writes), what, timeout, ask).await
    }

    async fn read<T, F: Future<Output = kube::Result<T>>>(
        &self,
        what: &str,
        timeout: Duration,
        ask: impl Fn() -> F,
    ) -> Result<T, Refusal> {
        persist(&self.last_outage, None, what, timeout, ask).await
    }

    /// One workload, if it exists.
    ///
    /// # Errors
    /// The cluster denies access, or does not answer.
    pub async fn workload(
        &self,
        kind: WorkloadKind,
        name: &str,
        timeout: Duration,
    ) -> Result<Option<Workload>, Failure> {
        let what = format!("look at the {} {name}", kind.name());
        let answer = match kind {
            WorkloadKind::Job => self
                .read(&what, timeout, || self.jobs.get(name))
                .await
                .map(Workload::from),
            WorkloadKind::Workflow => {
                let workflows = self.required_workflows()?;
                let answer = self.read(&what, timeout, || workflows.get(name)).await;
                answer.map(Workload::from)
            }
            WorkloadKind::Pod => {
                let found = self.pods(kind, name, timeout).await?;
                return Ok(found.into_iter().next().map(Workload::from));
            }
        };
        absent(answer, &what)
    }

    /// The kinds of workload that this driver creates. Tasks may be either; maintenance is always a Job.
    pub fn kinds(&self) -> &'static [WorkloadKind] {
        match self.workflows {
            Some(_) => &[WorkloadKind::Job, WorkloadKind::Workflow],
            None => &[WorkloadKind::Job],
        }
    }

    /// The latest Job or Workflow of a task, and which attempt it is. The driver knows the names, so it reads no
    /// other task's objects.
    ///
    /// # Errors
    /// The cluster denies access, or does not answer.
    pub async fn latest(&self, id: &str) -> Result<Option<(Attempt, Workload)>, Failure> {
        let one = async |kind: WorkloadKind, attempt: Attempt| {
            let found = self.workload(kind, &attempt.workload_name(id), OUTAGE_TIMEOUT).await?;
            let ours = found.filter(|found| found.label(names::TASK).is_some_and(|task| task == id));
            Ok::<_, Failure>(ours.map(|found| (attempt, found)))
        };
        let all = async |kind: WorkloadKind| {
            let [first, prepared, moved, building, stale] = Attempt::ALL.map(|attempt| one(kind, attempt));
            let all = tokio::try_join!(first, prepared, moved, building, stale)?;
            let (first, prepared, moved, building, stale) = all;
            Ok::<_, Failure>(stale.or(building).or(moved).or(prepared).or(first))
        };
        let workflow = async {
            match self.workflows {
                Some(_) => all(WorkloadKind::Workflow).await,
                None => Ok(None),
            }
        };
        let (job, workflow) = tokio::try_join!(all(WorkloadKind::Job), workflow)?;
        Ok(workflow.or(job))
    }

    /// The data of a Secret; empty if there is none.
    ///
    /// # Errors
    /// The cluster denies access, or does not answer.
    pub async fn secret(&self, name: &str) -> Result<BTreeMap<String, Vec<u8>>, Failure> {
        let what = format!("read the Secret {name}");
        let secret = absent(self.read(&what, OUTAGE_TIMEOUT, || self.secrets.get(name)).await, &what)?;
        let data = secret.and_then(|secret| secret.data).unwrap_or_default();
        Ok(data.into_iter().map(|(key, value)| (key, value.0)).collect())
    }

    /// The pods of a workload.
    ///
    /// # Errors
    /// The cluster denies access, or does not answer.
    pub async fn pods(&self, kind: WorkloadKind, name: &str, timeout: Duration) -> Result<Vec<Pod>, Failure> {
        let what = format!("look at the pods of the {} {name}", kind.name());
        let params = match kind {
            WorkloadKind::Pod => ListParams::default().fields(&format!("metadata.name={name}")),
            WorkloadKind::Job | WorkloadKind::Workflow => {
                ListParams::default().labels(&format!("{}={name}", kind.pod_label()))
            }
        };
        let list = self.read(&what, timeout, || self.pods.list(&params)).await;
        list.map(|list| list.items).map_err(|refusal| refusal.explain(&what))
    }

    /// All Secrets of this driver, without their data.
    ///
    /// # Errors
    /// The cluster denies access, or does not answer.
    pub async fn secrets(&self) -> Result<Vec<kube::core::PartialObjectMeta<Secret>>, Failure> {
        let what = "look at the Secrets of tasks";
        let params = ListParams::default().labels(&names::selector());
        let list = self
            .read(what, OUTAGE_TIMEOUT, || self.secrets.list_metadata(&params))
            .await;
        list.map(|list| list.items).map_err(|refusal| refusal.explain(what))
    }
}

/// Explains a refusal to create something. A quota that is full for now is not a final refusal.
fn quota_full_or(refusal: Refusal, what: &str) -> Failure {
    match refusal {
        Refusal::Answered(status) if status.code == 403 && temporary::is_temporary(&status.message) => {
            let message = format!("cannot {what} yet: {}", status.message);
            Failure::new(FailureKind::Unschedulable, message)
                .hint("the driver retries until other tasks have ended; or raise the namespace's ResourceQuota")
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
