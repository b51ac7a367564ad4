//! [`ShardedOptimizer`]: one optimizer whose state is cut among ranks.

use std::path::Path;

use super::Optimizer;
use super::checkpoint::in_file;
use super::file;
use super::snapshot::Snapshot;
use super::telemetry::Telemetry;
use crate::config::Config;
use crate::error::{Error, Result};
use crate::gpu::{Gpu, GpuSlice, Wait, block_on};
use crate::kernels::bindings::Vector;
use crate::layout::Layout;
use crate::objective::Objective;
use crate::parallel::agreement::{agree, all_succeed};
use crate::parallel::{Collective, DataParallel};
use crate::plan::Plan;
use crate::plan::slices::Slice;
use crate::state::Buffers;

/// One optimizer whose state is cut among the ranks of a group: each keeps N, the moments and the vectors of a rotation for
/// its slice of the parameters only, and updates that slice. The steps have the bits of one [`Optimizer`] that is given the
/// same gradients, whatever the number of ranks.
///
/// Parameters, probe and gradients are whole on every rank, since objectives read and write them: 16 bytes per parameter, or
/// 8 without a probe. The rest is divided by the number of ranks: with AdamW and the default dimer 36 bytes per parameter in
/// [`Storage::F32`](crate::Storage::F32). This is the second stage of ZeRO (Rajbhandari et al., arXiv 1910.02054), and what
/// is new is that nothing is rounded anew: slices are whole tiles, and the ranks exchange the sums over tiles, 48 bytes each,
/// instead of adding scalars.
///
/// All ranks call the same methods in the same order, with objectives that give the same gradients on all:
/// [`ShardedOptimizer::data_parallel`] makes those of objectives that each see a share of the batch. A step exchanges the
/// sums, the probe and the parameters through the host, and waits for each; so each rank needs a thread of its own. That pays
/// where the state does not fit, or where updating it takes longer than the exchange.
///
/// A rank whose device is of another kind rounds differently: [`ShardedOptimizer::new`] refuses it.
///
/// After an error of an objective on all ranks the step can be taken again, as with [`Optimizer`]. After
/// [`Error::Collective`] the ranks have parted, and a step may be half taken: go on from the last checkpoint.
///
/// ```
/// use dimer::{Collective, Config, Gpu, HostObjective, Layout, ShardedOptimizer, Threads};
///
/// let gpu = Gpu::new()?;
/// let train = |group: Threads| {
///     let mut objective = HostObjective::new(|params: &[f32], gradient: &mut [f32]| {
///         gradient.copy_from_slice(params);
///         params.iter().map(|x| 0.5 * x * x).sum()
///     });
///     let layout = Layout::flat(5000)?;
///     let mut optimizer = ShardedOptimizer::new(&gpu, layout, Config::default(), &[1.0; 5000], group)?;
///     for _ in 0..10 {
///         optimizer.step(&mut objective)?;
///     }
///     optimizer.read_params()
/// };
/// let group = Threads::group(2)?;
/// let ranks: Vec<Vec<f32>> = std::thread::scope(|scope| {
///     let train = &train;
///     let ranks: Vec<_> = group.into_iter().map(|rank| scope.spawn(move || train(rank))).collect();
///     ranks.into_iter().map(|rank| rank.join().expect("no panic")).collect::<dimer::Result<_>>()
/// })?;
/// assert!(ranks[0][0] < 1.0);
/// assert_eq!(ranks[0], ranks[1]);
/// # Ok::<(), dimer::Error>(())
/// ```
#[derive(Debug)]
pub struct ShardedOptimizer<C> {
    optimizer: Optimizer,
    group: C,
}

impl<C: Collective> ShardedOptimizer<C> {
    /// Allocates an optimizer whose parameters start at `params`, the same on all ranks, in the order of `layout` and without
    /// padding. All ranks call this.
    ///
    /// # Errors
    /// Those of [`Optimizer::new`], on the other ranks [`Error::Collective`] with the words of the first that has failed;
    /// [`Error::Unsupported`] for a dimer of another [`Scope`](crate::Scope) than `Global`; those of
    /// [`ShardedOptimizer::check_ranks`].
    pub fn new(
        gpu: &Gpu,
        layout: Layout,
        config: Config,
        params: &[f32],
        mut group: C,
    ) -> Result<Self> {
        let made = config.validate().and_then(|()| {
            let layout = layout.tiled(gpu.tuning());
            let slice = Slice::of(&layout, group.rank(), group.size());
            let optimizer = Optimizer::over(gpu, layout, slice, config, Buffers::default())?;
            optimizer.write_params(params)?;
            Ok(optimizer)
        });
        let optimizer = all_succeed(&mut group, made)?;
        let mut sharded = Self { optimizer, group };
        sharded.check_ranks()?;
        Ok(sharded)
    }

