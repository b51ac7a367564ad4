//! `Climb` walks to saddles of index 1: to those that ASE's dimer method finds on the Müller–Brown
//! surface, and step by step as the reference does.

use crate::common::*;
use crate::plane::Plane;
use crate::surfaces::{Surface, double_well, lennard_jones, monkey_saddle, muller_brown};
use dimer::reference::Reference;
use dimer::{
    Base, Config, Correction, Difference, Dimer, Displacement, Error, Group, HostObjective, Layout,
    LearningRate, Optimizer, Regime, Rotation, Schedule, Sgd, Translation,
};

/// Steps of at most 0.02, below 2/λmax of the surface.
fn config() -> Config {
    Config {
        base: SGD,
        learning_rate: LearningRate::Fixed(4e-4),
        weight_decay: 0.0,
        max_gradient_norm: Some(50.0),
        dimer: Some(Dimer {
            rotation: Rotation::locally_optimal(Regime::rotations(2)),
            schedule: Schedule::Every(1),
            difference: Difference::Central,
            displacement: Displacement::Absolute(3e-4),
            translation: Translation::Climb,
            correction: Correction::EveryStep,
            ..Dimer::default()
        }),
        ..fixed_rate()
    }
}

fn on(surface: Surface) -> HostObjective<impl FnMut(&[f32], &mut [f32]) -> f32> {
    HostObjective::new(move |theta: &[f32], gradient: &mut [f32]| {
        let (energy, slope) = surface(theta[0].into(), theta[1].into());
        gradient.copy_from_slice(&slope.map(|slope| slope as f32));
        energy as f32
    })
}

/// From ASE's starts to ASE's saddles, made by `oracles/muller_brown.py`. Positions are f32 below 1,
/// and the gradient, which vanishes there, is good to half a unit of them times λ: 16 units are 10⁻⁶. The
/// mean of a central pair is off by ½ ΔR² times a third derivative of some 10⁴, which is as much over λ.
/// λ itself is off by ΔR² times a fourth derivative of some 10⁵/6, and by rounding of positions, a
/// unit of 1 times λ over ΔR: together less than 3·10⁻⁴ of itself.
#[test]
fn reaches_the_saddles_that_ase_finds() {
    let table = include_str!("../oracles/muller_brown.csv");
    let mut reached = std::collections::BTreeSet::new();
    for row in table.lines().filter(|line| !line.starts_with('#')) {
        let row: Vec<f64> = row.split(',').map(|x| x.parse().unwrap()).collect();
        let mut optimizer = flat(config(), &[row[0] as f32, row[1] as f32]);
        let mut objective = on(muller_brown);
        for _ in 0..300 {
            optimizer.step(&mut objective).unwrap();
        }
        let found = optimizer.read_params().unwrap();
        println!("{row:?}: {found:?}");
        assert_within("x", found[0].into(), row[2], 2e-6);
        assert_within("y", found[1].into(), row[3], 2e-6);
        let (energy, _) = muller_brown(found[0].into(), found[1].into());
        // Second order in the position.
        assert_within("E", energy, row[4], 1e-8);
        let curvature = f64::from(optimizer.read_curvature().unwrap());
        assert_within("λ", curvature, row[5], 3e-4 * row[5].abs());
        reached.insert((row[2] * 1e3) as i64);
    }
    assert_eq!(reached.len(), 2, "both saddles");
}

/// Up from the convex region around a minimum, over the boundary where C turns negative, for 40
/// steps: N is exact in the plane but for rounding of the gradients, 10⁻⁷ · 100 over a product of
/// 10³ · 10⁻³, so each step is off by less than 10⁻⁴ of its length, 0.02, and the surface stretches that
/// by at most 1 + 4·10⁻⁴ · 10³ for each step in the direction that is left uncorrected.
#[test]
fn matches_the_reference() {
    let start = [0.55_f32, 0.1];
    let mut optimizer = flat(config(), &start);
    let orientation = wide(&optimizer.read_orientation().unwrap().unwrap_or_default());
    let layout = Layout::flat(2).unwrap();
    let mut reference = Reference::new(&layout, config(), &wide(&start), &orientation);
    let mut objective = on(muller_brown);
    let mut signs = [false; 2];
    for _ in 0..40 {
        optimizer.step(&mut objective).unwrap();
        reference.step(|x| muller_brown(x[0], x[1]).1.to_vec());
        signs[usize::from(reference.curvature < 0.0)] = true;
    }
    assert_eq!(signs, [true, true], "it saw both regions");
    let found = optimizer.read_params().unwrap();
    println!("{found:?} {:?}", reference.params);
    assert_all_within("θ", &found, &reference.params, |_| 1e-4);
}

