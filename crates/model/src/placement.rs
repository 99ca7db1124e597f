//! Where an operator lets pods run, and what they need there: part of the driver's configuration on Kubernetes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What every pod of ours gets of the operator's settings.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct PodPlacement {
    /// Labels that a node must have.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub node_selector: BTreeMap<String, String>,
    /// Taints of nodes that do not keep pods away.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tolerations: Vec<Toleration>,
    /// The RuntimeClass that runs the containers, such as one of gVisor or Kata; `None`: the node's default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runtime_class_name: Option<String>,
    /// Secrets with logins of registries, in the namespace of tasks.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub image_pull_secrets: Vec<String>,
}

impl PodPlacement {
    /// True if nothing is set.
    pub fn is_empty(&self) -> bool {
        *self == PodPlacement::default()
    }
}

/// A taint that does not keep pods away, as Kubernetes has it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Toleration {
    /// Key of the taint; `None`, with the operator `Exists`, means every taint.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// How the value is compared.
    pub operator: TolerationOperator,
    /// Value of the taint; empty with `Exists`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// Effect of the taint; `None` means every effect.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub effect: Option<TaintEffect>,
    /// Seconds for which a taint that comes later is tolerated, with the effect `NoExecute`; `None`: for good.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub toleration_seconds: Option<u32>,
}

/// How a toleration compares the value of a taint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum TolerationOperator {
    /// The value is the same.
    #[default]
    Equal,
    /// Any value.
    Exists,
}

impl TolerationOperator {
    /// Both.
    pub const ALL: [TolerationOperator; 2] = [TolerationOperator::Equal, TolerationOperator::Exists];

    /// Kubernetes' word for it.
    pub fn name(self) -> &'static str {
        match self {
            TolerationOperator::Equal => "Equal",
            TolerationOperator::Exists => "Exists",
        }
    }
}

/// What a taint does with pods that do not tolerate it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TaintEffect {
    /// None is placed there.
    NoSchedule,
    /// None is placed there if another node has room.
    PreferNoSchedule,
    /// None is placed there, and those that run there are evicted.
    NoExecute,
}

impl TaintEffect {
    /// All of them.
    pub const ALL: [TaintEffect; 3] = [
        TaintEffect::NoSchedule,
        TaintEffect::PreferNoSchedule,
        TaintEffect::NoExecute,
    ];

    /// Kubernetes' word for it.
    pub fn name(self) -> &'static str {
        match self {
            TaintEffect::NoSchedule => "NoSchedule",
            TaintEffect::PreferNoSchedule => "PreferNoSchedule",
            TaintEffect::NoExecute => "NoExecute",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_that_are_written() {
        for effect in TaintEffect::ALL {
            assert_eq!(serde_json::to_value(effect).unwrap(), effect.name());
        }
        for operator in TolerationOperator::ALL {
            assert_eq!(serde_json::to_value(operator).unwrap(), operator.name());
        }
    }

    #[test]
    fn nothing_is_written_of_a_placement_that_sets_nothing() {
        let nothing = PodPlacement::default();
        assert!(nothing.is_empty());
        assert_eq!(serde_json::to_string(&nothing).unwrap(), "{}");
        let text = r#"{"nodeSelector":{"pool":"tasks"},"runtimeClassName":"gvisor"}"#;
        let read: PodPlacement = serde_json::from_str(text).unwrap();
        assert!(!read.is_empty());
        assert_eq!(serde_json::to_string(&read).unwrap(), text);
    }
}
