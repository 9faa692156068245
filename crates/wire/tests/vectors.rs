//! AWS's published test vectors for Signature Version 4, see `vectors/NOTICE`: every one is signed in headers and in
//! the query, compared to the published result, and what was published is verified.
#![allow(clippy::unwrap_used, reason = "a test panics by design")]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ephyra_wire::sigv4::{
    BodyHash, Claim, Credential, Credentials, Parts, PathRule, Scope, Signer, SigningTime, Verifier, VerifyError,
    canonical_request,
};
use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::Value;

struct Known(Signer);

impl Credentials for Known {
    fn find(&self, access_key: &str, session_token: Option<&str>) -> Option<Credential> {
        let is_known = access_key == self.0.access_key && session_token == self.0.session_token.as_deref();
        is_known.then(|| Credential {
            secret: self.0.secret.clone(),
            account: "123456789012".parse().unwrap(),
        })
    }
}

struct Vector {
    folder: PathBuf,
    signer: Signer,
    time: SigningTime,
    expires: u32,
    rule: PathRule,
    is_body_signed: bool,
    is_token_left_out: bool,
}

struct Sent {
    method: String,
    path: String,
    query: String,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Sent {
    fn read(file: &Path) -> Self {
        let text = fs::read_to_string(file).unwrap();
        let (head, body) = text.split_once("\n\n").unwrap_or_else(|| (text.trim_end(), ""));
        let mut lines = head.lines();
        let request_line = lines.next().unwrap().strip_suffix(" HTTP/1.1").unwrap();
        let (method, target) = request_line.split_once(' ').unwrap();
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let mut headers: Vec<(String, String)> = Vec::new();
        for line in lines {
            match line.split_once(':') {
                Some((name, value)) if !line.starts_with(' ') => headers.push((name.to_owned(), value.to_owned())),
                _ => *headers.last_mut().map(|(_, value)| value).unwrap() += line,
            }
        }
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            let name: HeaderName = name.parse().unwrap();
            map.append(name, HeaderValue::from_str(&value).unwrap());
        }
        Self {
            method: method.into(),
            path: path.into(),
            query: query.into(),
            headers: map,
            body: body.trim_end_matches('\n').into(),
        }
    }

    fn parts(&self) -> Parts<'_> {
        Parts {
            method: &self.method,
            path: &self.path,
            query: &self.query,
            headers: &self.headers,
            authority: None,
        }
    }
}

impl Vector {
    fn read(folder: PathBuf) -> Self {
        let context: Value = match fs::read(folder.join("context.json")) {
            Ok(bytes) => serde_json::from_slice(&bytes).unwrap(),
            Err(_) => Value::Null,
        };
        let text = |pointer: &str, default: &str| {
            let value = context.pointer(pointer).and_then(Value::as_str);
            value.unwrap_or(default).to_owned()
        };
        let flag = |pointer: &str, default| context.pointer(pointer).and_then(Value::as_bool).unwrap_or(default);
        let basic = text("/timestamp", "2021-05-11T15:40:45Z").replace(['-', ':'], "");
        Self {
            signer: Signer {
                session_token: context
                    .pointer("/credentials/token")
                    .and_then(Value::as_str)
                    .map(Into::into),
                ..Signer::new(
                    &text("/credentials/access_key_id", "AKIDEXAMPLE"),
                    &text(
                        "/credentials/secret_access_key",
                        "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
                    ),
                    &text("/region", "us-east-1"),
                    &text("/service", "service"),
                )
            },
            time: SigningTime::parse(&basic).unwrap(),
            expires: context["expiration_in_seconds"]
                .as_u64()
                .unwrap_or(60)
                .try_into()
                .unwrap(),
            // One request is written as it is on the wire and hashed as if it were not encoded twice.
            rule: PathRule {
                double_encode: !folder.ends_with("get-space-normalized"),
                normalize: flag("/normalize", true),
            },
            is_body_signed: flag("/sign_body", false),
            is_token_left_out: flag("/omit_session_token", false),
            folder,
        }
    }

    /// The signer for what the vector's signature covers.
    fn signer_of_the_covered(&self) -> Signer {
        let session_token = self.signer.session_token.clone();
        Signer {
            session_token: session_token.filter(|_| !self.is_token_left_out),
            path_rule: self.rule,
            ..self.signer.clone()
        }
    }

    fn text(&self, file: &str) -> Option<String> {
        let text = fs::read_to_string(self.folder.join(file)).ok()?;
        Some(text.trim_end().to_owned())
    }
}

