//! A second dimer on the parameters of an optimizer, turned on the same minibatch: to follow both ends of the
//! spectrum.

use super::{Optimizer, ROTATION, Recorded};
use crate::config::Dimer;
use crate::error::{Error, Result};
use crate::gpu::Wait;
#[cfg(not(target_family = "wasm"))]
use crate::gpu::block_on;
use crate::objective::{Evaluation, HessianProduct, Objective, Point};
use crate::parallel::Alone;
use crate::state::Buffers;

impl Optimizer {
    /// A second dimer on the parameters of this optimizer, which takes no steps: to follow the other end of the
    /// spectrum with [`Optimizer::rotate_both`]. Its translation does not count; see [`Dimer::watching`].
    ///
    /// It shares the parameters and the probe, and without central differences, and unless this optimizer has
    /// [`Rotation::Alternating`](crate::Rotation::Alternating), the gradient at θ. Its N, its gradient at
    /// the probe and its workspace are its own: 8 bytes per parameter with
    /// [`Rotation::Gradient`](crate::Rotation::Gradient), 32 with
    /// [`Rotation::LocallyOptimal`](crate::Rotation::LocallyOptimal). Turn it by `rotate_both` alone: of its own it
    /// would not be told which minibatch is due.
    ///
    /// ```
    /// use dimer::{Config, Dimer, Gpu, HostObjective, Layout, Mode, Optimizer};
    ///
    /// // ½ Σ hᵢ θᵢ² with h = −3, −2, …, 6.
    /// let mut objective = HostObjective::new(|theta: &[f32], gradient: &mut [f32]| {
    ///     for (i, (g, x)) in gradient.iter_mut().zip(theta).enumerate() {
    ///         *g = (i as f32 - 3.0) * x;
    ///     }
    ///     0.0
    /// });
    /// let config = Config { dimer: Some(Dimer::default()), ..Config::default() };
    /// let mut softest = Optimizer::new(&Gpu::new()?, Layout::flat(10)?, config, &[0.1; 10])?;
    /// let mut stiffest = softest.second_dimer(Dimer { seeks: Mode::Stiffest, ..Dimer::default() })?;
    /// for _ in 0..10 {
    ///     softest.rotate_both(&mut stiffest, &mut objective)?;
    /// }
    /// let [low, high] = [softest.telemetry()?[9], stiffest.telemetry()?[9]];
    /// assert!(low.resolved && (low.curvature + 3.0).abs() < 0.01);
    /// assert!(high.resolved && (high.curvature - 6.0).abs() < 0.01);
    /// # Ok::<(), dimer::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Unsupported`] without a probe ([`Config::has_probe`](crate::Config::has_probe)), and for
    /// [`Metric::Preconditioner`](crate::Metric::Preconditioner), since the moments stay with this optimizer; otherwise
    /// the same as for [`Optimizer::with_buffers`].
    pub fn second_dimer(&self, dimer: Dimer) -> Result<Self> {
        let Some(probe) = &self.state.probe else {
            return Err(Error::no_dimer("a second dimer"));
        };
        let shares_gradient = self.plan.events_have_centre() && dimer.needs_centre();
        let config = self.config.of_second_dimer(dimer)?;
        let buffers = Buffers {
            params: Some(self.state.params.clone()),
            probe: Some(probe.clone()),
            gradient: shares_gradient.then(|| self.state.gradient.clone()),
            probe_gradient: None,
        };
        let mut second = Self::with_buffers(&self.gpu, self.layout.clone(), config, buffers)?;
        second.set_loss_scale(self.hyperparameters.loss_scale.into())?;
        Ok(second)
    }

    /// Turns this optimizer's dimer and `second`, made by [`Optimizer::second_dimer`], at the current parameters and
    /// on one minibatch, and moves nothing else. With forward differences both use one gradient at θ: two locally
    /// optimal rotations cost 7 gradients, where apart they would cost 8. The loss scale is that of this optimizer, and
    /// a part of the minibatch ([`Objective::parts`]) is one for the gradients of both.
    ///
    /// # Errors
    /// [`Error::Foreign`] if `second` belongs to another optimizer; otherwise the same as for
    /// [`Optimizer::rotate`]. Neither dimer has turned then.
    #[cfg(not(target_family = "wasm"))]
    pub fn rotate_both(
        &mut self,
        second: &mut Self,
        objective: &mut (impl Objective + ?Sized),
    ) -> Result<()> {
        block_on(self.rotate_both_with(second, objective, Wait::Block))
    }

