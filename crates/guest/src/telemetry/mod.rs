//! What extensions are told of an environment: the Telemetry API and the older Logs API.
//!
//! The journal tells the [`Hub`] what happens; each subscriber has a bounded buffer and a task that brings batches to
//! it. A subscriber that does not read loses records, which are counted and told, and delays nobody.
//!
//! Reading order: `subscription` (what is asked for), `record` (what is sent), `buffer` (when), `socket` and `link`
//! (how it gets into the sandbox), `subscriber`.

mod buffer;
mod link;
mod record;
mod socket;
mod subscriber;
mod subscription;
#[cfg(test)]
mod tests;

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use ephyra_core::revision::LogFormat;
use parking_lot::Mutex;

use crate::journal::to_time;
use crate::platform::Event;
use crate::supervisor::Line;
use subscriber::Subscriber;
use subscription::Dialect;

pub use subscription::{Api, Category};
pub(crate) use subscription::{REQUEST_BYTES, Subscription};

/// What is kept for subscribers that are still to come, in records and in bytes.
const PAST_RECORDS: usize = 1000;
const PAST_BYTES: usize = 256 * 1024;

/// Why a subscription was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Initialisation is over: 403.
    Closed,
    /// The request is wrong, for this reason: 400.
    Invalid(String),
}

/// All subscribers of an environment, and what happened before they came.
pub(crate) struct Hub {
    inner: Mutex<Inner>,
    /// The way to ask the sandbox for sockets.
    line: Line,
    /// Whether the function's lines are JSON objects where they can be.
    is_json: bool,
}

struct Inner {
    /// `None` once nobody can subscribe any more.
    past: Option<Past>,
    subscribers: Vec<Subscriber>,
}

#[derive(Default)]
struct Past {
    entries: Vec<Entry>,
    bytes: usize,
    lost: buffer::Lost,
}

struct Entry {
    at_ms: i64,
    what: What,
}

enum What {
    Line(Category, String),
    /// The records of each dialect, in the order of [`Dialect::ALL`].
    Platform([Vec<Bytes>; Dialect::ALL.len()]),
}

impl Hub {
    /// A hub without subscribers that keeps the past for them.
    pub(crate) fn new(line: Line, format: LogFormat) -> Self {
        Self {
            inner: Mutex::new(Inner {
                past: Some(Past::default()),
                subscribers: Vec::new(),
            }),
            line,
            is_json: format == LogFormat::Json,
        }
    }

    /// Subscribes an extension. The same request again changes nothing.
    pub(crate) fn subscribe(&self, name: &str, api: Api, body: &[u8], now_ms: i64) -> Result<(), Refusal> {
        let mut inner = self.inner.lock();
        let Inner { past, subscribers } = &mut *inner;
        let Some(past) = past else {
            return Err(Refusal::Closed);
        };
        let subscription = Subscription::parse(api, body).map_err(Refusal::Invalid)?;
        if let Some(known) = subscribers.iter().find(|known| known.name() == name) {
            return if *known.subscription() == subscription {
                Ok(())
            } else {
                Err(Refusal::Invalid("the extension has subscribed already".to_owned()))
            };
        }
        self.line
            .ask_for_socket()
            .map_err(|error| Refusal::Invalid(format!("the sandbox gave no socket: {error}")))?;
        let subscriber = Subscriber::new(name.to_owned(), subscription);
        let now = Instant::now();
        for entry in &past.entries {
            self.tell(&subscriber, entry, now);
        }
        subscriber.lose(past.lost);
        subscribers.push(subscriber);
        let event = Event::Subscription {
            name,
            api,
            categories: &subscribers[subscribers.len() - 1].subscription().categories.clone(),
        };
        self.platform_to(subscribers, None, event, now_ms);
        Ok(())
    }

    /// Takes a socket that was asked for; nothing else.
    pub(crate) fn take_socket(&self, fd: OwnedFd) -> io::Result<()> {
        let socket = socket::Socket::new(fd)?;
        let mut inner = self.inner.lock();
        if let Some(waiting) = inner.subscribers.iter_mut().find(|one| !one.is_served()) {
            waiting.serve(socket);
        }
        Ok(())
    }

