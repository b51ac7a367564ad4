// place_probe: places the probe along p, the last search direction or the gradient.
//
//   probe <- params + distance p / |p|, or with an exact product p / |p|
//
// in:  params, p
// out: probe
// 12 bytes per element.
// builds on: basis_bindings, direction, probe_distance, streams, threads, switches, entry

fn kernel(thread: Thread) {
    let distance = scalars.displacement;
    let walk = walk_of(thread);
    for (var i = walk.first; i < walk.end; i += STREAM_WIDTH) {
        probe[i] = placed(params[i], distance, direction_at(i));
    }
}
