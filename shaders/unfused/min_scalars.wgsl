// min_scalars: the smaller of two scalars, on the GPU so that no step waits for the host.
//
//   result <- min(left, right)

@compute @workgroup_size(1)
fn main() {
    scalars[op.result] = min(scalars[op.left], scalars[op.right]);
}
