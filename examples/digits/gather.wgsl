// gather: copies the images of a minibatch, by their indices.

@group(0) @binding(0) var<storage, read> images: array<f32>;
@group(0) @binding(1) var<storage, read> indices: array<u32>;
@group(0) @binding(2) var<storage, read_write> batch: array<f32>;

const PIXELS: u32 = 64u;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3u) {
    if id.x < arrayLength(&batch) {
        batch[id.x] = images[indices[id.x / PIXELS] * PIXELS + id.x % PIXELS];
    }
}
