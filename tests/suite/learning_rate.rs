//! The learning rate from the curvature along the update: against the reference, the unfused twin and PyTorch,
//! and what a user can do wrong with it.

use crate::common::*;
use dimer::reference::Reference;
use dimer::unfused::UnfusedOptimizer;
use dimer::{
    Adam, Base, Config, Correction, CurvatureRate, Difference, Dimer, Error, Evaluation, Group,
    HostObjective, Layout, LearningRate, Objective, Optimizer, Point, RateProbe, Schedule, Scope,
    Sgd, Spectrum, StepInfo, Storage, Telemetry, Translation,
};

const LEN: usize = 67;
const PROBES: [RateProbe; 2] = [RateProbe::SeparateGradient, RateProbe::RepeatedMinibatch];

/// Settings under which every kind of step comes often.
fn settings(probe: RateProbe) -> CurvatureRate {
    let initial = 0.02;
    CurvatureRate {
        probe,
        initial,
        interval: 5,
        burn_in: 8,
        displacement: 0.25,
        ..CurvatureRate::default()
    }
}

/// ½ Σ hᵢ (θᵢ − bᵢ)² with another b in each minibatch: gradients are never near zero, and exact but for their
/// last rounding.
struct Minibatches {
    h: Vec<f32>,
    b: Vec<f32>,
    minibatch: u64,
    steps: Vec<StepInfo>,
    points: Vec<Point>,
}

impl Minibatches {
    fn new(len: usize) -> Self {
        use rand::RngExt;
        let mut rng = rng(151);
        let mut draw = |from: f32, to: f32| -> Vec<f32> {
            (0..len).map(|_| rng.random_range(from..to)).collect()
        };
        let (h, b) = (draw(0.5, 2.0), draw(2.0, 3.0));
        Self { h, b, minibatch: 0, steps: Vec::new(), points: Vec::new() }
    }

    fn gradient_in(&self, minibatch: u64, params: &[f64]) -> Vec<f64> {
        let shift = |i: usize| ((i as u64 + 7 * minibatch) % 5) as f64 / 8.0;
        let parts = self.h.iter().zip(&self.b).zip(params).enumerate();
        parts.map(|(i, ((&h, &b), x))| f64::from(h) * (x - f64::from(b) - shift(i))).collect()
    }
}

impl Objective for Minibatches {
    fn begin_step(&mut self, step: StepInfo) -> dimer::Result<()> {
        self.minibatch += u64::from(!step.repeats_minibatch);
        self.steps.push(step);
        Ok(())
    }

    fn gradient(&mut self, mut at: Evaluation<'_>) -> dimer::Result<()> {
        self.points.push(at.point);
        let gradient = self.gradient_in(self.minibatch, &wide(&at.read_params()?));
        at.write_gradient(&gradient.iter().map(|&g| g as f32).collect::<Vec<f32>>())
    }
}

fn start(len: usize) -> Vec<f32> {
    vector(&mut rng(152), len, Kind::Plain)
}

/// By how much of itself a measured slope or curvature may be off: n products of a gradient of at most 7, rounded
/// to f32, with a displacement that is the difference of two f32 below 4. The slope adds terms of one sign, since
/// every gradient leads one way. The curvature comes from differences of gradients of which each is rounded by
/// 7 UNIT, over a distance of 1/4 (1 + ‖θ‖) ≥ 1 that moves a gradient by at least half of its part. Over two steps on
/// one minibatch the distance is what a step at a rate of 0.02 or more moves, and the roundings of 67 elements average
/// out by their root: 7 UNIT / (0.02 / 2) / 8 is 90 UNIT. The curvature of the first steps of a warm-up, a quarter as
/// long, is four times less sure, which a rate that grows as fast as it may does not see.
const MEASURED: f64 = 200.0 * UNIT;

struct Case {
    name: String,
    config: Config,
    layout: Layout,
    factor: fn(u64) -> f64,
}

/// Runs the optimizer beside the reference, and compares each step's θ and rate.
fn follow(case: &Case, steps: u64) {
    println!("{}", case.name);
    let len = case.layout.len();
    let params = start(len);
    let mut optimizer =
        Optimizer::new(&gpu(), case.layout.clone(), case.config.clone(), &params).unwrap();
    let orientation = wide(&optimizer.read_orientation().unwrap().unwrap_or_default());
    let mut reference =
        Reference::new(&case.layout, case.config.clone(), &wide(&params), &orientation);
    let mut objective = Minibatches::new(len);
    let of_reference = Minibatches::new(len);
    let mut minibatch = 0;
    let mut measured = 0;
    for step in 0..steps {
        let factor = (case.factor)(step);
        optimizer.set_rate_factor(factor).unwrap();
        reference.rate_factor = factor;
        assert_eq!(optimizer.repeats_minibatch(), reference.repeats_minibatch(), "step {step}");
        minibatch += u64::from(!reference.repeats_minibatch());
        optimizer.step(&mut objective).unwrap();
        reference.step(|params| of_reference.gradient_in(minibatch, params));
        assert_eq!(objective.minibatch, minibatch);
        let record = *optimizer.telemetry().unwrap().last().unwrap();
        // The errors of all rates so far add up in what was moved, and the next rate is as good as the last.
        let bound = MEASURED * (step + 1) as f64;
        if record.rate_measured {
            measured += 1;
            let (slope, curvature) = (reference.update_slope, reference.update_curvature);
            assert_within("g·u", record.update_slope.into(), slope, bound * slope.abs());
            assert_within(
                "u·Hu",
                record.update_curvature.into(),
                curvature,
                6.0 * bound * curvature.abs(),
            );
        }
        let q = reference.base_learning_rate;
        assert_within("q", record.base_learning_rate.into(), q, bound * q);
        let rate = reference.learning_rate;
        assert_within("rate", record.learning_rate.into(), rate, bound * rate);
        // Nothing moved further than 8 in all.
        let found = optimizer.read_params().unwrap();
        assert_all_within("θ", &found, &reference.params, |_| 8.0 * bound + 64.0 * UNIT);
    }
    assert!(measured > 5, "{measured}");
    assert_eq!(optimizer.gradient_evaluations(), objective.points.len() as f64);
}

fn layouts() -> [Layout; 2] {
    let mut builder = Layout::builder();
    let slow = Group { learning_rate_scale: 0.5, weight_decay: Some(0.0), ..Group::default() };
    let slow = builder.group(slow);
    let frozen = builder.group(Group { learning_rate_scale: 0.0, ..Group::default() });
    builder.tensor("a", &[5, 5]).tensor_in(slow, "b", &[30]).tensor_in(frozen, "c", &[12]);
    [Layout::flat(LEN).unwrap(), builder.build().unwrap()]
}

fn case(base: Base, probe: RateProbe, layout: usize) -> Case {
    let config = Config {
        base,
        learning_rate: LearningRate::Curvature(settings(probe)),
        weight_decay: 0.01,
        ..Config::default()
    };
    let factor = |step| dimer::cosine_with_warm_up(step, 4, 40, 0.1);
    Case { name: format!("{base:?} {probe:?}"), config, layout: layouts()[layout].clone(), factor }
}

#[test]
fn every_base_matches_the_reference() {
    for base in BASES {
        for probe in PROBES {
            for layout in [0, 1] {
                follow(&case(base, probe, layout), 24);
            }
        }
    }
}

#[test]
fn every_setting_matches_the_reference() {
    for probe in PROBES {
        let plain = || case(ADAMW, probe, 1);
        let with = |name: &str, change: &dyn Fn(&mut Config)| {
            let mut case = plain();
            case.name = format!("{name} {probe:?}");
            change(&mut case.config);
            case
        };
        let rate = |change: &dyn Fn(&mut CurvatureRate)| {
            let mut settings = settings(probe);
            change(&mut settings);
            LearningRate::Curvature(settings)
        };
        let cases = [
            with("clip", &|config| config.max_gradient_norm = Some(3.0)),
            with("clipped momentum", &|config| {
                config.max_gradient_norm = Some(3.0);
                config.base = MOMENTUM;
            }),
            with("unguarded", &|config| config.skip_non_finite = false),
            with("start", &|config| {
                config.learning_rate = rate(&|rate| rate.initial = 1.0);
            }),
            with("scale", &|config| {
                config.learning_rate = rate(&|rate| rate.scale = 0.7);
            }),
            with("no burn-in", &|config| {
                config.learning_rate = rate(&|rate| {
                    (rate.burn_in, rate.interval) = (0, 2);
                });
            }),
            with("a burn-in that ends where a step is due", &|config| {
                config.learning_rate = rate(&|rate| rate.burn_in = 11);
            }),
        ];
        cases.iter().for_each(|case| follow(case, 24));
    }
}

