//! The bytes that every kind of step moves, counted from the shaders as they are compiled: each vector
//! that a kernel loads or stores counts once, where its switches let control get there.

use std::collections::HashSet;

use naga::{Expression, Function, Handle, Literal, Module, Statement};

use super::{MOMENTUM, configurations, gpu, paper};
use crate::config::{
    Config, Dimer, Displacement, LearningRate, Projection, RelativeDisplacement, Scope, Storage,
    Translation,
};
use crate::gpu::Tuning;
use crate::kernels::bindings::Bindings;
use crate::kernels::catalogue::{Kernel, Source};
use crate::kernels::choices::Choices;
use crate::kernels::switches::Switches;
use crate::kernels::traffic;
use crate::plan::program::{Dispatch, Grid, Program};
use crate::plan::slices::Slice;
use crate::plan::{Plan, StepKind};
use crate::{Base, Layout};

/// Bytes per element that one pipeline moves.
fn moved(kernel: Kernel, choices: Choices, switches: &Switches) -> f64 {
    let source = Source::new(kernel, choices);
    let module = naga::front::wgsl::parse_str(&source.wgsl()).unwrap();
    let mut validator = naga::valid::Validator::new(
        naga::valid::ValidationFlags::all(),
        naga::valid::Capabilities::SUBGROUP,
    );
    let info = validator.validate(&module).unwrap();
    let set = source.switches().into_iter();
    let constants = set.map(|it| (it.name().to_owned(), f64::from(it.value(switches)))).collect();
    let (module, _) =
        naga::back::pipeline_constants::process_overrides(&module, &info, None, &constants)
            .unwrap();
    let mut walk = Walk { module: &module, touched: HashSet::new() };
    let entry = &module.entry_points[0].function;
    walk.block(entry, &entry.body, &[]);
    walk.bytes()
}

/// One vector that is loaded or stored.
#[derive(Clone, Debug)]
struct Touched {
    vector: String,
    index: Option<u32>,
    write: bool,
    /// Bytes an element.
    width: f64,
}

impl PartialEq for Touched {
    fn eq(&self, other: &Self) -> bool {
        (&self.vector, self.index, self.write) == (&other.vector, other.index, other.write)
    }
}

impl Eq for Touched {}

impl std::hash::Hash for Touched {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        (&self.vector, self.index, self.write).hash(state);
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
            let indexed = matches!(accessor, Some("load_vector" | "store_vector"));
            let index = arguments.first().copied().flatten().filter(|_| indexed);
            assert!(
                vector != "workspace" || index.is_some(),
                "the vector of the workspace is known"
            );
            self.touched.insert(Touched { vector, index, write, width });
        }
    }
}

fn plan(config: &Config) -> Plan {
    plan_with(config, gpu().tuning())
}

fn plan_with(config: &Config, tuning: &Tuning) -> Plan {
    let layout = Layout::flat(1000).unwrap().tiled(tuning);
    Plan::new(config, &layout, Slice::whole(&layout), tuning, &gpu().limits()).unwrap()
}

/// What the plan says of every dispatch of every configuration is what its shader does.
#[test]
fn kernels_move_the_bytes_of_the_model() {
    let gpu = gpu();
    let mut known = HashSet::new();
    let tunings = [0, 1].map(|reread_tiles| Tuning { reread_tiles, ..*gpu.tuning() });
    let cases = configurations().into_iter().flat_map(|case| tunings.map(|it| (case.clone(), it)));
    for ((name, config), tuning) in cases {
        let plan = plan_with(&config, &tuning);
        let choices = plan.choices(&tuning);
        for dispatch in plan.programs().chain([&plan.check]).flat_map(Program::dispatches) {
            let Dispatch { kernel, switches, .. } = *dispatch;
            if known.insert((kernel, choices, switches)) {
                let model = traffic::bytes(kernel, &switches, config.storage);
                let found = moved(kernel, choices, &switches);
                assert_eq!(model, found, "{name}: {} with {switches:?}", kernel.name());
            }
        }
    }
    let kernels: HashSet<Kernel> = known.iter().map(|(kernel, ..)| *kernel).collect();
    // Those of the set of modes walk a number of vectors that a uniform says.
    let steps = Kernel::ALL.iter().filter(|kernel| kernel.bindings() != Bindings::Modes);
    assert_eq!(steps.filter(|kernel| !kernels.contains(kernel)).count(), 0);
}

