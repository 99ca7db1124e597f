//! Reports of a run under load: what every rendering says, and what is on disk.

#![expect(clippy::unwrap_used, reason = "a test may panic, in its helpers as well")]

mod fixture;

use std::path::Path;

use hybrid_cache_model::load::{LoadCounts, LoadRecord, LoadRow, LoadService, MemorySource};
use hybrid_cache_model::sample::{RunRecord, ServiceRecord};
use hybrid_cache_report::{Color, DurationHistogram, html, load, markdown, terminal, write_run};

/// A minute at ten tasks a second, of which one fails and some are refused, with a pause in what is known of memory.
fn record() -> RunRecord {
    let mut record = fixture::record();
    record.samples.clear();
    record.peers.clear();
    record.usage.clear();
    record.scenarios.truncate(1);
    record.provenance.service = Some(ServiceRecord {
        url: "http://localhost:8000".to_owned(),
        version: "0.1.0".to_owned(),
        driver: Some("local".to_owned()),
        same_machine: true,
    });
    let mut latency = DurationHistogram::new().unwrap();
    (1..600).for_each(|at| latency.note(at * 1000));
    let rows = (0..63).map(|at: u64| LoadRow {
        submitted: if at < 60 { 10 } else { 0 },
        done: if at < 60 { 9 + at % 3 } else { 0 },
        failed: u64::from(at == 5),
        refused: u64::from(at == 7) * 4,
        waiting: Some(at % 4),
        running: Some(2),
        memory_bytes: (at != 20).then_some((30 << 20) + (at % 5) * 4096),
        disk_bytes: Some(at * 40_000),
    });
    record.load = Some(Box::new(LoadRecord {
        offered_per_s: 10.0,
        planned_s: 60,
        retries: 3,
        arriving_us: 60_000_000,
        watched_us: 63_000_000,
        counts: LoadCounts {
            due: 600,
            submitted: 600,
            queued: 600,
            succeeded: 599,
            failed: 1,
            refused: 4,
            retried: 4,
            ..LoadCounts::default()
        },
        latency: latency.encode(),
        queue: latency.encode(),
        sending: latency.encode(),
        service: LoadService {
            own: true,
            memory: MemorySource::Metrics,
            made: Some(600),
            ended: Some(600),
            disk_limit_bytes: Some(25 << 30),
        },
        row_us: 1_000_000,
        rows: rows.collect(),
        reasons: vec!["<b>the program</b> exited with 3".to_owned()],
    }));
    record
}

#[test]
fn the_text_reads_well() {
    insta::assert_snapshot!("load-terminal", terminal(&record(), 120, Color::Plain));
    insta::assert_snapshot!("load-markdown", markdown(&record()));
}

#[test]
fn every_rendering_gives_rate_latency_outcome_memory_and_disk() {
    let record = record();
    for text in [html(&record), markdown(&record), terminal(&record, 120, Color::Plain)] {
        for words in [
            "10.0 tasks a second offered, 10.0 achieved over 60.0 s",
            "none lost",
            "p95",
            "300 ms",
            "30.0 MiB",
            "flat",
        ] {
            assert!(text.contains(words), "{words:?} is not in: {text}");
        }
    }
}

#[test]
fn the_page_is_well_formed_and_escapes_text_from_the_record() {
    let page = html(&record());
    let body = &page[page.find("<body>").unwrap()..page.find("</body>").unwrap() + "</body>".len()];
    let document = roxmltree::Document::parse(body).unwrap();
    let tags = |name: &str| document.descendants().filter(|node| node.has_tag_name(name)).count();
    assert_eq!(tags("b"), 0);
    // Queued, ended and refused; waiting and running; memory before and behind the pause; disk.
    assert_eq!(tags("polyline"), 3 + 2 + 2 + 1);
    let ids: Vec<_> = document.descendants().filter_map(|node| node.attribute("id")).collect();
    for node in document.descendants() {
        for label in node.attribute("aria-labelledby").unwrap_or_default().split_whitespace() {
            assert!(ids.contains(&label), "nothing has the id {label}");
        }
    }
    for word in ["<script", "<link", "<img", "@import", "src="] {
        assert!(!page.contains(word), "the page holds {word}");
    }
}

#[test]
fn a_run_without_results_renders() {
    let mut record = record();
    record.load = Some(Box::default());
    for text in [html(&record), markdown(&record), terminal(&record, 60, Color::Plain)] {
        assert!(text.contains("no task succeeded") && text.contains("unknown"), "{text}");
    }
}

#[test]
fn a_run_without_load_has_no_load_section() {
    for record in [fixture::record(), fixture::cluster::record()] {
        assert!(!html(&record).contains("under load") && !markdown(&record).contains("achieved"));
    }
}

#[test]
fn a_folder_holds_the_record_and_its_histograms_and_fits_the_schema() {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("report-fixture-load");
    let record = record();
    write_run(&dir, &record).unwrap();
    assert_eq!(load(&dir).unwrap(), record);
    let log = std::fs::read_to_string(dir.join("hdr/load.hlog")).unwrap();
    for tag in ["Tag=latency,", "Tag=queue,", "Tag=sending,"] {
        assert!(log.contains(tag), "{log}");
    }
    let schema = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../reports/report.schema.json");
    let schema = serde_json::from_str(&std::fs::read_to_string(schema).unwrap()).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let value = serde_json::to_value(&record).unwrap();
    let errors: Vec<String> = validator.iter_errors(&value).map(|error| error.to_string()).collect();
    assert_eq!(errors, [""; 0]);
    let mut odd = value;
    odd["load"]["rows"][0]["surprise"] = 1.into();
    assert!(!validator.is_valid(&odd));
}