/// Dimers of every kind beside it, in events that measure and events that do not.
#[test]
fn with_a_dimer_it_matches_the_reference() {
    for probe in PROBES {
        for (name, scope, difference, correction) in [
            ("events", Scope::Global, Difference::Forward, Correction::EventsOnly),
            ("every step", Scope::Global, Difference::Forward, Correction::EveryStep),
            ("central", Scope::Global, Difference::Central, Correction::EveryStep),
            ("per tensor", Scope::PerTensor, Difference::Forward, Correction::EveryStep),
        ] {
            if probe == RateProbe::RepeatedMinibatch && difference == Difference::Central {
                continue;
            }
            for base in [MOMENTUM, ADAMW] {
                let mut case = case(base, probe, 1);
                case.name = format!("dimer, {name}, {base:?}, {probe:?}");
                case.config.dimer = Some(Dimer {
                    scope,
                    difference,
                    correction,
                    schedule: Schedule::Every(3),
                    ..fixed_dimer(0.05, 1.0, 0.5)
                });
                follow(&case, 20);
            }
        }
    }
}

/// Fused, unfused and reference give one trajectory.
#[test]
fn the_unfused_twin_takes_the_same_steps() {
    for base in [SGD, MOMENTUM, NESTEROV, ADAM, ADAMW, LION] {
        for probe in PROBES {
            let Case { name, config, layout, factor } = case(base, probe, 0);
            println!("{name}");
            let params = start(LEN);
            let mut fused =
                Optimizer::new(&gpu(), layout.clone(), config.clone(), &params).unwrap();
            let mut unfused =
                UnfusedOptimizer::new(&gpu(), layout.clone(), config.clone(), &params).unwrap();
            let mut objectives = [Minibatches::new(LEN), Minibatches::new(LEN)];
            for step in 0..24 {
                fused.set_rate_factor(factor(step)).unwrap();
                unfused.set_rate_factor(factor(step));
                fused.step(&mut objectives[0]).unwrap();
                unfused.step(&mut objectives[1]).unwrap();
            }
            assert_eq!(objectives[0].steps, objectives[1].steps);
            // As in `follow`.
            let bound = 24.0 * MEASURED;
            let expected = wide(&fused.read_params().unwrap());
            assert_all_within("θ", &unfused.read_params().unwrap(), &expected, |_| bound);
        }
    }
}

/// Half the mean squared error of 2 inputs, 8 units with tanh and 1 output, on minibatches of 8 out of 24 points;
/// the Rosenbrock function; or a bowl that becomes a hill. In f64, as PyTorch has it in `oracles/torch_learning_rate.py`.
struct Oracle<'a> {
    problem: &'a str,
    minibatch: i64,
}

impl Oracle<'_> {
    fn gradient_at(&self, x: &[f64]) -> Vec<f64> {
        let mut gradient = vec![0.0; x.len()];
        if self.problem == "hill" {
            let curvature = if self.minibatch < 5 { 1.0 } else { -0.05 };
            return x.iter().map(|x| curvature * x).collect();
        }
        if self.problem == "rosenbrock" {
            for i in 0..x.len() - 1 {
                let (valley, offset) = (x[i + 1] - x[i] * x[i], 1.0 - x[i]);
                gradient[i] += -400.0 * x[i] * valley - 2.0 * offset;
                gradient[i + 1] += 200.0 * valley;
            }
            return gradient;
        }
        for row in (0..8).map(|j| ((5 * self.minibatch + j) % 24) as f64) {
            let point = [(1.3 * row).sin(), (2.1 * row).cos()];
            let hidden: Vec<f64> = (0..8)
                .map(|k| (point[0] * x[k] + point[1] * x[8 + k] + x[16 + k]).tanh())
                .collect();
            let output: f64 = (0..8).map(|k| hidden[k] * x[24 + k]).sum::<f64>() + x[32];
            let error = (output - (0.9 * row + 0.5).sin()) / 8.0;
            gradient[32] += error;
            for k in 0..8 {
                gradient[24 + k] += error * hidden[k];
                let slope = error * x[24 + k] * (1.0 - hidden[k] * hidden[k]);
                gradient[k] += slope * point[0];
                gradient[8 + k] += slope * point[1];
                gradient[16 + k] += slope;
            }
        }
        gradient
    }
}

impl Objective for Oracle<'_> {
    fn begin_step(&mut self, step: StepInfo) -> dimer::Result<()> {
        self.minibatch += i64::from(!step.repeats_minibatch);
        Ok(())
    }

    fn gradient(&mut self, mut at: Evaluation<'_>) -> dimer::Result<()> {
        let gradient = self.gradient_at(&wide(&at.read_params()?));
        at.write_gradient(&gradient.iter().map(|&g| g as f32).collect::<Vec<f32>>())
    }
}

/// Trajectories that PyTorch's optimizers take with the same rule around them.
#[test]
fn it_takes_the_steps_of_torch() {
    let table = include_str!("../oracles/torch_learning_rate.csv");
    let rows: Vec<Vec<&str>> = table
        .lines()
        .filter(|line| !line.starts_with(['#', 'p']))
        .map(|line| line.split(',').collect())
        .collect();
    assert!(rows.len() > 90, "{}", rows.len());
    for probe in ["separate", "repeated"] {
        let on_the_hill = ["hill", "adam", probe, "20"];
        assert!(rows.iter().any(|row| row[..4] == on_the_hill), "{probe}");
    }
    for run in rows.chunk_by(|a, b| a[..3] == b[..3]) {
        let problem = run[0][0];
        let start: Vec<f32> = match problem {
            "network" => (0..33).map(|i| (0.5 * (1.7 * f64::from(i) + 0.3).sin()) as f32).collect(),
            "hill" => vec![0.03, 0.045, 0.06, 0.075],
            _ => vec![-1.2, 1.0, -0.5, 0.8],
        };
        let base = match run[0][1] {
            "momentum" => MOMENTUM,
            "adam" => ADAM,
            _ => ADAMW,
        };
        let probe = if run[0][2] == "separate" { PROBES[0] } else { PROBES[1] };
        let rate = CurvatureRate {
            probe,
            initial: 1e-2,
            interval: 25,
            displacement: 3e-2,
            ..CurvatureRate::default()
        };
        let config = Config {
            base,
            learning_rate: LearningRate::Curvature(rate),
            weight_decay: if base == ADAMW { 1e-2 } else { 0.0 },
            ..Config::default()
        };
        let mut optimizer = flat(config, &start);
        let mut objective = Oracle { problem, minibatch: -1 };
        for row in run {
            let steps: u64 = row[3].parse().unwrap();
            while optimizer.steps() < steps {
                let factor = ((optimizer.steps() + 1) as f64 / 10.0).min(1.0);
                optimizer.set_rate_factor(factor).unwrap();
                optimizer.step(&mut objective).unwrap();
            }
            let expected: Vec<f64> = row[5].split(' ').map(|x| x.parse().unwrap()).collect();
            let found = optimizer.read_params().unwrap();
            let rate = optimizer.telemetry().unwrap().last().unwrap().base_learning_rate;
            let off = found.iter().zip(&expected).map(|(a, b)| (f64::from(*a) - b).abs());
            println!(
                "{:?}: rate {rate:e}, {}, off by {:e}",
                &row[..4],
                row[4],
                off.fold(0.0, f64::max)
            );
            assert_all_within(&row[..4].join(" "), &found, &expected, |_| 1e-5);
        }
    }
}

/// What does not go together, or is out of range, is named.
#[test]
fn settings_are_checked() {
    let with = |rate: CurvatureRate| Config {
        learning_rate: LearningRate::Curvature(rate),
        ..Config::default()
    };
    let default = CurvatureRate::default;
    for (field, config) in [
        ("learning_rate.initial", with(CurvatureRate { initial: 0.0, ..default() })),
        ("learning_rate.initial", with(CurvatureRate { initial: 1e4, ..default() })),
        ("learning_rate.initial", with(CurvatureRate { initial: f64::NAN, ..default() })),
        ("learning_rate.interval", with(CurvatureRate { interval: 0, ..default() })),
        (
            "learning_rate.interval",
            with(CurvatureRate { interval: 1, probe: RateProbe::RepeatedMinibatch, ..default() }),
        ),
        ("learning_rate.scale", with(CurvatureRate { scale: 0.0, ..default() })),
        ("learning_rate.displacement", with(CurvatureRate { displacement: -1.0, ..default() })),
        ("learning_rate.displacement", with(CurvatureRate { displacement: 1e-8, ..default() })),
        ("learning_rate.displacement", with(CurvatureRate { displacement: 1e38, ..default() })),
        ("learning_rate.displacement", with(CurvatureRate { displacement: f64::NAN, ..default() })),
    ] {
        let error = config.validate().unwrap_err();
        assert!(
            matches!(&error, Error::InvalidConfig { field: at, .. } if *at == field),
            "{error}"
        );
    }
    let repeated = CurvatureRate { probe: RateProbe::RepeatedMinibatch, ..default() };
    let central = Dimer { difference: Difference::Central, ..Dimer::default() };
    let climb = Dimer { translation: Translation::Climb, ..Dimer::default() };
    for config in [
        Config { dimer: Some(central), ..with(repeated) },
        Config { dimer: Some(climb), ..with(default()) },
    ] {
        assert!(matches!(config.validate().unwrap_err(), Error::Unsupported { .. }));
    }
    with(CurvatureRate { interval: 1, ..default() }).validate().unwrap();
    let mut optimizer = flat(Config { dimer: None, ..with(default()) }, &[1.0; 3]);
    let error = optimizer.set_learning_rate(0.1).unwrap_err();
    assert!(matches!(error, Error::Unsupported { .. }), "{error}");
    for bad in [-1.0, f64::NAN, f64::INFINITY, 1e300] {
        let error = optimizer.set_rate_factor(bad).unwrap_err();
        assert!(matches!(error, Error::InvalidArgument { argument: "factor", .. }), "{error}");
    }
    let mut fixed = flat(Config { dimer: None, ..fixed_rate() }, &[1.0; 3]);
    fixed.set_learning_rate(1e30).unwrap();
    assert!(fixed.set_rate_factor(1e30).is_err(), "their product leaves f32");
    fixed.set_rate_factor(0.5).unwrap();
}

