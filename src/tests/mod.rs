//! Tests that look inside: kernels with their buffers in hand, structs on both sides, programs, shaders, bytes.

mod gpu_types;
mod kernels;
mod portable;
mod programs;
mod shaders;
mod traffic;
mod tuning;

use crate::{
    Base, Config, Correction, CurvatureRate, Difference, Dimer, Displacement, EarlyExit, FullBatch,
    Gpu, LearningRate, Lion, Metric, Mode, OnPlateau, Projection, RateProbe, Regime, Rotation,
    RotationRate, RotationStop, SaddleFree, Schedule, Scope, Sgd, Sophia, Storage, Translation,
};

/// One device for all of these tests. Without an adapter a test fails and says what to install.
fn gpu() -> Gpu {
    static GPU: std::sync::OnceLock<Gpu> = std::sync::OnceLock::new();
    GPU.get_or_init(|| Gpu::new().unwrap_or_else(|error| panic!("{error}"))).clone()
}

const MOMENTUM: Base = Base::Sgd(Sgd { momentum: 0.9, nesterov: false });

/// The rotation of the paper.
fn paper() -> Dimer {
    Dimer {
        rotation: Rotation::gradient(RotationRate::Automatic),
        displacement: Displacement::Absolute(1e-2),
        ..Dimer::default()
    }
}

/// One configuration for each way in which a step can go, by a name.
fn configurations() -> Vec<(&'static str, Config)> {
    let learning_rate = LearningRate::Fixed(1e-3);
    let alone = |base| Config { base, learning_rate, ..Config::default() };
    let with = |dimer: Dimer| Config { dimer: Some(dimer), ..alone(Base::default()) };
    let rate = |probe| LearningRate::Curvature(CurvatureRate { probe, ..CurvatureRate::default() });
    let rotation = |rotation| Dimer { rotation, ..Dimer::default() };
    let full_batch = |max_rotations, stop| Regime::FullBatch(FullBatch { max_rotations, stop });
    let stop = |exit| Some(RotationStop::new(0.1, 1e-3).with_early_exit(exit));
    let locally_optimal = |regime| rotation(Rotation::locally_optimal(regime));
    let optimal_angle = |regime| rotation(Rotation::optimal_angle(regime));
    vec![
        ("sgd", alone(Base::Sgd(Sgd::default()))),
        ("momentum", alone(MOMENTUM)),
        ("adamw", alone(Base::default())),
        ("adamw_unguarded", Config { skip_non_finite: false, ..alone(Base::default()) }),
        (
            "rate_clipped_momentum",
            Config {
                learning_rate: rate(RateProbe::SeparateGradient),
                max_gradient_norm: Some(1.0),
                ..alone(MOMENTUM)
            },
        ),
        (
            "rate_unguarded_sgd",
            Config {
                learning_rate: rate(RateProbe::SeparateGradient),
                skip_non_finite: false,
                ..alone(Base::Sgd(Sgd::default()))
            },
        ),
        (
            "rate_repeated",
            Config { learning_rate: rate(RateProbe::RepeatedMinibatch), ..alone(Base::default()) },
        ),
        (
            "rate_repeated_bf16_dimer",
            Config {
                learning_rate: rate(RateProbe::RepeatedMinibatch),
                storage: Storage::Bf16,
                ..with(paper())
            },
        ),
        (
            "rate_central_per_tensor",
            Config {
                learning_rate: rate(RateProbe::SeparateGradient),
                ..with(Dimer {
                    scope: Scope::PerTensor,
                    difference: Difference::Central,
                    ..paper()
                })
            },
        ),
        ("sophia", alone(Base::Sophia(Sophia::default()))),
        ("lion", alone(Base::Lion(Lion::default()))),
        ("default", Config::default()),
        ("default_dimer", with(Dimer::default())),
        ("default_dimer_bf16", Config { storage: Storage::Bf16, ..with(Dimer::default()) }),
        ("paper", with(paper())),
        ("paper_sgd", Config { base: Base::Sgd(Sgd::default()), ..with(paper()) }),
        ("paper_momentum", Config { base: MOMENTUM, ..with(paper()) }),
        ("paper_bf16", Config { storage: Storage::Bf16, ..with(paper()) }),
        (
            "paper_events_only",
            with(Dimer {
                translation: Translation::Project(Projection::default()),
                correction: Correction::EventsOnly,
                ..paper()
            }),
        ),
        ("paper_every_step", with(Dimer { schedule: Schedule::Every(1), ..paper() })),
        ("paper_central", with(Dimer { difference: Difference::Central, ..paper() })),
        ("paper_exact", with(Dimer { difference: Difference::Exact, ..paper() })),
        ("paper_automatic", with(Dimer { displacement: Displacement::Automatic, ..paper() })),
        ("optimal_angle", with(optimal_angle(Regime::Stochastic))),
        ("optimal_angle_full_batch", with(optimal_angle(Regime::rotations(3)))),
        ("locally_optimal_one_rotation", with(locally_optimal(Regime::rotations(1)))),
        ("locally_optimal_full_batch", with(locally_optimal(Regime::rotations(5)))),
        ("locally_optimal_stops", with(locally_optimal(full_batch(4, stop(EarlyExit::Rotations))))),
        (
            "locally_optimal_asks_host",
            with(locally_optimal(full_batch(4, stop(EarlyExit::Gradients)))),
        ),
        (
            "locally_optimal_central",
            with(Dimer { difference: Difference::Central, ..locally_optimal(Regime::Stochastic) }),
        ),
        (
            "locally_optimal_exact",
            with(Dimer { difference: Difference::Exact, ..locally_optimal(Regime::Stochastic) }),
        ),
        (
            "locally_optimal_automatic",
            with(Dimer {
                displacement: Displacement::Automatic,
                ..locally_optimal(Regime::Stochastic)
            }),
        ),
        ("alternating", Config { base: MOMENTUM, ..with(Dimer::alternating()) }),
        ("climb", Config::climb(1e-3)),
        (
            "on_plateaus",
            with(Dimer { schedule: Schedule::OnPlateau(OnPlateau::default()), ..paper() }),
        ),
        (
            "metric_stiffest",
            with(Dimer {
                seeks: Mode::Stiffest,
                translation: Translation::None,
                metric: Metric::Preconditioner,
                ..locally_optimal(Regime::Stochastic)
            }),
        ),
        (
            "metric_exact",
            with(Dimer {
                difference: Difference::Exact,
                translation: Translation::None,
                metric: Metric::Preconditioner,
                ..paper()
            }),
        ),
        ("per_tensor", with(Dimer { scope: Scope::PerTensor, ..paper() })),
        (
            "per_group_central",
            with(Dimer {
                scope: Scope::PerGroup,
                difference: Difference::Central,
                translation: Translation::SaddleFree(SaddleFree::default()),
                ..paper()
            }),
        ),
    ]
}
