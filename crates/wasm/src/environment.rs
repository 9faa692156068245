//! An environment of a function that is WebAssembly: what its calls have in common, and no process.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use ephyra_core::environment::{Environment, Execution, Purpose};
use ephyra_core::id::{EnvironmentId, RequestId};
use ephyra_core::invocation::{ColdStart, FunctionError, Invocation, Measures, Origin, StreamPart, billed_ms};
use ephyra_core::limits::{MEMORY_MB_OF_ONE_CPU, STREAMED_RESPONSE_BYTES};
use ephyra_core::logs::LogSink;
use ephyra_core::revision::Revision;
use ephyra_guest::journal::{Journal, to_time};
use ephyra_guest::launcher::stream_name;
use ephyra_guest::pace::Pace;
use ephyra_guest::platform::{Cold, Event, Figures, Status};
use ephyra_guest::{Credentials, variables_without_files};
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::OwnedSemaphorePermit;

use crate::artefact::{Artefact, WASMTIME_VERSION};
use crate::failure::Failure;
use crate::link::{Conversation, Link};
use crate::message::{CallHead, Done, Ended, Flow, FromHost, PIECE, Setting};
use crate::platform::Inner;

/// What a call may log as fast as it likes, in bytes.
const LOG_BURST: u64 = 4 << 20;
/// How fast it may log more than that, in bytes a second.
const LOG_RATE: u64 = 4 << 20;
/// How long a host may be late in saying that a call's time is up.
const LATE: Duration = Duration::from_millis(250);

/// What an event that is empty is delivered as.
const EMPTY_EVENT: Bytes = Bytes::from_static(b"{}");

/// A function's environment.
pub(crate) struct WasmEnvironment {
    platform: Arc<Inner>,
    revision: Arc<Revision>,
    purpose: Purpose,
    artefact: Artefact,
    /// A [`Setting`], as every call carries it.
    setting: Bytes,
    /// Shared while its first lines are written, which nobody waits for.
    journal: Arc<Mutex<Journal>>,
    /// Until the first call has taken it.
    is_unused: bool,
}

/// What a call came to, besides its answer.
#[derive(Default)]
struct Taken {
    cpu: Duration,
    peak_bytes: u64,
    /// Waiting for the host, where it was not there.
    host: Duration,
    /// Mapping the module, where it was not.
    load: Duration,
    bytes_out: u64,
}

impl WasmEnvironment {
    pub(crate) fn new(
        platform: Arc<Inner>,
        revision: Arc<Revision>,
        purpose: Purpose,
        id: EnvironmentId,
        logs: &dyn LogSink,
    ) -> Self {
        let now = now_ms();
        let stream = stream_name(&revision, &id.simple(), now);
        let setting = Setting {
            variables: variables_without_files(&revision, purpose, &stream, &Credentials::random()),
            memory_bytes: u64::from(revision.memory_mb) << 20,
            cpu_permille: revision.memory_mb.saturating_mul(1000) / MEMORY_MB_OF_ONE_CPU,
        };
        let mut journal = Journal::new(logs.open(&revision.logging.group, &stream), &revision.logging);
        let runtime = format!("wasm:{WASMTIME_VERSION}");
        let region = revision.function_arn.split(':').nth(3).unwrap_or_default();
        let start = Event::InitStart {
            runtime: &runtime,
            runtime_arn: &format!(
                "arn:aws:lambda:{region}::runtime:{}",
                ephyra_core::digest::Digest::of(runtime.as_bytes())
            ),
            function: revision.function.as_str(),
            version: revision.version,
            purpose,
        };
        journal.platform(start, now);
        Self {
            platform,
            purpose,
            artefact: Artefact::of(&revision),
            revision,
            setting: setting.encode(),
            journal: Arc::new(Mutex::new(journal)),
            is_unused: true,
        }
    }

    async fn run(mut self: Box<Self>, invocation: Invocation) -> (Option<Box<dyn Environment>>, Execution) {
        let delivered = Instant::now();
        self.journal.lock().begin_tail(invocation.wants_log_tail, false);
        let start = Event::Start {
            request_id: invocation.request_id,
            version: self.revision.version,
            trace_id: invocation.trace_id.as_deref(),
        };
        self.journal.lock().platform(start, now_ms());
        let mut taken = Taken::default();
        let result = self.attempt(&invocation, delivered, &mut taken).await;
        self.journal.lock().finish_line(now_ms());
        let measures = self.measures(&invocation, delivered, &taken);
        self.report(invocation.request_id, &result, &measures);
        let execution = Execution {
            result: result.map_err(|failure| failure.to_error(invocation.request_id, self.revision.timeout_seconds)),
            log_tail: self.journal.lock().take_tail(),
            measures,
            after: None,
        };
        // Nothing of the call is left in it, however that has ended.
        (Some(self), execution)
    }

