// sign: the sign, 0 of 0.
//
//   out <- sign(x)
//
// 8 bytes per element.

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) workgroups: vec3u) {
    for (var i = id.x; i < op.vectors; i += workgroups.x * WORKGROUP_SIZE) {
        out[i] = sign(x[i]);
    }
}
