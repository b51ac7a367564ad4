// probe_products: the products of both gradients with what lies between them, over one tile.
//
//   g.e  (g' - g).e  g.g  e.e  with e = probe - params, as rounded
//
// in:  g, the gradient g' at the probe, params, probe
// out: one `Partial` per tile, of which the first two sums of each kind are used
// 16 bytes per element.
// builds on: pair_bindings, products_pass, displacement_norms, arithmetic, partial, types, step_bindings

fn terms(i: u32, place: Place) -> Partial {
    let e = probe[i] - params[i];
    let g = select(vec4f(), step.gradient_scale * gradient[i], place.valid);
    let at_probe = select(vec4f(), step.gradient_scale * probe_gradient[i], place.valid);
    var result = Partial();
    result.plain.x = dot_lanes(g, e);
    result.plain.y = dot_lanes(at_probe - g, e);
    return with_norms(result, g, e);
}
