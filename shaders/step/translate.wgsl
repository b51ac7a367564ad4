// translate: corrects the gradient along N and takes the step of the base optimizer.
//
//   g <- clip (g1 - alpha (g1.N) N),  then SGD, Adam, AdamW, Lion or Sophia with g
//   with CLIMB: g <- clip (g1 - 2 (g1.N) N) where C < 0, else -clip (g1.N) N
//   with SADDLE_FREE, while its gate is open: alpha = 0 and params <- params + shift S N before that,
//   S being the learning rate scales of the groups
//
// in:  g1, params, moments and the partials of gram, and with DIMER also N
// out: params, moments, the record
// Bytes per element: 12 (SGD), 20 (momentum), 28 (Adam); 4 more with DIMER.
// builds on: vector_bindings, element_pass, gradients, scaled, translation, update, switches

fn element(i: u32, place: Place, applied: Applied) {
    var theta = params[i];
    var g = rounded(applied.clip * load_gradient(i, place));
    if DIMER {
        let n = orientation_at(i);
        g = correct(g, n, applied.correction);
        if TRANSLATION == SADDLE_FREE {
            theta = shifted(theta, n, applied.shift, place.group);
        }
    }
    update(i, theta, g, place.group, applied.factors);
}
