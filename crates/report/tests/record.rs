//! What is written is what is read back, whatever a crash leaves; and it fits the committed schema.

#![expect(clippy::unwrap_used, reason = "a test may panic, in its helpers as well")]

mod fixture;

use std::fs;
use std::io::Write;
use std::path::Path;

use hybrid_cache_model::Temperature;
use hybrid_cache_model::host_noise::HostNoise;
use hybrid_cache_model::outcome::{CacheStatus, End, Failure, FailureKind};
use hybrid_cache_model::sample::{AbsentPeer, Acceptance, Completion, FailedPeer, Peer, RunRecord, SCHEMA_VERSION};
use hybrid_cache_model::until::{LookRecord, UntilEnd, UntilRecord};
use hybrid_cache_report::{FolderError, SampleLog, hdr_logs, load, write_header, write_run};
use serde_json::Value;

#[test]
fn a_written_run_reads_back_and_leaves_no_staged_files() {
    let dir = tempfile::tempdir().unwrap();
    let record = fixture::record();
    write_run(dir.path(), &record).unwrap();
    assert_eq!(load(dir.path()).unwrap(), record);
    let mut names: Vec<String> = fs::read_dir(dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(
        names,
        [
            "hdr",
            "junit.xml",
            "metrics.txt",
            "report.html",
            "report.json",
            "report.md"
        ]
    );
    assert_eq!(
        fs::read_dir(dir.path().join("hdr")).unwrap().count(),
        hdr_logs(&record).len()
    );
    assert!(dir.path().join("hdr/python-only-cached.hlog").exists());
}

/// A folder as a crash leaves it: a header and some samples.
fn crashed(dir: &Path, record: &RunRecord, samples: usize) {
    write_header(dir, record).unwrap();
    let mut log = SampleLog::create(&dir.join("samples.jsonl")).unwrap();
    for sample in &record.samples[..samples] {
        log.append(sample).unwrap();
    }
}

#[test]
fn a_crashed_run_keeps_its_peers_in_the_order_in_which_they_came() {
    let dir = tempfile::tempdir().unwrap();
    let record = fixture::record();
    write_header(dir.path(), &record).unwrap();
    let mut log = SampleLog::create(&dir.path().join("samples.jsonl")).unwrap();
    for (sample, peer) in record.samples.iter().zip(&record.peers).take(4) {
        log.append_peer(peer).unwrap();
        log.append(sample).unwrap();
    }
    let loaded = load(dir.path()).unwrap();
    assert_eq!(loaded.samples, record.samples[..4]);
    assert_eq!(loaded.peers, record.peers[..4]);
}

#[test]
fn a_record_from_before_there_were_peers_still_reads() {
    let dir = tempfile::tempdir().unwrap();
    let mut value = serde_json::to_value(fixture::record()).unwrap();
    value.as_object_mut().unwrap().remove("peers");
    fs::write(dir.path().join("report.json"), value.to_string()).unwrap();
    assert_eq!(load(dir.path()).unwrap().peers, []);
}

#[test]
fn a_crashed_run_is_read_from_its_samples_and_marked_as_interrupted() {
    let dir = tempfile::tempdir().unwrap();
    let record = fixture::record();
    crashed(dir.path(), &record, 5);
    let loaded = load(dir.path()).unwrap();
    assert_eq!(loaded.samples, record.samples[..5]);
    assert_eq!(loaded.scenarios, record.scenarios);
    assert_eq!(loaded.completion, Completion::Interrupted);
    assert!(
        loaded
            .provenance
            .notes
            .iter()
            .any(|note| note.contains("no report.json"))
    );
}

#[test]
fn a_truncated_last_line_is_left_out_wherever_it_ends() {
    let record = fixture::record();
    let whole = serde_json::to_string(&record.samples[2]).unwrap();
    for cut in [1, whole.len() / 2, whole.len() - 1] {
        let dir = tempfile::tempdir().unwrap();
        crashed(dir.path(), &record, 2);
        let mut file = fs::File::options()
            .append(true)
            .open(dir.path().join("samples.jsonl"))
            .unwrap();
        file.write_all(&whole.as_bytes()[..cut]).unwrap();
        let loaded = load(dir.path()).unwrap();
        assert_eq!(loaded.samples.len(), 2);
        assert!(
            loaded.provenance.notes.iter().any(|note| note.contains("torn")),
            "{:?}",
            loaded.provenance.notes
        );
    }
}

#[test]
fn a_damaged_line_in_the_middle_is_an_error_with_its_number() {
    let dir = tempfile::tempdir().unwrap();
    let record = fixture::record();
    crashed(dir.path(), &record, 2);
    let path = dir.path().join("samples.jsonl");
    let text = fs::read_to_string(&path).unwrap();
    let (first, second) = text.split_once('\n').unwrap();
    fs::write(&path, format!("{first}\n{}\n{second}", &first[..40])).unwrap();
    assert!(matches!(
        load(dir.path()),
        Err(FolderError::Malformed { line: Some(2), .. })
    ));
}

#[test]
fn samples_without_a_header_still_make_a_report() {
    let dir = tempfile::tempdir().unwrap();
    crashed(dir.path(), &fixture::record(), 12);
    fs::remove_file(dir.path().join("run.json")).unwrap();
    let loaded = load(dir.path()).unwrap();
    assert_eq!(loaded.samples.len(), 12);
    let page = hybrid_cache_report::html(&loaded);
    assert!(page.contains("Python only") && page.contains("unknown processors"));
    assert!(!page.contains("4294967295"));
}

#[test]
fn trying_whether_a_file_can_be_written_leaves_it_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("summary.md");
    hybrid_cache_report::check_writable(&file).unwrap();
    assert!(!file.exists());
    std::fs::write(&file, "before").unwrap();
    hybrid_cache_report::check_writable(&file).unwrap();
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "before");
    assert!(hybrid_cache_report::check_writable(folder.path()).is_err());
}

