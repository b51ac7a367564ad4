// orthogonalize: takes from one vector of the basis what lies along those before it.
//
//   S_column <- factor S_column - sum_j overlaps_j S_j
//   with LAST also probe <- params + distance S_column, or with exact products S_column; along its mode where that is
//   measured again
//
// in:  S, with LAST params
// out: one vector of the workspace, with LAST the probe
// 4 bytes per element for each vector that is read or written.
// builds on: modes_bindings, threads, switches, entry

fn kernel(thread: Thread) {
    let factor = modes.factor;
    let again = measures_again();
    let walk = shared_walk_of(thread);
    for (var i = walk.first; i < walk.end; i += STREAM_WIDTH) {
        var s = factor * workspace[element(arguments.column, i)];
        for (var j = 0u; j < arguments.column; j += 1u) {
            s = fma(vec4f(-modes.overlaps[j]), workspace[element(j, i)], s);
        }
        workspace[element(arguments.column, i)] = s;
        if LAST {
            if again {
                s = workspace[element(mode_of_residual(), i)];
            }
            probe[i] = probe_along(s, i);
        }
    }
}
