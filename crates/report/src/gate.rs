//! The gate for CI: proven good enough, proven worse, or neither, which is an answer of its own.
//!
//! Every requirement is one test. One that is proven to be broken, corrected for all tests of the gate, fails it. To pass, each
//! must be proven to hold. Whatever makes a test meaningless leaves it open, with the reason.

use hybrid_cache_model::Temperature;
use hybrid_cache_model::sample::{Acceptance, Completion, Peer, RunRecord};
use serde::Serialize;

use crate::cells::plain;
use crate::compare::{Change, GroupComparison, compare};
use crate::figure::{Figure, FigureKind};
use crate::host_noise;
use crate::samples::{accepted, of_two_builds, scenario_names};
use crate::stats::{ALPHA, MIN_ROUNDS, holm, rounds_needed};
use crate::summary::Summary;
use crate::units;

/// What a gate found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum GateOutcome {
    /// Every requirement is proven to hold.
    Good,
    /// At least one is proven to be broken.
    Regression,
    /// Neither is proven.
    CannotTell,
}

impl GateOutcome {
    /// The words in a report.
    pub fn name(self) -> &'static str {
        match self {
            GateOutcome::Good => "good enough, proven",
            GateOutcome::Regression => "regression, proven",
            GateOutcome::CannotTell => "cannot tell",
        }
    }
}

/// One requirement that is broken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Failure {
    /// What it is about, such as `hybrid, cached`; the same in every block of a run.
    pub about: String,
    /// What was found, in a phrase.
    pub found: String,
}

/// The result of a gate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Gate {
    /// The result.
    pub outcome: GateOutcome,
    /// Requirements that are proven to be broken.
    pub failures: Vec<Failure>,
    /// Why others are neither proven to hold nor to be broken, in a phrase each.
    pub doubts: Vec<String>,
    /// What was measured and is not judged, with the reason.
    pub unasked: Vec<String>,
    /// Requirements that are proven to hold.
    pub held: usize,
    /// What disturbed the machine, if nothing is proven: other work widens every interval.
    pub disturbed: Vec<String>,
    /// True if the failures were found again in a second, fresh block of rounds.
    pub confirmed: bool,
}

impl Gate {
    /// Adds what disturbed the machine if that may be why nothing is proven. What is proven is proven on a noisy machine as well.
    fn explained<const N: usize>(mut self, runs: [(&str, &RunRecord); N]) -> Gate {
        if self.outcome == GateOutcome::CannotTell {
            let phrase = |(run, record)| Some(format!("{run}{}", host_noise::disturbed(record)?));
            self.disturbed = runs.into_iter().filter_map(phrase).collect();
        }
        self
    }

    /// The result in a line, then a line for each failure and each doubt.
    pub fn lines(&self) -> Vec<String> {
        let confirmed = if self.confirmed {
            ", confirmed by a second block of rounds"
        } else {
            ""
        };
        let head = format!(
            "{}{confirmed}: {} proven to hold, {} broken, {} open",
            self.outcome.name(),
            self.held,
            self.failures.len(),
            self.doubts.len()
        );
        let failures = self
            .failures
            .iter()
            .map(|Failure { about, found }| format!("{about}: {found}"));
        let doubts = self.doubts.iter().map(|doubt| format!("cannot tell: {doubt}"));
        let unasked = self.unasked.iter().map(|what| format!("not judged: {what}"));
        let disturbed = self
            .disturbed
            .iter()
            .map(|what| format!("the machine was disturbed: {what}; measure on a quieter one, or take more rounds"));
        std::iter::once(head)
            .chain(failures)
            .chain(doubts)
            .chain(disturbed)
            .chain(unasked)
            .collect()
    }
}

/// A requirement as a test.
struct Requirement {
    about: String,
    /// One-sided p for "it holds": small if it is broken.
    p_holds: f64,
    /// One-sided p for "it is broken": small if it holds.
    p_broken: f64,
    rounds: usize,
    /// What was found if it is broken.
    found: String,
    /// What it looks like otherwise.
    seen: String,
}

/// What is to be judged.
#[derive(Default)]
struct Question {
    requirements: Vec<Requirement>,
    /// What is not asked, with the reason.
    unasked: Vec<String>,
    /// What makes the whole gate meaningless.
    meaningless: Vec<String>,
    /// What leaves single requirements open.
    doubts: Vec<String>,
}