/// The factor multiplies a fixed rate as well.
#[test]
fn a_fixed_rate_has_a_factor() {
    let run = |rate: f64, factor: f64| {
        let learning_rate = LearningRate::Fixed(rate);
        let mut optimizer = flat(Config { learning_rate, ..Config::default() }, &start(LEN));
        let mut objective = Minibatches::new(LEN);
        for _ in 0..5 {
            optimizer.set_rate_factor(factor).unwrap();
            optimizer.step(&mut objective).unwrap();
        }
        let record = *optimizer.telemetry().unwrap().last().unwrap();
        assert_eq!(record.learning_rate, (rate * factor) as f32);
        assert_eq!((record.rate_measured, record.slope_share()), (false, None));
        bits(&optimizer.read_params().unwrap())
    };
    assert_eq!(run(0.5, 0.125), run(0.0625, 1.0));
    assert_ne!(run(0.5, 0.125), run(0.5, 1.0));
}

/// On a parabola, the share of the slope that a step takes away is the rate over the best rate.
#[test]
fn the_share_is_that_of_the_slope() {
    for probe in PROBES {
        // So that SGD goes to the lowest point.
        let rate = CurvatureRate { initial: 0.05, scale: 2.0, ..settings(probe) };
        let learning_rate = LearningRate::Curvature(rate);
        let mut optimizer = flat(
            Config { base: SGD, learning_rate, weight_decay: 0.0, ..Config::default() },
            &[3.0],
        );
        // L = ½ 4 θ², whose best rate is 1/4, which the base rate comes to.
        let mut objective = quadratic(vec![4.0]);
        for step in 0..6 {
            optimizer.set_rate_factor(0.5).unwrap();
            optimizer.step(&mut objective).unwrap();
            let record = *optimizer.telemetry().unwrap().last().unwrap();
            let share = record.slope_share();
            println!("{probe:?} {step}: {record:?}");
            assert_eq!(share.is_some(), record.rate_measured);
            if let Some(share) = share {
                assert_within("r", share.into(), f64::from(record.learning_rate) * 4.0, 1e-4);
            }
        }
        let q = optimizer.telemetry().unwrap();
        assert!(q.is_empty(), "all was read");
        optimizer.step(&mut objective).unwrap();
        let q = optimizer.telemetry().unwrap()[0].base_learning_rate;
        assert_within("q", q.into(), 0.25, 1e-4);
    }
}

/// A loss times 1000 changes nothing for Adam but rounding and ε; a scaled loss, told so, changes no bit.
#[test]
fn the_scale_of_the_loss_does_not_matter_to_adam() {
    let run = |factor: f32, told: bool, probe| {
        let learning_rate = LearningRate::Curvature(settings(probe));
        let mut optimizer = flat(Config { learning_rate, ..Config::default() }, &start(LEN));
        if told {
            optimizer.set_loss_scale(factor.into()).unwrap();
        }
        let plain = Minibatches::new(LEN);
        let mut objective = HostObjective::new(move |params: &[f32], gradient: &mut [f32]| {
            let found = plain.gradient_in(0, &wide(params));
            gradient.iter_mut().zip(found).for_each(|(to, g)| *to = factor * g as f32);
            0.0
        });
        for _ in 0..20 {
            optimizer.step(&mut objective).unwrap();
        }
        optimizer.read_params().unwrap()
    };
    for probe in PROBES {
        let plain = run(1.0, false, probe);
        assert_eq!(bits(&run(1024.0, true, probe)), bits(&plain));
        let expected = wide(&plain);
        // 20 rates, each off by its rounding and by ε/g = 10⁻⁸.
        assert_all_within("θ", &run(1000.0, false, probe), &expected, |_| 20.0 * MEASURED);
    }
}

/// A gradient that is not finite: at θ the step is skipped, at the probe the measurement is lost; the rate stays.
#[test]
fn what_is_not_finite_changes_nothing() {
    for probe in PROBES {
        for (broken_step, at) in [(3, Point::Centre), (3, Point::Probe), (4, Point::Centre)] {
            if probe == RateProbe::RepeatedMinibatch && at == Point::Probe {
                continue;
            }
            let learning_rate = LearningRate::Curvature(settings(probe));
            let mut optimizer = flat(Config { learning_rate, ..Config::default() }, &start(LEN));
            let mut objective = Broken { inner: Minibatches::new(LEN), step: broken_step, at };
            let mut last = 0.0;
            for step in 0..12 {
                let before = bits(&optimizer.read_params().unwrap());
                optimizer.step(&mut objective).unwrap();
                let record = *optimizer.telemetry().unwrap().last().unwrap();
                let broken = step == broken_step;
                let skipped = broken && at == Point::Centre;
                assert_eq!(record.skipped, skipped, "{probe:?} {at:?} {step}");
                let after = bits(&optimizer.read_params().unwrap());
                assert_eq!(before == after, record.skipped);
                assert_eq!(record.measurement_lost, broken && !skipped);
                if broken {
                    assert_eq!(record.base_learning_rate, last);
                    assert!(!record.rate_measured);
                }
                assert!(record.base_learning_rate > 0.0 && record.learning_rate.is_finite());
                last = record.base_learning_rate;
            }
        }
    }
}

/// A loss that is defined where the training goes, but not at every probe.
#[test]
fn a_probe_outside_the_domain_costs_the_measurement_alone() {
    let run = |learning_rate| {
        let config = Config { learning_rate, weight_decay: 0.0, ..Config::default() };
        let mut optimizer = flat(config, &[5e-4]);
        let mut objective = HostObjective::new(|params: &[f32], gradient: &mut [f32]| {
            let e = (params[0] / 1e-4).ln();
            gradient[0] = e / params[0];
            0.5 * e * e
        });
        for _ in 0..40 {
            optimizer.step(&mut objective).unwrap();
        }
        (bits(&optimizer.read_params().unwrap()), optimizer.telemetry().unwrap())
    };
    let rate = CurvatureRate { initial: 1e-5, ..CurvatureRate::default() };
    let (params, records) = run(LearningRate::Curvature(rate));
    // Each probe is 10⁻³ below θ < 10⁻³, so that all of the burn-in are lost, and more would be.
    assert!(records.iter().all(|record| !record.skipped && !record.rate_measured));
    assert_eq!(records.iter().filter(|record| record.measurement_lost).count(), 20);
    assert_eq!(params, run(LearningRate::Fixed(1e-5)).0);
}

/// A step of the burn-in that is skipped for what the dimer's probe finds leaves no trace in the mean of the estimates,
/// nor does one that fails there and is taken again.
#[test]
fn only_steps_that_count_are_measured() {
    for scope in [Scope::Global, Scope::PerTensor] {
        check_that_only_steps_count(scope);
    }
}

