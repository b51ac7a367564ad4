//! Ranks that train one set of parameters: the same bits on each, near those of one device; errors of one rank reach all.

use crate::common::*;
use crate::matrix::Matrix;
use dimer::{
    Accumulated, Collective, Config, CurvatureRate, DataParallel, Difference, Dimer, Displacement,
    Error, Evaluation, Gpu, Group, HessianProduct, HostObjective, Layout, LearningRate, Mode,
    Objective, Optimizer, Point, RateProbe, Regime, Rotation, Schedule, Spectrum, SpectrumConfig,
    StepInfo, Telemetry, Threads, Tuning,
};

const LEN: usize = 83;

fn layout() -> Layout {
    let mut builder = Layout::builder();
    builder.tensor("a", &[3]).tensor("b", &[10, 7]).tensor("c", &[10]);
    builder.build().unwrap()
}

/// ½ Σ hᵢ (θᵢ − cᵢ)² with an h and a c of each rank's own, in every other step with −c; and where it fails.
struct Share {
    h: Vec<f64>,
    c: Vec<f64>,
    /// In which evaluation, counted from 0 over all steps, or in which step before it begins.
    fails: Option<Fails>,
    /// Whose gradient is not a number.
    poisons: Option<usize>,
    evaluations: usize,
    steps: usize,
    supplies_loss: bool,
    sign: f64,
}

#[derive(Clone, Copy, Debug)]
enum Fails {
    /// Before it reads anything, or afterwards.
    Early(usize),
    Late(usize),
    Begin(usize),
}

impl Share {
    fn new(seed: u64, rank: u32) -> Self {
        let mut rng = rng(seed + u64::from(rank));
        let mut draw = |kind| wide(&vector(&mut rng, LEN, kind));
        let (h, c) = (draw(Kind::Plain), draw(Kind::Plain));
        let h = h.iter().map(|h| 1.5 + h).collect();
        let (fails, poisons) = (None, None);
        Self { h, c, fails, poisons, evaluations: 0, steps: 0, supplies_loss: true, sign: 1.0 }
    }

    fn gradient_at(&self, theta: &[f64]) -> Vec<f64> {
        let parts = theta.iter().zip(&self.h).zip(&self.c);
        parts.map(|((x, h), c)| h * (x - self.sign * c)).collect()
    }

    fn fail(&self, fails: bool) -> dimer::Result<()> {
        if fails { Err(Error::objective("the data loader gave up")) } else { Ok(()) }
    }

    fn loss_at(&self, theta: &[f64]) -> f64 {
        let parts = theta.iter().zip(&self.h).zip(&self.c);
        parts.map(|((x, h), c)| 0.5 * h * (x - self.sign * c).powi(2)).sum()
    }
}

impl Objective for Share {
    fn begin_step(&mut self, step: StepInfo) -> dimer::Result<()> {
        let minibatch = step.index - u64::from(step.repeats_minibatch);
        self.sign = if minibatch.is_multiple_of(2) { 1.0 } else { -1.0 };
        self.steps += 1;
        match self.fails {
            Some(Fails::Begin(step)) if step == self.steps - 1 => {
                Err(Error::objective("the shelf is empty"))
            }
            _ => Ok(()),
        }
    }

    fn gradient(&mut self, mut at: Evaluation<'_>) -> dimer::Result<()> {
        self.evaluations += 1;
        let call = self.evaluations - 1;
        self.fail(matches!(self.fails, Some(Fails::Early(fails)) if fails == call))?;
        let theta = wide(&at.read_params()?);
        self.fail(matches!(self.fails, Some(Fails::Late(fails)) if fails == call))?;
        let mut gradient: Vec<f32> = self.gradient_at(&theta).iter().map(|g| *g as f32).collect();
        if self.poisons == Some(self.evaluations - 1) {
            gradient[7] = f32::NAN;
        }
        if self.supplies_loss {
            at.write_loss(self.loss_at(&theta) as f32);
        }
        at.write_gradient(&gradient)
    }

    fn hessian_product(&mut self, mut at: HessianProduct<'_>) -> dimer::Result<()> {
        self.evaluations += 1;
        let call = self.evaluations - 1;
        self.fail(matches!(self.fails, Some(Fails::Early(fails)) if fails == call))?;
        let (_, direction) = at.read()?;
        self.fail(matches!(self.fails, Some(Fails::Late(fails)) if fails == call))?;
        let product: Vec<f32> =
            direction.iter().zip(&self.h).map(|(d, h)| (f64::from(*d) * h) as f32).collect();
        at.write(&product)
    }

    fn supplies_loss(&self) -> bool {
        self.supplies_loss
    }
}

/// The mean of all shares, in f64.
struct Undivided {
    shares: Vec<Share>,
}

impl Undivided {
    fn mean(&self, of: impl Fn(&Share) -> Vec<f64>) -> Vec<f32> {
        let mut sum = vec![0.0; LEN];
        for share in &self.shares {
            sum.iter_mut().zip(of(share)).for_each(|(sum, x)| *sum += x);
        }
        sum.iter().map(|sum| (sum / self.shares.len() as f64) as f32).collect()
    }
}

impl Objective for Undivided {
    fn begin_step(&mut self, step: StepInfo) -> dimer::Result<()> {
        self.shares.iter_mut().try_for_each(|share| share.begin_step(step))
    }

    fn gradient(&mut self, mut at: Evaluation<'_>) -> dimer::Result<()> {
        let theta = wide(&at.read_params()?);
        at.write_loss(self.mean(|share| vec![share.loss_at(&theta); LEN])[0]);
        at.write_gradient(&self.mean(|share| share.gradient_at(&theta)))
    }

