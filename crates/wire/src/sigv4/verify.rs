//! The server's side.

use std::fmt;
use std::sync::Arc;

use hmac::Mac;

use super::canonical::{Canonical, PathRule, replace_by_string_to_sign};
use super::claim::quoted;
use super::key::{KeyCache, derive};
use super::{
    BodyHash, Claim, Credential, Credentials, Parts, SKEW_SECONDS, SigningTime, TERMINATOR, UNSIGNED_PAYLOAD,
    VerifyError,
};
use crate::service::Caller;

/// What a signature must be scoped to.
#[derive(Clone, Copy, Debug)]
pub struct Scope<'a> {
    /// The region that is served.
    pub region: &'a str,
    /// The service that is asked.
    pub service: &'a str,
}

/// Proves claims. Cheap to share; keeps derived keys.
pub struct Verifier {
    credentials: Arc<dyn Credentials>,
    keys: KeyCache,
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifier").finish_non_exhaustive()
    }
}

impl Verifier {
    /// A verifier that looks secrets up in `credentials`.
    pub fn new(credentials: Arc<dyn Credentials>) -> Self {
        Self {
            credentials,
            keys: KeyCache::default(),
        }
    }

    /// Who signed a request that is there with its whole body, over what was sent: host and path are those that the client used.
    pub fn prove(
        &self,
        head: &http::request::Parts,
        body: &[u8],
        scope: Scope<'_>,
        now: SigningTime,
    ) -> Result<Caller, VerifyError> {
        let parts = Parts::of(head);
        let claim = Claim::read(&parts)?;
        let credential = self.admit(&claim, scope, now)?;
        self.verify(&parts, &claim, &credential, &BodyHash::of(body))
    }

    /// What can be told before the body is there: scope, time, and whether the access key exists.
    pub fn admit(&self, claim: &Claim<'_>, scope: Scope<'_>, now: SigningTime) -> Result<Credential, VerifyError> {
        check_scope(claim, scope)?;
        check_time(claim, now)?;
        self.credentials
            .find(claim.access_key(), claim.session_token())
            .ok_or(VerifyError::UnknownAccessKey)
    }

    /// Whether the signature is the one that `credential` gives for a body of this hash. Says who signed.
    pub fn verify(
        &self,
        parts: &Parts<'_>,
        claim: &Claim<'_>,
        credential: &Credential,
        hash: &BodyHash,
    ) -> Result<Caller, VerifyError> {
        let is_unsigned_allowed = claim.is_presigned() && matches!(parts.method, "GET" | "HEAD") && hash.is_empty;
        let mut stated = parts.headers.get_all("x-amz-content-sha256").iter();
        let is_stated_right =
            stated.all(|value| value == hash.as_str() || (is_unsigned_allowed && value == UNSIGNED_PAYLOAD));
        let key = self.keys.get(&claim.credential, &credential.secret, || {
            derive(
                credential.secret.expose(),
                claim.date(),
                claim.region(),
                claim.service(),
            )
        });
        let is_right = |payload: &str| {
            let mut buffer = Vec::with_capacity(1024);
            let canonical = Canonical {
                parts: *parts,
                rule: PathRule::of(claim.service()),
                signed_headers: &claim.signed_headers,
                is_left_out: is_signature,
                added: &[],
                payload,
            };
            if canonical.write(&mut buffer).is_err() {
                return false;
            }
            replace_by_string_to_sign(&mut buffer, &claim.time, claim.scope());
            let mut mac = key.clone();
            mac.update(&buffer);
            // Compares in constant time.
            mac.verify_slice(&claim.signature).is_ok()
        };
        if is_stated_right && (is_right(hash.as_str()) || (is_unsigned_allowed && is_right(UNSIGNED_PAYLOAD))) {
            Ok(Caller {
                access_key: claim.access_key().to_owned(),
                account: credential.account.clone(),
                region: claim.region().to_owned(),
            })
        } else {
            Err(VerifyError::Mismatch)
        }
    }
}

/// The one parameter that a presigned URL's signature cannot cover.
fn is_signature(name: &str) -> bool {
    name == "X-Amz-Signature"
}

