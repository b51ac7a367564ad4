//! The programs of a step: of the base optimizer alone, corrected along N, an event, and a rotation that
//! leaves the parameters alone.

use super::program::{Asks, Cursor, Dispatch, Evaluate, Grid, Place, Program, Section, Stage};
use super::{RateMeasurement, StepForm, StepKind, base_rule, displacement_rule};
use crate::config::{
    Config, Difference, Dimer, Displacement, EarlyExit, FullBatch, Metric, RateProbe, RayleighRitz,
    Regime, Scope, Translation,
};
use crate::kernels::bindings::Vector;
use crate::kernels::catalogue::Kernel;
use crate::kernels::switches::{
    DisplacementRule, RateRule, RotationRule, Switches, TranslationRule,
};
use crate::kernels::traffic::{VECTOR_HN, VECTOR_HP, VECTOR_HU, VECTOR_N};
use crate::objective::Point;

/// The program of a step; `None` if it needs a dimer or a rate from curvature and there is none.
pub(super) fn program(config: &Config, form: StepForm, sums_tiles: bool) -> Option<Program> {
    let probe = config.learning_rate.probe();
    match form.rate {
        RateMeasurement::None => {}
        _ if probe.is_none() || form.kind == StepKind::Rotation => return None,
        RateMeasurement::FirstHalf if probe != Some(RateProbe::RepeatedMinibatch) => return None,
        _ => {}
    }
    let mut writer = Writer::new(sums_tiles);
    match (form.kind, &config.dimer) {
        // Each of their steps is an event.
        (StepKind::Base | StepKind::Corrected, _) if config.alternates() => return None,
        (StepKind::Base, _) => {
            centre(&mut writer, config, form);
            writer.stages.push(Stage::TakeLoss);
            move_params(&mut writer, form, |writer| base_update(writer, config, form));
        }
        (StepKind::Corrected, Some(dimer)) => {
            centre(&mut writer, config, form);
            writer.stages.push(Stage::TakeLoss);
            move_params(&mut writer, form, |writer| update(writer, config, dimer, form));
        }
        (StepKind::Event | StepKind::Rotation, Some(dimer)) if config.alternates() => {
            alternating(&mut writer, config, dimer, form);
        }
        (StepKind::Event | StepKind::Rotation, Some(dimer)) => {
            event(&mut writer, config, dimer, form);
        }
        (_, None) => return None,
    }
    Some(writer.finish())
}

/// The gradient at the parameters, and with it the learning rate, if the step measures it.
fn centre(writer: &mut Writer, config: &Config, form: StepForm) {
    writer.evaluate_centre();
    let repeated = config.learning_rate.probe() == Some(RateProbe::RepeatedMinibatch);
    match form.rate {
        RateMeasurement::None => return,
        RateMeasurement::FirstHalf => return look_along_update(writer, config, form),
        RateMeasurement::Complete if repeated => {
            writer.dispatch(Kernel::StepProducts, Grid::Tiles, Switches::default());
        }
        RateMeasurement::Complete => {
            look_along_update(writer, config, form);
            let switches = update_direction_switches(config);
            writer.dispatch(Kernel::PlaceRateProbe, Grid::Tiles, switches);
            writer.evaluate_probe(Vector::ProbeGradient, false);
            writer.dispatch(Kernel::ProbeProducts, Grid::Tiles, Switches::default());
        }
    }
    writer.dispatch(Kernel::MeasureRate, Grid::Once, Switches { repeated, ..Switches::default() });
}

/// The sums of the gradient from which its clip follows.
fn clip_sums(writer: &mut Writer, config: &Config, form: StepForm) {
    let switches = Switches { dimer: false, ..update_switches(config, form) };
    writer.dispatch(Kernel::Gram, Grid::Tiles, switches);
}

/// Keeps what is known of the update; where the gradient is clipped, after its sums.
fn look_along_update(writer: &mut Writer, config: &Config, form: StepForm) {
    if config.max_gradient_norm.is_some() {
        clip_sums(writer, config, form);
    }
    keep_update(writer, update_direction_switches(config));
}

fn keep_update(writer: &mut Writer, switches: Switches) {
    writer.dispatch(Kernel::UpdateProducts, Grid::Tiles, switches);
    writer.dispatch(Kernel::KeepUpdate, Grid::Once, Switches::default());
}

/// Of the kernels that recompute the update.
fn update_direction_switches(config: &Config) -> Switches {
    // Only a clip needs sums of the gradient.
    let unguarded = config.max_gradient_norm.is_none();
    Switches { base: base_rule(config.base), unguarded, ..Switches::default() }
}