    fn hessian_product(&mut self, mut at: HessianProduct<'_>) -> dimer::Result<()> {
        let direction = wide(&at.read()?.1);
        at.write(&self.mean(|share| direction.iter().zip(&share.h).map(|(d, h)| d * h).collect()))
    }

    fn supplies_loss(&self) -> bool {
        true
    }
}

fn configs() -> Vec<Config> {
    let stochastic = Rotation::locally_optimal(Regime::Stochastic);
    let dimer = |rotation| Dimer {
        rotation,
        schedule: Schedule::Every(3),
        displacement: Displacement::Absolute(0.5),
        ..Dimer::default()
    };
    let rate = |probe| {
        let (interval, burn_in) = (4, 3);
        LearningRate::Curvature(CurvatureRate {
            probe,
            interval,
            burn_in,
            ..CurvatureRate::default()
        })
    };
    let with = |dimer| Config { dimer: Some(dimer), ..fixed_rate() };
    let alone = Config { dimer: None, ..fixed_rate() };
    vec![
        alone.clone(),
        with(dimer(stochastic)),
        with(dimer(Rotation::locally_optimal(Regime::rotations(3)))),
        with(Dimer { difference: Difference::Central, ..dimer(stochastic) }),
        with(Dimer { difference: Difference::Exact, ..dimer(stochastic) }),
        with(Dimer { displacement: Displacement::Automatic, ..dimer(stochastic) }),
        Config { learning_rate: rate(RateProbe::SeparateGradient), ..alone.clone() },
        Config { learning_rate: rate(RateProbe::RepeatedMinibatch), ..alone },
    ]
}

fn start() -> Vec<f32> {
    vector(&mut rng(1), LEN, Kind::Plain)
}

fn make(gpu: &Gpu, config: &Config) -> Optimizer {
    Optimizer::new(gpu, layout(), config.clone(), &start()).unwrap()
}

/// What a rank ends with.
type End = ((Vec<u32>, Vec<u32>), Vec<Telemetry>);

fn train(gpu: &Gpu, config: &Config, objective: &mut impl Objective, steps: usize) -> End {
    train_on(&mut make(gpu, config), objective, steps)
}

fn train_on(optimizer: &mut Optimizer, objective: &mut impl Objective, steps: usize) -> End {
    for _ in 0..steps {
        optimizer.step(objective).unwrap();
    }
    (state(optimizer), optimizer.telemetry().unwrap())
}

/// The same by the mean of all ranks.
fn train_ranks(gpu: &Gpu, config: &Config, share: Share, group: Threads, steps: usize) -> End {
    let mut optimizer = make(gpu, config);
    let mut objective = optimizer.data_parallel(share, group).unwrap();
    train_on(&mut optimizer, &mut objective, steps)
}

/// One rank is a run without a group, to the bit; several have the same bits, and follow the mean in f64. A mean is off by
/// 6 units of gradients up to 5, and AdamW makes of it a direction of size 1: where |g| is above 0.002, as in all but a few
/// steps of a few elements, it is off by less than a thousandth of a step.
#[test]
fn ranks_have_the_bits_of_one_another() {
    let seed: u64 = rand::random::<u32>().into();
    let gpu = gpu();
    for config in configs() {
        println!("{config:?}");
        let alone = train(&gpu, &config, &mut Share::new(seed, 0), 24);
        let one = on_ranks(1, |group| {
            train_ranks(&gpu, &config, Share::new(seed, group.rank()), group, 24)
        });
        assert_eq!(one, [alone]);
        for size in [2, 3, 4] {
            let ranks = on_ranks(size, |group| {
                let share = Share::new(seed, group.rank());
                train_ranks(&gpu, &config, share, group, 24)
            });
            assert!(ranks.iter().all(|rank| *rank == ranks[0]), "of {size}");
            let shares = (0..size).map(|rank| Share::new(seed, rank)).collect();
            let mut undivided = Undivided { shares };
            let (expected, records) = train(&gpu, &config, &mut undivided, 24);
            let theta =
                |bits: &[u32]| bits.iter().map(|bits| f32::from_bits(*bits)).collect::<Vec<_>>();
            let rate = records.iter().map(|record| f64::from(record.learning_rate)).sum::<f64>();
            let bound = 1e-3 * rate;
            assert_all_within("θ", &theta(&ranks[0].0.0), &wide(&theta(&expected.0)), |_| bound);
            for (record, expected) in ranks[0].1.iter().zip(&records) {
                let (loss, expected) = (record.loss.map(f64::from), expected.loss.map(f64::from));
                assert_eq!(loss.is_some(), expected.is_some());
                let (loss, expected) = (loss.unwrap_or(0.0), expected.unwrap_or(0.0));
                assert_within("loss", loss, expected, 1e-4 * expected.abs());
            }
        }
    }
}

#[test]
fn shares_can_be_weighted() {
    let (weights, gpu) = ([1.0, 5.0, 2.0], gpu());
    let config = Config {
        base: SGD,
        learning_rate: LearningRate::Fixed(1.0),
        weight_decay: 0.0,
        dimer: None,
        ..fixed_rate()
    };
    let ranks = on_ranks(3, |group| {
        let share = Share::new(9, group.rank());
        let weight = weights[group.rank() as usize];
        let mut optimizer = make(&gpu, &config);
        let mut mean = optimizer.data_parallel(share, group).unwrap();
        mean.set_weight(weight).unwrap();
        train_on(&mut optimizer, &mut mean, 1).0
    });
    assert!(ranks.iter().all(|rank| *rank == ranks[0]));
    let shares: Vec<_> = (0..3).map(|rank| Share::new(9, rank)).collect();
    let theta = wide(&start());
    let mut expected = theta.clone();
    for (share, weight) in shares.iter().zip(weights) {
        let gradient = share.gradient_at(&theta);
        expected.iter_mut().zip(gradient).for_each(|(x, g)| *x -= weight / 8.0 * g);
    }
    let found: Vec<f32> = ranks[0].0.iter().map(|bits| f32::from_bits(*bits)).collect();
    // Three gradients up to 5, each rounded with its share, and the step.
    assert_all_within("θ", &found, &expected, |_| 12.0 * UNIT * 5.0);
    for bad in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        let errors = on_ranks(2, |group| {
            let weight = if group.rank() == 1 { bad } else { 1.0 };
            let mut mean = make(&gpu, &config).gradient_mean(group).unwrap();
            mean.set_weight(weight).unwrap_err().to_string()
        });
        assert!(errors.iter().all(|error| error.contains("on rank 1")), "{errors:?}");
    }
}

