//! Gathering what a module has, one tensor after the other, into the vectors of the optimizer.

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{Gradients, Tensor, TensorData};
use dimer::{GpuSlice, Layout};

use crate::buffers::Pinned;
use crate::error::{Error, Result, device};
use crate::parameters::Parameters;

/// Where the tensor of a parameter comes from.
pub(crate) trait Source {
    fn take<const D: usize>(&mut self, param: &Param<Tensor<D>>) -> Option<Tensor<D>>;
}

/// The values of the parameters themselves.
struct Values;

impl Source for Values {
    fn take<const D: usize>(&mut self, param: &Param<Tensor<D>>) -> Option<Tensor<D>> {
        Some(param.val())
    }
}

impl Source for Gradients {
    fn take<const D: usize>(&mut self, param: &Param<Tensor<D>>) -> Option<Tensor<D>> {
        param.val().grad_remove(self)
    }
}

/// Gradients of Burn's trainer, times a factor.
#[cfg(feature = "train")]
pub(crate) struct Scaled {
    pub gradients: burn::optim::GradientsParams,
    pub factor: u32,
}

#[cfg(feature = "train")]
impl Source for Scaled {
    fn take<const D: usize>(&mut self, param: &Param<Tensor<D>>) -> Option<Tensor<D>> {
        let gradient = self.gradients.remove(param.id)?;
        Some(if self.factor == 1 { gradient } else { gradient * self.factor })
    }
}

/// How to take it.
trait Collected: Sized {
    fn of<const D: usize>(tensor: Tensor<D>) -> Result<Self>;
}

impl Collected for Pinned {
    fn of<const D: usize>(tensor: Tensor<D>) -> Result<Self> {
        Self::new(tensor)
    }
}

impl Collected for Vec<f32> {
    fn of<const D: usize>(tensor: Tensor<D>) -> Result<Self> {
        let data: TensorData = tensor.inner().try_into_data().map_err(device)?;
        data.try_into_vec().map_err(|error| Error::Device(format!("{error:?}")))
    }
}

/// One entry per parameter; `None` where the loss does not depend on it.
struct Collector<'a, S, T> {
    parameters: &'a Parameters,
    source: &'a mut S,
    found: Vec<Option<T>>,
    error: Option<Error>,
}

impl<S: Source, T: Collected> ModuleVisitor for Collector<'_, S, T> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let Some(index) = self.parameters.position(param.id) else { return };
        if self.found[index].is_some() || self.error.is_some() {
            return;
        }
        match self.source.take(param).map(T::of).transpose() {
            Ok(found) => self.found[index] = found,
            Err(error) => self.error = Some(error),
        }
    }
}

fn collect<M: Module, T: Collected>(
    module: &M,
    parameters: &Parameters,
    source: &mut impl Source,
) -> Result<Vec<Option<T>>> {
    let found = (0..parameters.len()).map(|_| None).collect();
    let mut collector = Collector { parameters, source, found, error: None };
    module.visit(&mut collector);
    collector.error.map_or(Ok(collector.found), Err)
}

/// The memory of each parameter's value.
pub(crate) fn pinned_values<M: Module>(
    module: &M,
    parameters: &Parameters,
) -> Result<Vec<Option<Pinned>>> {
    collect(module, parameters, &mut Values)
}

/// The memory of each parameter's gradient.
pub(crate) fn pinned_gradients<M: Module>(
    module: &M,
    parameters: &Parameters,
    gradients: &mut impl Source,
) -> Result<Vec<Option<Pinned>>> {
    collect(module, parameters, gradients)
}

/// The parameters as one vector on the host.
pub(crate) fn values<M: Module>(
    module: &M,
    parameters: &Parameters,
    layout: &Layout,
) -> Result<Vec<f32>> {
    Ok(joined(collect(module, parameters, &mut Values)?, layout))
}

/// The gradient as one vector on the host.
pub(crate) fn gradient<M: Module>(
    module: &M,
    parameters: &Parameters,
    layout: &Layout,
    gradients: &mut impl Source,
) -> Result<Vec<f32>> {
    Ok(joined(collect(module, parameters, gradients)?, layout))
}

fn joined(parts: Vec<Option<Vec<f32>>>, layout: &Layout) -> Vec<f32> {
    let tensors = layout.tensors().iter().zip(parts);
    tensors.flat_map(|(slot, part)| part.unwrap_or_else(|| vec![0.0; slot.len])).collect()
}

/// Records the copies of `parts` into the slots of `vector`; what is missing is zero.
pub(crate) fn gather(
    encoder: &mut wgpu::CommandEncoder,
    parts: &[Option<Pinned>],
    layout: &Layout,
    vector: &GpuSlice,
) {
    for (slot, part) in layout.tensors().iter().zip(parts) {
        let offset = vector.offset + 4 * slot.offset as u64;
        let bytes = 4 * slot.len as u64;
        match part {
            Some(Pinned { slice, .. }) => encoder.copy_buffer_to_buffer(
                &slice.buffer,
                slice.offset,
                &vector.buffer,
                offset,
                bytes,
            ),
            None => encoder.clear_buffer(&vector.buffer, offset, Some(bytes)),
        }
    }
}
