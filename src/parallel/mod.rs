//! Several ranks, each with a device and a share of the batch, that train one set of parameters: [`Collective`] and
//! [`DataParallel`].

mod data_parallel;
mod threads;

pub use data_parallel::DataParallel;
pub use threads::Threads;

use crate::error::Result;

/// What ranks that work together do at the same time: threads of one process ([`Threads`]), or processes on several
/// machines.
///
/// A rank is one of `size` participants, from 0. All of them call the same operations in the same order with lengths that
/// agree, and each call waits for all others. An operation leaves the same bits on every rank, since otherwise the ranks'
/// parameters would drift apart.
///
/// # Errors
/// Every operation returns [`Error::Collective`](crate::Error::Collective) where a rank is gone, or where the ranks do not
/// call the same; implementations make it with [`Error::collective`](crate::Error::collective). After that the group is
/// of no more use.
pub trait Collective {
    /// Which one this is, from 0.
    fn rank(&self) -> u32;

    /// How many there are, at least 1.
    fn size(&self) -> u32;

    /// Adds `values` over all ranks, element by element. Rounding may depend on `size`, but not on the rank.
    ///
    /// # Errors
    /// As the trait says.
    fn sum(&mut self, values: &mut [f32]) -> Result<()>;

    /// Gives the bytes of the rank `root` to all.
    ///
    /// # Errors
    /// As the trait says.
    fn broadcast(&mut self, bytes: &mut [u8], root: u32) -> Result<()>;

    /// The bytes of every rank, in the order of ranks, on every rank. All bring the same number.
    ///
    /// # Errors
    /// As the trait says.
    fn gather(&mut self, bytes: &[u8]) -> Result<Vec<Vec<u8>>>;
}
