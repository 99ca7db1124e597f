//! What continuous integration shows of a run: the digest, JUnit, OpenMetrics and JSON.

#![expect(clippy::unwrap_used, reason = "a test may panic, in its helpers as well")]

mod fixture;

use std::collections::BTreeMap;
use std::path::Path;

use hybrid_cache_model::Temperature;
use hybrid_cache_model::sample::{Acceptance, Completion, Peer, PeerSample, RunRecord};
use hybrid_cache_report::digest::MOST_LINES;
use hybrid_cache_report::{
    Answer, Baseline, ComparisonFacts, Gate, GateOutcome, RunFacts, compare, comparison_digest, gate_run, gate_runs,
    run_digest, write_judged, write_run,
};

const HOSTILE: &str = "a|b `c` **d** <script>e</script> [f](https://g) @owner #12 \u{1b}[31m \u{202e}h\n\n# i\u{0}";

/// A run whose names and reasons try to be markup.
fn hostile() -> RunRecord {
    let mut record = fixture::record();
    let rename = |name: &mut String| {
        if name == "hybrid" {
            *name = HOSTILE.to_owned();
        }
    };
    record
        .samples
        .iter_mut()
        .for_each(|sample| rename(&mut sample.scenario));
    record
        .scenarios
        .iter_mut()
        .for_each(|scenario| rename(&mut scenario.name));
    for sample in record.samples.iter_mut().take(5) {
        sample.acceptance = Acceptance::Failed { reason: HOSTILE.into() };
    }
    record.provenance.cpu = HOSTILE.into();
    record.provenance.revision = HOSTILE.into();
    record.provenance.command = HOSTILE.into();
    record
}

/// Many scenarios with failed samples in each.
fn large() -> RunRecord {
    let mut record = hostile();
    let (scenarios, samples) = (record.scenarios.clone(), record.samples.clone());
    for copy in 0..4 {
        let named = |name: &str| format!("{name}-{copy}");
        record.scenarios.extend(scenarios.iter().cloned().map(|mut scenario| {
            scenario.name = named(&scenario.name);
            scenario
        }));
        record
            .samples
            .extend(samples.iter().take(60).cloned().map(|mut sample| {
                sample.scenario = named(&sample.scenario);
                sample
            }));
    }
    record
}

/// The fixture beside another build, which takes as long.
fn two_builds() -> RunRecord {
    let mut record = fixture::record();
    record
        .samples
        .retain(|sample| sample.acceptance == Acceptance::Accepted);
    record.peers = record
        .samples
        .iter()
        .filter(|sample| sample.temperature != Temperature::Uncached)
        .map(|sample| PeerSample {
            scenario: sample.scenario.clone(),
            peer: match sample.temperature {
                Temperature::First => Peer::OtherFirst,
                _ => Peer::OtherCached,
            },
            sequence: sample.sequence,
            place: sample.place,
            wall_us: sample.wall_us + u64::from(sample.sequence % 3),
            runner_us: None,
            state_us: None,
        })
        .collect();
    record.against = Some("revision 0123456789abcdef".into());
    record
}

fn unescaped_bars(line: &str) -> usize {
    let bars = line.match_indices('|');
    bars.filter(|(at, _)| !line[..*at].ends_with('\\')).count()
}

/// Asserts what every digest must keep.
fn is_sound(text: &str) {
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines.len() <= MOST_LINES, "{} lines:\n{text}", lines.len());
    assert!(text.starts_with("## "), "{text}");
    let mut bars = None;
    for line in &lines {
        if line.starts_with('|') {
            assert_eq!(
                *bars.get_or_insert(unescaped_bars(line)),
                unescaped_bars(line),
                "{line}"
            );
        } else {
            bars = None;
        }
        assert!(!line.starts_with("# "), "{line}");
    }
    for markup in ["<script", "@owner", "#12", "https://", "\u{1b}", "\u{202e}", "\u{0}"] {
        assert!(!text.contains(markup), "{markup:?} is in:\n{text}");
    }
    assert_eq!(text.matches("<details>").count(), text.matches("</details>").count());
}

