// step_products: the product of the gradient with the last step, over one tile.
//
//   g.e  with e = params - probe, where the probe holds the parameters before the step
//
// in:  g, params, probe
// out: one `Partial` per tile, of which the first plain sum is used
// 12 bytes per element.
// builds on: repeat_bindings, arithmetic, partial, tile_sums, step_bindings, threads, switches

fn terms(i: u32, place: Place) -> Partial {
    let g = select(vec4f(), step.gradient_scale * gradient[i], place.valid);
    var result = Partial();
    result.plain.x = dot_lanes(g, params[i] - probe[i]);
    return result;
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(thread: Thread) {
    let sums = sum_over_tile(thread);
    if thread.lane == 0u {
        scalars.partials[shard.first_tile + thread.workgroup.x] = sums;
    }
}
