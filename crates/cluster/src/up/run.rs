//! `cargo xtask up`: from nothing to a cluster with its image, its volumes and a first task; a second time: nothing.

use std::collections::HashSet;
use std::time::Duration;

use Result;
use comfy_table::Table;
use hybrid_cache_driver::kube::{KubeConfig, KubeDriver};
use hybrid_cache_driver::{Driver, DriverError, SubmitOptions};
use hybrid_cache_model::protocol::Limits;
use hybrid_cache_model::{End, Outcome, Phase, TaskSpec};
use hybrid_cache_sizing::claim::FileSystem;
use hybrid_cache_sizing::{Source, Volume};
use tokio::time::timeout;

use hybrid_cache_tools::{Error, Result};
use hybrid_cache_tools::failed;
use super::api::ClusterApi;
use super::task_setup::{self, TaskSetup, Node};
use super::making::KindCluster;
use super::plan::{self, Decision, RecreatePolicy, Planned};
use super::{node, place, runtime, service, task_image};
use hybrid_cache_tools::Checkout;
use crate::exit::{Exit, Expected};
use crate::flags::DriverName;
use crate::{flags, image, results, run as run_command, trace};

mod beside;
mod derived;

use self::beside::AddOns;

/// Longest that the inner folders of the volumes may take: a pod has to be scheduled and start.
const INITIALISE_TIMEOUT: Duration = Duration::from_secs(240);
/// Longest that the first task may take, packages and all.
const TASK_TIMEOUT: Duration = Duration::from_secs(600);

/// Runs the command.
///
/// # Errors
/// Something is missing, stands in the way or does not come up; the message ends with the next step.
pub fn run(flags: &flags::Up) -> Result<Exit> {
    let checkout = Checkout::find()?;
    runtime::block_on(up(&checkout, flags), "`cargo xtask up` goes on from there")
}

async fn up(checkout: &Checkout, flags: &flags::Up) -> Result<Exit> {
    let mut talk = Talk::new();
    match &flags.cluster.context {
        Some(_) => other_up(checkout, flags, &mut steps).await,
        None => kind_up(checkout, flags, &mut steps).await,
    }
}

/// On a cluster that exists already: it pulls the image itself, and provides the volumes.
async fn other_up(checkout: &Checkout, flags: &flags::Up, steps: &Steps<'_>) -> Result<Exit> {
    let (api, mut config) = tokio::try_join!(connection::api(&flags.cluster), connection::config(checkout))?;
    config.namespace.clone_from(&api.namespace);
    let version = api.version().await;
    let version = version.map_err(|error| Error::prerequisite(format!("{error:#}")))?;
    let cluster = Planned::new(
        "cluster",
        Decision::Nothing,
        format!("{} runs Kubernetes {version}", api.address),
    );
    let image = Planned::new(
        "image",
        Decision::Nothing,
        format!("{} must be in a registry", config.image),
    );
    if !flags.plan {
        steps.skip(cluster.step, &cluster.what);
    }
    let mut up = Up {
        api,
        config,
        flags,
        kind: None,
        service: flags.with_service.map(|_| service::named(checkout)),
        in_folders: false,
    };
    let exit = up.go_on(checkout, vec![cluster, image], steps).await?;
    up.tell();
    Ok(exit)
}

