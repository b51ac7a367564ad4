// weight_gradient: weight'[i, j] = sum_b input[b, i] delta[b, j]; the row after the last is bias'.

struct Shape { batch: u32, inputs: u32, outputs: u32, tanh: u32 }

@group(0) @binding(0) var<uniform> shape: Shape;
@group(0) @binding(1) var<storage, read> input: array<f32>;
@group(0) @binding(2) var<storage, read> delta: array<f32>;
@group(0) @binding(3) var<storage, read_write> weight_gradient: array<f32>;
@group(0) @binding(4) var<storage, read_write> bias_gradient: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3u) {
    let i = id.x / shape.outputs;
    let j = id.x % shape.outputs;
    if i > shape.inputs {
        return;
    }
    var sum = 0.0;
    for (var b = 0u; b < shape.batch; b += 1u) {
        let factor = select(1.0, input[b * shape.inputs + i], i < shape.inputs);
        sum = fma(factor, delta[b * shape.outputs + j], sum);
    }
    if i < shape.inputs {
        weight_gradient[id.x] = sum;
    } else {
        bias_gradient[j] = sum;
    }
}
