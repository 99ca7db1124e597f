//! The closed list of figures: what each compares, its unit and its target.

use hybrid_cache_model::Temperature;
use serde::Serialize;

use crate::units;

/// What a figure measures. The list is closed, so that a report knows every panel it can show.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FigureKind {
    /// Cached, on this machine: end-to-end time minus user code. The sandbox is part of it.
    #[serde(rename = "added")]
    Overhead,
    /// Cached, on a cluster: end-to-end time minus user code.
    #[serde(rename = "client_seen")]
    EndToEnd,
    /// Cached, on a cluster: the same divided by that of a pod that runs `true`.
    BarePod,
    /// Cached, on a cluster: the runner's time in the pod divided by that in the local driver's sandbox.
    LocalDriver,
    /// Cached, through a task service: end-to-end time minus the driver's own.
    #[serde(rename = "service_added")]
    ServiceOverhead,
    /// Cached, through a task service: end-to-end time divided by that of the same kind of driver without the service.
    ServiceRatio,
    /// Cached: the runner's time divided by that of the same interpreter started directly.
    DirectRatio,
    /// Cached: the runner's time minus that of the same interpreter started directly.
    DirectDifference,
    /// First: end-to-end time divided by that of plain uv on an empty cache.
    PlainUv,
    /// Cached: end-to-end time divided by that of another build of this program.
    OtherCached,
    /// First: end-to-end time divided by that of another build of this program.
    OtherFirst,
    /// First: end-to-end time of a task that needs both caches divided by that of its slower half alone.
    SlowerHalf,
}

/// The unit of a figure's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// Microseconds, never below 0.
    Duration,
    /// Difference in microseconds; negative if it is less.
    Difference,
    /// A ratio.
    Ratio,
}

impl FigureKind {
    /// All kinds in the order in which a report shows them.
    pub const ALL: [FigureKind; 12] = [
        FigureKind::OtherCached,
        FigureKind::OtherFirst,
        FigureKind::Overhead,
        FigureKind::EndToEnd,
        FigureKind::BarePod,
        FigureKind::LocalDriver,
        FigureKind::ServiceOverhead,
        FigureKind::ServiceRatio,
        FigureKind::DirectRatio,
        FigureKind::DirectDifference,
        FigureKind::PlainUv,
        FigureKind::SlowerHalf,
    ];

