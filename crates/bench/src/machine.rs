//! Describes the machine and the time of a measurement, read from the kernel.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use hybrid_cache_model::host_noise::HostNoise;
use hybrid_cache_tools::{Error, Result};
use jiff::Timestamp;

use crate::host::HostReading;

/// Free space below which a bench run does not start, in bytes: several toolchains are unpacked at the same time.
const MIN_FREE_BYTES: u64 = 3 << 30;

/// The current time, RFC 3339 in UTC, to the second.
pub fn now() -> String {
    let now = Timestamp::now();
    now.round(jiff::Unit::Second).unwrap_or(now).to_string()
}

/// The load average over one minute.
pub fn load1() -> f64 {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ')
        .next()
        .and_then(|first| first.parse().ok())
        .unwrap_or(0.0)
}

/// Times a run, and records the state of the machine meanwhile.
pub struct Stopwatch {
    started: Instant,
    started_at: String,
    load1: f64,
    before: HostReading,
}

/// The result of a [`Stopwatch`].
#[derive(Clone, Debug)]
pub struct Moment {
    /// Microseconds between start and stop.
    pub wall_us: u64,
    /// Wall-clock time at the start.
    pub started_at: String,
    /// Load average over one minute at the start.
    pub load1: f64,
    /// Share of CPU time stolen between start and stop.
    pub steal: Option<f64>,
    /// What else the machine did meanwhile.
    pub noise: HostNoise,
}

impl Stopwatch {
    /// Starts the stopwatch.
    pub fn start() -> Stopwatch {
        let (started_at, load1, before) = (now(), load1(), HostReading::now());
        Stopwatch {
            started: Instant::now(),
            started_at,
            load1,
            before,
        }
    }

    /// Stops the stopwatch.
    pub fn stop(self) -> Moment {
        let wall = self.started.elapsed();
        let after = HostReading::now();
        Moment {
            wall_us: micros(wall),
            started_at: self.started_at,
            load1: self.load1,
            steal: after.steal_since(&self.before),
            noise: after.since(&self.before),
        }
    }
}

/// A duration in whole microseconds.
pub fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// The kernel's name and release.
pub fn kernel() -> String {
    let name = rustix::system::uname();
    format!(
        "{} {}",
        name.sysname().to_string_lossy(),
        name.release().to_string_lossy()
    )
}

/// The distribution's name.
pub fn os() -> String {
    let text = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let name = text.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    name.map(|name| name.trim_matches('"').to_owned())
        .unwrap_or_else(|| "unknown".to_owned())
}

/// The processor's model name.
pub fn cpu() -> String {
    field("/proc/cpuinfo", "model name").unwrap_or_else(|| "unknown".to_owned())
}

/// Bytes of memory of the machine.
pub fn memory_bytes() -> u64 {
    let kibibytes = field("/proc/meminfo", "MemTotal").and_then(|value| value.split(' ').next()?.parse().ok());
    kibibytes.unwrap_or(0_u64) << 10
}

/// Number of processors that this process may use.
pub fn cpus() -> u32 {
    std::thread::available_parallelism().map_or(1, |count| u32::try_from(count.get()).unwrap_or(u32::MAX))
}

fn field(file: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(file).ok()?;
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

/// The type of the file system that holds `path`, found by the longest mount point above it.
pub fn file_system(path: &Path) -> String {
    // A folder that does not exist yet will be on the file system of its nearest existing ancestor.
    let Some(path) = path.ancestors().find_map(|folder| folder.canonicalize().ok()) else {
        return "unknown".to_owned();
    };
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let fields = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(1);
        Some((fields.next()?, fields.next()?))
    });
    // Of several mounts at one point the last one is on top; `max_by_key` returns that one.
    let best = fields
        .filter(|(point, _)| path.starts_with(point))
        .max_by_key(|(point, _)| point.len());
    best.map_or("unknown", |(_, kind)| kind).to_owned()
}

/// Bytes free for this user on the file system that holds `path`.
pub fn free_bytes(path: &Path) -> Option<u64> {
    let stat = path.ancestors().find_map(|folder| rustix::fs::statvfs(folder).ok())?;
    Some(stat.f_bavail * stat.f_frsize)
}

/// Refuses to start if a file system is nearly full.
///
/// # Errors
/// A file system is nearly full; the message says how much space a bench run needs.
pub fn check_space(root: &Path) -> Result<()> {
    match free_bytes(root) {
        Some(free) if free < MIN_FREE_BYTES => Err(Error::prerequisite(format!(
            "{} has {} MiB free, a bench run needs {} MiB\nhint: free some space or name another folder with --cache-dir",
            root.display(),
            free >> 20,
            MIN_FREE_BYTES >> 20
        ))),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_tells_what_it_is() {
        assert!(kernel().starts_with("Linux "));
        assert!(memory_bytes() > 1 << 20);
        assert_ne!(file_system(Path::new("/")), "unknown");
    }
}
