//! Functions that say who may call.
//!
//! Source: <https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-lambda-authorizer.html>.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use ephyra_core::arn::Place;
use ephyra_core::id::RequestId;

use super::policy::{Verdict, VerdictError};
use crate::api::live::cache::Cache;
use crate::api::live::expression::{Expression, ExpressionError, Sources};
use crate::api::live::integrate::function::{Call, CallError, Function, Functions};
use crate::api::model::{self, PayloadFormat};

/// How much an authorizer remembers of its answers, in bytes.
const REMEMBERED_BYTES: usize = 4 << 20;
/// How long an authorizer may take, as on AWS.
const TIME: Duration = Duration::from_secs(10);

/// A Lambda authorizer of an API.
#[derive(Debug)]
pub struct Authorizer {
    function: Function,
    sources: Vec<Expression>,
    format: PayloadFormat,
    is_simple: bool,
    time_to_live: Duration,
    remembered: Cache<Box<str>, Arc<Remembered>>,
}

#[derive(Debug)]
struct Remembered {
    verdict: Arc<Verdict>,
    until: Instant,
}

/// Why a configuration is no authorizer.
#[derive(Debug, thiserror::Error)]
pub enum AuthorizerError {
    /// The function is none of ours.
    #[error("the authorizer's address is not that of a function")]
    Function,
    /// An identity source cannot be read.
    #[error("an identity source cannot be read")]
    Source(#[from] ExpressionError),
}

/// Why a request did not get past an authorizer.
#[derive(Debug, thiserror::Error)]
pub enum Denial {
    /// An identity source has no value.
    #[error("the identity source is missing")]
    Missing,
    /// The function was not able to say.
    #[error("the authorizer has failed")]
    Call(#[from] CallError),
    /// Its answer means nothing.
    #[error("the authorizer's answer means nothing")]
    Verdict(#[from] VerdictError),
}

/// What an authorizer is asked.
pub struct Question<'a> {
    /// The request's event in the authorizer's format, without a body.
    pub event: Bytes,
    /// What the caller wants to call.
    pub route_arn: &'a str,
    /// The trace that it belongs to.
    pub trace_id: &'a str,
}

impl Authorizer {
    /// Compiles an authorizer.
    pub fn new(authorizer: &model::Authorizer, place: &Place) -> Result<Self, AuthorizerError> {
        let uri = authorizer.authorizer_uri.as_deref().unwrap_or_default();
        let sources = authorizer
            .identity_source
            .iter()
            .map(|source| Expression::parse(source));
        let seconds = authorizer.authorizer_result_ttl_in_seconds.unwrap_or(0);
        Ok(Self {
            function: Function::parse(uri, place).ok_or(AuthorizerError::Function)?,
            sources: sources.collect::<Result<_, _>>()?,
            format: authorizer
                .authorizer_payload_format_version
                .unwrap_or(PayloadFormat::V2),
            is_simple: authorizer.enable_simple_responses.unwrap_or(false),
            time_to_live: Duration::from_secs(seconds.into()),
            remembered: Cache::new(REMEMBERED_BYTES),
        })
    }

    /// The format of its events.
    pub fn format(&self) -> PayloadFormat {
        self.format
    }

    /// What identifies the caller: a value for each identity source.
    pub fn identity<'a>(&self, sources: &Sources<'a>) -> Result<Vec<Cow<'a, str>>, Denial> {
        let value = |source: &Expression| source.value(sources).filter(|value| !value.is_empty());
        self.sources
            .iter()
            .map(|source| value(source).ok_or(Denial::Missing))
            .collect()
    }

