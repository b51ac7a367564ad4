// multiply_scalars: one product of two table, on the GPU so that no step waits for the host.
//
//   result <- left right

@compute @workgroup_size(1)
fn main() {
    table[op.result] = table[op.left] * table[op.right];
}