#[test]
fn another_schema_version_and_an_empty_folder_give_different_errors() {
    let dir = tempfile::tempdir().unwrap();
    assert!(matches!(load(dir.path()), Err(FolderError::NotARun { .. })));
    fs::write(
        dir.path().join("report.json"),
        r#"{"schema": 99, "shape": "from the future"}"#,
    )
    .unwrap();
    let error = load(dir.path()).unwrap_err().to_string();
    assert!(
        error.contains("schema version 99") && error.contains("hint:"),
        "{error}"
    );
}

#[test]
fn two_runs_do_not_share_a_sample_log() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("samples.jsonl");
    let _log = SampleLog::create(&path).unwrap();
    assert!(matches!(SampleLog::create(&path), Err(FolderError::Io { .. })));
}

#[test]
fn hdr_logs_hold_every_sample_that_counts() {
    use hdrhistogram::serialization::Deserializer;
    use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};
    let record = fixture::record();
    let log = hybrid_cache_report::hdr_log(&record, "hybrid", hybrid_cache_model::Temperature::Cached).unwrap();
    let mut tags = Vec::new();
    for entry in IntervalLogIterator::new(&log) {
        let LogEntry::Interval(interval) = entry.unwrap() else {
            continue;
        };
        let bytes = base64_decoded(interval.encoded_histogram());
        let histogram: hdrhistogram::Histogram<u64> = Deserializer::new().deserialize(&mut bytes.as_slice()).unwrap();
        assert_eq!(histogram.len(), 35, "36 were taken, one was rejected");
        tags.push(interval.tag().unwrap().as_str().to_owned());
    }
    assert_eq!(tags, ["wall", "runner"]);
}

/// Standard base64, so that a test needs no crate for four lines.
fn base64_decoded(text: &str) -> Vec<u8> {
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digits: Vec<usize> = text
        .bytes()
        .filter_map(|byte| alphabet.iter().position(|known| *known == byte))
        .collect();
    let group = |group: &[usize]| {
        let bits = group
            .iter()
            .enumerate()
            .fold(0, |bits, (at, digit)| bits | digit << (18 - 6 * at));
        bits.to_be_bytes()[5..4 + group.len()].to_vec()
    };
    digits.chunks(4).flat_map(group).collect()
}

/// A record in which every variant and every optional field occurs.
fn exhaustive() -> RunRecord {
    let mut record = fixture::record();
    record.samples.truncate(30);
    let failure = Failure::new(FailureKind::DiskFull, "the volume is full").hint("make it larger");
    let ends = [
        End::Exited { code: 3 },
        End::Signaled { signal: 9 },
        End::TimedOut { limit_ms: 1000 },
        End::Cancelled,
        End::Failed { failure },
    ];
    for (sample, end) in record.samples.iter_mut().zip(ends) {
        sample.end = end;
        sample.acceptance = Acceptance::Failed {
            reason: "it did not end well".into(),
        };
    }
    record.samples[6].acceptance = Acceptance::WrongTemperature { reason: "a hit".into() };
    record.failed_peers.push(failed_peer());
    record.absent_peers.push(AbsentPeer {
        scenario: "hybrid".into(),
        peer: Peer::NixShell,
        reason: "it cannot install Python packages from an index".into(),
    });
    record.samples[7].steal = None;
    record.samples[7].noise = None;
    record.samples[9].noise = Some(HostNoise {
        window_us: 9,
        cpu_some_us: Some(1),
        io_some_us: Some(2),
        io_full_us: Some(3),
        memory_some_us: Some(4),
        memory_full_us: Some(5),
        run_delay_us: Some(6),
        throttled: Some(7),
        slowest_khz: Some(8),
        fastest_khz: Some(9),
    });
    record.until = Some(UntilRecord {
        width: 0.02,
        minutes: 30,
        ended: Some(UntilEnd::Capped),
        looks: vec![
            LookRecord {
                rounds: 12,
                about: None,
                width: None,
            },
            LookRecord {
                rounds: 18,
                about: Some("hybrid cached".into()),
                width: Some(0.031),
            },
        ],
    });
    record.samples[8].cache.python = CacheStatus::Bypassed;
    record.scenarios[0].request.requirements_file = "numpy>=1\n".into();
    record.scenarios[1].expect.stdout = hybrid_cache_model::scenario::ExpectedOutput::Equals("x".into());
    record
}

