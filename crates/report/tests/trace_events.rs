//! The trace of a run: the structure that Perfetto and Chrome rely on.

#![expect(clippy::unwrap_used, reason = "a test may panic, in its helpers as well")]

#[expect(dead_code, reason = "these tests need no cluster")]
mod fixture;

use std::collections::{BTreeMap, BTreeSet};

use hybrid_cache_model::sample::{Acceptance, RunRecord};
use hybrid_cache_model::{Lane, Phase, Span};
use hybrid_cache_report::{trace_events, write_trace};
use serde_json::Value;

/// The events as a parser of the file sees them.
fn events(record: &RunRecord) -> Vec<Value> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("trace.json");
    write_trace(&path, record).unwrap();
    let trace: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    assert_eq!(trace, trace_events(record));
    assert_eq!(
        std::fs::read_dir(folder.path()).unwrap().count(),
        1,
        "no staged file is left"
    );
    trace["traceEvents"].as_array().unwrap().clone()
}

fn number(event: &Value, field: &str) -> u64 {
    event[field].as_u64().unwrap_or_else(|| panic!("{field} of {event}"))
}

fn check(record: &RunRecord) {
    let events = events(record);
    let mut threads: BTreeMap<(u64, u64), Vec<(u64, u64)>> = BTreeMap::new();
    let mut named = BTreeSet::new();
    for event in &events {
        let place = (number(event, "pid"), number(event, "tid"));
        let when = (number(event, "ts"), number(event, "dur"));
        assert!(!event["name"].as_str().unwrap().is_empty(), "{event}");
        match event["ph"].as_str().unwrap() {
            "X" => threads.entry(place).or_default().push(when),
            "M" if event["name"] == "thread_name" => assert!(named.insert(place), "{place:?} has two names"),
            "M" => assert!(event["args"].is_object(), "{event}"),
            other => panic!("{other} is not written"),
        }
    }
    assert_eq!(
        threads.keys().copied().collect::<BTreeSet<_>>(),
        named,
        "every thread has a name"
    );
    for (place, mut spans) in threads {
        spans.sort_unstable();
        assert!(
            spans.windows(2).all(|two| two[0].0 + two[0].1 <= two[1].0),
            "{place:?} overlaps: {spans:?}"
        );
    }
    let whole: Vec<&Value> = events
        .iter()
        .filter(|event| event["ph"] == "X" && event["tid"] == 0)
        .collect();
    assert_eq!(whole.len(), record.samples.len() + record.peers.len());
    // One behind the other, whatever goes on after an answer.
    for two in whole.windows(2) {
        assert!(number(two[0], "ts") + number(two[0], "dur") < number(two[1], "ts"));
    }
    let spans: usize = record.samples.iter().map(|sample| sample.timeline.spans.len()).sum();
    let phases = events
        .iter()
        .filter(|event| event["ph"] == "X" && event["tid"] != 0)
        .count();
    assert_eq!(phases, spans);
}

#[test]
fn every_event_has_its_fields_and_no_thread_overlaps() {
    check(&fixture::record());
}

#[test]
fn a_sample_is_a_process_with_its_phases_in_their_lanes() {
    let record = fixture::record();
    let events = events(&record);
    let sample = &record.samples[0];
    let name = format!("{} {} #0", sample.scenario, sample.temperature.name());
    let whole = events
        .iter()
        .find(|event| event["ph"] == "X" && event["name"] == name.as_str())
        .unwrap();
    assert_eq!(number(whole, "dur"), sample.wall_us);
    assert_eq!(whole["args"]["verdict"], "counts");
    assert!(
        whole["args"]["host_noise"].as_str().unwrap().contains("CPU pressure"),
        "{whole}"
    );
    let code = events
        .iter()
        .find(|event| event["name"] == Phase::UserCode.label())
        .unwrap();
    assert_eq!((&code["cat"], &code["pid"]), (&Value::from("runner"), &whole["pid"]));
    let user_code = |span: &&Span| span.phase == Phase::UserCode;
    let span = sample.timeline.spans.iter().find(user_code).unwrap();
    assert_eq!(number(code, "ts"), number(whole, "ts") + span.start_us);
    let peer = events.iter().filter(|event| event["cat"] == "peer").count();
    assert_eq!(peer, record.peers.len());
}

#[test]
fn an_odd_record_is_still_a_trace() {
    let mut record = fixture::record();
    let sample = &mut record.samples[0];
    sample.scenario = "</script>\u{1b}\"\\ \u{0}".into();
    sample.acceptance = Acceptance::Failed {
        reason: "\"gone\"".into(),
    };
    // Spans of one lane that overlap, have no length, or end after the answer.
    let odd = [(0, 50), (10, 20), (10, 0), (30, 90), (sample.wall_us, 5_000_000)];
    sample.timeline.spans = odd
        .map(|(start_us, duration_us)| Span {
            phase: Phase::LockWait,
            lane: Lane::System,
            start_us,
            duration_us,
        })
        .into();
    check(&record);
    record.samples.clear();
    record.peers.clear();
    assert_eq!(events(&record), Vec::<Value>::new());
}
