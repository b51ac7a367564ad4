// Group 2 of the scoped kernels: tensors that share one dimer, and the pieces of them that one stream
// of threads walks.
// builds on: partial, types, hash, scalars, step_bindings, switches, threads

// Threads that walk one piece together. Fewer than in other streams, since each loads what it needs to
// know about the piece; 4 vec4 are 64 bytes, still whole sectors of memory.
const PIECE_WIDTH: u32 = 4u;

// Consecutive elements of one region, in vec4 of the shard.
struct Piece {
    first: u32,
    end: u32,
    region: u32,
    // Where its partials lie: those of one region are neighbours.
    partial: u32,
    // Its group, and where the elements of its tensor end: what follows is padding.
    group: u32,
    valid_end: u32,
    padding: vec2u,
}

struct Region {
    first_partial: u32,
    end_partial: u32,
    // Under the dimer; 0 where it does not reach.
    elements: u32,
    // Entry k names the k-th region that has several pieces.
    several: u32,
    sums: Partial,
    applied: Applied,
    // The state before and after a step, which take turns.
    records: array<Record, 2>,
}

@group(2) @binding(0) var<storage, read> pieces: array<Piece>;
@group(2) @binding(1) var<storage, read_write> regions: array<Region>;

// Which stream of the dispatch a thread belongs to; the first piece of a stream, and how far it is to
// the next one.
fn stream_of(thread: Thread) -> u32 {
    return (thread.workgroup.x * WORKGROUP_SIZE + thread.lane) / PIECE_WIDTH;
}

fn first_piece(thread: Thread) -> u32 {
    return shard.first_piece + stream_of(thread);
}

fn streams(thread: Thread) -> u32 {
    return thread.workgroups.x * (WORKGROUP_SIZE / PIECE_WIDTH);
}

// The sign with which a region is displaced in this step: a hash of step, region and seed.
fn sign_of(region: u32) -> f32 {
    let bits = mixed(step.index ^ mixed(region ^ mixed(step.seed)));
    return select(-1.0, 1.0, (bits & 0x80000000u) != 0u);
}

// The place of vec4 `i` of a piece.
fn place_in(piece: Piece, group: Group, i: u32) -> Place {
    let lanes = vec4u(4u * i, 4u * i + 1u, 4u * i + 2u, 4u * i + 3u);
    return Place(group, lanes < vec4u(piece.valid_end));
}

// The sums of a region from those of its pieces: products with d get the sign of its displacement.
fn signed(value: Partial, region: u32) -> Partial {
    let sign = sign_of(region);
    var sums = value;
    sums.plain.y *= sign;
    sums.small.z *= sign;
    sums.large.z *= sign;
    return sums;
}

// Where the first of a region's partials lies, and where they end: one for each thread of a stream.
fn first_partial(region: u32) -> u32 {
    return regions[region].first_partial * PIECE_WIDTH;
}

fn end_partial(region: u32) -> u32 {
    return regions[region].end_partial * PIECE_WIDTH;
}

fn has_several(region: u32) -> bool {
    return regions[region].end_partial > regions[region].first_partial + 1u;
}

// The sum over a stream, known to its first thread.
fn reduce_stream(thread: Thread, value: Partial) -> Partial {
    lanes[thread.lane] = value;
    workgroupBarrier();
    var total = value;
    if thread.lane % PIECE_WIDTH == 0u {
        for (var other = 1u; other < PIECE_WIDTH; other += 1u) {
            total = add(total, lanes[thread.lane + other]);
        }
    }
    return total;
}
