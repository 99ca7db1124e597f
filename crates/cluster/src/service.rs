//! The task service in a cluster: its image on the node, its token, its objects, and whether it is Ready.

use std::time::Duration;

use anyhow::{Context, Result};
use hybrid_cache_driver::kube::KubeConfig;
use serde_json::Value;

use super::api::ClusterApi;
use super::inside::{self, Node};
use super::making::KindCluster;
use super::manifests::{self, VolumeSource};
use super::objects::{Examined, describe};
use super::plan::{self, Decision, Leave, Planned};
use super::rollout::{Deployment, Rollout};
use super::talk::Talk;
use super::{NAMESPACE, node};
use crate::checkout::Checkout;
use crate::docker::Engine;
use crate::exit::Expected;
use crate::image;

/// Name of the Deployment, the Service and the claim, as in manifests/service.yaml.
pub const NAME: &str = "hybrid-cache-service";
/// Secret with the token.
pub const TOKEN: &str = "hybrid-cache-service-token";
/// Names an image to use instead of ours.
pub const OVERRIDE: &str = "HYBRID_CACHE_SERVICE_IMAGE";
/// Where it is within the cluster.
pub fn address(namespace: &str) -> String {
    format!("http://{NAME}.{namespace}:8000")
}

/// What to do with a service that runs.
pub fn how(namespace: &str) -> String {
    let address = address(namespace);
    format!(
        "the service is at {address} in the cluster; from here:\n  kubectl -n {namespace} port-forward service/{NAME} 8000\nits \
         token, for `Authorization: Bearer …` and /login:\n  kubectl -n {namespace} get secret {TOKEN} -o \
         go-template='{{{{.data.token | base64decode}}}}'"
    )
}

const STEP: &str = "service";

/// What runs it.
pub const DEPLOYMENT: Deployment = Deployment {
    name: NAME,
    called: "the service",
    // A volume is provided, an image unpacked, an old pod ends.
    within: Duration::from_secs(240),
    unpulled: "`cargo xtask image --service --push REF` puts it into a registry; with HYBRID_CACHE_SERVICE_IMAGE=REF `up` uses \
               it from there",
};

/// The image in the engine: ours, built; else the one that a person names.
///
/// # Errors
/// It does not build, or what is named is not there.
pub async fn image(checkout: &Checkout, engine: &Engine, talk: &mut Talk) -> Result<String> {
    let Some(named) = overridden() else {
        let built = image::service::ensure(checkout, engine).await?;
        talk.skip("image", &built.reference);
        return Ok(built.reference);
    };
    if engine.image(&named).await?.is_none() {
        return Err(Expected::prerequisite(format!(
            "{named}, which {OVERRIDE} names, is not in the Docker engine\nhint: `docker pull {named}`"
        )));
    }
    Ok(named)
}

/// The image that it runs in, as far as one knows without building it.
pub fn named(checkout: &Checkout) -> String {
    let ours = || image::service::reference(checkout);
    let latest = || format!("{}:latest", image::service::REPOSITORY);
    overridden().or_else(ours).unwrap_or_else(latest)
}

fn overridden() -> Option<String> {
    std::env::var(OVERRIDE).ok().filter(|reference| !reference.is_empty())
}

/// A token that nobody guesses.
///
/// # Errors
/// The system gives no random bytes.
pub fn new_token() -> Result<String> {
    let mut bytes = [0_u8; 32];
    let read = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty());
    anyhow::ensure!(
        read.context("reading random bytes")? == bytes.len(),
        "too few random bytes"
    );
    Ok(blake3::Hash::from_bytes(bytes).to_hex().to_string())
}

/// What a driver is told, as a file.
///
/// # Errors
/// Never, as it is plain data.
pub fn driver_json(config: &KubeConfig) -> Result<Vec<u8>> {
    Ok(serde_json::to_vec_pretty(config)?)
}

/// What there is of it in a cluster.
pub struct Service {
    image: String,
    on_node: Option<bool>,
    has_token: bool,
    objects: Vec<(Value, Examined)>,
    rollout: Rollout,
}

