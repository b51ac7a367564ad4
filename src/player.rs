//! [`Player`]: plays the program of a step into a command encoder.

use crate::error::{Error, Result};
use crate::gpu::{Gpu, GpuSlice, PendingRead, Timer, Wait};
use crate::kernels::bindings::Vector;
use crate::kernels::gpu_types::{STEP_SLOTS, STEP_STRIDE};
use crate::layout::Layout;
use crate::objective::{Evaluation, HessianProduct, Objective, Point};
use crate::parallel::Collective;
use crate::parallel::agreement::{error_of_all, failure};
use crate::plan::Plan;
use crate::plan::program::{
    Asks, Cursor, Dispatch, Evaluate, Gathered, Grid, Place, Program, Stage,
};
use crate::state::{BindGroups, State};

/// The pipelines of one program, section by section; `None` for stages that are not dispatches.
#[derive(Debug)]
pub(crate) struct Compiled(Vec<Vec<Option<wgpu::ComputePipeline>>>);

impl Compiled {
    /// Compiles what no program of this device has used before.
    pub(crate) fn new(gpu: &Gpu, plan: &Plan, program: &Program) -> Result<Self> {
        let choices = plan.choices(gpu.tuning());
        let stage = |stage: &Stage| match stage {
            Stage::Dispatch(Dispatch { kernel, switches, .. }) => {
                gpu.pipeline(*kernel, choices, switches).map(Some)
            }
            _ => Ok(None),
        };
        let sections = program.sections.iter();
        let sections =
            sections.map(|section| section.stages.iter().map(stage).collect::<Result<_>>());
        Ok(Self(sections.collect::<Result<_>>()?))
    }
}

/// Everything that a program is played with, except the program itself.
#[derive(Clone, Copy)]
pub(crate) struct Context<'a> {
    pub gpu: &'a Gpu,
    pub layout: &'a Layout,
    pub plan: &'a Plan,
    pub state: &'a State,
    pub groups: &'a BindGroups,
    /// `Some` while the user wants to know how long kernels take.
    pub timer: Option<&'a Timer>,
    /// The step whose hyperparameters are used.
    pub index: u64,
    /// Of what is played and its hyperparameters, where ranks compare them.
    pub checksum: u32,
    /// Of a basis that is built, how many arguments there are for each number of parts in use; 0 in a step.
    pub arguments_of_parts: u32,
}

/// Bytes before what a rank brings to a gathering: where it is, and whether it has failed.
const HEADER: usize = 32;

/// Why a program paused.
#[derive(Debug)]
pub(crate) enum Pause {
    /// An evaluation is wanted.
    Evaluate(Evaluate),
    /// Whether the event needs no rotation after the latest one, the GPU will tell; see [`Player::answer`]. All work before
    /// is submitted.
    Question(PendingRead),
    /// What this rank brings to a gathering; see [`Player::gather`]. All work before is submitted.
    Gather(Gathered, PendingRead),
    End,
}

/// A program under way.
pub(crate) struct Player<'a> {
    context: Context<'a>,
    program: &'a Program,
    compiled: &'a Compiled,
    pub cursor: Cursor,
    /// Evaluations handed out so far.
    pub evaluations: u32,
    /// Gatherings so far.
    gatherings: u64,
    /// Whether all ranks know that one has failed.
    told: bool,
    /// Whether the loss of the record is that of this step.
    has_taken_loss: bool,
    /// Whether the objective is being checked.
    pub is_checked: bool,
}

impl<'a> Player<'a> {
    pub(crate) fn new(context: Context<'a>, program: &'a Program, compiled: &'a Compiled) -> Self {
        let cursor = Cursor::default();
        Self {
            context,
            program,
            compiled,
            cursor,
            evaluations: 0,
            gatherings: 0,
            told: false,
            has_taken_loss: false,
            is_checked: false,
        }
    }

    /// Plays the whole program, with the evaluations of `objective`, and gathers over `group`.
    pub(crate) async fn play(
        &mut self,
        encoder: &mut wgpu::CommandEncoder,
        objective: &mut (impl Objective + ?Sized),
        group: &mut (impl Collective + ?Sized),
        wait: Wait,
    ) -> Result<()> {
        let played = self.play_stages(encoder, objective, group, wait).await;
        if let Err(error) = &played {
            self.tell(error, group)?;
        }
        played
    }

