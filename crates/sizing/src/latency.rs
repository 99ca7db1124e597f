//! How long a request waits: measured if the trace has waiting times, otherwise assumed, with a warning.
//!
//! A hit waits as long as the hits of the trace did. A miss also waits for its preparation. Its time is a linear function of the
//! missing bytes, fitted to the misses of the trace, with the same scatter. A miss at a small size lacks less than a first
//! request, because other environments keep some of its parts; so its cost depends on what is missing.

use serde::Serialize;

use crate::number::{Random, float};
use crate::stats::{Reservoir, line};
use crate::trace::{Event, Met, Request, Source, TraceError, Volume};

/// Maximum number of values that are kept of each kind.
const ROOM: usize = 4096;
/// Smallest number of measured misses to which a line is fitted.
const FEWEST: usize = 8;
/// Assumed wait of a hit if none was measured.
const ASSUMED_HIT_US: f64 = 100_000.0;
const MIB: f64 = 1_048_576.0;

/// Time to prepare an environment on one volume.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Cost {
    /// Microseconds that every preparation takes.
    pub base_us: f64,
    /// Microseconds for each missing MiB.
    pub per_mib_us: f64,
    /// Number of measured misses; 0 if the cost is assumed.
    pub measured: usize,
    /// Ratios of measured to predicted time of single misses; their mean is 1.
    #[serde(skip)]
    scatter: Vec<f64>,
}

impl Cost {
    /// Assumed cost from this project's own benchmark: numpy (61 MB) takes 1.5 s, gcc (230 MB of store paths) 5.7 s, on two
    /// processors.
    fn assumed(volume: Volume) -> Cost {
        let (base_us, per_mib_us) = match volume {
            Volume::Python => (400_000.0, 18_000.0),
            Volume::System => (800_000.0, 22_000.0),
        };
        Cost {
            base_us,
            per_mib_us,
            measured: 0,
            scatter: vec![0.7, 0.85, 0.95, 1.0, 1.05, 1.15, 1.3],
        }
    }

    fn fitted(volume: Volume, misses: &[(f64, f64)]) -> Cost {
        if misses.len() < FEWEST {
            return Cost::assumed(volume);
        }
        let (base_us, slope) = line(misses);
        let predicted = |bytes: f64| (base_us + slope * bytes).max(1.0);
        let mut scatter: Vec<f64> = misses.iter().map(|(bytes, us)| us / predicted(*bytes)).collect();
        let mean = scatter.iter().sum::<f64>() / float(scatter.len() as u64);
        scatter
            .iter_mut()
            .for_each(|ratio| *ratio /= mean.max(f64::MIN_POSITIVE));
        Cost {
            base_us,
            per_mib_us: slope * MIB,
            measured: misses.len(),
            scatter,
        }
    }

    /// The mean time of a preparation if this many bytes are missing, in microseconds.
    pub fn mean_us(&self, missing_bytes: u64) -> f64 {
        self.base_us + self.per_mib_us * float(missing_bytes) / MIB
    }

    /// One preparation's deviation from the mean, as a factor.
    pub fn draw(&self, random: &mut Random) -> f64 {
        self.scatter
            .get(random.below(self.scatter.len()))
            .copied()
            .unwrap_or(1.0)
    }
}

/// How long requests wait.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Latency {
    /// Median wait of hits, in microseconds.
    pub hit_us: f64,
    /// Number of measured hits; 0 if the wait is assumed.
    pub measured_hits: usize,
    /// Cost of preparing, for each volume.
    pub costs: [Cost; 2],
    #[serde(skip)]
    hits: Vec<f64>,
}

impl Latency {
    /// Cost of preparing on a volume.
    pub fn cost(&self, volume: Volume) -> &Cost {
        &self.costs[volume.index()]
    }

    /// Draws the wait of one hit, in microseconds.
    pub fn draw_hit(&self, random: &mut Random) -> f64 {
        self.hits
            .get(random.below(self.hits.len()))
            .copied()
            .unwrap_or(self.hit_us)
    }

    /// True if all values were measured.
    pub fn is_measured(&self) -> bool {
        self.measured_hits > 0 && self.costs.iter().all(|cost| cost.measured > 0)
    }
}

/// Measures in a trace how long its requests waited.
///
/// # Errors
/// The trace cannot be read.
pub fn measure(source: &dyn Source) -> Result<Latency, TraceError> {
    let mut hits = Reservoir::new(ROOM);
    let mut misses = [Reservoir::new(ROOM), Reservoir::new(ROOM)];
    source.replay(&mut |event| {
        if let Event::Request(request) = event {
            learn(request, &mut hits, &mut misses);
        }
    })?;
    let mut waits: Vec<f64> = hits.kept().to_vec();
    waits.sort_unstable_by(f64::total_cmp);
    let measured_hits = waits.len();
    if waits.is_empty() {
        waits.push(ASSUMED_HIT_US);
    }
    Ok(Latency {
        hit_us: waits[waits.len() / 2],
        measured_hits,
        costs: Volume::ALL.map(|volume| Cost::fitted(volume, misses[volume.index()].kept())),
        hits: waits,
    })
}

fn learn(request: &Request, hits: &mut Reservoir<f64>, misses: &mut [Reservoir<(f64, f64)>; 2]) {
    let asked = request.uses.iter().flatten();
    if let Some(wait_us) = request.wait_us
        && asked.clone().all(|asked| asked.met == Met::Hit)
    {
        hits.push(float(wait_us));
    }
    for (volume, asked) in request.uses.iter().enumerate() {
        // Resolving an expired request again takes another time than building what is missing, so skip it.
        if let Some(asked) = asked
            && asked.met == Met::Miss
            && let Some(us) = asked.prepare_us
        {
            misses[volume].push((float(asked.downloaded_bytes), float(us)));
        }
    }
}
