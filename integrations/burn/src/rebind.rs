//! [`Rebind`]: a module with other tensors in the places of its parameters.

use std::any::Any;
use std::collections::HashMap;

use burn::module::{Module, ModuleMapper, Param, ParamId};
use burn::tensor::{Device, Tensor, TensorData};
use dimer::Layout;

use crate::buffers::FlatVector;
use crate::parameters::Parameters;

/// Where the tensors come from.
#[derive(Clone, Copy)]
pub(crate) enum Source<'a> {
    /// Slots of a vector on the GPU.
    Views(&'a FlatVector),
    /// A vector on the host, without padding.
    Values(&'a [f32]),
}

/// Replaces every parameter of a module; what is not trained stays as it is.
struct Rebind<'a> {
    source: Source<'a>,
    parameters: &'a Parameters,
    layout: &'a Layout,
    device: &'a Device,
    /// A parameter that stands in several places must stay one node of the autodiff graph.
    made: HashMap<ParamId, Box<dyn Any>>,
}

/// `module` with the tensors of `source` as its parameters.
pub(crate) fn rebind<M: Module>(
    module: M,
    source: Source<'_>,
    parameters: &Parameters,
    layout: &Layout,
    device: &Device,
) -> M {
    module.map(&mut Rebind { source, parameters, layout, device, made: HashMap::new() })
}

impl Rebind<'_> {
    fn tensor<const D: usize>(&self, index: usize) -> Tensor<D> {
        let slot = &self.layout.tensors()[index];
        let tensor = match self.source {
            Source::Views(vector) => vector.view::<D>(slot),
            Source::Values(values) => {
                let values = values[self.parameters.range(index)].to_vec();
                let data = TensorData::new(values, slot.shape.clone());
                Tensor::from_data(data, &self.device.clone().inner())
            }
        };
        self.checkpointed(tensor.autodiff()).require_grad()
    }

    /// With the device's strategy: Burn refuses to combine tensors that have different ones.
    fn checkpointed<const D: usize>(&self, tensor: Tensor<D>) -> Tensor<D> {
        match self.device.gradient_checkpointing_strategy() {
            Some(strategy) if tensor.is_autodiff() => {
                tensor.with_gradient_checkpointing_strategy(strategy)
            }
            _ => tensor,
        }
    }
}

impl ModuleMapper for Rebind<'_> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let Some(index) = self.parameters.position(param.id) else {
            return param.map(|tensor| self.checkpointed(tensor));
        };
        let known = self.made.get(&param.id).and_then(|made| made.downcast_ref::<Tensor<D>>());
        let tensor = known.cloned().unwrap_or_else(|| self.tensor(index));
        self.made.entry(param.id).or_insert_with(|| Box::new(tensor.clone()));
        let (id, _, mapper) = param.consume();
        Param::from_mapped_value(id, tensor, mapper)
    }
}
