//! Every way to hand gradients over gives the same bits, and the telemetry tells what happened.

use std::cell::{Cell, RefCell};

use crate::common::*;
use dimer::{
    Buffers, Config, Correction, Difference, Dimer, EarlyExit, Error, Evaluation, FullBatch,
    GpuSlice, HostObjective, Layout, Mode, Objective, OnPlateau, Optimizer, Point, Regime,
    Rotation, RotationStop, Schedule, Spectrum,
};

const LEN: usize = 130;

fn config() -> Config {
    let dimer = Dimer { schedule: Schedule::Every(3), ..fixed_dimer(0.1, 0.5, 1.0) };
    Config { dimer: Some(dimer), ..fixed_rate() }
}

fn spectrum() -> Vec<f32> {
    (0..LEN).map(|i| i as f32 / 32.0 - 1.0).collect()
}

fn start() -> Vec<f32> {
    vector(&mut rng(3), LEN, Kind::Plain)
}

fn on_the_host(steps: usize) -> (Vec<u32>, Vec<u32>) {
    let mut optimizer = flat(config(), &start());
    let mut objective = quadratic(spectrum());
    for _ in 0..steps {
        optimizer.step(&mut objective).unwrap();
    }
    state(&optimizer)
}

/// The gradient hᵢ θᵢ, recorded as one dispatch.
struct Recorded {
    pipeline: wgpu::ComputePipeline,
    bindings: [wgpu::BindGroup; 2],
    evaluations: Vec<(u64, Point)>,
    step: u64,
}

impl Recorded {
    fn new(optimizer: &Optimizer) -> Self {
        let device = optimizer.gpu().device();
        let module = device.create_shader_module(wgpu::ShaderModuleDescriptor {
            label: None,
            source: wgpu::ShaderSource::Wgsl(
                "@group(0) @binding(0) var<storage, read> params: array<f32>;
                 @group(0) @binding(1) var<storage, read_write> gradient: array<f32>;
                 @group(0) @binding(2) var<storage, read> spectrum: array<f32>;
                 @compute @workgroup_size(64)
                 fn main(@builtin(global_invocation_id) id: vec3u) {
                     if id.x < arrayLength(&spectrum) {
                         gradient[id.x] = spectrum[id.x] * params[id.x];
                     }
                 }"
                .into(),
            ),
        });
        let pipeline = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: None,
            layout: None,
            module: &module,
            entry_point: None,
            compilation_options: Default::default(),
            cache: None,
        });
        let spectrum_buffer = device.create_buffer(&wgpu::BufferDescriptor {
            label: None,
            size: 4 * LEN as u64,
            usage: wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        let bytes: Vec<u8> = bytemuck::cast_slice(&spectrum()).to_vec();
        optimizer.gpu().queue().write_buffer(&spectrum_buffer, 0, &bytes);
        let bind = |params: &GpuSlice, gradient: &GpuSlice| {
            device.create_bind_group(&wgpu::BindGroupDescriptor {
                label: None,
                layout: &pipeline.get_bind_group_layout(0),
                entries: &[
                    wgpu::BindGroupEntry { binding: 0, resource: params.as_binding() },
                    wgpu::BindGroupEntry { binding: 1, resource: gradient.as_binding() },
                    wgpu::BindGroupEntry {
                        binding: 2,
                        resource: spectrum_buffer.as_entire_binding(),
                    },
                ],
            })
        };
        let bindings = [
            bind(optimizer.params(), optimizer.gradient()),
            bind(optimizer.probe().unwrap(), optimizer.probe_gradient().unwrap()),
        ];
        Self { pipeline, bindings, evaluations: Vec::new(), step: 0 }
    }
}

impl Objective for Recorded {
    fn begin_step(&mut self, step: dimer::StepInfo) -> dimer::Result<()> {
        self.step = step.index;
        Ok(())
    }

    fn gradient(&mut self, at: Evaluation<'_>) -> dimer::Result<()> {
        self.evaluations.push((self.step, at.point));
        let mut pass = at.encoder.begin_compute_pass(&Default::default());
        pass.set_pipeline(&self.pipeline);
        let point = usize::from(at.point == Point::Probe);
        pass.set_bind_group(0, &self.bindings[point], &[]);
        pass.dispatch_workgroups((LEN as u32).div_ceil(64), 1, 1);
        Ok(())
    }
}

