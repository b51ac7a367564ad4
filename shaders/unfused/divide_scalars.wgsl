// divide_scalars: one quotient of two scalars.
//
//   result <- left / right

@compute @workgroup_size(1)
fn main() {
    scalars[op.result] = scalars[op.left] / scalars[op.right];
}
