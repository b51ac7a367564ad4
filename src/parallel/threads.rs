//! [`Threads`]: ranks that are threads of one process.

use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::Collective;
use crate::error::{Error, Result};

/// One of a group of threads of this process, for several GPUs of one machine and for tests.
///
/// A sum adds in the order of ranks. A rank that is dropped, by a panic as well, has left: the others get an error
/// instead of waiting for it.
///
/// ```
/// use dimer::{Collective, Threads};
///
/// std::thread::scope(|scope| {
///     for mut rank in Threads::group(3)? {
///         scope.spawn(move || {
///             let mut values = [1.0, rank.rank() as f32];
///             rank.sum(&mut values)?;
///             assert_eq!(values, [3.0, 0.0 + 1.0 + 2.0]);
///             dimer::Result::Ok(())
///         });
///     }
///     dimer::Result::Ok(())
/// })?;
/// # Ok::<(), dimer::Error>(())
/// ```
#[derive(Debug)]
pub struct Threads {
    rank: u32,
    group: Arc<Group>,
}

#[derive(Debug)]
struct Group {
    size: u32,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    /// What each rank has brought to the operation under way.
    brought: Vec<Option<(Operation, Vec<u8>)>>,
    /// How many operations are complete.
    complete: u64,
    /// What came of the last one: the sum, or the bytes of each rank.
    outcome: Arc<std::result::Result<Vec<Vec<u8>>, String>>,
    /// The first rank that has left.
    gone: Option<u32>,
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
            Self::Sum => write!(f, "a sum"),
            Self::Broadcast { root } => write!(f, "a broadcast from rank {root}"),
            Self::Gather => write!(f, "a gathering"),
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
            outcome: Arc::new(Ok(Vec::new())),
            gone: None,
        };
        let group = Arc::new(Group { size, state: Mutex::new(state), changed: Condvar::new() });
        Ok((0..size).map(|rank| Self { rank, group: Arc::clone(&group) }).collect())
    }

    /// Brings `bytes`, and waits until all ranks have brought theirs.
    fn meet(&mut self, operation: Operation, bytes: Vec<u8>) -> Result<Arc<Outcome>> {
        let mut state = self.group.state();
        state.check_all_here(self.group.size)?;
        state.brought[self.rank as usize] = Some((operation, bytes));
        if state.brought.iter().all(Option::is_some) {
            let brought = state.brought.iter_mut().filter_map(Option::take).collect();
            state.outcome = Arc::new(combine(brought));
            state.complete += 1;
            self.group.changed.notify_all();
        } else {
            let before = state.complete;
            while state.complete == before {
                if let Err(error) = state.check_all_here(self.group.size) {
                    state.brought[self.rank as usize] = None;
                    return Err(error);
                }
                let waited = self.group.changed.wait(state);
                state = waited.unwrap_or_else(PoisonError::into_inner);
            }
        }
        Ok(Arc::clone(&state.outcome))
    }
}

type Outcome = std::result::Result<Vec<Vec<u8>>, String>;

/// The sum of what was brought to one, else what was brought, if all called the same.
fn combine(brought: Vec<(Operation, Vec<u8>)>) -> Outcome {
    let (operation, length) = (brought[0].0, brought[0].1.len());
    for (rank, (other, bytes)) in brought.iter().enumerate() {
        if *other != operation || bytes.len() != length {
            return Err(format!(
                "rank {rank} calls {other} of {} bytes, but rank 0 {operation} of {length}; all ranks must do the same \
                 in the same order",
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

fn of(outcome: &Outcome) -> Result<&[Vec<u8>]> {
    outcome.as_deref().map_err(Error::collective)
}

impl Group {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn check_all_here(&self, size: u32) -> Result<()> {
        self.gone.map_or(Ok(()), |rank| {
            Err(Error::collective(format!("rank {rank} has left the group of {size}")))
        })
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
        bytemuck::cast_slice_mut(values).copy_from_slice(&of(&outcome)?[0]);
        Ok(())
    }

    fn broadcast(&mut self, bytes: &mut [u8], root: u32) -> Result<()> {
        if root >= self.group.size {
            return Err(Error::InvalidArgument {
                argument: "root",
                value: root.to_string(),
                expected: "a rank of the group",
            });
        }
        let outcome = self.meet(Operation::Broadcast { root }, bytes.to_vec())?;
        bytes.copy_from_slice(&of(&outcome)?[root as usize]);
        Ok(())
    }

    fn gather(&mut self, bytes: &[u8]) -> Result<Vec<Vec<u8>>> {
        let outcome = self.meet(Operation::Gather, bytes.to_vec())?;
        Ok(of(&outcome)?.to_vec())
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        let mut state = self.group.state();
        state.gone.get_or_insert(self.rank);
        self.group.changed.notify_all();
    }
}
