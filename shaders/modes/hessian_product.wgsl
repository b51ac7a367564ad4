// hessian_product: the Hessian along one vector of the basis.
//
//   HS_column <- (g2 - g1) / distance, or with exact products g2      where the dimer acts, else 0; 0 for a vector that
//   was not kept
//   where the mode of a residual is measured again, HS of that mode
//
// in:  g1, g2
// out: one vector of the workspace
// 12 bytes per element.
// builds on: modes_bindings, gradients, tile_bounds, streams, threads, switches, entry

fn kernel(thread: Thread) {
    let kept = vec4<bool>(modes.kept[arguments.column] != 0u);
    let again = measures_again();
    let inverse = inverse_distance();
    let walk = walk_of(thread);
    for (var i = walk.first; i < walk.end; i += STREAM_WIDTH) {
        let place = place_of(i);
        let d = load_difference(i, place, load_gradient(i, place));
        workspace[product_element(arguments.column, i)] = select(vec4f(), inverse * d, kept);
        if again {
            workspace[product_element(mode_of_residual(), i)] = inverse * d;
        }
    }
}
