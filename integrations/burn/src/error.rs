//! [`Error`] and [`Result`]: what went wrong, with which value, and what to do about it.

/// The result of every fallible call in this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// Everything that can go wrong, one variant per kind.
///
/// Parameters, moments, orientation and counters are as they were before the failing call.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The optimizer itself refused; see [`dimer::Error`].
    #[error(transparent)]
    Dimer(dimer::Error),
    /// Burn's device could not be opened, or failed to do its work.
    #[error("Burn's device failed: {0}")]
    Device(String),
    /// A parameter cannot be trained by this optimizer.
    #[error("the parameter \"{name}\" {reason}")]
    Parameter {
        /// Its path in the module, such as `layers.0.weight`.
        name: String,
        /// What is wrong with it, and what would be right.
        reason: String,
    },
    /// A module has no parameters to train.
    #[error(
        "the module has no parameter that requires a gradient; build it on `DimerDevice::burn`, \
         which has autodiff, and do not freeze all of it"
    )]
    NothingToTrain,
    /// A module is not the one that the optimizer was made for.
    #[error("the module has changed: {0}; make a new optimizer for it")]
    ModuleChanged(String),
    /// A group names no parameter.
    #[error("group {index} matches no parameter; the parameters are {names}")]
    EmptyGroup {
        /// Its index among the groups given.
        index: usize,
        /// Every name that it could have matched.
        names: String,
    },
    /// A model is spread over several devices.
    #[error(
        "the model is on {0} devices, and `DimerStrategy` trains on one: `fork` it there. For several, give the trainer \
         `ExecutionStrategy::MultiDevice` and an optimizer of Burn, or use `Optimizer::data_parallel` of the crate dimer with \
         gradients of your own"
    )]
    SeveralDevices(usize),
    /// Burn's trainer is set up in a way in which it cannot train with this optimizer.
    #[error("the trainer {0}")]
    Trainer(String),
    /// The loss cannot be differentiated.
    #[error("the loss {0}")]
    Loss(String),
}

impl From<dimer::Error> for Error {
    fn from(error: dimer::Error) -> Self {
        match error {
            // An error of this crate that has passed through the optimizer.
            dimer::Error::Objective(source) => match source.downcast::<Self>() {
                Ok(error) => *error,
                Err(source) => Self::Dimer(dimer::Error::Objective(source)),
            },
            error => Self::Dimer(error),
        }
    }
}

/// Wraps what Burn says about its device.
pub(crate) fn device(error: impl std::fmt::Display) -> Error {
    Error::Device(error.to_string())
}
