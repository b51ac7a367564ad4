// aim: places the probe along p, the last search direction or the gradient.
//
//   p <- p / |p|,  probe <- params + distance p, or with EXACT p
//
// in:  params, p
// out: p, probe
// 16 bytes an element.

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(@builtin(workgroup_id) workgroup: vec3u, @builtin(local_invocation_index) lane: u32) {
    let distance = scalars.displacement;
    let inverse = scalars.ritz.inverse_direction;
    let walk = walk_of(workgroup.x, lane);
    for (var i = walk.first; i < walk.end; i += STREAM_WIDTH) {
        let p = inverse * workspace[slot(P, i)];
        workspace[slot(P, i)] = p;
        probe[i] = placed(params[i], distance, p);
    }
}
