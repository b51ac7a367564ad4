// copy: what a kernel that does nothing but move memory reaches. 8 bytes an element.
//
// The streams are those of the kernels under test: 8 threads walk consecutive vec4.

@group(0) @binding(0) var<storage, read> source: array<vec4f>;
@group(0) @binding(1) var<storage, read_write> destination: array<vec4f>;

const WORKGROUP_SIZE: u32 = 256u;
const STREAM_WIDTH: u32 = 8u;

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
    @builtin(workgroup_id) workgroup: vec3u,
    @builtin(num_workgroups) workgroups: vec3u,
    @builtin(local_invocation_index) lane: u32,
) {
    let streams = WORKGROUP_SIZE / STREAM_WIDTH;
    let vectors = arrayLength(&destination);
    let length = (vectors + workgroups.x * streams - 1u) / (workgroups.x * streams);
    let first = (workgroup.x * streams + lane / STREAM_WIDTH) * length;
    let end = min(first + length, vectors);
    for (var i = first + lane % STREAM_WIDTH; i < end; i += STREAM_WIDTH) {
        destination[i] = source[i];
    }
}
