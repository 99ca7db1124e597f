//! Writes the metrics in Prometheus' text format (version 0.0.4).

use hybrid_cache_api::CacheName;
use hybrid_cache_model::standby::StandbyStatus;
use std::fmt::Write;

use super::durations::Measured;
use crate::metrics::{Footprint, Histogram, MetricsSnapshot};

/// All metrics.
pub fn text(snapshot: &MetricsSnapshot, measured: &[Measured], following: usize) -> String {
    let mut page = Page::default();
    page.family("build_info", "gauge", "The version of the service and its driver.");
    let labels = [("version", env!("CARGO_PKG_VERSION")), ("driver", snapshot.driver)];
    page.value("build_info", &labels, 1);
    tasks(&mut page, snapshot);
    caches(&mut page, snapshot);
    page.family("phase_seconds", "histogram", "Time that runs spent in each phase.");
    for (phase, histogram) in snapshot.phases.iter().filter(|(_, histogram)| histogram.count() > 0) {
        let name = serde_json::to_value(phase).unwrap_or_default();
        page.histogram(
            "phase_seconds",
            &[("phase", name.as_str().unwrap_or_default())],
            histogram,
        );
    }
    page.family(
        "task_seconds",
        "histogram",
        "Time from a task's start to its end, as the driver saw it.",
    );
    page.histogram("task_seconds", &[], &snapshot.total);
    page.family(
        "submit_seconds",
        "histogram",
        "Time from a submit until the task was on disk.",
    );
    page.histogram("submit_seconds", &[], &snapshot.submit);
    page.family(
        "http_request_seconds",
        "histogram",
        "Time from a request until the head of the response.",
    );
    for one in measured {
        let labels = [
            ("route", one.route.as_str()),
            ("method", one.method),
            ("status", one.class),
        ];
        page.histogram("http_request_seconds", &labels, &one.histogram);
    }
    page.single("followers", "gauge", "Clients that follow output.", following as u64);
    footprint(&mut page, &snapshot.footprint);
    if let Some(standby) = &snapshot.standby {
        standby_pods(&mut page, standby);
    }
    page.text
}

fn standby_pods(page: &mut Page, standby: &StandbyStatus) {
    let help = "Standby pods that there should be.";
    page.single("standby_wanted", "gauge", help, standby.wanted.into());
    page.family("standby_pods", "gauge", "Standby pods, by state.");
    let pods = [
        ("ready", standby.ready),
        ("starting", standby.starting),
        ("claimed", standby.claimed),
        ("foreign", standby.foreign),
    ];
    for (state, count) in pods {
        page.value("standby_pods", &[("state", state)], count);
    }
    let counts = &standby.counts;
    let help = "Cached tasks, by what came of their search for a standby pod.";
    page.family("standby_tasks_total", "counter", help);
    let tasks = [
        ("used", counts.used),
        ("none_free", counts.none_free),
        ("not_begun", counts.not_begun),
    ];
    for (answer, count) in tasks {
        page.value("standby_tasks_total", &[("answer", answer)], count);
    }
    let help = "Claims of a standby pod that another driver, or a change of the pod, was faster than.";
    page.single("standby_claim_conflicts_total", "counter", help, counts.conflicts);
    let seconds = |page: &mut Page, name: &str, help: &str, value: f64| {
        page.family(name, "counter", help);
        page.value(name, &[], value);
    };
    let help = "Time of all claims of a standby pod that succeeded.";
    seconds(page, "standby_claim_seconds_total", help, counts.claim_us as f64 / 1e6);
    let help = "Times that standby pods were complete again.";
    page.single("standby_refills_total", "counter", help, counts.refills);
    let help = "Time that standby pods were incomplete before they were complete again.";
    seconds(
        page,
        "standby_refill_seconds_total",
        help,
        counts.refill_ms as f64 / 1e3,
    );
}

fn footprint(page: &mut Page, footprint: &Footprint) {
    if let Some(bytes) = footprint.resident_bytes {
        page.single("resident_bytes", "gauge", "Memory of this process.", bytes);
    }
    page.family("kept_bytes", "gauge", "Bytes stored on disk.");
    let kept = [
        ("output", footprint.output_bytes),
        ("database", footprint.database_bytes),
        ("log", footprint.log_bytes),
    ];
    for (kind, bytes) in kept {
        page.value("kept_bytes", &[("kind", kind)], bytes);
    }
    if let Some(bytes) = footprint.budget_bytes {
        let help = "Budget for output and database together.";
        page.single("kept_bytes_limit", "gauge", help, bytes);
    }
}

