//! Compiled kernels, shared by all optimizers of one [`Gpu`], its clones and its tunings.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{Gpu, Tuning};
use crate::error::Result;
use crate::kernels::bindings::{Access, Bindings, Entry, STEP_GROUP, numbered};
use crate::kernels::catalogue::{Kernel, Source};
use crate::kernels::choices::Choices;
use crate::kernels::switches::{Switch, Switches};

/// What has been compiled so far.
#[derive(Debug, Default)]
pub(super) struct Pipelines {
    modules: Mutex<HashMap<Source, Module>>,
    layouts: Mutex<HashMap<(Bindings, Vec<Entry>), wgpu::PipelineLayout>>,
    pipelines: Mutex<HashMap<Key, wgpu::ComputePipeline>>,
}

/// A shader module, and the switches that it uses.
#[derive(Clone, Debug)]
struct Module {
    module: wgpu::ShaderModule,
    switches: Vec<Switch>,
}

/// What tells one pipeline from another.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    source: Source,
    entries: Vec<Entry>,
    workgroup_size: u32,
    stream_width: u32,
    /// The values of the switches that the source uses.
    values: Vec<u32>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The value of `key`, made if there is none yet. Meanwhile the map is open to others: if two make the same
/// value at once, both get the first one.
fn shared<K: Eq + Hash, V: Clone>(
    map: &Mutex<HashMap<K, V>>,
    key: K,
    make: impl FnOnce(&K) -> Result<V>,
) -> Result<V> {
    if let Some(value) = lock(map).get(&key) {
        return Ok(value.clone());
    }
    let value = make(&key)?;
    Ok(lock(map).entry(key).or_insert(value).clone())
}

impl Gpu {
    /// The pipeline of `kernel` with these switches, compiled unless it was before.
    pub(crate) fn pipeline(
        &self,
        kernel: Kernel,
        choices: Choices,
        switches: &Switches,
    ) -> Result<wgpu::ComputePipeline> {
        let source = Source::new(kernel, choices);
        let module = shared(&self.pipelines.modules, source.clone(), |source| {
            self.validated(kernel.name(), || Module {
                module: self.device.create_shader_module(wgpu::ShaderModuleDescriptor {
                    label: Some(kernel.name()),
                    source: wgpu::ShaderSource::Wgsl(source.wgsl().into()),
                }),
                switches: source.switches(),
            })
        })?;
        let values = module.switches.iter().map(|switch| switch.value(switches)).collect();
        let Tuning { workgroup_size, stream_width, .. } = self.tuning;
        let entries = kernel.bindings().entries(choices);
        let key = Key { source, entries, workgroup_size, stream_width, values };
        shared(&self.pipelines.pipelines, key, |key| {
            let layout = self.pipeline_layout(kernel.bindings(), &key.entries)?;
            let constants = overrides(&module.switches, switches, &self.tuning);
            self.validated(kernel.name(), || {
                self.compile(kernel.name(), &layout, &module.module, &constants)
            })
        })
    }

    /// Compiles a module's entry point `main`.
    pub(crate) fn compile(
        &self,
        label: &str,
        layout: &wgpu::PipelineLayout,
        module: &wgpu::ShaderModule,
        constants: &[(&str, f64)],
    ) -> wgpu::ComputePipeline {
        self.device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some(label),
            layout: Some(layout),
            module,
            entry_point: Some("main"),
            compilation_options: wgpu::PipelineCompilationOptions {
                constants,
                // Every kernel writes its workgroup memory before it reads it.
                zero_initialize_workgroup_memory: false,
            },
            cache: self.pipeline_cache.as_ref(),
        })
    }

    fn pipeline_layout(
        &self,
        bindings: Bindings,
        entries: &[Entry],
    ) -> Result<wgpu::PipelineLayout> {
        shared(&self.pipelines.layouts, (bindings, entries.to_vec()), |_| {
            self.validated("a pipeline layout", || {
                let mut groups =
                    vec![vectors_layout(self, entries), group_layout(self, &numbered(STEP_GROUP))];
                if let Some(extra) = bindings.extra() {
                    groups.push(group_layout(self, &numbered(extra.group())));
                }
                let groups: Vec<_> = groups.iter().map(Some).collect();
                self.device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
                    label: None,
                    bind_group_layouts: &groups,
                    immediate_size: 0,
                })
            })
        })
    }
}

/// The values of the overrides of a module that uses these switches.
pub(crate) fn overrides(
    used: &[Switch],
    switches: &Switches,
    tuning: &Tuning,
) -> Vec<(&'static str, f64)> {
    let values = used.iter().map(|switch| (switch.name(), switch.value(switches).into()));
    let sizes = [
        ("WORKGROUP_SIZE", tuning.workgroup_size.into()),
        ("STREAM_WIDTH", tuning.stream_width.into()),
    ];
    values.chain(sizes).collect()
}

/// Group 0 of a kernel.
pub(crate) fn vectors_layout(gpu: &Gpu, entries: &[Entry]) -> wgpu::BindGroupLayout {
    let entries: Vec<_> = entries.iter().map(|entry| (entry.binding, entry.access)).collect();
    group_layout(gpu, &entries)
}

pub(crate) fn group_layout(gpu: &Gpu, entries: &[(u32, Access)]) -> wgpu::BindGroupLayout {
    let entry = |(binding, access)| wgpu::BindGroupLayoutEntry {
        binding,
        visibility: wgpu::ShaderStages::COMPUTE,
        ty: wgpu::BindingType::Buffer {
            ty: match access {
                Access::Uniform | Access::Dynamic => wgpu::BufferBindingType::Uniform,
                Access::Read => wgpu::BufferBindingType::Storage { read_only: true },
                Access::Write => wgpu::BufferBindingType::Storage { read_only: false },
            },
            has_dynamic_offset: access == Access::Dynamic,
            min_binding_size: None,
        },
        count: None,
    };
    let entries: Vec<_> = entries.iter().copied().map(entry).collect();
    gpu.device().create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor {
        label: None,
        entries: &entries,
    })
}