/// A baseline that a run is held against.
#[derive(Clone, Copy, Debug)]
pub struct Baseline<'a> {
    /// The earlier run.
    pub record: &'a RunRecord,
    /// Share by which a group may be slower.
    pub max_regression: f64,
}

/// Judges a run by its claims and targets, and against a baseline if there is one. If the run has a second block of rounds, only
/// what fails in both fails.
pub fn gate_run(record: &RunRecord, baseline: Option<Baseline<'_>>) -> Gate {
    let ask = |block: &RunRecord| {
        let mut question = claims_and_targets(block);
        if let Some(baseline) = baseline {
            question.extend(against_baseline(block, baseline));
        }
        question
    };
    confirmed(record, ask).explained([("", record)])
}

/// Judges a stored run against an earlier one.
pub fn gate_runs(a: &RunRecord, b: &RunRecord, max_regression: f64) -> Gate {
    let baseline = Baseline {
        record: a,
        max_regression,
    };
    let gate = confirmed(b, |block| against_baseline(block, baseline));
    gate.explained([("in the baseline, ", a), ("in the run, ", b)])
}

/// Judges the first block, and asks the second one about what failed there.
fn confirmed(record: &RunRecord, ask: impl Fn(&RunRecord) -> Question) -> Gate {
    let first = ask(&block(record, 0)).judge();
    if first.outcome != GateOutcome::Regression || record.blocks.len() < 2 {
        return first;
    }
    let mut again = ask(&block(record, 1));
    let failed = |about: &str| first.failures.iter().any(|failure| failure.about == about);
    again.requirements.retain(|requirement| failed(&requirement.about));
    let again = again.judge();
    let is_confirmed = |failure: &Failure| again.failures.iter().any(|other| other.about == failure.about);
    let (failures, other): (Vec<Failure>, Vec<Failure>) = first.failures.into_iter().partition(is_confirmed);
    let unconfirmed = other.into_iter().map(|failure| {
        let Failure { about, found } = failure;
        format!("{about}: {found}, which a second block of rounds did not confirm")
    });
    let doubts = first.doubts.into_iter().chain(unconfirmed).collect();
    Gate {
        outcome: if failures.is_empty() {
            GateOutcome::CannotTell
        } else {
            GateOutcome::Regression
        },
        confirmed: !failures.is_empty(),
        failures,
        doubts,
        unasked: first.unasked,
        disturbed: Vec::new(),
        held: first.held,
    }
}

/// The samples of one block of rounds; everything if the record has no blocks.
fn block(record: &RunRecord, index: usize) -> RunRecord {
    let mut part = record.clone();
    let Some(own) = record.blocks.get(index) else {
        return part;
    };
    let from: u32 = record.blocks[..index].iter().map(|block| block.rounds).sum();
    let rounds = from..from + own.rounds;
    part.samples
        .retain(|sample| sample.place.is_none_or(|place| rounds.contains(&place.round)));
    part.peers
        .retain(|sample| sample.place.is_none_or(|place| rounds.contains(&place.round)));
    part.blocks = vec![*own];
    part
}

impl Question {
    fn extend(&mut self, other: Question) {
        self.requirements.extend(other.requirements);
        self.unasked.extend(other.unasked);
        self.doubts.extend(other.doubts);
        for reason in other.meaningless {
            if !self.meaningless.contains(&reason) {
                self.meaningless.push(reason);
            }
        }
    }

