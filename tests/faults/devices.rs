//! A device that goes away, memory that is not there, threads that share a device: errors instead of
//! panics, and nothing hangs.

use std::process::Command;
use std::time::{Duration, Instant};

use crate::common::*;
use dimer::{
    Config, Dimer, Error, Evaluation, Gpu, Layout, Objective, Optimizer, Point, Regime, Rotation,
    Schedule, Spectrum,
};

const LEN: usize = 300;

fn every_step() -> Config {
    let dimer = Dimer { schedule: Schedule::Every(1), ..Dimer::default() };
    Config { dimer: Some(dimer), ..fixed_rate() }
}

/// A gradient that stays the same, so that a step needs nothing from the host.
struct Standing;

impl Objective for Standing {
    fn gradient(&mut self, _: Evaluation<'_>) -> dimer::Result<()> {
        Ok(())
    }
}

#[track_caller]
fn is_lost<T: std::fmt::Debug>(result: dimer::Result<T>) {
    assert!(matches!(result, Err(Error::DeviceLost { .. })), "{result:?}");
}

/// Destroyed between steps, and with work under way: every call reports it, none hangs, and a new device
/// goes on from the last checkpoint.
#[test]
fn a_lost_device_is_an_error_and_a_checkpoint_goes_on() {
    let began = Instant::now();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("checkpoint.safetensors");
    for steps_under_way in [0, 20] {
        let gpu = Gpu::new().unwrap_or_else(|error| panic!("{error}"));
        let make = |gpu: &Gpu| {
            let layout = Layout::flat(LEN).unwrap();
            Optimizer::new(gpu, layout, every_step(), &[0.5; LEN]).unwrap()
        };
        let mut optimizer = make(&gpu);
        let mut looked_at = make(&gpu);
        let mut spectrum = Spectrum::new(&mut looked_at, 2, 0).unwrap();
        let h: Vec<f32> = (0..LEN).map(|i| i as f32 / 100.0 - 1.0).collect();
        for _ in 0..5 {
            optimizer.step(&mut quadratic(h.clone())).unwrap();
        }
        optimizer.save(&path).unwrap();
        let expected = bits(&optimizer.read_params().unwrap());
        for _ in 0..steps_under_way {
            optimizer.step(&mut Standing).unwrap();
        }
        let _ = optimizer.poll_telemetry().unwrap();
        gpu.device().destroy();
        // Work submitted before may still finish; the next wait reports the loss.
        let _ = gpu.device().poll(wgpu::PollType::wait_indefinitely());
        is_lost(optimizer.step(&mut Standing));
        is_lost(optimizer.step(&mut quadratic(h.clone())));
        is_lost(optimizer.rotate(&mut Standing));
        is_lost(optimizer.read_params());
        is_lost(optimizer.read_curvature());
        is_lost(optimizer.telemetry());
        is_lost(optimizer.check_objective(&mut Standing));
        is_lost(optimizer.save(&path));
        is_lost(spectrum.rotate(&mut Standing, 2));
        is_lost(spectrum.read());
        let step = optimizer.begin_step().and_then(|mut step| {
            while step.next_probe()?.is_some() {}
            step.finish()
        });
        is_lost(step);
        let layout = Layout::flat(LEN).unwrap();
        assert!(Optimizer::new(&gpu, layout, every_step(), &[0.5; LEN]).is_err());
        assert_eq!(optimizer.steps(), 5 + steps_under_way);

        let mut resumed = make(&Gpu::new().unwrap());
        resumed.load(&path).unwrap();
        assert_eq!(bits(&resumed.read_params().unwrap()), expected);
        resumed.step(&mut quadratic(h)).unwrap();
        assert_eq!(resumed.steps(), 6);
    }
    assert!(began.elapsed() < Duration::from_secs(60));
}

/// The same device, in the hands of the user.
fn wrapped(gpu: &Gpu) -> Gpu {
    Gpu::wrap(gpu.device().clone(), gpu.queue().clone()).unwrap()
}

/// What an objective does after the device has gone.
#[derive(Clone, Copy, PartialEq)]
enum Afterwards {
    Reads,
    Writes,
    /// Records work with a buffer of its own, which is invalid like everything made from a lost device.
    Records,
}

/// Takes the device away in evaluation number `fatal`.
struct Fatal {
    fatal: u32,
    calls: u32,
    afterwards: Afterwards,
}

impl Objective for Fatal {
    fn gradient(&mut self, mut at: Evaluation<'_>) -> dimer::Result<()> {
        self.calls += 1;
        if self.calls == self.fatal {
            at.gpu.device().destroy();
        }
        match self.afterwards {
            Afterwards::Reads => drop(at.read_params()?),
            Afterwards::Records if self.calls == self.fatal => {
                let own = at.gpu.device().create_buffer(&wgpu::BufferDescriptor {
                    label: None,
                    size: 4,
                    usage: wgpu::BufferUsages::COPY_DST,
                    mapped_at_creation: false,
                });
                at.encoder.clear_buffer(&own, 0, None);
            }
            _ => {}
        }
        at.write_gradient(&[1.0; LEN])
    }
}

