//! Plans all steps of `up` and carries them out.

use std::collections::HashSet;
use std::sync::Arc;

use hybrid_cache_driver::kube::KubeConfig;
use hybrid_cache_image::task_image as image;
use hybrid_cache_model::pod::NetworkSettings;
use hybrid_cache_tools::{Checkout, Error, OperatorSettings, Progress, Result, Steps, TaskNetwork, network_settings};

use crate::kind_cluster::KindCluster;
use crate::options::{StandbyChoice, UpOptions};
use crate::plan::{self, Decision, Planned, WorkerRequest};
use crate::task_setup::TaskSetup;
use crate::up::add_ons::AddOns;
use crate::up::context::UpContext;
use crate::up::report::UpReport;
use crate::up::{standby, task_steps};
use crate::{connection, service, task_image, volume_sets};

/// Brings a cluster up, or says what that would change.
///
/// # Errors
/// Something is missing, blocks a step or does not become Ready; the message ends with the next step.
pub async fn up(checkout: &Checkout, options: &UpOptions, progress: &Arc<dyn Progress>) -> Result<UpReport> {
    standby::check(options)?;
    volume_sets::check(options)?;
    match &options.cluster.context {
        Some(_) => other_up(checkout, options, &Steps::new(progress.as_ref())).await,
        None => kind_up(checkout, options, progress).await,
    }
}

/// Says what tasks do not get of this machine's settings of the network.
fn warn(network: &NetworkSettings, progress: &dyn Progress) {
    let warnings = TaskNetwork::in_pods(network).warnings;
    warnings.iter().for_each(|warning| progress.line(warning));
}

/// Brings up a cluster that exists already: it pulls the image itself and provides the volumes.
async fn other_up(checkout: &Checkout, options: &UpOptions, steps: &Steps<'_>) -> Result<UpReport> {
    let settings = options.cluster.settings.as_deref();
    let config = connection::config(checkout, settings);
    let (api, mut config) = tokio::try_join!(connection::api(&options.cluster), config)?;
    config.namespace.clone_from(&api.namespace);
    warn(&config.network, steps.progress());
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
    if !options.plan_only {
        steps.skip(cluster.step, &cluster.what);
    }
    let mut up = UpContext {
        api,
        config,
        standby: None,
        options,
        kind: None,
        service: options.with_service.map(|_| service::named(checkout)),
    };
    go_on(&mut up, checkout, vec![cluster, image], steps).await
}

async fn kind_up(checkout: &Checkout, options: &UpOptions, progress: &Arc<dyn Progress>) -> Result<UpReport> {
    let steps = &Steps::new(progress.as_ref());
    // Run all three concurrently: none of them waits for another if there is nothing to do.
    let settings = options.cluster.settings.as_deref();
    let image = match options.plan_only {
        true => None,
        false => task_image::start(checkout, settings, progress)?,
    };
    let observed = KindCluster::observe(checkout, &options.cluster.name, steps);
    let (mut cluster, network) = tokio::try_join!(observed, network_settings(checkout, settings))?;
    let pods = OperatorSettings::read(settings)?.pods;
    warn(&network, progress.as_ref());
    let volumes = cluster.volumes(options.volumes_dir.as_ref())?;
    let workers = options.workers.map_or(WorkerRequest::Kept, WorkerRequest::Wanted);
    let todo = cluster
        .plan(&volumes, (options.node_image.as_deref(), workers), options.recreate)
        .await?;
    if cluster.container.is_none() && options.storage_class.is_none() {
        let sets = cluster.volume_sets(options.volume_sets).unwrap_or(1);
        volume_sets::check_nodes(sets, cluster.workers(options.workers))?;
    }
    if !options.plan_only && todo.decision == Decision::Conflict {
        return Err(Error::prerequisite(todo.what));
    }
    if options.plan_only {
        let image = task_image::plan(checkout, &cluster.engine).await?;
        // A reference that no engine has: the plan says that the image is built.
        let reference = image::reference(checkout).unwrap_or_else(|| format!("{}:not-built", image::REPOSITORY));
        let config = connection::with_pods(connection::config_with(reference, network), &pods);
        if todo.decision != Decision::Nothing {
            let plan = [vec![todo, image], after_cluster(&config, options)].concat();
            return Ok(UpReport {
                plan,
                ..UpReport::default()
            });
        }
        let mut up = UpContext {
            api: cluster.api().await?,
            config,
            standby: None,
            options,
            kind: Some(&cluster),
            service: options.with_service.map(|_| service::named(checkout)),
        };
        let report = go_on(&mut up, checkout, vec![todo, image], steps).await?;
        return Ok(UpReport {
            division: Vec::new(),
            ..report
        });
    }
    let image = task_image::finish(image, &cluster.engine, steps).await?;
    let service = match options.with_service {
        Some(_) => Some(service::image(checkout, &cluster.engine, steps).await?),
        None => None,
    };
    cluster.act(&todo, checkout, options, steps).await?;
    let mut up = UpContext {
        api: cluster.api().await?,
        config: connection::with_pods(connection::config_with(image, network), &pods),
        standby: None,
        options,
        kind: Some(&cluster),
        service,
    };
    let report = go_on(&mut up, checkout, vec![todo], steps).await?;
    if let Some(sets) = options.volume_sets {
        cluster.note_sets(sets)?;
    }
    Ok(UpReport {
        kubeconfig: Some(cluster.state.kubeconfig()),
        ..report
    })
}

