//! After `load`, an optimizer is in every way that can be seen one that was made and loaded fresh; and what can be
//! saved can be loaded, with other settings if that is asked for.

use crate::common::checkpoints::*;
use crate::common::*;
use dimer::{
    Base, Config, Correction, Dimer, Error, Group, HostObjective, Layout, LearningRate, Metric,
    Mode, Objective, OnPlateau, Optimizer, Rotation, RotationRate, Schedule, Scope, Sgd, Storage,
};

fn dimer() -> Dimer {
    Dimer { schedule: Schedule::Every(3), correction: Correction::EveryStep, ..Dimer::default() }
}

fn with(dimer: Dimer) -> Config {
    Config {
        dimer: Some(dimer),
        learning_rate: LearningRate::Fixed(1e-2),
        max_consecutive_skips: Some(5),
        ..fixed_rate()
    }
}

fn configs() -> Vec<Config> {
    let plateau = OnPlateau { shortest: 4, longest: 12, share: 0.5 };
    let by_gradient = Rotation::gradient(RotationRate::Automatic);
    vec![
        with(dimer()),
        with(Dimer { schedule: Schedule::OnPlateau(plateau), ..dimer() }),
        with(Dimer { rotation: by_gradient, scope: Scope::PerTensor, ..dimer() }),
        Config { storage: Storage::Bf16, ..with(dimer()) },
        Config { dimer: None, ..with(dimer()) },
    ]
}

fn not_a_number() -> impl Objective {
    HostObjective::new(|_: &[f32], gradient: &mut [f32]| {
        gradient.fill(f32::NAN);
        f32::NAN
    })
}

/// What happens to an optimizer before it loads.
const DISTURBANCES: [&str; 9] = [
    "nothing",
    "steps",
    "skips",
    "skips unseen",
    "telemetry asked for",
    "timed",
    "dropped",
    "lost step",
    "rotated",
];

fn disturb(optimizer: &mut Optimizer, how: &str) {
    let steps = |optimizer: &mut Optimizer, count: u32| {
        (0..count).for_each(|_| optimizer.step(&mut objective()).unwrap());
    };
    match how {
        "nothing" => {}
        "steps" => {
            steps(optimizer, 30);
            optimizer.set_learning_rate(0.5).unwrap();
            optimizer.set_loss_scale(4.0).unwrap();
        }
        // The limit is reached; one call reports it, and the next goes on.
        "skips" => {
            let failed = (0..20).filter(|_| optimizer.step(&mut not_a_number()).is_err());
            assert!(failed.count() > 0);
        }
        "skips unseen" => (0..5).for_each(|_| optimizer.step(&mut not_a_number()).unwrap()),
        "telemetry asked for" => {
            steps(optimizer, 20);
            optimizer.poll_telemetry().unwrap();
            steps(optimizer, 3);
        }
        "timed" => {
            optimizer.time_kernels(true).unwrap();
            steps(optimizer, 5);
        }
        "dropped" => {
            steps(optimizer, 2);
            let gpu = optimizer.gpu().clone();
            let mut encoder = gpu.device().create_command_encoder(&Default::default());
            optimizer.record_step(&mut encoder, &mut objective()).unwrap();
        }
        "lost step" => {
            steps(optimizer, 7);
            struct Fails;
            impl Objective for Fails {
                fn gradient(&mut self, _: dimer::Evaluation<'_>) -> dimer::Result<()> {
                    Err(Error::objective("it fails"))
                }
            }
            optimizer.step(&mut Fails).unwrap_err();
        }
        "rotated" if optimizer.config().dimer.is_some() => {
            (0..5).for_each(|_| optimizer.rotate(&mut objective()).unwrap());
        }
        "rotated" => {}
        other => panic!("{other}"),
    }
}

