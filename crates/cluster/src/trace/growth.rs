//! How fast the volumes fill, computed from the recorded requests.

use std::fmt;
use std::path::Path;

use hybrid_cache_model::budget::Budgets;
use hybrid_cache_model::maintain::UsageReport;
use hybrid_cache_report::units;
use hybrid_cache_sizing::pace::{Estimate, Full, Pace};
use hybrid_cache_sizing::{Source, Volume, Weight};
use hybrid_cache_tools::{Error, ErrorClass, Result};
use serde::Serialize;

use crate::trace::recorded::Recorded;

/// How fast one volume fills.
#[derive(Clone, Debug, Serialize)]
pub struct VolumeGrowth {
    /// Which volume.
    pub volume: Volume,
    /// Size of new environments, and how fast they arrive.
    #[serde(flatten)]
    pub pace: Pace,
    /// Bytes that the volume may hold before environments are evicted.
    pub budget_bytes: u64,
    /// Inodes that the volume may hold before environments are evicted; absent if its file system counts none.
    pub budget_inodes: Option<u64>,
    /// When the volume reaches its budget at this rate; absent if the trace is too short to tell.
    pub full: Option<Full>,
}

/// How fast both volumes fill; `None` if no requests are recorded in the folder.
///
/// # Errors
/// The recorded requests cannot be read.
pub fn growth(usage: &UsageReport, budgets: &Budgets, folder: &Path) -> Result<Option<Vec<VolumeGrowth>>> {
    let Some(recorded) = Recorded::open(folder)? else {
        return Ok(None);
    };
    let each = Volume::ALL
        .into_iter()
        .map(|volume| of_volume(usage, budgets, &recorded, volume));
    let known = each.collect::<Result<Vec<Option<_>>>>()?;
    Ok(Some(known.into_iter().flatten().collect()))
}

/// Why [`growth`] returned nothing.
pub fn nothing_recorded(folder: &Path) -> String {
    format!("growth is not known: no requests are recorded in {}", folder.display())
}

/// `None` if nothing is known about the volume's file system.
fn of_volume(
    usage: &UsageReport,
    budgets: &Budgets,
    recorded: &dyn Source,
    volume: Volume,
) -> Result<Option<VolumeGrowth>> {
    let name = volume.name();
    let Some(system) = usage.file_systems.iter().find(|system| system.volume == name) else {
        return Ok(None);
    };
    let asked = match volume {
        Volume::Python => &budgets.python,
        Volume::System => &budgets.system,
    };
    let held = Weight::new(usage.volume_bytes(name), usage.volume_inodes(name));
    let (bytes, inodes) = asked.limits(system, held.bytes, held.inodes);
    // Data that no environment needs is evicted before any environment.
    let garbage = usage
        .garbage_of(name)
        .map_or(Weight::default(), |garbage| Weight::new(garbage.bytes, garbage.inodes));
    let room = Weight::new(bytes, inodes).saturating_sub(held.saturating_sub(garbage));
    let counts_inodes = inodes != u64::MAX;
    let pace = Pace::measure(recorded, volume).map_err(|error| Error::other(ErrorClass::Failed, error))?;
    Ok(Some(VolumeGrowth {
        volume,
        budget_bytes: bytes,
        budget_inodes: counts_inodes.then_some(inodes),
        full: pace.until_full(room, counts_inodes),
        pace,
    }))
}

impl fmt::Display for VolumeGrowth {
    /// Writes the result as a sentence.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.in_words())
    }
}

impl VolumeGrowth {
    fn in_words(&self) -> String {
        let name = self.volume.name();
        let Pace {
            days, new_environments, ..
        } = &self.pace;
        let (Some(bytes), Some(inodes)) = (self.pace.bytes_each, self.pace.inodes_each) else {
            return format!("{name}: no new environment in {}", span(*days));
        };
        let each = format!(
            "{name}: {new_environments} new environments in {}, each added {}{} and {:.0} inodes{}",
            span(*days),
            size(bytes.value),
            range(&bytes, size),
            inodes.value,
            range(&inodes, |value| format!("{value:.0}"))
        );
        let (Some(rate), Some(full)) = (self.pace.bytes_per_day, self.full) else {
            return format!("{each}; less than an hour is recorded, too little for a rate");
        };
        format!(
            "{each}; {} a day{}; {}",
            size(rate.value),
            range(&rate, size),
            self.when(&full)
        )
    }

