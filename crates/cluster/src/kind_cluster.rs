//! A kind cluster of ours: observes, creates, starts and recreates it.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::future::try_join_all;
use hybrid_cache_image::docker::{Container, Engine};
use hybrid_cache_image::node_image;
use hybrid_cache_tools::{Checkout, Error, ErrorContext, Result, Steps, failed};
use tokio::time::timeout;

use crate::api::ClusterApi;
use crate::kind_cli::{Create, KindCli, start_node};
use crate::nodes::Nodes;
use crate::options::{RecreatePolicy, UpOptions};
use crate::plan::{self, Decision, NodeContainer, Planned, WorkerRequest};
use crate::state::{Record, Stage, StateFolder};
use crate::{connection, contents, manifests, node, node_archive, volume_sets};

/// Longest time until a node is Ready after kind has ended or after the node was started.
const READY_TIMEOUT: Duration = Duration::from_secs(180);
/// State of a container that runs.
const RUNNING: &str = "running";
/// Longest wait for another `up` or `down` of the same cluster.
const LOCK_TIMEOUT: Duration = Duration::from_secs(1200);

/// A kind cluster of this machine, existing or not. Its lock keeps other programs from creating or deleting it meanwhile.
pub struct KindCluster {
    /// Name of the cluster.
    pub name: String,
    /// The Docker engine.
    pub engine: Engine,
    /// The `kind` program.
    pub kind: KindCli,
    /// The folder in which this machine keeps the cluster's state.
    pub state: StateFolder,
    /// The recorded state of the cluster.
    pub record: Option<Record>,
    /// Containers of the cluster's nodes, as one.
    pub container: Option<NodeContainer>,
    /// The same one by one: the control plane, then the workers.
    nodes: Vec<Container>,
    /// Ids of the containers that run tasks; the one at place k has set k.
    task_nodes: Vec<String>,
    /// Lock that is held until this value is dropped.
    lock: File,
}

impl KindCluster {
    /// Takes the lock and observes the cluster. Changes nothing but the kubeconfig, which is updated to fit the cluster.
    ///
    /// # Errors
    /// There is no Docker or no kind, or another program holds the lock of this cluster for too long.
    pub async fn observe(checkout: &Checkout, name: &str, steps: &Steps<'_>) -> Result<KindCluster> {
        let state = StateFolder::for_cluster(name)?;
        state.make()?;
        let lock = lock(&state, name, steps).await?;
        let (engine, kind) = tokio::try_join!(Engine::connect(), KindCli::find(checkout))?;
        let mut cluster = KindCluster {
            name: name.to_owned(),
            record: state.record(),
            engine,
            kind,
            state,
            container: None,
            nodes: Vec::new(),
            task_nodes: Vec::new(),
            lock,
        };
        cluster.look().await?;
        Ok(cluster)
    }

    async fn look(&mut self) -> Result<()> {
        self.nodes = node::containers(&self.engine, &self.name).await?;
        let control_plane = node::name(&self.name);
        let Some((found, workers)) = self
            .nodes
            .split_first()
            .filter(|(first, _)| first.name == control_plane)
        else {
            self.container = None;
            self.task_nodes = Vec::new();
            return Ok(());
        };
        let stopped = self.nodes.iter().find(|node| node.state != RUNNING);
        let mut container = NodeContainer {
            id: found.id.clone(),
            state: stopped.unwrap_or(found).state.clone(),
            image: found.image.clone(),
            workers: u32::try_from(workers.len()).unwrap_or(u32::MAX),
            mounts_our_folder: None,
            ready: None,
        };
        let run_tasks = if workers.is_empty() {
            std::slice::from_ref(found)
        } else {
            workers
        };
        self.task_nodes = run_tasks.iter().map(|node| node.id.clone()).collect();
        if container.state == RUNNING {
            let (folders, ready) = tokio::join!(self.task_nodes().folders(1), self.ready());
            container.mounts_our_folder = folders.ok().map(|folders| folders.is_some());
            container.ready = ready;
        }
        // kind writes the kubeconfig last, so creating the cluster succeeded, although this program had ended before.
        if let Some(record) = &mut self.record
            && record.stage == Stage::Creating
            && self.state.kubeconfig().is_file()
        {
            let node = container.id.clone();
            record.stage = Stage::Complete { node };
        }
        self.container = Some(container);
        Ok(())
    }

