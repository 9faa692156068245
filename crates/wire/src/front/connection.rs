//! One connection: its protocol, and the watch over how long it may do nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::task::Poll;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_rustls::TlsAcceptor;

use super::answer::House;
use super::body::ResponseBody;
use super::listen::Phase;
use super::site::Peer;
use super::stream::{Stream, Watched};
use super::{FrontOptions, head};

/// Requests at once on one HTTP/2 connection.
const STREAMS: u32 = 128;
/// Requests of an HTTP/2 connection that may be taken back before anybody has seen them.
const UNSEEN: usize = 20;
/// Requests of a connection that may be taken back while they are worked on; more only if half as many are answered.
const TAKEN_BACK: u32 = 100;
/// Bytes of one HTTP/2 answer that wait for the client.
const SEND_BYTES: usize = 128 * 1024;

/// The first byte of a connection that begins with TLS: a handshake's (RFC 8446, 5.1). No method begins so.
const HANDSHAKE: u8 = 0x16;

/// Serves one connection to its end.
pub(super) async fn serve(house: Arc<House>, stream: TcpStream, mut peer: Peer, mut phase: watch::Receiver<Phase>) {
    // Without it answers wait for acknowledgements of earlier ones. A socket that refuses it is only slower.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY could not be set");
    }
    let opened = tokio::select! {
        opened = open(&house, stream) => opened,
        _ = phase.wait_for(|phase| *phase != Phase::Open) => return,
    };
    let Some(stream) = opened else { return };
    peer.is_tls = matches!(stream, Stream::Tls(_));
    let watched = Arc::new(Activity::new());
    let io = TokioIo::new(Watched::new(stream, watched.clone(), house.options.header_bytes));
    let service = service_fn(|request| {
        let running = Running::start(&watched, request.version() == http::Version::HTTP_2);
        let house = house.clone();
        async move { Ok::<_, std::convert::Infallible>(answer(&house, request, peer, running).await) }
    });
    let builder = builder(&house.options);
    let mut connection = std::pin::pin!(builder.serve_connection(io, service));
    let mut watch = std::pin::pin!(sleep_until(watched.next_look(&house.options, Instant::now())));
    loop {
        tokio::select! {
            biased;
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(%error, "a connection ended early");
                }
                return;
            }
            () = watch.as_mut() => {
                let now = Instant::now();
                if watched.deadline(&house.options).is_some_and(|deadline| deadline <= now) {
                    tracing::debug!("a connection was closed because it did nothing for too long");
                    return;
                }
                watch.as_mut().reset(watched.next_look(&house.options, now));
            }
            changed = phase.changed() => {
                // Without its sender nobody is left who could wait for this connection to end.
                if changed.is_err() || *phase.borrow_and_update() == Phase::Cut {
                    return;
                }
                connection.as_mut().graceful_shutdown();
            }
        }
    }
}

/// Finds out whether a connection begins with TLS, and if so, gets through its handshake. None when it came to nothing.
async fn open(house: &House, stream: TcpStream) -> Option<Stream> {
    let Some(tls) = &house.tls else {
        return Some(Stream::Plain(stream));
    };
    let mut first = [0];
    let peeked = timeout(house.options.idle_time, stream.peek(&mut first)).await;
    if !matches!(peeked, Ok(Ok(1))) {
        return None;
    }
    if first[0] != HANDSHAKE {
        return Some(Stream::Plain(stream));
    }
    let handshake = TlsAcceptor::from(tls.config.clone()).accept(stream);
    match timeout(house.options.header_time, handshake).await {
        Ok(Ok(stream)) => Some(Stream::Tls(Box::new(stream))),
        Ok(Err(error)) => {
            tracing::debug!(%error, "a TLS handshake failed");
            None
        }
        Err(_) => {
            tracing::debug!("a TLS handshake took too long");
            None
        }
    }
}

/// Answers a request, unless nobody should look at it.
async fn answer(
    house: &House,
    request: http::Request<Incoming>,
    peer: Peer,
    running: Running,
) -> http::Response<ResponseBody> {
    let (head, incoming) = request.into_parts();
    let at_once = match head::check(&head) {
        Err(unfit) => Some(unfit.into_response(head.version)),
        Ok(()) => house.tls.as_ref().and_then(|tls| tls.challenge(&head)),
    };
    let Some(response) = at_once else {
        let request = http::Request::from_parts(head, incoming);
        return house.answer(request, peer, running).await;
    };
    let mut answer = http::Response::new(ResponseBody::new(response.body, running));
    *answer.status_mut() = response.status;
    *answer.headers_mut() = response.headers;
    answer
}