    async fn play_stages(
        &mut self,
        encoder: &mut wgpu::CommandEncoder,
        objective: &mut (impl Objective + ?Sized),
        group: &mut (impl Collective + ?Sized),
        wait: Wait,
    ) -> Result<()> {
        let takes_loss = self.takes_loss(objective);
        loop {
            match self.advance(encoder, takes_loss)? {
                Pause::Evaluate(evaluate) => self.call(evaluate, encoder, objective)?,
                Pause::Question(read) => {
                    self.answer(&self.context.gpu.finish_read(&read, wait).await?);
                }
                Pause::Gather(what, read) => {
                    let own = self.context.gpu.finish_read(&read, wait).await?;
                    self.gather(what, &own, group)?;
                }
                Pause::End => return Ok(()),
            }
        }
    }

    /// Whether `objective` writes the loss of the step in this program.
    fn takes_loss(&self, objective: &(impl Objective + ?Sized)) -> bool {
        objective.supplies_loss() && self.program.loss_point().is_some()
    }

    /// Plays up to the last evaluation of `objective`, and says whether one was at the centre.
    pub(crate) async fn play_evaluations(
        &mut self,
        encoder: &mut wgpu::CommandEncoder,
        objective: &mut (impl Objective + ?Sized),
        wait: Wait,
    ) -> Result<bool> {
        let mut has_centre = false;
        let takes_loss = self.takes_loss(objective);
        while self.evaluations < self.program.evaluations(None) {
            match self.advance(encoder, takes_loss)? {
                Pause::Evaluate(evaluate) => {
                    has_centre |= evaluate.point == Point::Centre;
                    self.call(evaluate, encoder, objective)?;
                }
                Pause::Question(read) => {
                    if self.answer(&self.context.gpu.finish_read(&read, wait).await?) {
                        break;
                    }
                }
                Pause::Gather(what, _) => return Err(Error::internal(what, "an unsliced program")),
                Pause::End => break,
            }
        }
        Ok(has_centre)
    }

    /// Plays up to the next pause and moves past it, or up to a question.
    pub(crate) fn advance(
        &mut self,
        encoder: &mut wgpu::CommandEncoder,
        takes_loss: bool,
    ) -> Result<Pause> {
        while let Some(stage) = self.program.stage(self.cursor) {
            match *stage {
                Stage::Evaluate(evaluate) => {
                    self.program.advance(&mut self.cursor);
                    self.evaluations += 1;
                    return Ok(Pause::Evaluate(evaluate));
                }
                // All dispatches that follow each other go into one pass.
                Stage::Dispatch(_) => {
                    self.dispatch(encoder)?;
                    continue;
                }
                Stage::Copy { from, to } => self.copy(encoder, from, to)?,
                Stage::TakeLoss => {
                    let State { loss, scalars, unwritten, .. } = self.context.state;
                    self.has_taken_loss = true;
                    let taken = if takes_loss { loss } else { unwritten };
                    encoder.copy_buffer_to_buffer(taken, 0, scalars, 0, loss.size());
                    // The next step must not take it for its own.
                    encoder.copy_buffer_to_buffer(unwritten, 0, loss, 0, loss.size());
                }
                Stage::Stop => {
                    let Context { gpu, state, .. } = self.context;
                    let read = gpu.start_read_after("a rotation", encoder, &[state.stopped()])?;
                    return Ok(Pause::Question(read));
                }
                Stage::Gather(what) => {
                    let Context { gpu, plan, .. } = self.context;
                    let own = self.parts(what, plan.slice.rank())?;
                    let read = gpu.start_read_after("a slice", encoder, &own)?;
                    self.program.advance(&mut self.cursor);
                    return Ok(Pause::Gather(what, read));
                }
            }
            self.program.advance(&mut self.cursor);
        }
        Ok(Pause::End)
    }