fn check_scope(claim: &Claim<'_>, scope: Scope<'_>) -> Result<(), VerifyError> {
    let mut wrong = Vec::new();
    if claim.region() != scope.region {
        wrong.push("Credential should be scoped to a valid region.".to_owned());
    }
    if claim.service() != scope.service {
        wrong.push(format!(
            "Credential should be scoped to correct service: '{}'.",
            scope.service
        ));
    }
    if !claim.has_terminator() {
        let got = quoted(claim.terminator());
        wrong.push(format!(
            "Credential should be scoped with a valid terminator: '{TERMINATOR}', not '{got}'."
        ));
    }
    if !wrong.is_empty() {
        return Err(VerifyError::Scope(wrong));
    }
    if claim.date() != claim.time.date() {
        return Err(VerifyError::ScopeDate {
            scope: quoted(claim.date()),
            time: claim.time,
        });
    }
    Ok(())
}

fn check_time(claim: &Claim<'_>, now: SigningTime) -> Result<(), VerifyError> {
    let signed = claim.time;
    let (seconds, validity) = match claim.expires {
        None => (SKEW_SECONDS, "5 min".to_owned()),
        Some(expires) if expires % 60 == 0 => (expires.into(), format!("{} min", expires / 60)),
        Some(expires) => (expires.into(), format!("{expires} sec")),
    };
    if signed.seconds() < now.seconds() - seconds {
        return Err(VerifyError::Expired {
            signed,
            limit: now.plus(-seconds),
            now,
            validity,
        });
    }
    if signed.seconds() > now.seconds() + SKEW_SECONDS {
        return Err(VerifyError::NotYetCurrent {
            signed,
            limit: now.plus(SKEW_SECONDS),
            now,
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue};
    use proptest::prelude::*;

    use super::super::{Secret, Signer};
    use super::*;

    const ARN: &str = "/2015-03-31/functions/arn:aws:lambda:us-east-1:000000000000:function:f/invocations";
    const SCOPE: Scope<'_> = Scope {
        region: "us-east-1",
        service: "lambda",
    };

    struct OneKey;

    impl Credentials for OneKey {
        fn find(&self, access_key: &str, session_token: Option<&str>) -> Option<Credential> {
            let is_known = matches!((access_key, session_token), ("AKID", None) | ("ASIA", Some("token")));
            is_known.then(|| Credential {
                secret: Secret::new("secret"),
                account: "000000000000".parse().unwrap(),
            })
        }
    }

    fn signer() -> Signer {
        Signer::new("AKID", "secret", "us-east-1", "lambda")
    }

    fn at(time: &str) -> SigningTime {
        SigningTime::parse(time).unwrap()
    }

    /// A signed request, to be spoilt.
    struct Sent {
        method: &'static str,
        path: String,
        query: String,
        headers: HeaderMap,
        body: &'static [u8],
    }

    fn unsigned(path: &str, query: &str) -> Sent {
        Sent {
            method: "POST",
            path: path.into(),
            query: query.into(),
            headers: HeaderMap::from_iter([
                (http::header::HOST, HeaderValue::from_static("127.0.0.1:4566")),
                (http::header::CONTENT_TYPE, HeaderValue::from_static("application/json")),
            ]),
            body: b"{}",
        }
    }

    fn signed_by(signer: &Signer, mut sent: Sent) -> Sent {
        let hash = BodyHash::of(sent.body);
        signer
            .sign_headers(
                sent.method,
                &sent.path,
                &sent.query,
                &mut sent.headers,
                hash.as_str(),
                at("20250101T000000Z"),
            )
            .unwrap();
        sent
    }

    fn presigned(mut sent: Sent, payload: &str, expires: u32) -> Sent {
        let time = at("20250101T000000Z");
        sent.query = signer()
            .presign(
                sent.method,
                &sent.path,
                &sent.query,
                &sent.headers,
                payload,
                expires,
                time,
            )
            .unwrap();
        sent
    }

    fn answer(sent: &Sent, now: &str) -> Result<Caller, VerifyError> {
        let verifier = Verifier::new(Arc::new(OneKey));
        let parts = Parts {
            method: sent.method,
            path: &sent.path,
            query: &sent.query,
            headers: &sent.headers,
            authority: None,
        };
        let claim = Claim::read(&parts)?;
        let credential = verifier.admit(&claim, SCOPE, at(now))?;
        verifier.verify(&parts, &claim, &credential, &BodyHash::of(sent.body))
    }

    #[track_caller]
    fn check_refused(sent: &Sent, now: &str, code: &str, text: &str) {
        let error = answer(sent, now).unwrap_err();
        assert_eq!((error.code(), error.to_string().as_str()), (code, text));
    }

    #[test]
    fn an_arn_is_accepted_raw_and_encoded_and_both_ways_of_signing() {
        for path in [ARN.to_owned(), ARN.replace(':', "%3A")] {
            let header = signed_by(&signer(), unsigned(&path, "Qualifier=%24LATEST&a=1"));
            let caller = answer(&header, "20250101T000400Z").unwrap();
            assert_eq!(
                (caller.access_key.as_str(), caller.region.as_str()),
                ("AKID", "us-east-1")
            );
            let query = presigned(unsigned(&path, "a=b"), BodyHash::of(b"{}").as_str(), 900);
            assert!(answer(&query, "20250101T001500Z").is_ok());
        }
    }

    #[test]
    fn whatever_is_changed_is_noticed() {
        let spoil: [fn(&mut Sent); 8] = [
            |sent| sent.method = "PUT",
            |sent| sent.path = sent.path.replace(":function:f/", ":function:g/"),
            |sent| sent.path = sent.path.replace(':', "%3A"),
            |sent| sent.query += "&b=2",
            |sent| sent.body = b"{} ",
            |sent| {
                drop(
                    sent.headers
                        .insert("content-type", HeaderValue::from_static("text/plain")),
                )
            },
            |sent| drop(sent.headers.remove("content-type")),
            |sent| assert!(sent.headers.append("host", HeaderValue::from_static("other"))),
        ];
        for (index, spoil) in spoil.iter().enumerate() {
            let mut sent = signed_by(&signer(), unsigned(ARN, "a=1"));
            assert!(answer(&sent, "20250101T000000Z").is_ok());
            spoil(&mut sent);
            assert_eq!(answer(&sent, "20250101T000000Z"), Err(VerifyError::Mismatch), "{index}");
        }
    }

    #[test]
    fn clocks_may_differ_by_five_minutes() {
        let sent = signed_by(&signer(), unsigned("/", ""));
        assert!(answer(&sent, "20250101T000500Z").is_ok());
        assert!(answer(&sent, "20241231T235500Z").is_ok());
        check_refused(
            &sent,
            "20250101T000501Z",
            "InvalidSignatureException",
            "Signature expired: 20250101T000000Z is now earlier than 20250101T000001Z (20250101T000501Z - 5 min.)",
        );
        check_refused(
            &sent,
            "20241231T235459Z",
            "InvalidSignatureException",
            "Signature not yet current: 20250101T000000Z is still later than 20241231T235959Z \
             (20241231T235459Z + 5 min.)",
        );
        let sent = presigned(unsigned("/", ""), BodyHash::of(b"{}").as_str(), 90);
        check_refused(
            &sent,
            "20250101T000131Z",
            "InvalidSignatureException",
            "Signature expired: 20250101T000000Z is now earlier than 20250101T000001Z (20250101T000131Z - 90 sec.)",
        );
    }

    #[test]
    fn another_scope_is_refused() {
        let other = Signer {
            region: "eu-west-1".into(),
            service: "s3".into(),
            ..signer()
        };
        check_refused(
            &signed_by(&other, unsigned("/", "")),
            "20250101T000000Z",
            "InvalidSignatureException",
            "Credential should be scoped to a valid region. Credential should be scoped to correct service: 'lambda'.",
        );
        let mut sent = signed_by(&signer(), unsigned("/", ""));
        sent.headers
            .insert("x-amz-date", HeaderValue::from_static("20250102T000000Z"));
        check_refused(
            &sent,
            "20250102T000000Z",
            "InvalidSignatureException",
            "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: \
             '20250101' != '20250102', from '20250102T000000Z'.",
        );
    }

    #[test]
    fn keys_and_tokens_must_be_known_and_secrets_right() {
        let unknown = Signer {
            access_key: "AKIX".into(),
            ..signer()
        };
        let without_token = Signer {
            access_key: "ASIA".into(),
            ..signer()
        };
        for signer in [unknown, without_token.clone()] {
            check_refused(
                &signed_by(&signer, unsigned("/", "")),
                "20250101T000000Z",
                "UnrecognizedClientException",
                "The security token included in the request is invalid.",
            );
        }
        let with_token = Signer {
            session_token: Some("token".into()),
            ..without_token
        };
        let mut sent = signed_by(&with_token, unsigned("/", ""));
        assert!(answer(&sent, "20250101T000000Z").is_ok());
        let authorization = sent.headers["authorization"].to_str().unwrap();
        let unsigned_token = authorization.replace(";x-amz-security-token", "");
        sent.headers.insert("authorization", unsigned_token.parse().unwrap());
        assert_eq!(
            answer(&sent, "20250101T000000Z"),
            Err(VerifyError::NotSigned("x-amz-security-token".to_owned()))
        );
        // One who carries a request may not make another of it.
        let mut sent = signed_by(&with_token, unsigned("/", ""));
        sent.headers.insert("x-amz-invocation-type", "Event".parse().unwrap());
        assert_eq!(
            answer(&sent, "20250101T000000Z"),
            Err(VerifyError::NotSigned("x-amz-invocation-type".to_owned()))
        );
        let wrong = Signer {
            secret: Secret::new("other"),
            ..signer()
        };
        let sent = signed_by(&wrong, unsigned("/", ""));
        assert_eq!(answer(&sent, "20250101T000000Z"), Err(VerifyError::Mismatch));
    }

    #[test]
    fn only_a_presigned_get_may_leave_its_body_unsigned() {
        let get = || Sent {
            method: "GET",
            body: b"",
            ..unsigned("/code.zip", "")
        };
        assert!(answer(&presigned(get(), UNSIGNED_PAYLOAD, 60), "20250101T000000Z").is_ok());
        assert!(answer(&presigned(get(), BodyHash::of(b"").as_str(), 60), "20250101T000000Z").is_ok());
        let smuggled = Sent {
            body: b"x",
            ..presigned(get(), UNSIGNED_PAYLOAD, 60)
        };
        assert_eq!(answer(&smuggled, "20250101T000000Z"), Err(VerifyError::Mismatch));
        let post = presigned(unsigned("/", ""), UNSIGNED_PAYLOAD, 60);
        assert_eq!(answer(&post, "20250101T000000Z"), Err(VerifyError::Mismatch));
        let mut header = unsigned("/", "");
        header
            .headers
            .insert("x-amz-content-sha256", HeaderValue::from_static(UNSIGNED_PAYLOAD));
        header
            .headers
            .insert("x-amz-date", HeaderValue::from_static("20250101T000000Z"));
        let sent = signed_by(&signer(), header);
        assert_eq!(answer(&sent, "20250101T000000Z"), Err(VerifyError::Mismatch));
    }

    #[test]
    fn authority_stands_for_host_in_http2() {
        let sent = signed_by(&signer(), unsigned("/", ""));
        let mut headers = sent.headers.clone();
        headers.remove("host");
        let parts = Parts {
            method: sent.method,
            path: "/",
            query: "",
            headers: &headers,
            authority: Some("127.0.0.1:4566"),
        };
        let verifier = Verifier::new(Arc::new(OneKey));
        let claim = Claim::read(&parts).unwrap();
        let credential = verifier.admit(&claim, SCOPE, at("20250101T000000Z")).unwrap();
        assert!(
            verifier
                .verify(&parts, &claim, &credential, &BodyHash::of(sent.body))
                .is_ok()
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn what_is_signed_is_accepted(path in "(/[ -~&&[^?#]]{0,8}){1,4}", query in "([a-c]=[ -~&&[^#&]]{0,5}&?){0,4}") {
            let sent = signed_by(&signer(), unsigned(&path, &query));
            prop_assert!(answer(&sent, "20250101T000000Z").is_ok());
            let sent = presigned(unsigned(&path, &query), BodyHash::of(b"{}").as_str(), 60);
            prop_assert!(answer(&sent, "20250101T000000Z").is_ok());
        }
    }
}
