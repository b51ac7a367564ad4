// N, the moments and the workspace as f32.

alias Stored = vec4f;

fn unpacked(stored: Stored) -> vec4f {
    return stored;
}

fn packed(value: vec4f, element: u32, vector: u32) -> Stored {
    return value;
}
