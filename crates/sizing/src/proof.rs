//! Checks predictions: compares computed values of some sizes with those of real volumes of these sizes.
//!
//! A replay on real volumes measures; this module predicts the same values for the same requests and compares. It does not know
//! how the replay works.

use serde::Serialize;

use crate::Weight;
use crate::curve::curve;
use crate::detail::detail;
use crate::latency::Latency;
use crate::number::{float, share};
use crate::trace::{Event, Recorded, TraceError, Volume};

/// Largest difference between the observed and the predicted hit rate: two points.
pub const HIT_RATE_WITHIN: f64 = 0.02;
/// Largest difference between the observed and the predicted 95th percentile of waiting, as a share of the predicted one. A replay
/// knows its percentile only within an interval; the prediction fails if the whole interval lies further away.
pub const P95_WITHIN: f64 = 0.2;
/// Largest difference between observed and predicted allocated bytes, as a share of the predicted ones.
pub const BYTES_WITHIN: f64 = 0.01;
/// Probability outside of an interval on each side.
const TAIL: f64 = 0.025;
/// Smallest number of requests that is judged: an interrupted size with fewer is shown and not judged.
const FEWEST_REQUESTS: u64 = 20;

/// The values of one size, predicted or observed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Figures {
    /// Share of requests that hit.
    pub hit_rate: f64,
    /// 95th percentile of how long requests waited, in microseconds.
    pub p95_us: f64,
    /// Usage of environments and their parts after the last request.
    pub held: Weight,
    /// Environments that were evicted.
    pub evictions: u64,
}

/// The prediction and the observation for one size.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Size {
    /// Size of the file system, in bytes.
    pub bytes: u64,
    /// Space of the new file system for an ordinary user.
    pub room: Weight,
    /// Bytes and inodes of the file system that environments and their parts may use.
    pub budget: Weight,
    /// True for the recommended size, or the requested one.
    pub is_recommended: bool,
    /// Requests that were replayed.
    pub requests: u64,
    /// Requests of the slice; more than `requests` if the replay was interrupted.
    pub of: u64,
    /// Predicted values for the replayed requests.
    pub predicted: Figures,
    /// Observed values of the volume.
    pub observed: Figures,
    /// Ends of the 95 % interval of the observed 95th percentile, in microseconds.
    pub p95_interval_us: (f64, f64),
    /// Usage of the volume outside environments and their parts, after the last request.
    pub beside: Weight,
    /// Preparations that found the file system full: the volume freed space and continued.
    pub met_full: u64,
    /// Errors of refused preparations.
    pub refused: Vec<String>,
    /// Problems that `verify` found afterwards.
    pub problems: Vec<String>,
    /// Duration of the replay in seconds.
    pub took_s: f64,
}

/// A quantity that is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Quantity {
    /// The hit rate, within two points.
    HitRate,
    /// The 95th percentile of waiting, if its interval reaches to within 20 %. Not judged below the recommended size if
    /// preparations found the file system full: freeing space during a preparation takes time that the prediction does not
    /// include.
    P95,
    /// Allocated bytes of environments and parts, within 1 %.
    Bytes,
    /// Inodes of environments and parts, exactly.
    Inodes,
    /// Preparations that found the file system full: none at the recommended size and above.
    Full,
    /// Problems that `verify` finds: none.
    Whole,
}

impl Quantity {
    /// Name for a person.
    pub fn name(self) -> &'static str {
        match self {
            Quantity::HitRate => "hit rate",
            Quantity::P95 => "p95",
            Quantity::Bytes => "bytes",
            Quantity::Inodes => "inodes",
            Quantity::Full => "disk full",
            Quantity::Whole => "verify",
        }
    }
}

/// A comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// The compared quantity.
    pub quantity: Quantity,
    /// True if the prediction holds.
    pub holds: bool,
}

impl Size {
    /// True if enough was replayed to judge it.
    pub fn is_judged(&self) -> bool {
        self.requests > 0 && self.requests >= FEWEST_REQUESTS.min(self.of)
    }

