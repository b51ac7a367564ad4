//! [`Reports`]: the errors of work that is submitted already. A browser answers while no code of ours runs, so that no
//! call can wait for whether what it did was refused.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use crate::error::{Error, Result};

/// What becomes of one error scope.
type Report = Pin<Box<dyn Future<Output = Option<Error>>>>;

/// Reports under way, in the order of the work. Each error is returned once, by the next call that looks; a read looks once
/// all of them have come.
#[derive(Clone, Default)]
pub(super) struct Reports(Rc<RefCell<VecDeque<Report>>>);

impl std::fmt::Debug for Reports {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Reports").field(&self.0.borrow().len()).finish()
    }
}

impl Reports {
    /// Ends an error scope, and says what an error in it means.
    pub(super) fn add(
        &self,
        scope: wgpu::ErrorScopeGuard,
        error: impl FnOnce(wgpu::Error) -> Error + 'static,
    ) {
        let popped = scope.pop();
        self.0.borrow_mut().push_back(Box::pin(async move { popped.await.map(error) }));
    }

    /// The first error that has come; never waits.
    pub(super) fn check(&self) -> Result<()> {
        match self.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(result) => result,
            Poll::Pending => Ok(()),
        }
    }

    /// The first error of all work so far.
    pub(super) async fn settle(&self) -> Result<()> {
        poll_fn(|context| self.poll(context)).await
    }

    fn poll(&self, context: &mut Context<'_>) -> Poll<Result<()>> {
        let mut reports = self.0.borrow_mut();
        while let Some(report) = reports.front_mut() {
            let Poll::Ready(error) = report.as_mut().poll(context) else { return Poll::Pending };
            reports.pop_front();
            if let Some(error) = error {
                return Poll::Ready(Err(error));
            }
        }
        Poll::Ready(Ok(()))
    }
}
