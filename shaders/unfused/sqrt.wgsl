// sqrt: the square root.
//
//   out <- sqrt(x)
//
// 8 bytes per element.

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) workgroups: vec3u) {
    for (var i = id.x; i < op.vectors; i += workgroups.x * WORKGROUP_SIZE) {
        out[i] = sqrt(x[i]);
    }
}
