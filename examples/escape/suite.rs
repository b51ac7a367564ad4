//! Sweeps of runs: every method at every learning rate from every seed; the best rate of a method that is tuned, and
//! the worst start of one that is not.

use std::cmp::Reverse;
use std::ops::Range;

use dimer::{Base, Error, Gpu};
use indicatif::{ParallelProgressIterator, ProgressStyle};
use rayon::prelude::*;

use crate::methods::Method;
use crate::problems::Problem;
use crate::run::Run;

/// What every method is given.
pub struct Sweep<'a> {
    pub methods: &'a [&'a Method],
    pub rates: &'a [f64],
    /// Of learning rates from curvature.
    pub starts: &'a [f64],
    pub seeds: Range<u64>,
    /// Gradients after which a run has failed.
    pub budget: u64,
}

/// One method on one problem at one rate.
#[derive(Clone, Copy, Debug)]
pub struct Score {
    /// Median gradients to the target; `None` if most runs did not reach it.
    pub gradients: Option<u64>,
    pub solved: usize,
    pub learning_rate: f64,
}

/// A base optimizer on a problem.
pub type Cell<'a> = (&'a Problem, &'a (&'static str, Base));

/// One row of the table: a base optimizer on a problem, by every method.
pub struct Row {
    pub problem: &'static str,
    pub base: &'static str,
    pub methods: Vec<Score>,
}

impl Sweep<'_> {
    /// One row per cell, with a progress bar on the way.
    pub fn rows(&self, gpu: &Gpu, cells: &[Cell<'_>]) -> Result<Vec<Row>, Error> {
        let runs: Vec<Run<'_>> = cells.iter().flat_map(|cell| self.runs(*cell)).collect();
        let style = ProgressStyle::with_template("{bar:40} {pos}/{len} runs, {eta} left")
            .expect("a valid template");
        let gradients: Vec<Option<u64>> = runs
            .par_iter()
            .progress_with_style(style)
            .map(|run| run.gradients(gpu))
            .collect::<Result<_, _>>()?;
        let each = (self.seeds.end - self.seeds.start) as usize;
        let mut seeds = gradients.chunks(each);
        let mut next = |method: &&Method| {
            let rates = self.rates_of(method).iter();
            let mut scores: Vec<Score> = seeds.by_ref().zip(rates).map(median).collect();
            scores.sort_by_key(Score::rank);
            let found = if method.is_tuned() { scores.first() } else { scores.last() };
            *found.expect("at least one learning rate")
        };
        let row = |(problem, (base, _)): &Cell<'_>| Row {
            problem: problem.name,
            base,
            methods: self.methods.iter().map(&mut next).collect(),
        };
        Ok(cells.iter().map(row).collect())
    }

    fn rates_of(&self, method: &Method) -> &[f64] {
        if method.is_tuned() { self.rates } else { self.starts }
    }

    fn runs<'a>(&'a self, (problem, (_, base)): Cell<'a>) -> impl Iterator<Item = Run<'a>> + 'a {
        self.methods.iter().flat_map(move |method| {
            self.rates_of(method).iter().flat_map(move |&rate| {
                self.seeds.clone().map(move |seed| Run {
                    problem,
                    config: method.config(*base, rate),
                    seed,
                    budget: self.budget,
                })
            })
        })
    }
}

/// The median of the runs of one learning rate.
fn median((gradients, &learning_rate): (&[Option<u64>], &f64)) -> Score {
    let mut sorted: Vec<u64> = gradients.iter().map(|run| run.unwrap_or(u64::MAX)).collect();
    sorted.sort_unstable();
    let middle = sorted[sorted.len() / 2];
    Score {
        gradients: (middle != u64::MAX).then_some(middle),
        solved: gradients.iter().flatten().count(),
        learning_rate,
    }
}

impl Score {
    /// Smaller is better: a rate at which runs fail is worse than any at which fewer do.
    fn rank(&self) -> (Reverse<usize>, u64) {
        (Reverse(self.solved), self.gradients.unwrap_or(u64::MAX))
    }
}
