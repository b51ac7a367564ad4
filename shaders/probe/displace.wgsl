// displace: places the probe.
//
//   probe <- params + side distance N, or with an exact product N; the side is 1 but for alternating evaluations
//   distance = displacement, or with RELATIVE max(displacement, displacement_factor |params|),
//   with AUTOMATIC factor max(1, |params|), and twice that with FAR
//
// in:  params, N, and with RELATIVE or FAR the partials of norm
// out: probe, scalars.displacement
// 12 bytes per element.
// builds on: probe_bindings, probe_distance, streams, threads, switches, entry

fn kernel(thread: Thread) {
    let distance = probe_distance(thread);
    if leads(thread.workgroup.x) && thread.lane == 0u {
        scalars.displacement = distance;
    }
    let along = side_after(scalars.latest) * distance;
    let walk = walk_of(thread);
    for (var i = walk.first; i < walk.end; i += STREAM_WIDTH) {
        probe[i] = placed(params[i], along, orientation_at(i));
    }
}
