//! [`SplitMix`]: random numbers of the host.

/// What the state grows by with each number.
const INCREMENT: u64 = 0x9e37_79b9_7f4a_7c15;

/// Numbers that a normal one takes.
const DRAWS: u64 = 2;

/// Fewest normal numbers for which a thread is worth its start.
const LEAST_SHARE: usize = 1 << 14;

/// SplitMix64 (Steele, Lea, Flood 2014): good enough for a start direction and for choices, and the same everywhere.
pub(crate) struct SplitMix(u64);

impl SplitMix {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(INCREMENT);
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

    /// Numbers of this size with random signs.
    pub(crate) fn fill_signs(&mut self, to: &mut [f32], size: f32) {
        for part in to.chunks_mut(u64::BITS as usize) {
            let bits = self.next();
            for (bit, x) in part.iter_mut().enumerate() {
                *x = if bits >> bit & 1 == 0 { size } else { -size };
            }
        }
    }

    /// Standard normal (Box, Muller 1958).
    pub(crate) fn normal(&mut self) -> f64 {
        let radius = (-2.0 * self.uniform().ln()).sqrt();
        radius * (std::f64::consts::TAU * self.uniform()).cos()
    }

    /// Standard normal numbers, the same as one after the other, by as many threads as there are cores: 30 ns each
    /// would be seconds for a large model.
    pub(crate) fn fill_normal(&mut self, to: &mut [f32]) {
        if to.len() <= LEAST_SHARE {
            return to.fill_with(|| self.normal() as f32);
        }
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let share = to.len().div_ceil(threads).max(LEAST_SHARE);
        let after = |numbers: usize| {
            Self(self.0.wrapping_add(INCREMENT.wrapping_mul(DRAWS * numbers as u64)))
        };
        let fill = |index: usize, part: &mut [f32]| {
            let mut own = after(index * share);
            part.fill_with(|| own.normal() as f32);
        };
        // Shares for which there was no thread.
        let mut left = Vec::new();
        std::thread::scope(|scope| {
            let mut shares = to.chunks_mut(share).enumerate();
            let first = shares.next();
            for (index, part) in shares {
                let thread = std::thread::Builder::new();
                if thread.spawn_scoped(scope, move || fill(index, part)).is_err() {
                    left.push(index);
                }
            }
            if let Some((index, part)) = first {
                fill(index, part);
            }
        });
        for (index, part) in to.chunks_mut(share).enumerate() {
            if left.contains(&index) {
                fill(index, part);
            }
        }
        *self = after(to.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By one thread or by several, and what comes after.
    #[test]
    fn numbers_are_those_of_one_thread() {
        for len in [0, 1, 7, LEAST_SHARE, LEAST_SHARE + 1, 5 * LEAST_SHARE + 3] {
            let mut alone = SplitMix::new(11);
            let expected: Vec<u32> = (0..len).map(|_| (alone.normal() as f32).to_bits()).collect();
            let mut together = SplitMix::new(11);
            let mut found = vec![f32::NAN; len];
            together.fill_normal(&mut found);
            assert_eq!(found.iter().map(|x| x.to_bits()).collect::<Vec<_>>(), expected, "{len}");
            assert_eq!(together.next(), alone.next(), "{len}");
        }
    }
}
