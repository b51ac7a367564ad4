//! Futures that are dropped before they have finished: nothing is lost, and nothing is done twice.
//!
//! How far one comes until it is dropped depends on how busy the GPU is, so every second one meets a GPU that is
//! at work, with twice as much as before until it is for longer than a poll takes.

use std::cell::Cell;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use crate::common::*;
use dimer::{
    Config, Dimer, Displacement, EarlyExit, FullBatch, Gpu, LearningRate, Optimizer, Point, Regime,
    Rotation, RotationStop, Schedule,
};

const LEN: usize = 70;

/// Asks once, and gives up; whether it was still under way.
fn given_up<T>(work: impl Future<Output = T>) -> bool {
    let mut work = pin!(work);
    work.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending()
}

/// Keeps a GPU at work with copies of 16 MiB.
struct Work {
    gpu: Gpu,
    from: wgpu::Buffer,
    to: wgpu::Buffer,
    /// How many, up to some seconds of them.
    copies: Cell<u32>,
}

impl Work {
    fn new(gpu: &Gpu) -> Self {
        let buffer = || {
            gpu.device().create_buffer(&wgpu::BufferDescriptor {
                label: None,
                size: 16 << 20,
                usage: wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST,
                mapped_at_creation: false,
            })
        };
        Self { gpu: gpu.clone(), from: buffer(), to: buffer(), copies: Cell::new(16) }
    }

    /// Twice as much as the last time, unless enough was `seen` to be given up.
    fn submit(&self, seen: u32) {
        if seen == 0 {
            self.copies.set((2 * self.copies.get()).min(2048));
        }
        let mut encoder = self.gpu.device().create_command_encoder(&Default::default());
        for _ in 0..self.copies.get() {
            encoder.copy_buffer_to_buffer(&self.from, 0, &self.to, 0, None);
        }
        self.gpu.queue().submit([encoder.finish()]);
    }

    /// Whether a read that is asked for behind seconds of work is there at once, as with Mesa's renderer under Vulkan's layers,
    /// where a call that submits returns when all is done: then no future is under way when it is dropped.
    fn is_done_at_once(&self, optimizer: &Optimizer) -> bool {
        self.copies.set(512);
        self.submit(0);
        let at_once = !given_up(optimizer.read_params_async());
        if at_once {
            println!("this driver works while one submits: nothing was given up");
        }
        at_once
    }
}

/// Events that ask the GPU whether to stop.
fn config(displacement: Displacement) -> Config {
    let stop = RotationStop::new(1e-6, 1e-6).with_early_exit(EarlyExit::Gradients);
    let regime = Regime::FullBatch(FullBatch { max_rotations: 3, stop: Some(stop) });
    let dimer = Dimer {
        rotation: Rotation::locally_optimal(regime),
        schedule: Schedule::Every(2),
        displacement,
        ..Dimer::default()
    };
    Config { dimer: Some(dimer), learning_rate: LearningRate::Fixed(0.01), ..fixed_rate() }
}

fn h() -> Vec<f32> {
    (0..LEN).map(|i| i as f32 / 8.0 - 2.0).collect()
}

const DISPLACEMENTS: [Displacement; 2] = [Displacement::Absolute(0.01), Displacement::Automatic];

fn optimizer(displacement: Displacement) -> Optimizer {
    flat(config(displacement), &vector(&mut rng(5), LEN, Kind::Plain))
}

#[test]
fn a_step_is_taken_once() {
    let work = Work::new(&gpu());
    let mut objective = quadratic(h());
    for displacement in DISPLACEMENTS {
        let (mut disturbed, mut undisturbed) = (optimizer(displacement), optimizer(displacement));
        let mut times = 0;
        for step in 0..16 {
            if step % 4 < 2 {
                work.submit(times);
            }
            times += u32::from(given_up(disturbed.step_async(&mut objective)));
            while disturbed.steps() == undisturbed.steps() {
                disturbed.step(&mut objective).unwrap();
            }
            undisturbed.step(&mut objective).unwrap();
            assert_eq!(disturbed.steps(), undisturbed.steps());
            assert_eq!(state(&disturbed), state(&undisturbed));
        }
        assert!(times > 0 || work.is_done_at_once(&disturbed), "no step was given up");
        let losses = |it: &mut Optimizer| {
            it.telemetry().unwrap().iter().map(|record| record.loss).collect::<Vec<_>>()
        };
        assert_eq!(losses(&mut disturbed), losses(&mut undisturbed));
    }
}

#[test]
fn a_probe_is_placed_once() {
    let work = Work::new(&gpu());
    let gradient = |x: &[f32]| x.iter().zip(h()).map(|(x, h)| h * x).collect::<Vec<f32>>();
    let run = |gives_up: bool, displacement: Displacement| {
        let mut optimizer = optimizer(displacement);
        let (mut probes, mut times) = (Vec::new(), 0);
        for index in 0..8 {
            let mut step = optimizer.begin_step().unwrap();
            let at = step.read_params(Point::Centre).unwrap();
            step.write_gradient(Point::Centre, &gradient(&at)).unwrap();
            let mut placed = 0;
            loop {
                // A probe that is placed at once, without a question before it, counts as placed.
                let mut found = None;
                if gives_up {
                    if (index / 2 + placed) % 2 == 0 {
                        work.submit(times);
                    }
                    let mut asked = pin!(step.next_probe_async());
                    match asked.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                        Poll::Pending => times += 1,
                        Poll::Ready(probe) => found = Some(probe.unwrap().is_some()),
                    }
                }
                let is_placed = found.unwrap_or_else(|| step.next_probe().unwrap().is_some());
                if !is_placed {
                    break;
                }
                placed += 1;
                let at = step.read_params(Point::Probe).unwrap();
                step.write_gradient(Point::Probe, &gradient(&at)).unwrap();
            }
            probes.push(placed);
            step.finish().unwrap();
        }
        (state(&optimizer), probes, times)
    };
    for displacement in DISPLACEMENTS {
        let (undisturbed, expected, _) = run(false, displacement);
        let (disturbed, probes, times) = run(true, displacement);
        let at_once = || work.is_done_at_once(&optimizer(displacement));
        assert!(times > 0 || at_once(), "no probe was given up");
        assert_eq!(probes, expected);
        assert_eq!(disturbed, undisturbed);
    }
}

#[test]
fn telemetry_comes_later() {
    let work = Work::new(&gpu());
    let mut optimizer = optimizer(Displacement::Automatic);
    let mut objective = quadratic(h());
    let (mut times, mut records) = (0, Vec::new());
    for round in 0..20 {
        for _ in 0..5 {
            optimizer.step(&mut objective).unwrap();
        }
        if round % 4 < 2 {
            work.submit(times);
        }
        let mut read = pin!(optimizer.telemetry_async());
        match read.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Pending => times += 1,
            Poll::Ready(found) => records.extend(found.unwrap()),
        }
    }
    records.extend(optimizer.telemetry().unwrap());
    assert!(times > 0 || work.is_done_at_once(&optimizer), "no read was given up");
    let steps: Vec<u64> = records.iter().map(|record| record.step).collect();
    assert_eq!(steps, (0..100).collect::<Vec<_>>());
}
