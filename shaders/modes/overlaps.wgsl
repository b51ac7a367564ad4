// overlaps: inner products of one vector of the basis with eight of those before it, from 8 z, over one tile.
//
//   S_column.S_j, and in the first eight |S_column|^2
//
// in:  S
// out: one `Partial` per tile, for each eight: plain and small; large.x and large.y hold |S_column|^2 at two scales
// 4 bytes per element for each vector that is read.
// builds on: scaled, modes_bindings, mode_sums, mode_pass, partial, threads, switches, entry

// The inner product of `s` with vector `other`, or 0 where that does not come before it.
fn overlap(s: vec4f, other: u32, i: u32) -> f32 {
    if other < arguments.column {
        return dot_lanes(s, workspace[element(other, i)]);
    }
    return 0.0;
}

fn overlaps(s: vec4f, first: u32, i: u32) -> vec4f {
    return vec4f(
        overlap(s, first, i),
        overlap(s, first + 1u, i),
        overlap(s, first + 2u, i),
        overlap(s, first + 3u, i),
    );
}

fn terms(i: u32, thread: Thread) -> Partial {
    let first = 8u * thread.workgroup.z;
    let s = workspace[element(arguments.column, i)];
    var found = Partial();
    found.plain = overlaps(s, first, i);
    found.small = overlaps(s, first + 4u, i);
    if first == 0u {
        found.large.x = square_up(s);
        found.large.y = square_down(s);
    }
    return found;
}

fn kernel(thread: Thread) {
    let sums = sum_over_tile(thread);
    leave_sums(thread, thread.workgroup.z, sums);
}
