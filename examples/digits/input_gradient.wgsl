// input_gradient: delta of the layer below, (1 - input^2) sum_j delta[b, j] weight[i, j], where
// input is the tanh of that layer.

struct Shape { batch: u32, inputs: u32, outputs: u32, tanh: u32 }

@group(0) @binding(0) var<uniform> shape: Shape;
@group(0) @binding(1) var<storage, read> input: array<f32>;
@group(0) @binding(2) var<storage, read> delta: array<f32>;
@group(0) @binding(3) var<storage, read> weight: array<f32>;
@group(0) @binding(4) var<storage, read_write> input_delta: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3u) {
    if id.x >= shape.batch * shape.inputs {
        return;
    }
    let b = id.x / shape.inputs;
    let i = id.x % shape.inputs;
    var sum = 0.0;
    for (var j = 0u; j < shape.outputs; j += 1u) {
        sum = fma(delta[b * shape.outputs + j], weight[i * shape.outputs + j], sum);
    }
    input_delta[id.x] = (1.0 - input[id.x] * input[id.x]) * sum;
}