    /// Where `rank` has what it brings.
    fn parts(&self, what: Gathered, rank: u32) -> Result<Vec<GpuSlice>> {
        let Context { layout, plan, state, .. } = self.context;
        match what {
            Gathered::Partials { first, end } => {
                let tiles = plan.slice.tiles_of(rank);
                let sets = (first..end).map(|set| state.partials(layout, set, tiles.clone()));
                Ok(sets.chain([state.loss_of_record()]).collect())
            }
            Gathered::Vector(vector) => {
                let GpuSlice { buffer, offset, .. } = self.vector(vector)?.clone();
                let range = plan.slice.range_of(rank);
                let (offset, size) = (offset + 4 * range.start as u64, 4 * range.len() as u64);
                let mut parts = vec![GpuSlice { buffer, offset, size }];
                if vector == Vector::Params {
                    parts.push(state.overflowed());
                }
                Ok(parts)
            }
        }
    }

    /// Brings `own` to `group`, and puts what the other ranks bring in its place.
    fn gather(
        &mut self,
        what: Gathered,
        own: &[u8],
        group: &mut (impl Collective + ?Sized),
    ) -> Result<()> {
        let Context { gpu, plan, state, .. } = self.context;
        let all = self.exchange(what, own, None, group)?;
        let rank = plan.slice.rank();
        for (other, mut bytes) in (0..).zip(all.iter().map(|bytes| &bytes[HEADER..])) {
            if other == rank {
                continue;
            }
            let mut mine = own;
            for (part, of_mine) in self.parts(what, other)?.iter().zip(self.parts(what, rank)?) {
                let (brought, rest) = bytes.split_at(part.size as usize);
                let (kept, kept_rest) = mine.split_at(of_mine.size as usize);
                (bytes, mine) = (rest, kept_rest);
                if *part == state.loss_of_record() {
                    // Before, it is that of an earlier step, or of a try that failed.
                    if self.has_taken_loss && brought != kept {
                        return Err(Error::collective(format!(
                            "the loss of rank {other} is not that of rank {rank}; state that is cut among ranks needs the \
                             same gradients and losses on all, which `ShardedOptimizer::data_parallel` makes of shares"
                        )));
                    }
                } else if *part == state.overflowed() {
                    // A rank may say that a parameter has left f32, but not that none has.
                    if brought.iter().any(|byte| *byte != 0) {
                        gpu.queue().write_buffer(&part.buffer, part.offset, brought);
                    }
                } else {
                    gpu.queue().write_buffer(&part.buffer, part.offset, brought);
                }
            }
        }
        Ok(())
    }

    /// Tells the other ranks, which wait at the next gathering, that this one has failed.
    pub(crate) fn tell(
        &mut self,
        error: &Error,
        group: &mut (impl Collective + ?Sized),
    ) -> Result<()> {
        // They know already, or there is nobody.
        if matches!(error, Error::Collective { .. })
            || self.told
            || self.context.plan.slice.is_whole()
        {
            return Ok(());
        }
        let mut cursor = self.cursor;
        while let Some(stage) = self.program.stage(cursor) {
            if let Stage::Gather(what) = *stage {
                return match self.exchange(what, &[], Some(error), group) {
                    Ok(_) => Ok(()),
                    Err(_) if self.told => Ok(()),
                    Err(error) => Err(error),
                };
            }
            self.program.advance(&mut cursor);
        }
        Ok(())
    }

