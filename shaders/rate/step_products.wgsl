// step_products: the products of the gradient with the last step, over one tile.
//
//   g.e  g.g  e.e  with e = params - previous, the parameters before the step
//
// in:  g, params, previous_params
// out: one `Partial` per tile, of which the first plain sum and the first two sums of squares are used
// 12 bytes per element.
// builds on: repeat_bindings, products_pass, displacement_norms, arithmetic, partial, types, step_bindings

fn terms(i: u32, place: Place) -> Partial {
    let g = select(vec4f(), step.gradient_scale * gradient[i], place.valid);
    let e = params[i] - previous_params[i];
    var result = Partial();
    result.plain.x = dot_lanes(g, e);
    return with_norms(result, g, e);
}
