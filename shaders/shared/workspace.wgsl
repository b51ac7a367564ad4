// The vectors that a rotation keeps, one after another in each shard.
// builds on: scalars, stored, vector_numbers

@group(0) @binding(10) var<storage, read_write> workspace: array<Stored>;

// Where vec4 `i` of a vector of the workspace lies.
fn element_of_vector(vector: u32, i: u32) -> u32 {
    return vector * shard.vectors + i;
}

fn load_vector(vector: u32, i: u32) -> vec4f {
    return unpacked(workspace[element_of_vector(vector, i)]);
}

// Returns what was stored: the value, rounded.
fn store_vector(vector: u32, i: u32, value: vec4f) -> vec4f {
    let stored = packed(value, element_of(i), WORKSPACE + vector);
    workspace[element_of_vector(vector, i)] = stored;
    return unpacked(stored);
}