/// The dispatches that move the parameters; the first of two steps on one minibatch keeps where they were, and
/// its slope along what they moved.
fn move_params(writer: &mut Writer, form: StepForm, update: impl FnOnce(&mut Writer)) {
    let keeps = form.rate == RateMeasurement::FirstHalf;
    if keeps {
        let to = Place::Vector(Vector::PreviousParams);
        writer.stages.push(Stage::Copy { from: Vector::Params, to });
    }
    update(writer);
    if keeps {
        writer.dispatch(Kernel::StepProducts, Grid::Tiles, Switches::default());
        writer.dispatch(Kernel::KeepSlope, Grid::Once, Switches::default());
    }
}

/// The program by which an objective is checked: the gradient at θ twice, once more as a step on the same
/// function if there are such steps, at a probe that is θ, and at a real one, with central differences on both
/// sides. Without probes that are gradients it ends before those.
pub(super) fn check(config: &Config, sums_tiles: bool) -> Program {
    let mut writer = Writer::new(sums_tiles);
    writer.evaluate_centre();
    writer.evaluate_centre();
    let probe = config.learning_rate.probe();
    let alternates = config.alternates();
    if probe == Some(RateProbe::RepeatedMinibatch) || alternates {
        writer.evaluate_centre();
    }
    // As in a step.
    let into = if alternates { Vector::Gradient } else { Vector::ProbeGradient };
    let euclidean = |dimer: &Dimer| Dimer { metric: Metric::Euclidean, ..dimer.clone() };
    let dimer = config.dimer.as_ref().map(euclidean);
    let dimer = dimer.as_ref().filter(|dimer| dimer.difference != Difference::Exact);
    if dimer.is_some() || probe == Some(RateProbe::SeparateGradient) {
        let to = Place::Vector(Vector::Probe);
        writer.stages.push(Stage::Copy { from: Vector::Params, to });
        writer.evaluate_probe(into, false);
        match dimer {
            Some(dimer) if dimer.displacement == Displacement::Automatic => {
                far_probe(&mut writer, dimer);
            }
            Some(dimer) => displace(&mut writer, dimer),
            None => {
                // How far away it lies does not matter.
                let unclipped = Config { max_gradient_norm: None, ..config.clone() };
                let switches = update_direction_switches(&unclipped);
                keep_update(&mut writer, switches);
                writer.dispatch(Kernel::PlaceRateProbe, Grid::Tiles, switches);
            }
        }
        writer.evaluate_probe(into, alternates);
        if dimer.is_some_and(|dimer| dimer.difference == Difference::Central) {
            writer.dispatch(Kernel::Opposite, Grid::Tiles, Switches::default());
            writer.evaluate_probe(Vector::Gradient, false);
        }
    }
    writer.finish()
}

/// Collects stages.
struct Writer {
    /// Whether the partials of all tiles are added before each kernel whose workgroups all need their sum.
    sums_tiles: bool,
    sections: Vec<Section>,
    stages: Vec<Stage>,
    after_stop: Cursor,
}

impl Writer {
    fn new(sums_tiles: bool) -> Self {
        let after_stop = Cursor::default();
        Self { sums_tiles, sections: Vec::new(), stages: Vec::new(), after_stop }
    }

    fn evaluate_centre(&mut self) {
        let (point, into) = (Point::Centre, Vector::Gradient);
        let evaluate = Evaluate { point, asks: Asks::Gradient, into, gives_loss: true };
        self.stages.push(Stage::Evaluate(evaluate));
    }

    fn evaluate_probe(&mut self, into: Vector, gives_loss: bool) {
        let evaluate = Evaluate { point: Point::Probe, asks: Asks::Gradient, into, gives_loss };
        self.stages.push(Stage::Evaluate(evaluate));
    }

    fn dispatch(&mut self, kernel: Kernel, grid: Grid, switches: Switches) {
        let mut push = |kernel, grid, switches| {
            self.stages.push(Stage::Dispatch(Dispatch::new(kernel, grid, switches)));
        };
        let summed = self.sums_tiles && needs_sum(kernel, &switches);
        if summed {
            push(Kernel::SumTiles, Grid::Once, Switches::default());
        }
        push(kernel, grid, Switches { summed, ..switches });
    }

    /// Ends a section that runs once, then adds one of `stages` that runs this many times.
    fn repeat(&mut self, times: u32, stages: Vec<Stage>) {
        self.end_section();
        if times > 0 {
            self.sections.push(Section { stages, times });
        }
    }

