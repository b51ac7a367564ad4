// sqrt_scalar: from a sum of squares to a norm.
//
//   result <- sqrt(left)

@compute @workgroup_size(1)
fn main() {
    table[op.result] = sqrt(table[op.left]);
}
