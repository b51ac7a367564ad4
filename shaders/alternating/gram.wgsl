// gram: the sums over one tile from which the rotation by alternating evaluations follows.
//
//   N.N  N.p  g.N  N.SN   c.c  p.p  g.p  e.e   b.N  b.p  g.b  b.b   g.g
//
// g is the gradient at the probe, p = HN and c the gradient at the parameters with what g tells of them, e what was not
// predicted of g, b the last turn of N, and S the learning rate scales.
//
// in:  g, N, HN, c, b
// out: two `Partial` per tile
// 20 bytes per element.
// builds on: vector_bindings, estimate, scaled, arithmetic, run, partial, tile_bounds, threads, step_bindings, switches
// builds on: entry

struct Sums {
    first: Partial,
    second: Partial,
}

fn add_sums(a: Sums, b: Sums) -> Sums {
    return Sums(add(a.first, b.first), add(a.second, b.second));
}

fn products(i: u32, place: Place, probe: Probe) -> Sums {
    let found = estimate(i, place, probe);
    let n = orientation_at(i);
    let b = found.turn;
    let g = found.probed;
    let p = found.product;
    var sums = Sums();
    let scale = place.group.learning_rate_scale;
    sums.first.plain = vec4f(dot_lanes(n, n), dot_lanes(n, p), dot_lanes(g, n), scale * dot_lanes(n, n));
    sums.first.small = vec4f(
        square_up(found.centre),
        square_up(p),
        dot_lanes(scaled_up(g), scaled_up(p)),
        square_up(found.error),
    );
    sums.first.large = vec4f(
        square_down(found.centre),
        square_down(p),
        dot_lanes(scaled_down(g), scaled_down(p)),
        square_down(found.error),
    );
    sums.second.plain = vec4f(dot_lanes(b, n), dot_lanes(b, p), dot_lanes(g, b), dot_lanes(b, b));
    sums.second.small.x = square_up(g);
    sums.second.large.x = square_down(g);
    return sums;
}

fn kernel(thread: Thread) {
    let probe = probe_after(scalars.latest);
    let tile = tile_of(thread);
    var total = Sums();
    var i = tile.first;
    while i < tile.alike_end {
        var run = Sums();
        for (var term = 0u; term < RUN && i < tile.alike_end; term += 1u) {
            run = add_sums(run, products(i, tile.place, probe));
            i += STREAM_WIDTH;
        }
        total = add_sums(total, run);
    }
    i = tile.first;
    while i < tile.mixed_end {
        var run = Sums();
        for (var term = 0u; term < RUN && i < tile.mixed_end; term += 1u) {
            run = add_sums(run, products(i, place_of(i), probe));
            i += STREAM_WIDTH;
        }
        total = add_sums(total, run);
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
