//! Function URLs: what is behind an address, found by its id on the way of every request; and how addresses are written.

use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};

use crate::compute::ResolveError;
use crate::id::{FunctionName, Qualifier, Region};

/// The length of [`FunctionUrl::id`].
pub const URL_ID_LEN: usize = 32;

/// One function URL, as it is at this moment. A change of it makes another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FunctionUrl {
    /// The first label of its host name: 32 of `[a-z0-9]`.
    pub id: String,
    /// The function.
    pub function: FunctionName,
    /// The alias that it leads to; `None` is `$LATEST`.
    pub qualifier: Option<Qualifier>,
    /// Who has to sign.
    pub auth: UrlAuth,
    /// Whether the resource policy of the function or alias lets everybody call the URL without a signature. Without
    /// that even [`UrlAuth::None`] lets nobody in.
    pub is_open: bool,
    /// How answers are sent.
    pub invoke_mode: InvokeMode,
    /// Which pages of other origins may call. `None`: that is left to the function.
    pub cors: Option<Cors>,
}

/// A URL's `AuthType`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum UrlAuth {
    /// Nobody has to sign.
    #[serde(rename = "NONE")]
    None,
    /// Requests are signed for the service `lambda`.
    #[serde(rename = "AWS_IAM")]
    AwsIam,
}

impl UrlAuth {
    /// AWS's word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "NONE",
            Self::AwsIam => "AWS_IAM",
        }
    }
}

/// A URL's `InvokeMode`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum InvokeMode {
    /// An answer is sent when it is whole.
    #[default]
    Buffered,
    /// An answer is sent as the function writes it.
    ResponseStream,
}

impl InvokeMode {
    /// AWS's word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Buffered => "BUFFERED",
            Self::ResponseStream => "RESPONSE_STREAM",
        }
    }
}

/// Cross-origin resource sharing: which pages of other origins may call. An empty list allows nothing of its kind.
///
/// In JSON what was not given is left out, as AWS leaves it out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Cors {
    /// Whether pages may send cookies and the like.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub allow_credentials: bool,
    /// Headers that pages may send; `*` is all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allow_headers: Vec<String>,
    /// Methods that pages may use; `*` is all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allow_methods: Vec<String>,
    /// Origins of the pages, such as `https://example.com`; `*` is all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allow_origins: Vec<String>,
    /// Headers that pages may read.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub expose_headers: Vec<String>,
    /// How long a browser may remember what it was told, in seconds: at most 86,400. With 0 it is not told a time.
    #[serde(skip_serializing_if = "is_zero")]
    pub max_age: u32,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// Finds function URLs.
pub trait FunctionUrls: Send + Sync + 'static {
    /// Finds a URL by its id; `None` if there is none, or if its function or alias is gone. Cached: a hit costs a lock
    /// and a reference. A change is seen by whoever asks after it was acknowledged.
    fn find<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<Option<Arc<FunctionUrl>>, ResolveError>>;
}

/// Where clients reach this platform: what every address that they are told begins with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// Whether it is `https`.
    pub is_tls: bool,
    /// A name, below which there are names for everything that has an address; or a number, below which there are none.
    pub host: String,
    /// The port.
    pub port: u16,
}

/// A text that is not an origin.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is not an origin such as http://localhost:4566")]
pub struct ParseOriginError(String);

impl Origin {
    /// The origin of a platform that listens there: where only this machine can come, it is called `localhost`.
    pub fn of_listener(ip: IpAddr, port: u16, is_tls: bool) -> Self {
        let host = match ip {
            ip if ip.is_loopback() || ip.is_unspecified() => "localhost".to_owned(),
            IpAddr::V4(ip) => ip.to_string(),
            IpAddr::V6(ip) => format!("[{ip}]"),
        };
        Self { is_tls, host, port }
    }

