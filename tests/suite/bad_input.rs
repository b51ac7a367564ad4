//! Bad input is an error that names it, or a counted skip; never a panic, never a lost state.

use crate::common::*;
use dimer::{
    Adam, Base, Buffers, Config, Dimer, Displacement, Error, Evaluation, Gpu, GpuSlice, Group,
    HostObjective, Layout, LearningRate, Objective, Optimizer, Point, Projection, Regime,
    RelativeDisplacement, Rotation, RotationRate, SaddleFree, Schedule, Scope, Sgd, Translation,
};

#[test]
fn empty_layout() {
    let error = Layout::builder().build().unwrap_err();
    assert!(matches!(error, Error::InvalidLayout { .. }), "{error}");
}

#[test]
fn zero_length_tensor() {
    let error = Layout::builder().tensor("weight", &[3, 0]).build().unwrap_err();
    assert!(error.to_string().contains("\"weight\" of shape [3, 0] has no elements"), "{error}");
}

#[test]
fn repeated_and_oversized_tensors() {
    let error = Layout::builder().tensor("a", &[1]).tensor("a", &[2]).build().unwrap_err();
    assert!(error.to_string().contains("two tensors are named \"a\""), "{error}");
    for shape in [&[usize::MAX, 2][..], &[usize::MAX], &[1 << 35]] {
        let error = Layout::builder().tensor("a", &[1]).tensor("b", shape).build().unwrap_err();
        assert!(error.to_string().contains("2^34"), "{error}");
    }
}

#[test]
fn group_of_another_builder() {
    let mut other = Layout::builder();
    other.group(Group::default());
    let foreign = other.group(Group::default());
    let mut builder = Layout::builder();
    // Also when the builder at hand has as many groups.
    for _ in 0..3 {
        let error = builder.clone().tensor_in(foreign, "a", &[1]).build().unwrap_err();
        assert!(matches!(error, Error::Foreign { .. }), "{error}");
        let own = builder.group(Group::default());
        builder.clone().tensor_in(own, "a", &[1]).build().unwrap();
    }
}

#[test]
fn length_mismatch() {
    let layout = Layout::flat(5).unwrap();
    let error = Optimizer::new(&gpu(), layout, fixed_rate(), &[0.0; 4]).unwrap_err();
    let mismatch = matches!(error, Error::LengthMismatch { expected: 5, found: 4, .. });
    assert!(mismatch, "{error}");
    let mut optimizer = flat(fixed_rate(), &[0.0; 5]);
    let error = optimizer.write_params(&[0.0; 6]).unwrap_err();
    assert!(matches!(error, Error::LengthMismatch { expected: 5, found: 6, .. }), "{error}");
    let step = optimizer.begin_step().unwrap();
    let error = step.write_gradient(Point::Centre, &[0.0; 3]).unwrap_err();
    assert!(matches!(error, Error::LengthMismatch { expected: 5, found: 3, .. }), "{error}");
}

