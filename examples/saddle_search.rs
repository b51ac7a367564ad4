//! Finds saddles of index 1 from random starts, by climbing: on the Müller–Brown surface and of a
//! cluster of 13 Lennard-Jones atoms.

#[allow(dead_code, reason = "the other surfaces are for saddle_2d")]
#[path = "surfaces/mod.rs"]
mod surfaces;

use std::collections::BTreeMap;
use std::error::Error;

use clap::Parser;
use dimer::{
    Base, Config, Dimer, Displacement, EarlyExit, FullBatch, Gpu, HostObjective, Layout, Optimizer,
    Regime, Rotation, RotationStop, Sgd,
};
use indicatif::{ParallelProgressIterator, ProgressStyle};
use nalgebra::DMatrix;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rayon::prelude::*;
use surfaces::{lennard_jones, muller_brown};

/// Lists the saddles that climbs from random starts reach.
#[derive(Parser)]
struct Arguments {
    /// Starts on each surface.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u64).range(1..))]
    starts: u64,
    /// Most steps of a climb.
    #[arg(long, default_value_t = 3000, value_parser = clap::value_parser!(u32).range(1..))]
    steps: u32,
    /// Seed of the first start.
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

/// A surface and how to climb on it.
struct Landscape {
    name: &'static str,
    energy: fn(&[f64], &mut [f64]) -> f64,
    start: fn(&mut StdRng) -> Vec<f32>,
    base: Base,
    learning_rate: f64,
    /// Longest gradient that is followed in full.
    max_gradient_norm: f64,
    /// Slope at which a climb has arrived.
    flat: f32,
}

const LANDSCAPES: [Landscape; 2] = [
    Landscape {
        name: "Müller–Brown",
        energy: |x, slope| {
            let (energy, gradient) = muller_brown(x[0], x[1]);
            slope.copy_from_slice(&gradient);
            energy
        },
        start: |rng| vec![rng.random_range(-1.2..0.8), rng.random_range(-0.2..1.6)],
        base: Base::Sgd(Sgd { momentum: 0.0, nesterov: false }),
        learning_rate: 4e-4,
        max_gradient_norm: 50.0,
        flat: 1e-2,
    },
    Landscape {
        name: "Lennard-Jones, 13 atoms",
        energy: lennard_jones,
        start: random_cluster,
        base: Base::Sgd(Sgd { momentum: 0.8, nesterov: false }),
        learning_rate: 1e-3,
        max_gradient_norm: 20.0,
        flat: 3e-3,
    },
];

/// Atoms of a cluster, the radius of the ball they start in, and their least distance there.
const ATOMS: usize = 13;
const RADIUS: f32 = 1.7;
const APART: f32 = 0.85;

fn random_cluster(rng: &mut StdRng) -> Vec<f32> {
    let mut atoms: Vec<[f32; 3]> = Vec::new();
    while atoms.len() < ATOMS {
        let atom = [0; 3].map(|_| rng.random_range(-RADIUS..RADIUS));
        let distance = |other: &[f32; 3]| {
            atom.iter().zip(other).map(|(a, b)| (a - b).powi(2)).sum::<f32>().sqrt()
        };
        if distance(&[0.0; 3]) < RADIUS && atoms.iter().all(|other| distance(other) > APART) {
            atoms.push(atom);
        }
    }
    atoms.concat()
}

/// Where a climb ended.
struct End {
    energy: f64,
    curvature: f32,
    /// Directions in which the surface curves down.
    index: usize,
    gradients: f64,
    arrived: bool,
}

fn climb(gpu: &Gpu, landscape: &Landscape, seed: u64, steps: u32) -> Result<End, dimer::Error> {
    let start = (landscape.start)(&mut StdRng::seed_from_u64(seed));
    let stop = RotationStop::new(0.1, 0.02).with_early_exit(EarlyExit::Gradients);
    let regime = Regime::FullBatch(FullBatch { max_rotations: 12, stop: Some(stop) });
    let preset = Config::climb(landscape.learning_rate);
    let dimer = preset.dimer.clone().map(|dimer| Dimer {
        rotation: Rotation::locally_optimal(regime),
        displacement: Displacement::Absolute(1e-3),
        seed,
        ..dimer
    });
    let config = Config {
        base: landscape.base,
        max_gradient_norm: Some(landscape.max_gradient_norm),
        dimer,
        ..preset
    };
    let mut optimizer = Optimizer::new(gpu, Layout::flat(start.len())?, config, &start)?;
    let mut slope = vec![0.0; start.len()];
    let mut objective = HostObjective::new(|x: &[f32], gradient: &mut [f32]| {
        let x: Vec<f64> = x.iter().copied().map(f64::from).collect();
        let energy = (landscape.energy)(&x, &mut slope);
        gradient.iter_mut().zip(&slope).for_each(|(g, slope)| *g = *slope as f32);
        energy as f32
    });
    let (mut arrived, mut curvature) = (false, 0.0);
    for _ in 0..steps {
        optimizer.step(&mut objective)?;
        let last = optimizer.telemetry()?;
        let Some(last) = last.last() else { continue };
        curvature = last.curvature;
        let flat = last.gradient_norm.is_some_and(|norm| norm < landscape.flat);
        arrived = flat && f64::from(curvature) < -ZERO;
        if arrived {
            break;
        }
    }
    let end: Vec<f64> = optimizer.read_params()?.into_iter().map(f64::from).collect();
    Ok(End {
        energy: (landscape.energy)(&end, &mut vec![0.0; end.len()]),
        curvature,
        index: index(landscape, &end),
        gradients: optimizer.gradient_evaluations(),
        arrived,
    })
}

/// Curvatures smaller than this are taken for zero: translations and rotations of a cluster.
const ZERO: f64 = 1e-2;

/// Eigenvalues of the Hessian, from central differences of the gradient in f64, that are negative.
fn index(landscape: &Landscape, x: &[f64]) -> usize {
    const STEP: f64 = 1e-5;
    let gradient = |column: usize, step: f64| {
        let mut moved = x.to_vec();
        moved[column] += step;
        let mut slope = vec![0.0; x.len()];
        (landscape.energy)(&moved, &mut slope);
        slope
    };
    let columns: Vec<f64> = (0..x.len())
        .flat_map(|column| {
            let pair = (gradient(column, STEP), gradient(column, -STEP));
            pair.0.into_iter().zip(pair.1).map(|(plus, minus)| (plus - minus) / (2.0 * STEP))
        })
        .collect();
    let hessian = DMatrix::from_vec(x.len(), x.len(), columns);
    let symmetric = 0.5 * (&hessian + hessian.transpose());
    symmetric.symmetric_eigenvalues().iter().filter(|&&value| value < -ZERO).count()
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::parse();
    let gpu = Gpu::new()?;
    for landscape in &LANDSCAPES {
        let style = ProgressStyle::with_template("{msg} {bar:40} {pos}/{len} climbs")?;
        let seeds: Vec<u64> = (arguments.seed..arguments.seed + arguments.starts).collect();
        let ends: Vec<End> = seeds
            .par_iter()
            .progress_with_style(style)
            .map(|&seed| climb(&gpu, landscape, seed, arguments.steps))
            .collect::<Result<_, _>>()?;
        report(landscape.name, &ends);
    }
    Ok(())
}

fn report(name: &str, ends: &[End]) {
    let mut saddles: BTreeMap<i64, Vec<&End>> = BTreeMap::new();
    for end in ends.iter().filter(|end| end.arrived) {
        // Energies that agree in three decimals are one saddle.
        saddles.entry((end.energy * 1e3).round() as i64).or_default().push(end);
    }
    let arrived = saddles.values().map(Vec::len).sum::<usize>();
    println!("\n{name}: {} saddles; {arrived} of {} climbs arrived", saddles.len(), ends.len());
    println!("| energy | lowest curvature | index | reached | gradients, mean |");
    println!("| ---: | ---: | ---: | ---: | ---: |");
    for found in saddles.values() {
        let End { energy, curvature, index, .. } = found[0];
        let gradients = found.iter().map(|end| end.gradients).sum::<f64>() / found.len() as f64;
        let reached = found.len();
        println!("| {energy:.4} | {curvature:.2} | {index} | {reached} | {gradients:.0} |");
    }
}
