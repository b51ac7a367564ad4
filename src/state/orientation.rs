//! N before its first rotation; with regions, one N in each.

use crate::layout::{Layout, Tensor};
use crate::plan::random::SplitMix;

/// A padded vector that is a unit vector in each of `regions`, uniform on the sphere of its elements
/// on which the dimer acts.
pub(crate) fn random(layout: &Layout, regions: &[Vec<usize>], seed: u64) -> Vec<f32> {
    let mut random = SplitMix::new(seed);
    let mut orientation = vec![0.0_f32; layout.padded_len()];
    for tensor in layout.tensors().iter().filter(|tensor| layout.group(tensor).is_reached()) {
        random.fill_normal(&mut orientation[range(tensor)]);
    }
    unit(layout, regions, orientation).expect("a normal number is not zero")
}

/// A padded unit vector whose elements on which the dimer acts are all of one size, with random signs (Rademacher).
pub(crate) fn signs(layout: &Layout, seed: u64) -> Vec<f32> {
    let mut random = SplitMix::new(seed);
    let mut vector = vec![0.0_f32; layout.padded_len()];
    let size = (layout.dimer_len() as f64).sqrt().recip() as f32;
    for tensor in layout.tensors().iter().filter(|tensor| layout.group(tensor).is_reached()) {
        random.fill_signs(&mut vector[range(tensor)], size);
    }
    vector
}

/// The unit vector along a padded one in each of `regions`, zero in groups without the dimer; `None` if it is
/// all zero in a region that the dimer reaches.
pub(crate) fn unit(
    layout: &Layout,
    regions: &[Vec<usize>],
    mut padded: Vec<f32>,
) -> Option<Vec<f32>> {
    for tensors in regions {
        let tensors = tensors.iter().map(|&index| &layout.tensors()[index]);
        let (reached, others): (Vec<_>, Vec<_>) =
            tensors.partition(|tensor| layout.group(tensor).is_reached());
        others.iter().for_each(|tensor| padded[range(tensor)].fill(0.0));
        let elements = reached.iter().flat_map(|tensor| &padded[range(tensor)]);
        let squares: f64 = elements.map(|&x| f64::from(x) * f64::from(x)).sum();
        if squares == 0.0 && !reached.is_empty() {
            return None;
        }
        let scale = squares.sqrt().recip();
        for tensor in reached {
            padded[range(tensor)].iter_mut().for_each(|x| *x = (f64::from(*x) * scale) as f32);
        }
    }
    Some(padded)
}

/// A padded vector that is zero where the dimer does not reach.
pub(crate) fn cut(layout: &Layout, mut padded: Vec<f32>) -> Vec<f32> {
    let others = layout.tensors().iter().filter(|tensor| !layout.group(tensor).is_reached());
    others.for_each(|tensor| padded[range(tensor)].fill(0.0));
    padded
}

/// Whether a padded N has elements where the dimer does not reach, as after a group was frozen.
pub(crate) fn reaches_beyond(layout: &Layout, padded: &[f32]) -> bool {
    let others = layout.tensors().iter().filter(|tensor| !layout.group(tensor).is_reached());
    others.flat_map(|tensor| &padded[range(tensor)]).any(|&n| n != 0.0)
}

fn range(tensor: &Tensor) -> std::ops::Range<usize> {
    tensor.offset..tensor.offset + tensor.len
}