    fn end_section(&mut self) {
        if !self.stages.is_empty() {
            let stages = std::mem::take(&mut self.stages);
            self.sections.push(Section { stages, times: 1 });
        }
    }

    /// Where the next stage will stand.
    fn here(&self) -> Cursor {
        Cursor { section: self.sections.len(), stage: self.stages.len(), round: 0 }
    }

    fn finish(mut self) -> Program {
        self.end_section();
        Program { sections: self.sections, after_stop: self.after_stop }
    }
}

/// Whether every workgroup of a kernel needs the sum of all partials. Kernels of one workgroup do not count.
fn needs_sum(kernel: Kernel, switches: &Switches) -> bool {
    match kernel {
        Kernel::Translate | Kernel::UpdateProducts | Kernel::PlaceRateProbe => !switches.unguarded,
        Kernel::RotateTranslate
        | Kernel::Rotate
        | Kernel::MetricPlaceProbe
        | Kernel::ScaleProduct => true,
        Kernel::Displace | Kernel::RegionDisplace => {
            switches.displacement == DisplacementRule::Relative || switches.far
        }
        _ => false,
    }
}

/// An event: every evaluation, each probe placed before it, then the update or the rotation alone.
fn event(writer: &mut Writer, config: &Config, dimer: &Dimer, form: StepForm) {
    if dimer.difference != Difference::Central || form.rate == RateMeasurement::Complete {
        centre(writer, config, form);
    }
    if dimer.displacement == Displacement::Automatic {
        far_probe(writer, dimer);
        writer.evaluate_probe(Vector::ProbeGradient, false);
        calibrate(writer, true);
    }
    let ritz = dimer.rotation.rayleigh_ritz();
    if ritz.is_some() {
        // N itself changes only when every gradient of the event was finite.
        let to = Place::Workspace(VECTOR_N);
        writer.stages.push(Stage::Copy { from: Vector::Orientation, to });
    }
    displace(writer, dimer);
    measure_along(writer, dimer, None);
    match ritz {
        Some(ritz) => rayleigh_ritz(writer, dimer, ritz),
        None => {
            writer.after_stop = writer.here();
            writer.stages.push(Stage::TakeLoss);
            if dimer.displacement == Displacement::Automatic {
                calibrate(writer, false);
            }
        }
    }
    if matches!(dimer.translation, Translation::SaddleFree(_)) && form.kind == StepKind::Event {
        look_along_update(writer, config, form);
    }
    move_params(writer, form, |writer| update(writer, config, dimer, form));
}

/// A step with one evaluation, beside the parameters.
fn alternating(writer: &mut Writer, config: &Config, dimer: &Dimer, form: StepForm) {
    displace(writer, dimer);
    writer.evaluate_probe(Vector::Gradient, true);
    writer.stages.push(Stage::TakeLoss);
    let moves = form.kind != StepKind::Rotation;
    let translation = if moves { TranslationRule::SaddleFree } else { TranslationRule::None };
    let switches = Switches { dimer: true, moves, translation, ..update_switches(config, form) };
    writer.dispatch(Kernel::AlternatingGram, Grid::Tiles, switches);
    writer.dispatch(Kernel::AlternatingTurn, Grid::Once, switches);
    writer.dispatch(Kernel::AlternatingUpdate, Grid::Tiles, switches);
}

/// How the kernels of a rotation get a product: those of the preconditioner's metric take a direction and leave a
/// product, as an objective does that has exact ones.
fn difference_of(dimer: &Dimer) -> Difference {
    match dimer.metric {
        Metric::Euclidean => dimer.difference,
        Metric::Preconditioner => Difference::Exact,
    }
}

/// The evaluations along one direction, whose probe has been placed: into `probe_gradient`, or with central
/// differences also from the other side. For a direction other than N, where the gradient at the centre is
/// not wanted, the first of the pair is kept in `vector` of the workspace.
fn measure_along(writer: &mut Writer, dimer: &Dimer, vector: Option<u32>) {
    let in_metric = dimer.metric == Metric::Preconditioner;
    let switches = Switches { difference: dimer.difference, ..Switches::default() };
    if in_metric {
        writer.dispatch(Kernel::MetricNorm, Grid::Tiles, switches);
        writer.dispatch(Kernel::MetricPlaceProbe, Grid::Tiles, switches);
    }
    let asks = match dimer.difference {
        Difference::Exact => Asks::HessianProduct,
        Difference::Forward | Difference::Central => Asks::Gradient,
    };
    let evaluate =
        |into| Stage::Evaluate(Evaluate { point: Point::Probe, asks, into, gives_loss: false });
    writer.stages.push(evaluate(Vector::ProbeGradient));
    if in_metric {
        writer.dispatch(Kernel::ScaleProduct, Grid::Tiles, switches);
    }
    if dimer.difference == Difference::Central {
        if let Some(vector) = vector {
            let to = Place::Workspace(vector);
            writer.stages.push(Stage::Copy { from: Vector::ProbeGradient, to });
        }
        writer.dispatch(Kernel::Opposite, Grid::Tiles, Switches::default());
        let into = if vector.is_some() { Vector::ProbeGradient } else { Vector::Gradient };
        writer.stages.push(evaluate(into));
    }
}

