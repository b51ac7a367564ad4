//! Checking an objective: whether all gradients of one step are of one function, and read and write what
//! they should.

use super::Optimizer;
use crate::config::{Difference, Dimer, Storage};
use crate::error::{Error, Result};
use crate::objective::{Objective, Point};

use super::write::check_finite;

/// Largest ‖g − g′‖ / ‖g‖ that two gradients of a sound objective at one point may show: a sum whose
/// order changes from run to run differs by rounding, a moved minibatch by orders more.
const CONSISTENT: f64 = 1e-4;

/// What lies in a gradient before it is evaluated: a NaN that no arithmetic makes.
const UNWRITTEN: u32 = 0x7fd1_3e57;

impl Optimizer {
    /// Evaluates the objective at θ twice, and where there is a dimer also as a probe at θ and at the
    /// probe of an event, all as of one step, and looks for what makes a dimer sense something other
    /// than the curvature of the loss:
    ///
    /// - gradients that differ at the same point: a minibatch that moved, live dropout, another batch or
    ///   mode for the probe;
    /// - a probe with the gradient of θ to the bit: [`Evaluation::params`](crate::Evaluation::params) is
    ///   not read (or the loss is linear there, and a dimer without use);
    /// - elements of the gradient that are not written, or added to what lay there;
    /// - parameters that the objective changes.
    ///
    /// Waits for the GPU; takes no step and changes no state. With [`Difference::Exact`], whose probes are
    /// no gradients, as without a dimer.
    ///
    /// # Errors
    /// [`Error::InconsistentObjective`], which says what was found; [`Error::NonFinite`] if a gradient is
    /// not finite; [`Error::InvalidConfig`] for a displacement too small to make the probe another point
    /// in f32; what the objective returns.
    pub fn check_objective(&mut self, objective: &mut (impl Objective + ?Sized)) -> Result<()> {
        let params = self.read_params_blocking()?;
        let checked = self.check_gradients(objective, &params);
        let after = self.read_params_blocking()?;
        if after.iter().zip(&params).any(|(a, b)| a.to_bits() != b.to_bits()) {
            self.write_params(&params)?;
            return Err(inconsistent("it changed the parameters; it may write the gradient alone"));
        }
        checked
    }

    fn check_gradients(
        &mut self,
        objective: &mut (impl Objective + ?Sized),
        params: &[f32],
    ) -> Result<()> {
        objective.begin_step(self.index)?;
        let first = self.gradient_at(objective, Point::Centre, |_, _| {})?;
        let second = self.gradient_at(objective, Point::Centre, |_, _| {})?;
        check_consistent("two gradients at θ", &first, &second)?;
        let Some(Dimer { difference, displacement, .. }) = &self.config.dimer else {
            return Ok(());
        };
        let displacement = *displacement;
        if *difference == Difference::Exact {
            return Ok(());
        }
        let at_centre = self.gradient_at(objective, Point::Probe, |optimizer, encoder| {
            let (from, to) = (&optimizer.state.params, &optimizer.state.probe);
            let bytes = optimizer.layout.bytes();
            encoder.copy_buffer_to_buffer(&from.buffer, from.offset, &to.buffer, to.offset, bytes);
        })?;
        check_consistent("the gradients at θ as centre and as probe", &first, &at_centre)?;

        self.prepare()?;
        let displaced = self.gradient_at(objective, Point::Probe, |optimizer, encoder| {
            optimizer.parts().place_probe(encoder, optimizer.index, 0);
        })?;
        let probe = self.read_vector_blocking(&self.state.probe, Storage::F32)?;
        if probe == params {
            return Err(Error::InvalidConfig {
                field: "dimer.displacement",
                value: format!("{displacement:?}"),
                expected: "larger: θ + ΔR·N is θ itself in f32",
            });
        }
        if displaced == first && first.iter().any(|g| *g != 0.0) {
            return Err(inconsistent(
                "its gradient at the probe is that at θ to the bit: it does not read \
                 `Evaluation::params`, or the loss is linear and has no curvature to sense",
            ));
        }
        Ok(())
    }

    /// One evaluation of the objective, after what `place` records.
    fn gradient_at(
        &self,
        objective: &mut (impl Objective + ?Sized),
        point: Point,
        place: impl FnOnce(&Self, &mut wgpu::CommandEncoder),
    ) -> Result<Vec<f32>> {
        let gradient = match point {
            Point::Centre => &self.state.gradient,
            Point::Probe => &self.state.probe_gradient,
        };
        let unwritten = vec![f32::from_bits(UNWRITTEN); self.layout.padded_len()];
        self.write(gradient, Storage::F32, &unwritten);
        let mut encoder = self.gpu.encoder("check");
        place(self, &mut encoder);
        objective.gradient(self.parts().evaluation(&mut encoder, point))?;
        self.gpu.submit("a check of the objective", encoder)?;
        let found = self.read_vector_blocking(gradient, Storage::F32)?;
        if let Some(index) = found.iter().position(|g| g.to_bits() == UNWRITTEN) {
            return Err(inconsistent(format!(
                "it did not write element {index} of the gradient, or added to what lay there"
            )));
        }
        check_finite("gradient", &found)?;
        Ok(found)
    }
}

fn inconsistent(reason: impl Into<String>) -> Error {
    Error::InconsistentObjective { reason: reason.into() }
}

fn check_consistent(what: &str, a: &[f32], b: &[f32]) -> Result<()> {
    let difference = relative_difference(a, b);
    if difference <= CONSISTENT {
        return Ok(());
    }
    Err(inconsistent(format!(
        "{what} differ by {difference:.1e} of their norm, so that they are of two functions: the \
         minibatch moved, or randomness (dropout) is live; fix both in `begin_step`"
    )))
}

/// ‖a − b‖ / ‖a‖; 0 where both are equal to the bit.
fn relative_difference(a: &[f32], b: &[f32]) -> f64 {
    let sum = |values: &mut dyn Iterator<Item = f64>| values.map(|x| x * x).sum::<f64>().sqrt();
    let pairs = || a.iter().zip(b).map(|(&a, &b)| (f64::from(a), f64::from(b)));
    let difference = sum(&mut pairs().map(|(a, b)| a - b));
    let norm = sum(&mut pairs().map(|(a, _)| a));
    if difference == 0.0 { 0.0 } else { difference / norm }
}
