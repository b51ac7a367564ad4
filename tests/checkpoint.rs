//! Checkpoints: bitwise resume of every kind of optimizer, files that are damaged or of something else,
//! and processes that die while they write one.

mod common;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::*;
use dimer::{
    Base, Config, Correction, Difference, Dimer, Displacement, Error, Group, HostObjective, Layout,
    Objective, Optimizer, Rate, Regime, Rotation, Schedule, Scope, Translation,
};
use rand::RngExt;

const LEN: usize = 130;

/// A file that is gone when the test is.
struct Scratch(tempfile::TempDir);

impl Scratch {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn file(&self) -> PathBuf {
        self.0.path().join("checkpoint.safetensors")
    }
}

fn layout() -> Layout {
    let mut builder = Layout::builder();
    let slow = builder.group(Group { learning_rate_scale: 0.5, ..Group::default() });
    builder.tensor("a.weight", &[5, 12]).tensor_in(slow, "a.bias", &[5]).tensor("b", &[65]);
    builder.build().unwrap()
}

/// A saddle, so that every translation acts.
fn objective() -> impl Objective {
    HostObjective::new(|x: &[f32], gradient: &mut [f32]| {
        let mut loss = 0.0;
        for (i, (g, x)) in gradient.iter_mut().zip(x).enumerate() {
            let h = i as f32 / 20.0 - 3.0;
            *g = h * x + x * x * x;
            loss += 0.5 * h * x * x + 0.25 * x.powi(4);
        }
        loss
    })
}

fn make(config: &Config, start: f32) -> Optimizer {
    let start = vec![start; LEN];
    Optimizer::new(&gpu(), layout(), config.clone(), &start).unwrap()
}

/// Everything that can be seen of an optimizer.
fn snapshot(optimizer: &mut Optimizer) -> impl PartialEq + std::fmt::Debug + use<> {
    let last = optimizer.telemetry_blocking().unwrap();
    let last = last.last().map(|record| format!("{record:?}"));
    (
        bits(&optimizer.read_params_blocking().unwrap()),
        bits(&optimizer.read_orientation_blocking().unwrap()),
        format!("{:?}", optimizer.read_regions_blocking().unwrap()),
        (optimizer.steps(), optimizer.gradient_evaluations()),
        last,
    )
}

fn configs() -> Vec<Config> {
    let dimer = || Dimer { schedule: Schedule::Every(3), ..Dimer::default() };
    let with = |base, dimer| Config { base, dimer, learning_rate: 1e-2, ..Config::default() };
    let automatic = Rotation::Gradient { rate: Rate::Automatic };
    let mut configs: Vec<Config> = BASES.iter().map(|&base| with(base, Some(dimer()))).collect();
    configs.extend(BASES.map(|base| with(base, None)));
    configs.extend(
        [
            Dimer { rotation: automatic, ..dimer() },
            Dimer { rotation: automatic, scope: Scope::PerTensor, ..dimer() },
            Dimer { rotation: automatic, scope: Scope::PerGroup, ..dimer() },
            Dimer { rotation: Rotation::OptimalAngle { regime: Regime::Stochastic }, ..dimer() },
            Dimer {
                rotation: Rotation::LocallyOptimal { regime: Regime::rotations(3) },
                difference: Difference::Central,
                ..dimer()
            },
            Dimer { displacement: Displacement::Automatic, ..dimer() },
            Dimer {
                schedule: Schedule::OnPlateau { shortest: 4, longest: 12, share: 0.5 },
                ..dimer()
            },
            Dimer {
                translation: Translation::Project { alpha: 1.0, only_negative_curvature: true },
                correction: Correction::EventsOnly,
                ..dimer()
            },
        ]
        .map(|dimer| with(ADAMW, Some(dimer))),
    );
    configs
}

/// 100 steps are 50, a file, and 50 by an optimizer that started elsewhere; saved at an event, after
/// one, and between two looks of the schedule.
#[test]
fn resumes_bit_for_bit() {
    let scratch = Scratch::new();
    for config in configs() {
        println!("{config:?}");
        let mut whole = make(&config, 0.3);
        for _ in 0..100 {
            whole.step(&mut objective()).unwrap();
        }
        let expected = snapshot(&mut whole);
        for saved_at in [47, 50, 51] {
            let mut first = make(&config, 0.3);
            for step in 0..saved_at {
                if step == 20 {
                    first.set_learning_rate(1e-2).unwrap();
                }
                first.step(&mut objective()).unwrap();
            }
            first.save(scratch.file()).unwrap();
            let mut second = make(&config, -7.0);
            for _ in 0..2 {
                second.step(&mut objective()).unwrap();
            }
            second.load(scratch.file()).unwrap();
            for _ in saved_at..100 {
                second.step(&mut objective()).unwrap();
                // The one that saved goes on as if it had not.
                first.step(&mut objective()).unwrap();
            }
            assert_eq!(snapshot(&mut second), expected, "saved at {saved_at}");
            assert_eq!(snapshot(&mut first), expected, "saved at {saved_at}");
        }
    }
}

