// The first two bindings of group 0: the shard of the dispatch, and everything that is not a vector.
// builds on: types

@group(0) @binding(0) var<uniform> shard: Shard;
@group(0) @binding(1) var<storage, read_write> scalars: Scalars;

// Keeps what the last step left for the current one.
fn keep_latest() {
    scalars.previous = scalars.latest;
    scalars.broken = atomicLoad(&scalars.overflowed);
}

// Whether workgroup `x` of the dispatch writes what there is once.
fn leads(x: u32) -> bool {
    return shard.first_tile + x == shard.leading_tile;
}

// Where vec4 `i` of the shard lies in the whole vector.
fn element_of(i: u32) -> u32 {
    return shard.first_tile * shard.tile_vectors + i;
}

// On which side of the parameters a probe lies after this record: always the first, but for alternating evaluations.
fn side_after(last: Record) -> f32 {
    return select(1.0, -1.0, last.parity != 0u);
}
