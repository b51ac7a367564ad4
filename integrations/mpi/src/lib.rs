#![doc = include_str!("../README.md")]
#![deny(missing_docs)]

use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;
use std::thread;
use std::time::{Duration, Instant};

use dimer::{Collective, Error, Result};
use mpi::Threading;
use mpi::collective::SystemOperation;
use mpi::environment::{self, Universe};
use mpi::request::{Request, StaticScope};
use mpi::topology::{Color, SimpleCommunicator};
use mpi::traits::{Communicator, CommunicatorCollectives, Root};

/// The bindings of MPI whose [`Universe`] this crate accepts.
pub use mpi;

/// Values of a sum, and bytes of a broadcast and of a gathering, that MPI gets at a time: it counts in 32 bits.
const SUMMED: usize = 1 << 24;
const SENT: usize = 1 << 26;

/// How long a rank waits for the others with all its attention, and how often it looks afterwards, which leaves the processor
/// to those that compute.
const EAGER: Duration = Duration::from_millis(1);
const PAUSE: Duration = Duration::from_micros(50);

/// One of the processes that MPI has started together.
///
/// Before each operation the ranks tell each other what they are about to do. So ranks that make different calls get
/// [`Error::Collective`], and so do those whose group another rank has left: by dropping it, at the end of `main`, with `?`, or
/// in a panic that unwinds. They can still save what they have. With some libraries of MPI the news travels only while the
/// rank that has left calls MPI again, or ends.
///
/// MPI ends when the last group of the process is dropped. That waits until all processes have come there, and `mpirun` kills
/// those that are left as soon as the first has ended with an error: print errors before the group is dropped.
///
/// A process that is killed, or ends without dropping its groups, ends the whole job: `mpirun` kills the others and names the
/// rank (under Slurm use `srun --kill-on-bad-exit`). Go on from the last checkpoint then. The same holds for errors of MPI
/// itself, whose default is to abort.
///
/// MPI adds in an order of its own, which it chooses by size, number of ranks and network, and gives all ranks the same bits
/// (MPI 3.1, section 5.9). Another number of ranks rounds differently. Another run of as many ranks has the same bits where
/// MPI's sum repeats itself, as that of Open MPI on one machine does.
///
/// All calls belong to the thread that initialised MPI.
pub struct MpiGroup {
    communicator: SimpleCommunicator,
    /// Among all ranks of the machine, not only those of the group: each has a GPU of its own.
    local_rank: u32,
    /// How often the ranks have met.
    meetings: u64,
    /// Why there are no more operations.
    broken: Option<String>,
    /// Dropped after the communicator.
    process: Rc<Process>,
}

/// MPI in this process, which ends with the last group.
struct Process {
    /// The news that this rank has left groups, on their way to the others.
    leaving: RefCell<Vec<News>>,
    _universe: Universe,
}

/// An exchange of calls that nobody waits for.
type News = Request<'static, [u64], StaticScope>;

impl Drop for Process {
    fn drop(&mut self) {
        // MPI must not end before. Every rank leaves each of its groups some time, so this ends.
        self.leaving.borrow_mut().drain(..).for_each(|news| complete(news, |news| news.test()));
    }
}

/// Looks until a request is complete.
fn complete<R, T>(mut request: R, test: impl Fn(R) -> std::result::Result<T, R>) {
    let began = Instant::now();
    while let Err(pending) = test(request) {
        request = pending;
        if began.elapsed() < EAGER { thread::yield_now() } else { thread::sleep(PAUSE) }
    }
}

impl fmt::Debug for MpiGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MpiGroup")
            .field("rank", &self.rank())
            .field("size", &self.size())
            .field("local_rank", &self.local_rank)
            .field("broken", &self.broken)
            .finish_non_exhaustive()
    }
}

/// What a rank is about to do: the number of the meeting, the operation, its root, and the number of values or bytes.
type Call = [u64; 4];

const SUM: u64 = 0;
const BROADCAST: u64 = 1;
const GATHER: u64 = 2;
const SPLIT: u64 = 3;
const LEAVE: u64 = 4;

fn words([meeting, operation, root, len]: Call) -> String {
    let what = match operation {
        SUM => format!("`sum` with {len} values"),
        BROADCAST => format!("`broadcast` from rank {root} with {len} bytes"),
        SPLIT => "`split`".to_owned(),
        _ => format!("`gather` with {len} bytes"),
    };
    format!("{what} as call {meeting}")
}

impl MpiGroup {
    /// Initialises MPI, and groups all processes of the job; without `mpirun` this process alone.
    ///
    /// # Errors
    /// [`Error::Collective`] if this process has initialised MPI before, or if the library allows no other threads in its
    /// process, which drivers of GPUs have.
    pub fn world() -> Result<Self> {
        if environment::is_finalized() {
            return Err(Error::collective(
                "MPI has ended in this process, with the last of its groups, and cannot begin again",
            ));
        }
        let (universe, _) = mpi::initialize_with_threading(Threading::Funneled).ok_or_else(|| {
            Error::collective(
                "MPI was initialised before in this process; split the group that has done so, or use \
                 `MpiGroup::with_universe`",
            )
        })?;
        Self::with_universe(universe)
    }