async fn kind_up(checkout: &Checkout, flags: &flags::Up, steps: &Steps<'_>) -> Result<Exit> {
    // Asked on the side: none of the three waits for another where there is nothing to do.
    let image = if flags.plan { None } else { task_image::start(checkout) };
    let observed = KindCluster::observe(checkout, &flags.cluster.name, steps);
    let (mut cluster, network) = tokio::try_join!(observed, connection::network(checkout))?;
    let volumes = cluster.volumes(flags.volumes_dir.as_ref())?;
    let todo = cluster
        .plan(&volumes, flags.node_image.as_deref(), recreate(flags))
        .await?;
    if !flags.plan && todo.decision == Decision::Conflict {
        return Err(Error::prerequisite(todo.what));
    }
    if flags.plan {
        let image = task_image::plan(checkout, &cluster.engine).await?;
        let reference = image::reference(checkout).unwrap_or_else(|| "the image".to_owned());
        let config = connection::config_of(reference, network);
        if todo.decision != Decision::Nothing {
            return Ok(show_plan(&[vec![todo, image], after_cluster(&config, flags)].concat()));
        }
        let mut up = Up {
            api: cluster.api().await?,
            config,
            flags,
            kind: Some(&cluster),
            service: flags.with_service.map(|_| service::named(checkout)),
            in_folders: false,
        };
        return up.go_on(checkout, vec![todo, image], steps).await;
    }
    let image = task_image::finish(image, &cluster.engine, steps).await?;
    let service = match flags.with_service {
        Some(_) => Some(service::image(checkout, &cluster.engine, steps).await?),
        None => None,
    };
    cluster.act(&todo, checkout, flags, steps).await?;
    let mut up = Up {
        api: cluster.api().await?,
        config: connection::config_of(image, network),
        flags,
        kind: Some(&cluster),
        service,
        in_folders: false,
    };
    let exit = up.go_on(checkout, Vec::new(), steps).await?;
    up.tell();
    println!("export KUBECONFIG={}", cluster.state.kubeconfig().display());
    Ok(exit)
}

fn recreate(flags: &flags::Up) -> RecreatePolicy {
    if flags.recreate {
        RecreatePolicy::IfImmutable
    } else {
        RecreatePolicy::Never
    }
}

/// What is to be done in a cluster that is not there yet: everything.
fn after_cluster(config: &KubeConfig, flags: &flags::Up) -> Vec<Planned> {
    let create = |step, what: &str| Planned::new(step, Decision::Create, what);
    let mut todo = vec![
        plan::load(&config.image, false),
        create(
            "objects",
            "namespace, volumes, claims, rights, network policies, bounds, certificates",
        ),
        create("folders", "for the user that tasks run as"),
        create("volumes", "the folders of the caches are made"),
        create("routes", "no way from pods to link-local addresses"),
    ];
    if !flags.no_task {
        todo.push(create("task", "a first task is run"));
    }
    todo.push(create(
        "compose",
        "what compose.yaml needs to run the service beside the cluster",
    ));
    if flags.wants_argo() {
        todo.push(create("argo", "its kinds, its controller and what Workflows need"));
    }
    if flags.with_service.is_some() {
        todo.push(create("service", "its image on the node, its token and its objects"));
    }
    todo
}

/// A cluster that answers, on its way to what was asked for.
struct Up<'a> {
    api: ClusterApi,
    config: KubeConfig,
    flags: &'a flags::Up,
    kind: Option<&'a KindCluster>,
    /// The image of the service, where it is asked for.
    service: Option<String>,
    /// True where the volumes are folders of the node.
    in_folders: bool,
}