    /// Every comparison of this size.
    pub fn checks(&self, recommended_bytes: u64) -> Vec<Check> {
        let (predicted, observed) = (&self.predicted, &self.observed);
        let fulls = self.met_full + self.refused.len() as u64;
        let (low_us, high_us) = self.p95_interval_us;
        let p95_us = predicted.p95_us.clamp(low_us.min(high_us), high_us.max(low_us));
        let is_starved = fulls > 0 && self.bytes < recommended_bytes;
        let near = |found: f64, expected: f64, within: f64| (found - expected).abs() <= within * expected.abs();
        [
            (
                Quantity::HitRate,
                (observed.hit_rate - predicted.hit_rate).abs() <= HIT_RATE_WITHIN + 1e-9,
            ),
            (
                Quantity::P95,
                // Use the value of the interval that is nearest to the prediction.
                is_starved || near(p95_us, predicted.p95_us, P95_WITHIN),
            ),
            (
                Quantity::Bytes,
                near(float(observed.held.bytes), float(predicted.held.bytes), BYTES_WITHIN),
            ),
            (Quantity::Inodes, observed.held.inodes == predicted.held.inodes),
            (Quantity::Full, fulls == 0 || self.bytes < recommended_bytes),
            (Quantity::Whole, self.problems.is_empty()),
        ]
        .map(|(quantity, holds)| Check { quantity, holds })
        .to_vec()
    }
}

/// The test of a volume that other data had filled.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct FullStep {
    /// How full the volume was.
    pub what: String,
    /// Bytes that were free before the requests.
    pub free_bytes: u64,
    /// Requests.
    pub requests: u64,
    /// Requests that were served.
    pub served: u64,
    /// Environments that had to be evicted.
    pub evicted: u64,
    /// Errors of refused requests, each once.
    pub refused: Vec<String>,
    /// Refusals that do not say that the volume is full.
    pub unclear: u64,
    /// Problems that `verify` found afterwards.
    pub problems: Vec<String>,
}

impl FullStep {
    /// True if every request was served or refused with a clear error, and nothing was damaged.
    pub fn holds(&self) -> bool {
        self.unclear == 0 && self.problems.is_empty()
    }
}

/// The replay of one volume.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct VolumeProof {
    /// `python` or `system`.
    pub volume: String,
    /// Factor by which all bytes and inodes of the trace were reduced.
    pub scale: f64,
    /// Distinct environments of the slice.
    pub environments: u64,
    /// Requests of the slice.
    pub requests: u64,
    /// The size that is recommended for the slice, in bytes.
    pub recommended_bytes: u64,
    /// The sizes, smallest first.
    pub sizes: Vec<Size>,
    /// The tests of a volume that other data had filled; empty if they were not run.
    pub full: Vec<FullStep>,
    /// Notes on this volume's replay for a reader.
    pub notes: Vec<String>,
}

impl VolumeProof {
    /// Sizes and quantities whose predictions do not hold.
    pub fn broken(&self) -> Vec<(u64, Quantity)> {
        let judged = self.sizes.iter().filter(|size| size.is_judged());
        judged
            .flat_map(|size| {
                let checks = size.checks(self.recommended_bytes).into_iter();
                checks
                    .filter(|check| !check.holds)
                    .map(|check| (size.bytes, check.quantity))
            })
            .collect()
    }

    /// True if every prediction holds.
    pub fn holds(&self) -> bool {
        self.broken().is_empty() && self.full.iter().all(FullStep::holds)
    }
}

/// Why a replay ended early.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Ended {
    /// The user interrupted it.
    Interrupted,
    /// Its time limit was reached.
    Late,
}

/// A proof: the replays of all volumes.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Proof {
    /// The volumes.
    pub volumes: Vec<VolumeProof>,
    /// Why the proof ended early; `None` if it did not.
    pub ended: Option<Ended>,
    /// What was not replayed, and why.
    pub notes: Vec<String>,
}

impl Proof {
    /// Sizes that were replayed far enough to be judged.
    pub fn judged(&self) -> usize {
        let sizes = self.volumes.iter().flat_map(|proved| &proved.sizes);
        sizes.filter(|size| size.is_judged()).count()
    }

    /// True if every prediction holds.
    pub fn holds(&self) -> bool {
        self.volumes.iter().all(VolumeProof::holds)
    }
}

