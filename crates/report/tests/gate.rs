//! The gate: what it proves, what it leaves open, and everything that makes it meaningless.

#![expect(clippy::unwrap_used, reason = "a test may panic, in its helpers as well")]

#[expect(dead_code, reason = "these tests need no cluster")]
mod fixture;

use hybrid_cache_model::sample::{Acceptance, BlockRecord, Completion, Peer, PeerSample, RunRecord, Sample};
use hybrid_cache_model::{Phase, Temperature};
use hybrid_cache_report::{Baseline, Gate, GateOutcome, gate_run, gate_runs};

/// A run in which every cached run and every first run counts, and only groups with something beside them.
fn record() -> RunRecord {
    let mut record = fixture::record();
    record
        .samples
        .retain(|sample| sample.acceptance == Acceptance::Accepted);
    keep(&mut record, |name| name == "python-only");
    record
}

fn keep(record: &mut RunRecord, is_kept: impl Fn(&str) -> bool) {
    record.samples.retain(|sample| is_kept(&sample.scenario));
    record.peers.retain(|sample| is_kept(&sample.scenario));
    record.scenarios.retain(|scenario| is_kept(&scenario.name));
}

fn slower(record: &RunRecord, percent: u64) -> RunRecord {
    let mut record = record.clone();
    for sample in &mut record.samples {
        sample.wall_us = sample.wall_us * (100 + percent) / 100;
        sample.runner_us = sample.runner_us * (100 + percent) / 100;
    }
    record
}

/// Asserts that the gate cannot tell, and that a reason has these words.
fn cannot_tell(gate: &Gate, words: &str) {
    assert_eq!(gate.outcome, GateOutcome::CannotTell, "{gate:#?}");
    assert!(
        gate.doubts.iter().any(|doubt| doubt.contains(words)),
        "{words:?} is not in {gate:#?}"
    );
}

#[test]
fn a_run_is_proven_to_be_no_slower_than_itself_and_a_slower_one_to_be_slower() {
    let before = record();
    let same = gate_runs(&before, &before, 0.1);
    assert_eq!((same.outcome, same.held), (GateOutcome::Good, 2), "{same:#?}");
    let worse = gate_runs(&before, &slower(&before, 30), 0.1);
    assert_eq!(
        (worse.outcome, worse.failures.len()),
        (GateOutcome::Regression, 2),
        "{worse:#?}"
    );
    assert!(worse.failures[0].found.contains("1.10× is allowed"), "{worse:#?}");
    assert_eq!(gate_runs(&before, &slower(&before, 30), 0.5).outcome, GateOutcome::Good);
    assert_eq!(gate_runs(&slower(&before, 30), &before, 0.0).outcome, GateOutcome::Good);
}

#[test]
fn three_first_runs_are_not_judged_and_leave_the_gate_to_the_cached_ones() {
    let mut before = record();
    let is_kept = |temperature, seen: &mut usize| {
        *seen += usize::from(temperature == Temperature::First);
        temperature != Temperature::First || *seen <= 3
    };
    let mut seen = 0;
    before.samples.retain(|sample| is_kept(sample.temperature, &mut seen));
    seen = 0;
    before
        .peers
        .retain(|sample| is_kept(sample.peer.temperature(), &mut seen));
    let same = gate_runs(&before, &before, 0.1);
    assert_eq!((same.outcome, same.held), (GateOutcome::Good, 1), "{same:#?}");
    assert!(same.unasked[0].contains("3 taken, at least 6 are needed"), "{same:#?}");
    let alone = gate_run(&before, None);
    assert!(!alone.doubts.iter().any(|doubt| doubt.contains("first")), "{alone:#?}");
    assert!(
        alone.unasked.iter().any(|what| what.contains("first, claim")),
        "{alone:#?}"
    );
}

#[test]
fn a_slower_machine_is_no_regression() {
    let before = record();
    let mut after = slower(&before, 40);
    for peer in &mut after.peers {
        peer.wall_us = peer.wall_us * 140 / 100;
    }
    assert_eq!(gate_runs(&before, &after, 0.1).outcome, GateOutcome::Good);
}

#[test]
fn a_difference_near_the_limit_is_left_open() {
    let before = record();
    cannot_tell(
        &gate_runs(&before, &slower(&before, 10), 0.1),
        "python-only, cached: open",
    );
}

