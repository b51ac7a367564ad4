//! The element-wise kernels against f64: rotate, translate and rotate_translate, for every base,
//! at every length and magnitude, with NaN in the padding of both gradients. They run on any device, in a browser too.

use crate::common::*;
use dimer::reference::{self, Reference, bias_correction};
use dimer::{
    Base, Config, Correction, Dimer, Evaluation, Gpu, Layout, LearningRate, Objective, Optimizer,
    Point, Schedule, Sgd, Sophia,
};

/// Hands out prepared gradients, with NaN in the padding.
struct Prepared {
    centre: Vec<f32>,
    probe: Vec<f32>,
}

impl Objective for Prepared {
    fn gradient(&mut self, at: Evaluation<'_>) -> dimer::Result<()> {
        let values = if at.point == Point::Centre { &self.centre } else { &self.probe };
        let mut padded = vec![f32::NAN; at.layout.padded_len()];
        padded[..values.len()].copy_from_slice(values);
        let bytes = bytemuck::cast_slice(&padded);
        at.gpu.queue().write_buffer(&at.gradient.buffer, at.gradient.offset, bytes);
        Ok(())
    }
}

/// The relative error of a dot product that the kernels promise.
const DOT: f64 = 1e-6;

/// Bound on N' = keep N + turn d. Both factors come from dots: with a = HN, ‖a‖ its norm and η the
/// rate, C and ‖F‖ are off by at most 2 DOT ‖a‖, so keep and turn are relatively off by
/// 4 DOT (1 + η‖a‖) and a few roundings of square root, division and fma (8 units).
fn orientation_bound(reference: &Reference, rate: f64, terms: &[f64], i: usize) -> f64 {
    let stretch = 1.0 + rate * (reference.residual + reference.curvature.abs());
    (4.0 * DOT * stretch * stretch + 8.0 * UNIT) * terms[i]
}

#[test]
fn rotate() {
    pollster::block_on(check_rotate(&gpu(), &LENGTHS));
}

/// rotate alone: N against f64, θ untouched.
pub async fn check_rotate(gpu: &Gpu, lengths: &[usize]) {
    for (seed, &len) in (10..).zip(lengths) {
        for kind in [Kind::Plain, Kind::Tiny, Kind::Huge] {
            let mut rng = rng(seed);
            say!("length {len}, {kind:?}");
            let mut gradients = Prepared {
                centre: vector(&mut rng, len, kind),
                probe: vector(&mut rng, len, kind),
            };
            // The rate that turns N by about half a right angle, whatever the magnitude.
            let scale = match kind {
                Kind::Tiny => 1e-20,
                Kind::Huge => 1e15,
                _ => 1.0,
            };
            let (rate, distance) = (0.5 / (scale * (len as f64).sqrt()), 0.5);
            let params = vector(&mut rng, len, Kind::Plain);
            let dimer = fixed_dimer(rate, distance, 1.0);
            let config = Config { dimer: Some(dimer.clone()), ..fixed_rate() };
            let layout = Layout::flat(len).unwrap();
            let mut optimizer =
                Optimizer::new(gpu, layout.clone(), config.clone(), &params).unwrap();
            let before = optimizer.read_orientation_async().await.unwrap().unwrap_or_default();
            watch_kernels(&mut optimizer);
            optimizer.rotate_async(&mut gradients).await.unwrap();
            note_kernels(&mut optimizer).await;
            let after = optimizer.read_orientation_async().await.unwrap().unwrap_or_default();
            let unmoved = bits(&optimizer.read_params_async().await.unwrap()) == bits(&params);
            assert_that("θ stays", unmoved);

            let mut reference = Reference::new(&layout, config, &wide(&params), &wide(&before));
            let (g1, g2) = (wide(&gradients.centre), wide(&gradients.probe));
            reference.rotate(&dimer, &g1, &mut |_| g2.clone());
            // |N| + η|a|: what N' is a difference of, with the rounding of g2 - g1 in it.
            let terms: Vec<f64> = (0..len)
                .map(|i| {
                    let (g1, g2) = (g1[i].abs(), g2[i].abs());
                    f64::from(before[i]).abs() + rate * (g1 + g2) / distance
                })
                .collect();
            assert_all_within("N", &after, &reference.orientation, |i| {
                orientation_bound(&reference, rate, &terms, i)
            });
            let record = *optimizer.telemetry_async().await.unwrap().last().unwrap();
            let size = reference.residual + reference.curvature.abs();
            assert_within("C", record.curvature.into(), reference.curvature, 4.0 * DOT * size);
            // √(a·a − C²) loses digits where C dominates: the error of the square is 4 DOT size².
            let bound = 4.0 * DOT * size * size / reference.residual.max(2.0 * DOT.sqrt() * size);
            let bound = bound.max(8.0 * UNIT * size);
            assert_within("‖F‖", record.residual.into(), reference.residual, bound);
        }
    }
}

