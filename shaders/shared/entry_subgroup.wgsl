// The entry point of a kernel, as entry.wgsl has it, for devices with subgroups.
// builds on: switches, threads

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
    @builtin(workgroup_id) workgroup: vec3u,
    @builtin(num_workgroups) workgroups: vec3u,
    @builtin(local_invocation_index) lane: u32,
    @builtin(subgroup_id) subgroup: u32,
    @builtin(num_subgroups) subgroups: u32,
    @builtin(subgroup_invocation_id) subgroup_lane: u32,
) {
    kernel(Thread(workgroup, workgroups, lane, subgroup, subgroups, subgroup_lane));
}
