//! The whole proof: measures the slice, predicts sizes, replays on each of them, and compares.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use hybrid_cache_sizing::claim::Needs;
use hybrid_cache_sizing::latency::{Latency, measure};
use hybrid_cache_sizing::proof::{self, Ended, Proof, Size, VolumeProof};
use hybrid_cache_sizing::trace::Recorded;
use hybrid_cache_sizing::{Source, Targets, Volume, Weight, recommend};

use crate::chaos::{FaultContext, Settings};
use crate::error::TrialError;
use crate::prove::foreign;
use crate::prove::keeper::{Answer, End, Keeper};
use crate::prove::proof_site::{Opened, PackageFolder, ProofSite};
use crate::prove::replay::{Replayed, budget, learn, replay};
use crate::prove::slice::{Bounds, Slice, least, times};

/// Parts of the recommended size that are replayed by default, in the order in which they are replayed: an interrupted proof has the middle ones.
pub const AROUND: [f64; 5] = [1.0, 0.8, 1.25, 0.65, 1.6];
/// Sizes are multiples of this.
const STEP: u64 = 1 << 20;
/// ext4 below that has other rules.
const LEAST_BYTES: u64 = 64 << 20;
/// Part of the largest file system that all environments are to take together: smaller ones evict.
const FILL: f64 = 0.35;

/// The plan of a proof.
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
    /// The share of its claim that the runner gets: 1. Tests make predictions wrong with it.
    pub claim_share: f64,
    /// How long all of it may take.
    pub limit: Duration,
}

/// How far it is.
#[derive(Clone, Debug, PartialEq)]
pub struct ReplayProgress {
    /// What is being done.
    pub what: String,
    /// Requests that were replayed.
    pub done: usize,
    /// Requests of this part.
    pub of: usize,
    /// Seconds until all is done, by what was measured so far.
    pub left_s: Option<f64>,
}

/// Receives progress, and says when to stop.
pub struct Control<'a> {
    /// Set by the caller: the current request is finished, and what was replayed is reported.
    pub stop: &'a AtomicBool,
    /// Called before each request.
    pub tell: &'a dyn Fn(&ReplayProgress),
}