#[test]
fn recording_and_host_objectives_agree() {
    let mut optimizer = flat(config(), &start());
    let mut objective = Recorded::new(&optimizer);
    for _ in 0..20 {
        optimizer.step(&mut objective).unwrap();
    }
    assert_eq!(state(&optimizer), on_the_host(20));
    // Steps 2, 5 … 17 are events: two evaluations in the same step, the centre first.
    assert_eq!(
        objective.evaluations[..4].to_vec(),
        [(0, Point::Centre), (1, Point::Centre), (2, Point::Centre), (2, Point::Probe)]
    );
    assert_eq!(objective.evaluations.len(), 26);
    assert_eq!(optimizer.gradient_evaluations(), 26.0);
}

#[test]
fn many_steps_in_one_encoder_of_the_user() {
    let mut optimizer = flat(config(), &start());
    let mut objective = Recorded::new(&optimizer);
    let gpu = optimizer.gpu().clone();
    let mut encoder = gpu.device().create_command_encoder(&Default::default());
    for step in 0..20 {
        optimizer.set_learning_rate(1e-3 * f64::from(step)).unwrap();
        optimizer.record_step(&mut encoder, &mut objective).unwrap();
    }
    gpu.queue().submit([encoder.finish()]);

    let mut expected = flat(config(), &start());
    let mut objective = quadratic(spectrum());
    for step in 0..20 {
        expected.set_learning_rate(1e-3 * f64::from(step)).unwrap();
        expected.step(&mut objective).unwrap();
    }
    assert_eq!(state(&optimizer), state(&expected));
}

#[test]
fn an_encoder_that_is_dropped_changes_nothing() {
    let mut optimizer = flat(config(), &start());
    let mut objective = Recorded::new(&optimizer);
    optimizer.step(&mut objective).unwrap();
    let before = state(&optimizer);
    let gpu = optimizer.gpu().clone();
    for _ in 0..2 {
        let mut encoder = gpu.device().create_command_encoder(&Default::default());
        optimizer.record_step(&mut encoder, &mut objective).unwrap();
    }
    assert_eq!(state(&optimizer), before);
    optimizer.step(&mut objective).unwrap();
    let records = optimizer.telemetry().unwrap();
    let steps: Vec<(u64, u32)> =
        records.iter().map(|record| (record.step, record.updates)).collect();
    assert_eq!(steps, [(0, 1), (3, 2)]);
}

#[test]
fn too_many_pending_steps() {
    let mut optimizer = flat(config(), &start());
    let mut objective = Recorded::new(&optimizer);
    let gpu = optimizer.gpu().clone();
    let mut encoder = gpu.device().create_command_encoder(&Default::default());
    for _ in 0..256 {
        optimizer.record_step(&mut encoder, &mut objective).unwrap();
    }
    let error = optimizer.record_step(&mut encoder, &mut objective).unwrap_err();
    assert!(matches!(error, Error::TooManyPendingSteps { pending: 256, .. }), "{error}");
    gpu.queue().submit([encoder.finish()]);
    let mut encoder = gpu.device().create_command_encoder(&Default::default());
    optimizer.record_step(&mut encoder, &mut objective).unwrap();
    gpu.queue().submit([encoder.finish()]);
    assert_eq!(state(&optimizer), on_the_host(257));
}

#[test]
fn manual_steps() {
    let mut optimizer = flat(config(), &start());
    let gradient = |params: Vec<f32>| -> Vec<f32> {
        params.iter().zip(spectrum()).map(|(x, h)| h * x).collect()
    };
    for index in 0..20 {
        let params = optimizer.read_params().unwrap();
        let n = optimizer.read_orientation().unwrap().unwrap_or_default();
        let probe: Vec<f32> = params.iter().zip(&n).map(|(x, n)| n.mul_add(0.5, *x)).collect();
        let mut step = optimizer.begin_step().unwrap();
        step.write_gradient(Point::Centre, &gradient(params)).unwrap();
        assert_eq!(step.next_probe().unwrap().is_some(), index % 3 == 2);
        step.write_gradient(Point::Probe, &gradient(probe)).unwrap();
        assert!(step.next_probe().unwrap().is_none());
        step.finish().unwrap();
    }
    assert_eq!(state(&optimizer), on_the_host(20));
}

