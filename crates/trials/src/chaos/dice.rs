//! Reproducible random numbers: a seed, and for each fault its own sequence, independent of other faults.

use std::time::Duration;

/// A sequence of numbers that its seed determines (SplitMix64).
#[derive(Clone, Debug)]
pub struct Dice {
    state: u64,
}

impl Dice {
    /// The sequence of this seed for one purpose. Another purpose has another sequence.
    pub fn new(seed: u64, purpose: &str) -> Dice {
        // FNV-1a: only different purposes must differ.
        let hash = purpose.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        Dice { state: seed ^ hash }
    }

    /// The next number.
    pub fn roll(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `limit`; 0 if the limit is 0.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.roll().checked_rem(limit).unwrap_or(0)
    }

    /// A duration below `limit`, in whole microseconds.
    pub fn within(&mut self, limit: Duration) -> Duration {
        Duration::from_micros(self.below(u64::try_from(limit.as_micros()).unwrap_or(u64::MAX)))
    }

    /// One of the choices; `None` if there is none.
    pub fn pick<'a, T>(&mut self, choices: &'a [T]) -> Option<&'a T> {
        let place = self.below(choices.len() as u64);
        choices.get(usize::try_from(place).unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_repeats_itself_and_purposes_differ() {
        let rolls = |seed, purpose: &str| {
            let mut dice = Dice::new(seed, purpose);
            [0; 4].map(|_| dice.below(1000))
        };
        assert_eq!(rolls(7, "kill"), rolls(7, "kill"));
        assert_ne!(rolls(7, "kill"), rolls(7, "fill"));
        assert_ne!(rolls(7, "kill"), rolls(8, "kill"));
        assert_eq!(Dice::new(1, "").below(0), 0);
        assert_eq!(Dice::new(1, "").pick::<u8>(&[]), None);
    }
}
