//! [`ModuleObjective`]: a closure from a module to its loss, as an objective of the core.

use burn::module::Module;
use burn::tensor::{DType, Tensor};
use dimer::{Evaluation, Objective, Point};

use crate::binding::Binding;
use crate::buffers::Pinned;
use crate::collect;
use crate::error::{Error, Result, device};

/// The evaluations of one step.
pub(crate) struct ModuleObjective<'a, M, F> {
    pub binding: &'a Binding,
    /// The module at θ.
    pub centre: &'a M,
    /// The module whose parameters are those of the probe.
    pub probe: &'a mut M,
    pub loss: F,
    /// What the device's random numbers start from in every evaluation.
    pub seed: Option<u64>,
    pub losses: Losses,
}

/// The losses of one step, still on the device.
#[derive(Default)]
pub(crate) struct Losses {
    centre: Option<Tensor<1>>,
    probes: Vec<Tensor<1>>,
}

impl Losses {
    /// L(θ), or where it was not evaluated the mean of the probes on both sides of it, which differs
    /// by O(ΔR²).
    pub(crate) fn into_loss(self) -> Result<Tensor<1>> {
        let mean = |probes: Vec<_>| Tensor::cat(probes, 0).mean();
        match self {
            Self { centre: Some(loss), .. } => Ok(loss),
            Self { probes, .. } if !probes.is_empty() => Ok(mean(probes)),
            Self { .. } => Err(Error::Loss("was not evaluated".into())),
        }
    }
}

impl<'a, M: Module, F: FnMut(&M) -> Tensor<1>> ModuleObjective<'a, M, F> {
    /// No evaluation made yet, and random numbers left alone.
    pub(crate) fn new(binding: &'a Binding, centre: &'a M, probe: &'a mut M, loss: F) -> Self {
        Self { binding, centre, probe, loss, seed: None, losses: Losses::default() }
    }

    fn evaluate(&mut self, at: &mut Evaluation<'_>) -> Result<()> {
        let binding = self.binding;
        let module = match at.point {
            Point::Centre => self.centre,
            _ => {
                binding.place_probe(self.probe, at)?;
                &*self.probe
            }
        };
        if let Some(seed) = self.seed {
            binding.device.burn().seed(seed);
        }
        let loss = (self.loss)(module);
        check(&loss)?;
        let mut gradients = loss.backward();
        let loss = loss.inner();
        if binding.device.is_shared() {
            let parts = collect::pinned_gradients(module, &binding.parameters, &mut gradients)?;
            let value = Pinned::new(loss.clone())?;
            binding.flush()?;
            collect::gather(at.encoder, &parts, at.layout, at.gradient);
            if at.point == Point::Centre {
                let Pinned { slice, .. } = &value;
                at.encoder.copy_buffer_to_buffer(&slice.buffer, slice.offset, at.loss, 0, 4);
            }
            // Before the memory is Burn's again.
            at.submit()?;
        } else {
            let (parameters, layout) = (&binding.parameters, at.layout);
            let gradient = collect::gradient(module, parameters, layout, &mut gradients)?;
            if at.point == Point::Centre {
                let data = loss.clone().try_into_data().map_err(device)?;
                at.write_loss(data.iter::<f32>().next().unwrap_or(f32::NAN));
            }
            at.write_gradient(&gradient)?;
        }
        match at.point {
            Point::Centre => self.losses.centre = Some(loss),
            _ => self.losses.probes.push(loss),
        }
        Ok(())
    }
}

impl<M: Module, F: FnMut(&M) -> Tensor<1>> Objective for ModuleObjective<'_, M, F> {
    fn gradient(&mut self, mut at: Evaluation<'_>) -> dimer::Result<()> {
        self.evaluate(&mut at).map_err(dimer::Error::objective)
    }

    fn supplies_loss(&self) -> bool {
        true
    }
}

/// Burn panics where it cannot differentiate; these are the reasons that a closure can give.
fn check(loss: &Tensor<1>) -> Result<()> {
    let [elements] = loss.dims();
    if elements != 1 {
        return Err(Error::Loss(format!("has {elements} elements; reduce it to 1")));
    }
    if loss.dtype() != DType::F32 {
        return Err(Error::Loss(format!("is of type {:?}, not F32", loss.dtype())));
    }
    if !loss.is_tracked() {
        return Err(Error::Loss(
            "does not depend on the module's parameters; compute it from the module that the \
             closure is given"
                .into(),
        ));
    }
    Ok(())
}
