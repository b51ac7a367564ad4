// step_products: the product of the gradient with the last step, over one tile.
//
//   g.e  with e = params - previous, the parameters before the step
//
// in:  g, params, previous_params
// out: one `Partial` per tile, of which the first plain sum is used
// 12 bytes per element.
// builds on: repeat_bindings, products_pass, arithmetic, partial, types, step_bindings

fn terms(i: u32, place: Place) -> Partial {
    let g = select(vec4f(), step.gradient_scale * gradient[i], place.valid);
    var result = Partial();
    result.plain.x = dot_lanes(g, params[i] - previous_params[i]);
    return result;
}
