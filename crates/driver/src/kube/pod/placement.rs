//! What an operator's settings say of every pod: its nodes, its RuntimeClass, and the logins of registries.

use hybrid_cache_model::placement::{PodPlacement, Toleration};
use k8s_openapi::api::core::v1::{LocalObjectReference, PodSpec, Toleration as KubeToleration};

/// The same pod where the operator wants it.
pub fn place(pod: PodSpec, placement: &PodPlacement) -> PodSpec {
    let secret = |name: &String| LocalObjectReference { name: name.clone() };
    let secrets: Vec<_> = placement.image_pull_secrets.iter().map(secret).collect();
    let tolerations: Vec<_> = placement.tolerations.iter().map(toleration).collect();
    PodSpec {
        node_selector: Some(placement.node_selector.clone()).filter(|selector| !selector.is_empty()),
        tolerations: Some(tolerations).filter(|all| !all.is_empty()),
        runtime_class_name: placement.runtime_class_name.clone(),
        image_pull_secrets: Some(secrets).filter(|all| !all.is_empty()),
        ..pod
    }
}

fn toleration(toleration: &Toleration) -> KubeToleration {
    KubeToleration {
        key: toleration.key.clone(),
        operator: Some(toleration.operator.name().to_owned()),
        value: toleration.value.clone(),
        effect: toleration.effect.map(|effect| effect.name().to_owned()),
        toleration_seconds: toleration.toleration_seconds.map(i64::from),
    }
}
