//! Compares two runs: ratios of medians, a verdict for each group, and a gate for CI.

use hybrid_cache_model::Temperature;
use hybrid_cache_model::sample::{ClusterRecord, Provenance, RunRecord};
use serde::Serialize;

use crate::cells::{self, plain};
use crate::provenance::cluster_fact;
use crate::samples::accepted;
use crate::samples::scenario_names;
use crate::stats::{self, Ratio};
use crate::terminal::{Color, fitted, framed};
use crate::units;

/// Medians within this share of each other count as the same: smaller differences do not outlive a reboot.
pub const SAME_WITHIN: f64 = 0.05;

/// How one group of run B stands to the same group of run A.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// The whole interval of B/A lies below 1, and not all of it within [`SAME_WITHIN`].
    Faster,
    /// The whole interval lies above 1, and not all of it within [`SAME_WITHIN`].
    Slower,
    /// The whole interval lies within [`SAME_WITHIN`] of 1.
    Same,
    /// The interval lies across 1, or one side has too few samples for an interval.
    Undecided,
    /// Only run A has samples that count.
    OnlyInA,
    /// Only run B has samples that count.
    OnlyInB,
}

impl Change {
    /// The words in a report, with a mark so that colour never carries them alone.
    pub fn name(self) -> &'static str {
        match self {
            Change::Faster => "▼ faster",
            Change::Slower => "▲ slower",
            Change::Same => "= same",
            Change::Undecided => "? undecided",
            Change::OnlyInA => "– only in A",
            Change::OnlyInB => "– only in B",
        }
    }
}

/// One group in both runs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct GroupComparison {
    /// The scenario's name.
    pub scenario: String,
    /// The temperature.
    pub temperature: Temperature,
    /// Samples of A and of B that count.
    pub n: (usize, usize),
    /// Median wall time of A in microseconds.
    pub a_us: Option<f64>,
    /// Median wall time of B in microseconds.
    pub b_us: Option<f64>,
    /// B over A: below 1 is faster.
    pub ratio: Option<Ratio>,
    /// The verdict.
    pub change: Change,
    /// True if run B set out to measure the scenario, so that an absent figure is a loss.
    pub planned_in_b: bool,
}

/// Run B against run A.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Comparison {
    /// By scenario in the order of A, then those that only B has; coldest first.
    pub groups: Vec<GroupComparison>,
    /// Differences in provenance that make the figures hard to compare.
    pub cautions: Vec<String>,
}

/// What a gate found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Gate {
    /// One sentence for each group that fails it.
    pub failures: Vec<String>,
}

impl Gate {
    /// True if nothing fails it.
    pub fn passed(&self) -> bool {
        self.failures.is_empty()
    }
}

/// Compares the accepted samples of run `b` with those of run `a`, the older one.
pub fn compare(a: &RunRecord, b: &RunRecord) -> Comparison {
    let mut names = scenario_names(a);
    names.extend(
        scenario_names(b)
            .into_iter()
            .filter(|name| !scenario_names(a).contains(name)),
    );
    let groups = names
        .iter()
        .flat_map(|name| {
            Temperature::ALL
                .into_iter()
                .filter_map(|temperature| group(a, b, name, temperature))
        })
        .collect();
    Comparison {
        groups,
        cautions: cautions(a, b),
    }
}

fn group(a: &RunRecord, b: &RunRecord, name: &str, temperature: Temperature) -> Option<GroupComparison> {
    let walls = |record| -> Vec<u64> { accepted(record, name, temperature).iter().map(|s| s.wall_us).collect() };
    let (old, new) = (walls(a), walls(b));
    let ratio = Ratio::from_durations(&new, &old);
    let change = match (old.is_empty(), new.is_empty()) {
        (true, true) => return None,
        (false, true) => Change::OnlyInA,
        (true, false) => Change::OnlyInB,
        (false, false) => ratio.map_or(Change::Undecided, |ratio| judge(&ratio)),
    };
    Some(GroupComparison {
        scenario: name.to_owned(),
        temperature,
        n: (old.len(), new.len()),
        a_us: stats::median(&old),
        b_us: stats::median(&new),
        ratio,
        change,
        planned_in_b: b
            .samples
            .iter()
            .any(|sample| sample.scenario == name && sample.temperature == temperature),
    })
}

fn judge(ratio: &Ratio) -> Change {
    let Some(interval) = ratio.interval else {
        return Change::Undecided;
    };
    if interval.low >= 1.0 - SAME_WITHIN && interval.high <= 1.0 + SAME_WITHIN {
        Change::Same
    } else if interval.high < 1.0 {
        Change::Faster
    } else if interval.low > 1.0 {
        Change::Slower
    } else {
        Change::Undecided
    }
}

