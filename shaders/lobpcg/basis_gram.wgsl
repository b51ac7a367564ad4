// basis_gram: the inner products of the basis S = (n, u, p) and its products HS over one tile.
//
//   S.S (6)   S.HS, its symmetric half (6) and what it lacks of that (3)   (HS - C S).(HS - C S) (6)
//
// C is the last curvature along n. Subtracted here, it leaves the residual near an eigenvector, where the difference
// of (Hn)^2 and C^2 would be rounding. Without HAS_FORCE it may be that of another n, and Hn.Hn is summed as well.
//
// in:  n, Hn, with HAS_FORCE also u, Hu, with HAS_DIRECTION also p, Hp; with KEEPS_DIRECTION p alone before that
// out: two `Partial` per tile
// 8, 16 or 24 bytes per element.
// builds on: scaled, basis_bindings, basis_sums, direction, run, partial, streams, threads, step_bindings, switches, entry

// Half the sum and half the difference of a.Hb and b.Ha.
fn halves(a: vec4f, hb: vec4f, b: vec4f, ha: vec4f) -> vec2f {
    let forth = dot_lanes(a, hb);
    let back = dot_lanes(b, ha);
    return 0.5 * vec2f(forth + back, forth - back);
}

fn products(i: u32, curvature: f32) -> PackedBasisSums {
    var sums = BasisSums();
    let n = load_vector(N, i);
    let hn = load_vector(HN, i);
    sums.overlap.nn = dot_lanes(n, n);
    sums.hessian.nn = dot_lanes(n, hn);
    let rn = fma(vec4f(-curvature), n, hn);
    sums.square.nn = dot_lanes(rn, rn);
    if !HAS_FORCE {
        sums.square.uu = dot_lanes(hn, hn);
    }
    if KEEPS_DIRECTION & !HAS_FORCE {
        let p = raw_direction(i);
        sums.raw_direction_small = square_up(p);
        sums.raw_direction_large = square_down(p);
    }
    if HAS_FORCE {
        let u = load_vector(U, i);
        let hu = load_vector(HU, i);
        sums.overlap.nu = dot_lanes(n, u);
        sums.overlap.uu = dot_lanes(u, u);
        let nu = halves(n, hu, u, hn);
        sums.hessian.nu = nu.x;
        sums.skew.z = nu.y;
        sums.hessian.uu = dot_lanes(u, hu);
        let ru = fma(vec4f(-curvature), u, hu);
        sums.square.nu = dot_lanes(rn, ru);
        sums.square.uu = dot_lanes(ru, ru);
        if HAS_DIRECTION {
            let p = direction_at(i);
            let hp = load_vector(HP, i);
            sums.overlap.np = dot_lanes(n, p);
            sums.overlap.up = dot_lanes(u, p);
            sums.overlap.pp = dot_lanes(p, p);
            let pn = halves(p, hn, n, hp);
            let up = halves(u, hp, p, hu);
            sums.hessian.np = pn.x;
            sums.hessian.up = up.x;
            sums.skew.y = pn.y;
            sums.skew.x = up.y;
            sums.hessian.pp = dot_lanes(p, hp);
            let rp = fma(vec4f(-curvature), p, hp);
            sums.square.np = dot_lanes(rn, rp);
            sums.square.up = dot_lanes(ru, rp);
            sums.square.pp = dot_lanes(rp, rp);
        }
    }
    return pack_basis_sums(sums);
}

fn add_packed(a: PackedBasisSums, b: PackedBasisSums) -> PackedBasisSums {
    return PackedBasisSums(add(a.first, b.first), add(a.second, b.second));
}

fn kernel(thread: Thread) {
    // When the event needs no further rotation, nothing is walked; the barriers are still reached.
    let stopped = STOPS & HAS_FORCE & (scalars.ritz.stopped != 0u);
    let walk = walk_of(thread);
    let curvature = curvature_before();
    let end = select(walk.end, 0u, stopped);
    var total = PackedBasisSums();
    var i = walk.first;
    while i < end {
        var run = PackedBasisSums();
        for (var term = 0u; term < RUN && i < end; term += 1u) {
            run = add_packed(run, products(i, curvature));
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
