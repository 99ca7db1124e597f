//! Runs that go on until their intervals are narrow, on a target whose durations are made up.

use std::path::Path;
use std::sync::Mutex;

use async_trait::async_trait;
use hybrid_cache_model::sample::LayerUsage;
use hybrid_cache_model::{Outcome, Timeline};

use super::*;
use crate::machine::Stopwatch;
use crate::plan::{Counts, stretch};
use crate::provenance::of_client;
use crate::target::PeerRun;

/// Takes these durations, one after the other and over again; fails every task if there are none.
struct MadeUp {
    walls_us: Vec<u64>,
    at: usize,
}

#[async_trait(?Send)]
impl BenchTarget for MadeUp {
    async fn run(&mut self, _: usize, _: &Scenario, temperature: Temperature) -> Result<Run> {
        let python = match temperature {
            Temperature::First => r#"{"status":"built","downloaded_bytes":1,"reused_bytes":0}"#,
            _ => r#"{"status":"hit"}"#,
        };
        let code = u8::from(self.walls_us.is_empty());
        let outcome = format!(
            r#"{{"end":"exited","code":{code},"cache":{{"python":{python},"system":{{"status":"not_asked"}}}},"timeline":{{"total_us":1,"spans":[]}},"runner_us":5,"stdout":{{"written_bytes":0,"passed_bytes":0}},"stderr":{{"written_bytes":0,"passed_bytes":0}},"resolved":{{}}}}"#
        );
        let mut moment = Stopwatch::start().stop();
        moment.wall_us = 1;
        if temperature == Temperature::Cached && !self.walls_us.is_empty() {
            moment.wall_us = self.walls_us[self.at % self.walls_us.len()];
            self.at += 1;
        }
        Ok(Run {
            moment,
            outcome: serde_json::from_str::<Outcome>(&outcome).unwrap(),
            timeline: Timeline::default(),
            stdout: "works".into(),
            disturbed: None,
        })
    }

    async fn peer(&mut self, _: usize, _: &Scenario, _: Peer) -> Result<PeerRun> {
        Ok(Duration::from_millis(1).into())
    }

    async fn usage(&mut self, _: usize) -> Result<Option<Vec<LayerUsage>>> {
        Ok(None)
    }

    async fn end_epochs(&mut self) -> Result<()> {
        Ok(())
    }

    async fn end_running(&mut self) -> Result<()> {
        Ok(())
    }

    async fn close(self: Box<Self>) -> Result<Vec<String>> {
        Ok(Vec::new())
    }
}

/// Keeps every line.
#[derive(Default)]
struct KeptLines(Mutex<Vec<String>>);

impl Progress for KeptLines {
    fn step(&self, _: &str) {}
    fn line(&self, line: &str) {
        self.0.lock().unwrap().push(line.to_owned());
    }
    fn detail(&self, _: &str) {}
    fn count(&self, _: usize, _: usize, what: &str) {
        self.0.lock().unwrap().push(what.to_owned());
    }
}

