//! The plan: which evaluations and dispatches make one step, and in which order they are recorded.

use crate::config::{Config, Correction, Difference, Displacement, Saves, Schedule};
use crate::error::Result;
use crate::gpu::{Gpu, GpuSlice};
use crate::kernels::{Kernels, Mode};
use crate::layout::Layout;
use crate::objective::{Evaluation, HessianProduct, Objective, Point};
use crate::state::State;

/// Which steps are corrected, and what an event evaluates.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    /// None without a dimer.
    schedule: Option<Schedule>,
    correction: Correction,
    /// Directions along which an event measures the Hessian.
    directions: u32,
    pub difference: Difference,
    /// Whether an event begins with a probe at twice the distance.
    calibrates: bool,
    /// Whether the host asks after each rotation if it was the last.
    stops_early: bool,
}

/// One evaluation of an event beside that at θ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Probe {
    /// θ + 2ΔR·N
    Far,
    /// θ + ΔR·d for direction number `direction` of the event, the first of which is N, or for an
    /// exact product d itself.
    Plus { direction: u32 },
    /// θ − ΔR·d
    Minus { direction: u32 },
}

impl Plan {
    pub(crate) fn new(config: &Config) -> Self {
        let dimer = config.dimer.as_ref();
        let stop = config.rayleigh_ritz().and_then(|ritz| ritz.stop());
        Self {
            schedule: dimer.map(|dimer| dimer.schedule),
            correction: dimer.map_or(Correction::EventsOnly, |dimer| dimer.correction),
            directions: dimer.map_or(0, |dimer| dimer.rotation.directions()),
            difference: dimer.map_or(Difference::Forward, |dimer| dimer.difference),
            calibrates: dimer.is_some_and(|dimer| dimer.displacement == Displacement::Automatic),
            stops_early: stop.is_some_and(|stop| stop.saves == Saves::Gradients),
        }
    }

    /// Whether step `index` is an event, where its number alone tells.
    pub(crate) fn is_event(&self, index: u64) -> Option<bool> {
        match self.schedule {
            None => Some(false),
            Some(Schedule::Every(interval)) => {
                Some((index + 1).is_multiple_of(u64::from(interval)))
            }
            Some(Schedule::OnPlateau { .. }) => None,
        }
    }

    /// What a step does with the dimer, `turned` telling whether an event has turned N before.
    pub(crate) fn mode(&self, event: bool, turned: bool) -> Mode {
        match (self.schedule, self.correction) {
            (Some(_), _) if event => Mode::Event,
            (Some(_), Correction::EveryStep) if turned => Mode::Corrected,
            _ => Mode::Base,
        }
    }

    /// Whether a step of this mode evaluates the gradient at θ itself.
    pub(crate) fn has_centre(&self, mode: Mode) -> bool {
        mode != Mode::Event || self.difference != Difference::Central
    }

    /// Evaluations of a step of this mode beside that at θ.
    pub(crate) fn probes(&self, mode: Mode) -> u32 {
        if mode == Mode::Event {
            u32::from(self.calibrates) + self.directions * self.difference.evaluations()
        } else {
            0
        }
    }

    /// The evaluation number `index` of an event, less than [`Self::probes`].
    pub(crate) fn probe(&self, index: u32) -> Probe {
        let Some(index) = index.checked_sub(u32::from(self.calibrates)) else { return Probe::Far };
        let each = self.difference.evaluations();
        let direction = index / each;
        if index % each == 0 { Probe::Plus { direction } } else { Probe::Minus { direction } }
    }
}

/// What every recording of a step needs.
#[derive(Clone, Copy)]
pub(crate) struct Parts<'a> {
    pub gpu: &'a Gpu,
    pub layout: &'a Layout,
    pub state: &'a State,
    pub kernels: &'a Kernels,
    pub plan: &'a Plan,
}

impl<'a> Parts<'a> {
    /// Records every evaluation that `mode` needs, each probe placed before it, and counts them.
    pub(crate) fn gradients(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        objective: &mut (impl Objective + ?Sized),
        index: u64,
        mode: Mode,
    ) -> Result<u32> {
        objective.begin_step(index)?;
        let mut evaluations = 0;
        if self.plan.has_centre(mode) {
            objective.gradient(self.evaluation(encoder, Point::Centre))?;
            evaluations += 1;
        }
        for probe in 0..self.plan.probes(mode) {
            self.place_probe(encoder, index, probe);
            if self.has_stopped(encoder, probe)? {
                break;
            }
            if self.plan.difference == Difference::Exact {
                objective.hessian_product(self.hessian_product(encoder))?;
            } else {
                objective.gradient(self.probe_evaluation(encoder, probe))?;
            }
            evaluations += 1;
        }
        if objective.supplies_loss() {
            self.take_loss(encoder);
        }
        Ok(evaluations)
    }

    /// Records what follows from the evaluation before probe `probe` of an event, and places that
    /// probe.
    pub(crate) fn place_probe(&self, encoder: &mut wgpu::CommandEncoder, index: u64, probe: u32) {
        if probe > 0 {
            self.take_in(encoder, index, self.plan.probe(probe - 1));
        }
        let at = self.kernels.at(index);
        let Some(displace) = &self.kernels.displace else { return };
        match self.plan.probe(probe) {
            Probe::Far => displace.encode_far(&mut pass(encoder, "far probe"), at),
            Probe::Plus { direction: 0 } => {
                if self.kernels.rayleigh_ritz.is_some() {
                    self.kernels.begin_event(encoder, self.state);
                }
                let mut pass = pass(encoder, "displace");
                displace.encode_norm(&mut pass, at);
                match &self.kernels.scope {
                    Some(scope) => scope.displace(&mut pass, at),
                    None => displace.encode(&mut pass, at),
                }
            }
            // Taking in the product before has placed it.
            Probe::Plus { .. } => {}
            Probe::Minus { .. } => displace.encode_opposite(&mut pass(encoder, "opposite"), at),
        }
    }

