// gram: the sums over one tile from which curvature, rotation, projection and clipping follow.
//
//   N.N  N.d  g1.N  g1.g1  d.d  g1.d      with d = g2 - g1
//
// in:  g1, and with DIMER also N, and with ROTATION also g2
// out: one `Partial` a tile; the last record becomes the previous one
// 4, 8 or 12 bytes an element.

// Additions in a row before a running sum is put aside: errors grow with this number plus the
// number of such runs, not with their product.
const RUN: u32 = 16u;

fn products(i: u32, place: Place) -> Partial {
    var terms = Partial();
    let g = load_gradient(i, place);
    let small = g * SMALL_SCALE;
    let large = g * LARGE_SCALE;
    terms.small.x = dot_lanes(small, small);
    terms.large.x = dot_lanes(large, large);
    if DIMER {
        let n = orientation[i];
        terms.plain.z = dot_lanes(g, n);
        if ROTATION {
            let d = load_difference(i, place, g);
            let d_small = d * SMALL_SCALE;
            let d_large = d * LARGE_SCALE;
            terms.plain.x = dot_lanes(n, n);
            terms.plain.y = dot_lanes(n, d);
            terms.small.y = dot_lanes(d_small, d_small);
            terms.large.y = dot_lanes(d_large, d_large);
            terms.small.z = dot_lanes(small, d_small);
            terms.large.z = dot_lanes(large, d_large);
        }
    }
    return terms;
}

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(@builtin(workgroup_id) workgroup: vec3u, @builtin(local_invocation_index) lane: u32) {
    let tile = tile_of(workgroup.x, lane);
    var total = Partial();
    var i = tile.first;
    while i < tile.alike_end {
        var run = Partial();
        for (var term = 0u; term < RUN && i < tile.alike_end; term += 1u) {
            run = add(run, products(i, tile.place));
            i += STREAM_WIDTH;
        }
        total = add(total, run);
    }
    i = tile.first;
    while i < tile.mixed_end {
        var run = Partial();
        for (var term = 0u; term < RUN && i < tile.mixed_end; term += 1u) {
            run = add(run, products(i, place_of(i)));
            i += STREAM_WIDTH;
        }
        total = add(total, run);
    }
    let sums = reduce_workgroup(lane, total);
    if lane == 0u {
        let index = shard.first_tile + workgroup.x;
        scalars.partials[index] = sums;
        if index == 0u {
            scalars.previous = scalars.latest;
        }
    }
}
