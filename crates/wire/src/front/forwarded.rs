//! Who the client is when a proxy is in between: `X-Forwarded-*`, believed of trusted proxies alone.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use http::{HeaderMap, HeaderName, request};

use super::site::Peer;

const FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
/// Addresses of one chain of proxies that are looked at.
const HOPS: usize = 64;

/// Addresses that begin alike, such as `10.0.0.0/8`; or one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    /// How many bits are alike.
    bits: u8,
}

/// A text that is no network.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is neither an address nor a network such as 10.0.0.0/8")]
pub struct ParseNetworkError(String);

impl Network {
    /// Whether an address belongs to it. IPv4 addresses in IPv6's clothes are IPv4.
    pub fn contains(&self, address: IpAddr) -> bool {
        let is_alike = |a: u128, b: u128, size: u8| (a ^ b).checked_shr(u32::from(size - self.bits)).unwrap_or(0) == 0;
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(own), IpAddr::V4(other)) => is_alike(own.to_bits().into(), other.to_bits().into(), 32),
            (IpAddr::V6(own), IpAddr::V6(other)) => is_alike(own.to_bits(), other.to_bits(), 128),
            _ => false,
        }
    }
}

impl FromStr for Network {
    type Err = ParseNetworkError;

    fn from_str(text: &str) -> Result<Self, ParseNetworkError> {
        let parse = || {
            let (address, bits) = match text.split_once('/') {
                Some((address, bits)) => (address, Some(bits)),
                None => (text, None),
            };
            let address: IpAddr = address.parse().ok()?;
            let most = if address.is_ipv4() { 32 } else { 128 };
            let bits = match bits {
                None => most,
                Some(bits) if bits.bytes().all(|byte| byte.is_ascii_digit()) => bits.parse().ok()?,
                Some(_) => return None,
            };
            (bits <= most).then_some(Self { address, bits })
        };
        parse().ok_or_else(|| ParseNetworkError(text.to_owned()))
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}

/// Finds out who the client is, and takes away every header that says so: whoever passes the request on writes them anew.
/// The port is no proxy's to say: the host names it.
pub(super) fn settle(head: &mut request::Parts, peer: Peer, trusted: &[Network]) -> Peer {
    let is_trusted = |address: IpAddr| trusted.iter().any(|network| network.contains(address));
    let mut client = Peer {
        address: SocketAddr::new(peer.address.ip().to_canonical(), peer.address.port()),
        is_tls: peer.is_tls,
    };
    if is_trusted(client.address.ip()) {
        // Each proxy writes behind what was there: the last address that is no proxy's is the client's, and what stands
        // before it is the client's own invention.
        for hop in hops(&head.headers).take(HOPS) {
            client.address = SocketAddr::new(hop, 0);
            if !is_trusted(hop) {
                break;
            }
        }
        client.is_tls = match last(&head.headers, &PROTO) {
            Some(proto) if proto.eq_ignore_ascii_case("https") => true,
            Some(proto) if proto.eq_ignore_ascii_case("http") => false,
            _ => peer.is_tls,
        };
    }
    remove(&mut head.headers);
    client
}

/// The addresses of `X-Forwarded-For`, the last first, up to one that is none.
fn hops(headers: &HeaderMap) -> impl Iterator<Item = IpAddr> {
    let lines = headers.get_all(FOR).iter().rev();
    lines
        .flat_map(|line| line.to_str().unwrap_or("?").rsplit(','))
        .map_while(|hop| hop_address(hop.trim()))
}

/// `10.0.0.1`, `10.0.0.1:80`, `::1`, `[::1]`, `[::1]:80`.
fn hop_address(text: &str) -> Option<IpAddr> {
    let unbracketed = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
    let address = unbracketed.unwrap_or(text).parse::<IpAddr>().ok();
    let with_port = || Some(text.parse::<SocketAddr>().ok()?.ip());
    Some(address.or_else(with_port)?.to_canonical())
}

/// The last value of a header that lists values.
fn last<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let line = headers.get_all(name).iter().next_back()?;
    line.to_str().ok()?.rsplit(',').next().map(str::trim)
}

