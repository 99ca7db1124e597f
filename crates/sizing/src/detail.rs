//! Details of a few sizes: latency, its cost, blocks of time, and the environments that make the difference.
//!
//! The curve has the hit rate of every size. This second pass computes more for some sizes: how long requests wait, what has to be
//! fetched, and how much is being built at the same time.

use std::collections::HashMap;

use crate::Weight;
use crate::latency::Latency;
use crate::number::{Random, float, whole};
use crate::pace::SHORTEST_DAYS;
use crate::stack::{Piece, Stack};
use crate::stats::{Durations, class};
use crate::trace::{Event, Request, Source, TraceError, Use, Volume};

/// Number of blocks of time of a short trace; a trace of more than a week has one block for each day.
const BLOCKS: usize = 20;
const MOST_BLOCKS: usize = 120;

/// The result of one size.
#[derive(Clone, Debug, Default)]
pub struct AtSize {
    /// Bytes and inodes that the environments may take.
    pub budget: Weight,
    /// Requests that hit.
    pub hits: u64,
    /// How long requests waited.
    pub waits: Durations,
    /// Sum of these waits, in seconds.
    pub wait_s: f64,
    /// Bytes that were fetched and unpacked.
    pub fetched_bytes: u64,
    /// Largest number of bytes that were being built at one time.
    pub building_bytes: u64,
    /// Hits in each block of time.
    pub block_hits: Vec<u64>,
}

/// Details of some sizes of one volume.
#[derive(Clone, Debug, Default)]
pub struct Detail {
    /// The sizes, smallest first.
    pub sizes: Vec<AtSize>,
    /// Requests in each block of time.
    pub block_requests: Vec<u64>,
    /// Bytes of the volume that each block of time used: its working set.
    pub block_used_bytes: Vec<u64>,
    /// For each environment: requests that hit at the last size but not at the first one.
    pub between: Vec<(u32, u64)>,
    /// Times of the first and the last request, in microseconds since 1970.
    pub span_us: (u64, u64),
}

impl Detail {
    /// Days from the first request to the last; never 0.
    pub fn days(&self) -> f64 {
        days(self.span_us)
    }
}

/// Days between two times in microseconds; never 0, because rates are divided by this.
pub fn days((first_us, last_us): (u64, u64)) -> f64 {
    (float(last_us.saturating_sub(first_us)) / 86_400e6).max(1.0 / 86_400.0)
}

/// The amount per day; `None` if the trace is shorter than an hour, which shows no rate.
pub fn per_day(amount: f64, days: f64) -> Option<f64> {
    (days >= SHORTEST_DAYS).then(|| amount / days)
}

/// Number of blocks of time of a trace. Blocks are whole days if there are enough, so that day and night do not count as different
/// times.
fn blocks(span_us: (u64, u64)) -> usize {
    match crate::number::index(whole(days(span_us))) {
        0..8 => BLOCKS,
        days => days.min(MOST_BLOCKS),
    }
}

/// Times of the first and the last request, in microseconds since 1970.
///
/// # Errors
/// The trace cannot be read.
pub fn span(source: &dyn Source) -> Result<(u64, u64), TraceError> {
    let mut span: Option<(u64, u64)> = None;
    source.replay(&mut |event| {
        if let Event::Request(request) = event {
            let first = span.map_or(request.at_us, |(first, _)| first);
            span = Some((first, request.at_us));
        }
    })?;
    span.ok_or(TraceError::NoRequests)
}

/// Computes details for some budgets of one volume, smallest first, with the other volume large enough. `between` names two of the
/// budgets by index; their difference is reported for each environment.
///
/// # Errors
/// The trace cannot be read.
pub fn detail(
    source: &dyn Source,
    volume: Volume,
    budgets: &[Weight],
    between: (usize, usize),
    latency: &Latency,
) -> Result<Detail, TraceError> {
    let span_us = span(source)?;
    let mut pass = DetailPass::new(source, volume, budgets, between, latency, span_us);
    source.replay(&mut |event| pass.take(event))?;
    Ok(pass.finish())
}

/// One pass over the trace. `at` counts sizes: a request hits from a size on.
struct DetailPass<'a> {
    volume: Volume,
    stack: Stack,
    latency: &'a Latency,
    detail: Detail,
    between: (usize, usize),
    by_environment: HashMap<u32, u64>,
    /// Hits that start at each size, in each block; the last index is for requests that hit at no size.
    hits_from: Vec<Vec<u64>>,
    /// Hits that start at each size, by the class of their wait.
    waits_from: Vec<HashMap<u32, u64>>,
    wait_from_s: Vec<f64>,
    building: Vec<Vec<(u64, u64)>>,
    /// Finds the parts that a block of time uses for the first time; their sum is the block's working set.
    block_stack: Stack,
    block_of_use: Vec<usize>,
    pieces: Vec<Piece>,
    missing: Vec<u64>,
    random: Random,
}

