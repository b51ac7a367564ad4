//! [`Program`]: what one kind of step does, stage by stage.

use crate::config::Storage;
use crate::kernels::bindings::Vector;
use crate::kernels::catalogue::Kernel;
use crate::kernels::switches::Switches;
use crate::kernels::traffic;
use crate::objective::Point;

/// One thing that a step does.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Stage {
    /// The objective is called.
    Evaluate(Evaluate),
    Dispatch(Dispatch),
    Copy {
        from: Vector,
        to: Place,
    },
    /// The loss is copied to where the record finds it, if the objective supplies one.
    TakeLoss,
    /// Each rank of a group gets what the others have found in their slices.
    Gather(Gathered),
    /// The host asks whether the rotation is done, and waits for the answer; if it is, the program goes on
    /// where [`Program::after_stop`] says.
    Stop,
}

/// What the ranks of a group bring together: each that of its own slice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gathered {
    /// The sums over tiles, in these sets of them.
    Partials { first: u32, end: u32 },
    /// A vector of f32, and with the parameters whether one has left f32.
    Vector(Vector),
}

/// One call of the objective.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Evaluate {
    pub point: Point,
    pub asks: Asks,
    /// Where the result belongs.
    pub into: Vector,
    /// Whether its loss is that of the step.
    pub gives_loss: bool,
}

/// What the objective is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asks {
    Gradient,
    HessianProduct,
}

/// Where a vector is copied to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Vector(Vector),
    /// A vector of the workspace.
    Workspace(u32),
}

/// One kernel over the shards of the vectors.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Dispatch {
    pub kernel: Kernel,
    pub switches: Switches,
    pub grid: Grid,
    /// For kernels of a set of modes.
    pub selection: Option<Selection>,
}

/// How many workgroups a dispatch has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Grid {
    /// For each shard, one workgroup per tile.
    Tiles,
    /// The same for each row and column.
    TilesTimes {
        rows: u32,
        columns: u32,
    },
    /// For each shard, as many streams of threads as its pieces need.
    Pieces,
    /// One workgroup, with the first shard.
    Once,
    /// One for each of this many sums, with the first shard.
    Entries(u32),
    /// A thread for each region, or a stream for each region of several pieces, with the first shard.
    Regions,
    RegionsOfSeveralPieces,
    /// A thread for each region, if any region has one piece.
    RegionsOfOnePiece,
}

/// Which column of the basis of a set of modes a dispatch is for, and how many parts of the basis are in use: x, then p,
/// then u.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Selection {
    pub column: u32,
    pub parts: u32,
}

/// Stages that follow each other, some of them more than once.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Program {
    pub sections: Vec<Section>,
    /// Where the program goes on once a rotation is done.
    pub after_stop: Cursor,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Section {
    pub stages: Vec<Stage>,
    pub times: u32,
}

/// A place in a program: the stage that comes next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cursor {
    pub section: usize,
    pub stage: usize,
    /// How often its section has run.
    pub round: u32,
}

impl Program {
    pub(crate) fn stage(&self, cursor: Cursor) -> Option<&Stage> {
        self.sections.get(cursor.section)?.stages.get(cursor.stage)
    }

    /// Moves `cursor` past its stage.
    pub(crate) fn advance(&self, cursor: &mut Cursor) {
        let Some(section) = self.sections.get(cursor.section) else { return };
        cursor.stage += 1;
        if cursor.stage == section.stages.len() {
            cursor.stage = 0;
            cursor.round += 1;
            if cursor.round == section.times {
                *cursor = Cursor { section: cursor.section + 1, ..Cursor::default() };
            }
        }
    }

    /// Every dispatch; those of a repeated section count once.
    pub(crate) fn dispatches(&self) -> impl Iterator<Item = &Dispatch> {
        self.sections.iter().flat_map(|section| &section.stages).filter_map(|stage| match stage {
            Stage::Dispatch(dispatch) => Some(dispatch),
            _ => None,
        })
    }

    /// The sum of `value` over all stages; repeated ones count as often as they run.
    pub(crate) fn sum(&self, value: impl Fn(&Stage) -> f64) -> f64 {
        let section = |section: &Section| {
            f64::from(section.times) * section.stages.iter().map(&value).sum::<f64>()
        };
        self.sections.iter().map(section).sum()
    }

    /// At which point the loss of the step is found.
    pub(crate) fn loss_point(&self) -> Option<Point> {
        self.sections.iter().flat_map(|section| &section.stages).find_map(|stage| match stage {
            Stage::Evaluate(evaluate) => evaluate.gives_loss.then_some(evaluate.point),
            _ => None,
        })
    }

    /// Number of evaluations, or with `point` of those at that point; with a stop, at most this many.
    pub(crate) fn evaluations(&self, point: Option<Point>) -> u32 {
        let counts = |stage: &Stage| match stage {
            Stage::Evaluate(evaluate) => point.is_none_or(|point| evaluate.point == point),
            _ => false,
        };
        self.sum(|stage| f64::from(u8::from(counts(stage)))) as u32
    }
}

impl Dispatch {
    pub(crate) fn new(kernel: Kernel, grid: Grid, switches: Switches) -> Self {
        Self { kernel, switches, grid, selection: None }
    }

    /// Bytes that it moves per element.
    pub(crate) fn bytes(&self, storage: Storage) -> f64 {
        let bytes = traffic::bytes(self.kernel, &self.switches, storage);
        match self.grid {
            Grid::TilesTimes { rows, columns } => f64::from(rows * columns) * bytes,
            _ => bytes,
        }
    }
}

impl Stage {
    /// Bytes that it moves per element.
    pub(crate) fn bytes(&self, storage: Storage) -> f64 {
        match self {
            Self::Dispatch(dispatch) => dispatch.bytes(storage),
            Self::Copy { to: Place::Workspace(_), .. } => 2.0 * storage.bytes() as f64,
            Self::Copy { to: Place::Vector(_), .. } => 2.0 * Storage::F32.bytes() as f64,
            Self::Evaluate(_) | Self::TakeLoss | Self::Gather(_) | Self::Stop => 0.0,
        }
    }
}
