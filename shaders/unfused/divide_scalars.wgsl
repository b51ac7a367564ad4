// divide_scalars: one quotient of two table.
//
//   result <- left / right

@compute @workgroup_size(1)
fn main() {
    table[op.result] = table[op.left] / table[op.right];
}
