//! The HTTP server: connections in, verified requests to services, answers out.
//!
//! Read [`FrontOptions`] (what a client may cost), [`Services`] (who is asked), then [`Front::start`]. Inside:
//! `listen` accepts and ends connections, `connection` watches one, `framing` and `head` refuse what could be read in two
//! ways, `answer` takes one request through. [`Site`] is who answers
//! where AWS does not: at function URLs and HTTP APIs.
//!
//! **Invariant:** a client that is slow, huge or gone costs one connection and what it has sent, within the bounds
//! of [`FrontOptions`]; others do not notice.

mod answer;
mod body;
mod compress;
mod connection;
mod forwarded;
mod framing;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod head;
mod listen;
mod route;
mod site;
mod stream;
mod tls;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::future::BoxFuture;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use crate::service::Response;
use crate::sigv4::{Credentials, Verifier};

pub use body::ResponseBody;
pub use forwarded::{Network, ParseNetworkError};
pub use listen::{Drained, Handle};
pub use route::{Hints, Services};
pub use site::{Peer, Refused, Site, SiteRequest};
pub use tls::{Challenges, Tls};

/// Paths that begin so are ours and not AWS's: those that [`Plain`] answers are not signed.
pub const PLAIN_PREFIX: &str = "/_ephyra/";

/// What clients may cost.
#[derive(Clone, Debug)]
pub struct FrontOptions {
    /// Connections at once, over all listeners. More wait in the kernel's backlog and are accepted as others end.
    pub connections: usize,
    /// Bytes of a request's line and headers; more are answered with 431. At least 8,192.
    pub header_bytes: usize,
    /// How long a request's headers may take from their first byte.
    pub header_time: Duration,
    /// How long a connection may be without a request.
    pub idle_time: Duration,
    /// How long an answer may wait for a client that does not read.
    pub write_time: Duration,
    /// How long a body may take at most.
    pub body_time: Duration,
    /// How many bytes of a body must come a second, on average, once `body_grace` is over.
    pub body_bytes_per_second: u32,
    /// How long a body may be slower than that.
    pub body_grace: Duration,
    /// Bytes of bodies held at once, over all connections; a body that finds no room for longer than
    /// `body_grace` is answered with 503.
    pub bodies_bytes: usize,
    /// How much of a body that nobody wants is read and thrown away, so that the client gets to read its answer.
    pub discarded_bytes: usize,
    /// Whose `X-Forwarded-For` and `-Proto` are believed. A site sees neither these nor others of their kind.
    pub trusted_proxies: Vec<Network>,
    /// Whether a site's answers are compressed for clients that ask for it.
    pub compresses: bool,
}

impl Default for FrontOptions {
    fn default() -> Self {
        Self {
            connections: 10_000,
            header_bytes: 64 * 1024,
            header_time: Duration::from_secs(10),
            idle_time: Duration::from_secs(75),
            write_time: Duration::from_secs(30),
            body_time: Duration::from_secs(300),
            body_bytes_per_second: 16 * 1024,
            body_grace: Duration::from_secs(10),
            bodies_bytes: 256 * 1024 * 1024,
            discarded_bytes: 128 * 1024 * 1024,
            trusted_proxies: Vec::new(),
            compresses: true,
        }
    }
}

/// Answers what is ours and not AWS's, such as `/_ephyra/health`.
pub trait Plain: Send + Sync + 'static {
    /// Answers a GET of a path below [`PLAIN_PREFIX`]; None where there is nothing without a signature.
    fn get<'a>(&'a self, path: &'a str) -> BoxFuture<'a, Option<Response>>;
}

/// All that a front end needs.
pub struct Front {
    /// What clients may cost.
    pub options: FrontOptions,
    /// The one region that is served.
    pub region: String,
    /// Who knows the secrets.
    pub credentials: Arc<dyn Credentials>,
    /// Who answers.
    pub services: Services,
    /// Who answers unsigned requests.
    pub plain: Arc<dyn Plain>,
    /// Who answers at addresses that are not AWS's.
    pub site: Option<Arc<dyn Site>>,
    /// How to speak TLS, on every listener, with clients that begin so. None: all is plain.
    pub tls: Option<Tls>,
    /// What the time is.
    pub clock: fn() -> SystemTime,
}

impl fmt::Debug for Front {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Front")
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

impl Front {
    /// Serves on all `listeners` until the handle says otherwise. Must be called inside a tokio runtime.
    pub fn start(self, listeners: Vec<TcpListener>) -> Handle {
        let verifier = Verifier::new(self.credentials);
        let bodies = Arc::new(Semaphore::new(self.options.bodies_bytes.min(Semaphore::MAX_PERMITS)));
        let house = answer::House {
            compressor: compress::Compressor::new(self.options.compresses),
            options: self.options,
            region: self.region,
            verifier,
            services: self.services,
            plain: self.plain,
            site: self.site,
            tls: self.tls,
            clock: self.clock,
            bodies,
            is_refusing: std::sync::atomic::AtomicBool::new(false),
        };
        listen::start(Arc::new(house), listeners)
    }
}