/// A step that is dropped, or finished too early, changes nothing.
#[test]
fn manual_steps_that_are_given_up() {
    let dimer = Some(Dimer { schedule: Schedule::Every(1), ..config().dimer.unwrap() });
    let mut optimizer = flat(Config { dimer, ..config() }, &start());
    let before = state(&optimizer);
    let mut step = optimizer.begin_step().unwrap();
    step.next_probe().unwrap().unwrap();
    drop(step);
    let error = optimizer.begin_step().unwrap().finish().unwrap_err();
    assert!(
        matches!(error, Error::UnfinishedStep { placed: 0, probes: 1, lacks_centre: true, .. }),
        "{error}"
    );
    assert_eq!(state(&optimizer), before);
    assert_eq!(optimizer.steps(), 0);
}

/// A gradient that was never written is not a gradient.
#[test]
fn manual_steps_that_lack_a_gradient() {
    let mut optimizer = flat(config(), &start());
    let before = state(&optimizer);
    let error = optimizer.begin_step().unwrap().finish().unwrap_err();
    let lacks_centre =
        matches!(error, Error::UnfinishedStep { placed: 0, probes: 0, lacks_centre: true, .. });
    assert!(lacks_centre && error.to_string().contains("lacks the gradient at θ;"), "{error}");
    assert_eq!(state(&optimizer), before);
    for point in [Point::Centre, Point::Probe] {
        let step = optimizer.begin_step().unwrap();
        step.write_gradient(point, &start()).unwrap();
        assert_eq!(step.finish().is_ok(), point == Point::Centre);
    }
    let step = optimizer.begin_step().unwrap();
    step.centre();
    step.finish().unwrap();
    // An event, whose probe is not placed yet; and where the user writes on the GPU.
    let mut step = optimizer.begin_step().unwrap();
    step.centre();
    let error = step.write_gradient(Point::Probe, &start()).unwrap_err();
    assert!(matches!(error, Error::InvalidArgument { argument: "point", .. }), "{error}");
    let error = step.read_params(Point::Probe).unwrap_err();
    assert!(matches!(error, Error::InvalidArgument { argument: "point", .. }), "{error}");
    step.next_probe().unwrap().unwrap();
    step.write_gradient(Point::Probe, &start()).unwrap();
    step.finish().unwrap();
}

/// Steps by hand that read θ and the probes, and write the loss, are those of an objective, whatever the event has.
#[test]
fn manual_steps_read_where_they_are_and_give_the_loss() {
    let every = |dimer| Dimer { schedule: Schedule::Every(3), ..dimer };
    let central = Dimer { difference: Difference::Central, ..Dimer::default() };
    let stops = RotationStop::new(1e-2, 1e-2).with_early_exit(EarlyExit::Gradients);
    let regime = Regime::FullBatch(FullBatch { max_rotations: 5, stop: Some(stops) });
    let on_plateaus = OnPlateau { shortest: 2, longest: 9, share: 0.9 };
    let dimers = [
        every(Dimer::published()),
        every(Dimer::default()),
        every(central),
        every(Dimer { rotation: Rotation::locally_optimal(regime), ..Dimer::default() }),
        Dimer { schedule: Schedule::OnPlateau(on_plateaus), ..Dimer::default() },
    ];
    let dimers = dimers.into_iter().map(|dimer| Config { dimer: Some(dimer), ..fixed_rate() });
    for config in dimers.chain([Config::default()]) {
        let mut by_hand = flat(config.clone(), &start());
        let mut expected = flat(config.clone(), &start());
        let evaluate = |params: &[f32]| {
            let gradient: Vec<f32> = params.iter().zip(spectrum()).map(|(x, h)| h * x).collect();
            let loss =
                params.iter().zip(spectrum()).fold(0.0, |loss, (x, h)| loss + 0.5 * h * x * x);
            (gradient, loss)
        };
        for _ in 0..30 {
            expected.step(&mut quadratic(spectrum())).unwrap();
            let mut step = by_hand.begin_step().unwrap();
            let params = pollster::block_on(step.read_params_async(Point::Centre)).unwrap();
            let (gradient, loss) = evaluate(&params);
            step.write_gradient(Point::Centre, &gradient).unwrap();
            step.write_loss(loss);
            while step.next_probe().unwrap().is_some() {
                let probe = step.read_params(Point::Probe).unwrap();
                step.write_gradient(Point::Probe, &evaluate(&probe).0).unwrap();
            }
            step.finish().unwrap();
        }
        let records = by_hand.telemetry().unwrap();
        let of_objective = expected.telemetry().unwrap();
        for (record, mut expected) in records.into_iter().zip(of_objective) {
            // An event by central differences does not ask an objective for its loss.
            assert!(expected.loss.is_some() || record.event);
            expected.loss = expected.loss.or(record.loss);
            assert_eq!(format!("{record:?}"), format!("{expected:?}"));
        }
        assert_eq!(state(&by_hand), state(&expected), "{config:?}");
    }
}

