//! The APIs that are served into a guest: the Runtime API for runtimes that bring their own program, the Extensions
//! API and the subscription to telemetry for all.
//!
//! Reading order: `state` and `extensions` (what may be said when), `server` (connections), `runtime`, `extension` and
//! `telemetry` (one API each), `reply`. A guest that opens no connection costs one task that waits.

mod extension;
pub(crate) mod extensions;
mod reply;
mod runtime;
mod server;
mod state;
mod telemetry;

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use ephyra_core::id::{ExtensionId, RequestId};
use ephyra_core::revision::Revision;
use http::HeaderValue;
use parking_lot::{Mutex, MutexGuard};
use rustix::net::Shutdown;
use tokio::net::TcpListener;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;

use crate::channel::{ANSWER_BURST, ANSWER_PIECE_BYTES, ANSWER_RATE};
use crate::frame::Document;
use crate::pace::Pace;
use crate::protocol::{Answer, Broken, Delivery};
use crate::telemetry::SharedHub;
use extensions::{Extensions, Occasion};
use state::State;

/// Parts of an answer between the connection and the invocation: enough to keep both at work.
const MESSAGES: usize = 4;

/// The host's side of one guest's APIs.
pub(crate) struct Api {
    shared: Arc<Shared>,
    listener: Arc<TcpListener>,
    server: JoinHandle<()>,
}

/// The host's side of the Runtime API, for a runtime that speaks it.
pub(crate) struct RuntimeApi {
    shared: Arc<Shared>,
    messages: mpsc::Receiver<Message>,
    /// What it said before it was asked.
    first: Option<Message>,
}

/// What connections and the environment share.
struct Shared {
    turn: Mutex<Turn>,
    /// Wakes one connection that waits for an event.
    event: Notify,
    /// `None` for a runtime that is spoken to in frames.
    messages: Option<mpsc::Sender<Message>>,
    pace: Mutex<Pace>,
    extensions: Mutex<Extensions>,
    /// Wakes the connections of extensions: there may be an event.
    summons: Notify,
    /// Wakes the environment: an extension has got somewhere.
    told: Notify,
    revision: Arc<Revision>,
    hub: SharedHub,
}

impl Shared {
    /// Counts so many bytes of a guest's talk, and waits when that is more than its allowance for one event.
    async fn paced(&self, bytes: usize) {
        let wait = {
            let mut pace = self.pace.lock();
            pace.spend(bytes, 1);
            pace.wait(Instant::now)
        };
        if let Some(wait) = wait {
            tokio::time::sleep(wait).await;
        }
    }
}

struct Turn {
    state: State,
    event: Option<Event>,
}

/// An event that waits to be fetched.
struct Event {
    id: RequestId,
    headers: Vec<(&'static str, HeaderValue)>,
    payload: Bytes,
}

/// From a connection to the invocation.
enum Message {
    /// The runtime asks for an event.
    Ready,
    /// It could not initialise.
    InitError(Document),
    /// It answers.
    Answer(Answer),
}

impl Api {
    /// Serves the APIs on a listener. A runtime that `speaks` is spoken to by what comes with it.
    pub(crate) fn serve(
        listener: OwnedFd,
        revision: Arc<Revision>,
        hub: SharedHub,
        speaks: bool,
    ) -> io::Result<(Self, Option<RuntimeApi>)> {
        let listener = std::net::TcpListener::from(listener);
        listener.set_nonblocking(true)?;
        let listener = Arc::new(TcpListener::from_std(listener)?);
        let (sender, receiver) = if speaks {
            let (sender, receiver) = mpsc::channel(MESSAGES);
            (Some(sender), Some(receiver))
        } else {
            (None, None)
        };
        let shared = Arc::new(Shared {
            turn: Mutex::new(Turn {
                state: if speaks { State::Started } else { State::Framed },
                event: None,
            }),
            event: Notify::new(),
            messages: sender,
            pace: Mutex::new(Pace::new(ANSWER_BURST, ANSWER_RATE).with_piece(ANSWER_PIECE_BYTES)),
            extensions: Mutex::default(),
            summons: Notify::new(),
            told: Notify::new(),
            revision,
            hub,
        });
        let runtime = receiver.map(|messages| RuntimeApi {
            shared: Arc::clone(&shared),
            messages,
            first: None,
        });
        let server = tokio::spawn(server::accept(Arc::clone(&listener), Arc::clone(&shared)));
        let api = Self {
            shared,
            listener,
            server,
        };
        Ok((api, runtime))
    }

    /// Ends the service. When this returns, the port is free for whoever has the network next, and nothing of this
    /// environment's can connect in it any more.
    pub(crate) fn close(&self) {
        self.server.abort();
        self.shared.hub.cut_off();
        // A listener that is shut down gives up its port, whoever still holds it.
        if let Err(error) = rustix::net::shutdown(&self.listener, Shutdown::Both)
            && error != rustix::io::Errno::NOTCONN
        {
            tracing::debug!(%error, "the listener of an environment could not be shut down");
        }
    }

