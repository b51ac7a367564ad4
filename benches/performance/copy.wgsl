// copy: what a kernel that does nothing but move memory reaches. 8 bytes an element.
//
// All threads of the grid walk side by side, in order.

@group(0) @binding(0) var<storage, read> source: array<vec4f>;
@group(0) @binding(1) var<storage, read_write> destination: array<vec4f>;

const WORKGROUP_SIZE: u32 = 256u;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
    @builtin(global_invocation_id) id: vec3u,
    @builtin(num_workgroups) workgroups: vec3u,
) {
    let vectors = arrayLength(&destination);
    for (var i = id.x; i < vectors; i += workgroups.x * WORKGROUP_SIZE) {
        destination[i] = source[i];
    }
}
