//! Reading an [`Optimizer`]: parameters, orientation, curvature and telemetry.

use super::Optimizer;
use crate::config::Storage;
use crate::error::Result;
use crate::gpu::GpuSlice;
use crate::kernels::Mode;
use crate::state::{Record, Region, RegionBuffers};
use crate::telemetry::{Losses, RegionCurvature, Telemetry};

impl Optimizer {
    /// The parameters, in the order of the layout and without padding.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`](crate::Error::OutOfMemory) or
    /// [`Error::DeviceLost`](crate::Error::DeviceLost).
    pub async fn read_params(&self) -> Result<Vec<f32>> {
        self.read_vector(&self.state.params, Storage::F32).await
    }

    /// The blocking twin of [`Optimizer::read_params`].
    ///
    /// # Errors
    /// As there.
    pub fn read_params_blocking(&self) -> Result<Vec<f32>> {
        self.read_vector_blocking(&self.state.params, Storage::F32)
    }

    /// N, in the order of the layout and without padding; empty without a dimer.
    ///
    /// # Errors
    /// As [`Optimizer::read_params`].
    pub async fn read_orientation(&self) -> Result<Vec<f32>> {
        self.read_vector(&self.state.orientation, self.state.storage).await
    }

    /// The blocking twin of [`Optimizer::read_orientation`].
    ///
    /// # Errors
    /// As there.
    pub fn read_orientation_blocking(&self) -> Result<Vec<f32>> {
        self.read_vector_blocking(&self.state.orientation, self.state.storage)
    }

    /// C = N·HN as the last event measured it, in loss per parameter²; 0 before the first.
    ///
    /// # Errors
    /// As [`Optimizer::read_params`].
    pub async fn read_curvature(&self) -> Result<f32> {
        Ok(curvature(&self.gpu.read(&self.state.latest()).await?))
    }

    /// The blocking twin of [`Optimizer::read_curvature`].
    ///
    /// # Errors
    /// As there.
    pub fn read_curvature_blocking(&self) -> Result<f32> {
        Ok(curvature(&self.gpu.read_blocking(&self.state.latest())?))
    }

    /// What each dimer found in the last event, where [`Dimer::scope`](crate::Dimer::scope) says that
    /// there is more than one; those that the dimer does not reach are left out.
    ///
    /// # Errors
    /// As [`Optimizer::read_params`].
    pub async fn read_regions(&self) -> Result<Vec<RegionCurvature>> {
        let Some(buffers) = &self.state.regions else { return Ok(Vec::new()) };
        let latest = self.gpu.read(&self.state.latest()).await?;
        let regions = self.gpu.read(&GpuSlice::whole(buffers.regions.clone())).await?;
        Ok(self.region_curvatures(buffers, &latest, &regions))
    }

    /// The blocking twin of [`Optimizer::read_regions`].
    ///
    /// # Errors
    /// As there.
    pub fn read_regions_blocking(&self) -> Result<Vec<RegionCurvature>> {
        let Some(buffers) = &self.state.regions else { return Ok(Vec::new()) };
        let latest = self.gpu.read_blocking(&self.state.latest())?;
        let regions = self.gpu.read_blocking(&GpuSlice::whole(buffers.regions.clone()))?;
        Ok(self.region_curvatures(buffers, &latest, &regions))
    }

    fn region_curvatures(
        &self,
        buffers: &RegionBuffers,
        latest: &[u8],
        regions: &[u8],
    ) -> Vec<RegionCurvature> {
        let parity = bytemuck::pod_read_unaligned::<Record>(latest).parity as usize;
        let regions: Vec<Region> = bytemuck::pod_collect_to_vec(regions);
        let reached =
            buffers.tensors.iter().zip(&regions).filter(|(_, region)| region.elements > 0);
        let curvature = |(tensors, region): (&Vec<usize>, &Region)| {
            let record = &region.records[parity];
            RegionCurvature {
                tensors: tensors.iter().map(|&i| self.layout.tensors()[i].name.clone()).collect(),
                curvature: record.curvature,
                curvature_mean: record.curvature_mean,
                curvature_error: record.curvature_error,
                residual: record.residual,
                projection: record.projection,
                shift: record.shift,
            }
        };
        reached.map(curvature).collect()
    }

    /// The telemetry that has arrived since the last call, in order; never waits.
    ///
    /// Steps are on the GPU for a while, so this is a few steps behind. Asking more often than
    /// every 1024 steps loses none; it costs one small submission, and nothing if it is never
    /// called.
    ///
    /// # Errors
    /// [`Error::DeviceLost`](crate::Error::DeviceLost).
    pub fn telemetry(&mut self) -> Result<Vec<Telemetry>> {
        let losses = self.losses();
        self.telemetry.poll(&self.gpu, &self.state, self.index, losses)
    }

    /// The telemetry of all steps so far that was not returned yet, at most the last 1024.
    ///
    /// # Errors
    /// As [`Optimizer::telemetry`].
    pub fn telemetry_blocking(&mut self) -> Result<Vec<Telemetry>> {
        let losses = self.losses();
        self.telemetry.finish(&self.gpu, &self.state, self.index, losses)
    }

    fn losses(&self) -> Losses {
        let in_events = self.plan.has_centre(Mode::Event);
        Losses { supplied: self.supplies_loss, in_events }
    }

    async fn read_vector(&self, slice: &GpuSlice, storage: Storage) -> Result<Vec<f32>> {
        Ok(self.unpad(&storage.unpack(&self.gpu.read(slice).await?)))
    }

    pub(super) fn read_vector_blocking(
        &self,
        slice: &GpuSlice,
        storage: Storage,
    ) -> Result<Vec<f32>> {
        Ok(self.unpad(&storage.unpack(&self.gpu.read_blocking(slice)?)))
    }

    fn unpad(&self, padded: &[f32]) -> Vec<f32> {
        // A stub stands for a vector that the configuration does not have.
        if padded.len() < self.layout.padded_len() {
            return Vec::new();
        }
        self.layout.unpad(padded)
    }
}

fn curvature(bytes: &[u8]) -> f32 {
    bytemuck::pod_read_unaligned::<Record>(bytes).curvature
}
