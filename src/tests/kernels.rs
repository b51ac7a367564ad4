//! The sums and the probe of the fused kernels against f64, with buffers in hand.

use super::gpu;
use crate::error::Error;
use crate::gpu::{Gpu, GpuSlice, Tuning, Wait, block_on};
use crate::kernels::bindings::Vector;
use crate::kernels::catalogue::Kernel;
use crate::kernels::gpu_types::{MAX_WORKGROUPS, PARTIALS_OFFSET, PIECE_WIDTH};
use crate::kernels::switches::Switches;
use crate::layout::{MAX_ITERATIONS, MIN_TILE};
use crate::plan::program::{Dispatch, Grid, Place, Program, Section, Stage};
use crate::plan::slices::Slice;
use crate::plan::{Plan, StepForm, StepKind, check_workgroups};
use crate::player::{Compiled, Context, Player};
use crate::state::{BindGroups, Buffers, State, Workspace};
use crate::{
    Config, Dimer, Displacement, Layout, LearningRate, RelativeDisplacement, Rotation, RotationRate,
};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

const LENGTHS: [usize; 9] = [1, 3, 63, 64, 65, 255, 1023, 4099, 1_000_003];
const SCALES: [(&str, f32); 3] = [("plain", 1.0), ("tiny", 1e-20), ("huge", 1e15)];

/// Everything that a dispatch needs, without an optimizer around it.
struct Bench {
    gpu: Gpu,
    layout: Layout,
    plan: Plan,
    state: State,
    groups: BindGroups,
}

impl Bench {
    fn new(gpu: &Gpu, len: usize, displacement: Displacement) -> Self {
        let layout = Layout::flat(len).unwrap().tiled(gpu.tuning());
        // The rotation whose event the fused kernels take in one pass.
        let rotation = Rotation::gradient(RotationRate::Automatic);
        let dimer = Dimer { displacement, rotation, ..Dimer::default() };
        let learning_rate = LearningRate::Fixed(1e-3);
        let config = Config { learning_rate, dimer: Some(dimer), ..Config::default() };
        let plan = Plan::new(&config, &layout, Slice::whole(&layout), gpu.tuning(), &gpu.limits())
            .unwrap();
        let state = State::new(gpu, &layout, &plan, Buffers::default()).unwrap();
        let wanted = plan.bindings();
        let workspace = Workspace { shards: &[], modes: None };
        let groups =
            BindGroups::new(gpu, &layout, &plan, &state, &plan.shards, &wanted, workspace).unwrap();
        let step = bytemuck::bytes_of(&plan.hyperparameters);
        gpu.queue().write_buffer(&state.steps, 0, step);
        Self { gpu: gpu.clone(), layout, plan, state, groups }
    }

