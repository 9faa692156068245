//! How the command line reaches the platform: address, credentials, signed requests.

use anyhow::{Context as _, bail};
use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

use crate::cli::Target;
use crate::serve::credentials::Root;

const DEFAULT_ENDPOINT: &str = "http://127.0.0.1:4566";

/// What stays as it is in a path segment and in a query: RFC 3986's unreserved characters.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A segment of a path, percent-encoded.
pub(crate) fn label(text: &str) -> String {
    utf8_percent_encode(text, ENCODED).to_string()
}

/// A running platform and the right to use it.
pub(crate) struct Platform {
    client: ephyra_wire::client::Client,
    endpoint: String,
}

/// An answer with a good status.
pub(crate) struct Answer {
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    /// A header's text; empty when it is not there.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    fn json(&self) -> anyhow::Result<Value> {
        if self.body.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&self.body).context("the platform's answer is not JSON")
    }
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}
