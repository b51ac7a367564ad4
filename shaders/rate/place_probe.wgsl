// place_probe: places the probe along the update.
//
//   probe <- params + distance u / |u|,  distance = rate_displacement (1 + |params|), frozen ones left out
//
// in:  g, params, moments, the partials of update_norm, and where the gradient is clipped those of gram
// out: probe, scalars.rate
// Bytes per element: 12 (SGD), 16 (one moment), 20 (two).
// builds on: update_direction, partial, reduction, tile_bounds, streams, threads, switches

// Distance, and distance / |u|: 0 where there is no update to look along.
var<workgroup> shared_reach: vec2f;

fn place_probe(i: u32, place: Place, factor: f32) {
    let theta = params[i];
    let moved = fma(vec4f(factor), update_at(i, place), theta);
    probe[i] = select(theta, moved, vec4<bool>(factor != 0.0));
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(thread: Thread) {
    find_factors(thread);
    let sums = reduce_partials_of(1u, thread);
    if thread.lane == 0u {
        let norm = norm_of(sums.small.x, sums.large.x);
        let distance = step.rate_displacement * (1.0 + norm_of(sums.small.y, sums.large.y));
        let factor = distance / norm;
        shared_reach = vec2f(distance, select(0.0, factor, norm > 0.0 && is_finite(factor)));
        if shard.first_tile + thread.workgroup.x == 0u {
            scalars.rate.distance = distance;
            scalars.rate.update_norm = norm;
        }
    }
    workgroupBarrier();
    let factor = shared_reach.y;
    let tile = tile_of(thread);
    for (var i = tile.first; i < tile.alike_end; i += STREAM_WIDTH) {
        place_probe(i, tile.place, factor);
    }
    for (var i = tile.first; i < tile.mixed_end; i += STREAM_WIDTH) {
        place_probe(i, place_of(i), factor);
    }
}
