// Group 2 of the scoped kernels: tensors that share one dimer, and the pieces of them that one stream
// of threads walks.

// Consecutive elements of one region, in vec4 of the shard.
struct Piece {
    first: u32,
    end: u32,
    region: u32,
    // Where its partial lies: those of one region are neighbours.
    slot: u32,
}

struct Region {
    first_slot: u32,
    end_slot: u32,
    // Under the dimer; 0 where it does not reach.
    elements: u32,
    padding: u32,
    sums: Partial,
    // The state before and after a step, which take turns.
    records: array<Record, 2>,
}

@group(2) @binding(0) var<storage, read> pieces: array<Piece>;
@group(2) @binding(1) var<storage, read_write> regions: array<Region>;

// Streams of one workgroup: pieces or regions that it works on at a time.
fn stream_of(thread: Thread) -> u32 {
    return (thread.workgroup.x * WORKGROUP_SIZE + thread.lane) / STREAM_WIDTH;
}

// The piece of a stream, or an empty one behind the last.
fn piece_of(thread: Thread) -> Piece {
    let index = shard.first_piece + stream_of(thread);
    var piece = Piece();
    if index < shard.end_piece {
        piece = pieces[index];
    }
    return piece;
}

// The sign with which a region is displaced in this step: a hash of step, region and seed.
fn sign_of(region: u32) -> f32 {
    let bits = mixed(step.index ^ mixed(region ^ mixed(step.seed)));
    return select(-1.0, 1.0, (bits & 0x80000000u) != 0u);
}

// The sum over a stream, known to its first thread.
fn reduce_stream(thread: Thread, value: Partial) -> Partial {
    lanes[thread.lane] = value;
    workgroupBarrier();
    var total = value;
    if thread.lane % STREAM_WIDTH == 0u {
        for (var other = 1u; other < STREAM_WIDTH; other += 1u) {
            total = add(total, lanes[thread.lane + other]);
        }
    }
    return total;
}
