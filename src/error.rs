//! [`Error`] and [`Result`]: what went wrong, with which value, and what to do about it.

use std::fmt::Display;
use std::path::Path;

/// The result of every fallible call in this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// Everything that can go wrong, one variant per kind.
///
/// An error never leaves the optimizer half updated: parameters, orientation,
/// moments and counters are as they were before the failing call.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No usable adapter was found.
    #[error(
        "no usable GPU adapter ({found}); {}",
        if cfg!(target_family = "wasm") {
            "use a browser with WebGPU, in a page that is served by https or from localhost"
        } else {
            "install a Vulkan driver (Debian/Ubuntu: `apt-get install mesa-vulkan-drivers` gives a software one), or \
             check WGPU_BACKEND and WGPU_ADAPTER_NAME"
        }
    )]
    #[non_exhaustive]
    NoAdapter {
        /// The adapters that were seen, each with the reason why it was not taken.
        found: String,
    },
    /// The device has a limit below what the kernels need.
    #[error(
        "the device limit `{limit}` is {found}, but the kernels need {needed}; request the device \
         with the adapter's own limits (`adapter.limits()`) or take another adapter"
    )]
    #[non_exhaustive]
    LimitTooSmall {
        /// Name of the field of [`wgpu::Limits`].
        limit: &'static str,
        /// Smallest value that works.
        needed: u64,
        /// The value of this device.
        found: u64,
    },
    /// The adapter refused to give a device.
    #[error("adapter {adapter} gave no device: {source}")]
    #[non_exhaustive]
    NoDevice {
        /// Name of the adapter.
        adapter: String,
        /// wgpu's refusal.
        source: wgpu::RequestDeviceError,
    },
    /// A setting is out of its range.
    #[error("`{field}` is {value}, but must be {expected}")]
    #[non_exhaustive]
    InvalidConfig {
        /// Path of the field in the settings, or the name of the argument or environment variable.
        field: &'static str,
        /// The value that was given.
        value: String,
        /// The range that is valid.
        expected: &'static str,
    },
    /// An argument of a call is out of its range.
    #[error("the argument `{argument}` is {value}, but must be {expected}")]
    #[non_exhaustive]
    InvalidArgument {
        /// Name of the argument.
        argument: &'static str,
        /// The value that was given.
        value: String,
        /// The range that is valid.
        expected: &'static str,
    },
    /// Two things that are each valid do not go together, or not on this device.
    #[error("{what} is not supported together with {with}; {instead}")]
    #[non_exhaustive]
    Unsupported {
        /// What was asked for.
        what: &'static str,
        /// What it does not go with.
        with: &'static str,
        /// What to do instead.
        instead: &'static str,
    },
    /// Something belongs to another optimizer, layout or device than the one it was given to.
    #[error("{what} belongs to another {owner}; use one that belongs to this {owner}")]
    #[non_exhaustive]
    Foreign {
        /// What was given.
        what: String,
        /// What it should have come from.
        owner: &'static str,
    },
    /// The layout cannot be built.
    #[error("invalid layout: {reason}")]
    #[non_exhaustive]
    InvalidLayout {
        /// What is wrong, with the tensor's name.
        reason: String,
    },
    /// A vector has the wrong number of elements.
    #[error("{what} has {found} elements, but the layout has {expected}")]
    #[non_exhaustive]
    LengthMismatch {
        /// The vector.
        what: &'static str,
        /// Number of elements that the layout has.
        expected: usize,
        /// Number of elements that were given.
        found: usize,
    },
    /// A value that must be finite is not.
    #[error("{what}[{index}] is {value}; it must be finite")]
    #[non_exhaustive]
    NonFinite {
        /// The vector.
        what: &'static str,
        /// Index of the first such element.
        index: usize,
        /// That element.
        value: f32,
    },
    /// A buffer slice given by the user cannot be used.
    #[error("the {what} buffer cannot be used: {reason}")]
    #[non_exhaustive]
    InvalidBuffer {
        /// Which of the optimizer's buffers.
        what: &'static str,
        /// Why, and what would be right.
        reason: String,
    },
    /// The device could not allocate a buffer.
    #[error(
        "out of device memory while allocating {bytes} bytes for {what}; use a smaller layout or \
         free other buffers"
    )]
    #[non_exhaustive]
    OutOfMemory {
        /// The buffer.
        what: String,
        /// Its size in bytes.
        bytes: u64,
    },
    /// The device is gone. To go on, make a new [`Gpu`](crate::Gpu) and optimizer and load a checkpoint.
    ///
    /// Calls that read or wait report it at once. Steps that only submit report it within 32 steps if the
    /// device is the user's own or was destroyed on purpose; the work of those steps is lost with it. In a browser only calls
    /// that read find the loss of a device of the user's own.
    #[error("the device was lost ({reason}); create a new Gpu and optimizer")]
    #[non_exhaustive]
    DeviceLost {
        /// What the driver said.
        reason: String,
    },
    /// wgpu refused recorded work, usually that of an objective.
    #[error("wgpu refused the work recorded for {what}: {source}")]
    #[non_exhaustive]
    Rejected {
        /// The call in which it happened.
        what: &'static str,
        /// wgpu's error.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A checkpoint could not be written or used.
    #[error("checkpoint{}: {reason}", file(path.as_deref()))]
    #[non_exhaustive]
    Checkpoint {
        /// The file; `None` if it was saved to or loaded from memory.
        path: Option<std::path::PathBuf>,
        /// What is wrong with it, naming the tensor or setting.
        reason: String,
        /// The error behind it, such as one of the file system, if there is one.
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
    /// The file with tunings could not be written or used.
    #[error("the file of tunings {}: {reason}; delete it or name another", path.display())]
    #[non_exhaustive]
    TuningCache {
        /// The file.
        path: std::path::PathBuf,
        /// What is wrong with it.
        reason: String,
        /// The error behind it, such as one of the file system, if there is one.
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
    /// Too many steps in a row were skipped.
    #[error(
        "the last {skipped} steps were skipped, since their gradients were not finite or too \
         large to be squared, or a step had taken a parameter beyond f32; lower the learning rate or the loss \
         scale, or load an earlier checkpoint"
    )]
    #[non_exhaustive]
    TooManySkips {
        /// Steps skipped in a row.
        skipped: u32,
    },
    /// The objective itself failed.
    #[error("the objective failed: {0}")]
    Objective(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Ranks that work together do not make the same calls, or one of them is gone. Start them again from a checkpoint; see
    /// [`Collective`](crate::Collective).
    #[error("the ranks cannot go on together: {reason}")]
    #[non_exhaustive]
    Collective {
        /// What is wrong, naming the rank.
        reason: String,
        /// The error behind it, such as one of MPI, if there is one.
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
    /// The gradients that an objective gives are not those of one function at the points asked for; see
    /// [`Optimizer::check_objective`](crate::Optimizer::check_objective).
    #[error("the objective breaks its contract: {reason}")]
    #[non_exhaustive]
    InconsistentObjective {
        /// What was found, and what to do.
        reason: String,
    },
    /// A manual step was finished before all its gradients were there.
    #[error(
        "the step lacks {}; write the gradient at θ, call `next_probe` and write its gradient until it returns None, \
         then `finish`",
        missing(*placed, *probes, *lacks_centre)
    )]
    #[non_exhaustive]
    UnfinishedStep {
        /// Probes that `next_probe` returned.
        placed: u32,
        /// Probes of the step.
        probes: u32,
        /// Whether the gradient at θ was not written.
        lacks_centre: bool,
    },
    /// This crate has a fault: it found missing what it should have made.
    #[error("a fault in dimer: {what}; please report it, with the configuration and the layout")]
    #[non_exhaustive]
    Internal {
        /// What is missing.
        what: String,
    },
    /// A step was recorded 256 steps ago and has not been submitted.
    #[error(
        "{pending} recorded steps have not been submitted, and the next step would take the place of the \
         first of them; submit or drop its encoder first"
    )]
    #[non_exhaustive]
    TooManyPendingSteps {
        /// Number of steps that are recorded and not submitted.
        pending: u32,
    },
}

