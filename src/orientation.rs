//! N before its first rotation.

use crate::layout::Layout;

/// A padded unit vector, uniform on the sphere of the elements on which the dimer acts.
pub(crate) fn random(layout: &Layout, seed: u64) -> Vec<f32> {
    let mut random = SplitMix(seed);
    let mut orientation = vec![0.0_f32; layout.padded_len()];
    for tensor in layout.tensors().iter().filter(|tensor| layout.group(tensor).dimer) {
        let slot = &mut orientation[tensor.offset..tensor.offset + tensor.len];
        slot.fill_with(|| random.normal() as f32);
    }
    normalized(orientation).expect("a normal number is not zero, and some tensor has a dimer")
}

/// The unit vector along a padded one, without its elements in groups without dimer; none if
/// nothing is left.
pub(crate) fn unit(layout: &Layout, mut padded: Vec<f32>) -> Option<Vec<f32>> {
    for tensor in layout.tensors().iter().filter(|tensor| !layout.group(tensor).dimer) {
        padded[tensor.offset..tensor.offset + tensor.len].fill(0.0);
    }
    normalized(padded)
}

fn normalized(mut vector: Vec<f32>) -> Option<Vec<f32>> {
    let squares: f64 = vector.iter().map(|&x| f64::from(x) * f64::from(x)).sum();
    let scale = squares.sqrt().recip();
    vector.iter_mut().for_each(|x| *x = (f64::from(*x) * scale) as f32);
    (squares > 0.0).then_some(vector)
}

/// SplitMix64 (Steele, Lea, Flood 2014): enough for a start direction, and the same everywhere.
struct SplitMix(u64);

impl SplitMix {
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

    /// Standard normal (Box, Muller 1958).
    fn normal(&mut self) -> f64 {
        let radius = (-2.0 * self.uniform().ln()).sqrt();
        radius * (std::f64::consts::TAU * self.uniform()).cos()
    }
}
