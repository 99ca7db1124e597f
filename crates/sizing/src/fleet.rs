//! What placement is worth in a fleet: nodes with a volume each, against one volume that all nodes share.
//!
//! Each node is a cache of whole environments, least recently used evicted first, as one volume is. A trace of one
//! volume is played at the fleet's rate: with each of its requests come as many tasks as the rate needs, drawn from the
//! last [`RECENT`] requests, as if other users of the same environments were a little behind. The first tasks fill
//! the nodes and do not count.
//!
//! **Bounds.** The trace is streamed once for each placement. A hit costs a look and a note, a miss the groups of the
//! environment's parts, whatever the number of nodes. Memory is what the nodes hold, so it is bounded by budgets, not by
//! requests. Nodes that tasks are spread over by chance or in turn are all alike: at most [`ALIKE`] of them are played,
//! and sums are taken for all. No more than [`MOST_TASKS`] tasks are played for each placement.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};

use serde::Serialize;

use crate::Weight;
use crate::groups::Groups;
use crate::number::{Random, float, index, mix, narrow, share, whole};
use crate::trace::{Event, Source, TraceError, Use, Volume};

/// Nodes that are played of those that are all alike.
pub const ALIKE: usize = 256;
/// Tasks that are played for each placement.
pub const MOST_TASKS: u64 = 5_000_000;
/// Requests that the tasks beside a request are drawn from.
pub const RECENT: usize = 1000;
/// A node takes no more than so much of the mean load for the sake of an environment that it has.
const MOST_LOAD: f64 = 1.25;
/// Seconds for which a task counts as load.
const LOAD_S: f64 = 60.0;

/// Where a task goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Placement {
    /// To any node.
    Random,
    /// To the nodes in turn.
    RoundRobin,
    /// To the less loaded of two nodes that have its environment; to the less loaded of any two if none has it or those that
    /// have it are loaded.
    Affinity,
    /// To any node, and all nodes share one volume of the same size.
    Shared,
}

impl Placement {
    /// All of them.
    pub const ALL: [Placement; 4] = [
        Placement::Random,
        Placement::RoundRobin,
        Placement::Affinity,
        Placement::Shared,
    ];

    /// What people call it.
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

/// A fleet.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Fleet {
    /// Nodes.
    pub nodes: usize,
    /// What environments may take of each node's volume, or of the shared one.
    pub budget: Weight,
    /// Tasks of the volume that come with each request of the trace, itself included.
    pub tasks_per_request: u64,
    /// Tasks that only fill the nodes.
    pub warm_up_tasks: u64,
}

impl Fleet {
    /// A fleet for a trace of so many requests in so many hours, with so many tasks an hour; `None`: as many as requests. The
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

/// What a placement gives.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Placed {
    /// Which one.
    pub placement: Placement,
    /// Tasks that it was found out with.
    pub tasks: u64,
    /// Share of tasks whose environment was where they went.
    pub hit_rate: f64,
    /// Bytes that were fetched and unpacked, for each thousand tasks.
    pub fetched_per_1000_bytes: f64,
    /// Environments that were evicted, for each thousand tasks.
    pub evicted_per_1000: f64,
    /// What all volumes held together at the end, in bytes.
    pub held_bytes: u64,
    /// The highest load of a node over the mean one, while a task was placed; absent where nodes are chosen without a look
    /// at their load.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub most_load: Option<f64>,
}

/// A volume's fleet.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FleetAdvice {
    /// Which volume.
    pub volume: Volume,
    /// The fleet.
    pub fleet: Fleet,
    /// Hours of the trace that were played; less than it has if there are too many tasks.
    pub hours: f64,
    /// One for each placement.
    pub placed: Vec<Placed>,
}

