// input_gradient: delta of the layer below, (1 - input^2) sum_j delta[b, j] weight[i, j], where
// input is the tanh of that layer. A thread takes four images and four inputs, of which there are a multiple of four.

struct Shape { batch: u32, inputs: u32, outputs: u32, tanh: u32 }

@group(0) @binding(0) var<uniform> shape: Shape;
@group(0) @binding(1) var<storage, read> input: array<vec4f>;
@group(0) @binding(2) var<storage, read> delta: array<f32>;
@group(0) @binding(3) var<storage, read> weight: array<f32>;
@group(0) @binding(4) var<storage, read_write> input_delta: array<vec4f>;

fn store(b: u32, column: u32, sums: vec4f) {
    if b < shape.batch {
        let index = b * (shape.inputs / 4u) + column;
        input_delta[index] = (1.0 - input[index] * input[index]) * sums;
    }
}

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3u) {
    let columns = shape.inputs / 4u;
    let b = 4u * (id.x / columns);
    let column = id.x % columns;
    var sums_0 = vec4f();
    var sums_1 = vec4f();
    var sums_2 = vec4f();
    var sums_3 = vec4f();
    for (var j = 0u; j < shape.outputs; j += 1u) {
        let w = 4u * column * shape.outputs + j;
        let weights = vec4f(
            weight[w],
            weight[w + shape.outputs],
            weight[w + 2u * shape.outputs],
            weight[w + 3u * shape.outputs],
        );
        let d = b * shape.outputs + j;
        sums_0 = fma(vec4f(delta[d]), weights, sums_0);
        sums_1 = fma(vec4f(delta[d + shape.outputs]), weights, sums_1);
        sums_2 = fma(vec4f(delta[d + 2u * shape.outputs]), weights, sums_2);
        sums_3 = fma(vec4f(delta[d + 3u * shape.outputs]), weights, sums_3);
    }
    store(b, column, sums_0);
    store(b + 1u, column, sums_1);
    store(b + 2u, column, sums_2);
    store(b + 3u, column, sums_3);
}
