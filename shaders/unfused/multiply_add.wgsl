// multiply_add: adds a scaled product.
//
//   out <- out + alpha x y
//
// 16 bytes per element, 12 where x is y.

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) workgroups: vec3u) {
    let alpha = table[op.alpha];
    for (var i = id.x; i < op.vectors; i += workgroups.x * WORKGROUP_SIZE) {
        out[i] = fma(vec4f(alpha), x[i] * y[i], out[i]);
    }
}
