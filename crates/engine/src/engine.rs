//! The shell around the scheduler: the lock, the environments at rest, and what carries out effects.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use ephyra_core::compute::{Invoke, ProvisionedStatus, SnapStartError, Steer};
use ephyra_core::environment::{Environment, LaunchError, Launcher, Purpose};
use ephyra_core::id::{FunctionName, RevisionId};
use ephyra_core::invocation::{Invocation, InvokeError, Outcome};
use ephyra_core::revision::Revision;
use ephyra_core::usage::UsageSink;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::{Notify, oneshot};

use crate::detach::DetachOnDrop;
use crate::drain::Cut;
use crate::lease::{Hold, Start};
use crate::meters::Meters;
use crate::options::Options;
use crate::rest::{Resting, Watch};
use crate::run::Granted;
use crate::scheduler::{Effect, Scheduler, Slot, Snapshot, Ticket};

/// The time, of which a test may dispose.
pub(crate) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// The scheduler of one machine. A clone is another handle to the same.
#[derive(Clone)]
pub struct Engine {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) options: Options,
    pub(crate) launcher: Arc<dyn Launcher>,
    pub(crate) usage: Arc<dyn UsageSink>,
    pub(crate) meters: Meters,
    pub(crate) runtime: Handle,
    pub(crate) state: Mutex<State>,
    /// Breaks off whatever still runs.
    pub(crate) cut: Cut,
    /// Something changed while the platform goes down.
    pub(crate) changed: Notify,
    /// The clock task has to wake earlier than it planned.
    clock: Notify,
}

pub(crate) struct State {
    pub(crate) scheduler: Scheduler,
    /// Environments that are idle, or about to be handed to someone by an effect.
    pub(crate) rest: HashMap<Slot, Resting>,
    pub(crate) waiting: HashMap<Ticket, Answer>,
    retiring: HashMap<RevisionId, Vec<oneshot::Sender<()>>>,
    templates: HashMap<RevisionId, Vec<oneshot::Sender<Result<(), SnapStartError>>>>,
    /// When the clock task wakes; `None`: there is none, for nothing is due ever.
    clock_at: Option<Instant>,
    pub(crate) is_draining: bool,
}

/// How one that waits is answered.
type Answer = oneshot::Sender<Result<Granted, InvokeError>>;

/// An effect with what it needs, to be carried out without the lock.
pub(crate) enum Deed {
    Start(Slot, Arc<Revision>, Purpose),
    Grant(Option<Answer>, Hold, Option<Box<dyn Environment>>, bool),
    Refuse(Answer, InvokeError),
    End(Slot, Box<dyn Environment>),
    Freeze(Slot, Box<dyn Environment>),
    Retired(Vec<oneshot::Sender<()>>),
    Template(
        Vec<oneshot::Sender<Result<(), SnapStartError>>>,
        Result<(), SnapStartError>,
    ),
    RunClock,
}

impl Engine {
    /// A scheduler without environments. Call it inside a tokio runtime, after the metrics recorder is installed.
    pub fn new(options: Options, launcher: Arc<dyn Launcher>, usage: Arc<dyn UsageSink>) -> Self {
        let state = State {
            scheduler: Scheduler::new(options.clone()),
            rest: HashMap::new(),
            waiting: HashMap::new(),
            retiring: HashMap::new(),
            templates: HashMap::new(),
            clock_at: None,
            is_draining: false,
        };
        Self {
            inner: Arc::new(Inner {
                options,
                launcher,
                usage,
                meters: Meters::new(),
                runtime: Handle::current(),
                state: Mutex::new(state),
                cut: Cut::default(),
                changed: Notify::new(),
                clock: Notify::new(),
            }),
        }
    }

    /// What runs, waits and rests at this moment.
    pub fn snapshot(&self) -> Snapshot {
        self.inner.state.lock().scheduler.snapshot()
    }
}

impl Invoke for Engine {
    fn invoke(&self, invocation: Invocation) -> BoxFuture<'_, Result<Outcome, InvokeError>> {
        let run = Arc::clone(&self.inner).run(invocation);
        Box::pin(DetachOnDrop::new(self.inner.runtime.clone(), run))
    }
}

impl Steer for Engine {
    fn set_reserved(&self, function: &FunctionName, limit: Option<u32>) {
        self.inner
            .update(|state, _| state.scheduler.set_reserved(function, limit));
    }

