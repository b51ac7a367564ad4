// The frame of probe_products and step_products, which define the terms of tile_sums: one `Partial` per tile.
// builds on: scalars, tile_sums, threads, switches, entry

fn kernel(thread: Thread) {
    let sums = sum_over_tile(thread);
    if thread.lane == 0u {
        scalars.partials[shard.first_tile + thread.workgroup.x] = sums;
    }
}
