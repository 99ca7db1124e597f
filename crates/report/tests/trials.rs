//! Trials of the gate and of `--until`: how often they are wrong on runs without a difference, and how often the gate finds one.
//!
//! The long ones take minutes: `cargo test --package hybrid-cache-report --release --test trials -- --ignored --nocapture`.

#![expect(clippy::unwrap_used, reason = "a test may panic, in its helpers as well")]

use std::collections::BTreeMap;
use std::path::Path;

use hybrid_cache_model::Temperature;
use hybrid_cache_model::sample::{BlockRecord, Peer, PeerSample, PlanPlace, RunRecord, Sample};
use hybrid_cache_report::stats::{Evidence, Rule, Scale, SplitMix64};
use hybrid_cache_report::until::next_look;
use hybrid_cache_report::{GateOutcome, gate_run, gate_runs, load};

fn baseline() -> RunRecord {
    load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../reports/baseline")).unwrap()
}

/// What was recorded in one turn: samples and peers of each scenario.
#[derive(Clone, Default)]
struct Turn {
    samples: Vec<Sample>,
    peers: Vec<PeerSample>,
}

/// The recorded rounds, in order, each with its turns.
fn recorded_rounds(record: &RunRecord) -> Vec<Vec<Turn>> {
    let mut rounds: BTreeMap<u32, BTreeMap<u32, Turn>> = BTreeMap::new();
    let mut turn = |place: Option<PlanPlace>, add: &dyn Fn(&mut Turn)| {
        let place = place.unwrap();
        add(rounds.entry(place.round).or_default().entry(place.turn).or_default());
    };
    for sample in &record.samples {
        turn(sample.place, &|turn| turn.samples.push(sample.clone()));
    }
    for peer in &record.peers {
        turn(peer.place, &|turn| turn.peers.push(peer.clone()));
    }
    let in_order = |turns: BTreeMap<u32, Turn>| turns.into_values().collect();
    rounds.into_values().map(in_order).collect()
}

/// A run of so many blocks of rounds, drawn with replacement.
fn drawn(record: &RunRecord, rounds: &[Vec<Turn>], (blocks, each): (u32, u32), random: &mut SplitMix64) -> RunRecord {
    let mut run = RunRecord {
        samples: Vec::new(),
        peers: Vec::new(),
        blocks: (0..blocks).map(|seed| BlockRecord { seed, rounds: each }).collect(),
        ..record.clone()
    };
    let mut turn = 0;
    for round in 0..blocks * each {
        for taken in &rounds[random.below(rounds.len())] {
            let place = Some(PlanPlace { round, turn });
            let samples = taken.samples.iter().cloned().map(|sample| Sample { place, ..sample });
            run.samples.extend(samples);
            run.peers
                .extend(taken.peers.iter().cloned().map(|peer| PeerSample { place, ..peer }));
            turn += 1;
        }
    }
    run
}

/// The same run as one of two builds, of which ours takes this many times as long: of two neighbouring runs of a scenario, one counts as
/// the other build's. Which one is drawn.
fn as_two_builds(run: &RunRecord, factor: f64, random: &mut SplitMix64) -> RunRecord {
    let mut of: BTreeMap<(String, u32), Vec<Sample>> = BTreeMap::new();
    for sample in run
        .samples
        .iter()
        .filter(|sample| sample.temperature == Temperature::Cached)
    {
        let round = sample.place.unwrap().round;
        of.entry((sample.scenario.clone(), round))
            .or_default()
            .push(sample.clone());
    }
    let mut two = RunRecord {
        against: Some("the same".into()),
        samples: Vec::new(),
        peers: Vec::new(),
        ..run.clone()
    };
    for pair in of.values().flat_map(|own| own.chunks_exact(2)) {
        let ours = random.below(2);
        let (ours, other) = (&pair[ours], &pair[1 - ours]);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "some 100,000")]
        let wall_us = (ours.wall_us as f64 * factor) as u64;
        two.samples.push(Sample {
            wall_us,
            ..ours.clone()
        });
        two.peers.push(PeerSample {
            scenario: ours.scenario.clone(),
            peer: Peer::OtherCached,
            sequence: other.sequence,
            place: ours.place,
            wall_us: other.wall_us,
            runner_us: Some(other.runner_us),
            state_us: None,
        });
    }
    two
}

#[derive(Debug, Default, PartialEq)]
struct Counts {
    good: u32,
    regression: u32,
    cannot_tell: u32,
}

