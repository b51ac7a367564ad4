// inverse_sqrt_scalar: from a sum of squares to the factor that makes a unit vector.
//
//   result <- 1 / sqrt(left)

@compute @workgroup_size(1)
fn main() {
    table[op.result] = inverseSqrt(table[op.left]);
}
