// aim: places the probe along p, the last search direction or the gradient.
//
//   p <- p / |p|,  probe <- params + distance p, or with EXACT p
//
// in:  params, p
// out: p, probe
// 16 bytes an element.

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(thread: Thread) {
    let distance = scalars.displacement;
    let inverse = scalars.ritz.inverse_direction;
    let walk = walk_of(thread);
    for (var i = walk.first; i < walk.end; i += STREAM_WIDTH) {
        let p = store_vector(P, i, inverse * load_vector(P, i));
        probe[i] = placed(params[i], distance, p);
    }
}
