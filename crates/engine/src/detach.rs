//! A future that goes on by itself when nobody waits for it any longer.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::future::BoxFuture;
use tokio::runtime::Handle;

/// Runs its future in the task that polls it. When it is dropped after the first poll and before the end, the rest
/// runs in a task of its own; what was never polled never began.
pub(crate) struct DetachOnDrop<T: Send + 'static> {
    future: Option<BoxFuture<'static, T>>,
    has_begun: bool,
    runtime: Handle,
}

impl<T: Send + 'static> DetachOnDrop<T> {
    pub(crate) fn new(runtime: Handle, future: impl Future<Output = T> + Send + 'static) -> Self {
        Self {
            future: Some(Box::pin(future)),
            has_begun: false,
            runtime,
        }
    }
}

impl<T: Send + 'static> Future for DetachOnDrop<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        self.has_begun = true;
        // Out of reach while it is polled: one that panics is not to be polled again.
        let Some(mut future) = self.future.take() else {
            return Poll::Pending;
        };
        let result = future.as_mut().poll(context);
        if result.is_pending() {
            self.future = Some(future);
        }
        result
    }
}

impl<T: Send + 'static> Drop for DetachOnDrop<T> {
    fn drop(&mut self) {
        if self.has_begun
            && let Some(future) = self.future.take()
        {
            self.runtime.spawn(future);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use futures_util::FutureExt;
    use tokio::sync::Notify;

    use super::*;

    #[tokio::test]
    async fn what_has_begun_goes_on() {
        let (go, done) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let (wait, tell) = (Arc::clone(&go), Arc::clone(&done));
        let mut future = DetachOnDrop::new(Handle::current(), async move {
            wait.notified().await;
            tell.notify_one();
        });
        assert!((&mut future).now_or_never().is_none());
        drop(future);
        go.notify_one();
        done.notified().await;
    }

    #[tokio::test]
    async fn what_has_not_begun_never_does() {
        let has_run = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&has_run);
        drop(DetachOnDrop::new(Handle::current(), async move {
            flag.store(true, Ordering::SeqCst)
        }));
        tokio::task::yield_now().await;
        assert!(!has_run.load(Ordering::SeqCst));
    }
}
