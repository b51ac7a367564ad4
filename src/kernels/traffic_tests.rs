//! The bytes that every kind of step moves, counted from the shaders as they are compiled: each vector
//! that a kernel loads or stores counts once, where its switches let control get there.

use std::cell::RefCell;
use std::collections::HashSet;

use naga::{Expression, Function, Handle, Literal, Module, Statement};

use super::bindings::Bindings;
use crate::config::{Config, Correction, Dimer, Displacement, Rate, Rotation, Schedule};
use crate::{Base, Evaluation, Gpu, Layout, Objective, Optimizer, Storage};

thread_local! {
    /// What this thread has recorded: kernel, bytes an element.
    static LOG: RefCell<Vec<(&'static str, f64)>> = const { RefCell::new(Vec::new()) };
}

/// Bytes an element that one pipeline moves.
#[derive(Clone, Copy, Debug)]
pub(super) struct Traffic(f64);

impl Traffic {
    pub(super) fn of(source: &str, constants: &[(&'static str, f64)]) -> Self {
        let module = naga::front::wgsl::parse_str(source).unwrap();
        let mut validator = naga::valid::Validator::new(
            naga::valid::ValidationFlags::all(),
            naga::valid::Capabilities::SUBGROUP,
        );
        let info = validator.validate(&module).unwrap();
        let constants =
            constants.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect();
        let (module, _) =
            naga::back::pipeline_constants::process_overrides(&module, &info, None, &constants)
                .unwrap();
        let mut walk = Walk { module: &module, touched: HashSet::new() };
        let entry = &module.entry_points[0].function;
        walk.block(entry, &entry.body, &[]);
        Self(walk.bytes())
    }

    /// Notes a dispatch over all elements.
    pub(super) fn log(self, label: &'static str, bindings: &Bindings) {
        assert!(!bindings.shards.is_empty());
        note(label, self.0);
    }
}

pub(super) fn note(label: &'static str, bytes: f64) {
    LOG.with_borrow_mut(|log| log.push((label, bytes)));
}

/// One vector that is loaded or stored.
#[derive(Clone, Debug)]
struct Touched {
    vector: String,
    slot: Option<u32>,
    write: bool,
    /// Bytes an element.
    width: f64,
}

impl PartialEq for Touched {
    fn eq(&self, other: &Self) -> bool {
        (&self.vector, self.slot, self.write) == (&other.vector, other.slot, other.write)
    }
}

impl Eq for Touched {}

impl std::hash::Hash for Touched {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        (&self.vector, self.slot, self.write).hash(state);
    }
}

#[derive(Clone)]
struct Walk<'a> {
    module: &'a Module,
    touched: HashSet<Touched>,
}

impl Walk<'_> {
    fn bytes(&self) -> f64 {
        self.touched.iter().map(|touched| touched.width).sum()
    }

    /// Follows the statements that the constants let run, and where they leave it open, those that move
    /// more; `arguments` are the known ones.
    fn block(&mut self, function: &Function, block: &[Statement], arguments: &[Option<u32>]) {
        for (index, statement) in block.iter().enumerate() {
            match statement {
                Statement::Emit(range) => {
                    for handle in range.clone() {
                        if let Expression::Load { pointer } = function.expressions[handle] {
                            self.touch(function, pointer, false, arguments);
                        }
                    }
                }
                Statement::Store { pointer, .. } => self.touch(function, *pointer, true, arguments),
                Statement::Block(block) => self.block(function, block, arguments),
                Statement::If { condition, accept, reject } => {
                    match self.known(function, *condition, arguments) {
                        Some(value) => {
                            // As if the branch stood here, since it may return.
                            let branch = if value == 0 { reject } else { accept };
                            let rest = block[index + 1..].iter();
                            let joined: Vec<_> = branch.iter().chain(rest).cloned().collect();
                            return self.block(function, &joined, arguments);
                        }
                        None => {
                            let [mut one, mut other] = [accept, reject].map(|branch| {
                                let mut walk = self.clone();
                                walk.block(function, branch, arguments);
                                walk
                            });
                            if one.touched == self.touched && other.touched == self.touched {
                                continue;
                            }
                            let rest = &block[index + 1..];
                            if !matches!(accept.last(), Some(Statement::Return { .. })) {
                                one.block(function, rest, arguments);
                            }
                            other.block(function, rest, arguments);
                            *self = if one.bytes() > other.bytes() { one } else { other };
                            return;
                        }
                    }
                }
                Statement::Loop { body, continuing, .. } => {
                    self.block(function, body, arguments);
                    self.block(function, continuing, arguments);
                }
                Statement::Call { function: called, arguments: given, .. } => {
                    let given: Vec<_> =
                        given.iter().map(|&a| self.known(function, a, arguments)).collect();
                    let called = &self.module.functions[*called];
                    self.block(called, &called.body, &given);
                }
                Statement::Return { .. } => return,
                Statement::Break
                | Statement::Continue
                | Statement::ControlBarrier(_)
                | Statement::SubgroupCollectiveOperation { .. } => {}
                other => panic!("a statement that is not known here: {other:?}"),
            }
        }
    }

    /// The value of an expression that follows from the constants.
    fn known(
        &self,
        function: &Function,
        handle: Handle<Expression>,
        arguments: &[Option<u32>],
    ) -> Option<u32> {
        use naga::BinaryOperator as Operator;
        match function.expressions[handle] {
            Expression::Literal(Literal::Bool(value)) => Some(value.into()),
            Expression::Literal(Literal::U32(value)) => Some(value),
            Expression::FunctionArgument(index) => arguments.get(index as usize).copied().flatten(),
            Expression::Constant(constant) => {
                match self.module.global_expressions[self.module.constants[constant].init] {
                    Expression::Literal(Literal::Bool(value)) => Some(value.into()),
                    Expression::Literal(Literal::U32(value)) => Some(value),
                    _ => None,
                }
            }
            Expression::Unary { op: naga::UnaryOperator::LogicalNot, expr } => {
                self.known(function, expr, arguments).map(|value| 1 - value)
            }
            Expression::Binary { op, left, right } => {
                let left = self.known(function, left, arguments);
                let right = self.known(function, right, arguments);
                match op {
                    Operator::And | Operator::LogicalAnd if [left, right].contains(&Some(0)) => {
                        Some(0)
                    }
                    Operator::And | Operator::LogicalAnd => Some(left? & right?),
                    Operator::InclusiveOr | Operator::LogicalOr => Some(left? | right?),
                    Operator::Equal => Some((left? == right?).into()),
                    Operator::NotEqual => Some((left? != right?).into()),
                    _ => None,
                }
            }
            _ => None,
        }
    }

    /// Notes a vector, which is an array of vec4 of f32, or of what holds four elements.
    fn touch(
        &mut self,
        function: &Function,
        pointer: Handle<Expression>,
        write: bool,
        arguments: &[Option<u32>],
    ) {
        let Expression::Access { base, .. } = function.expressions[pointer] else { return };
        let Expression::GlobalVariable(global) = function.expressions[base] else { return };
        let global = &self.module.global_variables[global];
        let naga::TypeInner::Array { base, .. } = self.module.types[global.ty].inner else {
            return;
        };
        if !matches!(global.space, naga::AddressSpace::Storage { .. }) {
            return;
        }
        if let naga::TypeInner::Vector { size, scalar } = self.module.types[base].inner {
            let width = f64::from(u32::from(size as u8) * u32::from(scalar.width)) / 4.0;
            let vector = global.name.clone().unwrap();
            let accessor = function.name.as_deref();
            let slotted = matches!(accessor, Some("load_vector" | "store_vector"));
            let slot = arguments.first().copied().flatten().filter(|_| slotted);
            assert!(vector != "workspace" || slot.is_some(), "a slot of the workspace is known");
            self.touched.insert(Touched { vector, slot, write, width });
        }
    }
}