    fn set_provisioned(&self, revision: Arc<Revision>, count: u32) {
        self.inner
            .update(|state, effects| state.scheduler.set_provisioned(&revision, count, now(), effects));
    }

    fn provisioned(&self, revision: RevisionId) -> ProvisionedStatus {
        self.inner.state.lock().scheduler.provisioned(revision)
    }

    fn set_snap_start(&self, revision: Arc<Revision>, is_on: bool) {
        self.inner
            .update(|state, effects| state.scheduler.set_snap_start(&revision, is_on, now(), effects));
    }

    fn first_template(&self, revision: Arc<Revision>) -> BoxFuture<'static, Result<(), SnapStartError>> {
        let (sender, receiver) = oneshot::channel();
        self.inner.update(|state, effects| {
            state.templates.entry(revision.id).or_default().push(sender);
            state.scheduler.first_template(&revision, now(), effects);
        });
        Box::pin(async move { receiver.await.unwrap_or(Err(SnapStartError::Undone)) })
    }

    fn retire(&self, revision: RevisionId) -> BoxFuture<'static, ()> {
        let (sender, receiver) = oneshot::channel();
        self.inner.update(|state, effects| {
            if state.scheduler.retire(revision, now(), effects) {
                state.retiring.entry(revision).or_default().push(sender);
            }
        });
        Box::pin(async move {
            // A sender that was dropped means the same: nothing of the revision is left.
            drop(receiver.await);
        })
    }
}

impl Inner {
    /// Changes the state and carries out what follows from it.
    pub(crate) fn update<T>(self: &Arc<Self>, change: impl FnOnce(&mut State, &mut Vec<Effect>) -> T) -> T {
        let (value, deeds) = self.change(change);
        self.carry_out_all(deeds);
        value
    }

    /// Changes the state, and gives what follows from it to the caller, who has to carry it out.
    pub(crate) fn change<T>(
        self: &Arc<Self>,
        change: impl FnOnce(&mut State, &mut Vec<Effect>) -> T,
    ) -> (T, Vec<Deed>) {
        let mut effects = Vec::new();
        let mut deeds = Vec::new();
        let value = {
            let mut state = self.state.lock();
            let value = change(&mut state, &mut effects);
            deeds.extend(
                effects
                    .into_iter()
                    .filter_map(|effect| self.prepare(&mut state, effect)),
            );
            match (state.clock_at, state.scheduler.wake_at()) {
                (None, Some(at)) => {
                    state.clock_at = Some(at);
                    deeds.push(Deed::RunClock);
                }
                (Some(planned), Some(at)) if at < planned => {
                    state.clock_at = Some(at);
                    self.clock.notify_one();
                }
                _ => {}
            }
            self.meters.publish(&state.scheduler);
            if state.is_draining {
                self.changed.notify_waiters();
            }
            value
        };
        (value, deeds)
    }

    /// Carries out what follows from a change, and what follows from that.
    pub(crate) fn carry_out_all(self: &Arc<Self>, deeds: Vec<Deed>) {
        // Not by recursion: each that starts at once may make room for the next.
        let mut deeds = VecDeque::from(deeds);
        while let Some(deed) = deeds.pop_front() {
            if let Deed::Start(slot, revision, purpose) = &deed
                && let Some(environment) = self.launcher.at_once(revision, *purpose)
            {
                deeds.extend(Start::new(Arc::clone(self), *slot).succeed_here(environment));
            } else {
                self.carry_out(deed);
            }
        }
    }

    fn prepare(self: &Arc<Self>, state: &mut State, effect: Effect) -> Option<Deed> {
        let mut take = |slot| state.rest.remove(&slot).and_then(Resting::take);
        match effect {
            Effect::Start {
                slot,
                revision,
                purpose,
            } => Some(Deed::Start(slot, revision, purpose)),
            Effect::End { slot } => Some(Deed::End(slot, take(slot)?)),
            Effect::Freeze { slot } => Some(Deed::Freeze(slot, take(slot)?)),
            Effect::Grant { ticket, lease } => {
                let hold = Hold::new(Arc::clone(self), lease.slot);
                Some(Deed::Grant(
                    state.waiting.remove(&ticket),
                    hold,
                    take(lease.slot),
                    lease.cold,
                ))
            }
            Effect::Fail { ticket, error } => {
                let error = match error {
                    LaunchError::RuntimeAbsent { runtime, present } => InvokeError::RuntimeAbsent { runtime, present },
                    LaunchError::Sandbox(message) => InvokeError::Launch(message),
                };
                Some(Deed::Refuse(state.waiting.remove(&ticket)?, error))
            }
            Effect::Dismiss { ticket } => Some(Deed::Refuse(state.waiting.remove(&ticket)?, InvokeError::Draining)),
            Effect::Retired { revision } => Some(Deed::Retired(state.retiring.remove(&revision)?)),
            Effect::Template { revision, outcome } => Some(Deed::Template(state.templates.remove(&revision)?, outcome)),
        }
    }