/// The plan for a cluster that does not exist yet: every step.
fn after_cluster(config: &KubeConfig, options: &UpOptions) -> Vec<Planned> {
    let create = |step, what: &str| Planned::new(step, Decision::Create, what);
    let mut todo = vec![
        plan::load(&config.image, false),
        create(
            "objects",
            "namespace, volumes, claims, rights, network policies, bounds, certificates",
        ),
        create("folders", "for the user that tasks run as"),
        create("volumes", "the folders of the caches are made"),
        create("routes", "rules that keep pods from link-local addresses"),
    ];
    if let Some(sets) = options.volume_sets.filter(|sets| *sets > 1) {
        todo.push(create("sets", &format!("{sets} volume sets")));
    }
    if !options.no_smoke_test {
        todo.push(create("task", "a first task is run"));
    }
    todo.push(create(
        "compose",
        "what compose.yaml needs to run the service beside the cluster",
    ));
    if options.wants_argo() {
        todo.push(create("argo", "its kinds, its controller and what Workflows need"));
    }
    if options.with_service.is_some() {
        todo.push(create("service", "its image on the node, its token and its objects"));
    }
    if let StandbyChoice::Pods(range) = options.cluster.standby {
        todo.push(create(standby::STEP, &format!("{range} standby pods")));
    }
    todo
}

/// Plans the steps in a cluster that answers, and carries them out unless only the plan is wanted. `before` are the earlier steps.
async fn go_on(
    up: &mut UpContext<'_>,
    checkout: &Checkout,
    before: Vec<Planned>,
    steps: &Steps<'_>,
) -> Result<UpReport> {
    let nodes = up.nodes();
    let remembered = up.kind.and_then(|cluster| cluster.volume_sets(None));
    let image = &up.config.image;
    let stored = match nodes {
        Some(nodes) => nodes.engine.image(image).await?,
        None => None,
    };
    let id = stored.as_ref().map(|image| image.id.as_str());
    let setup = TaskSetup::observe(&up.api, checkout, (nodes, remembered), up.options, (image, id)).await?;
    let sets = (setup.sets, setup.follows_pods());
    up.config = connection::on_claims(up.config.clone(), &setup.wanted_claims(), sets);
    up.standby = setup.record.standby;
    let mut planned = setup.plan(&up.config, up.options.recreate);
    planned.retain(|planned| !(up.options.no_smoke_test && planned.step == "task"));
    let add_ons = AddOns::observe(up, checkout, &setup).await?;
    planned.extend(add_ons.plan(up));
    let seen = crate::standby::read(&up.api, up.standby).await?;
    planned.extend(standby::plan(&setup, seen.map_or(0, |seen| seen.ready)));
    let standby = match up.options.plan_only {
        true => None,
        false => {
            act(up, &setup, &add_ons, &planned, steps).await?;
            standby::bring(up, &setup, steps).await?
        }
    };
    let sizes_asked = up.options.python_size.is_some() || up.options.system_size.is_some();
    let division = match sizes_asked {
        true => task_steps::divided(up, setup.folders.is_some()),
        false => Vec::new(),
    };
    let reached = up.service.is_some() && !up.options.plan_only;
    Ok(UpReport {
        plan: [before, planned].concat(),
        is_done: !up.options.plan_only,
        division,
        service: reached.then(|| service::how_to_reach(&up.api.namespace)),
        standby,
        kubeconfig: None,
    })
}

async fn act(
    up: &UpContext<'_>,
    setup: &TaskSetup,
    add_ons: &AddOns,
    planned: &[Planned],
    steps: &Steps<'_>,
) -> Result<()> {
    if let Some(conflict) = planned.iter().find(|planned| planned.decision == Decision::Conflict) {
        return Err(Error::prerequisite(format!("{}: {}", conflict.step, conflict.what)));
    }
    let mut done = HashSet::new();
    for step in planned {
        // Several lines of a plan may belong to one step, which is carried out as a whole.
        let acts = planned.iter().any(|other| other.step == step.step && other.acts());
        match (acts, done.insert(step.step)) {
            (_, false) => {}
            // It comes last, whatever the others were.
            _ if step.step == standby::STEP => {}
            (false, true) => steps.skip(step.step, &step.what),
            (true, true) if add_ons.act(step.step, up, steps).await? => {}
            (true, true) => task_steps::act(step.step, up, setup, steps).await?,
        }
    }
    Ok(())
}