struct Prepared;

impl Objective for Prepared {
    fn gradient(&mut self, _at: Evaluation<'_>) -> crate::Result<()> {
        Ok(())
    }
}

/// Kernels and bytes an element of step number 1, 2 or 3 of a run whose second is its first event.
fn moved(config: &Config) -> [Vec<(&'static str, f64)>; 3] {
    let gpu = Gpu::new().unwrap_or_else(|error| panic!("{error}"));
    let layout = Layout::flat(1000).unwrap();
    let mut optimizer = Optimizer::new(&gpu, layout, config.clone(), &[0.5; 1000]).unwrap();
    [(); 3].map(|()| {
        LOG.take();
        optimizer.step(&mut Prepared).unwrap();
        LOG.take()
    })
}

fn bytes(step: &[(&'static str, f64)]) -> f64 {
    step.iter().map(|(_, bytes)| bytes).sum()
}

/// The rotation of the paper, in the event 2 and no other before 4.
fn config(base: Base) -> Config {
    let dimer = Dimer {
        rotation: Rotation::Gradient { rate: Rate::Automatic },
        displacement: Displacement::Absolute(1e-2),
        schedule: Schedule::Every(2),
        correction: Correction::EveryStep,
        ..Dimer::default()
    };
    Config { base, dimer: Some(dimer), ..Config::default() }
}

const MOMENTUM: Base = Base::Sgd { momentum: 0.9, nesterov: false };

#[test]
fn steps_move_the_bytes_of_the_model() {
    // Base, event without the probe, corrected.
    let cases = [(Base::default(), [32.0, 52.0, 40.0]), (MOMENTUM, [24.0, 44.0, 32.0])];
    for (base, expected) in cases {
        let [alone, event, corrected] = moved(&config(base));
        assert_eq!(event[0], ("displace", 12.0));
        assert_eq!([bytes(&alone), bytes(&event[1..]), bytes(&corrected)], expected, "{base:?}");
        // Two dispatches a step, and one for the probe.
        assert_eq!([alone.len(), event.len(), corrected.len()], [2, 3, 2]);
    }
}

#[test]
fn an_unguarded_step_reads_its_gradient_once() {
    for (base, expected) in [(Base::default(), 28.0), (MOMENTUM, 20.0)] {
        let config = Config { skip_non_finite: false, dimer: None, ..config(base) };
        let [step, ..] = moved(&config);
        assert_eq!(step, [("translate", expected), ("count", 0.0)]);
    }
    // With a clip there is a sum in any case.
    let config = Config {
        skip_non_finite: false,
        max_gradient_norm: Some(1.0),
        dimer: None,
        ..config(Base::default())
    };
    assert_eq!(moved(&config)[0].len(), 2);
    assert_eq!(bytes(&moved(&config)[0]), 32.0);
}

#[test]
fn bf16_moves_half_of_what_it_stores() {
    let config = Config { storage: Storage::Bf16, ..config(Base::default()) };
    let [alone, event, corrected] = moved(&config);
    // Of 32, 52 and 40 bytes, 16, 28 and 24 are N and the moments.
    assert_eq!([bytes(&alone), bytes(&event[1..]), bytes(&corrected)], [24.0, 38.0, 28.0]);
    assert_eq!(event[0], ("displace", 10.0));
}

/// The default rotation, whose events cost more: documented in docs/performance.md.
#[test]
fn a_locally_optimal_event_moves_what_is_documented() {
    let dimer = Dimer { schedule: Schedule::Every(2), ..Dimer::default() };
    let config = Config { dimer: Some(dimer), ..Config::default() };
    let [_, event, _] = moved(&config);
    println!("{event:?}");
    assert_eq!(bytes(&event), 196.0);
    let config = Config { storage: Storage::Bf16, ..config };
    let [_, event, _] = moved(&config);
    println!("{event:?}");
    assert_eq!(bytes(&event), 140.0);
}
