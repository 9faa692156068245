//! Environments without processes: a test says when they start, answer and die.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use ephyra_core::digest::Digest;
use ephyra_core::environment::{After, Completion, Environment, Execution, LaunchError, Launcher, Purpose};
use ephyra_core::id::{FunctionName, RequestId, RevisionId, Version};
use ephyra_core::invocation::{ColdStart, FunctionError, Invocation, Measures};
use ephyra_core::revision::{LogFormat, LogLevel, Logging, Revision};
use ephyra_core::usage::{UsageRecord, UsageSink};
use ephyra_engine::{Engine, Options};
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::Notify;

/// What happened to environments, and what is to happen.
#[derive(Default)]
pub(crate) struct World {
    /// Environments that were begun to be started.
    pub(crate) launched: AtomicU32,
    /// What they were started for, in order.
    pub(crate) purposes: Mutex<Vec<Purpose>>,
    /// Environments that are there.
    pub(crate) alive: AtomicUsize,
    /// Environments that were frozen, thawed not counted.
    pub(crate) frozen: AtomicU32,
    /// Environments that were ended in order.
    pub(crate) ended: Mutex<Vec<u32>>,
    /// The usage records.
    pub(crate) records: Mutex<Vec<UsageRecord>>,
    /// How long a start takes.
    pub(crate) start_time: Mutex<HashMap<FunctionName, Duration>>,
    /// How starts fail: the next starts of all functions, in order.
    pub(crate) start_errors: Mutex<Vec<LaunchError>>,
    /// The text of initialisations that fail.
    pub(crate) init_error: Mutex<Option<String>>,
    /// Whether starts take no waiting.
    pub(crate) is_at_once: AtomicBool,
    /// Makes idle environments die.
    pub(crate) death: Notify,
}

struct FakeLauncher(Arc<World>);

pub(crate) struct Fake {
    world: Arc<World>,
    number: u32,
    uses: u32,
    init_error: Option<FunctionError>,
}

/// Counts every environment as gone, ended or dropped.
impl Drop for Fake {
    fn drop(&mut self) {
        self.world.alive.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Launcher for FakeLauncher {
    fn launch(
        &self,
        revision: Arc<Revision>,
        purpose: Purpose,
    ) -> BoxFuture<'static, Result<Box<dyn Environment>, LaunchError>> {
        let world = Arc::clone(&self.0);
        Box::pin(async move {
            let number = world.launched.fetch_add(1, Ordering::SeqCst) + 1;
            world.purposes.lock().push(purpose);
            let time = world.start_time.lock().get(&revision.function).copied();
            tokio::time::sleep(time.unwrap_or(Duration::from_millis(100))).await;
            if let Some(error) = world.start_errors.lock().pop() {
                return Err(error);
            }
            world.alive.fetch_add(1, Ordering::SeqCst);
            let init_error = world.init_error.lock().clone().map(|text| FunctionError {
                error_type: "Runtime.ImportModuleError".to_owned(),
                payload: Bytes::from(text),
            });
            Ok(Box::new(Fake {
                world,
                number,
                uses: 0,
                init_error,
            }) as Box<dyn Environment>)
        })
    }

    fn at_once(&self, _: &Arc<Revision>, purpose: Purpose) -> Option<Box<dyn Environment>> {
        let world = Arc::clone(&self.0);
        if !world.is_at_once.load(Ordering::SeqCst) {
            return None;
        }
        world.purposes.lock().push(purpose);
        world.alive.fetch_add(1, Ordering::SeqCst);
        Some(Box::new(Fake {
            number: world.launched.fetch_add(1, Ordering::SeqCst) + 1,
            world,
            uses: 0,
            init_error: None,
        }))
    }
}

impl Environment for Fake {
    /// The event says how it runs: `MILLISECONDS`, and behind it `exit`, `timeout`, or `after` and how long something
    /// goes on behind the answer; the answer is the environment's number.
    fn invoke(
        mut self: Box<Self>,
        invocation: Invocation,
    ) -> BoxFuture<'static, (Option<Box<dyn Environment>>, Execution)> {
        Box::pin(async move {
            let arrived = tokio::time::Instant::now().into_std();
            let text = String::from_utf8_lossy(&invocation.payload).into_owned();
            let mut words = text.split(' ');
            let ms = words.next().and_then(|word| word.parse().ok()).unwrap_or(0);
            if ms > 0 {
                tokio::time::sleep(Duration::from_millis(ms)).await;
            }
            let failure = |error_type: &str| FunctionError {
                error_type: error_type.to_owned(),
                payload: Bytes::new(),
            };
            let how = words.next();
            let result = match (how, self.init_error.take()) {
                (_, Some(error)) => Err(error),
                (Some("exit"), _) => Err(failure("Runtime.ExitError")),
                (Some("timeout"), _) => Err(failure("Sandbox.Timedout")),
                _ => Ok(Bytes::from(self.number.to_string())),
            };
            let cold = (self.uses == 0).then_some(ColdStart {
                environment: Duration::from_millis(10),
                boot: Duration::from_millis(20),
                init: Duration::from_millis(70),
                ..ColdStart::default()
            });
            self.uses += 1;
            let measures = Measures {
                duration: Duration::from_millis(ms),
                billed_ms: if cold.is_some() { ms + 90 } else { ms },
                cold,
                queued: arrived.saturating_duration_since(invocation.received),
                ..Measures::default()
            };
            let mut environment = result.is_ok().then_some(self as Box<dyn Environment>);
            let after = (how == Some("after")).then(|| {
                let more = Duration::from_millis(words.next().and_then(|word| word.parse().ok()).unwrap_or(0));
                let environment = environment.take();
                After(Box::pin(async move {
                    tokio::time::sleep(more).await;
                    Completion {
                        environment,
                        measures: Measures {
                            duration: measures.duration + more,
                            ..measures
                        },
                        failure: None,
                    }
                }))
            });
            let execution = Execution {
                result,
                log_tail: None,
                measures,
                after,
            };
            (environment, execution)
        })
    }