impl<'a> DetailPass<'a> {
    fn new(
        source: &dyn Source,
        volume: Volume,
        budgets: &[Weight],
        between: (usize, usize),
        latency: &'a Latency,
        span_us: (u64, u64),
    ) -> DetailPass<'a> {
        let stack = Stack::new(source.catalog().volume(volume));
        let environments = source.catalog().volume(volume).environments().len();
        let blocks = blocks(span_us);
        let sizes = budgets.iter().map(|budget| AtSize {
            budget: *budget,
            block_hits: vec![0; blocks],
            ..AtSize::default()
        });
        DetailPass {
            volume,
            latency,
            detail: Detail {
                sizes: sizes.collect(),
                block_requests: vec![0; blocks],
                block_used_bytes: vec![0; blocks],
                between: Vec::new(),
                span_us,
            },
            between,
            by_environment: HashMap::new(),
            hits_from: vec![vec![0; budgets.len() + 1]; blocks],
            waits_from: vec![HashMap::new(); budgets.len() + 1],
            wait_from_s: vec![0.0; budgets.len() + 1],
            building: vec![Vec::new(); budgets.len()],
            block_stack: stack.clone(),
            block_of_use: vec![usize::MAX; environments],
            stack,
            pieces: Vec::new(),
            missing: vec![0; budgets.len() + 1],
            random: Random::seeded(0x7761_6974),
        }
    }

    fn take(&mut self, event: &Event) {
        match event {
            Event::Resident(volume, environment) if *volume == self.volume => drop(self.stack.touch(*environment)),
            Event::Resident(..) => {}
            Event::Request(request) => {
                if let Some(asked) = request.on(self.volume) {
                    self.request(request, asked);
                }
            }
        }
    }

    /// The first size at which an environment of this distance is resident; the number of sizes if at none.
    fn from(&self, distance: Option<Weight>) -> usize {
        let sizes = &self.detail.sizes;
        distance.map_or(sizes.len(), |distance| {
            sizes.partition_point(|size| !distance.fits(size.budget))
        })
    }

    fn block(&self, at_us: u64) -> usize {
        let (first, last) = self.detail.span_us;
        let share = float(at_us.saturating_sub(first)) / float(last.saturating_sub(first)).max(1.0);
        let blocks = self.detail.block_requests.len();
        crate::number::index(whole((share * float(blocks as u64)).floor())).min(blocks - 1)
    }

    fn request(&mut self, request: &Request, asked: &Use) {
        let block = self.block(request.at_us);
        self.detail.block_requests[block] += 1;
        self.note_use(block, asked.environment);
        let mut pieces = std::mem::take(&mut self.pieces);
        let distance = self.stack.touch_with(asked.environment, &mut pieces);
        let there_from = self.from(distance);
        // A request that is due is resolved again at every size, and fetches only what is missing.
        let hits_from = if asked.is_due {
            self.detail.sizes.len()
        } else {
            there_from
        };
        self.hits_from[block][hits_from] += 1;
        let (less, more) = self.between;
        if less < hits_from && hits_from <= more {
            *self.by_environment.entry(asked.environment).or_default() += 1;
        }
        let hit_us = self.latency.draw_hit(&mut self.random);
        self.wait_from_s[hits_from] += hit_us / 1e6;
        *self.waits_from[hits_from].entry(class(hit_us)).or_default() += 1;
        if hits_from > 0 {
            self.miss(request.at_us, hits_from, hit_us, &pieces);
        }
        self.pieces = pieces;
    }

    /// Adds the cost of a request at the sizes where it misses: those before `hits_from`.
    fn miss(&mut self, at_us: u64, hits_from: usize, hit_us: f64, pieces: &[Piece]) {
        self.missing.fill(0);
        for piece in pieces {
            let from = self.from(piece.distance);
            self.missing[from] += piece.weight.bytes;
        }
        let cost = self.latency.cost(self.volume);
        let factor = cost.draw(&mut self.random);
        // A part that is resident from a size on is missing at all smaller ones.
        let mut missing: u64 = self.missing[hits_from.min(self.detail.sizes.len())..].iter().sum();
        for at in (0..hits_from).rev() {
            if at + 1 < hits_from {
                missing += self.missing[at + 1];
            }
            let prepare_us = cost.mean_us(missing) * factor;
            let size = &mut self.detail.sizes[at];
            size.waits.add(class(hit_us + prepare_us), 1);
            size.wait_s += (hit_us + prepare_us) / 1e6;
            size.fetched_bytes += missing;
            let building = &mut self.building[at];
            building.retain(|(until_us, _)| *until_us > at_us);
            building.push((at_us + whole(prepare_us), missing));
            let now = building.iter().map(|(_, bytes)| bytes).sum();
            size.building_bytes = size.building_bytes.max(now);
        }
    }

    /// Counts what a block of time uses: a part whose last use lies before the block is new in it.
    fn note_use(&mut self, block: usize, environment: u32) {
        if self.block_of_use[environment as usize] == block {
            return;
        }
        self.block_of_use[environment as usize] = block;
        let before = self.detail.block_used_bytes[block];
        let mut pieces = Vec::new();
        self.block_stack.touch_with(environment, &mut pieces);
        // Parts that this block has used already lie within its working set so far.
        let known = |piece: &Piece| piece.distance.is_some_and(|distance| distance.bytes <= before);
        let new = pieces
            .iter()
            .filter(|piece| !known(piece))
            .map(|piece| piece.weight.bytes);
        self.detail.block_used_bytes[block] += new.sum::<u64>();
    }

    fn finish(mut self) -> Detail {
        let sizes = self.detail.sizes.len();
        for (block, hits_from) in self.hits_from.iter().enumerate() {
            let mut hits = 0;
            for (size, from) in self.detail.sizes.iter_mut().zip(hits_from) {
                hits += from;
                size.block_hits[block] = hits;
                size.hits += hits;
            }
        }
        // A request that hits from a size on waits as a hit at all larger ones.
        let mut waits: HashMap<u32, u64> = HashMap::new();
        let mut wait_s = 0.0;
        for at in 0..sizes {
            for (class, count) in &self.waits_from[at] {
                *waits.entry(*class).or_default() += count;
            }
            wait_s += self.wait_from_s[at];
            let size = &mut self.detail.sizes[at];
            size.wait_s += wait_s;
            waits.iter().for_each(|(class, count)| size.waits.add(*class, *count));
        }
        self.detail.between = self.by_environment.into_iter().collect();
        self.detail
            .between
            .sort_unstable_by_key(|(environment, count)| (std::cmp::Reverse(*count), *environment));
        self.detail
    }
}

