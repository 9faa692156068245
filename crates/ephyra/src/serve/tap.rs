//! The answers of functions, for who watches one of them being made (`ephyra dev`). While nobody does, an invocation
//! costs one look at a counter more.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use ephyra_core::compute::Invoke;
use ephyra_core::id::FunctionName;
use ephyra_core::invocation::{Invocation, InvokeError, Outcome};
use ephyra_store::clock::Clock;
use futures_util::future::BoxFuture;
use serde::Serialize;
use tokio::sync::broadcast;

/// Answers that a slow watcher may be behind; older ones are left out.
const KEPT: usize = 64;
/// How much of an answer is shown, in bytes.
const SHOWN: usize = 4096;

/// Runs invocations, and shows what came of them.
pub(crate) struct Tap {
    invoke: Arc<dyn Invoke>,
    clock: Arc<dyn Clock>,
    watchers: Arc<AtomicUsize>,
    answers: broadcast::Sender<Arc<Answered>>,
}

/// What came of an invocation.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Answered {
    #[serde(skip)]
    function: FunctionName,
    /// Milliseconds since 1970.
    timestamp: i64,
    request_id: String,
    /// The function's version.
    version: String,
    /// The function's failure, or why it did not run.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    /// The beginning of the answer, or of the failure's document; empty when it was streamed.
    payload: String,
    /// The size of the whole answer.
    bytes: u64,
    duration_ms: f64,
    is_cold: bool,
}

/// The answers of one function from now on.
pub(crate) struct Watch {
    function: FunctionName,
    answers: broadcast::Receiver<Arc<Answered>>,
    watchers: Arc<AtomicUsize>,
}

/// What a watcher gets next.
#[derive(Debug)]
pub(crate) enum Watched {
    /// An answer.
    Answer(Arc<Answered>),
    /// So many answers, of all functions, came faster than they were read.
    Skipped(u64),
}

impl Tap {
    pub(crate) fn new(invoke: Arc<dyn Invoke>, clock: Arc<dyn Clock>) -> Self {
        Self {
            invoke,
            clock,
            watchers: Arc::default(),
            answers: broadcast::channel(KEPT).0,
        }
    }

