//! What every part of the bench works on.

use dimer::{Config, Error, Gpu, Layout, Optimizer};

use crate::prepared::{Prepared, values, write_gradients};
use crate::results::Results;
use crate::rounds::{Effort, Timed};

/// An optimizer over one tensor, its gradients prepared, its N turned once where it has one.
pub fn optimizer(gpu: &Gpu, config: Config, len: usize) -> dimer::Result<Optimizer> {
    let values = values(len);
    let turns = config.dimer.is_some();
    let mut optimizer = Optimizer::new(gpu, Layout::flat(len)?, config, &values)?;
    write_gradients(gpu, &values, optimizer.gradient(), optimizer.probe_gradient());
    if turns {
        optimizer.rotate(&mut Prepared)?;
    }
    Ok(optimizer)
}

/// The steps of an optimizer, or its rotations.
pub struct Steps {
    pub optimizer: Optimizer,
    pub rotates: bool,
}

impl Timed for Steps {
    fn call(&mut self) -> dimer::Result<()> {
        if self.rotates {
            self.optimizer.rotate(&mut Prepared)
        } else {
            self.optimizer.step(&mut Prepared)
        }
    }

    fn record(&mut self, encoder: &mut wgpu::CommandEncoder) -> dimer::Result<()> {
        if self.rotates {
            self.optimizer.record_rotation(encoder, &mut Prepared)
        } else {
            self.optimizer.record_step(encoder, &mut Prepared)
        }
    }
}

/// What `make` makes; none, and a line in the results, where there is no time or no memory left for it.
pub fn fits<T>(
    effort: &Effort,
    results: &mut Results,
    what: &str,
    make: impl FnOnce() -> dimer::Result<T>,
) -> dimer::Result<Option<T>> {
    if effort.is_over() {
        results.leave_out(what.to_owned(), "no time");
        return Ok(None);
    }
    match make() {
        Ok(made) => Ok(Some(made)),
        Err(error @ (Error::OutOfMemory { .. } | Error::LimitTooSmall { .. })) => {
            results.leave_out(what.to_owned(), &error.to_string());
            Ok(None)
        }
        Err(error) => Err(error),
    }
}