/// Replays a slice of the trace at five sizes. Everything is made in a folder of the place, and is gone afterwards.
///
/// # Errors
/// File systems cannot be made here ([`super::cannot`] says why), the trace cannot be read, or the runner does not answer.
pub async fn prove(
    source: &dyn Source,
    place: ProofSite<'_>,
    plan: &Plan,
    control: &Control<'_>,
) -> Result<Proof, TrialError> {
    let settings = Settings {
        seed: 0,
        rounds: 1,
        serve: None,
    };
    // It removes what killed ones left, mounts included, and in the end what this one made.
    let field = match place {
        ProofSite::Machine(config) => FaultContext::local(config.clone(), settings)?,
        ProofSite::Node { folder, .. } => FaultContext::bare(folder, settings)?,
    };
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
        if let Err(why) = place.can(*volume) {
            found.notes.push(why.to_owned());
            continue;
        }
        let Some(slice) = Slice::cut(source, *volume, &bounds)? else {
            found
                .notes
                .push(format!("nothing was asked of the {} volume", volume.name()));
            continue;
        };
        let work = VolumeRun {
            place,
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
struct VolumeRun<'a> {
    place: ProofSite<'a>,
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
    /// Seconds to make a volume and take it away.
    around_s: f64,
    load: Option<String>,
}

/// One of the sizes.
struct Turn {
    bytes: u64,
    is_recommended: bool,
    what: String,
    /// Seconds that the sizes after it will take.
    rest_s: f64,
}

/// The load average of the last minute.
fn load() -> Option<String> {
    let text = std::fs::read_to_string("/proc/loadavg").ok()?;
    text.split_whitespace().next().map(str::to_owned)
}

impl VolumeRun<'_> {
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
        let packages = self.place.write(&self.folder, &self.slice, self.volume).await?;
        let done = self.replays(&packages, &mut proved).await;
        packages.end().await?;
        let Some(load_before) = done? else {
            return Ok(proved);
        };
        proved.sizes.sort_by_key(|size| size.bytes);
        if let (Some(before), Some(after)) = (load_before, load()) {
            proved.notes.push(format!(
                "waiting also depends on what else this machine does: its load average was {before} after the times were measured, and \
                 {after} in the end"
            ));
        }
        Ok(proved)
    }

    /// Every replay; the load average after the first one, `None` if that was stopped.
    async fn replays(
        &self,
        packages: &PackageFolder,
        proved: &mut VolumeProof,
    ) -> Result<Option<Option<String>>, TrialError> {
        let Some(learned) = self.learn(packages).await? else {
            return Ok(None);
        };
        let sizes = self.sizes(&learned)?;
        proved.recommended_bytes = sizes[0];
        for (at, bytes) in sizes.iter().enumerate() {
            if self.ended().is_some() {
                break;
            }
            let rest = sizes[at + 1..].iter();
            let rest = rest.map(|bytes| self.expected_s(&learned, *bytes) + learned.around_s);
            let turn = Turn {
                bytes: *bytes,
                is_recommended: at == 0,
                what: format!("size {} of {}: {} MiB", at + 1, sizes.len(), bytes / STEP),
                rest_s: rest.sum(),
            };
            let budget_bytes = Some(times(*bytes, self.plan.claim_share));
            let opened = self.open(packages, *bytes, budget_bytes).await?;
            let done = self.size(&learned, &opened, &turn).await;
            opened.end().await?;
            let (size, full) = done?;
            proved.sizes.push(size);
            proved.full.extend(full);
        }
        Ok(Some(learned.load))
    }

    async fn open(
        &self,
        packages: &PackageFolder,
        bytes: u64,
        budget_bytes: Option<u64>,
    ) -> Result<Opened, TrialError> {
        self.place
            .open(&self.folder, packages, self.volume, bytes, budget_bytes)
            .await
    }

    fn notes(&self) -> Vec<String> {
        let packages = match self.volume {
            Volume::Python => "packages are stand-ins with the trace's sizes and without its content",
            Volume::System => {
                "a program in Nix's place makes store paths of the trace's sizes, so waiting is that program's"
            }
        };
        let mut notes = vec![
            format!("{packages}; requests come one behind the other"),
            self.place.note_on_waiting().to_owned(),
        ];
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
        (self.control.tell)(&ReplayProgress {
            what: what.to_owned(),
            done,
            of: self.slice.requests.len(),
            left_s,
        });
    }

    /// Replays with room for everything; `None` if that was stopped.
    async fn learn(&self, packages: &PackageFolder) -> Result<Option<Learned>, TrialError> {
        let union = self.slice.union();
        let links: usize = self.slice.environments.iter().map(|made| made.parts.len()).sum();
        let inodes = union.inodes + 12 * links as u64 + 20_000;
        let bytes = (union.bytes * 2 + (256 << 20)).max(inodes * 16_384);
        let began = Instant::now();
        let opened = self.open(packages, bytes, None).await?;
        let done = self.learn_on(opened.keeper.as_ref()).await;
        opened.end().await?;
        let Some((trace, replayed)) = done? else {
            return Ok(None);
        };
        let around_s = began.elapsed().as_secs_f64() - replayed.took_s;
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
            around_s,
            load: load(),
        }))
    }

    async fn learn_on(&self, store: &dyn Keeper) -> Result<Option<(Recorded, Replayed)>, TrialError> {
        let go = |answers: &[Answer]| {
            self.say("measuring parts and waiting times", answers.len(), None);
            self.ended().is_none()
        };
        let replayed = replay(&self.slice, store, &go).await?;
        if replayed.answers.len() < self.slice.requests.len() {
            return Ok(None);
        }
        if let Some(refused) = refusals(&replayed).first() {
            return Err(TrialError::Other(format!("a stand-in cannot be installed: {refused}")));
        }
        let trace = learn(&self.slice, store, &replayed)?;
        Ok(Some((trace, replayed)))
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
            .advice_for(self.volume)
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
            None => claim(advice.at.budget_bytes).max(LEAST_BYTES),
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
        opened: &Opened,
        turn: &Turn,
    ) -> Result<(Size, Vec<proof::FullStep>), TrialError> {
        let (store, bytes) = (opened.keeper.as_ref(), turn.bytes);
        let expected_s = self.expected_s(learned, bytes);
        let all = self.slice.requests.len();
        let go = |answers: &[Answer]| {
            let share = 1.0 - answers.len() as f64 / all as f64;
            self.say(&turn.what, answers.len(), Some(expected_s * share + turn.rest_s));
            self.ended().is_none()
        };
        let replayed = replay(&self.slice, store, &go).await?;
        let requests = replayed.answers.len() as u64;
        let budget = budget(opened.room(), learned.beside);
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
            room: opened.room(),
            budget,
            is_recommended: turn.is_recommended,
            requests,
            of: all as u64,
            predicted,
            observed: observed(&replayed),
            p95_interval_us: proof::quantile_interval(&replayed.waits_us(), 0.95),
            beside: replayed.found.beside,
            met_full: met_full(&replayed),
            refused: refusals(&replayed),
            problems: problems
                .map(|problem| format!("{}: {}", problem.path, problem.what))
                .collect(),
            took_s: replayed.took_s,
        };
        let full = if turn.is_recommended && requests == all as u64 {
            self.say("filling the volume", all, Some(turn.rest_s));
            let is_over = || self.ended().is_some();
            foreign::try_all(&self.slice, &opened.ground, store, &is_over).await?
        } else {
            Vec::new()
        };
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
