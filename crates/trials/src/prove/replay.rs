//! Replays a slice on one volume, and measures from a replay what the slice takes.

use std::collections::{BTreeMap, HashMap};
use std::time::Instant;

use hybrid_cache_sizing::claim::default_budget;
use hybrid_cache_sizing::trace::{Catalog, Environment, Met, Recorded, Request, Use};
use hybrid_cache_sizing::{Event, Weight};

use crate::error::TrialError;
use crate::prove::keeper::{Answer, End, Keeper};
use crate::prove::measure::{Found, measure};
use crate::prove::slice::Slice;

/// The result of a replay.
#[derive(Clone, Debug)]
pub struct Replayed {
    /// Each request's answer, in their order; fewer than requests if it was stopped.
    pub answers: Vec<Answer>,
    /// Environments that were made, resolved again ones left out.
    pub made: u64,
    /// Usage of the volume afterwards.
    pub found: Found,
    /// Seconds that it took.
    pub took_s: f64,
}

/// Called before each request with what was done so far; false stops the replay.
pub type Go<'a> = &'a dyn Fn(&[Answer]) -> bool;

/// Replays the slice, one request after the other, without the pauses of the trace. What depends on the clock is as in the
/// trace: requests that are due get an old date, and a use is noted again after the interval, in trace time, at which the runner
/// does so.
///
/// # Errors
/// The runner or the volume does not answer.
pub async fn replay(slice: &Slice, store: &dyn Keeper, go: Go<'_>) -> Result<Replayed, TrialError> {
    // What was written before is on the disk before anything is timed.
    let _ = tokio::task::spawn_blocking(rustix::fs::sync).await;
    let began = Instant::now();
    let mut answers: Vec<Answer> = Vec::with_capacity(slice.requests.len());
    let mut noted_us: HashMap<u32, u64> = HashMap::new();
    let mut made = 0;
    let noted_again_us = u64::try_from(store.noted_again().as_micros()).unwrap_or(u64::MAX);
    for asked in &slice.requests {
        if !go(&answers) {
            break;
        }
        let noted = noted_us.get(&asked.environment);
        let uses_again = noted.is_some_and(|noted| asked.at_us.saturating_sub(*noted) >= noted_again_us);
        let environment = &slice.environments[asked.environment as usize];
        let before = store.environments();
        let answer = store.prepare(environment, asked.is_due, uses_again).await?;
        if uses_again || !matches!(answer.end, End::Hit) {
            noted_us.insert(asked.environment, asked.at_us);
        }
        // What was due and is there still is not made a second time.
        let is_new = matches!(answer.end, End::Made { .. }) && (!asked.is_due || is_missing(before, store, &answer));
        made += u64::from(is_new);
        answers.push(answer);
    }
    Ok(Replayed {
        answers,
        made,
        found: measure(store.kind(), store.volume())?,
        took_s: began.elapsed().as_secs_f64(),
    })
}

/// True if a request that was due had to be made from nothing: it downloaded something, or there is one more.
fn is_missing(before: u64, store: &dyn Keeper, answer: &Answer) -> bool {
    let downloaded = matches!(&answer.end, End::Made { downloaded_bytes, .. } if *downloaded_bytes > 0);
    downloaded || store.environments() > before
}

impl Replayed {
    /// Environments that were evicted.
    pub fn evictions(&self) -> u64 {
        self.made.saturating_sub(self.found.environments.len() as u64)
    }

    /// Share of requests that hit.
    pub fn hit_rate(&self) -> f64 {
        let hits = self.answers.iter().filter(|answer| answer.end == End::Hit).count();
        hits as f64 / self.answers.len().max(1) as f64
    }

    /// What requests waited, in microseconds.
    pub fn waits_us(&self) -> Vec<f64> {
        self.answers.iter().map(|answer| answer.wait_us as f64).collect()
    }
}

/// The slice as a trace with what was measured: parts with what they take, and how long requests waited.
///
/// # Errors
/// The replay was not whole, or an environment of it is not on the volume.
pub fn learn(slice: &Slice, store: &dyn Keeper, replayed: &Replayed) -> Result<Recorded, TrialError> {
    if replayed.answers.len() < slice.requests.len() {
        return Err(TrialError::Other(
            "the first replay was stopped before its end".to_owned(),
        ));
    }
    let mut catalog = Catalog::default();
    let kind = store.kind();
    let volume = catalog.volume_mut(kind);
    volume.rest = replayed.found.beside;
    let parts: BTreeMap<&String, u32> = replayed
        .found
        .parts
        .iter()
        .map(|(name, weight)| (name, volume.part(name, *weight)))
        .collect();
    for (number, made) in slice.environments.iter().enumerate() {
        let path = store.published(made)?;
        let found = replayed
            .found
            .environments
            .get(&path)
            .ok_or_else(|| TrialError::Other(format!("the environment {path} was not measured")))?;
        volume.environment(Environment {
            key: number.to_string(),
            label: path,
            own: found.own,
            parts: found.parts.iter().filter_map(|part| parts.get(part).copied()).collect(),
        });
    }
    let events = slice.requests.iter().zip(&replayed.answers).map(|(asked, answer)| {
        let (met, downloaded_bytes, prepare_us) = match &answer.end {
            End::Made {
                downloaded_bytes,
                prepare_us,
                ..
            } => (Met::Miss, *downloaded_bytes, Some(*prepare_us)),
            _ => (Met::Hit, 0, None),
        };
        let on = Use {
            environment: asked.environment,
            request: u64::from(asked.environment),
            met: if asked.is_due { Met::Expired } else { met },
            is_due: asked.is_due,
            downloaded_bytes,
            prepare_us,
        };
        let mut uses = [None, None];
        uses[kind.index()] = Some(on);
        Event::Request(Request {
            at_us: asked.at_us,
            uses,
            wait_us: Some(answer.wait_us),
            held_us: 0,
        })
    });
    Ok(Recorded {
        events: events.collect(),
        catalog,
    })
}

/// What environments may take of a volume's room: the default budget, less what lies beside environments.
pub fn budget(room: Weight, beside: Weight) -> Weight {
    default_budget(room).saturating_sub(beside)
}