/// Predicts the values for the first `requests` requests of a trace on one volume.
///
/// # Errors
/// The trace has no requests.
pub fn predict(
    trace: &Recorded,
    volume: Volume,
    budget: Weight,
    latency: &Latency,
    requests: u64,
) -> Result<Figures, TraceError> {
    let begin = first(trace, requests);
    let curve = curve(&begin, volume)?;
    let hits = curve.hits(budget);
    let close = detail(&begin, volume, &[budget], (0, 0), latency)?;
    let waits = close.sizes.first().map(|size| &size.waits);
    Ok(Figures {
        hit_rate: share(hits.requests + curve.repeated_beyond(budget), curve.requests),
        p95_us: waits.and_then(|waits| waits.quantile_us(0.95)).unwrap_or(0.0),
        held: curve.resident(budget),
        evictions: hits.evictions,
    })
}

/// The trace up to request number `requests`.
fn first(trace: &Recorded, requests: u64) -> Recorded {
    let mut left = requests;
    let is_wanted = |event: &&Event| {
        let is_within = left > 0;
        left -= u64::from(is_within && matches!(event, Event::Request(_)));
        is_within
    };
    Recorded {
        catalog: trace.catalog.clone(),
        events: trace.events.iter().take_while(is_wanted).cloned().collect(),
    }
}

/// The value below which a share of the measured values lies, computed like the prediction; 0 if there are none.
pub fn quantile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let wanted = crate::number::index(crate::number::whole((float(sorted.len() as u64) * share).ceil()));
    sorted.get(wanted.max(1) - 1).copied().unwrap_or(0.0)
}

