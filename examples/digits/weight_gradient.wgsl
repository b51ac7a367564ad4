// weight_gradient: weight'[i, j] = sum_b input[b, i] delta[b, j]; the row after the last is bias'.
// A thread takes four inputs, of which there are a multiple of four, or the bias, and four outputs; what it reads past
// an end is not stored.

struct Shape { batch: u32, inputs: u32, outputs: u32, tanh: u32 }

@group(0) @binding(0) var<uniform> shape: Shape;
@group(0) @binding(1) var<storage, read> input: array<vec4f>;
@group(0) @binding(2) var<storage, read> delta: array<f32>;
@group(0) @binding(3) var<storage, read_write> weight_gradient: array<f32>;
@group(0) @binding(4) var<storage, read_write> bias_gradient: array<f32>;

fn store(i: u32, j: u32, sums: vec4f) {
    for (var k = 0u; k < 4u && i < shape.inputs && j + k < shape.outputs; k += 1u) {
        weight_gradient[i * shape.outputs + j + k] = sums[k];
    }
}

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3u) {
    let columns = (shape.outputs + 3u) / 4u;
    let rows = shape.inputs / 4u;
    let row = id.x / columns;
    let j = 4u * (id.x % columns);
    var sums_0 = vec4f();
    var sums_1 = vec4f();
    var sums_2 = vec4f();
    var sums_3 = vec4f();
    for (var b = 0u; b < shape.batch; b += 1u) {
        let factors = select(vec4f(1.0), input[b * rows + row], row < rows);
        let d = b * shape.outputs + j;
        let deltas = vec4f(delta[d], delta[d + 1u], delta[d + 2u], delta[d + 3u]);
        sums_0 = fma(vec4f(factors.x), deltas, sums_0);
        sums_1 = fma(vec4f(factors.y), deltas, sums_1);
        sums_2 = fma(vec4f(factors.z), deltas, sums_2);
        sums_3 = fma(vec4f(factors.w), deltas, sums_3);
    }
    let i = 4u * row;
    store(i, j, sums_0);
    store(i + 1u, j, sums_1);
    store(i + 2u, j, sums_2);
    store(i + 3u, j, sums_3);
    for (var k = 0u; k < 4u && row == rows && j + k < shape.outputs; k += 1u) {
        bias_gradient[j + k] = sums_0[k];
    }
}
