//! The programs of a spectrum: Davidson's method with a thick restart for a set of modes, and the Lanczos method from a
//! random vector.

use super::program::{Asks, Dispatch, Evaluate, Grid, Program, Section, Selection, Stage};
use crate::config::{Config, Difference, Displacement, RelativeDisplacement, SpectrumConfig};
use crate::error::{Error, Result};
use crate::gpu::Tuning;
use crate::kernels::bindings::Vector;
use crate::kernels::catalogue::Kernel;
use crate::kernels::gpu_types::{Arguments, BASIS};
use crate::kernels::switches::Switches;
use crate::layout::Layout;
use crate::objective::Point;

/// What a set of modes does; see [`Spectrum`](crate::Spectrum).
#[derive(Clone, Debug)]
pub(crate) struct SpectrumPlan {
    pub modes: usize,
    pub lowest: usize,
    /// The distance of the probes, or that with which its search begins, is max(minimum, fraction · ‖θ‖).
    pub fraction: f32,
    pub minimum: f32,
    /// Whether it is searched for.
    searches: bool,
    pub difference: Difference,
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
    /// [`Error::Unsupported`] for an optimizer without a dimer; [`Error::InvalidConfig`].
    pub(crate) fn new(
        config: &Config,
        settings: &SpectrumConfig,
        layout: &Layout,
        tuning: &Tuning,
    ) -> Result<Self> {
        if config.dimer.is_none() {
            return Err(Error::no_dimer("a spectrum"));
        }
        settings.validate(layout.dimer_len())?;
        let (fraction, minimum) = match settings.displacement {
            Displacement::Absolute(distance) => (0.0, distance as f32),
            Displacement::Relative(RelativeDisplacement { factor, minimum }) => {
                (factor as f32, minimum as f32)
            }
            Displacement::Automatic => (FIRST_FRACTION, FIRST_FRACTION),
        };
        Ok(Self {
            modes: settings.modes(),
            lowest: settings.lowest,
            fraction,
            minimum,
            searches: settings.displacement == Displacement::Automatic,
            difference: settings.difference,
            walked: (layout.tile() / 4).div_ceil(tuning.workgroup_size as usize),
            tolerance: settings.tolerance,
            seed: settings.seed,
        })
    }

    /// Vectors of the basis.
    pub(crate) fn basis(&self) -> usize {
        BASIS * self.modes
    }

    /// Arguments for every column of the basis that a dispatch can be for, with each number of columns in use.
    pub(crate) fn arguments(&self) -> Vec<Arguments> {
        let arguments = |parts: usize, column: usize| Arguments {
            column: column as u32,
            modes: self.modes as u32,
            lowest: self.lowest as u32,
            columns: (parts * self.modes) as u32,
            products: self.basis() as u32,
        };
        (1..=BASIS)
            .flat_map(|parts| (0..self.basis()).map(move |column| arguments(parts, column)))
            .collect()
    }

    /// Whether products are differences between probes, whose distance has to be found first.
    pub(crate) fn has_probes(&self) -> bool {
        self.difference != Difference::Exact
    }

    /// Sums that the kernels leave at once: those of `gram` in the whole basis, three rows and four columns each.
    pub(crate) fn sums(&self) -> usize {
        self.modes * self.basis().div_ceil(4)
    }

    fn writer(&self) -> Writer {
        Writer::new(self.modes, self.walked, self.difference)
    }

    /// The gradient at θ and a product along every mode; then this many rotations, each with a product along every
    /// residual; then every mode measured afresh, from both sides. `is_first`: whether the distance of the probes has yet
    /// to be found. A search for it looks along a mode after a few of the rotations: along a random direction, the
    /// curvature hardly changes.
    pub(crate) fn program(&self, rotations: u32, is_first: bool) -> Program {
        let mut writer = self.writer();
        let searched = self.begin(&mut writer, rotations, is_first);
        writer.section(1, |writer| self.measure_modes(writer));
        writer.section(rotations - searched, |writer| self.rotation(writer));
        writer.section(1, |writer| {
            for mode in 0..self.modes {
                writer.measure_afresh(mode);
            }
            writer.residuals(0, self.modes);
            writer.once(Kernel::ModeOutcome, Grid::Once);
        });
        writer.finish()
    }

    /// What comes before the first random vector: the gradient at θ, and the distance of the probes if that has yet to be
    /// found.
    pub(crate) fn before_vectors(&self, is_first: bool) -> Program {
        let mut writer = self.writer();
        self.begin(&mut writer, ROTATIONS_BEFORE_SEARCH, is_first);
        writer.finish()
    }

