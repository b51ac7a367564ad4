// min_scalars: the smaller of two table, on the GPU so that no step waits for the host.
//
//   result <- min(left, right)

@compute @workgroup_size(1)
fn main() {
    table[op.result] = min(table[op.left], table[op.right]);
}
