//! Converts the options of `up`, `down` and `doctor` to those of the cluster crate.

use hybrid_cache_cluster::{self as cluster, DoctorOptions, DownOptions, RecreatePolicy, UpOptions};

use super::{Doctor, Down, ServiceDriver, Up};

impl Up {
    /// What is to be brought.
    pub fn options(&self) -> UpOptions {
        UpOptions {
            cluster: self.cluster.with_standby(self.standby),
            plan_only: self.plan,
            recreate: match self.recreate {
                true => RecreatePolicy::IfImmutable,
                false => RecreatePolicy::Never,
            },
            node_image: self.node_image.clone(),
            storage_class: self.storage_class.clone(),
            volume_sets: self.volume_sets,
            workers: self.workers,
            volumes_dir: self.volumes_dir.clone(),
            closed_ranges: self.closed_range.clone(),
            python_size: self.python_size.clone(),
            system_size: self.system_size.clone(),
            no_smoke_test: self.no_smoke_test,
            with_argo: self.with_argo,
            with_service: self.with_service.map(|driver| match driver {
                ServiceDriver::Kube => cluster::ServiceDriver::Kube,
                ServiceDriver::Argo => cluster::ServiceDriver::Argo,
            }),
        }
    }
}

impl Down {
    /// What is to be deleted.
    pub fn options(&self) -> DownOptions {
        DownOptions {
            cluster: self.cluster.choice(),
            volumes: self.volumes,
            service_data: self.service_data,
        }
    }
}

impl Doctor {
    /// What is to be looked at.
    pub fn options(&self) -> DoctorOptions {
        DoctorOptions {
            cluster: self.cluster.choice(),
            system: self.system.clone(),
            no_smoke_test: self.no_smoke_test,
        }
    }
}
