//! What Burn has queued before a step sees the parameters before it, what it queues after sees those
//! after it, also while the device is far behind.

use crate::common::{Network, batch, config, elements, scalar, shared};
use burn::module::Module;
use burn::tensor::{Distribution, Tensor};
use dimer_burn::DimerOptimizer;

#[test]
fn a_step_comes_between_what_was_queued_before_and_after() {
    let device = shared();
    let burn = device.burn();
    let mut optimizer = DimerOptimizer::new(Network::new(64, &burn), &device, config()).unwrap();
    let plain = burn.clone().inner();
    let mut ballast = Tensor::<2>::random([256, 256], Distribution::Default, &plain) / 256.0;
    let mut seen = Vec::new();
    for step in 0..40 {
        let batch = batch(step, &burn);
        // Queued behind work that keeps the device busy: reads of the parameters ...
        for _ in 0..4 {
            ballast = ballast.clone().matmul(ballast) * 0.9;
        }
        let module = optimizer.module().unwrap().valid();
        let before: Vec<_> =
            (0..8).map(|i| module.hidden.weight.val() * (1.0 + i as f32)).collect();
        let loss = optimizer.step(|module| module.loss(&batch)).unwrap();
        // ... and reads after the step.
        let module = optimizer.module().unwrap().valid();
        let after = module.hidden.weight.val() * 1.0;
        seen.push((before, after, loss));
    }
    let mut previous: Option<Vec<f32>> = None;
    for (step, (before, after, loss)) in seen.into_iter().enumerate() {
        assert!(scalar(loss).is_finite());
        let before: Vec<_> = before.into_iter().map(elements).collect();
        for (i, scaled) in before.iter().enumerate() {
            let expected: Vec<f32> = before[0].iter().map(|w| w * (1.0 + i as f32)).collect();
            assert_eq!(scaled, &expected, "step {step}: all eight reads saw one state");
        }
        if let Some(previous) = &previous {
            assert_eq!(&before[0], previous, "step {step} began where the last one ended");
        }
        let after = elements(after);
        assert_ne!(before[0], after, "step {step} moved the parameters");
        previous = Some(after);
    }
    assert!(elements(ballast).iter().all(|x| x.is_finite()));
}

#[test]
fn a_checkpoint_comes_after_what_was_queued_before_it() {
    let device = shared();
    let burn = device.burn();
    let folder = tempfile::tempdir().unwrap();
    let checkpoint = folder.path().join("dimer");
    let mut optimizer = DimerOptimizer::new(Network::new(64, &burn), &device, config()).unwrap();
    optimizer.save(&checkpoint).unwrap();
    let saved = elements(optimizer.module().unwrap().hidden.weight.val());
    for step in 0..3 {
        let batch = batch(step, &burn);
        optimizer.step(|module| module.loss(&batch)).unwrap();
    }
    let trained = elements(optimizer.module().unwrap().hidden.weight.val());
    let module = optimizer.module().unwrap().valid();
    let queued = module.hidden.weight.val() * 1.0;
    optimizer.load(&checkpoint).unwrap();
    let loaded = module.hidden.weight.val() * 1.0;
    assert_eq!(elements(queued), trained);
    assert_eq!(elements(loaded), saved);
}
