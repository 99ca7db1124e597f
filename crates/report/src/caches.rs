//! What the caches hold and what was done to them, as text for a terminal.

use comfy_table::{CellAlignment, Table, presets};
use hybrid_cache_model::maintain::{EnvironmentUsage, GcReport, LayerUsage, UsageReport, VerifyReport};
use hybrid_cache_model::outcome::signal_name;
use hybrid_cache_model::{CacheStatus, End};
use hybrid_cache_sizing::summary::VolumeSummary;

use crate::units;

/// What a command prints: its results, and what a person should know of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CacheText {
    /// For standard output, a line each.
    pub results: Vec<String>,
    /// For standard error, a message each.
    pub messages: Vec<String>,
}

/// How a task ended.
pub fn end(end: &End) -> String {
    match end {
        End::Exited { code } => format!("exit code {code}"),
        End::Signaled { signal } => match signal_name(*signal) {
            Some(name) => format!("killed by {name} (signal {signal})"),
            None => format!("killed by signal {signal}"),
        },
        End::TimedOut { limit_ms } => format!("killed after its time limit of {limit_ms} ms"),
        End::Cancelled => "cancelled".to_owned(),
        End::Failed { failure } => format!("error: {failure}"),
    }
}

/// What a cache did.
pub fn status(status: CacheStatus) -> String {
    match status {
        CacheStatus::Hit => "hit".to_owned(),
        CacheStatus::Built {
            downloaded_bytes,
            reused_bytes,
        } => {
            let (new, shared) = (units::bytes(downloaded_bytes), units::bytes(reused_bytes));
            format!("built ({new} new, {shared} shared)")
        }
        CacheStatus::Bypassed => "bypassed".to_owned(),
        CacheStatus::NotAsked => "not asked".to_owned(),
    }
}

/// A table whose first column is text and whose others are numbers.
fn table(header: &[&str], width: u16) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_width(width).set_header(header);
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// How much the caches hold, in tables `width` columns wide.
pub fn usage(report: &UsageReport, width: u16) -> String {
    let mut layers = table(&["layer", "size", "inodes", "entries"], width);
    for LayerUsage {
        layer,
        bytes,
        inodes,
        entries,
    } in &report.layers
    {
        let size = units::bytes(*bytes);
        layers.add_row([layer.clone(), size, inodes.to_string(), entries.to_string()]);
    }
    let header = ["volume", "held", "inodes held", "of it garbage", "free", "inodes free"];
    let mut volumes = table(&header, width);
    for system in &report.file_systems {
        let garbage = report.garbage_of(&system.volume);
        volumes.add_row([
            system.volume.clone(),
            units::bytes(report.volume_bytes(&system.volume)),
            report.volume_inodes(&system.volume).to_string(),
            garbage.map_or("-".to_owned(), |garbage| units::bytes(garbage.bytes)),
            units::bytes(system.free_bytes),
            system.free_inodes.to_string(),
        ]);
    }
    let largest = largest(&report.largest, width);
    let UsageReport {
        environments,
        requests,
        system_sets,
        healed,
        ..
    } = report;
    let counts =
        format!("{environments} Python environments for {requests} requests; {system_sets} sets of system packages");
    let healed = match healed {
        0 => String::new(),
        healed => format!("\n{healed} damaged environments were built again by the task that found them"),
    };
    format!("{layers}\n\n{volumes}\n\n{largest}{counts}{healed}")
}

