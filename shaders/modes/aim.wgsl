// aim: places the probe along one vector of the basis.
//
//   probe <- params + distance S[slot]
//
// in:  params, one vector of the workspace
// out: probe
// 12 bytes an element.

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(@builtin(workgroup_id) workgroup: vec3u, @builtin(local_invocation_index) lane: u32) {
    let distance = vec4f(scalars.displacement);
    let walk = walk_of(workgroup.x, lane);
    for (var i = walk.first; i < walk.end; i += STREAM_WIDTH) {
        probe[i] = fma(distance, workspace[slot(goal.slot, i)], params[i]);
    }
}