/// A Lennard-Jones cluster of three atoms in the plane z = 0: from a bent chain to the straight one, the saddle between
/// two triangles. Its energy is −2 − 1/2⁵ + 1/2¹⁰ but for the outer pair's pull. Out of the plane it would bend as
/// easily, and be a saddle of index 2.
#[test]
fn straightens_a_cluster_of_three() {
    let start = [0.0, 0.0, 1.12, 0.0, 2.1, 0.5_f32];
    let in_space = |theta: &[f64]| -> Vec<f64> {
        theta.chunks(2).flat_map(|atom| [atom[0], atom[1], 0.0]).collect()
    };
    let dimer = Dimer {
        rotation: Rotation::locally_optimal(Regime::rotations(6)),
        ..config().dimer.unwrap()
    };
    let config = Config {
        // The bend is a hundred times softer than the bonds.
        base: Base::Sgd(Sgd { momentum: 0.9, nesterov: false }),
        learning_rate: LearningRate::Fixed(4e-3),
        max_gradient_norm: Some(1.0),
        dimer: Some(dimer),
        ..config()
    };
    let mut optimizer = flat(config, &start);
    let mut objective = HostObjective::new(|theta: &[f32], gradient: &mut [f32]| {
        let mut slope = vec![0.0; 9];
        let energy = lennard_jones(&in_space(&wide(theta)), &mut slope);
        let plane = slope.chunks(3).flat_map(|atom| &atom[..2]);
        gradient.iter_mut().zip(plane).for_each(|(g, &slope)| *g = slope as f32);
        energy as f32
    });
    for _ in 0..1200 {
        optimizer.step(&mut objective).unwrap();
    }
    let positions = in_space(&wide(&optimizer.read_params().unwrap()));
    let mut slope = vec![0.0; 9];
    let energy = lennard_jones(&positions, &mut slope);
    let side = |axis: usize| positions[3 + axis] - positions[axis];
    let other = |axis: usize| positions[6 + axis] - positions[3 + axis];
    let lengths = [0, 1, 2].map(side).map(|x| x * x).iter().sum::<f64>().sqrt();
    let cosine: f64 = (0..3).map(|axis| side(axis) * other(axis)).sum::<f64>() / lengths / lengths;
    println!("energy {energy}, side {lengths}, cosine {cosine}, {slope:?}");
    // The chain's energy by its one free length: minimal where 2 v(r) + v(2r) is.
    let pair = |r: f64| 4.0 * (r.powi(-12) - r.powi(-6));
    let chain = |r: f64| 2.0 * pair(r) + pair(2.0 * r);
    let best = (0..10_000).map(|i| chain(1.1 + 1e-5 * f64::from(i))).fold(f64::INFINITY, f64::min);
    assert_within("E", energy, best, 1e-6);
    assert_within("cos", cosine, 1.0, 1e-5);
    assert!(optimizer.read_curvature().unwrap() < 0.0);
}

/// The preset, from ASE's starts: as above, but for an automatic distance, at which C is good to 1 %.
#[test]
fn the_preset_reaches_them_too() {
    let table = include_str!("../oracles/muller_brown.csv");
    for row in table.lines().filter(|line| !line.starts_with('#')) {
        let row: Vec<f64> = row.split(',').map(|x| x.parse().unwrap()).collect();
        let config = Config { max_gradient_norm: Some(50.0), ..Config::climb(4e-4) };
        let mut optimizer = flat(config, &[row[0] as f32, row[1] as f32]);
        let mut objective = on(muller_brown);
        for _ in 0..300 {
            optimizer.step(&mut objective).unwrap();
        }
        assert_eq!(optimizer.gradient_evaluations(), 300.0 * 5.0);
        let found = optimizer.read_params().unwrap();
        let curvature = f64::from(optimizer.read_curvature().unwrap());
        println!("{row:?}: {found:?} {curvature}");
        assert_within("x", found[0].into(), row[2], 2e-5);
        assert_within("y", found[1].into(), row[3], 2e-5);
        assert_within("λ", curvature, row[5], 0.01 * row[5].abs());
    }
}