    fn init_error(&self) -> Option<&FunctionError> {
        self.init_error.as_ref()
    }

    fn freeze(&mut self) {
        self.world.frozen.fetch_add(1, Ordering::SeqCst);
    }

    fn thaw(&mut self) {}

    fn died(&mut self) -> BoxFuture<'_, ()> {
        Box::pin(self.world.death.notified())
    }

    fn end(self: Box<Self>) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            tokio::time::sleep(Duration::from_millis(5)).await;
            self.world.ended.lock().push(self.number);
        })
    }
}

impl UsageSink for World {
    fn record(&self, record: &UsageRecord) {
        self.records.lock().push(record.clone());
    }
}

impl World {
    pub(crate) fn launched(&self) -> u32 {
        self.launched.load(Ordering::SeqCst)
    }

    pub(crate) fn alive(&self) -> usize {
        self.alive.load(Ordering::SeqCst)
    }
}

/// An engine over a new world, with 1,024 MB.
pub(crate) fn engine(change: impl FnOnce(&mut Options)) -> (Engine, Arc<World>) {
    let mut options = Options {
        memory_mb: 1024,
        max_starting: 8,
        max_growing: 8,
        ..Options::default()
    };
    change(&mut options);
    let world = Arc::new(World::default());
    let launcher = Arc::new(FakeLauncher(Arc::clone(&world)));
    let sink: Arc<dyn UsageSink> = Arc::clone(&world) as Arc<dyn UsageSink>;
    (Engine::new(options, launcher, sink), world)
}

/// A revision of its own each time.
pub(crate) fn revision(function: &str, memory_mb: u32) -> Arc<Revision> {
    Arc::new(Revision {
        id: RevisionId::new(),
        function: function.parse().unwrap(),
        version: Version::Latest,
        function_arn: format!("arn:aws:lambda:us-east-1:000000000000:function:{function}"),
        runtime: "python3.13".to_owned(),
        handler: "app.handler".to_owned(),
        code: Digest::of(b""),
        layers: Vec::new(),
        memory_mb,
        ephemeral_storage_mb: 512,
        timeout_seconds: 3,
        variables: Vec::new(),
        logging: Logging {
            format: LogFormat::Text,
            application_level: LogLevel::Info,
            system_level: LogLevel::Info,
            group: String::new(),
        },
    })
}

/// A call with an event as [`Fake::invoke`] understands it.
pub(crate) fn call(revision: &Arc<Revision>, event: &'static str) -> Invocation {
    Invocation {
        request_id: RequestId::new(),
        revision: Arc::clone(revision),
        invoked_arn: revision.function_arn.clone(),
        payload: Bytes::from_static(event.as_bytes()),
        client_context: None,
        trace_id: None,
        wants_log_tail: false,
        stream: None,
        received: now(),
    }
}

/// The paused clock's time.
pub(crate) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