/// Everything that can be seen of an optimizer as it goes on, a step that is skipped and one that is dropped among
/// those to come.
fn future(optimizer: &mut Optimizer) -> Vec<String> {
    let mut seen = vec![format!("{:?}", optimizer.kernel_times().unwrap())];
    let gpu = optimizer.gpu().clone();
    for step in 0..40 {
        let taken = match step {
            3 => {
                let mut encoder = gpu.device().create_command_encoder(&Default::default());
                optimizer.record_step(&mut encoder, &mut objective())
            }
            10..15 => optimizer.step(&mut not_a_number()),
            _ => optimizer.step(&mut objective()),
        };
        seen.push(format!("{:?}", taken.map_err(|error| error.to_string())));
        if step % 9 == 8 || step < 5 {
            seen.push(format!("{:?}", optimizer.telemetry().unwrap()));
        }
        seen.push(format!("{:?}", optimizer.read_curvature().unwrap().to_bits()));
    }
    seen.push(format!("{:?}", snapshot(optimizer)));
    seen
}

#[test]
fn whatever_happened_before() {
    let scratch = Scratch::new();
    for config in configs() {
        let mut saved = make(&config, 0.3);
        (0..13).for_each(|_| saved.step(&mut objective()).unwrap());
        saved.set_learning_rate(2e-2).unwrap();
        saved.save(scratch.file()).unwrap();
        let mut fresh = make(&config, -1.0);
        fresh.load(scratch.file()).unwrap();
        let expected = future(&mut fresh);
        for how in DISTURBANCES {
            let mut optimizer = make(&config, 0.9);
            disturb(&mut optimizer, how);
            optimizer.load(scratch.file()).unwrap();
            let found = future(&mut optimizer);
            for (number, (found, expected)) in found.iter().zip(&expected).enumerate() {
                assert_eq!(found, expected, "{how}, sight {number}: {config:?}");
            }
        }
    }
}

/// Losses and gradients at the ends of f32 while a plateau schedule looks: what is saved can be loaded, and the
/// schedule goes on as it would have.
#[test]
fn numbers_that_are_not_finite_do_not_reach_a_checkpoint() {
    let scratch = Scratch::new();
    let schedule = Schedule::OnPlateau(OnPlateau { shortest: 2, longest: 20, share: 0.5 });
    for base in [SGD, ADAMW] {
        for bad in [f32::INFINITY, f32::NEG_INFINITY, f32::NAN, f32::MAX, -f32::MAX] {
            let config = Config { base, ..with(Dimer { schedule, ..dimer() }) };
            let events = |losses: &dyn Fn(u64) -> Option<f32>| {
                let mut optimizer = make(&config, 0.3);
                let mut events = Vec::new();
                for step in 0..60 {
                    let mut good = objective();
                    match losses(step) {
                        Some(loss) => {
                            let mut constant = HostObjective::new(|x: &[f32], g: &mut [f32]| {
                                g.copy_from_slice(x);
                                loss
                            });
                            optimizer.step(&mut constant).unwrap();
                        }
                        None => optimizer.step(&mut good).unwrap(),
                    }
                    if step % 7 == 6 {
                        optimizer.save(scratch.file()).unwrap();
                        let mut other = make(&config, 1.0);
                        other.load(scratch.file()).expect("what is saved can be loaded");
                    }
                    let records = optimizer.telemetry().unwrap();
                    events.extend(records.iter().filter(|r| r.event).map(|r| r.step));
                }
                events
            };
            let found = events(&|step| (step == 9).then_some(bad));
            println!("{bad}: {found:?}");
            // A plateau for good would be an event at least every fourth step from here on.
            if !bad.is_finite() {
                let usual = events(&|step| (step == 9).then_some(f32::NAN));
                assert_eq!(found, usual, "{bad} counts as nothing");
            }
        }
    }
}