    /// The asynchronous twin of [`Optimizer::rotate_both`].
    ///
    /// # Errors
    /// The same as for [`Optimizer::rotate_both`].
    pub async fn rotate_both_async(
        &mut self,
        second: &mut Self,
        objective: &mut (impl Objective + ?Sized),
    ) -> Result<()> {
        self.rotate_both_with(second, objective, Wait::Yield).await
    }

    async fn rotate_both_with(
        &mut self,
        second: &mut Self,
        objective: &mut (impl Objective + ?Sized),
        wait: Wait,
    ) -> Result<()> {
        let share_gradient = self.plan.events_have_centre() && second.plan.events_have_centre();
        let is_ours = self.state.params == second.state.params
            && (!share_gradient || self.state.gradient == second.state.gradient);
        if !is_ours {
            let what = "the second dimer".into();
            return Err(Error::Foreign { what, owner: "optimizer" });
        }
        let mut encoder = self.gpu.encoder("two rotations");
        second.set_loss_scale(self.hyperparameters.loss_scale.into())?;
        second.compile(ROTATION)?;
        second.prepare(wait).await?;
        let gradients = [&*self, &*second].map(|it| it.plan.gradients_of_a_part(ROTATION));
        let gradients = gradients[0].zip(gradients[1]);
        let gradients = gradients.map(|(one, other)| one + other - u32::from(share_gradient));
        let part = self.begin(objective, ROTATION, gradients, Some(&*second), wait).await?;
        let mut first = self.player(ROTATION)?;
        let mut other = second.player(ROTATION)?;
        // What objectives submit in between must not turn one dimer before the other has its gradients.
        let play = async {
            let has_centre = first.play_evaluations(&mut encoder, objective, wait).await?;
            let loss = has_centre.then_some(&self.state.loss);
            let mut same = SameMinibatch { objective, loss, skipped: 0 };
            other.play(&mut encoder, &mut same, &mut Alone, wait).await?;
            let skipped = same.skipped;
            first.play(&mut encoder, &mut same, &mut Alone, wait).await?;
            Ok([first.evaluations, other.evaluations - skipped])
        };
        self.set_loss_is_stale();
        second.set_loss_is_stale();
        let evaluations: [u32; 2] = play.await?;
        for optimizer in [&mut *self, &mut *second] {
            optimizer.finish(&mut encoder);
        }
        self.gpu.submit("two rotations", encoder)?;
        self.advance_submitted(Recorded { form: ROTATION, evaluations: evaluations[0], part });
        second.advance_submitted(Recorded { form: ROTATION, evaluations: evaluations[1], part });
        Ok(())
    }
}

/// An objective whose minibatch is fixed, and whose gradient and loss at θ are there already, unless `loss` is none.
struct SameMinibatch<'a, O: ?Sized> {
    objective: &'a mut O,
    loss: Option<&'a wgpu::Buffer>,
    /// Evaluations that were not made.
    skipped: u32,
}

impl<O: Objective + ?Sized> Objective for SameMinibatch<'_, O> {
    fn gradient(&mut self, at: Evaluation<'_>) -> Result<()> {
        match self.loss {
            Some(loss) if at.point == Point::Centre => {
                at.encoder.copy_buffer_to_buffer(loss, 0, at.loss, 0, loss.size());
                self.skipped += 1;
                Ok(())
            }
            _ => self.objective.gradient(at),
        }
    }

    fn hessian_product(&mut self, at: HessianProduct<'_>) -> Result<()> {
        self.objective.hessian_product(at)
    }

    fn supplies_loss(&self) -> bool {
        self.objective.supplies_loss()
    }

    fn is_deterministic(&self) -> bool {
        self.objective.is_deterministic()
    }
}
