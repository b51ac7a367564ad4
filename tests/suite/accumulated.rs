//! An objective over several minibatches is the one of their mean: for steps, checks, products and spectra; with whatever
//! order of host and device an objective writes in; and a user can break off.

use crate::common::*;
use dimer::reference::dot;
use dimer::{
    Accumulated, Base, Config, Difference, Dimer, Displacement, Error, Evaluation, Gpu, GpuSlice,
    HessianProduct, HostObjective, Layout, LearningRate, Objective, Optimizer, Point, Sgd,
    Spectrum, SpectrumConfig, StepInfo,
};

const LEN: usize = 70;
const MINIBATCHES: usize = 5;

fn config() -> Config {
    Config { dimer: Some(Dimer::default()), ..fixed_rate() }
}

/// ½ Σ hᵢ (θᵢ − cᵢ)² with h and c of each minibatch.
#[derive(Clone)]
struct Data {
    h: Vec<Vec<f32>>,
    c: Vec<Vec<f32>>,
}

impl Data {
    fn new(seed: u64) -> Self {
        let mut rng = rng(seed);
        let mut vectors =
            || (0..MINIBATCHES).map(|_| vector(&mut rng, LEN, Kind::Plain)).collect::<Vec<_>>();
        Self { h: vectors(), c: vectors() }
    }

    /// The mean over all minibatches, with these weights, in f64: loss and gradient.
    fn mean(&self, theta: &[f32], weights: &[f64]) -> (f64, Vec<f64>) {
        let total: f64 = weights.iter().sum();
        let (mut loss, mut gradient) = (0.0, vec![0.0; LEN]);
        for ((h, c), weight) in self.h.iter().zip(&self.c).zip(weights) {
            for i in 0..LEN {
                let (h, away) = (f64::from(h[i]), f64::from(theta[i]) - f64::from(c[i]));
                gradient[i] += weight / total * h * away;
                loss += weight / total * 0.5 * h * away * away;
            }
        }
        (loss, gradient)
    }

    fn hessian(&self) -> Vec<f64> {
        let mean = |i: usize| self.h.iter().map(|h| f64::from(h[i])).sum::<f64>();
        (0..LEN).map(|i| mean(i) / MINIBATCHES as f64).collect()
    }
}

/// How a minibatch reaches the device.
#[derive(Clone, Copy, Debug, PartialEq)]
enum How {
    /// The parameters are read, and the gradient is written by the host.
    Host,
    /// The host writes h and c when the minibatch is chosen, before what is recorded with them.
    Recorded,
}

/// One minibatch at a time.
struct Minibatches {
    data: Data,
    chosen: usize,
    /// Moves on in every step, whatever its index.
    has_cursor: bool,
    /// The element that is left out.
    leaves_out: Option<usize>,
    device: Option<OnDevice>,
}

struct OnDevice {
    h: wgpu::Buffer,
    c: wgpu::Buffer,
    pipeline: wgpu::ComputePipeline,
}

const SHADER: &str = "
@group(0) @binding(0) var<storage, read> theta: array<f32>;
@group(0) @binding(1) var<storage, read> h: array<f32>;
@group(0) @binding(2) var<storage, read> c: array<f32>;
@group(0) @binding(3) var<storage, read_write> gradient: array<f32>;
@group(0) @binding(4) var<storage, read_write> loss: f32;
@compute @workgroup_size(1)
fn main() {
    var sum = 0.0;
    for (var i = 0u; i < 70u; i += 1u) {
        gradient[i] = h[i] * (theta[i] - c[i]);
        sum += 0.5 * gradient[i] * (theta[i] - c[i]);
    }
    loss = sum;
}";

impl OnDevice {
    fn new(gpu: &Gpu) -> Self {
        let device = gpu.device();
        let buffer = || {
            device.create_buffer(&wgpu::BufferDescriptor {
                label: None,
                size: 4 * LEN as u64,
                usage: wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_DST,
                mapped_at_creation: false,
            })
        };
        let module = device.create_shader_module(wgpu::ShaderModuleDescriptor {
            label: None,
            source: wgpu::ShaderSource::Wgsl(SHADER.into()),
        });
        let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: None,
            layout: None,
            module: &module,
            entry_point: None,
            compilation_options: Default::default(),
            cache: None,
        });
        Self { h: buffer(), c: buffer(), pipeline }
    }

    fn encode(&self, at: Evaluation<'_>) {
        let loss = GpuSlice::whole(at.loss.clone());
        let resources = [
            at.params.as_binding(),
            self.h.as_entire_binding(),
            self.c.as_entire_binding(),
            at.gradient.as_binding(),
            loss.as_binding(),
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
        pass.dispatch_workgroups(1, 1, 1);
    }
}

