//! The timeline of one run: a closed list of phases, each a span on one clock.

use serde::{Deserialize, Serialize};

/// What the caches held for a run. Never a bool: "not cached" means two different things.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Temperature {
    /// The caches are bypassed: everything is fetched and built for this run alone, and thrown away.
    Uncached,
    /// The caches are in use and empty: this run fills them.
    First,
    /// Every cache the task asks for answers with a hit.
    Cached,
}

impl Temperature {
    /// All temperatures, coldest first.
    pub const ALL: [Temperature; 3] = [Temperature::Uncached, Temperature::First, Temperature::Cached];

    /// The name used in reports and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Temperature::Uncached => "uncached",
            Temperature::First => "first",
            Temperature::Cached => "cached",
        }
    }
}

/// The part of a run that a span belongs to. Lanes may overlap, spans of one lane do not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lane {
    /// The driver: what a client of the platform waits for outside the runner.
    Driver,
    /// The runner, one thing after the other.
    Runner,
    /// Preparing the Python environment, in parallel with `System`.
    Python,
    /// Preparing the system packages, in parallel with `Python`.
    System,
    /// Publishing what was prepared; may go on while user code runs already.
    Publish,
}

/// One named part of a run. The list is closed: a report knows every row it may show.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// The task service, as its client sees it: requests, keeping the task, telling the end. All that neither its queue
    /// nor its driver took.
    Service,
    /// Waiting in the task service for a turn, by the service's clock.
    Queue,
    /// Bringing the tools that every run needs, such as uv and the sandbox, to a machine that has none.
    BringTools,
    /// Checking the task and handing it over to where it runs.
    Submit,
    /// Claiming a standby pod, or finding that none is free.
    Claim,
    /// Waiting for a place to run (a node, a queue slot).
    Schedule,
    /// Setting the sandbox (or container) up and tearing it down: all time of a sandbox outside its runner.
    Sandbox,
    /// Hashing the request and asking both caches.
    Lookup,
    /// Taking the shared leases that keep eviction away.
    Lease,
    /// Waiting for another preparation of the same environment.
    LockWait,
    /// Making the empty virtual environment (`uv venv`).
    PythonVenv,
    /// Resolving, downloading, unpacking and linking packages (`uv pip install`).
    PythonInstall,
    /// Building packages that have no wheel, in a sandbox of their own.
    PythonBuild,
    /// Comparing every installed file with its RECORD entry.
    PythonVerify,
    /// Compiling path-independent bytecode and linking what is known already.
    PythonBytecode,
    /// Syncing and renaming the environment into its place.
    PythonPublish,
    /// Starting Nix for the first time on a volume.
    SystemBootstrap,
    /// Evaluating, downloading and building the store paths.
    SystemRealise,
    /// Registering the GC root and the index entry.
    SystemPublish,
    /// Writing the user's code where the interpreter finds it and starting the interpreter.
    Start,
    /// The user's program, from its start to its end.
    UserCode,
    /// Ending leftover processes and passing on the last output.
    Drain,
    /// Learning that the run is over (a watch event, an exit status).
    Observe,
}

impl Phase {
    /// Every phase in the order in which a report lists them.
    pub const ALL: [Phase; 23] = [
        Phase::Service,
        Phase::Queue,
        Phase::BringTools,
        Phase::Submit,
        Phase::Claim,
        Phase::Schedule,
        Phase::Sandbox,
        Phase::Lookup,
        Phase::Lease,
        Phase::LockWait,
        Phase::PythonVenv,
        Phase::PythonInstall,
        Phase::PythonBuild,
        Phase::PythonVerify,
        Phase::PythonBytecode,
        Phase::PythonPublish,
        Phase::SystemBootstrap,
        Phase::SystemRealise,
        Phase::SystemPublish,
        Phase::Start,
        Phase::UserCode,
        Phase::Drain,
        Phase::Observe,
    ];

    /// The label a person reads in a report.
    pub fn label(self) -> &'static str {
        match self {
            Phase::Service => "task service",
            Phase::Queue => "wait for turn",
            Phase::BringTools => "bring tools",
            Phase::Submit => "submit",
            Phase::Claim => "claim standby pod",
            Phase::Schedule => "schedule",
            Phase::Sandbox => "sandbox",
            Phase::Lookup => "cache lookup",
            Phase::Lease => "lease",
            Phase::LockWait => "lock wait",
            Phase::PythonVenv => "create venv",
            Phase::PythonInstall => "install packages",
            Phase::PythonBuild => "build packages",
            Phase::PythonVerify => "verify packages",
            Phase::PythonBytecode => "bytecode",
            Phase::PythonPublish => "publish environment",
            Phase::SystemBootstrap => "bootstrap nix",
            Phase::SystemRealise => "realise system packages",
            Phase::SystemPublish => "publish system packages",
            Phase::Start => "start interpreter",
            Phase::UserCode => "user code",
            Phase::Drain => "drain output",
            Phase::Observe => "observe end",
        }
    }
}

/// One phase's place on the timeline, in microseconds from the timeline's origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span {
    /// What happened.
    pub phase: Phase,
    /// Which lane it ran in.
    pub lane: Lane,
    /// Microseconds after the origin at which it began.
    pub start_us: u64,
    /// Microseconds it took.
    pub duration_us: u64,
}

impl Span {
    /// Microseconds after the origin at which it ended.
    pub fn end_us(&self) -> u64 {
        self.start_us.saturating_add(self.duration_us)
    }
}