/// Plays all placements for one volume; `None` if nothing is asked of it.
///
/// # Errors
/// The trace cannot be read.
pub fn compare(source: &dyn Source, volume: Volume, fleet: &Fleet) -> Result<Option<FleetAdvice>, TraceError> {
    let groups = Groups::of(source.catalog().of(volume));
    let mut placed = Vec::new();
    let mut hours = 0.0;
    for placement in Placement::ALL {
        let mut play = Play::new(&groups, fleet, placement);
        source.replay(&mut |event| {
            if let Event::Request(request) = event
                && let Some(on) = request.on(volume)
            {
                play.request(request.at_us, on);
            }
        })?;
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
    }))
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

/// Tables with small numbers as keys.
#[derive(Clone, Debug, Default)]
struct Mixed(u64);

impl Hasher for Mixed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.0 = mix(self.0 ^ u64::from(*byte)));
    }

    fn write_u32(&mut self, value: u32) {
        self.0 = mix(u64::from(value));
    }
}

type Table<T> = HashMap<u32, T, BuildHasherDefault<Mixed>>;

/// One node's volume.
#[derive(Clone, Debug, Default)]
struct Node {
    /// Environments, and the number of their last use.
    resident: Table<u64>,
    /// How many of them have each group of parts.
    users: Table<u32>,
    held: Weight,
    /// Uses, the oldest first. Those that were followed by another one of the same environment are passed over.
    uses: VecDeque<(u32, u64)>,
    /// Load at `load_at_s`; it halves and halves again with time.
    load: f64,
    load_at_s: f64,
}

/// What a task met.
struct Met {
    was_there: bool,
    fetched_bytes: u64,
}

impl Node {
    /// Uses an environment; what had to go is appended to `evicted`.
    fn request(
        &mut self,
        groups: &Groups,
        budget: Weight,
        environment: u32,
        number: u64,
        evicted: &mut Vec<u32>,
    ) -> Met {
        let was_there = self.resident.insert(environment, number).is_some();
        self.uses.push_back((environment, number));
        let mut fetched_bytes = 0;
        if !was_there {
            for group in groups.of_environment(environment) {
                let users = self.users.entry(*group).or_default();
                *users += 1;
                if *users == 1 {
                    let weight = groups.weights[*group as usize];
                    fetched_bytes += weight.bytes;
                    self.held += weight;
                }
            }
            while !self.held.fits(budget)
                && let Some(oldest) = self.oldest()
            {
                self.remove(groups, oldest);
                evicted.push(oldest);
            }
        }
        if self.uses.len() > 4 * self.resident.len() + 64 {
            let resident = &self.resident;
            self.uses
                .retain(|(environment, number)| resident.get(environment) == Some(number));
        }
        Met {
            was_there,
            fetched_bytes,
        }
    }

    fn oldest(&mut self) -> Option<u32> {
        while let Some((environment, number)) = self.uses.pop_front() {
            if self.resident.get(&environment) == Some(&number) {
                return Some(environment);
            }
        }
        None
    }

    fn remove(&mut self, groups: &Groups, environment: u32) {
        self.resident.remove(&environment);
        for group in groups.of_environment(environment) {
            if let Some(users) = self.users.get_mut(group) {
                *users -= 1;
                if *users == 0 {
                    self.users.remove(group);
                    self.held = self.held.saturating_sub(groups.weights[*group as usize]);
                }
            }
        }
    }

    fn load(&self, now_s: f64) -> f64 {
        self.load * (-(now_s - self.load_at_s).max(0.0) / LOAD_S).exp()
    }

    fn add_load(&mut self, now_s: f64) {
        self.load = self.load(now_s) + 1.0;
        self.load_at_s = now_s;
    }
}

/// One placement in the making.
struct Play<'a> {
    groups: &'a Groups,
    fleet: &'a Fleet,
    placement: Placement,
    nodes: Vec<Node>,
    /// For each environment the nodes that have it, where that counts.
    holders: Vec<Vec<u32>>,
    random: Random,
    /// Load of all nodes.
    all_load: Node,
    most_load: f64,
    /// When the first request came, and the last one that was played.
    first_us: Option<u64>,
    last_us: u64,
    before_us: u64,
    /// Environments of the last requests.
    recent: VecDeque<u32>,
    /// Tasks, and those that were played and count.
    all: u64,
    played: u64,
    hits: u64,
    fetched_bytes: u64,
    evictions: u64,
    evicted: Vec<u32>,
}

