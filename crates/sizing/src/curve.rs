//! Computes the hit rate of every size from the distances of all requests, in one pass over the trace.

use crate::Weight;
use crate::stack::Stack;
use crate::trace::{Event, Source, TraceError, Use, Volume};

/// Number of distances that are stored before equal ones are merged; if more remain, they are rounded and merged.
const ROOM: usize = 16 << 20;
/// Leading bits that a distance keeps if there are too many different ones: the error is at most one part in 2048.
const KEPT_BITS: u32 = 12;

/// Requests of the same distance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    distance_bytes: u64,
    distance_inodes: u32,
    count: u32,
    weight_bytes: u64,
}

/// Counts the requests of each distance.
#[derive(Clone, Debug)]
struct Distances {
    entries: Vec<Entry>,
    room: usize,
    is_exact: bool,
}

impl Distances {
    fn new(room: usize) -> Distances {
        Distances {
            entries: Vec::new(),
            room,
            is_exact: true,
        }
    }

    fn push(&mut self, distance: Weight, weight_bytes: u64) {
        if self.entries.len() >= self.room {
            self.make_room();
        }
        self.entries.push(Entry {
            distance_bytes: distance.bytes,
            distance_inodes: u32::try_from(distance.inodes).unwrap_or(u32::MAX),
            count: 1,
            weight_bytes,
        });
    }

    fn make_room(&mut self) {
        self.merge();
        if self.entries.len() > self.room / 2 {
            for entry in &mut self.entries {
                entry.distance_bytes = coarse(entry.distance_bytes);
                entry.distance_inodes = u32::try_from(coarse(entry.distance_inodes.into())).unwrap_or(u32::MAX);
            }
            self.is_exact = false;
            self.merge();
        }
        // Distances of bytes and of inodes follow nearly the same order, so a second merge is unlikely.
        self.room = self.room.max(self.entries.len() * 2);
    }

    fn merge(&mut self) {
        let key = |entry: &Entry| (entry.distance_bytes, entry.distance_inodes);
        self.entries.sort_unstable_by_key(key);
        self.entries.dedup_by(|next, kept| {
            let same = key(next) == key(kept) && kept.count.checked_add(next.count).is_some();
            if same {
                kept.count += next.count;
                kept.weight_bytes += next.weight_bytes;
            }
            same
        });
    }

    /// Requests that hit at the budget, and the bytes of their environments.
    fn within(&self, budget: Weight) -> (u64, u64) {
        let fit = self
            .entries
            .iter()
            .filter(|entry| entry.distance_bytes <= budget.bytes && u64::from(entry.distance_inodes) <= budget.inodes);
        fit.fold((0, 0), |(count, bytes), entry| {
            (count + u64::from(entry.count), bytes + entry.weight_bytes)
        })
    }
}

/// Rounds up to twelve leading bits.
fn coarse(value: u64) -> u64 {
    let drop = (u64::BITS - value.leading_zeros()).saturating_sub(KEPT_BITS);
    let step = 1u64 << drop;
    value.checked_next_multiple_of(step).unwrap_or(u64::MAX)
}

/// How often requests of one volume hit, for each size.
#[derive(Clone, Debug)]
pub struct Curve {
    /// Requests for this volume.
    pub requests: u64,
    /// Bytes of the environments that the requests used.
    pub bytes: u64,
    /// First requests of an environment: no size makes them hit.
    pub first: u64,
    /// Requests that were resolved again because of their age, at any size.
    pub due: u64,
    /// Usage of the largest environment.
    pub largest: Weight,
    /// Usage of all requested environments together.
    pub union: Weight,
    /// Requests that directly follow one for the same environment, by distance: at a budget below the largest environment, the
    /// volume serves them although they exceed the budget.
    repeated: Distances,
    fresh: Distances,
    due_again: Distances,
    initial: Vec<Weight>,
    last: Vec<Weight>,
}

/// The result of a size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hits {
    /// Requests that hit.
    pub requests: u64,
    /// Bytes of the environments that these requests used.
    pub bytes: u64,
    /// Environments that are evicted over the whole trace.
    pub evictions: u64,
}

impl Curve {
    /// The share of requests that hit at `budget`.
    pub fn hit_rate(&self, budget: Weight) -> f64 {
        crate::number::share(self.hits(budget).requests, self.requests)
    }

    /// Requests that hit at `budget`, their bytes, and evictions.
    pub fn hits(&self, budget: Weight) -> Hits {
        let (requests, bytes) = self.fresh.within(budget);
        let there = requests + self.due_again.within(budget).0;
        let added = self.requests - there;
        let resident = |distances: &[Weight]| distances.iter().filter(|distance| distance.fits(budget)).count() as u64;
        Hits {
            requests,
            bytes,
            evictions: (added + resident(&self.initial)).saturating_sub(resident(&self.last)),
        }
    }

