//! What kernels bind: the entries of group 0, with the numbers that all WGSL files give them.

use super::choices::Choices;

/// A vector of the optimizer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Vector {
    Params,
    /// The parameters before the first of two steps on one minibatch.
    PreviousParams,
    Probe,
    Gradient,
    ProbeGradient,
    Orientation,
    FirstMoment,
    SecondMoment,
    /// The vectors of a rotation by Rayleigh–Ritz, or of a set of modes, shard by shard.
    Workspace,
}

/// What lies behind one entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Resource {
    /// The uniform of the shard.
    Shard,
    Scalars,
    Blocks,
    Vector(Vector),
    /// What the set of modes has found.
    Modes,
}

/// How a kernel uses one entry of a bind group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Access {
    Uniform,
    /// A uniform whose offset is given with each dispatch.
    Dynamic,
    Read,
    Write,
}

/// One entry of group 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Entry {
    pub binding: u32,
    pub resource: Resource,
    pub access: Access,
}

/// The bind groups of a kernel: one shard of some vectors, the step, and whatever else some kernels need.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Bindings {
    /// `scalars.wgsl`
    Scalars,
    /// `vector_bindings.wgsl`
    Vectors,
    /// `probe_bindings.wgsl`
    Probe,
    /// `basis_bindings.wgsl`
    Basis,
    /// The first two, each with `regions.wgsl`.
    RegionVectors,
    RegionProbe,
    /// `update_bindings.wgsl`
    Update,
    /// `update_probe_bindings.wgsl`
    UpdateProbe,
    /// `pair_bindings.wgsl`
    Pair,
    /// `repeat_bindings.wgsl`
    Repeat,
    /// `metric_bindings.wgsl`
    Metric,
    /// `vector_bindings.wgsl` without the gradient at a probe, and `workspace.wgsl`
    Alternating,
    /// `modes_bindings.wgsl`
    Modes,
}

/// What lies in group 2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Extra {
    Regions,
    /// Which vectors of a set of modes the dispatch is for.
    Arguments,
}

/// Group 1: the hyperparameters of the step and the tables of the layout.
pub(crate) const STEP_GROUP: &[Access] = &[Access::Dynamic, Access::Uniform];

/// Entries numbered from 0.
pub(crate) fn numbered(accesses: &[Access]) -> Vec<(u32, Access)> {
    (0..).zip(accesses.iter().copied()).collect()
}

impl Extra {
    pub(crate) const fn group(self) -> &'static [Access] {
        match self {
            Self::Regions => &[Access::Read, Access::Write],
            Self::Arguments => &[Access::Dynamic],
        }
    }
}

impl Bindings {
    pub(crate) fn extra(self) -> Option<Extra> {
        match self {
            Self::Scalars
            | Self::Vectors
            | Self::Probe
            | Self::Basis
            | Self::Update
            | Self::UpdateProbe
            | Self::Pair
            | Self::Repeat
            | Self::Metric
            | Self::Alternating => None,
            Self::RegionVectors | Self::RegionProbe => Some(Extra::Regions),
            Self::Modes => Some(Extra::Arguments),
        }
    }

    /// The number of each entry of each bind group, and how it is used.
    pub(crate) fn groups(self, choices: Choices) -> Vec<Vec<(u32, Access)>> {
        let vectors = self.entries(choices).into_iter();
        let mut groups = vec![vectors.map(|entry| (entry.binding, entry.access)).collect()];
        groups.push(numbered(STEP_GROUP));
        groups.extend(self.extra().map(|extra| numbered(extra.group())));
        groups
    }

    /// The entries of group 0 for what the configuration has.
    pub(crate) fn entries(self, choices: Choices) -> Vec<Entry> {
        use Access::{Read, Uniform, Write};
        use Resource::{Blocks, Modes, Scalars, Shard};
        let entry = |binding, resource, access| Entry { binding, resource, access };
        let vector = |vector, access| {
            let binding = match vector {
                Vector::Gradient => 3,
                Vector::ProbeGradient => 4,
                Vector::Orientation => 5,
                Vector::Params => 6,
                Vector::FirstMoment => 7,
                Vector::SecondMoment => 8,
                Vector::Probe => 9,
                Vector::Workspace => 10,
                Vector::PreviousParams => 12,
            };
            entry(binding, Resource::Vector(vector), access)
        };
        let mut entries = vec![entry(0, Shard, Uniform), entry(1, Scalars, Write)];
        let blocks = entry(2, Blocks, Read);
        let moments = [Vector::FirstMoment, Vector::SecondMoment];
        let moments = moments.into_iter().take(choices.moments as usize);
        match self {
            Self::Scalars => {}
            Self::Vectors | Self::RegionVectors => {
                entries.extend([blocks, vector(Vector::Gradient, Read)]);
                if choices.dimer {
                    entries.push(vector(Vector::ProbeGradient, Read));
                    entries.push(vector(Vector::Orientation, Write));
                }
                entries.push(vector(Vector::Params, Write));
                entries.extend(moments.map(|moment| vector(moment, Write)));
            }
            Self::Update | Self::UpdateProbe => {
                entries.extend([blocks, vector(Vector::Gradient, Read)]);
                entries.push(vector(Vector::Params, Read));
                if self == Self::UpdateProbe {
                    entries.push(vector(Vector::Probe, Write));
                }
                // Only read, but declared as in a step.
                entries.extend(moments.map(|moment| vector(moment, Write)));
            }
            Self::Pair => entries.extend([
                blocks,
                vector(Vector::Gradient, Read),
                vector(Vector::ProbeGradient, Read),
                vector(Vector::Params, Read),
                vector(Vector::Probe, Read),
            ]),
            Self::Repeat => entries.extend([
                blocks,
                vector(Vector::Gradient, Read),
                vector(Vector::Params, Read),
                vector(Vector::PreviousParams, Read),
            ]),
            Self::Metric => entries.extend([
                blocks,
                vector(Vector::Gradient, Write),
                vector(Vector::ProbeGradient, Write),
                vector(Vector::Params, Read),
                vector(Vector::Probe, Write),
                vector(Vector::SecondMoment, Write),
            ]),
            Self::Alternating => {
                entries.extend([
                    blocks,
                    vector(Vector::Gradient, Read),
                    vector(Vector::Orientation, Write),
                    vector(Vector::Params, Write),
                ]);
                entries.extend(moments.map(|moment| vector(moment, Write)));
                entries.push(vector(Vector::Workspace, Write));
            }
            Self::Probe | Self::RegionProbe => entries.extend([
                blocks,
                vector(Vector::Orientation, Read),
                vector(Vector::Params, Read),
                vector(Vector::Probe, Write),
            ]),
            Self::Basis => entries.extend([
                blocks,
                // One of the two gradients is written, and they may share a buffer.
                vector(Vector::Gradient, Write),
                vector(Vector::ProbeGradient, Write),
                vector(Vector::Orientation, Write),
                vector(Vector::Params, Read),
                vector(Vector::Probe, Write),
                vector(Vector::Workspace, Write),
            ]),
            Self::Modes => entries.extend([
                blocks,
                vector(Vector::Gradient, Read),
                vector(Vector::ProbeGradient, Read),
                vector(Vector::Params, Read),
                vector(Vector::Probe, Write),
                vector(Vector::Workspace, Write),
                entry(11, Modes, Write),
            ]),
        }
        entries
    }
}
