//! [`Scope`]: how many dimers there are.

/// Which parameters share one dimer.
///
/// With more than one, each has an N, a C and a correction of its own, and an event still costs no more
/// gradients: all are displaced at once, to θ + Σ sᵦ Nᵦ ΔR/√B for B dimers, with fresh random signs sᵦ = ±1.
/// In the product that comes back, sᵦ (Hd)ᵦ is Hᵦᵦ Nᵦ plus parts of the other blocks with random signs: an
/// unbiased estimate, but not an exact one. With the same sign for all, those parts would add up each time.
/// So C and ‖F‖ of one event are noisy, and the noise grows with the number of dimers; the smoothed C and a
/// small rotation rate average over events. What each dimer found is in [`Optimizer::read_regions`]; the
/// telemetry has the softest one.
///
/// Take the global one to leave saddles. Take one for each group or tensor to see in which part of a model
/// the loss curves down, and to correct each part by its own dimer.
///
/// Needs [`Rotation::Gradient`], and a device with 10 storage buffers per stage; not with
/// [`Displacement::Automatic`](crate::Displacement::Automatic), [`Translation::Climb`](crate::Translation::Climb) or
/// [`Metric::Preconditioner`](crate::Metric::Preconditioner).
///
/// [`Optimizer::read_regions`]: crate::Optimizer::read_regions
/// [`Rotation::Gradient`]: crate::Rotation::Gradient
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[non_exhaustive]
pub enum Scope {
    /// One dimer over all parameters: the method as published, and exact.
    #[default]
    Global,
    /// One for each [`Group`](crate::Group) of the layout.
    PerGroup,
    /// One for each tensor.
    PerTensor,
}
