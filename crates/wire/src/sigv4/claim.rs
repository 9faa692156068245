//! What a request says of its own signature, in the `Authorization` header or in a presigned URL's query.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use http::HeaderMap;
use http::header::{AUTHORIZATION, DATE};
use sha2::{Digest, Sha256};

use super::canonical::decode_query;
use super::{ALGORITHM, MAX_EXPIRES_SECONDS, Parts, SigningTime, TERMINATOR, VerifyError};

/// How much of a client's text an error repeats, in characters.
const QUOTED_CHARACTERS: usize = 140;

/// What a request says of its signature. Nothing of it is proven.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim<'a> {
    pub(super) credential: Cow<'a, str>,
    /// Ends of the access key, the date, the region and the service in `credential`.
    ends: [usize; 4],
    pub(super) signed_headers: Cow<'a, str>,
    pub(super) signature: [u8; 32],
    pub(super) time: SigningTime,
    /// Seconds of validity of a presigned URL; None in a header.
    pub(super) expires: Option<u32>,
    pub(super) session_token: Option<Cow<'a, str>>,
}

/// Headers that a signature covers though it does not name them: the time is part of what is signed, and the hash is
/// held against the body.
const PROVEN_OTHERWISE: [&str; 2] = ["x-amz-date", "x-amz-content-sha256"];

impl<'a> Claim<'a> {
    /// Reads the claim of a request. The header counts when there are both.
    pub fn read(parts: &Parts<'a>) -> Result<Self, VerifyError> {
        let mut headers = parts.headers.get_all(AUTHORIZATION).iter();
        let claim = match (headers.next(), headers.next()) {
            (Some(header), None) => Self::read_header(header.as_bytes(), parts),
            (Some(header), Some(_)) => Err(malformed(header.as_bytes())),
            (None, _) => Self::read_query(parts.query),
        }?;
        claim.require_signed(parts.headers)?;
        Ok(claim)
    }

    fn read_header(header: &'a [u8], parts: &Parts<'a>) -> Result<Self, VerifyError> {
        let text = std::str::from_utf8(header).map_err(|_| malformed(header))?.trim();
        let Some(fields) = text.strip_prefix(ALGORITHM).filter(|rest| rest.starts_with(' ')) else {
            return Err(match text.split_whitespace().next() {
                None => VerifyError::MissingToken,
                Some(scheme) if scheme.starts_with("AWS4-") => VerifyError::Algorithm(quoted(scheme)),
                Some(_) => malformed(header),
            });
        };
        let [mut credential, mut signed_headers, mut signature] = [None; 3];
        for field in fields.split(',').map(str::trim).filter(|field| !field.is_empty()) {
            let (name, value) = field.split_once('=').ok_or_else(|| malformed(header))?;
            let place = match name {
                "Credential" => &mut credential,
                "SignedHeaders" => &mut signed_headers,
                "Signature" => &mut signature,
                _ => continue,
            };
            if place.replace(value).is_some() {
                return Err(malformed(header));
            }
        }
        let amz_date = parts.headers.get("x-amz-date");
        let date = amz_date.or_else(|| parts.headers.get(DATE));
        let (Some(credential), Some(signature), Some(signed_headers), Some(date)) =
            (credential, signature, signed_headers, date)
        else {
            let mut missing = String::new();
            for (name, is_there) in [
                ("Credential", credential.is_some()),
                ("Signature", signature.is_some()),
                ("SignedHeaders", signed_headers.is_some()),
            ] {
                if !is_there {
                    missing += &format!("Authorization header requires '{name}' parameter. ");
                }
            }
            if date.is_none() {
                missing += "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header. ";
            }
            let hash = hash_of(header);
            return Err(VerifyError::IncompleteHeader { missing, hash });
        };
        let date = String::from_utf8_lossy(date.as_bytes());
        let time = SigningTime::parse(&date)
            .or_else(|| SigningTime::parse_http_date(&date).filter(|_| amz_date.is_none()))
            .ok_or_else(|| VerifyError::Date(quoted(&date)))?;
        let session_token = match parts.headers.get("x-amz-security-token") {
            None => None,
            Some(token) => Some(Cow::Borrowed(
                token.to_str().map_err(|_| VerifyError::UnknownAccessKey)?,
            )),
        };
        Self::checked(
            Cow::Borrowed(credential),
            Cow::Borrowed(signed_headers),
            signature,
            time,
            None,
            session_token,
        )
    }

