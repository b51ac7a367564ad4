//! The edge of stability, where the field knows the sharpness: a check of the dimer from outside.

use crate::common::*;
use crate::data::{CLASSES, Images, PIXELS};
use crate::training::{INTERVAL, Method};
use dimer::reference::{dot, norm};
use nalgebra::DMatrix;

const UNITS: [usize; 4] = [PIXELS, 64, 32, CLASSES];

/// The gradient of the mean of ½ ‖outputs − label‖², in f64, from packed parameters.
fn gradient(params: &[f64], images: &Images) -> Vec<f64> {
    let mut sum = vec![0.0; params.len()];
    let layers: Vec<usize> = UNITS
        .windows(2)
        .scan(0, |first, units| {
            let here = *first;
            *first += (units[0] + 1) * units[1];
            Some(here)
        })
        .collect();
    for (pixels, &label) in images.pixels.chunks(PIXELS).zip(&images.labels) {
        let mut values = vec![wide(pixels)];
        for (layer, &first) in layers.iter().enumerate() {
            let (inputs, outputs) = (UNITS[layer], UNITS[layer + 1]);
            let bias = first + inputs * outputs;
            let mut next = params[bias..bias + outputs].to_vec();
            for (i, x) in values[layer].iter().enumerate() {
                let row = &params[first + i * outputs..][..outputs];
                next.iter_mut().zip(row).for_each(|(sum, weight)| *sum += x * weight);
            }
            if layer + 1 < layers.len() {
                next.iter_mut().for_each(|x| *x = x.tanh());
            }
            values.push(next);
        }
        let mut delta = values.pop().unwrap();
        delta[label as usize] -= 1.0;
        for (layer, &first) in layers.iter().enumerate().rev() {
            let (inputs, outputs) = (UNITS[layer], UNITS[layer + 1]);
            let mut below = vec![0.0; inputs];
            for (i, x) in values[layer].iter().enumerate() {
                for (j, d) in delta.iter().enumerate() {
                    sum[first + i * outputs + j] += x * d;
                    below[i] += params[first + i * outputs + j] * d;
                }
                below[i] *= 1.0 - x * x;
            }
            let bias = first + inputs * outputs;
            sum[bias..bias + outputs].iter_mut().zip(&delta).for_each(|(sum, d)| *sum += d);
            delta = below;
        }
    }
    let count = images.len() as f64;
    sum.iter().map(|x| x / count).collect()
}

/// The highest eigenvalue of the Hessian by 40 steps of Lanczos from `start`, with products by central differences.
fn sharpness(params: &[f64], images: &Images, start: &[f64]) -> f64 {
    const STEPS: usize = 40;
    let product = |direction: &[f64]| -> Vec<f64> {
        let at = |distance: f64| {
            let point: Vec<f64> =
                params.iter().zip(direction).map(|(x, d)| x + distance * d).collect();
            gradient(&point, images)
        };
        at(1e-4).iter().zip(at(-1e-4)).map(|(a, b)| (a - b) / 2e-4).collect()
    };
    let mut basis: Vec<Vec<f64>> = vec![start.iter().map(|x| x / norm(start)).collect()];
    let mut projected = DMatrix::<f64>::zeros(STEPS, STEPS);
    for k in 0..STEPS {
        let mut rest = product(&basis[k]);
        for _ in 0..2 {
            for (i, other) in basis.iter().enumerate() {
                let overlap = dot(other, &rest);
                projected[(i, k)] += overlap;
                rest.iter_mut().zip(other).for_each(|(x, o)| *x -= overlap * o);
            }
        }
        let length = norm(&rest);
        basis.push(rest.iter().map(|x| x / length).collect());
    }
    let symmetric: DMatrix<f64> = 0.5 * (&projected + projected.transpose());
    symmetric.symmetric_eigenvalues().max()
}

/// Means of sharpness / limit over each `window` steps from `first` on, as telemetry has it.
fn shares(method: Method, first: u64, steps: u64, window: u64) -> (Vec<f64>, dimer::Optimizer) {
    let (mut optimizer, mut training) = method.start(&gpu(), 0).unwrap();
    let mut events = |optimizer: &mut dimer::Optimizer, steps| {
        for _ in 0..steps {
            optimizer.step(&mut training).unwrap();
        }
        let records = optimizer.telemetry().unwrap();
        records.into_iter().filter(|record| record.event).collect::<Vec<_>>()
    };
    events(&mut optimizer, first);
    let mut shares = Vec::new();
    while optimizer.steps() < steps {
        let found = events(&mut optimizer, window);
        assert_eq!(found.len() as u64, window / u64::from(INTERVAL));
        assert!(found.iter().all(|record| record.resolved));
        let sum: f64 = found.iter().map(|record| f64::from(record.curvature)).sum();
        shares.push(sum / found.len() as f64 / method.limit());
    }
    println!("{method}: {shares:.3?}");
    (shares, optimizer)
}

/// Gradient descent holds λmax at 2/η (Cohen et al. 2021), and the dimer finds the λmax that Lanczos does.
#[test]
fn gradient_descent_stays_at_its_limit() {
    let method = Method::GradientDescent(0.3);
    let (shares, optimizer) = shares(method, 1000, 1500, 100);
    assert!(shares.iter().all(|share| (0.97..1.06).contains(share)), "{shares:?}");
    let params = wide(&optimizer.read_params().unwrap());
    let orientation = wide(&optimizer.read_orientation().unwrap().unwrap());
    let expected = sharpness(&params, &crate::training::images(), &orientation);
    let found = f64::from(optimizer.read_curvature().unwrap());
    println!("C {found}, by Lanczos {expected}");
    // One step of the optimizer lies between both.
    assert_within("sharpness", found, expected, 0.03 * expected);
}

/// Adam holds its preconditioned λmax at 38/η (Cohen et al. 2022): in the mean, since it swings between 0.8 and 1.1 of
/// that within some fifty steps, as eigenvalues by Lanczos in f64 do too.
#[test]
fn adam_stays_at_its_limit() {
    let (shares, _) = shares(Method::Adam(3e-3), 400, 1000, 600);
    assert!(shares.iter().all(|share| (0.94..1.08).contains(share)), "{shares:?}");
}
