// aim: places the probe along the last search direction.
//
//   probe <- params + distance p, or with EXACT p
//
// in:  params, p
// out: probe
// 12 bytes an element.

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(@builtin(workgroup_id) workgroup: vec3u, @builtin(local_invocation_index) lane: u32) {
    let distance = scalars.displacement;
    let walk = walk_of(workgroup.x, lane);
    for (var i = walk.first; i < walk.end; i += STREAM_WIDTH) {
        probe[i] = placed(params[i], distance, workspace[slot(P, i)]);
    }
}
