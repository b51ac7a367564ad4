//! A [`Plan`] in words, as users see it and as `tests/programs/` keeps it.

use std::fmt;

use super::program::{Asks, Dispatch, Evaluate, Gathered, Grid, Place, Program, Stage};
use super::{Plan, RateMeasurement, StepForm, StepKind};
use crate::config::Storage;
use crate::kernels::bindings::Vector;
use crate::kernels::catalogue::Source;
use crate::objective::Point;

impl fmt::Display for StepKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Base => "base",
            Self::Corrected => "corrected",
            Self::Event => "event",
            Self::Rotation => "rotation",
        })
    }
}

impl fmt::Display for RateMeasurement {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::None => "no measurement of the learning rate",
            Self::FirstHalf => "the first of two steps on one minibatch",
            Self::Complete => "a measurement of the learning rate",
        })
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, cost) in self.costs().into_iter().enumerate() {
            if i > 0 {
                writeln!(formatter)?;
            }
            let form = StepForm { kind: cost.kind, rate: cost.rate };
            write!(formatter, "{}", cost.kind)?;
            if form.rate != RateMeasurement::None {
                write!(formatter, ", {}", form.rate)?;
            }
            writeln!(
                formatter,
                ": {}, {}, {} bytes per parameter",
                counted(cost.evaluations, "evaluation", "evaluations"),
                counted(cost.dispatches, "dispatch", "dispatches"),
                cost.bytes_per_parameter
            )?;
            if let Some(program) = self.program(form) {
                self.write_program(formatter, program)?;
            }
        }
        Ok(())
    }
}

impl Plan {
    fn write_program(&self, to: &mut fmt::Formatter<'_>, program: &Program) -> fmt::Result {
        let mut stages = program.sections.iter().flat_map(|section| &section.stages);
        let stops = stages.any(|stage| *stage == Stage::Stop);
        for (number, section) in program.sections.iter().enumerate() {
            let indent = if section.times > 1 {
                writeln!(to, "  {} times:", section.times)?;
                "    "
            } else {
                "  "
            };
            for (i, stage) in section.stages.iter().enumerate() {
                if stops && (number, i) == (program.after_stop.section, program.after_stop.stage) {
                    writeln!(to, "{indent}once the rotation is done:")?;
                }
                let words = self.words(stage);
                match stage.bytes(self.storage) {
                    0.0 => writeln!(to, "{indent}{words}")?,
                    bytes => writeln!(to, "{indent}{words}: {bytes}")?,
                }
            }
        }
        Ok(())
    }

    fn words(&self, stage: &Stage) -> String {
        match stage {
            Stage::Evaluate(Evaluate { point, asks, into, .. }) => {
                let what = match asks {
                    Asks::Gradient => "gradient",
                    Asks::HessianProduct => "Hessian product",
                };
                let at = match (asks, point) {
                    (Asks::HessianProduct, _) => "along the probe",
                    (Asks::Gradient, Point::Centre) => "at the parameters",
                    (Asks::Gradient, Point::Probe) => "at the probe",
                };
                format!("evaluate the {what} {at} into {}", name(*into))
            }
            Stage::Dispatch(dispatch) => self.dispatch_words(dispatch),
            Stage::Copy { from, to } => {
                let to = match to {
                    Place::Vector(vector) => name(*vector).to_owned(),
                    Place::Workspace(vector) => format!("workspace[{vector}]"),
                };
                format!("copy {} into {to}", name(*from))
            }
            Stage::TakeLoss => "take the loss".to_owned(),
            Stage::Gather(Gathered::Partials { .. }) => "gather the sums of all ranks".to_owned(),
            Stage::Gather(Gathered::Vector(vector)) => {
                format!("gather {} from all ranks", name(*vector))
            }
            Stage::Stop => "ask whether the rotation is done".to_owned(),
        }
    }

    fn dispatch_words(&self, dispatch: &Dispatch) -> String {
        let kernel = dispatch.kernel;
        let choices = super::Choices {
            subgroups: false,
            storage: Storage::F32,
            dimer: self.dimer.is_some(),
            moments: self.base.moments(),
        };
        let switches = Source::new(kernel, choices).switches();
        let set = switches.iter().filter_map(|switch| switch.words(&dispatch.switches));
        let mut words = vec![kernel.name().to_owned()];
        words.extend(set);
        if let Some(selection) = dispatch.selection {
            words.push(format!("column {} of {} parts", selection.column, selection.parts));
        }
        match dispatch.grid {
            Grid::Tiles | Grid::Pieces => {}
            Grid::TilesTimes { rows, columns } => words.push(format!("{rows} x {columns}")),
            Grid::Once => words.push("once".to_owned()),
            Grid::Entries(count) => words.push(format!("for {count} sums")),
            Grid::Regions => words.push("a thread for each region".to_owned()),
            Grid::RegionsOfSeveralPieces => words.push("for regions of several pieces".to_owned()),
            Grid::RegionsOfOnePiece => words.push("for regions of one piece".to_owned()),
        }
        words.join(" ")
    }
}

fn counted(count: u32, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

fn name(vector: Vector) -> &'static str {
    match vector {
        Vector::Params => "params",
        Vector::PreviousParams => "previous_params",
        Vector::Probe => "probe",
        Vector::Gradient => "gradient",
        Vector::ProbeGradient => "probe_gradient",
        Vector::Orientation => "orientation",
        Vector::FirstMoment => "first_moment",
        Vector::SecondMoment => "second_moment",
        Vector::Workspace => "workspace",
    }
}