/// Parameters that a step took beyond f32 are not saved over good ones.
#[test]
fn parameters_that_overflowed_are_not_saved() {
    let scratch = Scratch::new();
    for (tensor, value) in [(0, f32::MAX), (70, -f32::MAX)] {
        let config = Config { base: SGD, dimer: None, weight_decay: 0.0, ..fixed_rate() };
        let mut optimizer = make(&config, 0.5);
        optimizer.save(scratch.file()).unwrap();
        let before = std::fs::read(scratch.file()).unwrap();
        optimizer.set_learning_rate(1e30).unwrap();
        let mut far = HostObjective::new(|_: &[f32], gradient: &mut [f32]| {
            gradient.fill(0.0);
            gradient[tensor] = value * 1e-20;
            0.0
        });
        optimizer.step(&mut far).unwrap();
        // All later steps are skipped and counted, though their gradients are finite.
        let stopped = bits(&optimizer.read_params().unwrap());
        for _ in 0..3 {
            optimizer.step(&mut far).unwrap();
        }
        assert_eq!(bits(&optimizer.read_params().unwrap()), stopped);
        let skipped =
            optimizer.telemetry().unwrap().iter().map(|r| r.consecutive_skips).collect::<Vec<_>>();
        assert_eq!(skipped, [0, 1, 2, 3]);
        let reason = reason(optimizer.save(scratch.file()));
        let name = if tensor == 0 { "params/a.weight[0]" } else { "params/b[5]" };
        assert!(reason.contains(name) && reason.contains("inf"), "{reason}");
        assert_eq!(std::fs::read(scratch.file()).unwrap(), before);
        optimizer.load(scratch.file()).unwrap();
        assert_eq!(optimizer.read_params().unwrap(), [0.5; LEN]);
        // Other parameters, or those of a checkpoint, let it go on.
        optimizer.step(&mut objective()).unwrap();
        assert!(!optimizer.telemetry().unwrap()[0].skipped);
        optimizer.set_learning_rate(1e30).unwrap();
        optimizer.step(&mut far).unwrap();
        optimizer.write_params(&[0.25; LEN]).unwrap();
        optimizer.set_learning_rate(1e-3).unwrap();
        optimizer.step(&mut objective()).unwrap();
        assert!(optimizer.telemetry().unwrap().iter().all(|record| !record.skipped));
    }
}

/// Another layout is told from other settings, whichever way round.
#[test]
fn other_tensors_are_named() {
    let scratch = Scratch::new();
    let layout = |names: &[&str]| {
        let mut builder = Layout::builder();
        for name in names {
            builder.tensor(*name, &[3]);
        }
        builder.build().unwrap()
    };
    let make = |names: &[&str]| {
        let config = fixed_rate();
        Optimizer::new(&gpu(), layout(names), config, &vec![0.5; 3 * names.len()]).unwrap()
    };
    make(&["a", "b"]).save(scratch.file()).unwrap();
    let added = reason(make(&["a", "b", "c"]).load(scratch.file()));
    assert_eq!(added, "it has no tensor `c`, which the layout here has");
    let removed = reason(make(&["b"]).load(scratch.file()));
    assert_eq!(removed, "its tensor `a` is not in the layout here");
}