#[test]
fn bad_hyperparameters() {
    let dimer = |dimer: Dimer| Config { dimer: Some(dimer), ..fixed_rate() };
    let base = |base| Config { base, ..fixed_rate() };
    let rotation = |rate| Rotation::gradient(RotationRate::Fixed(rate));
    let project =
        |alpha| Translation::Project(Projection { alpha, only_negative_curvature: false });
    let (sgd, adam) = (
        |momentum| Base::Sgd(Sgd { momentum, nesterov: false }),
        |beta1, beta2, epsilon| Base::Adam(Adam { beta1, beta2, epsilon }),
    );
    // The last one is finite, but not in f32.
    for bad in [f64::NAN, f64::INFINITY, -1.0, 1e39] {
        let default = Dimer::default;
        let mut cases = vec![
            ("learning_rate", Config { learning_rate: LearningRate::Fixed(bad), ..fixed_rate() }),
            ("weight_decay", Config { weight_decay: bad, ..fixed_rate() }),
            ("max_gradient_norm", Config { max_gradient_norm: Some(bad), ..fixed_rate() }),
            ("base.momentum", base(sgd(bad))),
            ("base.beta1", base(adam(bad, 0.9, 1e-8))),
            ("base.beta2", base(adam(0.9, bad, 1e-8))),
            ("base.epsilon", base(adam(0.9, 0.9, bad))),
            ("dimer.rotation.rate", dimer(Dimer { rotation: rotation(bad), ..default() })),
            (
                "dimer.displacement",
                dimer(Dimer { displacement: Displacement::Absolute(bad), ..default() }),
            ),
            (
                "dimer.displacement.factor",
                dimer(Dimer {
                    displacement: Displacement::Relative(RelativeDisplacement {
                        factor: bad,
                        minimum: 1.0,
                    }),
                    ..default()
                }),
            ),
            (
                "dimer.displacement.minimum",
                dimer(Dimer {
                    displacement: Displacement::Relative(RelativeDisplacement {
                        factor: 1.0,
                        minimum: bad,
                    }),
                    ..default()
                }),
            ),
        ];
        let saddle_free = |trust, damping, kick, significance| {
            let translation =
                Translation::SaddleFree(SaddleFree { trust, damping, kick, significance });
            dimer(Dimer { translation, ..default() })
        };
        cases.extend([
            ("dimer.translation.trust", saddle_free(bad, 1.0, 0.0, 0.0)),
            ("dimer.translation.damping", saddle_free(1.0, bad, 0.0, 0.0)),
            ("dimer.translation.kick", saddle_free(1.0, 1.0, bad, 0.0)),
            ("dimer.translation.significance", saddle_free(1.0, 1.0, 0.0, bad)),
        ]);
        if !(bad as f32).is_finite() {
            let translation = project(bad);
            cases.push(("dimer.translation.alpha", dimer(Dimer { translation, ..default() })));
        }
        for (name, config) in cases {
            match config.validate() {
                Err(Error::InvalidConfig { field, .. }) => assert_eq!(field, name),
                other => panic!("{name} = {bad}: {other:?}"),
            }
            let layout = Layout::flat(1).unwrap();
            assert!(Optimizer::new(&gpu(), layout, config, &[0.0]).is_err(), "{name}");
        }
        let mut builder = Layout::builder();
        builder.group(Group { learning_rate_scale: bad, ..Group::default() });
        assert!(matches!(builder.tensor("a", &[1]).build(), Err(Error::InvalidConfig { .. })));
        let error = flat(fixed_rate(), &[0.0]).set_learning_rate(bad).unwrap_err();
        assert!(
            matches!(error, Error::InvalidArgument { argument: "learning_rate", .. }),
            "{error}"
        );
    }
    let never = dimer(Dimer { schedule: Schedule::Every(0), ..Dimer::default() });
    assert!(matches!(never.validate(), Err(Error::InvalidConfig { field: "dimer.schedule", .. })));
    let vanishing = base(adam(0.9, 0.999, 1e-60));
    assert!(vanishing.validate().is_err(), "an epsilon that is 0 in f32");
    let nesterov = base(Base::Sgd(Sgd { momentum: 0.0, nesterov: true }));
    assert!(nesterov.validate().is_err());
}

#[test]
fn a_dimer_without_a_tensor_to_act_on() {
    let mut builder = Layout::builder();
    let frozen = builder.group(Group { dimer: false, ..Group::default() });
    let layout = builder.tensor_in(frozen, "a", &[4]).build().unwrap();
    let error = Optimizer::new(&gpu(), layout, fixed_rate(), &[0.0; 4]).unwrap_err();
    assert!(matches!(error, Error::Unsupported { what: "a dimer", .. }), "{error}");
    let config = Config { dimer: None, ..fixed_rate() };
    let error = flat(config, &[0.0]).rotate(&mut quadratic(vec![1.0])).unwrap_err();
    assert!(matches!(error, Error::Unsupported { what: "a rotation", .. }), "{error}");
}

