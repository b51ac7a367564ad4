//! How work is spread over a device changes the last bits of sums, and nothing else; timestamps.

use crate::common::*;
use dimer::{
    Base, Config, Dimer, Displacement, Error, Gpu, Layout, Metric, Optimizer, Regime,
    RelativeDisplacement, Rotation, Schedule, Scope, Sgd, Translation, Tuning,
};
use rand::RngExt;

const LEN: usize = 40_009;

fn configs() -> [Config; 3] {
    let dimer = Dimer { schedule: Schedule::Every(2), ..Dimer::default() };
    let stochastic = Rotation::locally_optimal(Regime::Stochastic);
    let gradient = Rotation::gradient(dimer::RotationRate::Automatic);
    [(gradient, Scope::Global), (stochastic, Scope::Global), (gradient, Scope::PerTensor)].map(
        |(rotation, scope)| Config {
            dimer: Some(Dimer { rotation, scope, ..dimer.clone() }),
            ..fixed_rate()
        },
    )
}

/// Everything that this device can do.
fn tunings() -> Vec<Tuning> {
    let mut tunings = Vec::new();
    for size in [32, 64, 128, 256, 512, 1024] {
        for (workgroups, stream_width, subgroups) in
            [(256, size, false), (3, 8, true), (2048, size, true), (1, 4, false)]
        {
            let workgroup_size = size;
            tunings.push(Tuning {
                workgroup_size,
                workgroups,
                stream_width,
                subgroups,
                ..Tuning::default()
            });
        }
    }
    let widths = [4, 8, 16, 32, 64, 128, 256].map(|stream_width| Tuning {
        workgroup_size: 256,
        workgroups: 5,
        stream_width,
        ..Tuning::default()
    });
    tunings.extend(widths);
    let gpu = gpu();
    tunings.retain(|tuning| match gpu.with_tuning(*tuning) {
        Ok(_) => true,
        Err(error) => {
            println!("{tuning:?}: {error}");
            false
        }
    });
    // Only subgroups, and workgroups of more than 256 threads, may be beyond a device.
    assert!(tunings.len() >= 15, "{tunings:?}");
    tunings
}

/// Lets `optimizer` time its kernels, and says whether its device can.
fn times_kernels(optimizer: &mut Optimizer) -> bool {
    let features = wgpu::Features::TIMESTAMP_QUERY_INSIDE_PASSES;
    let can = optimizer.gpu().device().features().contains(features);
    let timed = optimizer.time_kernels(true);
    assert_eq!(timed.is_ok(), can, "{timed:?}");
    if !can {
        println!("not tested: this device has no {features:?}");
    }
    can
}

fn run(gpu: &Gpu, config: &Config) -> (Vec<f32>, Vec<f32>, f32) {
    let mut rng = rng(2);
    let start = vector(&mut rng, LEN, Kind::Plain);
    let h: Vec<f32> = (0..LEN).map(|_| rng.random_range(0.5..2.0)).collect();
    let mut builder = Layout::builder();
    builder.tensor("a", &[30_000]).tensor("b", &[9]).tensor("c", &[10_000]);
    let layout = builder.build().unwrap();
    let mut optimizer = Optimizer::new(gpu, layout, config.clone(), &start).unwrap();
    let mut objective = quadratic(h);
    for _ in 0..4 {
        optimizer.step(&mut objective).unwrap();
    }
    let curvature = optimizer.read_curvature().unwrap();
    let n = optimizer.read_orientation().unwrap().unwrap_or_default();
    (optimizer.read_params().unwrap(), n, curvature)
}

/// Sums differ by 2 · 10⁻⁶ of their terms at most, since each is good to 10⁻⁶. Two events of a
/// difference over ΔR ≈ 3·10⁻⁵ ‖θ‖ magnify roundings of the gradients, the same for all tunings, not
/// those of the sums: C, of positive terms around 1, is good to about 10⁻⁵; so is N in its norm of 1
/// after a rotation by a rate. Rayleigh–Ritz finds N as an eigenvector of a 3×3 matrix, whose nine
/// entries, of curvatures below 2, are off by 4 · 10⁻⁶ each, so at most 1.2 · 10⁻⁵ in norm; divided by
/// the gap to the next Ritz value, which is above 0.1 for curvatures spread over 0.5 to 2.
#[test]
fn every_tuning_gives_the_same_but_for_rounding() {
    for config in configs() {
        let expected = run(&gpu(), &config);
        for tuning in tunings() {
            let tuned = gpu().with_tuning(tuning).unwrap();
            let found = run(&tuned, &config);
            println!("{tuning:?}: C {} and {}", found.2, expected.2);
            assert_within("C", found.2.into(), expected.2.into(), 2e-5);
            let apart: Vec<f64> =
                wide(&found.1).iter().zip(wide(&expected.1)).map(|(a, b)| a - b).collect();
            let bound = if config == configs()[1] { 1.2e-4 } else { 2e-5 };
            assert_within("N", dimer::reference::norm(&apart), 0.0, bound);
            // Where C is positive the step is that of the base optimizer, which needs no sums.
            assert_eq!(bits(&found.0), bits(&expected.0), "{tuning:?}");
            let again = run(&tuned, &config);
            assert_eq!([bits(&again.0), bits(&again.1)], [bits(&found.0), bits(&found.1)]);
        }
    }
}

