//! N and the moments in bf16: how far it is from f32, that small changes are not lost, that a run can go
//! on from a checkpoint, and how much memory either takes.

use crate::common::*;
use dimer::{
    Base, Config, Correction, Difference, Dimer, Displacement, Error, Evaluation, Gpu, Layout,
    LearningRate, Objective, Optimizer, Regime, Rotation, RotationRate, Schedule, Scope, Storage,
};
use rand::RngExt;

const LEN: usize = 5003;

const GRADIENT: Rotation = Rotation::gradient(RotationRate::Automatic);
const STOCHASTIC: Rotation = Rotation::locally_optimal(Regime::Stochastic);
const ANGLE: Rotation = Rotation::optimal_angle(Regime::Stochastic);

fn with(rotation: Rotation, base: Base) -> Config {
    let dimer = Dimer {
        rotation,
        schedule: Schedule::Every(3),
        displacement: Displacement::Absolute(1e-2),
        ..Dimer::default()
    };
    Config { base, storage: Storage::Bf16, dimer: Some(dimer), ..fixed_rate() }
}

/// A bulk of positive curvatures and one that is not.
fn spectrum() -> Vec<f32> {
    let mut rng = rng(3);
    let mut h: Vec<f32> = (0..LEN).map(|_| rng.random_range(0.5..2.0)).collect();
    h[17] = -3.0;
    h
}

fn run(config: &Config, steps: u64) -> Optimizer {
    let mut optimizer = flat(config.clone(), &vector(&mut rng(4), LEN, Kind::Plain));
    let mut objective = quadratic(spectrum());
    for _ in 0..steps {
        optimizer.step(&mut objective).unwrap();
    }
    optimizer
}

/// The same twice, bit for bit, and near the run in f32: C to 1 %, θ to 2 % of the way it went.
#[test]
fn bf16_is_near_f32_and_the_same_on_every_run() {
    for rotation in [GRADIENT, STOCHASTIC, ANGLE] {
        for base in BASES {
            let config = with(rotation, base);
            let full = Config { storage: Storage::F32, ..config.clone() };
            println!("{rotation:?}, {base:?}");
            let [optimizer, again, full] = [&config, &config, &full].map(|config| run(config, 60));
            let theta = optimizer.read_params().unwrap();
            assert_eq!(bits(&theta), bits(&again.read_params().unwrap()));
            let start = wide(&vector(&mut rng(4), LEN, Kind::Plain));
            let expected = wide(&full.read_params().unwrap());
            let distance = |a: &[f64], b: &[f64]| {
                a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt()
            };
            let way = distance(&start, &expected);
            let apart = distance(&wide(&theta), &expected) / way;
            let [c, expected] = [optimizer, full].map(|o| o.read_curvature().unwrap());
            println!("θ {apart:.1e} of the way, C {c} and {expected}");
            assert!(apart <= 0.02, "{apart}");
            assert_within("C", c.into(), expected.into(), 0.01 * f64::from(expected.abs()));
        }
    }
}

/// β₂ = 0.999 adds a thousandth of the second moment per step, less than half a bf16's last bit: rounded
/// to the nearest, it would stop far below its limit. The error of the mean over LEN elements is LEN^-½
/// of one element's, which is a few last bits (2⁻⁸): together below 10⁻³; the learning rate is 0 so
/// that the moments alone change.
#[test]
fn moments_take_in_what_is_below_their_last_bit() {
    let config = Config {
        storage: Storage::Bf16,
        learning_rate: LearningRate::Fixed(0.0),
        weight_decay: 0.0,
        dimer: None,
        ..fixed_rate()
    };
    let mut optimizer = flat(config, &[1.0; LEN]);
    let mut objective = quadratic(vec![0.7; LEN]);
    let steps = 1500;
    for _ in 0..steps {
        optimizer.step(&mut objective).unwrap();
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("moments.safetensors");
    optimizer.save(&path).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let moment = |name: &str| -> Vec<f32> {
        bytemuck::pod_collect_to_vec(file.tensor(&format!("{name}/params")).unwrap().data())
    };
    for (name, beta, limit) in [("first_moment", 0.9_f64, 0.7), ("second_moment", 0.999, 0.49)] {
        let values = wide(&moment(name));
        assert!(values.iter().all(|x| (*x as f32).to_bits() & 0xffff == 0), "{name} is bf16");
        let mean = values.iter().sum::<f64>() / LEN as f64;
        let expected = limit * (1.0 - beta.powi(steps));
        assert_within(name, mean, expected, 1e-3 * expected);
    }
}

/// 20 steps = 10 + save + load + 10, to the bit.
#[test]
fn bf16_resumes_to_the_bit() {
    let scoped = Dimer { scope: Scope::PerTensor, ..with(GRADIENT, ADAMW).dimer.unwrap() };
    let scoped = Config { dimer: Some(scoped), ..with(GRADIENT, ADAMW) };
    for config in [with(GRADIENT, ADAMW), with(STOCHASTIC, ADAMW), with(ANGLE, MOMENTUM), scoped] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("checkpoint.safetensors");
        let mut first = run(&config, 10);
        first.save(&path).unwrap();
        let mut second = flat(config, &[0.0; LEN]);
        second.load(&path).unwrap();
        let states = [&mut first, &mut second].map(|optimizer| {
            let mut objective = quadratic(spectrum());
            for _ in 0..10 {
                optimizer.step(&mut objective).unwrap();
            }
            let params = optimizer.read_params().unwrap();
            [bits(&params), bits(&optimizer.read_orientation().unwrap().unwrap_or_default())]
        });
        assert_eq!(states[0], states[1]);
    }
}

