//! The program of a block of modes: Davidson's method with a thick restart.

use super::program::{Asks, Block, Dispatch, Evaluate, Goal, Grid, Program, Stage};
use crate::config::{Config, Difference, Displacement, Relative, SpectrumConfig};
use crate::error::{Error, Result};
use crate::gpu::Tuning;
use crate::kernels::bindings::Vector;
use crate::kernels::catalogue::Kernel;
use crate::kernels::gpu_types::BASIS;
use crate::kernels::switches::Switches;
use crate::layout::Layout;
use crate::objective::Point;

/// What a block of modes does; see [`Spectrum`](crate::Spectrum).
#[derive(Clone, Debug)]
pub(crate) struct SpectrumPlan {
    pub modes: usize,
    pub lowest: usize,
    /// The distance of the probes, or that with which its search begins, is max(minimum, fraction · ‖θ‖).
    pub fraction: f32,
    pub minimum: f32,
    /// Whether it is searched for.
    searches: bool,
    /// vec4 that one thread of a tile walks.
    walked: usize,
    /// Error up to which a mode counts as converged, as a fraction of the largest |eigenvalue|.
    pub tolerance: f64,
    /// Of the first directions.
    pub seed: u64,
}

/// Iterations of all loops of one thread, of a driver's 65 536 (see [`MAX_ITERATIONS`](crate::layout::MAX_ITERATIONS)).
const ITERATIONS: usize = 48 * 1024;

/// Rotations before a search for the distance.
const ROTATIONS_BEFORE_SEARCH: u32 = 4;

/// Distances that a search compares.
const DISTANCES: u32 = 7;
/// The first of them, as a fraction of ‖θ‖, or of 1.
const FIRST_FRACTION: f32 = 1e-5;

impl SpectrumPlan {
    /// # Errors
    /// [`Error::Unsupported`] for an optimizer that it cannot measure with; [`Error::InvalidConfig`].
    pub(crate) fn new(
        config: &Config,
        settings: &SpectrumConfig,
        layout: &Layout,
        tuning: &Tuning,
    ) -> Result<Self> {
        let dimer = config.dimer.as_ref().ok_or_else(|| Error::no_dimer("a spectrum"))?;
        if dimer.difference == Difference::Exact {
            return Err(Error::Unsupported {
                what: "a spectrum",
                with: "exact products",
                instead: "set `dimer.difference` to Forward or Central",
            });
        }
        settings.validate(layout.dimer_len())?;
        let (fraction, minimum) = match settings.displacement {
            Displacement::Absolute(distance) => (0.0, distance as f32),
            Displacement::Relative(Relative { factor, minimum }) => (factor as f32, minimum as f32),
            Displacement::Automatic => (FIRST_FRACTION, FIRST_FRACTION),
        };
        Ok(Self {
            modes: settings.modes(),
            lowest: settings.lowest,
            fraction,
            minimum,
            searches: settings.displacement == Displacement::Automatic,
            walked: (layout.tile() / 4).div_ceil(tuning.workgroup_size as usize),
            tolerance: settings.tolerance,
            seed: settings.seed,
        })
    }

    /// Vectors of the basis.
    pub(crate) fn basis(&self) -> usize {
        BASIS * self.modes
    }

    /// Sums that the kernels leave at once: those of `gram` in the whole basis, three rows and four columns each.
    pub(crate) fn sums(&self) -> usize {
        self.modes * self.basis().div_ceil(4)
    }

    /// The gradient at θ and a product along every mode; then this many rotations, each with a product along every
    /// residual; then every mode measured afresh, from both sides. `is_first`: whether the distance of the probes has yet
    /// to be found. A search for it looks along a mode after a few of the rotations: along a random direction, the
    /// curvature hardly changes.
    pub(crate) fn program(&self, rotations: u32, is_first: bool) -> Program {
        let mut blocks = Vec::new();
        let mut block = |times, fill: &dyn Fn(&mut Writer)| {
            let mut writer = Writer { modes: self.modes, walked: self.walked, stages: Vec::new() };
            fill(&mut writer);
            blocks.push(Block { stages: writer.stages, times });
        };
        let rotation = |writer: &mut Writer| {
            for residual in 2 * self.modes..self.basis() {
                writer.measure(residual);
            }
            writer.rotate(BASIS);
        };
        let begin = |writer: &mut Writer| {
            for mode in 0..self.modes {
                writer.measure(mode);
            }
            writer.rotate(1);
        };
        block(1, &|writer| writer.evaluate(Point::Centre, Vector::Gradient));
        let mut left = rotations;
        if is_first {
            block(1, &|writer| {
                writer.once(Kernel::Norm, Grid::Tiles);
                writer.first_distance(self.searches);
            });
            if self.searches {
                let before = rotations.min(ROTATIONS_BEFORE_SEARCH);
                left -= before;
                block(1, &begin);
                block(before, &rotation);
                block(1, &|writer| writer.first_distance(false));
                // The stiffest mode, if there is one: there the curvature changes most.
                let mode = if self.lowest < self.modes { self.lowest } else { 0 };
                block(DISTANCES - 1, &|writer| writer.try_distance(mode, false));
                block(1, &|writer| writer.try_distance(mode, true));
            }
        }
        block(1, &begin);
        block(left, &rotation);
        block(1, &|writer| {
            for mode in 0..self.modes {
                writer.measure_from_both_sides(mode);
            }
            writer.residuals(0, self.modes);
            writer.once(Kernel::ModeOutcome, Grid::Once);
        });
        blocks.retain(|block| block.times > 0);
        Program { blocks, ..Program::default() }
    }
}

