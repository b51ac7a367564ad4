//! Each textbook operation against f64, with outputs poisoned where the operation only writes.

use super::operations::{Operands, Operation, Operations};
use crate::gpu::{Gpu, GpuSlice, Wait, block_on};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// vec4s of a vector: one, and around the workgroup and the dispatch.
const VECTORS: [usize; 4] = [1, 255, 1025, 262_145];
const UNIT: f64 = 1.0 / (1 << 24) as f64;
/// What a product or quotient loses where it falls below the normal f32.
const UNDERFLOW: f64 = 1.2e-38;

/// What an operation makes of one element, in f64, and the magnitudes that round on the way.
type Expected = fn(f64, f64, f64, f64) -> (f64, f64);

#[test]
fn element_wise_operations_match_f64() {
    use Operation::{
        AddScalar, Axpy, Copy, DivideAdd, Lerp, MultiplyAdd, Scale, Sign, Sqrt, Subtract,
    };
    let cases: [(Operation, bool, Expected); 10] = [
        (Copy, true, |_, x, _, _| (x, 0.0)),
        (Subtract, true, |_, x, y, _| (x - y, (x - y).abs())),
        // All operands are positive.
        (Sign, true, |_, x, _, _| (x.signum(), 0.0)),
        (Sqrt, true, |_, x, _, _| (x.sqrt(), x.sqrt())),
        (Axpy, false, |a, x, _, out| (a * x + out, 2.0 * (a * x).abs() + out.abs())),
        (Scale, false, |a, _, _, out| (a * out, (a * out).abs())),
        (Lerp, false, |a, x, _, out| (out + a * (x - out), 3.0 * (x.abs() + out.abs()))),
        (MultiplyAdd, false, |a, x, y, out| (out + a * x * y, 3.0 * (x * y).abs() + out.abs())),
        (DivideAdd, false, |a, x, y, out| (out + a * x / y, 5.0 * (x / y).abs() + out.abs())),
        (AddScalar, false, |a, _, _, out| (out + a, out.abs() + a.abs())),
    ];
    for (seed, vectors) in (1..).zip(VECTORS) {
        for scale in [1.0, 1e-20, 1e15] {
            let bench = Bench::new(vectors, seed, scale);
            for (operation, poisoned, expected) in cases {
                println!("{operation:?}, {vectors} vec4, seed {seed}, scale {scale:e}");
                let alpha = 0.75;
                let before = if poisoned { vec![f32::NAN; 4 * vectors] } else { bench.out.clone() };
                let found = bench.run(operation, alpha, &before);
                for (i, &found) in found.iter().enumerate() {
                    let [x, y, out] = [bench.x[i], bench.y[i], before[i]].map(f64::from);
                    let (expected, magnitude) = expected(alpha.into(), x, y, out);
                    // Square roots may be off by 3 units, quotients by 2.5 (WGSL specification).
                    let bound = 4.0 * UNIT * magnitude + UNDERFLOW;
                    assert!(
                        approx::abs_diff_eq!(f64::from(found), expected, epsilon = bound),
                        "[{i}]: {found:e}, expected {expected:e}"
                    );
                }
            }
        }
    }
}

#[test]
fn dot_matches_f64() {
    for (seed, vectors) in (1..).zip(VECTORS) {
        for scale in [1.0, 1e-20, 1e15] {
            println!("{vectors} vec4, seed {seed}, scale {scale:e}");
            let bench = Bench::new(vectors, seed, scale);
            let found = bench.dot();
            let products =
                || bench.x.iter().zip(&bench.y).map(|(&x, &y)| f64::from(x) * f64::from(y));
            let (sum, magnitude) = (products().sum::<f64>(), products().map(f64::abs).sum::<f64>());
            // This textbook dot has no scales: what falls below the normal f32 is lost.
            let bound = 1e-6 * magnitude + products().count() as f64 * UNDERFLOW;
            let within = approx::abs_diff_eq!(f64::from(found), sum, epsilon = bound);
            assert!(within, "{found:e}, expected {sum:e}");
        }
    }
}

/// Two operands, a result and a table of scalars on the GPU.
struct Bench {
    gpu: Gpu,
    operations: Operations,
    table: wgpu::Buffer,
    buffers: [wgpu::Buffer; 3],
    x: Vec<f32>,
    y: Vec<f32>,
    out: Vec<f32>,
}

impl Bench {
    fn new(vectors: usize, seed: u64, scale: f32) -> Self {
        let gpu = Gpu::new().unwrap_or_else(|error| panic!("{error}"));
        let usage = wgpu::BufferUsages::STORAGE
            | wgpu::BufferUsages::COPY_SRC
            | wgpu::BufferUsages::COPY_DST;
        let table = gpu.allocate("table of scalars", 16, usage).unwrap();
        let mut rng = StdRng::seed_from_u64(seed);
        // Positive, for roots and quotients; `out` has both signs.
        let mut positive = || -> Vec<f32> {
            (0..4 * vectors).map(|_| scale * rng.random_range(0.1_f32..1.0)).collect()
        };
        let (x, y) = (positive(), positive());
        let out = (0..4 * vectors).map(|_| scale * rng.random_range(-1.0_f32..1.0)).collect();
        let buffers =
            ["x", "y", "out"].map(|what| gpu.allocate(what, 16 * vectors as u64, usage).unwrap());
        gpu.queue().write_buffer(&buffers[0], 0, bytemuck::cast_slice(&x));
        gpu.queue().write_buffer(&buffers[1], 0, bytemuck::cast_slice(&y));
        let operations = Operations::new(&gpu, &table, vectors as u32).unwrap();
        Self { gpu, operations, table, buffers, x, y, out }
    }

    fn operands(&self) -> Operands<'_> {
        let [x, y, out] = &self.buffers;
        Operands { x: Some(x), y: Some(y), out: Some(out), result: 1, ..Operands::default() }
    }

    fn encode(&self, operations: &[Operation]) {
        let mut encoder = self.gpu.encoder("test");
        for operation in operations {
            let dispatch = self.operations.dispatch(*operation, self.operands());
            dispatch.encode(&mut encoder.begin_compute_pass(&Default::default()));
        }
        self.gpu.submit("test", encoder).unwrap();
    }

    fn run(&self, operation: Operation, alpha: f32, before: &[f32]) -> Vec<f32> {
        self.gpu.queue().write_buffer(&self.table, 0, bytemuck::bytes_of(&alpha));
        self.gpu.queue().write_buffer(&self.buffers[2], 0, bytemuck::cast_slice(before));
        self.encode(&[operation]);
        let out = GpuSlice::whole(self.buffers[2].clone());
        bytemuck::pod_collect_to_vec(&block_on(self.gpu.read(&out, Wait::Block)).unwrap())
    }

    fn dot(&self) -> f32 {
        self.encode(&[Operation::Dot, Operation::Sum]);
        let table = GpuSlice::whole(self.table.clone());
        let bytes = block_on(self.gpu.read(&table, Wait::Block)).unwrap();
        bytemuck::pod_collect_to_vec::<u8, f32>(&bytes)[1]
    }
}
