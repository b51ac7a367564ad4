// softmax: cross-entropy of each image, and its gradient in the logits, divided by the batch.

struct Shape { batch: u32, inputs: u32, outputs: u32, tanh: u32 }

@group(0) @binding(0) var<uniform> shape: Shape;
@group(0) @binding(1) var<storage, read> logits: array<f32>;
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
    var largest = logits[first];
    for (var k = 1u; k < shape.outputs; k += 1u) {
        largest = max(largest, logits[first + k]);
    }
    var sum = 0.0;
    for (var k = 0u; k < shape.outputs; k += 1u) {
        sum += exp(logits[first + k] - largest);
    }
    let label = labels[indices[b]];
    for (var k = 0u; k < shape.outputs; k += 1u) {
        let probability = exp(logits[first + k] - largest) / sum;
        delta[first + k] = (probability - f32(k == label)) / f32(shape.batch);
    }
    losses[b] = log(sum) + largest - logits[first + label];
}
