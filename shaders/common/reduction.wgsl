// Sums in a fixed order: the same bits on every run of one device.

// Values that one thread adds in a row; 16 x 16 threads make a workgroup.
const RADIX: u32 = 16u;

var<workgroup> lanes: array<Partial, WORKGROUP_SIZE>;

fn add(a: Partial, b: Partial) -> Partial {
    return Partial(a.plain + b.plain, a.small + b.small, a.large + b.large);
}

// The sum over the workgroup, known to every thread: 16 rows by 16 threads, then the 16 row sums
// by every thread. Two barriers, and at most 2 x 15 additions deep.
fn reduce_workgroup(lane: u32, value: Partial) -> Partial {
    lanes[lane] = value;
    workgroupBarrier();
    if lane < RADIX {
        var row = value;
        for (var other = lane + RADIX; other < WORKGROUP_SIZE; other += RADIX) {
            row = add(row, lanes[other]);
        }
        lanes[lane] = row;
    }
    workgroupBarrier();
    var total = lanes[0];
    for (var row = 1u; row < RADIX; row += 1u) {
        total = add(total, lanes[row]);
    }
    return total;
}

// The sum of all partials, known to every thread of every workgroup, in the same order.
fn reduce_partials(lane: u32) -> Partial {
    return reduce_partials_from(0u, lane);
}

// The same for the partials from `first` on: a kernel with more sums leaves several sets of them.
fn reduce_partials_from(first: u32, lane: u32) -> Partial {
    var total = Partial();
    for (var tile = lane; tile < step.tiles; tile += WORKGROUP_SIZE) {
        total = add(total, scalars.partials[first + tile]);
    }
    return reduce_workgroup(lane, total);
}

// The factor under which a sum of squares was finite: small unless that overflowed.
fn chosen_scale(small: f32) -> f32 {
    return select(LARGE_SCALE, SMALL_SCALE, is_finite(small));
}

// The sum at that scale: of vectors times the factor, so twice the factor is in it.
fn chosen_sum(small: f32, large: f32) -> f32 {
    return select(large, small, is_finite(small));
}

// The norm of a vector from its sum of squares at both scales.
fn norm_of(small: f32, large: f32) -> f32 {
    return sqrt(chosen_sum(small, large)) / chosen_scale(small);
}
