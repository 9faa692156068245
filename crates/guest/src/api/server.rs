//! Connections of a guest to its APIs.

use std::convert::Infallible;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::Request;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::reply::{self, Reply};
use super::{Shared, extension, runtime, telemetry};

/// Connections at once: a runtime uses one or two, and so does each of ten extensions.
const CONNECTIONS: usize = 32;
/// The head of a request, in bytes.
const HEAD_BYTES: usize = 64 * 1024;
/// What a request costs of the guest's allowance besides its body, in bytes: 256 of them for one event are free.
const REQUEST_BYTES: usize = 64 * 1024;
/// The headers of a request.
const HEADERS: usize = 64;

/// Accepts connections until it is dropped.
pub(super) async fn accept(listener: Arc<TcpListener>, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        let accepted = listener.accept().await;
        while connections.try_join_next().is_some() {}
        let Ok((stream, _)) = accepted else {
            // For want of descriptors: others may come free.
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            continue;
        };
        if connections.len() >= CONNECTIONS {
            continue;
        }
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "a guest's connection keeps its small writes back");
        }
        let shared = shared.clone();
        connections.spawn(async move {
            let service = service_fn(move |request| route(shared.clone(), request));
            let served = http1::Builder::new()
                .max_buf_size(HEAD_BYTES)
                .max_headers(HEADERS)
                .serve_connection(TokioIo::new(stream), service)
                .await;
            if let Err(error) = served {
                tracing::debug!(%error, "a guest's connection to its Runtime API broke");
            }
        });
    }
}

async fn route(shared: Arc<Shared>, request: Request<Incoming>) -> Result<Reply, Infallible> {
    shared.paced(REQUEST_BYTES).await;
    let path = request.uri().path().to_owned();
    Ok(match path.get(1..).and_then(|path| path.split_once('/')) {
        Some(("2018-06-01", path)) => runtime::route(&shared, path, request).await,
        Some(("2020-01-01", path)) => extension::route(&shared, path, request).await,
        Some(("2020-08-15" | "2022-07-01", _)) => telemetry::route(&shared, &path, request).await,
        _ => reply::not_found(),
    })
}

/// Reads a body of at most so many bytes; `None` when it is longer or breaks off.
pub(super) async fn read_small(shared: &Shared, mut body: Incoming, limit: usize) -> Option<Bytes> {
    let mut whole = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(bytes) = frame.ok()?.into_data() else { continue };
        shared.paced(bytes.len()).await;
        if whole.len() + bytes.len() > limit {
            return None;
        }
        whole.extend_from_slice(&bytes);
    }
    Some(whole.freeze())
}
