//! [`Storage`]: in which format the optimizer keeps its own vectors.

use std::borrow::Cow;

/// The format of N, the moments and the vectors of a rotation. Parameters, gradients and the probe are always
/// f32, and so is all arithmetic.
///
/// Memory in bytes per parameter, for AdamW at a fixed rate. A rate from curvature, the default, takes 8 more without a
/// dimer, for a probe and its gradient: 24, or with bf16 20.
///
/// | rotation | `F32` | `Bf16` |
/// | --- | ---: | ---: |
/// | no dimer (θ, g₁, two moments) | 16 | 12 |
/// | [`Rotation::Gradient`](crate::Rotation::Gradient) | 28 | 22 |
/// | [`Rotation::OptimalAngle`](crate::Rotation::OptimalAngle) | 44 | 30 |
/// | [`Rotation::LocallyOptimal`](crate::Rotation::LocallyOptimal) | 52 | 34 |
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize,
)]
#[non_exhaustive]
pub enum Storage {
    /// 4 bytes per element.
    #[default]
    F32,
    /// 2 bytes per element: the upper half of an f32, rounded up or down at random without bias (stochastic
    /// rounding), so that a moment also takes in changes below its last bit. The random bits follow from the
    /// step and the place, so they are the same on every run.
    ///
    /// Numbers have 8 significant bits, so C and a correction are off by about 10⁻³ of ‖HN‖. Not for
    /// [`Regime::FullBatch`](crate::Regime::FullBatch), whose products would be rounded
    /// once more in each rotation, nor for [`Difference::Central`](crate::Difference::Central) with a rotation by
    /// Rayleigh–Ritz, which keeps a gradient of f32 in between.
    Bf16,
}

impl Storage {
    /// Bytes per element.
    pub(crate) const fn bytes(self) -> u64 {
        match self {
            Self::F32 => 4,
            Self::Bf16 => 2,
        }
    }

    /// The stored form of `values`; for bf16 they are rounded to the nearest value.
    pub(crate) fn pack(self, values: &[f32]) -> Cow<'_, [u8]> {
        match self {
            Self::F32 => Cow::Borrowed(bytemuck::cast_slice(values)),
            Self::Bf16 => {
                let halves: Vec<u16> = values.iter().copied().map(nearest).collect();
                Cow::Owned(bytemuck::pod_collect_to_vec(&halves))
            }
        }
    }

    /// The values of a stored vector, exactly.
    pub(crate) fn unpack(self, bytes: &[u8]) -> Vec<f32> {
        match self {
            Self::F32 => bytemuck::pod_collect_to_vec(bytes),
            Self::Bf16 => {
                let halves: Vec<u16> = bytemuck::pod_collect_to_vec(bytes);
                halves.iter().map(|&half| f32::from_bits(u32::from(half) << 16)).collect()
            }
        }
    }
}

/// The bf16 nearest to a finite `value`; of two equally near ones, the even one.
fn nearest(value: f32) -> u16 {
    let bits = value.to_bits();
    let rounded = bits + 0x7fff + (bits >> 16 & 1);
    let overflows = rounded & 0x7f80_0000 == 0x7f80_0000;
    (if overflows { bits } else { rounded } >> 16) as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bf16_is_the_nearest_and_comes_back() {
        for bits in (0..=0x7f7f_u32).chain(0x8000..=0xff7f) {
            let value = f32::from_bits(bits << 16);
            assert_eq!(nearest(value), bits as u16, "{value:e}");
        }
        // Halfway to the even neighbour, and a bit to either side.
        let bits = 1.0_f32.to_bits();
        let cases = [(0x7fff, 0), (0x8000, 0), (0x8001, 1), (0x1_8000, 2), (0x1_7fff, 1)];
        for (more, steps) in cases {
            assert_eq!(nearest(f32::from_bits(bits + more)), 0x3f80 + steps, "{more:x}");
        }
        assert_eq!(nearest(f32::MAX), 0x7f7f);
        let values = [1.5, -2.0e-30, 0.0, 3.0e38];
        let back = Storage::Bf16.unpack(&Storage::Bf16.pack(&values));
        for (value, back) in values.iter().zip(back) {
            let bound = value.abs() / 256.0;
            assert!(approx::abs_diff_eq!(value, &back, epsilon = bound), "{value:e} {back:e}");
        }
    }
}
