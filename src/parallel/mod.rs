//! Several ranks, each with a device and a share of the batch, that train one set of parameters: [`Collective`],
//! [`DataParallel`] and [`GradientMean`].

#[cfg_attr(
    target_family = "wasm",
    allow(dead_code, reason = "in a browser every optimizer is alone")
)]
pub(crate) mod agreement;
#[cfg(not(target_family = "wasm"))]
mod data_parallel;
#[cfg(not(target_family = "wasm"))]
mod mean;
#[cfg(not(target_family = "wasm"))]
mod threads;

#[cfg(not(target_family = "wasm"))]
pub use data_parallel::DataParallel;
#[cfg(not(target_family = "wasm"))]
pub(crate) use mean::Asked;
#[cfg(not(target_family = "wasm"))]
pub use mean::GradientMean;
#[cfg(not(target_family = "wasm"))]
pub use threads::Threads;

use crate::error::Result;

/// What ranks that work together do at the same time: threads of one process ([`Threads`]), or processes on several
/// machines.
///
/// A rank is one of `size` participants, from 0. All of them make the same calls in the same order with the same lengths, and
/// each call waits for all others. An operation leaves the same bits on every rank, since otherwise the ranks' parameters
/// would drift apart.
///
/// # Errors
/// An operation returns [`Error::Collective`](crate::Error::Collective) where it notices that a rank is gone, or that the
/// ranks do not make the same calls; where an engine cannot notice that, the process may end or wait. After an error the
/// group is of no more use. Implementations make the error with [`Error::collective`](crate::Error::collective), or from
/// another one with [`Error::collective_from`](crate::Error::collective_from).
#[cfg_attr(
    target_family = "wasm",
    allow(dead_code, reason = "in a browser every optimizer is alone")
)]
pub trait Collective {
    /// Which one this is, from 0.
    fn rank(&self) -> u32;

    /// How many there are, at least 1.
    fn size(&self) -> u32;

    /// Which one this is among the ranks of its machine, from 0, for [`Gpu::for_rank`](crate::Gpu::for_rank). Unless an
    /// implementation says otherwise, all ranks are on one machine.
    fn local_rank(&self) -> u32 {
        self.rank()
    }

    /// Adds `values` over all ranks, element by element, in f32: whole numbers up to 2^24 are added without rounding.
    /// Rounding may depend on `size`, but not on the rank.
    ///
    /// # Errors
    /// As the trait says.
    fn sum(&mut self, values: &mut [f32]) -> Result<()>;

    /// Gives the bytes of the rank `root` to all.
    ///
    /// # Errors
    /// As the trait says, and for a `root` that is no rank.
    fn broadcast(&mut self, bytes: &mut [u8], root: u32) -> Result<()>;

    /// The bytes of every rank, in the order of ranks, on every rank. All bring the same number.
    ///
    /// # Errors
    /// As the trait says.
    fn gather(&mut self, bytes: &[u8]) -> Result<Vec<Vec<u8>>>;
}

/// The group of an optimizer that is alone.
#[derive(Debug)]
pub(crate) struct Alone;

impl Collective for Alone {
    fn rank(&self) -> u32 {
        0
    }

    fn size(&self) -> u32 {
        1
    }

    fn sum(&mut self, _: &mut [f32]) -> Result<()> {
        Ok(())
    }

    fn broadcast(&mut self, _: &mut [u8], _: u32) -> Result<()> {
        Ok(())
    }

    fn gather(&mut self, bytes: &[u8]) -> Result<Vec<Vec<u8>>> {
        Ok(vec![bytes.to_vec()])
    }
}

/// A group that is lent, for instance to one objective after another.
impl<C: Collective + ?Sized> Collective for &mut C {
    fn rank(&self) -> u32 {
        (**self).rank()
    }

    fn size(&self) -> u32 {
        (**self).size()
    }

    fn local_rank(&self) -> u32 {
        (**self).local_rank()
    }

    fn sum(&mut self, values: &mut [f32]) -> Result<()> {
        (**self).sum(values)
    }

    fn broadcast(&mut self, bytes: &mut [u8], root: u32) -> Result<()> {
        (**self).broadcast(bytes, root)
    }

    fn gather(&mut self, bytes: &[u8]) -> Result<Vec<Vec<u8>>> {
        (**self).gather(bytes)
    }
}
