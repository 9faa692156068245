//! The Lambda Runtime API, for runtimes that bring their own program.
//! Source: <https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html>.

mod reply;
mod server;
mod state;

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use ephyra_core::id::RequestId;
use http::HeaderValue;
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;

use crate::channel::{ANSWER_BURST, ANSWER_RATE};
use crate::frame::Document;
use crate::pace::Pace;
use crate::protocol::{Answer, Broken, Delivery};
use state::State;

/// Parts of an answer between the connection and the invocation: enough to keep both at work.
const MESSAGES: usize = 4;

/// The host's side of one guest's Runtime API.
pub(crate) struct Api {
    shared: Arc<Shared>,
    messages: mpsc::Receiver<Message>,
    server: JoinHandle<()>,
}

/// What connections and the invocation share.
struct Shared {
    turn: Mutex<Turn>,
    /// Wakes one connection that waits for an event.
    event: Notify,
    messages: mpsc::Sender<Message>,
    pace: Mutex<Pace>,
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
    /// Serves the Runtime API on a listener.
    pub(crate) fn serve(listener: OwnedFd) -> io::Result<Self> {
        let listener = std::net::TcpListener::from(listener);
        listener.set_nonblocking(true)?;
        let listener = TcpListener::from_std(listener)?;
        let (sender, messages) = mpsc::channel(MESSAGES);
        let shared = Arc::new(Shared {
            turn: Mutex::new(Turn {
                state: State::Started,
                event: None,
            }),
            event: Notify::new(),
            messages: sender,
            pace: Mutex::new(Pace::new(ANSWER_BURST, ANSWER_RATE)),
        });
        let server = tokio::spawn(server::accept(listener, shared.clone()));
        Ok(Self {
            shared,
            messages,
            server,
        })
    }

    /// Resolves when the runtime asks for its first event, or says that it cannot.
    pub(crate) async fn ready(&mut self) -> Result<Result<(), Document>, Broken> {
        loop {
            match self.messages.recv().await {
                Some(Message::Ready) => return Ok(Ok(())),
                Some(Message::InitError(document)) => return Ok(Err(document)),
                Some(Message::Answer(_)) => {}
                None => return Err(Broken::Closed),
            }
        }
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

impl Drop for Api {
    fn drop(&mut self) {
        self.server.abort();
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
