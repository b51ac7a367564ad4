// place_probe: places the probe along the update.
//
//   probe <- params + distance u / |u|
//
// in:  g, params, moments, scalars.rate, and where the gradient is clipped the partials of gram
// out: probe
// Bytes per element: 12 (SGD), 16 (one moment), 20 (two).
// builds on: update_probe_bindings, update_direction, arithmetic, tile_bounds, streams, scalars, threads, switches, entry

fn place_probe(i: u32, place: Place, factor: f32) {
    let theta = params[i];
    let moved = fma(vec4f(factor), update_at(i, place).u, theta);
    probe[i] = select(theta, moved, vec4<bool>(factor != 0.0));
}

fn kernel(thread: Thread) {
    find_factors(thread);
    // 0 where there is no update to look along.
    let length = scalars.rate.distance / scalars.rate.update_norm;
    let factor = select(0.0, length, scalars.rate.update_norm > 0.0 && is_finite(length));
    let tile = tile_of(thread);
    for (var i = tile.first; i < tile.alike_end; i += STREAM_WIDTH) {
        place_probe(i, tile.place, factor);
    }
    for (var i = tile.first; i < tile.mixed_end; i += STREAM_WIDTH) {
        place_probe(i, place_of(i), factor);
    }
}
