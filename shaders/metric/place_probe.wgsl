// place_probe: places the probe along a scaled direction.
//
//   probe <- params + distance s d / |s d|, or with an exact product s d / |s d|
//
// in:  the direction d in the probe, params, second moment, and the partials of norm
// out: probe
// 16 bytes per element.
// builds on: metric, probe_distance, scalars, streams, threads, tile_bounds, switches, entry

// 1/|s d|, or 0 where there is no direction.
var<workgroup> shared_inverse: f32;

fn place_probe(i: u32, place: Place, factor: f32, distance: f32) {
    let direction = shared_inverse * scale_at(i, place, factor) * probe[i];
    probe[i] = placed(params[i], distance, direction);
}

fn kernel(thread: Thread) {
    let norm = scaled_norm(thread);
    if thread.lane == 0u {
        shared_inverse = select(0.0, 1.0 / norm, norm > 0.0);
    }
    workgroupBarrier();
    let factor = square_factor();
    let distance = scalars.displacement;
    let tile = tile_of(thread);
    for (var i = tile.first; i < tile.alike_end; i += STREAM_WIDTH) {
        place_probe(i, tile.place, factor, distance);
    }
    for (var i = tile.first; i < tile.mixed_end; i += STREAM_WIDTH) {
        place_probe(i, place_of(i), factor, distance);
    }
}
