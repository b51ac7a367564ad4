//! One run: gradients until the loss is below the target.

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
        let dimer = self.config.dimer.clone().map(|dimer| Dimer { seed: self.seed, ..dimer });
        let config = Config { dimer, ..self.config.clone() };
        let start: Vec<f32> = self.problem.start(self.seed).iter().map(|x| *x as f32).collect();
        let alternates = |dimer: &Dimer| matches!(dimer.rotation, Rotation::Alternating(_));
        let alternates = config.dimer.as_ref().is_some_and(alternates);
        let layout = Layout::flat(self.problem.len)?;
        let mut optimizer = Optimizer::new(gpu, layout, config, &start)?;
        let mut watched = Watched { problem: self.problem, evaluations: 0, loss: f64::INFINITY };
        while watched.evaluations < self.budget {
            let before = watched.evaluations;
            if alternates {
                // No gradient is taken there, and the loss is only to judge the run.
                watched.loss = loss_at(self.problem, &optimizer.read_params()?, &mut vec![]);
            }
            match optimizer.step(&mut watched) {
                // Diverged: gradients overflow before the loss does.
                Err(Error::TooManySkips { .. }) => return Ok(None),
                other => other?,
            }
            if !watched.loss.is_finite() {
                return Ok(None);
            }
            if watched.loss <= self.problem.target {
                return Ok(Some(before + 1).filter(|&evaluations| evaluations <= self.budget));
            }
        }
        Ok(None)
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
