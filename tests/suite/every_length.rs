//! Rotations by Rayleigh–Ritz and by gradient, every difference and displacement, the preconditioner's metric, the learning
//! rate from curvature, several dimers, sets of modes and sums over minibatches against f64, at every length, with NaN in
//! the padding of all gradients. They run on any device, in a browser too.

use crate::common::*;
use dimer::reference::{self, Reference};
use dimer::{
    Accumulated, Base, Config, CurvatureRate, Difference, Dimer, Displacement, Evaluation, Gpu,
    Layout, LearningRate, Metric, Objective, Optimizer, RateProbe, Regime, RelativeDisplacement,
    Rotation, RotationRate, Schedule, Scope, Spectrum, SpectrumConfig, StepInfo, Translation, wgpu,
};
use rand::RngExt;

/// The bits of a NaN, which arithmetic on a GPU need not keep.
const NAN: u32 = 0x7fc0_0000;

const WGSL: &str = "
@group(0) @binding(0) var<storage, read> params: array<f32>;
@group(0) @binding(1) var<storage, read> h: array<u32>;
@group(0) @binding(2) var<storage, read> b: array<f32>;
@group(0) @binding(3) var<storage, read_write> gradient: array<u32>;

@compute @workgroup_size(64)
fn gradient_of_diagonal(@builtin(global_invocation_id) thread: vec3u) {
    let i = thread.x;
    if i < arrayLength(&h) {
        let product = bitcast<u32>(bitcast<f32>(h[i]) * (params[i] - b[i]));
        gradient[i] = select(product, h[i], h[i] == 0x7fc00000u);
    }
}";

/// The kernel of [`Diagonal`].
fn pipeline(gpu: &Gpu) -> wgpu::ComputePipeline {
    let module = gpu.device().create_shader_module(wgpu::ShaderModuleDescriptor {
        label: None,
        source: wgpu::ShaderSource::Wgsl(WGSL.into()),
    });
    gpu.device().create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
        label: None,
        layout: None,
        module: &module,
        entry_point: None,
        compilation_options: Default::default(),
        cache: None,
    })
}

/// ½ Σ hᵢ (θᵢ − bᵢ)², on the GPU. Its gradients round twice.
struct Diagonal {
    h: Vec<f64>,
    b: Vec<f64>,
    pipeline: wgpu::ComputePipeline,
    /// h and b as the layout has them, once they are there; in the padding, h is not a number.
    vectors: Option<[wgpu::Buffer; 2]>,
}

impl Diagonal {
    /// Curvatures from −1 to 2, and gradients that are never near zero on the way.
    fn new(pipeline: &wgpu::ComputePipeline, seed: u64, len: usize) -> Self {
        let mut rng = rng(seed);
        let mut draw = |from: f32, to: f32| -> Vec<f64> {
            (0..len).map(|_| rng.random_range(from..to).into()).collect()
        };
        let (mut h, b) = (draw(0.5, 2.0), draw(4.0, 5.0));
        // Apart from the others, so that N has a limit that rounding does not decide.
        h[len / 2] = -1.0;
        Self { h, b, pipeline: pipeline.clone(), vectors: None }
    }

    fn gradient_at(&self, params: &[f64]) -> Vec<f64> {
        let parts = self.h.iter().zip(&self.b).zip(params);
        parts.map(|((h, b), x)| h * (x - b)).collect()
    }
}

/// `values` as the layout has them, with NaN in between.
fn padded(layout: &Layout, values: &[f64]) -> Vec<f32> {
    let mut padded = vec![f32::from_bits(NAN); layout.padded_len()];
    let mut rest = values;
    for tensor in layout.tensors() {
        let (values, others) = rest.split_at(tensor.len);
        let places = &mut padded[tensor.offset..tensor.offset + tensor.len];
        places.iter_mut().zip(values).for_each(|(place, value)| *place = *value as f32);
        rest = others;
    }
    padded
}

