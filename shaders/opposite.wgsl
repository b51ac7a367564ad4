// opposite: moves the probe to the other side of the centre.
//
//   probe <- params - (probe - params)
//
// in:  params, probe
// out: probe
// 12 bytes an element.

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(@builtin(workgroup_id) workgroup: vec3u, @builtin(local_invocation_index) lane: u32) {
    let walk = walk_of(workgroup.x, lane);
    for (var i = walk.first; i < walk.end; i += STREAM_WIDTH) {
        let theta = params[i];
        probe[i] = theta - (probe[i] - theta);
    }
}
