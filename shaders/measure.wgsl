// measure: the Hessian along the direction of the last probe.
//
//   workspace[SLOT] <- (g2 - g1) / distance      where the dimer acts, else 0
//
// in:  g1, g2
// out: one vector of the workspace
// 12 bytes an element.

fn measure(i: u32, place: Place, inverse: f32) {
    let g1 = load_gradient(i, place);
    workspace[slot(SLOT, i)] = inverse * load_difference(i, place, g1);
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(@builtin(workgroup_id) workgroup: vec3u, @builtin(local_invocation_index) lane: u32) {
    let inverse = 1.0 / scalars.displacement;
    let tile = tile_of(workgroup.x, lane);
    for (var i = tile.first; i < tile.alike_end; i += STREAM_WIDTH) {
        measure(i, tile.place, inverse);
    }
    for (var i = tile.first; i < tile.mixed_end; i += STREAM_WIDTH) {
        measure(i, place_of(i), inverse);
    }
}
