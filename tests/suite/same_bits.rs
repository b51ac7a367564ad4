//! A step has the same bits whichever way it is taken: by `step`, recorded into the user's encoder, by hand,
//! and over shards.
//!
//! With `DIMER_BITS=FILE` the bits are also compared with those in the file, or written to it where there
//! is none: record them before a change that must not move a result, and compare after each part of it.
//! They hold for one driver only.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use crate::common::*;
use dimer::{
    Config, Correction, CurvatureRate, Difference, Dimer, Displacement, EarlyExit, Evaluation,
    FullBatch, Gpu, Group, HessianProduct, Layout, LearningRate, Metric, Mode, Objective,
    OnPlateau, Optimizer, Point, Projection, RateProbe, Regime, RelativeDisplacement, Rotation,
    RotationRate, RotationStop, SaddleFree, Schedule, Scope, Storage, Translation,
};

/// More than one shard of [`small_gpu`] takes.
const LEN: usize = 50_021;
const STEPS: u64 = 60;

/// The gradient at the centre is not finite in this step, that at the probe of this event.
const BROKEN_CENTRE: u64 = 17;
const BROKEN_PROBE: u64 = 29;

/// A quartic with both signs of curvature, on the host.
struct Quartic {
    step: u64,
    /// Whether two of its gradients are not finite.
    breaks: bool,
}

impl Quartic {
    fn slope(i: usize) -> f32 {
        (i % 97) as f32 / 20.0 - 1.0
    }

    fn gradient_at(&self, params: &[f32], point: Point) -> Vec<f32> {
        let gradient = |(i, x): (usize, &f32)| Self::slope(i) * x + x * x * x;
        let mut gradient: Vec<f32> = params.iter().enumerate().map(gradient).collect();
        let broken = match point {
            Point::Centre => BROKEN_CENTRE,
            _ => BROKEN_PROBE,
        };
        if self.breaks && self.step == broken {
            gradient[7] = f32::NAN;
        }
        gradient
    }
}

impl Objective for Quartic {
    fn begin_step(&mut self, step: dimer::StepInfo) -> dimer::Result<()> {
        self.step = step.index;
        Ok(())
    }

    fn gradient(&mut self, mut at: Evaluation<'_>) -> dimer::Result<()> {
        let params = at.read_params()?;
        let gradient = self.gradient_at(&params, at.point);
        at.write_gradient(&gradient)
    }

    fn hessian_product(&mut self, mut at: HessianProduct<'_>) -> dimer::Result<()> {
        let (params, direction) = at.read()?;
        let product = |(i, (x, d)): (usize, (&f32, &f32))| {
            let broken = self.breaks && self.step == BROKEN_PROBE && i == 7;
            if broken { f32::NAN } else { (Self::slope(i) + 3.0 * x * x) * d }
        };
        let product: Vec<f32> = params.iter().zip(&direction).enumerate().map(product).collect();
        at.write(&product)
    }

    fn is_deterministic(&self) -> bool {
        true
    }
}

fn layout() -> Layout {
    let mut builder = Layout::builder();
    let slow = builder.group(Group { learning_rate_scale: 0.5, ..Group::default() });
    let bare = builder.group(Group { weight_decay: Some(0.0), dimer: false, ..Group::default() });
    builder.tensor("first", &[97, 103]).tensor_in(slow, "slow", &[5000]);
    builder.tensor("one", &[1]).tensor_in(bare, "bare", &[333]);
    let rest = LEN - 97 * 103 - 5000 - 1 - 333;
    builder.tensor("rest", &[rest]);
    builder.build().unwrap()
}