impl Minibatches {
    fn new(data: &Data, how: How, gpu: &Gpu) -> Self {
        let device = (how == How::Recorded).then(|| OnDevice::new(gpu));
        let data = data.clone();
        Self { data, chosen: 0, has_cursor: false, leaves_out: None, device }
    }
}

impl Objective for Minibatches {
    fn begin_step(&mut self, step: StepInfo) -> dimer::Result<()> {
        self.chosen = match self.has_cursor {
            true => (self.chosen + 1) % (MINIBATCHES - 1),
            false => step.index as usize,
        };
        assert!(self.chosen < MINIBATCHES && !step.repeats_minibatch);
        Ok(())
    }

    fn gradient(&mut self, mut at: Evaluation<'_>) -> dimer::Result<()> {
        let (h, c) = (&self.data.h[self.chosen], &self.data.c[self.chosen]);
        if let Some(device) = &self.device {
            at.gpu.queue().write_buffer(&device.h, 0, bytemuck::cast_slice(h));
            at.gpu.queue().write_buffer(&device.c, 0, bytemuck::cast_slice(c));
            device.encode(at);
            return Ok(());
        }
        let theta = at.read_params()?;
        let gradient: Vec<f32> = (0..LEN).map(|i| h[i] * (theta[i] - c[i])).collect();
        let away = |i: usize| theta[i] - c[i];
        at.write_loss((0..LEN).map(|i| 0.5 * h[i] * away(i) * away(i)).sum());
        if let Some(left_out) = self.leaves_out {
            let slice = at.gradient;
            for i in (0..LEN).filter(|&i| i != left_out || self.chosen != 2) {
                let offset = slice.offset + 4 * i as u64;
                at.gpu.queue().write_buffer(
                    &slice.buffer,
                    offset,
                    bytemuck::bytes_of(&gradient[i]),
                );
            }
            return Ok(());
        }
        at.write_gradient(&gradient)
    }

    fn hessian_product(&mut self, mut at: HessianProduct<'_>) -> dimer::Result<()> {
        let (_, direction) = at.read()?;
        let h = &self.data.h[self.chosen];
        at.write(&h.iter().zip(&direction).map(|(h, d)| h * d).collect::<Vec<f32>>())
    }

    fn supplies_loss(&self) -> bool {
        true
    }
}

/// Steps by the mean of all minibatches, and by the accumulated ones, in both orders of host and device; with weights as
/// without.
#[test]
fn steps_are_those_of_the_mean() {
    let data = Data::new(rand::random());
    let theta = vector(&mut rng(1), LEN, Kind::Plain);
    let base = Base::Sgd(Sgd { momentum: 0.0, ..Sgd::default() });
    let descent =
        Config { base, learning_rate: LearningRate::Fixed(0.01), dimer: None, ..fixed_rate() };
    for weights in [vec![1.0; MINIBATCHES], vec![3.0, 1.0, 8.0, 2.5, 0.5]] {
        let whole = |theta: &[f32], gradient: &mut [f32]| {
            let (loss, mean) = data.mean(theta, &weights);
            gradient.iter_mut().zip(mean).for_each(|(g, x)| *g = x as f32);
            loss as f32
        };
        let mut expected = flat(descent.clone(), &theta);
        for _ in 0..55 {
            expected.step(&mut HostObjective::new(whole)).unwrap();
        }
        let losses: Vec<f32> =
            expected.telemetry().unwrap().iter().map(|record| record.loss.unwrap()).collect();
        let wanted = wide(&expected.read_params().unwrap());
        for how in [How::Host, How::Recorded] {
            let mut optimizer = flat(descent.clone(), &theta);
            let minibatches = Minibatches::new(&data, how, optimizer.gpu());
            let mut objective = Accumulated::weighted(minibatches, &weights).unwrap();
            optimizer.check_objective(&mut objective).unwrap();
            for _ in 0..55 {
                optimizer.step(&mut objective).unwrap();
            }
            // Each gradient is a sum of five numbers below 2 that are rounded twice each, and θ once a step; 55 steps of
            // 0.01 let an error grow by at most e^0.55.
            let bound = 55.0 * (0.01 * 10.0 * 2.0 + 1.0) * 2.0 * UNIT * 1.8;
            let found = optimizer.read_params().unwrap();
            assert_all_within("θ", &found, &wanted, |_| bound);
            let telemetry = optimizer.telemetry().unwrap();
            for (record, loss) in telemetry.iter().zip(&losses) {
                assert_within("loss", record.loss.unwrap().into(), (*loss).into(), 2e-5);
            }
        }
    }
}