/// Wherever the objective of one rank fails, all ranks' steps end with its words, nothing changes, and a retry gives the
/// bits of an undisturbed run.
#[test]
fn one_that_fails_is_told_to_all() {
    let gpu = gpu();
    for config in configs() {
        let share = |group: &Threads| Share::new(20, group.rank());
        let undisturbed = on_ranks(3, |group| train_ranks(&gpu, &config, share(&group), group, 7));
        let fails = [
            (0, Fails::Begin(0)),
            (1, Fails::Begin(3)),
            (2, Fails::Early(0)),
            (1, Fails::Late(5)),
            (0, Fails::Early(7)),
        ];
        for (rank, fails) in fails {
            let disturbed = on_ranks(3, |group| {
                let mut optimizer = make(&gpu, &config);
                let mut objective = optimizer.data_parallel(share(&group), group).unwrap();
                if objective.group().rank() == rank {
                    objective.objective_mut().fails = Some(fails);
                }
                let mut errors = Vec::new();
                while optimizer.steps() < 7 {
                    let before = (state(&optimizer), optimizer.steps());
                    if let Err(error) = optimizer.step(&mut objective) {
                        assert_eq!((state(&optimizer), optimizer.steps()), before);
                        assert!(matches!(error, Error::Objective(_)), "{error}");
                        errors.push(error.to_string());
                    }
                }
                let records = optimizer.telemetry().unwrap();
                ((state(&optimizer), records), errors)
            });
            for (other, ((end, errors), expected)) in disturbed.iter().zip(&undisturbed).enumerate()
            {
                // Without a dimer there are but seven evaluations.
                if errors.is_empty() {
                    assert!(matches!(fails, Fails::Early(7)), "{config:?}");
                    continue;
                }
                assert_eq!(errors.len(), 1, "{errors:?}");
                let word = if matches!(fails, Fails::Begin(_)) { "shelf" } else { "loader" };
                assert!(errors[0].contains(word), "{errors:?}");
                let names_rank = errors[0].contains(&format!("on rank {rank}"));
                assert_eq!(names_rank, other as u32 != rank, "{errors:?}");
                assert_eq!(end, expected);
            }
        }
    }
}

/// The same in the rotations of a spectrum, which change what they work on as they go: the ranks go on alike.
#[test]
fn a_spectrum_goes_on_alike() {
    let gpu = gpu();
    let config = Config { dimer: Some(Dimer::default()), ..fixed_rate() };
    for difference in [Difference::Forward, Difference::Central, Difference::Exact] {
        for fails in [Fails::Begin(1), Fails::Early(9), Fails::Late(9), Fails::Early(14)] {
            let ranks = on_ranks(2, |group| {
                let mut share = Share::new(40, group.rank());
                if group.rank() == 1 {
                    share.fails = Some(fails);
                }
                let mut optimizer = make(&gpu, &config);
                let mut objective = optimizer.data_parallel(share, group).unwrap();
                let displacement = Displacement::Absolute(1.0);
                let settings =
                    SpectrumConfig { lowest: 2, displacement, difference, ..Default::default() };
                let mut spectrum = Spectrum::with_config(&mut optimizer, settings).unwrap();
                let mut failures = 0;
                let mut done = 0;
                while done < 4 {
                    match spectrum.rotate(&mut objective, 4) {
                        Ok(()) => done += 1,
                        Err(error) => {
                            assert!(matches!(error, Error::Objective(_)), "{error}");
                            failures += 1;
                        }
                    }
                }
                assert_eq!(failures, 1, "{difference:?}, {fails:?}");
                let found = spectrum.read().unwrap();
                found.iter().flat_map(|mode| bits(&mode.orientation)).collect::<Vec<_>>()
            });
            assert_eq!(ranks[0], ranks[1], "{difference:?}, {fails:?}");
        }
    }
}

#[test]
fn a_nan_on_one_rank_skips_the_step_on_all() {
    let gpu = gpu();
    let config = Config { dimer: None, ..fixed_rate() };
    let ranks = on_ranks(4, |group| {
        let mut share = Share::new(3, group.rank());
        if group.rank() == 2 {
            share.poisons = Some(4);
        }
        train_ranks(&gpu, &config, share, group, 8)
    });
    for rank in &ranks {
        assert_eq!(rank.0, ranks[0].0);
        let skipped: Vec<bool> = rank.1.iter().map(|record| record.skipped).collect();
        assert_eq!(skipped, (0..8).map(|step| step == 4).collect::<Vec<_>>());
    }
}

