//! Reads a trace line by line. The caller provides the lines, so this module opens no file.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{
    Catalog, Event, Header, Met, Request, RequestLine, ResidentVolume, TraceError, Use, UseLine, VERSION, Volume,
};

/// Number of faults that are kept with their lines; further ones are only counted.
const KEPT_FAULTS: usize = 20;
/// Largest step back in time between two lines that counts as concurrent writers; a larger one counts as a clock that was set
/// back.
const DISORDER_US: u64 = 60_000_000;
/// Longest gap between two requests that is not reported; a clock that was set forward looks like a longer gap.
const GAP_US: u64 = 30 * 86_400 * 1_000_000;
/// The phase of a request in which the user's program runs, as reports name it.
const USER_CODE: &str = "user_code";

/// The problem of a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// The last line is incomplete; it was skipped.
    Truncated,
    /// The line is not a line of a trace; it was skipped.
    Malformed(String),
    /// The line has fields that this version does not know; they were ignored.
    UnknownFields(String),
    /// The line names an environment that no line defines; its use was ignored.
    UnknownEnvironment(String),
    /// The line names parts without a size in any line; they count as empty.
    UnknownParts(u32),
    /// The request is older than the previous one, by this many microseconds; it counts at its place in the file.
    OutOfOrder(u64),
    /// The clock was set back by this many microseconds; time continues from the previous line.
    ClockStep(u64),
    /// No request for this many microseconds: a pause, or a clock that was set forward.
    Gap(u64),
    /// A header of another version; the lines after it were skipped.
    OtherVersion(u32),
}

impl std::fmt::Display for FaultKind {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let seconds = |us: &u64| us / 1_000_000;
        match self {
            FaultKind::Truncated => write!(to, "the line ends in the middle; left out"),
            FaultKind::Malformed(why) => write!(to, "not a line of a trace ({why}); left out"),
            FaultKind::UnknownFields(names) => write!(to, "unknown fields {names}; left out"),
            FaultKind::UnknownEnvironment(key) => write!(to, "no line defines the environment {key}; left out"),
            FaultKind::UnknownParts(count) => write!(to, "{count} parts without a size; they count nothing"),
            FaultKind::OutOfOrder(us) => write!(to, "{us} µs older than the line before; taken in the file's order"),
            FaultKind::ClockStep(us) => write!(to, "the clock was set back by {} s; time goes on", seconds(us)),
            FaultKind::Gap(us) => write!(
                to,
                "{} s without a request: a pause, or a clock set forward",
                seconds(us)
            ),
            FaultKind::OtherVersion(found) => write!(to, "a header of version {found}; what follows is left out"),
        }
    }
}

/// A fault and its line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Number of the line, counted from 1.
    pub line: u64,
    /// The problem.
    pub kind: FaultKind,
}

/// The faults of a trace: the first ones in full, and the total number.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// The first faults.
    pub first: Vec<Fault>,
    /// Number of all faults.
    pub count: u64,
}

/// Parses a trace line by line.
#[derive(Debug, Default)]
pub struct Reader {
    catalog: Catalog,
    faults: Faults,
    line: u64,
    last_us: u64,
    /// Total time by which the clock was set back.
    behind_us: u64,
    requests: u64,
    is_other_version: bool,
    resolved_us: HashMap<u64, u64>,
}

impl Reader {
    /// Creates a reader at the beginning of a trace.
    pub fn new() -> Reader {
        Reader::default()
    }

    /// Parses the next line, without its line break, and calls `each` with its event. `is_whole` is false for a last line that has
    /// no line break.
    ///
    /// # Errors
    /// The text is not a trace, or is of another version.
    pub fn line(&mut self, text: &[u8], is_whole: bool, each: &mut dyn FnMut(&Event)) -> Result<(), TraceError> {
        self.line += 1;
        if text.iter().all(u8::is_ascii_whitespace) {
            return if self.line == 1 {
                Err(TraceError::NoHeader)
            } else {
                Ok(())
            };
        }
        if text.starts_with(b"{\"hybrid_cache_trace\"") || self.line == 1 {
            return self.header(text, each);
        }
        if self.is_other_version {
            return Ok(());
        }
        match parse::<RequestLine>(text) {
            Ok((line, unknown)) => {
                self.tell_unknown(unknown);
                self.request(&line, each);
            }
            Err(_) if !is_whole => self.fault(FaultKind::Truncated),
            Err(error) => self.fault(FaultKind::Malformed(error.to_string())),
        }
        Ok(())
    }

