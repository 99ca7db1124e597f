//! What people read: snapshots of text, and rules that every page must keep.

#![expect(clippy::unwrap_used, reason = "a test may panic, in its helpers as well")]

mod fixture;

use std::collections::BTreeSet;

use hybrid_cache_model::sample::{Acceptance, Completion, RunRecord, Sample};
use hybrid_cache_model::{Lane, Phase, Span, Temperature};
use hybrid_cache_report::claim::Verdict;
use hybrid_cache_report::compare::{Change, Comparison};
use hybrid_cache_report::phases::{Attribution, background_us, hidden_us};
use hybrid_cache_report::warning::WarningKind;
use hybrid_cache_report::{Color, Summary, compare, comparison_digest, html, markdown, terminal, write_run};
use proptest::prelude::*;

#[test]
fn the_terminal_reads_well_wide_and_narrow() {
    insta::assert_snapshot!("terminal-wide", terminal(&fixture::record(), 132, Color::Plain));
    insta::assert_snapshot!("terminal-narrow", terminal(&fixture::record(), 80, Color::Plain));
}

#[test]
fn the_markdown_reads_well() {
    insta::assert_snapshot!("markdown", markdown(&fixture::record()));
}

#[test]
fn colour_adds_escapes_and_nothing_else() {
    let (plain, ansi) = (
        terminal(&fixture::record(), 132, Color::Plain),
        terminal(&fixture::record(), 132, Color::Ansi),
    );
    assert!(!plain.contains('\u{1b}') && ansi.contains("\u{1b}[32m▼ beaten\u{1b}[0m"));
    let mut rest = ansi.as_str();
    let mut stripped = String::new();
    while let Some((before, after)) = rest.split_once('\u{1b}') {
        stripped.push_str(before);
        rest = after.split_once('m').unwrap().1;
    }
    stripped.push_str(rest);
    assert_eq!(stripped, plain);
}

/// The page's body as XML: it holds no void elements, so it must parse as such.
fn body(page: &str) -> &str {
    let from = page.find("<body>").unwrap();
    let to = page.find("</body>").unwrap() + "</body>".len();
    &page[from..to]
}

#[test]
fn the_page_is_well_formed_and_its_references_resolve() {
    for record in [fixture::record(), fixture::cluster::record()] {
        references_resolve(&html(&record));
    }
}

fn references_resolve(page: &str) {
    let document = roxmltree::Document::parse(body(page)).unwrap();
    let mut ids = BTreeSet::new();
    for id in document.descendants().filter_map(|node| node.attribute("id")) {
        assert!(ids.insert(id), "the id {id} occurs twice");
    }
    for node in document.descendants() {
        let link = node.attribute("href").map(|href| href.trim_start_matches('#'));
        let labels = node
            .attribute("aria-labelledby")
            .map(str::split_whitespace)
            .into_iter()
            .flatten();
        for reference in link.into_iter().chain(labels) {
            assert!(ids.contains(reference), "nothing has the id {reference}");
        }
    }
}

/// Leaves the rendered fixture in `target/tmp/report-fixture`, to be looked at in a browser.
#[test]
fn the_fixture_is_written_to_the_target_folder_for_inspection() {
    let dir = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("report-fixture");
    write_run(&dir, &fixture::record()).unwrap();
    assert!(dir.join("report.html").exists());
    let dir = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("report-fixture-cluster");
    write_run(&dir, &fixture::cluster::record()).unwrap();
}

#[test]
fn every_figure_has_a_title_and_a_description() {
    let page = html(&fixture::record());
    let document = roxmltree::Document::parse(body(&page)).unwrap();
    let figures: Vec<_> = document
        .descendants()
        .filter(|node| node.has_tag_name("svg") && node.attribute("role") == Some("img"))
        .collect();
    assert!(figures.len() > 12, "{} figures", figures.len());
    for figure in figures {
        let children: Vec<&str> = figure.children().map(|child| child.tag_name().name()).collect();
        assert_eq!(children[..2], ["title", "desc"]);
    }
}

#[test]
fn the_page_asks_nothing_of_the_network() {
    let page = html(&fixture::record());
    for word in [
        "http://",
        "https://",
        "//",
        "<script",
        "<link",
        "<img",
        "@import",
        "@font-face",
        "src=",
    ] {
        assert!(!page.contains(word), "the page holds {word}");
    }
    assert_eq!(page.matches("url(").count(), page.matches("url(#hatch)").count());
}

