//! Simulates placement in a fleet: nodes with one volume each, compared with one volume that all nodes share.
//!
//! Each node is a cache of whole environments that evicts the least recently used first, as one volume does. A trace of one volume
//! is replayed at the fleet's rate: each of its requests brings as many tasks as the rate needs, drawn from the last [`RECENT`]
//! requests, as if other users of the same environments were slightly behind. The first tasks fill the nodes and do not count.
//!
//! **Bounds.** The trace is streamed once for each placement. A hit costs one lookup and one update, a miss costs the groups of
//! the environment's parts, independent of the number of nodes. The memory is what the nodes hold, so it is bounded by budgets,
//! not by requests. Nodes that get their tasks at random or in turn are all alike: at most [`ALIKE`] of them are simulated, and
//! sums are extrapolated to all. At most [`MOST_TASKS`] tasks are simulated for each placement.

mod node;

use std::collections::VecDeque;

use serde::Serialize;

use crate::Weight;
use crate::groups::Groups;
use crate::number::{Random, float, index, mix, narrow, share, whole};
use crate::placement;
use crate::trace::{Event, Source, TraceError, Use, Volume};
use node::Node;

/// Maximum number of simulated nodes, if all nodes are alike.
pub const ALIKE: usize = 256;
/// Maximum number of simulated tasks for each placement.
pub const MOST_TASKS: u64 = 5_000_000;
/// Number of last requests from which the tasks that accompany a request are drawn.
pub const RECENT: usize = 1000;

/// How a node is chosen for a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Placement {
    /// A random node.
    Random,
    /// The nodes in turn.
    RoundRobin,
    /// One of the two nodes of the task's environment, as [`placement`] chooses it: the rule of the driver's volume sets.
    Affinity,
    /// A random node, and all nodes share one volume of the same size.
    Shared,
}

impl Placement {
    /// All placements.
    pub const ALL: [Placement; 4] = [
        Placement::Random,
        Placement::RoundRobin,
        Placement::Affinity,
        Placement::Shared,
    ];

    /// Name for a person.
    pub fn name(self) -> &'static str {
        match self {
            Placement::Random => "random",
            Placement::RoundRobin => "in turn",
            Placement::Affinity => "where the environment is",
            Placement::Shared => "one shared volume",
        }
    }

    fn volumes(self, nodes: usize) -> usize {
        match self {
            Placement::Random | Placement::RoundRobin => nodes.min(ALIKE),
            Placement::Affinity => nodes,
            Placement::Shared => 1,
        }
    }
}

/// The fleet to simulate.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Fleet {
    /// Number of nodes.
    pub nodes: usize,
    /// Bytes and inodes that environments may use on each node's volume, or on the shared one.
    pub budget: Weight,
    /// Tasks of the volume for each request of the trace, including the request itself.
    pub tasks_per_request: u64,
    /// Tasks that only fill the nodes.
    pub warm_up_tasks: u64,
}

impl Fleet {
    /// A fleet for a trace of this many requests and hours, with this many tasks an hour; `None` means as many as requests. The
    /// first half of the tasks fills the nodes.
    pub fn at_rate(nodes: usize, budget: Weight, (requests, hours): (u64, f64), tasks_per_hour: Option<f64>) -> Fleet {
        let tasks = tasks_per_hour.unwrap_or(0.0) * hours;
        let tasks_per_request = whole(tasks / float(requests.max(1))).max(1);
        Fleet {
            nodes,
            budget,
            tasks_per_request,
            warm_up_tasks: requests.saturating_mul(tasks_per_request).min(MOST_TASKS) / 2,
        }
    }
}

/// The result of a placement.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Placed {
    /// Which placement.
    pub placement: Placement,
    /// Simulated tasks that count.
    pub tasks: u64,
    /// Share of tasks whose environment was on their node.
    pub hit_rate: f64,
    /// Bytes that were fetched and unpacked per thousand tasks.
    pub fetched_per_1000_bytes: f64,
    /// Environments that were evicted per thousand tasks.
    pub evicted_per_1000: f64,
    /// Bytes that all volumes held together at the end.
    pub held_bytes: u64,
    /// The highest load of a node when it got a task, relative to the mean load, or to one task if the mean is less; absent if
    /// nodes are chosen without regard to load.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub most_load: Option<f64>,
}

/// The results for one volume.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FleetAdvice {
    /// Which volume.
    pub volume: Volume,
    /// The fleet.
    pub fleet: Fleet,
    /// Simulated hours of the trace; less than the trace has if there are too many tasks.
    pub hours: f64,
    /// The results, one for each placement.
    pub placed: Vec<Placed>,
    /// The smallest claim of each node, in GiB, that reaches the target of hits if tasks go where their environment is; `None` if no
    /// claim up to the recommended one does, or if that was not computed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub claim_gib: Option<u64>,
}

