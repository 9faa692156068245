//! Each accepted event runs at least once, however often the platform dies. The test starts itself anew as the
//! platform that is killed.
#![allow(clippy::unwrap_used, reason = "a test panics by design")]

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use ephyra_core::compute::{Accept as _, AcceptedEvent, EventConfig, Invoke, Resolve, ResolveError, Resolved};
use ephyra_core::id::{FunctionName, Qualifier, RequestId, RevisionId, Version};
use ephyra_core::invocation::{Invocation, InvokeError, Measures, Outcome};
use ephyra_core::revision::Revision;
use ephyra_events::{Counted, Events, EventsOptions, Settled, Settlement};
use ephyra_store::StoreError;
use ephyra_store::clock::SystemClock;
use ephyra_store::sqlite::Sqlite;
use futures_util::future::BoxFuture;
use tokio::sync::mpsc;

const TEST: &str = "accepted_events_survive_kill_9";
const DIR: &str = "EPHYRA_EVENTS_CRASH_DIR";
const ROUNDS: u32 = 4;

#[test]
fn accepted_events_survive_kill_9() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    if let Some(dir) = std::env::var_os(DIR) {
        runtime.block_on(accept_until_killed(Path::new(&dir)));
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let mut accepted = BTreeSet::new();
    for _ in 0..ROUNDS {
        run_and_kill(dir.path(), &mut accepted);
    }
    let ran = std::fs::read_to_string(dir.path().join("ran")).unwrap();
    let missing = ran.lines().fold(accepted, |mut missing, id| {
        missing.remove(id);
        missing
    });
    runtime.block_on(finish(dir.path(), missing));
}

/// Accepts events from several sides while they are run.
async fn accept_until_killed(dir: &Path) {
    let (events, _settled) = start(dir);
    let events = Arc::new(events);
    let sides = (0..4).map(|_| {
        let events = Arc::clone(&events);
        tokio::spawn(async move {
            loop {
                let request_id = RequestId::new();
                events
                    .accept(AcceptedEvent {
                        request_id,
                        function: "hello".parse().unwrap(),
                        qualifier: None,
                        payload: Bytes::from(vec![b'7'; 2000]),
                        client_context: None,
                        trace_id: None,
                    })
                    .await
                    .unwrap();
                println!("\naccepted {request_id}");
            }
        })
    });
    futures_util::future::join_all(sides.collect::<Vec<_>>()).await;
}

fn run_and_kill(dir: &Path, accepted: &mut BTreeSet<String>) {
    let nanos = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().subsec_nanos();
    let enough = accepted.len() + 30 + nanos as usize % 300;
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([TEST, "--exact", "--nocapture"])
        .env(DIR, dir)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut note = |line: &str| {
        // A line that was cut off by the end is no acknowledgement.
        if let Some(id) = line.strip_prefix("accepted ").filter(|id| id.len() == 36) {
            accepted.insert(id.to_owned());
        }
        accepted.len()
    };
    while note(&lines.next().expect("it accepts until it is killed").unwrap()) < enough {}
    child.kill().unwrap();
    child.wait().unwrap();
    for line in lines.map_while(Result::ok) {
        note(&line);
    }
}

/// Runs what is left, until nothing of `missing` is.
async fn finish(dir: &Path, mut missing: BTreeSet<String>) {
    let (events, mut settled) = start(dir);
    let until_none = async {
        while !missing.is_empty() {
            missing.remove(&settled.recv().await.unwrap().to_string());
        }
    };
    let is_done = tokio::time::timeout(Duration::from_secs(60), until_none).await;
    assert!(is_done.is_ok(), "accepted and never run: {missing:?}");
    assert!(events.stop(Duration::from_secs(60)).await);
}

fn start(dir: &Path) -> (Events, mpsc::UnboundedReceiver<RequestId>) {
    let log = Arc::new(Sqlite::open(dir, Arc::new(SystemClock)).unwrap());
    let file = File::options().create(true).append(true).open(dir.join("ran")).unwrap();
    let platform = Arc::new(Platform { file });
    let (told, settled) = mpsc::unbounded_channel();
    let hook = Arc::new(Told(told));
    let options = EventsOptions {
        max_in_flight: 8,
        ..EventsOptions::default()
    };
    let events = Events::start(log, Arc::new(SystemClock), platform.clone(), platform, hook, options);
    (events, settled)
}

/// A function that writes down for which request it ran.
struct Platform {
    file: File,
}

impl Invoke for Platform {
    fn invoke(&self, invocation: Invocation) -> BoxFuture<'_, Result<Outcome, InvokeError>> {
        let line = format!("{}\n", invocation.request_id);
        (&self.file).write_all(line.as_bytes()).unwrap();
        Box::pin(std::future::ready(Ok(Outcome {
            executed_version: Version::Latest,
            result: Ok(Bytes::new()),
            log_tail: None,
            measures: Measures::default(),
        })))
    }
}

impl Resolve for Platform {
    fn resolve<'a>(
        &'a self,
        function: &'a FunctionName,
        _qualifier: Option<&'a Qualifier>,
    ) -> BoxFuture<'a, Result<Resolved, ResolveError>> {
        let json = serde_json::json!({
            "id": RevisionId::new(), "function": function, "version": "$LATEST", "function_arn": "arn",
            "runtime": "python3.13", "handler": "app.handler", "code": "00".repeat(32), "layers": [],
            "memory_mb": 128, "ephemeral_storage_mb": 512, "timeout_seconds": 3, "variables": [],
            "logging": {"format": "Text", "application_level": "INFO", "system_level": "INFO", "group": "group"},
        });
        let revision: Revision = serde_json::from_value(json).unwrap();
        Box::pin(std::future::ready(Ok(Resolved {
            revision: Arc::new(revision),
            invoked_arn: "arn".to_owned(),
            events: EventConfig {
                max_retries: 2,
                max_age_seconds: 21_600,
            },
        })))
    }

    fn is_stopped<'a>(&'a self, _: &'a FunctionName) -> BoxFuture<'a, Result<bool, ResolveError>> {
        Box::pin(std::future::ready(Ok(false)))
    }
}

struct Told(mpsc::UnboundedSender<RequestId>);

impl Settled for Told {
    fn settled<'a>(&'a self, settlement: &'a Settlement) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            Counted.settled(settlement).await?;
            // In the process that is killed nobody listens.
            let _ = self.0.send(settlement.event.request_id);
            Ok(())
        })
    }
}
