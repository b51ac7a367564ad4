// place_probe: places the probe along one vector of the basis.
//
//   probe <- params + distance S_column, or with exact products S_column
//
// in:  params, one vector of the workspace
// out: probe
// 12 bytes per element.
// builds on: modes_bindings, streams, threads, switches, entry

fn kernel(thread: Thread) {
    let walk = walk_of(thread);
    for (var i = walk.first; i < walk.end; i += STREAM_WIDTH) {
        probe[i] = probe_along(workspace[element(arguments.column, i)], i);
    }
}