/// Configurations whose kernels need the sum of all tiles in every workgroup, each for another purpose.
fn rereading() -> Vec<Config> {
    let dimer = Dimer { schedule: Schedule::Every(2), ..Dimer::default() };
    let clipped = Config { max_gradient_norm: Some(0.5), ..fixed_rate() };
    let rotations = [
        Rotation::gradient(dimer::RotationRate::Automatic),
        Rotation::locally_optimal(Regime::Stochastic),
        Rotation::optimal_angle(Regime::rotations(3)),
    ];
    let relative = Displacement::Relative(RelativeDisplacement { factor: 1e-4, minimum: 1e-6 });
    let mut all = vec![
        clipped.clone(),
        Config { base: Base::Sgd(Sgd { momentum: 0.9, nesterov: true }), ..fixed_rate() },
        Config { max_gradient_norm: Some(0.5), ..Config::default() },
    ];
    for rotation in rotations {
        for displacement in [relative, Displacement::Absolute(1e-2)] {
            let dimer = Dimer { rotation, displacement, ..dimer.clone() };
            all.push(Config { dimer: Some(dimer.clone()), ..clipped.clone() });
            let watching = Dimer { translation: Translation::None, ..dimer };
            let metric = Dimer { metric: Metric::Preconditioner, ..watching };
            all.push(Config { dimer: Some(metric), ..fixed_rate() });
        }
    }
    let automatic = Dimer { displacement: Displacement::Automatic, ..dimer.clone() };
    let tensors = Dimer { scope: Scope::PerTensor, displacement: relative, ..dimer };
    all.extend([automatic, tensors].map(|dimer| {
        let rotation = rotations[0];
        Config { dimer: Some(Dimer { rotation, ..dimer }), ..fixed_rate() }
    }));
    all
}

/// One workgroup that adds the sums of all tiles takes them in the order in which every workgroup would.
#[test]
fn no_bit_depends_on_who_adds_the_tiles() {
    let layout = Layout::flat(LEN).unwrap();
    for config in rereading() {
        let [once, often] = [0, 2048].map(|reread_tiles| {
            let tuning = Tuning { workgroups: 256, reread_tiles, ..*gpu().tuning() };
            gpu().with_tuning(tuning).unwrap()
        });
        let dispatches = |gpu: &Gpu| -> u32 {
            let zeros = vec![0.0; LEN];
            let optimizer = Optimizer::new(gpu, layout.clone(), config.clone(), &zeros).unwrap();
            optimizer.plan().costs().iter().map(|cost| cost.dispatches).sum()
        };
        assert!(dispatches(&once) > dispatches(&often), "{config:?}");
        let [once, often] = [once, often].map(|gpu| run(&gpu, &config));
        assert_eq!(bits(&once.0), bits(&often.0), "{config:?}");
        assert_eq!(bits(&once.1), bits(&often.1), "{config:?}");
        assert_eq!(once.2.to_bits(), often.2.to_bits(), "{config:?}");
    }
}

#[test]
fn what_a_device_cannot_do_is_an_error() {
    let tuning = Tuning::default();
    let wrong = [
        ("tuning.workgroup_size", Tuning { workgroup_size: 0, ..tuning }),
        ("tuning.workgroup_size", Tuning { workgroup_size: 100, ..tuning }),
        ("tuning.workgroup_size", Tuning { workgroup_size: 16, ..tuning }),
        ("tuning.stream_width", Tuning { stream_width: 2, ..tuning }),
        ("tuning.stream_width", Tuning { stream_width: 24, ..tuning }),
        ("tuning.stream_width", Tuning { stream_width: 512, ..tuning }),
        ("tuning.stream_width", Tuning { workgroup_size: 64, ..tuning }),
        ("tuning.workgroups", Tuning { workgroups: 0, ..tuning }),
        ("tuning.workgroups", Tuning { workgroups: 2049, ..tuning }),
        ("tuning.reread_tiles", Tuning { reread_tiles: 2049, ..tuning }),
    ];
    for (name, tuning) in wrong {
        let error = gpu().with_tuning(tuning).unwrap_err();
        assert!(matches!(error, Error::InvalidConfig { field, .. } if field == name), "{error}");
    }
    let error = gpu().with_tuning(tuning.with_workgroup_size(1 << 30)).unwrap_err();
    assert!(matches!(error, Error::LimitTooSmall { .. }), "{error}");
}

