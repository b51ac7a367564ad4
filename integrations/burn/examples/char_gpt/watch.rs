//! Both ends of the spectrum while an optimizer trains, and what Lanczos says of them.

use std::error::Error;
use std::path::Path;

use burn::module::Module;
use burn::tensor::Tensor;
use dimer::{Dimer, Mode, Part, Schedule, Telemetry};
use dimer_burn::{CurvatureTracker, DimerDevice};
use nalgebra::DVector;
use serde::{Deserialize, Serialize};

use crate::data::Data;
use crate::lanczos::Hessian;
use crate::model::Gpt;

/// Minibatches that Lanczos takes as all data.
const MINIBATCHES: u64 = 16;

/// One end, as single minibatches and as many of them show it.
#[derive(Deserialize, Serialize)]
struct Row {
    step: u64,
    end: String,
    /// C of the dimer's N on one minibatch, before the event turns N to it and after.
    before: f32,
    after: f32,
    resolved: bool,
    residual: f32,
    /// C of the dimer's N on all data.
    on_all: f64,
    /// The eigenvalue on all data, and a bound of its error.
    lanczos: f64,
    error: f64,
}

/// Follows both ends with dimers, beside any optimizer.
pub struct Watch {
    tracker: CurvatureTracker<Gpt>,
    softest: Option<Telemetry>,
    stiffest: Option<Telemetry>,
    rows: Vec<Row>,
}

impl Watch {
    /// With an event every `interval` steps; goes on with the comparisons that an earlier run has left in `path` up to
    /// `step`.
    pub fn new(
        module: &Gpt,
        device: &DimerDevice,
        interval: u32,
        path: &Path,
        step: u64,
    ) -> Result<Self, Box<dyn Error>> {
        let dimer = Dimer { schedule: Schedule::Every(interval), ..Dimer::default() };
        let tracker = CurvatureTracker::new(module, device, dimer)?.with_other_end()?;
        let mut rows: Vec<Row> = Vec::new();
        if path.exists() {
            rows = csv::Reader::from_path(path)?.into_deserialize().collect::<Result<_, _>>()?;
        }
        rows.retain(|row| row.step <= step);
        Ok(Self { tracker, softest: None, stiffest: None, rows })
    }

    /// Call this after every step, with the loss of the parts of its minibatch.
    pub fn after_step(
        &mut self,
        module: &Gpt,
        parts: u32,
        loss: impl FnMut(&Gpt, Part) -> Tensor<1>,
    ) -> Result<(), Box<dyn Error>> {
        if self.tracker.after_step_with_parts(module, parts, loss)? {
            for record in self.tracker.telemetry()? {
                *self.record_of(record.seeks) = Some(record);
            }
        }
        Ok(())
    }

    fn record_of(&mut self, end: Mode) -> &mut Option<Telemetry> {
        match end {
            Mode::Stiffest => &mut self.stiffest,
            _ => &mut self.softest,
        }
    }

    /// The last records of the softest and of the stiffest direction, none before the first event.
    pub fn last(&self) -> [Option<&Telemetry>; 2] {
        [self.softest.as_ref(), self.stiffest.as_ref()]
    }

    /// Compares both ends with so many products of Lanczos over many minibatches of `data`, and writes what it finds to
    /// `path`.
    pub fn compare(
        &mut self,
        step: u64,
        module: &Gpt,
        data: &Data,
        products: usize,
        path: &Path,
    ) -> Result<(), Box<dyn Error>> {
        let device = module.devices().into_iter().next().ok_or("the model has no parameters")?;
        // Minibatches that no training draws.
        let minibatch = |index| data.minibatch(u64::from(u32::MAX), index, &device);
        let minibatches: Vec<_> = (0..MINIBATCHES).map(minibatch).collect();
        let hessian = Hessian { module, minibatches: &minibatches };
        let eigenvalues = hessian.ends(products);
        let ends = [(Mode::Softest, "softest"), (Mode::Stiffest, "stiffest")];
        for ((mode, end), eigenvalue) in ends.into_iter().zip(eigenvalues) {
            let record = *self.record_of(mode);
            let dimer = self.tracker.end(mode).map(|dimer| dimer.read_orientation());
            let (Some(record), Some(n)) = (record, dimer.transpose()?.flatten()) else { continue };
            let n = DVector::from_iterator(n.len(), n.into_iter().map(f64::from));
            self.rows.push(Row {
                step,
                end: end.into(),
                before: record.initial_curvature,
                after: record.curvature,
                resolved: record.resolved,
                residual: record.residual,
                on_all: hessian.curvature(&n),
                lanczos: eigenvalue.value,
                error: eigenvalue.error,
            });
        }
        let mut writer = csv::Writer::from_path(path)?;
        self.rows.iter().try_for_each(|row| writer.serialize(row))?;
        Ok(writer.flush()?)
    }
}