#[test]
fn what_needs_f32_is_refused() {
    let deterministic = Rotation::locally_optimal(Regime::rotations(3));
    let central =
        Dimer { difference: Difference::Central, ..with(STOCHASTIC, ADAMW).dimer.unwrap() };
    let central = Config { dimer: Some(central), ..with(STOCHASTIC, ADAMW) };
    for config in [with(deterministic, ADAMW), central] {
        let error = config.validate().unwrap_err();
        assert!(matches!(error, Error::Unsupported { what: "Storage::Bf16", .. }), "{error}");
    }
}

/// A gradient of zero, without work.
struct Standing;

impl Objective for Standing {
    fn gradient(&mut self, _: Evaluation<'_>) -> dimer::Result<()> {
        Ok(())
    }

    fn is_deterministic(&self) -> bool {
        true
    }
}

/// What the driver's allocator says, compared with what is documented per parameter.
#[test]
fn memory_is_what_is_documented() {
    let len = 1 << 20;
    // Ring, tables, partials and the allocator's alignment.
    let overhead = 1 << 20;
    let of = |rotation| Some(Dimer { rotation, ..Dimer::default() });
    let dimers = [None, of(GRADIENT), of(ANGLE), of(STOCHASTIC), Some(Dimer::alternating())];
    let bytes = [[16, 12], [28, 22], [44, 30], [52, 34], [36, 0]];
    for (dimer, documented) in dimers.into_iter().zip(bytes) {
        for (storage, bytes) in [Storage::F32, Storage::Bf16].into_iter().zip(documented) {
            if bytes == 0 {
                continue;
            }
            // A device of its own, which no other test uses.
            let gpu = Gpu::new().unwrap_or_else(|error| panic!("{error}"));
            let used = || {
                let report = gpu.device().generate_allocator_report();
                let report = report.expect("a backend with an allocator report");
                report.allocations.iter().map(|allocation| allocation.size).sum::<u64>()
            };
            let before = used();
            let config = Config { storage, dimer: dimer.clone(), ..fixed_rate() };
            let buffers = Default::default();
            let layout = Layout::flat(len).unwrap();
            let mut optimizer = Optimizer::with_buffers(&gpu, layout, config, buffers).unwrap();
            // Frees what the first N was uploaded through.
            optimizer.step(&mut Standing).unwrap();
            gpu.device().poll(wgpu::PollType::wait_indefinitely()).unwrap();
            let taken = used() - before;
            println!("{dimer:?}, {storage:?}: {:.2} bytes", taken as f64 / len as f64);
            let expected = bytes * len as u64;
            assert!((expected..=expected + overhead).contains(&taken), "{taken}, {expected}");
            drop(optimizer);
        }
    }
}

/// The kernels that correct along N every step, on bf16.
#[test]
fn a_closed_gate_is_the_base_optimizer_in_bf16() {
    let convex: Vec<f32> = spectrum().iter().map(|h| h.abs()).collect();
    let run = |dimer: Option<Dimer>| {
        let config = Config { storage: Storage::Bf16, dimer, ..fixed_rate() };
        let mut optimizer = flat(config, &vector(&mut rng(6), LEN, Kind::Plain));
        let mut objective = quadratic(convex.clone());
        for _ in 0..30 {
            optimizer.step(&mut objective).unwrap();
        }
        bits(&optimizer.read_params().unwrap())
    };
    let dimer =
        Dimer { correction: Correction::EveryStep, ..with(STOCHASTIC, ADAMW).dimer.unwrap() };
    assert_eq!(run(Some(dimer)), run(None));
}
