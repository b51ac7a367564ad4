// dot: the first pass of a dot product.
//
//   partials[workgroup] <- sum of x y
//
// 8 bytes per element, or 4 where x is y.

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
    @builtin(global_invocation_id) id: vec3u,
    @builtin(workgroup_id) workgroup: vec3u,
    @builtin(num_workgroups) workgroups: vec3u,
    @builtin(local_invocation_index) lane: u32,
) {
    var total = 0.0;
    for (var i = id.x; i < op.vectors; i += workgroups.x * WORKGROUP_SIZE) {
        total += dot(x[i], y[i]);
    }
    let sum = workgroup_sum(lane, total);
    if lane == 0u {
        partials[workgroup.x] = sum;
    }
}