#[test]
fn a_digest_reads_well() {
    let record = fixture::record();
    insta::assert_snapshot!("digest", run_digest(&record, Some(&gate_run(&record, None))));
    let record = two_builds();
    insta::assert_snapshot!("digest-two-builds", run_digest(&record, Some(&gate_run(&record, None))));
    let (before, after) = (fixture::record(), slower(&fixture::record()));
    let gate = gate_runs(&before, &after, 0.1);
    let text = comparison_digest(&compare(&before, &after), Some(&gate));
    assert!(text.starts_with("## ✗ Regression, proven\n"), "{text}");
}

fn slower(record: &RunRecord) -> RunRecord {
    let mut record = record.clone();
    for sample in &mut record.samples {
        sample.wall_us = sample.wall_us * 13 / 10;
        sample.runner_us = sample.runner_us * 13 / 10;
    }
    record
}

#[test]
fn a_digest_is_short_and_holds_no_markup_of_others_whatever_was_measured() {
    for record in [fixture::record(), hostile(), large(), two_builds()] {
        let gate = gate_run(&record, None);
        is_sound(&run_digest(&record, Some(&gate)));
        is_sound(&run_digest(&record, None));
        let comparison = compare(&fixture::record(), &record);
        is_sound(&comparison_digest(
            &comparison,
            Some(&gate_runs(&fixture::record(), &record, 0.1)),
        ));
        is_sound(&comparison_digest(&comparison, None));
    }
    let mut interrupted = fixture::record();
    interrupted.completion = Completion::Interrupted;
    let text = run_digest(&interrupted, Some(&gate_run(&interrupted, None)));
    assert!(
        text.starts_with("## ? Cannot tell\n") && text.contains("was interrupted"),
        "{text}"
    );
}

/// Writes the folder of a run and returns its file.
fn written(record: &RunRecord, gate: Option<&Gate>, file: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    match gate {
        Some(gate) => write_judged(folder.path(), record, gate).unwrap(),
        None => write_run(folder.path(), record).unwrap(),
    }
    std::fs::read_to_string(folder.path().join(file)).unwrap()
}

#[test]
fn junit_has_a_case_for_each_requirement_and_an_error_for_each_failed_sample() {
    let record = hostile();
    let gate = gate_run(&record, None);
    let text = written(&record, None, "junit.xml");
    let document = roxmltree::Document::parse(&text).unwrap();
    let count = |name: &str| document.descendants().filter(|node| node.has_tag_name(name)).count();
    let failed = record
        .samples
        .iter()
        .filter(|sample| matches!(sample.acceptance, Acceptance::Failed { .. }))
        .count();
    let broken = gate
        .requirements
        .iter()
        .filter(|judged| judged.answer == Answer::Broken);
    let held = gate.requirements.iter().filter(|judged| judged.answer == Answer::Held);
    assert_eq!(count("failure"), broken.count());
    assert_eq!(count("error"), failed);
    assert_eq!(count("testcase"), gate.requirements.len() + failed);
    assert_eq!(
        count("skipped"),
        gate.requirements.len() - count("failure") - held.count()
    );
    assert!(count("failure") > 0 && count("skipped") > 0 && failed >= 5);
    for suites in document
        .descendants()
        .filter(|node| ["testsuites", "testsuite"].contains(&node.tag_name().name()))
    {
        for (attribute, element) in [
            ("tests", "testcase"),
            ("failures", "failure"),
            ("errors", "error"),
            ("skipped", "skipped"),
        ] {
            let found = suites.descendants().filter(|node| node.has_tag_name(element)).count();
            assert_eq!(
                suites.attribute(attribute),
                Some(found.to_string().as_str()),
                "{attribute}"
            );
        }
    }
    let message = document.descendants().find(|node| node.has_tag_name("error")).unwrap();
    let message = message.attribute("message").unwrap();
    assert!(
        message.contains("<script>e</script>") && message.contains("\n\n# i\u{fffd}"),
        "{message:?}"
    );
}