/// Other settings are refused by `load`, which names the call that takes them, and told by that call.
#[test]
fn settings_can_change() {
    let scratch = Scratch::new();
    let original = with(dimer());
    let mut first = make(&original, 0.3);
    (0..10).for_each(|_| first.step(&mut objective()).unwrap());
    first.set_learning_rate(3e-3).unwrap();
    first.save(scratch.file()).unwrap();
    let params = first.read_params().unwrap();
    let orientation = bits(&first.read_orientation().unwrap().unwrap());

    let plateau = Schedule::OnPlateau(OnPlateau { shortest: 4, longest: 12, share: 0.5 });
    let by_gradient = Rotation::gradient(RotationRate::Automatic);
    let changed: Vec<(Config, &[&str])> = vec![
        (original.clone(), &[]),
        (Config { weight_decay: 0.5, ..original.clone() }, &["`config.weight_decay` was 0.01"]),
        (
            Config {
                max_gradient_norm: Some(1.0),
                learning_rate: LearningRate::Fixed(0.5),
                ..original.clone()
            },
            &["`config.learning_rate.Fixed` was 0.01", "`config.max_gradient_norm` was none"],
        ),
        (
            Config { storage: Storage::Bf16, ..original.clone() },
            &["`config.storage` was F32 when it was saved, but is Bf16 here"],
        ),
        (
            Config { dimer: None, ..original.clone() },
            &["`config.dimer` was set when it was saved, but is none here"],
        ),
        (
            with(Dimer { schedule: plateau, ..dimer() }),
            &["`config.dimer.schedule` was Every(3) when it was saved, but is OnPlateau here"],
        ),
        (
            with(Dimer { rotation: by_gradient, ..dimer() }),
            &["`config.dimer.rotation` was LocallyOptimal when it was saved, but is Gradient here"],
        ),
        (
            Config {
                base: Base::AdamW(dimer::Adam { beta2: 0.9, ..Default::default() }),
                ..original.clone()
            },
            &["`config.base.AdamW.beta2` was 0.999"],
        ),
    ];
    for (config, expected) in changed {
        let mut optimizer = make(&config, -1.0);
        if !expected.is_empty() {
            let refused = reason(optimizer.load(scratch.file()));
            assert!(refused.contains("load_with_changes"), "{refused}");
            assert_eq!(optimizer.read_params().unwrap(), [-1.0; LEN], "nothing has changed");
        }
        let changes = optimizer.load_with_changes(scratch.file()).unwrap();
        println!("{changes:?}");
        for expected in expected {
            assert!(changes.iter().any(|change| change.contains(expected)), "{expected}");
        }
        assert_eq!(changes.is_empty(), expected.is_empty());
        if config.storage == Storage::F32 && config.dimer.is_some() {
            let found = optimizer.read_orientation().unwrap().unwrap();
            assert_eq!(bits(&found), orientation, "N goes on");
        }
        assert_eq!(optimizer.read_params().unwrap(), params);
        assert_eq!(optimizer.steps(), 10);
        // The steps that follow are those of the settings here, whatever the optimizer did before.
        let mut used = make(&config, 0.9);
        (0..17).for_each(|_| used.step(&mut objective()).unwrap());
        used.load_with_changes(scratch.file()).unwrap();
        for optimizer in [&mut optimizer, &mut used] {
            (0..20).for_each(|_| optimizer.step(&mut objective()).unwrap());
        }
        assert_eq!(state(&optimizer), state(&used));
        assert_eq!(optimizer.gradient_evaluations(), used.gradient_evaluations());
        let records = optimizer.telemetry().unwrap();
        assert!(records.len() == 20 && records.iter().all(|record| !record.skipped));
        assert!(optimizer.read_params().unwrap().iter().all(|x| x.is_finite()));
        optimizer.save(scratch.0.path().join("again")).unwrap();
    }

    // Without a dimer in the file, N is the random one.
    let alone = Config { dimer: None, ..original.clone() };
    let mut first = make(&alone, 0.3);
    (0..5).for_each(|_| first.step(&mut objective()).unwrap());
    first.save(scratch.file()).unwrap();
    let mut optimizer = make(&original, -1.0);
    let random = bits(&optimizer.read_orientation().unwrap().unwrap());
    (0..9).for_each(|_| optimizer.step(&mut objective()).unwrap());
    optimizer.load_with_changes(scratch.file()).unwrap();
    assert_eq!(bits(&optimizer.read_orientation().unwrap().unwrap()), random);

    // What a run cannot change.
    let other_base = Config { base: Base::Sgd(Sgd::default()), ..original.clone() };
    let by_tensor = with(Dimer { rotation: by_gradient, scope: Scope::PerTensor, ..dimer() });
    first = make(&original, 0.3);
    first.save(scratch.file()).unwrap();
    for (config, expected) in [(other_base, "AdamW"), (by_tensor, "config.dimer.scope")] {
        let mut optimizer = make(&config, -1.0);
        let refused = optimizer.load_with_changes(scratch.file()).map(drop);
        let refused = reason(refused);
        assert!(refused.contains(expected), "{refused}");
        assert_eq!(optimizer.read_params().unwrap(), [-1.0; LEN]);
    }
}