    fn context(&self) -> Context<'_> {
        Context {
            gpu: &self.gpu,
            layout: &self.layout,
            plan: &self.plan,
            state: &self.state,
            groups: &self.groups,
            timer: None,
            index: 0,
            checksum: 0,
            arguments_of_parts: 0,
        }
    }

    /// Writes `values`, and garbage into the padding where `poison` says so.
    fn write(&self, slice: &GpuSlice, values: &[f32], poison: bool) {
        let fill = if poison { f32::NAN } else { 0.0 };
        let mut padded = vec![fill; self.layout.padded_len()];
        padded[..values.len()].copy_from_slice(values);
        self.gpu.queue().write_buffer(&slice.buffer, slice.offset, bytemuck::cast_slice(&padded));
    }

    /// Runs the dispatches of an event that `wanted` picks.
    fn run(&self, wanted: impl Fn(&Dispatch) -> bool) {
        let event =
            self.plan.program(StepForm { kind: StepKind::Event, ..StepForm::default() }).unwrap();
        let dispatches = event.dispatches().filter(|dispatch| wanted(dispatch));
        let stages: Vec<Stage> = dispatches.copied().map(Stage::Dispatch).collect();
        assert!(!stages.is_empty());
        let sections = vec![Section { stages, times: 1 }];
        let program = Program { sections, ..Program::default() };
        let compiled = Compiled::new(&self.gpu, &self.plan, &program).unwrap();
        let mut encoder = self.gpu.encoder("test");
        let mut player = Player::new(self.context(), &program, &compiled);
        player.advance(&mut encoder, false).unwrap();
        self.gpu.submit("test", encoder).unwrap();
    }

    /// The partials, added in f64: plain, small and large, four of each.
    fn sums(&self) -> [f64; 12] {
        let scalars = &self.state.scalars;
        let size = self.layout.tiles() as u64 * 48;
        let slice = GpuSlice { buffer: scalars.clone(), offset: PARTIALS_OFFSET, size };
        let bytes = block_on(self.gpu.read(&slice, Wait::Block)).unwrap();
        let partials: Vec<f32> = bytemuck::pod_collect_to_vec(&bytes);
        let mut sums = [0.0; 12];
        for partial in partials.chunks_exact(12) {
            sums.iter_mut().zip(partial).for_each(|(sum, &x)| *sum += f64::from(x));
        }
        sums
    }
}

fn random(rng: &mut StdRng, len: usize, scale: f32) -> Vec<f32> {
    (0..len).map(|_| scale * rng.random_range(-1.0_f32..1.0)).collect()
}

fn dot(a: &[f64], b: &[f64]) -> (f64, f64) {
    let products = || a.iter().zip(b).map(|(a, b)| a * b);
    (products().sum(), products().map(f64::abs).sum())
}

fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().copied().map(f64::from).collect()
}

#[track_caller]
fn assert_within(what: &str, found: f64, expected: f64, bound: f64) {
    let within = approx::abs_diff_eq!(found, expected, epsilon = bound);
    assert!(within, "{what}: {found:e}, {expected:e}, {bound:e}");
}

/// One of the sums at two scales, as the kernels choose it.
fn chosen(small: f64, large: f64) -> f64 {
    let scale = 2_f64.powi(96);
    if small.is_finite() { small / scale } else { large * scale }
}

/// Every dot to 1e-6 of the sum of the products' magnitudes, whatever the scale of the gradients,
/// with NaN in the padding of both gradients.
#[test]
fn gram_matches_f64() {
    let gpu = gpu();
    let tunings = [
        Tuning::default(),
        Tuning { subgroups: true, ..Tuning::default() },
        Tuning { workgroup_size: 32, workgroups: 2048, stream_width: 32, ..Tuning::default() },
        Tuning {
            workgroup_size: 512,
            workgroups: 2,
            stream_width: 8,
            subgroups: true,
            ..Tuning::default()
        },
    ];
    let widths = [4, 8, 16, 32, 64, 128].map(|stream_width| Tuning { stream_width, ..tunings[0] });
    let all = tunings.into_iter().chain(widths);
    let tuned: Vec<Gpu> = all.filter_map(|tuning| gpu.with_tuning(tuning).ok()).collect();
    // Only subgroups, and workgroups of 512 threads, may be beyond a device.
    assert!(tuned.len() >= 2 + widths.len());
    let cases = tuned.iter().flat_map(|gpu| LENGTHS.map(|len| (gpu.clone(), len)));
    for (seed, (gpu, len)) in (1..).zip(cases) {
        println!("{:?}", gpu.tuning());
        let bench = Bench::new(&gpu, len, Displacement::Absolute(1.0));
        for (name, scale) in SCALES {
            println!("seed {seed}, length {len}, {name}");
            let mut rng = StdRng::seed_from_u64(seed);
            let g1 = random(&mut rng, len, scale);
            // Differences of f32 that round: compare with the rounded ones, which the sums see.
            let g2 = random(&mut rng, len, scale);
            let norm = (len as f32).sqrt();
            let n = random(&mut rng, len, 1.0 / norm);
            bench.write(&bench.state.gradient, &g1, true);
            bench.write(bench.state.probe_gradient.as_ref().unwrap(), &g2, true);
            bench.write(bench.state.orientation.as_ref().unwrap(), &n, false);
            bench.run(|dispatch| dispatch.kernel == Kernel::Gram);
            let d: Vec<f32> = g1.iter().zip(&g2).map(|(g1, g2)| g2 - g1).collect();
            let (g1, d, n) = (wide(&g1), wide(&d), wide(&n));
            let sums = bench.sums();
            let plain = [("N.N", &n, &n), ("N.d", &n, &d), ("g1.N", &g1, &n)];
            for (i, (what, a, b)) in plain.into_iter().enumerate() {
                let (expected, magnitude) = dot(a, b);
                assert_within(what, sums[i], expected, 1e-6 * magnitude);
            }
            let scaled = [("g1.g1", &g1, &g1), ("d.d", &d, &d), ("g1.d", &g1, &d)];
            for (i, (what, a, b)) in scaled.into_iter().enumerate() {
                let (expected, magnitude) = dot(a, b);
                let found = chosen(sums[4 + i], sums[8 + i]);
                assert_within(what, found, expected, 1e-6 * magnitude);
            }
        }
    }
}

