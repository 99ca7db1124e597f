//! Draws a synthetic trace: programs arrive, are requested, drift and retire.

use std::collections::HashMap;

use super::packages::Packages;
use super::profile::Profile;
use crate::Volume;
use crate::number::{Random, float, whole};
use crate::trace::{Environment, Event, Met, Recorded, Request, Use, VolumeCatalog};

/// Seconds after which a request is resolved again.
const MAX_AGE_S: u64 = 7 * 86_400;
/// Beginning of every synthetic trace: an arbitrary Monday, in microseconds since 1970.
const BEGIN_US: u64 = 1_767_571_200_000_000;
const DAY_US: f64 = 86_400e6;
/// Average number of uses of a program in one burst.
const BURST: f64 = 6.0;
/// Number of simultaneous bursts.
const BURSTS: usize = 12;

#[derive(Clone, Debug)]
struct Program {
    tenant: usize,
    number: u64,
    asked: [Option<u64>; 2],
    resolved: [Option<(f64, u32)>; 2],
}

/// The state of a trace that is being generated.
struct Drawing<'a> {
    profile: &'a Profile,
    packages: Packages,
    random: Random,
    recorded: Recorded,
    programs: Vec<Program>,
    bursts: Vec<(Program, u32)>,
    made: u64,
    /// Environments that are resident in a volume that never evicts.
    present: [HashMap<u32, ()>; 2],
}

/// Generates a trace from a preset, with real packages and their sizes.
pub fn generate(profile: &Profile) -> Recorded {
    let mut drawing = Drawing {
        profile,
        packages: Packages::measured(),
        random: Random::seeded(profile.seed),
        recorded: Recorded::default(),
        programs: Vec::new(),
        bursts: Vec::new(),
        made: 0,
        present: Default::default(),
    };
    drawing.recorded.catalog.max_age_s = Some(MAX_AGE_S);
    for _ in 0..profile.programs {
        let program = drawing.program();
        drawing.programs.push(program);
    }
    let mut arrivals = 0.0;
    for day in 0..profile.days {
        let weights = cumulative(drawing.programs.len(), profile.zipf);
        drawing.day(f64::from(day), &weights);
        drawing.drift();
        arrivals += profile.new_per_day;
        while arrivals >= 1.0 {
            drawing.arrive();
            arrivals -= 1.0;
        }
    }
    drawing.recorded
}

/// For each rank, the sum of the weights up to it.
fn cumulative(count: usize, exponent: f64) -> Vec<f64> {
    let mut sum = 0.0;
    (1..=count)
        .map(|rank| {
            sum += float(rank as u64).powf(-exponent);
            sum
        })
        .collect()
}

impl Drawing<'_> {
    fn program(&mut self) -> Program {
        self.made += 1;
        Program {
            tenant: self.random.below(self.profile.tenants.max(1)),
            number: self.made,
            asked: self.packages.program(&mut self.random),
            resolved: [None, None],
        }
    }

    /// Generates all requests of a day: intervals of independent arrivals, thinned out at night.
    fn day(&mut self, day: f64, weights: &[f64]) {
        let night = self.profile.night.clamp(0.0, 1.0);
        let busiest = self.profile.requests_per_day * (1.0 + night);
        let mut at = 0.0;
        loop {
            at += self.random.exponential() / busiest.max(1e-6);
            if at >= 1.0 {
                return;
            }
            // The busiest hour is at two in the afternoon.
            let rate = 1.0 + night * ((at - 14.0 / 24.0) * std::f64::consts::TAU).cos();
            if self.random.unit() * (1.0 + night) < rate {
                self.request(day + at, weights);
            }
        }
    }

    fn request(&mut self, day: f64, weights: &[f64]) {
        if self.random.unit() < self.profile.one_off {
            let mut burst = self.burst();
            self.use_of(&mut burst.0, day);
            if burst.1 > 1 {
                self.bursts.push((burst.0, burst.1 - 1));
            }
            return;
        }
        let wanted = self.random.unit() * weights.last().copied().unwrap_or(0.0);
        let rank = weights.partition_point(|sum| *sum <= wanted);
        if let Some(program) = self.programs.get(rank) {
            let mut program = program.clone();
            self.use_of(&mut program, day);
            self.programs[rank] = program;
        }
    }

    /// A program of a burst, with its remaining uses: of a running burst, or of a new one.
    fn burst(&mut self) -> (Program, u32) {
        let goes_on =
            self.bursts.len() >= BURSTS || (!self.bursts.is_empty() && self.random.unit() < 1.0 - 1.0 / BURST);
        if goes_on {
            let at = self.random.below(self.bursts.len());
            return self.bursts.swap_remove(at);
        }
        let uses = 1 + crate::number::narrow(crate::number::index(whole(self.random.exponential() * (BURST - 1.0))));
        (self.program(), uses)
    }

    fn use_of(&mut self, program: &mut Program, day: f64) {
        let mut uses = [None, None];
        for volume in Volume::ALL {
            let at = volume.index();
            let Some(asked) = program.asked[at] else { continue };
            let is_due = program.resolved[at].is_some_and(|(since, _)| (day - since) * 86_400.0 > float(MAX_AGE_S));
            let environment = match program.resolved[at] {
                Some((_, environment)) if !is_due => environment,
                _ => {
                    let environment = self.environment(volume, program.tenant, asked, day);
                    program.resolved[at] = Some((day, environment));
                    environment
                }
            };
            let is_new = self.present[at].insert(environment, ()).is_none();
            uses[at] = Some(Use {
                environment,
                request: program.number,
                met: if is_due {
                    Met::Expired
                } else if is_new {
                    Met::Miss
                } else {
                    Met::Hit
                },
                is_due,
                ..Use::default()
            });
        }
        self.recorded.events.push(Event::Request(Request {
            at_us: BEGIN_US + whole(day * DAY_US),
            uses,
            wait_us: None,
            held_us: 0,
        }));
    }

    fn environment(&mut self, volume: Volume, tenant: usize, asked: u64, day: f64) -> u32 {
        let template = self.packages.resolve(volume, asked, day);
        let catalog: &mut VolumeCatalog = self.recorded.catalog.volume_mut(volume);
        let mut parts: Vec<u32> = template
            .parts
            .iter()
            .map(|(id, weight)| catalog.part(id, *weight))
            .collect();
        parts.sort_unstable();
        parts.dedup();
        catalog.environment(Environment {
            key: format!("{tenant}/{}", template.key),
            label: template.label,
            own: template.own,
            parts,
        })
    }

    /// Swaps some ranks.
    fn drift(&mut self) {
        let count = self.programs.len();
        let changes = whole(float(count as u64) * self.profile.drift_per_day / 2.0);
        for _ in 0..changes {
            let (one, other) = (self.random.below(count), self.random.below(count));
            self.programs.swap(one, other);
        }
    }

    /// Gives a rank to a new program; the least popular program retires.
    fn arrive(&mut self) {
        let program = self.program();
        let share = self.random.unit();
        let rank = crate::number::index(whole(share * float(self.programs.len() as u64)));
        self.programs.insert(rank.min(self.programs.len()), program);
        self.programs.truncate(self.profile.programs.max(1));
    }
}
