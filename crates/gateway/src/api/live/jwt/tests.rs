//! Tokens of an issuer made up here, whose keys are fetched from memory.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{self, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::Uri;
use parking_lot::Mutex;
use serde_json::json;

use super::*;
use crate::api::live::fetch::{Fetch, FetchError};

const ISSUER: &str = "http://localhost:9/issuer";
const NOW_MS: i64 = 1_800_000_000_000;

fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// A key that signs.
enum Signer {
    Rsa(Box<RsaKeyPair>),
    Ec(Box<EcdsaKeyPair>),
    Ed(Box<Ed25519KeyPair>),
}

impl Signer {
    fn rsa() -> Self {
        Self::Rsa(Box::new(
            RsaKeyPair::generate(aws_lc_rs::rsa::KeySize::Rsa2048).expect("a key"),
        ))
    }

    fn ec() -> Self {
        Self::Ec(Box::new(
            EcdsaKeyPair::generate(&signature::ECDSA_P256_SHA256_FIXED_SIGNING).expect("a key"),
        ))
    }

    fn ed() -> Self {
        Self::Ed(Box::new(Ed25519KeyPair::generate().expect("a key")))
    }

    fn jwk(&self, id: &str) -> Value {
        match self {
            Self::Rsa(key) => {
                let public = key.public_key();
                let (n, e) = (public.modulus(), public.exponent());
                let (n, e) = (n.big_endian_without_leading_zero(), e.big_endian_without_leading_zero());
                json!({"kty": "RSA", "kid": id, "use": "sig", "alg": "RS256", "n": encode(n), "e": encode(e)})
            }
            Self::Ec(key) => {
                let point = key.public_key().as_ref();
                json!({"kty": "EC", "crv": "P-256", "kid": id, "x": encode(&point[1..33]), "y": encode(&point[33..65])})
            }
            Self::Ed(key) => json!({"kty": "OKP", "crv": "Ed25519", "kid": id, "x": encode(key.public_key().as_ref())}),
        }
    }

    fn sign(&self, algorithm: &str, id: &str, claims: &Value) -> String {
        let header = json!({"alg": algorithm, "kid": id});
        let message = format!("{}.{}", encode(header.to_string()), encode(claims.to_string()));
        let random = SystemRandom::new();
        let signature = match self {
            Self::Rsa(key) => {
                let padding: &dyn signature::RsaEncoding = match algorithm {
                    "PS256" => &signature::RSA_PSS_SHA256,
                    _ => &signature::RSA_PKCS1_SHA256,
                };
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(padding, &random, message.as_bytes(), &mut signature)
                    .expect("a signature");
                signature
            }
            Self::Ec(key) => key
                .sign(&random, message.as_bytes())
                .expect("a signature")
                .as_ref()
                .to_vec(),
            Self::Ed(key) => key.sign(message.as_bytes()).as_ref().to_vec(),
        };
        format!("{message}.{}", encode(signature))
    }
}

/// An issuer's server.
#[derive(Default)]
struct Server {
    keys: Mutex<Option<Value>>,
    fetches: AtomicU32,
}

impl Fetch for Server {
    fn get(&self, uri: Uri, _: usize) -> BoxFuture<'_, Result<Bytes, FetchError>> {
        Box::pin(async move {
            let keys = self.keys.lock().clone().ok_or(FetchError::TimeOut)?;
            Ok(if uri.path().ends_with("openid-configuration") {
                json!({"issuer": ISSUER, "jwks_uri": format!("{ISSUER}/keys")})
                    .to_string()
                    .into()
            } else {
                self.fetches.fetch_add(1, Ordering::Relaxed);
                json!({"keys": keys}).to_string().into()
            })
        })
    }
}

struct House {
    server: Arc<Server>,
    authorizer: Authorizer,
    start: Instant,
}