    fn carry_out(self: &Arc<Self>, deed: Deed) {
        match deed {
            Deed::Start(slot, revision, purpose) => {
                let start = Start::new(Arc::clone(self), slot);
                self.runtime.spawn(Arc::clone(self).launch(start, revision, purpose));
            }
            Deed::Grant(answer, hold, environment, is_cold) => {
                let granted = match environment {
                    Some(environment) => Ok(Granted {
                        environment,
                        hold,
                        is_cold,
                        has_waited: true,
                    }),
                    None => Err(InvokeError::Launch("the environment was lost".to_owned())),
                };
                // What the receiver no longer takes gives itself back when it is dropped here.
                drop(answer.map(|answer| answer.send(granted)));
            }
            Deed::Refuse(answer, error) => drop(answer.send(Err(error))),
            Deed::End(slot, environment) => {
                let inner = Arc::clone(self);
                self.runtime.spawn(async move {
                    environment.end().await;
                    inner.update(|state, effects| state.scheduler.ended(slot, now(), effects));
                });
            }
            Deed::Freeze(slot, mut environment) => {
                environment.freeze();
                let watch = Watch::new(environment);
                let signal = watch.signal();
                self.update(|state, effects| {
                    state.rest.insert(slot, Resting::Watched(watch));
                    state.scheduler.parked(slot, now(), effects);
                });
                self.runtime.spawn(Arc::clone(self).watch(slot, signal));
            }
            Deed::Retired(senders) => {
                for sender in senders {
                    // Who asked may no longer want to know.
                    let _ = sender.send(());
                }
            }
            Deed::Template(senders, outcome) => {
                for sender in senders {
                    // Who asked may no longer want to know.
                    let _ = sender.send(outcome.clone());
                }
            }
            Deed::RunClock => {
                self.runtime.spawn(Arc::clone(self).run_clock());
            }
        }
    }

    async fn launch(self: Arc<Self>, start: Start, revision: Arc<Revision>, purpose: Purpose) {
        let launched = tokio::select! {
            biased;
            launched = self.launcher.launch(revision, purpose) => launched,
            () = self.cut.wait() => Err(LaunchError::Sandbox("the platform is shutting down".to_owned())),
        };
        match launched {
            Ok(environment) => start.succeed(environment),
            Err(error) => {
                tracing::warn!(%error, "an environment could not be started");
                start.fail(&error);
            }
        }
    }

    /// Exists only while something is due at some time.
    async fn run_clock(self: Arc<Self>) {
        loop {
            let Some(at) = self.state.lock().clock_at else {
                return;
            };
            tokio::select! {
                () = tokio::time::sleep_until(at.into()) => {}
                () = self.clock.notified() => continue,
            }
            let goes_on = self.update(|state, effects| {
                state.scheduler.tick(now(), effects);
                state.clock_at = state.scheduler.wake_at();
                state.clock_at.is_some()
            });
            if !goes_on {
                return;
            }
        }
    }

    /// Reports the death of a resting environment; ends when it is used again or ended.
    async fn watch(self: Arc<Self>, slot: Slot, signal: Arc<crate::rest::Signal>) {
        std::future::poll_fn(|context| {
            // The lock is held while it is polled, so that nobody takes the environment between its death and the report.
            self.update(|state, effects| {
                let Some(Resting::Watched(watch)) = state.rest.get_mut(&slot) else {
                    return std::task::Poll::Ready(());
                };
                if !watch.is(&signal) {
                    return std::task::Poll::Ready(());
                }
                watch.poll_death(context).map(|environment| {
                    state.rest.insert(slot, Resting::Loose(environment));
                    state.scheduler.died(slot, now(), effects);
                })
            })
        })
        .await;
    }
}