async fn measured(walls_us: Vec<u64>, minutes: u32) -> (RunRecord, Vec<String>) {
    let folder = tempfile::tempdir().unwrap();
    let text = "name: small\nwhy: a test\nrequest:\n  pythonCode: print('works')\n  dependencies: idna\nexpect:\n  stdout:\n    equals: works\n";
    let scenario = Scenario::from_yaml("small.yaml", text).unwrap();
    let checkout = hybrid_cache_tools::Checkout::open(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")).unwrap();
    let provenance = of_client(&checkout, "local", "a test");
    let until = Until { width: 0.02, minutes };
    let target = Box::new(MadeUp { walls_us, at: 0 });
    let out = folder.path().join("run");
    let origin = Origin {
        has_levels: false,
        provenance,
        against: None,
        absent_peers: Vec::new(),
    };
    let mut session = Session::start(target, vec![scenario], origin, Some(until), &out).unwrap();
    let header: RunRecord = serde_json::from_slice(&std::fs::read(out.join("run.json")).unwrap()).unwrap();
    assert!(
        header.until.is_some(),
        "a run that is killed is still known to have had no planned end"
    );
    let counts = Counts {
        first: 3,
        cached: 36,
        uncached: 0,
    };
    let lines = KeptLines::default();
    let draw = |done, rounds| stretch(counts, &[vec![]], 7, (done, rounds));
    session.measure_until(until, 7, draw, &lines).await.unwrap();
    let record = session.finish(&lines).await;
    (record, lines.0.into_inner().unwrap())
}

fn until_of(record: &RunRecord) -> (Option<UntilEnd>, Vec<u32>, u32) {
    let until = record.until.clone().unwrap();
    let looks = until.looks.iter().map(|look| look.rounds).collect();
    (until.ended, looks, record.blocks[0].rounds)
}

#[tokio::test]
async fn a_steady_target_ends_at_the_first_look() {
    let (record, reported) = measured(vec![1000, 1001, 1002], 60).await;
    assert_eq!(until_of(&record), (Some(UntilEnd::Reached), vec![12], 12));
    assert_eq!(
        (record.completion, record.samples.len()),
        (Completion::Complete, 3 + 36)
    );
    let last = reported.iter().find(|line| line.starts_with("after 12 rounds: "));
    assert!(
        last.is_some_and(|line| line.contains("small cached: ±") && line.ends_with(", wants ±2.0 %")),
        "{reported:#?}"
    );
    let shown = reported
        .iter()
        .find(|line| line.contains("no interval yet, wants ±2.0 %; at most 60 min more"));
    assert!(shown.is_some(), "{reported:#?}");
}

#[tokio::test]
async fn a_target_that_scatters_goes_on_to_a_later_look_with_first_runs_in_each_stretch() {
    // Rounds of 1.00 and 1.07 by turns in the first half, then steady.
    let noisy = (0..36).map(|at| if at / 3 % 2 == 0 { 1000 } else { 1070 });
    let walls: Vec<u64> = noisy.chain(std::iter::repeat_n(1035, 1000)).collect();
    let (record, _) = measured(walls, 60).await;
    let (ended, looks, rounds) = until_of(&record);
    assert_eq!(
        (ended, looks.len() > 1, looks.last()),
        (Some(UntilEnd::Reached), true, Some(&rounds))
    );
    let first: Vec<u32> = record
        .samples
        .iter()
        .filter(|sample| sample.temperature == Temperature::First)
        .map(|sample| sample.place.unwrap().round)
        .collect();
    assert_eq!(first[..4], [0, 4, 8, 12], "{first:?}");
    let cached = record.samples.len() - first.len();
    assert_eq!(cached, 3 * rounds as usize);
    let places: std::collections::HashSet<(u32, u32)> = record
        .samples
        .iter()
        .map(|sample| (sample.place.unwrap().round, sample.place.unwrap().turn))
        .collect();
    assert_eq!(places.len(), record.samples.len(), "no two turns are taken for one");
}

#[tokio::test]
async fn the_cap_in_time_ends_it_with_what_there_is() {
    let (record, _) = measured(vec![1000, 2000], 0).await;
    assert_eq!(until_of(&record), (Some(UntilEnd::Capped), vec![0], 0));
    assert_eq!((record.completion, record.samples.len()), (Completion::Complete, 0));
}

#[tokio::test]
async fn a_run_in_which_no_cached_run_counts_ends_at_its_first_look() {
    let (record, _) = measured(Vec::new(), 60).await;
    assert_eq!(until_of(&record), (Some(UntilEnd::Nothing), vec![12], 12));
}

#[test]
fn a_long_reason_keeps_its_beginning_and_its_end() {
    assert_eq!(shortened("ended with status 141".into()), "ended with status 141");
    let long = format!("ended with status 141: {}said last", "ü".repeat(MAX_REASON_BYTES));
    let short = shortened(long);
    assert!(short.starts_with("ended with status 141: ") && short.ends_with("said last"));
    assert!(short.len() <= MAX_REASON_BYTES + 8 && short.contains(" … "));
}