/// The tensors are named and shaped by the layout, as Python's safetensors would see them.
#[test]
fn tensors_are_named_by_the_layout() {
    let scratch = Scratch::new();
    let mut optimizer = make(&Config::default(), 0.25);
    optimizer.save(scratch.file()).unwrap();
    let bytes = std::fs::read(scratch.file()).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    for vector in ["params", "orientation", "first_moment", "second_moment", "direction"] {
        for (tensor, shape) in [("a.weight", &[5, 12][..]), ("a.bias", &[5]), ("b", &[65])] {
            assert_eq!(file.tensor(&format!("{vector}/{tensor}")).unwrap().shape(), shape);
        }
    }
    let weight = file.tensor("params/a.weight").unwrap();
    let values: Vec<f32> = bytemuck::pod_collect_to_vec(weight.data());
    assert_eq!(values, [0.25; 60]);
    let left: Vec<_> = std::fs::read_dir(scratch.0.path()).unwrap().collect();
    assert_eq!(left.len(), 1, "no temporary file is left");
}

fn reason(result: dimer::Result<()>) -> String {
    match result.unwrap_err() {
        Error::Checkpoint { reason, .. } => reason,
        other => panic!("{other}"),
    }
}

#[test]
fn another_layout_or_other_settings_are_named() {
    let scratch = Scratch::new();
    let config = Config::default();
    make(&config, 0.3).save(scratch.file()).unwrap();
    let dimer = || config.dimer.clone().unwrap();
    for (other, words) in [
        (Config { base: ADAM, ..config.clone() }, "config.base"),
        (Config { weight_decay: 0.5, ..config.clone() }, "config.weight_decay"),
        (Config { dimer: None, ..config.clone() }, "config.dimer"),
        (
            Config { dimer: Some(Dimer { seed: 1, ..dimer() }), ..config.clone() },
            "config.dimer.seed",
        ),
        (
            Config {
                base: Base::AdamW { beta1: 0.9, beta2: 0.99, epsilon: 1e-8 },
                ..config.clone()
            },
            "config.base.AdamW.beta2",
        ),
    ] {
        let mut optimizer = make(&other, 1.0);
        let before = bits(&optimizer.read_params_blocking().unwrap());
        let found = reason(optimizer.load(scratch.file()));
        assert!(found.contains(words), "{found}");
        assert_eq!(bits(&optimizer.read_params_blocking().unwrap()), before);
    }
    let of = |layout: Layout| {
        let start = vec![1.0; layout.len()];
        let mut optimizer = Optimizer::new(&gpu(), layout, config.clone(), &start).unwrap();
        reason(optimizer.load(scratch.file()))
    };
    let found = of(Layout::flat(LEN).unwrap());
    assert!(found.contains("groups."), "{found}");
    let mut builder = Layout::builder();
    let slow = builder.group(Group { learning_rate_scale: 0.5, ..Group::default() });
    builder.tensor("a.weight", &[12, 5]).tensor_in(slow, "a.bias", &[5]).tensor("b", &[65]);
    let found = of(builder.build().unwrap());
    assert!(found.contains("`params/a.weight` has the shape [5, 12]"), "{found}");
    let missing = reason(make(&config, 1.0).load(scratch.0.path().join("nothing")));
    assert!(missing.contains("No such file") || missing.contains("not find"), "{missing}");
}

