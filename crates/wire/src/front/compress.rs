//! Answers made smaller, for clients that ask for it: gzip and Brotli (RFC 9110, 8.4 and 12.5.3).
//!
//! Only whole answers of kinds that get much smaller: never streams, whose parts would wait in the compressor, and never what
//! is encoded already. How much is done at once is bounded: an answer that finds no free place goes as it is.

use std::io::Write as _;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode};
use tokio::sync::Semaphore;

use crate::service::{Body, Response};

/// Bytes below which an answer fits into a packet anyway.
const SMALLEST: usize = 1024;
/// Bytes above which it is done by a thread that nobody else waits for.
const LARGE: usize = 32 * 1024;
/// Large answers that are compressed at once.
const PLACES: usize = 4;
/// Of 9: half of the time of the usual 6, for a few percent.
const GZIP_LEVEL: u32 = 4;
/// Of 11: as quick as gzip, and smaller.
const BROTLI_LEVEL: i32 = 4;
/// Of a Brotli window, as a power of two: the usual 4 MiB cost more memory than they save bytes here.
const BROTLI_WINDOW: i32 = 18;

/// How a body is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Coding {
    Gzip,
    Brotli,
}

/// What a request has said of codings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    /// The one that the client likes best; of two that it likes alike, Brotli.
    coding: Option<Coding>,
    has_body: bool,
}

impl Wanted {
    /// Reads a request's headers.
    pub(super) fn read(method: &Method, headers: &HeaderMap) -> Self {
        Self {
            coding: accepted(headers),
            has_body: *method != Method::HEAD,
        }
    }
}

/// Compresses answers.
#[derive(Debug)]
pub(super) struct Compressor {
    places: Semaphore,
    is_on: bool,
}

impl Compressor {
    pub(super) const fn new(is_on: bool) -> Self {
        Self {
            places: Semaphore::const_new(PLACES),
            is_on,
        }
    }

    /// Compresses an answer, if it is wanted and worth it.
    pub(super) async fn compress(&self, wanted: Wanted, mut response: Response) -> Response {
        let Body::Full(bytes) = &response.body else {
            return response;
        };
        if !self.is_on || !wanted.has_body || bytes.len() < SMALLEST || !is_fit(response.status, &response.headers) {
            return response;
        }
        // Caches must not give one client's coding to another, whichever this one gets.
        add_vary(&mut response.headers);
        let Some(coding) = wanted.coding else {
            return response;
        };
        let compressed = if bytes.len() < LARGE {
            encode(coding, bytes)
        } else {
            let Ok(_place) = self.places.try_acquire() else {
                return response;
            };
            let bytes = bytes.clone();
            tokio::task::spawn_blocking(move || encode(coding, &bytes))
                .await
                .ok()
                .flatten()
        };
        if let Some(compressed) = compressed {
            let name = match coding {
                Coding::Gzip => "gzip",
                Coding::Brotli => "br",
            };
            let headers = &mut response.headers;
            headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(name));
            headers.remove(header::CONTENT_LENGTH);
            headers.remove(header::ACCEPT_RANGES);
            weaken(headers);
            response.body = Body::Full(compressed);
        }
        response
    }
}

/// The bytes in a coding; None when they would not be fewer.
fn encode(coding: Coding, bytes: &[u8]) -> Option<Bytes> {
    let room = Vec::with_capacity(bytes.len() / 2);
    let encoded = match coding {
        Coding::Gzip => {
            let mut encoder = GzEncoder::new(room, Compression::new(GZIP_LEVEL));
            encoder.write_all(bytes).ok()?;
            encoder.finish().ok()?
        }
        Coding::Brotli => {
            let mut encoded = room;
            let params = brotli::enc::BrotliEncoderParams {
                quality: BROTLI_LEVEL,
                lgwin: BROTLI_WINDOW,
                size_hint: bytes.len(),
                ..Default::default()
            };
            brotli::BrotliCompress(&mut &bytes[..], &mut encoded, &params).ok()?;
            encoded
        }
    };
    (encoded.len() < bytes.len()).then(|| Bytes::from(encoded))
}

/// Whether an answer may be written in another way, and is of a kind that is worth it.
fn is_fit(status: StatusCode, headers: &HeaderMap) -> bool {
    let has = |name: HeaderName| headers.contains_key(name);
    let may = (status.is_success() || status.is_client_error() || status.is_server_error())
        && status != StatusCode::NO_CONTENT
        && status != StatusCode::PARTIAL_CONTENT
        && !has(header::CONTENT_ENCODING)
        && !has(header::CONTENT_RANGE)
        && !has(HeaderName::from_static("content-digest"))
        && !has(HeaderName::from_static("content-md5"))
        && !lists(headers, &header::CACHE_CONTROL, "no-transform");
    may && headers.get(header::CONTENT_TYPE).is_some_and(is_compressible)
}

