//! What we add: each figure's value, its verdict, and what must not enter it.

mod fixture;

use hybrid_cache_model::sample::{Acceptance, Peer, PeerSample, RunRecord, Sample};
use hybrid_cache_model::{Phase, Temperature};
use hybrid_cache_report::{Attainment, Figure, FigureKind, Summary};

/// A record in which every run of the scenarios takes exactly as long as a test says.
fn still() -> RunRecord {
    let mut record = fixture::record();
    record
        .samples
        .retain(|sample| sample.acceptance == Acceptance::Accepted);
    record
}

fn set(record: &mut RunRecord, name: &str, temperature: Temperature, change: impl Fn(&mut Sample)) {
    let own = |sample: &&mut Sample| sample.scenario == name && sample.temperature == temperature;
    record.samples.iter_mut().filter(own).for_each(change);
}

fn peers(record: &mut RunRecord, name: &str, peer: Peer, walls_us: &[u64]) {
    record
        .peers
        .retain(|sample| sample.scenario != name || sample.peer != peer);
    record
        .peers
        .extend((0..).zip(walls_us).map(|(nth, wall_us)| PeerSample {
            scenario: name.into(),
            peer,
            sequence: 0,
            place: Some(fixture::place(peer.temperature(), nth)),
            wall_us: *wall_us,
            runner_us: None,
            state_us: (peer == Peer::BarePod).then_some(wall_us + 500_000),
        }));
}

fn figure(record: &RunRecord, kind: FigureKind, name: &str) -> Option<Figure> {
    let summary = Summary::from_record(record);
    summary.figures_of(kind).find(|figure| figure.scenario == name).cloned()
}

#[test]
fn overhead_is_the_end_to_end_time_minus_the_user_code() {
    let attained = |added_us: u64| {
        let mut record = still();
        set(&mut record, "bare", Temperature::Cached, |sample| {
            sample.wall_us = sample.timeline.phase_us(Phase::UserCode) + added_us;
        });
        let figure = figure(&record, FigureKind::Overhead, "bare").unwrap();
        assert_eq!((figure.estimate.value, figure.n), (added_us as f64, 36));
        figure.attainment
    };
    assert_eq!(attained(10_000), Attainment::Met, "the target itself is good enough");
    assert_eq!(attained(10_001), Attainment::Missed);
}

#[test]
fn a_run_without_a_user_code_span_is_left_out() {
    let mut record = still();
    set(&mut record, "bare", Temperature::Cached, |sample| {
        sample.timeline.spans.retain(|span| span.phase != Phase::UserCode);
    });
    assert_eq!(figure(&record, FigureKind::Overhead, "bare"), None);
}

#[test]
fn the_runner_is_compared_with_direct_exec_by_ratio_and_by_difference() {
    let mut record = still();
    set(&mut record, "python-only", Temperature::Cached, |sample| {
        sample.runner_us = 103_000
    });
    peers(&mut record, "python-only", Peer::DirectExec, &[100_000; 36]);
    let ratio = figure(&record, FigureKind::DirectRatio, "python-only").unwrap();
    let difference = figure(&record, FigureKind::DirectDifference, "python-only").unwrap();
    assert_eq!((ratio.value(), ratio.attainment), ("1.03×".into(), Attainment::Met));
    assert_eq!(
        (difference.estimate.value, difference.attainment),
        (3_000.0, Attainment::Met)
    );
    assert_eq!(
        (ratio.counts(), difference.value()),
        ("36 / 36".into(), "+3.00 ms".into())
    );
    set(&mut record, "python-only", Temperature::Cached, |sample| {
        sample.runner_us = 106_000
    });
    for kind in [FigureKind::DirectRatio, FigureKind::DirectDifference] {
        let figure = figure(&record, kind, "python-only").unwrap();
        assert_eq!(figure.attainment, Attainment::Missed, "{figure:?}");
    }
}

#[test]
fn an_interval_across_the_target_and_too_few_rounds_decide_nothing() {
    let mut record = still();
    set(&mut record, "python-only", Temperature::First, |sample| {
        sample.wall_us = 1_100_000
    });
    peers(
        &mut record,
        "python-only",
        Peer::PlainUv,
        &[900_000, 1_000_000, 1_200_000].repeat(4),
    );
    let across = figure(&record, FigureKind::PlainUv, "python-only").unwrap();
    assert_eq!(across.attainment, Attainment::Undecided);
    assert_eq!(across.open_because(), None, "its interval tells");
    assert!(across.could_show().starts_with('±'), "{}", across.could_show());
    peers(&mut record, "python-only", Peer::PlainUv, &[1_000_000, 1_000_000]);
    let few = figure(&record, FigureKind::PlainUv, "python-only").unwrap();
    assert_eq!((few.attainment, few.value()), (Attainment::Undecided, "1.10×".into()));
    let why = "too few rounds: 2, at least 6 are needed";
    assert_eq!(
        (few.open_because().as_deref(), few.could_show()),
        (Some(why), "–".into())
    );
    peers(&mut record, "python-only", Peer::PlainUv, &[]);
    assert_eq!(figure(&record, FigureKind::PlainUv, "python-only"), None);
}