    fn judge(self) -> Gate {
        let p: Vec<f64> = self
            .requirements
            .iter()
            .map(|requirement| requirement.p_holds)
            .collect();
        let tests = p.len();
        let mut gate = Gate {
            outcome: GateOutcome::CannotTell,
            failures: Vec::new(),
            doubts: self.meaningless.clone(),
            unasked: self.unasked,
            disturbed: Vec::new(),
            held: 0,
            confirmed: false,
        };
        gate.doubts.extend(self.doubts);
        for (requirement, adjusted) in self.requirements.into_iter().zip(holm(&p)) {
            let Requirement {
                about,
                found,
                seen,
                rounds,
                ..
            } = requirement;
            if adjusted <= ALPHA {
                gate.failures.push(Failure { about, found });
            } else if requirement.p_broken <= ALPHA {
                gate.held += 1;
            } else if rounds < rounds_needed(1) {
                let needed = rounds_needed(tests);
                gate.doubts.push(format!(
                    "{about}: too few rounds: {rounds}, at least {needed} are needed"
                ));
            } else {
                gate.doubts.push(format!("{about}: {seen}"));
            }
        }
        if tests == 0 && gate.doubts.is_empty() {
            gate.doubts.push("nothing can be compared".to_owned());
        }
        if !self.meaningless.is_empty() {
            return gate;
        }
        if !gate.failures.is_empty() {
            gate.outcome = GateOutcome::Regression;
        } else if gate.doubts.is_empty() {
            gate.outcome = GateOutcome::Good;
        }
        gate
    }
}

/// What makes a run meaningless, and the scenarios' groups that are unsettled, with the reason.
fn unsettled(record: &RunRecord, run: &str) -> (Vec<String>, Vec<(String, Temperature, String)>) {
    let mut meaningless = Vec::new();
    if record.completion == Completion::Interrupted {
        meaningless.push(format!("{run} was interrupted or killed before its end"));
    }
    if record.samples.is_empty() {
        meaningless.push(format!("{run} has no samples"));
    }
    let mut groups: Vec<(String, Temperature, String)> = Vec::new();
    for sample in &record.samples {
        let what = match &sample.acceptance {
            Acceptance::Accepted => continue,
            Acceptance::Failed { .. } => "samples failed",
            Acceptance::WrongTemperature { .. } => "samples found the caches in another state than intended",
        };
        let group = (sample.scenario.clone(), sample.temperature, format!("{what} in {run}"));
        if !groups.contains(&group) {
            groups.push(group);
        }
    }
    (meaningless, groups)
}

/// Groups in which the other build has fewer samples than ours: its runs failed, and what is left may be the better part.
fn missing_of_the_other_build(record: &RunRecord) -> Vec<(String, Temperature, String)> {
    let peers = [Peer::OtherFirst, Peer::OtherCached]
        .into_iter()
        .filter(|_| of_two_builds(record));
    let missing = |name: &str, peer: Peer| {
        let ours = accepted(record, name, peer.temperature()).len();
        let theirs = record
            .peers
            .iter()
            .filter(|sample| sample.scenario == name && sample.peer == peer);
        ours.saturating_sub(theirs.count())
    };
    let group = |(name, peer): (&str, Peer)| {
        let missing = missing(name, peer);
        let why = format!("no pairs: {missing} runs of the other build failed");
        (missing > 0).then(|| (name.to_owned(), peer.temperature(), why))
    };
    let all = peers.flat_map(|peer| scenario_names(record).into_iter().map(move |name| (name, peer)));
    all.filter_map(group).collect()
}

fn about(scenario: &str, temperature: Temperature) -> String {
    format!("{}, {}", plain(scenario), temperature.name())
}

