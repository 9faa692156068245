//! The host's side of the socket: modules are registered, calls started.

use std::collections::HashMap;
use std::future::poll_fn;
use std::io;
use std::os::unix::net::UnixStream as StdStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;
use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::OnceCell;
use wasmtime::Engine;

use super::call::{Calling, Left};
use super::engine::engine;
use super::flow::Stream;
use super::limits::Budget;
use super::meter::{Cancel, Metered, Turn};
use super::program::{Linkers, Program};
use super::ticker::Ticker;
use super::{HostError, HostOptions};
use crate::artefact::Artefact;
use crate::frame;
use crate::message::{Call, Done, Ended, Flow, FromHost, Setting, ToHost, VERSION, bounded};
use crate::outbox::{Outbox, halves};

/// Modules that may be registered at once; the server keeps to far fewer.
const MODULES: usize = 64 * 1024;
/// How much less urgent the threads of calls that take long are.
const NICE: i32 = 10;
/// What is read from the socket at once, at least.
const READ_BYTES: usize = 64 * 1024;

struct Host {
    engine: Engine,
    linkers: Linkers,
    artefacts: PathBuf,
    ticker: Ticker,
    outbox: Arc<Outbox>,
    heavy: Handle,
    modules: Mutex<HashMap<u32, Arc<Registered>>>,
    calls: Mutex<HashMap<u32, Arc<Open>>>,
    limit: usize,
    budget: Arc<Budget>,
}

/// A module, mapped at its first call or ahead of it.
struct Registered {
    artefact: Artefact,
    program: OnceCell<Result<Program, String>>,
}

/// A call that runs, as the reader of the socket knows it.
struct Open {
    cancel: Cancel,
    log: Arc<Stream>,
    answer: Arc<Stream>,
    peak: Arc<AtomicU64>,
}

pub(super) fn run(socket: StdStream, options: &HostOptions) -> Result<(), HostError> {
    let runtime = |name: &str, nice: i32| -> io::Result<Runtime> {
        Builder::new_multi_thread()
            .worker_threads(options.threads)
            .thread_name(name)
            .on_thread_start(move || {
                if nice != 0 {
                    // Of the thread, on Linux. Without it heavy calls only compete with light ones.
                    rustix::process::setpriority_process(None, nice).unwrap_or_default();
                }
            })
            .enable_all()
            .build()
    };
    let engine = engine(options.calls).map_err(HostError::Engine)?;
    let linkers = Linkers::new(&engine).map_err(HostError::Engine)?;
    let ticker = Ticker::start(engine.clone()).map_err(HostError::Setup)?;
    let light = runtime("light", 0).map_err(HostError::Setup)?;
    let heavy = runtime("heavy", NICE).map_err(HostError::Setup)?;
    let result = light.block_on(async {
        let (socket, outbox) = halves(socket).map_err(HostError::Setup)?;
        let host = Arc::new(Host {
            engine,
            linkers,
            artefacts: options.artefacts.clone(),
            ticker,
            outbox: Arc::new(outbox),
            heavy: heavy.handle().clone(),
            modules: Mutex::default(),
            calls: Mutex::default(),
            limit: options.calls as usize,
            budget: Arc::new(Budget::new(options.memory_bytes)),
        });
        host.say(FromHost::Hello { version: VERSION });
        let served = tokio::spawn(Arc::clone(&host).read(socket));
        tokio::select! {
            served = served => served.map_err(|error| HostError::Setup(error.into()))?,
            // The server is gone.
            _ = host.outbox.drive() => Ok(()),
        }
    });
    heavy.shutdown_background();
    light.shutdown_background();
    result
}

impl Host {
    fn say(&self, message: FromHost) {
        // What is longer than a frame may be is never made: answers and pieces have their limits.
        self.outbox.send(message.encode()).unwrap_or_default();
    }

    async fn read(self: Arc<Self>, mut socket: pipe::Receiver) -> Result<(), HostError> {
        let mut buffer = BytesMut::with_capacity(READ_BYTES);
        loop {
            while let Some(frame) = frame::take(&mut buffer).map_err(|error| HostError::Breach(error.to_string()))? {
                let message = ToHost::decode(frame).map_err(|error| HostError::Breach(error.to_string()))?;
                self.take(message)?;
            }
            buffer.reserve(READ_BYTES);
            // At its end and where it fails, the server is gone.
            if !matches!(socket.read_buf(&mut buffer).await, Ok(1..)) {
                return Ok(());
            }
        }
    }

