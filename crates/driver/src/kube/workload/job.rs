//! A workload as a Job of Kubernetes.

use k8s_openapi::api::batch::v1::{Job, JobSpec};
use k8s_openapi::api::core::v1::{PodSpec, PodTemplateSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::kube::workload::frame::WorkloadFrame;
use crate::kube::workload::state::{WorkloadObject, WorkloadState};

impl WorkloadObject for Job {
    fn state(&self) -> WorkloadState {
        if self.metadata.deletion_timestamp.is_some() {
            return WorkloadState::Gone;
        }
        let conditions = self.status.iter().flat_map(|status| status.conditions.iter().flatten());
        let held = conditions.filter(|condition| condition.status == "True");
        let mut state = WorkloadState::Active;
        for condition in held {
            match condition.type_.as_str() {
                "Complete" | "SuccessCriteriaMet" => state = WorkloadState::Complete,
                "Failed" | "FailureTarget" => {
                    state = WorkloadState::Failed {
                        reason: condition.reason.clone().unwrap_or_default(),
                        message: condition.message.clone().unwrap_or_default(),
                    };
                }
                _ => {}
            }
        }
        state
    }
}

/// The Job around a pod.
pub fn job(frame: WorkloadFrame, pod: PodSpec) -> Job {
    Job {
        metadata: ObjectMeta {
            name: Some(frame.name.to_owned()),
            labels: Some(frame.labels.clone()),
            annotations: Some(frame.annotations).filter(|annotations| !annotations.is_empty()),
            ..ObjectMeta::default()
        },
        spec: Some(JobSpec {
            // A task runs once; only its submitter may decide to run it again.
            backoff_limit: Some(0),
            active_deadline_seconds: Some(i64::try_from(frame.deadline_s).unwrap_or(i64::MAX)),
            ttl_seconds_after_finished: Some(i32::try_from(frame.ttl_s).unwrap_or(i32::MAX)),
            template: PodTemplateSpec {
                metadata: Some(ObjectMeta {
                    labels: Some(frame.labels),
                    ..ObjectMeta::default()
                }),
                spec: Some(pod),
            },
            ..JobSpec::default()
        }),
        status: None,
    }
}