#[test]
fn a_run_that_tells_nothing_breaks_nothing_in_junit() {
    let mut record = slower(&fixture::record());
    record.completion = Completion::Interrupted;
    let gate = gate_run(&record, None);
    assert!(
        gate.failures.is_empty() && gate.held == 0 && gate.outcome == GateOutcome::CannotTell,
        "{gate:#?}"
    );
    let text = written(&record, None, "junit.xml");
    assert!(!text.contains("<failure"), "{text}");
    assert!(text.contains("cannot tell: the run was interrupted"), "{text}");
    let digest = run_digest(&record, Some(&gate));
    assert!(
        !digest.contains("- ✗") && digest.contains("- ? the run was interrupted"),
        "{digest}"
    );
}

#[test]
fn junit_and_metrics_show_the_gate_that_was_asked_for() {
    let (before, after) = (fixture::record(), slower(&fixture::record()));
    let baseline = Baseline {
        record: &before,
        max_regression: 0.1,
    };
    let gate = gate_run(&after, Some(baseline));
    let case = "name=\"python-only, cached\"";
    assert!(written(&after, Some(&gate), "junit.xml").contains(case));
    assert!(!written(&after, None, "junit.xml").contains(case));
    let regression = "hybrid_cache_bench_gate{driver=\"local\",hybrid_cache_bench_gate=\"regression\"} 1\n";
    assert!(written(&after, Some(&gate), "metrics.txt").contains(regression));
}

/// The name, the labels as they are written, and the value of a line.
fn metric(line: &str) -> (&str, &str, f64) {
    let (name, rest) = line.split_once('{').unwrap();
    let (labels, value) = rest.rsplit_once("} ").unwrap();
    (name, labels, value.parse().unwrap())
}

#[test]
fn metrics_are_open_metrics_text_with_whole_families_and_escaped_labels() {
    for record in [fixture::record(), fixture::cluster::record(), hostile(), two_builds()] {
        let text = written(&record, None, "metrics.txt");
        let text = text.strip_suffix("# EOF\n").unwrap();
        let (mut families, mut seen) = (BTreeMap::new(), Vec::new());
        for line in text.lines() {
            if let Some(declared) = line.strip_prefix("# TYPE ") {
                let (name, kind) = declared.split_once(' ').unwrap();
                assert!(families.insert(name, kind).is_none(), "{name} is declared twice");
                seen.push(name);
            } else if !line.starts_with('#') {
                let (name, labels, value) = metric(line);
                let family = *seen.last().unwrap();
                let ending = name
                    .strip_prefix(family)
                    .unwrap_or_else(|| panic!("{name} stands under {family}"));
                let allowed: &[&str] = match families[family] {
                    "summary" => &["", "_count", "_sum"],
                    "info" => &["_info"],
                    _ => &[""],
                };
                assert!(allowed.contains(&ending), "{line}");
                assert!(value.is_finite() && !labels.contains('\u{1b}'), "{line}");
            }
        }
        assert_eq!(families["hybrid_cache_bench_end_to_end_seconds"], "summary");
    }
    let text = written(&hostile(), None, "metrics.txt");
    assert!(text.contains("machine=\"a|b `c` **d** <script>e</script>"), "{text}");
    assert!(text.contains("\\n\\n# i"), "a line break is escaped");
}

#[test]
fn json_has_what_the_tables_show_and_the_answer_of_the_gate() {
    let (before, after) = (fixture::record(), slower(&fixture::record()));
    let gate = gate_runs(&before, &after, 0.1);
    let comparison = compare(&before, &after);
    let value = serde_json::to_value(ComparisonFacts::new(&comparison, Some(&gate))).unwrap();
    assert_eq!(value["groups"].as_array().unwrap().len(), comparison.groups.len());
    assert_eq!(value["groups"][1]["change"], "slower");
    assert_eq!(value["groups"][1]["beside"]["peer"], "direct_exec");
    assert_eq!(value["gate"]["outcome"], "regression");
    let value = serde_json::to_value(RunFacts::new(Path::new("reports/x"), &after, Some(&comparison), None)).unwrap();
    assert_eq!(value["report"], "reports/x");
    assert_eq!(value["scenarios"][0]["groups"][0]["wall"]["n"], 12);
    assert_eq!(value["figures"][0]["target"], 10_000.0);
    assert_eq!(value["figures"][0]["unit"], "duration");
    assert_eq!(value["gate"], serde_json::Value::Null);
    assert_eq!(value["comparison"]["groups"][1]["change"], "slower");
}