    /// Returns the catalog and the faults, after the last line.
    ///
    /// # Errors
    /// There were no lines, or no requests.
    pub fn finish(self) -> Result<(Catalog, Faults), TraceError> {
        if self.line == 0 {
            return Err(TraceError::Empty);
        }
        if self.requests == 0 {
            return Err(TraceError::NoRequests);
        }
        Ok((self.catalog, self.faults))
    }

    fn fault(&mut self, kind: FaultKind) {
        self.faults.count += 1;
        if self.faults.first.len() < KEPT_FAULTS {
            self.faults.first.push(Fault { line: self.line, kind });
        }
    }

    fn tell_unknown(&mut self, fields: Vec<String>) {
        if !fields.is_empty() {
            self.fault(FaultKind::UnknownFields(fields.join(", ")));
        }
    }

    fn header(&mut self, text: &[u8], each: &mut dyn FnMut(&Event)) -> Result<(), TraceError> {
        let is_first = self.line == 1;
        let version = serde_json::from_slice::<Value>(text)
            .ok()
            .and_then(|value| u32::try_from(value.get("hybrid_cache_trace")?.as_u64()?).ok());
        match version {
            Some(VERSION) => {}
            Some(found) if is_first => return Err(TraceError::Version { found }),
            Some(found) => {
                self.is_other_version = true;
                self.fault(FaultKind::OtherVersion(found));
                return Ok(());
            }
            None if is_first => return Err(TraceError::NoHeader),
            None => {
                self.fault(FaultKind::Malformed("a header that is not JSON".to_owned()));
                return Ok(());
            }
        }
        let header = match parse::<Header>(text) {
            Ok((header, unknown)) => {
                self.tell_unknown(unknown);
                header
            }
            Err(_) if is_first => return Err(TraceError::NoHeader),
            Err(error) => {
                self.fault(FaultKind::Malformed(error.to_string()));
                return Ok(());
            }
        };
        self.is_other_version = false;
        if is_first {
            self.catalog.max_age_s = header.max_age_s;
            self.last_us = header.begun_us;
        }
        for (volume, resident) in [(Volume::Python, &header.python), (Volume::System, &header.system)] {
            if let Some(resident) = resident {
                self.resident(volume, resident, is_first, each);
            }
        }
        Ok(())
    }

    fn resident(&mut self, volume: Volume, resident: &ResidentVolume, is_first: bool, each: &mut dyn FnMut(&Event)) {
        let mut used: Vec<(u64, u32)> = Vec::new();
        let mut unknown_parts = 0;
        let catalog = self.catalog.volume_mut(volume);
        catalog.rest = catalog.rest.max(resident.rest);
        for one in &resident.environments {
            let (number, unknown) = catalog.define(&one.environment, &one.made_of);
            unknown_parts += unknown;
            used.push((one.used_us, number));
        }
        if unknown_parts > 0 {
            self.fault(FaultKind::UnknownParts(unknown_parts));
        }
        used.sort_unstable();
        // A later header repeats what earlier lines have described.
        for (_, number) in used.into_iter().filter(|_| is_first) {
            each(&Event::Resident(volume, number));
        }
    }

    fn request(&mut self, line: &RequestLine, each: &mut dyn FnMut(&Event)) {
        let at_us = self.time(line.at_us);
        let mut uses = [None, None];
        for (volume, asked) in [(Volume::Python, &line.python), (Volume::System, &line.system)] {
            if let Some(asked) = asked {
                uses[volume.index()] = self.asked(volume, asked, at_us, line);
            }
        }
        if uses.iter().any(Option::is_some) {
            self.requests += 1;
            each(&Event::Request(Request {
                at_us,
                uses,
                wait_us: line.wait_us,
                held_us: line.phases_us.get(USER_CODE).copied().unwrap_or(0),
            }));
        }
    }