/// Collects stages.
struct Writer {
    modes: usize,
    walked: usize,
    stages: Vec<Stage>,
}

impl Writer {
    /// The tiles, each shared by as many workgroups as it takes where a thread loops this often for each vec4.
    fn shared_tiles(&self, loops: usize) -> Grid {
        Grid::TilesTimes { rows: (self.walked * loops).div_ceil(ITERATIONS) as u32, columns: 1 }
    }

    fn evaluate(&mut self, point: Point, into: Vector) {
        self.stages.push(Stage::Evaluate(Evaluate { point, asks: Asks::Gradient, into }));
    }

    fn dispatch(&mut self, kernel: Kernel, grid: Grid, goal: Goal, last: bool) {
        let dispatch = Dispatch::new(kernel, grid, Switches { last, ..Switches::default() });
        self.stages.push(Stage::Dispatch(Dispatch { goal: Some(goal), ..dispatch }));
    }

    /// A dispatch for one vector of the basis.
    fn of_vector(&mut self, kernel: Kernel, grid: Grid, slot: usize, last: bool) {
        self.dispatch(kernel, grid, Goal { slot: slot as u32, parts: 1 }, last);
    }

    /// A dispatch for no vector in particular.
    fn once(&mut self, kernel: Kernel, grid: Grid) {
        self.of_vector(kernel, grid, 0, false);
    }

    /// Makes a vector of the basis orthogonal to those before it, and places the probe along it.
    fn orthogonalize(&mut self, slot: usize) {
        for last in [false, true] {
            let grid = Grid::TilesTimes { rows: 1, columns: slot.div_ceil(8).max(1) as u32 };
            self.of_vector(Kernel::ModeOverlaps, grid, slot, false);
            self.of_vector(Kernel::ModeCoefficients, Grid::Once, slot, last);
            let tiles = self.shared_tiles(slot + 1);
            self.of_vector(Kernel::ModeOrthogonalize, tiles, slot, last);
        }
    }

    /// The product along a vector of the basis, once that is orthogonal to those before it.
    fn measure(&mut self, slot: usize) {
        self.orthogonalize(slot);
        self.evaluate(Point::Probe, Vector::ProbeGradient);
        self.of_vector(Kernel::ModeHessianProduct, Grid::Tiles, slot, false);
    }

    /// The product along a mode from both sides of θ, and half of what the two differ by.
    fn measure_from_both_sides(&mut self, mode: usize) {
        self.of_vector(Kernel::ModePlaceProbe, Grid::Tiles, mode, false);
        self.evaluate(Point::Probe, Vector::ProbeGradient);
        self.of_vector(Kernel::ModeHessianProduct, Grid::Tiles, mode, false);
        self.once(Kernel::Opposite, Grid::Tiles);
        self.evaluate(Point::Probe, Vector::ProbeGradient);
        self.of_vector(Kernel::ModeOppositeProduct, Grid::Tiles, mode, false);
    }

    /// The residuals of this many modes from `first` on.
    fn residuals(&mut self, first: usize, modes: usize) {
        let grid = Grid::TilesTimes { rows: modes as u32, columns: 1 };
        self.of_vector(Kernel::ModeResiduals, grid, first, false);
    }

    /// The distance of the probes from ‖θ‖, or of those before a search for it.
    fn first_distance(&mut self, far: bool) {
        let switches = Switches { far, ..Switches::default() };
        let dispatch = Dispatch::new(Kernel::ModeFirstDistance, Grid::Once, switches);
        let goal = Some(Goal { slot: 0, parts: 1 });
        self.stages.push(Stage::Dispatch(Dispatch { goal, ..dispatch }));
    }

    /// The error of a product along a mode at one distance.
    fn try_distance(&mut self, mode: usize, last: bool) {
        self.measure_from_both_sides(mode);
        self.residuals(mode, 1);
        self.of_vector(Kernel::ModeSearchDistance, Grid::Once, mode, last);
    }

    /// Rayleigh–Ritz in the span of x, or of all `parts` of the basis.
    fn rotate(&mut self, parts: usize) {
        let goal = Goal { slot: 0, parts: parts as u32 };
        let vectors = parts * self.modes;
        let [rows, columns] = [vectors.div_ceil(3), vectors.div_ceil(4)].map(|count| count as u32);
        self.dispatch(Kernel::ModeGram, Grid::TilesTimes { rows, columns }, goal, false);
        self.dispatch(Kernel::ModeSumEntries, Grid::Entries(rows * columns), goal, false);
        self.dispatch(Kernel::ModeRitz, Grid::Once, goal, false);
        // Of the basis and of its products: all are loaded, and for four results each all are added.
        let loops = 2 * (vectors + 1) * (1 + self.modes.div_ceil(2)) + self.modes;
        self.dispatch(Kernel::ModeCombine, self.shared_tiles(loops), goal, false);
    }
}