fn cautions(a: &RunRecord, b: &RunRecord) -> Vec<String> {
    let (a, b) = (&a.provenance, &b.provenance);
    let cluster = |fact: fn(&ClusterRecord) -> String| (cluster_fact(a, fact), cluster_fact(b, fact));
    let kubernetes = cluster(|cluster| cluster.kubernetes.clone());
    let nodes = cluster(|cluster| format!("{} with kubelet {}", cluster.nodes, cluster.kubelets.join(", ")));
    let runtimes = cluster(|cluster| cluster.container_runtimes.join(", "));
    let storage = cluster(|cluster| format!("{:?}", cluster.storage_classes));
    // The same content may have several names, and a name may move.
    let image = cluster(|cluster| cluster.image_id.as_ref().unwrap_or(&cluster.image).clone());
    let facts = [
        ("driver", a.driver.clone(), b.driver.clone()),
        ("processor", a.cpu.clone(), b.cpu.clone()),
        ("processors", a.cpus.to_string(), b.cpus.to_string()),
        ("kernel", a.kernel.clone(), b.kernel.clone()),
        ("interpreter", a.interpreter.clone(), b.interpreter.clone()),
        ("package index", a.index.clone(), b.index.clone()),
        ("system provider", a.system_provider.clone(), b.system_provider.clone()),
        ("system source", a.system_source.clone(), b.system_source.clone()),
        (
            "file systems",
            format!("{:?}", a.file_systems),
            format!("{:?}", b.file_systems),
        ),
        ("task service", service(a), service(b)),
        ("Kubernetes version", kubernetes.0, kubernetes.1),
        ("nodes", nodes.0, nodes.1),
        ("container runtime", runtimes.0, runtimes.1),
        ("storage classes", storage.0, storage.1),
        ("image", image.0, image.1),
    ];
    facts
        .into_iter()
        .filter(|(_, old, new)| old != new)
        .map(|(what, old, new)| format!("the {what} differs: {old} in A, {new} in B"))
        .collect()
}

/// What stands between client and driver; its address is not what makes figures differ.
fn service(provenance: &Provenance) -> String {
    let service = provenance.service.as_ref();
    service.map_or("none".to_owned(), |service| {
        let driver = service.driver.as_deref().unwrap_or("unknown");
        let place = if service.same_machine {
            "the same machine"
        } else {
            "another machine"
        };
        format!("version {} on driver {driver}, {place}", service.version)
    })
}

impl Comparison {
    /// Fails every group that is proven to be slower than allowed: the whole interval of B/A lies above
    /// `1 + max_regression` (0.1 allows 10 %). A group that B tried and lost fails too; one it never tried does not.
    pub fn gate(&self, max_regression: f64) -> Gate {
        let limit = 1.0 + max_regression;
        let failures = self.groups.iter().filter_map(|group| {
            let name = format!("{}, {}", plain(&group.scenario), group.temperature.name());
            if group.change == Change::OnlyInA && group.planned_in_b {
                return Some(format!("{name}: no sample counts any longer"));
            }
            let interval = group.ratio?.interval.filter(|interval| interval.low > limit)?;
            let allowed = units::ratio(limit);
            Some(format!(
                "{name}: at least {} the time before, {allowed} is allowed",
                units::ratio(interval.low)
            ))
        });
        Gate {
            failures: failures.collect(),
        }
    }

    /// The comparison as text for a terminal `width` columns wide.
    pub fn terminal(&self, width: u16, color: Color) -> String {
        let mut table = framed();
        table.set_header(["scenario", "temperature", "n", "A", "B", "B/A", "verdict"]);
        for group in &self.groups {
            table.add_row(self.row(group).map(|cell| plain(&cell)));
        }
        let mut text = fitted(table, width);
        text.push('\n');
        for caution in &self.cautions {
            text.push_str(&format!("\nwarning: {}\n", plain(caution)));
        }
        match color {
            Color::Plain => text,
            Color::Ansi => painted(&text),
        }
    }

    /// The comparison as Markdown.
    pub fn markdown(&self) -> String {
        let mut text = String::from("# Comparison: B against A\n\n");
        text.push_str("| scenario | temperature | n | A | B | B/A | verdict |\n|---|---|--:|--:|--:|--:|---|\n");
        for group in &self.groups {
            let cells = self.row(group).map(|cell| crate::markdown::escape(&cell));
            text.push_str(&format!("| {} |\n", cells.join(" | ")));
        }
        text.push_str("\nA and B are medians of wall time over the samples that count. B/A is the quotient with its bootstrap interval: ");
        text.push_str(&format!(
            "below 1 is faster. *Same* means that the whole interval lies within {} of 1.\n",
            units::share(SAME_WITHIN)
        ));
        for caution in &self.cautions {
            text.push_str(&format!("\n> **Caution:** {}\n", crate::markdown::escape(caution)));
        }
        text
    }

    fn row(&self, group: &GroupComparison) -> [String; 7] {
        let time = |us: Option<f64>| us.map_or("–".to_owned(), units::duration);
        [
            group.scenario.clone(),
            group.temperature.name().to_owned(),
            format!("{} / {}", group.n.0, group.n.1),
            time(group.a_us),
            time(group.b_us),
            group.ratio.as_ref().map_or("–".to_owned(), cells::ratio),
            group.change.name().to_owned(),
        ]
    }
}

fn painted(text: &str) -> String {
    let colors = [
        (Change::Faster, "32"),
        (Change::Slower, "31"),
        (Change::Undecided, "33"),
    ];
    colors.iter().fold(
        text.replace("\nwarning:", "\n\u{1b}[33mwarning:\u{1b}[0m"),
        |text, (change, code)| text.replace(change.name(), &format!("\u{1b}[{code}m{}\u{1b}[0m", change.name())),
    )
}
