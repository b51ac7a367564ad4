// rotate: turns N of each region and leaves the parameters alone.
//
// in:  g1, g2, N, regions[].applied and the record of combine_regions
// out: N
// 16 bytes per element.
// builds on: region_pass, vector_bindings, regions, gradients, turn

fn element(i: u32, place: Place, applied: Applied) {
    let d = load_difference(i, place, load_gradient(i, place));
    store_orientation(i, turned(orientation_at(i), d, applied));
}