    fn when(&self, full: &Full) -> String {
        let budget = match self.budget_inodes.filter(|_| full.by_inodes) {
            Some(inodes) => format!("{inodes} inodes"),
            None => units::bytes(self.budget_bytes),
        };
        let Some(days) = full.days else {
            return format!("at that rate its budget of {budget} is never reached");
        };
        if days < 0.05 {
            return format!("its budget of {budget} is reached: each new environment evicts others");
        }
        let between = match (full.at_least_days, full.at_most_days) {
            (Some(least), Some(most)) => format!(" ({least:.1} to {most:.1})"),
            (Some(least), None) => format!(" ({least:.1} or more, perhaps never)"),
            _ => String::new(),
        };
        format!(
            "its budget of {budget} is reached in {days:.1} days{between}, and environments are evicted from then on"
        )
    }
}

/// Formats a number of days in a unit that is easy to read.
fn span(days: f64) -> String {
    match days {
        days if days >= 1.0 => format!("{days:.1} days"),
        days if days * 24.0 >= 1.0 => format!("{:.1} hours", days * 24.0),
        days => format!("{:.0} minutes", days * 24.0 * 60.0),
    }
}

fn range(estimate: &Estimate, shown: impl Fn(f64) -> String) -> String {
    let in_brackets = |interval: hybrid_cache_sizing::pace::Interval| {
        format!(" ({} to {})", shown(interval.low), shown(interval.high))
    };
    estimate.interval.map_or(String::new(), in_brackets)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "bytes for a person; the cast saturates"
)]
fn size(bytes: f64) -> String {
    units::bytes(bytes.round() as u64)
}

#[cfg(test)]
mod tests {
    use hybrid_cache_sizing::pace::Interval;

    use super::*;

    fn growth(full: Option<Full>) -> VolumeGrowth {
        let estimate = |value: f64| {
            Some(Estimate {
                value,
                interval: Some(Interval {
                    low: value / 2.0,
                    high: value * 2.0,
                }),
            })
        };
        VolumeGrowth {
            volume: Volume::Python,
            pace: Pace {
                days: 4.0,
                new_environments: 12,
                bytes_each: estimate(f64::from(64 << 20)),
                inodes_each: estimate(1000.0),
                bytes_per_day: full.and(estimate(f64::from(128 << 20))),
                inodes_per_day: full.and(estimate(3000.0)),
            },
            budget_bytes: 8 << 30,
            budget_inodes: Some(100_000),
            full,
        }
    }

    #[test]
    fn growth_is_told_with_its_intervals_and_what_ends_first() {
        let full = Full {
            days: Some(20.0),
            at_least_days: Some(10.0),
            at_most_days: Some(40.0),
            by_inodes: false,
        };
        let reported = growth(Some(full)).to_string();
        let expected = "python: 12 new environments in 4.0 days, each added 64.0 MiB (32.0 MiB to 128 MiB) and 1000 inodes \
                        (500 to 2000); 128 MiB a day (64.0 MiB to 256 MiB); its budget of 8.00 GiB is reached in 20.0 days \
                        (10.0 to 40.0), and environments are evicted from then on";
        assert_eq!(reported, expected);
        let inodes = Full {
            by_inodes: true,
            at_most_days: None,
            ..full
        };
        let reported = growth(Some(inodes)).to_string();
        assert!(
            reported.contains("100000 inodes is reached in 20.0 days (10.0 or more, perhaps never)"),
            "{reported}"
        );
        let never = Full { days: None, ..full };
        assert!(growth(Some(never)).to_string().contains("never reached"));
        assert!(growth(None).to_string().ends_with("too little for a rate"));
        assert_eq!([4.0, 0.5, 0.01].map(span), ["4.0 days", "12.0 hours", "14 minutes"]);
    }
}