#[test]
fn non_finite_params() {
    let layout = Layout::flat(3).unwrap();
    let params = [0.0, f32::NAN, 1.0];
    let error = Optimizer::new(&gpu(), layout, fixed_rate(), &params).unwrap_err();
    assert!(matches!(error, Error::NonFinite { index: 1, .. }), "{error}");
}

/// Finite gradients up to 1e30 do not overflow inside: SGD moves by them, Adam by its rate.
#[test]
fn huge_gradient() {
    for (base, expected) in [(SGD, -1e-3 * 1e30), (ADAMW, 1.0 - 1e-3)] {
        let config = Config { base, weight_decay: 0.0, dimer: None, ..fixed_rate() };
        let mut optimizer = flat(config, &[1.0; 3]);
        let mut objective = HostObjective::new(|_: &[f32], gradient: &mut [f32]| {
            gradient.fill(1e30);
            0.0
        });
        optimizer.step(&mut objective).unwrap();
        let record = optimizer.telemetry().unwrap()[0];
        let norm = f64::from(1e30_f32) * 3_f64.sqrt();
        assert_within("‖g‖", record.gradient_norm.unwrap().into(), norm, 1e-6 * norm);
        let found = f64::from(optimizer.read_params().unwrap()[0]);
        if record.skipped {
            // The square of 1e30 is beyond f32, so Adam's second moment cannot hold it.
            assert_eq!(found, 1.0);
            assert_eq!(base, ADAMW);
        } else {
            assert_within("θ", found, expected, 8.0 * UNIT * expected.abs());
        }
    }
}

/// No gradient, no product, no rotational force: nothing divides by zero.
#[test]
fn zero_gradient() {
    let by_gradient = Rotation::gradient(RotationRate::Automatic);
    for rotation in [by_gradient, Dimer::default().rotation] {
        for base in BASES {
            let dimer = Some(Dimer { rotation, schedule: Schedule::Every(1), ..Dimer::default() });
            let config = Config { base, weight_decay: 0.0, dimer, ..fixed_rate() };
            let mut optimizer = flat(config, &[1.0; 130]);
            let before = state(&optimizer);
            let mut objective = HostObjective::new(|_: &[f32], _: &mut [f32]| 0.0);
            for _ in 0..12 {
                optimizer.step(&mut objective).unwrap();
            }
            assert_eq!(state(&optimizer).0, before.0);
            let record = *optimizer.telemetry().unwrap().last().unwrap();
            let found = (record.curvature, record.residual, record.gradient_norm.unwrap());
            assert_eq!(found, (0.0, 0.0, 0.0));
            assert_eq!((record.updates, record.skipped_steps), (12, 0));
            let n = wide(&optimizer.read_orientation().unwrap().unwrap_or_default());
            assert_within("‖N‖", dimer::reference::norm(&n), 1.0, 1e-6);
        }
    }
}

/// The gradient of a quadratic, which fails in the evaluation with this number, after having run something.
struct Failing {
    at: Option<usize>,
    calls: usize,
}

impl Failing {
    fn at(call: usize) -> Self {
        Self { at: Some(call), calls: 0 }
    }

    fn never() -> Self {
        Self { at: None, calls: 0 }
    }
}

fn every_step(rotation: Rotation, displacement: Displacement) -> Config {
    let schedule = Schedule::Every(1);
    let dimer = Dimer { rotation, displacement, schedule, ..Dimer::default() };
    Config { dimer: Some(dimer), ..fixed_rate() }
}

impl Objective for Failing {
    fn gradient(&mut self, mut at: Evaluation<'_>) -> dimer::Result<()> {
        let params = at.read_params()?;
        self.calls += 1;
        if self.at == Some(self.calls - 1) {
            return Err(Error::objective("the data loader gave up"));
        }
        let h = |i: usize| 1.0 + (i % 7) as f32;
        at.write_gradient(&params.iter().enumerate().map(|(i, x)| h(i) * x).collect::<Vec<_>>())
    }
}