/// All spans of one process or one run. The origin is that process's own start on its monotonic clock.
///
/// Timelines of two processes are never compared by their clocks: [`Timeline::nest`] places an inner one inside the
/// outer span that contains it, from durations alone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timeline {
    /// Microseconds from the origin to the end that the client waits for.
    pub total_us: u64,
    /// The spans, in the order in which they were recorded.
    pub spans: Vec<Span>,
}

impl Timeline {
    /// Adds one span.
    pub fn push(&mut self, phase: Phase, lane: Lane, start_us: u64, duration_us: u64) {
        self.spans.push(Span {
            phase,
            lane,
            start_us,
            duration_us,
        });
    }

    /// Places the timeline of a process that this one started and waited for.
    ///
    /// `start_us` and `outer_us` say when, on this timeline's clock, the process was started and how long it was
    /// waited for. What the inner process did not see of that (its sandbox, its exec, its exit) becomes a
    /// [`Phase::Sandbox`] span in front of it: a difference of two durations, never of two clocks.
    pub fn nest(&mut self, inner: &Timeline, start_us: u64, outer_us: u64) {
        let outside = outer_us.saturating_sub(inner.total_us);
        self.push(Phase::Sandbox, Lane::Driver, start_us, outside);
        let offset = start_us + outside;
        self.spans.extend(inner.spans.iter().map(|span| Span {
            start_us: span.start_us + offset,
            ..*span
        }));
    }

    /// What the client of a task service saw: the driver's own timeline within `wall_us` on the client's clock. What that
    /// timeline does not cover is the service's, except the `queue_us` that the task waited for its turn. Three durations,
    /// each by one clock. The time at which the end was reported is unknown, so all of it comes first.
    pub fn through_service(driver: &Timeline, wall_us: u64, queue_us: u64) -> Timeline {
        let outside_us = wall_us.saturating_sub(driver.total_us);
        let queue_us = queue_us.min(outside_us);
        let service_us = outside_us - queue_us;
        let mut seen = Timeline {
            total_us: wall_us,
            spans: Vec::new(),
        };
        seen.push(Phase::Service, Lane::Driver, 0, service_us);
        seen.push(Phase::Queue, Lane::Driver, service_us, queue_us);
        seen.spans.extend(driver.spans.iter().map(|span| Span {
            start_us: span.start_us + outside_us,
            ..*span
        }));
        seen
    }

    /// The summed duration of all spans of one phase, in microseconds.
    pub fn phase_us(&self, phase: Phase) -> u64 {
        self.spans
            .iter()
            .filter(|span| span.phase == phase)
            .map(|span| span.duration_us)
            .sum()
    }

    /// What each instant of `0..total_us` was spent on, in microseconds; `None` stands for unattributed time. The sum is
    /// exactly `total_us`.
    ///
    /// Where spans overlap, the instant counts for the one that the client waits for, by lane:
    /// - of the two preparing lanes, the one whose work ends last is waited for. The other one counts only while nothing
    ///   but publishing is under way: its long last phase may well outlast a short first one of the lane that matters.
    /// - [`Lane::Publish`] comes last of all, and a publishing span that goes on after `total_us` not at all: the client
    ///   has its answer without it.
    /// - Within one rank the span that ends last counts.
    pub fn critical_path(&self) -> Vec<(Option<Phase>, u64)> {
        let waited_for = self.waited_for();
        let mut edges: Vec<u64> = waited_for
            .iter()
            .flat_map(|(_, span)| [span.start_us, span.end_us()])
            .collect();
        edges.extend([0, self.total_us]);
        edges.retain(|edge| *edge <= self.total_us);
        edges.sort_unstable();
        edges.dedup();
        let mut path: Vec<(Option<Phase>, u64)> = Vec::new();
        for edge in edges.windows(2) {
            let [from, to] = [edge[0], edge[1]];
            let active = waited_for
                .iter()
                .filter(|(_, span)| span.start_us <= from && span.end_us() >= to);
            let phase = active
                .max_by_key(|(rank, span)| (*rank, span.end_us().min(self.total_us), span.start_us))
                .map(|(_, span)| span.phase);
            match path.iter_mut().find(|(known, _)| *known == phase) {
                Some((_, spent_us)) => *spent_us += to - from,
                None => path.push((phase, to - from)),
            }
        }
        path
    }

    /// Every span that the client may have waited for, with its rank.
    fn waited_for(&self) -> Vec<(Waited, &Span)> {
        let ready_first = self.ready_first();
        let rank = |span: &Span| match span.lane {
            Lane::Publish => Waited::ForNothingElse,
            lane if Some(lane) == ready_first => Waited::ReadyFirst,
            _ => Waited::Ahead,
        };
        let outlives = |span: &Span| span.lane == Lane::Publish && span.end_us() > self.total_us;
        let spans = self.spans.iter().filter(|span| !outlives(span));
        spans.map(|span| (rank(span), span)).collect()
    }

    /// The preparing lane that was ready before the other; `None` if only one cache was prepared, or none.
    fn ready_first(&self) -> Option<Lane> {
        let ready_us = |lane| {
            let own = self.spans.iter().filter(|span| span.lane == lane);
            own.map(Span::end_us).max()
        };
        let both = [Lane::Python, Lane::System].map(|lane| Some((ready_us(lane)?, lane)));
        let [Some(python), Some(system)] = both else {
            return None;
        };
        Some(python.min(system).1)
    }
}

/// How much a span is waited for, least first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Waited {
    /// Publishing: only if nothing else is running.
    ForNothingElse,
    /// The preparation that is ready before the other one.
    ReadyFirst,
    /// Everything else.
    Ahead,
}

#[cfg(test)]
mod tests;
