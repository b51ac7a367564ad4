// add_scalars: one sum of two scalars.
//
//   result <- left + right

@compute @workgroup_size(1)
fn main() {
    slots[op.result] = slots[op.left] + slots[op.right];
}