/// Where there is no slope there is no way up: nothing moves, and the telemetry says why.
#[test]
fn an_exact_minimum_is_not_left() {
    let mut optimizer = flat(Config::climb(0.1), &[0.0; 5]);
    let mut objective = quadratic(vec![1.0, 2.0, 3.0, 4.0, 5.0]);
    for _ in 0..5 {
        optimizer.step(&mut objective).unwrap();
    }
    let record = *optimizer.telemetry().unwrap().last().unwrap();
    assert_eq!((record.gradient_norm, record.skipped), (Some(0.0), false));
    assert!(record.curvature > 0.0, "{record:?}");
    assert_eq!(optimizer.read_params().unwrap(), [0.0; 5]);
}

/// What a climb does not go with is refused, one thing at a time.
#[test]
fn what_a_climb_needs() {
    let climb = Config::climb(0.1);
    climb.validate().unwrap();
    let schedule = |schedule| {
        let dimer = Dimer { schedule, ..climb.dimer.clone().unwrap() };
        Config { dimer: Some(dimer), ..climb.clone() }
    };
    schedule(Schedule::Every(10)).validate().unwrap();
    let momentum = Base::Sgd(Sgd { momentum: 0.9, nesterov: true });
    Config { base: momentum, ..climb.clone() }.validate().unwrap();
    for config in [
        Config { base: ADAMW, ..climb.clone() },
        Config { base: LION, ..climb.clone() },
        Config { weight_decay: 1e-4, ..climb.clone() },
        schedule(Schedule::Every(11)),
        schedule(Schedule::OnPlateau(Default::default())),
    ] {
        let error = config.validate().unwrap_err();
        assert!(matches!(error, Error::Unsupported { what: "Translation::Climb", .. }), "{error}");
    }
    let decaying = |weight_decay| {
        let mut builder = Layout::builder();
        let group = builder.group(Group { weight_decay, ..Group::default() });
        builder.tensor_in(group, "x", &[2]);
        Optimizer::new(&gpu(), builder.build().unwrap(), climb.clone(), &[0.0; 2]).map(drop)
    };
    let error = decaying(Some(0.1)).unwrap_err();
    assert!(matches!(error, Error::Unsupported { what: "Translation::Climb", .. }), "{error}");
    decaying(Some(0.0)).unwrap();
}

#[test]
fn climbing_corrects_every_step() {
    let dimer = Dimer { correction: Correction::EventsOnly, ..config().dimer.unwrap() };
    let error = Config { dimer: Some(dimer), ..config() }.validate().unwrap_err();
    assert!(matches!(error, Error::Unsupported { what: "Translation::Climb", .. }), "{error}");
    let base = Base::Sgd(Sgd { momentum: 0.0, nesterov: false });
    assert!(
        Optimizer::new(&gpu(), Layout::flat(2).unwrap(), Config { base, ..config() }, &[0.0; 2])
            .is_ok()
    );
}

/// The surfaces in WGSL have the slopes of those in f64: a step of SGD at rate 1 goes down one slope. It rounds by 16 units
/// of its terms, and an exponential of x by 3 + 2 |x| more, as WGSL grants: |x| is at most 104 where the term counts.
#[test]
fn surfaces_on_the_gpu() {
    let mut rng = rng(rand::random());
    // The largest terms of a slope at a point.
    type Size = fn(f64, f64) -> f64;
    let surfaces: [(&str, Surface, Size, f64); 3] = [
        ("double_well", double_well, |_, _| 3.0, 16.0),
        ("monkey_saddle", monkey_saddle, |_, _| 14.0, 16.0),
        (
            "muller_brown",
            muller_brown,
            |x, y| {
                let (dx, dy) = (x + 1.0, y - 1.0);
                // Three terms are at most 200 high and 24 times as steep; the last one grows.
                4800.0 + 60.0 * (0.7 * dx * dx + 0.6 * dx * dy + 0.7 * dy * dy).exp()
            },
            16.0 + 3.0 + 2.0 * 104.0,
        ),
    ];
    for (name, surface, size, units) in surfaces {
        let mut objective = Plane::new(&gpu(), name);
        for _ in 0..20 {
            let start = vector(&mut rng, 2, Kind::Plain);
            let learning_rate = LearningRate::Fixed(1.0);
            let dimer = None;
            let config =
                Config { base: SGD, learning_rate, weight_decay: 0.0, dimer, ..fixed_rate() };
            let mut optimizer = flat(config, &start);
            optimizer.step(&mut objective).unwrap();
            let (x, y) = (start[0].into(), start[1].into());
            let (_, slope) = surface(x, y);
            let found = optimizer.read_params().unwrap();
            assert_all_within(name, &found, &[x - slope[0], y - slope[1]], |_| {
                units * UNIT * size(x, y)
            });
        }
    }
}
