// dense: output[b, j] = f(sum_i input[b, i] weight[i, j] + bias[j]), f = tanh or the identity.
// A thread takes four images and four outputs, so that each number is loaded for four products; what it reads past an
// end is not stored.

struct Shape { batch: u32, inputs: u32, outputs: u32, tanh: u32 }

@group(0) @binding(0) var<uniform> shape: Shape;
@group(0) @binding(1) var<storage, read> input: array<f32>;
@group(0) @binding(2) var<storage, read> weight: array<f32>;
@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<storage, read_write> output: array<f32>;

fn store(b: u32, j: u32, sums: vec4f) {
    let values = select(sums, tanh(sums), shape.tanh != 0u);
    for (var k = 0u; k < 4u && b < shape.batch && j + k < shape.outputs; k += 1u) {
        output[b * shape.outputs + j + k] = values[k];
    }
}

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3u) {
    let columns = (shape.outputs + 3u) / 4u;
    let b = 4u * (id.x / columns);
    let j = 4u * (id.x % columns);
    var sums_0 = vec4f(bias[j], bias[j + 1u], bias[j + 2u], bias[j + 3u]);
    var sums_1 = sums_0;
    var sums_2 = sums_0;
    var sums_3 = sums_0;
    for (var i = 0u; i < shape.inputs; i += 1u) {
        let w = i * shape.outputs + j;
        let weights = vec4f(weight[w], weight[w + 1u], weight[w + 2u], weight[w + 3u]);
        let x = b * shape.inputs + i;
        sums_0 = fma(vec4f(input[x]), weights, sums_0);
        sums_1 = fma(vec4f(input[x + shape.inputs]), weights, sums_1);
        sums_2 = fma(vec4f(input[x + 2u * shape.inputs]), weights, sums_2);
        sums_3 = fma(vec4f(input[x + 3u * shape.inputs]), weights, sums_3);
    }
    store(b, j, sums_0);
    store(b + 1u, j, sums_1);
    store(b + 2u, j, sums_2);
    store(b + 3u, j, sums_3);
}