    /// Takes one step. All ranks call this, with gradients that are the same on all.
    ///
    /// # Errors
    /// Those of [`Optimizer::step`], and [`Error::Collective`].
    pub fn step(&mut self, objective: &mut (impl Objective + ?Sized)) -> Result<()> {
        block_on(self.optimizer.step_with(objective, &mut self.group, Wait::Block))
    }

    /// Turns the dimer once at the current parameters, as [`Optimizer::rotate`] does. All ranks call this.
    ///
    /// # Errors
    /// Those of [`Optimizer::rotate`], and [`Error::Collective`].
    pub fn rotate(&mut self, objective: &mut (impl Objective + ?Sized)) -> Result<()> {
        block_on(self.optimizer.rotate_with(objective, &mut self.group, Wait::Block))
    }

    /// The mean of `objective` over the ranks of `group`, each on its share of the batch. The ranks are those of this
    /// optimizer in another group, such as a second one of [`Threads`](crate::Threads), since the objective is called in the
    /// middle of a step.
    ///
    /// # Errors
    /// [`Error::Collective`] where the two groups do not have the same ranks in the same order.
    pub fn data_parallel<O: Objective, D: Collective>(
        &mut self,
        objective: O,
        group: D,
    ) -> Result<DataParallel<O, D>> {
        let [own, other] = [(self.group.rank(), self.group.size()), (group.rank(), group.size())];
        let same = match own == other {
            true => Ok(()),
            false => Err(Error::collective(format!(
                "rank {} of {} in the optimizer's group is rank {} of {} in the objective's; make both groups of the same \
                 ranks in the same order",
                own.0, own.1, other.0, other.1
            ))),
        };
        all_succeed(&mut self.group, same)?;
        Ok(DataParallel::new(objective, group))
    }

    /// Compares all that must be the same on all ranks, as [`Optimizer::check_ranks`] does. All ranks call this.
    ///
    /// # Errors
    /// As there.
    pub fn check_ranks(&mut self) -> Result<()> {
        let snapshot = self.snapshot()?;
        agree(&mut self.group, self.optimizer.facts_of(snapshot))
    }

    /// Saves a checkpoint of the whole state, as [`Optimizer::save`] does: any number of ranks can load it, and a single
    /// [`Optimizer`]. Rank 0 writes it, atomically, so that a rank that is lost meanwhile leaves the old file; the others wait.
    /// Each rank reads its slice and gathers those of the others, so all need memory of the host for the whole. All ranks call
    /// this after the same step.
    ///
    /// # Errors
    /// On rank 0 those of [`Optimizer::save`], on the others [`Error::Collective`] with its words.
    pub fn save(&mut self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let snapshot = self.snapshot()?;
        let write = || {
            let bytes = snapshot.into_checkpoint(&self.optimizer.layout)?.into_bytes()?;
            file::replace(path, &bytes)
                .map_err(|error| Error::checkpoint_from("it cannot be written", error))
        };
        let own = if self.group.rank() == 0 { in_file(path, write) } else { Ok(()) };
        all_succeed(&mut self.group, own)
    }

    /// Goes on from a checkpoint of [`ShardedOptimizer::save`] on any number of ranks, or of [`Optimizer::save`]: from the
    /// same file, or each rank from a copy of it. All ranks call this.
    ///
    /// # Errors
    /// Those of [`Optimizer::load_ranks`].
    pub fn load(&mut self, path: impl AsRef<Path>) -> Result<()> {
        self.optimizer.load_ranks(&mut self.group, path)
    }

    /// The whole state, on every rank.
    fn snapshot(&mut self) -> Result<Snapshot> {
        let own = block_on(self.optimizer.snapshot(Wait::Block));
        let mut snapshot = all_succeed(&mut self.group, own)?;
        snapshot.gather(&self.optimizer.plan.slice, &mut self.group)?;
        Ok(snapshot)
    }