    /// Counts in external extensions, by the names of their files, whose processes are about to be started.
    pub(crate) fn expect<'a>(&self, names: impl Iterator<Item = &'a str>) {
        let mut extensions = self.shared.extensions.lock();
        for name in names {
            extensions.launch(name, ExtensionId::new());
        }
    }

    /// What is known of the extensions.
    pub(crate) fn extensions(&self) -> MutexGuard<'_, Extensions> {
        self.shared.extensions.lock()
    }

    /// Resolves when it is so of the extensions, or when one of them has failed: then it says which.
    pub(crate) async fn until(&self, is_so: impl Fn(&Extensions) -> bool) -> Result<(), Fallen> {
        loop {
            {
                let extensions = self.shared.extensions.lock();
                if let Some(fallen) = extensions.failed() {
                    return Err(Fallen {
                        name: fallen.name.clone(),
                        is_external: fallen.is_external,
                        error_type: fallen.stage.failure_type(),
                    });
                }
                if is_so(&extensions) {
                    return Ok(());
                }
            }
            self.shared.told.notified().await;
        }
    }

    /// Tells extensions of an invocation.
    pub(crate) fn summon(&self, delivery: &Delivery<'_>) {
        self.shared.pace.lock().renew();
        let event = extension::invoke_event(delivery);
        self.shared.extensions.lock().summon(Occasion::Invoke, &event);
        self.shared.summons.notify_waiters();
    }

    /// Tells extensions of the environment's end.
    pub(crate) fn dismiss(&self, reason: &str, deadline_ms: u64) {
        self.shared.pace.lock().renew();
        let event = extension::shutdown_event(reason, deadline_ms);
        self.shared.extensions.lock().summon(Occasion::Shutdown, &event);
        self.shared.summons.notify_waiters();
    }
}

/// An extension that has failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fallen {
    pub(crate) name: String,
    pub(crate) is_external: bool,
    /// In AWS's words.
    pub(crate) error_type: &'static str,
}

impl RuntimeApi {
    /// Resolves when the runtime has said anything, which is kept.
    pub(crate) async fn heard(&mut self) {
        if self.first.is_none() {
            self.first = self.messages.recv().await;
        }
    }

    /// The runtime turned out to be spoken to in frames.
    pub(crate) fn give_up(&self) {
        self.shared.turn.lock().state = State::Framed;
    }

    /// Resolves when the runtime asks for its first event, or says that it cannot.
    pub(crate) async fn ready(&mut self) -> Result<Result<(), Document>, Broken> {
        self.heard().await;
        match self.first.take() {
            Some(Message::Ready) => return Ok(Ok(())),
            Some(Message::InitError(document)) => return Ok(Err(document)),
            Some(Message::Answer(_)) | None => {}
        }
        loop {
            match self.messages.recv().await {
                Some(Message::Ready) => return Ok(Ok(())),
                Some(Message::InitError(document)) => return Ok(Err(document)),
                Some(Message::Answer(_)) => {}
                None => return Err(Broken::Closed),
            }
        }
    }

    /// Restores a runtime that waits for it, and resolves when it asks for its first event or says that it cannot. One
    /// that has asked for an event already waits for nothing else.
    pub(crate) async fn restore(&mut self) -> Result<Result<(), Document>, Broken> {
        self.shared.pace.lock().renew();
        if !self.shared.turn.lock().state.restore() {
            return Ok(Ok(()));
        }
        self.shared.event.notify_one();
        self.ready().await
    }

    /// Lays an event out to be fetched.
    pub(crate) fn deliver(&mut self, delivery: &Delivery<'_>) {
        let event = Event {
            id: delivery.request_id,
            headers: headers(delivery),
            payload: delivery.payload.clone(),
        };
        self.shared.pace.lock().renew();
        self.shared.turn.lock().event = Some(event);
        self.shared.event.notify_one();
    }

    /// What the runtime says next about its invocation.
    pub(crate) async fn answer(&mut self) -> Result<Answer, Broken> {
        loop {
            match self.messages.recv().await {
                Some(Message::Answer(answer)) => return Ok(answer),
                Some(Message::Ready | Message::InitError(_)) => {}
                None => return Err(Broken::Closed),
            }
        }
    }
}

fn headers(delivery: &Delivery<'_>) -> Vec<(&'static str, HeaderValue)> {
    let mut headers = Vec::with_capacity(6);
    let mut set = |name, value: &str| {
        // JSON may be laid out in lines; between its words a space says the same.
        let value: Vec<u8> = value
            .bytes()
            .map(|byte| if byte.is_ascii_control() { b' ' } else { byte })
            .collect();
        if let Ok(value) = HeaderValue::from_bytes(&value) {
            headers.push((name, value));
        }
    };
    set("content-type", "application/json");
    set("lambda-runtime-aws-request-id", &delivery.request_id.to_string());
    set("lambda-runtime-deadline-ms", &delivery.deadline_ms.to_string());
    set("lambda-runtime-invoked-function-arn", delivery.invoked_arn);
    if let Some(trace_id) = delivery.trace_id {
        set("lambda-runtime-trace-id", trace_id);
    }
    if let Some(context) = delivery.client_context {
        set("lambda-runtime-client-context", context);
    }
    headers
}
