//! What a function's answer means as a response: payload formats 1.0 and 2.0.
//!
//! A body without escapes is never copied: it goes out of the buffer that the answer came in.
//!
//! Source: <https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html>.

pub mod v1;
pub mod v2;

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{CONTENT_LENGTH, SET_COOKIE};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::request::is_hop_by_hop;

/// The most that the headers of an answer may be, names and values together, in bytes.
pub const HEADER_BYTES: usize = 64 * 1024;

/// A response, whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The headers, none of which speaks of the connection.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

/// An answer that means no response. The client is told of a failure, and never what it was.
#[derive(Debug, thiserror::Error)]
pub enum Malformed {
    /// It is not JSON.
    #[error("the answer is not JSON")]
    NotJson(#[source] serde_json::Error),
    /// A member is not what it has to be.
    #[error("`{member}` is not what it has to be")]
    Member {
        /// The member.
        member: &'static str,
        /// What was expected.
        source: serde_json::Error,
    },
    /// There is no status, and the format wants one.
    #[error("there is no status code")]
    NoStatus,
    /// The status is not a number from 200 to 599.
    #[error("the status code is not a number from 200 to 599")]
    Status,
    /// A header has a name or a value that no header has.
    #[error("the header {0:?} cannot be sent")]
    Header(String),
    /// There are more headers than [`HEADER_BYTES`].
    #[error("the headers are larger than {HEADER_BYTES} bytes")]
    TooManyHeaders,
    /// The body is to be decoded and is no base64.
    #[error("the body is not base64")]
    Base64(#[source] base64::DecodeError),
}

/// An answer's members, each still as it was written.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Members<'a> {
    #[serde(borrow)]
    status_code: Option<&'a RawValue>,
    #[serde(borrow)]
    headers: Option<&'a RawValue>,
    #[serde(borrow)]
    multi_value_headers: Option<&'a RawValue>,
    #[serde(borrow)]
    cookies: Option<&'a RawValue>,
    #[serde(borrow)]
    body: Option<&'a RawValue>,
    #[serde(borrow)]
    is_base64_encoded: Option<&'a RawValue>,
}

/// Text that is borrowed where it has no escapes.
#[derive(Debug, Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'a> Members<'a> {
    /// `None` when the answer is JSON and no object.
    fn read(payload: &'a [u8]) -> Result<Option<Self>, Malformed> {
        if payload.trim_ascii_start().starts_with(b"{") {
            serde_json::from_slice(payload).map(Some).map_err(Malformed::NotJson)
        } else {
            Ok(None)
        }
    }

    /// A status as a number, or as text that is one.
    fn status(&self) -> Result<Option<StatusCode>, Malformed> {
        let Some(raw) = self.status_code else {
            return Ok(None);
        };
        let text = raw.get();
        let text = text
            .strip_prefix('"')
            .and_then(|text| text.strip_suffix('"'))
            .unwrap_or(text);
        let code = text
            .bytes()
            .all(|byte| byte.is_ascii_digit())
            .then(|| text.parse::<u16>().ok());
        // 1xx is for what comes before an answer.
        let code = code.flatten().filter(|code| (200..600).contains(code));
        let status = code.and_then(|code| StatusCode::from_u16(code).ok());
        status.map(Some).ok_or(Malformed::Status)
    }

    /// Adds `headers`, each of them a text, a number or a truth value.
    fn add_headers(&self, headers: &mut Headers) -> Result<(), Malformed> {
        let Some(raw) = self.headers else {
            return Ok(());
        };
        let mut result = Ok(());
        let visited = each_member(raw.get(), &mut |name, value: &RawValue| {
            if result.is_ok() {
                result = headers.add_scalar(name, value);
            }
        });
        visited.map_err(member("headers"))?;
        result
    }

    /// Adds `cookies`.
    fn add_cookies(&self, headers: &mut Headers) -> Result<(), Malformed> {
        let Some(raw) = self.cookies else {
            return Ok(());
        };
        let cookies: Vec<Text<'_>> = serde_json::from_str(raw.get()).map_err(member("cookies"))?;
        cookies.iter().try_for_each(|cookie| headers.add(SET_COOKIE, &cookie.0))
    }

