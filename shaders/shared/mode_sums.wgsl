// The sums of the block of modes: one row of three matrices, four columns at a time.
// builds on: partial

struct RowSums {
    // S_y.S_j, S_y.HS_j, HS_y.HS_j
    overlap: vec4f,
    hessian: vec4f,
    square: vec4f,
}

// As a partial, which is what a workgroup reduces.
fn pack_row_sums(sums: RowSums) -> Partial {
    return Partial(sums.overlap, sums.hessian, sums.square);
}

fn unpack_row_sums(sums: Partial) -> RowSums {
    return RowSums(sums.plain, sums.small, sums.large);
}
