//! [`Modes`]: the lowest modes of the loss at the parameters of an optimizer.

use super::{Optimizer, no_dimer};
use crate::config::{Difference, Displacement};
use crate::error::{Error, Result};
use crate::gpu::GpuSlice;
use crate::kernels::modes::{self, MAX_MODES, Results};
use crate::objective::{Objective, Point};
use crate::orientation;

/// The k lowest eigenpairs of the Hessian at the parameters of an [`Optimizer`], as a block with
/// Rayleigh–Ritz in the span of all modes, forces and directions (block LOBPCG, Knyazev 2001, SIAM J.
/// Sci. Comput. 23, 517). For looking at a loss, not for training: all gradients must be of the same
/// function, such as the full batch.
///
/// It measures by forward differences at the optimizer's [`Dimer::displacement`], and takes 6k vectors
/// on the GPU.
///
/// [`Dimer::displacement`]: crate::Dimer::displacement
///
/// ```
/// use dimer::{Config, Dimer, Displacement, Gpu, HostObjective, Layout, Modes, Optimizer};
///
/// // ½ Σ hᵢ θᵢ² with h = −3, −1, 1, 3 …
/// let mut objective = HostObjective::new(|theta: &[f32], gradient: &mut [f32]| {
///     for (i, (g, x)) in gradient.iter_mut().zip(theta).enumerate() {
///         *g = (2.0 * i as f32 - 3.0) * x;
///     }
///     0.0
/// });
/// let dimer = Dimer { displacement: Displacement::Absolute(1.0), ..Dimer::default() };
/// let config = Config { dimer: Some(dimer), ..Config::default() };
/// let mut optimizer = Optimizer::new(&Gpu::new()?, Layout::flat(20)?, config, &[0.0; 20])?;
/// let mut modes = Modes::new(&optimizer, 2, 0)?;
/// modes.rotate(&mut optimizer, &mut objective, 15)?;
/// let found = modes.read_blocking(&optimizer)?;
/// assert!((found[0].curvature + 3.0).abs() < 1e-3 && (found[1].curvature + 1.0).abs() < 1e-3);
/// assert!(found[0].orientation[0].abs() > 0.999);
/// # Ok::<(), dimer::Error>(())
/// ```
#[derive(Debug)]
pub struct Modes {
    block: modes::Modes,
    count: usize,
    /// That of the optimizer that it was made for.
    scalars: wgpu::Buffer,
}

/// One mode: an approximate eigenpair of the Hessian.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Eigenpair {
    /// The Ritz value, in loss per parameter².
    pub curvature: f32,
    /// ‖Hx − C x‖, in the same unit; below about 10⁻³ ‖Hx‖ it is rounding.
    pub residual: f32,
    /// x, of unit length, in the order of the layout and without padding.
    pub orientation: Vec<f32>,
}

impl Modes {
    /// A block of `count` random modes, from 1 to 8, for the layout of `optimizer`.
    ///
    /// # Errors
    /// [`Error::InvalidConfig`] for another count, for more modes than elements under the dimer,
    /// without a dimer, and with an automatic displacement or exact products; [`Error::LimitTooSmall`], [`Error::OutOfMemory`].
    pub fn new(optimizer: &Optimizer, count: usize, seed: u64) -> Result<Self> {
        let Optimizer { gpu, layout, state, .. } = optimizer;
        let Some(dimer) = &optimizer.config.dimer else {
            return Err(no_dimer("set, to find modes"));
        };
        if dimer.difference == Difference::Exact || dimer.displacement == Displacement::Automatic {
            return Err(Error::InvalidConfig {
                field: "dimer.displacement",
                value: "Automatic, or not used since products are Exact".into(),
                expected: "Absolute or Relative, with Forward or Central, to find modes",
            });
        }
        if !(1..=MAX_MODES.min(layout.dimer_len())).contains(&count) {
            return Err(Error::InvalidConfig {
                field: "modes",
                value: count.to_string(),
                expected: "from 1 to 8, and at most the elements under the dimer",
            });
        }
        let block = modes::Modes::new(gpu, layout, state, count)?;
        let all: Vec<usize> = (0..layout.tensors().len()).collect();
        let mut vectors: Vec<Vec<f32>> = Vec::new();
        for mode in 0..count {
            // Streams of one generator, far from each other.
            let seed = seed.wrapping_add((mode as u64) << 32);
            let random = orientation::random(layout, std::slice::from_ref(&all), seed);
            let vector = orthogonal(random, &vectors);
            for (offset, range) in block.places(mode) {
                let bytes = bytemuck::cast_slice(&vector[range]);
                gpu.queue().write_buffer(&block.workspace, offset, bytes);
            }
            vectors.push(vector);
        }
        Ok(Self { block, count, scalars: state.scalars.clone() })
    }