/// Simulates all placements for one volume; `None` if no request uses the volume.
///
/// # Errors
/// The trace cannot be read.
pub fn compare(source: &dyn Source, volume: Volume, fleet: &Fleet) -> Result<Option<FleetAdvice>, TraceError> {
    let groups = Groups::from_catalog(source.catalog().volume(volume));
    let mut placed = Vec::new();
    let mut hours = 0.0;
    for placement in Placement::ALL {
        let play = played(source, volume, Play::new(&groups, fleet, placement))?;
        if play.all == 0 {
            return Ok(None);
        }
        hours = play.hours();
        placed.push(play.finish());
    }
    Ok(Some(FleetAdvice {
        volume,
        fleet: *fleet,
        hours,
        placed,
        claim_gib: None,
    }))
}

/// The smallest of the claims 1 to `most` GiB of each node with which tasks that go where their environment is reach a share of hits;
/// `None` if none does. `budget` is what environments may use on a claim; `None` if the largest does not fit. The trace is replayed
/// once for each halving of `most`.
///
/// # Errors
/// The trace cannot be read.
pub fn smallest_claim(
    source: &dyn Source,
    (volume, fleet): (Volume, &Fleet),
    (hit, most): (f64, u64),
    budget: impl Fn(u64) -> Option<Weight>,
) -> Result<Option<u64>, TraceError> {
    let groups = Groups::from_catalog(source.catalog().volume(volume));
    let is_enough = |gib: u64| -> Result<bool, TraceError> {
        let Some(budget) = budget(gib) else { return Ok(false) };
        let fleet = Fleet { budget, ..*fleet };
        let play = played(source, volume, Play::new(&groups, &fleet, Placement::Affinity))?;
        Ok(play.all > 0 && play.finish().hit_rate >= hit)
    };
    if !is_enough(most)? {
        return Ok(None);
    }
    let (mut too_small, mut enough) = (0, most);
    while enough - too_small > 1 {
        let middle = too_small + (enough - too_small) / 2;
        match is_enough(middle)? {
            true => enough = middle,
            false => too_small = middle,
        }
    }
    Ok(Some(enough))
}

fn played<'a>(source: &dyn Source, volume: Volume, mut play: Play<'a>) -> Result<Play<'a>, TraceError> {
    source.replay(&mut |event| {
        if let Event::Request(request) = event
            && let Some(on) = request.on(volume)
        {
            play.request(request.at_us, on);
        }
    })?;
    Ok(play)
}

/// Requests of a trace for one volume, and its hours.
///
/// # Errors
/// The trace cannot be read.
pub fn rate(source: &dyn Source, volume: Volume) -> Result<(u64, f64), TraceError> {
    let (mut requests, mut span) = (0, None);
    source.replay(&mut |event| {
        if let Event::Request(request) = event
            && request.on(volume).is_some()
        {
            requests += 1;
            let first = span.map_or(request.at_us, |(first, _)| first);
            span = Some((first, request.at_us));
        }
    })?;
    let (first, last) = span.unwrap_or_default();
    Ok((requests, float(last - first) / 3600e6))
}

/// The nodes of an environment, best first.
type Choices = [Option<u32>; placement::CHOICES];

/// The state of a running simulation.
struct Play<'a> {
    groups: &'a Groups,
    fleet: &'a Fleet,
    placement: Placement,
    nodes: Vec<Node>,
    /// For each environment its two nodes, once it was used and if the placement needs this.
    choices: Vec<Option<Choices>>,
    random: Random,
    /// Load of all nodes together.
    all_load: Node,
    most_load: f64,
    /// Time of the first request, and of the last simulated one.
    first_us: Option<u64>,
    last_us: u64,
    before_us: u64,
    /// Environments of the last requests.
    recent: VecDeque<u32>,
    /// All tasks, and the simulated ones that count.
    all: u64,
    played: u64,
    hits: u64,
    fetched_bytes: u64,
    evictions: u64,
    evicted: Vec<u32>,
}