#[test]
fn without_pairs_it_cannot_tell() {
    let mut before = record();
    before.peers.clear();
    cannot_tell(&gate_runs(&before, &slower(&before, 300), 0.1), "no pairs");
}

#[test]
fn on_another_machine_it_cannot_tell() {
    let before = record();
    let mut after = slower(&before, 30);
    after.provenance.cpu = "another processor".into();
    cannot_tell(&gate_runs(&before, &after, 0.1), "the processor differs");
    after.provenance = before.provenance.clone();
    after.provenance.memory_bytes /= 2;
    cannot_tell(&gate_runs(&before, &after, 0.1), "the memory differs");
}

#[test]
fn with_another_scenario_of_the_same_name_it_cannot_tell() {
    let before = record();
    let mut after = slower(&before, 30);
    after.scenarios[0].request.python_code.push_str("\n# and more");
    cannot_tell(
        &gate_runs(&before, &after, 0.1),
        "the scenario's definition differs from the baseline's",
    );
}

#[test]
fn with_an_interrupted_or_killed_run_on_either_side_it_cannot_tell() {
    let whole = record();
    let mut killed = slower(&whole, 30);
    killed.completion = Completion::Interrupted;
    cannot_tell(&gate_runs(&whole, &killed, 0.1), "the run was interrupted or killed");
    cannot_tell(
        &gate_runs(&killed, &whole, 0.1),
        "the baseline was interrupted or killed",
    );
    cannot_tell(&gate_run(&killed, None), "the run was interrupted or killed");
}

#[test]
fn a_share_that_is_no_number_allows_nothing_to_be_told() {
    let before = record();
    for share in [f64::NAN, f64::INFINITY, -0.1] {
        cannot_tell(&gate_runs(&before, &before, share), "is no share that a gate can allow");
    }
}

#[test]
fn with_nothing_to_compare_it_cannot_tell() {
    let (mut before, mut after) = (record(), record());
    keep(&mut before, |_| false);
    keep(&mut after, |_| false);
    cannot_tell(&gate_runs(&before, &after, 0.1), "nothing can be compared");
    cannot_tell(&gate_run(&after, None), "the run has no samples");
    let other = {
        let mut other = fixture::record();
        keep(&mut other, |name| name == "bare");
        other
    };
    cannot_tell(&gate_runs(&record(), &other, 0.1), "it was not measured in this run");
    cannot_tell(
        &gate_runs(&other, &record(), 0.1),
        "it was not measured in the baseline",
    );
}

fn fail(sample: &mut Sample) {
    sample.acceptance = Acceptance::Failed { reason: "gone".into() };
}

#[test]
fn with_failed_or_rejected_samples_a_group_is_left_open_and_hides_no_other_failure() {
    let before = record();
    let mut after = before.clone();
    fail(&mut after.samples[0]);
    cannot_tell(
        &gate_runs(&before, &after, 0.1),
        "python-only, first: samples failed in the run",
    );
    let mut after = slower(&before, 30);
    fail(&mut after.samples[0]);
    let gate = gate_runs(&before, &after, 0.1);
    assert_eq!(
        gate.outcome,
        GateOutcome::Regression,
        "the cached runs are slower all the same: {gate:#?}"
    );
    assert_eq!((gate.failures.len(), gate.doubts.len()), (1, 1));
    let mut after = before.clone();
    after.samples[0].acceptance = Acceptance::WrongTemperature { reason: "a hit".into() };
    cannot_tell(&gate_runs(&before, &after, 0.1), "another state than intended");
    after
        .samples
        .iter_mut()
        .filter(|sample| sample.temperature == Temperature::First)
        .for_each(fail);
    cannot_tell(&gate_runs(&before, &after, 0.1), "no sample of this run counts");
}

#[test]
fn too_few_rounds_prove_nothing() {
    let short = |record: RunRecord| {
        let mut record = record;
        record.samples.retain(|sample| sample.place.unwrap().round < 3);
        record.peers.retain(|sample| sample.place.unwrap().round < 3);
        record
    };
    let before = short(record());
    cannot_tell(
        &gate_runs(&before, &slower(&before, 300), 0.1),
        "too few rounds: 3, at least",
    );
}

