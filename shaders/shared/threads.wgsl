// Threads of a workgroup, and sums over them through workgroup memory.
// builds on: partial, switches

struct Thread {
    workgroup: vec3u,
    workgroups: vec3u,
    lane: u32,
}

// Threads that add a row each.
const RADIX: u32 = 16u;

var<workgroup> lanes: array<Partial, WORKGROUP_SIZE>;

// The sum over the workgroup, known to its first thread: rows of RADIX threads, then the row sums.
// Two barriers, and at most WORKGROUP_SIZE / RADIX + RADIX - 2 additions deep.
fn reduce_workgroup(thread: Thread, value: Partial) -> Partial {
    lanes[thread.lane] = value;
    workgroupBarrier();
    if thread.lane < RADIX {
        var row = value;
        for (var other = thread.lane + RADIX; other < WORKGROUP_SIZE; other += RADIX) {
            row = add(row, lanes[other]);
        }
        lanes[thread.lane] = row;
    }
    workgroupBarrier();
    var total = lanes[0];
    if thread.lane == 0u {
        for (var row = 1u; row < RADIX; row += 1u) {
            total = add(total, lanes[row]);
        }
    }
    return total;
}
