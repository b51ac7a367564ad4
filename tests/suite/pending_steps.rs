//! What is recorded but not submitted is not taken for done; what is dropped never was.

use crate::common::*;
use dimer::{Config, Correction, Dimer, Error, OnPlateau, Optimizer, Schedule, Telemetry};
use rand::RngExt;

const LEN: usize = 70;

fn config(schedule: Schedule) -> Config {
    let dimer = Dimer { schedule, correction: Correction::EveryStep, ..fixed_dimer(0.1, 0.5, 1.0) };
    Config { dimer: Some(dimer), max_consecutive_skips: Some(3), ..fixed_rate() }
}

fn make(config: Config) -> Optimizer {
    flat(config, &vector(&mut rng(3), LEN, Kind::Plain))
}

/// A gradient for all points that only depends on the step, written by a copy in the encoder: a step can be
/// submitted long after it was recorded.
struct Copied(wgpu::Buffer);

impl Copied {
    fn new(optimizer: &Optimizer, value: f32) -> Self {
        let gpu = optimizer.gpu();
        let buffer = gpu.device().create_buffer(&wgpu::BufferDescriptor {
            label: None,
            size: optimizer.gradient().size,
            usage: wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST,
            mapped_at_creation: false,
        });
        let values = vec![value; (buffer.size() / 4) as usize];
        gpu.queue().write_buffer(&buffer, 0, bytemuck::cast_slice(&values));
        Self(buffer)
    }
}

impl dimer::Objective for Copied {
    fn gradient(&mut self, at: dimer::Evaluation<'_>) -> dimer::Result<()> {
        let to = at.gradient;
        at.encoder.copy_buffer_to_buffer(&self.0, 0, &to.buffer, to.offset, to.size);
        Ok(())
    }
}

fn encoder(optimizer: &Optimizer) -> wgpu::CommandEncoder {
    optimizer.gpu().device().create_command_encoder(&Default::default())
}

fn submit(optimizer: &Optimizer, encoder: wgpu::CommandEncoder) {
    optimizer.gpu().queue().submit([encoder.finish()]);
}

fn steps(records: &[Telemetry]) -> Vec<u64> {
    records.iter().map(|record| record.step).collect()
}

/// Asked after the recording and after the submission, in every way, no record is lost and none comes twice.
#[test]
fn no_record_is_lost_by_asking_early() {
    for ask in 0..3 {
        let mut optimizer = make(config(Schedule::Every(3)));
        let mut objective = Copied::new(&optimizer, 0.5);
        let mut seen = Vec::new();
        for round in 0..10 {
            let mut encoder = encoder(&optimizer);
            for _ in 0..=round % 3 {
                optimizer.record_step(&mut encoder, &mut objective).unwrap();
            }
            let mut look = |optimizer: &mut Optimizer| {
                let records = match ask {
                    0 => optimizer.telemetry(),
                    1 => optimizer.poll_telemetry(),
                    _ => pollster::block_on(optimizer.telemetry_async()),
                };
                seen.extend(records.unwrap());
            };
            look(&mut optimizer);
            submit(&optimizer, encoder);
            look(&mut optimizer);
        }
        seen.extend(optimizer.telemetry().unwrap());
        seen.extend(optimizer.telemetry().unwrap());
        assert_eq!(steps(&seen), (0..19).collect::<Vec<u64>>(), "{ask}");
        assert!(seen.iter().all(|record| record.gradient_norm.unwrap() > 4.0), "all of them ran");
    }
}

/// Asking alone brings the records of what was submitted: nothing else has to happen meanwhile.
#[test]
fn polling_alone_is_enough() {
    let mut optimizer = make(config(Schedule::Every(3)));
    let mut objective = Copied::new(&optimizer, 0.5);
    let mut encoder = encoder(&optimizer);
    for _ in 0..5 {
        optimizer.record_step(&mut encoder, &mut objective).unwrap();
    }
    submit(&optimizer, encoder);
    let began = std::time::Instant::now();
    let mut seen = Vec::new();
    while seen.len() < 5 {
        seen.extend(optimizer.poll_telemetry().unwrap());
        assert!(began.elapsed().as_secs() < 20, "{} records", seen.len());
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    assert_eq!(steps(&seen), [0, 1, 2, 3, 4]);
}

/// Another thread that polls the device takes the news of what has finished with it, and passes it on late.
#[test]
fn another_thread_may_poll() {
    let schedule = Schedule::OnPlateau(OnPlateau { shortest: 2, longest: 20, share: 0.3 });
    let mut optimizer = make(config(schedule));
    let mut objective = Copied::new(&optimizer, 0.5);
    let folder = tempfile::tempdir().unwrap();
    let device = optimizer.gpu().device().clone();
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while !done.load(std::sync::atomic::Ordering::Relaxed) {
                    device.poll(wgpu::PollType::Poll).unwrap();
                }
            });
        }
        // However it ends, the others must end too.
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for step in 0..400 {
                let mut encoder = encoder(&optimizer);
                optimizer.record_step(&mut encoder, &mut objective).unwrap();
                submit(&optimizer, encoder);
                match step % 4 {
                    0 => assert_eq!(steps(&optimizer.telemetry().unwrap()), [step]),
                    1 => optimizer.save(folder.path().join("checkpoint")).unwrap(),
                    2 => assert_eq!(steps(&optimizer.telemetry().unwrap()), [step - 1, step]),
                    _ => {
                        let seen = pollster::block_on(optimizer.telemetry_async()).unwrap();
                        assert_eq!(steps(&seen), [step]);
                    }
                }
            }
        }));
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        result.unwrap();
    });
}