impl Objective for Diagonal {
    fn gradient(&mut self, at: Evaluation<'_>) -> dimer::Result<()> {
        let vectors = self.vectors.get_or_insert_with(|| {
            [&self.h, &self.b].map(|values| {
                let padded = padded(at.layout, values);
                let buffer = at.gpu.device().create_buffer(&wgpu::BufferDescriptor {
                    label: None,
                    size: 4 * padded.len() as u64,
                    usage: wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_DST,
                    mapped_at_creation: false,
                });
                at.gpu.queue().write_buffer(&buffer, 0, bytemuck::cast_slice(&padded));
                buffer
            })
        });
        let resources = [
            at.params.as_binding(),
            vectors[0].as_entire_binding(),
            vectors[1].as_entire_binding(),
            at.gradient.as_binding(),
        ];
        let entries: Vec<_> = (0..)
            .zip(resources)
            .map(|(binding, resource)| wgpu::BindGroupEntry { binding, resource })
            .collect();
        let bindings = at.gpu.device().create_bind_group(&wgpu::BindGroupDescriptor {
            label: None,
            layout: &self.pipeline.get_bind_group_layout(0),
            entries: &entries,
        });
        let mut pass = at.encoder.begin_compute_pass(&Default::default());
        pass.set_pipeline(&self.pipeline);
        pass.set_bind_group(0, &bindings, &[]);
        pass.dispatch_workgroups(at.layout.padded_len().div_ceil(64) as u32, 1, 1);
        Ok(())
    }

    fn is_deterministic(&self) -> bool {
        true
    }
}

/// An optimizer with a dimer whose kernels are noted, and the reference with the same N.
async fn beside_reference(gpu: &Gpu, config: Config, start: &[f32]) -> (Optimizer, Reference) {
    let layout = Layout::flat(start.len()).unwrap();
    let mut optimizer = Optimizer::new(gpu, layout.clone(), config.clone(), start).unwrap();
    watch_kernels(&mut optimizer);
    let n = wide(&optimizer.read_orientation_async().await.unwrap().unwrap());
    let reference = Reference::new(&layout, config, &wide(start), &n);
    (optimizer, reference)
}

#[test]
fn alternating_evaluations() {
    pollster::block_on(check_alternating(&gpu(), &LENGTHS));
}

/// Eight steps with one gradient each, of two base optimizers.
pub async fn check_alternating(gpu: &Gpu, lengths: &[usize]) {
    let pipeline = pipeline(gpu);
    for base in [MOMENTUM, ADAMW] {
        for (seed, &len) in (280..).zip(lengths) {
            say!("{base:?}, length {len}");
            let dimer = Dimer { displacement: Displacement::Absolute(1.0), ..Dimer::alternating() };
            let learning_rate = LearningRate::Fixed(1e-3);
            let config = Config { base, learning_rate, dimer: Some(dimer), ..fixed_rate() };
            let start = vector(&mut rng(seed), len, Kind::Plain);
            let mut objective = Diagonal::new(&pipeline, seed + 100, len);
            let of_reference = Diagonal::new(&pipeline, seed + 100, len);
            let (mut optimizer, mut reference) = beside_reference(gpu, config, &start).await;
            for _ in 0..8 {
                optimizer.step_async(&mut objective).await.unwrap();
                reference.step(|params| of_reference.gradient_at(params));
                let record = *optimizer.telemetry_async().await.unwrap().last().unwrap();
                // A product is a difference of gradients of about 10, over twice the distance; half of its error is left
                // after each later one. Its norm has been as large as κ, and so has the error of it.
                let product = 100.0 * UNIT * (1.0 + reference.curvature_scale);
                assert_within("C", record.curvature.into(), reference.curvature, product);
                assert_within("‖F‖", record.residual.into(), reference.residual, product);
                let error = reference.difference_error;
                assert_within("error of C", record.difference_error.into(), error, product);
                // Each turn moves N by that error in units of κ.
                let g = reference::norm(&of_reference.gradient_at(&reference.params));
                let projection = reference.projection;
                assert_within(
                    "g·N",
                    record.projection.into(),
                    projection,
                    100.0 * UNIT * (1.0 + g),
                );
                let shift = reference.shift;
                assert_within("shift", record.shift.into(), shift, 100.0 * UNIT * shift.abs());
            }
            let n = optimizer.read_orientation_async().await.unwrap().unwrap();
            // Each turn adds η/κ of an element's error in the product, some 50 units, of which momentum leaves five-fold.
            assert_all_within("N", &n, &reference.orientation, |i| {
                UNIT * (75.0 + 4.0 * reference.orientation[i].abs())
            });
            // Two roundings of θ in each step, and of what it moves by.
            let params = optimizer.read_params_async().await.unwrap();
            assert_all_within("θ", &params, &reference.params, |i| {
                16.0 * UNIT * (1.0 + 2.0 * reference.params[i].abs())
            });
            note_kernels(&mut optimizer).await;
        }
    }
}

#[test]
fn rotations() {
    pollster::block_on(check_rotations(&gpu(), &LENGTHS));
}