    /// The gradient at θ, and `is_first` the distance of the probes; returns how many of the `rotations` a search for it
    /// has taken.
    fn begin(&self, writer: &mut Writer, rotations: u32, is_first: bool) -> u32 {
        if !self.has_probes() {
            return 0;
        }
        writer.section(1, |writer| writer.evaluate(Point::Centre, Vector::Gradient));
        if !is_first {
            return 0;
        }
        writer.section(1, |writer| {
            writer.once(Kernel::Norm, Grid::Tiles);
            writer.first_distance(self.searches);
        });
        if !self.searches {
            return 0;
        }
        let before = rotations.min(ROTATIONS_BEFORE_SEARCH);
        writer.section(1, |writer| self.measure_modes(writer));
        writer.section(before, |writer| self.rotation(writer));
        writer.section(1, |writer| writer.first_distance(false));
        // The stiffest mode, if there is one: there the curvature changes most.
        let mode = if self.lowest < self.modes { self.lowest } else { 0 };
        writer.section(DISTANCES - 1, |writer| writer.try_distance(mode, false));
        writer.section(1, |writer| writer.try_distance(mode, true));
        before
    }

    fn measure_modes(&self, writer: &mut Writer) {
        for mode in 0..self.modes {
            writer.measure(mode);
        }
        writer.rotate(1);
    }

    fn rotation(&self, writer: &mut Writer) {
        for residual in 2 * self.modes..self.basis() {
            writer.measure(residual);
        }
        writer.rotate(BASIS);
    }
}

/// The Lanczos method from one random vector, with full orthogonalization (Lanczos 1950; Paige 1970); see
/// [`Spectrum::density`](crate::Spectrum::density).
#[derive(Clone, Copy, Debug)]
pub(crate) struct LanczosPlan {
    /// Products, and vectors of the basis.
    steps: usize,
    difference: Difference,
    walked: usize,
}

impl LanczosPlan {
    /// Measures as `spectrum` does.
    pub(crate) fn new(spectrum: &SpectrumPlan, steps: usize) -> Self {
        Self { steps, difference: spectrum.difference, walked: spectrum.walked }
    }

    /// Vectors of the workspace: those of the basis, and the product along the last.
    pub(crate) fn vectors(&self) -> usize {
        self.steps + 1
    }

    /// Sums that the kernels leave at once: overlaps with eight vectors each.
    pub(crate) fn sums(&self) -> usize {
        self.steps.div_ceil(8)
    }

    /// Arguments for every column. The product along one is what the next is made of. With as many modes as there are
    /// columns, none of them is a residual, which kernels would look for behind twice as many.
    pub(crate) fn arguments(&self) -> Vec<Arguments> {
        let modes = self.vectors() as u32;
        let selection =
            |column| Arguments { column, modes, lowest: 0, columns: modes, products: 1 };
        (0..modes).map(selection).collect()
    }

    /// All steps, from the vector that lies in the first place.
    pub(crate) fn program(&self) -> Program {
        let mut writer = Writer::new(self.steps, self.walked, self.difference);
        writer.section(1, |writer| {
            for column in 0..self.steps {
                writer.measure(column);
            }
            writer.overlap(self.steps, false);
        });
        writer.finish()
    }
}

/// Collects stages, and sections of them.
struct Writer {
    modes: usize,
    walked: usize,
    difference: Difference,
    sections: Vec<Section>,
    stages: Vec<Stage>,
}

impl Writer {
    fn new(modes: usize, walked: usize, difference: Difference) -> Self {
        Self { modes, walked, difference, sections: Vec::new(), stages: Vec::new() }
    }

    /// A section that runs this many times.
    fn section(&mut self, times: u32, fill: impl FnOnce(&mut Self)) {
        fill(self);
        let stages = std::mem::take(&mut self.stages);
        if times > 0 {
            self.sections.push(Section { stages, times });
        }
    }

    fn finish(self) -> Program {
        Program { sections: self.sections, ..Program::default() }
    }

    /// The tiles, each shared by as many workgroups as it takes where a thread loops this often for each vec4.
    fn shared_tiles(&self, loops: usize) -> Grid {
        Grid::TilesTimes { rows: (self.walked * loops).div_ceil(ITERATIONS) as u32, columns: 1 }
    }

