// update: turns N of each region where the step is an event, and takes the step of the base optimizer;
// formulas as in ../step/rotate_translate.wgsl, with d times the sign of the region.
//
// in:  g1, N, params, moments, regions[].applied and the record of combine_regions, and with a rotation also g2
// out: params, moments, and with a rotation also N
// Bytes per element: those of ../step/translate.wgsl with DIMER, or of ../step/rotate_translate.wgsl.
// builds on: region_pass, vector_bindings, regions, gradients, scaled, translation, turn, update, switches

fn element(i: u32, place: Place, applied: Applied) {
    let g1 = load_gradient(i, place);
    var n = orientation_at(i);
    if ROTATION == BY_GRADIENT {
        n = turned(n, load_difference(i, place, g1), applied);
        store_orientation(i, n);
    }
    var theta = params[i];
    if TRANSLATION == SADDLE_FREE {
        theta = shifted(theta, n, applied.shift, place.group);
    }
    let g = correct(rounded(applied.clip * g1), n, applied.correction);
    update(i, theta, g, place.group, applied.factors);
}
