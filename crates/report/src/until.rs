//! How narrow the intervals of cached runs are, for a run that goes on until they are narrow enough.
//!
//! Such a run looks at its intervals at planned numbers of rounds, each half as many again as the one before, and ends at the first
//! look at which all are narrow. So it depends on widths alone, never on where an estimate lies. A width that is small by chance
//! still comes with an estimate that is off a little more often, so every error of such a run counts twice
//! ([`crate::stats::Evidence::looked_at_repeatedly`]). `docs/method.md` has the figures.

use hybrid_cache_model::Temperature;
use hybrid_cache_model::sample::RunRecord;
use hybrid_cache_model::until::{LookRecord, UntilEnd, UntilRecord};

use crate::cells::plain;
use crate::figure::{self, Unit};
use crate::samples::{Measured, accepted, in_rounds, scenario_names};
use crate::units;

/// Rounds before the first look.
pub const FIRST_LOOK: u32 = 12;
/// Rounds after which no further one begins.
pub const MOST_ROUNDS: u32 = 10_000;

/// Rounds at the look that follows one at this number of rounds; 0 before the first.
pub fn next_look(rounds: u32) -> u32 {
    match rounds {
        0 => FIRST_LOOK,
        rounds => rounds.saturating_add(rounds.div_ceil(2)).min(MOST_ROUNDS),
    }
}

/// The widest interval of the cached runs: of a scenario's ratios to what stands beside it, or of its median if nothing does.
/// Scenarios of which no cached run counts are left out: their intervals never become narrow.
pub fn look(record: &RunRecord, rounds: u32) -> LookRecord {
    // Without an interval yet, it is wider than any.
    let size = |width: &Option<f64>| width.unwrap_or(f64::INFINITY);
    let widest = widths(record).into_iter().reduce(|widest, other| {
        if size(&other.1) > size(&widest.1) {
            other
        } else {
            widest
        }
    });
    let (about, width) = widest.map_or((None, None), |(about, width)| (Some(about), width));
    LookRecord { rounds, about, width }
}

/// The interval of each estimate of cached runs: whose it is, and half its width.
fn widths(record: &RunRecord) -> Vec<(String, Option<f64>)> {
    let measured = Measured::new(record);
    let names = scenario_names(record);
    let figures = figure::collect(&measured, &names);
    let mut widths = Vec::new();
    for name in names {
        let about = format!("{} {}", plain(name), Temperature::Cached.name());
        let is_own = |kind: figure::FigureKind| kind.unit() == Unit::Ratio && kind.temperature() == Temperature::Cached;
        let paired = figures
            .iter()
            .filter(|figure| figure.scenario == name && is_own(figure.kind));
        let before = widths.len();
        widths.extend(paired.map(|figure| (about.clone(), figure.half_width())));
        if widths.len() == before {
            let walls = measured.timed(&accepted(record, name, Temperature::Cached), |sample| sample.wall_us);
            let evidence = measured.durations(&in_rounds(&walls));
            if evidence.rounds() > 0 {
                widths.push((about, evidence.half_width()));
            }
        }
    }
    widths
}

/// How a look ends a run; `None` if it goes on.
pub fn end_at(look: &LookRecord, wanted: f64) -> Option<UntilEnd> {
    match (&look.about, look.width) {
        (None, _) => Some(UntilEnd::Nothing),
        (Some(_), Some(width)) if width <= wanted => Some(UntilEnd::Reached),
        _ if look.rounds >= MOST_ROUNDS => Some(UntilEnd::Capped),
        _ => None,
    }
}

/// How narrow it is now: `hybrid cached: ±3.1 %, wants ±2.0 %`.
pub fn shown(look: &LookRecord, wanted: f64) -> String {
    let about = look.about.as_deref().unwrap_or("no cached run counts");
    let width = match (look.width, &look.about) {
        (_, None) => String::new(),
        (Some(width), _) => format!(": ±{}", units::share(width)),
        (None, _) => ": no interval yet".to_owned(),
    };
    format!("{about}{width}, wants ±{}", units::share(wanted))
}

/// How the run went, in a sentence without a full stop.
pub(crate) fn line(until: &UntilRecord) -> String {
    let wanted = units::share(until.width);
    let Some(last) = until.looks.last() else {
        return format!("±{wanted} was wanted, and the run ended before the first look");
    };
    let (rounds, looks) = (last.rounds, until.looks.len());
    let at_last = shown(last, until.width);
    match until.ended {
        Some(UntilEnd::Reached) => format!("±{wanted} reached after {rounds} rounds, at look {looks}: {at_last}"),
        Some(UntilEnd::Capped) => format!(
            "±{wanted} not found at a planned look within {} minutes; after {rounds} rounds: {at_last}",
            until.minutes
        ),
        Some(UntilEnd::Nothing) => format!("±{wanted} cannot be reached: {at_last}"),
        None => format!("interrupted before ±{wanted} was reached, last look after {rounds} rounds: {at_last}"),
    }
}