/// What is wrong with one minibatch shows in the sum.
#[test]
fn a_check_sees_into_the_sum() {
    let data = Data::new(5);
    let mut optimizer = flat(config(), &vector(&mut rng(1), LEN, Kind::Plain));
    let sound = || Minibatches::new(&data, How::Host, &gpu());
    let mut refused = |objective: Minibatches| {
        let mut objective = Accumulated::new(objective, MINIBATCHES - 1).unwrap();
        match optimizer.check_objective(&mut objective) {
            Err(Error::InconsistentObjective { reason, .. }) => reason,
            other => panic!("{other:?}"),
        }
    };
    // A cursor of four minibatches over a sum of four is the same function; over one more, it is not.
    let reason = refused(Minibatches { leaves_out: Some(7), ..sound() });
    assert!(reason.contains("element 7"), "{reason}");
    let mut moving =
        Accumulated::new(Minibatches { has_cursor: true, ..sound() }, MINIBATCHES).unwrap();
    let error = optimizer.check_objective(&mut moving).unwrap_err();
    assert!(matches!(error, Error::InconsistentObjective { .. }), "{error}");
    let ranges = [vec![], vec![1.0, 0.0], vec![-1.0], vec![f64::NAN], vec![f64::INFINITY, 1.0]];
    for weights in ranges.into_iter().chain([vec![1e-60, 1.0]]) {
        let error = Accumulated::weighted(sound(), &weights).map(drop).unwrap_err();
        assert!(matches!(error, Error::InvalidConfig { .. }), "{error}");
    }
}

/// Progress counts every minibatch; an error that it returns ends the step with nothing changed, and the step taken again
/// is the undisturbed one to the bit.
#[test]
fn breaking_off() {
    let data = Data::new(6);
    let theta = vector(&mut rng(2), LEN, Kind::Plain);
    let run = |stops_at: Option<usize>| {
        let mut optimizer = flat(config(), &theta);
        let (mut seen, mut calls) = (Vec::new(), 0);
        let minibatches = Minibatches::new(&data, How::Recorded, optimizer.gpu());
        let mut objective =
            Accumulated::new(minibatches, MINIBATCHES).unwrap().with_progress(|progress| {
                calls += 1;
                if stops_at == Some(calls) {
                    return Err(Error::objective("enough"));
                }
                seen.push((progress.evaluations, progress.minibatch));
                assert_eq!(progress.minibatches, MINIBATCHES);
                Ok(())
            });
        let mut failed = 0;
        while optimizer.steps() < 3 {
            failed += usize::from(optimizer.step(&mut objective).is_err());
        }
        drop(objective);
        assert_eq!(failed, usize::from(stops_at.is_some()));
        (state(&optimizer), seen)
    };
    let (undisturbed, seen) = run(None);
    assert_eq!(seen[..6], [(0, 0), (0, 1), (0, 2), (0, 3), (0, 4), (0, 5)]);
    assert_eq!(seen[6], (1, 0));
    for stops_at in [1, 4, 6, 9, 12] {
        assert_eq!(run(Some(stops_at)).0, undisturbed, "{stops_at}");
    }
}