    /// What every rank brings, if all are at the same place and none has failed.
    fn exchange(
        &mut self,
        what: Gathered,
        own: &[u8],
        error: Option<&Error>,
        group: &mut (impl Collective + ?Sized),
    ) -> Result<Vec<Vec<u8>>> {
        let Context { plan, index, checksum, .. } = self.context;
        // All bring as many bytes as the first, whose slice is the longest.
        let longest: u64 = self.parts(what, 0)?.iter().map(|part| part.size).sum();
        let place = [index, self.gatherings, checksum.into()];
        self.gatherings += 1;
        let mut bytes = bytemuck::cast_slice(&place).to_vec();
        bytes.extend_from_slice(&u64::from(failure(error)).to_le_bytes());
        bytes.extend_from_slice(own);
        bytes.resize(HEADER + longest as usize, 0);
        let all = group.gather(&bytes)?;
        let header = |bytes: &Vec<u8>| bytemuck::pod_read_unaligned::<[u64; 4]>(&bytes[..HEADER]);
        for (rank, other) in all.iter().map(header).enumerate() {
            if other[..3] == place {
                continue;
            }
            let same_step = other[..2] == place[..2];
            let reason = if same_step {
                format!(
                    "rank {rank} takes another kind of step than rank {}, or at another learning rate, factor or loss \
                     scale",
                    plan.slice.rank()
                )
            } else {
                format!(
                    "rank {rank} is at gathering {} of step {}, but rank {} at gathering {} of step {}",
                    other[1],
                    other[0],
                    plan.slice.rank(),
                    place[1],
                    place[0]
                )
            };
            return Err(Error::collective(format!("{reason}; all ranks must take the same steps")));
        }
        let failures: Vec<u8> = all.iter().map(|bytes| header(bytes)[3] as u8).collect();
        self.told = failures.iter().any(|failure| *failure != 0);
        error_of_all(group, &failures, error)?.map_or(Ok(all), Err)
    }

    /// Goes on after a question, and says whether the event needs no further rotation.
    pub(crate) fn answer(&mut self, bytes: &[u8]) -> bool {
        let has_stopped = bytemuck::pod_read_unaligned::<u32>(bytes) != 0;
        if has_stopped {
            self.cursor = self.program.after_stop;
        } else {
            self.program.advance(&mut self.cursor);
        }
        has_stopped
    }

    /// Asks `objective` for an evaluation.
    pub(crate) fn call(
        &self,
        evaluate: Evaluate,
        encoder: &mut wgpu::CommandEncoder,
        objective: &mut (impl Objective + ?Sized),
    ) -> Result<()> {
        let Context { gpu, layout, state, .. } = self.context;
        let (at, into) = self.vectors(evaluate)?;
        match evaluate.asks {
            Asks::Gradient => objective.gradient(Evaluation {
                gpu,
                layout,
                encoder,
                point: evaluate.point,
                params: at,
                gradient: into,
                loss: if evaluate.gives_loss { &state.loss } else { &state.loss_of_probe },
                wants_loss: evaluate.gives_loss,
                is_checked: self.is_checked,
            }),
            Asks::HessianProduct => objective.hessian_product(HessianProduct {
                gpu,
                layout,
                encoder,
                params: &state.params,
                direction: at,
                product: into,
            }),
        }
    }

    /// Where an evaluation reads and where it writes.
    pub(crate) fn vectors(&self, evaluate: Evaluate) -> Result<(&'a GpuSlice, &'a GpuSlice)> {
        let at = match evaluate.point {
            Point::Centre => Vector::Params,
            Point::Probe => Vector::Probe,
        };
        Ok((self.vector(at)?, self.vector(evaluate.into)?))
    }

