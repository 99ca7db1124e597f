//! The part of the settings that is about pods: where they run, and what a task may use there.

use std::collections::BTreeMap;

use crate::labels;
use crate::placement::{PodPlacement, TaintEffect, Toleration, TolerationOperator};
use crate::prepared::PreparedInterpreter;
use crate::quantity;
use crate::requirement::Refusal;
use crate::resources::{RESOURCE_FIELDS, ResourceKind, TaskResources};
use crate::settings::faults::{FaultList, HINT, line, quote};
use crate::settings::prepared;
use crate::settings::tree::{Node, Tree};

const FIELDS: [&str; 6] = [
    "nodeSelector",
    "tolerations",
    "runtimeClassName",
    "imagePullSecrets",
    "taskResources",
    "preparedInterpreters",
];
const TOLERATION_FIELDS: [&str; 5] = ["key", "operator", "value", "effect", "tolerationSeconds"];
const RESOURCE_GROUPS: [&str; 3] = ["requests", "limits", "maximum"];
/// What the scheduler sets aside. Disk is not set aside: tasks rarely use what they may.
const REQUEST_FIELDS: &[&str] = &["cpu", "memory"];

/// What the settings say of pods.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodSettings {
    /// What every pod gets.
    pub placement: PodPlacement,
    /// What the scheduler sets aside for a task that asks for nothing.
    pub requests: TaskResources,
    /// What such a task may use.
    pub limits: TaskResources,
    /// The most that a task may ask for.
    pub maximum: TaskResources,
    /// Interpreters that standby pods prepare.
    pub prepared: Vec<PreparedInterpreter>,
}

/// Reads the field `pods`.
pub fn read(place: &str, node: &Node, faults: &mut FaultList) -> PodSettings {
    let mut pods = PodSettings::default();
    for (name, node) in faults.fields(place, node, &FIELDS) {
        let place = format!("{place}.{name}");
        match name {
            "nodeSelector" => pods.placement.node_selector = node_selector(&place, node, faults),
            "tolerations" => {
                for (place, item) in faults.list(&place, node) {
                    let toleration = toleration(&place, item, faults);
                    pods.placement.tolerations.push(toleration);
                }
            }
            "runtimeClassName" => pods.placement.runtime_class_name = object_name(&place, node, faults),
            "imagePullSecrets" => pods.placement.image_pull_secrets = secrets(&place, node, faults),
            "preparedInterpreters" => pods.prepared = prepared::read(&place, node, faults),
            _ => task_resources(&place, node, faults, &mut pods),
        }
    }
    pods
}

fn node_selector(place: &str, node: &Node, faults: &mut FaultList) -> BTreeMap<String, String> {
    let mut selector = BTreeMap::new();
    for (key, node) in faults.pairs(place, node) {
        let place = format!("{place}.{}", quote(key).trim_matches('`'));
        let Some(value) = faults.quoted_text(&place, node) else {
            continue;
        };
        match labels::check_one(key, value) {
            Ok(()) => drop(selector.insert(key.to_owned(), value.to_owned())),
            Err(refusal) => faults.add(line(node), &place, refusal.message, refusal.hint),
        }
    }
    selector
}

fn toleration(place: &str, node: &Node, faults: &mut FaultList) -> Toleration {
    let mut read = Toleration::default();
    let mut has_key = false;
    for (name, node) in faults.fields(place, node, &TOLERATION_FIELDS) {
        let place = format!("{place}.{name}");
        match name {
            "tolerationSeconds" => match &node.value {
                Tree::Whole(seconds) if u32::try_from(*seconds).is_ok() => {
                    read.toleration_seconds = u32::try_from(*seconds).ok();
                }
                _ => faults.add(
                    line(node),
                    &place,
                    "it is not a number of seconds",
                    "write a whole number",
                ),
            },
            "operator" => {
                let words = TolerationOperator::ALL.map(|one| (one.name(), one));
                read.operator = word(&place, node, &words, faults).unwrap_or_default();
            }
            "effect" => read.effect = word(&place, node, &TaintEffect::ALL.map(|one| (one.name(), one)), faults),
            "key" => {
                has_key = true;
                read.key = label_part(&place, node, faults, |text| labels::check_one(text, ""));
            }
            _ => read.value = label_part(&place, node, faults, |text| labels::check_one("key", text)),
        }
    }
    let mut wrong = |message: &str, hint: &str| faults.add(line(node), place, message, hint);
    let exists = read.operator == TolerationOperator::Exists;
    if exists && read.value.as_ref().is_some_and(|value| !value.is_empty()) {
        wrong(
            "a value beside the operator `Exists`, which compares none",
            "leave `value` out, or write `Equal`",
        );
    }
    if !exists && !has_key {
        wrong(
            "it has no `key`",
            "name the key of the taint; `operator: Exists` alone tolerates every taint",
        );
    }
    if read.toleration_seconds.is_some() && read.effect != Some(TaintEffect::NoExecute) {
        wrong(
            "`tolerationSeconds` without the effect `NoExecute`",
            "add `effect: NoExecute`, or leave the seconds out",
        );
    }
    read
}