/// A rank that leaves, or that does something else, is an error on the others, which do not wait for ever.
#[test]
fn ranks_that_part_are_an_error() {
    let gpu = gpu();
    let config = Config { dimer: Some(Dimer::default()), ..fixed_rate() };
    type Ranks = DataParallel<Share, Threads>;
    type Work = dyn Fn(u32, &mut Optimizer, &mut Ranks) -> dimer::Result<()> + Sync;
    let part = |what: &Work| {
        on_ranks(3, |group| {
            let rank = group.rank();
            let mut optimizer = make(&gpu, &config);
            let mut objective = optimizer.data_parallel(Share::new(3, rank), group).unwrap();
            for _ in 0..3 {
                optimizer.step(&mut objective).unwrap();
            }
            what(rank, &mut optimizer, &mut objective).map_err(|error| {
                assert!(matches!(error, Error::Collective { .. }), "{error}");
                error.to_string()
            })
        })
    };
    let left = part(&|rank, optimizer, objective| match rank {
        1 => Ok(()),
        _ => optimizer.step(objective),
    });
    for rank in [0, 2] {
        assert!(left[rank].as_ref().unwrap_err().contains("rank 1 has left"), "{left:?}");
    }
    // A rotation where the others take a step.
    let apart = part(&|rank, optimizer, objective| {
        if rank == 1 {
            optimizer.rotate(objective)?;
        }
        optimizer.step(objective)?;
        optimizer.step(objective)
    });
    assert!(apart.iter().all(Result::is_err), "{apart:?}");
    assert!(apart.iter().any(|it| it.as_ref().unwrap_err().contains("of step")), "{apart:?}");
    // The same at a step that is an event, and settings of one rank's own.
    let apart = part(&|rank, optimizer, objective| {
        while optimizer.steps() < 50 {
            optimizer.step(objective).unwrap();
        }
        if rank == 1 { optimizer.rotate(objective) } else { optimizer.step(objective) }
    });
    assert!(apart.iter().all(|it| it.as_ref().unwrap_err().contains("checksum")), "{apart:?}");
    type Change = dyn Fn(&mut Optimizer) -> dimer::Result<()> + Sync;
    let changes: [&Change; 3] = [
        &|optimizer| optimizer.set_learning_rate(0.5),
        &|optimizer| optimizer.set_rate_factor(0.5),
        &|optimizer| optimizer.set_loss_scale(2.0),
    ];
    for change in changes {
        let apart = part(&|rank, optimizer, objective| {
            if rank == 1 {
                change(optimizer).unwrap();
            }
            optimizer.step(objective)
        });
        assert!(apart.iter().all(|it| it.as_ref().unwrap_err().contains("checksum")), "{apart:?}");
    }
    // Spectra of other settings, and a second dimer of one rank's own.
    let apart = part(&|rank, optimizer, objective| {
        let settings = SpectrumConfig { seed: rank.into(), ..SpectrumConfig::default() };
        Spectrum::with_config(optimizer, settings)?.rotate(objective, 2)
    });
    assert!(apart.iter().all(|it| it.as_ref().unwrap_err().contains("checksum")), "{apart:?}");
    let apart = part(&|rank, optimizer, objective| {
        let mut spectrum = Spectrum::new(optimizer, 1, 0)?;
        spectrum.density(objective, 1, 2 + rank).map(drop)
    });
    assert!(apart.iter().all(|it| it.as_ref().unwrap_err().contains("checksum")), "{apart:?}");
    let apart = part(&|rank, optimizer, objective| {
        let seed = u64::from(rank == 1);
        let mut second =
            optimizer.second_dimer(Dimer { seeks: Mode::Stiffest, seed, ..Dimer::default() })?;
        optimizer.rotate_both(&mut second, objective)
    });
    assert!(apart.iter().all(|it| it.as_ref().unwrap_err().contains("checksum")), "{apart:?}");
    // A loss on two of them.
    let losses = part(&|rank, optimizer, objective| {
        objective.objective_mut().supplies_loss = rank != 1;
        optimizer.step(objective)
    });
    assert!(losses.iter().all(|it| it.as_ref().unwrap_err().contains("losses")), "{losses:?}");
}

/// What a rank cannot try again ends it for all; each later call says so.
#[test]
fn what_ends_a_group() {
    struct Lost;
    impl Objective for Lost {
        fn gradient(&mut self, _at: Evaluation<'_>) -> dimer::Result<()> {
            Err(Error::unsupported("a test", "this rank", "take another"))
        }
    }
    let gpu = gpu();
    let config = Config { dimer: None, ..fixed_rate() };
    let errors = on_ranks(2, |group| {
        let mut optimizer = make(&gpu, &config);
        if group.rank() == 0 {
            let mut objective = optimizer.data_parallel(Lost, group).unwrap();
            [(); 2].map(|()| optimizer.step(&mut objective).unwrap_err())
        } else {
            let share = Share { supplies_loss: false, ..Share::new(1, 1) };
            let mut objective = optimizer.data_parallel(share, group).unwrap();
            [(); 2].map(|()| optimizer.step(&mut objective).unwrap_err())
        }
    });
    assert!(errors[0].iter().all(|error| matches!(error, Error::Unsupported { .. })), "{errors:?}");
    for error in &errors[1] {
        assert!(matches!(error, Error::Collective { .. }), "{errors:?}");
        assert!(error.to_string().contains("on rank 0: a test"), "{errors:?}");
    }
}

