//! Records of Burn and checkpoints of the optimizer.

use crate::common::{Network, batch, config, elements, flex, scalar, shared};
use burn::module::Module;
use burn::store::ModuleRecord;
use burn::tensor::Device;
use dimer_burn::{DimerDevice, DimerOptimizer};

fn train(
    optimizer: &mut DimerOptimizer<Network>,
    steps: std::ops::Range<u64>,
    burn: &Device,
) -> Vec<f32> {
    steps
        .map(|step| {
            let batch = batch(step, burn);
            scalar(optimizer.step(|module| module.loss(&batch)).unwrap())
        })
        .collect()
}

fn weights(module: &Network) -> [Vec<f32>; 4] {
    let bias = |linear: &burn::nn::Linear| elements(linear.bias.as_ref().unwrap().val());
    [
        elements(module.hidden.weight.val()),
        bias(&module.hidden),
        elements(module.output.weight.val()),
        bias(&module.output),
    ]
}

fn round_trips(device: &DimerDevice) {
    let folder = tempfile::tempdir().unwrap();
    let (record, checkpoint) = (folder.path().join("module.bpk"), folder.path().join("dimer"));
    let burn = device.burn();
    let mut optimizer = DimerOptimizer::new(Network::new(16, &burn), device, config()).unwrap();
    train(&mut optimizer, 0..12, &burn);
    let saved = weights(optimizer.module().unwrap());
    optimizer.module().unwrap().clone().into_record().save(&record).unwrap();
    optimizer.save(&checkpoint).unwrap();
    let losses = train(&mut optimizer, 12..24, &burn);
    let ended = weights(&optimizer.into_module().unwrap());
    assert_ne!(saved, ended);

    // The record in a module of its own, on another device.
    let elsewhere = Network::new(16, &Device::flex());
    let elsewhere = elsewhere.try_load_record(ModuleRecord::load(&record).unwrap()).unwrap();
    assert_eq!(weights(&elsewhere), saved);

    // The record in a running optimizer, whose views go on to follow its steps.
    let mut other = DimerOptimizer::new(Network::new(16, &burn), device, config()).unwrap();
    train(&mut other, 0..3, &burn);
    let module = Network::new(16, &burn).try_load_record(ModuleRecord::load(&record).unwrap());
    other.set_module(module.unwrap()).unwrap();
    assert_eq!(weights(other.module().unwrap()), saved);
    train(&mut other, 3..12, &burn);
    assert_ne!(weights(other.module().unwrap()), saved, "it is trained on");

    // The checkpoint goes on as if nothing had happened.
    let mut resumed = DimerOptimizer::new(Network::new(16, &burn), device, config()).unwrap();
    resumed.load(&checkpoint).unwrap();
    assert_eq!(weights(resumed.module().unwrap()), saved);
    assert_eq!(train(&mut resumed, 12..24, &burn), losses);
    assert_eq!(weights(&resumed.into_module().unwrap()), ended);
}

#[test]
fn on_a_shared_device() {
    round_trips(&shared());
}

#[test]
fn through_host_slices() {
    round_trips(&flex());
}
