//! Reports of a run through a task service: that it was one, what the service added, and why there is no first run.

mod fixture;

use std::path::Path;

use hybrid_cache_model::sample::{Acceptance, Peer, PeerSample, RunRecord, ServiceRecord};
use hybrid_cache_model::{Phase, Temperature, Timeline};
use hybrid_cache_report::warning::WarningKind;
use hybrid_cache_report::{Attainment, Color, FigureKind, Summary, compare, html, markdown, terminal};

const QUEUE_US: u64 = 1_000;
const ADDED_US: u64 = 8_000;

/// The synthetic run with a service in front of its driver, whose caches were warm.
fn record() -> RunRecord {
    let mut record = fixture::record();
    record.peers.clear();
    record.provenance.driver = "service".to_owned();
    record.provenance.service = Some(ServiceRecord {
        url: "http://localhost:8000".to_owned(),
        version: "0.1.0".to_owned(),
        driver: Some("local".to_owned()),
        same_machine: true,
    });
    record.samples.retain(|sample| sample.scenario == "hybrid");
    record.scenarios.retain(|scenario| scenario.name == "hybrid");
    let mut peers = Vec::new();
    for sample in &mut record.samples {
        let peer = |peer, wall_us| PeerSample {
            scenario: sample.scenario.clone(),
            peer,
            sequence: sample.sequence + 1000,
            place: sample.place,
            wall_us,
            runner_us: None,
            state_us: None,
        };
        if sample.temperature == Temperature::Cached {
            peers.extend([peer(Peer::DirectDriver, sample.wall_us), peer(Peer::RoundTrip, 400)]);
        } else if sample.temperature == Temperature::First {
            sample.acceptance = Acceptance::WrongTemperature {
                reason: "python cache: Hit in a run meant to be first".to_owned(),
            };
        }
        sample.wall_us += ADDED_US;
        sample.timeline.total_us = sample.wall_us - ADDED_US;
        sample.timeline = Timeline::through_service(&sample.timeline, sample.wall_us, QUEUE_US);
    }
    record.peers = peers;
    record
}

#[test]
fn every_rendering_says_that_it_was_a_service() {
    let record = record();
    let texts = [html(&record), markdown(&record), terminal(&record, 120, Color::Plain)];
    for text in &texts {
        for words in [
            "task service at http://localhost:8000, version 0.1.0, driver local",
            "no first run",
        ] {
            assert!(text.contains(words), "{words:?} is not in: {text}");
        }
    }
    for text in &texts[..2] {
        assert!(text.contains(Phase::Service.label()) && text.contains(Phase::Queue.label()));
    }
    let written = serde_json::to_value(&record).unwrap();
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../reports/report.schema.json");
    let schema = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    let errors: Vec<String> = jsonschema::validator_for(&schema)
        .unwrap()
        .iter_errors(&written)
        .map(|error| error.to_string())
        .collect();
    assert_eq!(errors, [""; 0]);
}

#[test]
fn the_overhead_of_the_service_is_compared_with_its_driver_alone() {
    let summary = Summary::from_record(&record());
    let kinds: Vec<FigureKind> = summary.figures.iter().map(|figure| figure.kind).collect();
    assert_eq!(kinds, [FigureKind::ServiceOverhead, FigureKind::ServiceRatio]);
    let [added, ratio] = &summary.figures[..] else {
        panic!("two figures");
    };
    assert_eq!(
        (added.estimate.value, added.attainment),
        (ADDED_US as f64, Attainment::Met)
    );
    assert!(added.sides().ends_with("; GET /healthz 400 µs"), "{}", added.sides());
    assert!(ratio.estimate.value > 1.0);
    assert_eq!(ratio.against.as_ref().unwrap().name, "direct driver");
}

#[test]
fn a_missing_first_run_is_explained_by_warm_caches_and_one_first_run_has_no_interval() {
    let kinds = |record: &RunRecord| -> Vec<WarningKind> {
        let summary = Summary::from_record(record);
        let first = |about: &Option<String>| about.as_deref() == Some("hybrid, first");
        let own = summary.warnings.iter().filter(|warning| first(&warning.about));
        own.map(|warning| warning.kind).collect()
    };
    let mut record = record();
    // It stands for "rejected" and "no sample counts", which would sound like faults.
    assert_eq!(kinds(&record), [WarningKind::NoFirst]);
    let first = record
        .samples
        .iter_mut()
        .find(|sample| sample.temperature == Temperature::First);
    first.unwrap().acceptance = Acceptance::Accepted;
    let summary = Summary::from_record(&record);
    let reported = summary
        .warnings
        .iter()
        .find(|warning| warning.kind == WarningKind::NoFirst);
    assert!(
        reported
            .unwrap()
            .message
            .starts_with("a client of a service gets at most one first run"),
        "{reported:?}"
    );
}

#[test]
fn a_comparison_with_a_driver_measured_directly_says_so() {
    for direct in [fixture::record(), fixture::cluster::record()] {
        let cautions = compare(&direct, &record()).cautions;
        let reported = "the task service differs: none in A, version 0.1.0 on driver local, the same machine in B";
        assert!(cautions.iter().any(|caution| caution == reported), "{cautions:#?}");
    }
}