fn check_that_only_steps_count(scope: Scope) {
    let rate = CurvatureRate { initial: 1.0, displacement: 1e-2, ..CurvatureRate::default() };
    let dimer = Dimer { scope, schedule: Schedule::Every(1), ..fixed_dimer(0.1, 0.25, 1.0) };
    let config = Config {
        learning_rate: LearningRate::Curvature(rate),
        dimer: Some(dimer),
        ..Config::default()
    };
    let objective = Minibatches::new(LEN);
    // Evaluations: at θ, at the rate's probe, at the dimer's.
    let (broken_step, broken_call) = (3, 2);
    let mut optimizer = flat(config.clone(), &start(LEN));
    let orientation = wide(&optimizer.read_orientation().unwrap().unwrap());
    let layout = Layout::flat(LEN).unwrap();
    let mut reference = Reference::new(&layout, config.clone(), &wide(&start(LEN)), &orientation);
    let mut rates = Vec::new();
    for step in 0..18_u64 {
        let breaks = |call: u32| step == broken_step && call == broken_call;
        let mut call = 0;
        reference.step(|params| {
            let mut gradient = objective.gradient_in(step, params);
            if breaks(call) {
                gradient[0] = f64::NAN;
            }
            call += 1;
            gradient
        });
        let mut call = 0;
        let mut on_host = HostObjective::new(|params: &[f32], gradient: &mut [f32]| {
            let found = objective.gradient_in(step, &wide(params));
            gradient.iter_mut().zip(found).for_each(|(to, from)| *to = from as f32);
            if breaks(call) {
                gradient[0] = f32::NAN;
            }
            call += 1;
            0.0
        });
        optimizer.step(&mut on_host).unwrap();
        let record = *optimizer.telemetry().unwrap().last().unwrap();
        assert_eq!(record.skipped, step == broken_step);
        assert_within(
            "q",
            record.base_learning_rate.into(),
            reference.base_learning_rate,
            1e-3 * reference.base_learning_rate,
        );
        rates.push(record.base_learning_rate);
    }
    assert_eq!(rates[3], rates[2]);

    let run = |fails_at: Option<u64>| {
        let mut optimizer = flat(config.clone(), &start(LEN));
        for step in 0..18 {
            if fails_at == Some(step) {
                let mut minibatches = Minibatches::new(LEN);
                minibatches.minibatch = step;
                let mut failing = FailsAtTheSecondProbe { inner: minibatches, probes: 0 };
                optimizer.step(&mut failing).unwrap_err();
            }
            let mut objective = Minibatches::new(LEN);
            objective.minibatch = step;
            optimizer.step(&mut objective).unwrap();
        }
        format!("{:?}", optimizer.telemetry().unwrap())
    };
    assert_eq!(run(Some(5)), run(None));
}

struct FailsAtTheSecondProbe {
    inner: Minibatches,
    probes: u32,
}

impl Objective for FailsAtTheSecondProbe {
    fn begin_step(&mut self, step: StepInfo) -> dimer::Result<()> {
        self.inner.begin_step(step)
    }

    fn gradient(&mut self, mut at: Evaluation<'_>) -> dimer::Result<()> {
        self.probes += u32::from(at.point == Point::Probe);
        if self.probes == 2 {
            at.submit()?;
            return Err(Error::objective("no second probe today"));
        }
        self.inner.gradient(at)
    }
}

/// Tensors that do not move, however long, change neither probe nor rate.
#[test]
fn frozen_tensors_do_not_matter() {
    let run = |length: f32| {
        let mut builder = Layout::builder();
        let frozen = builder.group(Group { learning_rate_scale: 0.0, ..Group::default() });
        builder.tensor("head", &[10]).tensor_in(frozen, "backbone", &[100]);
        let mut params = vec![0.0; 110];
        params[10..].fill(length / 10.0);
        let layout = builder.build().unwrap();
        let mut optimizer = Optimizer::new(&gpu(), layout, Config::default(), &params).unwrap();
        let mut objective = HostObjective::new(|params: &[f32], gradient: &mut [f32]| {
            for i in 0..10 {
                gradient[i] = (3.0 * (params[i] - 1.0)).tanh();
            }
            0.0
        });
        for _ in 0..60 {
            optimizer.step(&mut objective).unwrap();
        }
        let records = optimizer.telemetry().unwrap();
        let measured: Vec<_> = records
            .iter()
            .map(|record| [record.update_curvature, record.base_learning_rate].map(f32::to_bits))
            .collect();
        (measured, f64::from(records[0].update_curvature))
    };
    let (without, first) = run(0.0);
    // u is −1 in every element of the head, and the loss ln cosh(3 (θ − 1)) / 3 curves by 3 / cosh² 3 there. The probe is
    // 10⁻³ away, 3 · 10⁻⁴ in each element, over which a gradient changes by 9 · 10⁻⁶. It is near 1, and each of the two
    // within two units of its last place: 4 · 2⁻²⁴ / 9 · 10⁻⁶ is 2.6 %, and 0.1 % for the change of the curvature.
    let exact = 10.0 * 3.0 / 3_f64.cosh().powi(2);
    assert_within("u·Hu", first, exact, 2.7e-2 * exact);
    for length in [1.0, 1e2, 1e4, 1e8] {
        assert_eq!(run(length).0, without, "{length}");
    }
}

/// However little a loss curves, decay takes no parameter beyond 0, and so nothing leaves f32.
#[test]
fn decay_bounds_the_rate() {
    // |1 − rate · scale · decay| ≤ 1 for the rates of all steps, with a rounding of the product.
    let check = |what: &str, config: &Config, factor: &dyn Fn(u64) -> f64| {
        let mut builder = Layout::builder();
        let fast = builder.group(Group {
            learning_rate_scale: 5.0,
            weight_decay: Some(0.3),
            ..Group::default()
        });
        let free = builder.group(Group { weight_decay: Some(0.0), ..Group::default() });
        builder.tensor("a", &[3]).tensor_in(fast, "b", &[2]).tensor_in(free, "c", &[2]);
        let layout = builder.build().unwrap();
        let decays = [config.weight_decay, 5.0 * 0.3, 0.0];
        for (name, slope) in [("parabola", 1.0), ("hinge", 0.0)] {
            let mut optimizer =
                Optimizer::new(&gpu(), layout.clone(), config.clone(), &[0.0; 7]).unwrap();
            let mut objective = HostObjective::new(|params: &[f32], gradient: &mut [f32]| {
                for (g, x) in gradient.iter_mut().zip(params) {
                    *g = if slope > 0.0 { x - 30.0 } else { (x - 30.0).signum() };
                }
                0.0
            });
            for step in 0..1000 {
                optimizer.set_rate_factor(factor(step)).unwrap();
                optimizer.step(&mut objective).unwrap();
            }
            let records = optimizer.telemetry().unwrap();
            for record in &records {
                assert!(!record.skipped, "{what}, {name}: step {} is skipped", record.step);
                for decay in decays {
                    // The base rate is bounded where it is measured.
                    let base = f32::from(record.rate_measured) * record.base_learning_rate;
                    let product = f64::from(record.learning_rate.max(base)) * decay;
                    assert!(product <= 1.0 + 1e-6, "{what}, {name}: {product}");
                }
            }
            let params = optimizer.read_params().unwrap();
            println!("{what}, {name}: {params:?}");
            assert!(params.iter().all(|x| x.is_finite()));
        }
    };
    let curvature = |probe, initial| {
        LearningRate::Curvature(CurvatureRate { probe, initial, ..CurvatureRate::default() })
    };
    for probe in PROBES {
        for base in
            [Base::default(), Base::Lion(Default::default()), Base::Sophia(Default::default())]
        {
            let config = Config {
                base,
                weight_decay: 0.1,
                learning_rate: curvature(probe, 1e-3),
                ..Config::default()
            };
            let what = format!("{base:?}, {probe:?}");
            check(&what, &config, &|step| dimer::cosine_with_warm_up(step, 50, 1000, 0.1));
            check(&what, &config, &|_| 3.0);
            // From a rate beyond the bound.
            let high = Config { learning_rate: curvature(probe, 500.0), ..config };
            check(&what, &high, &|_| 1.0);
        }
    }
}

/// Where the loss has no curvature but what the rounding of its gradient makes up, a longer step is not taken than what
/// the probe has seen, or than the rate that it started with.
#[test]
fn a_rate_does_not_grow_without_curvature() {
    const LEN: usize = 32;
    // The last bit of each gradient is a matter of chance.
    let slope = |x: f32| {
        let chance = x.to_bits().wrapping_mul(0x9e37_79b9) >> 31;
        f32::from_bits(1_f32.to_bits() + chance)
    };
    for base in [Base::default(), ADAM, SGD, MOMENTUM, LION] {
        for probe in PROBES {
            for initial in [1e-6, 1e-3, 0.5] {
                let rate = CurvatureRate { initial, probe, ..CurvatureRate::default() };
                let learning_rate = LearningRate::Curvature(rate);
                let config = Config { base, learning_rate, weight_decay: 0.0, ..Config::default() };
                let mut optimizer = flat(config, &[0.1; LEN]);
                let mut objective = HostObjective::new(|params: &[f32], gradient: &mut [f32]| {
                    gradient.iter_mut().zip(params).for_each(|(g, x)| *g = slope(*x));
                    0.0
                });
                let (mut measured, mut norms, mut longest) = (0, [0.0; 2], 0.0);
                let mut before = optimizer.read_params().unwrap();
                for _ in 0..120 {
                    let norm = wide(&before).iter().map(|x| x * x).sum::<f64>().sqrt();
                    optimizer.step(&mut objective).unwrap();
                    let after = optimizer.read_params().unwrap();
                    let record = *optimizer.telemetry().unwrap().last().unwrap();
                    measured += u32::from(record.rate_measured);
                    let squares = wide(&after)
                        .iter()
                        .zip(&wide(&before))
                        .map(|(a, b)| (a - b).powi(2))
                        .sum::<f64>();
                    let moved = squares.sqrt();
                    // Of two steps on one minibatch, the first knows the norm.
                    norms = [norms[1], norm];
                    if record.rate_measured {
                        longest = f64::max(longest, 1e-3 * (1.0 + norms[0].max(norms[1])));
                    }
                    let grew = record.learning_rate > initial as f32;
                    let reach = if grew { longest } else { f64::MAX };
                    // The update of momentum grows until the next measurement, tenfold at most.
                    let growth = if base == MOMENTUM { 10.0 } else { 1.0 };
                    assert!(
                        moved <= 1.01 * growth * reach,
                        "{base:?} {probe:?} from {initial}: {moved}, rate {}, reach {reach}",
                        record.learning_rate
                    );
                    if record.rate_measured {
                        assert_eq!(record.update_curvature, 0.0, "it is lost in rounding");
                    }
                    before = after;
                }
                assert!(measured > 10, "{base:?} {probe:?} from {initial}: {measured}");
            }
        }
    }
}