/// Encoders that are held back, dropped, or submitted late and in any order, between steps of all kinds: telemetry
/// has the steps that ran, in order, and a held one holds back only what comes after it.
#[test]
fn steps_come_in_any_order() {
    let mut rng = rng(11);
    for _ in 0..6 {
        let mut optimizer = make(config(Schedule::Every(4)));
        let mut objective = Copied::new(&optimizer, 0.25);
        let (mut held, mut dropped, mut seen) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..60 {
            match rng.random_range(0..5) {
                0 => optimizer.step(&mut objective).unwrap(),
                1 => {
                    let mut encoder = encoder(&optimizer);
                    let first = optimizer.steps();
                    for _ in 0..rng.random_range(1..4) {
                        optimizer.record_step(&mut encoder, &mut objective).unwrap();
                    }
                    held.push((first..optimizer.steps(), encoder));
                }
                2 if !held.is_empty() => {
                    let (_, encoder) = held.remove(rng.random_range(0..held.len()));
                    submit(&optimizer, encoder);
                }
                3 if !held.is_empty() => {
                    let (range, _) = held.remove(rng.random_range(0..held.len()));
                    dropped.extend(range);
                }
                _ => {
                    let records = optimizer.telemetry().unwrap();
                    let first_held = held.iter().map(|(range, _)| range.start).min();
                    let end = first_held.unwrap_or(optimizer.steps());
                    assert!(records.iter().all(|record| record.step < end));
                    seen.extend(records);
                    let done = |step: &u64| !dropped.contains(step);
                    assert_eq!(steps(&seen), (0..end).filter(done).collect::<Vec<u64>>());
                }
            }
        }
        held.drain(..).for_each(|(_, encoder)| submit(&optimizer, encoder));
        seen.extend(optimizer.telemetry().unwrap());
        let done = |step: &u64| !dropped.contains(step);
        let expected: Vec<u64> = (0..optimizer.steps()).filter(done).collect();
        assert_eq!(steps(&seen), expected);
        let ran = expected.len() as u32;
        assert_eq!(seen.iter().map(|record| record.updates).max(), Some(ran));
    }
}

/// A step that was recorded at a rate keeps it, whatever is set and run before it is submitted; and before its slot
/// is needed again there is an error.
#[test]
fn a_recorded_step_keeps_its_hyperparameters() {
    let rates = |optimizer: &mut Optimizer, rate| optimizer.set_learning_rate(rate).unwrap();
    for recorded_first in [1, 3] {
        let plain = Config { base: SGD, dimer: None, weight_decay: 0.0, ..fixed_rate() };
        let mut optimizer = flat(plain, &[0.0; LEN]);
        let mut objective = Copied::new(&optimizer, 1.0);
        rates(&mut optimizer, 0.5);
        let mut encoder = encoder(&optimizer);
        for _ in 0..recorded_first {
            optimizer.record_step(&mut encoder, &mut objective).unwrap();
        }
        rates(&mut optimizer, 0.0);
        for _ in recorded_first..256 {
            optimizer.step(&mut objective).unwrap();
        }
        let pending = recorded_first;
        let is_right = |error: &Error| matches!(error, Error::TooManyPendingSteps { pending: found, .. } if *found == pending);
        let error = optimizer.step(&mut objective).unwrap_err();
        assert!(is_right(&error), "{error}");
        let error = optimizer.begin_step().map(drop).unwrap_err();
        assert!(is_right(&error), "{error}");
        assert_eq!(optimizer.steps(), 256);
        assert_eq!(optimizer.read_params().unwrap(), [0.0; LEN]);
        submit(&optimizer, encoder);
        let moved = -0.5 * recorded_first as f32;
        assert_eq!(optimizer.read_params().unwrap(), [moved; LEN]);
        optimizer.step(&mut objective).unwrap();
        let records = optimizer.telemetry().unwrap();
        assert_eq!(steps(&records), (0..257).collect::<Vec<u64>>());
    }
}

/// A dropped encoder gives its slots back.
#[test]
fn dropped_steps_hold_nothing() {
    let mut optimizer = make(config(Schedule::Every(3)));
    let mut objective = Copied::new(&optimizer, 1.0);
    for _ in 0..600 {
        let mut encoder = encoder(&optimizer);
        optimizer.record_step(&mut encoder, &mut objective).unwrap();
    }
    assert_eq!(optimizer.telemetry().unwrap(), []);
    optimizer.step(&mut objective).unwrap();
    assert_eq!(steps(&optimizer.telemetry().unwrap()), [600]);
}

