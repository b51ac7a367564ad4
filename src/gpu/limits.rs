//! [`DeviceLimits`]: what a device can do, as numbers.

use crate::error::{Error, Result};

/// Bytes of workgroup memory that a reduction needs per thread: three `vec4<f32>`.
const STORAGE_PER_THREAD: u32 = 48;

/// Storage buffers of the smallest step: scalars, blocks, gradient and parameters.
const STORAGE_BUFFERS: u32 = 4;

/// The limits that plans depend on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DeviceLimits {
    /// Most bytes of one storage binding.
    pub binding_bytes: u64,
    /// Most storage buffers of one kernel.
    pub storage_buffers: u32,
    /// Most workgroups of one dispatch.
    pub workgroups: u32,
    /// Most threads of one workgroup, and most bytes of its memory.
    pub threads: u32,
    pub workgroup_bytes: u32,
}

impl DeviceLimits {
    pub(super) fn of(limits: &wgpu::Limits) -> Self {
        Self {
            binding_bytes: limits.max_storage_buffer_binding_size,
            storage_buffers: limits.max_storage_buffers_per_shader_stage,
            workgroups: limits.max_compute_workgroups_per_dimension,
            threads: limits
                .max_compute_invocations_per_workgroup
                .min(limits.max_compute_workgroup_size_x),
            workgroup_bytes: limits.max_compute_workgroup_storage_size,
        }
    }

    /// Whether any kernel can run on such a device, in workgroups of this many threads. What a configuration
    /// needs in addition is checked by its plan.
    pub(super) fn check(self, workgroup_size: u32) -> Result<()> {
        let bytes = workgroup_size.saturating_mul(STORAGE_PER_THREAD);
        let checks = [
            ("max_storage_buffers_per_shader_stage", STORAGE_BUFFERS, self.storage_buffers),
            ("max_compute_invocations_per_workgroup", workgroup_size, self.threads),
            ("max_compute_workgroup_storage_size", bytes, self.workgroup_bytes),
        ];
        for (limit, needed, found) in checks {
            if found < needed {
                let (needed, found) = (u64::from(needed), u64::from(found));
                return Err(Error::LimitTooSmall { limit, needed, found });
            }
        }
        Ok(())
    }
}
