//! All gradients of one step are of one function, at the point that was asked for: objectives that cheat
//! are found, each with what it did wrong, and honest ones are left alone.

use crate::common::*;
use dimer::{
    Config, Difference, Dimer, Displacement, Error, Evaluation, GpuSlice, HostObjective,
    LearningRate, Objective, Optimizer, Point, Regime, Rotation, RotationRate, Schedule, Scope,
    Storage,
};
use rand::RngExt;
use rand::rngs::StdRng;

const LEN: usize = 70;

/// What is wrong with an objective.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    None,
    /// Each call takes the next minibatch.
    NextMinibatch,
    /// Each call drops other elements.
    LiveDropout,
    /// The probe has a minibatch of its own.
    MinibatchOfItsOwn,
    /// The probe is evaluated without dropout, as in a validation.
    ValidatesTheProbe,
    /// Evaluates where it believes θ to be.
    OwnParams,
    /// As a closure that never calls `backward` again: the gradient of the centre stays.
    StaysAtTheCentre,
    /// The last element is left out.
    Short,
    /// Adds to what lies in the gradient.
    Accumulates,
    /// Takes a step of its own.
    MovesParams,
    NotFinite,
    Fails,
    /// Writes the gradient at a probe where that of most probes belongs, whatever it is asked.
    IgnoresWhere,
    /// Promises a loss and writes none, or only that of a probe.
    NoLoss,
    LossOfTheProbe,
}

/// ½ Σ hᵢ (θᵢ − b)² of minibatch b, with a mask.
struct Cheat {
    fault: Fault,
    calls: u32,
    rng: StdRng,
    own: Vec<f32>,
    /// Where it writes the gradient at a probe, if it ignores where that belongs.
    probe_gradient: Option<GpuSlice>,
}

impl Cheat {
    fn new(fault: Fault) -> Self {
        Self { fault, calls: 0, rng: rng(11), own: start(), probe_gradient: None }
    }
}

fn start() -> Vec<f32> {
    vector(&mut rng(12), LEN, Kind::Plain)
}

impl Objective for Cheat {
    fn gradient(&mut self, mut at: Evaluation<'_>) -> dimer::Result<()> {
        self.calls += 1;
        let is_probe = at.point == Point::Probe;
        let mut params = at.read_params()?;
        if self.fault == Fault::OwnParams {
            params.clone_from(&self.own);
        }
        let minibatch = match self.fault {
            Fault::NextMinibatch => self.calls as f32 * 0.1,
            Fault::MinibatchOfItsOwn if is_probe => 0.1,
            _ => 0.0,
        };
        let mut gradient: Vec<f32> =
            (0..LEN).map(|i| (i as f32 / 20.0 - 1.0) * (params[i] - minibatch) + 0.3).collect();
        if self.fault == Fault::LiveDropout {
            let dropped = self.rng.random_range(0..LEN);
            gradient[dropped] = 0.0;
        } else if self.fault == Fault::ValidatesTheProbe && !is_probe {
            gradient[7] = 0.0;
        }
        let (queue, buffer) = (at.gpu.queue(), &at.gradient.buffer);
        match self.fault {
            Fault::StaysAtTheCentre if is_probe => return Ok(()),
            Fault::Short => {
                let bytes = bytemuck::cast_slice(&gradient[..LEN - 1]);
                queue.write_buffer(buffer, at.gradient.offset, bytes);
                return Ok(());
            }
            Fault::Accumulates => {
                let there = read_from(at.gpu, at.gradient);
                gradient.iter_mut().zip(there).for_each(|(g, there)| *g += there);
            }
            Fault::MovesParams => {
                let moved: Vec<f32> = params.iter().map(|x| x - 0.1).collect();
                queue.write_buffer(
                    &at.params.buffer,
                    at.params.offset,
                    bytemuck::cast_slice(&moved),
                );
            }
            Fault::NotFinite => gradient[3] = f32::INFINITY,
            Fault::Fails => return Err(Error::objective("out of data")),
            Fault::IgnoresWhere if is_probe => {
                let slice = self.probe_gradient.as_ref().unwrap();
                queue.write_buffer(&slice.buffer, slice.offset, bytemuck::cast_slice(&gradient));
                return Ok(());
            }
            Fault::LossOfTheProbe if is_probe => at.write_loss(7.0),
            _ => {}
        }
        at.write_gradient(&gradient)
    }

    fn supplies_loss(&self) -> bool {
        matches!(self.fault, Fault::NoLoss | Fault::LossOfTheProbe)
    }
}

