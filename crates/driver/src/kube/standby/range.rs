//! How many standby pods are kept.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Most standby pods of one pool.
const MAX_PODS: u32 = 500;

/// How many standby pods are kept for each tenant: a fixed number, or one that follows arrivals. Written `4` or `2..8`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct StandbyRange {
    min: u32,
    max: u32,
}

/// Why a text is not a range.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StandbyRangeError {
    /// It has another form.
    #[error("{0:?} is not a number of standby pods, such as `4`, and not a range, such as `2..8`")]
    Form(String),
    /// The upper limit is below the lower one.
    #[error("{min}..{max} ends below its beginning")]
    Reversed {
        /// The lower limit.
        min: u32,
        /// The upper limit.
        max: u32,
    },
    /// It allows no pod.
    #[error("0 standby pods are none: leave the option out")]
    None,
    /// It allows too many.
    #[error("{0} standby pods are more than {MAX_PODS}")]
    TooMany(u32),
}

impl StandbyRange {
    /// The pods that are kept however few tasks arrive.
    pub fn min(self) -> u32 {
        self.min
    }

    /// The pods that are kept at most.
    pub fn max(self) -> u32 {
        self.max
    }

    /// The number in this range that is nearest to `wanted`.
    pub fn nearest(self, wanted: u32) -> u32 {
        wanted.clamp(self.min, self.max)
    }
}

impl FromStr for StandbyRange {
    type Err = StandbyRangeError;

    fn from_str(text: &str) -> Result<StandbyRange, StandbyRangeError> {
        let number = |part: &str| {
            let is_plain = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
            let parsed = part.parse::<u32>().ok().filter(|_| is_plain);
            parsed.ok_or_else(|| StandbyRangeError::Form(text.to_owned()))
        };
        let (min, max) = match text.split_once("..") {
            Some((min, max)) => (number(min)?, number(max)?),
            None => (number(text)?, number(text)?),
        };
        match (min, max) {
            _ if min > max => Err(StandbyRangeError::Reversed { min, max }),
            (_, 0) => Err(StandbyRangeError::None),
            _ if max > MAX_PODS => Err(StandbyRangeError::TooMany(max)),
            _ => Ok(StandbyRange { min, max }),
        }
    }
}

impl TryFrom<String> for StandbyRange {
    type Error = StandbyRangeError;

    fn try_from(text: String) -> Result<StandbyRange, StandbyRangeError> {
        text.parse()
    }
}

impl From<StandbyRange> for String {
    fn from(range: StandbyRange) -> String {
        range.to_string()
    }
}

impl fmt::Display for StandbyRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.min == self.max {
            write!(f, "{}", self.min)
        } else {
            write!(f, "{}..{}", self.min, self.max)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_and_a_range_are_read_and_written_the_same() {
        for text in ["1", "4", "0..3", "2..8"] {
            assert_eq!(text.parse::<StandbyRange>().unwrap().to_string(), text);
        }
        let range: StandbyRange = "2..8".parse().unwrap();
        assert_eq!([0, 5, 9].map(|wanted| range.nearest(wanted)), [2, 5, 8]);
        assert_eq!("3..3".parse::<StandbyRange>().unwrap().to_string(), "3");
    }

    #[test]
    fn what_is_not_a_range_is_refused_with_the_reason() {
        for text in ["", "x", "-1", "+1", "1.5", "2..", "..2", "1...3", "4294967296"] {
            assert_eq!(
                text.parse::<StandbyRange>(),
                Err(StandbyRangeError::Form(text.to_owned())),
                "{text}"
            );
        }
        assert_eq!(
            "3..2".parse::<StandbyRange>(),
            Err(StandbyRangeError::Reversed { min: 3, max: 2 })
        );
        assert_eq!("0".parse::<StandbyRange>(), Err(StandbyRangeError::None));
        assert_eq!("1..501".parse::<StandbyRange>(), Err(StandbyRangeError::TooMany(501)));
    }
}