/// Destroyed within a step: while the objective runs, at any point, and between the parts of a step taken
/// by hand. No call panics or hangs, and the loss is reported by whatever waits, or within 32 steps.
#[test]
fn a_device_that_is_lost_within_a_step() {
    let began = Instant::now();
    let config = || {
        let rotation = Rotation::locally_optimal(Regime::rotations(2));
        let dimer = Dimer { rotation, ..every_step().dimer.unwrap() };
        Config { dimer: Some(dimer), ..fixed_rate() }
    };
    // Only the users hear about the loss of a device of their own.
    for users in [false, true] {
        let make = || {
            let gpu = Gpu::new().unwrap_or_else(|error| panic!("{error}"));
            let gpu = if users { wrapped(&gpu) } else { gpu };
            Optimizer::new(&gpu, Layout::flat(LEN).unwrap(), config(), &[0.5; LEN]).unwrap()
        };
        // One at the centre, one along N and one for each rotation.
        for fatal in 1..=4 {
            for afterwards in [Afterwards::Reads, Afterwards::Writes, Afterwards::Records] {
                let mut optimizer = make();
                optimizer.step(&mut quadratic(vec![1.0; LEN])).unwrap();
                let mut objective = Fatal { fatal, calls: 0, afterwards };
                let lost = optimizer.step(&mut objective);
                assert!(objective.calls >= fatal);
                if afterwards == Afterwards::Writes {
                    let mut later = (0..32).map(|_| optimizer.step(&mut Standing));
                    is_lost(lost.and_then(|()| later.find(Result::is_err).unwrap()));
                } else {
                    is_lost(lost);
                    assert_eq!(optimizer.steps(), 1);
                }
                is_lost(optimizer.read_params());
                is_lost(optimizer.check_objective(&mut Standing));
                let layout = Layout::flat(LEN).unwrap();
                is_lost(Optimizer::new(optimizer.gpu(), layout, config(), &[0.5; LEN]));
            }
        }
        for fatal in 1..=4 {
            let mut optimizer = make();
            let afterwards = Afterwards::Reads;
            is_lost(optimizer.check_objective(&mut Fatal { fatal, calls: 0, afterwards }));
        }
        for fatal in 0..4 {
            let mut optimizer = make();
            let gpu = optimizer.gpu().clone();
            let mut by_hand = || {
                let mut step = optimizer.begin_step()?;
                for part in 0..4 {
                    if part == fatal {
                        gpu.device().destroy();
                    }
                    step.write_gradient(Point::Centre, &[1.0; LEN])?;
                    step.next_probe()?;
                }
                step.finish()
            };
            is_lost((0..=32).map(|_| by_hand()).find(Result::is_err).unwrap());
            is_lost(optimizer.read_params());
        }
    }
    assert!(began.elapsed() < Duration::from_secs(180));
}

/// Asking for too much memory is an error that names the bytes wanted; a smaller layout works afterwards.
#[test]
fn too_much_memory_is_an_error() {
    let gpu = gpu();
    // 64 GiB per vector.
    let error =
        Optimizer::new(&gpu, Layout::flat(1 << 34).unwrap(), fixed_rate(), &[]).unwrap_err();
    assert!(matches!(error, Error::OutOfMemory { .. } | Error::LimitTooSmall { .. }), "{error}");
    let mut small = flat(every_step(), &[1.0; LEN]);
    small.step(&mut quadratic(vec![1.0; LEN])).unwrap();
}

/// Two optimizers of one device from two threads: each as if it were alone.
#[test]
fn threads_share_a_device() {
    let run = |seed: u64| {
        let start = vector(&mut rng(seed), LEN, Kind::Plain);
        let mut optimizer = flat(every_step(), &start);
        let mut objective = quadratic((0..LEN).map(|i| i as f32 / 50.0 - seed as f32).collect());
        for _ in 0..50 {
            optimizer.step(&mut objective).unwrap();
            let _ = optimizer.poll_telemetry().unwrap();
        }
        bits(&optimizer.read_params().unwrap())
    };
    let alone = [run(1), run(2)];
    let together = std::thread::scope(|scope| {
        let threads = [1, 2].map(|seed| scope.spawn(move || run(seed)));
        threads.map(|thread| thread.join().unwrap())
    });
    assert_eq!(together, alone);
}

/// Dropped with telemetry on its way, and with a step recorded but not submitted.
#[test]
fn optimizers_are_dropped_at_any_time() {
    for _ in 0..20 {
        let mut optimizer = flat(every_step(), &[1.0; LEN]);
        optimizer.step(&mut Standing).unwrap();
        let _ = optimizer.poll_telemetry().unwrap();
        let mut encoder = gpu().device().create_command_encoder(&Default::default());
        optimizer.record_step(&mut encoder, &mut Standing).unwrap();
        drop(optimizer);
        gpu().queue().submit([encoder.finish()]);
    }
    gpu().device().poll(wgpu::PollType::wait_indefinitely()).unwrap();
}

/// A backend that does not exist is an error that names the variable and the values that it takes.
#[test]
fn a_backend_that_does_not_exist_is_named() {
    const TRIED: &str = "DIMER_TEST_BACKEND";
    let test = "devices::a_backend_that_does_not_exist_is_named";
    if std::env::var_os(TRIED).is_some() {
        let error = Gpu::new().unwrap_err();
        assert!(
            matches!(&error, Error::InvalidConfig { field: "WGPU_BACKEND", value, .. } if value == "nonsense")
                && error.to_string().contains("vulkan, metal or dx12"),
            "{error}"
        );
        return;
    }
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(TRIED, "1")
        .env("WGPU_BACKEND", "nonsense")
        .output()
        .unwrap();
    assert!(child.status.success(), "{}", String::from_utf8_lossy(&child.stderr));
    assert!(String::from_utf8_lossy(&child.stdout).contains("1 passed"));
}
