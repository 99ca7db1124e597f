//! The task service in a cluster: its image on the node, its token, its objects, and its readiness.

use std::time::Duration;

use hybrid_cache_driver::kube::KubeConfig;
use hybrid_cache_image::docker::Engine;
use hybrid_cache_image::task_image::service as image;
use hybrid_cache_tools::{Checkout, Error, Result, Steps, environment, random_token};
use serde_json::Value;

use crate::api::ClusterApi;
use crate::apply::{apply, refused};
use crate::kind_cluster::KindCluster;
use crate::manifests::{self, VolumeSource};
use crate::names::{NAMESPACE, SERVICE, SERVICE_TOKEN};
use crate::node;
use crate::nodes::Nodes;
use crate::objects::{DryRun, describe};
use crate::options::RecreatePolicy;
use crate::plan::{self, Decision, Planned};
use crate::rollout::{Deployment, Rollout};

/// Variable that names an image to use instead of ours.
pub const OVERRIDE: &str = "HYBRID_CACHE_SERVICE_IMAGE";
/// Address of the service within the cluster.
pub fn address(namespace: &str) -> String {
    format!("http://{SERVICE}.{namespace}:8000")
}

/// Says how to reach a running service.
pub fn how_to_reach(namespace: &str) -> String {
    let address = address(namespace);
    format!(
        "the service is at {address} in the cluster; from here:\n  kubectl -n {namespace} port-forward service/{SERVICE} 8000\nits \
         token, for `Authorization: Bearer …` and /login:\n  kubectl -n {namespace} get secret {SERVICE_TOKEN} -o \
         go-template='{{{{.data.token | base64decode}}}}'"
    )
}

const STEP: &str = "service";

/// The Deployment of the service.
pub const DEPLOYMENT: Deployment = Deployment {
    name: SERVICE,
    called: "the service",
    // In this time a volume is provided, an image is unpacked and an old pod ends.
    within: Duration::from_secs(240),
    unpulled: "`cargo xtask image --service --push REF` puts it into a registry; with HYBRID_CACHE_SERVICE_IMAGE=REF `up` uses \
               it from there",
};

/// Provides the image in the engine: builds ours, or uses the one that the user names.
///
/// # Errors
/// Our image does not build, or the named image does not exist.
pub async fn image(checkout: &Checkout, engine: &Engine, steps: &Steps<'_>) -> Result<String> {
    let Some(named) = overridden() else {
        let built = image::ensure(checkout, engine, steps.progress()).await?;
        steps.skip("image", &built.reference);
        return Ok(built.reference);
    };
    if engine.image(&named).await?.is_none() {
        return Err(Error::prerequisite(format!(
            "{named}, which {OVERRIDE} names, is not in the Docker engine\nhint: `docker pull {named}`"
        )));
    }
    Ok(named)
}

/// The reference of the service's image, as far as it is known without a build.
pub fn named(checkout: &Checkout) -> String {
    let ours = || image::reference(checkout);
    let latest = || format!("{}:latest", image::REPOSITORY);
    overridden().or_else(ours).unwrap_or_else(latest)
}

fn overridden() -> Option<String> {
    environment::text(OVERRIDE)
}

/// A driver's settings, as a file.
///
/// # Errors
/// Never, because the settings are plain data.
pub fn driver_json(config: &KubeConfig) -> Result<Vec<u8>> {
    Ok(serde_json::to_vec_pretty(config)?)
}

/// The state of the service in a cluster.
pub struct Service {
    image: String,
    on_node: Option<bool>,
    has_token: bool,
    objects: Vec<(Value, DryRun)>,
    rollout: Rollout,
}