/// A rate whose steps are too small to move anything in f32 grows until they do.
#[test]
fn a_rate_below_the_resolution_grows() {
    for theta in [1.0_f32, 10.0, 100.0, 1e4] {
        let rate = CurvatureRate {
            initial: 1e-6,
            probe: RateProbe::RepeatedMinibatch,
            ..CurvatureRate::default()
        };
        let learning_rate = LearningRate::Curvature(rate);
        let config = Config { learning_rate, weight_decay: 0.0, ..Config::default() };
        let mut optimizer = flat(config, &[theta; 8]);
        let mut objective = HostObjective::new(|params: &[f32], gradient: &mut [f32]| {
            gradient.iter_mut().zip(params).for_each(|(g, x)| *g = x - theta - 1.0);
            0.0
        });
        for step in 0..500 {
            let factor = dimer::cosine_with_warm_up(step, 20, 500, 0.0);
            optimizer.set_rate_factor(factor).unwrap();
            optimizer.step(&mut objective).unwrap();
        }
        let off = optimizer.read_params().unwrap()[0] - theta - 1.0;
        println!("θ = {theta}: off by {off}");
        assert!(off.abs() <= 1e-3 + 2.0 * theta * UNIT as f32, "{theta}: {off}");
    }
}

/// Where every estimate is the same, the rate goes there at twice per measurement, or a tenth, and stays.
#[test]
fn a_wrong_start_is_left_behind() {
    for probe in PROBES {
        let (interval, growth) = if probe == PROBES[0] { (1, 2.0_f64) } else { (2, 3.0) };
        for burn_in in [0, 10] {
            for initial in [1e-9, 1e-4, 0.25, 1e2] {
                let rate = CurvatureRate {
                    probe,
                    initial,
                    interval,
                    burn_in,
                    scale: 2.0,
                    ..CurvatureRate::default()
                };
                let learning_rate = LearningRate::Curvature(rate);
                let config =
                    Config { base: SGD, learning_rate, weight_decay: 0.0, ..Config::default() };
                // L = ½ 4 θ², so that each estimate is 1/4, twice what SGD makes of it.
                let mut optimizer = flat(config, &[3.0]);
                let mut objective = quadratic(vec![4.0]);
                let mut measured = 0;
                let expected = |measured: u32| {
                    let (up, down) = (growth.powi(measured as i32), 0.1_f64.powi(measured as i32));
                    0.25_f64.clamp(initial * down, initial * up)
                };
                for _ in 0..40 {
                    optimizer.set_rate_factor(0.05).unwrap();
                    optimizer.step(&mut objective).unwrap();
                    let record = *optimizer.telemetry().unwrap().last().unwrap();
                    measured += u32::from(record.rate_measured);
                    let q = expected(measured);
                    // The curvature between two steps hangs on the rounding of steps of 10⁻³ · rate.
                    assert_within("q", record.base_learning_rate.into(), q, 0.02 * q);
                }
                assert!(measured > 15, "{measured}");
            }
        }
    }
}

/// What follows a step that is skipped, or a measurement that is lost, compares only what belongs together.
#[test]
fn lost_steps_match_the_reference() {
    for probe in PROBES {
        for at in [Point::Centre, Point::Probe] {
            if probe == RateProbe::RepeatedMinibatch && at == Point::Probe {
                continue;
            }
            for broken_step in 1..7 {
                let rate = CurvatureRate { burn_in: 16, interval: 50, ..settings(probe) };
                let learning_rate = LearningRate::Curvature(rate);
                let config = Config { learning_rate, ..Config::default() };
                let mut optimizer = flat(config.clone(), &start(LEN));
                let layout = Layout::flat(LEN).unwrap();
                let mut reference = Reference::new(&layout, config, &wide(&start(LEN)), &[]);
                let inner = Minibatches::new(LEN);
                let mut objective = Broken { inner, step: broken_step, at };
                let of_reference = Minibatches::new(LEN);
                let mut minibatch = 0;
                for step in 0..20 {
                    minibatch += u64::from(!reference.repeats_minibatch());
                    let mut calls = 0;
                    reference.step(|params| {
                        let mut gradient = of_reference.gradient_in(minibatch, params);
                        let point = if calls == 0 { Point::Centre } else { Point::Probe };
                        calls += 1;
                        if step == broken_step && point == at {
                            gradient[LEN - 1] = f64::NAN;
                        }
                        gradient
                    });
                    optimizer.step(&mut objective).unwrap();
                    let q = optimizer.telemetry().unwrap().last().unwrap().base_learning_rate;
                    let expected = reference.base_learning_rate;
                    // As in `follow`.
                    let bound = MEASURED * (step + 1) as f64;
                    assert_within("q", q.into(), expected, bound * expected);
                }
            }
        }
    }
}

/// The first of two steps on one minibatch that is skipped for the dimer's gradient leaves nothing to measure.
#[test]
fn a_skipped_first_step_is_no_measurement() {
    let learning_rate = LearningRate::Curvature(settings(RateProbe::RepeatedMinibatch));
    let dimer = Some(Dimer { schedule: Schedule::Every(1), ..fixed_dimer(0.1, 0.25, 1.0) });
    let mut optimizer = flat(Config { learning_rate, dimer, ..Config::default() }, &start(LEN));
    let mut objective = Broken { inner: Minibatches::new(LEN), step: 2, at: Point::Probe };
    let mut rates = Vec::new();
    for step in 0..4 {
        optimizer.step(&mut objective).unwrap();
        let record = *optimizer.telemetry().unwrap().last().unwrap();
        assert_eq!(record.skipped, step == 2);
        assert_eq!(record.rate_measured, step == 1, "step {step}");
        rates.push(record.base_learning_rate);
    }
    assert_eq!(rates[3], rates[1]);
}

/// The noisier the minibatches, the smaller the rate: from gradients that agree to gradients that do not.
#[test]
fn noise_makes_the_rate_smaller() {
    let run = |noise: f32, probe| {
        let rate = CurvatureRate { probe, initial: 1e-2, ..CurvatureRate::default() };
        let learning_rate = LearningRate::Curvature(rate);
        let mut optimizer = flat(Config { learning_rate, ..Config::default() }, &[0.0; 500]);
        let mut objective = Noisy { noise, minibatch: 0 };
        for _ in 0..40 {
            // So that all are measured near one place.
            optimizer.set_rate_factor(1e-2).unwrap();
            optimizer.step(&mut objective).unwrap();
        }
        optimizer.telemetry().unwrap().last().unwrap().base_learning_rate
    };
    for probe in PROBES {
        let rates = [0.0, 3.0, 10.0].map(|noise| run(noise, probe));
        println!("{probe:?}: {rates:?}");
        assert!(rates.windows(2).all(|pair| pair[1] < pair[0]), "{rates:?}");
    }
}

/// ½ ‖θ − 1‖² with noise that stays within a minibatch.
struct Noisy {
    noise: f32,
    minibatch: u64,
}

impl Objective for Noisy {
    fn begin_step(&mut self, step: StepInfo) -> dimer::Result<()> {
        self.minibatch += u64::from(!step.repeats_minibatch);
        Ok(())
    }

    fn gradient(&mut self, mut at: Evaluation<'_>) -> dimer::Result<()> {
        let noise = vector(&mut rng(1000 + self.minibatch), 500, Kind::Plain);
        let params = at.read_params()?;
        let parts = params.iter().zip(noise);
        let gradient: Vec<f32> = parts.map(|(x, noise)| x - 1.0 + self.noise * noise).collect();
        at.write_gradient(&gradient)
    }
}

struct Broken {
    inner: Minibatches,
    step: u64,
    at: Point,
}

impl Objective for Broken {
    fn begin_step(&mut self, step: StepInfo) -> dimer::Result<()> {
        self.inner.begin_step(step)
    }