    /// The name in tables and messages.
    pub fn label(self) -> &'static str {
        match self {
            FigureKind::Overhead => "overhead of a cached run",
            FigureKind::EndToEnd => "cached run on a cluster",
            FigureKind::BarePod => "cached run / bare pod",
            FigureKind::LocalDriver => "runner in the pod / local driver",
            FigureKind::ServiceOverhead => "overhead of the task service",
            FigureKind::ServiceRatio => "through the service / direct driver",
            FigureKind::DirectRatio => "cached run / direct exec",
            FigureKind::DirectDifference => "cached run − direct exec",
            FigureKind::PlainUv => "first run / plain uv",
            FigureKind::SlowerHalf => "first run / slower half",
            FigureKind::OtherCached => "cached run / other build",
            FigureKind::OtherFirst => "first run / other build",
        }
    }

    /// What is compared with what, in a sentence without a full stop.
    pub fn explanation(self) -> &'static str {
        match self {
            FigureKind::Overhead => "End-to-end time of a cached run minus its user code; includes the sandbox",
            FigureKind::EndToEnd => {
                "End-to-end time of a cached run minus its user code; beside a Workflow stands the same task as a Job"
            }
            FigureKind::BarePod => {
                "The same, divided by that of a pod with the same image, mounts and restrictions that does nothing. Both ends are \
                 seen in the same way: in the log, or for a Workflow in the container's state"
            }
            FigureKind::LocalDriver => {
                "The runner's time of a cached run in its pod, divided by that in the local driver's sandbox on the client's \
                 machine"
            }
            FigureKind::ServiceOverhead => {
                "End-to-end time of a cached run minus the time of the service's driver: requests, storing the task, its turn in \
                 the queue, reporting the end. Beside it stands the smallest request that the service answers"
            }
            FigureKind::ServiceRatio => {
                "End-to-end time of a cached run through the service, divided by that through the same kind of driver directly"
            }
            FigureKind::DirectRatio => {
                "The runner's time, divided by that of the same prepared interpreter started directly"
            }
            FigureKind::DirectDifference => "The same two, one minus the other",
            FigureKind::PlainUv => {
                "End-to-end time of a first run, divided by that of uv venv, uv pip install and the program by hand"
            }
            FigureKind::OtherCached => {
                "End-to-end time of a cached run, divided by that of the other build, each with caches of its own"
            }
            FigureKind::OtherFirst => "The same of a first run",
            FigureKind::SlowerHalf => {
                "End-to-end time of a first run that fills both caches, divided by that of the slower of the two alone"
            }
        }
    }

    /// The unit of the value.
    pub fn unit(self) -> Unit {
        match self {
            FigureKind::Overhead | FigureKind::EndToEnd | FigureKind::ServiceOverhead => Unit::Duration,
            FigureKind::DirectDifference => Unit::Difference,
            FigureKind::BarePod
            | FigureKind::LocalDriver
            | FigureKind::ServiceRatio
            | FigureKind::DirectRatio
            | FigureKind::PlainUv
            | FigureKind::SlowerHalf
            | FigureKind::OtherCached
            | FigureKind::OtherFirst => Unit::Ratio,
        }
    }

    /// True if two builds are compared: such a run is judged by nothing else.
    pub fn is_of_two_builds(self) -> bool {
        matches!(self, FigureKind::OtherCached | FigureKind::OtherFirst)
    }

    /// The temperature of the runs that it is about.
    pub fn temperature(self) -> Temperature {
        match self {
            FigureKind::PlainUv | FigureKind::SlowerHalf | FigureKind::OtherFirst => Temperature::First,
            _ => Temperature::Cached,
        }
    }

    /// True if the value compares two samples that stood side by side.
    pub fn is_paired(self) -> bool {
        self.unit() != Unit::Duration
    }

    /// The largest value that meets the target, in microseconds or as a ratio; see [`FigureKind::unit`].
    pub fn target(self) -> f64 {
        match self {
            FigureKind::Overhead => 10_000.0,
            FigureKind::EndToEnd => 1_500_000.0,
            FigureKind::ServiceOverhead => 25_000.0,
            FigureKind::ServiceRatio => 1.25,
            FigureKind::DirectRatio | FigureKind::OtherCached | FigureKind::OtherFirst => 1.05,
            FigureKind::DirectDifference => 5_000.0,
            FigureKind::BarePod | FigureKind::LocalDriver | FigureKind::PlainUv => 1.10,
            FigureKind::SlowerHalf => 1.15,
        }
    }

    /// The same as text: `≤ 10 ms`.
    pub fn written_target(self) -> String {
        let target = self.target();
        let written = match self.unit() {
            Unit::Ratio => format!("{target:.2}×"),
            Unit::Duration | Unit::Difference if target >= 1e6 => format!("{} s", target / 1e6),
            Unit::Duration | Unit::Difference => format!("{} ms", target / 1e3),
        };
        format!("≤ {written}")
    }
}

impl Unit {
    /// The value of no overhead.
    pub fn no_overhead(self) -> f64 {
        match self {
            Unit::Duration | Unit::Difference => 0.0,
            Unit::Ratio => 1.0,
        }
    }

    /// A value as text.
    pub fn write(self, value: f64) -> String {
        match self {
            Unit::Duration => units::duration(value),
            Unit::Difference => units::difference(value),
            Unit::Ratio => units::ratio(value),
        }
    }

    /// The smallest effect of a run as text: `±4.2 %`. For [`Unit::Difference`] it is a difference, otherwise a factor.
    pub fn write_effect(self, effect: f64) -> String {
        match self {
            Unit::Difference => format!("±{}", units::duration(effect)),
            Unit::Duration | Unit::Ratio => units::effect(effect),
        }
    }

    /// A range of values as text.
    pub fn write_range(self, low: f64, high: f64) -> String {
        match self {
            Unit::Duration => units::duration_range(low, high),
            Unit::Difference => format!("{} to {}", units::difference(low), units::difference(high)),
            Unit::Ratio => format!("{}–{}", units::ratio(low).trim_end_matches('×'), units::ratio(high)),
        }
    }
}
