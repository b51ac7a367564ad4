// Group 0 of what places a probe along the update.
// builds on: update_bindings

@group(0) @binding(9) var<storage, read_write> probe: array<vec4f>;