/// Whether an objective writes a loss, says that it does, fails, and records what wgpu refuses.
#[derive(Clone, Copy)]
struct Loss {
    writes: bool,
    supplies: bool,
    fails: bool,
    is_refused: bool,
}

/// Says that it writes its loss, and does not.
const SILENT: Loss = Loss { writes: false, supplies: true, fails: false, is_refused: false };

impl Objective for Loss {
    fn gradient(&mut self, mut at: Evaluation<'_>) -> dimer::Result<()> {
        at.write_gradient(&spectrum())?;
        if self.writes {
            at.write_loss(7.0);
        }
        if self.is_refused {
            at.encoder.clear_buffer(at.loss, at.loss.size() + 4, Some(4));
        }
        if self.fails { Err(Error::objective("failed")) } else { Ok(()) }
    }

    fn supplies_loss(&self) -> bool {
        self.supplies
    }
}

/// The loss of a step that is dropped is not that of the next, whether that writes its own or not.
#[test]
fn the_loss_of_a_manual_step_that_is_given_up_is_forgotten() {
    let mut optimizer = flat(config(), &start());
    optimizer.begin_step().unwrap().write_loss(7.0);
    optimizer.step(&mut { SILENT }).unwrap();
    let step = optimizer.begin_step().unwrap();
    step.write_gradient(Point::Centre, &start()).unwrap();
    step.write_loss(3.0);
    step.finish().unwrap();
    let mut step = optimizer.begin_step().unwrap();
    step.write_gradient(Point::Centre, &start()).unwrap();
    while step.next_probe().unwrap().is_some() {
        step.write_gradient(Point::Probe, &start()).unwrap();
    }
    step.finish().unwrap();
    let losses: Vec<_> = optimizer.telemetry().unwrap().iter().map(|record| record.loss).collect();
    assert_eq!(losses, [None, Some(3.0), None]);
}

/// Each record says for itself whether its objective wrote a loss, whoever steps after it.
#[test]
fn losses_belong_to_their_steps() {
    let mut optimizer = flat(config(), &start());
    let mut objective = quadratic(spectrum());
    let mut without_loss = Loss { supplies: false, ..SILENT };
    for step in 0..12 {
        match step % 4 {
            0 => optimizer.step(&mut objective).unwrap(),
            1 => optimizer.step(&mut without_loss).unwrap(),
            2 => optimizer.rotate(&mut objective).unwrap(),
            _ => optimizer.rotate(&mut without_loss).unwrap(),
        }
    }
    let records = optimizer.telemetry().unwrap();
    let has_loss: Vec<_> = records.iter().map(|record| record.loss.is_some()).collect();
    assert_eq!(has_loss, [true, false, true, false].repeat(3));
}