/// Where one workgroup adds the sums of all tiles, it does so before every kernel whose workgroups all need them.
#[test]
fn sums_of_tiles_are_added_for_all_who_need_them() {
    let callers = [
        "reduce_partials",
        "reduce_partials_of",
        "broadcast_update",
        "find_factors",
        "probe_distance",
        "scaled_norm",
    ];
    let tuning = Tuning { reread_tiles: 0, ..*gpu().tuning() };
    let relative = Displacement::Relative(RelativeDisplacement::default());
    let tensors = Dimer { scope: Scope::PerTensor, displacement: relative, ..paper() };
    let tensors = ("tensors", Config { dimer: Some(tensors), ..Config::default() });
    let (mut needing, mut given) = (HashSet::new(), HashSet::new());
    for (_, config) in configurations().into_iter().chain([tensors]) {
        let plan = plan_with(&config, &tuning);
        let choices = plan.choices(&tuning);
        for dispatch in plan.programs().flat_map(Program::dispatches) {
            // What the file with the entry point calls: its own, or a frame that it shares.
            let text = Source::new(dispatch.kernel, choices).entry_text();
            let needs = callers.iter().any(|caller| text.contains(&format!("{caller}(")));
            if needs && dispatch.grid != Grid::Once {
                needing.insert(dispatch.kernel);
                // Some need it in some kinds of steps only.
                if dispatch.switches.summed {
                    given.insert(dispatch.kernel);
                }
            }
        }
    }
    println!("{needing:?}");
    assert!(needing.len() > 8);
    assert_eq!(needing, given);
}

/// Bytes per parameter of a step of `kind`.
fn bytes(config: &Config, kind: StepKind) -> f64 {
    let costs = plan(config).costs();
    costs.iter().find(|cost| cost.kind == kind).unwrap().bytes_per_parameter
}

/// The numbers of the crate's documentation and of docs/performance.md.
#[test]
fn steps_move_what_is_documented() {
    use StepKind::{Base as Alone, Corrected, Event};
    let learning_rate = LearningRate::Fixed(1e-3);
    let with = |base, dimer| Config { base, learning_rate, dimer, ..Config::default() };
    // The event with its probe, which takes 12.
    let project = Translation::Project(Projection::default());
    let paper = Dimer { translation: project, ..paper() };
    let cases = [(Base::default(), [32.0, 64.0, 40.0]), (MOMENTUM, [24.0, 56.0, 32.0])];
    for (base, expected) in cases {
        let config = with(base, Some(paper.clone()));
        assert_eq!([Alone, Event, Corrected].map(|kind| bytes(&config, kind)), expected);
        let costs = plan(&config).costs();
        let dispatches = [Alone, Event, Corrected]
            .map(|kind| costs.iter().find(|cost| cost.kind == kind).unwrap().dispatches);
        // Two dispatches per step, and one for the probe.
        assert_eq!(dispatches, [2, 3, 2]);
    }
    for (base, expected) in [(Base::default(), 28.0), (MOMENTUM, 20.0)] {
        let config = Config { skip_non_finite: false, ..with(base, None) };
        assert_eq!(bytes(&config, Alone), expected);
        // With a clip there is a sum in any case.
        let config = Config { max_gradient_norm: Some(1.0), ..config };
        assert_eq!(bytes(&config, Alone), expected + 4.0);
    }
    // Of 32, 64 and 40 bytes, 16, 32 and 24 are N and the moments.
    let bf16 =
        |dimer: Dimer| Config { storage: Storage::Bf16, ..with(Base::default(), Some(dimer)) };
    assert_eq!(
        [Alone, Event, Corrected].map(|kind| bytes(&bf16(paper.clone()), kind)),
        [24.0, 48.0, 28.0]
    );
    // The default rotation.
    assert_eq!(bytes(&with(Base::default(), Some(Dimer::default())), Event), 212.0);
    assert_eq!(bytes(&bf16(Dimer::default()), Event), 152.0);
}
