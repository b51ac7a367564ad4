// rotate_translate: one whole event in one pass.
//
//   N <- normalize(n - rate F)      with n = N/|N|, F = Hn - C n, Hn = (g2 - g1) / (distance |N|)
//   g <- clip (g1 - alpha (g1.N) N),  then SGD, Adam, AdamW, Lion or Sophia with g
//   with CLIMB: g <- clip (g1 - 2 (g1.N) N) where C < 0, else -clip (g1.N) N
//   with SADDLE_FREE, while its gate is open: alpha = 0 and params <- params + shift N before that
//
// in:  g1, g2, N, params, moments and the partials of gram
// out: N, params, moments, the record
// Bytes per element: 24 (SGD), 32 (momentum), 40 (Adam).
// builds on: vector_bindings, element_pass, gradients, scaled, translation, turn, update, switches

fn element(i: u32, place: Place, applied: Applied) {
    let g1 = load_gradient(i, place);
    let d = load_difference(i, place, g1);
    let n = turned(orientation_at(i), d, applied);
    store_orientation(i, n);
    var theta = params[i];
    if TRANSLATION == SADDLE_FREE {
        theta = shifted(theta, n, applied.shift, place.group);
    }
    update(i, theta, correct(rounded(applied.clip * g1), n, applied.correction), place.group, applied.factors);
}