/// A record in which everything that comes from outside tries to get out of its place.
fn hostile() -> RunRecord {
    let evil = "<script>alert('x')</script>|`\u{1b}[2J\"&";
    let mut record = fixture::cluster::record();
    for scenario in &mut record.scenarios {
        scenario.why = evil.into();
        scenario.request.python_code = evil.into();
        scenario.request.dependencies = evil.into();
    }
    let name = format!("../{evil}");
    record.scenarios[0].name = name.clone();
    for sample in record
        .samples
        .iter_mut()
        .filter(|sample| sample.scenario == "python-only")
    {
        sample.scenario = name.clone();
    }
    record.samples[3].acceptance = Acceptance::Failed { reason: evil.into() };
    record.usage[0].layers[0].layer = evil.into();
    record.usage[0].scenario = name;
    let provenance = &mut record.provenance;
    for field in [
        &mut provenance.driver,
        &mut provenance.command,
        &mut provenance.cpu,
        &mut provenance.index,
    ] {
        *field = evil.into();
    }
    provenance.tools[0].version = evil.into();
    let cluster = provenance.cluster.as_mut().unwrap();
    for field in [&mut cluster.context, &mut cluster.image, &mut cluster.kubelets[0]] {
        *field = evil.into();
    }
    provenance.notes.push(evil.into());
    record
}

#[test]
fn hostile_text_in_a_record_is_escaped_in_every_rendering() {
    let record = hostile();
    let page = html(&record);
    assert!(!page.contains("<script"));
    // Control characters are not XML at all; a browser shows them as nothing.
    roxmltree::Document::parse(&body(&page).replace('\u{1b}', "")).unwrap();
    let text = markdown(&record);
    assert!(!text.contains("<script") && !text.contains('\u{1b}'));
    let row = text
        .lines()
        .find(|line| line.contains("alert") && line.contains("| cached |"))
        .unwrap();
    assert_eq!(row.replace("\\|", "").matches('|').count(), 14, "{row}");
    assert!(!terminal(&record, 120, Color::Plain).contains('\u{1b}'));
    for (name, _) in hybrid_cache_report::hdr_logs(&record) {
        assert!(!name.contains('/') && !name.contains("..") && name.is_ascii(), "{name}");
    }
}

#[test]
fn every_fault_of_the_fixture_has_its_warning() {
    let warnings = Summary::from_record(&fixture::record()).warnings;
    let kinds: Vec<WarningKind> = warnings.iter().map(|warning| warning.kind).collect();
    for kind in [
        WarningKind::Dirty,
        WarningKind::Steal,
        WarningKind::SlowFirst,
        WarningKind::Outliers,
        WarningKind::Rejected,
        WarningKind::Failed,
        WarningKind::FewSamples,
    ] {
        assert!(kinds.contains(&kind), "no warning {kind:?} among {kinds:?}");
    }
    assert!(warnings.iter().all(|warning| !warning.remedy.is_empty()));
}

#[test]
fn an_interruption_and_a_gap_in_the_spans_have_warnings_too() {
    let mut record = fixture::record();
    record.completion = Completion::Interrupted;
    for sample in record.samples.iter_mut().filter(|sample| sample.scenario == "bare") {
        sample.timeline.spans.retain(|span| span.phase != Phase::Sandbox);
    }
    let warnings = Summary::from_record(&record).warnings;
    assert_eq!(warnings[0].kind, WarningKind::Interrupted);
    let gap = warnings
        .iter()
        .find(|warning| warning.kind == WarningKind::Unattributed)
        .unwrap();
    assert_eq!(gap.about.as_deref(), Some("bare, cached"));
    let missing = Summary::from_record(&RunRecord {
        samples: Vec::new(),
        ..record
    })
    .warnings;
    assert!(missing.iter().any(|warning| warning.kind == WarningKind::NothingCounts));
}

#[test]
fn rejected_and_failed_samples_are_counted_and_enter_no_figure() {
    let mut record = fixture::record();
    let before = Summary::from_record(&record);
    for sample in record
        .samples
        .iter_mut()
        .filter(|sample| sample.acceptance != Acceptance::Accepted)
    {
        sample.wall_us *= 1000;
    }
    let after = Summary::from_record(&record);
    assert_eq!(before.scenarios, after.scenarios);
    let hybrid = after
        .scenarios
        .iter()
        .find(|scenario| scenario.name == "hybrid")
        .unwrap();
    let cached = hybrid.group(Temperature::Cached).unwrap();
    assert_eq!((cached.accepted, cached.rejected, cached.failed), (35, 1, 0));
    assert!(after.claims().any(|(_, _, result)| result.verdict == Verdict::Refuted));
}

#[test]
fn a_layer_that_holds_nothing_has_no_row() {
    let mut record = fixture::record();
    let layer = &mut record.usage[0].layers[0];
    layer.layer = "system/nothing".into();
    (layer.bytes, layer.inodes, layer.entries) = (0, 0, 0);
    assert!(!html(&record).contains("system/nothing") && !markdown(&record).contains("system/nothing"));
}