    fn vector(&self, vector: Vector) -> Result<&'a GpuSlice> {
        let slice = self.context.state.vector(vector);
        slice.ok_or_else(|| Error::internal(vector, "the state"))
    }

    /// Records the dispatch at the cursor, and those that follow it.
    fn dispatch(&mut self, encoder: &mut wgpu::CommandEncoder) -> Result<()> {
        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
        let slot = (self.context.index % u64::from(STEP_SLOTS)) as u32 * STEP_STRIDE as u32;
        while let Some(Stage::Dispatch(dispatch)) = self.program.stage(self.cursor) {
            let kernel = dispatch.kernel;
            let Cursor { section, stage, .. } = self.cursor;
            let pipeline =
                self.compiled.0.get(section).and_then(|stages| stages.get(stage)?.as_ref());
            pass.set_pipeline(
                pipeline.ok_or_else(|| Error::internal(kernel, "the compiled program"))?,
            );
            pass.set_bind_group(1, self.context.groups.step(), &[slot]);
            self.set_extra(&mut pass, dispatch)?;
            match self.context.timer {
                Some(timer) => {
                    timer.time(&mut pass, kernel.name(), |pass| self.over_shards(pass, dispatch))
                }
                None => self.over_shards(&mut pass, dispatch),
            }?;
            self.program.advance(&mut self.cursor);
        }
        Ok(())
    }

    fn set_extra(&self, pass: &mut wgpu::ComputePass<'_>, dispatch: &Dispatch) -> Result<()> {
        let Some(extra) = dispatch.kernel.bindings().extra() else { return Ok(()) };
        let offset = dispatch.selection.map(|selection| {
            let index = (selection.parts - 1) * self.context.arguments_of_parts + selection.column;
            index * STEP_STRIDE as u32
        });
        let group = self.context.groups.extra(extra);
        let group = group.ok_or_else(|| Error::internal(extra, "the bind groups"))?;
        pass.set_bind_group(2, group, offset.as_slice());
        Ok(())
    }

    fn over_shards(&self, pass: &mut wgpu::ComputePass<'_>, dispatch: &Dispatch) -> Result<()> {
        let Context { groups, plan, gpu, .. } = self.context;
        let size = gpu.tuning().workgroup_size;
        let once = |count: u32| (0..1, [count, 1, 1]);
        let of_regions = |count: &dyn Fn(&crate::plan::Regions) -> u32| {
            let regions = plan.regions.as_ref();
            Ok(once(count(regions.ok_or_else(|| Error::internal(dispatch.grid, "the plan"))?)))
        };
        let (shards, mut workgroups) = match dispatch.grid {
            Grid::Tiles | Grid::Pieces => (0..groups.len(), [0, 1, 1]),
            Grid::TilesTimes { rows, columns } => (0..groups.len(), [0, rows, columns]),
            Grid::Once => once(1),
            Grid::Entries(count) => once(count),
            Grid::Regions => of_regions(&|regions| regions.threads(size))?,
            Grid::RegionsOfSeveralPieces => of_regions(&|regions| regions.streams(size))?,
            Grid::RegionsOfOnePiece => {
                of_regions(&|regions| if regions.has_single() { regions.threads(size) } else { 0 })?
            }
        };
        for shard in shards {
            match dispatch.grid {
                Grid::Tiles | Grid::TilesTimes { .. } => workgroups[0] = groups.tiles(shard),
                Grid::Pieces => workgroups[0] = groups.piece_workgroups(shard),
                _ => {}
            }
            let [x, y, z] = workgroups;
            // No region is of the kind, or none of its pieces is in the shard.
            if x == 0 {
                continue;
            }
            let bindings = dispatch.kernel.bindings();
            let vectors = groups.vectors(bindings, shard);
            let vectors = vectors.ok_or_else(|| Error::internal(bindings, "a shard"))?;
            pass.set_bind_group(0, vectors, &[]);
            pass.dispatch_workgroups(x, y, z);
        }
        Ok(())
    }

    fn copy(&self, encoder: &mut wgpu::CommandEncoder, from: Vector, to: Place) -> Result<()> {
        let Context { plan, state, .. } = self.context;
        let source = self.vector(from)?;
        match to {
            Place::Vector(to) => {
                let target = self.vector(to)?;
                let first = 4 * (plan.kept(to).start - plan.kept(from).start) as u64;
                encoder.copy_buffer_to_buffer(
                    &source.buffer,
                    source.offset + first,
                    &target.buffer,
                    target.offset,
                    4 * plan.kept(to).len() as u64,
                );
            }
            Place::Workspace(vector) => {
                // A vector of f32 is copied only if the workspace is of f32 as well.
                let width = plan.storage.bytes();
                for (index, shard) in plan.shards.iter().enumerate() {
                    let workspace = state.workspace.get(index);
                    let workspace = workspace.ok_or_else(|| Error::internal(to, "the state"))?;
                    let bytes = width * shard.len() as u64;
                    encoder.copy_buffer_to_buffer(
                        &source.buffer,
                        source.offset + width * (shard.start - plan.kept(from).start) as u64,
                        &workspace.buffer,
                        workspace.offset + u64::from(vector) * bytes,
                        bytes,
                    );
                }
            }
        }
        Ok(())
    }
}
