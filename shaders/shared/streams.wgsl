// Which vec4 of a shard one thread walks: from `first` below `end` in steps of STREAM_WIDTH.
// builds on: scalars, switches, threads

// A workgroup walks WORKGROUP_SIZE / STREAM_WIDTH streams, one behind the other in memory. A GPU runs all threads side
// by side and wants one stream, which the whole workgroup reads in order. A software renderer runs them one by one, and
// there each should read memory in order for itself: 8 vec4 are 128 bytes, two cache lines.
struct Walk {
    first: u32,
    end: u32,
}

fn walk_of(thread: Thread) -> Walk {
    let length = shard.tile_vectors / (WORKGROUP_SIZE / STREAM_WIDTH);
    let begin = thread.workgroup.x * shard.tile_vectors + thread.lane / STREAM_WIDTH * length;
    return Walk(begin + thread.lane % STREAM_WIDTH, min(begin + length, shard.vectors));
}