/// probe = θ + ΔR N to one rounding of the sum (and of the product, where fma is not fused), for
/// both kinds of ΔR; every element is written.
#[test]
fn displace_matches_f64() {
    let gpu = gpu();
    let unit = 2_f64.powi(-24);
    for (seed, len) in (1..).zip(LENGTHS) {
        // Each with its least distance, and its fraction of the norm.
        let kinds = [
            (Displacement::Absolute(0.125), 0.125, 0.0),
            (
                Displacement::Relative(RelativeDisplacement { factor: 0.03125, minimum: 1e-30 }),
                0.0,
                0.03125,
            ),
            (Displacement::Automatic, 6e-5, 6e-5),
        ];
        for (displacement, least, factor) in kinds {
            let bench = Bench::new(&gpu, len, displacement);
            for (name, scale) in SCALES {
                println!("seed {seed}, length {len}, {name}, {displacement:?}");
                let mut rng = StdRng::seed_from_u64(seed);
                let theta = random(&mut rng, len, scale);
                let n = random(&mut rng, len, 1.0);
                bench.write(&bench.state.params, &theta, false);
                bench.write(bench.state.orientation.as_ref().unwrap(), &n, false);
                bench.write(bench.state.probe.as_ref().unwrap(), &vec![f32::NAN; len], true);
                // An automatic distance is found for the probe at twice that distance.
                let far = displacement == Displacement::Automatic;
                bench.run(|dispatch| {
                    let places = matches!(dispatch.kernel, Kernel::Norm | Kernel::Displace);
                    places && dispatch.switches.far == far
                });
                let (theta, n) = (wide(&theta), wide(&n));
                // The norm is good to 1e-6 and four roundings of its root and scale.
                let rounding = if factor > 0.0 { 1e-6 + 4.0 * unit } else { 0.0 };
                let distance = (factor * dot(&theta, &theta).0.sqrt()).max(least);
                let probe = bench.state.probe.as_ref().unwrap();
                let bytes = block_on(gpu.read(probe, Wait::Block)).unwrap();
                let probe: Vec<f32> = bytemuck::pod_collect_to_vec(&bytes);
                assert!(probe[len..].iter().all(|&x| x == 0.0), "the padding stays zero");
                for i in 0..len {
                    let step = distance * n[i];
                    let bound = unit * (theta[i] + step).abs() + (unit + rounding) * step.abs();
                    assert_within("probe", f64::from(probe[i]), theta[i] + step, bound);
                }
            }
        }
    }
}

