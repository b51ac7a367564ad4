//! [`ShardedOptimizer`]: one optimizer whose state is cut among ranks.

use std::path::Path;

use super::Optimizer;
use super::checkpoint::{in_file, write};
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
/// [`Storage::F32`](crate::Storage::F32). A slice is at least a tile, which has 4096 elements or more. This is the first stage
/// of ZeRO (Rajbhandari et al., arXiv 1910.02054), and what is new is that nothing is rounded anew: slices are whole tiles, and
/// the ranks exchange the sums over tiles, 48 bytes each, instead of adding scalars.
///
/// All ranks call the same methods in the same order, with objectives that give the same gradients and losses on all. Where
/// each sees a share of the batch, [`ShardedOptimizer::data_parallel`] makes their mean, whose rounding depends on the number
/// of ranks. A step exchanges the sums, the probe and the parameters through the host, and waits for each; so each rank needs
/// a thread of its own. That pays where the state does not fit, or where updating it takes longer than the exchange.
///
/// Ranks on devices of different kinds are refused, since these round differently. Losses, kinds of steps, learning rates,
/// factors and loss scales are compared in each step; gradients are not.
///
/// # Errors of a step
/// Where the objective of a rank fails, all ranks get an error, that rank its own and the others [`Error::Objective`] with its
/// words, and may take the step again; so they may after [`Error::TooManySkips`], which all get at the same step. Any other
/// error may leave a step half taken, and from then on all that needs the state returns [`Error::Collective`]: go on by
/// [`ShardedOptimizer::load`], or with new groups and optimizers where a rank is gone. A rank that fails while it looks for
/// plateaus or submits the end of its step can tell the others only by leaving: drop the optimizer.
///
/// ```
/// use dimer::{Collective, Config, Gpu, HostObjective, Layout, ShardedOptimizer, Threads};
///
/// let gpu = Gpu::new()?;
/// // Two groups of the same ranks: one for the state, and one for the gradients. Of MPI's ranks, `split` makes a second.
/// let train = |(group, other): (Threads, Threads)| {
///     // Each rank has a target of its own; together they look for the mean.
///     let target = group.rank() as f32;
///     let share = HostObjective::new(move |params: &[f32], gradient: &mut [f32]| {
///         gradient.iter_mut().zip(params).for_each(|(g, x)| *g = x - target);
///         gradient.iter().map(|g| 0.5 * g * g).sum()
///     });
///     let layout = Layout::flat(5000)?;
///     let mut optimizer = ShardedOptimizer::new(&gpu, layout, Config::default(), &[5.0; 5000], group)?;
///     let mut objective = optimizer.data_parallel(share, other)?;
///     for _ in 0..10 {
///         optimizer.step(&mut objective)?;
///     }
///     optimizer.read_params()
/// };
/// let groups = Threads::group(2)?.into_iter().zip(Threads::group(2)?);
/// let ranks: Vec<Vec<f32>> = std::thread::scope(|scope| {
///     let train = &train;
///     let ranks: Vec<_> = groups.map(|groups| scope.spawn(move || train(groups))).collect();
///     ranks.into_iter().map(|rank| rank.join().expect("no panic")).collect::<dimer::Result<_>>()
/// })?;
/// assert!(ranks[0][0] < 5.0);
/// assert_eq!(ranks[0], ranks[1]);
/// # Ok::<(), dimer::Error>(())
/// ```
#[derive(Debug)]
pub struct ShardedOptimizer<C> {
    optimizer: Optimizer,
    group: C,
    /// Why the state is of no use until another is loaded.
    broken: Option<String>,
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
        let mut sharded = Self { optimizer, group, broken: None };
        sharded.check_ranks()?;
        Ok(sharded)
    }

    /// Takes one step. All ranks call this, with gradients that are the same on all.
    ///
    /// # Errors
    /// Those of [`Optimizer::step`], and [`Error::Collective`]; see [above](Self#errors-of-a-step).
    pub fn step(&mut self, objective: &mut (impl Objective + ?Sized)) -> Result<()> {
        self.check_whole()?;
        let outcome = block_on(self.optimizer.step_with(objective, &mut self.group, Wait::Block));
        self.note(outcome)
    }

    /// Turns the dimer once at the current parameters, as [`Optimizer::rotate`] does. All ranks call this.
    ///
    /// # Errors
    /// Those of [`Optimizer::rotate`], and [`Error::Collective`]; see [above](Self#errors-of-a-step).
    pub fn rotate(&mut self, objective: &mut (impl Objective + ?Sized)) -> Result<()> {
        self.check_whole()?;
        if self.optimizer.plan.dimer.is_none() {
            return Err(Error::no_dimer("a rotation"));
        }
        let outcome = block_on(self.optimizer.rotate_with(objective, &mut self.group, Wait::Block));
        self.note(outcome)
    }

    /// Passes `outcome` on; if it leaves a step half taken, nothing goes on from there.
    fn note<T>(&mut self, outcome: Result<T>) -> Result<T> {
        match &outcome {
            // These come before anything has begun, or are of an objective that is asked again.
            Ok(_)
            | Err(Error::Objective(_) | Error::TooManySkips { .. } | Error::Unsupported { .. }) => {
            }
            Err(error) => self.broken = Some(error.to_string()),
        }
        outcome
    }

    fn check_whole(&self) -> Result<()> {
        match &self.broken {
            None => Ok(()),
            Some(reason) => Err(Error::collective(format!(
                "a step before was half taken ({reason}); load a checkpoint"
            ))),
        }
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

    /// Compares what all ranks have, as [`Optimizer::check_ranks`] does: all but N, moments and workspace, of which each has
    /// its own slice. All ranks call this.
    ///
    /// # Errors
    /// As there.
    pub fn check_ranks(&mut self) -> Result<()> {
        self.check_whole()?;
        let facts = block_on(self.optimizer.snapshot(Wait::Block)).and_then(|mut snapshot| {
            snapshot.forget_slices();
            self.optimizer.facts_of(snapshot)
        });
        agree(&mut self.group, facts)
    }

    /// Saves a checkpoint of the whole state, as [`Optimizer::save`] does: any number of ranks can load it, and a single
    /// [`Optimizer`]. Rank 0 writes it, atomically, so that a rank that is lost meanwhile leaves the old file; the others wait.
    /// The slices are gathered vector by vector: rank 0 needs memory of the host for all of them, the others for one. All ranks
    /// call this after the same step.
    ///
    /// # Errors
    /// On rank 0 those of [`Optimizer::save`], on the others [`Error::Collective`] with its words; on all
    /// [`Error::Collective`] if they are at different steps, or a step was half taken, and nothing is written.
    pub fn save(&mut self, path: impl AsRef<Path>) -> Result<()> {
        self.check_whole()?;
        let path = path.as_ref();
        let steps = ("the number of steps".into(), self.steps().to_string());
        agree(&mut self.group, Ok(vec![steps]))?;
        let own = block_on(self.optimizer.snapshot(Wait::Block));
        let mut snapshot = all_succeed(&mut self.group, own)?;
        let keeps = self.group.rank() == 0;
        snapshot.gather(&self.optimizer.plan.slice, &mut self.group, keeps)?;
        let write =
            || write(path, &snapshot.into_checkpoint(&self.optimizer.layout)?.into_bytes()?);
        let own = if keeps { in_file(path, write) } else { Ok(()) };
        all_succeed(&mut self.group, own)
    }

    /// Goes on from a checkpoint of [`ShardedOptimizer::save`] on any number of ranks, or of [`Optimizer::save`]: from the
    /// same file, or each rank from a copy of it. All ranks call this.
    ///
    /// # Errors
    /// Those of [`Optimizer::load_ranks`].
    pub fn load(&mut self, path: impl AsRef<Path>) -> Result<()> {
        self.optimizer.load_ranks(&mut self.group, path)?;
        self.broken = None;
        Ok(())
    }

    /// Goes on from a checkpoint that was saved with other settings, as [`Optimizer::load_with_changes`] does. All ranks call
    /// this, with the same file or copies of it.
    ///
    /// # Errors
    /// The rank's own of [`Optimizer::load_with_changes`], and [`Error::Collective`] with its words on the others, some of which
    /// may have loaded then: load again.
    pub fn load_with_changes(&mut self, path: impl AsRef<Path>) -> Result<Vec<String>> {
        let own = self.optimizer.load_with_changes(path);
        let loaded = all_succeed(&mut self.group, own);
        let changes = self.note(loaded)?;
        self.broken = None;
        self.check_ranks()?;
        Ok(changes)
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
    /// As there, and [`Error::Collective`] where ranks bring different ones; then nothing is written.
    pub fn write_params(&mut self, params: &[f32]) -> Result<()> {
        self.agree_on("the parameters to write", params)?;
        self.optimizer.write_params(params)
    }

    /// Points the dimer along `orientation`, as [`Optimizer::write_orientation`] does. All ranks call this with the same.
    ///
    /// # Errors
    /// As there, and [`Error::Collective`] where ranks bring different ones; then nothing is written.
    pub fn write_orientation(&mut self, orientation: &[f32]) -> Result<()> {
        self.agree_on("the orientation to write", orientation)?;
        self.optimizer.write_orientation(orientation)
    }

    fn agree_on(&mut self, what: &str, values: &[f32]) -> Result<()> {
        let checksum = crc32fast::hash(bytemuck::cast_slice(values));
        agree(&mut self.group, Ok(vec![(what.into(), format!("of checksum {checksum:08x}"))]))
    }

    /// C = N·HN as the last event measured it, as [`Optimizer::read_curvature`] gives it; the same on every rank.
    ///
    /// # Errors
    /// As there.
    pub fn read_curvature(&self) -> Result<f32> {
        self.optimizer.read_curvature()
    }

    /// N, in the order of the layout and without padding; `None` without a dimer. All ranks call this.
    ///
    /// # Errors
    /// Those of [`Optimizer::read_orientation`], and [`Error::Collective`].
    pub fn read_orientation(&mut self) -> Result<Option<Vec<f32>>> {
        self.check_whole()?;
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

    /// The device of this rank.
    pub fn gpu(&self) -> &Gpu {
        self.optimizer.gpu()
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