/// Every rotation, with forward and with central differences, in either metric, at a given distance and at one that is
/// relative to ‖θ‖. C is that of N, to 20 units of the spectrum's width for each of the rotations
/// so far, of which an event has at most three. N is that of the reference: a part that grows from 1/√n has errors of the
/// gradients relative to that, some 100 units times √n in all.
pub async fn check_rotations(gpu: &Gpu, lengths: &[usize]) {
    let absolute = Displacement::Absolute(1.0);
    let relative = RelativeDisplacement { factor: 1.0, minimum: 1.0 };
    let dimer = Dimer {
        rotation: Rotation::locally_optimal(Regime::Stochastic),
        schedule: Schedule::Every(1),
        displacement: absolute,
        ..Dimer::default()
    };
    let of = |rotation| Dimer { rotation, ..dimer.clone() };
    let dimers = [
        dimer.clone(),
        of(Rotation::locally_optimal(Regime::rotations(3))),
        of(Rotation::optimal_angle(Regime::rotations(2))),
        of(Rotation::gradient(RotationRate::Fixed(0.1))),
        Dimer { displacement: Displacement::Relative(relative), ..dimer.clone() },
        Dimer { difference: Difference::Central, ..dimer.clone() },
        Dimer { metric: Metric::Preconditioner, translation: Translation::None, ..dimer.clone() },
    ];
    let pipeline = pipeline(gpu);
    for dimer in dimers {
        for (seed, &len) in (210..).zip(lengths) {
            say!("{dimer:?}, length {len}");
            let config = Config {
                learning_rate: LearningRate::Fixed(1e-3),
                dimer: Some(dimer.clone()),
                ..fixed_rate()
            };
            let start = vector(&mut rng(seed), len, Kind::Plain);
            let mut objective = Diagonal::new(&pipeline, seed + 100, len);
            let of_reference = Diagonal::new(&pipeline, seed + 100, len);
            let (mut optimizer, mut reference) = beside_reference(gpu, config, &start).await;
            let mut n = reference.orientation.clone();
            for event in 1..=4 {
                let scales = match dimer.metric {
                    Metric::Preconditioner => inverse_roots(&reference),
                    _ => vec![1.0; len],
                };
                optimizer.step_async(&mut objective).await.unwrap();
                reference.step(|params| of_reference.gradient_at(params));
                let record = *optimizer.telemetry_async().await.unwrap().last().unwrap();
                let before = n;
                n = wide(&optimizer.read_orientation_async().await.unwrap().unwrap());
                // A rotation by gradient measures along the N that it turns.
                let along = match dimer.rotation {
                    Rotation::Gradient { .. } => &before,
                    _ => &n,
                };
                let product: Vec<f64> = along
                    .iter()
                    .zip(&objective.h)
                    .zip(&scales)
                    .map(|((n, h), scale)| scale * scale * h * n)
                    .collect();
                let square = reference::dot(along, along);
                let expected = reference::dot(along, &product) / square;
                let bound = 20.0 * UNIT * 3.0 * f64::from(3 * event);
                assert_within("C", record.curvature.into(), expected, bound);
            }
            note_kernels(&mut optimizer).await;
            let cosine = reference::dot(&n, &reference.orientation).abs();
            let turned = 100.0 * UNIT * (len as f64).sqrt();
            assert_within("N·N'", cosine, 1.0, 0.5 * turned * turned + 4.0 * UNIT);
        }
    }
}

/// P^(−½) of AdamW before its next step; before the first one there is none.
fn inverse_roots(reference: &Reference) -> Vec<f64> {
    if reference.updates == 0 {
        return vec![1.0; reference.params.len()];
    }
    let correction = reference::bias_correction(0.999, reference.updates);
    let root = |v: &f64| ((v / correction).sqrt() + 1e-8).sqrt().recip();
    reference.second_moment.iter().map(root).collect()
}

#[test]
fn automatic_displacements() {
    pollster::block_on(check_automatic_displacements(&gpu(), &LENGTHS));
}

