//! Handing new events to those who follow a group.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::Stream;
use parking_lot::Mutex;
use tokio::sync::broadcast::{self, Receiver, Sender, error::RecvError};

use super::LogEvent;

/// How many events a follower may be behind before it misses the oldest.
const BACKLOG: usize = 1024;

/// The followed groups.
#[derive(Debug, Default)]
pub(super) struct Followers {
    groups: Mutex<HashMap<String, Sender<LogEvent>>>,
    count: AtomicUsize,
}

impl Followers {
    /// Whether nobody follows anything: the usual case, told without a lock.
    pub(super) fn is_empty(&self) -> bool {
        self.count.load(Ordering::Acquire) == 0
    }

    /// Hands `events` to those who follow the group.
    pub(super) fn tell(&self, group: &str, events: impl Iterator<Item = LogEvent>) {
        let sender = self.groups.lock().get(group).cloned();
        if let Some(sender) = sender {
            for event in events {
                // When the last follower has just left, nobody minds.
                let _ = sender.send(event);
            }
        }
    }

    pub(super) fn follow(self: &Arc<Self>, group: &str) -> Follower {
        self.count.fetch_add(1, Ordering::AcqRel);
        let mut groups = self.groups.lock();
        let sender = groups
            .entry(group.to_owned())
            .or_insert_with(|| broadcast::channel(BACKLOG).0);
        Follower {
            receiver: Some(sender.subscribe()),
            group: group.to_owned(),
            followers: Arc::clone(self),
        }
    }
}

/// Follows a group's events as they are written.
#[derive(Debug)]
pub struct Follower {
    receiver: Option<Receiver<LogEvent>>,
    group: String,
    followers: Arc<Followers>,
}

/// What a follower sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Followed {
    /// An event.
    Event(LogEvent),
    /// The follower was too slow, and so many events were passed over.
    Skipped(u64),
}

impl Follower {
    /// The next event, in the order of writing. Never `None` as long as the follower is there.
    pub async fn next(&mut self) -> Option<Followed> {
        match self.receiver.as_mut()?.recv().await {
            Ok(event) => Some(Followed::Event(event)),
            Err(RecvError::Lagged(count)) => Some(Followed::Skipped(count)),
            Err(RecvError::Closed) => None,
        }
    }

    /// The follower as a stream.
    pub fn into_stream(self) -> impl Stream<Item = Followed> + Send {
        futures_util::stream::unfold(self, |mut follower| async move {
            let followed = follower.next().await?;
            Some((followed, follower))
        })
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        let mut groups = self.followers.groups.lock();
        self.receiver = None;
        if groups
            .get(&self.group)
            .is_some_and(|sender| sender.receiver_count() == 0)
        {
            groups.remove(&self.group);
        }
        self.followers.count.fetch_sub(1, Ordering::AcqRel);
    }
}
