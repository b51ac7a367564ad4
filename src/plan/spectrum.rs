//! The program of a block of modes: Rayleigh–Ritz in the span of all modes, forces and directions.

use super::program::{Asks, Block, Dispatch, Evaluate, Goal, Grid, Program, Stage};
use super::step::set_displacement;
use super::sums_tiles;
use crate::config::{Config, Difference, Displacement};
use crate::error::{Error, Result};
use crate::gpu::Tuning;
use crate::kernels::bindings::Vector;
use crate::kernels::catalogue::Kernel;
use crate::kernels::gpu_types::{BASIS, MAX_MODES};
use crate::kernels::switches::Switches;
use crate::layout::Layout;
use crate::objective::Point;

/// What a block of modes does; see [`Spectrum`](crate::Spectrum).
#[derive(Clone, Debug)]
pub(crate) struct SpectrumPlan {
    pub count: usize,
    /// How the distance of the probes is found.
    displacement: Vec<Stage>,
}

impl SpectrumPlan {
    /// A block of `count` modes.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for settings that it cannot measure with; [`Error::InvalidArgument`] for a
    /// count out of range.
    pub(crate) fn new(
        config: &Config,
        layout: &Layout,
        tuning: &Tuning,
        count: usize,
    ) -> Result<Self> {
        let dimer = config.dimer.as_ref().ok_or_else(|| Error::no_dimer("a block of modes"))?;
        if dimer.difference == Difference::Exact || dimer.displacement == Displacement::Automatic {
            return Err(Error::Unsupported {
                what: "a block of modes",
                with: "an automatic displacement or exact products",
                instead: "set `dimer.displacement` to Absolute or Relative, and `dimer.difference` to \
                          Forward or Central",
            });
        }
        if !(1..=MAX_MODES.min(layout.dimer_len())).contains(&count) {
            return Err(Error::InvalidArgument {
                argument: "count",
                value: count.to_string(),
                expected: "from 1 to 8, and at most the elements under the dimer",
            });
        }
        let displacement = set_displacement(dimer, sums_tiles(layout, tuning));
        Ok(Self { count, displacement })
    }

    /// Vectors of the basis.
    pub(crate) fn basis(&self) -> usize {
        BASIS * self.count
    }

    /// The gradient at θ, then a product along every mode, then this many rotations, each with a product
    /// along every force.
    pub(crate) fn program(&self, rotations: u32) -> Program {
        let gradient =
            Evaluate { point: Point::Centre, asks: Asks::Gradient, into: Vector::Gradient };
        let mut first = vec![Stage::Evaluate(gradient)];
        first.extend(&self.displacement);
        self.measure(&mut first, 0);
        self.rotate(&mut first, 1);
        if rotations > 0 {
            // The directions of an earlier call belong to another θ.
            self.measure(&mut first, self.count);
            self.rotate(&mut first, 2);
        }
        let mut blocks = vec![Block { stages: first, times: 1 }];
        if rotations > 1 {
            let mut others = Vec::new();
            self.measure(&mut others, self.count);
            self.rotate(&mut others, 3);
            blocks.push(Block { stages: others, times: rotations - 1 });
        }
        Program { blocks, ..Program::default() }
    }

    /// A product along each of the `count` vectors of the basis from `first` on.
    fn measure(&self, stages: &mut Vec<Stage>, first: usize) {
        for slot in first..first + self.count {
            let goal = Goal { slot: slot as u32, parts: 1 };
            stages.push(dispatch(Kernel::ModePlaceProbe, Grid::Tiles, goal));
            stages.push(Stage::Evaluate(Evaluate {
                point: Point::Probe,
                asks: Asks::Gradient,
                into: Vector::ProbeGradient,
            }));
            stages.push(dispatch(Kernel::ModeHessianProduct, Grid::Tiles, goal));
        }
    }

    /// Rayleigh–Ritz in the span of x; with `parts` 2 also of u, with 3 also of p.
    fn rotate(&self, stages: &mut Vec<Stage>, parts: u32) {
        let goal = Goal { slot: 0, parts };
        let rows = parts * self.count as u32;
        let grid = Grid::TilesTimes { rows, columns: rows.div_ceil(4) };
        stages.push(dispatch(Kernel::ModeGram, grid, goal));
        stages.push(dispatch(Kernel::ModeRitz, Grid::Once, goal));
        stages.push(dispatch(Kernel::ModeUpdateBasis, Grid::Tiles, goal));
    }
}

fn dispatch(kernel: Kernel, grid: Grid, goal: Goal) -> Stage {
    let dispatch = Dispatch::new(kernel, grid, Switches::default());
    Stage::Dispatch(Dispatch { goal: Some(goal), ..dispatch })
}
