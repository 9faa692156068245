//! A house around the events: a store on disk, functions that fare as told, and what they and the hook were given.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use ephyra_core::compute::{AcceptedEvent, EventConfig, Invoke, Resolve, ResolveError, Resolved};
use ephyra_core::id::{FunctionName, Qualifier, RequestId, Version};
use ephyra_core::invocation::{FunctionError, Invocation, InvokeError, Measures, Outcome};
use ephyra_core::revision::Revision;
use ephyra_events::{Events, EventsOptions, Settled, Settlement};
use ephyra_store::clock::ManualClock;
use ephyra_store::sqlite::Sqlite;
use ephyra_store::{Leased, Log, StoreError};
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};

/// Waits for `future`, but not for ever.
pub(crate) async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), future)
        .await
        .expect("resolves in time")
}

/// How a run fares.
pub(crate) enum Answer {
    Success,
    Error,
    Refuse(InvokeError),
    /// Succeeds once it is released.
    Held,
}

type Script = Box<dyn Fn(u32) -> Answer + Send>;

pub(crate) struct House {
    pub(crate) options: EventsOptions,
    clock: Arc<ManualClock>,
    log: Arc<Spy>,
    world: Arc<World>,
    runs: UnboundedReceiver<Invocation>,
    settlements: UnboundedReceiver<Settlement>,
    postponed: UnboundedReceiver<Duration>,
    _dir: tempfile::TempDir,
}

/// The functions and the hook.
struct World {
    script: Mutex<Script>,
    config: Mutex<EventConfig>,
    revision: Arc<Revision>,
    run: AtomicU32,
    resolutions: AtomicU32,
    refused_settlements: AtomicU32,
    at_once: AtomicUsize,
    most_at_once: AtomicUsize,
    held: Semaphore,
    runs: UnboundedSender<Invocation>,
    settlements: UnboundedSender<Settlement>,
}

impl House {
    pub(crate) fn open() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::new(1_000_000));
        let (spy, postponed) = mpsc::unbounded_channel();
        let sqlite = Sqlite::open(dir.path(), clock.clone()).unwrap();
        let (to_runs, runs) = mpsc::unbounded_channel();
        let (to_settlements, settlements) = mpsc::unbounded_channel();
        let world = World {
            script: Mutex::new(Box::new(|_| Answer::Success)),
            config: Mutex::new(EventConfig {
                max_retries: 2,
                max_age_seconds: 21_600,
            }),
            revision: revision(),
            run: AtomicU32::new(0),
            resolutions: AtomicU32::new(0),
            refused_settlements: AtomicU32::new(0),
            at_once: AtomicUsize::new(0),
            most_at_once: AtomicUsize::new(0),
            held: Semaphore::new(0),
            runs: to_runs,
            settlements: to_settlements,
        };
        Self {
            options: EventsOptions::default(),
            clock,
            log: Arc::new(Spy { sqlite, postponed: spy }),
            world: Arc::new(world),
            runs,
            settlements,
            postponed,
            _dir: dir,
        }
    }

    pub(crate) fn start(&self) -> Events {
        let world = Arc::clone(&self.world);
        Events::start(
            self.log.clone(),
            self.clock.clone(),
            world.clone(),
            world.clone(),
            world,
            self.options.clone(),
        )
    }

    /// Says how the `n`th run fares, counted from 0.
    pub(crate) fn answer(&self, script: impl Fn(u32) -> Answer + Send + 'static) {
        *self.world.script.lock() = Box::new(script);
    }

    pub(crate) fn config(&self, max_retries: u32, max_age_seconds: u32) {
        *self.world.config.lock() = EventConfig {
            max_retries,
            max_age_seconds,
        };
    }

    pub(crate) fn refuse_settlements(&self, count: u32) {
        self.world.refused_settlements.store(count, Ordering::SeqCst);
    }

    pub(crate) fn event(&self, function: &str) -> AcceptedEvent {
        AcceptedEvent {
            request_id: RequestId::new(),
            function: function.parse().unwrap(),
            qualifier: Some("live".parse().unwrap()),
            payload: Bytes::from_static(b"{\"a\": [1, 2]}"),
            client_context: Some("{\"custom\":{}}".to_owned()),
            trace_id: Some("Root=1-2-3".to_owned()),
        }
    }

    pub(crate) async fn next_run(&mut self) -> Invocation {
        soon(self.runs.recv()).await.unwrap()
    }

    pub(crate) async fn next_settlement(&mut self) -> Settlement {
        soon(self.settlements.recv()).await.unwrap()
    }

    pub(crate) fn waiting_runs(&self) -> usize {
        self.runs.len()
    }

    pub(crate) fn most_at_once(&self) -> usize {
        self.world.most_at_once.load(Ordering::SeqCst)
    }

    pub(crate) fn release_one(&self) {
        self.world.held.add_permits(1);
    }

    pub(crate) fn advance(&self, by: Duration) {
        self.clock.advance(by);
    }

    /// Waits until an event was put back for just `wait`, and lets that time pass; nothing runs before its last millisecond.
    pub(crate) async fn wait_out(&mut self, wait: Duration) {
        assert_eq!(soon(self.postponed.recv()).await, Some(wait));
        self.advance(wait - Duration::from_millis(1));
        let leased = self
            .log
            .sqlite
            .lease("events", 1, Duration::from_secs(1))
            .await
            .unwrap();
        assert_eq!(leased, []);
        self.advance(Duration::from_millis(1));
    }

    /// Stops, and finds that nothing is left.
    pub(crate) async fn ends_empty(mut self, events: Events) {
        assert!(soon(events.stop(Duration::from_secs(60))).await);
        self.log.sqlite.release_all("events").await.unwrap();
        self.advance(Duration::from_secs(86_400));
        let left = self.log.sqlite.lease("events", 9, Duration::ZERO).await.unwrap();
        assert_eq!(left, []);
        assert!(self.runs.try_recv().is_err());
        assert!(self.settlements.try_recv().is_err());
    }
}

