//! Tells watchers what was committed.

use parking_lot::Mutex;
use tokio::sync::mpsc::{self, Receiver, Sender};

use crate::Change;

/// How many changes a watcher may be behind before its channel ends.
const BACKLOG: usize = 1024;

struct Watcher {
    prefix: String,
    sender: Sender<Change>,
}

/// Those who watch the table.
#[derive(Default)]
pub(super) struct Watchers(Mutex<Vec<Watcher>>);

impl Watchers {
    /// Adds a watcher of all keys that begin with `prefix`.
    pub(super) fn add(&self, prefix: &str) -> Receiver<Change> {
        let (sender, receiver) = mpsc::channel(BACKLOG);
        let mut watchers = self.0.lock();
        watchers.retain(|watcher| !watcher.sender.is_closed());
        watchers.push(Watcher {
            prefix: prefix.to_owned(),
            sender,
        });
        receiver
    }

    /// Hands each change to those who watch its key, and parts with those who are gone or too far behind.
    pub(super) fn tell(&self, changes: &[Change]) {
        if changes.is_empty() {
            return;
        }
        self.0.lock().retain(|watcher| {
            changes
                .iter()
                .filter(|change| change.key.starts_with(&watcher.prefix))
                .all(|change| watcher.sender.try_send(change.clone()).is_ok())
        });
    }
}