fn tasks(page: &mut Page, snapshot: &MetricsSnapshot) {
    page.family("tasks", "gauge", "Stored tasks, by state.");
    for (state, count) in &snapshot.tasks {
        page.value("tasks", &[("state", state.name())], count);
    }
    page.family("tasks_ended_total", "counter", "Ended tasks, by their end.");
    for (end, count) in &snapshot.ended {
        page.value("tasks_ended_total", &[("end", end.name())], count);
    }
    page.single(
        "tasks_expired_total",
        "counter",
        "Tasks deleted by age, count or size.",
        snapshot.expired,
    );
    page.single("queue_depth", "gauge", "Tasks in the queue.", snapshot.queue_depth);
    page.single(
        "queue_limit",
        "gauge",
        "Most tasks of one tenant in the queue.",
        snapshot.queue_limit,
    );
    page.single(
        "tasks_under_way",
        "gauge",
        "Tasks that the driver has.",
        snapshot.under_way,
    );
    page.single(
        "tasks_settling",
        "gauge",
        "Ended tasks whose environments are still being published or deleted.",
        snapshot.settling,
    );
    page.single(
        "concurrency",
        "gauge",
        "Most tasks that run at the same time.",
        snapshot.concurrency,
    );
    page.single(
        "live_outputs",
        "gauge",
        "Tasks whose output is written or followed.",
        snapshot.live_outputs,
    );
    page.single(
        "driver_up",
        "gauge",
        "0 while the driver does not answer.",
        u64::from(snapshot.driver_up),
    );
}

fn caches(page: &mut Page, snapshot: &MetricsSnapshot) {
    let caches = [("python", &snapshot.python_cache), ("system", &snapshot.system_cache)];
    page.family(
        "cache_answers_total",
        "counter",
        "Results of the caches for ended tasks.",
    );
    for (cache, answers) in caches {
        for (answer, count) in answers {
            page.value(
                "cache_answers_total",
                &[("cache", cache), ("answer", answer.name())],
                count,
            );
        }
    }
    page.family(
        "cache_hit_ratio",
        "gauge",
        "Hits divided by hits and builds of this cache; absent before the first.",
    );
    for (cache, answers) in caches {
        if let Some(ratio) = hit_ratio(answers) {
            page.value("cache_hit_ratio", &[("cache", cache)], ratio);
        }
    }
    page.family("volume_bytes", "gauge", "Bytes that each cache volume holds.");
    for volume in &snapshot.volumes {
        page.value("volume_bytes", &[("volume", &volume.volume)], volume.bytes);
    }
    page.family("volume_inodes", "gauge", "Files and folders of each cache volume.");
    for volume in &snapshot.volumes {
        page.value("volume_inodes", &[("volume", &volume.volume)], volume.inodes);
    }
}

/// Hits divided by hits and builds; `None` if there were neither.
pub fn hit_ratio(answers: &[(CacheName, u64)]) -> Option<f64> {
    let count = |wanted: CacheName| {
        answers
            .iter()
            .filter(|(name, _)| *name == wanted)
            .map(|(_, count)| count)
            .sum::<u64>()
    };
    let (hits, built) = (count(CacheName::Hit), count(CacheName::Built));
    (hits + built > 0).then(|| hits as f64 / (hits + built) as f64)
}

/// The page as it grows. Writing to a string cannot fail.
#[derive(Default)]
struct Page {
    text: String,
}