    fn asked(&mut self, volume: Volume, asked: &UseLine, at_us: u64, line: &RequestLine) -> Option<Use> {
        let catalog = self.catalog.volume_mut(volume);
        let environment = match &asked.made_of {
            Some(made_of) => {
                let (number, unknown) = catalog.define(&asked.environment, made_of);
                if unknown > 0 {
                    self.fault(FaultKind::UnknownParts(unknown));
                }
                number
            }
            None => match catalog.find(&asked.environment) {
                Some(number) => number,
                None => {
                    self.fault(FaultKind::UnknownEnvironment(asked.environment.clone()));
                    return None;
                }
            },
        };
        let request = hashed(volume, &asked.request);
        Some(Use {
            environment,
            request,
            met: asked.result,
            is_due: self.is_due(request, asked.result, at_us),
            downloaded_bytes: asked.downloaded_bytes,
            prepare_us: prepare_us(volume, line),
        })
    }

    /// True if the request was too old, or would have been if its environment had not been missing as well.
    fn is_due(&mut self, request: u64, met: Met, at_us: u64) -> bool {
        if met == Met::Hit {
            return false;
        }
        let before = self.resolved_us.insert(request, at_us);
        let age_us = before.map_or(0, |before| at_us.saturating_sub(before));
        let max_us = self.catalog.max_age_s.map(|seconds| seconds.saturating_mul(1_000_000));
        met == Met::Expired || max_us.is_some_and(|max_us| age_us > max_us)
    }

    /// The time of a line, adjusted so that time never runs backwards.
    fn time(&mut self, at_us: u64) -> u64 {
        let shifted_us = at_us.saturating_add(self.behind_us);
        let back_us = self.last_us.saturating_sub(shifted_us);
        if back_us > DISORDER_US && self.requests > 0 {
            self.behind_us += back_us;
            self.fault(FaultKind::ClockStep(back_us));
        } else if back_us > 0 && self.requests > 0 {
            self.fault(FaultKind::OutOfOrder(back_us));
        }
        let ahead_us = shifted_us.saturating_sub(self.last_us);
        if ahead_us > GAP_US && self.requests > 0 {
            self.fault(FaultKind::Gap(ahead_us));
        }
        self.last_us = if self.requests == 0 {
            shifted_us
        } else {
            shifted_us.max(self.last_us)
        };
        self.last_us
    }
}

/// Parses a line and returns the names of its unknown fields.
fn parse<T: DeserializeOwned>(text: &[u8]) -> Result<(T, Vec<String>), serde_json::Error> {
    let error = match serde_json::from_slice(text) {
        Ok(line) => return Ok((line, Vec::new())),
        Err(error) => error,
    };
    let mut value: Value = serde_json::from_slice(text)?;
    let mut names = Vec::new();
    let mut error = error;
    // Each round removes one name, so the loop ends after the last one.
    while let Some(name) = unknown_field(&error).filter(|name| remove(&mut value, name)) {
        names.push(name);
        match serde_json::from_value(value.clone()) {
            Ok(line) => return Ok((line, names)),
            Err(next) => error = next,
        }
    }
    Err(error)
}

/// The name in serde's message about an unexpected field.
fn unknown_field(error: &serde_json::Error) -> Option<String> {
    let message = error.to_string();
    let name = message.strip_prefix("unknown field `")?.split('`').next()?;
    Some(name.to_owned())
}

/// Removes a field at any depth; true if there was one.
fn remove(value: &mut Value, name: &str) -> bool {
    match value {
        Value::Object(fields) => {
            let removed = fields.remove(name).is_some();
            // `fold` visits every field; `any` would stop at the first.
            fields
                .values_mut()
                .fold(removed, |removed, field| remove(field, name) || removed)
        }
        Value::Array(items) => {
            let removed: Vec<bool> = items.iter_mut().map(|item| remove(item, name)).collect();
            removed.contains(&true)
        }
        _ => false,
    }
}

/// Time of the preparation for one volume before the program could start.
fn prepare_us(volume: Volume, line: &RequestLine) -> Option<u64> {
    let prefix = format!("{}_", volume.name());
    let waited = line
        .phases_us
        .iter()
        .filter(|(name, _)| name.starts_with(&prefix) && !name.ends_with("_publish"));
    waited.map(|(_, us)| *us).reduce(u64::saturating_add)
}

fn hashed(volume: Volume, request: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    (volume, request).hash(&mut hasher);
    hasher.finish()
}
