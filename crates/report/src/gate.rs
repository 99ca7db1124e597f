//! The gate for CI: proven good enough, proven worse, or neither, which is an answer of its own.
//!
//! Every requirement is one test. One that is proven to be broken, corrected for all tests of the gate, fails it. To pass, each
//! must be proven to hold. Whatever makes a test meaningless leaves it open, with the reason.

mod outcome;

use hybrid_cache_model::Temperature;
use hybrid_cache_model::sample::{Acceptance, Completion, Peer, RunRecord};

use crate::cells::plain;
use crate::compare::{Change, GroupComparison, compare};
use crate::figure::Figure;
use crate::samples::{accepted, of_two_builds, scenario_names};
use crate::stats::{ALPHA, MIN_ROUNDS, holm, rounds_needed};
use crate::summary::{GroupSummary, Summary};
use crate::units;

pub use outcome::{Answer, Failure, Gate, GateOutcome, Judged};

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
    /// What was measured.
    measured: String,
}

/// What is to be judged.
#[derive(Default)]
struct Question {
    requirements: Vec<Requirement>,
    /// What is not asked, each with the reason.
    unasked: Vec<(String, String)>,
    /// What makes the whole gate meaningless.
    meaningless: Vec<String>,
    /// What leaves single requirements open: what they are about, and the reason.
    doubts: Vec<(String, String)>,
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
    let is_confirmed = |about: &str| again.failures.iter().any(|other| other.about == about);
    let mut gate = first;
    for judged in &mut gate.requirements {
        if judged.answer == Answer::Broken && !is_confirmed(&judged.about) {
            judged.answer = Answer::Open;
            judged
                .found
                .push_str(", which a second block of rounds did not confirm");
            gate.doubts.push(judged.line());
        }
    }
    gate.failures.retain(|failure| is_confirmed(&failure.about));
    gate.confirmed = !gate.failures.is_empty();
    if !gate.confirmed {
        gate.outcome = GateOutcome::CannotTell;
    }
    gate
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
        let mut judged: Vec<Judged> = self
            .requirements
            .into_iter()
            .zip(holm(&p))
            .map(|(requirement, adjusted)| requirement.judge(adjusted, tests))
            .collect();
        let of_answer = |answer| move |(about, found)| Judged { about, answer, found };
        judged.extend(self.doubts.into_iter().map(of_answer(Answer::Open)));
        judged.extend(self.unasked.into_iter().map(of_answer(Answer::Unasked)));
        let open = of(&judged, Answer::Open).map(Judged::line);
        let mut doubts: Vec<String> = self.meaningless.iter().cloned().chain(open).collect();
        if tests == 0 && doubts.is_empty() {
            doubts.push("nothing can be compared".to_owned());
        }
        if !self.meaningless.is_empty() {
            // If the whole is undecided, so is each part.
            for judged in judged.iter_mut().filter(|judged| judged.answer != Answer::Unasked) {
                judged.answer = Answer::Open;
            }
        }
        let failures: Vec<Failure> = of(&judged, Answer::Broken).map(Failure::from).collect();
        let held = of(&judged, Answer::Held).count();
        let unasked = of(&judged, Answer::Unasked).map(Judged::line).collect();
        let whole = self.meaningless.into_iter();
        let whole = whole.map(|reason| ("the run".to_owned(), reason));
        judged.extend(whole.map(of_answer(Answer::Open)));
        Gate {
            outcome: match (failures.is_empty(), doubts.is_empty()) {
                (false, _) => GateOutcome::Regression,
                (true, true) => GateOutcome::Good,
                (true, false) => GateOutcome::CannotTell,
            },
            failures,
            doubts,
            unasked,
            held,
            disturbed: Vec::new(),
            confirmed: false,
            requirements: judged,
        }
    }
}

/// The requirements with this answer.
fn of(judged: &[Judged], answer: Answer) -> impl Iterator<Item = &Judged> {
    judged.iter().filter(move |judged| judged.answer == answer)
}

