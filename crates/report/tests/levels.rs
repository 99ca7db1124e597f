//! Runs at levels of cold, in every rendering, on disk and beside records from before.

#![expect(clippy::unwrap_used, reason = "a test may panic, in its helpers as well")]

mod fixture;

use std::fs;

use hybrid_cache_model::level::{CacheSeen, Level, LevelSeen, PagesSeen, ToolsSeen};
use hybrid_cache_model::outcome::{CacheReport, CacheStatus, End};
use hybrid_cache_model::sample::{Acceptance, LevelSample, LevelsRecord, PlanPlace, RunRecord};
use hybrid_cache_model::{Lane, Phase, Timeline};
use hybrid_cache_report::levels::levels;
use hybrid_cache_report::{
    Color, RunFacts, SampleLog, compare, failed_samples, html, load, markdown, run_digest, terminal, trace_events,
    write_header, write_run,
};
use serde_json::Value;

const ROUNDS: u32 = 8;
/// Microseconds that each level takes, coldest first, in the first round. Each round takes 1 % more.
const TAKES_US: [u64; 5] = [10_000_000, 4_000_000, 1_000_000, 200_000, 100_000];

fn seen(level: Level) -> LevelSeen {
    let [downloads, environments, fetched] = match level {
        Level::Nothing | Level::Tools => [0, 0, 3],
        Level::Downloads => [3, 0, 0],
        Level::Environment | Level::Warm => [3, 1, 0],
    };
    let pages = PagesSeen {
        of: "environment".into(),
        files: 9,
        pages: 1000,
        resident_before: (level == Level::Environment).then_some(900),
        resident: if level == Level::Environment { 12 } else { 1000 },
        unknown: 0,
    };
    let tools = ToolsSeen {
        bring_us: 6_000_000,
        bytes: 70 << 20,
        brought: vec!["uv 1".into(), "bubblewrap 2".into()],
        found: vec!["nix 3".into()],
    };
    LevelSeen {
        python: Some(CacheSeen {
            downloads,
            environments,
            fetched,
        }),
        system: None,
        pages: if level >= Level::Environment {
            vec![pages]
        } else {
            Vec::new()
        },
        read_bytes: Some(if level == Level::Environment { 14 << 20 } else { 0 }),
        major_faults: Some(5),
        tools: (level == Level::Nothing).then_some(tools),
    }
}

fn sample(round: u32, level: Level, sequence: u32) -> LevelSample {
    let us = TAKES_US[level as usize];
    let wall_us = us + us / 100 * u64::from(round);
    let mut timeline = Timeline {
        total_us: wall_us,
        spans: Vec::new(),
    };
    let bring_us = if level == Level::Nothing { 6_000_000 } else { 0 };
    timeline.push(Phase::BringTools, Lane::Driver, 0, bring_us);
    timeline.push(Phase::UserCode, Lane::Runner, bring_us, wall_us - bring_us);
    let status = match level >= Level::Environment {
        true => CacheStatus::Hit,
        false => CacheStatus::Built {
            downloaded_bytes: 1,
            reused_bytes: 0,
        },
    };
    LevelSample {
        scenario: "python-only".into(),
        level,
        sequence,
        place: PlanPlace { round, turn: round },
        started_at: "2026-11-30T12:00:00Z".into(),
        wall_us,
        runner_us: wall_us / 2,
        end: End::Exited { code: 0 },
        cache: CacheReport {
            python: status,
            system: CacheStatus::NotAsked,
        },
        timeline,
        seen: seen(level),
        acceptance: Acceptance::Accepted,
        load1: 0.5,
        steal: None,
        noise: None,
    }
}

/// Eight rounds, three of them from nothing. The last cold page cache was not cold, and its reason has markup in it.
fn record() -> RunRecord {
    let mut samples = Vec::new();
    for round in 0..ROUNDS {
        let wanted = Level::ALL
            .into_iter()
            .filter(|level| *level != Level::Nothing || round < 3);
        for level in wanted {
            samples.push(sample(round, level, u32::try_from(samples.len()).unwrap()));
        }
    }
    let last = samples
        .iter_mut()
        .rev()
        .find(|sample| sample.level == Level::Environment)
        .unwrap();
    last.acceptance = Acceptance::WrongTemperature {
        reason: "not at level environment: <b>7.0 %</b> | of the pages were in memory".into(),
    };
    let mut record = fixture::record();
    record.scenarios.truncate(1);
    record.scenarios[0].name = "python-only".into();
    record.samples.clear();
    record.peers.clear();
    record.usage.clear();
    record.blocks[0].rounds = ROUNDS;
    record.levels = Some(Box::new(LevelsRecord {
        samples,
        ..LevelsRecord::default()
    }));
    record
}

