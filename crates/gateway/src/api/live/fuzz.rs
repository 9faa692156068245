//! What fuzzing feeds of the data plane: paths, tokens, keys, mappings, log formats, addresses and authorizers' answers.

use std::collections::BTreeMap;

use http::{Method, Uri};

use super::authorize::policy::Verdict;
use super::expression::{Expression, Template};
use super::integrate::mapping::Mapping;
use super::integrate::proxy::Target;
use super::jwt::claims::{self, Rule};
use super::jwt::keys::KeySet;
use super::jwt::token::Token;
use super::log::StageLog;
use super::log::format::Format;
use super::route::Routes;
use super::route::path::Path;

/// The targets.
pub const TARGETS: &[crate::fuzz::Target] = &[
    ("gateway-paths", paths),
    ("gateway-tokens", tokens),
    ("gateway-keys", keys),
    ("gateway-mappings", mappings),
    ("gateway-log-formats", log_formats),
    ("gateway-targets", targets),
    ("gateway-verdicts", verdicts),
];

fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}

/// Whatever path is sent, what a route takes of it is there.
fn paths(bytes: &[u8]) {
    let Some(raw) = text(bytes) else { return };
    let keys = ["GET /a/{b}", "ANY /{c+}", "GET /a/{d}/{e+}", "GET /a/b"];
    let routes = Routes::new(keys.iter().filter_map(|key| key.parse().ok()).collect());
    let path = Path::new(raw);
    if let Some(route) = routes.select(&Method::GET, &path) {
        assert!(routes.parameters(route, &path).all(|(_, value)| !value.is_empty()));
    }
    assert!(path.has_dots() || !path.from(0).split('/').any(|part| part == ".."));
}

/// No token is good by what it says alone: here nobody has signed any.
fn tokens(bytes: &[u8]) {
    let Some(raw) = text(bytes) else { return };
    if let Ok(token) = Token::parse(raw) {
        assert!(raw.starts_with(token.message) && raw.ends_with(token.signature));
        let _scopes = claims::scopes(&token.claims);
        let _shown = claims::shown(&token.claims);
        assert!(Rule::default().check(&token.claims).is_err());
        assert!(KeySet::default().verify(&token).is_err());
    }
}

fn keys(bytes: &[u8]) {
    if let Ok(keys) = KeySet::parse(bytes)
        && let Ok(token) = Token::parse("eyJhbGciOiJSUzI1NiIsImtpZCI6ImEifQ.e30.AAAA")
    {
        assert!(keys.verify(&token).is_err());
    }
}

/// A first line is the place, the rest the value.
fn mappings(bytes: &[u8]) {
    let Some(raw) = text(bytes) else { return };
    let (place, value) = raw.split_once('\n').unwrap_or((raw, ""));
    let parameters = BTreeMap::from([(place.to_owned(), value.to_owned())]);
    let _request = Mapping::of_requests(&parameters);
    let _answer = Mapping::of_answers(&parameters);
    let _expression = Expression::parse(value);
    let _template = Template::parse(value);
    let _fixed = Template::fixed(value, &parameters);
}

fn log_formats(bytes: &[u8]) {
    let Some(raw) = text(bytes) else { return };
    let _format = Format::new(raw);
    if let Some(log) = StageLog::new(raw, raw) {
        assert!(!log.group.is_empty());
    }
}

/// What is taken for an address is one.
fn targets(bytes: &[u8]) {
    let Some(raw) = text(bytes) else { return };
    if Target::new(raw, None).is_ok() {
        let (scheme, rest) = raw.split_once("://").unwrap_or_default();
        let authority = &rest[..rest.find(['/', '?']).unwrap_or(rest.len())];
        let uri = format!("{scheme}://{authority}/").parse::<Uri>();
        assert!(uri.is_ok_and(|uri| uri.host().is_some_and(|host| !host.is_empty())));
    }
}

/// No answer lets anybody in where it denies everything.
fn verdicts(bytes: &[u8]) {
    let _simple = Verdict::simple(bytes);
    if let Ok(verdict) = Verdict::policy(bytes, true) {
        let _allows = verdict.allows("arn:aws:execute-api:us-east-1:000000000000:abc/$default/GET/a");
    }
    let Ok(statement) = serde_json::from_slice::<serde_json::Value>(bytes) else {
        return;
    };
    let deny = serde_json::json!({"Effect": "Deny", "Action": "*", "Resource": "*"});
    let answer = serde_json::json!({"principalId": "p", "policyDocument": {"Statement": [statement, deny]}});
    let verdict = Verdict::policy(answer.to_string().as_bytes(), true);
    assert!(verdict.is_err() || verdict.is_ok_and(|verdict| !verdict.allows("arn:x")));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn targets_hold(bytes in proptest::collection::vec(any::<u8>(), 0..200), text in "[ -~\n]{0,100}", path in "[/.%a-e2]{0,40}") {
            for (_, target) in TARGETS {
                target(&bytes);
                target(text.as_bytes());
                target(path.as_bytes());
            }
        }
    }
}
