// rotate: turns N of each region and leaves the parameters alone.
//
// in:  g1, g2, N, regions[].sums and the record of whole
// out: N, regions[].records
// 16 bytes an element.

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(thread: Thread) {
    let task = task_of(thread);
    let end = task.piece.end;
    for (var i = task.piece.first + thread.lane % STREAM_WIDTH; i < end; i += STREAM_WIDTH) {
        let place = place_of(i);
        let d = load_difference(i, place, load_gradient(i, place));
        let n = fma(vec4f(task.result.turn), d, task.result.keep * unpacked(orientation[i]));
        orientation[i] = packed(n, i, ORIENTATION);
    }
}