    /// Nobody subscribes any more. Says whether anybody has.
    pub(crate) fn close(&self) -> bool {
        let mut inner = self.inner.lock();
        inner.past = None;
        !inner.subscribers.is_empty()
    }

    /// The subscriptions there are.
    pub(crate) fn subscriptions(&self) -> Vec<(String, Api, Vec<Category>)> {
        let inner = self.inner.lock();
        let one = |subscriber: &Subscriber| {
            let subscription = subscriber.subscription();
            (
                subscriber.name().to_owned(),
                subscription.dialect.api(),
                subscription.categories.clone(),
            )
        };
        inner.subscribers.iter().map(one).collect()
    }

    /// Tells of a line of the guest's.
    pub(crate) fn line(&self, category: Category, text: &str, now_ms: i64) {
        let mut inner = self.inner.lock();
        let Inner { past, subscribers } = &mut *inner;
        if past.is_none() && !subscribers.iter().any(|one| one.subscription().wants(category)) {
            return;
        }
        let entry = Entry {
            at_ms: now_ms,
            what: What::Line(category, text.to_owned()),
        };
        let now = Instant::now();
        for subscriber in &*subscribers {
            self.tell(subscriber, &entry, now);
        }
        if let Some(past) = past {
            past.keep(entry);
        }
    }

    /// Tells of an event of the platform's.
    pub(crate) fn platform(&self, event: Event<'_>, now_ms: i64) {
        let mut inner = self.inner.lock();
        let Inner { past, subscribers } = &mut *inner;
        self.platform_to(subscribers, past.as_mut(), event, now_ms);
    }

    fn platform_to(&self, subscribers: &[Subscriber], past: Option<&mut Past>, event: Event<'_>, now_ms: i64) {
        let is_past = past.is_some();
        let wants = |dialect: &Dialect| {
            is_past
                || subscribers
                    .iter()
                    .any(|one| one.subscription().dialect == *dialect && one.subscription().wants(Category::Platform))
        };
        let time = to_time(now_ms);
        let entry = Entry {
            at_ms: now_ms,
            what: What::Platform(Dialect::ALL.map(|dialect| match wants(&dialect) {
                true => record::platform(dialect, event, &time),
                false => Vec::new(),
            })),
        };
        let now = Instant::now();
        for subscriber in subscribers {
            self.tell(subscriber, &entry, now);
        }
        if let Some(past) = past {
            past.keep(entry);
        }
    }

    fn tell(&self, subscriber: &Subscriber, entry: &Entry, now: Instant) {
        let Subscription { dialect, .. } = *subscriber.subscription();
        match &entry.what {
            What::Line(category, text) if subscriber.subscription().wants(*category) => {
                let is_json = self.is_json;
                let record = record::line(dialect, *category, text, is_json, &to_time(entry.at_ms));
                subscriber.push(record, now);
            }
            What::Platform(records) if subscriber.subscription().wants(Category::Platform) => {
                for record in &records[dialect as usize] {
                    subscriber.push(record.clone(), now);
                }
            }
            What::Line(..) | What::Platform(_) => {}
        }
    }

    /// Ends all deliveries. When this returns, nothing can be sent into the sandbox any more.
    pub(crate) fn cut_off(&self) {
        let mut inner = self.inner.lock();
        inner.past = None;
        inner.subscribers.clear();
    }

    /// Has everything sent that waits, and from now on at once: the environment is about to end.
    pub(crate) fn hurry(&self) {
        for subscriber in &self.inner.lock().subscribers {
            subscriber.hurry();
        }
    }
}

impl Past {
    fn keep(&mut self, entry: Entry) {
        let bytes = match &entry.what {
            What::Line(_, text) => text.len(),
            What::Platform(records) => records.iter().flatten().map(Bytes::len).sum(),
        };
        if self.entries.len() < PAST_RECORDS && self.bytes + bytes <= PAST_BYTES {
            self.bytes += bytes;
            self.entries.push(entry);
        } else {
            self.lost.records += 1;
            self.lost.bytes += bytes as u64;
        }
    }
}

/// Shared by the journal, which tells, and the API, which subscribes.
pub(crate) type SharedHub = Arc<Hub>;
