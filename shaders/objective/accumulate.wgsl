// accumulate: adds one minibatch's share to a gradient, a product or a loss.
//
//   sum <- sum + weight part, or with IS_FIRST weight part
//
// in:  part, sum
// out: sum
// 12 bytes per element, with IS_FIRST 8.

override WORKGROUP_SIZE: u32 = 256u;
override IS_FIRST: bool = false;

struct Share {
    elements: u32,
    weight: f32,
    // The bits of what the objective has not written, which a sum keeps.
    unwritten: u32,
}

@group(0) @binding(0) var<uniform> share: Share;
@group(0) @binding(1) var<storage, read> part: array<f32>;
@group(0) @binding(2) var<storage, read_write> sum: array<f32>;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) workgroups: vec3u) {
    for (var i = id.x; i < share.elements; i += workgroups.x * WORKGROUP_SIZE) {
        let bits = bitcast<u32>(part[i]);
        var result = share.weight * part[i];
        var is_unwritten = bits == share.unwritten;
        if !IS_FIRST {
            is_unwritten = is_unwritten || bitcast<u32>(sum[i]) == share.unwritten;
            result += sum[i];
        }
        sum[i] = bitcast<f32>(select(bitcast<u32>(result), share.unwritten, is_unwritten));
    }
}
