//! Which steps are events: on plateaus often, on slopes rarely, and the same on every run.

use crate::common::*;
use dimer::{
    Config, Correction, Dimer, HostObjective, LearningRate, OnPlateau, Optimizer, Schedule,
    Telemetry,
};

/// A slope, a flat stretch between the saddle at 0 and a wall, and a valley: −x along a valley for x < 0,
/// nothing for 0 < x < 1, (x − 1)² beyond, with a stiff direction across.
fn landscape() -> HostObjective<impl FnMut(&[f32], &mut [f32]) -> f32> {
    HostObjective::new(|theta: &[f32], gradient: &mut [f32]| {
        let x = theta[0];
        gradient.fill(0.0);
        gradient[0] = match x {
            x if x < 0.0 => -1.0,
            x if x < 1.0 => -1e-3,
            x => x - 1.0,
        };
        gradient[1] = theta[1];
        if x < 0.0 { -x } else { 0.0 }
    })
}

fn run(schedule: Schedule, steps: u64) -> (Vec<Telemetry>, Optimizer) {
    let dimer =
        Dimer { schedule, correction: Correction::EveryStep, ..fixed_dimer(0.1, 1e-2, 0.0) };
    let config = Config {
        base: SGD,
        learning_rate: LearningRate::Fixed(0.01),
        weight_decay: 0.0,
        dimer: Some(dimer),
        ..fixed_rate()
    };
    let mut optimizer = flat(config, &[-2.0, 0.0]);
    let mut objective = landscape();
    for _ in 0..steps {
        optimizer.step(&mut objective).unwrap();
    }
    (optimizer.telemetry().unwrap(), optimizer)
}

fn events(telemetry: &[Telemetry]) -> Vec<u64> {
    telemetry.iter().filter(|record| record.event).map(|record| record.step).collect()
}

/// 200 steps down the slope, then 400 on the flat.
#[test]
fn events_come_often_on_the_plateau() {
    let schedule = Schedule::OnPlateau(OnPlateau { shortest: 10, longest: 100, share: 0.1 });
    let (telemetry, optimizer) = run(schedule, 600);
    let events = events(&telemetry);
    println!("{events:?}");
    let (slope, plateau): (Vec<u64>, Vec<u64>) = events.iter().partition(|&&step| step <= 200);
    assert_eq!(slope, [100, 200]);
    // Seen two looks later; then 10, 20, 40, 80 and 100 steps apart, since C is not negative.
    let waits: Vec<u64> = plateau.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!((210..=240).contains(&plateau[0]), "{plateau:?}");
    assert!(waits.windows(2).all(|pair| pair[0] <= pair[1]), "{waits:?}");
    assert!(waits[0] <= 30 && waits.iter().all(|wait| (10..=100).contains(wait)), "{waits:?}");
    assert_eq!(*waits.last().unwrap(), 100);
    assert_eq!(optimizer.gradient_evaluations(), 600.0 + events.len() as f64);
}

/// Readbacks arrive at any time; what is decided must not depend on when.
#[test]
fn events_are_the_same_on_every_run() {
    let schedule = Schedule::OnPlateau(OnPlateau { shortest: 3, longest: 40, share: 0.3 });
    let expected = events(&run(schedule, 300).0);
    let busy = std::thread::spawn(|| {
        let mut other = flat(fixed_rate(), &vec![0.5; 200_000]);
        let mut objective = quadratic(vec![1.0; 200_000]);
        for _ in 0..40 {
            other.step(&mut objective).unwrap();
        }
    });
    for _ in 0..3 {
        assert_eq!(events(&run(schedule, 300).0), expected);
    }
    busy.join().unwrap();
}

#[test]
fn every_k_steps() {
    for interval in [1, 2, 7, 50] {
        let events = events(&run(Schedule::Every(interval), 100).0);
        let expected: Vec<u64> =
            (1..=100).filter(|step| step % u64::from(interval) == 0).map(|step| step - 1).collect();
        assert_eq!(events, expected);
    }
}

#[test]
fn ranges_are_checked() {
    for (schedule, field) in [
        (Schedule::Every(0), "dimer.schedule"),
        (
            Schedule::OnPlateau(OnPlateau { shortest: 0, longest: 10, share: 0.1 }),
            "dimer.schedule.shortest",
        ),
        (
            Schedule::OnPlateau(OnPlateau { shortest: 513, longest: 600, share: 0.1 }),
            "dimer.schedule.shortest",
        ),
        (
            Schedule::OnPlateau(OnPlateau { shortest: 10, longest: 9, share: 0.1 }),
            "dimer.schedule.longest",
        ),
        (
            Schedule::OnPlateau(OnPlateau { shortest: 1, longest: 9, share: 0.0 }),
            "dimer.schedule.share",
        ),
        (
            Schedule::OnPlateau(OnPlateau { shortest: 1, longest: 9, share: f64::NAN }),
            "dimer.schedule.share",
        ),
    ] {
        let dimer = Some(Dimer { schedule, ..Dimer::default() });
        let error = Config { dimer, ..fixed_rate() }.validate().unwrap_err();
        let matches =
            matches!(&error, dimer::Error::InvalidConfig { field: at, .. } if *at == field);
        assert!(matches, "{error}");
    }
}