fn failed_peer() -> FailedPeer {
    FailedPeer {
        scenario: "python-only".into(),
        peer: Peer::UvRunWith,
        sequence: 7,
        place: Some(fixture::place(Temperature::Cached, 1)),
        reason: "uv ended with exit status: 2".into(),
    }
}

#[test]
fn a_killed_run_gives_its_failed_peers_back() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = SampleLog::create(&dir.path().join("samples.jsonl")).unwrap();
    log.append_failed_peer(&failed_peer()).unwrap();
    let read = load(dir.path()).unwrap();
    assert_eq!((read.failed_peers, read.peers.len()), (vec![failed_peer()], 0));
}

fn schema() -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../reports/report.schema.json");
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

/// The schema of one line of samples.jsonl.
fn line_schema() -> Value {
    let mut schema = schema();
    let definitions = schema["$defs"].take();
    serde_json::json!({ "$schema": schema["$schema"], "$ref": "#/$defs/line", "$defs": definitions })
}

#[test]
fn every_line_on_disk_fits_the_schema() {
    let dir = tempfile::tempdir().unwrap();
    let (path, record) = (dir.path().join("samples.jsonl"), fixture::record());
    let mut log = SampleLog::create(&path).unwrap();
    log.append(&record.samples[0]).unwrap();
    log.append_peer(&record.peers[0]).unwrap();
    log.append_failed_peer(&failed_peer()).unwrap();
    let validator = jsonschema::validator_for(&line_schema()).unwrap();
    let text = fs::read_to_string(path).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(
        lines.len() == 3 && lines.iter().all(|line| validator.is_valid(line)),
        "{text}"
    );
    assert!(!validator.is_valid(&serde_json::json!({ "schema": 1, "peer": "pip" })));
}

#[test]
fn the_committed_schema_fits_what_is_written() {
    let (record, line) = (
        jsonschema::validator_for(&schema()).unwrap(),
        jsonschema::validator_for(&line_schema()).unwrap(),
    );
    for run in [fixture::record(), fixture::cluster::record(), exhaustive()] {
        let value = serde_json::to_value(&run).unwrap();
        let errors: Vec<String> = record
            .iter_errors(&value)
            .map(|error| format!("{}: {error}", error.instance_path()))
            .take(3)
            .collect();
        assert!(errors.is_empty(), "{errors:#?}");
        assert!(
            run.samples
                .iter()
                .all(|sample| line.is_valid(&serde_json::to_value(sample).unwrap()))
        );
    }
}

#[test]
fn the_schema_refuses_what_is_not_a_record() {
    let validator = jsonschema::validator_for(&schema()).unwrap();
    let good = serde_json::to_value(exhaustive()).unwrap();
    let broken = |change: fn(&mut Value)| {
        let mut value = good.clone();
        change(&mut value);
        !validator.is_valid(&value)
    };
    assert!(broken(|record| record["schema"] = 2.into()));
    assert!(broken(|record| record["surprise"] = 1.into()));
    assert!(broken(|record| record["samples"][0]["surprise"] = 1.into()));
    assert!(broken(|record| record["until"]["ended"] = "tired".into()));
    assert!(broken(|record| record["samples"][0]["noise"]["surprise"] = 1.into()));
    assert!(broken(|record| record["samples"][0]["end"] = "vanished".into()));
    assert!(broken(|record| drop(
        record["samples"][0].as_object_mut().unwrap().remove("wall_us")
    )));
    assert!(broken(|record| drop(
        record["samples"][10].as_object_mut().unwrap().remove("code")
    )));
    assert!(broken(
        |record| record["samples"][0]["timeline"]["spans"][0]["phase"] = "coffee".into()
    ));
    assert!(broken(|record| record["provenance"]["cpus"] = "two".into()));
    assert!(broken(|record| record["peers"][0]["peer"] = "pip".into()));
    assert!(broken(|record| record["peers"][0]["surprise"] = 1.into()));
}

#[test]
fn the_schema_names_the_version_and_every_phase() {
    let schema = schema();
    assert_eq!(schema["properties"]["schema"]["const"], SCHEMA_VERSION);
    assert_eq!(
        schema["$defs"]["sample"]["properties"]["schema"]["const"],
        SCHEMA_VERSION
    );
    let phases: Vec<Value> = hybrid_cache_model::Phase::ALL
        .iter()
        .map(|phase| serde_json::to_value(phase).unwrap())
        .collect();
    assert_eq!(
        schema["$defs"]["span"]["properties"]["phase"]["enum"],
        Value::Array(phases)
    );
}
