// mean: the loss of the minibatch from the losses of its images.

@group(0) @binding(0) var<storage, read> losses: array<f32>;
@group(0) @binding(1) var<storage, read_write> loss: f32;

@compute @workgroup_size(1)
fn main() {
    var sum = 0.0;
    for (var b = 0u; b < arrayLength(&losses); b += 1u) {
        sum += losses[b];
    }
    loss = sum / f32(arrayLength(&losses));
}
