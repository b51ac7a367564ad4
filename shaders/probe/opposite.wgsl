// opposite: moves the probe to the other side of the centre.
//
//   probe <- params - (probe - params)
//
// in:  params, probe
// out: probe
// 12 bytes per element.
// builds on: probe_bindings, streams, threads, switches, entry

fn kernel(thread: Thread) {
    let walk = walk_of(thread);
    for (var i = walk.first; i < walk.end; i += STREAM_WIDTH) {
        let theta = params[i];
        probe[i] = theta - (probe[i] - theta);
    }
}
