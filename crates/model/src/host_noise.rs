//! What else a machine did while a sample was taken, as its kernel counts it.

use serde::{Deserialize, Serialize};

/// Differences between two readings of the kernel's counters, before and after a sample. What the kernel does not report is absent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostNoise {
    /// Microseconds between the two readings.
    pub window_us: u64,
    /// Microseconds in which at least one task of the machine waited for a processor (`/proc/pressure/cpu`, `some`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_some_us: Option<u64>,
    /// Microseconds in which at least one task waited for the disk (`/proc/pressure/io`, `some`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub io_some_us: Option<u64>,
    /// Microseconds in which all tasks that were not idle waited for the disk (`full`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub io_full_us: Option<u64>,
    /// Microseconds in which at least one task waited for memory (`/proc/pressure/memory`, `some`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_some_us: Option<u64>,
    /// Microseconds in which all tasks that were not idle waited for memory (`full`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_full_us: Option<u64>,
    /// Microseconds in which threads of the measuring process were ready and waited for a processor (`/proc/self/task/*/schedstat`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_delay_us: Option<u64>,
    /// Times that a processor was slowed down because of its heat (`thermal_throttle/*_throttle_count`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub throttled: Option<u64>,
    /// Frequency of the slowest processor at the end, in kHz (`cpufreq/scaling_cur_freq`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slowest_khz: Option<u64>,
    /// Frequency of the fastest processor at the end, in kHz.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fastest_khz: Option<u64>,
}
