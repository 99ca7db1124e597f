//! A small generator: the same samples give the same report.

/// Steele, Lea and Flood's SplitMix64: ten lines, no dependency, and good enough to draw indices with.
pub struct SplitMix64(u64);

impl SplitMix64 {
    /// A sequence that this seed determines.
    pub fn seeded(seed: u64) -> SplitMix64 {
        SplitMix64(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// An index below `bound`, by multiplication: the bias is below 2^-50 for any sample that fits in memory.
    pub fn below(&mut self, bound: usize) -> usize {
        let wide = u128::from(self.next()) * bound as u128;
        usize::try_from(wide >> 64).unwrap_or(0)
    }
}
