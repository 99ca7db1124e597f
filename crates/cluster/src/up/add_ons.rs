//! What `up` brings beside the place for tasks, where it is asked for: compose's files, Argo Workflows, the task service.

use anyhow::Result;

use super::{Up, leave};
use crate::checkout::Checkout;
use crate::cluster::argo::Argo;
use crate::cluster::compose;
use crate::cluster::inside::Inside;
use crate::cluster::making::KindCluster;
use crate::cluster::place;
use crate::cluster::plan::Planned;
use crate::cluster::service::Service;
use crate::cluster::talk::Talk;
use crate::flags::ServiceDriver;

/// As it is in the cluster and on this machine.
pub struct Beside {
    compose: Option<compose::Files>,
    argo: Option<Argo>,
    service: Option<Service>,
}

impl Beside {
    /// Looks. Changes nothing.
    ///
    /// # Errors
    /// The cluster or its node does not answer, or a file of the checkout is missing.
    pub async fn observe(up: &Up<'_>, checkout: &Checkout, inside: &Inside) -> Result<Beside> {
        let node = up.node()?;
        let compose = up
            .kind
            .map(|cluster| compose::Files::of(checkout, &cluster.state, &up.config));
        let argo = match up.flags.wants_argo() {
            true => Some(Argo::observe(&up.api, checkout, node, &inside.ranges).await?),
            false => None,
        };
        let service = match &up.service {
            Some(image) => {
                let config = match up.flags.with_service {
                    Some(ServiceDriver::Argo) => place::with_argo(up.config.clone()),
                    Some(ServiceDriver::Kube) | None => up.config.clone(),
                };
                let told = (image.as_str(), &config);
                Some(Service::observe(&up.api, checkout, node, inside.source.clone(), told).await?)
            }
            None => None,
        };
        Ok(Beside {
            compose: compose.transpose()?,
            argo,
            service,
        })
    }

    /// What has to be done, in order.
    pub fn plan(&self, up: &Up<'_>) -> Vec<Planned> {
        let mut todo: Vec<_> = self.compose.iter().map(compose::Files::plan).collect();
        todo.extend(self.argo.iter().flat_map(|argo| argo.plan(leave(up.flags))));
        todo.extend(self.service.iter().flat_map(|service| service.plan(leave(up.flags))));
        todo
    }

    /// Does a step. False where it is none of these.
    ///
    /// # Errors
    /// Something stands in the way, or does not come up.
    pub async fn act(&self, step: &str, up: &Up<'_>, talk: &mut Talk) -> Result<bool> {
        match (step, &self.compose, &self.argo, &self.service) {
            ("compose", Some(files), ..) => files.write(talk)?,
            ("argo", _, Some(argo), _) => argo.act(&up.api, up.kind, leave(up.flags), talk).await?,
            ("service", .., Some(service)) => {
                up.kind.map(KindCluster::note_service).transpose()?;
                service.act(&up.api, up.kind, leave(up.flags), talk).await?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }
}
