//! Names and shapes come from the module, groups from patterns; shared parameters count once, frozen
//! ones not at all.

use crate::common::{Network, batch, config, elements, flex, shared};
use burn::module::{Module, Param, ParamGroup};
use burn::nn::{Embedding, EmbeddingConfig, LayerNorm, LayerNormConfig, Linear, LinearConfig};
use burn::tensor::{Device, Int, Tensor};
use dimer::{Base, Config, Group, LearningRate, Sgd};
use dimer_burn::{DimerDevice, DimerOptimizer, Error};

#[derive(Module, Debug)]
struct Block {
    norm: LayerNorm,
    linear: Linear,
}

#[derive(Module, Debug)]
struct Model {
    embedding: Embedding,
    blocks: Vec<Block>,
}

impl Model {
    fn new(device: &Device) -> Self {
        let block = || Block {
            norm: LayerNormConfig::new(8).init(device),
            linear: LinearConfig::new(8, 8).init(device),
        };
        Self {
            embedding: EmbeddingConfig::new(5, 8).init(device),
            blocks: (0..2).map(|_| block()).collect(),
        }
    }

    fn loss(&self, tokens: Tensor<2, Int>) -> Tensor<1> {
        let x = self.embedding.forward(tokens);
        let x = self.blocks.iter().fold(x, |x, block| block.linear.forward(block.norm.forward(x)));
        x.powi_scalar(2).mean()
    }
}

#[test]
fn groups_by_name_pattern() {
    for device in [shared(), flex()] {
        let no_decay = Group { weight_decay: Some(0.0), ..Group::default() };
        let no_dimer = Group { dimer: false, ..Group::default() };
        let groups = [
            (ParamGroup::from_any_regexes(vec![r"\.norm\.", r"bias$"]).unwrap(), no_decay.clone()),
            (ParamGroup::from_regex("^embedding").unwrap(), no_dimer.clone()),
        ];
        let burn = device.burn();
        let mut optimizer =
            DimerOptimizer::with_groups(Model::new(&burn), &device, config(), &groups).unwrap();
        let layout = optimizer.optimizer().layout().clone();
        let described: Vec<_> = layout
            .tensors()
            .iter()
            .map(|t| (t.name.as_str(), t.shape.clone(), layout.group(t).clone()))
            .collect();
        let decay = Group::default();
        let mut expected = vec![("embedding.weight", vec![5, 8], no_dimer)];
        let names = [
            ["blocks.0.norm.gamma", "blocks.0.norm.beta"],
            ["blocks.1.norm.gamma", "blocks.1.norm.beta"],
        ];
        let linear = [
            ["blocks.0.linear.weight", "blocks.0.linear.bias"],
            ["blocks.1.linear.weight", "blocks.1.linear.bias"],
        ];
        for block in 0..2 {
            expected.push((names[block][0], vec![8], no_decay.clone()));
            expected.push((names[block][1], vec![8], no_decay.clone()));
            expected.push((linear[block][0], vec![8, 8], decay.clone()));
            expected.push((linear[block][1], vec![8], no_decay.clone()));
        }
        assert_eq!(described, expected);

        let tokens = Tensor::<2, Int>::from_ints([[0, 1, 2], [3, 4, 0]], &burn);
        for _ in 0..6 {
            optimizer.step(|module| module.loss(tokens.clone())).unwrap();
        }
        let orientation = optimizer.optimizer().read_orientation().unwrap().unwrap_or_default();
        assert!(orientation[..40].iter().all(|x| *x == 0.0), "no dimer in the embedding");
        assert!(orientation[40..].iter().any(|x| *x != 0.0));
    }
}

#[test]
fn a_group_that_matches_nothing_is_an_error() {
    let device = flex();
    let groups = [(ParamGroup::from_path("hidden.wieght"), Group::default())];
    let module = Network::new(4, &device.burn());
    let error = DimerOptimizer::with_groups(module, &device, config(), &groups).unwrap_err();
    assert!(matches!(error, Error::EmptyGroup { index: 0, .. }), "{error}");
    assert!(error.to_string().contains("hidden.weight"), "{error}");
}

/// Both layers use the same weight.
#[derive(Module, Debug)]
struct Tied {
    first: Param<Tensor<2>>,
    second: Param<Tensor<2>>,
}

impl Tied {
    fn new(device: &Device) -> Self {
        let first = Param::from_data([[0.5_f32, -0.25], [0.125, 1.0]], device);
        Self { second: first.clone(), first }
    }

    /// (w00 + w01 + w10 + w11)² / 2 through both places, so that each element's gradient is 2 S.
    fn loss(&self) -> Tensor<1> {
        self.first.val().sum() * self.second.val().sum()
    }
}

#[test]
fn a_shared_parameter_is_one_tensor_and_gets_both_gradients() {
    for device in [shared(), flex()] {
        let base = Base::Sgd(Sgd { momentum: 0.0, nesterov: false });
        let config = Config {
            base,
            learning_rate: LearningRate::Fixed(0.1),
            weight_decay: 0.0,
            dimer: None,
            ..config()
        };
        let mut optimizer =
            DimerOptimizer::new(Tied::new(&device.burn()), &device, config).unwrap();
        assert_eq!(optimizer.optimizer().layout().len(), 4);
        optimizer.step(Tied::loss).unwrap();
        // S = 1.375, the gradient 2.75 everywhere, a step of 0.275.
        let module = optimizer.into_module().unwrap();
        let expected = [0.225, -0.525, -0.15, 0.725];
        for values in [elements(module.first.val()), elements(module.second.val())] {
            let close = values
                .iter()
                .zip(&expected)
                .all(|(a, b)| approx::abs_diff_eq!(a, b, epsilon = 1e-6));
            assert!(close, "{values:?} on {device:?}");
        }
    }
}

fn train(module: Network, device: &DimerDevice) -> Network {
    let burn = device.burn();
    let mut optimizer = DimerOptimizer::new(module, device, config()).unwrap();
    for step in 0..10 {
        let batch = batch(step, &burn);
        optimizer.step(|module| module.loss(&batch)).unwrap();
    }
    optimizer.into_module().unwrap()
}

#[test]
fn frozen_parameters_stay() {
    for device in [shared(), flex()] {
        let module = Network::new(8, &device.burn());
        let frozen = elements(module.hidden.weight.val());
        let trained = elements(module.output.weight.val());
        let module =
            module.set_require_grad_group(ParamGroup::from_regex("^hidden").unwrap(), false);
        let module = train(module, &device);
        assert_eq!(elements(module.hidden.weight.val()), frozen);
        assert_ne!(elements(module.output.weight.val()), trained);
    }
}
