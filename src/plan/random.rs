//! [`SplitMix`]: random numbers of the host.

/// SplitMix64 (Steele, Lea, Flood 2014): good enough for a start direction and for choices, and the same everywhere.
pub(crate) struct SplitMix(u64);

impl SplitMix {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Uniform in (0, 1].
    fn uniform(&mut self) -> f64 {
        ((self.next() >> 11) + 1) as f64 * (0.5_f64).powi(53)
    }

    /// Uniform among the first `count` numbers.
    pub(crate) fn below(&mut self, count: u32) -> u32 {
        // The high half of the product: its bias is below 2⁻³².
        ((u128::from(self.next()) * u128::from(count)) >> u64::BITS) as u32
    }

    /// Standard normal (Box, Muller 1958).
    pub(crate) fn normal(&mut self) -> f64 {
        let radius = (-2.0 * self.uniform().ln()).sqrt();
        radius * (std::f64::consts::TAU * self.uniform()).cos()
    }
}