/// A loss that was written for a step that was not taken is nobody's: of a recorded step whose encoder was dropped, of a
/// step or a rotation that failed or was refused, and of an objective that does not say that it writes one.
#[test]
fn losses_of_steps_that_were_not_taken_are_forgotten() {
    let central = Dimer { difference: Difference::Central, ..config().dimer.unwrap() };
    let configs = [config(), Config { dimer: Some(central), ..config() }];
    for (config, steps_before) in
        configs.into_iter().flat_map(|config| [(config.clone(), 1), (config, 2)])
    {
        for case in 0..5 {
            let mut silent = SILENT;
            let mut optimizer = flat(config.clone(), &start());
            let mut second = optimizer.second_dimer(
                Dimer { seeks: Mode::Stiffest, ..config.dimer.clone().unwrap() }.watching(),
            );
            for _ in 0..steps_before {
                optimizer.step(&mut silent).unwrap();
            }
            let mut writes = Loss { writes: true, fails: case == 1, ..SILENT };
            match case {
                0 => {
                    let mut encoder = gpu().device().create_command_encoder(&Default::default());
                    optimizer.record_step(&mut encoder, &mut writes).unwrap();
                }
                1 => drop(optimizer.step(&mut writes).unwrap_err()),
                2 => optimizer.step(&mut Loss { supplies: false, ..writes }).unwrap(),
                3 => drop(optimizer.step(&mut Loss { is_refused: true, ..writes }).unwrap_err()),
                _ => {
                    let Ok(second) = &mut second else { continue };
                    let mut fails = Loss { fails: true, ..writes };
                    optimizer.rotate_both(second, &mut fails).unwrap_err();
                }
            }
            for _ in 0..4 {
                optimizer.step(&mut silent).unwrap();
            }
            let records = optimizer.telemetry().unwrap();
            let losses: Vec<_> = records.iter().filter_map(|record| record.loss).collect();
            assert!(losses.is_empty(), "case {case}: {records:?}");
        }
    }
}

/// A closure that fails ends the step as any objective does; the hook comes before its evaluations and knows the part.
#[test]
fn closures_that_fail_and_hooks_of_steps() {
    let (calls, fails) = (RefCell::new(Vec::new()), Cell::new(""));
    let failing = |what: &str| match fails.get() == what {
        true => Err(Error::objective(format!("no {what}"))),
        false => Ok(()),
    };
    let mut objective = HostObjective::fallible(|params: &[f32], gradient: &mut [f32]| {
        calls.borrow_mut().push(None);
        failing("gradient")?;
        gradient.iter_mut().zip(params).zip(spectrum()).for_each(|((g, x), h)| *g = h * x);
        Ok(1.0)
    })
    .with_hessian_product(|_: &[f32], direction: &[f32], product: &mut [f32]| {
        failing("product")?;
        product.iter_mut().zip(direction).zip(spectrum()).for_each(|((p, d), h)| *p = h * d);
        Ok(())
    })
    .on_step(|step| {
        calls.borrow_mut().push(Some((step.index, step.part.of)));
        failing("minibatch")
    })
    .with_parts(4);
    // Every third step is an event, and needs a product.
    let dimer = Dimer { difference: Difference::Exact, ..config().dimer.unwrap() };
    let mut optimizer = flat(Config { dimer: Some(dimer), ..config() }, &start());
    for _ in 0..2 {
        optimizer.step(&mut objective).unwrap();
    }
    let before = state(&optimizer);
    for what in ["minibatch", "gradient", "product"] {
        fails.set(what);
        let error = optimizer.step(&mut objective).unwrap_err();
        let expected = format!("the objective failed: no {what}");
        assert!(matches!(error, Error::Objective(_)) && error.to_string() == expected, "{error}");
        assert_eq!(state(&optimizer), before);
        assert_eq!(optimizer.steps(), 2);
    }
    fails.set("");
    optimizer.step(&mut objective).unwrap();
    let calls = calls.borrow();
    assert_eq!(calls[..4], [Some((0, 1)), None, Some((1, 1)), None]);
    // The event has one gradient, and its products are of the same part.
    let event =
        [&[Some((2, 2))][..], &[Some((2, 2)), None], &[Some((2, 2)), None], &[Some((2, 2)), None]];
    assert_eq!(calls[4..], event.concat());
}