    fn gradient(&mut self, mut at: Evaluation<'_>) -> dimer::Result<()> {
        let step = self.inner.steps.last().unwrap().index;
        let params = wide(&at.read_params()?);
        let mut gradient: Vec<f32> = self
            .inner
            .gradient_in(self.inner.minibatch, &params)
            .iter()
            .map(|&g| g as f32)
            .collect();
        if step == self.step && at.point == self.at {
            gradient[LEN - 1] = f32::NAN;
        }
        at.write_gradient(&gradient)
    }
}

/// Where there is no slope at all, there is nothing to measure: the rate stays where it started.
#[test]
fn a_stationary_point_measures_nothing() {
    for probe in PROBES {
        let learning_rate = LearningRate::Curvature(settings(probe));
        let mut optimizer =
            flat(Config { learning_rate, weight_decay: 0.0, ..Config::default() }, &[0.0; 5]);
        let mut objective = quadratic(vec![1.0, -1.0, 2.0, -2.0, 0.0]);
        for _ in 0..12 {
            optimizer.step(&mut objective).unwrap();
        }
        for record in optimizer.telemetry().unwrap() {
            assert!(!record.rate_measured && !record.skipped);
            assert_eq!(record.base_learning_rate, 0.02);
        }
        assert_eq!(optimizer.read_params().unwrap(), [0.0; 5]);
    }
}

/// The objective is told which steps and rotations repeat, new parameters end a pair, and one that goes on to the next
/// minibatch is found.
#[test]
fn repeated_minibatches_are_announced() {
    let rate = CurvatureRate { burn_in: 4, interval: 6, ..settings(RateProbe::RepeatedMinibatch) };
    let learning_rate = LearningRate::Curvature(rate);
    let config = Config { learning_rate, ..fixed_rate() };
    let mut optimizer = flat(config.clone(), &start(LEN));
    let mut objective = Minibatches::new(LEN);
    for _ in 0..14 {
        optimizer.step(&mut objective).unwrap();
    }
    let repeats: Vec<u64> = objective
        .steps
        .iter()
        .filter(|step| step.repeats_minibatch)
        .map(|step| step.index)
        .collect();
    assert_eq!(repeats, [1, 3, 7, 13]);
    assert!(objective.points.iter().all(|&point| point == Point::Centre), "no gradient more");
    let records = optimizer.telemetry().unwrap();
    let measured: Vec<u64> =
        records.iter().filter(|record| record.rate_measured).map(|record| record.step).collect();
    assert_eq!(measured, repeats);
    // Step 18 is the next first of two.
    while optimizer.steps() < 19 {
        optimizer.step(&mut objective).unwrap();
    }
    assert!(optimizer.repeats_minibatch());
    optimizer.rotate(&mut objective).unwrap();
    assert!(optimizer.repeats_minibatch() && objective.steps.last().unwrap().repeats_minibatch);
    optimizer.write_params(&start(LEN)).unwrap();
    optimizer.telemetry().unwrap();
    optimizer.step(&mut objective).unwrap();
    assert!(!optimizer.telemetry().unwrap()[0].rate_measured, "θ was replaced between the two");
    optimizer.check_objective(&mut Minibatches::new(LEN)).unwrap();
    let mut moves_on = MovesOn(Minibatches::new(LEN));
    let error = optimizer.check_objective(&mut moves_on).unwrap_err();
    let named = matches!(error, Error::InconsistentObjective { .. });
    assert!(named && error.to_string().contains("repeats_minibatch"), "{error}");
    let separate = LearningRate::Curvature(settings(RateProbe::SeparateGradient));
    let config = Config { learning_rate: separate, ..Config::default() };
    flat(config, &start(LEN)).check_objective(&mut moves_on).unwrap();
}

/// Minibatches by the index of the step, as without a flag, or as it should be.
struct ByIndex {
    inner: Minibatches,
    heeds_the_flag: bool,
}

impl Objective for ByIndex {
    fn begin_step(&mut self, step: StepInfo) -> dimer::Result<()> {
        let repeats = self.heeds_the_flag && step.repeats_minibatch;
        self.inner.minibatch = step.index - u64::from(repeats);
        Ok(())
    }

    fn gradient(&mut self, at: Evaluation<'_>) -> dimer::Result<()> {
        self.inner.gradient(at)
    }
}

/// Before the first of two steps on one minibatch and between them.
#[test]
fn minibatches_by_index_are_checked() {
    let learning_rate = LearningRate::Curvature(settings(RateProbe::RepeatedMinibatch));
    let config = Config { learning_rate, ..Config::default() };
    for steps in 0..4 {
        let by_index = |heeds_the_flag| ByIndex { inner: Minibatches::new(LEN), heeds_the_flag };
        let mut optimizer = flat(config.clone(), &start(LEN));
        for _ in 0..steps {
            optimizer.step(&mut by_index(true)).unwrap();
        }
        optimizer.check_objective(&mut by_index(true)).unwrap();
        let is_first = !optimizer.repeats_minibatch();
        let checked = optimizer.check_objective(&mut by_index(false));
        // The second of two steps is the next one itself: there is no other to compare it with.
        assert_eq!(checked.is_err(), is_first, "after {steps} steps");
        if let Err(error) = checked {
            assert!(error.to_string().contains("repeats_minibatch"), "{error}");
        }
    }
}

/// Whatever lies between two steps on one minibatch, the second measures what it would have without it.
#[test]
fn probes_between_the_steps_of_a_pair() {
    let learning_rate = LearningRate::Curvature(settings(RateProbe::RepeatedMinibatch));
    let dimer = Some(Dimer { schedule: Schedule::Every(2), ..Dimer::default() });
    let run = |between: &dyn Fn(&mut Optimizer, &mut Minibatches)| {
        let mut optimizer =
            flat(Config { learning_rate, dimer: dimer.clone(), ..Config::default() }, &start(LEN));
        let mut objective = Minibatches::new(LEN);
        for _ in 0..5 {
            optimizer.step(&mut objective).unwrap();
        }
        assert!(optimizer.repeats_minibatch());
        between(&mut optimizer, &mut objective);
        assert!(optimizer.repeats_minibatch());
        optimizer.step(&mut objective).unwrap();
        let record = *optimizer.telemetry().unwrap().last().unwrap();
        assert!(record.rate_measured && !record.skipped && record.updates == 6);
        let found = [record.base_learning_rate, record.update_slope, record.update_curvature];
        (objective.minibatch, found.map(f32::to_bits))
    };
    let undisturbed = run(&|_, _| {});
    type Between = Box<dyn Fn(&mut Optimizer, &mut Minibatches)>;
    let others: [(&str, Between); 5] = [
        ("a check", Box::new(|optimizer, objective| optimizer.check_objective(objective).unwrap())),
        (
            "a spectrum",
            Box::new(|optimizer, objective| {
                Spectrum::new(optimizer, 2, 0).unwrap().rotate(objective, 1).unwrap();
            }),
        ),
        ("a rotation", Box::new(|optimizer, objective| optimizer.rotate(objective).unwrap())),
        (
            "an event that fails at its probe",
            Box::new(|optimizer, objective| {
                let mut failing = FailsAtProbes(objective);
                optimizer.step(&mut failing).unwrap_err();
            }),
        ),
        (
            "a step by hand that is given up",
            Box::new(|optimizer, _| {
                let mut step = optimizer.begin_step().unwrap();
                step.write_gradient(Point::Centre, &start(LEN)).unwrap();
                step.next_probe().unwrap().unwrap();
            }),
        ),
    ];
    for (what, between) in others {
        assert_eq!(run(&*between), undisturbed, "{what}");
    }
}

/// A parabola in 20 parameters, whose first `lost` gradients cannot be used.
struct Parabola {
    lost: u64,
    /// What they have in place of one element, or of all if it is zero.
    in_place: f32,
    step: u64,
}

impl Objective for Parabola {
    fn begin_step(&mut self, step: StepInfo) -> dimer::Result<()> {
        self.step = step.index;
        Ok(())
    }

    fn gradient(&mut self, mut at: Evaluation<'_>) -> dimer::Result<()> {
        let params = at.read_params()?;
        let mut gradient: Vec<f32> =
            params.iter().zip(0..).map(|(x, i)| (1 + i % 7) as f32 * (x - 2.0)).collect();
        if self.step < self.lost {
            gradient[0] = self.in_place;
            if self.in_place == 0.0 {
                gradient.fill(0.0);
            }
        }
        at.write_gradient(&gradient)
    }
}

