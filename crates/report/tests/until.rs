//! Runs that go on until their intervals are narrow: how wide those are, what ends them, and what their reports say.

#[expect(dead_code, reason = "these tests need no cluster")]
mod fixture;

use hybrid_cache_model::Temperature;
use hybrid_cache_model::sample::{Acceptance, RunRecord};
use hybrid_cache_model::until::{LookRecord, UntilEnd, UntilRecord};
use hybrid_cache_report::until::{MOST_ROUNDS, end_at, look, next_look, shown};
use hybrid_cache_report::warning::WarningKind;
use hybrid_cache_report::{Color, FigureKind, Summary, compare, gate_run, html, markdown, terminal};

fn looked(rounds: u32, width: Option<f64>) -> LookRecord {
    let about = Some("hybrid cached".to_owned());
    LookRecord { rounds, about, width }
}

/// The fixture as a run with `--until 2%` that ended like this.
fn ended(end: Option<UntilEnd>, looks: Vec<LookRecord>) -> RunRecord {
    RunRecord {
        until: Some(UntilRecord {
            width: 0.02,
            minutes: 30,
            ended: end,
            looks,
        }),
        ..fixture::record()
    }
}

#[test]
fn looks_are_planned_and_each_is_half_as_far_again() {
    let looks: Vec<u32> = std::iter::successors(Some(next_look(0)), |rounds| Some(next_look(*rounds)))
        .take(6)
        .collect();
    assert_eq!(looks, [12, 18, 27, 41, 62, 93]);
    assert_eq!(next_look(MOST_ROUNDS - 1), MOST_ROUNDS);
}

#[test]
fn the_widest_interval_decides_and_one_that_is_not_there_is_the_widest() {
    let record = fixture::record();
    let widest = look(&record, 12);
    let width = widest.width.unwrap();
    assert!(
        widest.about.as_deref().unwrap().ends_with(" cached") && width > 0.001,
        "{widest:?}"
    );
    assert_eq!(end_at(&widest, width), Some(UntilEnd::Reached));
    assert_eq!(end_at(&widest, width / 2.0), None);
    let few = RunRecord {
        samples: record
            .samples
            .iter()
            .filter(|sample| sample.place.unwrap().round < 4)
            .cloned()
            .collect(),
        ..record
    };
    let few = look(&few, 4);
    assert_eq!(few.width, None, "four rounds have no interval");
    assert_eq!(end_at(&few, 0.5), None);
    assert!(
        shown(&few, 0.02).ends_with(" cached: no interval yet, wants ±2.0 %"),
        "{}",
        shown(&few, 0.02)
    );
    assert_eq!(
        shown(&looked(12, Some(0.031)), 0.02),
        "hybrid cached: ±3.1 %, wants ±2.0 %"
    );
    assert_eq!(end_at(&looked(MOST_ROUNDS, Some(0.031)), 0.02), Some(UntilEnd::Capped));
}

#[test]
fn a_scenario_that_fails_is_not_waited_for() {
    let mut record = fixture::record();
    let widest = look(&record, 12).about.unwrap();
    let fail = |record: &mut RunRecord, name: Option<&str>| {
        for sample in record
            .samples
            .iter_mut()
            .filter(|sample| name.is_none_or(|name| sample.scenario == name))
        {
            sample.acceptance = Acceptance::Failed { reason: "gone".into() };
        }
    };
    fail(&mut record, widest.strip_suffix(" cached"));
    assert_ne!(look(&record, 12).about.unwrap(), widest);
    fail(&mut record, None);
    let nothing = look(&record, 12);
    assert_eq!(
        (nothing.about.as_deref(), end_at(&nothing, 0.5)),
        (None, Some(UntilEnd::Nothing))
    );
}

#[test]
fn errors_of_such_a_run_count_twice() {
    let (fixed, until) = (
        fixture::record(),
        ended(Some(UntilEnd::Reached), vec![looked(12, Some(0.019))]),
    );
    let interval = |record: &RunRecord| {
        let summary = Summary::from_record(record);
        let group = summary.scenarios[0].group(Temperature::Cached).unwrap();
        group.wall.as_ref().unwrap().interval.unwrap()
    };
    assert!(interval(&fixed).level >= 0.95 && interval(&until).level >= 0.975);
    assert!(interval(&until).high >= interval(&fixed).high);
    let p = |record: &RunRecord| {
        let summary = Summary::from_record(record);
        let ratio = summary.figures_of(FigureKind::DirectRatio).next().unwrap();
        (ratio.decision.p, ratio.estimate.interval.unwrap().level)
    };
    assert!((p(&until).0 - 2.0 * p(&fixed).0).abs() < 1e-12 && p(&until).1 >= 0.975);
    let change = |a: &RunRecord, b: &RunRecord| compare(a, b).groups[0].ratio.unwrap().interval.unwrap().level;
    assert!(change(&fixed, &fixed) >= 0.95 && change(&fixed, &until) >= 0.975 && change(&until, &fixed) >= 0.975);
}

#[test]
fn every_form_says_how_it_ended() {
    let narrow = vec![looked(12, Some(0.031)), looked(18, Some(0.019))];
    let cases = [
        (
            Some(UntilEnd::Reached),
            narrow,
            "±2.0 % reached after 18 rounds, at look 2: hybrid cached: ±1.9 %, wants ±2.0 %",
        ),
        (
            Some(UntilEnd::Capped),
            vec![looked(12, Some(0.031))],
            "±2.0 % not found at a planned look within 30 minutes; after 12 rounds: hybrid cached: ±3.1 %, wants ±2.0 %",
        ),
        (
            Some(UntilEnd::Nothing),
            vec![LookRecord {
                about: None,
                ..looked(12, None)
            }],
            "±2.0 % cannot be reached: no cached run counts, wants ±2.0 %",
        ),
        (
            None,
            Vec::new(),
            "±2.0 % was wanted, and the run ended before the first look",
        ),
    ];
    for (end, looks, line) in cases {
        let record = ended(end, looks);
        assert!(
            terminal(&record, 200, Color::Plain).contains(&format!("\nuntil {line}\n")),
            "{line}"
        );
        assert!(markdown(&record).contains(&format!("\nUntil {line}.\n")), "{line}");
        let page = html(&record);
        assert!(page.contains("<dt>went on until</dt>") && page.contains(line), "{line}");
        let warned = Summary::from_record(&record)
            .warnings
            .iter()
            .any(|warning| warning.kind == WarningKind::NotNarrow);
        assert_eq!(warned, end != Some(UntilEnd::Reached), "{line}");
    }
    assert!(!html(&fixture::record()).contains("went on until"));
    // The gate asks the same of such a run, whatever ended it.
    let capped = ended(Some(UntilEnd::Capped), vec![looked(12, Some(0.031))]);
    assert_eq!(
        gate_run(&capped, None).outcome,
        gate_run(&fixture::record(), None).outcome
    );
}
