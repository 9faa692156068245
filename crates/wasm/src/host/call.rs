//! One call: an instance is made, fed, run to its end and dropped.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use bytes::Bytes;
use ephyra_core::limits::{STREAMED_RESPONSE_BYTES, SYNC_RESPONSE_BYTES};
use futures_util::future::{Either, select};
use http_body_util::{BodyExt as _, Full};
use tokio::sync::oneshot;
use wasmtime::component::ResourceTable;
use wasmtime::{Engine, PoolConcurrencyLimitError, Store, Trap, WasmBacktrace};
use wasmtime_wasi::p2::pipe::MemoryInputPipe;
use wasmtime_wasi::{I32Exit, WasiCtxBuilder};
use wasmtime_wasi_http::p2::bindings::ProxyPre;
use wasmtime_wasi_http::p2::bindings::http::types::{ErrorCode, Scheme};
use wasmtime_wasi_http::p2::body::HyperOutgoingBody;
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpView as _};

use super::flow::{AnswerTooLarge, Kept, Output, Stream};
use super::limits::{Budget, Limits};
use super::program::{CoreGuest, Guest, NoRequests, Program};
use crate::event::{self, Origin};
use crate::message::{CallHead, Ended, Setting, bounded};

/// Handles that a guest may hold at once: streams, requests, headers, timers.
const HANDLES: usize = 1024;
/// The most random bytes that a guest gets in one call of the host.
const RANDOM_BYTES: u64 = 1 << 20;

/// A call's surroundings.
pub(crate) struct Calling {
    /// What is its own.
    pub(crate) head: CallHead,
    /// What it shares with others.
    pub(crate) setting: Setting,
    /// The event.
    pub(crate) payload: Bytes,
    /// Its log.
    pub(crate) log: Arc<Stream>,
    /// Its answer, when that is streamed.
    pub(crate) answer: Arc<Stream>,
    /// What all calls together may have of memory.
    pub(crate) budget: Arc<Budget>,
    /// The most linear memory at once, in bytes.
    pub(crate) peak: Arc<AtomicU64>,
}

/// What a call leaves: how it ended, and the answer when it was buffered.
pub(crate) type Left = (Ended, Bytes);

impl Calling {
    /// Runs the call. It yields with each tick of the epoch.
    pub(crate) async fn run(self, engine: &Engine, program: &Program) -> Left {
        match program {
            Program::Core(linked) => {
                let (context, kept) = self.command();
                let mut context = context;
                let guest = CoreGuest {
                    wasi: context.build_p1(),
                    limits: self.limits(),
                };
                let mut store = store(engine, guest);
                store.limiter_async(|guest| &mut guest.limits);
                let result = async {
                    let instance = linked.instantiate_async(&mut store).await?;
                    let start = instance.get_typed_func::<(), ()>(&mut store, "_start")?;
                    start.call_async(&mut store, ()).await
                }
                .await;
                self.ended(result, &store.data().limits, &kept)
            }
            Program::Command(linked) => {
                let (context, kept) = self.command();
                let mut store = component_store(engine, self.guest(context));
                let result = async {
                    let command = linked.instantiate_async(&mut store).await?;
                    let status = command.wasi_cli_run().call_run(&mut store).await?;
                    status.map_err(|()| wasmtime::Error::from(I32Exit(1)))
                }
                .await;
                self.ended(result, &store.data().limits, &kept)
            }
            Program::Http(linked) => self.http(engine, linked).await,
        }
    }

    fn limits(&self) -> Limits {
        Limits::new(
            self.setting.memory_bytes,
            Arc::clone(&self.budget),
            Arc::clone(&self.peak),
        )
    }

