//! One request that is about to be recorded.

use std::collections::BTreeMap;
use std::time::SystemTime;

use hybrid_cache_model::contents::{Contents, EnvironmentContents, Prepared, UsedKeys, VolumeContents, name_of};
use hybrid_cache_model::{CachePolicy, CacheStatus, Lane, Outcome, Phase, Task, Tenant};
use hybrid_cache_sizing::trace::{Definition, Met, PartLine, RequestLine, UseLine};
use hybrid_cache_sizing::{Volume, Weight};

use crate::Epoch;

/// A task that has ended, with everything a trace needs.
#[derive(Clone, Copy, Debug)]
pub struct Noted<'a> {
    /// The task.
    pub task: &'a Task,
    /// Whose it is.
    pub tenant: &'a Tenant,
    /// The caches that it used.
    pub epoch: &'a Epoch,
    /// How it ended.
    pub outcome: &'a Outcome,
    /// What was noted while it ran.
    pub notes: &'a Notes,
}

/// What a driver notes of a task while it runs, beside its outcome.
#[derive(Clone, Debug, Default)]
pub struct Notes {
    /// The entries of the caches that it used.
    pub keys: UsedKeys,
    /// What was built for it; `None` if nothing was.
    pub prepared: Option<Box<Prepared>>,
    /// True if its request was cached but too old.
    pub expired: bool,
    /// False if this process adopted the task, so that the time its client waited is not known.
    pub is_whole: bool,
}

/// One line of the trace, which may lack what its environments are made of.
#[derive(Clone, Debug)]
pub struct Line {
    /// Microseconds since 1970.
    pub at_us: u64,
    pub tenant: Tenant,
    pub wait_us: Option<u64>,
    pub phases_us: BTreeMap<String, u64>,
    /// What it asked of each volume, by [`Volume::index`].
    pub uses: [Option<LineUse>; 2],
}

/// What a request asked of one volume.
#[derive(Clone, Debug)]
pub struct LineUse {
    /// The request's key, as the runner names it.
    pub key: String,
    /// The same, unique among the tenants.
    pub request: String,
    /// The environment; absent while it is not published.
    pub environment: Option<String>,
    pub met: Met,
    pub downloaded_bytes: u64,
    pub made_of: Option<Definition>,
}

impl Noted<'_> {
    /// The line; `None` if the task used none of the standing caches.
    pub fn line(&self) -> Option<Line> {
        if *self.epoch != Epoch::Standing || self.task.cache != CachePolicy::Use {
            return None;
        }
        let uses = [self.python(), self.system()];
        if uses.iter().all(Option::is_none) {
            return None;
        }
        let timeline = &self.outcome.timeline;
        let waited_us = timeline.total_us.saturating_sub(timeline.phase_us(Phase::UserCode));
        Some(Line {
            at_us: now_us(),
            tenant: self.tenant.clone(),
            wait_us: self.notes.is_whole.then_some(waited_us),
            phases_us: self.phases_us(),
            uses,
        })
    }

    fn python(&self) -> Option<LineUse> {
        let request = self.notes.keys.python_request.as_deref()?;
        let made = self
            .made(Volume::Python)
            .filter(|_| is_built(self.outcome.cache.python));
        let one = made.and_then(|made| made.environments.first().map(|environment| (made, environment)));
        let known = self.notes.keys.python.as_deref().map(|key| name_of(key, self.tenant));
        Some(LineUse {
            key: request.to_owned(),
            request: name_of(request, self.tenant),
            environment: one.map(|(_, environment)| environment.name.clone()).or(known),
            met: met(self.outcome.cache.python, self.notes.expired)?,
            downloaded_bytes: downloaded(self.outcome.cache.python),
            made_of: one.map(|(made, environment)| Definition {
                label: self.label(),
                ..definition(made, environment)
            }),
        })
    }

    fn system(&self) -> Option<LineUse> {
        let key = self.notes.keys.system.as_deref()?;
        let name = name_of(key, self.tenant);
        let made = self
            .made(Volume::System)
            .filter(|_| is_built(self.outcome.cache.system));
        let one = made.and_then(|made| made.find(&name).map(|environment| (made, environment)));
        Some(LineUse {
            key: key.to_owned(),
            met: met(self.outcome.cache.system, false)?,
            downloaded_bytes: downloaded(self.outcome.cache.system),
            made_of: one.map(|(made, environment)| definition(made, environment)),
            request: name.clone(),
            environment: Some(name),
        })
    }

    fn made(&self, volume: Volume) -> Option<&VolumeContents> {
        volume_contents(&self.notes.prepared.as_ref()?.contents, volume)
    }

    /// The names of the requested packages. They describe a new environment, and are fewer than what it contains.
    fn label(&self) -> String {
        let names: Vec<&str> = self.task.requirements.iter().map(|one| one.name()).collect();
        match names.split_at_checked(4) {
            Some((shown, more)) if !more.is_empty() => format!("{} and {} more", shown.join(", "), more.len()),
            _ => names.join(", "),
        }
    }

    /// What the client waited for, by phase. Publishing does not count, because it runs beside the user's program.
    fn phases_us(&self) -> BTreeMap<String, u64> {
        let mut phases = BTreeMap::new();
        let spans = self.outcome.timeline.spans.iter();
        for span in spans.filter(|span| span.lane != Lane::Publish && span.duration_us > 0) {
            *phases.entry(name(span.phase)).or_insert(0) += span.duration_us;
        }
        phases
    }
}