    /// Refuses headers that change what a request means and that whoever carries it could have added.
    fn require_signed(&self, headers: &HeaderMap) -> Result<(), VerifyError> {
        for name in headers.keys().map(http::HeaderName::as_str) {
            if name.starts_with("x-amz-")
                && !PROVEN_OTHERWISE.contains(&name)
                && !self.signed_headers.split(';').any(|signed| signed == name)
            {
                return Err(VerifyError::NotSigned(name.to_owned()));
            }
        }
        Ok(())
    }

    fn read_query(query: &'a str) -> Result<Self, VerifyError> {
        let mut values: [Option<Cow<'a, str>>; PRESIGNED.len()] = Default::default();
        for pair in query.split('&') {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            if let Some(index) = presigned_index(name) {
                let value = match decode_query(value) {
                    Cow::Borrowed(bytes) => String::from_utf8_lossy(bytes),
                    Cow::Owned(bytes) => Cow::Owned(String::from_utf8_lossy(&bytes).into_owned()),
                };
                // The same parameter twice could be read in two ways: so it is not read at all.
                if values[index].replace(value).is_some() {
                    return Err(VerifyError::IncompleteQuery {
                        missing: format!("AWS query-string parameters must include '{}' once. ", PRESIGNED[index]),
                    });
                }
            }
        }
        if values.iter().all(Option::is_none) {
            return Err(VerifyError::MissingToken);
        }
        match values {
            [
                Some(algorithm),
                Some(credential),
                Some(signature),
                Some(signed_headers),
                Some(date),
                Some(expires),
                session_token,
            ] => {
                if algorithm != ALGORITHM {
                    return Err(VerifyError::Algorithm(quoted(&algorithm)));
                }
                let time = SigningTime::parse(&date).ok_or_else(|| VerifyError::Date(quoted(&date)))?;
                let seconds = Some(&expires)
                    .filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))
                    .and_then(|text| text.parse().ok())
                    .filter(|seconds| (1..=MAX_EXPIRES_SECONDS).contains(seconds))
                    .ok_or_else(|| VerifyError::Expires(quoted(&expires)))?;
                Self::checked(
                    credential,
                    signed_headers,
                    &signature,
                    time,
                    Some(seconds),
                    session_token,
                )
            }
            values => {
                let required = PRESIGNED.iter().zip(&values).take(PRESIGNED.len() - 1);
                let missing = required.filter(|(_, value)| value.is_none()).map(|(name, _)| name);
                Err(VerifyError::IncompleteQuery {
                    missing: missing.fold(String::new(), |text, name| {
                        text + &format!("AWS query-string parameters must include '{name}'. ")
                    }),
                })
            }
        }
    }

    fn checked(
        credential: Cow<'a, str>,
        signed_headers: Cow<'a, str>,
        signature: &str,
        time: SigningTime,
        expires: Option<u32>,
        session_token: Option<Cow<'a, str>>,
    ) -> Result<Self, VerifyError> {
        let shape = || VerifyError::CredentialShape(quoted(&credential));
        let mut slashes = credential.match_indices('/').map(|(at, _)| at);
        let (Some(a), Some(b), Some(c), Some(d), None) = (
            slashes.next(),
            slashes.next(),
            slashes.next(),
            slashes.next(),
            slashes.next(),
        ) else {
            return Err(shape());
        };
        if a == 0 {
            return Err(shape());
        }
        // Sorted and unique names bound the canonical request by the size of the headers themselves.
        let mut previous = "";
        for name in signed_headers.split(';') {
            if name <= previous || name.bytes().any(|byte| byte.is_ascii_uppercase()) {
                return Err(VerifyError::SignedHeaders);
            }
            previous = name;
        }
        if !signed_headers.split(';').any(|name| name == "host") {
            return Err(VerifyError::NotSigned("Host".to_owned()));
        }
        let mut bytes = [0; 32];
        hex::decode_to_slice(signature, &mut bytes).map_err(|_| VerifyError::Mismatch)?;
        Ok(Self {
            credential,
            ends: [a, b, c, d],
            signed_headers,
            signature: bytes,
            time,
            expires,
            session_token,
        })
    }

    /// The access key.
    pub fn access_key(&self) -> &str {
        &self.credential[..self.ends[0]]
    }

    /// The scope's date, `YYYYMMDD`.
    pub fn date(&self) -> &str {
        &self.credential[self.ends[0] + 1..self.ends[1]]
    }

    /// The scope's region.
    pub fn region(&self) -> &str {
        &self.credential[self.ends[1] + 1..self.ends[2]]
    }

    /// The scope's service.
    pub fn service(&self) -> &str {
        &self.credential[self.ends[2] + 1..self.ends[3]]
    }

    /// The session token that came with the access key.
    pub fn session_token(&self) -> Option<&str> {
        self.session_token.as_deref()
    }

    /// Whether it is a presigned URL's.
    pub fn is_presigned(&self) -> bool {
        self.expires.is_some()
    }

    pub(super) fn terminator(&self) -> &str {
        &self.credential[self.ends[3] + 1..]
    }

    /// `date/region/service/aws4_request`.
    pub(super) fn scope(&self) -> &str {
        &self.credential[self.ends[0] + 1..]
    }

    pub(super) fn has_terminator(&self) -> bool {
        self.terminator() == TERMINATOR
    }
}

