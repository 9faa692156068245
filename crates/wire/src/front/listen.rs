//! Accepting connections, and ending them in order.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::time::{sleep, timeout};

use super::answer::House;
use super::connection;
use super::site::Peer;

/// How long to wait after the system had no descriptor or memory for a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long connections that were cut off have to notice.
const CUT_TIME: Duration = Duration::from_secs(5);

/// What connections are to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Serve.
    Open,
    /// Finish what runs, take nothing new.
    Draining,
    /// End at once.
    Cut,
}

/// A running front end. Dropping it ends all connections at once.
#[derive(Debug)]
pub struct Handle {
    house: Arc<House>,
    phase: watch::Sender<Phase>,
    permits: Arc<Semaphore>,
}

/// How a shutdown went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drained {
    /// Connections that were cut off because what ran on them did not finish in time.
    pub cut: usize,
}

impl Handle {
    /// How many connections are open.
    pub fn connections(&self) -> usize {
        self.house
            .options
            .connections
            .saturating_sub(self.permits.available_permits())
    }

    /// Answers requests that come from now on with 503, and goes on with those that run. Connections stay open.
    pub fn refuse_new(&self) {
        self.house.is_refusing.store(true, Relaxed);
    }

    /// Stops accepting, closes idle connections, lets running requests finish for at most `bound`, then cuts off
    /// what is left.
    pub async fn shutdown(self, bound: Duration) -> Drained {
        self.refuse_new();
        self.phase.send_replace(Phase::Draining);
        let all = u32::try_from(self.house.options.connections).unwrap_or(u32::MAX);
        if timeout(bound, self.permits.acquire_many(all)).await.is_ok() {
            return Drained { cut: 0 };
        }
        let cut = self.connections();
        self.phase.send_replace(Phase::Cut);
        // They end as soon as they are polled; the bound is for a service that blocks its thread.
        if timeout(CUT_TIME, self.permits.acquire_many(all)).await.is_err() {
            tracing::warn!("connections did not end within {CUT_TIME:?} after they were cut off");
        }
        Drained { cut }
    }
}

/// Begins to serve.
pub(super) fn start(house: Arc<House>, listeners: Vec<TcpListener>) -> Handle {
    let (phase, receiver) = watch::channel(Phase::Open);
    let permits = Arc::new(Semaphore::new(house.options.connections));
    for listener in listeners {
        tokio::spawn(accept(house.clone(), listener, permits.clone(), receiver.clone()));
    }
    Handle { house, phase, permits }
}

async fn accept(house: Arc<House>, listener: TcpListener, permits: Arc<Semaphore>, mut phase: watch::Receiver<Phase>) {
    let is_over = |phase: &Phase| *phase != Phase::Open;
    loop {
        // The connection comes first and the permit second, so that a listener without clients holds none; the one
        // connection that waits here counts as part of the backlog.
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = phase.wait_for(is_over) => return,
        };
        let (stream, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) if is_of_the_client(&error) => continue,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let permit = tokio::select! {
            permit = permits.clone().acquire_owned() => permit,
            _ = phase.wait_for(is_over) => return,
        };
        let Ok(permit) = permit else { return };
        let (house, phase) = (house.clone(), phase.clone());
        tokio::spawn(async move {
            let peer = Peer { address, is_tls: false };
            connection::serve(house, stream, peer, phase).await;
            drop(permit);
        });
    }
}

/// Whether a client went away before it was accepted, which is no fault of ours (accept(2)).
fn is_of_the_client(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionRefused
    )
}
