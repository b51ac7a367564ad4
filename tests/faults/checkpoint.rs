//! Checkpoints: bitwise resume of every kind of optimizer, and processes that die while they write one.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::common::checkpoints::*;
use crate::common::*;
use dimer::{
    Config, Correction, Difference, Dimer, Displacement, Error, LearningRate, OnPlateau,
    Projection, Regime, Rotation, RotationRate, Schedule, Scope, Translation,
};
use rand::RngExt;

fn configs() -> Vec<Config> {
    let dimer = || Dimer { schedule: Schedule::Every(3), ..Dimer::default() };
    let with = |base, dimer| Config {
        base,
        dimer,
        learning_rate: LearningRate::Fixed(1e-2),
        ..fixed_rate()
    };
    let automatic = Rotation::gradient(RotationRate::Automatic);
    let mut configs: Vec<Config> = BASES.iter().map(|&base| with(base, Some(dimer()))).collect();
    configs.extend(BASES.map(|base| with(base, None)));
    configs.extend(
        [
            Dimer { rotation: automatic, ..dimer() },
            Dimer { rotation: automatic, scope: Scope::PerTensor, ..dimer() },
            Dimer { rotation: automatic, scope: Scope::PerGroup, ..dimer() },
            Dimer { rotation: Rotation::optimal_angle(Regime::Stochastic), ..dimer() },
            Dimer {
                rotation: Rotation::locally_optimal(Regime::rotations(3)),
                difference: Difference::Central,
                ..dimer()
            },
            Dimer { displacement: Displacement::Automatic, ..dimer() },
            Dimer {
                schedule: Schedule::OnPlateau(OnPlateau { shortest: 4, longest: 12, share: 0.5 }),
                ..dimer()
            },
            Dimer {
                translation: Translation::Project(Projection {
                    alpha: 1.0,
                    only_negative_curvature: true,
                }),
                correction: Correction::EventsOnly,
                ..dimer()
            },
        ]
        .map(|dimer| with(ADAMW, Some(dimer))),
    );
    configs
}

/// 100 steps equal 50 steps, a file, and 50 steps of an optimizer that started elsewhere; saved at an
/// event, after one, and between two looks of the schedule.
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
                // The optimizer that saved goes on as if it had not.
                first.step(&mut objective()).unwrap();
            }
            assert_eq!(snapshot(&mut second), expected, "saved at {saved_at}");
            assert_eq!(snapshot(&mut first), expected, "saved at {saved_at}");
        }
    }
}

#[test]
fn steps_that_are_not_submitted_are_in_the_way() {
    let scratch = Scratch::new();
    let mut optimizer = make(&fixed_rate(), 0.3);
    let mut encoder = gpu().device().create_command_encoder(&Default::default());
    optimizer.record_step(&mut encoder, &mut objective()).unwrap();
    let saved = scratch.0.path().join("before");
    make(&fixed_rate(), 0.5).save(&saved).unwrap();
    for result in [optimizer.save(scratch.file()), optimizer.load(&saved)] {
        let found = reason(result);
        assert!(found.contains("not submitted"), "{found}");
    }
    gpu().queue().submit([encoder.finish()]);
    optimizer.save(scratch.file()).unwrap();
    optimizer.load(&saved).unwrap();
    assert_eq!(optimizer.read_params().unwrap(), [0.5; LEN]);
    let nowhere = scratch.0.path().join("no").join("folder");
    assert!(matches!(optimizer.save(nowhere), Err(Error::Checkpoint { .. })));
}

/// Tells a copy of this test binary to save until it is killed.
const SAVE_TO: &str = "DIMER_TEST_SAVE_TO";

/// Runs only in the process that the next test starts.
#[test]
fn saves_until_it_is_killed() {
    let Ok(path) = std::env::var(SAVE_TO) else { return };
    let mut optimizer = make(&fixed_rate(), 0.3);
    loop {
        optimizer.step(&mut objective()).unwrap();
        optimizer.save(&path).unwrap();
    }
}

/// Kills the process (SIGKILL on Unix) at random moments while it saves: the file there always loads.
#[test]
fn a_killed_process_leaves_a_whole_checkpoint() {
    let kills = std::env::var("DIMER_TEST_KILLS").map_or(40, |kills| kills.parse().unwrap());
    let scratch = Scratch::new();
    let path = scratch.file();
    let mut victim = make(&fixed_rate(), 1.0);
    victim.save(&path).unwrap();
    let mut rng = rng(2);
    let (mut newest, mut progressed) = (0, 0);
    for _ in 0..kills {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "checkpoint::saves_until_it_is_killed"])
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
    println!("{kills} kills, {progressed} of them left a different step from the one before");
}

fn modified(path: &Path) -> std::time::SystemTime {
    std::fs::metadata(path).unwrap().modified().unwrap()
}
