// Group 0 of what compares the gradients at both ends of a dimer along the update.
// builds on: repeat_bindings

@group(0) @binding(4) var<storage, read> probe_gradient: array<vec4f>;
