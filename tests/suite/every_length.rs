//! Rotations by Rayleigh–Ritz, the learning rate from curvature, several dimers and sets of modes against f64, at
//! every length of `tests/common`, with NaN in the padding of all gradients.

use crate::common::*;
use dimer::reference::{self, Reference};
use dimer::{
    Base, Config, CurvatureRate, Dimer, Displacement, Evaluation, Layout, LearningRate, Objective,
    Optimizer, RateProbe, Regime, Rotation, RotationRate, Schedule, Scope, Spectrum,
    SpectrumConfig,
};
use rand::RngExt;

/// ½ Σ hᵢ (θᵢ − bᵢ)², whose gradients are exact but for their last rounding.
struct Diagonal {
    h: Vec<f64>,
    b: Vec<f64>,
}

impl Diagonal {
    /// Curvatures from −1 to 2, and gradients that are never near zero on the way.
    fn new(seed: u64, len: usize) -> Self {
        let mut rng = rng(seed);
        let mut draw = |from: f32, to: f32| -> Vec<f64> {
            (0..len).map(|_| rng.random_range(from..to).into()).collect()
        };
        let (mut h, b) = (draw(0.5, 2.0), draw(4.0, 5.0));
        // Apart from the others, so that N has a limit that rounding does not decide.
        h[len / 2] = -1.0;
        Self { h, b }
    }

    fn gradient_at(&self, params: &[f64]) -> Vec<f64> {
        let parts = self.h.iter().zip(&self.b).zip(params);
        parts.map(|((h, b), x)| h * (x - b)).collect()
    }
}

impl Objective for Diagonal {
    fn gradient(&mut self, mut at: Evaluation<'_>) -> dimer::Result<()> {
        let gradient = self.gradient_at(&wide(&at.read_params()?));
        let mut padded = vec![f32::NAN; at.layout.padded_len()];
        let mut rest = &gradient[..];
        for tensor in at.layout.tensors() {
            let (values, others) = rest.split_at(tensor.len);
            let places = &mut padded[tensor.offset..tensor.offset + tensor.len];
            places.iter_mut().zip(values).for_each(|(place, value)| *place = *value as f32);
            rest = others;
        }
        let bytes = bytemuck::cast_slice(&padded);
        at.gpu.queue().write_buffer(&at.gradient.buffer, at.gradient.offset, bytes);
        Ok(())
    }
}

/// Both regimes of the locally optimal rotation, and the optimal angle. C is good to 20 units of the spectrum's width
/// for each of the rotations so far, of which an event has at most three.
#[test]
fn rotations() {
    let rotations = [
        Rotation::locally_optimal(Regime::Stochastic),
        Rotation::locally_optimal(Regime::rotations(3)),
        Rotation::optimal_angle(Regime::rotations(2)),
    ];
    for rotation in rotations {
        for (seed, len) in (210..).zip(LENGTHS) {
            println!("{rotation:?}, length {len}");
            let dimer = Dimer {
                rotation,
                schedule: Schedule::Every(1),
                displacement: Displacement::Absolute(1.0),
                ..Dimer::default()
            };
            let config = Config {
                learning_rate: LearningRate::Fixed(1e-3),
                dimer: Some(dimer),
                ..fixed_rate()
            };
            let start = vector(&mut rng(seed), len, Kind::Plain);
            let mut objective = Diagonal::new(seed + 100, len);
            let of_reference = Diagonal::new(seed + 100, len);
            let mut optimizer = flat(config.clone(), &start);
            let orientation = wide(&optimizer.read_orientation().unwrap().unwrap());
            let layout = Layout::flat(len).unwrap();
            let mut reference = Reference::new(&layout, config, &wide(&start), &orientation);
            for _ in 0..4 {
                optimizer.step(&mut objective).unwrap();
                reference.step(|params| of_reference.gradient_at(params));
                let record = *optimizer.telemetry().unwrap().last().unwrap();
                let rotations = 3.0 * f64::from(record.rotations);
                let bound = 20.0 * UNIT * 3.0 * rotations;
                assert_within("C", record.curvature.into(), reference.curvature, bound);
            }
            let n = wide(&optimizer.read_orientation().unwrap().unwrap());
            let cosine = reference::dot(&n, &reference.orientation).abs();
            assert_within("|N·N'|", cosine, 1.0, 1e-4);
        }
    }
}

/// The rate of a run, with either probe. What each measurement may be off by is as in `learning_rate.rs`.
#[test]
fn learning_rates() {
    for (base, probe) in [
        (ADAMW, RateProbe::SeparateGradient),
        (MOMENTUM, RateProbe::SeparateGradient),
        (ADAMW, RateProbe::RepeatedMinibatch),
    ] {
        for (seed, len) in (220..).zip(LENGTHS) {
            println!("{probe:?}, length {len}");
            rate_follows(base, probe, seed, len);
        }
    }
}