/// The displacement that finds its own size. On a quadratic C is the same over any distance but for rounding: of two
/// gradients and of a point, each twice since they round twice. Each event expects that error, and what it sees of it says
/// whether the next distance is half of this one or twice.
pub async fn check_automatic_displacements(gpu: &Gpu, lengths: &[usize]) {
    let dimer = Dimer {
        // So slow that N stays.
        rotation: Rotation::gradient(RotationRate::Fixed(1e-12)),
        displacement: Displacement::Automatic,
        ..Dimer::default()
    };
    let config = Config { dimer: Some(dimer.clone()), ..fixed_rate() };
    let pipeline = pipeline(gpu);
    for (seed, &len) in (250..).zip(lengths) {
        say!("length {len}");
        let start = vector(&mut rng(seed), len, Kind::Plain);
        let mut objective = Diagonal::new(&pipeline, seed + 100, len);
        let layout = Layout::flat(len).unwrap();
        let mut optimizer = Optimizer::new(gpu, layout.clone(), config.clone(), &start).unwrap();
        watch_kernels(&mut optimizer);
        let n = wide(&optimizer.read_orientation_async().await.unwrap().unwrap());
        let theta = wide(&start);
        let product: Vec<f64> = n.iter().zip(&objective.h).map(|(n, h)| n * h).collect();
        let curvature = reference::dot(&n, &product) / reference::dot(&n, &n);
        let gradient = reference::norm(&objective.gradient_at(&theta));
        let mut distance = Reference::new(&layout, config.clone(), &theta, &n).distance(&dimer);
        let length = reference::norm(&product) * reference::norm(&theta).max(1.0);
        for _ in 0..4 {
            optimizer.rotate_async(&mut objective).await.unwrap();
            let record = *optimizer.telemetry_async().await.unwrap().last().unwrap();
            assert_within("ΔR", record.displacement.into(), distance, 1e-5 * distance);
            let rounded = 2.0 * gradient + 2.0 * reference::norm(&theta);
            let bound = 2.0 * UNIT * rounded / distance + 20.0 * UNIT * 3.0;
            assert_within("C", record.curvature.into(), curvature, bound);
            // At twice the distance C is off by half as much.
            let expected = UNIT * (gradient + length) / distance;
            let difference_error = f64::from(record.difference_error);
            assert_within("error of C", difference_error, expected, 1.5 * bound);
            distance *= if difference_error > 2.0 * expected { 0.5 } else { 2.0 };
        }
        note_kernels(&mut optimizer).await;
    }
}

#[test]
fn learning_rates() {
    pollster::block_on(check_learning_rates(&gpu(), &LENGTHS));
}

/// The rate of a run, with either probe. What each measurement may be off by is as in `learning_rate.rs`.
pub async fn check_learning_rates(gpu: &Gpu, lengths: &[usize]) {
    let pipeline = pipeline(gpu);
    for (base, probe) in [
        (ADAMW, RateProbe::SeparateGradient),
        (MOMENTUM, RateProbe::SeparateGradient),
        (ADAMW, RateProbe::RepeatedMinibatch),
    ] {
        for (seed, &len) in (220..).zip(lengths) {
            say!("{probe:?}, length {len}");
            rate_follows(gpu, &pipeline, base, probe, seed, len).await;
        }
    }
}

async fn rate_follows(
    gpu: &Gpu,
    pipeline: &wgpu::ComputePipeline,
    base: Base,
    probe: RateProbe,
    seed: u64,
    len: usize,
) {
    let rate = CurvatureRate {
        probe,
        initial: 0.02,
        interval: 2,
        burn_in: 4,
        displacement: 0.25,
        ..CurvatureRate::default()
    };
    let config = Config { base, learning_rate: LearningRate::Curvature(rate), ..Config::default() };
    let start = vector(&mut rng(seed), len, Kind::Plain);
    let mut objective = Diagonal::new(pipeline, seed + 100, len);
    objective.h.iter_mut().for_each(|h| *h = h.abs());
    let of_reference =
        Diagonal { h: objective.h.clone(), ..Diagonal::new(pipeline, seed + 100, len) };
    let layout = Layout::flat(len).unwrap();
    let mut optimizer = Optimizer::new(gpu, layout.clone(), config.clone(), &start).unwrap();
    watch_kernels(&mut optimizer);
    let mut reference = Reference::new(&layout, config, &wide(&start), &[]);
    let mut measured = 0;
    for step in 0..8 {
        optimizer.step_async(&mut objective).await.unwrap();
        reference.step(|params| of_reference.gradient_at(params));
        let record = *optimizer.telemetry_async().await.unwrap().last().unwrap();
        measured += u32::from(record.rate_measured);
        let bound = 200.0 * UNIT * f64::from(step + 1);
        let q = reference.base_learning_rate;
        assert_within("q", record.base_learning_rate.into(), q, bound * q);
    }
    note_kernels(&mut optimizer).await;
    assert_that("three measurements", measured >= 3);
}