#[test]
fn a_task_for_both_caches_is_compared_with_the_slower_of_its_halves() {
    let mut record = still();
    let first = Temperature::First;
    set(&mut record, "python-only", first, |sample| sample.wall_us = 2_000_000);
    set(&mut record, "system-only", first, |sample| sample.wall_us = 4_000_000);
    set(&mut record, "hybrid", first, |sample| sample.wall_us = 4_400_000);
    let hybrid = figure(&record, FigureKind::SlowerHalf, "hybrid").unwrap();
    assert_eq!((hybrid.value(), hybrid.attainment), ("1.10×".into(), Attainment::Met));
    assert_eq!(hybrid.against.as_ref().unwrap().name, "system-only");
    set(&mut record, "python-only", first, |sample| sample.wall_us = 4_200_000);
    let hybrid = figure(&record, FigureKind::SlowerHalf, "hybrid").unwrap();
    assert_eq!(hybrid.against.unwrap().name, "python-only");
    // compile-extension asks for both as well, but nobody measured its halves.
    assert_eq!(figure(&record, FigureKind::SlowerHalf, "compile-extension"), None);
}

#[test]
fn a_half_is_recognised_by_its_requirements_however_they_are_written() {
    let mut record = still();
    let halves = |record: &RunRecord| figure(record, FigureKind::SlowerHalf, "hybrid").is_some();
    record.scenarios[0].request.dependencies = String::new();
    record.scenarios[0].request.requirements_file = "# one\nNumPy\n".into();
    assert!(halves(&record));
    record.scenarios[0].request.requirements_file = "numpy>=2\n".into();
    assert!(!halves(&record), "another environment");
    record.scenarios[0].request.requirements_file = "numpy\n".into();
    record.samples.retain(|sample| sample.scenario != "system-only");
    assert!(!halves(&record), "a half without samples");
}

/// A cluster's record in which `bare` takes exactly as long as a test says.
fn still_cluster(wall_us: u64, runner_us: u64) -> RunRecord {
    let mut record = fixture::cluster::record();
    set(&mut record, "bare", Temperature::Cached, |sample| {
        sample.wall_us = wall_us + sample.timeline.phase_us(Phase::UserCode);
        sample.runner_us = runner_us;
    });
    record
}

#[test]
fn a_cached_pod_without_its_user_code_is_compared_with_a_pod_that_runs_true() {
    let mut record = still_cluster(1_100_000, 20_000);
    peers(&mut record, "bare", Peer::BarePod, &[1_000_000; 36]);
    let against = figure(&record, FigureKind::BarePod, "bare").unwrap();
    assert_eq!((against.estimate.value, against.attainment), (1.1, Attainment::Met));
    assert!(
        against.sides().ends_with(" with user code / 1.00 s"),
        "{}",
        against.sides()
    );
    peers(&mut record, "bare", Peer::BarePod, &[999_000; 36]);
    let against = figure(&record, FigureKind::BarePod, "bare").unwrap();
    assert_eq!(against.attainment, Attainment::Missed);
}

#[test]
fn on_a_cluster_the_end_to_end_time_has_a_target_and_the_sandbox_figure_is_left_out() {
    let attained = |wall_us| {
        let record = still_cluster(wall_us, 20_000);
        assert_eq!(figure(&record, FigureKind::Overhead, "bare"), None);
        figure(&record, FigureKind::EndToEnd, "bare").unwrap()
    };
    assert_eq!(attained(1_500_000).attainment, Attainment::Met);
    assert_eq!(attained(1_500_001).attainment, Attainment::Missed);
    assert_eq!(attained(1).target(), "≤ 1.5 s");
    assert_eq!(figure(&still(), FigureKind::EndToEnd, "bare"), None);
}

#[test]
fn the_runner_in_the_pod_is_compared_with_the_runner_in_the_local_sandbox() {
    let mut record = still_cluster(1_100_000, 110_000);
    let local = |nth, runner_us| PeerSample {
        scenario: "bare".into(),
        peer: Peer::LocalDriver,
        sequence: 0,
        place: Some(fixture::place(Temperature::Cached, nth)),
        wall_us: 1,
        runner_us,
        state_us: None,
    };
    record.peers = (0..33).map(|nth| local(nth, Some(100_000))).collect();
    let inside = figure(&record, FigureKind::LocalDriver, "bare").unwrap();
    assert_eq!((inside.value(), inside.attainment), ("1.10×".into(), Attainment::Met));
    record.peers.push(local(33, None));
    let inside = figure(&record, FigureKind::LocalDriver, "bare").unwrap();
    assert_eq!(
        inside.counts(),
        "36 / 33",
        "a run that does not tell its inside is left out"
    );
    record.provenance.cluster = None;
    record.provenance.driver = "unknown".into();
    let lost = figure(&record, FigureKind::Overhead, "bare");
    assert_eq!(lost, None, "a header that was lost makes no sandbox of a pod");
}

#[test]
fn only_accepted_samples_enter_a_figure_and_a_missed_figure_is_named() {
    let mut record = fixture::record();
    let before = Summary::from_record(&record);
    for sample in &mut record.samples {
        if sample.acceptance != Acceptance::Accepted {
            (sample.wall_us, sample.runner_us) = (sample.wall_us * 1000, sample.runner_us * 1000);
        }
    }
    let after = Summary::from_record(&record);
    assert_eq!(before.figures, after.figures);
    let missed = after
        .figures
        .iter()
        .filter(|figure| figure.attainment == Attainment::Missed);
    let missed: Vec<String> = missed.map(ToString::to_string).collect();
    assert!(
        missed
            .iter()
            .any(|figure| figure.starts_with("large-wheel: cached run / direct exec: ")),
        "{missed:?}"
    );
    assert!(missed.iter().all(|figure| figure.contains(", target ≤ ")), "{missed:?}");
}