impl Service {
    /// Looks. Changes nothing.
    ///
    /// # Errors
    /// The cluster or its node does not answer.
    pub async fn observe(
        api: &ClusterApi,
        checkout: &Checkout,
        node: Option<Node<'_>>,
        source: VolumeSource,
        (image, config): (&str, &KubeConfig),
    ) -> Result<Service> {
        let wanted = manifests::service(checkout, &source, image, &driver_json(config)?)?;
        let wanted: Vec<_> = wanted.into_iter().map(|object| api.placed(object)).collect();
        let examined = futures_util::future::try_join_all(wanted.iter().map(|object| api.examine(object)));
        let token = manifests::service_token("");
        let (examined, token, rollout, on_node) =
            tokio::try_join!(examined, api.get(&token), DEPLOYMENT.rollout(api), on_node(node, image))?;
        Ok(Service {
            image: image.to_owned(),
            on_node,
            has_token: token.is_some(),
            objects: wanted.into_iter().zip(examined).collect(),
            rollout,
        })
    }

    /// What has to be done.
    pub fn plan(&self, leave: Leave) -> Vec<Planned> {
        let mut todo = Vec::new();
        if self.on_node == Some(false) {
            let what = format!("{} is not on the node", self.image);
            todo.push(Planned::new(STEP, Decision::Create, what));
        }
        if !self.has_token {
            let what = format!("Secret {NAMESPACE}/{TOKEN}: a random token, kept from then on");
            todo.push(Planned::new(STEP, Decision::Create, what));
        }
        let objects = plan::objects(&self.objects, leave);
        todo.extend(objects.into_iter().map(|planned| Planned { step: STEP, ..planned }));
        todo.extend(self.rollout.waited_for(STEP, &todo));
        todo
    }

    /// Does it, and waits until the service is Ready.
    ///
    /// # Errors
    /// Something stands in the way, or it does not become Ready.
    pub async fn act(&self, api: &ClusterApi, kind: Option<&KindCluster>, leave: Leave, talk: &mut Talk) -> Result<()> {
        talk.begin(STEP, "bringing the task service up");
        if let (Some(cluster), Some(false)) = (kind, self.on_node) {
            talk.hear(&format!("copying {} onto the node", self.image));
            let listen = &mut |line: &str| talk.hear(line);
            cluster.kind.load(&cluster.name, &self.image, listen).await?;
        }
        if !self.has_token {
            let token = manifests::service_token(&new_token()?);
            inside::refused(&token, api.apply(&token).await?)?;
        }
        inside::apply(api, &self.objects, leave, talk).await?;
        talk.hear("waiting for it to be Ready");
        DEPLOYMENT.wait_ready(api).await?;
        talk.end("it is Ready");
        Ok(())
    }
}

async fn on_node(node: Option<Node<'_>>, image: &str) -> Result<Option<bool>> {
    let Some(Node { engine, container }) = node else {
        return Ok(None);
    };
    let (stored, images) = tokio::try_join!(engine.image(image), node::images(engine, container))?;
    Ok(Some(
        stored.is_some_and(|stored| node::has_image(&images, image, &stored.id)),
    ))
}

/// What there is to delete of it, whatever is in it; the claim with the tasks among it.
///
/// # Errors
/// The manifest is missing or no YAML.
pub fn everything(checkout: &Checkout) -> Result<Vec<Value>> {
    let mut objects = manifests::service(checkout, &VolumeSource::StorageClass(None), "", b"")?;
    objects.push(manifests::service_token(""));
    debug_assert!(objects.iter().any(|object| describe(object).ends_with(NAME)));
    Ok(objects)
}

/// The claims that keep its tasks.
///
/// # Errors
/// The manifest is missing or no YAML.
pub fn claims(checkout: &Checkout) -> Result<Vec<Value>> {
    let mut objects = everything(checkout)?;
    objects.retain(|object| object["kind"] == "PersistentVolumeClaim");
    Ok(objects)
}

#[cfg(test)]
mod tests;
