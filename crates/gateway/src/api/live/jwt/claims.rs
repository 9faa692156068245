//! What the claims of a token must say.
//!
//! Source: <https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-jwt-authorizer.html>.

use serde_json::{Map, Value};

use super::Refusal;

/// How far an issuer's clock may be from ours, in milliseconds.
pub const SKEW_MS: i64 = 30_000;

/// Of whom, and for whom, a token must be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rule {
    /// The issuer, to the letter.
    pub issuer: String,
    /// The audiences, of which a token has to name one.
    pub audiences: Vec<String>,
}

/// How long a token is good, in milliseconds since 1970, clocks' differences allowed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// From when on.
    pub from_ms: i64,
    /// Until when.
    pub until_ms: i64,
}

impl Validity {
    /// Whether it is good at a moment.
    pub fn check(self, now_ms: i64) -> Result<(), Refusal> {
        if now_ms >= self.until_ms {
            return Err(Refusal::Expired);
        }
        if now_ms < self.from_ms {
            Err(Refusal::NotYet)
        } else {
            Ok(())
        }
    }
}

impl Rule {
    /// Whether the claims are for us; says when they are good.
    pub fn check(&self, claims: &Map<String, Value>) -> Result<Validity, Refusal> {
        if claims.get("iss").and_then(Value::as_str) != Some(self.issuer.as_str()) {
            return Err(Refusal::Issuer);
        }
        // `client_id` counts only where there is no `aud` at all: Amazon Cognito's access tokens have none.
        let audience = claims.get("aud").or_else(|| claims.get("client_id"));
        if !audience.is_some_and(|audience| texts(audience).any(|text| self.audiences.iter().any(|one| one == text))) {
            return Err(Refusal::Audience);
        }
        let until_ms = time(claims, "exp")?.ok_or(Refusal::NoExpiry)?.saturating_add(SKEW_MS);
        let from = [time(claims, "nbf")?, time(claims, "iat")?];
        let from_ms = from
            .into_iter()
            .flatten()
            .max()
            .map_or(i64::MIN, |ms| ms.saturating_sub(SKEW_MS));
        Ok(Validity { from_ms, until_ms })
    }
}

/// A claim that is seconds since 1970, in milliseconds.
fn time(claims: &Map<String, Value>, name: &str) -> Result<Option<i64>, Refusal> {
    let Some(value) = claims.get(name) else {
        return Ok(None);
    };
    let seconds = value
        .as_f64()
        .filter(|seconds| seconds.abs() < 1e12)
        .ok_or(Refusal::Time)?;
    #[expect(clippy::cast_possible_truncation, reason = "less than 10^15")]
    let ms = (seconds * 1_000.0) as i64;
    Ok(Some(ms))
}

/// A claim that is a text or a list of them.
fn texts(value: &Value) -> impl Iterator<Item = &str> {
    let one = value.as_str().into_iter();
    let many = value.as_array().into_iter().flatten().filter_map(Value::as_str);
    one.chain(many)
}

/// What a token lets its bearer do: `scope`, or else `scp`, with spaces between or as a list.
pub fn scopes(claims: &Map<String, Value>) -> Vec<String> {
    let claim = claims.get("scope").or_else(|| claims.get("scp"));
    claim
        .into_iter()
        .flat_map(texts)
        .flat_map(str::split_ascii_whitespace)
        .map(str::to_owned)
        .collect()
}

/// The claims as functions and mappings see them: each a text, as AWS writes it.
pub fn shown(claims: &Map<String, Value>) -> Map<String, Value> {
    let show = |(name, value): (&String, &Value)| (name.clone(), Value::String(text(value)));
    claims.iter().map(show).collect()
}

