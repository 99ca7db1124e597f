//! The whole proof: learn what the slice is, predict sizes, replay on each of them, and compare.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use hybrid_cache_driver::local::LocalConfig;
use hybrid_cache_sizing::claim::Needs;
use hybrid_cache_sizing::latency::{Latency, measure};
use hybrid_cache_sizing::proof::{self, Ended, Proof, Size, VolumeProof};
use hybrid_cache_sizing::trace::Recorded;
use hybrid_cache_sizing::{Source, Targets, Volume, Weight, recommend};

use crate::chaos::{Field, Settings};
use crate::error::TrialError;
use crate::prove::foreign;
use crate::prove::ground::Ground;
use crate::prove::replay::{Replayed, budget, learn, replay};
use crate::prove::slice::{Bounds, Slice, least, times};
use crate::prove::store::{Answer, End, Store};
use crate::prove::{standin, system};

/// Parts of the recommended size that are replayed by default, in the order in which they are replayed: an interrupted proof has the middle ones.
pub const AROUND: [f64; 5] = [1.0, 0.8, 1.25, 0.65, 1.6];
/// Sizes are multiples of this.
const STEP: u64 = 1 << 20;
/// ext4 below that has other rules.
const LEAST_BYTES: u64 = 64 << 20;
/// Part of the largest file system that all environments are to take together: smaller ones evict.
const FILL: f64 = 0.35;

/// What is proved.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Whose requests are replayed, one volume behind the other.
    pub volumes: Vec<Volume>,
    /// How much is replayed.
    pub bounds: Bounds,
    /// Most bytes of one file system.
    pub most_bytes: u64,
    /// The claim in the middle, in bytes before anything is made smaller; `None`: what is recommended for the slice.
    pub claim_bytes: Option<u64>,
    /// What the recommendation has to reach.
    pub targets: Targets,
    /// Parts of that size that are replayed, in this order; the first is 1.
    pub around: Vec<f64>,
    /// The part of its claim that the runner is told of: 1. Tests make predictions wrong with it.
    pub told: f64,
    /// How long all of it may take.
    pub limit: Duration,
}

/// How far it is.
#[derive(Clone, Debug, PartialEq)]
pub struct Progress {
    /// What is being done.
    pub what: String,
    /// Requests that were replayed.
    pub done: usize,
    /// Requests of this part.
    pub of: usize,
    /// Seconds until all is done, by what was measured so far.
    pub left_s: Option<f64>,
}

/// Whom to tell, and when to stop.
pub struct Control<'a> {
    /// Set by others: the request at work is finished, and what was replayed is reported.
    pub stop: &'a AtomicBool,
    /// Called before each request.
    pub tell: &'a dyn Fn(&Progress),
}

/// Replays a slice of the trace at five sizes. Everything is made in a folder below `config.root`, and is gone afterwards.
///
/// # Errors
/// File systems cannot be made here ([`super::cannot`] says why), the trace cannot be read, or the runner does not answer.
pub async fn prove(
    source: &dyn Source,
    config: &LocalConfig,
    plan: &Plan,
    control: &Control<'_>,
) -> Result<Proof, TrialError> {
    let settings = Settings {
        seed: 0,
        rounds: 1,
        serve: None,
    };
    // It removes what killed ones left, mounts included, and in the end what this one made.
    let field = Field::local(config.clone(), settings)?;
    let bounds = Bounds {
        bytes: plan.bounds.bytes.min(times(plan.most_bytes, FILL)),
        ..plan.bounds
    };
    let mut found = Proof::default();
    let until = Instant::now() + plan.limit;
    for volume in &plan.volumes {
        if found.ended.is_some() {
            found
                .notes
                .push(format!("nothing was replayed of the {} volume", volume.name()));
            continue;
        }
        let Some(slice) = Slice::cut(source, *volume, &bounds)? else {
            found
                .notes
                .push(format!("nothing was asked of the {} volume", volume.name()));
            continue;
        };
        let work = Work {
            config,
            plan,
            control,
            folder: field.new_folder("proof")?,
            until,
            slice,
            volume: *volume,
        };
        found.volumes.push(work.prove().await?);
        found.ended = work.ended();
        field.clear();
    }
    Ok(found)
}

/// One volume's proof.
struct Work<'a> {
    config: &'a LocalConfig,
    plan: &'a Plan,
    control: &'a Control<'a>,
    folder: PathBuf,
    until: Instant,
    slice: Slice,
    volume: Volume,
}

/// What the first replay taught.
struct Learned {
    trace: Recorded,
    latency: Latency,
    beside: Weight,
    miss_s: f64,
    hit_s: f64,
    load: Option<String>,
}

/// The load average of the last minute.
fn load() -> Option<String> {
    let text = std::fs::read_to_string("/proc/loadavg").ok()?;
    text.split_whitespace().next().map(str::to_owned)
}