    /// Improves the modes at the current parameters by so many rotations, at 1 + k + k · `rotations`
    /// gradients, in one submission. The optimizer takes no step.
    ///
    /// # Errors
    /// What the objective returns, [`Error::Rejected`], [`Error::DeviceLost`], and
    /// [`Error::InvalidConfig`] for another optimizer than that of [`Modes::new`]. A gradient that is not
    /// finite is found by [`Modes::read_blocking`]. The modes are as they were then, but for the turns
    /// before it.
    pub fn rotate(
        &mut self,
        optimizer: &mut Optimizer,
        objective: &mut (impl Objective + ?Sized),
        rotations: u32,
    ) -> Result<()> {
        self.check_owner(optimizer)?;
        let gpu = optimizer.gpu.clone();
        let valid = std::mem::offset_of!(Results, valid) as u64;
        gpu.queue().write_buffer(&self.block.results, valid, bytemuck::bytes_of(&1_u32));
        optimizer.prepare()?;
        let mut encoder = gpu.encoder("modes");
        let parts = optimizer.parts();
        objective.begin_step(optimizer.index)?;
        objective.gradient(parts.evaluation(&mut encoder, Point::Centre))?;
        parts.set_displacement(&mut encoder, optimizer.index);
        let mut evaluations = 1;
        let mut measure = |encoder: &mut wgpu::CommandEncoder, first: usize| {
            for slot in first..first + self.count {
                self.block.aim(&mut encoder.begin_compute_pass(&Default::default()), slot);
                objective.gradient(parts.evaluation(encoder, Point::Probe))?;
                self.block.measure(&mut encoder.begin_compute_pass(&Default::default()), slot);
                evaluations += 1;
            }
            Ok::<(), Error>(())
        };
        measure(&mut encoder, 0)?;
        self.block.rotate(&mut encoder.begin_compute_pass(&Default::default()), 1);
        for rotation in 0..rotations {
            measure(&mut encoder, self.count)?;
            // The directions of an earlier call belong to another θ.
            let basis = if rotation == 0 { 2 } else { 3 };
            self.block.rotate(&mut encoder.begin_compute_pass(&Default::default()), basis);
        }
        gpu.submit("a rotation of modes", encoder)?;
        optimizer.gradient_evaluations += evaluations;
        Ok(())
    }

    /// The modes, the softest first.
    ///
    /// # Errors
    /// [`Error::NonFinite`] if a gradient was not; [`Error::InvalidConfig`] for another optimizer;
    /// [`Error::OutOfMemory`] or [`Error::DeviceLost`].
    pub fn read_blocking(&self, optimizer: &Optimizer) -> Result<Vec<Eigenpair>> {
        self.check_owner(optimizer)?;
        let gpu = &optimizer.gpu;
        let size = size_of::<Results>() as u64;
        let slice = GpuSlice { buffer: self.block.results.clone(), offset: 0, size };
        let results: Results = bytemuck::pod_read_unaligned(&gpu.read_blocking(&slice)?);
        if results.valid == 0 {
            return Err(Error::NonFinite {
                what: "a gradient of the modes",
                index: 0,
                value: f32::NAN,
            });
        }
        (0..self.count)
            .map(|mode| {
                let mut padded = vec![0.0; optimizer.layout.padded_len()];
                for (offset, range) in self.block.places(mode) {
                    let buffer = self.block.workspace.clone();
                    let slice = GpuSlice { buffer, offset, size: 4 * range.len() as u64 };
                    let bytes = gpu.read_blocking(&slice)?;
                    padded[range].copy_from_slice(&bytemuck::pod_collect_to_vec(&bytes));
                }
                Ok(Eigenpair {
                    curvature: results.curvatures[mode],
                    residual: results.residuals[mode],
                    orientation: optimizer.layout.unpad(&padded),
                })
            })
            .collect()
    }

    fn check_owner(&self, optimizer: &Optimizer) -> Result<()> {
        if self.scalars == optimizer.state.scalars {
            return Ok(());
        }
        Err(Error::InvalidConfig {
            field: "modes",
            value: "those of another optimizer".into(),
            expected: "the optimizer that they were made for",
        })
    }
}

/// The part of `vector` outside `others`, of unit length: few elements make random vectors all but
/// parallel.
fn orthogonal(vector: Vec<f32>, others: &[Vec<f32>]) -> Vec<f32> {
    let mut wide: Vec<f64> = vector.into_iter().map(f64::from).collect();
    let dot = |a: &[f64], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * f64::from(*b)).sum::<f64>();
    for other in others.iter().chain(others) {
        let along = dot(&wide, other);
        wide.iter_mut().zip(other).for_each(|(x, other)| *x -= along * f64::from(*other));
    }
    let norm = wide.iter().map(|x| x * x).sum::<f64>().sqrt();
    wide.iter().map(|x| (x / norm) as f32).collect()
}
