// orthogonalize: takes from one vector of the basis what lies along those before it.
//
//   S_slot <- factor S_slot - sum_j overlaps_j S_j
//   with LAST also probe <- params + distance S_slot, or with exact products S_slot; along its mode where that is measured
//   again
//
// in:  S, with LAST params
// out: one vector of the workspace, with LAST the probe
// 4 bytes per element for each vector that is read or written.
// builds on: modes_bindings, threads, switches

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(thread: Thread) {
    let factor = modes.factor;
    let again = measures_again();
    let walk = shared_walk_of(thread);
    for (var i = walk.first; i < walk.end; i += STREAM_WIDTH) {
        var s = factor * workspace[slot(goal.slot, i)];
        for (var j = 0u; j < goal.slot; j += 1u) {
            s = fma(vec4f(-modes.overlaps[j]), workspace[slot(j, i)], s);
        }
        workspace[slot(goal.slot, i)] = s;
        if LAST {
            if again {
                s = workspace[slot(mode_of_residual(), i)];
            }
            probe[i] = probe_along(s, i);
        }
    }
}
