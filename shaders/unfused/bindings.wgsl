// What every unfused kernel binds: two operands, one result, and a table of table.

override WORKGROUP_SIZE: u32 = 256u;

struct Op {
    // vec4 of a vector.
    vectors: u32,
    // Slots of the factor, of two scalar operands and of the scalar result.
    alpha: u32,
    left: u32,
    right: u32,
    result: u32,
    partials: u32,
    padding: vec2u,
}

@group(0) @binding(0) var<uniform> op: Op;
@group(0) @binding(1) var<storage, read_write> table: array<f32>;
@group(0) @binding(2) var<storage, read> x: array<vec4f>;
@group(0) @binding(3) var<storage, read> y: array<vec4f>;
@group(0) @binding(4) var<storage, read_write> out: array<vec4f>;
@group(0) @binding(5) var<storage, read_write> partials: array<f32>;