fn builder(options: &FrontOptions) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    let header_bytes = options.header_bytes.max(8192);
    // Time is watched here and not by hyper, which has one limit for a slow header and an idle connection.
    builder.http1().max_buf_size(header_bytes).header_read_timeout(None);
    builder
        .http2()
        .max_concurrent_streams(STREAMS)
        .max_pending_accept_reset_streams(UNSEEN)
        .max_send_buf_size(SEND_BYTES)
        .max_header_list_size(u32::try_from(header_bytes).unwrap_or(u32::MAX));
    builder
}

/// What a connection is doing, and since when. Milliseconds count from its start, 0 is "not".
#[derive(Debug)]
pub(super) struct Activity {
    start: Instant,
    /// Requests whose answer is not yet written.
    running: AtomicU32,
    /// Whether bytes of a next request have come.
    is_in_header: AtomicBool,
    is_http2: AtomicBool,
    /// When `running` or `is_in_header` changed last.
    since: AtomicU64,
    /// Since when the client has taken no byte of what is to be written.
    stuck: AtomicU64,
    /// Requests that were answered, and that were taken back before they were.
    answered: AtomicU32,
    taken_back: AtomicU32,
}

impl Activity {
    fn new() -> Self {
        Self {
            start: Instant::now(),
            running: AtomicU32::new(0),
            is_in_header: AtomicBool::new(false),
            is_http2: AtomicBool::new(false),
            since: AtomicU64::new(0),
            stuck: AtomicU64::new(0),
            answered: AtomicU32::new(0),
            taken_back: AtomicU32::new(0),
        }
    }

    fn elapsed(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// When the connection has done nothing for too long; None while a request is worked on.
    fn deadline(&self, options: &FrontOptions) -> Option<Instant> {
        let at = |since: u64, time: Duration| Some(self.start + Duration::from_millis(since) + time);
        let stuck = self.stuck.load(Relaxed);
        let since = self.since.load(Relaxed);
        if stuck != 0 {
            at(stuck, options.write_time)
        } else if self.running.load(Relaxed) > 0 {
            None
        } else if self.is_in_header.load(Relaxed) && !self.is_http2.load(Relaxed) {
            at(since, options.header_time)
        } else {
            // HTTP/2 sends frames without a request, so bytes do not tell of a header there.
            at(since, options.idle_time)
        }
    }

    /// When to look again: at the deadline, and before another could begin and pass unseen.
    fn next_look(&self, options: &FrontOptions, now: Instant) -> Instant {
        let soon = now + options.header_time.min(options.write_time).min(options.idle_time);
        self.deadline(options).map_or(soon, |deadline| deadline.min(soon))
    }

    /// Whether the client asks only to take it back (CVE-2023-44487).
    pub(super) fn is_fickle(&self) -> bool {
        let taken_back = self.taken_back.load(Relaxed);
        taken_back > TAKEN_BACK && taken_back / 2 > self.answered.load(Relaxed)
    }

    /// Bytes have come.
    pub(super) fn has_read(&self) {
        if self.running.load(Relaxed) == 0 && !self.is_in_header.swap(true, Relaxed) {
            self.since.store(self.elapsed(), Relaxed);
        }
    }

    /// Bytes were to be written: they were taken, or not yet.
    pub(super) fn has_written<T>(&self, result: &Poll<T>) {
        if result.is_ready() {
            if self.stuck.load(Relaxed) != 0 {
                self.stuck.store(0, Relaxed);
            }
        } else if self.stuck.load(Relaxed) == 0 {
            self.stuck.store(self.elapsed().max(1), Relaxed);
        }
    }
}

/// A request that is worked on, from its headers to the end of its answer.
#[derive(Debug)]
pub(super) struct Running {
    activity: Arc<Activity>,
    is_answered: bool,
}

impl Running {
    fn start(activity: &Arc<Activity>, is_http2: bool) -> Self {
        activity.running.fetch_add(1, Relaxed);
        activity.is_in_header.store(false, Relaxed);
        if is_http2 {
            activity.is_http2.store(true, Relaxed);
        }
        Self {
            activity: activity.clone(),
            is_answered: false,
        }
    }

    /// There is an answer; its body may still be on its way.
    pub(super) const fn has_answer(&mut self) {
        self.is_answered = true;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let activity = &self.activity;
        let ended = if self.is_answered {
            &activity.answered
        } else {
            &activity.taken_back
        };
        ended.fetch_add(1, Relaxed);
        activity.since.store(activity.elapsed(), Relaxed);
        activity.running.fetch_sub(1, Relaxed);
    }
}