/// However many of the first steps are lost, the rate comes to where it would have come without them.
#[test]
fn lost_steps_are_made_up_for() {
    for probe in PROBES {
        let rate = CurvatureRate { initial: 1e-6, probe, ..CurvatureRate::default() };
        let run = |lost: u64, in_place: f32| {
            let learning_rate = LearningRate::Curvature(rate);
            let mut optimizer = flat(Config { learning_rate, ..Config::default() }, &[0.0; 20]);
            let mut objective = Parabola { lost, in_place, step: 0 };
            for _ in 0..lost + 40 {
                optimizer.step(&mut objective).unwrap();
            }
            let records = optimizer.telemetry().unwrap();
            let rates = [39, 39 + lost as usize].map(|step| records[step].base_learning_rate);
            println!("{probe:?}: {lost} lost to {in_place}, {rates:?}");
            rates
        };
        let [expected, _] = run(0, 0.0);
        for in_place in [f32::INFINITY, f32::NAN, 0.0] {
            for lost in [3, 10, 20] {
                let [early, _] = run(lost, in_place);
                let ratio = early / expected;
                assert!((0.5..=2.0).contains(&ratio), "{lost} lost to {in_place}: {ratio}");
            }
            // A burn-in that has to be made up for more than once. After 45 gradients of zero Adam itself takes longer
            // steps.
            if in_place != 0.0 {
                let [_, late] = run(45, in_place);
                assert!((0.5..=2.0).contains(&(late / expected)), "{late} instead of {expected}");
            }
        }
    }
}

/// Rotations take no part: with a dimer that only watches, no bit depends on them.
#[test]
fn rotations_do_not_count() {
    for probe in PROBES {
        let rate = CurvatureRate { interval: 7, ..settings(probe) };
        let dimer = Dimer {
            translation: Translation::None,
            schedule: Schedule::Every(1000),
            ..Dimer::default()
        };
        let run = |rotations: u64| {
            let learning_rate = LearningRate::Curvature(rate);
            let dimer = Some(dimer.clone());
            let mut optimizer =
                flat(Config { learning_rate, dimer, ..Config::default() }, &start(LEN));
            let mut objective = Minibatches::new(LEN);
            for step in 0..40 {
                for _ in 0..rotations * (step % 3) {
                    let minibatch = objective.minibatch;
                    optimizer.rotate(&mut objective).unwrap();
                    objective.minibatch = minibatch;
                }
                optimizer.step(&mut objective).unwrap();
            }
            let measured: Vec<u32> = optimizer
                .telemetry()
                .unwrap()
                .iter()
                .filter(|record| record.rate_measured)
                .map(|record| record.base_learning_rate.to_bits())
                .collect();
            assert!(measured.len() > 7, "{measured:?}");
            (measured, bits(&optimizer.read_params().unwrap()))
        };
        let undisturbed = run(0);
        for rotations in [1, 2] {
            assert_eq!(run(rotations), undisturbed, "{probe:?}");
        }
    }
}

/// A rate whose settings changed begins anew, also after another kind of rate; any other change leaves it.
#[test]
fn a_changed_rate_begins_anew() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("changed.safetensors");
    for probe in PROBES {
        let rate = CurvatureRate { initial: 1e-3, ..settings(probe) };
        let curvature = LearningRate::Curvature(rate);
        let with = |learning_rate, weight_decay| Config {
            learning_rate,
            weight_decay,
            ..Config::default()
        };
        let run = |before: Config, after: &Config| {
            let mut optimizer = flat(before, &start(LEN));
            let mut objective = Minibatches::new(LEN);
            for _ in 0..13 {
                optimizer.step(&mut objective).unwrap();
            }
            let last = optimizer.telemetry().unwrap().last().unwrap().base_learning_rate;
            optimizer.save(&path).unwrap();
            let mut optimizer = flat(after.clone(), &start(LEN));
            optimizer.load_with_changes(&path).unwrap();
            for _ in 0..8 {
                optimizer.step(&mut objective).unwrap();
            }
            let records = optimizer.telemetry().unwrap();
            let measured = records.iter().filter(|record| record.rate_measured).count();
            (last, records[0].base_learning_rate, measured)
        };
        let burn_in = if probe == RateProbe::SeparateGradient { 8 } else { 4 };
        let after = with(curvature, 0.01);
        let slower = LearningRate::Curvature(CurvatureRate { scale: 0.5, ..rate });
        for before in [LearningRate::Fixed(0.3), slower] {
            let (_, first, measured) = run(with(before, 0.01), &after);
            assert!((1e-4..=2e-3).contains(&first), "{probe:?}: it starts from {first}");
            assert_eq!(measured, burn_in, "{probe:?}");
        }
        let (last, first, measured) = run(with(curvature, 0.02), &after);
        assert!(last > 0.02 && first > 0.4 * last, "{probe:?}: from {last} to {first}");
        assert!(measured < burn_in, "{probe:?}: {measured}");
    }
}

struct FailsAtProbes<'a>(&'a mut Minibatches);

impl Objective for FailsAtProbes<'_> {
    fn begin_step(&mut self, step: StepInfo) -> dimer::Result<()> {
        self.0.begin_step(step)
    }

    fn gradient(&mut self, mut at: Evaluation<'_>) -> dimer::Result<()> {
        if at.point == Point::Probe {
            at.submit()?;
            return Err(Error::objective("no probe today"));
        }
        self.0.gradient(at)
    }
}

/// A step by hand is one of any form, also of one that no run of steps alone comes to.
#[test]
fn steps_by_hand_of_every_form() {
    let rate = CurvatureRate {
        probe: RateProbe::RepeatedMinibatch,
        interval: 2,
        burn_in: 0,
        ..settings(RateProbe::RepeatedMinibatch)
    };
    let dimer = Some(Dimer::default());
    let learning_rate = LearningRate::Curvature(rate);
    let mut optimizer = flat(Config { learning_rate, dimer, ..Config::default() }, &start(LEN));
    let mut objective = Minibatches::new(LEN);
    optimizer.rotate(&mut objective).unwrap();
    for _ in 0..3 {
        let step = optimizer.begin_step().unwrap();
        step.write_gradient(Point::Centre, &start(LEN)).unwrap();
        step.finish().unwrap();
    }
    optimizer.step(&mut objective).unwrap();
}

/// Takes the next minibatch in every step.
struct MovesOn(Minibatches);

impl Objective for MovesOn {
    fn begin_step(&mut self, step: StepInfo) -> dimer::Result<()> {
        self.0.begin_step(step)?;
        self.0.minibatch += u64::from(step.repeats_minibatch);
        Ok(())
    }

    fn gradient(&mut self, at: Evaluation<'_>) -> dimer::Result<()> {
        self.0.gradient(at)
    }
}

/// ½ Σ h θ², the same in every step.
fn bowl(h: &[f32]) -> impl FnMut(&[f64]) -> Vec<f64> + '_ {
    move |params| params.iter().zip(h).map(|(x, &h)| f64::from(h) * x).collect()
}

fn bowl_on_host(h: &[f32]) -> impl Objective + '_ {
    HostObjective::new(|params: &[f32], gradient: &mut [f32]| {
        let (params, exact) = (wide(params), bowl(h)(&wide(params)));
        gradient.iter_mut().zip(&exact).for_each(|(g, exact)| *g = *exact as f32);
        0.5 * dimer::reference::dot(&params, &exact) as f32
    })
}

fn drawn(rng: &mut rand::rngs::StdRng, range: std::ops::Range<f32>) -> Vec<f32> {
    use rand::RngExt;
    (0..LEN).map(|_| rng.random_range(range.clone())).collect()
}

/// A rate that is measured often, and nothing else that moves the parameters.
fn in_a_bowl(base: Base, probe: RateProbe, initial: f64, interval: u32) -> Config {
    let rate = CurvatureRate { probe, initial, interval, burn_in: 8, ..CurvatureRate::default() };
    let learning_rate = LearningRate::Curvature(rate);
    Config { base, learning_rate, weight_decay: 0.0, ..Config::default() }
}

/// Runs the optimizer beside the reference and the unfused twin in one bowl after the other, so many steps in each, compares
/// rates and parameters, and returns the records. All terms of all sums have one sign, so that the bounds of `MEASURED` hold;
/// the minimum is at zero, so that they hold near it as well.
fn follow_in_bowls(config: &Config, bowls: &[(&[f32], u64)], start: &[f32]) -> Vec<Telemetry> {
    let mut optimizer = flat(config.clone(), start);
    let layout = Layout::flat(start.len()).unwrap();
    let mut reference = Reference::new(&layout, config.clone(), &wide(start), &[]);
    let mut unfused = UnfusedOptimizer::new(&gpu(), layout.clone(), config.clone(), start).unwrap();
    let mut records = Vec::new();
    for &(h, steps) in bowls {
        let mut objective = bowl_on_host(h);
        for _ in 0..steps {
            optimizer.step(&mut objective).unwrap();
            unfused.step(&mut objective).unwrap();
            reference.step(bowl(h));
            let record = *optimizer.telemetry().unwrap().last().unwrap();
            let q = reference.base_learning_rate;
            let bound = MEASURED * (records.len() + 1) as f64;
            assert_within("q", record.base_learning_rate.into(), q, bound * q);
            records.push(record);
        }
    }
    let found = optimizer.read_params().unwrap();
    let largest = found.iter().fold(0.0, |largest: f32, x| largest.max(x.abs()));
    let bound = MEASURED * records.len() as f64 * f64::from(largest);
    assert_all_within("θ", &unfused.read_params().unwrap(), &wide(&found), |_| bound);
    records
}