impl<'a> Play<'a> {
    fn new(groups: &'a Groups, fleet: &'a Fleet, placement: Placement) -> Play<'a> {
        let choices = if placement == Placement::Affinity {
            vec![None; groups.environments.len()]
        } else {
            Vec::new()
        };
        Play {
            groups,
            fleet,
            placement,
            nodes: vec![Node::default(); placement.volumes(fleet.nodes.max(1))],
            choices,
            random: Random::seeded(0x666c_6565),
            all_load: Node::default(),
            most_load: 0.0,
            first_us: None,
            last_us: 0,
            before_us: 0,
            recent: VecDeque::new(),
            all: 0,
            played: 0,
            hits: 0,
            fetched_bytes: 0,
            evictions: 0,
            evicted: Vec::new(),
        }
    }

    /// A request and the tasks that come with it, spread over the time since the previous request.
    fn request(&mut self, at_us: u64, on: &Use) {
        let tasks = self.fleet.tasks_per_request.max(1);
        if self.all + tasks > MOST_TASKS && self.all > 0 {
            return;
        }
        let first_us = *self.first_us.get_or_insert(at_us);
        let begin_us = self.before_us.max(first_us);
        for task in 0..tasks {
            let share = float(task + 1) / float(tasks);
            let now_us = float(begin_us - first_us) + float(at_us.saturating_sub(begin_us)) * share;
            let drawn = self.random.below(self.recent.len());
            match self.recent.get(drawn) {
                Some(environment) if task + 1 < tasks => {
                    let environment = *environment;
                    self.task(now_us / 1e6, environment, false);
                }
                _ => self.task(now_us / 1e6, on.environment, on.is_due),
            }
        }
        self.recent.push_back(on.environment);
        if self.recent.len() > RECENT {
            self.recent.pop_front();
        }
        self.before_us = at_us;
        self.last_us = at_us;
    }

    fn task(&mut self, now_s: f64, environment: u32, is_due: bool) {
        self.all += 1;
        let Some(at) = self.place(now_s, environment) else {
            return;
        };
        let (groups, budget) = (self.groups, self.fleet.budget);
        self.evicted.clear();
        let met = self.nodes[at].request(groups, budget, environment, self.all, &mut self.evicted);
        if self.all > self.fleet.warm_up_tasks {
            self.played += 1;
            self.hits += u64::from(met.was_there && !is_due);
            self.fetched_bytes += met.fetched_bytes;
            self.evictions += self.evicted.len() as u64;
        }
    }

    /// The volume that a task uses; `None` for a node that is not simulated.
    fn place(&mut self, now_s: f64, environment: u32) -> Option<usize> {
        let nodes = self.fleet.nodes.max(1);
        let any = match self.placement {
            Placement::Shared => 0,
            Placement::Random => self.random.below(nodes),
            Placement::RoundRobin => index((self.all - 1) % nodes as u64),
            Placement::Affinity => self.near(now_s, environment),
        };
        (any < self.nodes.len()).then_some(any)
    }

    fn near(&mut self, now_s: f64, environment: u32) -> usize {
        self.all_load.add_load(now_s);
        let mean = self.all_load.load(now_s) / float(self.nodes.len() as u64);
        let count = narrow(self.nodes.len());
        let nodes = (0..count).map(|node| (node, mix(u64::from(node) + 1)));
        let choices = self.choices[environment as usize]
            .get_or_insert_with(|| placement::choices(u64::from(environment) + 1, nodes));
        let all = &self.nodes;
        let load = |node: u32| all[node as usize].load(now_s);
        let has_environment = |node: u32| all[node as usize].has(environment);
        let chosen = placement::choose(*choices, mean, load, has_environment).unwrap_or(0) as usize;
        self.nodes[chosen].add_load(now_s);
        if self.all > self.fleet.warm_up_tasks {
            // If nodes have less than one task each, one task is many times the mean, which says nothing.
            self.most_load = self.most_load.max(self.nodes[chosen].load(now_s) / mean.max(1.0));
        }
        chosen
    }

    fn hours(&self) -> f64 {
        float(self.last_us.saturating_sub(self.first_us.unwrap_or(0))) / 3600e6
    }

    fn finish(self) -> Placed {
        let held: u64 = self.nodes.iter().map(|node| node.held.bytes).sum();
        let of_all = match self.placement {
            Placement::Random | Placement::RoundRobin => {
                float(self.fleet.nodes.max(1) as u64) / float(self.nodes.len() as u64)
            }
            Placement::Affinity | Placement::Shared => 1.0,
        };
        let per_1000 = |count: u64| 1000.0 * share(count, self.played);
        Placed {
            placement: self.placement,
            tasks: self.played,
            hit_rate: share(self.hits, self.played),
            fetched_per_1000_bytes: per_1000(self.fetched_bytes),
            evicted_per_1000: per_1000(self.evictions),
            held_bytes: whole(float(held) * of_all),
            most_load: (self.placement == Placement::Affinity && self.most_load > 0.0).then_some(self.most_load),
        }
    }
}

#[cfg(test)]
mod tests;