    /// The parameters, in the order of the layout and without padding; of this rank alone, since all have them.
    ///
    /// # Errors
    /// Those of [`Optimizer::read_params`].
    pub fn read_params(&self) -> Result<Vec<f32>> {
        self.optimizer.read_params()
    }

    /// Replaces the parameters, as [`Optimizer::write_params`] does. All ranks call this with the same.
    ///
    /// # Errors
    /// As there.
    pub fn write_params(&self, params: &[f32]) -> Result<()> {
        self.optimizer.write_params(params)
    }

    /// Points the dimer along `orientation`, as [`Optimizer::write_orientation`] does. All ranks call this with the same.
    ///
    /// # Errors
    /// As there.
    pub fn write_orientation(&self, orientation: &[f32]) -> Result<()> {
        self.optimizer.write_orientation(orientation)
    }

    /// N, in the order of the layout and without padding; `None` without a dimer. All ranks call this.
    ///
    /// # Errors
    /// Those of [`Optimizer::read_orientation`], and [`Error::Collective`].
    pub fn read_orientation(&mut self) -> Result<Option<Vec<f32>>> {
        let Some(slice) = self.optimizer.state.vector(Vector::Orientation) else { return Ok(None) };
        let storage = self.optimizer.plan.storage;
        let own = block_on(self.optimizer.gpu.read(slice, Wait::Block));
        let own = all_succeed(&mut self.group, own)?;
        let padded = self.optimizer.plan.slice.gather(&storage.unpack(&own), &mut self.group)?;
        Ok(Some(self.optimizer.layout.unpad(&padded)))
    }

    /// What all steps so far have found, as [`Optimizer::telemetry`] gives it; the same on every rank.
    ///
    /// # Errors
    /// As there.
    pub fn telemetry(&mut self) -> Result<Vec<Telemetry>> {
        self.optimizer.telemetry()
    }

    /// What has arrived of it, as [`Optimizer::poll_telemetry`] gives it; how much that is may differ among ranks.
    ///
    /// # Errors
    /// As there.
    pub fn poll_telemetry(&mut self) -> Result<Vec<Telemetry>> {
        self.optimizer.poll_telemetry()
    }

    /// Sets the learning rate of the next steps, the same on all ranks.
    ///
    /// # Errors
    /// Those of [`Optimizer::set_learning_rate`].
    pub fn set_learning_rate(&mut self, learning_rate: f64) -> Result<()> {
        self.optimizer.set_learning_rate(learning_rate)
    }

    /// Sets the factor on the learning rate of the next steps, the same on all ranks.
    ///
    /// # Errors
    /// Those of [`Optimizer::set_rate_factor`].
    pub fn set_rate_factor(&mut self, factor: f64) -> Result<()> {
        self.optimizer.set_rate_factor(factor)
    }

    /// Sets by what the gradients are multiplied, the same on all ranks.
    ///
    /// # Errors
    /// Those of [`Optimizer::set_loss_scale`].
    pub fn set_loss_scale(&mut self, scale: f64) -> Result<()> {
        self.optimizer.set_loss_scale(scale)
    }

    /// Whether the next step has to use the minibatch of the last step again; see [`Optimizer::repeats_minibatch`].
    pub fn repeats_minibatch(&self) -> bool {
        self.optimizer.repeats_minibatch()
    }

    /// Steps and rotations so far, skipped ones included.
    pub fn steps(&self) -> u64 {
        self.optimizer.steps()
    }

    /// Gradients so far, in those of a whole minibatch; see [`Optimizer::gradient_evaluations`].
    pub fn gradient_evaluations(&self) -> f64 {
        self.optimizer.gradient_evaluations()
    }

    /// θ on the GPU, padded and whole; read only while a step runs.
    pub fn params(&self) -> &GpuSlice {
        self.optimizer.params()
    }

    /// How the parameters are packed.
    pub fn layout(&self) -> &Layout {
        self.optimizer.layout()
    }

    /// The settings that it was made with.
    pub fn config(&self) -> &Config {
        self.optimizer.config()
    }

    /// What each kind of step does, with its gatherings. Bytes per parameter are those of this rank's slice.
    pub fn plan(&self) -> &Plan {
        self.optimizer.plan()
    }

    /// The group.
    pub fn group(&self) -> &C {
        &self.group
    }

    /// The group, for what ranks do together besides.
    pub fn group_mut(&mut self) -> &mut C {
        &mut self.group
    }

    /// Gives the group back, for another optimizer.
    pub fn into_group(self) -> C {
        self.group
    }
}