    async fn ready(&self) -> Option<bool> {
        if self.state.kubeconfig().is_file() {
            self.refresh_kubeconfig().await.ok()?;
        }
        let api = self.api().await.ok()?;
        let nodes = api.nodes().await.ok()?;
        let is_ready = |name: &String| nodes.iter().any(|found| found.name == *name && found.ready);
        Some(self.nodes.iter().map(|node| &node.name).all(is_ready))
    }

    /// The nodes that run tasks.
    pub fn task_nodes(&self) -> Nodes<'_> {
        Nodes {
            engine: &self.engine,
            containers: &self.task_nodes,
        }
    }

    /// Worker nodes of the cluster: the requested ones, otherwise those that there are, otherwise the recorded ones.
    pub fn workers(&self, asked: Option<u32>) -> u32 {
        let found = self.container.as_ref().map(|container| container.workers);
        let recorded = self.record.as_ref().map(|record| record.workers);
        asked.or(found).or(recorded).unwrap_or(0)
    }

    /// Volume sets of the cluster: the requested ones, otherwise the recorded ones. `None` if neither says.
    pub fn volume_sets(&self, asked: Option<u32>) -> Option<u32> {
        asked.or(self.record.as_ref()?.volume_sets)
    }

    /// Client of the cluster's API server.
    ///
    /// # Errors
    /// The cluster was never created.
    pub async fn api(&self) -> Result<ClusterApi> {
        connection::api_of_kubeconfig(&self.name, &self.state.kubeconfig()).await
    }

    /// The id of the control plane's container.
    ///
    /// # Errors
    /// There is no such container.
    pub fn node(&self) -> Result<&str> {
        let container = self.container.as_ref();
        Ok(&container
            .with_context(|| format!("cluster {} has no node", self.name))?
            .id)
    }

    /// The folder of this machine with the volumes: the requested one, otherwise the recorded one, otherwise the default.
    ///
    /// # Errors
    /// The current directory no longer exists.
    pub fn volumes(&self, asked: Option<&PathBuf>) -> Result<PathBuf> {
        match (asked, &self.record) {
            (Some(folder), _) => std::path::absolute(folder).with_context(|| format!("finding {}", folder.display())),
            (None, Some(record)) => Ok(record.volumes.clone()),
            (None, None) => Ok(self.state.default_volumes()),
        }
    }

    /// What has to be done to the cluster. `image` is a reference or an archive.
    ///
    /// # Errors
    /// The archive is not valid.
    pub async fn plan(
        &self,
        volumes: &Path,
        (image, workers): (Option<&str>, WorkerRequest),
        recreate: RecreatePolicy,
    ) -> Result<Planned> {
        let other_image = self.other_image(image).await?;
        let asked = plan::ClusterRequest {
            name: &self.name,
            volumes,
            workers,
            other_image: other_image.as_deref(),
            recreate,
        };
        Ok(plan::cluster(asked, self.container.as_ref(), self.record.as_ref()))
    }

    /// The requested node image, if the node was made from another one. A name may refer to another image by now, so images are
    /// compared and not names.
    async fn other_image(&self, asked: Option<&str>) -> Result<Option<String>> {
        let (Some(asked), Some(container)) = (asked, &self.container) else {
            return Ok(None);
        };
        let asked = match Path::new(asked) {
            archive if archive.is_file() => node_archive::reference(archive)?,
            _ => asked.to_owned(),
        };
        let (new, old) = tokio::try_join!(self.engine.image(&asked), self.engine.image(&container.image))?;
        let same = asked == container.image || new.is_some() && new.map(|image| image.id) == old.map(|image| image.id);
        Ok((!same).then_some(asked))
    }

    /// Carries the plan out. A conflict is an error.
    ///
    /// # Errors
    /// The cluster cannot be created; the message explains the known causes.
    pub async fn act(
        &mut self,
        todo: &Planned,
        checkout: &Checkout,
        options: &UpOptions,
        steps: &Steps<'_>,
    ) -> Result<()> {
        let volumes = self.volumes(options.volumes_dir.as_ref())?;
        match todo.decision {
            Decision::Conflict => return Err(Error::prerequisite(todo.what.clone())),
            Decision::Nothing => steps.skip(todo.step, &todo.what),
            Decision::Change => self.start(todo, steps).await?,
            Decision::Create | Decision::Replace => {
                steps.begin(todo.step, &todo.what);
                if todo.decision == Decision::Replace {
                    self.kind.delete(&self.name, &self.state.kubeconfig()).await?;
                }
                self.create(checkout, options, &volumes, steps).await?;
                steps.end(&format!("kind cluster {} is Ready", self.name));
            }
        }
        if !self.state.kubeconfig().is_file() {
            self.refresh_kubeconfig().await?;
        }
        let node = self.node()?.to_owned();
        let kept = todo.decision != Decision::Create && todo.decision != Decision::Replace;
        let record = Record {
            stage: Stage::Complete { node },
            volumes,
            workers: self.workers(None),
            volume_sets: self.volume_sets(options.volume_sets.filter(|_| !kept)),
            service: kept && self.record.as_ref().is_some_and(|record| record.service),
        };
        if self.state.record().as_ref() != Some(&record) {
            self.state.keep(&record)?;
        }
        self.record = Some(record);
        Ok(())
    }

    /// Records that the task service now keeps tasks in this cluster, so that `down` does not delete them unless asked.
    ///
    /// # Errors
    /// The folder of the cluster cannot be written.
    pub fn note_service(&self) -> Result<()> {
        match self.state.record() {
            Some(record) if !record.service => self.state.keep(&Record {
                service: true,
                ..record
            }),
            _ => Ok(()),
        }
    }

    /// Records the number of volume sets, for the next cluster of this name.
    ///
    /// # Errors
    /// The folder of the cluster cannot be written.
    pub fn note_sets(&self, sets: u32) -> Result<()> {
        let volume_sets = Some(sets);
        match self.state.record() {
            // Without a number there is one set.
            Some(record) if record.volume_sets.unwrap_or(1) != sets => {
                self.state.keep(&Record { volume_sets, ..record })
            }
            _ => Ok(()),
        }
    }

    async fn start(&mut self, todo: &Planned, steps: &Steps<'_>) -> Result<()> {
        steps.begin(todo.step, &todo.what);
        for node in self.nodes.iter().filter(|node| node.state != RUNNING) {
            start_node(&node.id).await?;
        }
        // Docker may map the node's API port to another port of this machine at each start.
        self.refresh_kubeconfig().await?;
        let names: Vec<String> = self.nodes.iter().map(|node| node.name.clone()).collect();
        self.wait_ready(&names).await?;
        self.look().await?;
        steps.end(&format!("kind cluster {} is Ready", self.name));
        Ok(())
    }

    async fn wait_ready(&self, names: &[String]) -> Result<()> {
        let api = self.api().await?;
        try_join_all(names.iter().map(|name| api.wait_node_ready(name, READY_TIMEOUT))).await?;
        Ok(())
    }

    async fn refresh_kubeconfig(&self) -> Result<()> {
        let fresh = self.kind.kubeconfig(&self.name).await?;
        let path = self.state.kubeconfig();
        if std::fs::read(&path).ok().as_deref() != Some(fresh.as_bytes()) {
            self.state.write(&path, fresh.as_bytes())?;
        }
        Ok(())
    }

    async fn create(
        &mut self,
        checkout: &Checkout,
        options: &UpOptions,
        volumes: &Path,
        steps: &Steps<'_>,
    ) -> Result<()> {
        let recorded = self.record.as_ref().map(|record| record.workers);
        let workers = options.workers.or(recorded).unwrap_or(0);
        // Every worker mounts a set's folders, so that a later `up` can add sets.
        let folders: Vec<PathBuf> = (0..workers.max(1))
            .map(|set| volume_sets::folder(volumes, set))
            .collect();
        // Check this before the cluster is created: tasks' user becomes the owner of what is mounted into the node.
        for folder in &folders {
            contents::check(folder, &manifests::FOLDERS)?;
        }
        let image = self.node_image(checkout, options.node_image.as_deref(), steps).await?;
        make_folders(&folders)?;
        let config = serde_json::to_vec_pretty(&manifests::kind_config(checkout, &self.name, volumes, workers)?)?;
        self.state.forget_kubeconfig();
        self.state.write(&self.state.kind_config(), &config)?;
        let record = Record {
            stage: Stage::Creating,
            volumes: volumes.to_owned(),
            service: false,
            workers,
            volume_sets: self.volume_sets(options.volume_sets),
        };
        self.state.keep(&record)?;
        self.record = Some(record);
        let what = Create {
            name: &self.name,
            config: &self.state.kind_config(),
            image: image.as_deref(),
            kubeconfig: &self.state.kubeconfig(),
            lock: &self.lock,
        };
        if let Err(error) = self.kind.create(&what, &mut |line| steps.detail(line)).await {
            return Err(self.explain(error).await);
        }
        steps.detail("waiting for the nodes to be Ready");
        if let Err(error) = self.wait_ready(&node::names(&self.name, workers)).await {
            return Err(self.explain(error).await);
        }
        self.look().await
    }

    /// The node image: the requested one, otherwise that of `cargo xtask node-image` if the engine has it, otherwise kind's own.
    async fn node_image(&self, checkout: &Checkout, asked: Option<&str>, steps: &Steps<'_>) -> Result<Option<String>> {
        if let Some(asked) = asked {
            let archive = PathBuf::from(asked);
            if !archive.is_file() {
                return Ok(Some(asked.to_owned()));
            }
            let reference = node_archive::reference(&archive)?;
            self.engine.load(&archive, &mut |line| steps.detail(line)).await?;
            return Ok(Some(reference));
        }
        let built = node_image::image_tag(checkout)?;
        Ok(self.engine.image(&built).await?.map(|_| built))
    }

    /// Adds the node's journal to kind's error, then removes the node, which is unusable.
    async fn explain(&mut self, error: Error) -> Error {
        let said = format!("{error:#}");
        let Ok(()) = self.look().await else {
            return error;
        };
        let journal = match &self.container {
            Some(container) if !said.contains("already exist") => {
                node::journal(&self.engine, &container.id).await.unwrap_or_default()
            }
            _ => String::new(),
        };
        let file = self.state.journal();
        let ended = self.container.as_ref().filter(|container| container.state != "running");
        let ended = ended.map(|_| "the node's container ended meanwhile: was it killed, or is memory short?");
        let cause = node::explain(&said).or(ended).or_else(|| node::explain(&journal));
        let mut hint = cause.map_or(String::new(), |cause| format!("\nhint: {cause}"));
        if !journal.is_empty() && self.state.write(&file, journal.as_bytes()).is_ok() {
            hint = format!("\nthe kubelet's journal is in {}{hint}", file.display());
        }
        let ours = !said.contains("already exist");
        if ours && self.kind.delete(&self.name, &self.state.kubeconfig()).await.is_ok() {
            let volumes = self.volumes(None).unwrap_or_default();
            // If the record cannot be written, the next run only has to check again.
            let _ = self.state.keep(&Record {
                stage: Stage::Down,
                volumes,
                service: false,
                workers: self.record.as_ref().map_or(0, |record| record.workers),
                volume_sets: self.volume_sets(None),
            });
        }
        failed!("making kind cluster {}: {said}{hint}", self.name)
    }
}