impl Page {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(
            self.text,
            "# HELP hybrid_cache_{name} {help}\n# TYPE hybrid_cache_{name} {kind}"
        );
    }

    fn single(&mut self, name: &str, kind: &str, help: &str, value: u64) {
        self.family(name, kind, help);
        self.value(name, &[], value);
    }

    fn value(&mut self, name: &str, labels: &[(&str, &str)], value: impl std::fmt::Display) {
        let _ = write!(self.text, "hybrid_cache_{name}");
        for (at, (label, text)) in labels.iter().enumerate() {
            let open = if at == 0 { '{' } else { ',' };
            let text = text.replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n");
            let _ = write!(self.text, "{open}{label}=\"{text}\"");
        }
        let close = if labels.is_empty() { "" } else { "}" };
        let _ = writeln!(self.text, "{close} {value}");
    }

    fn histogram(&mut self, name: &str, labels: &[(&str, &str)], histogram: &Histogram) {
        let seconds = |us: u64| us as f64 / 1e6;
        let bucket = format!("{name}_bucket");
        for (bound_us, count) in histogram.cumulative() {
            let bound = seconds(bound_us).to_string();
            self.value(&bucket, &[labels, &[("le", &bound)]].concat(), count);
        }
        self.value(&bucket, &[labels, &[("le", "+Inf")]].concat(), histogram.count());
        self.value(&format!("{name}_sum"), labels, seconds(histogram.sum_us()));
        self.value(&format!("{name}_count"), labels, histogram.count());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_histogram_is_written_as_prometheus_reads_it() {
        let mut histogram = Histogram::default();
        histogram.note(2_000_000);
        let mut page = Page::default();
        page.histogram("x_seconds", &[("route", "/a\"b")], &histogram);
        let has = |line: &str| assert!(page.text.lines().any(|other| other == line), "{line}\n{}", page.text);
        has(r#"hybrid_cache_x_seconds_bucket{route="/a\"b",le="1"} 0"#);
        has(r#"hybrid_cache_x_seconds_bucket{route="/a\"b",le="2.5"} 1"#);
        has(r#"hybrid_cache_x_seconds_bucket{route="/a\"b",le="+Inf"} 1"#);
        has(r#"hybrid_cache_x_seconds_sum{route="/a\"b"} 2"#);
        has(r#"hybrid_cache_x_seconds_count{route="/a\"b"} 1"#);
    }

    #[test]
    fn metrics_show_the_memory_and_disk_of_the_service() {
        let mut page = Page::default();
        let mut taken = Footprint {
            resident_bytes: Some(5),
            output_bytes: 1,
            database_bytes: 2,
            log_bytes: 3,
            budget_bytes: None,
        };
        footprint(&mut page, &taken);
        let values = page
            .text
            .lines()
            .filter(|line| !line.starts_with('#'))
            .collect::<Vec<_>>();
        assert_eq!(
            values,
            [
                "hybrid_cache_resident_bytes 5",
                "hybrid_cache_kept_bytes{kind=\"output\"} 1",
                "hybrid_cache_kept_bytes{kind=\"database\"} 2",
                "hybrid_cache_kept_bytes{kind=\"log\"} 3",
            ]
        );
        (taken.resident_bytes, taken.budget_bytes) = (None, Some(9));
        let mut page = Page::default();
        footprint(&mut page, &taken);
        assert!(!page.text.contains("resident") && page.text.ends_with("hybrid_cache_kept_bytes_limit 9\n"));
    }

    #[test]
    fn standby_pods_are_exported_as_the_page_describes_them() {
        let mut standby = StandbyStatus {
            wanted: 4,
            ready: 3,
            claimed: 1,
            ..StandbyStatus::default()
        };
        (standby.counts.used, standby.counts.none_free, standby.counts.claim_us) = (7, 2, 12_500);
        standby.counts.note_refill(std::time::Duration::from_millis(1500));
        let mut page = Page::default();
        standby_pods(&mut page, &standby);
        for line in [
            "hybrid_cache_standby_wanted 4",
            "hybrid_cache_standby_pods{state=\"ready\"} 3",
            "hybrid_cache_standby_pods{state=\"claimed\"} 1",
            "hybrid_cache_standby_tasks_total{answer=\"used\"} 7",
            "hybrid_cache_standby_tasks_total{answer=\"none_free\"} 2",
            "hybrid_cache_standby_claim_seconds_total 0.0125",
            "hybrid_cache_standby_refills_total 1",
            "hybrid_cache_standby_refill_seconds_total 1.5",
        ] {
            assert!(page.text.lines().any(|other| other == line), "{line}\n{}", page.text);
        }
        let described = include_str!("../../../../docs/operations.md");
        let families = page.text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
        for family in families {
            let name = family.split(' ').next().unwrap();
            assert!(
                described.contains(&format!("`{name}`")),
                "docs/operations.md lacks {name}"
            );
        }
    }

    #[test]
    fn a_hit_rate_counts_only_tasks_that_used_the_cache() {
        let answers = [(CacheName::Hit, 3), (CacheName::Built, 1), (CacheName::NotAsked, 96)];
        assert_eq!(hit_ratio(&answers), Some(0.75));
        assert_eq!(hit_ratio(&[(CacheName::Bypassed, 5)]), None);
    }
}