#[test]
fn regions() {
    pollster::block_on(check_regions(&gpu(), &LENGTHS));
}

/// A dimer for each tensor, with tensors of every length in one layout, then a rotation alone. The displacement of each is
/// 1/√k of what it would be alone among k, and so its C is that much less sure: 20 units of the spectrum's width times that,
/// for each rotation. N turns by a tenth of what is as sure as C, in each element. A step rounds θ twice and its own direction
/// by 32 units, of which the part along N is as sure as N.
pub async fn check_regions(gpu: &Gpu, lengths: &[usize]) {
    const RATE: f64 = 1e-3;
    let mut builder = Layout::builder();
    for len in lengths {
        builder.tensor(format!("of {len}"), &[*len]);
    }
    let layout = builder.build().unwrap();
    let pipeline = pipeline(gpu);
    let start = vector(&mut rng(230), layout.len(), Kind::Plain);
    let mut objective = Diagonal::new(&pipeline, 231, layout.len());
    let of_reference = Diagonal::new(&pipeline, 231, layout.len());
    let dimer = Dimer {
        scope: Scope::PerTensor,
        schedule: Schedule::Every(1),
        displacement: Displacement::Absolute(1.0),
        rotation: Rotation::gradient(RotationRate::Fixed(0.1)),
        ..Dimer::default()
    };
    let config = Config {
        learning_rate: LearningRate::Fixed(RATE),
        dimer: Some(dimer.clone()),
        ..fixed_rate()
    };
    let mut optimizer = Optimizer::new(gpu, layout.clone(), config.clone(), &start).unwrap();
    watch_kernels(&mut optimizer);
    let orientation = wide(&optimizer.read_orientation_async().await.unwrap().unwrap());
    let mut reference = Reference::new(&layout, config, &wide(&start), &orientation);
    let bound =
        |rotations: i32| 20.0 * UNIT * 3.0 * (lengths.len() as f64).sqrt() * f64::from(rotations);
    for rotation in 1..=5 {
        if rotation < 5 {
            optimizer.step_async(&mut objective).await.unwrap();
            reference.step(|params| of_reference.gradient_at(params));
        } else {
            optimizer.rotate_async(&mut objective).await.unwrap();
            let g1 = of_reference.gradient_at(&reference.params);
            reference.rotate(&dimer, &g1, &mut |params| of_reference.gradient_at(params));
        }
        let regions = optimizer.read_regions_async().await.unwrap();
        assert_eq!(regions.len(), lengths.len());
        for (region, expected) in regions.iter().zip(&reference.regions) {
            say!("{:?}: {} {}", region.tensors, region.curvature, expected.curvature);
            assert_within("C", region.curvature.into(), expected.curvature, bound(rotation));
        }
    }
    note_kernels(&mut optimizer).await;
    let n = optimizer.read_orientation_async().await.unwrap().unwrap();
    assert_all_within("N", &n, &reference.orientation, |_| bound(5));
    let theta = optimizer.read_params_async().await.unwrap();
    let step = 2.0 * UNIT + RATE * (32.0 * UNIT + bound(4));
    assert_all_within("θ", &theta, &reference.params, |_| 4.0 * step);
}

#[test]
fn modes() {
    pollster::block_on(check_modes(&gpu(), &LENGTHS));
}

