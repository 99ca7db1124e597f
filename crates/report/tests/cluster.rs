//! Reports of a run on a cluster: what a client sees, separate from what happens inside a pod, and what such a record holds.

mod fixture;

use std::path::Path;

use hybrid_cache_model::sample::Peer;
use hybrid_cache_report::{Color, Summary, compare, html, markdown, terminal};

#[test]
fn a_cluster_reads_well() {
    insta::assert_snapshot!("terminal", terminal(&fixture::cluster::record(), 120, Color::Plain));
    insta::assert_snapshot!("markdown", markdown(&fixture::cluster::record()));
}

#[test]
fn every_rendering_gives_the_end_to_end_and_the_runner_time() {
    let record = fixture::cluster::record();
    let summary = Summary::from_record(&record);
    let hybrid = summary
        .scenarios
        .iter()
        .find(|scenario| scenario.name == "hybrid")
        .unwrap();
    let texts = [
        html(&record),
        markdown(&record),
        terminal(&record, 80, Color::Plain),
        terminal(&record, 120, Color::Plain),
    ];
    for group in &hybrid.groups {
        let [wall, runner] = [&group.wall, &group.runner].map(|times| times.as_ref().unwrap().median_us);
        assert!(wall > runner + 900_000.0, "a pod takes time outside of its runner");
        for text in &texts {
            for us in [wall, runner] {
                let time = hybrid_cache_report::units::duration(us);
                assert!(
                    text.contains(&time),
                    "{time} of {:?} is not in: {text}",
                    group.temperature
                );
            }
        }
    }
    for text in &texts {
        assert!(text.contains("nd-to-end") && text.contains("unner"));
    }
    let json = serde_json::to_value(&summary).unwrap();
    let group = &json["scenarios"][2]["groups"][2];
    assert!(group["wall"]["median_us"].as_f64() > group["runner"]["median_us"].as_f64());
}

#[test]
fn a_comparison_of_a_machine_with_a_cluster_says_so() {
    let cautions = compare(&fixture::record(), &fixture::cluster::record()).cautions;
    for fact in ["driver", "Kubernetes version", "container runtime", "image"] {
        assert!(
            cautions
                .iter()
                .any(|caution| caution.starts_with(&format!("the {fact} differs: "))),
            "{cautions:#?}"
        );
    }
    assert!(
        compare(&fixture::cluster::record(), &fixture::cluster::record())
            .cautions
            .is_empty()
    );
}

#[test]
fn the_schema_names_all_peers() {
    let reports = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../reports");
    let schema = std::fs::read_to_string(reports.join("report.schema.json")).unwrap();
    let schema: serde_json::Value = serde_json::from_str(&schema).unwrap();
    let peers = serde_json::to_value(Peer::ALL).unwrap();
    assert_eq!(schema["$defs"]["peer"]["properties"]["peer"]["enum"], peers);
}