impl<'a> Play<'a> {
    fn new(groups: &'a Groups, fleet: &'a Fleet, placement: Placement) -> Play<'a> {
        let holders = if placement == Placement::Affinity {
            vec![Vec::new(); groups.environments.len()]
        } else {
            Vec::new()
        };
        Play {
            groups,
            fleet,
            placement,
            nodes: vec![Node::default(); placement.volumes(fleet.nodes.max(1))],
            holders,
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

    /// A request and the tasks that come with it, spread over the time since the request before.
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
        if self.placement != Placement::Affinity {
            return;
        }
        let at = narrow(at);
        if !met.was_there {
            self.holders[environment as usize].push(at);
        }
        for evicted in &self.evicted {
            let holders = &mut self.holders[*evicted as usize];
            if let Some(place) = holders.iter().position(|holder| *holder == at) {
                holders.swap_remove(place);
            }
        }
    }

    /// The volume that a task uses; `None` for a node that is not played.
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
        let nodes = self.nodes.len();
        self.all_load.add_load(now_s);
        // With one task more for whoever has fewer than one: a node that does nothing may always take one.
        let mean = self.all_load.load(now_s) / float(nodes as u64);
        let most = (mean * MOST_LOAD).ceil();
        let holders = self.holders[environment as usize].len();
        let drawn = [self.random.below(holders), self.random.below(holders)];
        let holders = &self.holders[environment as usize];
        let near = drawn.map(|at| holders.get(at).map(|at| *at as usize));
        let near = self.lighter(near.into_iter().flatten(), now_s);
        let chosen = match near {
            Some(at) if self.nodes[at].load(now_s) + 1.0 <= most.max(1.0) => at,
            _ => {
                let drawn = [self.random.below(nodes), self.random.below(nodes)];
                self.lighter(drawn.into_iter(), now_s).unwrap_or(0)
            }
        };
        self.nodes[chosen].add_load(now_s);
        // In the beginning one task is more than the mean.
        if mean >= 1.0 && self.all > self.fleet.warm_up_tasks {
            self.most_load = self.most_load.max(self.nodes[chosen].load(now_s) / mean);
        }
        chosen
    }

    fn lighter(&self, mut nodes: impl Iterator<Item = usize>, now_s: f64) -> Option<usize> {
        let first = nodes.next()?;
        Some(nodes.fold(first, |one, other| {
            if self.nodes[other].load(now_s) < self.nodes[one].load(now_s) {
                other
            } else {
                one
            }
        }))
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
mod tests {
    use super::*;
    use crate::simulate::Cache;
    use crate::synthetic::{Profile, generate, preset};
    use crate::trace::{Met as Answer, Recorded, Request};

    fn trace() -> Recorded {
        generate(&Profile {
            days: 6,
            ..preset("team").unwrap()
        })
    }

    fn fleet(trace: &Recorded, nodes: usize, tenths: u64) -> Fleet {
        let union = trace.catalog.of(Volume::Python).union();
        Fleet {
            nodes,
            budget: Weight::new(union.bytes / 10 * tenths, union.inodes),
            tasks_per_request: 1,
            warm_up_tasks: 0,
        }
    }

    fn of(advice: &FleetAdvice, placement: Placement) -> Placed {
        *advice
            .placed
            .iter()
            .find(|placed| placed.placement == placement)
            .unwrap()
    }

    #[test]
    fn one_node_is_one_volume_whatever_the_placement() {
        let trace = trace();
        let fleet = fleet(&trace, 1, 4);
        let catalog = trace.catalog.of(Volume::Python);
        let mut cache = Cache::new(catalog, fleet.budget);
        let (mut hits, mut asked, mut fetched) = (0, 0, 0);
        for event in &trace.events {
            let Event::Request(request) = event else { continue };
            let Some(on) = request.on(Volume::Python) else { continue };
            fetched += cache.missing(on.environment).bytes;
            hits += u64::from(cache.request(on.environment) && !on.is_due);
            asked += 1;
        }
        let advice = compare(&trace, Volume::Python, &fleet).unwrap().unwrap();
        for placed in &advice.placed {
            assert_eq!(
                (placed.tasks, placed.held_bytes),
                (asked, cache.held().bytes),
                "{placed:?}"
            );
            assert!((placed.hit_rate - share(hits, asked)).abs() < 1e-12, "{placed:?}");
            assert!((placed.fetched_per_1000_bytes - 1000.0 * share(fetched, asked)).abs() < 1e-3);
            assert!((placed.evicted_per_1000 - 1000.0 * share(cache.evictions, asked)).abs() < 1e-9);
        }
    }

    #[test]
    fn sending_tasks_to_their_environment_saves_what_spreading_costs() {
        let trace = trace();
        let fleet = Fleet {
            tasks_per_request: 10,
            ..fleet(&trace, 40, 2)
        };
        let advice = compare(&trace, Volume::Python, &fleet).unwrap().unwrap();
        let [random, turn, near, shared] = Placement::ALL.map(|placement| of(&advice, placement));
        assert!((random.hit_rate - turn.hit_rate).abs() < 0.02, "{random:?} {turn:?}");
        assert!(near.hit_rate > random.hit_rate + 0.1, "{near:?} {random:?}");
        assert!(near.held_bytes < random.held_bytes && near.fetched_per_1000_bytes < random.fetched_per_1000_bytes);
        assert!(shared.held_bytes < near.held_bytes, "{shared:?} {near:?}");
    }

    #[test]
    fn no_node_drowns_for_an_environment_that_everybody_wants() {
        let mut trace = Recorded::default();
        let catalog = trace.catalog.of_mut(Volume::Python);
        for key in ["all", "few"] {
            catalog.environment(crate::trace::Environment {
                key: key.to_owned(),
                own: Weight::new(1000, 1),
                ..Default::default()
            });
        }
        trace.events = (0..20_000u64)
            .map(|at| {
                let on = Use {
                    environment: u32::from(at % 50 == 0),
                    met: Answer::Hit,
                    ..Use::default()
                };
                Event::Request(Request {
                    at_us: at * 10_000,
                    uses: [Some(on), None],
                    wait_us: None,
                })
            })
            .collect();
        let fleet = Fleet {
            nodes: 20,
            budget: Weight::MAX,
            tasks_per_request: 1,
            warm_up_tasks: 0,
        };
        let near = of(
            &compare(&trace, Volume::Python, &fleet).unwrap().unwrap(),
            Placement::Affinity,
        );
        let most = near.most_load.unwrap();
        assert!(most < 1.8 && near.hit_rate > 0.99, "{near:?}");
    }

    #[test]
    fn playing_some_of_the_nodes_that_are_alike_gives_the_same() {
        let trace = trace();
        let small = Fleet {
            tasks_per_request: 300,
            ..fleet(&trace, ALIKE, 3)
        };
        let large = Fleet {
            nodes: 2 * ALIKE,
            tasks_per_request: 600,
            ..small
        };
        let advice = [small, large].map(|fleet| compare(&trace, Volume::Python, &fleet).unwrap().unwrap());
        let [small, large] = advice.map(|advice| of(&advice, Placement::Random));
        assert!((small.hit_rate - large.hit_rate).abs() < 0.01, "{small:?} {large:?}");
        let twice = float(large.held_bytes) / float(small.held_bytes);
        assert!((1.9..2.1).contains(&twice), "{twice}");
    }
}