/// Bound on what one step adds to the error of θ, with a gradient known to within `delta`.
///
/// θ itself rounds once (twice with weight decay). The direction rounds in its moments, root,
/// division, bias corrections (exp: 3 + 2|x| ulp by the WGSL specification) and fma: 32 units
/// cover them all. An error δ of g moves SGD's direction by at most (1 + 2μ)δ and Adam's by δ/√v̂
/// from m and as much from v. Sophia divides by D = max(ρh, ε) instead of √v̂: by δ/D from m, and from
/// h by 4δ/|g| of a ratio of at most 0.07 |g|/D, together less than 2 δ/D.
fn theta_bound(base: Base, rate: f64, theta: f64, moved: f64, delta: f64, root: f64) -> f64 {
    let sensitivity = match base {
        Base::Sgd(Sgd { momentum, .. }) => 1.0 + 2.0 * momentum,
        _ => 2.0 / root,
    };
    2.0 * UNIT * theta.abs() + 32.0 * UNIT * moved + rate * sensitivity * delta
}

#[test]
fn translate() {
    pollster::block_on(check_translate(&gpu(), &LENGTHS));
}

/// Three steps of each base, where the later ones find moments that are not zero: translate without
/// and with correction, and rotate_translate.
pub async fn check_translate(gpu: &Gpu, lengths: &[usize]) {
    for base in BASES {
        for (seed, &len) in (30..).zip(lengths) {
            for kind in KINDS {
                three_steps(gpu, base, None, true, seed, len, kind).await;
            }
            // Without a guard nothing of the gradient is measured first.
            three_steps(gpu, base, None, false, seed, len, Kind::Plain).await;
        }
        for correction in [Correction::EventsOnly, Correction::EveryStep] {
            // Every step an event; then one step without, an event, and a correction after it.
            let interval = if correction == Correction::EventsOnly { 1 } else { 2 };
            for (seed, &len) in (50..).zip(lengths) {
                let dimer = Dimer {
                    correction,
                    schedule: Schedule::Every(interval),
                    ..fixed_dimer(0.25, 0.5, 1.0)
                };
                three_steps(gpu, base, Some(dimer), true, seed, len, Kind::Plain).await;
            }
        }
    }
}

