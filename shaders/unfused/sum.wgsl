// sum: the second pass of a dot product, in one workgroup.
//
//   result <- sum of the partials

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(@builtin(local_invocation_index) lane: u32) {
    var total = 0.0;
    for (var i = lane; i < op.partials; i += WORKGROUP_SIZE) {
        total += partials[i];
    }
    let sum = workgroup_sum(lane, total);
    if lane == 0u {
        table[op.result] = sum;
    }
}