/// A value as text. A list is `[a b]`.
fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(values) => {
            let parts: Vec<String> = values.iter().map(text).collect();
            format!("[{}]", parts.join(" "))
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    const NOW: i64 = 1_800_000_000;

    fn rule() -> Rule {
        Rule {
            issuer: "https://a.example/".into(),
            audiences: vec!["one".into(), "two".into()],
        }
    }

    #[track_caller]
    fn check(change: &Value, expected: Result<(), Refusal>) {
        let mut claims = json!({"iss": "https://a.example/", "aud": "one", "exp": NOW + 60, "sub": "x"});
        for (name, value) in change.as_object().expect("an object") {
            let claims = claims.as_object_mut().expect("an object");
            if value.is_null() {
                claims.remove(name)
            } else {
                claims.insert(name.clone(), value.clone())
            };
        }
        let found = rule().check(claims.as_object().expect("an object"));
        assert_eq!(
            found.and_then(|validity| validity.check(NOW * 1_000)),
            expected,
            "{claims}"
        );
    }

    #[test]
    fn issuer_and_audience() {
        check(&json!({}), Ok(()));
        check(&json!({"iss": "https://a.example"}), Err(Refusal::Issuer));
        check(&json!({"iss": null}), Err(Refusal::Issuer));
        check(&json!({"iss": ["https://a.example/"]}), Err(Refusal::Issuer));
        check(&json!({"aud": ["x", "two"]}), Ok(()));
        check(&json!({"aud": ["x"]}), Err(Refusal::Audience));
        check(&json!({"aud": null}), Err(Refusal::Audience));
        check(&json!({"aud": null, "client_id": "two"}), Ok(()));
        check(&json!({"aud": "x", "client_id": "two"}), Err(Refusal::Audience));
        check(&json!({"aud": {"one": 1}}), Err(Refusal::Audience));
    }

    #[test]
    fn times_with_clocks_that_differ() {
        check(&json!({"exp": null}), Err(Refusal::NoExpiry));
        check(&json!({"exp": "tomorrow"}), Err(Refusal::Time));
        check(&json!({"exp": NOW - 29}), Ok(()));
        check(&json!({"exp": NOW - 30}), Err(Refusal::Expired));
        check(&json!({"nbf": NOW + 30}), Ok(()));
        check(&json!({"nbf": NOW + 31}), Err(Refusal::NotYet));
        check(&json!({"iat": NOW + 31, "nbf": NOW}), Err(Refusal::NotYet));
        check(&json!({"exp": 1e300}), Err(Refusal::Time));
        check(&json!({"exp": NOW as f64 + 0.5}), Ok(()));
    }

    #[test]
    fn scopes_of_either_name_and_form() {
        let of = |claims: Value| scopes(claims.as_object().expect("an object"));
        assert_eq!(of(json!({"scope": "a b  c"})), ["a", "b", "c"]);
        assert_eq!(of(json!({"scp": ["a", "b c", 1]})), ["a", "b", "c"]);
        assert_eq!(of(json!({"scope": "a", "scp": "b"})), ["a"]);
        assert_eq!(of(json!({})), [""; 0]);
    }

    #[test]
    fn claims_are_shown_as_texts() {
        let claims = json!({"sub": "x", "exp": 5, "groups": ["a", "b"], "ok": true, "none": null});
        let expected = json!({"sub": "x", "exp": "5", "groups": "[a b]", "ok": "true", "none": "null"});
        assert_eq!(Value::Object(shown(claims.as_object().expect("an object"))), expected);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]
        #[test]
        fn only_what_says_all_of_it_is_taken(iss in "[ab]?", aud in "[12]?", exp in -100_i64..100, nbf in -100_i64..100) {
            let rule = Rule { issuer: "a".into(), audiences: vec!["1".into()] };
            let claims = json!({"iss": iss, "aud": aud, "exp": NOW + exp, "nbf": NOW + nbf});
            let found = rule.check(claims.as_object().expect("an object"));
            let is_good = found.and_then(|validity| validity.check(NOW * 1_000)).is_ok();
            prop_assert_eq!(is_good, iss == "a" && aud == "1" && exp > -30 && nbf <= 30);
        }
    }
}
