//! One run: gradients until the loss is below the target, or step by step.

use dimer::{Config, Dimer, Error, Evaluation, Gpu, Layout, Objective, Optimizer, Point, Rotation};

use crate::problems::Problem;

/// What a run is made of.
#[derive(Clone)]
pub struct Run<'a> {
    pub problem: &'a Problem,
    /// Base optimizer, dimer and learning rate; the seed is set by the run.
    pub config: Config,
    pub seed: u64,
    /// Gradients after which the run has failed.
    pub budget: u64,
}

impl Run<'_> {
    /// Gradients until the target, probes included; `None` if the budget was too small or the loss or
    /// its gradients became infinite.
    pub fn gradients(&self, gpu: &Gpu) -> Result<Option<u64>, Error> {
        let mut descent = self.start(gpu)?;
        while descent.watched.evaluations < self.budget {
            let Reached { gradients, loss } = descent.step()?;
            if !loss.is_finite() {
                return Ok(None);
            }
            if loss <= self.problem.target {
                return Ok(Some(gradients).filter(|&gradients| gradients <= self.budget));
            }
        }
        Ok(None)
    }

    /// Its optimizer, at the start.
    pub fn start(&self, gpu: &Gpu) -> Result<Descent<'_>, Error> {
        let dimer = self.config.dimer.clone().map(|dimer| Dimer { seed: self.seed, ..dimer });
        let config = Config { dimer, ..self.config.clone() };
        let start: Vec<f32> = self.problem.start(self.seed).iter().map(|x| *x as f32).collect();
        let alternates = |dimer: &Dimer| matches!(dimer.rotation, Rotation::Alternating(_));
        let alternates = config.dimer.as_ref().is_some_and(alternates);
        let layout = Layout::flat(self.problem.len)?;
        let optimizer = Optimizer::new(gpu, layout, config, &start)?;
        let watched = Watched { problem: self.problem, evaluations: 0, loss: f64::INFINITY };
        Ok(Descent { optimizer, watched, alternates })
    }
}

/// A run on its way.
pub struct Descent<'a> {
    optimizer: Optimizer,
    watched: Watched<'a>,
    /// Whether no gradient is taken at the centre.
    alternates: bool,
}

/// Parameters that a run came to.
pub struct Reached {
    /// Gradients taken, with that of the next step, which judges them.
    pub gradients: u64,
    /// Not finite where the run has diverged.
    pub loss: f64,
}

impl Descent<'_> {
    /// Takes a step, and says where it started from.
    pub fn step(&mut self) -> Result<Reached, Error> {
        let gradients = self.watched.evaluations + 1;
        if self.alternates {
            // The loss is only to judge the run.
            let params = self.optimizer.read_params()?;
            self.watched.loss = loss_at(self.watched.problem, &params, &mut vec![]);
        }
        match self.optimizer.step(&mut self.watched) {
            // Gradients overflow before the loss does.
            Err(Error::TooManySkips { .. }) => self.watched.loss = f64::NAN,
            other => other?,
        }
        Ok(Reached { gradients, loss: self.watched.loss })
    }
}

/// The loss at `params`, and its gradient.
fn loss_at(problem: &Problem, params: &[f32], gradient: &mut Vec<f64>) -> f64 {
    let params: Vec<f64> = params.iter().copied().map(f64::from).collect();
    gradient.resize(params.len(), 0.0);
    problem.evaluate(&params, gradient)
}

/// A problem as an objective that counts its gradients and remembers the loss at the centre.
struct Watched<'a> {
    problem: &'a Problem,
    evaluations: u64,
    loss: f64,
}

impl Objective for Watched<'_> {
    fn gradient(&mut self, mut at: Evaluation<'_>) -> dimer::Result<()> {
        let mut gradient = Vec::new();
        let loss = loss_at(self.problem, &at.read_params()?, &mut gradient);
        self.evaluations += 1;
        if at.point == Point::Centre {
            self.loss = loss;
        }
        if at.wants_loss() {
            at.write_loss(loss as f32);
        }
        let gradient: Vec<f32> = gradient.iter().map(|g| *g as f32).collect();
        at.write_gradient(&gradient)
    }

    fn supplies_loss(&self) -> bool {
        true
    }

    fn is_deterministic(&self) -> bool {
        true
    }
}
