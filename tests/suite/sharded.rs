//! State that is cut among ranks: any number of them takes the steps of one device, to the bit.

use crate::common::*;
use dimer::{
    Adam, Base, Collective, Config, CurvatureRate, Difference, Dimer, Displacement, EarlyExit,
    Error, Evaluation, FullBatch, Gpu, Group, HessianProduct, HostObjective, Layout, LearningRate,
    Lion, Metric, Mode, Objective, OnPlateau, Optimizer, RateProbe, Regime, RelativeDisplacement,
    Rotation, RotationRate, RotationStop, Schedule, Scope, Sgd, ShardedOptimizer, StepInfo,
    Storage, Telemetry, Threads,
};

/// Of one tile, of fewer tiles than ranks, and of several tiles to a rank.
const LENGTHS: [usize; 3] = [1009, 9001, 45_007];
const STEPS: usize = 200;
/// These take so many of them.
const LONG: [&str; 6] = [
    "paper's rotation",
    "optimal angle",
    "locally optimal",
    "bf16",
    "rate from curvature",
    "alternating",
];

/// A quartic with a saddle in most directions and another minibatch in every step, and what it is asked for.
struct Given {
    step: u64,
    /// Which evaluation fails, or has a gradient that is none, counted over all steps.
    fails: Option<usize>,
    poisons: Option<usize>,
    /// Which step fails to begin, once.
    fails_to_begin: Option<u64>,
    evaluations: usize,
    /// What is added to the loss.
    loss: f32,
}

impl Given {
    fn new() -> Self {
        Self {
            step: 0,
            fails: None,
            poisons: None,
            fails_to_begin: None,
            evaluations: 0,
            loss: 0.0,
        }
    }

    /// Between -0.7 and 1.3, by element and minibatch.
    fn curvature(&self, i: usize) -> f32 {
        let mut x = (i as u64 ^ (self.step << 40)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        x ^= x >> 32;
        let of_all = (i * 2_654_435_761 % 1000) as f32 / 600.0 - 0.6;
        of_all + 0.3 * ((x & 0xffff) as f32 / 65536.0 - 0.5)
    }

    fn fail(&mut self) -> dimer::Result<()> {
        let fails = self.fails == Some(self.evaluations);
        self.evaluations += 1;
        if fails { Err(Error::objective("the data ran out")) } else { Ok(()) }
    }
}

impl Objective for Given {
    fn begin_step(&mut self, step: StepInfo) -> dimer::Result<()> {
        self.step = step.index - u64::from(step.repeats_minibatch);
        if self.fails_to_begin == Some(step.index) {
            self.fails_to_begin = None;
            return Err(Error::objective("the data ran out"));
        }
        Ok(())
    }

    fn gradient(&mut self, mut at: Evaluation<'_>) -> dimer::Result<()> {
        let params = at.read_params()?;
        self.fail()?;
        let elements = params.iter().enumerate();
        let mut gradient: Vec<f32> =
            elements.map(|(i, x)| self.curvature(i) * x + 0.5 * x * x * x).collect();
        if self.poisons == Some(self.evaluations - 1) {
            gradient[params.len() - 1] = f32::NAN;
        }
        if at.wants_loss() {
            let products = params.iter().zip(&gradient).map(|(x, g)| x * g);
            at.write_loss(self.loss + products.sum::<f32>());
        }
        at.write_gradient(&gradient)
    }

    fn hessian_product(&mut self, mut at: HessianProduct<'_>) -> dimer::Result<()> {
        let (params, direction) = at.read()?;
        let elements = params.iter().zip(&direction).enumerate();
        let along: Vec<f32> =
            elements.map(|(i, (x, d))| (self.curvature(i) + 1.5 * x * x) * d).collect();
        at.write(&along)
    }

    fn supplies_loss(&self) -> bool {
        true
    }