impl Counts {
    fn add(&mut self, outcome: GateOutcome) {
        match outcome {
            GateOutcome::Good => self.good += 1,
            GateOutcome::Regression => self.regression += 1,
            GateOutcome::CannotTell => self.cannot_tell += 1,
        }
    }
}

/// Runs that are drawn from the same recorded rounds, compared as stored runs and as two builds.
fn without_a_difference(trials: u32) -> [Counts; 2] {
    let record = baseline();
    let rounds = recorded_rounds(&record);
    assert_eq!(rounds.len(), 12);
    let mut random = SplitMix64::seeded(300);
    let mut counts = [Counts::default(), Counts::default()];
    for _ in 0..trials {
        let before = drawn(&record, &rounds, (1, 12), &mut random);
        let after = drawn(&record, &rounds, (2, 12), &mut random);
        counts[0].add(gate_runs(&before, &after, 0.1).outcome);
        counts[1].add(gate_run(&as_two_builds(&after, 1.0, &mut random), None).outcome);
    }
    counts
}

#[test]
fn a_dozen_comparisons_of_recorded_rounds_without_a_difference_raise_no_alarm() {
    for counts in without_a_difference(12) {
        assert_eq!(counts.regression, 0, "{counts:?}");
    }
}

#[test]
#[ignore = "takes minutes; the command is in docs/method.md"]
fn three_hundred_comparisons_of_recorded_rounds_without_a_difference_raise_no_alarm() {
    let counts = without_a_difference(300);
    println!("stored runs: {:?}\ntwo builds: {:?}", counts[0], counts[1]);
    assert!(counts.iter().all(|counts| counts.regression == 0), "{counts:?}");
}

/// Recorded rounds as two builds of which ours is slower, in blocks of so many rounds.
fn slower_by_recorded_rounds(factor: f64, rounds: u32, trials: u32) -> Counts {
    let record = baseline();
    let recorded = recorded_rounds(&record);
    let mut random = SplitMix64::seeded(10);
    let mut counts = Counts::default();
    for _ in 0..trials {
        let run = drawn(&record, &recorded, (2, rounds), &mut random);
        counts.add(gate_run(&as_two_builds(&run, factor, &mut random), None).outcome);
    }
    counts
}

/// Correlation of neighbouring cached runs of a scenario, and standard deviation of their quotient; both of logarithms.
fn neighbours(record: &RunRecord, scenario: &str) -> (f64, f64) {
    let own = |sample: &&Sample| sample.scenario == scenario && sample.temperature == Temperature::Cached;
    let times: Vec<f64> = record
        .samples
        .iter()
        .filter(own)
        .map(|sample| (sample.wall_us as f64).ln())
        .collect();
    let mean = |of: &[f64]| of.iter().sum::<f64>() / of.len() as f64;
    let middle = mean(&times);
    let apart: Vec<f64> = times.iter().map(|time| (time - middle).powi(2)).collect();
    let together: Vec<f64> = times
        .windows(2)
        .map(|two| (two[0] - middle) * (two[1] - middle))
        .collect();
    let quotients: Vec<f64> = times.windows(2).map(|two| (two[1] - two[0]).powi(2)).collect();
    (mean(&together) / mean(&apart), mean(&quotients).sqrt())
}

#[test]
#[ignore = "takes minutes; the command is in docs/method.md"]
fn recorded_rounds_raise_no_alarm_at_any_length_and_show_a_tenth_now_and_then() {
    let record = baseline();
    for scenario in record.scenarios.iter().map(|scenario| &scenario.name) {
        let (correlation, scatter) = neighbours(&record, scenario);
        println!(
            "recorded, {scenario}: neighbours correlate by {correlation:.2}, their quotient scatters by {scatter:.2}"
        );
    }
    for rounds in [12, 40, 50, 60, 80] {
        let same = slower_by_recorded_rounds(1.0, rounds, 100);
        let slower = slower_by_recorded_rounds(1.1, rounds, 100);
        println!("recorded, {rounds} rounds: no difference {same:?}, 10 % slower {slower:?}");
        assert_eq!((same.regression, slower.good), (0, 0), "{rounds} rounds");
    }
}