impl Requirement {
    /// The answer, by the p that the correction for all `tests` leaves.
    fn judge(self, adjusted: f64, tests: usize) -> Judged {
        let (answer, found) = if adjusted <= ALPHA {
            (Answer::Broken, self.found)
        } else if self.p_broken <= ALPHA {
            (Answer::Held, self.measured)
        } else if self.rounds < rounds_needed(1) {
            let (rounds, needed) = (self.rounds, rounds_needed(tests));
            let why = format!("too few rounds: {rounds}, at least {needed} are needed");
            (Answer::Open, why)
        } else {
            (Answer::Open, format!("open: {}", self.measured))
        };
        Judged {
            about: self.about,
            answer,
            found,
        }
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

/// Whether a gate asks about a group. A few first runs only fill the caches for the cached ones; who asks about them takes more.
fn is_asked(record: &RunRecord, temperature: Temperature, n: usize) -> bool {
    temperature != Temperature::First || (n >= MIN_ROUNDS && record.until.is_none())
}

/// Why a gate does not ask about first runs.
fn why_unasked(record: &RunRecord, n: usize) -> String {
    match record.until {
        Some(_) => "only cached runs decide when a run with --until ends".to_owned(),
        None => format!("{n} taken, at least {MIN_ROUNDS} are needed"),
    }
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
    let rounds_of = |group: &GroupSummary| group.wall.as_ref().map_or(0, |wall| wall.rounds);
    let (asked_claims, few): (Vec<_>, Vec<_>) =
        claims.partition(|(_, group, _)| is_asked(record, group.temperature, rounds_of(group)));
    let few = few.into_iter().map(|(scenario, group, _)| {
        let about = format!("{}, claim", about(&scenario.name, group.temperature));
        (about, why_unasked(record, rounds_of(group)))
    });
    let claims = asked_claims.into_iter().map(|(scenario, group, result)| {
        let (p_holds, p_broken) = result.p_of_the_upper_end();
        Requirement {
            about: format!("{}, claim", about(&scenario.name, group.temperature)),
            p_holds,
            p_broken,
            rounds: rounds_of(group),
            found: format!("refuted: {}", result.measured()),
            measured: result.measured(),
        }
    });
    let own = |figure: &&Figure| figure.kind.is_of_two_builds() == two_builds;
    let (asked, unasked): (Vec<&Figure>, Vec<&Figure>) = summary
        .figures
        .iter()
        .filter(own)
        .partition(|figure| is_asked(record, figure.kind.temperature(), figure.n));
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
            measured,
        }
    });
    let unasked = unasked.into_iter().map(|figure| {
        let (name, label) = (plain(&figure.scenario), figure.kind.label());
        (format!("{name}: {label}"), why_unasked(record, figure.n))
    });
    Question {
        unasked: few.chain(unasked).collect(),
        requirements: claims.chain(figures).collect(),
        meaningless,
        doubts: groups
            .iter()
            .map(|(name, temperature, why)| (about(name, *temperature), why.clone()))
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
        let n = group.n.0.min(group.n.1);
        // Groups that lack samples altogether are doubts.
        if n > 0 && why.is_empty() && !is_asked(record, group.temperature, n) {
            let about = about(&group.scenario, group.temperature);
            question.unasked.push((about, why_unasked(record, n)));
            continue;
        }
        match requirement(group, limit) {
            Ok(requirement) if why.is_empty() => question.requirements.push(requirement),
            Ok(_) => question
                .doubts
                .push((about(&group.scenario, group.temperature), why.join(", "))),
            Err(reason) => question
                .doubts
                .push((about(&group.scenario, group.temperature), reason)),
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
        Change::OtherScenario => return Err("the scenario's definition differs from the baseline's".to_owned()),
        Change::OnlyInA if group.planned_in_b => return Err("no sample of this run counts".to_owned()),
        Change::OnlyInA => return Err("it was not measured in this run".to_owned()),
        Change::OnlyInB => return Err("it was not measured in the baseline".to_owned()),
        _ => group.beside.as_ref(),
    };
    let beside = beside.ok_or(
        "no pairs: no peer was measured in both runs, so a slower machine looks like a slower program; \
         `bench --against` measures both builds side by side",
    )?;
    let (p_holds, p_broken) = beside.p(limit);
    let ratio = crate::cells::ratio(&beside.ratio);
    let measured = format!(
        "takes {ratio} as long as before, relative to {}; at most {} is allowed",
        beside.peer.short_name(),
        units::ratio(limit)
    );
    Ok(Requirement {
        about: about(&group.scenario, group.temperature),
        p_holds,
        p_broken,
        rounds: beside.rounds(),
        found: measured.clone(),
        measured,
    })
}
