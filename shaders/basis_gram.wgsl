// basis_gram: the inner products of the basis S = (n, u, p) and its products HS over one tile.
//
//   S.S (6)   S.HS, symmetrised (6)   HS.HS (6)
//
// in:  n, Hn, and with FORCE u, Hu, and with DIRECTION p, Hp; with AIMS p alone before that
// out: two `Partial` a tile
// 8, 16 or 24 bytes an element.

// Additions in a row before a running sum is put aside; see gram.wgsl.
const RUN: u32 = 16u;

struct Sums {
    // nn nu np up | uu pp n.Hn n.Hu | n.Hp u.Hu u.Hp p.Hp
    first: Partial,
    // HnHn HnHu HnHp HuHu | HuHp HpHp 0 0 | and before the first rotation, with AIMS, pp at two
    // scales
    second: Partial,
}

fn symmetric(a: vec4f, hb: vec4f, b: vec4f, ha: vec4f) -> f32 {
    return 0.5 * (dot_lanes(a, hb) + dot_lanes(b, ha));
}

fn products(i: u32) -> Sums {
    var sums = Sums();
    let n = load_vector(N, i);
    let hn = load_vector(HN, i);
    sums.first.plain.x = dot_lanes(n, n);
    sums.first.small.z = dot_lanes(n, hn);
    sums.second.plain.x = dot_lanes(hn, hn);
    if AIMS & !FORCE {
        let p = raw_direction(i);
        let small = p * SMALL_SCALE;
        let large = p * LARGE_SCALE;
        sums.second.large.x = dot_lanes(small, small);
        sums.second.large.y = dot_lanes(large, large);
    }
    if FORCE {
        let u = load_vector(U, i);
        let hu = load_vector(HU, i);
        sums.first.plain.y = dot_lanes(n, u);
        sums.first.small.x = dot_lanes(u, u);
        sums.first.small.w = symmetric(n, hu, u, hn);
        sums.first.large.y = dot_lanes(u, hu);
        sums.second.plain.y = dot_lanes(hn, hu);
        sums.second.plain.w = dot_lanes(hu, hu);
        if DIRECTION {
            let p = direction_at(i);
            let hp = load_vector(HP, i);
            sums.first.plain.z = dot_lanes(n, p);
            sums.first.plain.w = dot_lanes(u, p);
            sums.first.small.y = dot_lanes(p, p);
            sums.first.large.x = symmetric(n, hp, p, hn);
            sums.first.large.z = symmetric(u, hp, p, hu);
            sums.first.large.w = dot_lanes(p, hp);
            sums.second.plain.z = dot_lanes(hn, hp);
            sums.second.small.x = dot_lanes(hu, hp);
            sums.second.small.y = dot_lanes(hp, hp);
        }
    }
    return sums;
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(thread: Thread) {
    if STOPS & FORCE {
        if scalars.ritz.stopped != 0u {
            return;
        }
    }
    let walk = walk_of(thread);
    var total = Sums();
    var i = walk.first;
    while i < walk.end {
        var run = Sums();
        for (var term = 0u; term < RUN && i < walk.end; term += 1u) {
            let terms = products(i);
            run = Sums(add(run.first, terms.first), add(run.second, terms.second));
            i += STREAM_WIDTH;
        }
        total = Sums(add(total.first, run.first), add(total.second, run.second));
    }
    let first = reduce_workgroup(thread, total.first);
    workgroupBarrier();
    let second = reduce_workgroup(thread, total.second);
    if thread.lane == 0u {
        let index = shard.first_tile + thread.workgroup.x;
        scalars.partials[index] = first;
        scalars.partials[step.tiles + index] = second;
    }
}
