//! The closed list of figures: what each compares, in which unit, and the target it is held against.

use serde::Serialize;

use crate::units;

/// What a figure is about. The list is closed: a report knows every panel it may show.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FigureKind {
    /// Cached, on this machine: client-seen time less user code, sandbox included.
    Added,
    /// Cached, on a cluster: client-seen time less user code.
    ClientSeen,
    /// Cached, on a cluster: the same over that of a pod that runs `true`.
    BarePod,
    /// Cached, on a cluster: the time inside the pod over that inside the local driver's sandbox.
    LocalDriver,
    /// Cached, through a task service: client-seen time less the driver's own.
    ServiceAdded,
    /// Cached, through a task service: client-seen time over that of a driver of the same kind without the service.
    ServiceRatio,
    /// Cached: the runner's life over that of the same interpreter exec'ed directly.
    DirectRatio,
    /// Cached: the runner's life less that of the same interpreter exec'ed directly.
    DirectDifference,
    /// First: wall time over that of plain uv on an empty cache.
    PlainUv,
    /// First: wall time of a task that asks for both caches over that of its slower half alone.
    SlowerHalf,
}

/// What a figure's value counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// Microseconds, never below 0.
    Duration,
    /// Microseconds more than something else, below 0 where it is less.
    Difference,
    /// Times something else.
    Ratio,
}

impl FigureKind {
    /// All kinds in the order in which a report shows them.
    pub const ALL: [FigureKind; 10] = [
        FigureKind::Added,
        FigureKind::ClientSeen,
        FigureKind::BarePod,
        FigureKind::LocalDriver,
        FigureKind::ServiceAdded,
        FigureKind::ServiceRatio,
        FigureKind::DirectRatio,
        FigureKind::DirectDifference,
        FigureKind::PlainUv,
        FigureKind::SlowerHalf,
    ];

    /// The name in a table.
    pub fn label(self) -> &'static str {
        match self {
            FigureKind::Added => "added to a cached run",
            FigureKind::ClientSeen => "cached run on a cluster",
            FigureKind::BarePod => "cached run / bare pod",
            FigureKind::LocalDriver => "inside the pod / local driver",
            FigureKind::ServiceAdded => "added by the task service",
            FigureKind::ServiceRatio => "through the service / direct driver",
            FigureKind::DirectRatio => "cached run / direct exec",
            FigureKind::DirectDifference => "cached run − direct exec",
            FigureKind::PlainUv => "first run / plain uv",
            FigureKind::SlowerHalf => "first run / slower half",
        }
    }

    /// What is compared with what, in a sentence without a full stop.
    pub fn explanation(self) -> &'static str {
        match self {
            FigureKind::Added => "Client-seen time of a cached run less its user code, the sandbox included",
            FigureKind::ClientSeen => {
                "Client-seen time of a cached run less its user code, from submit to its end seen; beside a Workflow, the same \
                 as a Job"
            }
            FigureKind::BarePod => {
                "The same, against a pod of the same image, mounts and restrictions that only runs true, made alike; its end is shown by its container's state, that of a task's Job mostly sooner by the log"
            }
            FigureKind::LocalDriver => {
                "A cached run inside its pod, from the runner's start to its exit, against the same inside the local \
                 driver's sandbox on the client's machine"
            }
            FigureKind::ServiceAdded => {
                "Client-seen time of a cached run less what the service's driver took of it: requests, keeping the task, its \
                 turn, telling the end; beside it the smallest request that the service answers"
            }
            FigureKind::ServiceRatio => {
                "Client-seen time of a cached run through the service, against the same through a driver of its kind directly, \
                 from submit to its end seen"
            }
            FigureKind::DirectRatio => {
                "The runner from start to exit, against the same prepared interpreter started directly"
            }
            FigureKind::DirectDifference => "The same two, one less the other",
            FigureKind::PlainUv => {
                "Client-seen time of a first run, against uv venv, uv pip install and the program by hand"
            }
            FigureKind::SlowerHalf => {
                "Client-seen time of a first run that fills both caches, against the slower of the two alone"
            }
        }
    }

    /// What the value counts.
    pub fn unit(self) -> Unit {
        match self {
            FigureKind::Added | FigureKind::ClientSeen | FigureKind::ServiceAdded => Unit::Duration,
            FigureKind::DirectDifference => Unit::Difference,
            FigureKind::BarePod
            | FigureKind::LocalDriver
            | FigureKind::ServiceRatio
            | FigureKind::DirectRatio
            | FigureKind::PlainUv
            | FigureKind::SlowerHalf => Unit::Ratio,
        }
    }

    /// The value that must not be exceeded, in microseconds or as a quotient; see [`FigureKind::unit`].
    pub fn target(self) -> f64 {
        match self {
            FigureKind::Added => 10_000.0,
            FigureKind::ClientSeen => 1_500_000.0,
            FigureKind::ServiceAdded => 25_000.0,
            FigureKind::ServiceRatio => 1.25,
            FigureKind::DirectRatio => 1.05,
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
    /// The value at which we would add nothing.
    pub fn nothing(self) -> f64 {
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

    /// A range of values as text.
    pub fn write_range(self, low: f64, high: f64) -> String {
        match self {
            Unit::Duration => units::duration_range(low, high),
            Unit::Difference => format!("{} to {}", units::difference(low), units::difference(high)),
            Unit::Ratio => format!("{}–{}", units::ratio(low).trim_end_matches('×'), units::ratio(high)),
        }
    }
}
