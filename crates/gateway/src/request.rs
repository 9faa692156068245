//! A request as both doors see it: function URLs and HTTP APIs.

use std::borrow::Cow;

use bytes::Bytes;
use ephyra_wire::front::Peer;
use http::{HeaderMap, HeaderName, Method, Version};
use percent_encoding::percent_decode_str;

/// A request, whole, borrowed from what the front has read. Nothing in it is to be believed but [`HttpRequest::peer`].
#[derive(Clone, Copy, Debug)]
pub struct HttpRequest<'a> {
    /// The method.
    pub method: &'a Method,
    /// The path as the function is to see it: without what named the URL or the API where that stands in the path. Never empty.
    pub path: &'a str,
    /// The query as sent, without its `?`.
    pub query: &'a str,
    /// The version of HTTP.
    pub version: Version,
    /// The headers as sent.
    pub headers: &'a HeaderMap,
    /// The host that the client asked, with a port where it named one.
    pub authority: &'a str,
    /// The body.
    pub body: &'a Bytes,
    /// The other end of the connection.
    pub peer: Peer,
}

impl<'a> HttpRequest<'a> {
    /// The value of a header, when it is text; the first where it comes several times.
    pub fn header(&self, name: HeaderName) -> Option<&'a str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The host that the client asked, without a port.
    pub fn host(&self) -> &'a str {
        split_authority(self.authority).0
    }

    /// The port that the client asked: the one that it named, or the scheme's own.
    pub fn port(&self) -> u16 {
        let scheme = if self.peer.is_tls { 443 } else { 80 };
        split_authority(self.authority).1.unwrap_or(scheme)
    }

    /// `http` or `https`.
    pub fn scheme(&self) -> &'static str {
        if self.peer.is_tls { "https" } else { "http" }
    }

    /// The protocol, such as `HTTP/1.1`.
    pub fn protocol(&self) -> &'static str {
        match self.version {
            Version::HTTP_10 => "HTTP/1.0",
            Version::HTTP_2 => "HTTP/2.0",
            _ => "HTTP/1.1",
        }
    }

    /// The parameters of the query, decoded, ordered by name; those of one name in the order sent.
    pub fn parameters(&self) -> Vec<(Cow<'a, str>, Cow<'a, str>)> {
        let pairs = self.query.split('&').filter(|pair| !pair.is_empty());
        let mut pairs: Vec<_> = pairs
            .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
            .map(|(name, value)| (decode_query(name), decode_query(value)))
            .collect();
        // A stable sort: a query may have thousands of parameters, so that to look for each among all would be slow.
        pairs.sort_by(|(a, _), (b, _)| a.cmp(b));
        pairs
    }

    /// Each cookie by itself.
    pub fn cookies(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        let values = self.headers.get_all(http::header::COOKIE).iter();
        values
            .filter_map(|value| std::str::from_utf8(value.as_bytes()).ok())
            .flat_map(|value| value.split(';'))
            .map(str::trim)
            .filter(|cookie| !cookie.is_empty())
    }
}

/// Divides `host:port`. An IPv6 address keeps its brackets.
pub fn split_authority(authority: &str) -> (&str, Option<u16>) {
    match authority.rsplit_once(':') {
        Some((host, port)) if !host.is_empty() && (!host.contains(':') || host.ends_with(']')) => {
            let is_number = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
            (host, is_number.then(|| port.parse().ok()).flatten())
        }
        _ => (authority, None),
    }
}

/// Decodes a part of a query: `+` is a space, and what is no UTF-8 is replaced.
pub fn decode_query(text: &str) -> Cow<'_, str> {
    if text.contains('+') {
        let text = text.replace('+', " ");
        return Cow::Owned(percent_decode_str(&text).decode_utf8_lossy().into_owned());
    }
    decode_path(text)
}

/// Decodes a part of a path. What is not encoded as it should be stands for itself, and what is no UTF-8 is replaced.
pub fn decode_path(text: &str) -> Cow<'_, str> {
    // Nearly always there is nothing to decode; then nothing is looked at twice.
    if text.contains('%') {
        percent_decode_str(text).decode_utf8_lossy()
    } else {
        Cow::Borrowed(text)
    }
}

/// Whether a header speaks of the connection, which ends here in both directions (RFC 9110, 7.6.1).
pub fn is_hop_by_hop(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "connection" | "keep-alive" | "proxy-connection" | "te" | "trailer" | "transfer-encoding" | "upgrade"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_authority_is_a_host_and_perhaps_a_port() {
        for (text, host, port) in [
            ("localhost:4566", "localhost", Some(4566)),
            ("localhost", "localhost", None),
            ("[::1]:80", "[::1]", Some(80)),
            ("[::1]", "[::1]", None),
            ("::1", "::1", None),
            ("localhost:", "localhost", None),
            ("localhost:99999", "localhost", None),
            ("localhost:+80", "localhost", None),
            (":80", ":80", None),
            ("", "", None),
        ] {
            assert_eq!(split_authority(text), (host, port), "{text}");
        }
    }

    #[test]
    fn queries_are_decoded() {
        for (text, decoded) in [
            ("a+b", "a b"),
            ("a%2Bb", "a+b"),
            ("%ff", "\u{fffd}"),
            ("%", "%"),
            ("%C3%A4", "ä"),
        ] {
            assert_eq!(decode_query(text), decoded, "{text}");
        }
        assert_eq!(decode_path("a+b%20c"), "a+b c");
    }
}
