//! The overview of a status, as rows of a name and a text for a person.

use crate::status::report::{HitRate, Status};

impl Status {
    /// The overview: the cluster, its nodes, what runs in it and what its tasks found.
    pub fn rows(&self) -> Vec<[String; 2]> {
        let mut rows = self.places();
        let mut row = |name: &str, text: String| rows.push([name.to_owned(), text]);
        if let Some(argo) = &self.argo {
            let about = argo.image.as_deref().or(argo.reason.as_deref()).unwrap_or_default();
            row("argo", [argo.state, about].join("  "));
        }
        if let Some(service) = &self.service {
            let about = service
                .image
                .as_deref()
                .or(service.reason.as_deref())
                .unwrap_or_default();
            row("service", [service.state, &service.address, about].join("  "));
        }
        if let Some(standby) = &self.standby {
            row("standby", standby.in_words());
        }
        let tasks = &self.tasks;
        let counts = [
            (tasks.queued, "queued"),
            (tasks.running, "running"),
            (tasks.succeeded, "succeeded"),
            (tasks.failed, "failed"),
        ];
        row(
            "tasks",
            counts.map(|(count, word)| format!("{count} {word}")).join(", "),
        );
        let [python, system] = [&self.hits.python, &self.hits.system].map(HitRate::in_words);
        row("hits", format!("python {python}, system {system}"));
        if let Some(caches) = &self.caches {
            let words = format!(
                "{} Python environments for {} requests; {} sets of system packages",
                caches.environments, caches.requests, caches.system_sets
            );
            row("warm", words);
        }
        rows
    }

    fn places(&self) -> Vec<[String; 2]> {
        let mut rows = Vec::new();
        let mut row = |name: &str, text: String| rows.push([name.to_owned(), text]);
        let cluster = &self.cluster;
        let mut words = vec![cluster.name.clone(), cluster.state.name().to_owned()];
        words.extend(cluster.version.clone());
        words.extend(cluster.address.clone());
        row("cluster", words.join("  "));
        for node in &self.nodes {
            let has: Vec<_> = node
                .allocatable
                .iter()
                .map(|(name, quantity)| format!("{name} {quantity}"))
                .collect();
            let ready = if node.ready { "Ready" } else { node.condition.as_str() };
            let words = [node.name.as_str(), ready, &node.version, &node.runtime, &has.join(", ")];
            row("node", words.join("  "));
        }
        let on_node = match self.image.on_node {
            Some(true) => "on the node",
            Some(false) => "not on the node, or another one there",
            None => "",
        };
        let reference = self.image.reference.as_deref().unwrap_or("not built yet");
        row("image", [reference, on_node].join("  "));
        rows
    }
}

impl HitRate {
    fn in_words(&self) -> String {
        match self.asked {
            0 => "not asked".to_owned(),
            asked => format!("{} of {asked} ({} %)", self.hit, self.hit * 100 / asked),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rollout::Rollout;
    use crate::standby::StandbyReport;
    use crate::status::{ClusterState, ServiceStatus};

    #[test]
    fn the_overview_names_what_there_is_and_nothing_else() {
        let mut status = Status::default();
        status.cluster.name = "here".to_owned();
        status.cluster.state = ClusterState::Ready;
        let names = |status: &Status| status.rows().into_iter().map(|[name, _]| name).collect::<Vec<_>>();
        assert_eq!(names(&status), ["cluster", "image", "tasks", "hits"]);
        status.service = ServiceStatus::from_rollout(Rollout::Ready("image:1".to_owned()), "argo");
        status.standby = Some(StandbyReport {
            recorded: Some("4".to_owned()),
            wanted: Some(4),
            ready: 3,
            claimed: 1,
            ..StandbyReport::default()
        });
        status.hits.python = HitRate { asked: 3, hit: 2 };
        assert_eq!(
            names(&status),
            ["cluster", "image", "service", "standby", "tasks", "hits"]
        );
        let rows = status.rows();
        let text = |wanted: &str| rows.iter().find(|[name, _]| name == wanted).unwrap()[1].clone();
        assert_eq!(text("cluster"), "here  ready");
        assert!(text("service").starts_with("ready  http://") && text("service").ends_with("  image:1"));
        assert!(
            text("standby").starts_with("3 of 4 ready, 1 claimed, 0 starting"),
            "{}",
            text("standby")
        );
        assert_eq!(text("hits"), "python 2 of 3 (66 %), system not asked");
    }
}
