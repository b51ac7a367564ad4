//! [`DeviceLimits`]: what a device can do, as numbers.

use super::tuning::STORAGE_PER_THREAD;
use crate::error::{Error, Result};

/// Storage buffers of the smallest step: scalars, blocks, gradient and parameters.
const STORAGE_BUFFERS: u32 = 4;

/// The limits that plans depend on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DeviceLimits {
    /// Bytes of one storage binding at most.
    pub binding_bytes: u64,
    /// Storage buffers of one kernel at most.
    pub storage_buffers: u32,
    /// Workgroups of one dispatch at most.
    pub workgroups: u32,
    /// Threads of one workgroup at most, and bytes of its memory.
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

    /// Whether any kernel can run on such a device, in workgroups of so many threads. What a configuration
    /// needs besides, its plan checks.
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
