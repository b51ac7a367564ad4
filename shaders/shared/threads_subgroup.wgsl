// Threads of a workgroup, and sums over them by subgroups: threads.wgsl for devices that have them.
// builds on: partial, switches

struct Thread {
    workgroup: vec3u,
    workgroups: vec3u,
    lane: u32,
    subgroup: u32,
    subgroups: u32,
    subgroup_lane: u32,
}

var<workgroup> lanes: array<Partial, WORKGROUP_SIZE>;

// The sum over the workgroup, known to its first thread: by the hardware within a subgroup, then the
// sums of the subgroups, in order. One barrier.
fn reduce_workgroup(thread: Thread, value: Partial) -> Partial {
    let plain = subgroupAdd(value.plain);
    let small = subgroupAdd(value.small);
    let large = subgroupAdd(value.large);
    if thread.subgroup_lane == 0u {
        lanes[thread.subgroup] = Partial(plain, small, large);
    }
    workgroupBarrier();
    var total = lanes[0];
    if thread.lane == 0u {
        for (var other = 1u; other < thread.subgroups; other += 1u) {
            total = add(total, lanes[other]);
        }
    }
    return total;
}