    /// Runs the call, and once more when its module has to be compiled first.
    async fn attempt(
        &mut self,
        invocation: &Invocation,
        delivered: Instant,
        taken: &mut Taken,
    ) -> Result<Bytes, Failure> {
        let deadline = delivered + Duration::from_secs(self.revision.timeout_seconds.into());
        let until = |deadline: Instant| tokio::time::Instant::from_std(deadline);
        let platform = Arc::clone(&self.platform);
        let mut is_renewed = false;
        loop {
            let waited = Instant::now();
            let link = tokio::time::timeout_at(until(deadline), platform.link())
                .await
                .map_err(|_| Failure::Timeout)?
                .map_err(|error| Failure::Busy(error.to_string()))?;
            taken.host += waited.elapsed();
            let place = tokio::time::timeout_at(until(deadline), Arc::clone(&platform.places).acquire_owned())
                .await
                .map_err(|_| Failure::Timeout)?
                .map_err(|error| Failure::Busy(error.to_string()))?;
            let Some(conversation) = self.begin(&link, invocation, deadline, place) else {
                // It ended this moment, before the call: another takes it.
                tokio::time::timeout_at(until(deadline), tokio::task::yield_now())
                    .await
                    .map_err(|_| Failure::Timeout)?;
                continue;
            };
            let late = until(deadline + LATE);
            let conversed =
                tokio::time::timeout_at(late, self.converse(conversation, invocation, &mut taken.bytes_out)).await;
            let (done, answer) = match conversed {
                Ok(Some(Ok(done))) => done,
                Ok(Some(Err(failure))) => return Err(failure),
                Ok(None) => return Err(Failure::HostGone),
                Err(_) => return Err(Failure::Timeout),
            };
            taken.cpu += Duration::from_nanos(done.cpu_ns);
            taken.peak_bytes = taken.peak_bytes.max(done.peak_bytes);
            taken.load += Duration::from_nanos(done.load_ns);
            if let Ended::Unloadable(_) = done.outcome
                && !std::mem::replace(&mut is_renewed, true)
            {
                tokio::time::timeout_at(until(deadline), platform.renew(&link, &self.revision))
                    .await
                    .map_err(|_| Failure::Timeout)?
                    .map_err(|error| Failure::Invalid(error.to_string()))?;
                continue;
            }
            let streams = invocation.stream.is_some();
            if let Some(failure) = Failure::of(done.outcome, streams) {
                return Err(failure);
            }
            if !streams {
                taken.bytes_out = answer.len() as u64;
            }
            return Ok(answer);
        }
    }

    fn begin(
        &self,
        link: &Arc<Link>,
        invocation: &Invocation,
        deadline: Instant,
        place: OwnedSemaphorePermit,
    ) -> Option<Conversation> {
        let left = deadline.saturating_duration_since(Instant::now());
        let head = CallHead {
            module: 0,
            time_us: u64::try_from(left.as_micros()).unwrap_or(u64::MAX),
            streams: invocation.stream.is_some(),
            request_id: invocation.request_id.to_string(),
            trace_id: invocation.trace_id.clone(),
            client_context: invocation.client_context.clone(),
            invoked_arn: invocation.invoked_arn.clone(),
        };
        let payload = if invocation.payload.is_empty() {
            EMPTY_EVENT
        } else {
            invocation.payload.clone()
        };
        link.begin(self.artefact, head, self.setting.clone(), payload, place)
    }

    /// Takes what the host says until the call is over; `None` when the host is gone.
    async fn converse(
        &mut self,
        mut conversation: Conversation,
        invocation: &Invocation,
        sent: &mut u64,
    ) -> Option<Result<(Done, Bytes), Failure>> {
        let mut pace = Pace::new(LOG_BURST, LOG_RATE);
        let mut owed = 0;
        let mut pause = None;
        loop {
            let message = tokio::select! {
                biased;
                message = conversation.next() => message?,
                () = rest(pause) => {
                    pause = None;
                    conversation.give_back(Flow::Log, std::mem::take(&mut owed));
                    continue;
                }
            };
            match message {
                FromHost::Log { bytes, .. } => {
                    let lines = self.journal.lock().write(&bytes, now_ms());
                    pace.spend(bytes.len(), lines);
                    owed += cost(&bytes);
                    // What is owed when a call ends is never paid, so little is not paid at once either.
                    if pause.is_none() && owed >= CREDITED {
                        match pace.wait(Instant::now) {
                            Some(time) => {
                                self.journal.lock().flush();
                                pause = Some(tokio::time::Instant::now() + time);
                            }
                            None => conversation.give_back(Flow::Log, std::mem::take(&mut owed)),
                        }
                    }
                }
                FromHost::Head { content_type, .. } => {
                    let Some(stream) = &invocation.stream else { continue };
                    // Who has gone does not hear the rest.
                    stream.send(StreamPart::Head { content_type }).await.unwrap_or_default();
                }
                FromHost::Chunk { bytes, .. } => {
                    let Some(stream) = &invocation.stream else { continue };
                    *sent += bytes.len() as u64;
                    if *sent > STREAMED_RESPONSE_BYTES {
                        return Some(Err(Failure::TooLarge { streams: true }));
                    }
                    let back = cost(&bytes);
                    stream.send(StreamPart::Chunk(bytes)).await.unwrap_or_default();
                    conversation.give_back(Flow::Answer, back);
                }
                FromHost::Done { done, answer, .. } => return Some(Ok((done, answer))),
                FromHost::Hello { .. } => {}
            }
        }
    }