#[test]
fn every_published_vector_gives_the_published_signature() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors");
    let folders = fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path());
    let [mut vectors, mut canonical, mut signed, mut verified] = [0; 4];
    for folder in folders.filter(|path| path.is_dir()) {
        let vector = Vector::read(folder);
        vectors += 1;
        canonical += canonical_in_headers(&vector);
        let (header, query) = (signed_in_headers(&vector), signed_in_query(&vector));
        signed += usize::from(header) + usize::from(query);
        // Ours resolves dots in paths for every service but S3, and takes no token that is not signed.
        if header && vector.rule == PathRule::STANDARD && !vector.is_token_left_out {
            verify(&vector, "header-signed-request.txt");
            verify(&vector, "query-signed-request.txt");
            verified += 2;
        }
    }
    assert_eq!((vectors, canonical, signed, verified), (40, 40, 76, 58));
}

/// Compares the canonical request and, where there is one, the string to sign.
fn canonical_in_headers(vector: &Vector) -> usize {
    let mut sent = Sent::read(&vector.folder.join("request.txt"));
    let hash = BodyHash::of(&sent.body);
    sent.headers
        .insert("x-amz-date", HeaderValue::from_str(vector.time.as_str()).unwrap());
    if vector.is_body_signed {
        sent.headers
            .insert("x-amz-content-sha256", HeaderValue::from_str(hash.as_str()).unwrap());
    }
    if let Some(token) = vector
        .signer
        .session_token
        .as_ref()
        .filter(|_| !vector.is_token_left_out)
    {
        sent.headers
            .insert("x-amz-security-token", HeaderValue::from_str(token).unwrap());
    }
    let mut names: Vec<&str> = sent.headers.keys().map(HeaderName::as_str).collect();
    names.sort_unstable();
    let ours = canonical_request(sent.parts(), vector.rule, &names.join(";"), &[], hash.as_str()).unwrap();
    assert_eq!(
        ours,
        vector.text("header-canonical-request.txt").unwrap(),
        "{}",
        vector.folder.display()
    );
    if let Some(string_to_sign) = vector.text("header-string-to-sign.txt") {
        assert!(string_to_sign.ends_with(BodyHash::of(ours.as_bytes()).as_str()));
    }
    1
}

/// Whether there is a published signature to compare with.
fn signed_in_headers(vector: &Vector) -> bool {
    let Some(want) = vector.text("header-signature.txt") else {
        return false;
    };
    let mut sent = Sent::read(&vector.folder.join("request.txt"));
    let hash = BodyHash::of(&sent.body);
    if vector.is_body_signed {
        sent.headers
            .insert("x-amz-content-sha256", HeaderValue::from_str(hash.as_str()).unwrap());
    }
    let Sent {
        method,
        path,
        query,
        headers,
        ..
    } = &mut sent;
    let signer = vector.signer_of_the_covered();
    signer
        .sign_headers(method, path, query, headers, hash.as_str(), vector.time)
        .unwrap();
    let authorization = headers["authorization"].to_str().unwrap();
    assert!(
        authorization.ends_with(&format!("Signature={want}")),
        "{}",
        vector.folder.display()
    );
    true
}

fn signed_in_query(vector: &Vector) -> bool {
    let Some(want) = vector.text("query-signature.txt") else {
        return false;
    };
    let sent = Sent::read(&vector.folder.join("request.txt"));
    let hash = BodyHash::of(&sent.body);
    let signer = vector.signer_of_the_covered();
    let signed = signer.presign(
        &sent.method,
        &sent.path,
        &sent.query,
        &sent.headers,
        hash.as_str(),
        vector.expires,
        vector.time,
    );
    assert!(
        signed.unwrap().ends_with(&format!("&X-Amz-Signature={want}")),
        "{}",
        vector.folder.display()
    );
    true
}

/// What was published as signed is accepted, and is not once its body is another.
fn verify(vector: &Vector, file: &str) {
    let mut sent = Sent::read(&vector.folder.join(file));
    let verifier = Verifier::new(Arc::new(Known(vector.signer.clone())));
    let scope = Scope {
        region: &vector.signer.region,
        service: &vector.signer.service,
    };
    let answer = |sent: &Sent| {
        let claim = Claim::read(&sent.parts())?;
        let credential = verifier.admit(&claim, scope, vector.time)?;
        verifier.verify(&sent.parts(), &claim, &credential, &BodyHash::of(&sent.body))
    };
    assert!(answer(&sent).is_ok(), "{} {file}", vector.folder.display());
    sent.body.push(b'!');
    assert_eq!(answer(&sent), Err(VerifyError::Mismatch));
}