fn checked(config: &Config, fault: Fault) -> dimer::Result<()> {
    let mut optimizer = flat(config.clone(), &start());
    let before = snapshot(&optimizer);
    let probe_gradient = optimizer.probe_gradient().cloned();
    let mut cheat = Cheat { probe_gradient, ..Cheat::new(fault) };
    let checked = optimizer.check_objective(&mut cheat);
    assert_eq!(snapshot(&optimizer), before, "{fault:?}: nothing changes");
    checked
}

/// Everything that a check could change.
fn snapshot(optimizer: &Optimizer) -> impl PartialEq + std::fmt::Debug + use<> {
    (state(optimizer), optimizer.steps(), optimizer.gradient_evaluations())
}

#[test]
fn each_fault_is_named() {
    let two_functions = "the minibatch moved, or randomness (dropout) is live";
    for (fault, words) in [
        (Fault::NextMinibatch, ["two gradients at θ differ by", two_functions]),
        (Fault::LiveDropout, ["two gradients at θ differ by", two_functions]),
        (Fault::MinibatchOfItsOwn, ["as centre and as probe differ by", two_functions]),
        (Fault::ValidatesTheProbe, ["as centre and as probe differ by", two_functions]),
        (Fault::OwnParams, ["to the bit", "does not read `Evaluation::params`"]),
        (Fault::StaysAtTheCentre, ["did not write element 0 of the gradient", ""]),
        (Fault::Short, ["did not write element 69 of the gradient", ""]),
        (Fault::Accumulates, ["added to what lay there", ""]),
        (Fault::MovesParams, ["changed the parameters", ""]),
        (Fault::NoLoss, ["did not write its loss", "supplies_loss"]),
        (Fault::LossOfTheProbe, ["did not write its loss", "supplies_loss"]),
    ] {
        let error = checked(&fixed_rate(), fault).unwrap_err();
        assert!(matches!(error, Error::InconsistentObjective { .. }), "{fault:?}: {error}");
        let text = error.to_string();
        println!("{fault:?}: {text}");
        assert!(words.iter().all(|words| text.contains(words)), "{fault:?}: {text}");
    }
    let error = checked(&fixed_rate(), Fault::NotFinite).unwrap_err();
    assert!(matches!(error, Error::NonFinite { index: 3, .. }), "{error}");
    let error = checked(&fixed_rate(), Fault::Fails).unwrap_err();
    assert!(error.to_string().contains("out of data"), "{error}");
}

/// With central differences, one gradient of a pair belongs where that at θ lies otherwise.
#[test]
fn both_sides_of_a_pair_are_looked_at() {
    let dimer = Dimer { difference: Difference::Central, ..Dimer::default() };
    let central = Config { dimer: Some(dimer), ..fixed_rate() };
    let error = checked(&central, Fault::IgnoresWhere).unwrap_err();
    assert!(error.to_string().contains("did not write element 0"), "{error}");
    checked(&central, Fault::None).unwrap();
    // Of one probe there is one place only.
    checked(&fixed_rate(), Fault::IgnoresWhere).unwrap();
}

/// What a closure leaves out is found, unless it adds to the zeros that lie there.
#[test]
fn a_closure_that_leaves_elements_out() {
    let check = |function: fn(&[f32], &mut [f32])| {
        let mut objective = HostObjective::new(|params: &[f32], gradient: &mut [f32]| {
            function(params, gradient);
            0.0
        });
        flat(fixed_rate(), &start()).check_objective(&mut objective)
    };
    let error = check(|params, gradient| {
        for i in 0..LEN / 3 {
            gradient[i] = 2.0 * params[i] + 1.0;
        }
    });
    let error = error.unwrap_err().to_string();
    assert!(error.contains(&format!("did not write element {}", LEN / 3)), "{error}");
    check(|params, gradient| {
        for (g, x) in gradient.iter_mut().zip(params) {
            *g += 2.0 * x + 1.0;
        }
    })
    .unwrap();
    // One that sets some and adds to others may have left nothing out; nor may a large gradient swallow what lay there.
    check(|params, gradient| {
        gradient[0] = 2.0 * params[0] + 1.0;
        for i in 2..LEN {
            gradient[i] += 1e9 * params[i] + 1e9;
        }
    })
    .unwrap();
    // With elements that are zero, one way and the other.
    check(|params, gradient| {
        for (i, (g, x)) in gradient.iter_mut().zip(params).enumerate() {
            *g = if i % 5 == 0 { 0.0 } else { 2.0 * x + 1.0 };
        }
    })
    .unwrap();
    check(|params, gradient| {
        for (_, (g, x)) in gradient.iter_mut().zip(params).enumerate().filter(|(i, _)| i % 5 > 0) {
            *g += 2.0 * x + 1.0;
        }
    })
    .unwrap();
}