    fn measures(&self, invocation: &Invocation, delivered: Instant, taken: &Taken) -> Measures {
        let whole = delivered.elapsed();
        let init = taken.host + taken.load;
        let duration = whole.saturating_sub(init);
        let cold = self.is_unused.then_some(ColdStart {
            origin: Origin::Pool,
            environment: taken.host,
            init: taken.load,
            ..ColdStart::default()
        });
        let paid = if cold.is_some() && self.purpose.is_paid_by_first_call() {
            init
        } else {
            Duration::ZERO
        };
        Measures {
            duration,
            billed_ms: billed_ms(duration + paid),
            cold,
            // An instance is at hand when it is loaded, which is after the event has come.
            queued: delivered.saturating_duration_since(invocation.received) + init,
            peak_memory_bytes: taken.peak_bytes,
            cpu: taken.cpu,
            bytes_in: invocation.payload.len() as u64,
            bytes_out: taken.bytes_out,
        }
    }

    /// The lines at a call's end.
    fn report(&mut self, request_id: RequestId, result: &Result<Bytes, Failure>, measures: &Measures) {
        let now = now_ms();
        let error_type = result.as_ref().err().map(Failure::error_type).unwrap_or_default();
        let status = match result {
            Ok(_) => Status::Success,
            Err(Failure::Timeout) => Status::Timeout,
            Err(_) => Status::Error(&error_type),
        };
        let mut journal = self.journal.lock();
        if let Err(failure) = result {
            let line = failure.to_line(request_id, &to_time(now), self.revision.timeout_seconds);
            journal.platform_text(&line, now);
            if !matches!(failure, Failure::Timeout) {
                journal.platform_text(&error_type, now);
            }
        }
        let done = Event::RuntimeDone {
            request_id,
            duration: measures.duration,
            bytes: measures.bytes_out,
            status,
        };
        journal.platform(done, now);
        let figures = Figures {
            duration: measures.duration,
            billed_ms: measures.billed_ms,
            memory_mb: self.revision.memory_mb,
            peak_memory_mb: measures.peak_memory_bytes.div_ceil(1 << 20),
            init: measures.cold.map(ColdStart::started_in),
            restore: None,
            // What was started ahead is nobody's cold start.
            cold: measures
                .cold
                .filter(|_| self.purpose.is_paid_by_first_call())
                .map(|start| Cold {
                    start,
                    queue: measures.queued.saturating_sub(start.started_in()),
                }),
            extensions: None,
        };
        let report = Event::Report {
            request_id,
            figures,
            status,
        };
        journal.platform(report, now);
        if !self.is_unused {
            return journal.flush();
        }
        drop(journal);
        self.is_unused = false;
        // A file is made for the first lines, which takes longer than many a call: the answer does not wait for it.
        let journal = Arc::clone(&self.journal);
        tokio::task::spawn_blocking(move || journal.lock().flush());
    }
}

/// Milliseconds since 1970.
fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// What is owed to a log before it is given back.
const CREDITED: u32 = crate::message::CREDIT / 4;

fn cost(bytes: &Bytes) -> u32 {
    u32::try_from(bytes.len()).unwrap_or(u32::MAX).saturating_add(PIECE)
}

async fn rest(until: Option<tokio::time::Instant>) {
    match until {
        Some(until) => tokio::time::sleep_until(until).await,
        None => std::future::pending().await,
    }
}

impl Environment for WasmEnvironment {
    fn invoke(
        self: Box<Self>,
        invocation: Invocation,
    ) -> BoxFuture<'static, (Option<Box<dyn Environment>>, Execution)> {
        Box::pin(self.run(invocation))
    }

    fn init_error(&self) -> Option<&FunctionError> {
        None
    }

    // Between calls there is nothing that could run.
    fn freeze(&mut self) {}

    fn thaw(&mut self) {}

    fn died(&mut self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::pending())
    }

    fn end(self: Box<Self>) -> BoxFuture<'static, ()> {
        self.journal.lock().flush();
        Box::pin(std::future::ready(()))
    }
}