/// Takes away every header that says who is behind a proxy.
fn remove(headers: &mut HeaderMap) {
    let is_meant = |name: &HeaderName| name.as_str().starts_with("x-forwarded-") || name == http::header::FORWARDED;
    let names: Vec<_> = headers.keys().filter(|name| is_meant(name)).cloned().collect();
    for name in names {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn settled(peer: &str, trusted: &[&str], headers: &[(&str, &str)]) -> String {
        let mut request = http::Request::get("/").header("host", "a.test:8080");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (mut head, ()) = request.body(()).unwrap().into_parts();
        let trusted: Vec<Network> = trusted.iter().map(|network| network.parse().unwrap()).collect();
        let peer = Peer {
            address: peer.parse().unwrap(),
            is_tls: false,
        };
        let client = settle(&mut head, peer, &trusted);
        assert_eq!(head.headers.len(), 1, "{head:?}");
        format!("{} {}", client.address.ip(), client.is_tls)
    }

    #[track_caller]
    fn check(peer: &str, trusted: &[&str], headers: &[(&str, &str)], want: &str) {
        assert_eq!(settled(peer, trusted, headers), want, "{headers:?}");
    }

    #[test]
    fn strangers_are_not_believed() {
        let lies = [
            ("x-forwarded-for", "1.2.3.4"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-port", "443"),
            ("x-forwarded-host", "bank.test"),
            ("x-forwarded-prefix", "/admin"),
            ("forwarded", "for=1.2.3.4"),
        ];
        check("9.9.9.9:5000", &["10.0.0.0/8"], &lies, "9.9.9.9 false");
        check("[::ffff:9.9.9.9]:5000", &[], &[], "9.9.9.9 false");
    }

    #[test]
    fn proxies_are_believed_as_far_as_they_are_trusted() {
        let trusted = ["10.0.0.0/8", "::1"];
        let told = [
            ("x-forwarded-for", "6.6.6.6, 1.2.3.4, 10.0.0.9"),
            ("x-forwarded-proto", "http, https"),
        ];
        check("10.1.1.1:5000", &trusted, &told, "1.2.3.4 true");
        let lines = [("x-forwarded-for", "1.2.3.4"), ("x-forwarded-for", "[2001:db8::1]:80")];
        check("[::1]:5000", &trusted, &lines, "2001:db8::1 false");
        let broken = [
            ("x-forwarded-for", "1.2.3.4, unknown, 10.0.0.9"),
            ("x-forwarded-proto", "gopher"),
        ];
        check("10.1.1.1:5000", &trusted, &broken, "10.0.0.9 false");
        check("10.1.1.1:5000", &trusted, &[], "10.1.1.1 false");
    }

    #[test]
    fn networks_have_a_form() {
        for text in ["10.0.0.0/8", "0.0.0.0/0", "::/0", "2001:db8::/32", "::1/128"] {
            assert_eq!(text.parse::<Network>().unwrap().to_string(), text);
        }
        for text in [
            "",
            "10.0.0.0/33",
            "10.0.0.0/-1",
            "10.0.0.0/+8",
            "10.0.0.0/",
            "::/129",
            "a/8",
            "10.0.0/8",
            "10.0.0.0/8/8",
        ] {
            assert!(text.parse::<Network>().is_err(), "{text}");
        }
        let contains =
            |network: &str, address: &str| network.parse::<Network>().unwrap().contains(address.parse().unwrap());
        assert!(contains("10.0.0.0/8", "10.255.1.2") && !contains("10.0.0.0/8", "11.0.0.0"));
        assert!(contains("0.0.0.0/0", "1.2.3.4") && !contains("0.0.0.0/0", "::1"));
        assert!(contains("::/0", "::1") && contains("10.0.0.1", "::ffff:10.0.0.1"));
        assert!(!contains("10.0.0.1", "10.0.0.2"));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn whatever_is_said_a_stranger_is_who_it_is(lines in prop::collection::vec("[0-9a-f.:,\\[\\] x]{0,40}", 0..4)) {
            let headers: Vec<_> = lines.iter().map(|line| ("x-forwarded-for", line.as_str())).collect();
            prop_assert_eq!(settled("9.9.9.9:1", &["10.0.0.0/8"], &headers), "9.9.9.9 false");
            // Nor does anything that a trusted one passes on break it.
            settled("9.9.9.9:1", &["9.9.9.9"], &headers);
        }
    }
}