fn revision() -> Arc<Revision> {
    let json = serde_json::json!({
        "id": ephyra_core::id::RevisionId::new(), "function": "hello", "version": "7", "function_arn": "arn", "runtime": "python3.13",
        "handler": "app.handler", "code": "00".repeat(32), "layers": [], "memory_mb": 128, "ephemeral_storage_mb": 512,
        "timeout_seconds": 3, "variables": [],
        "logging": {"format": "Text", "application_level": "INFO", "system_level": "INFO", "group": "/aws/lambda/hello"},
    });
    Arc::new(serde_json::from_value(json).unwrap())
}

impl Resolve for World {
    fn resolve<'a>(
        &'a self,
        function: &'a FunctionName,
        _qualifier: Option<&'a Qualifier>,
    ) -> BoxFuture<'a, Result<Resolved, ResolveError>> {
        let is_first = self.resolutions.fetch_add(1, Ordering::SeqCst) == 0;
        let not_ready = |retry| ResolveError::NotReady {
            reason: "not ready".to_owned(),
            retry,
        };
        let result = match function.as_str() {
            "gone" => Err(ResolveError::NotFound("gone".to_owned())),
            "unfit" => Err(not_ready(false)),
            "pending" if is_first => Err(not_ready(true)),
            _ => Ok(Resolved {
                revision: Arc::clone(&self.revision),
                invoked_arn: format!("arn:{function}"),
                events: *self.config.lock(),
            }),
        };
        Box::pin(std::future::ready(result))
    }

    fn is_stopped<'a>(&'a self, function: &'a FunctionName) -> BoxFuture<'a, Result<bool, ResolveError>> {
        Box::pin(std::future::ready(Ok(function.as_str() == "stopped")))
    }
}

impl Invoke for World {
    fn invoke(&self, invocation: Invocation) -> BoxFuture<'_, Result<Outcome, InvokeError>> {
        Box::pin(async move {
            let answer = self.script.lock()(self.run.fetch_add(1, Ordering::SeqCst));
            let at_once = self.at_once.fetch_add(1, Ordering::SeqCst) + 1;
            self.most_at_once.fetch_max(at_once, Ordering::SeqCst);
            if !matches!(invocation.revision.function.as_str(), "hello") {
                unreachable!("nothing else is resolved");
            }
            let is_stopped = invocation.invoked_arn.ends_with("stopped");
            if !is_stopped {
                self.runs.send(invocation).unwrap();
            }
            if matches!(answer, Answer::Held) {
                self.held.acquire().await.unwrap().forget();
            }
            self.at_once.fetch_sub(1, Ordering::SeqCst);
            let result = match answer {
                Answer::Refuse(error) => return Err(error),
                Answer::Error => Err(FunctionError {
                    error_type: "ValueError".to_owned(),
                    payload: Bytes::from_static(b"{}"),
                }),
                Answer::Success | Answer::Held => Ok(Bytes::from_static(b"null")),
            };
            Ok(Outcome {
                executed_version: Version::Number(7),
                result,
                log_tail: None,
                measures: Measures::default(),
            })
        })
    }
}

impl Settled for World {
    fn settled<'a>(&'a self, settlement: &'a Settlement) -> BoxFuture<'a, Result<(), StoreError>> {
        let left = &self.refused_settlements;
        let is_refused = left
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1))
            .is_ok();
        if !is_refused {
            self.settlements.send(settlement.clone()).unwrap();
        }
        let result = if is_refused { Err(StoreError::Conflict) } else { Ok(()) };
        Box::pin(std::future::ready(result))
    }
}

/// A log that tells what was put back, and for how long.
struct Spy {
    sqlite: Sqlite,
    postponed: UnboundedSender<Duration>,
}

impl Log for Spy {
    fn append<'a>(&'a self, topic: &'a str, value: Bytes, delay: Duration) -> BoxFuture<'a, Result<u64, StoreError>> {
        self.sqlite.append(topic, value, delay)
    }

    fn lease<'a>(
        &'a self,
        topic: &'a str,
        max: usize,
        lease: Duration,
    ) -> BoxFuture<'a, Result<Vec<Leased>, StoreError>> {
        self.sqlite.lease(topic, max, lease)
    }

    fn acknowledge<'a>(&'a self, topic: &'a str, id: u64) -> BoxFuture<'a, Result<(), StoreError>> {
        self.sqlite.acknowledge(topic, id)
    }

    fn postpone<'a>(
        &'a self,
        topic: &'a str,
        id: u64,
        value: Option<Bytes>,
        delay: Duration,
    ) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            self.sqlite.postpone(topic, id, value, delay).await?;
            self.postponed.send(delay).unwrap();
            Ok(())
        })
    }

    fn due<'a>(&'a self, topic: &'a str) -> BoxFuture<'a, Result<(), StoreError>> {
        self.sqlite.due(topic)
    }

    fn release_all<'a>(&'a self, topic: &'a str) -> BoxFuture<'a, Result<(), StoreError>> {
        self.sqlite.release_all(topic)
    }
}
