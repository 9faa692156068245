//! Blanks that are built, and perhaps booted, before anybody needs them.
//!
//! [`plan`] decides how many of which [`key`](Key) to hold; this holds them. One task refills: only while no function is
//! being started, as whoever waits for one comes first. When nothing is started for long it has nothing to wake up for.
//!
//! **Invariant:** a blank that is handed out was alive at that moment and has been told nothing; all of them together take
//! no more than the limits.

mod key;
mod meters;
pub mod plan;

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use ephyra_core::environment::LaunchError;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::task::{AbortHandle, JoinSet};

pub use key::{Form, Key};
pub use plan::Limits;

use crate::blank::Blank;
use crate::launcher::Builder;
use meters::Meters;
use plan::Plan;

/// What must pass after the last start of a function before blanks are made.
const QUIET: Duration = Duration::from_millis(2);
/// How long no blank of a key is made after one could not be; twice as long after each failure that follows.
const RETRY: Duration = Duration::from_secs(1);
/// The longest of these times.
const LONGEST_RETRY: Duration = Duration::from_secs(300);

/// The blanks of this machine; clones share them.
#[derive(Clone)]
pub(crate) struct Pool {
    shared: Arc<Shared>,
}

struct Shared {
    builder: Arc<dyn Builder>,
    state: Mutex<State>,
    /// Something has changed that the refilling task may have to act on.
    changed: Notify,
    meters: Meters,
}

struct State {
    plan: Plan,
    idle: BTreeMap<Key, VecDeque<Idle>>,
    making: BTreeMap<Key, usize>,
    failures: BTreeMap<Key, Failures>,
    /// Functions that are being started.
    starts: usize,
    /// When the last one had been.
    quiet_since: Instant,
    next_number: u64,
    is_closed: bool,
}

struct Idle {
    number: u64,
    blank: Blank,
    /// Tells when it dies.
    _watch: Watch,
}

/// A task that ends with this.
struct Watch(AbortHandle);

impl Drop for Watch {
    fn drop(&mut self) {
        self.0.abort();
    }
}

struct Failures {
    again: Instant,
    wait: Duration,
}

/// A function is being started while this lives: no blanks are made meanwhile.
pub(crate) struct Starting {
    shared: Arc<Shared>,
}

impl Drop for Starting {
    fn drop(&mut self) {
        let mut state = self.shared.state.lock();
        state.starts -= 1;
        state.quiet_since = Instant::now();
        let is_quiet = state.starts == 0;
        drop(state);
        if is_quiet {
            self.shared.changed.notify_one();
        }
    }
}

/// What the refilling task is to do.
enum Work {
    /// Make a blank of this key.
    Make(Key),
    /// Nothing before this moment, unless something changes.
    Wait(Option<Instant>),
    /// End.
    Stop,
}

impl Pool {
    /// Holds blanks within `limits`, expecting to need some of `expected` at first. To be called inside the
    /// asynchronous runtime.
    pub(crate) fn open(builder: Arc<dyn Builder>, limits: Limits, expected: &[(Key, usize)]) -> Self {
        let now = Instant::now();
        let mut plan = Plan::new(limits);
        for (key, count) in expected {
            plan.expect(key, *count, now);
        }
        let is_off = plan.is_off();
        let shared = Arc::new(Shared {
            builder,
            state: Mutex::new(State {
                plan,
                idle: BTreeMap::new(),
                making: BTreeMap::new(),
                failures: BTreeMap::new(),
                starts: 0,
                quiet_since: now,
                next_number: 0,
                is_closed: is_off,
            }),
            changed: Notify::new(),
            meters: Meters::new(),
        });
        if !is_off {
            tokio::spawn(Arc::clone(&shared).refill());
        }
        Self { shared }
    }

    /// Says that a function is being started, for as long as what is given back lives.
    pub(crate) fn starting(&self) -> Starting {
        self.shared.state.lock().starts += 1;
        Starting {
            shared: Arc::clone(&self.shared),
        }
    }

    /// Takes a blank of this key, the newest, if there is one that lives; remembers that one was wanted.
    pub(crate) fn take(&self, key: &Key) -> Option<Blank> {
        let mut dead = Vec::new();
        let mut state = self.shared.state.lock();
        if state.is_closed {
            return None;
        }
        state.plan.started(key, Instant::now());
        let found = loop {
            let Some(mut idle) = state.idle.get_mut(key).and_then(VecDeque::pop_back) else {
                break None;
            };
            if !idle.blank.is_dead() {
                break Some(idle);
            }
            dead.push(idle);
        };
        drop(state);
        self.shared.meters.took(key, found.is_some());
        self.shared.meters.lost(dead.len());
        drop(dead);
        found.map(|idle| idle.blank)
    }

    /// How many blanks there are.
    pub(crate) fn ready(&self) -> usize {
        self.shared.state.lock().idle.values().map(VecDeque::len).sum()
    }

    /// Ends all blanks, and makes no more.
    pub(crate) fn close(&self) {
        let mut state = self.shared.state.lock();
        state.is_closed = true;
        let idle = std::mem::take(&mut state.idle);
        drop(state);
        drop(idle);
        self.shared.meters.hold(&BTreeMap::new());
        self.shared.changed.notify_one();
    }
}