    /// Watches a function.
    pub(crate) fn watch(&self, function: FunctionName) -> Watch {
        self.watchers.fetch_add(1, Ordering::Relaxed);
        Watch {
            function,
            answers: self.answers.subscribe(),
            watchers: Arc::clone(&self.watchers),
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.watchers.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Watch {
    /// The next answer; `None` when no more come.
    pub(crate) async fn next(&mut self) -> Option<Watched> {
        loop {
            match self.answers.recv().await {
                Ok(answer) if answer.function == self.function => return Some(Watched::Answer(answer)),
                Ok(_) => {}
                Err(broadcast::error::RecvError::Lagged(count)) => return Some(Watched::Skipped(count)),
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    }
}

impl Invoke for Tap {
    fn invoke(&self, invocation: Invocation) -> BoxFuture<'_, Result<Outcome, InvokeError>> {
        if self.watchers.load(Ordering::Relaxed) == 0 {
            return self.invoke.invoke(invocation);
        }
        Box::pin(async move {
            let request_id = invocation.request_id.to_string();
            let revision = Arc::clone(&invocation.revision);
            let result = self.invoke.invoke(invocation).await;
            let (error, payload) = match &result {
                Ok(outcome) => match &outcome.result {
                    Ok(payload) => (None, payload.clone()),
                    Err(failure) => (Some(failure.error_type.clone()), failure.payload.clone()),
                },
                Err(error) => (Some(error.to_string()), Bytes::new()),
            };
            let measures = result.as_ref().map(|outcome| outcome.measures).unwrap_or_default();
            let beginning = payload.get(..SHOWN).unwrap_or(&payload);
            let answered = Answered {
                function: revision.function.clone(),
                timestamp: self.clock.now_ms(),
                request_id,
                version: revision.version.to_string(),
                error,
                payload: String::from_utf8_lossy(beginning).into_owned(),
                bytes: measures.bytes_out.max(payload.len() as u64),
                duration_ms: measures.duration.as_secs_f64() * 1000.0,
                is_cold: measures.cold.is_some(),
            };
            // Nobody is left to see it: that is nobody's loss.
            let _unseen = self.answers.send(Arc::new(answered));
            result
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use ephyra_core::digest::Digest;
    use ephyra_core::id::{RequestId, RevisionId, Version};
    use ephyra_core::invocation::{FunctionError, Measures};
    use ephyra_core::revision::{LogFormat, LogLevel, Logging, Revision};
    use ephyra_store::clock::ManualClock;

    use super::*;

    /// Answers with the event, or fails when the event says so.
    struct Echo;

    impl Invoke for Echo {
        fn invoke(&self, invocation: Invocation) -> BoxFuture<'_, Result<Outcome, InvokeError>> {
            Box::pin(async move {
                let result = if invocation.payload == "fail" {
                    Err(FunctionError {
                        error_type: "Oops".to_owned(),
                        payload: Bytes::from_static(b"{}"),
                    })
                } else {
                    Ok(invocation.payload)
                };
                let measures = Measures {
                    duration: Duration::from_millis(3),
                    ..Measures::default()
                };
                Ok(Outcome {
                    executed_version: Version::Latest,
                    result,
                    log_tail: None,
                    measures,
                })
            })
        }
    }

    fn invocation(function: &str, payload: impl Into<Bytes>) -> Invocation {
        let revision = Revision {
            id: RevisionId::new(),
            function: function.parse().unwrap(),
            version: Version::Latest,
            function_arn: String::new(),
            runtime: String::new(),
            handler: String::new(),
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
                group: String::new(),
            },
        };
        Invocation {
            request_id: RequestId::new(),
            revision: Arc::new(revision),
            invoked_arn: String::new(),
            payload: payload.into(),
            client_context: None,
            trace_id: None,
            wants_log_tail: false,
            stream: None,
            received: Instant::now(),
        }
    }

    #[tokio::test]
    async fn a_watcher_sees_the_answers_of_its_function() {
        let tap = Tap::new(Arc::new(Echo), Arc::new(ManualClock::new(7)));
        tap.invoke(invocation("f", "before")).await.unwrap();
        let mut watch = tap.watch("f".parse().unwrap());
        tap.invoke(invocation("g", "other")).await.unwrap();
        tap.invoke(invocation("f", vec![b'x'; SHOWN + 1])).await.unwrap();
        tap.invoke(invocation("f", "fail")).await.unwrap();
        let mut next = async || match watch.next().await {
            Some(Watched::Answer(answer)) => answer,
            other => panic!("{other:?}"),
        };
        let first = next().await;
        assert_eq!((first.payload.len(), first.bytes), (SHOWN, SHOWN as u64 + 1));
        assert_eq!((first.timestamp, first.version.as_str()), (7, "$LATEST"));
        let second = next().await;
        assert_eq!((second.error.as_deref(), second.payload.as_str()), (Some("Oops"), "{}"));
    }

    #[tokio::test]
    async fn who_is_slow_is_told_what_is_left_out_and_nobody_is_counted_for_ever() {
        let tap = Tap::new(Arc::new(Echo), Arc::new(ManualClock::new(7)));
        let mut watch = tap.watch("f".parse().unwrap());
        for _ in 0..KEPT + 5 {
            tap.invoke(invocation("f", "x")).await.unwrap();
        }
        assert!(matches!(watch.next().await, Some(Watched::Skipped(5))));
        assert!(matches!(watch.next().await, Some(Watched::Answer(_))));
        drop(watch);
        assert_eq!(tap.watchers.load(Ordering::Relaxed), 0);
    }
}