/// A program that names what its optimizer does not have is refused, and says what that is: nothing is passed over.
#[test]
fn what_is_missing_is_told() {
    let bench = Bench::new(&gpu(), 65, Displacement::Absolute(1.0));
    let dispatch = |kernel, grid| Stage::Dispatch(Dispatch::new(kernel, grid, Switches::default()));
    let program = |stages| {
        let sections = vec![Section { stages, times: 1 }];
        Program { sections, ..Program::default() }
    };
    let copy = |from, to| Stage::Copy { from, to };
    let (params, orientation) = (Vector::Params, Vector::Orientation);
    let cases = [
        (copy(Vector::PreviousParams, Place::Vector(params)), "PreviousParams"),
        (copy(params, Place::Vector(Vector::PreviousParams)), "PreviousParams"),
        (copy(orientation, Place::Workspace(0)), "Workspace"),
        (dispatch(Kernel::Gram, Grid::Regions), "Regions"),
        (dispatch(Kernel::RegionUpdate, Grid::Once), "Regions"),
        (dispatch(Kernel::ModeRitz, Grid::Once), "Arguments"),
        (dispatch(Kernel::BasisGram, Grid::Tiles), "a shard"),
    ];
    let play = |program: &Program, compiled: &Compiled| {
        let mut encoder = bench.gpu.encoder("test");
        let mut player = Player::new(bench.context(), program, compiled);
        let played = player.advance(&mut encoder, false);
        played.map(drop)
    };
    let told = |played: crate::Result<()>, missing: &str| {
        let error = played.unwrap_err();
        println!("{error}");
        let is_internal = matches!(error, Error::Internal { .. });
        assert!(is_internal && error.to_string().contains(missing), "{error}");
    };
    for (stage, missing) in cases {
        let program = program(vec![stage]);
        let compiled = Compiled::new(&bench.gpu, &bench.plan, &program).unwrap();
        told(play(&program, &compiled), missing);
    }
    let whole = program(vec![dispatch(Kernel::Gram, Grid::Tiles)]);
    let other = program(vec![copy(params, Place::Vector(Vector::Probe))]);
    let compiled = Compiled::new(&bench.gpu, &bench.plan, &other).unwrap();
    told(play(&whole, &compiled), "Gram");
    play(&other, &compiled).unwrap();
}

/// No dispatch has more workgroups than a device takes: tiles and pieces have a limit of their own, and
/// more regions than threads are refused.
#[test]
fn too_many_regions_are_refused() {
    let gpu = gpu();
    let (tuning, limits) = (gpu.tuning(), gpu.limits());
    let (size, most) = (tuning.workgroup_size as usize, limits.workgroups as usize);
    let check = |several, regions| check_workgroups(several, regions, tuning, &limits);
    let several = most * size / PIECE_WIDTH as usize;
    assert!(check(several, most * size).is_ok());
    for (several, regions) in [(several + 1, several + 1), (0, most * size + 1)] {
        let error = check(several, regions).unwrap_err();
        assert!(matches!(error, Error::LimitTooSmall { .. }), "{error}");
    }
    assert!(MAX_WORKGROUPS as usize <= most);
}

/// However long a vector is, no thread of few workgroups walks so far that a driver ends its loop.
#[test]
fn no_thread_walks_too_far() {
    let gpu = gpu();
    for workgroup_size in [64, 256] {
        let tuning = Tuning { workgroups: 1, ..Tuning::default() };
        let tuning = tuning.with_workgroup_size(workgroup_size);
        let gpu = gpu.with_tuning(tuning).unwrap();
        for len in [1 << 20, 1 << 28, 1 << 33, 1 << 34] {
            let layout = Layout::flat(len).unwrap().tiled(gpu.tuning());
            let walked = layout.tile() / 4 / workgroup_size as usize;
            // Tiles are whole multiples of the smallest.
            assert!(walked <= MAX_ITERATIONS + MIN_TILE, "{len}: {walked}");
            assert!(layout.tiles() <= MAX_WORKGROUPS as usize);
        }
    }
}