/// Every legal combination, thinned out so that each pair of choices still occurs.
fn configs() -> Vec<(String, Config)> {
    let stop = RotationStop::new(0.05, 1e-3);
    let saving = stop.with_early_exit(EarlyExit::Gradients);
    let regime = |stop| Regime::FullBatch(FullBatch { max_rotations: 4, stop });
    let rotations = [
        Rotation::gradient(RotationRate::Automatic),
        Rotation::gradient(RotationRate::Fixed(0.05)),
        Rotation::optimal_angle(Regime::Stochastic),
        Rotation::optimal_angle(regime(None)),
        Rotation::locally_optimal(Regime::Stochastic),
        Rotation::locally_optimal(regime(None)),
        Rotation::locally_optimal(regime(Some(stop))),
        Rotation::locally_optimal(regime(Some(saving))),
        Rotation::gradient(RotationRate::Automatic),
    ];
    let differences = [Difference::Forward, Difference::Central, Difference::Exact];
    let displacements = [
        Displacement::Relative(RelativeDisplacement { factor: 1e-4, minimum: 1e-6 }),
        Displacement::Absolute(0.01),
        Displacement::Automatic,
    ];
    let translations = [
        (Translation::SaddleFree(SaddleFree::default()), Correction::EveryStep),
        (
            Translation::Project(Projection { alpha: 0.7, only_negative_curvature: false }),
            Correction::EventsOnly,
        ),
        (
            Translation::Project(Projection { alpha: 1.0, only_negative_curvature: true }),
            Correction::EveryStep,
        ),
        (Translation::Climb, Correction::EveryStep),
    ];
    let scopes = [Scope::Global, Scope::PerTensor, Scope::PerGroup];
    let storages = [Storage::F32, Storage::Bf16];
    let radices = [9, 3, 3, 4, 3, 2, BASES.len()];
    let mut configs = Vec::new();
    let mut count = 0_usize;
    for index in 0..radices.iter().product() {
        // The choices are the digits of the index, the base in the last place.
        let mut rest: usize = index;
        let mut digits = radices;
        for (digit, radix) in digits.iter_mut().zip(radices).rev() {
            *digit = rest % radix;
            rest /= radix;
        }
        let [i, j, k, l, m, n, o] = digits;
        let (translation, correction) = translations[l];
        let watches = matches!(translation, Translation::Project(_));
        let seeks = if watches && o % 2 == 1 { Mode::Stiffest } else { Mode::Softest };
        let dimer = Dimer {
            seeks,
            rotation: rotations[i],
            schedule: Schedule::Every(3),
            difference: differences[j],
            displacement: displacements[k],
            scope: scopes[m],
            metric: Metric::Euclidean,
            translation,
            correction,
            seed: 11,
        };
        let config = Config {
            base: BASES[o],
            learning_rate: LearningRate::Fixed(1e-2),
            max_gradient_norm: count.is_multiple_of(3).then_some(20.0),
            storage: storages[n],
            dimer: Some(dimer),
            ..fixed_rate()
        };
        let config = for_translation(config);
        if config.validate().is_ok() {
            count += 1;
            // Every 67th, a prime that no number of choices divides.
            if (count + i + 2 * j + 3 * k + 5 * l + 7 * m + 11 * n + 13 * o).is_multiple_of(67) {
                configs.push((format!("{i}{j}{k}{l}{m}{n}{o}"), config));
            }
        }
    }
    for (o, base) in BASES.into_iter().enumerate() {
        for skip_non_finite in [true, false] {
            let config = Config {
                base,
                skip_non_finite,
                dimer: None,
                learning_rate: LearningRate::Fixed(1e-2),
                ..fixed_rate()
            };
            configs.push((format!("base {o} {skip_non_finite}"), config));
        }
        let plateau =
            Dimer { schedule: Schedule::OnPlateau(OnPlateau::default()), ..Dimer::default() };
        let config = Config {
            base,
            learning_rate: LearningRate::Fixed(1e-2),
            dimer: Some(plateau),
            ..fixed_rate()
        };
        configs.push((format!("plateau {o}"), config));
        let config = Config {
            base,
            learning_rate: LearningRate::Fixed(1e-2),
            max_gradient_norm: o.is_multiple_of(2).then_some(20.0),
            dimer: Some(Dimer::alternating()),
            ..fixed_rate()
        };
        configs.push((format!("alternating {o}"), config));
    }
    for (i, &rotation) in rotations.iter().enumerate() {
        let dimer = Dimer {
            seeks: if i % 2 == 1 { Mode::Stiffest } else { Mode::Softest },
            rotation,
            schedule: Schedule::Every(3),
            difference: if i % 4 == 0 { Difference::Exact } else { Difference::Forward },
            displacement: Displacement::Absolute(0.01),
            metric: Metric::Preconditioner,
            translation: Translation::None,
            ..Dimer::default()
        };
        let config = Config {
            base: [ADAM, ADAMW][i % 2],
            learning_rate: LearningRate::Fixed(1e-2),
            storage: if i == 4 { Storage::Bf16 } else { Storage::F32 },
            dimer: Some(dimer),
            ..fixed_rate()
        };
        configs.push((format!("metric {i}"), config));
    }
    configs
}

