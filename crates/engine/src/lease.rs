//! What holds an environment's place in the scheduler while it is started or used, and gives it back whatever happens.

use std::sync::Arc;
use std::time::Duration;

use ephyra_core::environment::{Environment, LaunchError};

use crate::engine::{Deed, Inner, now};
use crate::rest::Resting;
use crate::scheduler::Slot;

/// An environment's place while one invocation uses it. Dropped, it counts the environment as gone.
pub(crate) struct Hold {
    inner: Arc<Inner>,
    slot: Slot,
    is_given_back: bool,
}

impl Hold {
    pub(crate) const fn new(inner: Arc<Inner>, slot: Slot) -> Self {
        Self {
            inner,
            slot,
            is_given_back: false,
        }
    }

    /// The run is over, which computed for `cpu`; `environment` is there when it can be used again.
    pub(crate) fn give_back(mut self, environment: Option<Box<dyn Environment>>, cpu: Duration) {
        self.is_given_back = true;
        let slot = self.slot;
        self.inner.update(|state, effects| {
            let used = environment.is_some().then_some(cpu);
            if let Some(environment) = environment {
                state.rest.insert(slot, Resting::Loose(environment));
            }
            state.scheduler.released(slot, used, now(), effects);
        });
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        if !self.is_given_back {
            let slot = self.slot;
            self.inner
                .update(|state, effects| state.scheduler.released(slot, None, now(), effects));
        }
    }
}

/// An environment's place while it is started. Dropped, it counts the start as failed.
pub(crate) struct Start {
    inner: Arc<Inner>,
    slot: Slot,
    is_over: bool,
}

impl Start {
    pub(crate) const fn new(inner: Arc<Inner>, slot: Slot) -> Self {
        Self {
            inner,
            slot,
            is_over: false,
        }
    }

    pub(crate) fn succeed(self, environment: Box<dyn Environment>) {
        let inner = Arc::clone(&self.inner);
        let deeds = self.succeed_here(environment);
        inner.carry_out_all(deeds);
    }

    /// The same, but what follows is left to the caller.
    pub(crate) fn succeed_here(mut self, environment: Box<dyn Environment>) -> Vec<Deed> {
        self.is_over = true;
        let slot = self.slot;
        let init_error = environment.init_error().cloned();
        let ((), deeds) = self.inner.change(|state, effects| {
            state.rest.insert(slot, Resting::Loose(environment));
            state.scheduler.started(slot, init_error, now(), effects);
        });
        deeds
    }

    pub(crate) fn fail(mut self, error: &LaunchError) {
        self.report(error);
    }

    fn report(&mut self, error: &LaunchError) {
        self.is_over = true;
        let slot = self.slot;
        self.inner
            .update(|state, effects| state.scheduler.launch_failed(slot, error, now(), effects));
    }
}

impl Drop for Start {
    fn drop(&mut self) {
        if !self.is_over {
            self.report(&LaunchError::Sandbox("the start was broken off".to_owned()));
        }
    }
}