/// An event that never ran has not turned N, so nothing is corrected along it.
#[test]
fn a_dropped_event_corrects_nothing() {
    let theta = |dropped: bool| {
        let mut optimizer = make(config(Schedule::Every(3)));
        let mut objective = quadratic(vec![-1.0; LEN]);
        for step in 0..5 {
            if step == 2 && dropped {
                let mut encoder = encoder(&optimizer);
                let mut recorded = Copied::new(&optimizer, 1.0);
                optimizer.record_step(&mut encoder, &mut recorded).unwrap();
            } else if step != 2 {
                optimizer.step(&mut objective).unwrap();
            }
        }
        bits(&optimizer.read_params().unwrap())
    };
    let alone = {
        let mut optimizer = make(Config { dimer: None, ..config(Schedule::Every(3)) });
        let mut objective = quadratic(vec![-1.0; LEN]);
        (0..4).for_each(|_| optimizer.step(&mut objective).unwrap());
        bits(&optimizer.read_params().unwrap())
    };
    assert_eq!(theta(true), alone);
    // Without the dropped step, step 2 is an event, which corrects.
    assert_ne!(theta(false), alone);
}

/// What a plateau schedule decides depends on the steps alone: however many are recorded before a submission, the
/// events are the same, or recording is refused where a look would need steps that have not run.
#[test]
fn plateaus_depend_on_steps_alone() {
    let schedule = Schedule::OnPlateau(OnPlateau { shortest: 5, longest: 40, share: 0.3 });
    let run = |per_encoder: u64| -> dimer::Result<Vec<u64>> {
        let mut optimizer = make(config(schedule));
        // A slope, then a plateau.
        let mut objectives = [1.0, 0.01].map(|value| Copied::new(&optimizer, value));
        while optimizer.steps() < 100 {
            let mut encoder = encoder(&optimizer);
            for _ in 0..per_encoder {
                let objective = &mut objectives[usize::from(optimizer.steps() >= 45)];
                optimizer.record_step(&mut encoder, objective)?;
            }
            submit(&optimizer, encoder);
        }
        let events = optimizer.telemetry()?.into_iter().filter(|record| record.event);
        Ok(events.map(|record| record.step).collect())
    };
    let expected = run(1).unwrap();
    println!("{expected:?}");
    assert!(expected[0] == 40 && expected.iter().any(|step| step % 40 != 0), "{expected:?}");
    assert_eq!(run(5).unwrap(), expected);
    for per_encoder in [2, 3, 20] {
        let error = run(per_encoder).unwrap_err();
        assert!(matches!(error, Error::Unsupported { .. }), "{error}");
        assert!(error.to_string().contains("not submitted"), "{error}");
    }
}

/// The times of a step come once it has run, and never if it does not.
#[test]
fn kernels_of_recorded_steps_are_timed_when_they_run() {
    let mut optimizer = make(config(Schedule::Every(3)));
    let mut objective = Copied::new(&optimizer, 0.5);
    optimizer.time_kernels(true).unwrap();
    let timed = |optimizer: &mut Optimizer| -> Vec<u64> {
        let times = optimizer.kernel_times().unwrap();
        assert!(times.iter().all(|time| (0.0..1e9).contains(&time.nanoseconds)), "{times:?}");
        let mut steps: Vec<u64> = times.iter().map(|time| time.step).collect();
        steps.dedup();
        steps
    };
    optimizer.step(&mut objective).unwrap();
    let mut late = encoder(&optimizer);
    optimizer.record_step(&mut late, &mut objective).unwrap();
    let mut never = encoder(&optimizer);
    optimizer.record_step(&mut never, &mut objective).unwrap();
    optimizer.step(&mut objective).unwrap();
    assert_eq!(timed(&mut optimizer), [0, 3]);
    drop(never);
    assert_eq!(timed(&mut optimizer), [0; 0]);
    submit(&optimizer, late);
    assert_eq!(timed(&mut optimizer), [1]);
    assert_eq!(timed(&mut optimizer), [0; 0]);
}

/// Skips are counted when they happen; those of a dropped encoder never do.
#[test]
fn skips_of_dropped_steps_do_not_count() {
    let mut optimizer = make(config(Schedule::Every(3)));
    let (mut bad, mut good) = (Copied::new(&optimizer, f32::NAN), Copied::new(&optimizer, 0.5));
    for _ in 0..40 {
        let mut encoder = encoder(&optimizer);
        optimizer.record_step(&mut encoder, &mut bad).unwrap();
        drop(encoder);
        optimizer.step(&mut good).unwrap();
    }
    let records = optimizer.telemetry().unwrap();
    assert_eq!((records.len(), records[39].skipped_steps), (40, 0));
}