impl Shared {
    /// Makes and gives up blanks until the pool is closed.
    async fn refill(self: Arc<Self>) {
        let mut makers = JoinSet::new();
        loop {
            let until = match self.next(Instant::now()) {
                Work::Make(key) => {
                    makers.spawn(Arc::clone(&self).make(key));
                    continue;
                }
                Work::Wait(until) => until,
                Work::Stop => return,
            };
            let time = async {
                match until {
                    Some(until) => tokio::time::sleep_until(until.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = self.changed.notified() => {}
                Some(_made) = makers.join_next() => {}
                () = time => {}
            }
        }
    }

    fn next(&self, now: Instant) -> Work {
        let mut state = self.state.lock();
        if state.is_closed {
            return Work::Stop;
        }
        let change = state.plan.age(now);
        let targets = state.plan.targets(now);
        let surplus = state.surplus(&targets);
        let work = state.work(&targets, now, change);
        let sizes = state.sizes();
        drop(state);
        drop(surplus);
        self.meters.hold(&sizes);
        work
    }

    async fn make(self: Arc<Self>, key: Key) {
        let made = self.try_make(&key).await;
        let mut state = self.state.lock();
        if let Some(making) = state.making.get_mut(&key) {
            *making -= 1;
        }
        match made {
            // Dropped when the pool was closed meanwhile.
            Ok(blank) if !state.is_closed => {
                state.failures.remove(&key);
                if let Ok(bytes @ 1..) = blank.controls.peak_memory_bytes() {
                    state.plan.learn(&key, bytes);
                }
                let number = state.next_number;
                state.next_number += 1;
                let watch = self.watch(&blank, key.clone(), number);
                state.idle.entry(key).or_default().push_back(Idle {
                    number,
                    blank,
                    _watch: watch,
                });
            }
            Ok(_) => {}
            Err(error) => {
                let wait = state
                    .failures
                    .get(&key)
                    .map_or(RETRY, |last| (last.wait * 2).min(LONGEST_RETRY));
                tracing::warn!(%error, runtime = key.runtime, "an environment could not be made ahead; again in {wait:?}");
                let again = Instant::now() + wait;
                state.failures.insert(key, Failures { again, wait });
            }
        }
    }

    async fn try_make(&self, key: &Key) -> Result<Blank, LaunchError> {
        let runtime = self.builder.runtime(&key.runtime)?;
        let mut blank = Blank::make(self.builder.as_ref(), &runtime, key).await?;
        blank.boot().await?;
        blank.freeze();
        Ok(blank)
    }

    /// Has a blank taken out when it dies.
    fn watch(self: &Arc<Self>, blank: &Blank, key: Key, number: u64) -> Watch {
        let stirred = blank.supervisor.stirred();
        let shared = Arc::downgrade(self);
        let task = tokio::spawn(async move {
            stirred.await;
            if let Some(shared) = shared.upgrade() {
                shared.remove(&key, number);
            }
        });
        Watch(task.abort_handle())
    }

    fn remove(&self, key: &Key, number: u64) {
        let mut state = self.state.lock();
        let Some(idle) = state.idle.get_mut(key) else { return };
        let Some(at) = idle.iter().position(|idle| idle.number == number) else {
            return;
        };
        let dead = idle.remove(at);
        drop(state);
        drop(dead);
        self.meters.lost(1);
        self.changed.notify_one();
    }
}

impl State {
    fn held(&self, key: &Key) -> usize {
        self.idle.get(key).map_or(0, VecDeque::len) + self.making.get(key).copied().unwrap_or_default()
    }

    fn sizes(&self) -> BTreeMap<Key, (usize, u64)> {
        let idle = self.idle.iter();
        idle.map(|(key, idle)| (key.clone(), (idle.len(), self.plan.cost(key))))
            .collect()
    }

    /// Takes out what is more than is wanted, the oldest first.
    fn surplus(&mut self, targets: &BTreeMap<Key, usize>) -> Vec<Idle> {
        let mut surplus = Vec::new();
        for (key, idle) in &mut self.idle {
            let target = targets.get(key).copied().unwrap_or_default();
            let count = idle.len().saturating_sub(target);
            surplus.extend(idle.drain(..count));
        }
        self.idle.retain(|_, idle| !idle.is_empty());
        self.making.retain(|_, making| *making > 0);
        surplus
    }

    fn work(&mut self, targets: &BTreeMap<Key, usize>, now: Instant, change: Option<Instant>) -> Work {
        let sooner = |at: Instant| Work::Wait(Some(change.map_or(at, |change| change.min(at))));
        // Whose end, or whose failure, brings this back here.
        if self.starts > 0 || self.making.values().sum::<usize>() >= makers() {
            return Work::Wait(change);
        }
        self.failures.retain(|key, _| targets.contains_key(key));
        let mut again = None;
        let mut best: Option<(usize, &Key)> = None;
        for (key, target) in targets {
            let held = self.held(key);
            if held >= *target {
                continue;
            }
            match self.failures.get(key) {
                Some(failures) if failures.again > now => {
                    again = Some(again.map_or(failures.again, |again: Instant| again.min(failures.again)));
                }
                // What there is least of.
                _ if best.is_none_or(|(least, _)| held < least) => best = Some((held, key)),
                _ => {}
            }
        }
        let Some((_, key)) = best else {
            return again.map_or(Work::Wait(change), sooner);
        };
        let quiet = self.quiet_since + QUIET;
        if quiet > now {
            return sooner(quiet);
        }
        *self.making.entry(key.clone()).or_default() += 1;
        Work::Make(key.clone())
    }
}

/// How many blanks are made at once: half the processors stay for those who wait for something.
fn makers() -> usize {
    static MAKERS: LazyLock<usize> =
        LazyLock::new(|| std::thread::available_parallelism().map_or(1, |count| (count.get() / 2).max(1)));
    *MAKERS
}