/// Learning rates from curvature, alone and beside each kind of dimer.
fn rates() -> Vec<(String, Config)> {
    let mut configs = Vec::new();
    for probe in [RateProbe::SeparateGradient, RateProbe::RepeatedMinibatch] {
        let rate = CurvatureRate {
            probe,
            initial: 1e-2,
            interval: 7,
            burn_in: 9,
            ..CurvatureRate::default()
        };
        let alone =
            Config { learning_rate: LearningRate::Curvature(rate), dimer: None, ..fixed_rate() };
        for (o, base) in BASES.into_iter().enumerate() {
            let skip_non_finite = !o.is_multiple_of(3);
            let clip = o.is_multiple_of(2).then_some(20.0);
            let storage = if o.is_multiple_of(2) { Storage::F32 } else { Storage::Bf16 };
            let config =
                Config { base, skip_non_finite, storage, max_gradient_norm: clip, ..alone.clone() };
            configs.push((format!("{probe:?} {o}"), config));
        }
        let paper = Dimer {
            rotation: Rotation::gradient(RotationRate::Automatic),
            schedule: Schedule::Every(3),
            ..Dimer::default()
        };
        let ritz = Dimer { schedule: Schedule::Every(2), ..Dimer::default() };
        for dimer in [paper.clone(), ritz, Dimer { scope: Scope::PerTensor, ..paper }] {
            let name = format!("{probe:?} {:?} {:?}", dimer.rotation, dimer.scope);
            configs.push((name, Config { dimer: Some(dimer), ..alone.clone() }));
        }
    }
    configs
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Way {
    Step,
    /// By yielding to other tasks.
    Async,
    /// Every second step asynchronously, as by hand.
    Recorded,
    ByHand,
}

fn take(optimizer: &mut Optimizer, way: Way, objective: &mut Quartic) {
    match way {
        Way::Step => optimizer.step(objective).unwrap(),
        Way::Async => pollster::block_on(optimizer.step_async(objective)).unwrap(),
        Way::Recorded => {
            let gpu = optimizer.gpu().clone();
            let mut encoder = gpu.device().create_command_encoder(&Default::default());
            if optimizer.steps().is_multiple_of(2) {
                optimizer.record_step(&mut encoder, objective).unwrap();
            } else {
                let recorded = optimizer.record_step_async(&mut encoder, objective);
                pollster::block_on(recorded).unwrap();
            }
            gpu.queue().submit([encoder.finish()]);
        }
        Way::ByHand => {
            objective.step = optimizer.steps();
            let gpu = optimizer.gpu().clone();
            let layout = optimizer.layout().clone();
            let unpad = |padded: Vec<f32>| -> Vec<f32> {
                let slots = layout.tensors().iter();
                slots.flat_map(|t| padded[t.offset..t.offset + t.len].to_vec()).collect()
            };
            if !objective.step.is_multiple_of(2) {
                return pollster::block_on(take_async(optimizer, objective));
            }
            let has_centre = has_centre(optimizer);
            let mut step = optimizer.begin_step().unwrap();
            let params = unpad(read_from(&gpu, step.centre().params));
            if has_centre {
                step.write_gradient(Point::Centre, &objective.gradient_at(&params, Point::Centre))
                    .unwrap();
            }
            while let Some(probe) = step.next_probe().unwrap() {
                let params = unpad(read_from(&gpu, probe.params));
                step.write_gradient(Point::Probe, &objective.gradient_at(&params, Point::Probe))
                    .unwrap();
            }
            step.finish().unwrap();
        }
    }
}

/// Whether steps have a gradient at θ: not those of alternating evaluations, which have one in all.
fn has_centre(optimizer: &Optimizer) -> bool {
    optimizer.probe().is_none() || optimizer.probe_gradient().is_some()
}

/// A step by hand, yielding to other tasks.
async fn take_async(optimizer: &mut Optimizer, objective: &Quartic) {
    let has_centre = has_centre(optimizer);
    let mut step = optimizer.begin_step_async().await.unwrap();
    let params = step.read_params_async(Point::Centre).await.unwrap();
    if has_centre {
        step.write_gradient(Point::Centre, &objective.gradient_at(&params, Point::Centre)).unwrap();
    }
    while step.next_probe_async().await.unwrap().is_some() {
        let params = step.read_params_async(Point::Probe).await.unwrap();
        step.write_gradient(Point::Probe, &objective.gradient_at(&params, Point::Probe)).unwrap();
    }
    step.finish_async().await.unwrap();
}

/// A hash of the bits of every vector that outlives a step.
fn run(gpu: &Gpu, config: &Config, way: Way) -> u64 {
    let start = vector(&mut rng(31), LEN, Kind::Plain);
    let mut optimizer = Optimizer::new(gpu, layout(), config.clone(), &start).unwrap();
    // Without the guard there is nothing left to compare.
    let breaks = config.skip_non_finite || config.max_gradient_norm.is_some();
    let mut objective = Quartic { step: 0, breaks };
    for _ in 0..STEPS {
        take(&mut optimizer, way, &mut objective);
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bits.safetensors");
    optimizer.save(&path).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let vectors: BTreeMap<String, Vec<u8>> = file
        .tensors()
        .into_iter()
        .filter(|(name, _)| name.contains('/') || name == "calibration")
        .map(|(name, view)| (name, view.data().to_vec()))
        .collect();
    let mut hasher = DefaultHasher::new();
    vectors.hash(&mut hasher);
    hasher.finish()
}

#[test]
fn every_way_of_taking_a_step_gives_the_same_bits() {
    let small = small_gpu();
    let file = std::env::var("DIMER_BITS");
    // To compare with a file, all of them; else a fifth, for the time it takes.
    let thinned = if file.is_ok() { 1 } else { 5 };
    let mut found = BTreeMap::new();
    for (name, config) in configs().into_iter().step_by(thinned).chain(rates()) {
        let bits = run(&gpu(), &config, Way::Step);
        println!("{name}: {bits:016x}");
        let exact = config.dimer.as_ref().is_some_and(|d| d.difference == Difference::Exact);
        assert_eq!(run(&gpu(), &config, Way::Recorded), bits, "{name}: recorded, {config:?}");
        assert_eq!(run(&small, &config, Way::Async), bits, "{name}: sharded, {config:?}");
        if !exact {
            assert_eq!(run(&gpu(), &config, Way::ByHand), bits, "{name}: by hand, {config:?}");
        }
        found.insert(name, format!("{bits:016x}"));
    }
    assert!(found.len() >= 70 / thinned + 20, "{}", found.len());
    let Ok(path) = file else { return };
    match std::fs::read(&path) {
        Ok(recorded) => {
            let recorded: BTreeMap<String, String> = serde_json::from_slice(&recorded).unwrap();
            assert_eq!(found, recorded);
        }
        Err(_) => std::fs::write(&path, serde_json::to_string_pretty(&found).unwrap()).unwrap(),
    }
}
