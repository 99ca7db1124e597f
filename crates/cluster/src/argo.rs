//! Argo Workflows in a cluster. A kind cluster also gets Argo's controller; any other cluster gets only what our Workflows need.

use std::time::Duration;

use futures_util::future::try_join_all;
use hybrid_cache_tools::{Checkout, Result, Steps};
use serde_json::Value;

use crate::api::ClusterApi;
use crate::apply::apply;
use crate::kind_cluster::KindCluster;
use crate::node;
use crate::nodes::Nodes;
use crate::objects::DryRun;
use crate::options::RecreatePolicy;
use crate::plan::{self, Decision, Planned};
use crate::ranges::Ranges;
use crate::rollout::{Deployment, Rollout};
use crate::{manifests, resource_kinds};

const STEP: &str = "argo";

/// The controller that runs Workflows, as in manifests/argo-controller.yaml, under its usual name.
pub const CONTROLLER: Deployment = Deployment {
    name: "workflow-controller",
    called: "Argo's controller",
    within: Duration::from_secs(120),
    unpulled: "`cargo xtask node-image` makes a node image that holds Argo's images, `down` and `up --with-argo` a cluster of it, \
               whose caches are the same; or pull Argo's own into Docker and tag them so: `up` copies them onto the node from \
               there",
};

/// Where an image is on its way to a kind node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ImageLocation {
    /// On the node.
    Node,
    /// In the Docker engine.
    Engine,
    /// In neither; the node pulls the image if it can.
    Nowhere,
}

/// Who installs Argo Workflows.
#[derive(Debug)]
enum Source {
    /// We do, on a kind cluster: the images, and the state of the controller.
    Ours {
        images: Vec<(String, ImageLocation)>,
        rollout: Rollout,
    },
    /// The cluster's owner does, or does not: whether the API server knows Workflows.
    Theirs { is_there: bool },
}

/// The state of Argo Workflows in a cluster.
#[derive(Debug)]
pub struct Argo {
    source: Source,
    objects: Vec<(Value, DryRun)>,
}

impl Argo {
    /// Reads the state. Changes nothing.
    ///
    /// # Errors
    /// The cluster or a node of it does not answer.
    pub async fn observe(
        api: &ClusterApi,
        checkout: &Checkout,
        nodes: Option<Nodes<'_>>,
        ranges: &Ranges,
    ) -> Result<Argo> {
        let (mut wanted, source) = match nodes {
            None => {
                let is_there = api.knows(resource_kinds::WORKFLOW).await?;
                (Vec::new(), Source::Theirs { is_there })
            }
            Some(nodes) => {
                let controller = manifests::argo_controller(checkout)?;
                let images = held(nodes, manifests::argo_images(&controller));
                let (images, rollout) = tokio::try_join!(images, CONTROLLER.rollout(api))?;
                (controller, Source::Ours { images, rollout })
            }
        };
        wanted.extend(manifests::argo(checkout)?);
        let wanted: Vec<_> = wanted
            .into_iter()
            .map(|object| api.placed(ranges.fitted(object)))
            .collect();
        let dry_runs = try_join_all(wanted.iter().map(|object| api.dry_run(object))).await?;
        let objects = wanted.into_iter().zip(dry_runs).collect();
        Ok(Argo { source, objects })
    }

    /// What has to be done.
    pub fn plan(&self, recreate: RecreatePolicy) -> Vec<Planned> {
        let mut todo = Vec::new();
        match &self.source {
            Source::Theirs { is_there: true } => {}
            Source::Theirs { is_there: false } => {
                let what = "Argo Workflows is not installed there: the API server does not know Workflows of \
                            argoproj.io/v1alpha1\nhint: install Argo Workflows in that cluster, or leave --with-argo out";
                return vec![Planned::new(STEP, Decision::Conflict, what)];
            }
            Source::Ours { images, .. } => todo.extend(images.iter().filter_map(planned)),
        }
        let objects = plan::objects(&self.objects, recreate);
        todo.extend(objects.into_iter().map(|planned| Planned { step: STEP, ..planned }));
        if let Source::Ours { rollout, .. } = &self.source {
            todo.extend(rollout.waited_for(STEP, &todo));
        }
        todo
    }

    /// Installs Argo Workflows, and waits until the controller is Ready if it is ours.
    ///
    /// # Errors
    /// Something blocks a step, or the controller does not become Ready.
    pub async fn act(
        &self,
        api: &ClusterApi,
        kind: Option<&KindCluster>,
        recreate: RecreatePolicy,
        steps: &Steps<'_>,
    ) -> Result<()> {
        steps.begin(STEP, "bringing what Workflows need");
        let Source::Ours { images, .. } = &self.source else {
            apply(api, &self.objects, recreate, steps).await?;
            steps.end("Argo Workflows is there, and what our Workflows need of it");
            return Ok(());
        };
        for (image, _) in images.iter().filter(|(_, held)| *held == ImageLocation::Engine) {
            let Some(cluster) = kind else { continue };
            steps.detail(&format!("copying {image} onto the node"));
            let listen = &mut |line: &str| steps.detail(line);
            cluster.kind.load(&cluster.name, image, listen).await?;
        }
        apply(api, &self.objects, recreate, steps).await?;
        steps.detail("waiting for its controller to be Ready");
        CONTROLLER.wait_ready(api).await?;
        steps.end("its controller is Ready");
        Ok(())
    }
}

/// The plan's line for an image that is not on the node.
fn planned((image, held): &(String, ImageLocation)) -> Option<Planned> {
    match held {
        ImageLocation::Node => None,
        ImageLocation::Engine => {
            let what = format!("{image} is not on the node");
            Some(Planned::new(STEP, Decision::Create, what))
        }
        ImageLocation::Nowhere => {
            let what = format!("{image} is not on the node and not in Docker: the node has to pull it");
            Some(Planned::new(STEP, Decision::Nothing, what))
        }
    }
}

async fn held(nodes: Nodes<'_>, images: Vec<String>) -> Result<Vec<(String, ImageLocation)>> {
    let stored = try_join_all(images.iter().map(|image| nodes.engine.image(image)));
    let (stored, on_node) = tokio::try_join!(stored, nodes.images())?;
    let held = |(image, stored): (String, Option<_>)| {
        let held = match (node::has_name(&on_node, &image), stored) {
            (true, _) => ImageLocation::Node,
            (false, Some(_)) => ImageLocation::Engine,
            (false, None) => ImageLocation::Nowhere,
        };
        (image, held)
    };
    Ok(images.into_iter().zip(stored).map(held).collect())
}

#[cfg(test)]
mod tests;