impl Work<'_> {
    async fn prove(&self) -> Result<VolumeProof, TrialError> {
        let mut proved = VolumeProof {
            volume: self.volume.name().to_owned(),
            scale: self.slice.scale,
            environments: self.slice.environments.len() as u64,
            requests: self.slice.requests.len() as u64,
            notes: self.notes(),
            ..VolumeProof::default()
        };
        self.say("writing stand-ins", 0, None);
        let packages = match self.volume {
            Volume::Python => standin::write(&self.folder, &self.slice.parts)?,
            Volume::System => system::write(&self.folder, &self.slice)?,
        };
        let Some(learned) = self.learn(&packages).await? else {
            return Ok(proved);
        };
        let sizes = self.sizes(&learned)?;
        proved.recommended_bytes = sizes[0];
        for (at, bytes) in sizes.iter().enumerate() {
            if self.ended().is_some() {
                break;
            }
            let rest: f64 = sizes[at + 1..]
                .iter()
                .map(|bytes| self.expected_s(&learned, *bytes))
                .sum();
            let what = format!("size {} of {}: {} MiB", at + 1, sizes.len(), bytes / STEP);
            let (size, full) = self.size(&learned, &packages, *bytes, at == 0, &what, rest).await?;
            proved.sizes.push(size);
            proved.full.extend(full);
        }
        proved.sizes.sort_by_key(|size| size.bytes);
        if let (Some(before), Some(after)) = (learned.load, load()) {
            proved.notes.push(format!(
                "waiting also depends on what else this machine does: its load average was {before} after the times were measured, and \
                 {after} in the end"
            ));
        }
        Ok(proved)
    }

    fn notes(&self) -> Vec<String> {
        let packages = match self.volume {
            Volume::Python => "packages are stand-ins with the trace's sizes and without its content",
            Volume::System => {
                "a program in Nix's place makes store paths of the trace's sizes, so waiting is that program's"
            }
        };
        let mut notes = vec![format!("{packages}; requests come one behind the other")];
        if self.slice.scale < 1.0 {
            notes.push(format!(
                "every part is {:.1} times smaller than in the trace, in bytes and inodes, but never below {} inodes",
                1.0 / self.slice.scale,
                least(self.volume).inodes
            ));
        }
        notes
    }

    fn ended(&self) -> Option<Ended> {
        if self.control.stop.load(Ordering::Relaxed) {
            return Some(Ended::Interrupted);
        }
        (Instant::now() >= self.until).then_some(Ended::Late)
    }

    fn say(&self, what: &str, done: usize, left_s: Option<f64>) {
        (self.control.tell)(&Progress {
            what: what.to_owned(),
            done,
            of: self.slice.requests.len(),
            left_s,
        });
    }

    /// Replays with room for everything; `None` where that was stopped.
    async fn learn(&self, packages: &Path) -> Result<Option<Learned>, TrialError> {
        let union = self.slice.union();
        let links: usize = self.slice.environments.iter().map(|made| made.parts.len()).sum();
        let inodes = union.inodes + 12 * links as u64 + 20_000;
        let bytes = (union.bytes * 2 + (256 << 20)).max(inodes * 16_384);
        let ground = Ground::make(&self.folder, bytes).await?;
        let store = Store::new(self.config, self.volume, ground.volume(), packages, None)?;
        let go = |answers: &[Answer]| {
            self.say("measuring parts and waiting times", answers.len(), None);
            self.ended().is_none()
        };
        let replayed = replay(&self.slice, &store, &go).await?;
        if replayed.answers.len() < self.slice.requests.len() {
            ground.end().await?;
            return Ok(None);
        }
        if let Some(refused) = refusals(&replayed).first() {
            return Err(TrialError::Other(format!("a stand-in cannot be installed: {refused}")));
        }
        let trace = learn(&self.slice, &store, &replayed)?;
        ground.end().await?;
        let latency = measure(&trace).map_err(|error| TrialError::Other(error.to_string()))?;
        let (hits, misses): (Vec<&Answer>, Vec<&Answer>) =
            replayed.answers.iter().partition(|answer| answer.end == End::Hit);
        let hit_s = latency.hit_us / 1e6;
        let miss_s = (replayed.took_s - hit_s * hits.len() as f64) / misses.len().max(1) as f64;
        Ok(Some(Learned {
            trace,
            latency,
            beside: replayed.found.beside,
            miss_s: miss_s.max(hit_s),
            hit_s,
            load: load(),
        }))
    }

    /// The recommended size first, then those around it.
    fn sizes(&self, learned: &Learned) -> Result<Vec<u64>, TrialError> {
        let targets = Targets {
            growth_days: None,
            ..self.plan.targets
        };
        let file_system = targets.file_system;
        let found = recommend(&learned.trace, &targets).map_err(|error| TrialError::Other(error.to_string()))?;
        let advice = found
            .of(self.volume)
            .ok_or_else(|| TrialError::Other("nothing is recommended for the slice".to_owned()))?;
        let needs = Needs {
            file_system,
            rest: learned.beside,
            building_bytes: advice.claim.building_bytes,
            headroom: targets.headroom,
            growth: 1.0,
        };
        let claim = |bytes: u64| needs.claim_bytes(Weight::new(bytes, bytes / file_system.bytes_per_inode()), STEP);
        let middle = match self.plan.claim_bytes {
            Some(bytes) => times(bytes, self.slice.scale),
            None => claim(advice.at.budget_bytes),
        };
        // Below that not every request can be served.
        let least = claim(
            advice
                .largest
                .bytes
                .max(advice.largest.inodes * file_system.bytes_per_inode()),
        )
        .max(LEAST_BYTES)
        .min(middle);
        let most = self.plan.most_bytes.max(middle);
        let mut sizes: Vec<u64> = self
            .plan
            .around
            .iter()
            .map(|factor| times(middle, *factor).clamp(least, most).next_multiple_of(STEP))
            .collect();
        let mut seen = std::collections::HashSet::new();
        sizes.retain(|bytes| seen.insert(*bytes));
        Ok(sizes)
    }

    /// Seconds that a size will take, by its room as the claim has it.
    fn expected_s(&self, learned: &Learned, bytes: u64) -> f64 {
        let room = self.plan.targets.file_system.room_of(bytes);
        let all = learned.trace.events.len() as u64;
        let budget = budget(room, learned.beside);
        let figures = proof::predict(&learned.trace, self.volume, budget, &learned.latency, all);
        let hit_rate = figures.map_or(0.0, |figures| figures.hit_rate);
        all as f64 * (hit_rate * learned.hit_s + (1.0 - hit_rate) * learned.miss_s)
    }

    async fn size(
        &self,
        learned: &Learned,
        packages: &Path,
        bytes: u64,
        is_recommended: bool,
        what: &str,
        rest_s: f64,
    ) -> Result<(Size, Vec<proof::FullStep>), TrialError> {
        let ground = Ground::make(&self.folder, bytes).await?;
        let store = Store::new(
            self.config,
            self.volume,
            ground.volume(),
            packages,
            Some(times(bytes, self.plan.told)),
        )?;
        let expected_s = self.expected_s(learned, bytes);
        let all = self.slice.requests.len();
        let go = |answers: &[Answer]| {
            let share = 1.0 - answers.len() as f64 / all as f64;
            self.say(what, answers.len(), Some(expected_s * share + rest_s));
            self.ended().is_none()
        };
        let replayed = replay(&self.slice, &store, &go).await?;
        let requests = replayed.answers.len() as u64;
        let budget = budget(ground.room, learned.beside);
        let predicted = if requests == 0 {
            proof::Figures::default()
        } else {
            proof::predict(&learned.trace, self.volume, budget, &learned.latency, requests)
                .map_err(|error| TrialError::Other(error.to_string()))?
        };
        let verified = store.verify().await?;
        let problems = verified.problems.into_iter();
        let size = Size {
            bytes,
            room: ground.room,
            budget,
            is_recommended,
            requests,
            of: all as u64,
            predicted,
            observed: observed(&replayed),
            beside: replayed.found.beside,
            met_full: met_full(&replayed),
            refused: refusals(&replayed),
            problems: problems
                .map(|problem| format!("{}: {}", problem.path, problem.what))
                .collect(),
            took_s: replayed.took_s,
        };
        let full = if is_recommended && requests == all as u64 {
            self.say("filling the volume", all, Some(rest_s));
            foreign::try_all(&self.slice, &ground, &store).await?
        } else {
            Vec::new()
        };
        ground.end().await?;
        Ok((size, full))
    }
}

fn observed(replayed: &Replayed) -> proof::Figures {
    proof::Figures {
        hit_rate: replayed.hit_rate(),
        p95_us: proof::quantile(&replayed.waits_us(), 0.95),
        held: replayed.found.held(),
        evictions: replayed.evictions(),
    }
}

fn met_full(replayed: &Replayed) -> u64 {
    let is_full = |answer: &&Answer| matches!(answer.end, End::Made { met_full: true, .. });
    replayed.answers.iter().filter(is_full).count() as u64
}

/// What requests were refused with.
fn refusals(replayed: &Replayed) -> Vec<String> {
    let refused = replayed.answers.iter().filter_map(|answer| match &answer.end {
        End::Refused(failure) => Some(failure.to_string()),
        _ => None,
    });
    refused.collect()
}