/// One of several words.
fn word<T: Copy>(place: &str, node: &Node, words: &[(&str, T)], faults: &mut FaultList) -> Option<T> {
    let text = faults.text(place, node)?;
    let found = words.iter().find(|(word, _)| *word == text);
    if found.is_none() {
        let known: Vec<_> = words.iter().map(|(word, _)| format!("`{word}`")).collect();
        let hint = format!("write {}", known.join(" or "));
        faults.add(
            line(node),
            place,
            format!("{} is not one of its words", quote(text)),
            hint,
        );
    }
    found.map(|(_, value)| *value)
}

/// A text that `check` accepts.
fn label_part(
    place: &str,
    node: &Node,
    faults: &mut FaultList,
    check: impl Fn(&str) -> Result<(), Refusal>,
) -> Option<String> {
    let text = faults.quoted_text(place, node)?;
    match check(text) {
        Ok(()) => Some(text.to_owned()),
        Err(refusal) => {
            faults.add(line(node), place, refusal.message, refusal.hint);
            None
        }
    }
}

/// The name of an object of the cluster.
fn object_name(place: &str, node: &Node, faults: &mut FaultList) -> Option<String> {
    let text = faults.quoted_text(place, node)?;
    if labels::is_dns_name(text) {
        return Some(text.to_owned());
    }
    let hint = "write the name as `kubectl get` shows it: lower-case letters, digits, `-` and `.`";
    faults.add(
        line(node),
        place,
        format!("{} is not the name of an object", quote(text)),
        hint,
    );
    None
}

fn secrets(place: &str, node: &Node, faults: &mut FaultList) -> Vec<String> {
    let mut names = Vec::new();
    for (place, item) in faults.list(place, node) {
        let Some(name) = object_name(&place, item, faults) else {
            continue;
        };
        if names.contains(&name) {
            faults.add(
                line(item),
                &place,
                format!("{} is there twice", quote(&name)),
                "leave one of them out",
            );
        } else {
            names.push(name);
        }
    }
    names
}

fn task_resources(place: &str, node: &Node, faults: &mut FaultList, pods: &mut PodSettings) {
    let mut lines = [[0; 3]; 3];
    for (name, node) in faults.fields(place, node, &RESOURCE_GROUPS) {
        let (number, group, known) = match name {
            "requests" => (0, &mut pods.requests, REQUEST_FIELDS),
            "limits" => (1, &mut pods.limits, RESOURCE_FIELDS),
            _ => (2, &mut pods.maximum, RESOURCE_FIELDS),
        };
        let place = format!("{place}.{name}");
        for (field, node) in faults.fields(&place, node, known) {
            let kind = ResourceKind::ALL.into_iter().find(|kind| kind.name() == field);
            let Some(kind) = kind else { continue };
            if let Some(amount) = amount(&format!("{place}.{field}"), node, kind, faults) {
                lines[number][kind as usize] = line(node);
                group.set(kind, amount);
            }
        }
    }
    let groups = [&pods.requests, &pods.limits, &pods.maximum];
    for kind in ResourceKind::ALL {
        for (smaller, larger) in [(0, 1), (1, 2), (0, 2)] {
            let is_judged = larger == 2 && smaller == 0 && groups[1].get(kind).is_some();
            if let (Some(one), Some(other)) = (groups[smaller].get(kind), groups[larger].get(kind))
                && !is_judged
                && quantity::is_more(one, other)
            {
                let (name, than) = (RESOURCE_GROUPS[smaller], RESOURCE_GROUPS[larger]);
                let field = format!("{place}.{name}.{}", kind.name());
                let message = format!("`{one}` is more than `{other}` of `{than}`");
                let hint = format!("lower it, or raise `{than}`: requests, limits and maximum are in this order");
                faults.add(lines[smaller][kind as usize], &field, message, hint);
            }
        }
    }
}

