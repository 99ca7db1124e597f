//! Reads values from a service's metrics.

/// Names of the gauges that count the driver's active tasks.
const IN_HAND: [&str; 2] = ["hybrid_cache_tasks_under_way", "hybrid_cache_tasks_settling"];
const BUILD: &str = "hybrid_cache_build_info{";

/// True if the driver is working on a task, even if only to publish what it prepared.
pub fn is_at_work(text: &str) -> bool {
    let values = text.lines().filter_map(|line| line.split_once(' '));
    let mut in_hand = values.filter(|(name, _)| IN_HAND.contains(name));
    in_hand.any(|(_, value)| value.trim() != "0")
}

/// A label of the service's build; `None` if the service does not report it.
pub fn build(text: &str, label: &str) -> Option<String> {
    let line = text.lines().find_map(|line| line.strip_prefix(BUILD))?;
    let mut parts = line.split(['"', ',', '=', '}']).filter(|part| !part.is_empty());
    parts.find(|part| *part == label)?;
    parts.next().map(str::to_owned)
}

/// The sum of a metric's values over all its labels; `None` if the metric is missing.
pub fn sum(text: &str, name: &str) -> Option<u64> {
    let values = text.lines().filter_map(|line| {
        let (head, value) = line.rsplit_once(' ')?;
        let (metric, _) = head.split_once('{').unwrap_or((head, ""));
        (metric.strip_prefix("hybrid_cache_")? == name).then(|| value.parse::<u64>().ok())?
    });
    values.fold(None, |sum, value| Some(sum.unwrap_or(0) + value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metric_is_summed_over_its_labels_and_told_from_its_like() {
        let text = "# HELP hybrid_cache_tasks Tasks 7\nhybrid_cache_tasks{state=\"saved\"} 2\nhybrid_cache_tasks{state=\"ended\"} 3\n\
                    hybrid_cache_tasks_settling 9\nhybrid_cache_ratio 0.5\n";
        let reported = ["tasks", "tasks_settling", "ratio", "task"].map(|name| sum(text, name));
        assert_eq!(reported, [Some(5), Some(9), None, None]);
    }

    #[test]
    fn a_service_tells_its_version_its_driver_and_whether_it_is_at_work() {
        let text = |under_way: u32, settling: u32| {
            format!(
                "# TYPE hybrid_cache_build_info gauge\nhybrid_cache_build_info{{version=\"0.1.0\",driver=\"local\"}} 1\n\
                 hybrid_cache_tasks_under_way {under_way}\nhybrid_cache_tasks_settling {settling}\n"
            )
        };
        let asked = [(0, 0), (1, 0), (0, 1)].map(|(under_way, settling)| is_at_work(&text(under_way, settling)));
        assert_eq!(asked, [false, true, true]);
        let reported = ["version", "driver", "colour"].map(|label| build(&text(0, 0), label));
        assert_eq!(reported, [Some("0.1.0".to_owned()), Some("local".to_owned()), None]);
        assert_eq!(build("<html>", "version"), None);
    }
}
