//! The optional parts that `up` installs if requested: compose's files, Argo Workflows, the task service.

use hybrid_cache_tools::{Checkout, Result, Steps};

use crate::argo::Argo;
use crate::compose::ComposeFiles;
use crate::connection;
use crate::kind_cluster::KindCluster;
use crate::options::ServiceDriver;
use crate::plan::Planned;
use crate::service::Service;
use crate::task_setup::TaskSetup;
use crate::up::context::UpContext;

/// State of the optional parts in the cluster and on this machine.
pub struct AddOns {
    compose: Option<ComposeFiles>,
    argo: Option<Argo>,
    service: Option<Service>,
}

impl AddOns {
    /// Reads the state. Changes nothing.
    ///
    /// # Errors
    /// The cluster or its node does not answer, or a file of the checkout is missing.
    pub async fn observe(up: &UpContext<'_>, checkout: &Checkout, setup: &TaskSetup) -> Result<AddOns> {
        let nodes = up.nodes();
        let compose = up
            .kind
            .map(|cluster| ComposeFiles::new(checkout, &cluster.state, &up.later_config()));
        let argo = match up.options.wants_argo() {
            true => Some(Argo::observe(&up.api, checkout, nodes, &setup.ranges).await?),
            false => None,
        };
        let service = match &up.service {
            Some(image) => {
                let config = match up.options.with_service {
                    Some(ServiceDriver::Argo) => connection::with_argo(up.config.clone()),
                    Some(ServiceDriver::Kube) | None => up.later_config(),
                };
                let image_and_config = (image.as_str(), &config);
                Some(Service::observe(&up.api, checkout, nodes, setup.source.clone(), image_and_config).await?)
            }
            None => None,
        };
        Ok(AddOns {
            compose: compose.transpose()?,
            argo,
            service,
        })
    }

    /// What has to be done, in order.
    pub fn plan(&self, up: &UpContext<'_>) -> Vec<Planned> {
        let mut todo: Vec<_> = self.compose.iter().map(ComposeFiles::plan).collect();
        todo.extend(self.argo.iter().flat_map(|argo| argo.plan(up.options.recreate)));
        todo.extend(
            self.service
                .iter()
                .flat_map(|service| service.plan(up.options.recreate)),
        );
        todo
    }

    /// Carries a step out. Returns false if the step is not one of these.
    ///
    /// # Errors
    /// Something blocks the step, or a part does not become Ready.
    pub async fn act(&self, step: &str, up: &UpContext<'_>, steps: &Steps<'_>) -> Result<bool> {
        match (step, &self.compose, &self.argo, &self.service) {
            ("compose", Some(files), ..) => files.write(steps)?,
            ("argo", _, Some(argo), _) => argo.act(&up.api, up.kind, up.options.recreate, steps).await?,
            ("service", .., Some(service)) => {
                up.kind.map(KindCluster::note_service).transpose()?;
                service.act(&up.api, up.kind, up.options.recreate, steps).await?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }
}
