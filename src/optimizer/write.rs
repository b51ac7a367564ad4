//! Writing an [`Optimizer`]: learning rate, parameters and orientation.

use super::{Optimizer, no_dimer};
use crate::config::{Storage, not_negative};
use crate::error::{Error, Result};
use crate::gpu::GpuSlice;
use crate::orientation;

impl Optimizer {
    /// Sets the learning rate of the next steps; schedules belong to the user.
    ///
    /// # Errors
    /// [`Error::InvalidConfig`] if it is negative or not finite.
    pub fn set_learning_rate(&mut self, learning_rate: f64) -> Result<()> {
        not_negative("learning_rate", learning_rate)?;
        self.hyperparameters.learning_rate = learning_rate as f32;
        Ok(())
    }

    /// Says that the gradients, and exact Hessian-vector products, that the objective hands over from
    /// now on are `scale` times those of the loss, as where a loss is multiplied so that its gradient
    /// does not vanish in f16: a power of two from 2⁻³² to 2³², at first 1. Kernels divide by it as they
    /// load, which is exact; telemetry, clipping and the displacement do not see it.
    ///
    /// A scale that is too large makes infinities, and those a skipped step
    /// ([`Telemetry::skipped`](crate::Telemetry::skipped)): halve it then, and double it again after a
    /// long time without.
    ///
    /// # Errors
    /// [`Error::InvalidConfig`] for any other number.
    pub fn set_loss_scale(&mut self, scale: f64) -> Result<()> {
        let exponent = scale.log2();
        if !(exponent.fract() == 0.0 && exponent.abs() <= 32.0) {
            return Err(Error::InvalidConfig {
                field: "loss_scale",
                value: scale.to_string(),
                expected: "a power of two from 2^-32 to 2^32",
            });
        }
        self.hyperparameters.loss_scale = scale as f32;
        self.hyperparameters.gradient_scale = scale.recip() as f32;
        Ok(())
    }

    /// Replaces the parameters, in the order of the layout and without padding. Moments,
    /// orientation and counters stay.
    ///
    /// # Errors
    /// [`Error::LengthMismatch`] or [`Error::NonFinite`].
    pub fn write_params(&self, params: &[f32]) -> Result<()> {
        let padded = self.layout.pad("params", params)?;
        check_finite("params", params)?;
        self.write(&self.state.params, Storage::F32, &padded);
        Ok(())
    }

    /// Points the dimer along `orientation`, of any length above 0, in the order of the layout and
    /// without padding; with several dimers, each along its part. Elements in groups without dimer count as 0.
    ///
    /// # Errors
    /// [`Error::LengthMismatch`], [`Error::NonFinite`], or [`Error::InvalidConfig`] without a
    /// dimer and for a vector that is zero where the dimer acts.
    pub fn write_orientation(&self, orientation: &[f32]) -> Result<()> {
        let padded = self.layout.pad("orientation", orientation)?;
        check_finite("orientation", orientation)?;
        if self.config.dimer.is_none() {
            return Err(no_dimer("set, to point it somewhere"));
        }
        let regions = self.state.region_tensors(&self.layout);
        let unit =
            orientation::unit(&self.layout, &regions, padded).ok_or(Error::InvalidConfig {
                field: "orientation",
                value: "zero".into(),
                expected: "a vector that is not zero where the dimer acts",
            })?;
        self.write(&self.state.orientation, self.state.storage, &unit);
        Ok(())
    }

    pub(super) fn write(&self, slice: &GpuSlice, storage: Storage, values: &[f32]) {
        let bytes = storage.pack(values);
        self.gpu.queue().write_buffer(&slice.buffer, slice.offset, &bytes);
    }
}

pub(super) fn check_finite(what: &'static str, values: &[f32]) -> Result<()> {
    match values.iter().position(|value| !value.is_finite()) {
        Some(index) => Err(Error::NonFinite { what, index, value: values[index] }),
        None => Ok(()),
    }
}