/// In any evaluation of any event: nothing changes, and the next step is that of an undisturbed run to the bit.
#[test]
fn objective_that_fails_midway() {
    let start = vector(&mut rng(rand::random()), 70, Kind::Plain);
    let rotations = [
        Rotation::gradient(RotationRate::Automatic),
        Rotation::locally_optimal(Regime::Stochastic),
        Rotation::locally_optimal(Regime::rotations(3)),
    ];
    for rotation in rotations {
        for displacement in [Displacement::Absolute(0.01), Displacement::Automatic] {
            let make = || flat(every_step(rotation, displacement), &start);
            let (mut disturbed, mut undisturbed) = (make(), make());
            let mut objective = Failing::never();
            undisturbed.step(&mut objective).unwrap();
            for call in 0..objective.calls {
                let before = (state(&disturbed), disturbed.steps());
                let evaluations = disturbed.gradient_evaluations();
                let error = disturbed.step(&mut Failing::at(call)).unwrap_err();
                assert!(matches!(error, Error::Objective(_)), "{error}");
                assert!(error.to_string().contains("the data loader gave up"));
                assert_eq!((state(&disturbed), disturbed.steps()), before);
                assert_eq!(disturbed.gradient_evaluations(), evaluations);
                disturbed.step(&mut Failing::never()).unwrap();
                assert_eq!(state(&disturbed), state(&undisturbed), "{call}, {displacement:?}");
                undisturbed.step(&mut Failing::never()).unwrap();
            }
            for _ in 0..5 {
                disturbed.step(&mut Failing::never()).unwrap();
                assert_eq!(state(&disturbed), state(&undisturbed), "{displacement:?}");
                undisturbed.step(&mut Failing::never()).unwrap();
            }
        }
    }
}

fn buffer(gpu: &Gpu, bytes: u64, usage: wgpu::BufferUsages) -> wgpu::Buffer {
    gpu.device().create_buffer(&wgpu::BufferDescriptor {
        label: None,
        size: bytes,
        usage,
        mapped_at_creation: false,
    })
}

fn vector_usage() -> wgpu::BufferUsages {
    wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST
}

#[track_caller]
fn refused(buffers: Buffers) -> Error {
    let layout = Layout::flat(100).unwrap();
    Optimizer::with_buffers(&gpu(), layout, fixed_rate(), buffers).unwrap_err()
}

#[test]
fn buffers_of_the_user() {
    let slice = |bytes| GpuSlice::whole(buffer(&gpu(), bytes, vector_usage()));
    let short = Buffers { gradient: Some(slice(256)), ..Buffers::default() };
    assert!(refused(short).to_string().contains("padded layout needs 512"));
    let plain = GpuSlice::whole(buffer(&gpu(), 512, wgpu::BufferUsages::STORAGE));
    let error = refused(Buffers { params: Some(plain), ..Buffers::default() });
    assert!(error.to_string().contains("lacks the usages"), "{error}");
    let crooked = GpuSlice { offset: 4, size: 512, ..slice(1024) };
    let error = refused(Buffers { probe: Some(crooked), ..Buffers::default() });
    assert!(error.to_string().contains("not a multiple"), "{error}");
    let beyond = GpuSlice { offset: 512, size: 1024, ..slice(1024) };
    let error = refused(Buffers { probe: Some(beyond), ..Buffers::default() });
    assert!(error.to_string().contains("reach past"), "{error}");
    let shared = slice(1024);
    let second = GpuSlice { offset: 512, size: 512, ..shared.clone() };
    let error = refused(Buffers {
        params: Some(shared.clone()),
        gradient: Some(second.clone()),
        ..Buffers::default()
    });
    assert!(error.to_string().contains("shares a buffer with params"), "{error}");
    let error = refused(Buffers {
        gradient: Some(shared.clone()),
        probe_gradient: Some(shared),
        ..Buffers::default()
    });
    assert!(error.to_string().contains("overlaps gradient"), "{error}");
}

