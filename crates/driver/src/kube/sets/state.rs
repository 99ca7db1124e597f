//! The state of the volume sets: how many tasks use each, and which cannot be used now. Pure but for its lock.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hybrid_cache_model::volume_set::VolumeSetStatus;
use hybrid_cache_sizing::placement;

use crate::kube::config::KubeConfig;
use crate::kube::sets::key;

/// How long tasks avoid a set that could not be used, before one of them tries it again.
pub const RETRY_PAUSE: Duration = Duration::from_secs(30);

/// What a task asks of a set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wish {
    /// Nothing: it uses no volume.
    Any,
    /// An environment.
    Environment {
        /// Its hash.
        key: u64,
        /// The sets that have it, as far as is known.
        known_on: Vec<usize>,
    },
}

/// The volume sets of one driver.
pub struct VolumeSets {
    names: Vec<String>,
    hashes: Vec<u64>,
    state: Mutex<State>,
}

struct State {
    sets: Vec<SetState>,
    /// Where the next task without a wish begins to look.
    turn: usize,
}

#[derive(Clone, Default)]
struct SetState {
    tasks: usize,
    down: Option<Down>,
}

#[derive(Clone, Copy)]
struct Down {
    since: Instant,
    retry_at: Instant,
}

impl VolumeSets {
    /// The sets of a configuration, all of them up.
    pub fn new(config: &KubeConfig) -> VolumeSets {
        let names: Vec<String> = config.sets().into_iter().map(|set| set.name).collect();
        VolumeSets {
            hashes: names.iter().map(|name| key::of_name(name)).collect(),
            state: Mutex::new(State {
                sets: vec![SetState::default(); names.len()],
                turn: 0,
            }),
            names,
        }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.names.len()
    }

    /// The place of the set with this name.
    pub fn find(&self, name: &str) -> Option<usize> {
        self.names.iter().position(|known| known == name)
    }

    /// Chooses a set for a task and counts the task there.
    pub fn place(self: &Arc<Self>, wish: &Wish, now: Instant) -> SetTicket {
        let mut state = self.lock();
        let place = match wish {
            Wish::Any => state.least_loaded(),
            Wish::Environment { key, known_on } => state.choose(&self.hashes, *key, known_on, now),
        };
        self.count_task(state, place)
    }

    /// Counts a task of a set that was chosen before.
    pub fn enter(self: &Arc<Self>, place: usize) -> SetTicket {
        self.count_task(self.lock(), place)
    }

    fn count_task(self: &Arc<Self>, mut state: MutexGuard<'_, State>, place: usize) -> SetTicket {
        // A place beyond the end, which no caller has, is the first one's.
        let place = if place < state.sets.len() { place } else { 0 };
        if let Some(set) = state.sets.get_mut(place) {
            set.tasks += 1;
        }
        SetTicket {
            sets: Arc::clone(self),
            place,
        }
    }

    /// Notes that a set cannot be used. False if no other set is up: then nothing changes, because there is nowhere to go.
    pub fn mark_down(&self, place: usize, now: Instant) -> bool {
        let mut state = self.lock();
        let is_other_up = |(other, set): (usize, &SetState)| other != place && set.down.is_none();
        if !state.sets.iter().enumerate().any(is_other_up) {
            return false;
        }
        if let Some(set) = state.sets.get_mut(place) {
            let since = set.down.map_or(now, |down| down.since);
            set.down = Some(Down {
                since,
                retry_at: now + RETRY_PAUSE,
            });
        }
        true
    }

    /// Notes that a pod that mounts volumes of a set got its node at `at`.
    pub fn note_scheduled(&self, place: usize, at: Instant) {
        if let Some(set) = self.lock().sets.get_mut(place)
            && set.down.is_some_and(|down| at > down.since)
        {
            set.down = None;
        }
    }

    /// What a person and metrics are told.
    pub fn status(&self) -> Vec<VolumeSetStatus> {
        let state = self.lock();
        let status = |(name, set): (&String, &SetState)| VolumeSetStatus {
            name: name.clone(),
            is_down: set.down.is_some(),
            tasks: set.tasks as u64,
        };
        self.names.iter().zip(&state.sets).map(status).collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // The state is complete between calls, even if one panicked.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The set with the fewest tasks; of several, each in turn.
    fn least_loaded(&mut self) -> usize {
        let count = self.sets.len().max(1);
        let first = self.turn;
        self.turn = (first + 1) % count;
        let in_turn = (0..count).map(|step| (first + step) % count);
        let up = in_turn.filter(|place| self.sets[*place].down.is_none());
        up.min_by_key(|place| self.sets[*place].tasks).unwrap_or(0)
    }

    fn choose(&mut self, hashes: &[u64], key: u64, known_on: &[usize], now: Instant) -> usize {
        let is_usable = |set: &SetState| set.down.is_none_or(|down| now >= down.retry_at);
        let usable: Vec<usize> = (0..self.sets.len())
            .filter(|place| is_usable(&self.sets[*place]))
            .collect();
        let choices = placement::choices(key, usable.iter().map(|place| (*place, hashes[*place])));
        let load = |place: usize| count(self.sets[place].tasks);
        let all: f64 = usable.iter().map(|place| load(*place)).sum();
        let mean = (all + 1.0) / count(usable.len().max(1));
        let chosen = placement::choose(choices, mean, load, |place| known_on.contains(&place)).unwrap_or(0);
        if let Some(down) = self.sets.get_mut(chosen).and_then(|set| set.down.as_mut()) {
            // This task tries it. The others wait for what comes of that.
            down.retry_at = now + RETRY_PAUSE;
        }
        chosen
    }
}

/// A number of tasks or sets. More than fit into 32 bits do not exist.
fn count(number: usize) -> f64 {
    u32::try_from(number).unwrap_or(u32::MAX).into()
}

/// A task that uses a set, until this is dropped.
pub struct SetTicket {
    sets: Arc<VolumeSets>,
    place: usize,
}

impl SetTicket {
    /// The set's place in the configuration.
    pub fn place(&self) -> usize {
        self.place
    }
}

impl Drop for SetTicket {
    fn drop(&mut self) {
        if let Some(set) = self.sets.lock().sets.get_mut(self.place) {
            set.tasks = set.tasks.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests;
