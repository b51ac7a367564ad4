//! [`Binding`]: how the parameters of a module lie in the vectors of its optimizer.

use burn::module::{Module, ParamGroup};
use dimer::{Buffers, Config, Evaluation, Group, Layout, Optimizer, Rotation};

use crate::buffers::FlatVector;
use crate::collect;
use crate::device::DimerDevice;
use crate::error::{Result, device};
use crate::parameters::Parameters;
use crate::rebind::{Source, rebind};

/// The parameters of one module, and the memory that it shares with the optimizer.
pub(crate) struct Binding {
    pub device: DimerDevice,
    pub parameters: Parameters,
    pub layout: Layout,
    /// θ and the probe; `None` where values are copied through the host.
    vectors: Option<Vectors>,
}

struct Vectors {
    params: FlatVector,
    /// `None` without one; see [`Config::has_probe`].
    probe: Option<FlatVector>,
}

impl Binding {
    /// Lays out the parameters of `module` and makes an optimizer whose parameters they are.
    pub(crate) fn new<M: Module>(
        module: &M,
        device: &DimerDevice,
        config: Config,
        groups: &[(ParamGroup, Group)],
    ) -> Result<(Self, Optimizer)> {
        let parameters = Parameters::of(module, &device.burn())?;
        let layout = parameters.layout(groups)?;
        config.validate()?;
        let alternates = |dimer: &dimer::Dimer| matches!(dimer.rotation, Rotation::Alternating(_));
        if config.dimer.as_ref().is_some_and(alternates) {
            return Err(dimer::Error::unsupported(
                "Rotation::Alternating",
                "a module, whose closure cannot say that it is the same function in every step",
                "take another rotation, or an objective of your own that is deterministic",
            )
            .into());
        }
        let mut binding = Self { device: device.clone(), parameters, layout, vectors: None };
        let (gpu, layout) = (device.gpu(), binding.layout.clone());
        if !device.is_shared() {
            let values = binding.values(module)?;
            let optimizer = Optimizer::new(gpu, layout, config, &values)?;
            return Ok((binding, optimizer));
        }
        let vector = || FlatVector::new(&device.burn(), layout.bytes());
        let probe = config.has_probe().then(vector).transpose()?;
        let vectors = Vectors { params: vector()?, probe };
        let buffers = Buffers {
            params: Some(vectors.params.slice().clone()),
            probe: vectors.probe.as_ref().map(|probe| probe.slice().clone()),
            ..Buffers::default()
        };
        binding.vectors = Some(vectors);
        let optimizer = Optimizer::with_buffers(gpu, layout, config, buffers)?;
        binding.write(module, &optimizer)?;
        Ok((binding, optimizer))
    }

    /// Copies the values of `module` into the optimizer's parameters.
    pub(crate) fn write<M: Module>(&self, module: &M, optimizer: &Optimizer) -> Result<()> {
        let Some(vectors) = &self.vectors else {
            return Ok(optimizer.write_params(&self.values(module)?)?);
        };
        let parts = collect::pinned_values(module, &self.parameters)?;
        self.flush()?;
        let gpu = self.device.gpu();
        let mut encoder = gpu.device().create_command_encoder(&wgpu::CommandEncoderDescriptor {
            label: Some("parameters of a module"),
        });
        collect::gather(&mut encoder, &parts, &self.layout, vectors.params.slice());
        gpu.queue().submit([encoder.finish()]);
        optimizer.params_written();
        Ok(())
    }

    /// `module` with the optimizer's parameters: their memory itself, or a copy of `values`.
    pub(crate) fn at_centre<M: Module>(&self, module: M, optimizer: &Optimizer) -> Result<M> {
        match &self.vectors {
            Some(vectors) => Ok(self.rebind(module, Source::Views(&vectors.params))),
            None => {
                let values = optimizer.read_params()?;
                Ok(self.rebind(module, Source::Values(&values)))
            }
        }
    }

    /// A module for evaluations at the probe; its running statistics are its own.
    pub(crate) fn probe_of<M: Module>(&self, module: &M) -> M {
        let module = module.valid().train();
        match self.vectors.as_ref().and_then(|vectors| vectors.probe.as_ref()) {
            Some(probe) => self.rebind(module, Source::Views(probe)),
            None => module,
        }
    }

    /// Makes the values of the probe those of `module`.
    pub(crate) fn place_probe<M: Module>(
        &self,
        module: &mut M,
        at: &mut Evaluation<'_>,
    ) -> Result<()> {
        if self.vectors.is_some() {
            // Views show what the kernels write, once these have been submitted.
            return Ok(at.submit()?);
        }
        let values = at.read_params()?;
        *module = self.rebind(module.clone(), Source::Values(&values));
        Ok(())
    }

    /// Makes everything that this thread has queued in Burn come before what is submitted next.
    pub(crate) fn flush(&self) -> Result<()> {
        self.device.burn().flush().map_err(device)
    }

    fn rebind<M: Module>(&self, module: M, source: Source<'_>) -> M {
        rebind(module, source, &self.parameters, &self.layout, &self.device.burn())
    }

    fn values<M: Module>(&self, module: &M) -> Result<Vec<f32>> {
        collect::values(module, &self.parameters, &self.layout)
    }
}
