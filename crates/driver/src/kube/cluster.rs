//! The thin layer that talks to the API server: bounded, repeated where that helps, and told in our own failures.

use std::collections::BTreeMap;
use std::time::Duration;

use hybrid_cache_model::{Failure, FailureKind};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use serde_json::json;
use tokio::sync::Semaphore;

use super::names;
use super::render;
use super::retry::{PATIENCE, Refusal, persist};

/// Requests that write, at one time: hundreds of tasks submitted at once are no attack on the API server.
const WRITES: usize = 16;

/// One namespace of a cluster.
pub struct Cluster {
    /// For log streams and watches.
    pub client: kube::Client,
    /// Its name.
    pub namespace: String,
    jobs: Api<Job>,
    pods: Api<Pod>,
    secrets: Api<Secret>,
    writes: Semaphore,
}

impl Cluster {
    /// The namespace as `client` reaches it.
    pub fn new(client: kube::Client, namespace: &str) -> Cluster {
        Cluster {
            jobs: Api::namespaced(client.clone(), namespace),
            pods: Api::namespaced(client.clone(), namespace),
            secrets: Api::namespaced(client.clone(), namespace),
            writes: Semaphore::new(WRITES),
            namespace: namespace.to_owned(),
            client,
        }
    }

    /// Asks whether the cluster answers and lets us look at Jobs.
    ///
    /// # Errors
    /// It does not; after a few seconds, for somebody is waiting.
    pub async fn check(&self) -> Result<(), Failure> {
        let what = format!("look at the Jobs of namespace {}", self.namespace);
        let params = ListParams::default().limit(1);
        let listed = persist(&what, Duration::from_secs(10), || self.jobs.list_metadata(&params)).await;
        listed.map(|_| ()).map_err(|refusal| refusal.explain(&what))
    }

    /// Creates a Secret and then the Job that mounts it. Both may be there already, from an earlier try.
    ///
    /// # Errors
    /// The cluster refuses one of them or does not answer, or an object of that name is somebody else's.
    pub async fn create(&self, secret: &Secret, job: &Job) -> Result<Job, Failure> {
        let name = job.name_any();
        let params = PostParams::default();
        self.create_secret(secret).await?;
        let what = format!("create the Job {name} in namespace {}", self.namespace);
        match self.write(&what, || self.jobs.create(&params, job)).await {
            Ok(job) => Ok(job),
            Err(refusal) if refusal.is_taken() => self.taken(&name, job).await,
            Err(refusal) => {
                // It is no use without its Job; the sweep takes it where this fails.
                let _ = self.secrets.delete(&name, &DeleteParams::default()).await;
                Err(refusal.explain(&what))
            }
        }
    }

    /// Creates a Secret, which may be there already.
    ///
    /// # Errors
    /// The cluster refuses it or does not answer.
    pub async fn create_secret(&self, secret: &Secret) -> Result<(), Failure> {
        let what = format!(
            "create the Secret {} in namespace {}",
            secret.name_any(),
            self.namespace
        );
        let params = PostParams::default();
        match self.write(&what, || self.secrets.create(&params, secret)).await {
            Err(refusal) if !refusal.is_taken() => Err(refusal.explain(&what)),
            _ => Ok(()),
        }
    }

    /// The Job that has the name already: ours where it carries the same labels.
    async fn taken(&self, name: &str, ours: &Job) -> Result<Job, Failure> {
        let there = self.job(name).await?;
        let same = |there: &Job| there.labels().get(names::TASK) == ours.labels().get(names::TASK);
        there.filter(same).ok_or_else(|| {
            let message = format!(
                "a Job {name} that this driver did not make is in namespace {}",
                self.namespace
            );
            Failure::new(FailureKind::Refused, message).hint("use another id")
        })
    }

    /// Makes a Secret go when its Job goes.
    ///
    /// # Errors
    /// The cluster does not let us; the sweep takes it then.
    pub async fn own(&self, job: &Job) -> Result<(), Failure> {
        let name = job.name_any();
        let owner = render::owner(&name, &job.uid().unwrap_or_default());
        let patch = Patch::Merge(json!({"metadata": {"ownerReferences": [owner]}}));
        let what = format!("bind the Secret {name} to its Job");
        let params = PatchParams::default();
        let patched = self.write(&what, || self.secrets.patch_metadata(&name, &params, &patch));
        absent(patched.await, &what).map(|_| ())
    }