/// Places the probe along N, and finds its distance.
fn displace(writer: &mut Writer, dimer: &Dimer) {
    let switches = probe_switches(dimer);
    if switches.displacement == DisplacementRule::Relative {
        writer.dispatch(Kernel::Norm, Grid::Tiles, switches);
    }
    match dimer.scope {
        Scope::Global => writer.dispatch(Kernel::Displace, Grid::Tiles, switches),
        Scope::PerGroup | Scope::PerTensor => {
            writer.dispatch(Kernel::RegionDisplace, Grid::Pieces, switches);
        }
    }
}

/// Places a probe at twice the automatic distance.
fn far_probe(writer: &mut Writer, dimer: &Dimer) {
    let switches = Switches { far: true, ..probe_switches(dimer) };
    writer.dispatch(Kernel::Norm, Grid::Tiles, switches);
    writer.dispatch(Kernel::Displace, Grid::Tiles, switches);
}

/// Compares the curvature at two distances.
fn calibrate(writer: &mut Writer, far: bool) {
    let sums = Switches { dimer: true, rotation: RotationRule::Gradient, ..Switches::default() };
    writer.dispatch(Kernel::Gram, Grid::Tiles, sums);
    let switches =
        Switches { far, displacement: DisplacementRule::Automatic, ..Switches::default() };
    writer.dispatch(Kernel::Calibrate, Grid::Once, switches);
}

/// The rotation of an event by Rayleigh–Ritz, after the evaluation along N.
fn rayleigh_ritz(writer: &mut Writer, dimer: &Dimer, ritz: RayleighRitz) {
    let stop = ritz.stop();
    let switches = Switches {
        rotation: RotationRule::RayleighRitz,
        difference: difference_of(dimer),
        keeps_direction: ritz.keeps_direction(),
        stops: stop.is_some(),
        ..Switches::default()
    };
    let asks_host = stop.is_some_and(|stop| stop.early_exit == EarlyExit::Gradients);
    let product = |writer: &mut Writer, vector| {
        let switches = Switches { vector, ..switches };
        writer.dispatch(Kernel::HessianProduct, Grid::Tiles, switches);
    };
    let rotation = |writer: &mut Writer, has_force, has_direction, last: bool| {
        let next_direction = has_force && !last && ritz.direction;
        let switches = Switches { has_force, has_direction, next_direction, last, ..switches };
        writer.dispatch(Kernel::BasisGram, Grid::Tiles, switches);
        writer.dispatch(Kernel::Ritz, Grid::Once, switches);
        writer.dispatch(Kernel::UpdateBasis, Grid::Tiles, switches);
    };
    let measure = |writer: &mut Writer, vector| {
        if asks_host {
            writer.stages.push(Stage::Stop);
        }
        measure_along(writer, dimer, Some(vector));
    };
    if dimer.displacement == Displacement::Automatic {
        calibrate(writer, false);
    }
    product(writer, VECTOR_HN);
    // In the span of N alone: from HN to F, and the probe along it.
    rotation(writer, false, false, false);
    let (last_vector, last_direction) = match ritz.regime {
        Regime::Stochastic if ritz.keeps_direction() => {
            measure(writer, VECTOR_HU);
            product(writer, VECTOR_HU);
            writer.dispatch(Kernel::PlaceProbe, Grid::Tiles, switches);
            (VECTOR_HP, true)
        }
        Regime::Stochastic => (VECTOR_HU, false),
        Regime::FullBatch(FullBatch { max_rotations, .. }) => {
            let before_last = max_rotations - 1;
            // P of an earlier event belongs to another θ, so the first rotation has none.
            if before_last > 0 {
                measure(writer, VECTOR_HU);
                product(writer, VECTOR_HU);
                rotation(writer, true, false, false);
            }
            let mut repeated = Writer::new(writer.sums_tiles);
            measure(&mut repeated, VECTOR_HU);
            product(&mut repeated, VECTOR_HU);
            rotation(&mut repeated, true, ritz.direction, false);
            writer.repeat(before_last.saturating_sub(1), repeated.stages);
            (VECTOR_HU, ritz.direction && before_last > 0)
        }
    };
    measure(writer, last_vector);
    writer.after_stop = writer.here();
    writer.stages.push(Stage::TakeLoss);
    product(writer, last_vector);
    rotation(writer, true, last_direction, true);
}