/// Measured once, then taken from the file; a file of any other kind is left alone.
#[test]
fn a_tuning_is_measured_and_kept() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tuning.json");
    let measured = Tuning::cached(&gpu(), 10_000, &path).unwrap();
    println!("{measured:?}");
    assert!(gpu().with_tuning(measured).is_ok());
    // What the file says counts, whatever a measurement would say.
    let text = std::fs::read_to_string(&path).unwrap();
    let field = format!("\"workgroups\": {}", measured.workgroups);
    assert!(text.contains(&field), "{text}");
    std::fs::write(&path, text.replace(&field, "\"workgroups\": 77")).unwrap();
    assert_eq!(Tuning::cached(&gpu(), 10_000, &path).unwrap().workgroups, 77);
    // But not what was measured with other kernels.
    let text = std::fs::read_to_string(&path).unwrap();
    let (_, kernels) = text.split_once(", kernels ").unwrap();
    std::fs::write(&path, text.replace(&kernels[..8], "01234567")).unwrap();
    assert_ne!(Tuning::cached(&gpu(), 10_000, &path).unwrap().workgroups, 77);
    std::fs::write(&path, "my notes").unwrap();
    let error = Tuning::cached(&gpu(), 10_000, &path).unwrap_err();
    assert!(matches!(error, Error::TuningCache { .. }), "{error}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "my notes");
}

/// Each kernel of each step once, in order, and together no longer than the steps took.
#[test]
fn kernels_are_timed() {
    let [config, ..] = configs();
    let mut optimizer = flat(config, &vec![0.5; 1 << 18]);
    let mut objective = quadratic(vec![1.0; 1 << 18]);
    assert!(optimizer.kernel_times().unwrap().is_empty());
    optimizer.step(&mut objective).unwrap();
    if !times_kernels(&mut optimizer) {
        return;
    }
    let began = std::time::Instant::now();
    for _ in 0..2 {
        optimizer.step(&mut objective).unwrap();
    }
    let times = optimizer.kernel_times().unwrap();
    let elapsed = began.elapsed().as_nanos() as f64;
    let found: Vec<_> = times.iter().map(|time| (time.step, time.kernel)).collect();
    let event = [
        "probe/norm",
        "probe/displace",
        "rate/update_products",
        "rate/keep_update",
        "step/gram",
        "step/rotate_translate",
    ]
    .map(|kernel| (1, kernel));
    assert_eq!(found, [&event[..], &[(2, "step/gram"), (2, "step/translate")]].concat());
    assert!(times.iter().all(|time| time.nanoseconds > 0.0), "{times:?}");
    assert!(times.iter().map(|time| time.nanoseconds).sum::<f64>() < elapsed, "{times:?}");
    assert!(optimizer.kernel_times().unwrap().is_empty());
    optimizer.time_kernels(false).unwrap();
    optimizer.step(&mut objective).unwrap();
    assert!(optimizer.kernel_times().unwrap().is_empty());
}

/// Names lead to the files.
#[test]
fn kernels_are_named_after_their_files() {
    let shaders = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("shaders");
    let mut names = std::collections::BTreeSet::new();
    for config in configs() {
        let mut optimizer = flat(config, &[0.5; 100]);
        if !times_kernels(&mut optimizer) {
            return;
        }
        let mut objective = quadratic(vec![1.0; 100]);
        for _ in 0..2 {
            optimizer.step(&mut objective).unwrap();
        }
        optimizer.rotate(&mut objective).unwrap();
        names.extend(optimizer.kernel_times().unwrap().iter().map(|time| time.kernel));
    }
    println!("{names:?}");
    assert!(
        ["regions/update", "regions/rotate", "lobpcg/ritz", "step/translate"]
            .iter()
            .all(|n| names.contains(n))
    );
    for name in names {
        assert!(shaders.join(format!("{name}.wgsl")).exists(), "{name}");
    }
}

/// More steps than the timer keeps: the last ones are there.
#[test]
fn times_of_the_last_steps_are_kept() {
    let mut optimizer = flat(Config { dimer: None, ..fixed_rate() }, &[0.5; 100]);
    if !times_kernels(&mut optimizer) {
        return;
    }
    let mut objective = quadratic(vec![1.0; 100]);
    for _ in 0..300 {
        optimizer.step(&mut objective).unwrap();
    }
    let times = optimizer.kernel_times().unwrap();
    assert_eq!(times.len(), 2 * 256);
    assert_eq!((times[0].step, times[511].step), (44, 299));
    assert!(times.iter().all(|time| time.nanoseconds > 0.0));
}