fn rate_follows(base: Base, probe: RateProbe, seed: u64, len: usize) {
    let rate = CurvatureRate {
        probe,
        initial: 0.02,
        interval: 2,
        burn_in: 4,
        displacement: 0.25,
        ..CurvatureRate::default()
    };
    let config = Config { base, learning_rate: LearningRate::Curvature(rate), ..Config::default() };
    let start = vector(&mut rng(seed), len, Kind::Plain);
    let mut objective = Diagonal::new(seed + 100, len);
    objective.h.iter_mut().for_each(|h| *h = h.abs());
    let of_reference = Diagonal { h: objective.h.clone(), b: objective.b.clone() };
    let mut optimizer = flat(config.clone(), &start);
    let layout = Layout::flat(len).unwrap();
    let mut reference = Reference::new(&layout, config, &wide(&start), &[]);
    let mut measured = 0;
    for step in 0..8 {
        optimizer.step(&mut objective).unwrap();
        reference.step(|params| of_reference.gradient_at(params));
        let record = *optimizer.telemetry().unwrap().last().unwrap();
        measured += u32::from(record.rate_measured);
        let bound = 200.0 * UNIT * f64::from(step + 1);
        let q = reference.base_learning_rate;
        assert_within("q", record.base_learning_rate.into(), q, bound * q);
    }
    assert!(measured >= 3, "{measured}");
}

/// A dimer for each tensor, with tensors of every length in one layout. The displacement of each is 1/√9 of what it would
/// be alone, and so its C is three times less sure: 20 units of the spectrum's width times that, for each of four
/// rotations. N turns by a tenth of what is as sure as C, in each element.
#[test]
fn regions() {
    let mut builder = Layout::builder();
    for len in LENGTHS {
        builder.tensor(format!("of {len}"), &[len]);
    }
    let layout = builder.build().unwrap();
    let start = vector(&mut rng(230), layout.len(), Kind::Plain);
    let mut objective = Diagonal::new(231, layout.len());
    let of_reference = Diagonal::new(231, layout.len());
    let dimer = Dimer {
        scope: Scope::PerTensor,
        schedule: Schedule::Every(1),
        displacement: Displacement::Absolute(1.0),
        rotation: Rotation::gradient(RotationRate::Fixed(0.1)),
        ..Dimer::default()
    };
    let config =
        Config { learning_rate: LearningRate::Fixed(1e-3), dimer: Some(dimer), ..fixed_rate() };
    let mut optimizer = Optimizer::new(&gpu(), layout.clone(), config.clone(), &start).unwrap();
    let orientation = wide(&optimizer.read_orientation().unwrap().unwrap());
    let mut reference = Reference::new(&layout, config, &wide(&start), &orientation);
    let bound = 20.0 * UNIT * 3.0 * 3.0 * 4.0;
    for _ in 0..4 {
        optimizer.step(&mut objective).unwrap();
        reference.step(|params| of_reference.gradient_at(params));
        let regions = optimizer.read_regions().unwrap();
        assert_eq!(regions.len(), LENGTHS.len());
        for (region, expected) in regions.iter().zip(&reference.regions) {
            println!("{:?}: {} {}", region.tensors, region.curvature, expected.curvature);
            assert_within("C", region.curvature.into(), expected.curvature, bound);
        }
    }
    let n = optimizer.read_orientation().unwrap().unwrap();
    assert_all_within("N", &n, &reference.orientation, |_| bound);
}

/// The ends of a spectrum that is known. Bounds as in `spectrum.rs`.
#[test]
fn modes() {
    for (seed, len) in (240..).zip(LENGTHS) {
        println!("length {len}");
        let mut objective = Diagonal::new(seed, len);
        let ends = [-4.0, 9.0, -3.0, 7.0, -2.0];
        for (i, end) in ends.into_iter().enumerate().take(len) {
            objective.h[i * (len - 1) / ends.len().min(len)] = end;
        }
        let mut expected = objective.h.clone();
        expected.sort_by(f64::total_cmp);
        let count = len.min(3);
        let config = Config { dimer: Some(Dimer::default()), ..fixed_rate() };
        let mut optimizer = flat(config, &vec![0.0; len]);
        let displacement = Displacement::Absolute(1.0);
        let modes = SpectrumConfig { lowest: count, displacement, ..SpectrumConfig::default() };
        let mut spectrum = Spectrum::with_config(&mut optimizer, modes).unwrap();
        spectrum.rotate(&mut objective, 24).unwrap();
        let found = spectrum.read().unwrap();
        assert_eq!(found.len(), count);
        for (mode, expected) in found.iter().zip(expected) {
            println!("{} ± {} {expected}", mode.curvature, mode.error);
            assert!(mode.converged, "{mode:?}");
            assert_within("λ", mode.curvature.into(), expected, 24.0 * 20.0 * UNIT * 13.0);
        }
    }
}
