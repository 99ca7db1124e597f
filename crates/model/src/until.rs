//! A bench run that goes on until its intervals are narrow.

use serde::{Deserialize, Serialize};

/// What such a run was asked for, and how it went.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UntilRecord {
    /// Half of the width that every interval should have at most, as a share of its value: 0.02 is ±2 %.
    pub width: f64,
    /// Minutes after which no further round begins.
    pub minutes: u32,
    /// Why it ended; absent if it was interrupted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<UntilEnd>,
    /// Each look at the intervals, in order, and the state at the end if the time was up before a look.
    pub looks: Vec<LookRecord>,
}

/// Why a run with [`UntilRecord`] ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UntilEnd {
    /// Every interval is narrow enough.
    Reached,
    /// The time, or the largest number of rounds, was up before.
    Capped,
    /// No cached run counts, so that no interval can become narrow.
    Nothing,
}

/// The widest interval at one look.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LookRecord {
    /// Rounds that were complete.
    pub rounds: u32,
    /// Whose interval it is, such as `hybrid cached`; absent if no cached run counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub about: Option<String>,
    /// Half its width as a share of its value; absent if there are too few rounds for an interval.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub width: Option<f64>,
}
