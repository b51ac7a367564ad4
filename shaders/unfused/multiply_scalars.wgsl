// multiply_scalars: one product of two scalars, on the GPU so that no step waits for the host.
//
//   result <- left right

@compute @workgroup_size(1)
fn main() {
    scalars[op.result] = scalars[op.left] * scalars[op.right];
}
