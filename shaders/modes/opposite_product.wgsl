// opposite_product: the Hessian along one vector from both sides of theta, once the probe is on the other side.
//
//   Hs' = (g1 - g2) / distance,   HS_column <- (HS_column + Hs') / 2, or that of the mode that is measured again in its
//   place
//
//   with LAST, for a mode that is measured afresh:
//   e <- (Hx - Hx') / 2, where Hu was
//   y <- (params - probe) / distance, where p was: x as rounding has placed the probe, to which the products belong
//
// in:  g1, g2, HS_column, with LAST params, probe
// out: HS_column, with LAST e, y
// 16 bytes per element, with LAST 32.
// builds on: modes_bindings, gradients, tile_bounds, streams, threads, switches, entry

fn kernel(thread: Thread) {
    let inverse = -inverse_distance();
    let again = measures_again();
    let measured = select(arguments.column, mode_of_residual(), again);
    let kept = vec4<bool>(again || modes.kept[arguments.column] != 0u);
    let walk = walk_of(thread);
    for (var i = walk.first; i < walk.end; i += STREAM_WIDTH) {
        let place = place_of(i);
        let d = load_difference(i, place, load_gradient(i, place));
        let opposite = select(vec4f(), inverse * d, kept);
        let product = workspace[product_element(measured, i)];
        workspace[product_element(measured, i)] = 0.5 * (product + opposite);
        if LAST {
            workspace[product_element(2u * arguments.modes + arguments.column, i)] = 0.5 * (product - opposite);
            workspace[element(arguments.modes + arguments.column, i)] = (params[i] - probe[i]) / modes.distance;
        }
    }
}