/// Where two ranks fail at once, what cannot be tried again decides; in a group that is broken, an objective's own error is no
/// reason to try again.
#[test]
fn the_worst_error_counts() {
    struct Fails(fn() -> Error);
    impl Objective for Fails {
        fn gradient(&mut self, _at: Evaluation<'_>) -> dimer::Result<()> {
            Err((self.0)())
        }
    }
    let gpu = gpu();
    let config = Config { dimer: None, ..fixed_rate() };
    let errors = on_ranks(3, |group| {
        let mut optimizer = make(&gpu, &config);
        let fails = Fails(match group.rank() {
            2 => || Error::unsupported("a test", "this rank", "take another"),
            _ => || Error::objective("no data"),
        });
        let mut objective = optimizer.data_parallel(fails, group).unwrap();
        [(); 2].map(|()| optimizer.step(&mut objective).unwrap_err())
    });
    for error in errors[..2].iter().flatten() {
        assert!(matches!(error, Error::Collective { .. }), "{errors:?}");
        assert!(error.to_string().contains("on rank 2: a test"), "{errors:?}");
        assert!(error.to_string().contains("no data"), "{errors:?}");
    }
    assert!(matches!(errors[2][0], Error::Unsupported { .. }), "{errors:?}");
}

/// A thread that panics takes its rank with it.
#[test]
fn a_panic_is_no_wait_for_ever() {
    let results: Vec<_> = std::thread::scope(|scope| {
        let ranks = Threads::group(3).unwrap().into_iter();
        let sum = |mut group: Threads| {
            assert!(group.rank() != 1, "a panic of one rank");
            group.sum(&mut [1.0])
        };
        let ranks: Vec<_> = ranks.map(|rank| scope.spawn(move || sum(rank))).collect();
        ranks.into_iter().map(|rank| rank.join()).collect()
    });
    assert!(results[1].is_err());
    for rank in [0, 2] {
        let error = results[rank].as_ref().unwrap().as_ref().unwrap_err().to_string();
        assert!(error.contains("rank 1 has left"), "{error}");
    }
}

/// Objectives around one another: a sum over minibatches on each rank, a check, and a spectrum.
#[test]
fn objectives_around_objectives() {
    let gpu = gpu();
    let config = Config { dimer: Some(Dimer::default()), ..fixed_rate() };
    let eigenvalues: Vec<f64> = (0..LEN).map(|i| i as f64 / 8.0 - 2.0).collect();
    let matrix = Matrix::new(&mut rng(8), eigenvalues.clone());
    let found = on_ranks(2, |group| {
        let mut optimizer = make(&gpu, &config);
        // The Hessians of the ranks differ, and their mean is that of the matrix.
        let sign = if group.rank() == 0 { 1.0 } else { -1.0 };
        let one = HostObjective::new(|theta: &[f32], gradient: &mut [f32]| {
            let product = matrix.product(theta).into_iter().zip(theta);
            let all = product.map(|(h, x)| (h + sign * 3.0 * f64::from(*x)) as f32);
            gradient.iter_mut().zip(all).for_each(|(g, x)| *g = x);
            0.0
        });
        let several = Accumulated::new(one, 2).unwrap();
        let mut objective = optimizer.data_parallel(several, group).unwrap();
        optimizer.check_objective(&mut objective).unwrap();
        let mut spectrum = Spectrum::new(&mut optimizer, 2, 5).unwrap();
        spectrum.rotate(&mut objective, 40).unwrap();
        spectrum.read().unwrap().iter().map(|mode| mode.curvature).collect::<Vec<_>>()
    });
    assert_eq!(found[0], found[1]);
    for (curvature, expected) in found[0].iter().zip(&eigenvalues) {
        assert_within("λ", (*curvature).into(), *expected, 1e-2);
    }
}

/// An element that one rank never writes, a check of the mean still finds, on that rank.
#[test]
fn a_check_sees_through() {
    struct Leaves {
        written: usize,
    }
    impl Objective for Leaves {
        fn gradient(&mut self, at: Evaluation<'_>) -> dimer::Result<()> {
            let gradient = padded_ones(at.layout);
            let bytes = bytemuck::cast_slice(&gradient[..self.written]);
            at.gpu.queue().write_buffer(&at.gradient.buffer, at.gradient.offset, bytes);
            Ok(())
        }
    }
    fn padded_ones(layout: &Layout) -> Vec<f32> {
        vec![1.0; layout.padded_len()]
    }
    let gpu = gpu();
    let results = on_ranks(2, |group| {
        let mut optimizer = make(&gpu, &Config { dimer: None, ..fixed_rate() });
        // One rank writes the first tensor and none of the others.
        let written = if group.rank() == 0 { layout().padded_len() } else { 3 };
        let mut objective = optimizer.data_parallel(Leaves { written }, group).unwrap();
        optimizer.check_objective(&mut objective)
    });
    let error = results[1].as_ref().unwrap_err().to_string();
    assert!(error.contains("did not write element 3"), "{error}");
    // The other one has written it; its mean has a NaN there.
    let error = results[0].as_ref().unwrap_err().to_string();
    assert!(!error.contains("did not write"), "{error}");
}

/// A loss that one rank does not write, a check of the mean finds on both, each in its own words.
#[test]
fn a_check_finds_a_loss_that_is_missing() {
    struct Silent {
        writes: bool,
    }
    impl Objective for Silent {
        fn gradient(&mut self, mut at: Evaluation<'_>) -> dimer::Result<()> {
            if self.writes && at.point == Point::Centre {
                at.write_loss(1.0);
            }
            let theta = at.read_params()?;
            at.write_gradient(&theta)
        }

        fn supplies_loss(&self) -> bool {
            true
        }
    }
    let gpu = gpu();
    let errors = on_ranks(2, |group| {
        let mut optimizer = make(&gpu, &Config { dimer: None, ..fixed_rate() });
        let silent = Silent { writes: group.rank() == 0 };
        let mut objective = optimizer.data_parallel(silent, group).unwrap();
        optimizer.check_objective(&mut objective).unwrap_err().to_string()
    });
    assert!(errors[0].contains("that of another rank did not write its loss"), "{errors:?}");
    assert!(errors[1].contains("it did not write its loss"), "{errors:?}");
}

