// displace: places the probe.
//
//   probe <- params + distance N
//   distance = displacement, or with RELATIVE max(displacement, displacement_factor |params|)
//
// in:  params, N, and with RELATIVE the partials of norm
// out: probe, scalars.displacement
// 12 bytes an element.

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(@builtin(workgroup_id) workgroup: vec3u, @builtin(local_invocation_index) lane: u32) {
    var distance = step.displacement;
    if RELATIVE {
        let sums = reduce_partials(lane);
        let norm = norm_of(sums.small.x, sums.large.x);
        distance = max(distance, step.displacement_factor * norm);
    }
    if shard.first_tile + workgroup.x == 0u && lane == 0u {
        scalars.displacement = distance;
    }
    let walk = walk_of(workgroup.x, lane);
    for (var i = walk.first; i < walk.end; i += STREAM_WIDTH) {
        probe[i] = fma(vec4f(distance), orientation[i], params[i]);
    }
}
