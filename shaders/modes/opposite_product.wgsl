// opposite_product: the Hessian along one mode from both sides of theta, once the probe is on the other side.
//
//   Hx' = (g1 - g2) / distance,   Hx <- (Hx + Hx') / 2,   e <- (Hx - Hx') / 2, where Hu was
//   y <- (params - probe) / distance, where p was: x as rounding has placed the probe, to which the products belong
//
// in:  g1, g2, Hx, params, probe
// out: Hx, e, y
// 32 bytes per element.
// builds on: modes_bindings, gradients, tile_bounds, streams, threads, switches

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(thread: Thread) {
    let inverse = -1.0 / modes.distance;
    let walk = walk_of(thread);
    for (var i = walk.first; i < walk.end; i += STREAM_WIDTH) {
        let place = place_of(i);
        let opposite = inverse * load_difference(i, place, load_gradient(i, place));
        let product = workspace[product_slot(goal.slot, i)];
        workspace[product_slot(goal.slot, i)] = 0.5 * (product + opposite);
        workspace[product_slot(2u * goal.modes + goal.slot, i)] = 0.5 * (product - opposite);
        workspace[slot(goal.modes + goal.slot, i)] = (params[i] - probe[i]) / modes.distance;
    }
}