fn missing(placed: u32, probes: u32, lacks_centre: bool) -> String {
    let centre = lacks_centre.then(|| "the gradient at θ".to_owned());
    let left =
        (placed < probes).then(|| format!("those of {} of its {probes} probes", probes - placed));
    centre.into_iter().chain(left).collect::<Vec<_>>().join(" and ")
}

fn file(path: Option<&Path>) -> String {
    path.map(|path| format!(" {}", path.display())).unwrap_or_default()
}

impl Error {
    /// The error for a checkpoint that cannot be written or used.
    pub(crate) fn checkpoint(reason: impl ToString) -> Self {
        Self::Checkpoint { path: None, reason: reason.to_string(), source: None }
    }

    /// The same because of another error.
    pub(crate) fn checkpoint_from(
        what: impl Display,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        let source = source.into();
        let reason = format!("{what}: {source}");
        Self::Checkpoint { path: None, reason, source: Some(source) }
    }

    /// The same error of a checkpoint in the file at `path`.
    #[cfg(not(target_family = "wasm"))]
    pub(crate) fn in_file(mut self, file: &Path) -> Self {
        if let Self::Checkpoint { path, .. } = &mut self {
            *path = Some(file.to_owned());
        }
        self
    }

    /// The error for work that wgpu refuses.
    pub(crate) fn rejected(what: &'static str, source: wgpu::Error) -> Self {
        // In a browser it belongs to one thread, and only its words can go with the error.
        #[cfg(target_family = "wasm")]
        let source = source.to_string();
        Self::Rejected { what, source: source.into() }
    }

    /// The error for what must be there and is not.
    pub(crate) fn internal(what: impl std::fmt::Debug, of: &str) -> Self {
        Self::Internal { what: format!("{of} has no {what:?}") }
    }

    /// The error of what only a dimer can do.
    pub(crate) fn no_dimer(what: &'static str) -> Self {
        Self::Unsupported { what, with: "a configuration without a dimer", instead: "set `dimer`" }
    }

    /// [`Error::Unsupported`]; crates that build on this one return it too.
    pub const fn unsupported(
        what: &'static str,
        with: &'static str,
        instead: &'static str,
    ) -> Self {
        Self::Unsupported { what, with, instead }
    }

    /// The error for ranks that cannot go on together; see [`Collective`](crate::Collective).
    pub fn collective(reason: impl ToString) -> Self {
        Self::Collective { reason: reason.to_string(), source: None }
    }

    /// [`Error::collective`] because of another error.
    pub fn collective_from(
        what: impl Display,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        let source = source.into();
        Self::Collective { reason: format!("{what}: {source}"), source: Some(source) }
    }

    /// Wraps the failure of an objective, so that `step` passes it through.
    pub fn objective(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Objective(source.into())
    }
}