impl House {
    fn new(keys: Value) -> Self {
        let server = Arc::new(Server::default());
        *server.keys.lock() = Some(keys);
        let start = Instant::now();
        let issuer = Issuer::new(ISSUER.to_owned(), Arc::clone(&server) as Arc<dyn Fetch>, start);
        let rule = Rule {
            issuer: ISSUER.to_owned(),
            audiences: vec!["app".to_owned()],
        };
        Self {
            server,
            authorizer: Authorizer::new(rule, Arc::new(issuer)),
            start,
        }
    }

    async fn at(&self, seconds: u64, token: &str) -> Result<Arc<Verified>, Refusal> {
        let ms = i64::try_from(seconds).expect("a small number") * 1_000;
        let now = Moment {
            at: self.start + Duration::from_secs(seconds),
            unix_ms: NOW_MS + ms,
        };
        self.authorizer.verify(token, now).await
    }

    fn fetches(&self) -> u32 {
        self.server.fetches.load(Ordering::Relaxed)
    }
}

fn claims() -> Value {
    json!({"iss": ISSUER, "aud": "app", "sub": "me", "exp": NOW_MS / 1_000 + 100_000, "scope": "read write"})
}

#[tokio::test]
async fn tokens_of_all_kinds_of_keys_are_taken_and_remembered() {
    let signers = [
        ("RS256", Signer::rsa()),
        ("ES256", Signer::ec()),
        ("EdDSA", Signer::ed()),
    ];
    let house = House::new(signers.iter().map(|(name, signer)| signer.jwk(name)).collect());
    for (name, signer) in &signers {
        let token = signer.sign(name, name, &claims());
        let verified = house.at(0, &format!("Bearer {token}")).await.expect("a good token");
        assert_eq!(verified.claims["sub"], "me");
        assert!(verified.allows(&["x".into(), "read".into()]) && verified.allows(&[]));
        assert!(!verified.allows(&["x".into()]));
        let again = house.at(1, &token).await.expect("a good token");
        assert!(Arc::ptr_eq(&verified, &again), "{name}: a signature was verified twice");
        // A changed signature is another token.
        let (message, signature) = token.rsplit_once('.').expect("a token");
        let mut signature = signature.to_owned();
        let first = if signature.starts_with('A') { "B" } else { "A" };
        signature.replace_range(0..1, first);
        assert_eq!(
            house.at(1, &format!("{message}.{signature}")).await.err(),
            Some(Refusal::Signature)
        );
    }
    assert_eq!(house.fetches(), 1);
}

#[tokio::test]
async fn the_key_says_the_algorithm() {
    let (rsa, other) = (Signer::rsa(), Signer::rsa());
    let keys = json!([rsa.jwk("k"), {"kty": "oct", "kid": "h", "k": encode("secret"), "alg": "HS256"}]);
    let house = House::new(keys);
    assert_eq!(
        house.at(0, &rsa.sign("PS256", "k", &claims())).await.err(),
        Some(Refusal::Algorithm)
    );
    assert_eq!(
        house.at(0, &other.sign("RS256", "k", &claims())).await.err(),
        Some(Refusal::Signature)
    );
    assert_eq!(
        house.at(0, &rsa.sign("HS256", "h", &claims())).await.err(),
        Some(Refusal::Key)
    );
    for algorithm in ["none", "None", "HS256", "ES256", ""] {
        let token = rsa.sign(algorithm, "k", &claims());
        assert_eq!(house.at(0, &token).await.err(), Some(Refusal::Algorithm), "{algorithm}");
        let (message, _) = token.rsplit_once('.').expect("a token");
        assert_eq!(house.at(0, &format!("{message}.")).await.err(), Some(Refusal::Segments));
    }
}

#[tokio::test]
async fn what_is_not_for_us_does_not_reach_the_issuer() {
    let house = House::new(json!([]));
    let signer = Signer::ed();
    for (name, value, why) in [
        ("iss", json!("http://localhost:9/other"), Refusal::Issuer),
        ("aud", json!("another"), Refusal::Audience),
        ("exp", json!(NOW_MS / 1_000 - 100), Refusal::Expired),
        ("nbf", json!(NOW_MS / 1_000 + 100), Refusal::NotYet),
    ] {
        let mut claims = claims();
        claims[name] = value;
        assert_eq!(house.at(0, &signer.sign("EdDSA", "k", &claims)).await.err(), Some(why));
    }
    assert_eq!(house.fetches(), 0);
}

