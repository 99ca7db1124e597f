//! A histogram of durations whose size does not depend on their number.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Deserializer, Serializer, V2DeflateSerializer};

/// Values above an hour are counted as an hour: no scenario runs that long, and the histogram needs a bound.
pub(crate) const LARGEST_US: u64 = 3_600_000_000;
/// Significant decimal digits kept by the histograms.
pub(crate) const DIGITS: u8 = 3;

/// Durations in microseconds. Those above an hour count as an hour; each value is kept to three significant digits.
#[derive(Clone, Debug)]
pub struct DurationHistogram(Histogram<u64>);

impl DurationHistogram {
    /// An empty one; `None` if the library refuses its bounds, which are constants.
    pub fn new() -> Option<DurationHistogram> {
        Histogram::new_with_bounds(1, LARGEST_US, DIGITS)
            .ok()
            .map(DurationHistogram)
    }

    /// Adds a duration.
    pub fn note(&mut self, us: u64) {
        // Its smallest value is 1; a duration below the clock's resolution becomes that.
        self.0.saturating_record(us.max(1));
    }

    /// How many there are.
    pub fn len(&self) -> u64 {
        self.0.len()
    }

    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The value that this share of all is at or below, in microseconds.
    pub fn at(&self, share: f64) -> u64 {
        self.0.value_at_quantile(share)
    }

    /// The largest, in microseconds.
    pub fn max(&self) -> u64 {
        self.0.max()
    }

    /// The histogram itself.
    pub(crate) fn histogram(&self) -> &Histogram<u64> {
        &self.0
    }

    /// As a record holds it: V2, deflated, base64.
    pub fn encode(&self) -> String {
        let mut bytes = Vec::new();
        // Writing to memory cannot fail, and the bounds are within what the form can hold.
        match V2DeflateSerializer::new().serialize(&self.0, &mut bytes) {
            Ok(_) => STANDARD.encode(bytes),
            Err(_) => String::new(),
        }
    }

    /// Reads what [`DurationHistogram::encode`] wrote; `None` if it is anything else.
    pub fn decode(text: &str) -> Option<DurationHistogram> {
        let bytes = STANDARD.decode(text).ok()?;
        let read = Deserializer::new().deserialize::<u64, _>(&mut bytes.as_slice());
        read.ok().map(DurationHistogram)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_histogram_is_read_as_it_was_written() {
        let mut spread = DurationHistogram::new().unwrap();
        assert!(spread.is_empty());
        for us in 0..=1000 {
            spread.note(us * 1000);
        }
        spread.note(u64::MAX);
        let read = DurationHistogram::decode(&spread.encode()).unwrap();
        assert_eq!((read.len(), spread.len()), (1002, 1002));
        for spread in [&spread, &read] {
            let median = spread.at(0.5);
            assert!((499_000..=501_000).contains(&median), "{median}");
            assert!(spread.max() >= LARGEST_US, "{}", spread.max());
        }
        for broken in ["", "AAAA", "no base64!"] {
            assert!(DurationHistogram::decode(broken).is_none(), "{broken}");
        }
    }
}