/// A small file, cut at every length, and with 10 000 random bytes changed: an error, or what was saved.
#[test]
fn damaged_files_are_errors() {
    let scratch = Scratch::new();
    let config = Config { dimer: None, base: MOMENTUM, ..Config::default() };
    let small = |start: f32| {
        Optimizer::new(&gpu(), Layout::flat(3).unwrap(), config.clone(), &[start; 3]).unwrap()
    };
    let mut optimizer = small(0.5);
    for _ in 0..3 {
        optimizer.step(&mut quadratic(vec![1.0, 2.0, 3.0])).unwrap();
    }
    optimizer.save(scratch.file()).unwrap();
    let expected = bits(&optimizer.read_params_blocking().unwrap());
    let good = std::fs::read(scratch.file()).unwrap();
    let mut victim = small(9.0);
    let untouched = bits(&victim.read_params_blocking().unwrap());
    let mut try_load = |bytes: &[u8]| {
        std::fs::write(scratch.file(), bytes).unwrap();
        let loaded = victim.load(scratch.file());
        let found = bits(&victim.read_params_blocking().unwrap());
        match &loaded {
            Ok(()) => assert_eq!(found, expected),
            Err(error) => {
                assert!(matches!(error, Error::Checkpoint { .. }), "{error}");
                assert_eq!(found, untouched);
            }
        }
        if loaded.is_ok() {
            victim.write_params(&[9.0; 3]).unwrap();
        }
        loaded.is_ok()
    };
    assert!(try_load(&good));
    for length in 0..good.len() {
        assert!(!try_load(&good[..length]), "cut at {length}");
    }
    let longer: Vec<u8> = good.iter().copied().chain([0]).collect();
    assert!(!try_load(&longer));
    let mut rng = rng(1);
    let mut same = 0;
    for _ in 0..10_000 {
        let mut bytes = good.clone();
        let place = rng.random_range(0..bytes.len());
        bytes[place] ^= rng.random_range(1..=255_u8);
        same += u32::from(try_load(&bytes));
    }
    println!("{} bytes; 10000 flips, of which {same} changed nothing", good.len());
    assert!(same < 500, "flips of padding alone may be without effect: {same}");
}

/// Newer files say so.
#[test]
fn newer_versions_are_named() {
    let scratch = Scratch::new();
    let mut optimizer = make(&Config::default(), 0.3);
    optimizer.save(scratch.file()).unwrap();
    let bytes = std::fs::read(scratch.file()).unwrap();
    let old = br#""dimer_format":"1""#;
    let at = bytes.windows(old.len()).position(|window| window == old).unwrap();
    let mut newer = bytes.clone();
    newer[at + old.len() - 2] = b'2';
    std::fs::write(scratch.file(), newer).unwrap();
    let found = reason(optimizer.load(scratch.file()));
    assert!(found.contains("version 2"), "{found}");
}

#[test]
fn steps_that_are_not_submitted_are_not_saved() {
    let scratch = Scratch::new();
    let mut optimizer = make(&Config::default(), 0.3);
    let mut encoder = gpu().device().create_command_encoder(&Default::default());
    optimizer.record_step(&mut encoder, &mut objective()).unwrap();
    let found = reason(optimizer.save(scratch.file()));
    assert!(found.contains("not submitted"), "{found}");
    gpu().queue().submit([encoder.finish()]);
    optimizer.save(scratch.file()).unwrap();
    let nowhere = scratch.0.path().join("no").join("folder");
    assert!(matches!(optimizer.save(nowhere), Err(Error::Checkpoint { .. })));
}

/// Tells a copy of this test binary to save until it is killed.
const SAVE_TO: &str = "DIMER_TEST_SAVE_TO";

/// Runs only in the process that the next test starts.
#[test]
fn saves_until_it_is_killed() {
    let Ok(path) = std::env::var(SAVE_TO) else { return };
    let mut optimizer = make(&Config::default(), 0.3);
    loop {
        optimizer.step(&mut objective()).unwrap();
        optimizer.save(&path).unwrap();
    }
}

/// Kills (SIGKILL on Unix) at random moments of saving: what is there always loads.
#[test]
fn a_killed_process_leaves_a_whole_checkpoint() {
    let kills = std::env::var("DIMER_TEST_KILLS").map_or(40, |kills| kills.parse().unwrap());
    let scratch = Scratch::new();
    let path = scratch.file();
    let mut victim = make(&Config::default(), 1.0);
    victim.save(&path).unwrap();
    let mut rng = rng(2);
    let (mut newest, mut progressed) = (0, 0);
    for _ in 0..kills {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "saves_until_it_is_killed"])
            .env(SAVE_TO, &path)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let before = modified(&path);
        let began = Instant::now();
        while modified(&path) == before {
            assert!(began.elapsed() < Duration::from_secs(60), "the child saves nothing");
            std::thread::sleep(Duration::from_millis(1));
        }
        std::thread::sleep(Duration::from_micros(rng.random_range(0..20_000)));
        child.kill().unwrap();
        child.wait().unwrap();
        victim.load(&path).unwrap();
        progressed += u32::from(victim.steps() != newest);
        newest = victim.steps();
        assert!(newest >= 1);
    }
    println!("{kills} kills, {progressed} of them left another step than the one before");
}

fn modified(path: &Path) -> std::time::SystemTime {
    std::fs::metadata(path).unwrap().modified().unwrap()
}