#[tokio::test]
async fn keys_rotate_and_strangers_cannot_have_them_fetched_without_end() {
    let (first, second) = (Signer::ed(), Signer::ed());
    let house = House::new(json!([first.jwk("1")]));
    let old = first.sign("EdDSA", "1", &claims());
    house.at(0, &old).await.expect("a good token");
    *house.server.keys.lock() = Some(json!([second.jwk("2")]));
    // The old one is remembered until the new keys are known.
    house.at(1, &old).await.expect("a good token");
    house
        .at(2, &second.sign("EdDSA", "2", &claims()))
        .await
        .expect("a good token of the new key");
    assert_eq!(house.at(3, &old).await.err(), Some(Refusal::Key));
    assert_eq!(house.fetches(), 3);
    for number in 0..100 {
        let stranger = first.sign("EdDSA", &format!("x{number}"), &claims());
        assert_eq!(house.at(4, &stranger).await.err(), Some(Refusal::Key));
    }
    assert_eq!(house.fetches(), 5);
    let later = first.sign("EdDSA", "y", &claims());
    assert_eq!(house.at(40, &later).await.err(), Some(Refusal::Key));
    assert_eq!(house.fetches(), 6);
}

#[tokio::test]
async fn an_outage_of_the_issuer_is_survived_for_a_day() {
    let signer = Signer::ed();
    let house = House::new(json!([signer.jwk("1")]));
    let keys = house.server.keys.lock().take();
    let token = signer.sign("EdDSA", "1", &claims());
    assert_eq!(house.at(0, &token).await.err(), Some(Refusal::Discovery));
    *house.server.keys.lock() = keys;
    house.at(1, &token).await.expect("a good token");
    *house.server.keys.lock() = None;
    for hours in [2, 12, 23] {
        house.at(hours * 3_600, &token).await.expect("a good token");
    }
    assert_eq!(house.at(25 * 3_600, &token).await.err(), Some(Refusal::Discovery));
}

#[tokio::test]
async fn old_keys_are_fetched_anew_beside_the_token_or_before_it() {
    let (signer, next) = (Signer::ed(), Signer::ed());
    let house = House::new(json!([signer.jwk("1")]));
    let token = signer.sign("EdDSA", "1", &claims());
    house.at(0, &token).await.expect("a good token");
    *house.server.keys.lock() = Some(json!([next.jwk("2")]));
    // An hour: the token goes on, and the keys come meanwhile.
    house.at(3_700, &token).await.expect("a good token");
    let fetched = async {
        while house.fetches() < 2 {
            tokio::task::yield_now().await;
        }
    };
    let wait = Duration::from_secs(10);
    tokio::time::timeout(wait, fetched)
        .await
        .expect("the keys were not fetched");
    while house.at(3_701, &token).await.is_ok() {
        tokio::task::yield_now().await;
    }
    // Two hours more: whoever comes waits for them.
    *house.server.keys.lock() = Some(json!([signer.jwk("1")]));
    let other = next.sign("EdDSA", "2", &claims());
    assert_eq!(house.at(3_701 + 7_300, &other).await.err(), Some(Refusal::Key));
}

#[tokio::test]
async fn a_token_that_was_remembered_expires() {
    let signer = Signer::ed();
    let house = House::new(json!([signer.jwk("1")]));
    let mut claims = claims();
    claims["exp"] = json!(NOW_MS / 1_000 + 60);
    let token = signer.sign("EdDSA", "1", &claims);
    house.at(0, &token).await.expect("a good token");
    house.at(89, &token).await.expect("a good token");
    assert_eq!(house.at(90, &token).await.err(), Some(Refusal::Expired));
}
