// squared_error: half the squared distance of the outputs from the label's unit vector, and its gradient in the outputs,
// divided by the batch.

struct Shape { batch: u32, inputs: u32, outputs: u32, tanh: u32 }

@group(0) @binding(0) var<uniform> shape: Shape;
@group(0) @binding(1) var<storage, read> outputs: array<f32>;
@group(0) @binding(2) var<storage, read> labels: array<u32>;
@group(0) @binding(3) var<storage, read> indices: array<u32>;
@group(0) @binding(4) var<storage, read_write> delta: array<f32>;
@group(0) @binding(5) var<storage, read_write> losses: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3u) {
    let b = id.x;
    if b >= shape.batch {
        return;
    }
    let first = b * shape.outputs;
    let label = labels[indices[b]];
    var sum = 0.0;
    for (var k = 0u; k < shape.outputs; k += 1u) {
        let difference = outputs[first + k] - f32(k == label);
        delta[first + k] = difference / f32(shape.batch);
        sum = fma(difference, difference, sum);
    }
    losses[b] = 0.5 * sum;
}
