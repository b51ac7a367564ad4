//! Several dimers: one reference for each region, in which only what lies along N counts.

use super::Reference;
use crate::config::{Dimer, Rotation, Scope};
use crate::layout::{Group, Layout};

/// For each element, the number of its region; `None` with a global dimer.
fn regions_of(layout: &Layout, scope: Scope) -> Option<Vec<usize>> {
    let tensors = layout.tensors();
    let keys: Vec<usize> = match scope {
        Scope::Global => return None,
        Scope::PerTensor => (0..tensors.len()).collect(),
        Scope::PerGroup => tensors.iter().map(|tensor| layout.group_index(tensor)).collect(),
    };
    let mut used = keys.clone();
    used.sort_unstable();
    used.dedup();
    let number = |key| used.partition_point(|&other| other < key);
    let of_tensor = keys.into_iter().zip(tensors);
    Some(of_tensor.flat_map(|(key, tensor)| std::iter::repeat_n(number(key), tensor.len)).collect())
}

/// The sign with which region `region` is displaced in step `step`: a hash of both and the seed
/// (PCG-RXS-M-XS, O'Neill 2014).
pub fn sign(step: u32, region: u32, seed: u32) -> f64 {
    let mixed = |x: u32| {
        let state = x.wrapping_mul(747_796_405).wrapping_add(2_891_336_453);
        let word = ((state >> ((state >> 28) + 4)) ^ state).wrapping_mul(277_803_737);
        (word >> 22) ^ word
    };
    let bits = mixed(step ^ mixed(region ^ mixed(seed)));
    if bits & 0x8000_0000 != 0 { 1.0 } else { -1.0 }
}

impl Reference {
    /// Makes one dimer for each region, from the parts of N.
    pub(super) fn split(&mut self, layout: &Layout) {
        let Some(dimer) = &mut self.config.dimer else { return };
        let Some(region_of) = regions_of(layout, dimer.scope) else { return };
        let count = region_of.iter().max().map_or(0, |last| last + 1);
        let mut alone = self.clone();
        if let Some(dimer) = &mut alone.config.dimer {
            dimer.scope = Scope::Global;
        }
        self.regions = (0..count)
            .map(|region| {
                let mut part = alone.clone();
                for (i, &of) in region_of.iter().enumerate() {
                    part.groups[i].dimer &= of == region;
                }
                part.orientation = part.masked(&self.orientation);
                part
            })
            .collect();
    }

    fn is_reached(&self) -> bool {
        self.groups.iter().any(Group::is_reached)
    }

    /// One event: all dimers displaced at once with random signs.
    pub(super) fn rotate_regions(
        &mut self,
        dimer: &Dimer,
        distance: f64,
        g1: &[f64],
        gradient: &mut impl FnMut(&[f64]) -> Vec<f64>,
    ) {
        let Rotation::Gradient { rate } = dimer.rotation else { return };
        let reached = self.regions.iter().filter(|region| region.is_reached()).count();
        let scale = (reached as f64).sqrt().recip();
        let signs: Vec<f64> = (0..self.regions.len() as u32)
            .map(|region| sign(self.index as u32, region, dimer.seed as u32))
            .collect();
        let mut direction = vec![0.0; self.params.len()];
        for (region, sign) in self.regions.iter().zip(&signs) {
            let parts = direction.iter_mut().zip(&region.orientation);
            parts.for_each(|(d, n)| *d += sign * scale * n);
        }
        let product = self.measured(dimer, distance, &direction, g1, gradient);
        for (region, sign) in self.regions.iter_mut().zip(&signs) {
            if region.is_reached() {
                let own = region.masked(&product);
                let own: Vec<f64> = own.iter().map(|product| sign / scale * product).collect();
                region.rotate_along(dimer.seeks, rate, &own);
                region.smooth_curvature();
            }
        }
        self.orientation.fill(0.0);
        for region in &self.regions {
            let parts = self.orientation.iter_mut().zip(&region.orientation);
            parts.for_each(|(sum, n)| *sum += n);
        }
        let reached = || self.regions.iter().filter(|region| region.is_reached());
        let sought = |region: &Self| dimer.seeks.sign() * region.curvature;
        let found = reached().min_by(|a, b| sought(a).total_cmp(&sought(b)));
        if let Some(found) = found.cloned() {
            self.curvature = found.curvature;
            self.initial_curvature = found.initial_curvature;
            self.residual = found.residual;
            self.curvatures = found.curvatures;
        }
    }

    /// The corrections of all regions together; see [`Self::translate`].
    pub(super) fn translate_regions(
        &mut self,
        dimer: &Dimer,
        g1: &[f64],
        event: bool,
        before: &Self,
    ) -> Vec<f64> {
        let mut corrected = g1.to_vec();
        let theta = self.params.clone();
        let reached = self.reached() as f64;
        let regions = self.regions.iter_mut().zip(&before.regions);
        for (region, before) in regions.filter(|(region, _)| region.is_reached()) {
            region.shift = 0.0;
            region.params.clone_from(&theta);
            region.learning_rate = self.learning_rate;
            if event {
                let share = region.reached() as f64 / reached;
                region.update_norm = self.update_norm * share.sqrt();
            }
            let own = region.translate(dimer, g1, event, before);
            for i in 0..theta.len() {
                corrected[i] += own[i] - g1[i];
                self.params[i] += region.params[i] - theta[i];
            }
        }
        corrected
    }
}