#[test]
fn a_run_by_itself_is_held_against_its_claims_and_targets() {
    let mut good = record();
    let target = good
        .samples
        .iter_mut()
        .filter(|sample| sample.temperature == Temperature::Cached);
    target.for_each(|sample| {
        sample.runner_us = 83_000;
        sample.wall_us = sample.timeline.phase_us(Phase::UserCode) + 9_000;
    });
    let gate = gate_run(&good, None);
    assert_eq!((gate.outcome, gate.failures.len()), (GateOutcome::Good, 0), "{gate:#?}");
    let gate = gate_run(&slower(&good, 20), None);
    assert_eq!(gate.outcome, GateOutcome::Regression, "{gate:#?}");
    let about: Vec<&str> = gate.failures.iter().map(|failure| failure.about.as_str()).collect();
    assert!(about.contains(&"python-only: cached run / direct exec"), "{about:?}");
}

/// Two blocks of six rounds: what is slower in one of them only.
fn two_blocks(first: u64, second: u64) -> RunRecord {
    let (first, second) = (slower(&record(), first), slower(&record(), second));
    let rounds = first.blocks[0].rounds;
    let mut record = first;
    let moved = |place: &mut Option<hybrid_cache_model::sample::PlanPlace>| {
        let place = place.as_mut().unwrap();
        place.round += rounds;
        place.turn += 10_000;
    };
    let (mut samples, mut peers) = (second.samples, second.peers);
    samples.iter_mut().for_each(|sample| moved(&mut sample.place));
    peers.iter_mut().for_each(|sample| moved(&mut sample.place));
    record.samples.extend(samples);
    record.peers.extend(peers);
    record.blocks.push(BlockRecord { seed: 15, rounds });
    record
}

#[test]
fn only_what_a_second_block_of_rounds_confirms_is_a_regression() {
    let before = record();
    let both = gate_runs(&before, &two_blocks(30, 30), 0.1);
    assert_eq!(
        (both.outcome, both.confirmed),
        (GateOutcome::Regression, true),
        "{both:#?}"
    );
    assert!(
        both.lines()[0].contains("confirmed by a second block"),
        "{:?}",
        both.lines()
    );
    let once = gate_runs(&before, &two_blocks(30, 0), 0.1);
    cannot_tell(&once, "which a second block of rounds did not confirm");
    let late = gate_runs(&before, &two_blocks(0, 30), 0.1);
    assert_eq!(
        late.outcome,
        GateOutcome::Good,
        "the second block is asked only about what failed: {late:#?}"
    );
    let baseline = Baseline {
        record: &before,
        max_regression: 0.25,
    };
    let of_run = gate_run(&two_blocks(30, 30), Some(baseline));
    assert_eq!((of_run.outcome, of_run.confirmed), (GateOutcome::Regression, true));
}

#[test]
fn of_two_builds_only_the_other_build_is_asked_about_and_few_first_runs_are_not_judged() {
    let mut record = record();
    let first = |sample: &Sample| sample.temperature == Temperature::First;
    record
        .samples
        .retain(|sample| !first(sample) || sample.place.unwrap().round < 3);
    record.peers = record
        .samples
        .iter()
        .map(|sample| PeerSample {
            scenario: sample.scenario.clone(),
            peer: if first(sample) {
                Peer::OtherFirst
            } else {
                Peer::OtherCached
            },
            sequence: sample.sequence,
            place: sample.place,
            wall_us: sample.wall_us,
            runner_us: None,
            state_us: None,
        })
        .collect();
    record.against = Some("another build".into());
    let gate = gate_run(&record, None);
    assert_eq!((gate.outcome, gate.held), (GateOutcome::Good, 1), "{gate:#?}");
    let unasked = "python-only: first run / other build: 3 taken, at least 6 are needed";
    assert_eq!(gate.unasked, [unasked]);
    let worse = gate_run(&slower(&record, 10), None);
    assert_eq!(worse.failures[0].about, "python-only: cached run / other build");
    let mut lost = record.clone();
    lost.peers.retain(|sample| sample.peer == Peer::OtherFirst);
    cannot_tell(
        &gate_run(&lost, None),
        "python-only, cached: no pairs: 36 runs of the other build failed",
    );
    lost.peers.clear();
    cannot_tell(&gate_run(&lost, None), "no pairs");
}