#[test]
fn each_level_stands_beside_the_next_warmer_one_pair_by_pair() {
    let all = levels(&record());
    assert_eq!(all.len(), 1);
    let rows = &all[0].levels;
    assert_eq!(rows.iter().map(|row| row.level).collect::<Vec<_>>(), Level::ALL);
    assert_eq!(rows.iter().map(|row| row.accepted).collect::<Vec<_>>(), [3, 8, 8, 7, 8]);
    assert_eq!(rows[3].rejected, 1);
    let tools = rows[1].step.as_ref().unwrap();
    assert_eq!((tools.warmer, tools.pairs), (Level::Downloads, 8));
    assert!(
        (tools.ratio.value - 4.0).abs() < 1e-9,
        "each round is slower on both sides: {tools:?}"
    );
    assert!(tools.saves.value > 3_000_000.0 && tools.saves.interval.is_some());
    let nothing = rows[0].step.as_ref().unwrap();
    assert_eq!(
        (nothing.pairs, nothing.saves.interval),
        (3, None),
        "three pairs have no interval"
    );
    assert_eq!(
        rows[3].step.as_ref().unwrap().pairs,
        7,
        "what does not count is in no pair"
    );
    assert!(rows[4].step.is_none());
    // A level without a run that counts is passed over.
    let mut record = record();
    for sample in &mut record.levels.as_mut().unwrap().samples {
        if sample.level == Level::Environment {
            sample.acceptance = Acceptance::Failed { reason: "no".into() };
        }
    }
    let step = levels(&record)[0].levels[2].step.clone().unwrap();
    assert_eq!((step.warmer, step.pairs), (Level::Warm, 8));
    assert_eq!(failed_samples(&record), 8);
}

#[test]
fn every_rendering_shows_the_table_and_what_was_seen() {
    let record = record();
    let wide = terminal(&record, 250, Color::Plain);
    let texts = [wide.clone(), markdown(&record), html(&record)];
    for text in &texts {
        for words in [
            "neither tools nor caches",
            "packages downloaded, no environment",
            "environment, page cache cold",
            "all warm",
            "2 tools brought, 70.0 MiB, 1 of the machine&#39;s own used; 3 packages downloaded",
            "at most 1.3 % of the pages still in memory; 14.0 MiB read from the disk; 5 page faults waited for it",
            "1 rejected",
            "too few rounds for an interval, 3 of at least 6",
        ] {
            let plain = words.replace("&#39;", "'");
            assert!(
                text.contains(words) || text.contains(&plain),
                "{words:?} is not in {text}"
            );
        }
    }
    for text in &texts[1..] {
        assert!(!text.contains("<b>7.0"), "text of a record is no markup");
        assert!(
            text.contains("bring tools") && text.contains("6.00 s"),
            "bringing is a row of its own: {text}"
        );
    }
    for width in [60, 80, 120] {
        let narrow = terminal(&record, width, Color::Plain);
        assert!(narrow.contains("python-only") && narrow.contains("warm"), "{narrow}");
    }
    let digest = run_digest(&record, None);
    assert!(
        digest.contains("## Cold, in levels") && digest.contains("| all warm | 8 |"),
        "{digest}"
    );
    let out = tempfile::tempdir().unwrap();
    let facts = serde_json::to_value(RunFacts::new(out.path(), &record, None, None)).unwrap();
    assert_eq!(facts["levels"][0]["levels"][1]["step"]["warmer"], "downloads");
    let trace = trace_events(&record).to_string();
    assert!(trace.contains("python-only from warm") && trace.contains("bring tools"));
    assert!(compare(&record, &record).groups.is_empty(), "levels are not compared");
}

#[test]
fn a_killed_run_gives_its_levels_back_and_fits_the_schema() {
    let record = record();
    let out = tempfile::tempdir().unwrap();
    write_header(out.path(), &record).unwrap();
    let path = out.path().join("samples.jsonl");
    let mut log = SampleLog::create(&path).unwrap();
    let own = record.levels.as_ref().unwrap();
    for sample in &own.samples[..6] {
        log.append_level(sample).unwrap();
    }
    let read = load(out.path()).unwrap();
    assert_eq!(read.levels.as_ref().unwrap().samples, own.samples[..6]);
    assert!(markdown(&read).contains("the run was interrupted"));

    let schema = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../reports/report.schema.json");
    let schema: Value = serde_json::from_str(&fs::read_to_string(schema).unwrap()).unwrap();
    let whole = serde_json::to_value(&record).unwrap();
    let errors: Vec<String> = jsonschema::validator_for(&schema)
        .unwrap()
        .iter_errors(&whole)
        .map(|error| error.to_string())
        .collect();
    assert_eq!(errors, Vec::<String>::new());
    let line = serde_json::json!({ "$schema": schema["$schema"], "$ref": "#/$defs/line", "$defs": schema["$defs"] });
    let validator = jsonschema::validator_for(&line).unwrap();
    for text in fs::read_to_string(path).unwrap().lines() {
        let value: Value = serde_json::from_str(text).unwrap();
        assert!(validator.is_valid(&value), "{text}");
    }
    write_run(out.path(), &record).unwrap();
    assert_eq!(load(out.path()).unwrap(), record);
    let metrics = fs::read_to_string(out.path().join("metrics.txt")).unwrap();
    assert!(
        metrics.contains("level=\"downloads\"") && metrics.ends_with("# EOF\n"),
        "{metrics}"
    );
}

#[test]
fn a_record_from_before_has_no_levels_and_says_nothing_of_them() {
    for before in [fixture::record(), fixture::cluster::record()] {
        let text = serde_json::to_string(&before).unwrap();
        assert!(!text.contains("\"levels\""));
        assert_eq!(levels(&before), []);
        let out = tempfile::tempdir().unwrap();
        let facts = serde_json::to_value(RunFacts::new(out.path(), &before, None, None)).unwrap();
        assert!(facts.get("levels").is_none());
    }
}
