//! Figures that pages quote from the committed baseline. With UPDATE_FIGURES=1 the pages get them; otherwise they must have them.

#![expect(clippy::unwrap_used, reason = "a test may panic, in its helpers as well")]

use std::path::{Path, PathBuf};

use hybrid_cache_model::sample::RunRecord;
use hybrid_cache_model::{Phase, Temperature};
use hybrid_cache_report::figure::FigureKind;
use hybrid_cache_report::summary::GroupSummary;
use hybrid_cache_report::{Summary, load, units};

/// Scenarios that pages quote, in the order of their columns.
const SCENARIOS: [&str; 3] = ["python-only", "system-only", "hybrid"];
/// Phases of a cached run that take any time worth a row.
const PHASES: [Phase; 5] = [
    Phase::Submit,
    Phase::Sandbox,
    Phase::Lookup,
    Phase::Start,
    Phase::UserCode,
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn group(summary: &Summary, name: &str, temperature: Temperature) -> GroupSummary {
    let scenario = summary.scenarios.iter().find(|scenario| scenario.name == name).unwrap();
    scenario.group(temperature).unwrap().clone()
}

fn row(summary: &Summary, temperature: Temperature, label: &str, source: &str) -> String {
    let groups = SCENARIOS.map(|name| group(summary, name, temperature));
    let medians = groups
        .each_ref()
        .map(|group| units::duration(group.wall.as_ref().unwrap().median_us));
    let least = groups.iter().map(|group| group.accepted).min().unwrap();
    format!(
        "| {label}, sandbox of this machine | {} | {source}, n = {least} |",
        medians.join(" | ")
    )
}

fn phases(summary: &Summary) -> Vec<String> {
    let groups = SCENARIOS.map(|name| group(summary, name, Temperature::Cached));
    let of = |group: &GroupSummary, phase: Phase| {
        let rows = &group.attribution.as_ref().unwrap().rows;
        let row = rows.iter().find(|row| row.phase == Some(phase));
        units::duration(row.map_or(0.0, |row| row.median_us))
    };
    let row = |phase: Phase| {
        let medians = groups.each_ref().map(|group| of(group, phase));
        format!("| {} | {} |", phase.label(), medians.join(" | "))
    };
    PHASES.map(row).into()
}

fn overhead(summary: &Summary) -> String {
    let figures: Vec<_> = summary.figures_of(FigureKind::Overhead).collect();
    let of = |name: &str| {
        let figure = figures.iter().find(|figure| figure.scenario == name).unwrap();
        units::duration(figure.estimate.value)
    };
    let [numpy, gcc, both] = SCENARIOS.map(of);
    format!(
        "So hybrid-cache adds {numpy} to a cached run with numpy there, {gcc} with gcc and {both} with both, most of it for the sandbox."
    )
}

fn source(record: &RunRecord, summary: &Summary) -> String {
    let date = record.provenance.started_at.split('T').next().unwrap();
    let count = |temperature| group(summary, SCENARIOS[0], temperature).accepted;
    format!(
        "| `baseline` | [`reports/baseline`](../reports/baseline): two processors, {date}, n = {} cached and {} first runs. `cargo xtask report \
         reports/baseline` prints it |",
        count(Temperature::Cached),
        count(Temperature::First)
    )
}

/// A page with lines in the place of those that begin alike, and rows in the place of those below a head of a table.
struct Page {
    name: &'static str,
    text: String,
}

impl Page {
    fn open(name: &'static str) -> Page {
        let text = std::fs::read_to_string(root().join(name)).unwrap();
        Page { name, text }
    }

    fn line(mut self, begins: &str, line: &str) -> Page {
        let at = |one: &&str| one.starts_with(begins);
        assert_eq!(self.text.lines().filter(at).count(), 1, "{}: {begins}", self.name);
        let old = self.text.lines().find(at).unwrap().to_owned();
        self.text = self.text.replacen(&old, line, 1);
        self
    }

    fn rows(mut self, head: &str, rows: &[String]) -> Page {
        let mut lines: Vec<&str> = self.text.lines().collect();
        let head = lines.iter().position(|line| *line == head);
        let first = head.unwrap_or_else(|| panic!("{}: the table's head is missing", self.name)) + 2;
        let count = lines[first..].iter().take_while(|line| line.starts_with('|')).count();
        lines.splice(first..first + count, rows.iter().map(String::as_str));
        self.text = lines.join("\n") + "\n";
        self
    }

    fn check(self) {
        let path = root().join(self.name);
        if std::env::var_os("UPDATE_FIGURES").is_some() {
            std::fs::write(path, self.text).unwrap();
            return;
        }
        let written = std::fs::read_to_string(path).unwrap();
        let differs = written.lines().zip(self.text.lines()).find(|(one, other)| one != other);
        assert_eq!(
            differs, None,
            "{}: figures of another baseline; UPDATE_FIGURES=1 writes them",
            self.name
        );
        assert_eq!(written.lines().count(), self.text.lines().count(), "{}", self.name);
    }
}

#[test]
fn pages_quote_the_committed_baseline() {
    let record = load(&root().join("reports/baseline")).unwrap();
    let summary = Summary::from_record(&record);
    let cached = row(
        &summary,
        Temperature::Cached,
        "cached",
        "[`reports/baseline`](reports/baseline)",
    );
    let first = row(&summary, Temperature::First, "first", "the same");
    Page::open("README.md")
        .line("| cached, sandbox of this machine |", &cached)
        .line("| first, sandbox of this machine |", &first)
        .check();
    Page::open("docs/optimization.md")
        .line("| `baseline` |", &source(&record, &summary))
        .line("So hybrid-cache adds", &overhead(&summary))
        .rows("| phase | numpy | gcc | both |", &phases(&summary))
        .check();
}
