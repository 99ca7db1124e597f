//! What holds of the committed baseline: it fits the schema, and says what a reader must know about it.

#![expect(clippy::unwrap_used, reason = "a test may panic, in its helpers as well")]

use std::path::{Path, PathBuf};

use hybrid_cache_model::sample::{Acceptance, Completion, Peer, RunRecord, SCHEMA_VERSION};
use hybrid_cache_report::{Summary, html, load};
use serde_json::Value;

fn reports() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../reports")
}

fn json(path: &Path) -> Value {
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn baseline() -> RunRecord {
    load(&reports().join("baseline")).unwrap()
}

#[test]
fn it_fits_the_schema() {
    let schema = jsonschema::validator_for(&json(&reports().join("report.schema.json"))).unwrap();
    let written = json(&reports().join("baseline/report.json"));
    let errors: Vec<String> = schema
        .iter_errors(&written)
        .map(|error| format!("{}: {error}", error.instance_path()))
        .take(3)
        .collect();
    assert!(errors.is_empty(), "{errors:#?}");
}

#[test]
fn it_is_a_whole_run_of_a_clean_revision_on_one_machine() {
    let run = baseline();
    assert_eq!((run.schema, &run.provenance.cluster), (SCHEMA_VERSION, &None));
    assert!(!html(&run).contains("Kubernetes version"));
    assert_eq!((run.completion, run.provenance.dirty), (Completion::Complete, false));
    assert!(
        run.samples
            .iter()
            .all(|sample| sample.acceptance == Acceptance::Accepted)
    );
}

#[test]
fn it_has_every_peer() {
    let (run, summary) = (baseline(), Summary::from_record(&baseline()));
    assert_eq!(run.failed_peers, []);
    for peer in Peer::ALTERNATIVES {
        let mut measured = summary.alternatives.iter();
        assert!(
            measured.any(|ratio| ratio.peer == peer && ratio.pairs == 36),
            "{peer:?}"
        );
    }
}

#[test]
fn its_rounds_are_those_that_its_order_shows() {
    let named = baseline();
    let mut unnamed = named.clone();
    unnamed.samples.iter_mut().for_each(|sample| sample.place = None);
    unnamed.peers.iter_mut().for_each(|sample| sample.place = None);
    let (named, unnamed) = (Summary::from_record(&named), Summary::from_record(&unnamed));
    assert_eq!(named.scenarios, unnamed.scenarios);
    assert_eq!(named.alternatives, unnamed.alternatives);
}
