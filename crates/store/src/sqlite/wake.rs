//! Wakes those who wait for a topic's next due item.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

/// The topics that somebody waits for.
#[derive(Default)]
pub(super) struct Topics(Mutex<HashMap<String, Arc<Notify>>>);

impl Topics {
    /// What is notified when a topic's due times have changed.
    pub(super) fn bell(&self, topic: &str) -> Arc<Notify> {
        let mut topics = self.0.lock();
        if let Some(bell) = topics.get(topic) {
            return Arc::clone(bell);
        }
        let bell = Arc::new(Notify::new());
        topics.insert(topic.to_owned(), Arc::clone(&bell));
        bell
    }

    /// Wakes all who wait now; a topic for which nobody does is forgotten.
    pub(super) fn ring(&self, topic: &str) {
        let mut topics = self.0.lock();
        let Some(bell) = topics.get(topic) else { return };
        if Arc::strong_count(bell) == 1 {
            topics.remove(topic);
        } else {
            bell.notify_waiters();
        }
    }
}