    fn context(&self) -> WasiCtxBuilder {
        let mut context = WasiCtxBuilder::new();
        for (name, value) in &self.setting.variables {
            context.env(name, value);
        }
        let own = [
            ("AWS_LAMBDA_REQUEST_ID", Some(&self.head.request_id)),
            ("AWS_LAMBDA_INVOKED_FUNCTION_ARN", Some(&self.head.invoked_arn)),
            ("AWS_LAMBDA_CLIENT_CONTEXT", self.head.client_context.as_ref()),
            ("_X_AMZN_TRACE_ID", self.head.trace_id.as_ref()),
        ];
        for (name, value) in own {
            if let Some(value) = value {
                context.env(name, value);
            }
        }
        // Nothing is preopened; sockets and names are denied also where the default changes.
        context
            .stderr(Output::Stream(Arc::clone(&self.log)))
            .max_random_size(RANDOM_BYTES)
            .allow_tcp(false)
            .allow_udp(false)
            .allow_ip_name_lookup(false);
        context
    }

    fn guest(&self, mut context: WasiCtxBuilder) -> Guest {
        let mut table = ResourceTable::new();
        table.set_max_capacity(HANDLES);
        Guest {
            table,
            wasi: context.build(),
            http: WasiHttpCtx::new(),
            hooks: NoRequests,
            limits: self.limits(),
        }
    }

    /// The context of a command, and where its answer collects.
    fn command(&self) -> (WasiCtxBuilder, Arc<Kept>) {
        let kept = Arc::new(Kept::new(SYNC_RESPONSE_BYTES));
        let output = if self.head.streams {
            self.answer.begin("application/octet-stream".to_owned());
            Output::Stream(Arc::clone(&self.answer))
        } else {
            Output::Kept(Arc::clone(&kept))
        };
        let mut context = self.context();
        let stdin = MemoryInputPipe::new(self.payload.clone());
        context.arg("function").stdin(stdin).stdout(output);
        (context, kept)
    }

    /// How a command ended.
    fn ended(&self, result: wasmtime::Result<()>, limits: &Limits, kept: &Kept) -> Left {
        let ended = match result {
            Ok(()) => Ended::Answered,
            Err(error) => match ending(&error, limits) {
                // `exit(0)` is an end like any other.
                Ended::Exit(0) => Ended::Answered,
                ended => ended,
            },
        };
        if ended != Ended::Answered {
            return (ended, Bytes::new());
        }
        if self.head.streams {
            self.answer.complete();
        }
        (ended, kept.take().into())
    }

    async fn http(&self, engine: &Engine, linked: &ProxyPre<Guest>) -> Left {
        let mut context = self.context();
        // What it prints is for people, as in other runtimes.
        context.stdout(Output::Stream(Arc::clone(&self.log)));
        let mut store = component_store(engine, self.guest(context));
        let (origin, request) = event::request(&self.payload, &self.head.request_id, self.head.trace_id.as_deref());
        let (sender, response) = oneshot::channel();
        let handling = async move {
            let result = async {
                let request = request.map(Full::new);
                let request = store.data_mut().http().new_incoming_request(Scheme::Http, request)?;
                let out = store.data_mut().http().new_response_outparam(sender)?;
                let proxy = linked.instantiate_async(&mut store).await?;
                proxy
                    .wasi_http_incoming_handler()
                    .call_handle(&mut store, request, out)
                    .await
            }
            .await;
            // With the store goes what it has not answered or finished, for which the other half waits.
            (result, store.into_data().limits)
        };
        let (handling, responding) = (pin!(handling), pin!(self.respond(origin, response)));
        let ((result, limits), responded) = match select(handling, responding).await {
            Either::Left((handled, responding)) => (handled, responding.await),
            // Whatever else it does, this is its end.
            Either::Right((Err(Ended::TooLarge), _)) => return (Ended::TooLarge, Bytes::new()),
            Either::Right((responded, handling)) => (handling.await, responded),
        };
        match (result, responded) {
            (Err(error), _) => (ending(&error, &limits), Bytes::new()),
            (Ok(()), Ok(answer)) => {
                if self.head.streams {
                    self.answer.complete();
                }
                (Ended::Answered, answer)
            }
            (Ok(()), Err(ended)) => (ended, Bytes::new()),
        }
    }

