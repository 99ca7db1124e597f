//! Figures that pages quote from the committed baseline. With UPDATE_FIGURES=1 the pages get them; otherwise they must have them.

#![expect(clippy::unwrap_used, reason = "a test may panic, in its helpers as well")]

use std::path::{Path, PathBuf};

use hybrid_cache_model::sample::{RunRecord, Sample};
use hybrid_cache_model::{Phase, Temperature};
use hybrid_cache_report::summary::GroupSummary;
use hybrid_cache_report::{Figure, FigureKind, Summary, alternatives, load, stats, units};

/// Scenarios that pages quote, in the order of their columns.
const SCENARIOS: [&str; 3] = ["python-only", "system-only", "hybrid"];
/// The scenario of the table of what people would use instead.
const PEERS_OF: &str = SCENARIOS[0];
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

fn peers(summary: &Summary) -> Vec<String> {
    let own = summary.alternatives.iter().filter(|peer| peer.scenario == PEERS_OF);
    let row = |peer: &alternatives::PeerRatio| {
        let (name, theirs) = (alternatives::name(peer.peer), units::duration(peer.theirs_us));
        format!("| {name} | {theirs} | {} | {} |", peer.value(), peer.interval())
    };
    own.map(row).collect()
}

fn figure<'a>(summary: &'a Summary, kind: FigureKind, name: &str) -> &'a Figure {
    let mut figures = summary.figures_of(kind);
    figures.find(|figure| figure.scenario == name).unwrap()
}

fn overhead(summary: &Summary) -> [String; 3] {
    let figures = SCENARIOS.map(|name| figure(summary, FigureKind::Overhead, name));
    let [numpy, gcc, both] = figures.map(|figure| format!("{} ({})", figure.value(), figure.interval()));
    let verdicts = figures.map(|figure| figure.attainment.name());
    let direct = figure(summary, FigureKind::DirectRatio, PEERS_OF);
    [
        format!("So hybrid-cache adds {numpy} to a cached run with numpy there, {gcc} with gcc and {both} with both,"),
        format!(
            "most of it for the sandbox. The target is {}: {} with numpy, {} with gcc, {} with both.",
            figures[0].target(),
            verdicts[0],
            verdicts[1],
            verdicts[2]
        ),
        format!(
            "The bare interpreter takes {} in `baseline`.",
            units::duration(direct.against.as_ref().unwrap().median_us)
        ),
    ]
}

/// Median over the first runs of a scenario of all time in a phase, whatever ran beside it.
fn work(record: &RunRecord, name: &str, phase: Phase) -> String {
    let first = |sample: &&Sample| sample.scenario == name && sample.temperature == Temperature::First;
    let sum = |sample: &Sample| {
        let spans = sample.timeline.spans.iter().filter(|span| span.phase == phase);
        spans.map(|span| span.duration_us).sum::<u64>()
    };
    let all: Vec<u64> = record.samples.iter().filter(first).map(sum).collect();
    units::duration(stats::median(&all).unwrap())
}

/// The effects of levers that the baseline shows, each with what its row begins with.
fn levers(record: &RunRecord, summary: &Summary) -> Vec<(&'static str, String)> {
    let [_, gcc, both] = SCENARIOS.map(|name| {
        let group = group(summary, name, Temperature::Cached);
        let rows = group.attribution.unwrap().rows;
        let lease = rows.iter().find(|row| row.phase == Some(Phase::Lease));
        units::duration(lease.map_or(0.0, |row| row.median_us))
    });
    let half = figure(summary, FigureKind::SlowerHalf, "hybrid");
    let first = |phase| work(record, PEERS_OF, phase);
    vec![
        (
            "| leases as open file description locks |",
            format!(
                "taking a lease takes {gcc} with gcc, {both} with both; no task waits for a lock that another task holds | `baseline` |"
            ),
        ),
        (
            "| the empty environment written without a process |",
            format!(
                "saves the 80 to 100 ms of `uv venv`; {} | `baseline`, [`ARCHITECTURE.md`](../ARCHITECTURE.md) |",
                first(Phase::PythonVenv)
            ),
        ),
        (
            "| the program starts before the environment is published |",
            format!(
                "bytecode ({} for numpy) and publishing ({}) run beside the program, at the lowest priority | `baseline` |",
                first(Phase::PythonBytecode),
                first(Phase::PythonPublish)
            ),
        ),
        (
            "| Python and system packages side by side |",
            format!(
                "both: {} the slower half, pair by pair ({}, n = {}; {} against {}) | `baseline` |",
                half.value(),
                half.interval(),
                half.n,
                half.attainment.name(),
                half.target()
            ),
        ),
    ]
}

fn source(record: &RunRecord, summary: &Summary) -> String {
    let date = record.provenance.started_at.split('T').next().unwrap();
    let count = |temperature| group(summary, SCENARIOS[0], temperature).accepted;
    format!(
        "| `baseline` | [`reports/baseline`](../reports/baseline): {}, two processors, {date}, n = {} cached and {} first runs, all peers. \
         `cargo xtask report reports/baseline` prints it |",
        record.provenance.cpu,
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
        .rows(
            "| numpy, instead of our cached run | takes | ours / it | interval |",
            &peers(&summary),
        )
        .check();
    let [adds, target, bare] = overhead(&summary);
    let mut page = Page::open("docs/optimization.md")
        .line("| `baseline` |", &source(&record, &summary))
        .line("So hybrid-cache adds", &adds)
        .line("most of it for the sandbox.", &target)
        .line("The bare interpreter takes", &bare)
        .rows("| phase | numpy | gcc | both |", &phases(&summary));
    for (begins, effect) in levers(&record, &summary) {
        page = page.line(begins, &format!("{begins} {effect}"));
    }
    page.check();
}