impl Line {
    /// The line in the trace's format. Leaves out a use whose environment never became known; `None` if no use is left.
    pub fn into_request(self) -> Option<RequestLine> {
        let Line {
            at_us,
            tenant,
            wait_us,
            phases_us,
            uses,
        } = self;
        let [python, system] = uses.map(|asked| {
            let asked = asked?;
            Some(UseLine {
                request: asked.request,
                environment: asked.environment?,
                result: asked.met,
                downloaded_bytes: asked.downloaded_bytes,
                made_of: asked.made_of,
            })
        });
        (python.is_some() || system.is_some()).then(|| RequestLine {
            at_us,
            tenant: tenant.to_string(),
            python,
            system,
            wait_us,
            phases_us,
        })
    }
}

/// The time of day in microseconds since 1970.
pub fn now_us() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    u64::try_from(since.unwrap_or_default().as_micros()).unwrap_or(u64::MAX)
}

/// One volume's part of a list.
pub fn volume_contents(contents: &Contents, volume: Volume) -> Option<&VolumeContents> {
    match volume {
        Volume::Python => contents.python.as_ref(),
        Volume::System => contents.system.as_ref(),
    }
}

/// What a listed environment is made of, in the trace's format.
pub fn definition(listed: &VolumeContents, environment: &EnvironmentContents) -> Definition {
    Definition {
        label: environment.label.clone(),
        own: environment.own.into(),
        parts: listed
            .parts_of(environment)
            .map(|part| PartLine::New(part.0.clone(), part.1, part.2))
            .collect(),
    }
}

/// What counts against a volume's budget beside its environments.
pub fn rest(listed: &VolumeContents) -> Weight {
    listed.rest.into()
}

fn is_built(status: CacheStatus) -> bool {
    matches!(status, CacheStatus::Built { .. })
}

fn downloaded(status: CacheStatus) -> u64 {
    match status {
        CacheStatus::Built { downloaded_bytes, .. } => downloaded_bytes,
        _ => 0,
    }
}

fn met(status: CacheStatus, expired: bool) -> Option<Met> {
    match status {
        CacheStatus::Hit => Some(Met::Hit),
        CacheStatus::Built { .. } if expired => Some(Met::Expired),
        CacheStatus::Built { .. } => Some(Met::Miss),
        CacheStatus::Bypassed | CacheStatus::NotAsked => None,
    }
}

/// A phase's name in JSON.
fn name(phase: Phase) -> String {
    match serde_json::to_value(phase) {
        Ok(serde_json::Value::String(name)) => name,
        _ => phase.label().to_owned(),
    }
}