    /// Records the distance of probes, as an event begins with it.
    pub(crate) fn set_displacement(&self, encoder: &mut wgpu::CommandEncoder, index: u64) {
        if let Some(displace) = &self.kernels.displace {
            let (mut pass, at) = (pass(encoder, "displace"), self.kernels.at(index));
            displace.encode_norm(&mut pass, at);
            displace.encode(&mut pass, at);
        }
    }

    /// Records what follows from an evaluation that is not the event's last.
    fn take_in(&self, encoder: &mut wgpu::CommandEncoder, index: u64, probe: Probe) {
        let at = self.kernels.at(index);
        let last = self.plan.directions - 1;
        match (probe, self.plan.difference) {
            (Probe::Far, _) => self.calibrate(&mut pass(encoder, "calibrate"), index, true),
            (Probe::Plus { direction }, Difference::Central) if direction > 0 => {
                self.kernels.keep_probe_gradient(encoder, self.state, direction);
            }
            // The gradient on the other side of N goes where that of the centre would be.
            (Probe::Plus { .. }, Difference::Central) => {}
            (Probe::Plus { direction } | Probe::Minus { direction }, _) => {
                let mut pass = pass(encoder, "rotation");
                if direction == 0 && self.plan.calibrates {
                    self.calibrate(&mut pass, index, false);
                }
                if let Some(ritz) = &self.kernels.rayleigh_ritz
                    && direction < last
                {
                    ritz.encode(&mut pass, at, direction);
                }
            }
        }
    }

    /// Compares the curvature at two distances.
    fn calibrate(&self, pass: &mut wgpu::ComputePass<'_>, index: u64, far: bool) {
        if let Some(calibrate) = &self.kernels.calibrate {
            calibrate.encode(pass, self.kernels.at(index), far);
        }
    }

    /// Records the last rotation of an event, where it is not part of the update.
    fn finish_rotation(&self, pass: &mut wgpu::ComputePass<'_>, index: u64, mode: Mode) {
        if mode != Mode::Event {
            return;
        }
        let last = self.plan.directions - 1;
        if last == 0 && self.plan.calibrates {
            self.calibrate(pass, index, false);
        }
        if let Some(ritz) = &self.kernels.rayleigh_ritz {
            ritz.encode(pass, self.kernels.at(index), last);
        }
    }

    /// Whether the rotation that places probe `probe` was the last that the event needs; waits for
    /// the GPU to know, so that only those pay for it who ask for it.
    pub(crate) fn has_stopped(
        &self,
        encoder: &mut wgpu::CommandEncoder,
        probe: u32,
    ) -> Result<bool> {
        if !self.plan.stops_early
            || !matches!(self.plan.probe(probe), Probe::Plus { direction: 1.. })
        {
            return Ok(false);
        }
        self.gpu.flush("a rotation", encoder)?;
        let flag = self.gpu.read_blocking(&self.state.stopped())?;
        Ok(bytemuck::pod_read_unaligned::<u32>(&flag) != 0)
    }

    /// Records the step from the gradients: two dispatches, or four where there is more than one dimer.
    pub(crate) fn update(&self, encoder: &mut wgpu::CommandEncoder, index: u64, mode: Mode) {
        let mut pass = pass(encoder, "update");
        let at = self.kernels.at(index);
        self.finish_rotation(&mut pass, index, mode);
        match &self.kernels.scope {
            Some(scope) if mode != Mode::Base => scope.update(&mut pass, at, mode),
            _ => {
                if self.kernels.translate.needs_gram(mode) {
                    self.kernels.gram.encode(&mut pass, at, mode);
                }
                self.kernels.translate.encode(&mut pass, at, mode);
            }
        }
    }

    /// Records a rotation that leaves the parameters alone.
    pub(crate) fn rotate(&self, encoder: &mut wgpu::CommandEncoder, index: u64) {
        let mut pass = pass(encoder, "rotate");
        let at = self.kernels.at(index);
        self.finish_rotation(&mut pass, index, Mode::Event);
        if let Some(scope) = &self.kernels.scope {
            scope.rotate(&mut pass, at);
        } else if let Some(rotate) = &self.kernels.rotate {
            self.kernels.gram.encode(&mut pass, at, Mode::Event);
            rotate.encode(&mut pass, at);
        }
    }

    /// The evaluation of probe `probe` of an event.
    fn probe_evaluation(
        &self,
        encoder: &'a mut wgpu::CommandEncoder,
        probe: u32,
    ) -> Evaluation<'a> {
        Evaluation { gradient: self.gradient_of(probe), ..self.evaluation(encoder, Point::Probe) }
    }

    /// Where the gradient of probe `probe` of an event belongs.
    pub(crate) fn gradient_of(&self, probe: u32) -> &'a GpuSlice {
        match self.plan.probe(probe) {
            Probe::Minus { direction: 0 } => &self.state.gradient,
            _ => &self.state.probe_gradient,
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

    fn hessian_product(&self, encoder: &'a mut wgpu::CommandEncoder) -> HessianProduct<'a> {
        HessianProduct {
            gpu: self.gpu,
            layout: self.layout,
            encoder,
            params: &self.state.params,
            direction: &self.state.probe,
            product: &self.state.probe_gradient,
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
