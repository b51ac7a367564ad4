//! [`Threads`]: ranks that are threads of one process.

use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::Collective;
use crate::error::{Error, Result};

/// One of a group of threads of this process, for several GPUs of one machine and for tests.
///
/// A sum adds in the order of ranks. A rank that is dropped has left, and the others get an error instead of waiting for it:
/// let each thread own its rank, so that a panic drops it as well. Each call blocks its thread.
///
/// ```
/// use dimer::{Collective, Threads};
///
/// let sums: Vec<_> = std::thread::scope(|scope| {
///     let sum = |mut rank: Threads| {
///         let mut values = [1.0, rank.rank() as f32];
///         rank.sum(&mut values)?;
///         Ok(values)
///     };
///     let ranks = Threads::group(3)?.into_iter().map(|rank| scope.spawn(move || sum(rank)));
///     let ranks: Vec<_> = ranks.collect();
///     ranks.into_iter().map(|rank| rank.join().expect("no panic")).collect::<dimer::Result<_>>()
/// })?;
/// assert_eq!(sums, [[3.0, 0.0 + 1.0 + 2.0]; 3]);
/// # Ok::<(), dimer::Error>(())
/// ```
pub struct Threads {
    rank: u32,
    group: Arc<Group>,
}

impl fmt::Debug for Threads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let size = self.group.size;
        f.debug_struct("Threads").field("rank", &self.rank).field("size", &size).finish()
    }
}

struct Group {
    size: u32,
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    /// What each rank has brought to the operation under way.
    brought: Vec<Option<(Operation, Vec<u8>)>>,
    /// How many operations are complete.
    complete: u64,
    /// What came of the last one, the sum or the bytes of each rank, until all have it.
    outcome: Arc<Vec<Vec<u8>>>,
    taken: u32,
    /// Why there are no more operations.
    broken: Option<String>,
}

/// What a rank calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operation {
    Sum,
    Broadcast { root: u32 },
    Gather,
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sum => write!(f, "`sum`"),
            Self::Broadcast { root } => write!(f, "`broadcast` from rank {root}"),
            Self::Gather => write!(f, "`gather`"),
        }
    }
}

impl Threads {
    /// A group of so many ranks, in order; each goes to a thread of its own.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for none.
    pub fn group(size: u32) -> Result<Vec<Self>> {
        if size == 0 {
            return Err(Error::InvalidArgument {
                argument: "size",
                value: "0".into(),
                expected: "at least 1",
            });
        }
        let state = State {
            brought: (0..size).map(|_| None).collect(),
            complete: 0,
            outcome: Arc::default(),
            taken: 0,
            broken: None,
        };
        let group = Arc::new(Group { size, state: Mutex::new(state), changed: Condvar::new() });
        Ok((0..size).map(|rank| Self { rank, group: Arc::clone(&group) }).collect())
    }

    /// Brings `bytes`, waits until all ranks have brought theirs, and takes what comes of it.
    fn meet(&mut self, operation: Operation, bytes: Vec<u8>) -> Result<Arc<Vec<Vec<u8>>>> {
        let mut state = self.group.state();
        state.check()?;
        state.brought[self.rank as usize] = Some((operation, bytes));
        if state.brought.iter().all(Option::is_some) {
            let brought = state.brought.iter_mut().filter_map(Option::take).collect();
            match combine(brought) {
                Ok(outcome) => {
                    (state.outcome, state.taken) = (Arc::new(outcome), 0);
                    state.complete += 1;
                }
                Err(reason) => state.broken = Some(reason),
            }
            self.group.changed.notify_all();
            state.check()?;
        } else {
            let before = state.complete;
            while state.complete == before {
                state.check()?;
                let waited = self.group.changed.wait(state);
                state = waited.unwrap_or_else(PoisonError::into_inner);
            }
        }
        state.taken += 1;
        Ok(if state.taken == self.group.size {
            std::mem::take(&mut state.outcome)
        } else {
            Arc::clone(&state.outcome)
        })
    }

    /// Leaves the group: every call of the others fails from here on, as when this is dropped.
    pub fn leave(&mut self) {
        let mut state = self.group.state();
        let reason = || format!("rank {} has left the group of {}", self.rank, self.group.size);
        state.broken.get_or_insert_with(reason);
        self.group.changed.notify_all();
    }
}

/// The sum of what was brought to one, else what was brought, if all made the same call.
fn combine(brought: Vec<(Operation, Vec<u8>)>) -> std::result::Result<Vec<Vec<u8>>, String> {
    let (operation, length) = (brought[0].0, brought[0].1.len());
    for (rank, (other, bytes)) in brought.iter().enumerate() {
        if *other != operation || bytes.len() != length {
            return Err(format!(
                "rank {rank} calls {other} with {} bytes, but rank 0 {operation} with {length}; all ranks must make the \
                 same calls in the same order",
                bytes.len()
            ));
        }
    }
    let parts = brought.into_iter().map(|(_, bytes)| bytes);
    if operation != Operation::Sum {
        return Ok(parts.collect());
    }
    let sum = parts.map(|bytes| bytemuck::pod_collect_to_vec(&bytes)).reduce(|mut sum, part| {
        sum.iter_mut().zip(part).for_each(|(sum, value): (&mut f32, f32)| *sum += value);
        sum
    });
    Ok(vec![bytemuck::cast_slice(&sum.unwrap_or_default()).to_vec()])
}

impl Group {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn check(&self) -> Result<()> {
        self.broken.as_ref().map_or(Ok(()), |reason| Err(Error::collective(reason)))
    }
}

impl Collective for Threads {
    fn rank(&self) -> u32 {
        self.rank
    }

    fn size(&self) -> u32 {
        self.group.size
    }

    fn sum(&mut self, values: &mut [f32]) -> Result<()> {
        let outcome = self.meet(Operation::Sum, bytemuck::cast_slice(values).to_vec())?;
        bytemuck::cast_slice_mut(values).copy_from_slice(&outcome[0]);
        Ok(())
    }

    fn broadcast(&mut self, bytes: &mut [u8], root: u32) -> Result<()> {
        if root >= self.group.size {
            let size = self.group.size;
            return Err(Error::collective(format!("there is no rank {root} in a group of {size}")));
        }
        let outcome = self.meet(Operation::Broadcast { root }, bytes.to_vec())?;
        bytes.copy_from_slice(&outcome[root as usize]);
        Ok(())
    }

    fn gather(&mut self, bytes: &[u8]) -> Result<Vec<Vec<u8>>> {
        let outcome = self.meet(Operation::Gather, bytes.to_vec())?;
        Ok(outcome.to_vec())
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.leave();
    }
}