#[test]
fn the_second_half_of_the_baseline_is_not_slower_than_the_first() {
    let record = baseline();
    let rounds = recorded_rounds(&record);
    let half = |rounds: &[Vec<Turn>]| {
        let mut half = RunRecord {
            samples: Vec::new(),
            peers: Vec::new(),
            ..record.clone()
        };
        for turn in rounds.iter().flatten() {
            half.samples.extend(turn.samples.iter().cloned());
            half.peers.extend(turn.peers.iter().cloned());
        }
        half
    };
    let gate = gate_runs(&half(&rounds[..6]), &half(&rounds[6..]), 0.1);
    assert_eq!(gate.outcome, GateOutcome::CannotTell, "{gate:#?}");
    assert_eq!(gate.failures, [], "{gate:#?}");
}

/// Noise whose neighbours have this correlation, on the logarithm of a duration.
struct Noise {
    random: SplitMix64,
    machine: f64,
}

impl Noise {
    /// A standard normal number, by Box and Muller.
    fn normal(&mut self) -> f64 {
        let mut share = || (self.random.below(1 << 30) as f64 + 0.5) / f64::from(1 << 30);
        (-2.0 * share().ln()).sqrt() * (std::f64::consts::TAU * share()).cos()
    }

    /// What the machine does to the next sample: it resembles the one before, and now and then a sample is far off.
    fn next(&mut self) -> f64 {
        self.machine = 0.9 * self.machine + 0.436 * 0.2 * self.normal();
        let spike = if self.random.below(20) == 0 { 0.5 } else { 0.0 };
        self.machine + 0.08 * self.normal() + spike
    }
}

/// Two builds of the record's scenarios, of which ours takes this many times as long, in blocks of so many rounds.
fn two_builds(record: &RunRecord, factor: f64, rounds: u32, noise: &mut Noise) -> RunRecord {
    let template = record
        .samples
        .iter()
        .find(|sample| sample.temperature == Temperature::Cached)
        .unwrap();
    let mut run = RunRecord {
        against: Some("a synthetic one".into()),
        samples: Vec::new(),
        peers: Vec::new(),
        blocks: (0..2).map(|seed| BlockRecord { seed, rounds }).collect(),
        ..record.clone()
    };
    for turn in 0..2 * rounds * 3 {
        let place = Some(PlanPlace { round: turn / 3, turn });
        for scenario in &record.scenarios {
            let is_first = noise.random.below(2) == 0;
            let (one, other) = (noise.next(), noise.next());
            let (ours, theirs) = if is_first { (one, other) } else { (other, one) };
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "some 100,000")]
            let us = |log: f64, factor: f64| (100_000.0 * factor * log.exp()) as u64;
            run.samples.push(Sample {
                scenario: scenario.name.clone(),
                place,
                wall_us: us(ours, factor),
                ..template.clone()
            });
            run.peers.push(PeerSample {
                scenario: scenario.name.clone(),
                peer: Peer::OtherCached,
                sequence: turn,
                place,
                wall_us: us(theirs, 1.0),
                runner_us: None,
                state_us: None,
            });
        }
    }
    run
}

fn synthetic(factor: f64, rounds: u32, trials: u32) -> Counts {
    let record = baseline();
    let random = SplitMix64::seeded(14);
    let mut noise = Noise { random, machine: 0.0 };
    let mut counts = Counts::default();
    for _ in 0..trials {
        counts.add(gate_run(&two_builds(&record, factor, rounds, &mut noise), None).outcome);
    }
    counts
}

#[test]
fn correlated_noise_raises_no_alarm_and_hides_no_large_slowdown() {
    let same = synthetic(1.0, 12, 8);
    assert_eq!(same.regression, 0, "{same:?}");
    let slower = synthetic(1.4, 12, 4);
    assert_eq!(slower.regression, 4, "{slower:?}");
}

#[test]
#[ignore = "takes minutes; the command is in docs/method.md"]
fn three_hundred_trials_on_correlated_noise_raise_no_alarm_and_a_tenth_is_found() {
    let same = synthetic(1.0, 40, 300);
    println!("no difference, 40 rounds: {same:?}");
    assert_eq!(same.regression, 0);
    let slower = [40, 50, 60].map(|rounds| {
        let slower = synthetic(1.1, rounds, 100);
        println!("10 % slower, {rounds} rounds: {slower:?}");
        slower.regression
    });
    assert!(slower[1] >= 90 && slower[2] >= 90, "{slower:?}");
}

/// Durations of a scenario and of its peer, of which the machine's part resembles the sample before by this much.
struct Machine {
    noise: Noise,
    correlation: f64,
    scatter: f64,
}