    fn take(self: &Arc<Self>, message: ToHost) -> Result<(), HostError> {
        match message {
            ToHost::Load { module, artefact } => {
                let mut modules = self.modules.lock();
                if modules.len() >= MODULES {
                    return Err(HostError::Breach("there are too many modules".to_owned()));
                }
                let registered = Registered {
                    artefact,
                    program: OnceCell::new(),
                };
                modules.insert(module, Arc::new(registered));
            }
            ToHost::Unload { module } => {
                let gone = self.modules.lock().remove(&module);
                drop(gone);
            }
            ToHost::Map { module } => {
                let module = self.modules.lock().get(&module).cloned();
                if let Some(module) = module {
                    let host = Arc::clone(self);
                    // Behind all calls.
                    self.heavy.spawn(async move {
                        let _mapped = host.program(&module).await;
                    });
                }
            }
            ToHost::Call { call, body } => self.call(call, body)?,
            ToHost::Cancel { call } => {
                if let Some(open) = self.calls.lock().get(&call) {
                    open.cancel.cancel();
                }
            }
            ToHost::Credit { call, flow, bytes } => {
                let open = self.calls.lock().get(&call).cloned();
                if let Some(open) = open {
                    match flow {
                        Flow::Log => open.log.give_back(bytes),
                        Flow::Answer => open.answer.give_back(bytes),
                    }
                }
            }
        }
        Ok(())
    }

    fn call(self: &Arc<Self>, number: u32, call: Call) -> Result<(), HostError> {
        let module = self.modules.lock().get(&call.head.module).cloned();
        let Some(module) = module else {
            return Err(HostError::Breach("a call names no module".to_owned()));
        };
        let Some(setting) = Setting::decode(&call.setting) else {
            return Err(HostError::Breach("a call's setting cannot be read".to_owned()));
        };
        let stream = |flow| Arc::new(Stream::new(Arc::clone(&self.outbox), number, flow));
        let open = Arc::new(Open {
            cancel: Cancel::default(),
            log: stream(Flow::Log),
            answer: stream(Flow::Answer),
            peak: Arc::default(),
        });
        let is_full = {
            let mut calls = self.calls.lock();
            let is_full = calls.len() >= self.limit;
            if !is_full {
                calls.insert(number, Arc::clone(&open));
            }
            is_full
        };
        if is_full {
            let why = "more calls at once than the host has room for".to_owned();
            self.end(number, &open, (Ended::Busy(why), Bytes::new()), Duration::ZERO, 0);
            return Ok(());
        }
        tokio::spawn(Arc::clone(self).run(number, open, module, call, setting));
        Ok(())
    }

    /// A module's program, mapped now if it was not; and the nanoseconds that this took.
    async fn program<'a>(&self, module: &'a Registered) -> (&'a Result<Program, String>, u64) {
        let mut load = 0;
        let program = module.program.get_or_init(|| async {
            let began = Instant::now();
            let file = self.artefacts.join(module.artefact.to_string());
            let opened = self.linkers.open(&self.engine, &file);
            load = u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX);
            opened.map_err(|error| bounded(error.to_string()))
        });
        (program.await, load)
    }

    async fn run(self: Arc<Self>, number: u32, open: Arc<Open>, module: Arc<Registered>, call: Call, setting: Setting) {
        let (program, load) = self.program(&module).await;
        if let Err(error) = program {
            let ended = Ended::Unloadable(error.clone());
            return self.end(number, &open, (ended, Bytes::new()), Duration::ZERO, load);
        }
        let time = Duration::from_micros(call.head.time_us);
        let share = setting.cpu_permille;
        let calling = Calling {
            head: call.head,
            setting,
            payload: call.payload,
            log: Arc::clone(&open.log),
            answer: Arc::clone(&open.answer),
            budget: Arc::clone(&self.budget),
            peak: Arc::clone(&open.peak),
        };
        let running = self.ticker.run();
        let engine = self.engine.clone();
        let future = Box::pin(async move {
            match module.program.get() {
                Some(Ok(program)) => calling.run(&engine, program).await,
                _ => (Ended::Unloadable("it is not loaded".to_owned()), Bytes::new()),
            }
        });
        let mut metered = Metered::new(future, Arc::clone(&open.peak), time, share);
        let turn = poll_fn(|context| metered.poll(&open.cancel, true, || self.outbox.flush(), context)).await;
        match turn {
            Turn::Over(left) => {
                drop(running);
                self.end(number, &open, left, metered.cpu(), load);
            }
            Turn::Heavy => {
                let heavy = self.heavy.clone();
                heavy.spawn(async move {
                    let turn = poll_fn(|context| metered.poll(&open.cancel, false, || self.outbox.flush(), context));
                    let left = match turn.await {
                        Turn::Over(left) => left,
                        Turn::Heavy => (Ended::Cancelled, Bytes::new()),
                    };
                    let cpu = metered.cpu();
                    // Its memory is free before the server hears of its end.
                    drop((metered, running));
                    self.end(number, &open, left, cpu, load);
                });
            }
        }
    }

    fn end(&self, call: u32, open: &Open, (outcome, answer): Left, cpu: Duration, load_ns: u64) {
        self.calls.lock().remove(&call);
        open.log.finish();
        let done = Done {
            outcome,
            cpu_ns: u64::try_from(cpu.as_nanos()).unwrap_or(u64::MAX),
            peak_bytes: open.peak.load(Ordering::Relaxed),
            load_ns,
        };
        self.say(FromHost::Done { call, done, answer });
    }
}
