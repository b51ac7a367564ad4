// Sums in a fixed order: the same bits on every run of one device.

fn add(a: Partial, b: Partial) -> Partial {
    return Partial(a.plain + b.plain, a.small + b.small, a.large + b.large);
}

// The sum of all partials, known to the first thread of every workgroup, in the same order.
fn reduce_partials(thread: Thread) -> Partial {
    return reduce_partials_from(0u, thread);
}

// The same for the partials from `first` on: a kernel with more sums leaves several sets of them.
fn reduce_partials_from(first: u32, thread: Thread) -> Partial {
    var total = Partial();
    for (var tile = thread.lane; tile < step.tiles; tile += WORKGROUP_SIZE) {
        total = add(total, scalars.partials[first + tile]);
    }
    return reduce_workgroup(thread, total);
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