fn make_folders(folders: &[PathBuf]) -> Result<()> {
    for folder in folders
        .iter()
        .flat_map(|folder| manifests::FOLDERS.map(|name| folder.join(name)))
    {
        std::fs::create_dir_all(&folder).with_context(|| {
            format!(
                "making {}\nhint: choose a folder of yours with --volumes-dir",
                folder.display()
            )
        })?;
    }
    Ok(())
}

/// Locks the cluster's folder, after waiting for another program that holds the lock.
async fn lock(state: &StateFolder, name: &str, steps: &Steps<'_>) -> Result<File> {
    let file = state.lock_file()?;
    if file.try_lock().is_ok() {
        return Ok(file);
    }
    steps.begin(
        "lock",
        &format!("waiting for another `up` or `down` of cluster {name} to end"),
    );
    let waiting = tokio::task::spawn_blocking(move || file.lock().map(|()| file));
    let locked = timeout(LOCK_TIMEOUT, waiting).await.map_err(|_| {
        let seconds = LOCK_TIMEOUT.as_secs();
        failed!("another `up` or `down` has held cluster {name} for {seconds} s\nhint: wait for it or end it, then run this again")
    })?;
    let file = locked?.with_context(|| format!("locking the folder of cluster {name}"))?;
    steps.end("the other one is done");
    Ok(file)
}
