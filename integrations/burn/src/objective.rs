//! [`ModuleObjective`]: what gives the gradients of a module, as an objective of the core.

use burn::module::Module;
use burn::tensor::{DType, Gradients, Tensor};
use dimer::{Evaluation, Objective, Part, Point, StepInfo};

use crate::binding::Binding;
use crate::buffers::Pinned;
use crate::collect::{self, Source};
use crate::error::{Error, Result, device};

/// What came of one evaluation of a module.
pub(crate) struct Evaluated<G> {
    pub gradients: G,
    pub loss: Option<Tensor<1>>,
}

impl Evaluated<Gradients> {
    /// The gradients of a loss.
    pub(crate) fn of(loss: Tensor<1>) -> Result<Self> {
        check(&loss)?;
        let gradients = loss.backward();
        Ok(Self { gradients, loss: Some(loss.inner()) })
    }
}

/// The evaluations of one step.
pub(crate) struct ModuleObjective<'a, M, F> {
    pub binding: &'a Binding,
    /// The module at θ.
    pub centre: &'a M,
    /// The module whose parameters are those of the probe.
    pub probe: &'a mut M,
    /// Gives the gradients of a part of the minibatch.
    pub evaluate: F,
    /// Whether that gives a loss.
    pub gives_loss: bool,
    /// Into how many parts the minibatch can be cut.
    pub parts: u32,
    /// The part that this step uses.
    part: Part,
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

impl<'a, M: Module, G: Source, F: FnMut(&M, Part) -> Result<Evaluated<G>>>
    ModuleObjective<'a, M, F>
{
    /// No evaluation made yet, the minibatch whole, and random numbers left alone.
    pub(crate) fn new(
        binding: &'a Binding,
        centre: &'a M,
        probe: &'a mut M,
        gives_loss: bool,
        evaluate: F,
    ) -> Self {
        Self {
            binding,
            centre,
            probe,
            evaluate,
            gives_loss,
            parts: 1,
            part: Part::WHOLE,
            seed: None,
            losses: Losses::default(),
        }
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
        let Evaluated { mut gradients, loss } = (self.evaluate)(module, self.part)?;
        let at_centre = loss.as_ref().filter(|_| at.point == Point::Centre);
        if binding.device.is_shared() {
            let parts = collect::pinned_gradients(module, &binding.parameters, &mut gradients)?;
            let value = at_centre.map(|loss| Pinned::new(loss.clone())).transpose()?;
            binding.flush()?;
            collect::gather(at.encoder, &parts, at.layout, at.gradient);
            if let Some(Pinned { slice, .. }) = &value {
                at.encoder.copy_buffer_to_buffer(&slice.buffer, slice.offset, at.loss, 0, 4);
            }
            // Before the memory is Burn's again.
            at.submit()?;
        } else {
            let (parameters, layout) = (&binding.parameters, at.layout);
            let gradient = collect::gradient(module, parameters, layout, &mut gradients)?;
            if let Some(loss) = at_centre {
                let data = loss.clone().try_into_data().map_err(device)?;
                at.write_loss(data.iter::<f32>().next().unwrap_or(f32::NAN));
            }
            at.write_gradient(&gradient)?;
        }
        match at.point {
            Point::Centre => self.losses.centre = loss,
            _ => self.losses.probes.extend(loss),
        }
        Ok(())
    }
}

impl<M: Module, G: Source, F: FnMut(&M, Part) -> Result<Evaluated<G>>> Objective
    for ModuleObjective<'_, M, F>
{
    fn begin_step(&mut self, step: StepInfo) -> dimer::Result<()> {
        self.part = step.part;
        Ok(())
    }

    fn gradient(&mut self, mut at: Evaluation<'_>) -> dimer::Result<()> {
        self.evaluate(&mut at).map_err(dimer::Error::objective)
    }

    fn parts(&self) -> u32 {
        self.parts
    }

    fn supplies_loss(&self) -> bool {
        self.gives_loss
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