/// An amount, which may be a whole number.
fn amount(place: &str, node: &Node, kind: ResourceKind, faults: &mut FaultList) -> Option<String> {
    let text = match &node.value {
        Tree::Text(text) => text.clone(),
        Tree::Whole(number) => number.to_string(),
        Tree::Other => {
            faults.add(
                line(node),
                place,
                "it is a number with a fraction",
                "write it in quotes, such as `\"0.5\"`",
            );
            return None;
        }
        _ => {
            faults.add(line(node), place, "it is not an amount", HINT);
            return None;
        }
    };
    match kind.check(&text) {
        Ok(()) => Some(text),
        Err(refusal) => {
            faults.add(line(node), place, refusal.message, refusal.hint);
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::tree;

    fn read_pods(text: &str) -> (PodSettings, Vec<String>) {
        let document = tree::read(text).unwrap();
        let mut faults = FaultList::default();
        let pods = read("pods", &document, &mut faults);
        (pods, faults.all().iter().map(ToString::to_string).collect())
    }

    #[test]
    fn every_field_reaches_the_settings() {
        let text = "\
nodeSelector: {pool: tasks, example.org/gpu: \"1\"}
tolerations:
  - {key: dedicated, value: tasks, effect: NoSchedule}
  - {operator: Exists, effect: NoExecute, tolerationSeconds: 30}
runtimeClassName: gvisor
imagePullSecrets: [registry, other.registry]
taskResources:
  requests: {cpu: 100m}
  limits: {cpu: 1, memory: 512Mi, disk: 1Gi}
  maximum: {cpu: \"4\", memory: 8Gi}
";
        let (pods, faults) = read_pods(text);
        assert_eq!(faults, Vec::<String>::new());
        let placement = serde_json::to_value(&pods.placement).unwrap();
        assert_eq!(
            placement,
            serde_json::json!({
                "nodeSelector": {"pool": "tasks", "example.org/gpu": "1"},
                "tolerations": [
                    {"key": "dedicated", "operator": "Equal", "value": "tasks", "effect": "NoSchedule"},
                    {"operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 30},
                ],
                "runtimeClassName": "gvisor",
                "imagePullSecrets": ["registry", "other.registry"],
            })
        );
        assert_eq!(pods.requests.shown(), "cpu 100m");
        assert_eq!(pods.limits.shown(), "cpu 1, memory 512Mi, disk 1Gi");
        assert_eq!(pods.maximum.shown(), "cpu 4, memory 8Gi");
        for empty in ["{}", "nodeSelector:\ntolerations: []\ntaskResources: {limits: {}}\n"] {
            assert_eq!(read_pods(empty), (PodSettings::default(), Vec::new()), "{empty}");
        }
    }

    #[test]
    fn every_fault_has_its_line_and_its_field() {
        let text = "\
nodeSelector:
  pool: 1
  a b: c
tolerations:
  - {value: tasks}
  - {key: a, operator: Exists, value: b}
  - {key: a, operator: exists, effect: Never, seconds: 1}
  - {key: a, tolerationSeconds: 3}
  - {key: a, effect: NoExecute, tolerationSeconds: soon}
  - {key: -a, value: b c}
runtimeClassName: GVisor
imagePullSecrets:
  - registry
  - registry
  - /etc/secret
taskResources:
  requests: {cpu: 2, memory: 9Gi, disk: 1Gi}
  limits: {cpu: 1.5, memory: 512m}
  maximum:
    cpu: \"1\"
    memory: 8Gi
  most: {}
affinity: {}
";
        let (_, reported) = read_pods(text);
        let expected = [
            (2, "pods.nodeSelector.pool", "not a text"),
            (3, "pods.nodeSelector.a b", "not the key"),
            (5, "pods.tolerations[0]", "no `key`"),
            (6, "pods.tolerations[1]", "beside the operator `Exists`"),
            (7, "pods.tolerations[2].operator", "`exists` is not one of its words"),
            (7, "pods.tolerations[2].effect", "`Never`"),
            (7, "pods.tolerations[2].seconds", "no setting"),
            (8, "pods.tolerations[3]", "without the effect `NoExecute`"),
            (9, "pods.tolerations[4].tolerationSeconds", "not a number of seconds"),
            (10, "pods.tolerations[5].key", "not the key"),
            (10, "pods.tolerations[5].value", "not the value"),
            (11, "pods.runtimeClassName", "`GVisor` is not the name"),
            (14, "pods.imagePullSecrets[1]", "there twice"),
            (15, "pods.imagePullSecrets[2]", "is not the name"),
            (
                17,
                "pods.taskResources.requests.cpu",
                "`2` is more than `1` of `maximum`",
            ),
            (17, "pods.taskResources.requests.memory", "`9Gi` is more than `8Gi`"),
            (17, "pods.taskResources.requests.disk", "no setting"),
            (18, "pods.taskResources.limits.cpu", "number with a fraction"),
            (
                18,
                "pods.taskResources.limits.memory",
                "`512m` is not an amount of memory",
            ),
            (22, "pods.taskResources.most", "no setting"),
            (23, "pods.affinity", "no setting"),
        ];
        for (line, field, words) in expected {
            let start = format!("line {line}, {field}: ");
            let found = reported
                .iter()
                .find(|one| one.starts_with(&start) && one.contains(words));
            assert!(
                found.is_some_and(|one| one.contains("hint: ")),
                "{start}{words}: {reported:#?}"
            );
        }
        assert_eq!(reported.len(), expected.len(), "{reported:#?}");
    }
}