#[test]
fn spans_too_short_to_be_seen_share_a_row_and_keep_their_tips() {
    let mut record = fixture::record();
    let long = record.samples.iter().position(|s| s.scenario == "large-wheel").unwrap();
    let mut sample = record.samples.swap_remove(long);
    let waits = (0..5).map(|at| Span {
        phase: Phase::LockWait,
        lane: Lane::System,
        start_us: 100 + at * 50,
        duration_us: 40,
    });
    sample.timeline.spans.extend(waits);
    record.samples = vec![sample];
    let page = html(&record);
    assert_eq!(page.matches("<tspan>lock wait</tspan>").count(), 1);
    assert_eq!(page.matches("<title>lock wait: 40.0 µs</title>").count(), 5);
    assert!(page.contains("200 µs"), "their sum");
}

#[test]
fn an_empty_and_an_interrupted_record_render_too() {
    let mut record = fixture::record();
    record.samples.clear();
    assert!(html(&record).contains("no sample counts"));
    assert!(markdown(&record).contains("undecided"));
    record.scenarios.clear();
    record.usage.clear();
    roxmltree::Document::parse(body(&html(&record))).unwrap();
    assert!(!terminal(&record, 80, Color::Plain).is_empty());
}

#[test]
fn a_comparison_reads_well() {
    let before = fixture::record();
    let mut after = before.clone();
    let slower = |name: &str| ["bare", "python-only"].contains(&name);
    for sample in after.samples.iter_mut().filter(|sample| slower(&sample.scenario)) {
        sample.wall_us = sample.wall_us * 13 / 10;
    }
    after.samples.retain(|sample| sample.scenario != "system-only");
    let large = |sample: &&mut Sample| sample.scenario == "large-wheel";
    for sample in after.samples.iter_mut().filter(large) {
        sample.acceptance = Acceptance::Failed { reason: "gone".into() };
    }
    after.provenance.kernel = "6.13.0".into();
    let comparison = compare(&before, &after);
    insta::assert_snapshot!("comparison", comparison.terminal(150, Color::Plain));
    insta::assert_snapshot!("comparison-markdown", comparison_digest(&comparison, None));
    assert_eq!(comparison.cautions.len(), 1);
    let changes = |comparison: &Comparison| -> Vec<(String, Change)> {
        let cached = comparison
            .groups
            .iter()
            .filter(|group| group.temperature == Temperature::Cached);
        cached.map(|group| (group.scenario.clone(), group.change)).collect()
    };
    let of = |changes: &[(String, Change)], name: &str| changes.iter().find(|change| change.0 == name).unwrap().1;
    let there = changes(&comparison);
    assert_eq!(of(&there, "python-only"), Change::Slower);
    assert_eq!(
        of(&there, "bare"),
        Change::NoPairs,
        "the machine may have become slower"
    );
    assert_eq!(of(&there, "large-wheel"), Change::OnlyInA);
    let back = changes(&compare(&after, &before));
    assert_eq!(of(&back, "python-only"), Change::Faster);
    assert_eq!(of(&back, "system-only"), Change::OnlyInB);
    let same = changes(&compare(&before, &before));
    assert_eq!(of(&same, "python-only"), Change::Same);
}

fn spans() -> impl Strategy<Value = Vec<Span>> {
    let lanes = prop::sample::select(vec![
        Lane::Driver,
        Lane::Runner,
        Lane::Python,
        Lane::System,
        Lane::Publish,
    ]);
    let phases = prop::sample::select(Phase::ALL.to_vec());
    let span = (phases, lanes, 0u64..2_000, 0u64..1_500);
    let span = span.prop_map(|(phase, lane, start_us, duration_us)| Span {
        phase,
        lane,
        start_us,
        duration_us,
    });
    prop::collection::vec(span, 0..24)
}

proptest! {
    #[test]
    fn bars_add_up_to_the_wall_time_whatever_the_spans(all in prop::collection::vec((spans(), 0u64..2_500), 1..6)) {
        let mut samples = fixture::record().samples;
        samples.truncate(all.len());
        for (sample, (spans, wall_us)) in samples.iter_mut().zip(all) {
            sample.timeline.spans = spans;
            sample.wall_us = wall_us;
        }
        let samples: Vec<_> = samples.iter().collect();
        let attribution = Attribution::from_samples(&samples).unwrap();
        let sum: u64 = attribution.rows.iter().map(|row| row.bar_us).sum();
        prop_assert_eq!(sum, attribution.total_us);
        prop_assert!(attribution.rows.last().unwrap().phase.is_none());
        for sample in samples {
            let worked_us: u64 = sample.timeline.spans.iter().map(|span| span.duration_us).sum();
            prop_assert!(hidden_us(sample) <= worked_us);
            prop_assert!(background_us(sample) <= 3_500);
        }
    }
}
