// gram: inner products of the basis and its products over one tile, for row y and four columns from 4 z.
//
//   S_y.S_j   S_y.HS_j   HS_y.HS_j
//
// in:  S, HS
// out: one `Partial` per tile, row and four columns
// 40 bytes per element.
// builds on: modes_bindings, mode_sums, run, partial, streams, threads, step_bindings, switches

fn products(i: u32, row: u32, first: u32) -> Partial {
    let s = workspace[slot(row, i)];
    let hs = workspace[product_slot(row, i)];
    var terms = RowSums();
    for (var column = 0u; column < 4u; column += 1u) {
        let j = first + column;
        if j < goal.vectors {
            let other = workspace[slot(j, i)];
            let product = workspace[product_slot(j, i)];
            terms.overlap[column] = dot_lanes(s, other);
            terms.hessian[column] = dot_lanes(s, product);
            terms.square[column] = dot_lanes(hs, product);
        }
    }
    return pack_row_sums(terms);
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(thread: Thread) {
    let walk = walk_of(thread);
    var total = Partial();
    var i = walk.first;
    while i < walk.end {
        var run = Partial();
        for (var term = 0u; term < RUN && i < walk.end; term += 1u) {
            run = add(run, products(i, thread.workgroup.y, 4u * thread.workgroup.z));
            i += STREAM_WIDTH;
        }
        total = add(total, run);
    }
    let sums = reduce_workgroup(thread, total);
    if thread.lane == 0u {
        let entry = thread.workgroup.y * thread.workgroups.z + thread.workgroup.z;
        modes.partials[entry * step.tiles + shard.first_tile + thread.workgroup.x] = sums;
    }
}
