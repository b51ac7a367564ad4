//! [`Reports`]: the errors of work that is submitted already. A browser answers while no code of ours runs, so that no
//! call can wait for whether what it did was refused.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};

use crate::error::{Error, Result};

/// Most scopes that are open when a step begins: a page that never waits would gather them, and see no error.
const MOST: u64 = 64;

/// What has become of the error scopes of one device. Each error is returned once, by the next call that looks before its own
/// work begins; a read waits for all scopes before it.
#[derive(Clone, Debug, Default)]
pub(super) struct Reports(Rc<RefCell<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    errors: VecDeque<Error>,
    /// Scopes so far, and how many of them have been answered, which they are in order.
    begun: u64,
    answered: u64,
    waiting: Vec<Waker>,
}

impl Reports {
    /// Ends an error scope, and says what an error in it means.
    pub(super) fn add(
        &self,
        scope: wgpu::ErrorScopeGuard,
        error: impl FnOnce(wgpu::Error) -> Error + 'static,
    ) {
        self.0.borrow_mut().begun += 1;
        let (inner, popped) = (Rc::clone(&self.0), scope.pop());
        wasm_bindgen_futures::spawn_local(async move {
            let found = popped.await.map(error);
            let waiting = {
                let mut inner = inner.borrow_mut();
                inner.errors.extend(found);
                inner.answered += 1;
                std::mem::take(&mut inner.waiting)
            };
            waiting.into_iter().for_each(Waker::wake);
        });
    }

    /// The first error that has come; never waits.
    pub(super) fn check(&self) -> Result<()> {
        self.0.borrow_mut().errors.pop_front().map_or(Ok(()), Err)
    }

    /// The first error of all work so far.
    pub(super) async fn settle(&self) -> Result<()> {
        let begun = self.0.borrow().begun;
        self.answered(begun).await;
        self.check()
    }

    /// Lets the browser answer if it is far behind.
    pub(super) async fn keep_pace(&self) -> Result<()> {
        let begun = self.0.borrow().begun;
        self.answered(begun.saturating_sub(MOST)).await;
        self.check()
    }

    /// Waits until so many scopes are answered.
    async fn answered(&self, count: u64) {
        poll_fn(|context| {
            let mut inner = self.0.borrow_mut();
            if inner.answered >= count {
                return Poll::Ready(());
            }
            inner.waiting.push(context.waker().clone());
            Poll::Pending
        })
        .await;
    }
}
