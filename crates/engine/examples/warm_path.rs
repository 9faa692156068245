//! What the engine itself adds to a warm invocation: an environment that answers at once, called in a loop.
//!
//! `cargo run --release -p ephyra-engine --example warm_path`
#![forbid(unsafe_code)]

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use ephyra_core::compute::Invoke;
use ephyra_core::digest::Digest;
use ephyra_core::environment::{Environment, Execution, LaunchError, Launcher, Purpose};
use ephyra_core::id::{RequestId, RevisionId, Version};
use ephyra_core::invocation::{FunctionError, Invocation, Measures};
use ephyra_core::revision::{LogFormat, LogLevel, Logging, Revision};
use ephyra_core::usage::{UsageRecord, UsageSink};
use ephyra_engine::{Engine, Options};
use futures_util::future::BoxFuture;

/// Calls of one batch, and batches.
const CALLS: u32 = 10_000;
const BATCHES: usize = 50;

struct Instantly;

impl Launcher for Instantly {
    fn launch(&self, _: Arc<Revision>, _: Purpose) -> BoxFuture<'static, Result<Box<dyn Environment>, LaunchError>> {
        Box::pin(async { Ok(Box::new(Self) as Box<dyn Environment>) })
    }
}

impl Environment for Instantly {
    fn invoke(self: Box<Self>, call: Invocation) -> BoxFuture<'static, (Option<Box<dyn Environment>>, Execution)> {
        let execution = Execution {
            result: Ok(call.payload),
            log_tail: None,
            measures: Measures::default(),
            after: None,
        };
        Box::pin(async { (Some(self as Box<dyn Environment>), execution) })
    }

    fn init_error(&self) -> Option<&FunctionError> {
        None
    }

    fn freeze(&mut self) {}

    fn thaw(&mut self) {}

    fn died(&mut self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::pending())
    }

    fn end(self: Box<Self>) -> BoxFuture<'static, ()> {
        Box::pin(std::future::ready(()))
    }
}

impl UsageSink for Instantly {
    fn record(&self, record: &UsageRecord) {
        std::hint::black_box(record);
    }
}

fn revision() -> Result<Arc<Revision>, Box<dyn std::error::Error>> {
    Ok(Arc::new(Revision {
        id: RevisionId::new(),
        function: "empty".parse()?,
        version: Version::Latest,
        function_arn: "arn:aws:lambda:us-east-1:000000000000:function:empty".to_owned(),
        runtime: "python3.13".to_owned(),
        handler: "app.handler".to_owned(),
        code: Digest::of(b""),
        layers: Vec::new(),
        memory_mb: 128,
        ephemeral_storage_mb: 512,
        timeout_seconds: 3,
        variables: Vec::new(),
        logging: Logging {
            format: LogFormat::Text,
            application_level: LogLevel::Info,
            system_level: LogLevel::Info,
            group: "/aws/lambda/empty".to_owned(),
        },
    }))
}

fn call(revision: &Arc<Revision>) -> Invocation {
    Invocation {
        request_id: RequestId::from_bytes([0; 16]),
        revision: Arc::clone(revision),
        invoked_arn: String::new(),
        payload: Bytes::from_static(b"{}"),
        client_context: None,
        trace_id: None,
        wants_log_tail: false,
        stream: None,
        received: Instant::now(),
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let engine = Engine::new(Options::default(), Arc::new(Instantly), Arc::new(Instantly));
    let revision = revision()?;
    engine.invoke(call(&revision)).await?;
    let mut nanos = Vec::new();
    let mut bare = Vec::new();
    for _ in 0..BATCHES {
        let start = Instant::now();
        for _ in 0..CALLS {
            engine.invoke(call(&revision)).await?;
        }
        nanos.push(start.elapsed().as_nanos() / u128::from(CALLS));
        let start = Instant::now();
        for _ in 0..CALLS {
            std::hint::black_box(Box::new(Instantly).invoke(call(&revision)).await);
        }
        bare.push(start.elapsed().as_nanos() / u128::from(CALLS));
    }
    nanos.sort_unstable();
    bare.sort_unstable();
    println!(
        "a warm invocation: {} ns (the environment alone: {} ns); slowest batch of {BATCHES}: {} ns",
        nanos[BATCHES / 2],
        bare[BATCHES / 2],
        nanos[BATCHES - 1]
    );
    Ok(())
}
