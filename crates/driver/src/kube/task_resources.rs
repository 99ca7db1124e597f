//! What a task's own `resources` become on a cluster, and how they are held against the operator's maximum.
//!
//! An amount that the task names is the limit of its container. CPU is shared, so the scheduler sets aside no more than for other
//! tasks. Memory is not, so all that was asked for is set aside.

use std::borrow::Cow;

use hybrid_cache_model::resources::ResourceKind;
use hybrid_cache_model::{TaskErrors, TaskResources, quantity};

use crate::kube::config::{KubeConfig, Resources};

impl KubeConfig {
    /// The configuration for a task that asks for these resources.
    pub(in crate::kube) fn for_task(&self, asked: &TaskResources) -> Cow<'_, KubeConfig> {
        if asked.is_empty() {
            return Cow::Borrowed(self);
        }
        Cow::Owned(KubeConfig {
            task_resources: self.task_resources.for_task(asked),
            ..self.clone()
        })
    }

    /// Refuses resources above the operator's maximum.
    ///
    /// # Errors
    /// Every amount that is too large.
    pub(in crate::kube) fn check_resources(&self, asked: &TaskResources) -> Result<(), TaskErrors> {
        let (limits, most) = (&self.task_resources, &self.task_maximum);
        let amount = |kind: ResourceKind, limit: &String| Some(most.get(kind).unwrap_or(limit).to_owned());
        let most = TaskResources {
            cpu: amount(ResourceKind::Cpu, &limits.cpu_limit),
            memory: amount(ResourceKind::Memory, &limits.memory_limit),
            disk: amount(ResourceKind::Disk, &limits.disk_limit),
        };
        asked.check_within(&most, |kind| {
            format!("`pods.taskResources.maximum.{}` of the settings file", kind.name())
        })
    }
}

impl Resources {
    /// The resources of a task that asks for these.
    fn for_task(&self, asked: &TaskResources) -> Resources {
        let limit = |kind: ResourceKind, default: &str| asked.get(kind).unwrap_or(default).to_owned();
        let cpu_limit = limit(ResourceKind::Cpu, &self.cpu_limit);
        Resources {
            cpu_request: quantity::smaller(&self.cpu_request, &cpu_limit).to_owned(),
            cpu_limit,
            memory_request: limit(ResourceKind::Memory, &self.memory_request),
            memory_limit: limit(ResourceKind::Memory, &self.memory_limit),
            disk_limit: limit(ResourceKind::Disk, &self.disk_limit),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kube::config::tests::config;

    fn asking(cpu: &str, memory: &str, disk: &str) -> TaskResources {
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        TaskResources {
            cpu: some(cpu),
            memory: some(memory),
            disk: some(disk),
        }
    }

    #[test]
    fn what_is_asked_for_is_the_limit_and_memory_is_set_aside() {
        let of = |asked: TaskResources| {
            let resources = config().for_task(&asked).into_owned().task_resources;
            [
                resources.cpu_request,
                resources.cpu_limit,
                resources.memory_request,
                resources.memory_limit,
                resources.disk_limit,
            ]
        };
        assert_eq!(of(asking("", "", "")), ["100m", "1500m", "128Mi", "1Gi", "2Gi"]);
        assert_eq!(
            of(asking("1", "512Mi", "100Mi")),
            ["100m", "1", "512Mi", "512Mi", "100Mi"]
        );
        assert_eq!(of(asking("50m", "64Mi", "")), ["50m", "50m", "64Mi", "64Mi", "2Gi"]);
        assert!(matches!(config().for_task(&TaskResources::default()), Cow::Borrowed(_)));
    }

    #[test]
    fn a_maximum_that_is_not_set_is_the_limit_of_other_tasks() {
        let mut config = config();
        config.task_maximum.memory = Some("8Gi".to_owned());
        assert_eq!(config.check_resources(&asking("1500m", "8Gi", "2Gi")), Ok(()));
        let errors = config.check_resources(&asking("2", "9Gi", "3Gi")).unwrap_err();
        assert_eq!(errors.total(), 3);
        let reported = errors.to_string();
        for part in [
            "/resources/cpu: `2` of cpu is more than the limit for one task, `1500m`",
            "/resources/memory: `9Gi` of memory is more than the limit for one task, `8Gi`",
            "ask for at most `2Gi`",
            "the operator can raise `pods.taskResources.maximum.disk` of the settings file",
        ] {
            assert!(reported.contains(part), "{part}: {reported}");
        }
    }
}