/// A presigned URL's parameters; the last may be missing.
const PRESIGNED: [&str; 7] = [
    "X-Amz-Algorithm",
    "X-Amz-Credential",
    "X-Amz-Signature",
    "X-Amz-SignedHeaders",
    "X-Amz-Date",
    "X-Amz-Expires",
    "X-Amz-Security-Token",
];

fn presigned_index(name: &str) -> Option<usize> {
    let place = |name: &str| PRESIGNED.iter().position(|known| *known == name);
    if name.contains('%') {
        place(&String::from_utf8_lossy(&decode_query(name)))
    } else {
        place(name)
    }
}

/// Whether a parameter of a query, decoded, belongs to a presigned URL's signature and not to the operation.
pub fn is_presigned_parameter(name: &str) -> bool {
    PRESIGNED.contains(&name)
}

pub(super) fn quoted(text: &str) -> String {
    text.chars().take(QUOTED_CHARACTERS).collect()
}

fn malformed(header: &[u8]) -> VerifyError {
    VerifyError::MalformedHeader { hash: hash_of(header) }
}

fn hash_of(header: &[u8]) -> String {
    BASE64.encode(Sha256::digest(header))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderMap, HeaderValue};
    use proptest::prelude::*;

    const SIGNATURE: &str = "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31";

    fn read(authorization: &str, query: &str) -> Result<(), VerifyError> {
        let mut headers = HeaderMap::new();
        headers.insert("x-amz-date", HeaderValue::from_static("20150830T123600Z"));
        if !authorization.is_empty() {
            headers.insert(
                AUTHORIZATION,
                HeaderValue::from_bytes(authorization.as_bytes()).unwrap(),
            );
        }
        let parts = Parts {
            method: "GET",
            path: "/",
            query,
            headers: &headers,
            authority: None,
        };
        Claim::read(&parts).map(|claim| {
            assert_eq!(claim.access_key(), "AKID");
            assert_eq!(
                (claim.date(), claim.region(), claim.service()),
                ("20150830", "us-east-1", "lambda")
            );
        })
    }

    #[track_caller]
    fn check(authorization: &str, query: &str, want: &str) {
        let error = read(authorization, query).unwrap_err();
        assert!(error.to_string().starts_with(want), "{error}");
    }

    #[test]
    fn both_forms_are_read() {
        let scope = "AKID/20150830/us-east-1/lambda/aws4_request";
        let header = format!("{ALGORITHM} Credential={scope},SignedHeaders=host;x-a,  Signature={SIGNATURE}");
        assert_eq!(read(&header, ""), Ok(()));
        let query = format!(
            "a=b&X-Amz-Algorithm={ALGORITHM}&X-Amz-Credential={}&X-Amz-Date=20150830T123600Z&X-Amz-Expires=60\
             &X-Amz-SignedHeaders=host&X-Amz-Signature={SIGNATURE}",
            scope.replace('/', "%2F")
        );
        assert_eq!(read("", &query), Ok(()));
        check(
            "",
            &query.replace("Expires=60", "Expires=604801"),
            "X-Amz-Expires must be",
        );
        check("", &query.replace("Expires=60", "Expires=+60"), "X-Amz-Expires must be");
        check(
            "",
            &query.replace("=20150830T", "=20150830X"),
            "Date must be in ISO-8601",
        );
        check(
            "",
            &query.replace(ALGORITHM, "AWS4-HMAC-SHA1"),
            "Unsupported AWS 'algorithm'",
        );
        check(
            "",
            &format!("{query}&X-Amz-Date=20150830T123600Z"),
            "AWS query-string parameters",
        );
    }

    #[test]
    fn what_is_missing_is_named() {
        check("", "", "Missing Authentication Token");
        check(
            "Bearer abc",
            "",
            "Invalid key=value pair (missing equal-sign) in Authorization header",
        );
        check(
            "AWS4-HMAC-SHA1 a=b",
            "",
            "Unsupported AWS 'algorithm': 'AWS4-HMAC-SHA1'.",
        );
        check(
            "AWS4-HMAC-SHA256 SignedHeaders=host",
            "",
            "Authorization header requires 'Credential' parameter. Authorization header requires 'Signature' \
             parameter. (Hashed with SHA-256 and encoded with Base64) Authorization=",
        );
        check(
            "",
            "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Signature=0",
            "AWS query-string parameters must include 'X-Amz-Credential'. ",
        );
        let with = |credential: &str, signed: &str, signature: &str| {
            format!("{ALGORITHM} Credential={credential}, SignedHeaders={signed}, Signature={signature}")
        };
        let scope = "AKID/20150830/us-east-1/lambda/aws4_request";
        check(&with("a/b/c", "host", SIGNATURE), "", "Credential must have exactly 5");
        check(
            &with("/b/c/d/e", "host", SIGNATURE),
            "",
            "Credential must have exactly 5",
        );
        check(
            &with(scope, "x-amz-date", SIGNATURE),
            "",
            "'Host' must be a 'SignedHeader'",
        );
        check(&with(scope, "host;a", SIGNATURE), "", "SignedHeaders must be");
        check(&with(scope, "Host", SIGNATURE), "", "SignedHeaders must be");
        check(&with(scope, "a;a;host", SIGNATURE), "", "SignedHeaders must be");
        check(&with(scope, "host", "abc"), "", "The request signature we calculated");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]
        #[test]
        fn no_text_breaks_the_reader(
            header in "(AWS4-HMAC-SHA256 )?([ -~]|Credential=|SignedHeaders=|Signature=|/|,){0,40}",
            query in "(X-Amz-(Date|Credential|Signature|Algorithm|Expires|SignedHeaders)|[%&=/;a-zA-Z0-9+]){0,40}",
        ) {
            prop_assert!(read(&header, &query).is_err());
        }

        #[test]
        fn no_bytes_break_the_reader(
            is_near in any::<bool>(),
            noise in proptest::collection::vec((0x20..=0xff_u8).prop_filter("none of a header's", |byte| *byte != 0x7f), 0..80),
            date in proptest::collection::vec((0x20..=0xff_u8).prop_filter("none of a header's", |byte| *byte != 0x7f), 0..20),
        ) {
            let near: &[u8] = if is_near { b"AWS4-HMAC-SHA256 Credential=AKID/20150830/us-east-1/lambda/aws4_request, " } else { b"" };
            let mut headers = HeaderMap::new();
            headers.insert(AUTHORIZATION, HeaderValue::from_bytes(&[near, &noise].concat()).unwrap());
            headers.insert("x-amz-date", HeaderValue::from_bytes(&date).unwrap());
            headers.insert("date", HeaderValue::from_bytes(&date).unwrap());
            let parts = Parts { method: "GET", path: "/", query: "", headers: &headers, authority: None };
            prop_assert!(Claim::read(&parts).is_err());
        }
    }
}