/// A dimer that seeks the other end, or in another metric, begins anew: what events found of one end is never told of
/// the other.
#[test]
fn another_end_begins_anew() {
    let scratch = Scratch::new();
    let ends = |seeks, metric, scope| {
        let rotation = match scope {
            Scope::Global => Dimer::default().rotation,
            _ => Rotation::gradient(RotationRate::Automatic),
        };
        let dimer = Dimer { seeks, metric, scope, rotation, ..dimer() }.watching();
        Config { base: ADAM, ..with(dimer) }
    };
    let h: Vec<f32> = (0..LEN).map(|i| 0.1 * (1.0 + i as f32)).collect();
    for scope in [Scope::Global, Scope::PerTensor] {
        let config = ends(Mode::Stiffest, Metric::Euclidean, scope);
        let mut first = make(&config, 0.3);
        (0..40).for_each(|_| first.step(&mut quadratic(h.clone())).unwrap());
        let last = first.telemetry().unwrap().pop().unwrap();
        assert!(last.curvature > 0.0, "{last:?}");
        assert!(last.resolved || scope != Scope::Global, "{last:?}");
        first.save(scratch.file()).unwrap();
        let mut others = vec![ends(Mode::Softest, Metric::Euclidean, scope)];
        if scope == Scope::Global {
            others.push(ends(Mode::Stiffest, Metric::Preconditioner, scope));
        }
        for config in others {
            let mut second = make(&config, -1.0);
            let random = bits(&second.read_orientation().unwrap().unwrap());
            let changes = second.load_with_changes(scratch.file()).unwrap();
            println!("{changes:?}");
            assert_eq!(changes.len(), 1);
            assert_eq!(bits(&second.read_orientation().unwrap().unwrap()), random);
            second.step(&mut quadratic(h.clone())).unwrap();
            let record = second.telemetry().unwrap().pop().unwrap();
            assert_eq!((record.step, record.updates, record.event), (40, 41, false));
            let found = [record.curvature, record.curvature_mean, record.residual];
            assert!(found == [0.0; 3] && !record.resolved, "{record:?}");
        }
    }
}

/// A group that is frozen after a checkpoint keeps its bits, and N is cut to what moves.
#[test]
fn a_group_can_be_frozen_later() {
    let scratch = Scratch::new();
    let layout = |scale: f64| {
        let mut builder = Layout::builder();
        let group = builder.group(Group { learning_rate_scale: scale, ..Group::default() });
        builder.tensor("head", &[9]).tensor_in(group, "body", &[70]);
        builder.build().unwrap()
    };
    let make = |scale| Optimizer::new(&gpu(), layout(scale), with(dimer()), &[0.5; 79]).unwrap();
    let mut objective = quadratic((0..79).map(|i| i as f32 / 20.0 - 2.0).collect());
    let mut first = make(1.0);
    (0..10).for_each(|_| first.step(&mut objective).unwrap());
    first.save(scratch.file()).unwrap();
    let before = first.read_params().unwrap();
    let mut second = make(0.0);
    let changes = second.load_with_changes(scratch.file()).unwrap();
    assert_eq!(
        changes,
        ["`groups.body.learning_rate_scale` was 1.0 when it was saved, but is 0.0 here"]
    );
    let n = wide(&second.read_orientation().unwrap().unwrap());
    assert!(n[9..].iter().all(|&n| n == 0.0));
    assert_within("‖N‖", n.iter().map(|n| n * n).sum(), 1.0, 1e-6);
    (0..10).for_each(|_| second.step(&mut objective).unwrap());
    let after = second.read_params().unwrap();
    assert_eq!(bits(&after[9..]), bits(&before[9..]));
    assert_ne!(bits(&after[..9]), bits(&before[..9]));
}