    fn evaluate(&mut self, point: Point, into: Vector) {
        let asks = match self.difference {
            Difference::Exact => Asks::HessianProduct,
            Difference::Forward | Difference::Central => Asks::Gradient,
        };
        self.stages.push(Stage::Evaluate(Evaluate { point, asks, into, gives_loss: false }));
    }

    fn dispatch(&mut self, kernel: Kernel, grid: Grid, selection: Selection, last: bool) {
        // The two sides of a central difference are two forward ones to the kernels.
        let difference = match self.difference {
            Difference::Central => Difference::Forward,
            other => other,
        };
        let switches = Switches { last, difference, ..Switches::default() };
        let dispatch = Dispatch::new(kernel, grid, switches);
        self.stages.push(Stage::Dispatch(Dispatch { selection: Some(selection), ..dispatch }));
    }

    /// A dispatch for one vector of the basis.
    fn of_vector(&mut self, kernel: Kernel, grid: Grid, column: usize, last: bool) {
        self.dispatch(kernel, grid, Selection { column: column as u32, parts: 1 }, last);
    }

    /// A dispatch for no vector in particular.
    fn once(&mut self, kernel: Kernel, grid: Grid) {
        self.of_vector(kernel, grid, 0, false);
    }

    /// Makes a vector of the basis orthogonal to those before it, and places the probe along it.
    fn orthogonalize(&mut self, column: usize) {
        for last in [false, true] {
            self.overlap(column, last);
            let tiles = self.shared_tiles(column + 1);
            self.of_vector(Kernel::ModeOrthogonalize, tiles, column, last);
        }
    }

    /// What lies along the vectors before one.
    fn overlap(&mut self, column: usize, last: bool) {
        let grid = Grid::TilesTimes { rows: 1, columns: column.div_ceil(8).max(1) as u32 };
        self.of_vector(Kernel::ModeOverlaps, grid, column, false);
        self.of_vector(Kernel::ModeCoefficients, Grid::Once, column, last);
    }

    /// The product along a vector of the basis, once that is orthogonal to those before it.
    fn measure(&mut self, column: usize) {
        self.orthogonalize(column);
        self.product(column);
        if self.difference == Difference::Central {
            self.opposite_product(column, false);
        }
    }

    /// The product along a mode that is measured afresh, from both sides of θ if there are sides, and half of what the two
    /// differ by.
    fn measure_afresh(&mut self, mode: usize) {
        self.of_vector(Kernel::ModePlaceProbe, Grid::Tiles, mode, false);
        self.product(mode);
        if self.difference != Difference::Exact {
            self.opposite_product(mode, true);
        }
    }

    /// The product along a vector whose probe is placed.
    fn product(&mut self, column: usize) {
        self.evaluate(Point::Probe, Vector::ProbeGradient);
        self.of_vector(Kernel::ModeHessianProduct, Grid::Tiles, column, false);
    }

    /// The same from the other side of θ.
    fn opposite_product(&mut self, column: usize, last: bool) {
        self.once(Kernel::Opposite, Grid::Tiles);
        self.evaluate(Point::Probe, Vector::ProbeGradient);
        self.of_vector(Kernel::ModeOppositeProduct, Grid::Tiles, column, last);
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
        let selection = Some(Selection { column: 0, parts: 1 });
        self.stages.push(Stage::Dispatch(Dispatch { selection, ..dispatch }));
    }

    /// The error of a product along a mode at one distance.
    fn try_distance(&mut self, mode: usize, last: bool) {
        self.measure_afresh(mode);
        self.residuals(mode, 1);
        self.of_vector(Kernel::ModeSearchDistance, Grid::Once, mode, last);
    }

    /// Rayleigh–Ritz in the span of x, or of all `parts` of the basis.
    fn rotate(&mut self, parts: usize) {
        let selection = Selection { column: 0, parts: parts as u32 };
        let vectors = parts * self.modes;
        let [rows, columns] = [vectors.div_ceil(3), vectors.div_ceil(4)].map(|count| count as u32);
        self.dispatch(Kernel::ModeGram, Grid::TilesTimes { rows, columns }, selection, false);
        self.dispatch(Kernel::ModeSumEntries, Grid::Entries(rows * columns), selection, false);
        self.dispatch(Kernel::ModeRitz, Grid::Once, selection, false);
        // Of the basis and of its products: all are loaded, and for four results each all are added.
        let loops = 2 * (vectors + 1) * (1 + self.modes.div_ceil(2)) + self.modes;
        self.dispatch(Kernel::ModeCombine, self.shared_tiles(loops), selection, false);
    }
}