/// The loss of a record is that at θ, and none where none was written.
#[test]
fn only_the_loss_at_the_centre_counts() {
    struct Losses(u64);
    impl Objective for Losses {
        fn begin_step(&mut self, step: dimer::StepInfo) -> dimer::Result<()> {
            self.0 = step.index;
            Ok(())
        }

        fn gradient(&mut self, mut at: Evaluation<'_>) -> dimer::Result<()> {
            let params = at.read_params()?;
            match at.point {
                Point::Centre if self.0 % 3 == 2 => {}
                Point::Centre => at.write_loss(self.0 as f32 + 0.5),
                _ => at.write_loss(-1.0),
            }
            at.write_gradient(&params)
        }

        fn supplies_loss(&self) -> bool {
            true
        }
    }
    for regime in [Regime::Stochastic, Regime::rotations(2)] {
        let rotation = Rotation::locally_optimal(regime);
        let dimer = Some(Dimer { rotation, schedule: Schedule::Every(2), ..Dimer::default() });
        let mut optimizer = flat(Config { dimer, ..fixed_rate() }, &start());
        for _ in 0..9 {
            optimizer.step(&mut Losses(0)).unwrap();
        }
        let records = optimizer.telemetry().unwrap();
        let losses: Vec<_> = records.iter().map(|record| record.loss).collect();
        let expected: Vec<_> =
            (0..9).map(|step| (step % 3 != 2).then_some(step as f32 + 0.5)).collect();
        assert_eq!(losses, expected);
    }
}

/// Without a dimer there is only the gradient of one point: what is found then.
#[test]
fn without_a_dimer() {
    let config = Config { dimer: None, ..fixed_rate() };
    for fault in [Fault::NextMinibatch, Fault::LiveDropout, Fault::Short, Fault::MovesParams] {
        assert!(checked(&config, fault).is_err(), "{fault:?}");
    }
    checked(&config, Fault::None).unwrap();
    checked(&config, Fault::OwnParams).unwrap();
}

#[test]
fn a_displacement_below_rounding_is_named() {
    let displacement = Displacement::Absolute(1e-12);
    let dimer = Some(Dimer { displacement, ..Dimer::default() });
    let error = checked(&Config { dimer, ..fixed_rate() }, Fault::None).unwrap_err();
    let named = matches!(error, Error::InvalidConfig { field: "dimer.displacement", .. });
    assert!(named && error.to_string().contains("Absolute(1e-12)"), "{error}");
}

/// Objectives of every kind of event; and a run with checks is the same to the bit as one without.
#[test]
fn honest_objectives_pass_and_nothing_changes() {
    let gradient = Rotation::gradient(RotationRate::Automatic);
    let base = Dimer { schedule: Schedule::Every(2), ..Dimer::default() };
    let dimers = [
        base.clone(),
        Dimer { rotation: gradient, ..base.clone() },
        Dimer { rotation: gradient, scope: Scope::PerTensor, ..base.clone() },
        Dimer { difference: Difference::Central, ..base.clone() },
        Dimer { displacement: Displacement::Automatic, ..base.clone() },
        Dimer { rotation: Rotation::locally_optimal(Regime::rotations(3)), ..base.clone() },
    ];
    let mut configs: Vec<Config> = dimers
        .map(|dimer| Config {
            dimer: Some(dimer),
            learning_rate: LearningRate::Fixed(0.02),
            ..fixed_rate()
        })
        .into();
    configs.push(Config { storage: Storage::Bf16, ..configs[0].clone() });
    for config in configs {
        println!("{config:?}");
        let run = |checks: bool| {
            let mut optimizer = flat(config.clone(), &start());
            for _ in 0..7 {
                if checks {
                    optimizer.check_objective(&mut Cheat::new(Fault::None)).unwrap();
                }
                optimizer.step(&mut Cheat::new(Fault::None)).unwrap();
            }
            let records = format!("{:?}", optimizer.telemetry().unwrap());
            (snapshot(&optimizer), records)
        };
        assert_eq!(run(true), run(false));
    }
}