    /// Environments that are resident after the last request at `budget`: the longest prefix of the recency list that fits.
    pub fn resident(&self, budget: Weight) -> Weight {
        let fits = |distance: &&Weight| distance.fits(budget);
        self.last.iter().take_while(fits).last().copied().unwrap_or_default()
    }

    /// Requests that hit although their distance exceeds the budget, because the volume keeps the environment that a task runs
    /// from.
    pub fn repeated_beyond(&self, budget: Weight) -> u64 {
        let all = self.repeated.within(Weight::MAX).0;
        all - self.repeated.within(budget).0
    }

    /// The share of requests that would hit if the volume never evicted.
    pub fn best_hit_rate(&self) -> f64 {
        self.hit_rate(Weight::MAX)
    }

    /// The smallest budget in bytes at which at least `share` of the requests hit, if a file system has an inode for each
    /// `bytes_per_inode` bytes (0: no limit of inodes). `None` if no size is enough.
    pub fn smallest(&self, share: f64, bytes_per_inode: u64) -> Option<u64> {
        self.least(share, |entry| {
            let for_inodes = u64::from(entry.distance_inodes).saturating_mul(bytes_per_inode);
            entry.distance_bytes.max(for_inodes)
        })
    }

    /// The smallest budget of inodes at which at least `share` of the requests hit, without a limit of bytes. `None` if no number
    /// is enough.
    pub fn fewest_inodes(&self, share: f64) -> Option<u64> {
        self.least(share, |entry| entry.distance_inodes.into())
    }

    fn least(&self, share: f64, need: impl Fn(&Entry) -> u64) -> Option<u64> {
        let wanted = share.clamp(0.0, 1.0) * crate::number::float(self.requests);
        // The product may be off by the last bit of a float.
        let enough = |hits: u64| crate::number::float(hits) >= wanted - 0.5e-6;
        if enough(0) {
            return Some(0);
        }
        let mut needed: Vec<(u64, u32)> = self
            .fresh
            .entries
            .iter()
            .map(|entry| (need(entry), entry.count))
            .collect();
        needed.sort_unstable();
        let mut hits = 0u64;
        needed.into_iter().find_map(|(least, count)| {
            hits += u64::from(count);
            enough(hits).then_some(least)
        })
    }

    /// False if distances were rounded up, by at most one part in 2048, because there were too many different ones.
    pub fn is_exact(&self) -> bool {
        self.fresh.is_exact && self.due_again.is_exact
    }
}

/// The curve of one volume.
///
/// # Errors
/// The trace cannot be read.
pub fn curve(source: &dyn Source, volume: Volume) -> Result<Curve, TraceError> {
    let mut pass = CurvePass::new(source, volume, ROOM);
    source.replay(&mut |event| pass.take(event))?;
    Ok(pass.finish())
}

/// One pass over the trace.
struct CurvePass {
    volume: Volume,
    stack: Stack,
    curve: Curve,
    has_begun: bool,
    last: Option<u32>,
}

impl CurvePass {
    fn new(source: &dyn Source, volume: Volume, room: usize) -> CurvePass {
        let catalog = source.catalog().volume(volume);
        CurvePass {
            volume,
            stack: Stack::new(catalog),
            curve: Curve {
                requests: 0,
                bytes: 0,
                first: 0,
                due: 0,
                largest: catalog.largest(),
                union: Weight::default(),
                repeated: Distances::new(room / 8),
                fresh: Distances::new(room),
                due_again: Distances::new(room / 8),
                initial: Vec::new(),
                last: Vec::new(),
            },
            has_begun: false,
            last: None,
        }
    }

    fn take(&mut self, event: &Event) {
        match event {
            Event::Resident(volume, environment) if *volume == self.volume => drop(self.stack.touch(*environment)),
            Event::Resident(..) => {}
            Event::Request(request) => {
                if let Some(asked) = request.on(self.volume) {
                    self.request(asked);
                }
            }
        }
    }

    fn request(&mut self, asked: &Use) {
        if !std::mem::replace(&mut self.has_begun, true) {
            self.curve.initial = self.stack.distances();
        }
        let distance = self.stack.touch(asked.environment);
        let bytes = self.stack.weight(asked.environment).bytes;
        let curve = &mut self.curve;
        curve.requests += 1;
        curve.bytes += bytes;
        curve.due += u64::from(asked.is_due && distance.is_some());
        match distance {
            None => curve.first += 1,
            Some(distance) if asked.is_due => curve.due_again.push(distance, bytes),
            Some(distance) => {
                curve.fresh.push(distance, bytes);
                if self.last == Some(asked.environment) {
                    curve.repeated.push(distance, bytes);
                }
            }
        }
        self.last = Some(asked.environment);
    }

    fn finish(mut self) -> Curve {
        self.curve.last = self.stack.distances();
        self.curve.union = self.stack.total();
        for distances in [
            &mut self.curve.fresh,
            &mut self.curve.due_again,
            &mut self.curve.repeated,
        ] {
            distances.merge();
            distances.entries.shrink_to_fit();
        }
        self.curve
    }
}