    /// The address of something that has a name of its own below the host, and a path where there are no such names:
    /// `http://NAME.HOST:PORT/`, or `http://HOST:PORT/PATH/`.
    pub fn address(&self, name: &str, path: &str) -> String {
        if self.has_names() {
            format!("{}://{name}.{}{}/", self.scheme(), self.host, self.port_suffix())
        } else {
            format!("{}://{}{}/{path}/", self.scheme(), self.host, self.port_suffix())
        }
    }

    /// The address of a function URL.
    pub fn function_url(&self, id: &str, region: &Region) -> String {
        self.address(&format!("{id}.lambda-url.{region}"), &format!("_url/{id}"))
    }

    fn has_names(&self) -> bool {
        !self.host.starts_with('[') && self.host.parse::<IpAddr>().is_err()
    }

    const fn scheme(&self) -> &'static str {
        if self.is_tls { "https" } else { "http" }
    }

    /// The port as it is written behind the host: the scheme's own is not.
    fn port_suffix(&self) -> String {
        match (self.is_tls, self.port) {
            (false, 80) | (true, 443) => String::new(),
            (_, port) => format!(":{port}"),
        }
    }
}

/// `http://HOST`, `https://HOST:PORT`, with or without a slash at the end.
impl FromStr for Origin {
    type Err = ParseOriginError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || ParseOriginError(text.chars().take(140).collect());
        let (is_tls, rest) = match text.split_once("://") {
            Some(("http", rest)) => (false, rest),
            Some(("https", rest)) => (true, rest),
            _ => return Err(error()),
        };
        let authority = rest.trim_end_matches('/');
        let behind_number = authority.rfind(']').map_or(0, |end| end + 1);
        let (host, port) = match authority.get(behind_number..).and_then(|rest| rest.rfind(':')) {
            None => (authority, if is_tls { 443 } else { 80 }),
            Some(colon) => {
                let (host, port) = authority.split_at(behind_number + colon);
                (host, port.get(1..).unwrap_or_default().parse().map_err(|_| error())?)
            }
        };
        let is_host = if let Some(number) = host.strip_prefix('[') {
            let number = number.strip_suffix(']').unwrap_or_default();
            number.parse::<std::net::Ipv6Addr>().is_ok()
        } else {
            !host.is_empty()
                && host.len() <= 253
                && host
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_'))
        };
        if !is_host || port == 0 {
            return Err(error());
        }
        Ok(Self {
            is_tls,
            host: host.to_ascii_lowercase(),
            port,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(origin: &str, want: &str) {
        let origin: Origin = origin.parse().unwrap();
        assert_eq!(origin.function_url("abc", &"us-east-1".parse().unwrap()), want);
    }

    #[test]
    fn addresses_are_names_below_a_name_and_paths_below_a_number() {
        check(
            "http://localhost:4566",
            "http://abc.lambda-url.us-east-1.localhost:4566/",
        );
        check(
            "https://Fn.Example.org/",
            "https://abc.lambda-url.us-east-1.fn.example.org/",
        );
        check("http://10.0.0.5:4566", "http://10.0.0.5:4566/_url/abc/");
        check("http://[fe80::1]:80", "http://[fe80::1]/_url/abc/");
    }

    #[test]
    fn what_listens_for_this_machine_alone_is_localhost() {
        let host = |ip: &str| Origin::of_listener(ip.parse().unwrap(), 1, false).host;
        assert_eq!(host("127.0.0.1"), "localhost");
        assert_eq!(host("::1"), "localhost");
        assert_eq!(host("0.0.0.0"), "localhost");
        assert_eq!(host("10.0.0.5"), "10.0.0.5");
        assert_eq!(host("fe80::1"), "[fe80::1]");
    }

    #[test]
    fn other_texts_are_no_origins() {
        for text in [
            "",
            "localhost",
            "ftp://a",
            "http://",
            "http://a:0",
            "http://a:b",
            "http://a/b",
            "http://[a]:1",
            "http://[::1:1",
            "http://a b",
        ] {
            assert!(text.parse::<Origin>().is_err(), "{text}");
        }
    }
}
