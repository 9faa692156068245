//! The client's side, for the command line and for tests.

use std::fmt;

use hmac::Mac;
use http::header::{AUTHORIZATION, HeaderValue};
use http::{HeaderMap, HeaderName};

use super::canonical::{Canonical, PathRule, encode_query, replace_by_string_to_sign};
use super::key::derive;
use super::{ALGORITHM, Parts, Secret, SigningTime, TERMINATOR};

/// Why a request cannot be signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignError {
    /// A signature must cover the host.
    #[error("the request has no Host header to sign")]
    NoHost,
    /// The access key, the session token, the region or the service is no text for a header.
    #[error("the credential holds characters that a header may not have")]
    Credential,
}

/// Signs requests with one credential for one region and service.
#[derive(Clone)]
pub struct Signer {
    /// The access key.
    pub access_key: String,
    /// The secret key.
    pub secret: Secret,
    /// The token that goes with a temporary access key.
    pub session_token: Option<String>,
    /// The region, such as `us-east-1`.
    pub region: String,
    /// The service, such as `lambda`.
    pub service: String,
    /// How paths are spelt; [`PathRule::of`] the service.
    pub path_rule: PathRule,
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signer")
            .field("access_key", &self.access_key)
            .finish_non_exhaustive()
    }
}

impl Signer {
    /// A signer with a permanent access key.
    pub fn new(access_key: &str, secret: &str, region: &str, service: &str) -> Self {
        Self {
            access_key: access_key.to_owned(),
            secret: Secret::new(secret),
            session_token: None,
            region: region.to_owned(),
            service: service.to_owned(),
            path_rule: PathRule::of(service),
        }
    }

    /// Signs a request by its headers: adds `X-Amz-Date`, `X-Amz-Security-Token` when there is a token, and
    /// `Authorization`. All headers that are there, `Host` among them, become part of the signature, but for
    /// those that proxies change. `path` and `query` are as they will be sent; `payload` is the
    /// [`BodyHash`](super::BodyHash) of the body.
    pub fn sign_headers(
        &self,
        method: &str,
        path: &str,
        query: &str,
        headers: &mut HeaderMap,
        payload: &str,
        now: SigningTime,
    ) -> Result<(), SignError> {
        headers.insert("x-amz-date", header(now.as_str())?);
        if let Some(token) = &self.session_token {
            headers.insert("x-amz-security-token", header(token)?);
        }
        let signed_headers = signed_headers(headers)?;
        let parts = Parts {
            method,
            path,
            query,
            headers,
            authority: None,
        };
        let signature = self.signature(parts, &signed_headers, &[], payload, now)?;
        let scope = self.scope(now);
        let authorization = format!(
            "{ALGORITHM} Credential={}/{scope}, SignedHeaders={signed_headers}, Signature={signature}",
            self.access_key
        );
        headers.insert(AUTHORIZATION, header(&authorization)?);
        Ok(())
    }

    /// The query of a presigned URL: `query` with the signature's parameters behind it. `headers` are those that
    /// will be sent and are signed, `Host` among them; `payload` is the [`BodyHash`](super::BodyHash) of the body or
    /// [`UNSIGNED_PAYLOAD`](super::UNSIGNED_PAYLOAD).
    #[expect(
        clippy::too_many_arguments,
        reason = "they are the parts of a request, each of another kind"
    )]
    pub fn presign(
        &self,
        method: &str,
        path: &str,
        query: &str,
        headers: &HeaderMap,
        payload: &str,
        expires_seconds: u32,
        now: SigningTime,
    ) -> Result<String, SignError> {
        let signed_headers = signed_headers(headers)?;
        let credential = format!("{}/{}", self.access_key, self.scope(now));
        let expires = expires_seconds.to_string();
        let mut added = vec![
            ("X-Amz-Algorithm", ALGORITHM),
            ("X-Amz-Credential", &credential),
            ("X-Amz-Date", now.as_str()),
            ("X-Amz-Expires", &expires),
            ("X-Amz-SignedHeaders", &signed_headers),
        ];
        if let Some(token) = &self.session_token {
            added.push(("X-Amz-Security-Token", token));
        }
        let parts = Parts {
            method,
            path,
            query,
            headers,
            authority: None,
        };
        let signature = self.signature(parts, &signed_headers, &added, payload, now)?;
        let mut signed = query.to_owned();
        for (name, value) in added.into_iter().chain([("X-Amz-Signature", signature.as_str())]) {
            if !signed.is_empty() {
                signed.push('&');
            }
            signed.push_str(name);
            signed.push('=');
            encode_query(&mut signed, value);
        }
        Ok(signed)
    }

    /// The signature in hexadecimal digits.
    fn signature(
        &self,
        parts: Parts<'_>,
        signed_headers: &str,
        added: &[(&str, &str)],
        payload: &str,
        now: SigningTime,
    ) -> Result<String, SignError> {
        let canonical = Canonical {
            parts,
            rule: self.path_rule,
            signed_headers,
            is_left_out: |_| false,
            added,
            payload,
        };
        let mut buffer = Vec::with_capacity(1024);
        canonical.write(&mut buffer).map_err(|_| SignError::NoHost)?;
        replace_by_string_to_sign(&mut buffer, &now, &self.scope(now));
        let mut mac = derive(self.secret.expose(), now.date(), &self.region, &self.service);
        mac.update(&buffer);
        Ok(hex::encode(mac.finalize().into_bytes()))
    }

    fn scope(&self, now: SigningTime) -> String {
        format!("{}/{}/{}/{TERMINATOR}", now.date(), self.region, self.service)
    }
}

fn header(text: &str) -> Result<HeaderValue, SignError> {
    HeaderValue::from_str(text).map_err(|_| SignError::Credential)
}

/// The names of the headers that are signed, sorted.
fn signed_headers(headers: &HeaderMap) -> Result<String, SignError> {
    let is_changed_on_the_way = |name: &HeaderName| {
        matches!(
            name.as_str(),
            "authorization" | "connection" | "expect" | "transfer-encoding" | "user-agent" | "x-amzn-trace-id"
        )
    };
    let mut names: Vec<&str> = headers
        .keys()
        .filter(|name| !is_changed_on_the_way(name))
        .map(HeaderName::as_str)
        .collect();
    names.sort_unstable();
    if names.contains(&"host") {
        Ok(names.join(";"))
    } else {
        Err(SignError::NoHost)
    }
}