/// Around `DataParallel`, a sum over minibatches hands on what is compared.
#[test]
fn sums_around_means_compare_too() {
    let gpu = gpu();
    let errors = on_ranks(2, |group| {
        let mut optimizer = make(&gpu, &Config { dimer: None, ..fixed_rate() });
        let rank = group.rank();
        let mean = optimizer.data_parallel(Share::new(4, rank), group).unwrap();
        let mut objective = Accumulated::new(mean, 2).unwrap();
        optimizer.step(&mut objective).unwrap();
        if rank == 1 {
            optimizer.set_rate_factor(0.5).unwrap();
        }
        optimizer.step(&mut objective).unwrap_err().to_string()
    });
    assert!(errors.iter().all(|error| error.contains("checksum")), "{errors:?}");
}

/// Steps by hand have the bits of steps with an objective, whichever rank fails on the way.
#[test]
fn steps_by_hand() {
    let gpu = gpu();
    for config in configs() {
        // There is no product by hand.
        if config.dimer.as_ref().is_some_and(|dimer| dimer.difference == Difference::Exact) {
            continue;
        }
        let ranks = on_ranks(2, |group| {
            let rank = group.rank();
            let mut share = Share::new(30, rank);
            let mut optimizer = make(&gpu, &config);
            let mut mean = optimizer.gradient_mean(group).unwrap();
            // In which evaluation which rank fails.
            let mut fails = vec![(0, 1), (5, 0), (8, 1)];
            let mut evaluations = 0;
            let mut failures = 0;
            while optimizer.steps() < 9 {
                let minibatch = optimizer.steps() - u64::from(optimizer.repeats_minibatch());
                share.sign = if minibatch.is_multiple_of(2) { 1.0 } else { -1.0 };
                let mut step = optimizer.begin_step().unwrap();
                let mut point = Point::Centre;
                let outcome = loop {
                    let theta = wide(&step.read_params(point).unwrap());
                    let own = share.gradient_at(&theta).iter().map(|g| *g as f32).collect();
                    let failing = fails.first().is_some_and(|first| first.0 == evaluations);
                    evaluations += 1;
                    let own = match failing.then(|| fails.remove(0).1) {
                        Some(failed) if failed == rank => Err(Error::objective("no data")),
                        _ => Ok(own),
                    };
                    let loss = share.loss_at(&theta) as f32;
                    if let Err(error) = step.write_mean(&mut mean, point, own, Some(loss)) {
                        break Err(error);
                    }
                    if step.next_probe().unwrap().is_none() {
                        break Ok(());
                    }
                    point = Point::Probe;
                };
                match outcome {
                    Ok(()) => step.finish().unwrap(),
                    Err(error) => {
                        assert!(matches!(error, Error::Objective(_)), "{error}");
                        assert!(error.to_string().contains("no data"), "{error}");
                        failures += 1;
                    }
                }
            }
            assert_eq!(failures, 3);
            optimizer.check_ranks(mean.group_mut()).unwrap();
            (state(&optimizer), optimizer.telemetry().unwrap())
        });
        let mut with_callbacks =
            on_ranks(2, |group| train_ranks(&gpu, &config, Share::new(30, group.rank()), group, 9));
        // The events of central differences ask for no gradient at θ, and have no loss then.
        let records = with_callbacks.iter_mut().flat_map(|rank| &mut rank.1);
        for (with, by_hand) in records.zip(ranks.iter().flat_map(|rank| &rank.1)) {
            if config.dimer.as_ref().is_some_and(|it| it.difference == Difference::Central) {
                with.loss = by_hand.loss;
            }
        }
        assert_eq!(ranks, with_callbacks, "{config:?}");
    }
}

/// A loss that one rank lacks is missing; a gradient of another length, and a point that one rank is not at, are told.
#[test]
fn means_by_hand_that_do_not_fit() {
    let gpu = gpu();
    let config = Config { dimer: Some(Dimer::default()), ..fixed_rate() };
    let losses = on_ranks(2, |group| {
        let loss = (group.rank() == 0).then_some(1.0);
        let mut optimizer = make(
            &gpu,
            &Config { dimer: None, learning_rate: LearningRate::Fixed(0.1), ..config.clone() },
        );
        let mut mean = optimizer.gradient_mean(group).unwrap();
        for loss in [loss, Some(2.0)] {
            let step = optimizer.begin_step().unwrap();
            step.write_mean(&mut mean, Point::Centre, Ok(vec![1.0; LEN]), loss).unwrap();
            step.finish().unwrap();
        }
        let records = optimizer.telemetry().unwrap();
        records.iter().map(|record| record.loss).collect::<Vec<_>>()
    });
    assert_eq!(losses, [[None, Some(2.0)], [None, Some(2.0)]]);
    let errors = on_ranks(2, |group| {
        let len = LEN + group.rank() as usize;
        let mut optimizer = make(&gpu, &config);
        let mut mean = optimizer.gradient_mean(group).unwrap();
        let step = optimizer.begin_step().unwrap();
        step.write_mean(&mut mean, Point::Centre, Ok(vec![1.0; len]), None).unwrap_err()
    });
    assert!(matches!(errors[1], Error::LengthMismatch { what: "gradient", .. }), "{errors:?}");
    assert!(matches!(errors[0], Error::Collective { .. }), "{errors:?}");
    assert!(errors[0].to_string().contains("on rank 1"), "{errors:?}");
    let unfinished = on_ranks(2, |group| {
        let rank = group.rank();
        let mut optimizer = make(&gpu, &config);
        let mut mean = optimizer.gradient_mean(group).unwrap();
        let mut step = optimizer.begin_step().unwrap();
        let own = if rank == 0 { Ok(vec![1.0; LEN]) } else { Err(Error::objective("no data")) };
        step.write_mean(&mut mean, Point::Centre, own, None).unwrap_err();
        while step.next_probe().unwrap().is_some() {
            step.write_gradient(Point::Probe, &[1.0; LEN]).unwrap();
        }
        step.finish().unwrap_err()
    });
    for error in &unfinished {
        assert!(matches!(error, Error::UnfinishedStep { lacks_centre: true, .. }), "{error}");
    }
    let apart = on_ranks(2, |group| {
        let rank = group.rank();
        let mut optimizer = make(&gpu, &config);
        let mut mean = optimizer.gradient_mean(group).unwrap();
        let mut step = optimizer.begin_step().unwrap();
        step.write_gradient(Point::Centre, &[1.0; LEN]).unwrap();
        step.next_probe().unwrap();
        let point = if rank == 0 { Point::Probe } else { Point::Centre };
        step.write_mean(&mut mean, point, Ok(vec![1.0; LEN]), None).unwrap_err().to_string()
    });
    assert!(apart.iter().all(|error| error.contains("gradient at a probe")), "{apart:?}");
}

