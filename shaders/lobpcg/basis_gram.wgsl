// basis_gram: the inner products of the basis S = (n, u, p) and its products HS over one tile.
//
//   S.S (6)   S.HS, symmetrised (6)   HS.HS (6)
//
// in:  n, Hn, with FORCE also u, Hu, with DIRECTION also p, Hp; with AIMS p alone before that
// out: two `Partial` per tile
// 8, 16 or 24 bytes per element.
// builds on: basis_bindings, basis_sums, direction, run, partial, streams, threads, step_bindings, switches

fn symmetric(a: vec4f, hb: vec4f, b: vec4f, ha: vec4f) -> f32 {
    return 0.5 * (dot_lanes(a, hb) + dot_lanes(b, ha));
}

fn products(i: u32) -> PackedBasisSums {
    var sums = BasisSums();
    let n = load_vector(N, i);
    let hn = load_vector(HN, i);
    sums.overlap.nn = dot_lanes(n, n);
    sums.hessian.nn = dot_lanes(n, hn);
    sums.square.nn = dot_lanes(hn, hn);
    if AIMS & !FORCE {
        let p = raw_direction(i);
        let small = p * SMALL_SCALE;
        let large = p * LARGE_SCALE;
        sums.raw_direction_small = dot_lanes(small, small);
        sums.raw_direction_large = dot_lanes(large, large);
    }
    if FORCE {
        let u = load_vector(U, i);
        let hu = load_vector(HU, i);
        sums.overlap.nu = dot_lanes(n, u);
        sums.overlap.uu = dot_lanes(u, u);
        sums.hessian.nu = symmetric(n, hu, u, hn);
        sums.hessian.uu = dot_lanes(u, hu);
        sums.square.nu = dot_lanes(hn, hu);
        sums.square.uu = dot_lanes(hu, hu);
        if DIRECTION {
            let p = direction_at(i);
            let hp = load_vector(HP, i);
            sums.overlap.np = dot_lanes(n, p);
            sums.overlap.up = dot_lanes(u, p);
            sums.overlap.pp = dot_lanes(p, p);
            sums.hessian.np = symmetric(n, hp, p, hn);
            sums.hessian.up = symmetric(u, hp, p, hu);
            sums.hessian.pp = dot_lanes(p, hp);
            sums.square.np = dot_lanes(hn, hp);
            sums.square.up = dot_lanes(hu, hp);
            sums.square.pp = dot_lanes(hp, hp);
        }
    }
    return pack_basis_sums(sums);
}

fn add_packed(a: PackedBasisSums, b: PackedBasisSums) -> PackedBasisSums {
    return PackedBasisSums(add(a.first, b.first), add(a.second, b.second));
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(thread: Thread) {
    // When the event needs no further rotation, nothing is walked; the barriers are still reached.
    let stopped = STOPS & FORCE & (scalars.ritz.stopped != 0u);
    let walk = walk_of(thread);
    let end = select(walk.end, 0u, stopped);
    var total = PackedBasisSums();
    var i = walk.first;
    while i < end {
        var run = PackedBasisSums();
        for (var term = 0u; term < RUN && i < end; term += 1u) {
            run = add_packed(run, products(i));
            i += STREAM_WIDTH;
        }
        total = add_packed(total, run);
    }
    let first = reduce_workgroup(thread, total.first);
    workgroupBarrier();
    let second = reduce_workgroup(thread, total.second);
    if thread.lane == 0u && !stopped {
        let index = shard.first_tile + thread.workgroup.x;
        scalars.partials[index] = first;
        scalars.partials[step.tiles + index] = second;
    }
}
