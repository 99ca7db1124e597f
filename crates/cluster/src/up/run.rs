//! `cargo xtask up`: from nothing to a cluster with its image, its volumes and a first task; a second time: nothing.

use std::collections::HashSet;
use std::time::Duration;

use anyhow::Result;
use comfy_table::Table;
use hybrid_cache_driver::kube::{KubeConfig, KubeDriver};
use hybrid_cache_driver::{Driver, DriverError, SubmitOptions};
use hybrid_cache_model::protocol::Limits;
use hybrid_cache_model::{End, Outcome, Phase, TaskSpec};
use hybrid_cache_sizing::claim::FileSystem;
use hybrid_cache_sizing::{Source, Volume};
use tokio::time::timeout;

use super::api::ClusterApi;
use super::inside::{self, Inside, Node};
use super::making::KindCluster;
use super::plan::{self, Decision, Leave, Planned};
use super::talk::Talk;
use super::{node, place, runtime, service, task_image};
use crate::checkout::Checkout;
use crate::exit::{Exit, Expected};
use crate::flags::DriverName;
use crate::{flags, image, results, run as run_command, trace};

mod beside;
mod derived;

use self::beside::Beside;

/// Longest that the inner folders of the volumes may take: a pod has to be scheduled and start.
const INITIALISE: Duration = Duration::from_secs(240);
/// Longest that the first task may take, packages and all.
const TASK: Duration = Duration::from_secs(600);

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
        Some(_) => other_up(checkout, flags, &mut talk).await,
        None => kind_up(checkout, flags, &mut talk).await,
    }
}

/// On a cluster that exists already: it pulls the image itself, and provides the volumes.
async fn other_up(checkout: &Checkout, flags: &flags::Up, talk: &mut Talk) -> Result<Exit> {
    let (api, mut config) = tokio::try_join!(place::api(&flags.cluster), place::config(checkout))?;
    config.namespace.clone_from(&api.namespace);
    let version = api.version().await;
    let version = version.map_err(|error| Expected::prerequisite(format!("{error:#}")))?;
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
        talk.skip(cluster.step, &cluster.what);
    }
    let mut up = Up {
        api,
        config,
        flags,
        kind: None,
        service: flags.with_service.map(|_| service::named(checkout)),
        in_folders: false,
    };
    let exit = up.go_on(checkout, vec![cluster, image], talk).await?;
    up.tell();
    Ok(exit)
}

async fn kind_up(checkout: &Checkout, flags: &flags::Up, talk: &mut Talk) -> Result<Exit> {
    // Asked on the side: none of the three waits for another where there is nothing to do.
    let image = if flags.plan { None } else { task_image::start(checkout) };
    let observed = KindCluster::observe(checkout, &flags.cluster.name, talk);
    let (mut cluster, network) = tokio::try_join!(observed, place::network(checkout))?;
    let volumes = cluster.volumes(flags.volumes_dir.as_ref())?;
    let todo = cluster
        .plan(&volumes, flags.node_image.as_deref(), leave(flags))
        .await?;
    if !flags.plan && todo.decision == Decision::Conflict {
        return Err(Expected::prerequisite(todo.what));
    }
    if flags.plan {
        let image = task_image::plan(checkout, &cluster.engine).await?;
        let reference = image::reference(checkout).unwrap_or_else(|| "the image".to_owned());
        let config = place::config_of(reference, network);
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
        return up.go_on(checkout, vec![todo, image], talk).await;
    }
    let image = task_image::finish(image, &cluster.engine, talk).await?;
    let service = match flags.with_service {
        Some(_) => Some(service::image(checkout, &cluster.engine, talk).await?),
        None => None,
    };
    cluster.act(&todo, checkout, flags, talk).await?;
    let mut up = Up {
        api: cluster.api().await?,
        config: place::config_of(image, network),
        flags,
        kind: Some(&cluster),
        service,
        in_folders: false,
    };
    let exit = up.go_on(checkout, Vec::new(), talk).await?;
    up.tell();
    println!("export KUBECONFIG={}", cluster.state.kubeconfig().display());
    Ok(exit)
}

