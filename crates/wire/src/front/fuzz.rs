//! What fuzzing feeds of the front: connections, and the headers that it reads itself.

use std::net::{Ipv4Addr, SocketAddr};

use http::header::{ACCEPT_ENCODING, HOST};
use http::{HeaderValue, Method, Request};

use super::compress::Wanted;
use super::framing::Framing;
use super::head;
use super::site::Peer;
use super::{Network, forwarded};

/// A first byte says how the rest is cut: what is malformed does not depend on that, and nothing much is kept.
pub(crate) fn framing(bytes: &[u8]) {
    let Some((cut, bytes)) = bytes.split_first() else {
        return;
    };
    let follow = |size: usize| {
        let mut framing = Framing::new(4096);
        bytes.chunks(size).try_for_each(|part| {
            let followed = framing.follow(part);
            assert!(followed.is_ok() || followed.is_err_and(|malformed| malformed.before < part.len()));
            followed.map_err(|_| ())
        })
    };
    // A line that has no end is refused sooner when it comes whole.
    if bytes.len() < 1024 {
        assert_eq!(follow(usize::from(*cut) + 1), follow(bytes.len().max(1)));
    }
}

/// Lines: the target, the host, `X-Forwarded-For`, `X-Forwarded-Proto`, `Accept-Encoding`.
pub(crate) fn headers(bytes: &[u8]) {
    let mut lines = bytes.split(|byte| *byte == b'\n');
    let mut line = || lines.next().unwrap_or_default();
    let Ok(mut request) = Request::builder().uri(line()).body(()) else {
        return;
    };
    for name in ["host", "x-forwarded-for", "x-forwarded-proto", ACCEPT_ENCODING.as_str()] {
        if let Ok(value) = HeaderValue::from_bytes(line()) {
            request.headers_mut().append(name, value);
        }
    }
    let (mut head, ()) = request.into_parts();
    if head::check(&head).is_ok() {
        let host = head.headers.get(HOST).map(HeaderValue::as_bytes).unwrap_or_default();
        assert!(!host.iter().any(|byte| b"@/?# ,\\\0".contains(byte)));
        assert!(!head.uri.path().contains("%00"));
    }
    let _ = Wanted::read(&Method::GET, &head.headers);
    let peer = Peer {
        address: SocketAddr::from((Ipv4Addr::LOCALHOST, 1)),
        is_tls: false,
    };
    // A stranger is who it is, whatever it says; a trusted proxy is believed, and breaks nothing.
    let trusted: Vec<Network> = "127.0.0.0/8".parse().into_iter().collect();
    forwarded::settle(&mut head.clone(), peer, &trusted);
    assert_eq!(forwarded::settle(&mut head, peer, &[]), peer);
    assert!(
        head.headers
            .keys()
            .all(|name| !name.as_str().starts_with("x-forwarded-"))
    );
}
