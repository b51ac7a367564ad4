//! The same bits: from run to run, however sharded, and those of the base optimizer where α = 0.

use crate::common::*;
use dimer::{
    Config, Correction, Dimer, Gpu, Layout, Optimizer, Projection, Regime, Rotation, RotationRate,
    Schedule, Scope, Spectrum, Storage, Translation,
};
use rand::RngExt;

const LEN: usize = 20_011;

fn spectrum() -> Vec<f32> {
    let mut rng = rng(5);
    (0..LEN).map(|_| rng.random_range(-1.0..10.0)).collect()
}

fn run_on(gpu: &Gpu, config: Config) -> (Vec<u32>, Vec<u32>) {
    let start = vector(&mut rng(6), LEN, Kind::Plain);
    let layout = Layout::flat(LEN).unwrap();
    let mut optimizer = Optimizer::new(gpu, layout, config, &start).unwrap();
    let mut objective = quadratic(spectrum());
    for _ in 0..100 {
        optimizer.step(&mut objective).unwrap();
    }
    let n = optimizer.read_orientation().unwrap().unwrap_or_default();
    (bits(&optimizer.read_params().unwrap()), bits(&n))
}

fn every_feature() -> Config {
    let dimer = Dimer {
        rotation: Rotation::gradient(RotationRate::Automatic),
        schedule: Schedule::Every(3),
        ..Dimer::default()
    };
    Config { max_gradient_norm: Some(50.0), dimer: Some(dimer), ..fixed_rate() }
}

/// The same with both regimes of the locally optimal rotation.
fn locally_optimal() -> [Config; 2] {
    [Regime::Stochastic, Regime::rotations(3)].map(|regime| {
        let rotation = Rotation::locally_optimal(regime);
        let dimer = Dimer { rotation, ..every_feature().dimer.unwrap() };
        Config { dimer: Some(dimer), ..every_feature() }
    })
}

#[test]
fn two_runs_give_the_same_bits() {
    let bases = BASES.map(|base| Config { base, ..every_feature() });
    for config in bases.into_iter().chain(locally_optimal()) {
        assert_eq!(run_on(&gpu(), config.clone()), run_on(&gpu(), config));
    }
}

#[test]
fn without_correction_it_is_the_base_optimizer() {
    for base in BASES {
        let base_alone = Config { base, dimer: None, ..every_feature() };
        let (expected, _) = run_on(&gpu(), base_alone.clone());
        let keep = Translation::Project(Projection { alpha: 0.0, only_negative_curvature: false });
        for rate in [RotationRate::Automatic, RotationRate::Fixed(0.01)] {
            for correction in [Correction::EventsOnly, Correction::EveryStep] {
                let dimer = Dimer {
                    rotation: Rotation::gradient(rate),
                    translation: keep,
                    correction,
                    schedule: Schedule::Every(3),
                    ..Dimer::default()
                };
                let config = Config { dimer: Some(dimer), ..base_alone.clone() };
                assert_eq!(run_on(&gpu(), config).0, expected, "{base:?} {rate:?} {correction:?}");
            }
        }
    }
}

/// A quadratic whose every curvature is positive never opens the gate.
#[test]
fn a_closed_gate_is_the_base_optimizer() {
    let convex: Vec<f32> = spectrum().iter().map(|h| 1.0 + h.abs()).collect();
    let run = |dimer: Option<Dimer>| {
        let config = Config { dimer, ..fixed_rate() };
        let mut optimizer = flat(config, &vector(&mut rng(6), LEN, Kind::Plain));
        let mut objective = quadratic(convex.clone());
        for _ in 0..50 {
            optimizer.step(&mut objective).unwrap();
        }
        bits(&optimizer.read_params().unwrap())
    };
    let gated = Translation::Project(Projection { alpha: 1.0, only_negative_curvature: true });
    let rotation = Rotation::gradient(RotationRate::Automatic);
    let dimer =
        Dimer { rotation, translation: gated, schedule: Schedule::Every(2), ..Dimer::default() };
    assert_eq!(run(Some(dimer)), run(None));
}

#[test]
fn shards_do_not_change_the_bits() {
    let gpu = small_gpu();
    assert_eq!(gpu.device().limits().max_storage_buffer_binding_size, SMALL_BINDING);
    for base in BASES {
        let config = Config { base, ..every_feature() };
        // 80 KiB fit into one binding; three times the length needs two.
        assert_eq!(run_on(&gpu, config.clone()), run_on(&self::gpu(), config.clone()));
    }
    // The six vectors of the workspace share a binding, so that one tile is a shard.
    let bf16 = Config { storage: Storage::Bf16, ..locally_optimal()[0].clone() };
    let bf16_paper = Config { storage: Storage::Bf16, ..every_feature() };
    for config in locally_optimal().into_iter().chain([bf16, bf16_paper]) {
        assert_eq!(run_on(&gpu, config.clone()), run_on(&self::gpu(), config));
    }
    let blocks = [&gpu, &self::gpu()].map(|gpu| {
        let mut optimizer =
            Optimizer::new(gpu, Layout::flat(LEN).unwrap(), every_feature(), &[0.1; LEN]).unwrap();
        // The six vectors of the block share a binding.
        let mut block = Spectrum::new(&mut optimizer, 1, 0).unwrap();
        block.rotate(&mut quadratic(spectrum()), 3).unwrap();
        let modes = block.read().unwrap();
        modes.iter().map(|mode| bits(&mode.orientation)).collect::<Vec<_>>()
    });
    assert_eq!(blocks[0], blocks[1]);
    let len = 3 * LEN;
    let start = vector(&mut rng(8), len, Kind::Plain);
    let spectrum = spectrum().repeat(3);
    // Tensors that lie across shards, and small ones.
    let mut builder = Layout::builder();
    let sizes = [len / 2, 100, 64, 1, 5000];
    for (i, size) in sizes.into_iter().enumerate() {
        builder.tensor(format!("{i}"), &[size]);
    }
    builder.tensor("rest", &[len - sizes.iter().sum::<usize>()]);
    let several = builder.build().unwrap();
    let scoped = |scope| {
        let dimer = Dimer { scope, ..every_feature().dimer.unwrap() };
        Config { dimer: Some(dimer), ..every_feature() }
    };
    let run = |gpu: &Gpu, layout: Layout, config: Config| {
        let mut optimizer = Optimizer::new(gpu, layout, config, &start).unwrap();
        let mut objective = quadratic(spectrum.clone());
        for _ in 0..20 {
            optimizer.step(&mut objective).unwrap();
        }
        let n = optimizer.read_orientation().unwrap().unwrap_or_default();
        (bits(&optimizer.read_params().unwrap()), bits(&n))
    };
    let global = (Layout::flat(len).unwrap(), every_feature());
    let per_tensor = (several.clone(), scoped(Scope::PerTensor));
    for (layout, config) in [global, per_tensor, (several, scoped(Scope::PerGroup))] {
        let sharded = run(&gpu, layout.clone(), config.clone());
        assert_eq!(sharded, run(&self::gpu(), layout.clone(), config.clone()));
        assert_eq!(sharded, run(&gpu, layout, config), "from run to run");
    }
}