/// Texts, and what is written as text.
fn is_compressible(value: &HeaderValue) -> bool {
    let Ok(text) = value.to_str() else { return false };
    let kind = text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    // Events are for now, and a browser waits for each.
    if kind == "text/event-stream" {
        return false;
    }
    kind.starts_with("text/")
        || kind.ends_with("+json")
        || kind.ends_with("+xml")
        || matches!(
            kind.as_str(),
            "application/json"
                | "application/javascript"
                | "application/xml"
                | "application/graphql"
                | "application/x-ndjson"
                | "application/wasm"
                | "application/yaml"
                | "application/manifest+json"
                | "font/ttf"
                | "font/otf"
        )
}

/// Whether a header's list has a word.
fn lists(headers: &HeaderMap, name: &HeaderName, word: &str) -> bool {
    let lines = headers.get_all(name).iter().filter_map(|line| line.to_str().ok());
    let mut words = lines.flat_map(|line| line.split(','));
    words.any(|listed| listed.trim().eq_ignore_ascii_case(word))
}

fn add_vary(headers: &mut HeaderMap) {
    if !lists(headers, &header::VARY, "accept-encoding") && !lists(headers, &header::VARY, "*") {
        headers.append(header::VARY, HeaderValue::from_static("Accept-Encoding"));
    }
}

/// A strong tag is for these very bytes (RFC 9110, 8.8.1), which they are not any more.
fn weaken(headers: &mut HeaderMap) {
    let Some(tag) = headers.get(header::ETAG) else { return };
    if tag.as_bytes().starts_with(b"\"") {
        let weak = [b"W/", tag.as_bytes()].concat();
        if let Ok(weak) = HeaderValue::from_maybe_shared(Bytes::from(weak)) {
            headers.insert(header::ETAG, weak);
        }
    }
}

/// The coding that `Accept-Encoding` likes best, when it likes one at least as much as none.
fn accepted(headers: &HeaderMap) -> Option<Coding> {
    let (mut gzip, mut brotli, mut none) = (None, None, None);
    let lines = headers.get_all(header::ACCEPT_ENCODING).iter();
    for listed in lines
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(','))
    {
        let (name, weight) = weighed(listed)?;
        match name.to_ascii_lowercase().as_str() {
            "gzip" | "x-gzip" => gzip = Some(weight),
            "br" => brotli = Some(weight),
            "identity" => none = Some(weight),
            _ => {}
        }
    }
    // Only what is named: a star is no wish for one of these.
    let weight = |named: Option<u16>| named.unwrap_or(0);
    let (gzip, brotli) = (weight(gzip), weight(brotli));
    let (best, coding) = if brotli >= gzip {
        (brotli, Coding::Brotli)
    } else {
        (gzip, Coding::Gzip)
    };
    let none = none.unwrap_or(0);
    (best > 0 && best >= none).then_some(coding)
}

