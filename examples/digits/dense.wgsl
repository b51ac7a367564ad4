// dense: output[b, j] = f(sum_i input[b, i] weight[i, j] + bias[j]), f = tanh or the identity.

struct Shape { batch: u32, inputs: u32, outputs: u32, tanh: u32 }

@group(0) @binding(0) var<uniform> shape: Shape;
@group(0) @binding(1) var<storage, read> input: array<f32>;
@group(0) @binding(2) var<storage, read> weight: array<f32>;
@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<storage, read_write> output: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3u) {
    if id.x >= shape.batch * shape.outputs {
        return;
    }
    let b = id.x / shape.outputs;
    let j = id.x % shape.outputs;
    var sum = bias[j];
    for (var i = 0u; i < shape.inputs; i += 1u) {
        sum = fma(input[b * shape.inputs + i], weight[i * shape.outputs + j], sum);
    }
    output[id.x] = select(sum, tanh(sum), shape.tanh != 0u);
}