/// Optimizers that are not alike are refused when the ranks come together, with what differs; those that have parted
/// since are found.
#[test]
fn ranks_must_be_alike() {
    let gpu = gpu();
    let config = Config { dimer: Some(Dimer::default()), ..fixed_rate() };
    let tuned = {
        let tuning = Tuning { workgroup_size: 64, ..*gpu.tuning() };
        gpu.clone().with_tuning(tuning).unwrap()
    };
    let other_seed = Dimer { seed: 8, ..Dimer::default() };
    let mut moved = start();
    moved[LEN - 1] += 1e-3;
    let named = |last: &str| {
        let mut builder = Layout::builder();
        builder.tensor("a", &[3]).tensor("b", &[10, 7]).tensor(last, &[10]);
        builder.build().unwrap()
    };
    let still = {
        let mut builder = Layout::builder();
        let frozen = Group { learning_rate_scale: 0.0, ..Group::default() };
        let frozen = builder.group(frozen);
        builder.tensor("a", &[3]).tensor("b", &[10, 7]).tensor_in(frozen, "c", &[10]);
        builder.build().unwrap()
    };
    let decays = Config { weight_decay: 0.5, ..config.clone() };
    let seeded = Config { dimer: Some(other_seed), ..config.clone() };
    let flat = Layout::flat(LEN).unwrap();
    // What the last of three ranks has, and what the error names.
    let cases = [
        (&gpu, layout(), &config, start(), ""),
        (&tuned, layout(), &config, start(), "`tuning` is"),
        (&gpu, flat, &config, start(), "`tensor 0` is"),
        (
            &gpu,
            named("d"),
            &config,
            start(),
            "`tensor 2` is \"c\" of shape [10] on rank 0, but \"d\"",
        ),
        (
            &gpu,
            still,
            &config,
            start(),
            "`groups.c.learning_rate_scale` is 1.0 on rank 0, but 0.0 on",
        ),
        (&gpu, layout(), &decays, start(), "`config.weight_decay` is"),
        (&gpu, layout(), &seeded, start(), "`config.dimer.seed` is"),
        (&gpu, layout(), &config, moved, "`params/c` is of checksum"),
    ];
    for (gpu_of_last, layout_of_last, config_of_last, params, expected) in &cases {
        let outcomes = on_ranks(3, |group| {
            let mut optimizer = if group.rank() == 2 {
                let (layout, config) = (layout_of_last.clone(), (*config_of_last).clone());
                Optimizer::new(gpu_of_last, layout, config, params).unwrap()
            } else {
                make(&gpu, &config)
            };
            optimizer.data_parallel(Share::new(1, group.rank()), group).map(drop)
        });
        for outcome in outcomes {
            match outcome {
                Ok(()) => assert!(expected.is_empty(), "{expected}"),
                Err(error) => {
                    assert!(!expected.is_empty(), "{error}");
                    assert!(matches!(error, Error::Collective { .. }), "{error}");
                    assert!(error.to_string().contains(expected), "{error}, for {expected}");
                    assert!(error.to_string().contains("on rank 2") || expected.is_empty());
                }
            }
        }
    }
    let parted = on_ranks(2, |mut group| {
        let mut optimizer = make(&gpu, &config);
        let mut share = Share::new(1, group.rank());
        let mut objective = optimizer.data_parallel(&mut share, &mut group).unwrap();
        for _ in 0..5 {
            optimizer.step(&mut objective).unwrap();
        }
        optimizer.check_ranks(objective.group_mut()).unwrap();
        let mut found = Vec::new();
        let n = optimizer.read_orientation().unwrap().unwrap();
        if group.rank() == 1 {
            let turned: Vec<f32> = n.iter().rev().copied().collect();
            optimizer.write_orientation(&turned).unwrap();
        }
        found.push(optimizer.check_ranks(&mut group).unwrap_err().to_string());
        optimizer.write_orientation(&n).unwrap();
        optimizer.check_ranks(&mut group).unwrap();
        if group.rank() == 1 {
            optimizer.step(&mut share).unwrap();
        }
        found.push(optimizer.check_ranks(&mut group).unwrap_err().to_string());
        found
    });
    assert_eq!(parted[0], parted[1]);
    assert!(parted[0][0].contains("orientation/"), "{parted:?}");
    assert!(parted[0][1].contains("`progress."), "{parted:?}");
    // One that cannot tell, since a parameter is beyond f32.
    let broken = on_ranks(2, |mut group| {
        let mut optimizer = make(&gpu, &config);
        if group.rank() == 1 {
            let bytes = f32::INFINITY.to_le_bytes();
            let params = optimizer.params();
            gpu.queue().write_buffer(&params.buffer, params.offset, &bytes);
        }
        optimizer.check_ranks(&mut group).unwrap_err()
    });
    assert!(matches!(broken[1], Error::Checkpoint { .. }), "{broken:?}");
    assert!(broken[0].to_string().contains("on rank 1: "), "{broken:?}");
}

