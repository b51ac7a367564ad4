// Which vec4 of a shard one thread walks: from `first` below `end` in steps of STREAM_WIDTH.
// builds on: scalars, switches, threads

// Threads that walk one stream of consecutive vec4 together; a workgroup walks several streams, so
// that each reads memory in order, whether the hardware runs them side by side or one by one.
// 8 vec4 are 128 bytes: a cache line of GPUs, and what a quarter of a warp loads at once.
const STREAM_WIDTH: u32 = 8u;

struct Walk {
    first: u32,
    end: u32,
}

fn walk_of(thread: Thread) -> Walk {
    let length = shard.tile_vectors / (WORKGROUP_SIZE / STREAM_WIDTH);
    let begin = thread.workgroup.x * shard.tile_vectors + thread.lane / STREAM_WIDTH * length;
    return Walk(begin + thread.lane % STREAM_WIDTH, min(begin + length, shard.vectors));
}