    /// What was said of a caller before, if that still holds.
    pub fn remembered(&self, identity: &[Cow<'_, str>], now: Instant) -> Option<Arc<Verdict>> {
        // Without an identity all callers would be the same one.
        if self.time_to_live.is_zero() || identity.is_empty() {
            return None;
        }
        let remembered = match identity {
            [one] => self.remembered.get(one.as_ref()),
            _ => self.remembered.get(key(identity).as_ref()),
        };
        let remembered = remembered.filter(|remembered| now < remembered.until)?;
        Some(Arc::clone(&remembered.verdict))
    }

    /// Asks the function, and remembers what it says.
    pub async fn ask(
        &self,
        functions: &Functions,
        identity: &[Cow<'_, str>],
        question: Question<'_>,
        now: Instant,
    ) -> Result<Arc<Verdict>, Denial> {
        let call = Call {
            function: &self.function,
            payload: self.event(identity, &question),
            id: RequestId::new(),
            trace_id: question.trace_id.to_owned(),
            received: now,
            time: TIME,
        };
        let answer = functions.call(call).await?;
        let verdict = if self.is_simple && self.format == PayloadFormat::V2 {
            Verdict::simple(&answer)?
        } else {
            Verdict::policy(&answer, self.format == PayloadFormat::V1)?
        };
        let verdict = Arc::new(verdict);
        if !self.time_to_live.is_zero() && !identity.is_empty() {
            let key: Box<str> = match identity {
                [one] => one.as_ref().into(),
                _ => key(identity),
            };
            let bytes = key.len() + verdict.bytes();
            let remembered = Remembered {
                verdict: Arc::clone(&verdict),
                until: now + self.time_to_live,
            };
            self.remembered.insert(key, Arc::new(remembered), bytes);
        }
        Ok(verdict)
    }

    /// The event of the request with what authorizers are told besides.
    fn event(&self, identity: &[Cow<'_, str>], question: &Question<'_>) -> Bytes {
        const BODIES: [&[u8]; 2] = [
            b",\"body\":null,\"isBase64Encoded\":false}",
            b",\"isBase64Encoded\":false}",
        ];
        let json = |text: &str| serde_json::Value::from(text).to_string();
        let arn = json(question.route_arn);
        let (version, told) = match self.format {
            PayloadFormat::V1 => {
                let joined = json(&identity.join(","));
                (
                    "1.0",
                    format!(r#""methodArn":{arn},"identitySource":{joined},"authorizationToken":{joined}"#),
                )
            }
            PayloadFormat::V2 => {
                let identity: Vec<String> = identity.iter().map(|value| json(value)).collect();
                (
                    "2.0",
                    format!(r#""routeArn":{arn},"identitySource":[{}]"#, identity.join(",")),
                )
            }
        };
        let head = format!(r#"{{"version":"{version}","#);
        let rest = question.event.strip_prefix(head.as_bytes()).unwrap_or(&question.event);
        let body = BODIES.iter().find_map(|body| rest.strip_suffix(*body));
        let rest = body.unwrap_or_else(|| rest.strip_suffix(b"}").unwrap_or(rest));
        let mut event = Vec::with_capacity(head.len() + told.len() + rest.len() + 32);
        event.extend_from_slice(head.as_bytes());
        event.extend_from_slice(br#""type":"REQUEST","#);
        event.extend_from_slice(told.as_bytes());
        event.push(b',');
        event.extend_from_slice(rest);
        event.push(b'}');
        event.into()
    }
}

/// One text for several values, which no other values have.
fn key(identity: &[Cow<'_, str>]) -> Box<str> {
    let mut key = String::new();
    for value in identity {
        key.push_str(&value.len().to_string());
        key.push(':');
        key.push_str(value);
    }
    key.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn authorizer(change: &Value) -> Authorizer {
        let mut document = json!({
            "authorizerId": "a", "name": "a", "authorizerType": "REQUEST",
            "identitySource": ["$request.header.x-token", "$context.routeKey"],
            "authorizerUri": "arn:aws:lambda:us-east-1:000000000000:function:f",
            "authorizerPayloadFormatVersion": "2.0", "enableSimpleResponses": true, "authorizerResultTtlInSeconds": 60,
        });
        for (name, value) in change.as_object().expect("an object") {
            document[name] = value.clone();
        }
        let place = Place {
            region: "us-east-1".parse().expect("a region"),
            account: "000000000000".parse().expect("one"),
        };
        Authorizer::new(&serde_json::from_value(document).expect("an authorizer"), &place).expect("an authorizer")
    }

    fn event(authorizer: &Authorizer, event: &'static str) -> Value {
        let question = Question {
            event: Bytes::from_static(event.as_bytes()),
            route_arn: "arn:x",
            trace_id: "",
        };
        let event = authorizer.event(&["a\"".into(), "b".into()], &question);
        serde_json::from_slice(&event).expect("JSON")
    }

    #[test]
    fn authorizers_are_told_who_wants_what() {
        let two = event(
            &authorizer(&json!({})),
            r#"{"version":"2.0","rawPath":"/a","isBase64Encoded":false}"#,
        );
        let expected = json!({"version": "2.0", "type": "REQUEST", "routeArn": "arn:x", "identitySource": ["a\"", "b"],
            "rawPath": "/a"});
        assert_eq!(two, expected);
        let one = authorizer(&json!({"authorizerPayloadFormatVersion": "1.0"}));
        let one = event(
            &one,
            r#"{"version":"1.0","path":"/a","body":null,"isBase64Encoded":false}"#,
        );
        let expected = json!({"version": "1.0", "type": "REQUEST", "methodArn": "arn:x", "identitySource": "a\",b",
            "authorizationToken": "a\",b", "path": "/a"});
        assert_eq!(one, expected);
    }

    #[test]
    fn identities_of_several_parts_do_not_meet() {
        assert_ne!(key(&["a".into(), "bc".into()]), key(&["ab".into(), "c".into()]));
        assert_ne!(
            key(&["1:a".into(), String::new().into()]),
            key(&[String::new().into(), "1:a".into()])
        );
    }
}