/// The step of the base optimizer alone.
fn base_update(writer: &mut Writer, config: &Config, form: StepForm) {
    let switches = Switches {
        unguarded: !config.measures_gradient(false),
        moves: true,
        ..update_switches(config, form)
    };
    if !switches.unguarded {
        writer.dispatch(Kernel::Gram, Grid::Tiles, switches);
    }
    writer.dispatch(Kernel::Translate, Grid::Tiles, switches);
    if switches.unguarded {
        writer.dispatch(Kernel::Count, Grid::Once, switches);
    }
}

/// A step that uses N, or the rotation of one: two dispatches, or seven where there is more than one dimer.
fn update(writer: &mut Writer, config: &Config, dimer: &Dimer, form: StepForm) {
    let (event, moves) = (form.kind != StepKind::Corrected, form.kind != StepKind::Rotation);
    let ritz = dimer.rotation.rayleigh_ritz().is_some();
    let rotation = match (event, ritz) {
        (false, _) => RotationRule::None,
        (true, false) => RotationRule::Gradient,
        (true, true) => RotationRule::RayleighRitz,
    };
    let switches = Switches {
        dimer: true,
        moves,
        rotation,
        // A rotation by Rayleigh–Ritz has taken its product already, and the mean of a central pair is in
        // place.
        difference: if rotation == RotationRule::Gradient {
            difference_of(dimer)
        } else {
            Difference::Forward
        },
        translation: match dimer.translation {
            _ if !moves => TranslationRule::default(),
            Translation::None => TranslationRule::None,
            Translation::Project { .. } => TranslationRule::Project,
            Translation::SaddleFree { .. } => TranslationRule::SaddleFree,
            Translation::Climb => TranslationRule::Climb,
        },
        ..update_switches(config, form)
    };
    if dimer.scope != Scope::Global {
        writer.dispatch(Kernel::RegionGram, Grid::Pieces, switches);
        writer.dispatch(Kernel::SumPieces, Grid::RegionsOfSeveralPieces, switches);
        writer.dispatch(Kernel::SumSinglePieces, Grid::RegionsOfOnePiece, switches);
        let watches = moves && dimer.translation == Translation::None;
        if watches && config.max_gradient_norm.is_some() {
            // The sums of pieces are rounded in another order than without a dimer, and the clip hangs on the last bit.
            clip_sums(writer, config, form);
        }
        writer.dispatch(Kernel::RegionNorm, Grid::Once, switches);
        writer.dispatch(Kernel::RegionOutcomes, Grid::Regions, switches);
        writer.dispatch(Kernel::CombineRegions, Grid::Once, switches);
        let kernel = if moves { Kernel::RegionUpdate } else { Kernel::RegionRotate };
        writer.dispatch(kernel, Grid::Pieces, switches);
        return;
    }
    writer.dispatch(Kernel::Gram, Grid::Tiles, switches);
    let kernel = match (moves, rotation) {
        (false, _) => Kernel::Rotate,
        (true, RotationRule::Gradient) => Kernel::RotateTranslate,
        (true, _) => Kernel::Translate,
    };
    writer.dispatch(kernel, Grid::Tiles, switches);
}

/// What every update of a configuration has in common.
fn update_switches(config: &Config, form: StepForm) -> Switches {
    let automatic =
        config.dimer.as_ref().is_some_and(|dimer| dimer.displacement == Displacement::Automatic);
    let displacement =
        if automatic { DisplacementRule::Automatic } else { DisplacementRule::Absolute };
    let learning_rate = match (config.learning_rate.curvature(), form.rate) {
        (None, _) => RateRule::Fixed,
        (Some(_), RateMeasurement::Complete) => RateRule::Measured,
        (Some(_), _) => RateRule::Curvature,
    };
    Switches { base: base_rule(config.base), displacement, learning_rate, ..Switches::default() }
}

fn probe_switches(dimer: &Dimer) -> Switches {
    Switches {
        difference: difference_of(dimer),
        displacement: displacement_rule(dimer),
        ..Switches::default()
    }
}