fn leave(flags: &flags::Up) -> Leave {
    if flags.recreate {
        Leave::OnlyWhatCanChange
    } else {
        Leave::Everything
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

    async fn go_on(&mut self, checkout: &Checkout, mut todo: Vec<Planned>, talk: &mut Talk) -> Result<Exit> {
        let node = self.node()?;
        let image = &self.config.image;
        let stored = match node {
            Some(Node { engine, .. }) => engine.image(image).await?,
            None => None,
        };
        let id = stored.as_ref().map(|image| image.id.as_str());
        let inside = Inside::observe(&self.api, checkout, node, self.flags, (image, id)).await?;
        self.config = place::on_claims(self.config.clone(), &inside.wanted_claims());
        self.in_folders = inside.folders.is_some();
        let mut steps = inside.plan(&self.config, leave(self.flags));
        steps.retain(|planned| !(self.flags.no_task && planned.step == "task"));
        let beside = Beside::observe(self, checkout, &inside).await?;
        steps.extend(beside.plan(self));
        if self.flags.plan {
            todo.extend(steps);
            return Ok(show_plan(&todo));
        }
        if let Some(conflict) = steps.iter().find(|planned| planned.decision == Decision::Conflict) {
            return Err(Expected::prerequisite(format!("{}: {}", conflict.step, conflict.what)));
        }
        let mut done = HashSet::new();
        for planned in &steps {
            // Several lines of a plan may be one step; it is done as a whole.
            let acts = steps.iter().any(|other| other.step == planned.step && other.acts());
            match (acts, done.insert(planned.step)) {
                (_, false) => {}
                (false, true) => talk.skip(planned.step, &planned.what),
                (true, true) if beside.act(planned.step, self, talk).await? => {}
                (true, true) => self.act(planned.step, &inside, talk).await?,
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

    async fn act(&self, step: &str, inside: &Inside, talk: &mut Talk) -> Result<()> {
        match step {
            "load" => self.load(talk).await,
            "objects" => {
                talk.begin(step, "applying the manifests");
                inside.apply(&self.api, leave(self.flags), talk).await?;
                talk.end("all are as they should be");
                Ok(())
            }
            "folders" => self.own_folders(inside, talk).await,
            "volumes" => self.initialise(inside, talk).await,
            "routes" => self.close_routes(inside, talk).await,
            _ => self.first_task(inside, talk).await,
        }
    }

    async fn own_folders(&self, inside: &Inside, talk: &mut Talk) -> Result<()> {
        let Some(Node { engine, container }) = self.node()? else {
            return Ok(());
        };
        talk.begin(
            "folders",
            "giving the folders of the volumes to the user that tasks run as",
        );
        let names = plan::folders_to_own(inside.folders.as_deref().unwrap_or_default());
        node::own_folders(engine, container, &names).await?;
        talk.end(&format!("both belong to user {}", super::OWNER));
        Ok(())
    }

    async fn close_routes(&self, inside: &Inside, talk: &mut Talk) -> Result<()> {
        let Some(Node { engine, container }) = self.node()? else {
            return Ok(());
        };
        talk.begin("routes", "closing the way from pods to link-local addresses");
        let ranges = inside.open_ranges.as_deref().unwrap_or_default();
        node::close_link_local(engine, container, ranges).await?;
        talk.end("no pod reaches link-local addresses");
        Ok(())
    }

    async fn load(&self, talk: &mut Talk) -> Result<()> {
        let Some(cluster) = self.kind else { return Ok(()) };
        let image = &self.config.image;
        talk.begin("load", &format!("copying {image} onto the node"));
        cluster
            .kind
            .load(&cluster.name, image, &mut |line| talk.hear(line))
            .await?;
        talk.end(&format!("{image} is on the node"));
        Ok(())
    }

    async fn initialise(&self, inside: &Inside, talk: &mut Talk) -> Result<()> {
        talk.begin("volumes", "waiting for both claims to be Bound");
        if inside.folders.is_some() {
            // Elsewhere a claim may wait for its first pod, which is the one below.
            inside::wait_bound(&self.api).await?;
        }
        talk.hear("making the folders of the caches");
        let driver = self.driver().await?;
        let made = timeout(INITIALISE, driver.initialise()).await;
        let made = made.map_err(|_| anyhow::anyhow!("making the folders of the caches took too long"))?;
        made.map_err(|failure| anyhow::anyhow!("making the folders of the caches: {failure}"))?;
        let claims = inside::wait_bound(&self.api).await?;
        let mut remembered = inside.remembered.clone();
        remembered.volumes = Some(inside::identity(&claims));
        inside::remember(&self.api, &remembered).await?;
        talk.end("both claims are Bound and have their folders");
        self.divided();
        Ok(())
    }

    async fn driver(&self) -> Result<KubeDriver> {
        self.api.driver(self.config.clone()).await
    }

    async fn first_task(&self, inside: &Inside, talk: &mut Talk) -> Result<()> {
        talk.begin("task", "running a first task");
        let driver = self.driver().await?;
        let spec = TaskSpec::new("print('hello from the cluster')");
        let options = SubmitOptions {
            limits: Limits {
                time_ms: 60_000,
                ..Limits::default()
            },
            ..SubmitOptions::default()
        };
        let outcome = timeout(TASK, async {
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
            .map_err(|_| anyhow::anyhow!("the first task did not end within {} s", TASK.as_secs()))??;
        match &outcome.end {
            End::Exited { code: 0 } => {}
            End::Failed { failure } => {
                let message = format!("the first task could not run: {failure}");
                return Err(match run_command::exit_of_failure(failure.kind) {
                    Exit::Prerequisite => Expected::prerequisite(message),
                    _ => anyhow::anyhow!(message),
                });
            }
            end => anyhow::bail!("the first task did not end well: {end:?}"),
        }
        let claims = inside::claims(&self.api).await?;
        let mut remembered = inside.remembered.clone();
        remembered.volumes = Some(inside::identity(&claims));
        remembered.task_image = Some(self.config.image.clone());
        inside::remember(&self.api, &remembered).await?;
        talk.end(&in_words(&outcome, printed.trim_end()));
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