    /// The same for a program that has initialised MPI itself, for at least [`Threading::Funneled`].
    ///
    /// # Errors
    /// [`Error::Collective`] if it was initialised without other threads.
    pub fn with_universe(universe: Universe) -> Result<Self> {
        if environment::threading_support() < Threading::Funneled {
            return Err(Error::collective(
                "MPI allows no other threads here; initialise it with `Threading::Funneled`",
            ));
        }
        let world = universe.world().duplicate();
        let local_rank = world.split_shared(world.rank()).rank().cast_unsigned();
        let process = Process { leaving: RefCell::default(), _universe: universe };
        Ok(Self::of(world, local_rank, Rc::new(process)))
    }

    /// Groups those ranks that bring the same color, in their order here; none has no group. All ranks of this group call
    /// this.
    ///
    /// # Errors
    /// As the trait says.
    pub fn split(&mut self, color: Option<u16>) -> Result<Option<Self>> {
        self.meet(SPLIT, 0, 0)?;
        let color = color.map_or(Color::undefined(), |color| Color::with_value(color.into()));
        let communicator = self.communicator.split_by_color(color);
        let (local_rank, process) = (self.local_rank, Rc::clone(&self.process));
        Ok(communicator.map(|communicator| Self::of(communicator, local_rank, process)))
    }

    fn of(communicator: SimpleCommunicator, local_rank: u32, process: Rc<Process>) -> Self {
        Self { communicator, local_rank, meetings: 0, broken: None, process }
    }

    /// Waits until all ranks are about to do the same.
    fn meet(&mut self, operation: u64, root: u32, len: usize) -> Result<()> {
        if let Some(reason) = &self.broken {
            return Err(Error::collective(reason));
        }
        let calls = self.exchange(operation, root, len);
        let left = calls.iter().position(|call| call[1] == LEAVE);
        let other = calls.iter().position(|call| *call != calls[0]);
        let reason = match (left, other) {
            (Some(rank), _) => format!("rank {rank} has left the group of {}", calls.len()),
            (None, Some(rank)) => format!(
                "rank {rank} calls {}, but rank 0 {}; all ranks must make the same calls in the same order",
                words(calls[rank]),
                words(calls[0])
            ),
            (None, None) => return Ok(()),
        };
        self.broken = Some(reason.clone());
        Err(Error::collective(reason))
    }

    /// What all ranks are about to do. Every rank comes here until it has left, so this ends.
    fn exchange(&mut self, operation: u64, root: u32, len: usize) -> Vec<Call> {
        let own = self.next_call(operation, root, len);
        let mut all = vec![0; own.len() * self.size() as usize];
        mpi::request::scope(|scope| {
            let request =
                self.communicator.immediate_all_gather_into(scope, &own[..], &mut all[..]);
            complete(request, |request| request.test());
        });
        all.chunks_exact(own.len()).map(|call| call.try_into().expect("a call")).collect()
    }

    fn next_call(&mut self, operation: u64, root: u32, len: usize) -> Call {
        self.meetings += 1;
        [self.meetings, operation, root.into(), len as u64]
    }
}

impl Collective for MpiGroup {
    fn rank(&self) -> u32 {
        self.communicator.rank().cast_unsigned()
    }

    fn size(&self) -> u32 {
        self.communicator.size().cast_unsigned()
    }

    fn local_rank(&self) -> u32 {
        self.local_rank
    }

    fn sum(&mut self, values: &mut [f32]) -> Result<()> {
        self.meet(SUM, 0, values.len())?;
        for piece in values.chunks_mut(SUMMED) {
            let own = piece.to_vec();
            self.communicator.all_reduce_into(&own[..], piece, SystemOperation::sum());
        }
        Ok(())
    }

    fn broadcast(&mut self, bytes: &mut [u8], root: u32) -> Result<()> {
        if root >= self.size() {
            let size = self.size();
            return Err(Error::collective(format!("there is no rank {root} in a group of {size}")));
        }
        self.meet(BROADCAST, root, bytes.len())?;
        let root = self.communicator.process_at_rank(root.cast_signed());
        bytes.chunks_mut(SENT).for_each(|piece| root.broadcast_into(piece));
        Ok(())
    }

    fn gather(&mut self, bytes: &[u8]) -> Result<Vec<Vec<u8>>> {
        self.meet(GATHER, 0, bytes.len())?;
        let size = self.size() as usize;
        let mut all = vec![Vec::with_capacity(bytes.len()); size];
        for piece in bytes.chunks((SENT / size).max(1)) {
            let mut pieces = vec![0; piece.len() * size];
            self.communicator.all_gather_into(piece, &mut pieces[..]);
            let pieces = pieces.chunks_exact(piece.len());
            all.iter_mut().zip(pieces).for_each(|(bytes, piece)| bytes.extend_from_slice(piece));
        }
        Ok(all)
    }
}

impl Drop for MpiGroup {
    fn drop(&mut self) {
        // Ranks that have parted know it, and come here no more.
        if self.broken.is_some() {
            return;
        }
        // Whoever waited here could wait for a rank that waits for this one in another group.
        let own = self.next_call(LEAVE, 0, 0);
        let all = vec![0; own.len() * self.size() as usize];
        let (own, all) = (Box::leak(Box::new(own)), Box::leak(all.into_boxed_slice()));
        let news = self.communicator.immediate_all_gather_into(StaticScope, &own[..], all);
        let mut leaving = self.process.leaving.borrow_mut();
        let pending: Vec<News> = leaving.drain(..).filter_map(|news| news.test().err()).collect();
        leaving.extend(pending);
        leaving.push(news);
    }
}
