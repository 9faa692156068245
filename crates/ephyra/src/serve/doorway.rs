//! Joins two rooms that need each other: the Lambda service hands events to the event room, which asks the Lambda
//! service what their names mean.

use std::sync::{Arc, OnceLock};

use ephyra_core::compute::{Accept, AcceptError, AcceptedEvent};
use futures_util::future::BoxFuture;

/// An [`Accept`] that is told later who accepts. Until then it answers as a platform that is going down does: nothing
/// is served then, so nobody is answered so.
#[derive(Default)]
pub(crate) struct Doorway(OnceLock<Arc<dyn Accept>>);

impl Doorway {
    /// Says who accepts; the first to be named stays.
    pub(crate) fn lead_to(&self, accept: Arc<dyn Accept>) {
        self.0.get_or_init(|| accept);
    }
}

impl Accept for Doorway {
    fn accept(&self, event: AcceptedEvent) -> BoxFuture<'_, Result<(), AcceptError>> {
        match self.0.get() {
            Some(accept) => accept.accept(event),
            None => Box::pin(async { Err(AcceptError::Draining) }),
        }
    }
}