/// The result of both volumes at their sizes.
#[derive(Clone, Debug, Default)]
pub struct Together {
    /// Requests of the trace.
    pub requests: u64,
    /// Requests that hit in every volume that they use.
    pub hits: u64,
    /// How long requests wait; the two volumes are prepared in parallel.
    pub waits: Durations,
    /// Sum of these waits, in seconds.
    pub wait_s: f64,
}

/// Computes the result of both volumes, with one budget each.
///
/// # Errors
/// The trace cannot be read.
pub fn together(source: &dyn Source, budgets: [Weight; 2], latency: &Latency) -> Result<Together, TraceError> {
    let mut stacks = Volume::ALL.map(|volume| Stack::new(source.catalog().volume(volume)));
    let mut found = Together::default();
    let mut random = Random::seeded(0x626f_7468);
    let mut pieces = Vec::new();
    source.replay(&mut |event| match event {
        Event::Resident(volume, environment) => drop(stacks[volume.index()].touch(*environment)),
        Event::Request(request) => {
            let mut prepare_us = 0f64;
            let mut is_hit = true;
            for volume in Volume::ALL {
                let Some(asked) = request.on(volume) else { continue };
                let (stack, budget) = (&mut stacks[volume.index()], budgets[volume.index()]);
                let distance = stack.touch_with(asked.environment, &mut pieces);
                if !asked.is_due && distance.is_some_and(|distance| distance.fits(budget)) {
                    continue;
                }
                is_hit = false;
                let is_missing = |piece: &&Piece| !piece.distance.is_some_and(|distance| distance.fits(budget));
                let missing = pieces.iter().filter(is_missing).map(|piece| piece.weight.bytes).sum();
                let cost = latency.cost(volume);
                prepare_us = prepare_us.max(cost.mean_us(missing) * cost.draw(&mut random));
            }
            let wait_us = latency.draw_hit(&mut random) + prepare_us;
            found.requests += 1;
            found.hits += u64::from(is_hit);
            found.waits.add(class(wait_us), 1);
            found.wait_s += wait_us / 1e6;
        }
    })?;
    Ok(found)
}