#[test]
fn gradient_buffer_of_another_device() {
    let other = Gpu::new().unwrap();
    let foreign = GpuSlice::whole(buffer(&other, 512, vector_usage()));
    for (name, buffers) in [
        ("gradient", Buffers { gradient: Some(foreign.clone()), ..Buffers::default() }),
        ("params", Buffers { params: Some(foreign), ..Buffers::default() }),
    ] {
        match refused(buffers) {
            Error::Foreign { what, owner: "device", .. } => {
                assert_eq!(what, format!("the {name} buffer"));
            }
            other => panic!("{other}"),
        }
    }
}

/// Records work that wgpu refuses: the step fails, the next one works.
#[test]
fn objective_that_records_invalid_work() {
    struct Invalid;
    impl Objective for Invalid {
        fn gradient(&mut self, at: Evaluation<'_>) -> dimer::Result<()> {
            let beyond = at.gradient.size;
            at.encoder.copy_buffer_to_buffer(
                &at.params.buffer,
                beyond,
                &at.gradient.buffer,
                0,
                Some(4),
            );
            Ok(())
        }
    }
    let mut optimizer = flat(fixed_rate(), &[1.0; 70]);
    let before = state(&optimizer);
    let error = optimizer.step(&mut Invalid).unwrap_err();
    assert!(matches!(error, Error::Rejected { .. }), "{error}");
    assert_eq!(state(&optimizer), before);
    optimizer.step(&mut Failing::never()).unwrap();
    assert_eq!(optimizer.telemetry().unwrap().len(), 1);
}

#[test]
fn allocation_that_no_device_has() {
    let layout = Layout::flat(1 << 34).unwrap();
    let error = Optimizer::with_buffers(&gpu(), layout, fixed_rate(), Buffers::default());
    let error = error.unwrap_err();
    assert!(matches!(error, Error::OutOfMemory { .. } | Error::LimitTooSmall { .. }), "{error}");
}

/// A device with the limits that every WebGPU device has runs every base and every global rotation; what it
/// cannot do is an error when the optimizer is made.
#[test]
fn a_device_with_default_limits() {
    let gpu = gpu_with(|_| wgpu::Limits::default());
    assert_eq!(gpu.device().limits().max_storage_buffers_per_shader_stage, 8);
    let make =
        |config: Config| Optimizer::new(&gpu, Layout::flat(100).unwrap(), config, &[0.5; 100]);
    let stochastic = [
        Rotation::gradient(RotationRate::Automatic),
        Rotation::optimal_angle(Regime::Stochastic),
        Rotation::locally_optimal(Regime::Stochastic),
        Rotation::locally_optimal(Regime::rotations(3)),
    ];
    for base in BASES {
        let alone = Config { base, dimer: None, ..fixed_rate() };
        let dimers = stochastic.map(|rotation| Dimer {
            rotation,
            schedule: Schedule::Every(2),
            ..Dimer::default()
        });
        let configs = dimers.map(|dimer| Config { dimer: Some(dimer), ..alone.clone() });
        for config in [alone].into_iter().chain(configs) {
            let mut optimizer = make(config).unwrap();
            for _ in 0..3 {
                optimizer.step(&mut quadratic(vec![1.0; 100])).unwrap();
            }
            assert_eq!(optimizer.telemetry().unwrap()[2].updates, 3);
        }
    }
    let rotation = stochastic[0];
    let dimer = Dimer { rotation, scope: Scope::PerTensor, ..Dimer::default() };
    let error = make(Config { dimer: Some(dimer), ..fixed_rate() }).unwrap_err();
    let expected = "max_storage_buffers_per_shader_stage";
    assert!(matches!(error, Error::LimitTooSmall { limit, .. } if limit == expected), "{error}");
}