/// Rank 0 saves, all go on from it to the bits of an undisturbed run; what is wrong on one rank changes none.
#[test]
fn ranks_save_and_load() {
    let gpu = gpu();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ranks");
    for config in configs() {
        let ends = on_ranks(2, |mut group| {
            let share = Share::new(50, group.rank());
            let mut optimizer = make(&gpu, &config);
            let mut objective = optimizer.data_parallel(share, &mut group).unwrap();
            let train = |optimizer: &mut Optimizer, objective: &mut DataParallel<_, _>| {
                for _ in 0..5 {
                    optimizer.step(objective).unwrap();
                }
                state(optimizer)
            };
            train(&mut optimizer, &mut objective);
            optimizer.save_ranks(objective.group_mut(), &path).unwrap();
            let end = train(&mut optimizer, &mut objective);
            optimizer.load_ranks(objective.group_mut(), &path).unwrap();
            assert_eq!(optimizer.steps(), 5);
            optimizer.check_ranks(objective.group_mut()).unwrap();
            // Not from what is left of the steps after.
            assert_eq!(train(&mut optimizer, &mut objective), end, "{config:?}");
            end
        });
        assert_eq!(ends[0], ends[1]);
    }
    let config = Config { dimer: Some(Dimer::default()), ..fixed_rate() };
    let one_step = folder.path().join("one");
    let mut other = make(&gpu, &config);
    other.step(&mut Share::new(2, 0)).unwrap();
    other.save(&one_step).unwrap();
    let none = folder.path().join("none");
    let first = folder.path().join("first");
    make(&gpu, &config).save(&first).unwrap();
    let nowhere = folder.path().join("no folder").join("file");
    on_ranks(3, |mut group| {
        let mut optimizer = make(&gpu, &config);
        let before = state(&optimizer);
        for (of_last, words) in [(&none, "cannot be read"), (&one_step, "checkpoint`")] {
            let path = if group.rank() == 2 { of_last } else { &first };
            let error = optimizer.load_ranks(&mut group, path).unwrap_err();
            assert!(error.to_string().contains(words), "{error}");
            let is_own = group.rank() == 2 && of_last == &none;
            assert_eq!(matches!(error, Error::Checkpoint { .. }), is_own, "{error}");
            assert_eq!((state(&optimizer), optimizer.steps()), (before.clone(), 0));
        }
        // A step that is not submitted yet, on one rank.
        let mut encoder = gpu.device().create_command_encoder(&Default::default());
        if group.rank() == 2 {
            optimizer.record_step(&mut encoder, &mut Share::new(2, 0)).unwrap();
        }
        let error = optimizer.load_ranks(&mut group, &one_step).unwrap_err();
        assert!(error.to_string().contains("submit them first"), "{error}");
        assert!(error.to_string().contains("one"), "{error}");
        assert_eq!(state(&optimizer), before);
        if group.rank() == 2 {
            gpu.queue().submit([encoder.finish()]);
        }
        let error = optimizer.save_ranks(&mut group, &nowhere).unwrap_err().to_string();
        assert!(error.contains("`the number of steps` is 0 on rank 0, but 1 on rank 2"), "{error}");
        optimizer.load_ranks(&mut group, &first).unwrap();
        let error = optimizer.save_ranks(&mut group, &nowhere).unwrap_err();
        assert!(error.to_string().contains("no folder"), "{error}");
        assert_eq!(matches!(error, Error::Checkpoint { .. }), group.rank() == 0, "{error}");
        optimizer.load_ranks(&mut group, &first).unwrap();
    });
}

/// Sums of any length, the bits in the order of ranks; calls that differ are an error on all, and so are later ones.
#[test]
fn threads_agree() {
    for size in [1, 2, 5] {
        for len in [0, 1, 3, 1000] {
            let values = |rank: u32| vector(&mut rng(rank.into()), len, Kind::Mixed);
            let mut expected = values(0);
            for rank in 1..size {
                expected.iter_mut().zip(values(rank)).for_each(|(sum, x)| *sum += x);
            }
            let found = on_ranks(size, |mut group| {
                let mut sum = values(group.rank());
                group.sum(&mut sum).unwrap();
                let mut bytes = [group.rank() as u8; 3];
                group.broadcast(&mut bytes, size - 1).unwrap();
                assert_eq!(bytes, [size as u8 - 1; 3]);
                let gathered = group.gather(&[group.rank() as u8, 7]).unwrap();
                assert_eq!(gathered, (0..size).map(|rank| vec![rank as u8, 7]).collect::<Vec<_>>());
                let no_root = group.broadcast(&mut [], size).unwrap_err().to_string();
                assert!(no_root.contains("there is no rank"), "{no_root}");
                bits(&sum)
            });
            assert!(found.iter().all(|sum| *sum == bits(&expected)));
        }
    }
    let different = on_ranks(2, |mut group| match group.rank() {
        0 => group.sum(&mut [1.0; 4]).unwrap_err().to_string(),
        _ => group.gather(&[0; 16]).unwrap_err().to_string(),
    });
    assert!(different.iter().all(|error| error.contains("rank 1 calls `gather`")), "{different:?}");
    assert!(matches!(Threads::group(0), Err(Error::InvalidArgument { argument: "size", .. })));
}