/// Adam's update shrinks with the gradient, since its second moments remember larger ones. Then the estimate of the rate
/// shrinks as well: the base rate is no more than what the slope and the curvature that were measured say of an update
/// a fiftieth as long as the longest.
#[test]
fn a_short_update_counts_as_longer() {
    let mut rng = rng(157);
    let [h, start] = [0.5..2.0, 1.0..2.0].map(|range| drawn(&mut rng, range));
    for probe in PROBES {
        let config = in_a_bowl(Base::Adam(Adam::default()), probe, 0.02, 5);
        let records = follow_in_bowls(&config, &[(&h, 200)], &start);
        let estimate = |record: &Telemetry| {
            let (slope, curvature) = (record.update_slope, record.update_curvature);
            1.4 * -f64::from(slope) / f64::from(curvature)
        };
        let measured = records.iter().filter(|record| record.rate_measured);
        let shorter = measured.filter(|record| {
            // |u| is at least this, since all h are at most 2; the longest was that of the first step, √n.
            let norm = (f64::from(record.update_curvature) / 2.0).sqrt();
            norm < 0.002 * (LEN as f64).sqrt()
        });
        let shorter: Vec<_> = shorter.collect();
        println!("{probe:?}: {} short updates", shorter.len());
        assert!(shorter.len() > 3, "{probe:?}: {}", shorter.len());
        let last = shorter[shorter.len() - 1];
        let (q, unbounded) = (f64::from(last.base_learning_rate), estimate(last));
        assert!(q < 0.5 * unbounded, "{probe:?}: {q} beside {unbounded}");
    }
}

/// An event looks along its own update after the rate was measured, which changes nothing of what the measurement leaves: in a
/// bowl no step is taken along N, so that the rates are those without a dimer.
#[test]
fn events_leave_the_measurement_alone() {
    let mut rng = rng(159);
    let [h, start] = [0.5..2.0, 1.0..2.0].map(|range| drawn(&mut rng, range));
    for probe in PROBES {
        let run = |dimer| {
            let config = in_a_bowl(Base::Adam(Adam::default()), probe, 0.02, 5);
            let mut optimizer = flat(Config { dimer, ..config }, &start);
            let mut objective = bowl_on_host(&h);
            let mut rates = Vec::new();
            for _ in 0..200 {
                optimizer.step(&mut objective).unwrap();
                let record = *optimizer.telemetry().unwrap().last().unwrap();
                rates.push(record.base_learning_rate.to_bits());
            }
            rates
        };
        let every_step = Dimer { schedule: Schedule::Every(1), ..Dimer::default() };
        assert_eq!(run(Some(every_step)), run(None), "{probe:?}");
    }
}

/// From a maximum the way down becomes steeper with every step, and the estimate, of a parabola that has no lowest point, is
/// short. With Adam a rate of less than ten probes then grows, fourfold in each measurement.
#[test]
fn a_rate_grows_with_the_slope() {
    let mut rng = rng(158);
    let [h, start] = [-2.0..-0.5, 1e-5..1e-4].map(|range| drawn(&mut rng, range));
    let sgd = Base::Sgd(Sgd { momentum: 0.9, nesterov: false });
    // Smaller steps of two on one minibatch would be lost in the rounding of θ.
    for (base, initial) in [(Base::Adam(Adam::default()), 1e-7), (sgd, 2e-3)] {
        for probe in PROBES {
            let config = in_a_bowl(base, probe, initial, 2);
            let records = follow_in_bowls(&config, &[(&h, 24)], &start);
            let rates: Vec<f32> = records.iter().map(|record| record.base_learning_rate).collect();
            let fourfold = rates.windows(2).filter(|pair| pair[1] > 3.9 * pair[0]).count();
            println!("{base:?} {probe:?}: {fourfold} times fourfold, {rates:?}");
            let expected = if matches!(base, Base::Sgd(_)) { 0..1 } else { 3..24 };
            assert!(expected.contains(&fourfold), "{base:?} {probe:?}: {rates:?}");
        }
    }
}

/// After steep steps in a narrow bowl, near a maximum that is a thousand times as flat, the rate grows fourfold too: the loss
/// bends down, and g·u is lower than the last time, though the way down was steeper before. All elements are alike, so that the
/// terms of a sum have one sign.
#[test]
fn a_rate_grows_where_the_loss_bends_down() {
    use rand::RngExt;
    let mut rng = rng(160);
    let (narrow, x) = (rng.random_range(0.5..2.0_f32), rng.random_range(5e-4..2e-3_f32));
    let flat = -1e-3 * narrow;
    let bowls: [(&[f32], u64); 2] = [(&[narrow; LEN], 8), (&[flat; LEN], 150)];
    for probe in PROBES {
        let config = in_a_bowl(Base::Adam(Adam::default()), probe, 1e-6, 5);
        let records = follow_in_bowls(&config, &bowls, &[x; LEN]);
        // −g·u / ‖u‖, since u·Hu is h ‖u‖².
        let steepness = |record: &Telemetry, h: f32| {
            -record.update_slope / (record.update_curvature / h).sqrt()
        };
        let steepest =
            records[..8].iter().map(|record| steepness(record, narrow)).fold(0.0, f32::max);
        let grown = records[7..].windows(2).filter(|pair| {
            let (before, after) = (pair[0].base_learning_rate, pair[1].base_learning_rate);
            after > 3.9 * before && steepness(&pair[1], flat) < 0.5 * steepest
        });
        let grown = grown.count();
        println!("{probe:?}: {grown} times");
        assert!(grown > 0, "{probe:?}");
    }
}

/// Near a maximum, where g·u falls with every step: the first measurement with other settings has nothing to be compared with.
#[test]
fn a_slope_of_other_settings_does_not_count() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("slope.safetensors");
    let mut rng = rng(161);
    let [h, start] = [-2.0..-0.5, 1e-5..1e-4].map(|range| drawn(&mut rng, range));
    // Fewer than it takes to come to ten probes.
    for (probe, steps) in PROBES.into_iter().zip([4, 8]) {
        let config = in_a_bowl(Base::Adam(Adam::default()), probe, 1e-7, 2);
        let other = Base::Adam(Adam { beta1: 0.8, ..Adam::default() });
        let first_growth = |after: Config| {
            let mut objective = bowl_on_host(&h);
            let mut optimizer = flat(config.clone(), &start);
            for _ in 0..steps {
                optimizer.step(&mut objective).unwrap();
            }
            let before = optimizer.telemetry().unwrap().last().unwrap().base_learning_rate;
            optimizer.save(&path).unwrap();
            let mut optimizer = flat(after, &start);
            optimizer.load_with_changes(&path).unwrap();
            loop {
                optimizer.step(&mut objective).unwrap();
                let record = *optimizer.telemetry().unwrap().last().unwrap();
                if record.rate_measured {
                    break record.base_learning_rate / before;
                }
            }
        };
        assert!(first_growth(config.clone()) > 3.9, "{probe:?}");
        let changed = first_growth(Config { base: other, ..config.clone() });
        assert!(changed < 3.1, "{probe:?}: {changed}");
    }
}

/// A run that is saved after any step goes on with the same bits, within a pair of steps as well.
#[test]
fn a_run_resumes_with_the_same_bits() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rate.safetensors");
    for probe in PROBES {
        for storage in [Storage::F32, Storage::Bf16] {
            let learning_rate = LearningRate::Curvature(settings(probe));
            let dimer = Dimer { schedule: Schedule::Every(3), ..Dimer::default() };
            let config = Config { learning_rate, storage, dimer: Some(dimer), ..Config::default() };
            let run = |save_after: Option<u64>| {
                let mut optimizer = flat(config.clone(), &start(LEN));
                let mut objective = Minibatches::new(LEN);
                for step in 0..14 {
                    optimizer.set_rate_factor(1.0 / (step + 1) as f64).unwrap();
                    if Some(step) == save_after {
                        optimizer.save(&path).unwrap();
                        optimizer = flat(config.clone(), &vec![0.5; LEN]);
                        optimizer.load(&path).unwrap();
                    }
                    optimizer.step(&mut objective).unwrap();
                }
                let rate = optimizer.telemetry().unwrap().last().unwrap().learning_rate;
                (state(&optimizer), rate.to_bits(), objective.steps)
            };
            let whole = run(None);
            for step in 0..14 {
                assert_eq!(
                    run(Some(step)),
                    whole,
                    "{probe:?} {storage:?}: saved before step {step}"
                );
            }
        }
    }
}