/// The ends of a spectrum that is known, with forward and with central differences, at a given displacement and at one that
/// is searched. Each rotation rounds by 20 units of the spectrum's width; what is searched is small, and good to the error
/// that comes with it and to what rounding makes of a product over that distance.
pub async fn check_modes(gpu: &Gpu, lengths: &[usize]) {
    const ROTATIONS: u32 = 24;
    let pipeline = pipeline(gpu);
    let absolute = Displacement::Absolute(1.0);
    for (difference, displacement) in [
        (Difference::Forward, absolute),
        (Difference::Central, absolute),
        (Difference::Forward, Displacement::Automatic),
    ] {
        for (seed, &len) in (240..).zip(lengths) {
            say!("{difference:?}, {displacement:?}, length {len}");
            let mut objective = Diagonal::new(&pipeline, seed, len);
            let ends = [-4.0, 9.0, -3.0, 7.0, -2.0];
            let width = 13.0;
            for (i, end) in ends.into_iter().enumerate().take(len) {
                objective.h[i * (len - 1) / ends.len().min(len)] = end;
            }
            let mut expected = objective.h.clone();
            expected.sort_by(f64::total_cmp);
            let lowest = len.min(3);
            let config = Config { dimer: Some(Dimer::default()), ..fixed_rate() };
            let layout = Layout::flat(len).unwrap();
            let mut start = vec![0.0; len];
            if displacement == Displacement::Automatic {
                // Rounding of gradients that do not vanish here would hide most of a product over a small distance.
                start = vector(&mut rng(seed + 100), len, Kind::Plain);
                objective.b.fill(0.0);
            }
            let size = reference::norm(&wide(&start));
            let mut optimizer = Optimizer::new(gpu, layout, config, &start).unwrap();
            watch_kernels(&mut optimizer);
            let settings =
                SpectrumConfig { lowest, displacement, difference, ..SpectrumConfig::default() };
            let mut spectrum = Spectrum::with_config(&mut optimizer, settings).unwrap();
            for rotations in [1, ROTATIONS - 2, 1] {
                spectrum.rotate_async(&mut objective, rotations).await.unwrap();
            }
            let distance = spectrum.displacement_async().await.unwrap().unwrap();
            let found = spectrum.read_async().await.unwrap();
            note_kernels(&mut optimizer).await;
            assert_eq!(found.len(), lowest);
            for (mode, expected) in found.iter().zip(expected) {
                say!("{} ± {} {expected}, over {distance}", mode.curvature, mode.error);
                let rounding = 20.0 * UNIT * width * f64::from(ROTATIONS);
                if displacement == absolute {
                    assert_that("converged", mode.converged);
                    assert_within("λ", mode.curvature.into(), expected, rounding);
                } else {
                    let product = 2.0 * product_error(width, size, distance.into());
                    // What it says of itself counts only as far as it says little.
                    let bound = (f64::from(mode.error) + product + rounding).min(1e-3 * width);
                    assert_within("λ, searched", mode.curvature.into(), expected, bound);
                }
            }
        }
    }
}

#[test]
fn sums_over_minibatches() {
    pollster::block_on(check_sums_over_minibatches(&gpu(), &LENGTHS));
}

/// A prepared gradient for each minibatch, with NaN in the padding.
struct Minibatches {
    gradients: Vec<Vec<f32>>,
    chosen: usize,
}

impl Objective for Minibatches {
    fn begin_step(&mut self, step: StepInfo) -> dimer::Result<()> {
        self.chosen = step.index as usize;
        Ok(())
    }

    fn gradient(&mut self, at: Evaluation<'_>) -> dimer::Result<()> {
        let padded = padded(at.layout, &wide(&self.gradients[self.chosen]));
        let bytes = bytemuck::cast_slice(&padded);
        at.gpu.queue().write_buffer(&at.gradient.buffer, at.gradient.offset, bytes);
        Ok(())
    }
}

/// SGD at rate 1 along the mean of three gradients. Each is multiplied by its share and added, which rounds at most twice,
/// as does the step.
pub async fn check_sums_over_minibatches(gpu: &Gpu, lengths: &[usize]) {
    const COUNT: usize = 3;
    for (seed, &len) in (260..).zip(lengths) {
        say!("length {len}");
        let mut rng = rng(seed);
        let gradients: Vec<_> = (0..COUNT).map(|_| vector(&mut rng, len, Kind::Plain)).collect();
        let start = vector(&mut rng, len, Kind::Plain);
        let config = Config {
            base: SGD,
            learning_rate: LearningRate::Fixed(1.0),
            weight_decay: 0.0,
            dimer: None,
            ..Config::default()
        };
        let layout = Layout::flat(len).unwrap();
        let mut optimizer = Optimizer::new(gpu, layout, config, &start).unwrap();
        let minibatches = Minibatches { gradients: gradients.clone(), chosen: 0 };
        let mut mean = Accumulated::new(minibatches, COUNT).unwrap();
        optimizer.step_async(&mut mean).await.unwrap();
        let found = optimizer.read_params_async().await.unwrap();
        let parts = |i: usize| gradients.iter().map(move |gradient| f64::from(gradient[i]));
        let expected: Vec<f64> =
            (0..len).map(|i| f64::from(start[i]) - parts(i).sum::<f64>() / COUNT as f64).collect();
        assert_all_within("θ", &found, &expected, |i| {
            let size = parts(i).map(f64::abs).sum::<f64>() / COUNT as f64;
            2.0 * UNIT * (COUNT as f64 * size + size + f64::from(start[i]).abs())
        });
    }
}