impl Up<'_> {
    fn node(&self) -> Result<Option<Node<'_>>> {
        let Some(cluster) = self.kind else { return Ok(None) };
        let (engine, container) = (&cluster.engine, cluster.node()?);
        Ok(Some(Node { engine, container }))
    }

    async fn go_on(&mut self, checkout: &Checkout, mut todo: Vec<Planned>, steps: &Steps<'_>) -> Result<Exit> {
        let node = self.node()?;
        let image = &self.config.image;
        let stored = match node {
            Some(Node { engine, .. }) => engine.image(image).await?,
            None => None,
        };
        let id = stored.as_ref().map(|image| image.id.as_str());
        let inside = TaskSetup::observe(&self.api, checkout, node, self.flags, (image, id)).await?;
        self.config = connection::on_claims(self.config.clone(), &inside.wanted_claims());
        self.in_folders = inside.folders.is_some();
        let mut steps = inside.plan(&self.config, recreate(self.flags));
        steps.retain(|planned| !(self.flags.no_task && planned.step == "task"));
        let beside = AddOns::observe(self, checkout, &inside).await?;
        steps.extend(beside.plan(self));
        if self.flags.plan {
            todo.extend(steps);
            return Ok(show_plan(&todo));
        }
        if let Some(conflict) = steps.iter().find(|planned| planned.decision == Decision::Conflict) {
            return Err(Error::prerequisite(format!("{}: {}", conflict.step, conflict.what)));
        }
        let mut done = HashSet::new();
        for planned in &steps {
            // Several lines of a plan may be one step; it is done as a whole.
            let acts = steps.iter().any(|other| other.step == planned.step && other.acts());
            match (acts, done.insert(planned.step)) {
                (_, false) => {}
                (false, true) => steps.skip(planned.step, &planned.what),
                (true, true) if beside.act(planned.step, self, steps).await? => {}
                (true, true) => self.act(planned.step, &inside, steps).await?,
            }
        }
        Ok(Exit::Good)
    }

    /// What each claim is divided into.
    fn divided(&self) {
        let recorded = trace::recorded(Some(DriverName::Kube), None, &self.flags.cluster);
        // What cannot be read is no reason to stop: `size` tells it.
        let recorded = recorded.ok().flatten().map(|(_, recorded)| recorded);
        let recorded = recorded.as_ref().map(|recorded| recorded as &dyn Source);
        let sizes = [self.config.python_claim_bytes, self.config.nix_claim_bytes];
        let file_system = (!self.in_folders).then_some(FileSystem::Ext4);
        for (volume, bytes) in Volume::ALL.into_iter().zip(sizes) {
            eprintln!("{}", derived::line(volume, bytes, file_system, recorded));
        }
    }

    /// How to reach the service, and how claims that were asked for are divided.
    fn tell(&self) {
        if self.flags.python_size.is_some() || self.flags.system_size.is_some() {
            self.divided();
        }
        if self.service.is_some() && !self.flags.plan {
            eprintln!("{}", service::how(&self.api.namespace));
        }
    }

    async fn act(&self, step: &str, inside: &TaskSetup, steps: &Steps<'_>) -> Result<()> {
        match step {
            "load" => self.load(steps).await,
            "objects" => {
                steps.begin(step, "applying the manifests");
                inside.apply(&self.api, recreate(self.flags), steps).await?;
                steps.end("all are as they should be");
                Ok(())
            }
            "folders" => self.own_folders(inside, steps).await,
            "volumes" => self.initialise(inside, steps).await,
            "routes" => self.close_routes(inside, steps).await,
            _ => self.first_task(inside, steps).await,
        }
    }

    async fn own_folders(&self, inside: &TaskSetup, steps: &Steps<'_>) -> Result<()> {
        let Some(Node { engine, container }) = self.node()? else {
            return Ok(());
        };
        steps.begin(
            "folders",
            "giving the folders of the volumes to the user that tasks run as",
        );
        let names = plan::folders_to_own(inside.folders.as_deref().unwrap_or_default());
        node::own_folders(engine, container, &names).await?;
        steps.end(&format!("both belong to user {}", super::OWNER));
        Ok(())
    }

    async fn close_routes(&self, inside: &TaskSetup, steps: &Steps<'_>) -> Result<()> {
        let Some(Node { engine, container }) = self.node()? else {
            return Ok(());
        };
        steps.begin("routes", "closing the way from pods to link-local addresses");
        let ranges = inside.open_ranges.as_deref().unwrap_or_default();
        node::close_link_local(engine, container, ranges).await?;
        steps.end("no pod reaches link-local addresses");
        Ok(())
    }

    async fn load(&self, steps: &Steps<'_>) -> Result<()> {
        let Some(cluster) = self.kind else { return Ok(()) };
        let image = &self.config.image;
        steps.begin("load", &format!("copying {image} onto the node"));
        cluster
            .kind
            .load(&cluster.name, image, &mut |line| steps.detail(line))
            .await?;
        steps.end(&format!("{image} is on the node"));
        Ok(())
    }

    async fn initialise(&self, inside: &TaskSetup, steps: &Steps<'_>) -> Result<()> {
        steps.begin("volumes", "waiting for both claims to be Bound");
        if inside.folders.is_some() {
            // Elsewhere a claim may wait for its first pod, which is the one below.
            task_setup::wait_bound(&self.api).await?;
        }
        steps.detail("making the folders of the caches");
        let driver = self.driver().await?;
        let made = timeout(INITIALISE_TIMEOUT, driver.initialise()).await;
        let made = made.map_err(|_| failed!("making the folders of the caches took too long"))?;
        made.map_err(|failure| failed!("making the folders of the caches: {failure}"))?;
        let claims = task_setup::wait_bound(&self.api).await?;
        let mut remembered = inside.remembered.clone();
        remembered.volumes = Some(task_setup::identity(&claims));
        task_setup::remember(&self.api, &remembered).await?;
        steps.end("both claims are Bound and have their folders");
        self.divided();
        Ok(())
    }

    async fn driver(&self) -> Result<KubeDriver> {
        self.api.driver(self.config.clone()).await
    }

    async fn first_task(&self, inside: &TaskSetup, steps: &Steps<'_>) -> Result<()> {
        steps.begin("task", "running a first task");
        let driver = self.driver().await?;
        let spec = TaskSpec::new("print('hello from the cluster')");
        let options = SubmitOptions {
            limits: Limits {
                time_ms: 60_000,
                ..Limits::default()
            },
            ..SubmitOptions::default()
        };
        let outcome = timeout(TASK_TIMEOUT, async {
            let ticket = driver.submit(&spec, &options).await?;
            let mut log = driver.logs(&ticket)?;
            let outcome = driver.settle(&ticket).await?;
            let mut printed = Vec::new();
            while let Some(chunk) = log.next().await {
                printed.extend(chunk.bytes);
            }
            Ok::<_, DriverError>((outcome, String::from_utf8_lossy(&printed).into_owned()))
        });
        let (outcome, printed) = outcome
            .await
            .map_err(|_| failed!("the first task did not end within {} s", TASK_TIMEOUT.as_secs()))??;
        match &outcome.end {
            End::Exited { code: 0 } => {}
            End::Failed { failure } => {
                let message = format!("the first task could not run: {failure}");
                return Err(match run_command::exit_of_failure(failure.kind) {
                    Exit::Prerequisite => Error::prerequisite(message),
                    _ => Error::failed(message),
                });
            }
            end => return Err(failed!("the first task did not end well: {end:?}")),
        }
        let claims = task_setup::claims(&self.api).await?;
        let mut remembered = inside.remembered.clone();
        remembered.volumes = Some(task_setup::identity(&claims));
        remembered.task_image = Some(self.config.image.clone());
        task_setup::remember(&self.api, &remembered).await?;
        steps.end(&in_words(&outcome, printed.trim_end()));
        Ok(())
    }
}

fn in_words(outcome: &Outcome, printed: &str) -> String {
    let milliseconds = |us: u64| format!("{}.{} ms", us / 1000, us % 1000 / 100);
    format!(
        "it printed {printed:?}; {} in all, of which {} user code",
        milliseconds(outcome.timeline.total_us),
        milliseconds(outcome.timeline.phase_us(Phase::UserCode)),
    )
}

fn show_plan(todo: &[Planned]) -> Exit {
    let mut table = Table::new();
    table
        .load_style(comfy_table::presets::NOTHING)
        .set_width(results::width())
        .set_header(["step", "decision", "what"]);
    for planned in todo {
        table.add_row([planned.step, planned.decision.word(), &planned.what]);
    }
    println!("{table}");
    let conflict = todo.iter().any(|planned| planned.decision == Decision::Conflict);
    if conflict { Exit::Prerequisite } else { Exit::Good }
}
