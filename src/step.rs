//! The schedule: which dispatches make one step, and in which order they are recorded.

use crate::config::{Config, Correction};
use crate::error::Result;
use crate::gpu::Gpu;
use crate::kernels::{Kernels, Mode};
use crate::layout::Layout;
use crate::objective::{Evaluation, Objective, Point};
use crate::state::State;

/// Which steps are events and which are corrected.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Schedule {
    /// K, or none without a dimer.
    interval: Option<u64>,
    correction: Correction,
    /// Gradients away from θ in an event.
    probes: u32,
}

impl Schedule {
    pub(crate) fn new(config: &Config) -> Self {
        let dimer = config.dimer.as_ref();
        Self {
            interval: dimer.map(|dimer| u64::from(dimer.interval)),
            correction: dimer.map_or(Correction::EventsOnly, |dimer| dimer.correction),
            probes: dimer.map_or(0, |dimer| dimer.rotation.probes()),
        }
    }

    pub(crate) fn mode(&self, index: u64) -> Mode {
        match (self.interval, self.correction) {
            (Some(interval), _) if index.is_multiple_of(interval) => Mode::Event,
            (Some(_), Correction::EveryStep) => Mode::Corrected,
            _ => Mode::Base,
        }
    }

    /// Gradients away from θ in a step of this mode.
    pub(crate) fn probes(&self, mode: Mode) -> u32 {
        if mode == Mode::Event { self.probes } else { 0 }
    }
}

/// What every recording of a step needs.
#[derive(Clone, Copy)]
pub(crate) struct Parts<'a> {
    pub gpu: &'a Gpu,
    pub layout: &'a Layout,
    pub state: &'a State,
    pub kernels: &'a Kernels,
    pub schedule: &'a Schedule,
}

impl<'a> Parts<'a> {
    /// Records every evaluation that `mode` needs, each probe placed before it.
    pub(crate) fn gradients(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        objective: &mut (impl Objective + ?Sized),
        index: u64,
        mode: Mode,
    ) -> Result<()> {
        objective.begin_step(index)?;
        objective.gradient(self.evaluation(encoder, Point::Centre))?;
        for probe in 0..self.schedule.probes(mode) {
            self.place_probe(encoder, index, probe);
            objective.gradient(self.evaluation(encoder, Point::Probe))?;
        }
        if objective.supplies_loss() {
            self.take_loss(encoder);
        }
        Ok(())
    }

    /// Records probe `probe` of an event: the first is θ + ΔR·N, the next ones follow from the
    /// gradient of the one before.
    pub(crate) fn place_probe(&self, encoder: &mut wgpu::CommandEncoder, index: u64, probe: u32) {
        let at = self.kernels.at(index);
        if probe > 0 {
            if let Some(locally_optimal) = &self.kernels.locally_optimal {
                locally_optimal.encode(&mut pass(encoder, "probe"), at, probe - 1);
            }
            return;
        }
        if self.kernels.locally_optimal.is_some() {
            self.kernels.begin_event(encoder, self.state);
        }
        if let Some(displace) = &self.kernels.displace {
            displace.encode(&mut pass(encoder, "displace"), at);
        }
    }

    /// Records the last rotation of an event, where it is not part of the update.
    fn finish_rotation(&self, pass: &mut wgpu::ComputePass<'_>, index: u64, mode: Mode) {
        let probes = self.schedule.probes(mode);
        if let Some(locally_optimal) = &self.kernels.locally_optimal
            && probes > 0
        {
            locally_optimal.encode(pass, self.kernels.at(index), probes - 1);
        }
    }

    /// Records the step from the gradients: the two dispatches of this crate.
    pub(crate) fn update(&self, encoder: &mut wgpu::CommandEncoder, index: u64, mode: Mode) {
        let mut pass = pass(encoder, "update");
        let at = self.kernels.at(index);
        self.finish_rotation(&mut pass, index, mode);
        self.kernels.gram.encode(&mut pass, at, mode);
        self.kernels.translate.encode(&mut pass, at, mode);
    }

    /// Records a rotation that leaves the parameters alone.
    pub(crate) fn rotate(&self, encoder: &mut wgpu::CommandEncoder, index: u64) {
        let mut pass = pass(encoder, "rotate");
        let at = self.kernels.at(index);
        self.finish_rotation(&mut pass, index, Mode::Event);
        self.kernels.gram.encode(&mut pass, at, Mode::Event);
        if let Some(rotate) = &self.kernels.rotate {
            rotate.encode(&mut pass, at);
        }
    }

    pub(crate) fn evaluation(
        &self,
        encoder: &'a mut wgpu::CommandEncoder,
        point: Point,
    ) -> Evaluation<'a> {
        let (params, gradient) = match point {
            Point::Centre => (&self.state.params, &self.state.gradient),
            Point::Probe => (&self.state.probe, &self.state.probe_gradient),
        };
        Evaluation {
            gpu: self.gpu,
            layout: self.layout,
            encoder,
            point,
            params,
            gradient,
            loss: &self.state.loss,
        }
    }

    /// Takes the objective's loss into the scalars, from where the record gets it.
    pub(crate) fn take_loss(&self, encoder: &mut wgpu::CommandEncoder) {
        let State { loss, scalars, .. } = self.state;
        encoder.copy_buffer_to_buffer(loss, 0, scalars, 0, loss.size());
    }
}

fn pass<'a>(encoder: &'a mut wgpu::CommandEncoder, label: &str) -> wgpu::ComputePass<'a> {
    encoder.begin_compute_pass(&wgpu::ComputePassDescriptor {
        label: Some(label),
        timestamp_writes: None,
    })
}
