//! [`StateKeeper`]: the optimizer that a learner of Burn is made with, which keeps what is saved with the others.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use burn::module::{Param, ParamGroup};
use burn::optim::momentum::MomentumConfig;
use burn::optim::{
    DynOptimizer, DynState, GradientsParams, LearningRate, ModuleOptimizer, SgdConfig, StateSink,
    StateSource,
};
use burn::tensor::kind::BridgeTensor;
use burn::tensor::{Device, Tensor, TensorData};

use crate::error::{Result, device};

/// The name of its one tensor in a record.
const LEAF: &str = "dimer";

/// What a checkpoint of Burn's trainer holds of the optimizer.
#[derive(Clone, Debug)]
pub(crate) struct Saved {
    /// The learning rate of the scheduler that stands for a factor of 1.
    pub full_rate: Option<f64>,
    /// A checkpoint of [`dimer::Optimizer`].
    pub bytes: Vec<u8>,
}

/// Takes no steps. In its record is what the strategy has put here, and what is loaded the strategy finds here.
#[derive(Clone, Debug, Default)]
pub(crate) struct StateKeeper {
    slot: Arc<Mutex<Slot>>,
}

#[derive(Debug, Default)]
struct Slot {
    to_save: Option<Saved>,
    loaded: Option<Saved>,
    /// How often a record was loaded.
    loads: usize,
    /// Whether a training with it is under way.
    is_in_use: bool,
}

impl StateKeeper {
    fn slot(&self) -> MutexGuard<'_, Slot> {
        self.slot.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes it for one training; none while another has it.
    pub(crate) fn begin(&self) -> Option<InUse> {
        let mut slot = self.slot();
        (!std::mem::replace(&mut slot.is_in_use, true)).then(|| InUse(self.clone()))
    }

    /// What records hold from now on.
    pub(crate) fn put(&self, saved: Option<Saved>) {
        self.slot().to_save = saved;
    }

    /// What a record held that was loaded since the last call.
    pub(crate) fn take(&self) -> Option<Saved> {
        self.slot().loaded.take()
    }

    /// Whether `load`, by which a learner loads a record of [`Self::optimizer`], loads it here.
    pub(crate) fn is_loaded_by(&self, load: impl FnOnce()) -> bool {
        let before = self.slot().loads;
        load();
        self.slot().loads > before
    }

    /// As an optimizer of Burn, with the state of one parameter of its own: a record has only states.
    pub(crate) fn optimizer(&self, device: &Device) -> ModuleOptimizer {
        // Burn wants one of its own kind first, and the last group counts. Only a step makes a state, which momentum has.
        let base: ModuleOptimizer =
            SgdConfig::new().with_momentum(Some(MomentumConfig::new())).init();
        let param: Param<Tensor<1>> = Param::from_data([0.0_f32], device);
        let mut gradients = GradientsParams::new();
        gradients.register(param.id, Tensor::<1>::zeros([1], &device.clone().inner()));
        let mut stepped = base.clone();
        let _ = stepped.step(0.0, param, gradients);
        base.with_group(ParamGroup::all(), self.clone(), None).load_record(stepped.to_record())
    }
}

/// A training with a [`StateKeeper`], until it is dropped.
pub(crate) struct InUse(StateKeeper);

impl Drop for InUse {
    fn drop(&mut self) {
        let mut slot = self.0.slot();
        (slot.is_in_use, slot.to_save) = (false, None);
    }
}

impl Saved {
    fn to_bytes(&self) -> Vec<u8> {
        // No rate is one that is no number.
        let mut bytes = self.full_rate.unwrap_or(f64::NAN).to_le_bytes().to_vec();
        bytes.extend_from_slice(&self.bytes);
        bytes
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (rate, bytes) = bytes.split_first_chunk()?;
        let rate = f64::from_le_bytes(*rate);
        Some(Self { full_rate: (!rate.is_nan()).then_some(rate), bytes: bytes.to_vec() })
    }
}

impl DynOptimizer for StateKeeper {
    fn step_dyn(
        &self,
        _rank: usize,
        _lr: LearningRate,
        _tensor: BridgeTensor,
        _grad: BridgeTensor,
        _state: Option<DynState>,
    ) -> (BridgeTensor, Option<DynState>) {
        // Burn has no error here, and to go on would be to train nothing.
        panic!(
            "the optimizer of a `DimerStrategy` takes no steps by itself: give the strategy to \
             `with_training_strategy(TrainingStrategy::Custom(..))`"
        )
    }

    fn to_device_dyn(&self, state: DynState, _device: &Device) -> DynState {
        state
    }

    fn state_flatten(&self, prefix: &str, _state: &DynState, out: &mut StateSink) {
        if let Some(saved) = &self.slot().to_save {
            let bytes = saved.to_bytes();
            let len = bytes.len();
            out.push_tensor(prefix, LEAF, TensorData::new(bytes, [len]));
        }
    }

    fn state_unflatten(
        &self,
        rank: usize,
        prefix: &str,
        src: &mut StateSource,
        _device: &Device,
    ) -> Option<DynState> {
        let bytes = src.take_tensor(prefix, LEAF).and_then(|data| data.try_into_vec::<u8>().ok());
        let mut slot = self.slot();
        slot.loads += 1;
        if let Some(saved) = bytes.as_deref().and_then(Saved::from_bytes) {
            slot.loaded = Some(saved);
        }
        Some(DynState::create((), rank))
    }
}

/// A record of a module that nothing changes any more: those of a module on a shared device show what the optimizer does.
pub(crate) fn own_record<M: burn::module::Module>(module: &M) -> Result<burn::store::ModuleRecord> {
    let bytes = module.clone().into_record().into_bytes().map_err(device)?;
    burn::store::ModuleRecord::from_bytes(bytes).map_err(device)
}