async fn three_steps(
    gpu: &Gpu,
    base: Base,
    dimer: Option<Dimer>,
    skip_non_finite: bool,
    seed: u64,
    len: usize,
    kind: Kind,
) {
    let mut rng = rng(seed);
    say!("{base:?}, length {len}, {kind:?}, dimer {}", dimer.is_some());
    let adam = matches!(base, Base::Adam(_) | Base::AdamW(_));
    // Weight decay that is added to the gradient rounds with it.
    let decay = if matches!(base, Base::AdamW(_) | Base::Sophia(_)) { 0.0 } else { 0.1 };
    let params = vector(&mut rng, len, Kind::Plain);
    let rate = 0.01;
    let config = Config {
        base,
        learning_rate: LearningRate::Fixed(rate),
        weight_decay: 0.1,
        dimer: dimer.clone(),
        skip_non_finite,
        ..fixed_rate()
    };
    let layout = Layout::flat(len).unwrap();
    let mut optimizer = Optimizer::new(gpu, layout.clone(), config.clone(), &params).unwrap();
    let orientation = optimizer.read_orientation_async().await.unwrap().unwrap_or_default();
    let orientation = wide(&orientation);
    let mut reference = Reference::new(&layout, config, &wide(&params), &orientation);
    watch_kernels(&mut optimizer);
    // The largest error of a gradient so far, since moments remember it.
    let mut delta = vec![0.0_f64; len];
    let mut bound = vec![0.0_f64; len];
    for _ in 0..3 {
        // Gradients of one sign and magnitude keep Adam's ratio well conditioned.
        let mut prepared =
            Prepared { centre: vector(&mut rng, len, kind), probe: vector(&mut rng, len, kind) };
        if dimer.is_some() {
            prepared.centre.iter_mut().for_each(|g| *g = 1.0 + g.abs());
            prepared
                .probe
                .iter_mut()
                .zip(&prepared.centre)
                .for_each(|(g2, g1)| *g2 = *g2 / 8.0 + g1);
        }
        optimizer.step_async(&mut prepared).await.unwrap();
        let (g1, g2) = (wide(&prepared.centre), wide(&prepared.probe));
        let mut calls = 0;
        let before = reference.params.clone();
        reference.step(|_| {
            calls += 1;
            if calls == 1 { g1.clone() } else { g2.clone() }
        });
        // g = g1 − c N: c is a dot over N', and N' has its own bound (η = 1/4, ΔR = 1/2).
        let norm = reference::norm(&g1);
        let wrong_c = 16.0 * DOT * norm;
        for i in 0..len {
            let g = g1[i].abs();
            let correction = reference.orientation.get(i).map_or(0.0, |n| {
                let wrong_n = (16.0 * DOT + 8.0 * UNIT) * (n.abs() + 2.0 * (g + 1.0));
                reference.projection.abs() * wrong_n + n.abs() * wrong_c
            });
            let rounding = 4.0 * UNIT * (g + decay * reference.params[i].abs());
            delta[i] = delta[i].max(correction + rounding);
            let correction = bias_correction(0.999, reference.updates);
            let root = match base {
                Base::Sophia(Sophia { rho, epsilon, .. }) => {
                    (rho * reference.second_moment[i]).max(epsilon)
                }
                _ => (reference.second_moment[i] / correction).sqrt() + 1e-8,
            };
            let moved = (reference.params[i] - before[i]).abs();
            bound[i] += theta_bound(base, rate, before[i], moved, delta[i], root);
            if adam {
                bound[i] += rate * tiny_moment(&reference, i);
            }
        }
    }
    note_kernels(&mut optimizer).await;
    let found = optimizer.read_params_async().await.unwrap();
    assert_all_within("θ", &found, &reference.params, |i| bound[i]);
}

/// What Adam's direction loses where g² lies below the smallest normal f32 (10⁻³⁸): √v̂ is then
/// below 10⁻¹⁷ and vanishes next to ε = 10⁻⁸, but for one part in 10⁹.
fn tiny_moment(reference: &Reference, i: usize) -> f64 {
    let smallest = 2_f64.powi(-126) / (1.0 - 0.999);
    if reference.second_moment[i] < smallest {
        let direction = reference.first_moment[i] / (1.0 - 0.9) / 1e-8;
        return direction.abs() * (smallest.sqrt() / 1e-8) + 2_f64.powi(-126) / 1e-8;
    }
    0.0
}

/// A step writes every element: poisoned moments and parameters cannot survive unseen, and the
/// padding behind them stays zero.
#[test]
fn padding_stays_zero() {
    for base in BASES {
        let mut builder = Layout::builder();
        builder.tensor("a", &[3]).tensor("b", &[65]);
        let config = Config { base, ..fixed_rate() };
        let layout = builder.build().unwrap();
        let mut optimizer = Optimizer::new(&gpu(), layout, config, &[1.0; 68]).unwrap();
        let mut poisoned = Prepared { centre: vec![f32::NAN; 256], probe: vec![f32::NAN; 256] };
        for gradient in [&mut poisoned.centre, &mut poisoned.probe] {
            gradient.truncate(192);
            gradient[..3].fill(1.0);
            gradient[64..129].fill(1.0);
        }
        optimizer.step(&mut poisoned).unwrap();
        assert_eq!(optimizer.telemetry().unwrap()[0].skipped_steps, 0);
        let padded = read_slice(&optimizer, optimizer.params());
        assert!(padded[3..64].iter().chain(&padded[129..]).all(|&x| x.to_bits() == 0));
        assert!(padded[..3].iter().chain(&padded[64..129]).all(|&x| x < 1.0));
    }
}