impl Machine {
    fn step(&mut self) {
        let new = self.scatter * self.noise.normal();
        let kept = self.correlation * self.noise.machine;
        self.noise.machine = kept + (1.0 - self.correlation * self.correlation).sqrt() * new;
    }

    /// The logarithm of the next duration.
    fn next(&mut self) -> f64 {
        self.step();
        let far_off = self.noise.random.below(20) == 0;
        let spike = if far_off { 5.0 * self.scatter } else { 0.0 };
        self.noise.machine + 0.3 * self.scatter * self.noise.normal() + spike
    }

    /// A round: three pairs in an order that is drawn, with other scenarios between them. Quotients, or our own durations.
    fn round(&mut self, round: u32, rule: Rule, values: &mut Vec<(u32, f64)>) {
        for _ in 0..3 {
            let (one, other) = (self.next(), self.next());
            let ours_first = self.noise.random.below(2) == 0;
            let (ours, theirs) = if ours_first { (one, other) } else { (other, one) };
            values.push(match rule {
                Rule::SignedRank => (round, (ours - theirs).exp()),
                Rule::Order => (round, ours.exp()),
            });
            (0..10).for_each(|_| self.step());
        }
    }
}

/// How often the interval at the end of a run with `--until 2%` holds the true value, and its rounds on average.
fn until_narrow(rule: Rule, correlation: f64, scatter: f64, trials: u32) -> (f64, f64) {
    let random = SplitMix64::seeded(2);
    let mut machine = Machine {
        noise: Noise { random, machine: 0.0 },
        correlation,
        scatter,
    };
    let truth = match rule {
        Rule::SignedRank => 1.0,
        Rule::Order => {
            let mut all: Vec<f64> = (0..200_000).map(|_| machine.next().exp()).collect();
            all.sort_unstable_by(f64::total_cmp);
            all[all.len() / 2]
        }
    };
    let (mut held, mut rounds) = (0, 0);
    for _ in 0..trials {
        let (mut values, mut done) = (Vec::new(), 0);
        let evidence = loop {
            let look = next_look(done);
            (done..look).for_each(|round| machine.round(round, rule, &mut values));
            done = look;
            let evidence = Evidence::new(&values, Scale::Ratio, rule).looked_at_repeatedly(true);
            if evidence.half_width().unwrap() <= 0.02 || done > 400 {
                break evidence;
            }
        };
        let interval = evidence.interval().unwrap();
        held += u32::from((interval.low..=interval.high).contains(&truth));
        rounds += done;
    }
    (
        f64::from(held) / f64::from(trials),
        f64::from(rounds) / f64::from(trials),
    )
}

/// Intervals hold the true value in 95 % of runs, less two standard errors of so many trials.
fn narrow_runs_are_covered(scatters: &[f64], trials: u32) {
    let least = 0.95 - 2.0 * (0.95 * 0.05 / f64::from(trials)).sqrt();
    for (rule, correlations) in [(Rule::SignedRank, &[0.0, 0.9, 0.97][..]), (Rule::Order, &[0.0, 0.9])] {
        for (&correlation, &scatter) in correlations
            .iter()
            .flat_map(|one| scatters.iter().map(move |two| (one, two)))
        {
            let (held, rounds) = until_narrow(rule, correlation, scatter, trials);
            println!(
                "{rule:?}, correlation {correlation}, scatter {scatter}: {:.1} % of runs, {rounds:.0} rounds",
                100.0 * held
            );
            assert!(
                held >= least,
                "{rule:?}, correlation {correlation}, scatter {scatter}: {held}"
            );
        }
    }
}

#[test]
fn a_run_that_ends_when_it_is_narrow_keeps_its_error_rate() {
    narrow_runs_are_covered(&[0.04], 400);
}

#[test]
#[ignore = "takes minutes; the command is in docs/method.md"]
fn ten_thousand_runs_that_end_when_they_are_narrow_keep_their_error_rate() {
    narrow_runs_are_covered(&[0.02, 0.03, 0.05, 0.08], 10_000);
    // What is not covered: the median of a group without a peer, on a machine whose load changes within minutes.
    let (held, rounds) = until_narrow(Rule::Order, 0.97, 0.05, 10_000);
    println!(
        "Order, correlation 0.97, scatter 0.05: {:.1} % of runs, {rounds:.0} rounds",
        100.0 * held
    );
}