/// The 95 % interval of a quantile of measured values, by order statistics: it assumes no distribution. If there are too few
/// values for one of its ends, that end is the extreme value.
pub fn quantile_interval(values: &[f64], share: f64) -> (f64, f64) {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let (Some(first), Some(last)) = (sorted.first(), sorted.last()) else {
        return (0.0, 0.0);
    };
    let n = float(sorted.len() as u64);
    let (mut low, mut high) = (*first, *last);
    // The probability that exactly this many values lie below the quantile, starting with none, and its sum so far.
    let mut chance_ln = n * (1.0 - share).ln();
    let mut below = 0.0;
    for (rank, value) in sorted.iter().enumerate() {
        below += chance_ln.exp();
        if below <= TAIL {
            low = *value;
        }
        if 1.0 - below <= TAIL {
            // The quantile lies above this value with that probability.
            high = *value;
            break;
        }
        let rank = float(rank as u64);
        chance_ln += ((n - rank) / (rank + 1.0)).ln() + (share / (1.0 - share)).ln();
    }
    (low, high)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::latency::measure;
    use crate::simulate::Cache;
    use crate::synthetic::{Profile, generate, preset};
    use crate::trace::Source;

    fn good() -> Size {
        let figures = Figures {
            hit_rate: 0.9,
            p95_us: 1000.0,
            held: Weight::new(1_000_000, 50),
            evictions: 3,
        };
        Size {
            bytes: 100,
            requests: 500,
            of: 500,
            predicted: figures,
            observed: figures,
            p95_interval_us: (990.0, 1010.0),
            ..Size::default()
        }
    }

    fn broken(size: &Size) -> Vec<Quantity> {
        let proof = VolumeProof {
            recommended_bytes: 100,
            sizes: vec![size.clone()],
            ..VolumeProof::default()
        };
        assert_eq!(proof.holds(), proof.broken().is_empty());
        proof.broken().into_iter().map(|(_, quantity)| quantity).collect()
    }

    #[test]
    fn a_right_or_nearly_right_prediction_holds() {
        assert_eq!(broken(&good()), []);
        let mut near = good();
        near.observed.hit_rate = 0.92;
        near.observed.p95_us = 700.0;
        near.p95_interval_us = (500.0, 805.0);
        near.observed.held.bytes = 1_009_999;
        assert_eq!(broken(&near), []);
    }

    #[test]
    fn each_wrong_prediction_is_noticed() {
        let wrong = |change: fn(&mut Size)| {
            let mut size = good();
            change(&mut size);
            broken(&size)
        };
        assert_eq!(wrong(|size| size.observed.hit_rate = 0.8799), [Quantity::HitRate]);
        assert_eq!(wrong(|size| size.p95_interval_us = (1201.0, 5000.0)), [Quantity::P95]);
        assert_eq!(wrong(|size| size.p95_interval_us = (1.0, 799.0)), [Quantity::P95]);
        assert_eq!(wrong(|size| size.observed.held.bytes = 989_000), [Quantity::Bytes]);
        assert_eq!(wrong(|size| size.observed.held.inodes = 51), [Quantity::Inodes]);
        assert_eq!(wrong(|size| size.met_full = 1), [Quantity::Full]);
        assert_eq!(wrong(|size| size.refused.push("full".to_owned())), [Quantity::Full]);
        assert_eq!(wrong(|size| size.problems.push("gone".to_owned())), [Quantity::Whole]);
        // A size below the recommended one may be full; a size with few requests is not judged.
        let small = |size: &mut Size| {
            (size.bytes, size.met_full) = (99, 1);
            size.p95_interval_us = (1201.0, 5000.0);
        };
        assert_eq!(wrong(small), []);
        assert_eq!(wrong(|size| (size.requests, size.observed.hit_rate) = (19, 0.1)), []);
    }

    #[test]
    fn an_unclear_refusal_or_damage_on_a_full_volume_is_noticed() {
        let step = FullStep::default();
        let refused = FullStep {
            refused: vec!["full".to_owned()],
            ..step.clone()
        };
        assert!(step.holds() && refused.holds());
        assert!(
            !FullStep {
                unclear: 1,
                ..step.clone()
            }
            .holds()
        );
        let damaged = vec!["x is gone".to_owned()];
        assert!(
            !FullStep {
                problems: damaged,
                ..step
            }
            .holds()
        );
    }

    #[test]
    fn predictions_equal_a_plain_cache_on_a_whole_trace_and_on_its_beginning() {
        let profile = Profile {
            days: 4,
            ..preset("team").unwrap()
        };
        let trace = generate(&profile);
        let latency = measure(&trace).unwrap();
        let catalog = trace.catalog().volume(Volume::Python);
        let union = catalog.union();
        for (part, requests) in [(3, 200), (6, 700), (8, u64::MAX)] {
            let budget = Weight::new(union.bytes / 10 * part, union.inodes);
            let mut cache = Cache::new(catalog, budget);
            let (mut hits, mut asked) = (0, 0u64);
            for event in first(&trace, requests).events {
                let Event::Request(request) = event else { continue };
                let Some(on) = request.on(Volume::Python) else { continue };
                asked += 1;
                hits += u64::from(cache.request(on.environment) && !on.is_due);
            }
            let found = predict(&trace, Volume::Python, budget, &latency, requests).unwrap();
            assert_eq!((found.held, found.evictions), (cache.held(), cache.evictions), "{part}");
            assert!((found.hit_rate - share(hits, asked)).abs() < 1e-12, "{part}");
        }
    }

    #[test]
    fn the_interval_of_a_quantile_holds_it_as_often_as_it_says() {
        // Ranks from a table of binomial distributions for the median of 20 and the 95th percentile of 200 values.
        let values = |n: u32| (1..=n).map(f64::from).collect::<Vec<f64>>();
        assert_eq!(quantile_interval(&values(20), 0.5), (6.0, 15.0));
        assert_eq!(quantile_interval(&values(200), 0.95), (184.0, 197.0));
        assert_eq!(quantile_interval(&values(10), 0.95), (8.0, 10.0));
        assert_eq!(quantile_interval(&[7.0], 0.95), (7.0, 7.0));
        assert_eq!(quantile_interval(&[], 0.95), (0.0, 0.0));
    }

    #[test]
    fn a_quantile_of_measured_values_is_one_of_them() {
        let values: Vec<f64> = (1..=100).map(f64::from).rev().collect();
        assert_eq!((quantile(&values, 0.95), quantile(&values, 1.0)), (95.0, 100.0));
        assert_eq!((quantile(&[7.0], 0.0), quantile(&[], 0.5)), (7.0, 0.0));
    }
}