#[test]
fn buffers_of_the_user_are_used_in_place() {
    let layout = Layout::flat(LEN).unwrap();
    let gpu = gpu();
    let bytes = layout.bytes();
    let alignment = u64::from(gpu.device().limits().min_storage_buffer_offset_alignment);
    let offset = alignment.max(256);
    let slice = |offset: u64| {
        let buffer = gpu.device().create_buffer(&wgpu::BufferDescriptor {
            label: None,
            size: offset + bytes,
            usage: wgpu::BufferUsages::STORAGE
                | wgpu::BufferUsages::COPY_SRC
                | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        GpuSlice { buffer, offset, size: bytes }
    };
    let params = slice(offset);
    // Garbage behind the tensor: the optimizer zeroes it.
    let mut padded = vec![f32::NAN; layout.padded_len()];
    padded[..LEN].copy_from_slice(&start());
    gpu.queue().write_buffer(&params.buffer, offset, bytemuck::cast_slice(&padded));
    let buffers = Buffers {
        params: Some(params.clone()),
        probe: Some(slice(0)),
        gradient: Some(slice(offset)),
        probe_gradient: Some(slice(0)),
    };
    let mut optimizer = Optimizer::with_buffers(&gpu, layout, config(), buffers).unwrap();
    assert_eq!(optimizer.params().buffer, params.buffer);
    let mut objective = Recorded::new(&optimizer);
    for _ in 0..20 {
        optimizer.step(&mut objective).unwrap();
    }
    assert_eq!(state(&optimizer), on_the_host(20));
}

/// Micro-batches that are summed inside `gradient` make the same step as the whole batch.
#[test]
fn gradients_accumulate_at_both_points() {
    let [whole, parts] = [1, 4].map(|parts| {
        let mut optimizer = flat(config(), &start());
        let mut objective =
            dimer::HostObjective::new(move |params: &[f32], gradient: &mut [f32]| {
                for _ in 0..parts {
                    for (i, g) in gradient.iter_mut().enumerate() {
                        *g += spectrum()[i] * params[i] / parts as f32;
                    }
                }
                0.0
            });
        for _ in 0..20 {
            optimizer.step(&mut objective).unwrap();
        }
        state(&optimizer)
    });
    // A quarter is exact in f32, and so are the sums of 2, 3 and 4 equal quarters but for one
    // rounding of 3/4.
    let [whole, parts] =
        [whole.0, parts.0].map(|theta| theta.into_iter().map(f32::from_bits).collect::<Vec<f32>>());
    assert_all_within("θ", &parts, &wide(&whole), |_| 20.0 * 4.0 * UNIT);
}

#[test]
fn telemetry_is_complete_and_in_order() {
    let dimer = Dimer {
        schedule: Schedule::Every(3),
        correction: Correction::EveryStep,
        ..fixed_dimer(0.1, 0.5, 1.0)
    };
    let mut optimizer = flat(Config { dimer: Some(dimer), ..config() }, &start());
    let mut objective = quadratic(spectrum());
    let mut records = Vec::new();
    for _ in 0..50 {
        optimizer.step(&mut objective).unwrap();
        records.extend(optimizer.poll_telemetry().unwrap());
    }
    assert!(!records.is_empty() && records.len() < 50, "it lags, and it arrives");
    records.extend(optimizer.telemetry().unwrap());
    assert!(optimizer.telemetry().unwrap().is_empty());
    assert_eq!(records.len(), 50);
    let theta = start();
    let loss: f64 =
        theta.iter().zip(spectrum()).map(|(x, h)| 0.5 * f64::from(h * x) * f64::from(*x)).sum();
    assert_within("loss", records[0].loss.unwrap().into(), loss, 1e-5);
    for (step, record) in (0_u64..).zip(&records) {
        assert_eq!(record.step, step);
        assert_eq!(record.event, step % 3 == 2);
        assert_eq!(record.angle > 0.0, record.event);
        assert_eq!(u64::from(record.updates), step + 1);
        assert_eq!(u64::from(record.rotations), (step + 1) / 3);
        // Before the first event nothing is done with N.
        assert_eq!(record.projection != 0.0, step >= 2);
        assert!(record.gradient_norm.unwrap() > 0.0 && !record.skipped);
        assert_eq!(record.displacement, if step >= 2 { 0.5 } else { 0.0 });
    }
    // Without asking for more than a ring, the oldest are gone and the rest is whole.
    for _ in 0..1500 {
        optimizer.step(&mut objective).unwrap();
    }
    let records = optimizer.telemetry().unwrap();
    assert_eq!(records.len(), 1024);
    assert!(records.windows(2).all(|pair| pair[1].step == pair[0].step + 1));
}

#[test]
fn readers_agree_with_their_asynchronous_twins() {
    let mut optimizer = flat(config(), &start());
    for _ in 0..3 {
        optimizer.step(&mut quadratic(spectrum())).unwrap();
    }
    let params = pollster::block_on(optimizer.read_params_async()).unwrap();
    assert_eq!(bits(&params), bits(&optimizer.read_params().unwrap()));
    let n = pollster::block_on(optimizer.read_orientation_async()).unwrap().unwrap();
    assert_eq!(bits(&n), bits(&optimizer.read_orientation().unwrap().unwrap()));
    let curvature = pollster::block_on(optimizer.read_curvature_async()).unwrap();
    assert_eq!(curvature, optimizer.read_curvature().unwrap());
    assert!(curvature != 0.0);
    let regions = pollster::block_on(optimizer.read_regions_async()).unwrap();
    assert_eq!(regions, optimizer.read_regions().unwrap());
    let telemetry = pollster::block_on(optimizer.telemetry_async()).unwrap();
    assert_eq!((telemetry.len(), telemetry[2].curvature), (3, curvature));
    assert!(optimizer.telemetry().unwrap().is_empty(), "all were returned");
    let mut spectrum = Spectrum::new(&mut optimizer, 2, 0).unwrap();
    spectrum.rotate(&mut quadratic(self::spectrum()), 2).unwrap();
    let modes = pollster::block_on(spectrum.read_async()).unwrap();
    assert_eq!(modes, spectrum.read().unwrap());
    let displacement = pollster::block_on(spectrum.displacement_async()).unwrap();
    assert!(displacement.is_some() && displacement == spectrum.displacement().unwrap());
}

/// What takes steps or turns dimers gives the same when it yields to other tasks, and can move to other threads meanwhile.
#[test]
fn asynchronous_twins_do_the_same() {
    fn sent<T>(work: impl Future<Output = dimer::Result<T>> + Send) -> T {
        pollster::block_on(work).unwrap()
    }
    let state = |optimizer: &Optimizer, second: &Optimizer| {
        let n = |it: &Optimizer| bits(&it.read_orientation().unwrap().unwrap());
        (bits(&optimizer.read_params().unwrap()), n(optimizer), n(second))
    };
    let run = |is_async: bool| {
        let mut objective = quadratic(self::spectrum());
        let mut optimizer = flat(config(), &start());
        let mut second = optimizer.second_dimer(Dimer::default()).unwrap();
        if is_async {
            sent(optimizer.check_objective_async(&mut objective));
            sent(optimizer.step_async(&mut objective));
            sent(optimizer.rotate_async(&mut objective));
            sent(optimizer.rotate_both_async(&mut second, &mut objective));
        } else {
            optimizer.check_objective(&mut objective).unwrap();
            optimizer.step(&mut objective).unwrap();
            optimizer.rotate(&mut objective).unwrap();
            optimizer.rotate_both(&mut second, &mut objective).unwrap();
        }
        let mut copy = flat(config(), &start());
        let changes = if is_async {
            let bytes = sent(optimizer.save_bytes_async());
            sent(copy.load_bytes_async(&bytes));
            sent(copy.load_bytes_with_changes_async(&bytes))
        } else {
            let bytes = optimizer.save_bytes().unwrap();
            copy.load_bytes(&bytes).unwrap();
            copy.load_bytes_with_changes(&bytes).unwrap()
        };
        assert!(changes.is_empty());
        assert_eq!(state(&copy, &second), state(&optimizer, &second));
        let mut spectrum = Spectrum::new(&mut optimizer, 2, 0).unwrap();
        if is_async {
            sent(spectrum.rotate_async(&mut objective, 2));
        } else {
            spectrum.rotate(&mut objective, 2).unwrap();
        }
        let modes = spectrum.read().unwrap();
        (state(&optimizer, &second), optimizer.steps(), modes)
    };
    assert_eq!(run(true), run(false));
}
