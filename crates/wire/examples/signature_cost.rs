//! What signing and verifying cost: `cargo run --release -p ephyra-wire --example signature_cost`.
#![allow(clippy::unwrap_used, reason = "a measurement panics when it cannot be made")]

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use ephyra_wire::sigv4::{
    BodyHash, Claim, Credential, Credentials, Parts, Scope, Secret, Signer, SigningTime, Verifier,
};
use http::{HeaderMap, HeaderValue};

struct OneKey(Credential);

impl Credentials for OneKey {
    fn find(&self, _: &str, _: Option<&str>) -> Option<Credential> {
        Some(self.0.clone())
    }
}

/// The median of 101 rounds of 1,000 calls, in nanoseconds a call.
fn measure(name: &str, mut call: impl FnMut()) {
    let mut rounds: Vec<u128> = (0..101)
        .map(|_| {
            let start = Instant::now();
            (0..1000).for_each(|_| call());
            start.elapsed().as_nanos() / 1000
        })
        .collect();
    rounds.sort_unstable();
    println!("{name:<44} {:>6} ns  (fastest round {} ns)", rounds[50], rounds[0]);
}

fn main() {
    let path = "/2015-03-31/functions/hello/invocations";
    let signer = Signer::new("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG", "us-east-1", "lambda");
    let now = SigningTime::from_clock(SystemTime::now());
    let mut headers = HeaderMap::from_iter([
        (http::header::HOST, HeaderValue::from_static("127.0.0.1:4566")),
        (http::header::CONTENT_TYPE, HeaderValue::from_static("application/json")),
    ]);
    let body = BodyHash::of(b"{}");
    signer
        .sign_headers("POST", path, "", &mut headers, body.as_str(), now)
        .unwrap();
    let verifier = Verifier::new(Arc::new(OneKey(Credential {
        secret: Secret::new("wJalrXUtnFEMI/K7MDENG"),
        account: "000000000000".parse().unwrap(),
    })));
    let scope = Scope {
        region: "us-east-1",
        service: "lambda",
    };
    let verify = |query: &str| {
        let parts = Parts {
            method: "POST",
            path,
            query,
            headers: black_box(&headers),
            authority: None,
        };
        let claim = Claim::read(&parts).unwrap();
        let credential = verifier.admit(&claim, scope, now).unwrap();
        verifier.verify(&parts, &claim, &credential, &body).is_ok()
    };
    assert!(verify("") && !verify("Qualifier=live"));
    measure("verify, key cached", || assert!(black_box(verify(""))));
    measure("the same with one query parameter (refused)", || {
        assert!(!black_box(verify("Qualifier=live")))
    });
    measure("read the claim and admit it", || {
        let parts = Parts {
            method: "POST",
            path,
            query: "",
            headers: black_box(&headers),
            authority: None,
        };
        let claim = Claim::read(&parts).unwrap();
        black_box(verifier.admit(&claim, scope, now).unwrap());
    });
    measure("sign, key derived each time", || {
        let mut headers = headers.clone();
        signer
            .sign_headers("POST", path, "", &mut headers, body.as_str(), now)
            .unwrap();
        black_box(&headers);
    });
    for bytes in [2, 1024, 65_536] {
        let body = vec![b'x'; bytes];
        measure(&format!("hash a body of {bytes} bytes"), || {
            black_box(BodyHash::of(black_box(&body)));
        });
    }
}