impl Service {
    /// Reads the state. Changes nothing.
    ///
    /// # Errors
    /// The cluster or a node of it does not answer.
    pub async fn observe(
        api: &ClusterApi,
        checkout: &Checkout,
        nodes: Option<Nodes<'_>>,
        source: VolumeSource,
        (image, config): (&str, &KubeConfig),
    ) -> Result<Service> {
        let wanted = manifests::service(checkout, &source, image, &driver_json(config)?)?;
        let wanted: Vec<_> = wanted.into_iter().map(|object| api.placed(object)).collect();
        let dry_runs = futures_util::future::try_join_all(wanted.iter().map(|object| api.dry_run(object)));
        let token = manifests::service_token("");
        let (dry_runs, token, rollout, on_node) = tokio::try_join!(
            dry_runs,
            api.get(&token),
            DEPLOYMENT.rollout(api),
            on_node(nodes, image)
        )?;
        Ok(Service {
            image: image.to_owned(),
            on_node,
            has_token: token.is_some(),
            objects: wanted.into_iter().zip(dry_runs).collect(),
            rollout,
        })
    }

    /// What has to be done.
    pub fn plan(&self, recreate: RecreatePolicy) -> Vec<Planned> {
        let mut todo = Vec::new();
        if self.on_node == Some(false) {
            let what = format!("{} is not on the node", self.image);
            todo.push(Planned::new(STEP, Decision::Create, what));
        }
        if !self.has_token {
            let what = format!("Secret {NAMESPACE}/{SERVICE_TOKEN}: a random token, kept from then on");
            todo.push(Planned::new(STEP, Decision::Create, what));
        }
        let objects = plan::objects(&self.objects, recreate);
        todo.extend(objects.into_iter().map(|planned| Planned { step: STEP, ..planned }));
        todo.extend(self.rollout.waited_for(STEP, &todo));
        todo
    }

    /// Carries the plan out, and waits until the service is Ready.
    ///
    /// # Errors
    /// Something blocks a step, or the service does not become Ready.
    pub async fn act(
        &self,
        api: &ClusterApi,
        kind: Option<&KindCluster>,
        recreate: RecreatePolicy,
        steps: &Steps<'_>,
    ) -> Result<()> {
        steps.begin(STEP, "bringing the task service up");
        if let (Some(cluster), Some(false)) = (kind, self.on_node) {
            steps.detail(&format!("copying {} onto the node", self.image));
            let listen = &mut |line: &str| steps.detail(line);
            cluster.kind.load(&cluster.name, &self.image, listen).await?;
        }
        if !self.has_token {
            let token = manifests::service_token(&random_token()?);
            refused(&token, api.apply(&token).await?)?;
        }
        apply(api, &self.objects, recreate, steps).await?;
        steps.detail("waiting for it to be Ready");
        DEPLOYMENT.wait_ready(api).await?;
        steps.end("it is Ready");
        Ok(())
    }
}

async fn on_node(nodes: Option<Nodes<'_>>, image: &str) -> Result<Option<bool>> {
    let Some(nodes) = nodes else {
        return Ok(None);
    };
    let (stored, images) = tokio::try_join!(nodes.engine.image(image), nodes.images())?;
    Ok(Some(
        stored.is_some_and(|stored| node::has_image(&images, image, &stored.id)),
    ))
}

/// Every object of the service, to be deleted, including the claim that holds the tasks.
///
/// # Errors
/// The manifest is missing or is not YAML.
pub fn everything(checkout: &Checkout) -> Result<Vec<Value>> {
    let mut objects = manifests::service(checkout, &VolumeSource::StorageClass(None), "", b"")?;
    objects.push(manifests::service_token(""));
    debug_assert!(objects.iter().any(|object| describe(object).ends_with(SERVICE)));
    Ok(objects)
}

/// The claims that hold the service's tasks.
///
/// # Errors
/// The manifest is missing or is not YAML.
pub fn claims(checkout: &Checkout) -> Result<Vec<Value>> {
    let mut objects = everything(checkout)?;
    objects.retain(|object| object["kind"] == "PersistentVolumeClaim");
    Ok(objects)
}

#[cfg(test)]
mod tests;