    /// The body: text, or what its base64 says. `payload` is what this was read from.
    fn body(&self, payload: &Bytes) -> Result<Bytes, Malformed> {
        let is_base64 = match self.is_base64_encoded {
            None => false,
            Some(raw) => serde_json::from_str(raw.get()).map_err(member("isBase64Encoded"))?,
        };
        let Some(raw) = self.body else {
            return Ok(Bytes::new());
        };
        // What is no text stands for itself: an object is its JSON.
        if !raw.get().starts_with('"') {
            return Ok(payload.slice_ref(raw.get().as_bytes()));
        }
        let text: Text<'_> = serde_json::from_str(raw.get()).map_err(member("body"))?;
        if is_base64 {
            let decoded = STANDARD.decode(text.0.as_bytes());
            return decoded.map(Bytes::from).map_err(Malformed::Base64);
        }
        Ok(match text.0 {
            Cow::Borrowed(text) => payload.slice_ref(text.as_bytes()),
            Cow::Owned(text) => Bytes::from(text),
        })
    }
}

fn member(member: &'static str) -> impl Fn(serde_json::Error) -> Malformed {
    move |source| Malformed::Member { member, source }
}

/// Headers that are being gathered, within their bound.
#[derive(Debug, Default)]
struct Headers {
    map: HeaderMap,
    bytes: usize,
}

impl Headers {
    /// A header under the name that a function gave it; `None` when it is not the function's to say.
    fn name(name: &str) -> Result<Option<HeaderName>, Malformed> {
        let refused = || Malformed::Header(name.chars().take(64).collect());
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| refused())?;
        Ok((!is_hop_by_hop(&name) && name != CONTENT_LENGTH).then_some(name))
    }

    fn add_scalar(&mut self, name: &str, value: &RawValue) -> Result<(), Malformed> {
        let Some(key) = Self::name(name)? else {
            return Ok(());
        };
        match scalar(value.get()) {
            Some(text) => self.add(key, &text),
            None if value.get() == "null" => Ok(()),
            None => Err(Malformed::Header(name.chars().take(64).collect())),
        }
    }

    fn add(&mut self, name: HeaderName, value: &str) -> Result<(), Malformed> {
        self.bytes += name.as_str().len() + value.len();
        if self.bytes > HEADER_BYTES {
            return Err(Malformed::TooManyHeaders);
        }
        let value = HeaderValue::from_str(value)
            .or_else(|_| HeaderValue::from_bytes(value.as_bytes()))
            .map_err(|_| Malformed::Header(name.as_str().to_owned()))?;
        let added = self.map.try_append(name, value);
        added.map(drop).map_err(|_| Malformed::TooManyHeaders)
    }
}

/// A text, number or truth value as text.
fn scalar(json: &str) -> Option<Cow<'_, str>> {
    match json.as_bytes().first()? {
        b'"' => serde_json::from_str::<Text<'_>>(json).ok().map(|text| text.0),
        b'n' | b'[' | b'{' => None,
        _ => Some(Cow::Borrowed(json)),
    }
}

/// Gives each member of a JSON object, without building anything of it.
fn each_member(json: &str, each: &mut dyn FnMut(&str, &RawValue)) -> Result<(), serde_json::Error> {
    struct Each<'f>(&'f mut dyn FnMut(&str, &RawValue));

    impl<'de> serde::de::Visitor<'de> for Each<'_> {
        type Value = ();

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
            while let Some((name, value)) = map.next_entry::<Text<'de>, &'de RawValue>()? {
                (self.0)(&name.0, value);
            }
            Ok(())
        }
    }

    let mut reader = serde_json::Deserializer::from_str(json);
    serde::Deserializer::deserialize_map(&mut reader, Each(each))
}

/// Whether a response of this status has no body (RFC 9110, 6.4.1).
pub(crate) fn is_bodiless(status: StatusCode) -> bool {
    status == StatusCode::NO_CONTENT || status == StatusCode::NOT_MODIFIED
}