    /// Takes the response as it comes.
    async fn respond(
        &self,
        origin: Origin,
        response: oneshot::Receiver<Result<http::Response<HyperOutgoingBody>, ErrorCode>>,
    ) -> Result<Bytes, Ended> {
        let response = match response.await {
            Ok(Ok(response)) => response,
            Ok(Err(code)) => {
                return Err(Ended::NoAnswer(format!(
                    "the component answered with an error: {code:?}"
                )));
            }
            Err(_) => return Err(Ended::NoAnswer("the component ended without an answer".to_owned())),
        };
        let (parts, mut body) = response.into_parts();
        if self.head.streams {
            let (content_type, first) = event::stream_head(origin, parts.status, &parts.headers);
            self.answer.begin(bounded(content_type));
            self.answer.write_all(first).await;
        }
        let kept = Kept::new(SYNC_RESPONSE_BYTES);
        let mut sent = 0;
        while let Some(frame) = body.frame().await {
            let frame =
                frame.map_err(|error| Ended::NoAnswer(bounded(format!("its body was broken off: {error:?}"))))?;
            let Ok(bytes) = frame.into_data() else { continue };
            if !self.head.streams {
                kept.write(&bytes).map_err(|AnswerTooLarge| Ended::TooLarge)?;
                continue;
            }
            sent += bytes.len() as u64;
            if sent > STREAMED_RESPONSE_BYTES {
                return Err(Ended::TooLarge);
            }
            self.answer.write_all(bytes).await;
            self.answer.flush();
        }
        if self.head.streams {
            return Ok(Bytes::new());
        }
        let answer = event::answer(origin, parts.status, &parts.headers, kept.take());
        let answer = answer.map_err(|error| Ended::NoAnswer(bounded(error.to_string())))?;
        if answer.len() > SYNC_RESPONSE_BYTES {
            return Err(Ended::TooLarge);
        }
        Ok(answer.into())
    }
}

fn store<T: 'static>(engine: &Engine, data: T) -> Store<T> {
    let mut store = Store::new(engine, data);
    store.set_epoch_deadline(1);
    store.epoch_deadline_async_yield_and_update(1);
    store
}

fn component_store(engine: &Engine, guest: Guest) -> Store<Guest> {
    let mut store = store(engine, guest);
    store.limiter_async(|guest| &mut guest.limits);
    store
}

/// What an error of an instance means.
fn ending(error: &wasmtime::Error, limits: &Limits) -> Ended {
    let exit = error.downcast_ref::<I32Exit>().map(|I32Exit(status)| *status);
    if exit == Some(0) {
        return Ended::Exit(0);
    }
    if error.is::<AnswerTooLarge>() {
        return Ended::TooLarge;
    }
    if error.is::<PoolConcurrencyLimitError>() {
        return Ended::Busy(bounded(format!("{error:#}")));
    }
    // A guest that did not get its memory may end in any way.
    if limits.is_exhausted {
        return Ended::OutOfMemory;
    }
    if limits.is_crowded {
        return Ended::Busy("the memory for all WebAssembly functions together is in use".to_owned());
    }
    if let Some(status) = exit {
        return Ended::Exit(status);
    }
    let name = match error.downcast_ref::<Trap>() {
        Some(trap) => format!("{trap:?}"),
        None => "Host".to_owned(),
    };
    let mut trace = error.root_cause().to_string();
    if let Some(frames) = error.downcast_ref::<WasmBacktrace>() {
        for frame in frames.frames() {
            let function = frame
                .func_name()
                .map_or_else(|| format!("function {}", frame.func_index()), str::to_owned);
            trace.push_str("\n    at ");
            trace.push_str(&function);
        }
    }
    Ended::Trap {
        name,
        trace: bounded(trace),
    }
}
