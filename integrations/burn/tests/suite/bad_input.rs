//! Whatever a user can get wrong is an error that says so; nothing has changed then.

use crate::common::{Network, batch, config, elements, flex, scalar, shared};
use burn::module::{Module, Param};
use burn::tensor::{Device, FloatDType, Tensor};
use dimer::{Base, Config, Dimer, LearningRate, OnPlateau, Schedule, Sgd};
use dimer_burn::{CurvatureTracker, DimerDevice, DimerOptimizer, Error};

#[derive(Module, Debug)]
struct Half {
    weight: Param<Tensor<1>>,
}

fn optimizer(device: &DimerDevice) -> DimerOptimizer<Network> {
    DimerOptimizer::new(Network::new(8, &device.burn()), device, config()).unwrap()
}

#[test]
fn a_changed_module() {
    for device in [shared(), flex()] {
        let burn = device.burn();
        let mut optimizer = optimizer(&device);
        let before = elements(optimizer.module().unwrap().hidden.weight.val());
        let wider = Network::new(9, &burn);
        let error = optimizer.set_module(wider.clone()).unwrap_err();
        assert!(matches!(error, Error::ModuleChanged(_)), "{error}");
        assert!(error.to_string().contains("hidden.weight"), "{error}");
        let frozen = Network::new(8, &burn).no_grad();
        let error = optimizer.set_module(frozen).unwrap_err();
        assert!(matches!(error, Error::NothingToTrain), "{error}");
        let after = elements(optimizer.module().unwrap().hidden.weight.val());
        assert_eq!(before, after);
        let batch = batch(0, &burn);
        assert!(scalar(optimizer.step(|module| module.loss(&batch)).unwrap()).is_finite());

        let dimer = Dimer { schedule: Schedule::Every(1), ..Dimer::default() };
        let module = Network::new(8, &burn);
        let mut tracker = CurvatureTracker::new(&module, &device, dimer).unwrap();
        let error = tracker.after_step(&wider, |module| module.loss(&batch)).unwrap_err();
        assert!(matches!(error, Error::ModuleChanged(_)), "{error}");
    }
}

#[test]
fn a_module_of_another_device() {
    let module = Network::new(8, &Device::flex().autodiff());
    let error = DimerOptimizer::new(module, &shared(), config()).unwrap_err();
    assert!(matches!(&error, Error::Parameter { name, .. } if name == "hidden.weight"), "{error}");
    assert!(error.to_string().contains("fork"), "{error}");
}

#[test]
fn a_module_without_autodiff() {
    let module = Network::new(8, &Device::flex());
    let error = DimerOptimizer::new(module, &flex(), config()).unwrap_err();
    assert!(matches!(error, Error::NothingToTrain), "{error}");
}

#[test]
fn half_precision() {
    let burn = flex().burn();
    let weight = Tensor::<1>::ones([4], &burn.clone().inner()).cast(FloatDType::F16);
    let module = Half { weight: Param::from_tensor(weight.autodiff()) };
    let error = DimerOptimizer::new(module, &flex(), config()).unwrap_err();
    assert!(matches!(&error, Error::Parameter { name, .. } if name == "weight"), "{error}");
    assert!(error.to_string().contains("F16"), "{error}");
}

#[test]
fn losses_that_cannot_be_differentiated() {
    for device in [shared(), flex()] {
        let mut optimizer = optimizer(&device);
        let before = elements(optimizer.module().unwrap().hidden.weight.val());
        let batch = batch(0, &device.burn());
        let error = optimizer.step(|_| Tensor::ones([1], &device.burn())).unwrap_err();
        assert!(matches!(error, Error::Loss(_)), "{error}");
        let error = optimizer
            .step(|module| module.forward(batch.0.clone()).reshape([crate::common::BATCH as i32]))
            .unwrap_err();
        assert!(error.to_string().contains("64 elements"), "{error}");
        assert_eq!(optimizer.optimizer().steps(), 0);
        let after = elements(optimizer.module().unwrap().hidden.weight.val());
        assert_eq!(before, after);
    }
}

#[test]
fn settings_out_of_range() {
    for device in [shared(), flex()] {
        let burn = device.burn();
        let config = Config { learning_rate: LearningRate::Fixed(f64::NAN), ..config() };
        let error = DimerOptimizer::new(Network::new(8, &burn), &device, config).unwrap_err();
        assert!(matches!(error, Error::Dimer(dimer::Error::InvalidConfig { .. })), "{error}");
        let dimer =
            Dimer { schedule: Schedule::OnPlateau(OnPlateau::default()), ..Dimer::default() };
        let error = CurvatureTracker::new(&Network::new(8, &burn), &device, dimer).unwrap_err();
        assert!(error.to_string().contains("Every"), "{error}");
    }
}

#[test]
fn a_closure_that_moves_its_minibatch_is_caught() {
    for device in [shared(), flex()] {
        let burn = device.burn();
        let mut optimizer = optimizer(&device);
        let fixed = batch(0, &burn);
        optimizer.check(|module| module.loss(&fixed)).unwrap();
        let mut next = 0;
        let error = optimizer
            .check(|module| {
                next += 1;
                module.loss(&batch(next, &burn))
            })
            .unwrap_err();
        let inconsistent =
            matches!(error, Error::Dimer(dimer::Error::InconsistentObjective { .. }));
        assert!(inconsistent, "{error}");
    }
}

#[test]
fn a_parameter_that_the_loss_does_not_reach_has_no_gradient() {
    for device in [shared(), flex()] {
        let burn = device.burn();
        let base = Base::Sgd(Sgd { momentum: 0.0, nesterov: false });
        let config = Config { base, weight_decay: 0.0, dimer: None, ..config() };
        let module = Network::new(8, &burn);
        let mut optimizer = DimerOptimizer::new(module, &device, config).unwrap();
        let batch = batch(0, &burn);
        // Leaves a gradient of every parameter behind.
        optimizer.step(|module| module.loss(&batch)).unwrap();
        let weights = |optimizer: &mut DimerOptimizer<Network>| {
            let module = optimizer.module().unwrap();
            (elements(module.hidden.weight.val()), elements(module.output.weight.val()))
        };
        let before = weights(&mut optimizer);
        let partial = |module: &Network| module.hidden.forward(batch.0.clone());
        optimizer.step(|module| partial(module).powi_scalar(2).mean()).unwrap();
        let after = weights(&mut optimizer);
        assert_ne!(before.0, after.0);
        assert_eq!(before.1, after.1);
    }
}