/// A spectrum of the mean over minibatches: by differences and exact products, both ends, trace and density; broken off
/// at every place, it still finds the same.
#[test]
fn spectra_over_minibatches() {
    let data = Data::new(rand::random());
    let theta = vector(&mut rng(3), LEN, Kind::Plain);
    let hessian = data.hessian();
    let mut sorted = hessian.clone();
    sorted.sort_by(f64::total_cmp);
    let trace: f64 = hessian.iter().sum();
    for difference in [Difference::Forward, Difference::Central, Difference::Exact] {
        for how in [How::Host, How::Recorded] {
            if difference == Difference::Exact && how == How::Recorded {
                continue;
            }
            let mut optimizer = flat(config(), &theta);
            let settings = SpectrumConfig {
                lowest: 2,
                highest: 2,
                displacement: Displacement::Absolute(1.0),
                difference,
                ..SpectrumConfig::default()
            };
            let minibatches = Minibatches::new(&data, how, optimizer.gpu());
            let fails_at = std::cell::Cell::new(usize::MAX);
            let calls = std::cell::Cell::new(0);
            let mut objective =
                Accumulated::new(minibatches, MINIBATCHES).unwrap().with_progress(|_| {
                    calls.set(calls.get() + 1);
                    match calls.get() == fails_at.get() {
                        true => Err(Error::objective("enough")),
                        false => Ok(()),
                    }
                });
            let mut spectrum = Spectrum::with_config(&mut optimizer, settings).unwrap();
            for stop in [1, 17, 40, 91, 150] {
                calls.set(0);
                fails_at.set(stop);
                assert!(spectrum.rotate(&mut objective, 20).is_err());
                // Of modes that were moved in part, nothing is told.
                assert!(matches!(spectrum.read(), Err(Error::Unsupported { .. })));
                calls.set(0);
                fails_at.set(1 + stop % 39);
                assert!(spectrum.density(&mut objective, 2, 4).is_err());
            }
            fails_at.set(usize::MAX);
            spectrum.rotate(&mut objective, 40).unwrap();
            let found = spectrum.read().unwrap();
            let expected = [&sorted[..2], &sorted[LEN - 2..]].concat();
            for (mode, expected) in found.iter().zip(expected) {
                assert_within("λ", mode.curvature.into(), expected, 1e-4);
                assert!(mode.converged, "{difference:?}: {mode:?}");
                let x = wide(&mode.orientation);
                let product: Vec<f64> = x.iter().zip(&hessian).map(|(x, h)| x * h).collect();
                assert_within("x·Hx", dot(&x, &product), expected, 1e-4);
            }
            let density = spectrum.density(&mut objective, 3, 8).unwrap();
            assert_within("tr H", density.trace.value, trace, 1e-3);
        }
    }
}

/// Vectors of many bindings, an optimizer of another length, and then another device.
#[test]
fn many_bindings_and_several_optimizers() {
    let half = |index: usize| move |i: usize| ((i % 7 + index) as f32).sin();
    struct Halves<'a> {
        len: &'a std::cell::Cell<usize>,
        chosen: usize,
    }
    impl Objective for Halves<'_> {
        fn begin_step(&mut self, step: StepInfo) -> dimer::Result<()> {
            self.chosen = step.index as usize;
            Ok(())
        }
        // It never reads, so nothing is submitted in between but by the sum itself.
        fn gradient(&mut self, mut at: Evaluation<'_>) -> dimer::Result<()> {
            assert_eq!(at.point, Point::Centre);
            let value = |i: usize| ((i % 7 + self.chosen) as f32).sin();
            at.write_gradient(&(0..self.len.get()).map(value).collect::<Vec<f32>>())
        }
    }
    let small = small_gpu();
    let length = std::cell::Cell::new(0);
    let mut objective = Accumulated::new(Halves { len: &length, chosen: 0 }, 2).unwrap();
    for (gpu, len) in [(small.clone(), 100_000), (small, 37), (gpu(), 50_001)] {
        let config = Config { dimer: None, ..fixed_rate() };
        let layout = Layout::flat(len).unwrap();
        let mut optimizer = Optimizer::new(&gpu, layout, config, &vec![0.0; len]).unwrap();
        length.set(len);
        optimizer.step(&mut objective).unwrap();
        let gradient = read_slice(&optimizer, optimizer.gradient());
        let mean: Vec<f64> = (0..len).map(|i| f64::from(0.5 * (half(0)(i) + half(1)(i)))).collect();
        assert_all_within("g", &gradient[..len], &mean, |_| 1e-6);
    }
}

/// Two steps that are recorded one behind the other and submitted together are those of one after the other, as far as an
/// objective that submits allows: the first sum is complete before the second begins.
#[test]
fn sums_are_complete_when_they_are_recorded() {
    let data = Data::new(8);
    let mut optimizer = flat(Config { dimer: None, ..fixed_rate() }, &vec![0.5; LEN]);
    let minibatches = Minibatches::new(&data, How::Recorded, optimizer.gpu());
    let mut objective = Accumulated::new(minibatches, MINIBATCHES).unwrap();
    let mut encoders: Vec<_> = (0..2)
        .map(|_| optimizer.gpu().device().create_command_encoder(&Default::default()))
        .collect();
    for encoder in &mut encoders {
        optimizer.record_step(encoder, &mut objective).unwrap();
    }
    let (_, gradient) = data.mean(&vec![0.5; LEN], &[1.0; MINIBATCHES]);
    optimizer.gpu().queue().submit(encoders.into_iter().map(wgpu::CommandEncoder::finish));
    let found = read_slice(&optimizer, optimizer.gradient());
    assert_all_within("g", &found[..LEN], &gradient, |_| 1e-5);
}
