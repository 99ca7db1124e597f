//! Converts options to those of the crates that do the work.

use std::path::Path;

use hybrid_cache_cluster::{BackendKind, ClusterChoice, StandbyChoice};
use hybrid_cache_driver::local::Network;
use hybrid_cache_tools::{MachineOptions, ProviderChoice, SourceChoice, ToolChoice};

use super::place::{Choice, Cluster, DriverName, Local, NetworkName, ProviderName, SourceName};

impl From<DriverName> for BackendKind {
    fn from(name: DriverName) -> BackendKind {
        match name {
            DriverName::Local => BackendKind::Local,
            DriverName::Kube => BackendKind::Kube,
            DriverName::Argo => BackendKind::Argo,
        }
    }
}

impl From<Choice> for ToolChoice {
    fn from(named: Choice) -> ToolChoice {
        ToolChoice {
            provider: match named.nix_provider {
                ProviderName::Auto => ProviderChoice::Auto,
                ProviderName::Nix => ProviderChoice::Nix,
                ProviderName::NixPortable => ProviderChoice::NixPortable,
            },
            source: match named.package_source {
                SourceName::Auto => SourceChoice::Auto,
                SourceName::Nixpkgs => SourceChoice::Nixpkgs,
                SourceName::Debnix => SourceChoice::Debnix,
            },
        }
    }
}

impl Local {
    /// This machine as a place to run tasks. The option for the operator's settings is one for both places.
    pub fn options(&self, settings: Option<&Path>) -> MachineOptions {
        MachineOptions {
            cache_dir: self.cache_dir.clone(),
            choice: self.choice.into(),
            network: match self.network() {
                NetworkName::Isolated => Network::Isolated,
                NetworkName::Shared => Network::Shared,
                NetworkName::None => Network::None,
            },
            private_index: self.private_index,
            no_builds: self.no_builds,
            settings: settings.map(Path::to_owned),
            trace_bytes: hybrid_cache_driver::trace::DEFAULT_MAX_BYTES * u64::from(!self.no_trace),
            limits: self.bounds.limits(),
        }
    }
}

impl Cluster {
    /// Which cluster.
    pub fn choice(&self) -> ClusterChoice {
        ClusterChoice {
            name: self.name.clone(),
            context: self.context.clone(),
            namespace: self.namespace.clone(),
            settings: self.settings.clone(),
            standby: StandbyChoice::None,
        }
    }

    /// The same with these standby pods; without any, with those that `up` recorded.
    pub fn with_standby(&self, standby: Option<StandbyChoice>) -> ClusterChoice {
        ClusterChoice {
            standby: standby.unwrap_or(StandbyChoice::Recorded),
            ..self.choice()
        }
    }
}
