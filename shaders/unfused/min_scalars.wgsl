// min_scalars: the smaller of two scalars, on the GPU so that no step waits for the host.
//
//   result <- min(left, right)

@compute @workgroup_size(1)
fn main() {
    slots[op.result] = min(slots[op.left], slots[op.right]);
}