fn largest(largest: &[EnvironmentUsage], width: u16) -> String {
    if largest.is_empty() {
        return String::new();
    }
    let header = [
        "largest",
        "volume",
        "holds",
        "evicting it frees",
        "inodes freed",
        "last used",
    ];
    let mut rows = table(&header, width);
    for one in largest {
        let more = match one.more_packages {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let last_used = jiff::Timestamp::from_second(i64::try_from(one.used_s).unwrap_or_default());
        rows.add_row([
            format!("{}{more}", one.packages.join(", ")),
            one.volume.clone(),
            units::bytes(one.bytes),
            units::bytes(one.frees_bytes),
            one.frees_inodes.to_string(),
            last_used.map_or("-".to_owned(), |time| time.to_string()),
        ]);
    }
    format!("{rows}\n\n")
}

/// What was evicted.
pub fn evicted(report: &GcReport) -> CacheText {
    let results = vec![
        format!(
            "evicted {} Python environments and {} sets of system packages; {} were in use and stay",
            report.evicted_environments, report.evicted_system_sets, report.kept_in_use
        ),
        format!(
            "removed {} leftovers, {} dangling requests and {} orphans",
            report.swept, report.dangling_requests, report.orphans
        ),
        format!(
            "freed {} and {} inodes",
            units::bytes(report.freed_bytes),
            report.freed_inodes
        ),
    ];
    let warnings = report.warnings.iter().map(|warning| format!("warning: {warning}"));
    let mut messages: Vec<String> = warnings.collect();
    if report.over_budget {
        let still = "warning: still over the budget: what is left is in use or newer than the request";
        messages.push(still.to_owned());
    }
    CacheText { results, messages }
}

/// What was checked, and what of it is damaged.
pub fn verified(report: &VerifyReport) -> CacheText {
    let VerifyReport {
        environments,
        files,
        inodes,
        bytes,
        system_sets,
        unhashed,
        problems,
        left_overs,
        repaired,
    } = report;
    let mut text = CacheText::default();
    let results = &mut text.results;
    results.push(format!(
        "checked {environments} Python environments and {system_sets} sets of system packages"
    ));
    let size = units::bytes(*bytes);
    results.push(format!("{files} files, read once each: {inodes} inodes, {size}"));
    if *unhashed > 0 {
        results.push(format!(
            "{unhashed} store paths have no recorded hash yet and were not compared; `cargo xtask cache warm` with \
             their packages records it"
        ));
    }
    results.extend(
        problems
            .iter()
            .map(|problem| format!("{}: {}", problem.path, problem.what)),
    );
    if !left_overs.is_empty() {
        let count = left_overs.len();
        results.push(format!(
            "{count} leftovers of killed processes; they do no harm, and the next preparation removes them"
        ));
    }
    results.extend(repaired.iter().map(|line| format!("repaired: {line}")));
    match (problems.len(), repaired.is_empty()) {
        (0, _) => results.push("all of it is whole".to_owned()),
        (count, true) => text.messages.push(format!(
            "{count} problems\nhint: `cargo xtask cache verify --repair` removes what is damaged; the next run builds it again"
        )),
        (count, false) => text.messages.push(format!(
            "{count} problems, now removed\nhint: the next run builds again what it needs"
        )),
    }
    text
}

/// What a trace holds of each volume, in a table `width` columns wide.
pub fn trace(volumes: &[VolumeSummary], width: u16) -> String {
    let header = [
        "volume",
        "requests",
        "hits",
        "misses",
        "expired",
        "environments",
        "parts",
        "they hold",
        "inodes",
        "beside them",
        "downloaded",
    ];
    let mut rows = table(&header, width);
    for volume in volumes {
        let rate = volume.hit_rate.map(|rate| format!(" ({:.1} %)", rate * 100.0));
        let resident = match volume.resident {
            0 => String::new(),
            resident => format!(" ({resident} at the beginning)"),
        };
        rows.add_row([
            volume.volume.name().to_owned(),
            volume.requests.to_string(),
            format!("{}{}", volume.hits, rate.unwrap_or_default()),
            volume.misses.to_string(),
            volume.expired.to_string(),
            format!("{}{resident}", volume.environments),
            volume.parts.to_string(),
            units::bytes(volume.holds.bytes),
            volume.holds.inodes.to_string(),
            units::bytes(volume.rest.bytes),
            units::bytes(volume.downloaded_bytes),
        ]);
    }
    rows.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_of_damage_names_the_repair_and_one_without_says_so() {
        let whole = verified(&VerifyReport::default());
        assert_eq!(whole.results.last().unwrap(), "all of it is whole");
        assert!(whole.messages.is_empty());
        let report = GcReport {
            over_budget: true,
            ..GcReport::default()
        };
        assert!(evicted(&report).messages[0].contains("still over the budget"));
    }
}