    fn is_deterministic(&self) -> bool {
        true
    }
}

/// Three tensors, one of them slower and one that the dimer does not reach.
fn layout(len: usize) -> Layout {
    let mut builder = Layout::builder();
    let slow = builder.group(Group { learning_rate_scale: 0.5, ..Group::default() });
    let alone = builder.group(Group { dimer: false, weight_decay: Some(0.3), ..Group::default() });
    let (first, last) = (len / 3, len / 5);
    builder.tensor("first", &[first]);
    builder.tensor_in(slow, "middle", &[len - first - last]);
    builder.tensor_in(alone, "last", &[last]);
    builder.build().unwrap()
}

fn start(len: usize) -> Vec<f32> {
    (0..len).map(|i| ((i * 7919 % 1000) as f32 / 1000.0 - 0.5) * 0.2).collect()
}

fn with_dimer(dimer: Dimer) -> Config {
    let schedule = Schedule::Every(3);
    let learning_rate = LearningRate::Fixed(3e-3);
    Config { learning_rate, dimer: Some(Dimer { schedule, ..dimer }), ..Config::default() }
}

fn rotating(rotation: Rotation) -> Config {
    with_dimer(Dimer { rotation, ..Dimer::default() })
}

fn full_batch(early_exit: EarlyExit) -> Rotation {
    let stop = RotationStop::new(0.2, 0.0).with_early_exit(early_exit);
    let full_batch = FullBatch { max_rotations: 4, stop: Some(stop) };
    Rotation::locally_optimal(Regime::FullBatch(full_batch))
}

fn from_curvature(probe: RateProbe) -> Config {
    let rate = CurvatureRate { probe, interval: 4, ..CurvatureRate::default() };
    Config { learning_rate: LearningRate::Curvature(rate), ..Config::default() }
}

fn configs() -> Vec<(&'static str, Config)> {
    let relative = RelativeDisplacement { factor: 1e-2, minimum: 1e-4 };
    let plain =
        |base| Config { learning_rate: LearningRate::Fixed(1e-2), base, ..Config::default() };
    vec![
        ("paper's rotation", rotating(Rotation::gradient(RotationRate::Automatic))),
        ("optimal angle", rotating(Rotation::optimal_angle(Regime::Stochastic))),
        ("locally optimal", rotating(Rotation::locally_optimal(Regime::Stochastic))),
        ("until it stops", rotating(full_batch(EarlyExit::Rotations))),
        ("until it stops, asking", rotating(full_batch(EarlyExit::Gradients))),
        ("bf16", Config { storage: Storage::Bf16, ..with_dimer(Dimer::default()) }),
        (
            "rate from curvature",
            Config {
                dimer: with_dimer(Dimer::default()).dimer,
                ..from_curvature(RateProbe::SeparateGradient)
            },
        ),
        ("repeated minibatch", from_curvature(RateProbe::RepeatedMinibatch)),
        (
            "clipped rate",
            Config { max_gradient_norm: Some(0.5), ..from_curvature(RateProbe::SeparateGradient) },
        ),
        (
            "central",
            with_dimer(Dimer {
                difference: Difference::Central,
                displacement: Displacement::Relative(relative),
                ..Dimer::default()
            }),
        ),
        ("exact", with_dimer(Dimer { difference: Difference::Exact, ..Dimer::default() })),
        (
            "automatic distance",
            with_dimer(Dimer { displacement: Displacement::Automatic, ..Dimer::default() }),
        ),
        ("published", with_dimer(Dimer::published())),
        (
            "alternating",
            Config {
                dimer: Some(Dimer::alternating()),
                ..plain(Base::Sgd(Sgd { momentum: 0.9, ..Sgd::default() }))
            },
        ),
        (
            "stiffest, preconditioned",
            with_dimer(
                Dimer { metric: Metric::Preconditioner, seeks: Mode::Stiffest, ..Dimer::default() }
                    .watching(),
            ),
        ),
        ("momentum", plain(Base::Sgd(Sgd { momentum: 0.9, ..Sgd::default() }))),
        ("Lion", plain(Base::Lion(Lion::default()))),
        (
            "Adam without guard",
            Config {
                skip_non_finite: false,
                max_consecutive_skips: None,
                ..plain(Base::Adam(Adam::default()))
            },
        ),
    ]
}

/// What can be seen of an optimizer after some steps.
#[derive(Debug, PartialEq)]
struct Seen {
    params: Vec<u32>,
    orientation: Option<Vec<u32>>,
    telemetry: Vec<String>,
    evaluations: f64,
}

/// The losses are compared as bits, and what is no number as well.
fn words(telemetry: Vec<Telemetry>) -> Vec<String> {
    telemetry.iter().map(|record| format!("{record:?}")).collect()
}

fn alone_for(gpu: &Gpu, len: usize, config: &Config, steps: usize) -> Seen {
    let mut optimizer = Optimizer::new(gpu, layout(len), config.clone(), &start(len)).unwrap();
    let mut objective = Given::new();
    (0..steps).for_each(|_| optimizer.step(&mut objective).unwrap());
    seen_alone(&mut optimizer)
}

fn seen_alone(optimizer: &mut Optimizer) -> Seen {
    Seen {
        params: bits(&optimizer.read_params().unwrap()),
        orientation: optimizer.read_orientation().unwrap().map(|n| bits(&n)),
        telemetry: words(optimizer.telemetry().unwrap()),
        evaluations: optimizer.gradient_evaluations(),
    }
}

fn sharded<C: dimer::Collective>(
    gpu: &Gpu,
    len: usize,
    config: &Config,
    group: C,
) -> ShardedOptimizer<C> {
    ShardedOptimizer::new(gpu, layout(len), config.clone(), &start(len), group).unwrap()
}

fn seen(optimizer: &mut ShardedOptimizer<Threads>) -> Seen {
    Seen {
        params: bits(&optimizer.read_params().unwrap()),
        orientation: optimizer.read_orientation().unwrap().map(|n| bits(&n)),
        telemetry: words(optimizer.telemetry().unwrap()),
        evaluations: optimizer.gradient_evaluations(),
    }
}

fn assert_same(what: &str, seen: &Seen, expected: &Seen) {
    for (step, (seen, expected)) in seen.telemetry.iter().zip(&expected.telemetry).enumerate() {
        assert_eq!(seen, expected, "{what}, step {step}");
    }
    assert!(seen == expected, "{what}: parameters, orientation or counts");
}

/// All configurations with 1 to 4 ranks, to the bit: parameters, N, and every record.
#[test]
fn any_number_of_ranks_has_the_bits_of_one_device() {
    let gpu = quick_gpu();
    for (name, config) in configs() {
        let most = if LONG.contains(&name) { STEPS } else { STEPS / 4 };
        for (len, steps) in LENGTHS.into_iter().zip([20, most, 40]) {
            let expected = alone_for(&gpu, len, &config, steps);
            assert!(expected.telemetry.len() == steps, "{name}");
            for ranks in 1..=4 {
                let found = on_ranks(ranks, |group| {
                    let mut optimizer = sharded(&gpu, len, &config, group);
                    let mut objective = Given::new();
                    (0..steps).for_each(|_| optimizer.step(&mut objective).unwrap());
                    optimizer.check_ranks().unwrap();
                    seen(&mut optimizer)
                });
                for (rank, seen) in found.iter().enumerate() {
                    let what = format!("{name}, {len} elements, rank {rank} of {ranks}");
                    assert_same(&what, seen, &expected);
                }
            }
        }
    }
}

/// What the tests below train: events, a rate from curvature, and an active saddle-free step.
fn busy() -> Config {
    let dimer = with_dimer(Dimer::default()).dimer;
    Config { dimer, ..from_curvature(RateProbe::SeparateGradient) }
}

/// The saddle-free step acts in these tests, and events and measurements come.
#[test]
fn the_tests_see_what_a_step_can_do() {
    let gpu = quick_gpu();
    let mut optimizer = Optimizer::new(&gpu, layout(9001), busy(), &start(9001)).unwrap();
    let mut objective = Given::new();
    (0..STEPS).for_each(|_| optimizer.step(&mut objective).unwrap());
    let records = optimizer.telemetry().unwrap();
    assert!(records.iter().filter(|record| record.shift != 0.0).count() > 20);
    assert!(records.iter().filter(|record| record.event && record.curvature < 0.0).count() > 20);
    assert!(records.iter().filter(|record| record.rate_measured).count() > 20);
}

/// A checkpoint of four ranks goes on with two, with one, and in an optimizer that is not cut, and one of that goes on with
/// three: always with the bits of a run that was never interrupted.
#[test]
fn any_number_of_ranks_goes_on_from_any_other() {
    let gpu = quick_gpu();
    let len = 45_007;
    for config in [
        busy(),
        Config { storage: Storage::Bf16, ..busy() },
        from_curvature(RateProbe::RepeatedMinibatch),
    ] {
        let steps = 61;
        let mut whole = Optimizer::new(&gpu, layout(len), config.clone(), &start(len)).unwrap();
        let mut objective = Given::new();
        (0..2 * steps).for_each(|_| whole.step(&mut objective).unwrap());
        let expected = bits(&whole.read_params().unwrap());

        let folder = checkpoints::Scratch::new();
        let (file, of_one) = (folder.file(), folder.file().with_extension("one"));
        on_ranks(4, |group| {
            let mut optimizer = sharded(&gpu, len, &config, group);
            let mut objective = Given::new();
            (0..steps).for_each(|_| optimizer.step(&mut objective).unwrap());
            optimizer.save(&file).unwrap();
        });
        let mut one = Optimizer::new(&gpu, layout(len), config.clone(), &vec![0.0; len]).unwrap();
        one.load(&file).unwrap();
        one.save(&of_one).unwrap();
        let mut objective = Given::new();
        (0..steps).for_each(|_| one.step(&mut objective).unwrap());
        assert!(bits(&one.read_params().unwrap()) == expected, "one device: {config:?}");
        for (ranks, file) in [(2, &file), (1, &file), (3, &of_one)] {
            let found = on_ranks(ranks, |group| {
                let mut optimizer = sharded(&gpu, len, &config, group);
                optimizer.load(file).unwrap();
                let mut objective = Given::new();
                (0..steps).for_each(|_| optimizer.step(&mut objective).unwrap());
                bits(&optimizer.read_params().unwrap())
            });
            found.iter().for_each(|found| assert!(*found == expected, "{ranks} ranks: {config:?}"));
        }
    }
}

/// Slices that one binding cannot hold.
#[test]
fn slices_are_cut_to_the_limits_of_the_device() {
    let len = 200_003;
    // Of one tile, and of five with the workspace.
    let small = [(small_gpu(), rotating(Rotation::gradient(RotationRate::Automatic)))];
    let larger =
        gpu_with(|limits| wgpu::Limits { max_storage_buffer_binding_size: 1 << 20, ..limits });
    for (small, config) in small.into_iter().chain([(larger, busy())]) {
        let expected = alone_for(&small, len, &config, 12);
        let found = on_ranks(2, |group| {
            let mut optimizer = sharded(&small, len, &config, group);
            let mut objective = Given::new();
            (0..12).for_each(|_| optimizer.step(&mut objective).unwrap());
            seen(&mut optimizer)
        });
        found.iter().for_each(|found| assert_same("small bindings", found, &expected));
    }
}

/// A parameter that leaves f32 on one rank stops all, and a gradient that is not finite is skipped by all, as on one device.
#[test]
fn what_goes_wrong_in_one_slice_reaches_all() {
    let gpu = quick_gpu();
    let len = 9001;
    let config = Config {
        base: Base::Sgd(Sgd::default()),
        learning_rate: LearningRate::Fixed(3e20),
        weight_decay: 0.0,
        max_consecutive_skips: None,
        ..Config::default()
    };
    // An infinity in step 1, and in step 3 a step to beyond f32, both in the slice of the last rank.
    let wild = || {
        let mut calls = 0;
        HostObjective::new(move |_: &[f32], gradient: &mut [f32]| {
            gradient.fill(1e-22);
            gradient[9000] = match calls {
                1 => f32::INFINITY,
                3 => 1e19,
                _ => 0.0,
            };
            calls += 1;
            1.0
        })
    };
    let mut one =
        Optimizer::new(&gpu, Layout::flat(len).unwrap(), config.clone(), &vec![1.0; len]).unwrap();
    let mut objective = wild();
    (0..7).for_each(|_| one.step(&mut objective).unwrap());
    let (params, expected) = (bits(&one.read_params().unwrap()), one.telemetry().unwrap());
    let skipped: Vec<bool> = expected.iter().map(|record| record.skipped).collect();
    assert_eq!(skipped, [false, true, false, false, true, true, true]);
    let expected = words(expected);
    let found = on_ranks(3, |group| {
        let layout = Layout::flat(len).unwrap();
        let mut optimizer =
            ShardedOptimizer::new(&gpu, layout, config.clone(), &vec![1.0; len], group).unwrap();
        let mut objective = wild();
        (0..7).for_each(|_| optimizer.step(&mut objective).unwrap());
        let words = words(optimizer.telemetry().unwrap());
        let params = bits(&optimizer.read_params().unwrap());
        // Parameters that are written go on, and all ranks are alike.
        optimizer.write_params(&vec![1.0; len]).unwrap();
        optimizer.step(&mut objective).unwrap();
        assert!(!optimizer.telemetry().unwrap()[0].skipped);
        optimizer.check_ranks().unwrap();
        (params, words)
    });
    found.iter().for_each(|found| assert!(*found == (params.clone(), expected.clone())));
}

/// Where the objective fails, on every rank or on one, in whichever evaluation or before the first, all ranks get an error, and
/// the step is taken again to the bits of an undisturbed run.
#[test]
fn errors_reach_all_ranks() {
    let gpu = quick_gpu();
    let (len, steps) = (9001, 12);
    let expected = alone_for(&gpu, len, &busy(), steps);
    for (fails, which) in
        (0..12).flat_map(|fails| [(Some(fails), None), (Some(fails), Some(1)), (None, Some(2))])
    {
        let found = on_ranks(3, |group| {
            let mut optimizer = sharded(&gpu, len, &busy(), group);
            let rank = optimizer.group().rank();
            let is_hit = which.is_none_or(|which| which == rank);
            let mut objective = Given {
                fails: fails.filter(|_| is_hit),
                fails_to_begin: (is_hit && fails.is_none()).then_some(4),
                ..Given::new()
            };
            let mut errors = Vec::new();
            while optimizer.steps() < steps as u64 {
                errors.extend(optimizer.step(&mut objective).err());
                assert!(errors.len() < 2, "{errors:?}");
            }
            assert_eq!(errors.len(), 1, "{errors:?}");
            let (error, own) = (errors[0].to_string(), "the data ran out");
            assert!(matches!(errors[0], Error::Objective(_)) && error.contains(own), "{error}");
            if let Some(which) = which {
                assert_eq!(error.contains(&format!("on rank {which}: ")), rank != which, "{error}");
            }
            optimizer.check_ranks().unwrap();
            seen(&mut optimizer)
        });
        for found in found {
            let same = found.params == expected.params && found.orientation == expected.orientation;
            assert!(same, "{fails:?} {which:?}");
        }
    }
}

/// A rank that leaves is an error on the others; their state is of no use until one is loaded.
#[test]
fn a_rank_that_leaves_is_noticed() {
    let gpu = quick_gpu();
    let len = 9001;
    for leaves in [0, 1, 5] {
        let found = on_ranks(3, |group| {
            let mut optimizer = sharded(&gpu, len, &busy(), group);
            let mut objective = Given::new();
            (0..leaves).for_each(|_| optimizer.step(&mut objective).unwrap());
            if optimizer.group().rank() == 1 {
                return Vec::new();
            }
            let first = optimizer.step(&mut objective).unwrap_err();
            let after = [
                optimizer.step(&mut objective).unwrap_err(),
                optimizer.save("/nowhere").unwrap_err(),
                optimizer.check_ranks().unwrap_err(),
                optimizer.read_orientation().unwrap_err(),
            ];
            let mut words = vec![first.to_string()];
            words.extend(after.map(|error| error.to_string()));
            words
        });
        for words in found.iter().filter(|words| !words.is_empty()) {
            assert!(words[0].contains("rank 1 has left"), "{words:?}");
            assert!(words[1..].iter().all(|words| words.contains("half taken")), "{words:?}");
        }
    }
}

/// Ranks that part are told in which way, whatever the numbers that they gather; a checkpoint brings them together again.
#[test]
fn ranks_that_part_are_told() {
    let gpu = quick_gpu();
    let len = 9001;
    let scratch = checkpoints::Scratch::new();
    let config = with_dimer(Dimer::default());
    type Parts = fn(&mut ShardedOptimizer<Threads>, &mut Given) -> dimer::Result<()>;
    let cases: [(&str, Parts); 5] = [
        ("another kind of step", |optimizer, objective| {
            optimizer.set_learning_rate(1e-4)?;
            optimizer.step(objective)
        }),
        ("another kind of step", |optimizer, objective| {
            optimizer.set_rate_factor(0.5)?;
            optimizer.step(objective)
        }),
        ("another kind of step", |optimizer, objective| {
            optimizer.set_loss_scale(2.0)?;
            optimizer.step(objective)
        }),
        ("another kind of step", |optimizer, objective| optimizer.rotate(objective)),
        ("the loss of rank", |optimizer, objective| {
            objective.loss = 1.0;
            optimizer.step(objective)
        }),
    ];
    for (case, (words, parts)) in cases.into_iter().enumerate() {
        let file = scratch.file().with_extension(case.to_string());
        on_ranks(2, |group| {
            let mut optimizer = sharded(&gpu, len, &config, group);
            let mut objective = Given::new();
            (0..4).for_each(|_| optimizer.step(&mut objective).unwrap());
            optimizer.save(&file).unwrap();
            let outcome = match optimizer.group().rank() {
                0 => optimizer.step(&mut objective),
                _ => parts(&mut optimizer, &mut objective),
            };
            // A rotation ends where a step still gathers the parameters.
            let error = match outcome {
                Ok(()) => optimizer.step(&mut objective).unwrap_err(),
                Err(error) => error,
            };
            assert!(matches!(error, Error::Collective { .. }), "{error}");
            assert!(error.to_string().contains(words), "{error}");
            optimizer.load(&file).unwrap();
            optimizer.step(&mut Given::new()).unwrap();
            optimizer.check_ranks().unwrap();
        });
    }
    // What is written must be the same.
    on_ranks(2, |group| {
        let mut optimizer = sharded(&gpu, len, &config, group);
        let other = optimizer.group().rank() as f32;
        let mut values = start(len);
        values[8] += other;
        let written = optimizer.write_params(&values).unwrap_err().to_string();
        assert!(written.contains("the parameters to write"), "{written}");
        let written = optimizer.write_orientation(&values).unwrap_err().to_string();
        assert!(written.contains("the orientation to write"), "{written}");
        optimizer.write_orientation(&start(len)).unwrap();
        optimizer.step(&mut Given::new()).unwrap();
    });
}

/// Too many skips are told to all ranks at the same step, although one of them waits for its telemetry, and they can go on.
#[test]
fn too_many_skips_come_at_the_same_step() {
    let gpu = quick_gpu();
    let config = Config { max_consecutive_skips: Some(7), ..with_dimer(Dimer::default()) };
    let found = on_ranks(3, |group| {
        let mut optimizer = sharded(&gpu, 9001, &config, group);
        let mut nothing = HostObjective::new(|_: &[f32], gradient: &mut [f32]| {
            gradient.fill(f32::NAN);
            0.0
        });
        let mut ends = Vec::new();
        for _ in 0..40 {
            let outcome = optimizer.step(&mut nothing);
            if let Err(error) = outcome {
                assert!(matches!(error, Error::TooManySkips { .. }), "{error}");
                ends.push(optimizer.steps());
            }
            if optimizer.group().rank() == 0 {
                optimizer.telemetry().unwrap();
            }
        }
        optimizer.step(&mut Given::new()).unwrap();
        optimizer.check_ranks().unwrap();
        ends
    });
    assert!(found[0].len() >= 2, "{found:?}");
    assert!(found.iter().all(|ends| *ends == found[0]), "{found:?}");
}

/// Rotations by themselves, a schedule that looks at losses, an N that is set, a gradient at a probe that is none, and tiles
/// whose sums are added once.
#[test]
fn what_steps_seldom_do_has_the_same_bits() {
    let gpu = quick_gpu();
    let mut tuning = *gpu.tuning();
    tuning.reread_tiles = 1;
    let adding = gpu.with_tuning(tuning).unwrap();
    let len = 45_007;
    let plateau = OnPlateau::default();
    let flat = Dimer { schedule: Schedule::OnPlateau(plateau), ..Dimer::default() };
    let configs = [
        Config { max_gradient_norm: Some(0.5), ..busy() },
        Config {
            dimer: with_dimer(Dimer::default()).dimer,
            ..from_curvature(RateProbe::RepeatedMinibatch)
        },
        Config { dimer: Some(flat), ..with_dimer(Dimer::default()) },
    ];
    for (gpu, config) in
        [&gpu, &adding].into_iter().flat_map(|gpu| configs.iter().map(move |config| (gpu, config)))
    {
        let mut one = Optimizer::new(gpu, layout(len), config.clone(), &start(len)).unwrap();
        one.write_orientation(&start(len)).unwrap();
        let mut objective = Given { poisons: Some(9), ..Given::new() };
        (0..25).for_each(|_| one.step(&mut objective).unwrap());
        (0..3).for_each(|_| one.rotate(&mut objective).unwrap());
        (0..5).for_each(|_| one.step(&mut objective).unwrap());
        let expected = seen_alone(&mut one);
        assert_eq!(one.telemetry().unwrap().len(), 0);
        let found = on_ranks(3, |group| {
            let mut optimizer = sharded(gpu, len, config, group);
            optimizer.write_orientation(&start(len)).unwrap();
            let mut objective = Given { poisons: Some(9), ..Given::new() };
            (0..25).for_each(|_| optimizer.step(&mut objective).unwrap());
            (0..3).for_each(|_| optimizer.rotate(&mut objective).unwrap());
            (0..5).for_each(|_| optimizer.step(&mut objective).unwrap());
            seen(&mut optimizer)
        });
        found.iter().for_each(|found| assert_same("seldom", found, &expected));
    }
}

/// Shares of a batch: the mean over the ranks, with one device that is given the same.
#[test]
fn ranks_share_the_batch_as_well() {
    let gpu = quick_gpu();
    let len = 9001;
    let objectives = Threads::group(2).unwrap();
    let objectives = std::sync::Mutex::new(objectives.into_iter().map(Some).collect::<Vec<_>>());
    let quadratic =
        |rank: u32| quadratic((0..9001).map(|i| ((i + rank) % 7) as f32 - 2.0).collect());
    let found = on_ranks(2, |group| {
        let rank = group.rank();
        let other = objectives.lock().unwrap()[rank as usize].take().unwrap();
        let mut optimizer = sharded(&gpu, len, &busy(), group);
        let mut objective = optimizer.data_parallel(quadratic(rank), other).unwrap();
        (0..40).for_each(|_| optimizer.step(&mut objective).unwrap());
        optimizer.check_ranks().unwrap();
        bits(&optimizer.read_params().unwrap())
    });
    assert!(found[0] == found[1]);
    let expected = on_ranks(2, |group| {
        let rank = group.rank();
        let mut optimizer = Optimizer::new(&gpu, layout(len), busy(), &start(len)).unwrap();
        let mut objective = optimizer.data_parallel(quadratic(rank), group).unwrap();
        (0..40).for_each(|_| optimizer.step(&mut objective).unwrap());
        bits(&optimizer.read_params().unwrap())
    });
    assert!(found == expected);
}

/// What cannot be cut, and ranks that are not alike, are refused on every rank, with what to do.
#[test]
fn refuses_what_cannot_be_cut() {
    let gpu = quick_gpu();
    let len = 9001;
    let errors = |made: &(dyn Fn(Threads) -> dimer::Result<()> + Sync)| -> Vec<String> {
        let errors = on_ranks(2, |group| made(group).unwrap_err().to_string());
        errors.into_iter().collect()
    };
    let with = |config: Config, params: Vec<f32>, group| {
        ShardedOptimizer::new(&gpu, layout(len), config, &params, group).map(drop)
    };
    let scope = with_dimer(Dimer { scope: Scope::PerTensor, ..Dimer::default() });
    for error in errors(&|group| with(scope.clone(), start(len), group)) {
        assert!(error.contains("Global"), "{error}");
    }
    // The parameters of one rank, and its settings.
    for error in errors(&|group| {
        let mut params = start(len);
        params[8999] += group.rank() as f32;
        with(busy(), params, group)
    }) {
        assert!(error.contains("params/last"), "{error}");
    }
    for error in errors(&|group| {
        let weight_decay = 0.1 * f64::from(group.rank());
        with(Config { weight_decay, ..busy() }, start(len), group)
    }) {
        assert!(error.contains("weight_decay"), "{error}");
    }
    // One that cannot make its optimizer at all.
    for error in errors(&|group| {
        let len = len - group.rank() as usize;
        with(busy(), start(len), group)
    }) {
        assert!(error.contains("9000"), "{error}");
    }
    // A folder that is not there.
    for error in errors(&|group| {
        let mut optimizer = sharded(&gpu, len, &busy(), group);
        optimizer.save("/nowhere/at/all")
    }) {
        assert!(error.contains("/nowhere/at"), "{error}");
    }
}

/// What each rank allocates, by wgpu's own count on a device of its own: 16 bytes per parameter that are whole, and its share
/// of the 36 of N, moments and workspace.
#[test]
fn state_falls_by_the_number_of_ranks() {
    let [short, long] = [1_000_000, 2_000_000];
    let config = Config {
        learning_rate: LearningRate::Fixed(1e-3),
        dimer: Some(Dimer::default()),
        ..Config::default()
    };
    for ranks in [1, 2, 4] {
        let bytes = on_ranks(ranks, |mut group| {
            let gpu = gpu_with(|limits| limits);
            let memory = || counted(&gpu)[7] as f64;
            // What does not depend on the length falls out.
            let [short, long] = [short, long].map(|len| {
                let before = memory();
                let layout = Layout::flat(len).unwrap();
                let params = vec![0.1; len];
                let optimizer =
                    ShardedOptimizer::new(&gpu, layout, config.clone(), &params, &mut group);
                let bytes = memory() - before;
                drop(optimizer.unwrap());
                bytes
            });
            (long - short) / 1e6
        });
        // Slices are whole tiles, so that those of the first ranks are longer; and there is a table of blocks.
        let (expected, all) = (16.0 + 36.0 / f64::from(ranks), bytes.iter().sum::<f64>());
        let mean = all / f64::from(ranks);
        assert!((mean - expected - 4.0 / 64.0).abs() < 0.01, "{bytes:?} on {ranks} ranks");
        assert!(bytes.iter().all(|bytes| bytes - expected < 2.0), "{bytes:?} on {ranks} ranks");
    }
}