/// A name and its weight in thousandths; None when it is malformed.
fn weighed(listed: &str) -> Option<(&str, u16)> {
    let (name, parameter) = match listed.split_once(';') {
        Some((name, parameter)) => (name.trim(), Some(parameter.trim())),
        None => (listed.trim(), None),
    };
    let Some(parameter) = parameter else {
        return Some((name, 1000));
    };
    let weight = parameter.strip_prefix("q=").or_else(|| parameter.strip_prefix("Q="))?;
    let (whole, rest) = weight.split_once('.').unwrap_or((weight, ""));
    if rest.len() > 3 || !rest.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let thousandths: u16 = format!("{rest:0<3}").parse().ok()?;
    match whole {
        "0" => Some((name, thousandths)),
        "1" if thousandths == 0 => Some((name, 1000)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use proptest::prelude::*;

    use super::*;

    fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        let pair = |(name, value): &(&str, &str)| (name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
        pairs.iter().map(pair).collect()
    }

    #[test]
    fn the_client_chooses() {
        let check = |text: &str, want: Option<Coding>| {
            assert_eq!(accepted(&headers(&[("accept-encoding", text)])), want, "{text}");
        };
        check("gzip, deflate, br", Some(Coding::Brotli));
        check("gzip, deflate", Some(Coding::Gzip));
        check("GZIP;q=0.5, br;q=0.4", Some(Coding::Gzip));
        check("br ; q=0.001", Some(Coding::Brotli));
        check("gzip;q=1.000", Some(Coding::Gzip));
        check("identity, gzip;q=0.5", None);
        check("identity;q=0, gzip;q=0.5", Some(Coding::Gzip));
        check("*, gzip;q=0.5", Some(Coding::Gzip));
        for text in [
            "",
            "identity",
            "deflate",
            "*",
            "gzip;q=0",
            "br;q=0.000",
            "gzip;q=2",
            "gzip;q=0.1234",
            "gzip;q=",
            "gzip;x=1",
            "gzip;q=-1",
        ] {
            check(text, None);
        }
        assert_eq!(accepted(&HeaderMap::new()), None);
    }

    fn decoded(response: &Response) -> Vec<u8> {
        let Body::Full(bytes) = &response.body else {
            panic!("a stream")
        };
        let mut decoded = Vec::new();
        match response.headers.get("content-encoding").map(HeaderValue::as_bytes) {
            Some(b"gzip") => {
                flate2::read::GzDecoder::new(&bytes[..])
                    .read_to_end(&mut decoded)
                    .unwrap();
            }
            Some(b"br") => {
                brotli::Decompressor::new(&bytes[..], 4096)
                    .read_to_end(&mut decoded)
                    .unwrap();
            }
            _ => decoded = bytes.to_vec(),
        }
        decoded
    }

    async fn answer(accept: &str, status: u16, pairs: &[(&str, &str)], body: &[u8]) -> Response {
        let wanted = Wanted::read(&Method::GET, &headers(&[("accept-encoding", accept)]));
        let response = Response {
            status: StatusCode::from_u16(status).unwrap(),
            headers: headers(pairs),
            body: Body::Full(Bytes::copy_from_slice(body)),
        };
        Compressor::new(true).compress(wanted, response).await
    }

    #[tokio::test]
    async fn what_is_worth_it_gets_smaller() {
        for (accept, want) in [("gzip", "gzip"), ("br, gzip", "br")] {
            for size in [2000, 200_000] {
                let body = b"all work and no play ".repeat(size / 20);
                let made = [
                    ("content-type", "text/html; charset=utf-8"),
                    ("etag", "\"a\""),
                    ("vary", "Origin"),
                ];
                let response = answer(accept, 200, &made, &body).await;
                assert_eq!(response.headers["content-encoding"], want);
                assert_eq!(response.headers["etag"], "W/\"a\"");
                assert!(lists(&response.headers, &header::VARY, "accept-encoding"));
                assert!(lists(&response.headers, &header::VARY, "origin"));
                let Body::Full(bytes) = &response.body else {
                    panic!("a stream")
                };
                assert!(bytes.len() < body.len() / 10);
                assert_eq!(decoded(&response), body);
            }
        }
    }

    #[tokio::test]
    async fn what_is_not_goes_as_it_is() {
        let body = b"all work and no play ".repeat(100);
        let json = ("content-type", "application/json");
        for (status, pairs, body) in [
            (200, &[json, ("content-encoding", "gzip")][..], &body[..]),
            (200, &[json, ("cache-control", "private, No-Transform")], &body),
            (200, &[json, ("content-range", "bytes 0-5/10")], &body),
            (206, &[json], &body),
            (304, &[json], &body),
            (200, &[("content-type", "image/png")], &body),
            (200, &[("content-type", "text/event-stream")], &body),
            (200, &[], &body),
            (200, &[json], b"{}"),
        ] {
            let response = answer("gzip, br", status, pairs, body).await;
            assert!(!response.headers.contains_key("vary"), "{pairs:?}");
            assert_eq!(
                response.headers.get("content-encoding"),
                headers(pairs).get("content-encoding")
            );
            let Body::Full(bytes) = &response.body else {
                panic!("a stream")
            };
            assert_eq!(bytes, body);
        }
        // Who does not ask gets it as it is, but caches are told.
        let response = answer("identity", 200, &[json], &body).await;
        assert!(!response.headers.contains_key("content-encoding"));
        assert_eq!(response.headers["vary"], "Accept-Encoding");
        // What does not get smaller stays.
        let mut state = 1_u32;
        let noise: Vec<u8> = std::iter::repeat_with(|| {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            state.to_be_bytes()[0]
        })
        .take(5000)
        .collect();
        let response = answer("gzip", 200, &[json], &noise).await;
        assert!(!response.headers.contains_key("content-encoding"));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn any_text_is_weighed_or_refused(text in "[a-z*;=,. q0-9]{0,40}") {
            let _ = accepted(&headers(&[("accept-encoding", &text)]));
            if let Some((_, weight)) = weighed(&text) {
                prop_assert!(weight <= 1000);
            }
        }

        #[test]
        fn what_was_encoded_is_decoded(body in prop::collection::vec(0_u8..4, 1..5000)) {
            for coding in [Coding::Gzip, Coding::Brotli] {
                let Some(bytes) = encode(coding, &body) else { continue };
                let name = if coding == Coding::Gzip { "gzip" } else { "br" };
                let response = Response {
                    status: StatusCode::OK,
                    headers: headers(&[("content-encoding", name)]),
                    body: Body::Full(bytes),
                };
                prop_assert_eq!(&decoded(&response), &body);
            }
        }
    }
}
