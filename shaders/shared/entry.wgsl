// The entry point of a kernel, which runs `kernel`. Builtins are arguments of an entry point and nothing else: as members
// of a struct naga writes them wrongly for DX12, where the number of all workgroups would be that of the workgroup.
// builds on: switches, threads

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
    @builtin(workgroup_id) workgroup: vec3u,
    @builtin(num_workgroups) workgroups: vec3u,
    @builtin(local_invocation_index) lane: u32,
) {
    kernel(Thread(workgroup, workgroups, lane));
}
