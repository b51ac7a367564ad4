// update: turns N of each region where the step is an event, and takes the step of the base optimizer;
// formulas as in ../rotate_translate.wgsl, with d times the sign of the region.
//
// in:  g1, N, params, moments, regions[].sums and the record of whole, and with ROTATION also g2
// out: params, moments, regions[].records, and with ROTATION also N
// Bytes an element: those of ../translate.wgsl with DIMER, or of ../rotate_translate.wgsl.

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(thread: Thread) {
    let task = task_of(thread);
    let result = task.result;
    let factors = base_factors(task.updates);
    let end = task.piece.end;
    for (var i = task.piece.first + thread.lane % STREAM_WIDTH; i < end; i += STREAM_WIDTH) {
        let place = place_of(i);
        let g1 = load_gradient(i, place);
        var n = unpacked(orientation[i]);
        if ROTATION {
            n = fma(vec4f(result.turn), load_difference(i, place, g1), result.keep * n);
            orientation[i] = packed(n, i, ORIENTATION);
        }
        var theta = params[i];
        if SADDLE_FREE {
            theta = shifted(theta, n, result);
        }
        update(i, theta, correct(result.clip * g1, n, result), place.group, factors);
    }
}