/// Claims that must not be refuted, and targets that must not be missed.
fn claims_and_targets(record: &RunRecord) -> Question {
    let summary = Summary::from_record(record);
    let (meaningless, mut groups) = unsettled(record, "the run");
    groups.extend(missing_of_the_other_build(record));
    let is_unsettled = |name: &str, temperature| groups.iter().any(|group| group.0 == name && group.1 == temperature);
    let two_builds = of_two_builds(record);
    let claims = summary
        .claims()
        .filter(|(scenario, group, _)| !two_builds && !is_unsettled(&scenario.name, group.temperature));
    let claims = claims.map(|(scenario, group, result)| {
        let (p_holds, p_broken) = result.p_of_the_upper_end();
        Requirement {
            about: format!("{}, claim", about(&scenario.name, group.temperature)),
            p_holds,
            p_broken,
            rounds: group.wall.as_ref().map_or(0, |wall| wall.rounds),
            found: format!("refuted: {}", result.measured()),
            seen: format!("open: {}", result.measured()),
        }
    });
    let own = |figure: &&Figure| figure.kind.is_of_two_builds() == two_builds;
    // A few first runs only fill the caches for the cached ones; whoever asks about them asks for more.
    let (asked, unasked): (Vec<&Figure>, Vec<&Figure>) = summary.figures.iter().filter(own).partition(|figure| {
        figure.kind != FigureKind::OtherFirst || (figure.n >= MIN_ROUNDS && record.until.is_none())
    });
    let figures = asked.into_iter();
    let figures = figures.filter(|figure| !is_unsettled(&figure.scenario, figure.kind.temperature()));
    let figures = figures.map(|figure| {
        let (p_holds, p_broken) = figure.p_of_the_target();
        let (value, interval, target) = (figure.value(), figure.interval(), figure.target());
        let measured = format!("{value} ({interval}), target {target}");
        Requirement {
            about: format!("{}: {}", plain(&figure.scenario), figure.kind.label()),
            p_holds,
            p_broken,
            rounds: figure.rounds(),
            found: format!("missed: {measured}"),
            seen: format!("open: {measured}"),
        }
    });
    let unasked = unasked.into_iter().map(|figure| {
        let (name, label, n) = (plain(&figure.scenario), figure.kind.label(), figure.n);
        match record.until {
            Some(_) => format!("{name}: {label}: only cached runs decide when a run with --until ends"),
            None => format!("{name}: {label}: {n} taken, at least {MIN_ROUNDS} are needed"),
        }
    });
    Question {
        unasked: unasked.collect(),
        requirements: claims.chain(figures).collect(),
        meaningless,
        doubts: groups
            .iter()
            .map(|(name, temperature, why)| format!("{}: {why}", about(name, *temperature)))
            .collect(),
    }
}

/// Groups that must not be slower than in the baseline by more than is allowed.
fn against_baseline(record: &RunRecord, baseline: Baseline<'_>) -> Question {
    let comparison = compare(baseline.record, record);
    let (mut meaningless, mut groups) = unsettled(baseline.record, "the baseline");
    let (of_run, groups_of_run) = unsettled(record, "the run");
    meaningless.extend(of_run);
    meaningless.extend(comparison.cautions.iter().map(|caution| plain(caution)));
    let limit = 1.0 + baseline.max_regression;
    if !(limit.is_finite() && limit >= 1.0) {
        meaningless.push(format!("{} is no share that a gate can allow", baseline.max_regression));
    }
    groups.extend(groups_of_run);
    let mut question = Question {
        meaningless,
        ..Question::default()
    };
    for group in &comparison.groups {
        let own = groups
            .iter()
            .filter(|(name, at, _)| *name == group.scenario && *at == group.temperature);
        let why: Vec<&str> = own.map(|(_, _, why)| why.as_str()).collect();
        match requirement(group, limit) {
            Ok(requirement) if why.is_empty() => question.requirements.push(requirement),
            Ok(_) => question.doubts.push(format!(
                "{}: {}",
                about(&group.scenario, group.temperature),
                why.join(", ")
            )),
            Err(reason) => question
                .doubts
                .push(format!("{}: {reason}", about(&group.scenario, group.temperature))),
        }
    }
    if comparison.groups.is_empty() {
        question.meaningless.push("nothing can be compared".to_owned());
    }
    question
}

/// The requirement of a group, or why it cannot be tested.
fn requirement(group: &GroupComparison, limit: f64) -> Result<Requirement, String> {
    let beside = match group.change {
        Change::OtherScenario => return Err("the scenario is another one than in the baseline".to_owned()),
        Change::OnlyInA if group.planned_in_b => return Err("no sample counts any longer".to_owned()),
        Change::OnlyInA => return Err("it was not measured in this run".to_owned()),
        Change::OnlyInB => return Err("it was not measured in the baseline".to_owned()),
        _ => group.beside.as_ref(),
    };
    let beside = beside.ok_or(
        "no pairs: nothing was measured beside it in both runs, so the machine cannot be told from the program; \
         `bench --against` measures both side by side",
    )?;
    let (p_holds, p_broken) = beside.p(limit);
    let ratio = crate::cells::ratio(&beside.ratio);
    let measured = format!(
        "{ratio} the time before, relative to {}; {} is allowed",
        beside.peer.short_name(),
        units::ratio(limit)
    );
    Ok(Requirement {
        about: about(&group.scenario, group.temperature),
        p_holds,
        p_broken,
        rounds: beside.rounds(),
        found: measured.clone(),
        seen: format!("open: {measured}"),
    })
}