    /// Deletes a Job; what belongs to it follows. Absent ones are a success.
    ///
    /// # Errors
    /// The cluster does not let us, or does not answer.
    pub async fn delete_job(&self, name: &str) -> Result<(), Failure> {
        let what = format!("delete the Job {name}");
        let params = DeleteParams::background();
        absent(self.write(&what, || self.jobs.delete(name, &params)).await, &what).map(|_| ())
    }

    /// Deletes a pod at once, with its grace, rather than when the garbage collector comes to it.
    ///
    /// # Errors
    /// The cluster does not let us, or does not answer.
    pub async fn delete_pod(&self, name: &str) -> Result<(), Failure> {
        let what = format!("delete the pod {name}");
        let params = DeleteParams::default();
        absent(self.write(&what, || self.pods.delete(name, &params)).await, &what).map(|_| ())
    }

    /// Deletes a Secret. Absent ones are a success.
    ///
    /// # Errors
    /// The cluster does not let us, or does not answer.
    pub async fn delete_secret(&self, name: &str) -> Result<(), Failure> {
        let what = format!("delete the Secret {name}");
        let params = DeleteParams::default();
        absent(self.write(&what, || self.secrets.delete(name, &params)).await, &what).map(|_| ())
    }

    /// A request that writes, few at a time. The place in the queue is given up between tries, so that those who are
    /// refused do not keep the others waiting.
    async fn write<T, F: Future<Output = kube::Result<T>>>(
        &self,
        what: &str,
        ask: impl Fn() -> F,
    ) -> Result<T, Refusal> {
        let one = || async {
            // The semaphore is never closed, so this only waits.
            let _place = self.writes.acquire().await;
            ask().await
        };
        persist(what, PATIENCE, one).await
    }

    /// One Job, if it is there.
    ///
    /// # Errors
    /// The cluster does not let us, or does not answer.
    pub async fn job(&self, name: &str) -> Result<Option<Job>, Failure> {
        let what = format!("look at the Job {name}");
        absent(persist(&what, PATIENCE, || self.jobs.get(name)).await, &what)
    }

    /// The Jobs of one task.
    ///
    /// # Errors
    /// The cluster does not let us, or does not answer.
    pub async fn jobs_of(&self, id: &str) -> Result<Vec<Job>, Failure> {
        let what = format!("look for the Jobs of the task {id}");
        let params = ListParams::default().labels(&names::selector_of(id));
        let list = persist(&what, PATIENCE, || self.jobs.list(&params)).await;
        list.map(|list| list.items).map_err(|refusal| refusal.explain(&what))
    }

    /// The data of a Secret; empty where there is none.
    ///
    /// # Errors
    /// The cluster does not let us, or does not answer.
    pub async fn secret(&self, name: &str) -> Result<BTreeMap<String, Vec<u8>>, Failure> {
        let what = format!("read the Secret {name}");
        let secret = absent(persist(&what, PATIENCE, || self.secrets.get(name)).await, &what)?;
        let data = secret.and_then(|secret| secret.data).unwrap_or_default();
        Ok(data.into_iter().map(|(key, value)| (key, value.0)).collect())
    }

    /// The pods of a Job.
    ///
    /// # Errors
    /// The cluster does not let us, or does not answer.
    pub async fn pods(&self, job: &str) -> Result<Vec<Pod>, Failure> {
        let what = format!("look at the pods of the Job {job}");
        let params = ListParams::default().labels(&format!("{}={job}", names::JOB_NAME));
        let list = persist(&what, PATIENCE, || self.pods.list(&params)).await;
        list.map(|list| list.items).map_err(|refusal| refusal.explain(&what))
    }

    /// All Secrets of this driver, without their data.
    ///
    /// # Errors
    /// The cluster does not let us, or does not answer.
    pub async fn secrets(&self) -> Result<Vec<kube::core::PartialObjectMeta<Secret>>, Failure> {
        let what = "look at the Secrets of tasks";
        let params = ListParams::default().labels(&names::selector());
        let list = persist(what, PATIENCE, || self.secrets.list_metadata(&params)).await;
        list.map(|list| list.items).map_err(|refusal| refusal.explain(what))
    }
}

fn absent<T>(answer: Result<T, Refusal>, what: &str) -> Result<Option<T>, Failure> {
    match answer {
        Ok(found) => Ok(Some(found)),
        Err(refusal) if refusal.is_absent() => Ok(None),
        Err(refusal) => Err(refusal.explain(what)),
    }
}
