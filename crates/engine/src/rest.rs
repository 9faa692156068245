//! Environments at rest: as they were left, or frozen and watched for their death.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};

use ephyra_core::environment::Environment;
use futures_util::future::BoxFuture;
use futures_util::task::AtomicWaker;

/// An environment that nobody uses.
pub(crate) enum Resting {
    /// Not watched: it was used a moment ago, and the next use would show that it has died.
    Loose(Box<dyn Environment>),
    /// Watched for its death by a task of its own.
    Watched(Watch),
}

impl Resting {
    /// The environment, no longer watched. `None` cannot be: see [`Watch::take`].
    pub(crate) fn take(self) -> Option<Box<dyn Environment>> {
        match self {
            Self::Loose(environment) => Some(environment),
            Self::Watched(watch) => watch.take(),
        }
    }
}

/// An environment together with the wait for its death, which borrows it.
pub(crate) struct Watch {
    future: BoxFuture<'static, Box<dyn Environment>>,
    signal: Arc<Signal>,
}

/// Ends a watch, and wakes the task that polls it.
#[derive(Default)]
pub(crate) struct Signal {
    is_over: AtomicBool,
    task: AtomicWaker,
}

impl Watch {
    pub(crate) fn new(mut environment: Box<dyn Environment>) -> Self {
        let signal = Arc::new(Signal::default());
        let shared = Arc::clone(&signal);
        let future = Box::pin(async move {
            {
                let mut died = environment.died();
                poll_fn(|context| {
                    if shared.is_over.load(Ordering::Acquire) {
                        return Poll::Ready(());
                    }
                    shared.task.register(context.waker());
                    died.as_mut().poll(context)
                })
                .await;
            }
            environment
        });
        Self { future, signal }
    }

    /// Tells this watch from a later one of the same environment.
    pub(crate) fn signal(&self) -> Arc<Signal> {
        Arc::clone(&self.signal)
    }

    pub(crate) fn is(&self, signal: &Arc<Signal>) -> bool {
        Arc::ptr_eq(&self.signal, signal)
    }

    /// Ready when the environment has died.
    pub(crate) fn poll_death(&mut self, context: &mut Context<'_>) -> Poll<Box<dyn Environment>> {
        self.future.as_mut().poll(context)
    }

    /// Ends the watch. The future is ready at its next poll once the signal says that it is over, so that this is
    /// `Some` unless it had ended before.
    fn take(mut self) -> Option<Box<dyn Environment>> {
        self.signal.is_over.store(true, Ordering::Release);
        let environment = match self.future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(environment) => Some(environment),
            Poll::Pending => None,
        };
        self.signal.task.wake();
        environment
    }
}
