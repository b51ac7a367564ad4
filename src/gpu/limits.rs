//! [`DeviceLimits`]: what a device can do, as numbers.

use crate::error::{Error, Result};
use crate::kernels::bindings::Access;

/// Names of limits that more than one check needs.
const BUFFER: &str = "max_buffer_size";
const BINDING: &str = "max_storage_buffer_binding_size";
const STORAGE: &str = "max_storage_buffers_per_shader_stage";

/// Bytes of workgroup memory that a reduction needs per thread: three `vec4<f32>`.
const STORAGE_PER_THREAD: u32 = 48;

/// Storage buffers of the smallest step: scalars, blocks, gradient and parameters.
const STORAGE_BUFFERS: u32 = 4;

/// The limits that plans depend on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DeviceLimits {
    /// Most bytes of one buffer, one storage binding and one uniform binding.
    pub buffer_bytes: u64,
    pub binding_bytes: u64,
    pub uniform_bytes: u64,
    /// Most storage buffers and uniforms of one kernel, and most uniforms at an offset that a dispatch gives.
    pub storage_buffers: u32,
    pub uniforms: u32,
    pub slots: u32,
    /// Most bind groups of one kernel, and the least number that no entry of them can have.
    pub groups: u32,
    pub entries: u32,
    /// Most workgroups of one dispatch.
    pub workgroups: u32,
    /// Most threads of one workgroup, in all and along each of its three dimensions, and most bytes of its memory.
    pub threads: u32,
    pub sizes: [u32; 3],
    pub workgroup_bytes: u32,
}

impl DeviceLimits {
    pub(super) fn of(limits: &wgpu::Limits) -> Self {
        Self {
            buffer_bytes: limits.max_buffer_size,
            binding_bytes: limits.max_storage_buffer_binding_size,
            uniform_bytes: limits.max_uniform_buffer_binding_size,
            storage_buffers: limits.max_storage_buffers_per_shader_stage,
            uniforms: limits.max_uniform_buffers_per_shader_stage,
            slots: limits.max_dynamic_uniform_buffers_per_pipeline_layout,
            groups: limits.max_bind_groups,
            entries: limits.max_bindings_per_bind_group,
            workgroups: limits.max_compute_workgroups_per_dimension,
            threads: limits.max_compute_invocations_per_workgroup,
            sizes: [
                limits.max_compute_workgroup_size_x,
                limits.max_compute_workgroup_size_y,
                limits.max_compute_workgroup_size_z,
            ],
            workgroup_bytes: limits.max_compute_workgroup_storage_size,
        }
    }

    /// Whether any kernel can run on such a device, in workgroups of this many threads. What a configuration
    /// needs in addition is checked by its plan.
    pub(super) fn check(self, workgroup_size: u32) -> Result<()> {
        let bytes = workgroup_size.saturating_mul(STORAGE_PER_THREAD);
        let [x, y, z] = self.sizes;
        let checks = [
            (STORAGE, STORAGE_BUFFERS, self.storage_buffers),
            ("max_compute_invocations_per_workgroup", workgroup_size, self.threads),
            ("max_compute_workgroup_size_x", workgroup_size, x),
            ("max_compute_workgroup_size_y", 1, y),
            ("max_compute_workgroup_size_z", 1, z),
            ("max_compute_workgroup_storage_size", bytes, self.workgroup_bytes),
        ];
        checks.into_iter().try_for_each(|(limit, needed, found)| at_least(limit, needed, found))
    }

    /// The limit that the largest binding meets first, and its bytes.
    pub(crate) fn largest_binding(self) -> (&'static str, u64) {
        if self.buffer_bytes < self.binding_bytes {
            (BUFFER, self.buffer_bytes)
        } else {
            (BINDING, self.binding_bytes)
        }
    }

    /// Whether a buffer can have this many bytes.
    pub(crate) fn check_buffer(self, bytes: u64) -> Result<()> {
        at_least(BUFFER, bytes, self.buffer_bytes)
    }

    /// Whether it can also be bound as a whole.
    pub(crate) fn check_binding(self, bytes: u64) -> Result<()> {
        self.check_buffer(bytes)?;
        at_least(BINDING, bytes, self.binding_bytes)
    }

    /// Whether a uniform can have this many bytes.
    pub(crate) fn check_uniform(self, bytes: u64) -> Result<()> {
        self.check_buffer(bytes)?;
        at_least("max_uniform_buffer_binding_size", bytes, self.uniform_bytes)
    }

    /// Whether a dispatch can have this many workgroups.
    pub(crate) fn check_workgroups(self, workgroups: u32) -> Result<()> {
        at_least("max_compute_workgroups_per_dimension", workgroups, self.workgroups)
    }

    /// Whether a kernel can have these bind groups.
    pub(crate) fn check_groups(self, groups: &[Vec<(u32, Access)>]) -> Result<()> {
        let all = || groups.iter().flatten();
        let count =
            |wanted: &[Access]| all().filter(|(_, access)| wanted.contains(access)).count() as u32;
        let entries = all().map(|(number, _)| number + 1).max().unwrap_or_default();
        let uniforms = count(&[Access::Uniform, Access::Dynamic]);
        let checks = [
            ("max_bind_groups", groups.len() as u32, self.groups),
            ("max_bindings_per_bind_group", entries, self.entries),
            (STORAGE, count(&[Access::Read, Access::Write]), self.storage_buffers),
            ("max_uniform_buffers_per_shader_stage", uniforms, self.uniforms),
            (
                "max_dynamic_uniform_buffers_per_pipeline_layout",
                count(&[Access::Dynamic]),
                self.slots,
            ),
        ];
        checks.into_iter().try_for_each(|(limit, needed, found)| at_least(limit, needed, found))
    }
}

fn at_least<T: Into<u64>>(limit: &'static str, needed: T, found: T) -> Result<()> {
    let (needed, found) = (needed.into(), found.into());
    if found < needed { Err(Error::LimitTooSmall { limit, needed, found }) } else { Ok(()) }
}
