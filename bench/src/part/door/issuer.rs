//! An OpenID Connect issuer: it says its key, and signs tokens with it.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, anyhow};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

/// How long a token is good for.
const LIFE: Duration = Duration::from_secs(3600);
/// How long a client may be silent.
const SILENCE: Duration = Duration::from_secs(5);

/// A running issuer. Dropped, it is ended.
pub(super) struct Issuer {
    address: SocketAddr,
    key: EcdsaKeyPair,
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Issuer {
    pub(super) fn start() -> Result<Self> {
        let random = SystemRandom::new();
        let failed = |_| anyhow!("a key could not be made");
        let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).map_err(failed)?;
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, document.as_ref());
        let key = key.map_err(|_| anyhow!("a key could not be read"))?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        // An uncompressed point: a byte that says so, x and y (SEC 1).
        let (x, y) = key.public_key().as_ref()[1..].split_at(32);
        let keys = json!({ "keys": [{
            "kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": "bench",
            "x": URL_SAFE_NO_PAD.encode(x), "y": URL_SAFE_NO_PAD.encode(y),
        }] });
        let name = format!("http://{address}");
        let discovery = json!({ "issuer": name, "jwks_uri": format!("{name}/keys") });
        let is_over = Arc::new(AtomicBool::new(false));
        let seen = is_over.clone();
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if seen.load(Relaxed) {
                    return;
                }
                // Who could not read an answer says so in its own figures.
                let _ = stream
                    .map_err(anyhow::Error::from)
                    .and_then(|stream| answer(stream, &keys, &discovery));
            }
        });
        Ok(Self {
            address,
            key,
            is_over,
            thread: Some(thread),
        })
    }

    /// As tokens and authorizers name it.
    pub(super) fn name(&self) -> String {
        format!("http://{}", self.address)
    }

    /// A token for an audience.
    pub(super) fn token(&self, audience: &str) -> Result<String> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
        let claims = json!({
            "iss": self.name(), "aud": audience, "sub": "bench", "iat": now, "exp": now + LIFE.as_secs(),
        });
        let header = json!({ "alg": "ES256", "kid": "bench", "typ": "JWT" });
        let text = format!("{}.{}", encoded(&header), encoded(&claims));
        let signature = self.key.sign(&SystemRandom::new(), text.as_bytes());
        let signature = signature.map_err(|_| anyhow!("a token could not be signed"))?;
        Ok(format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }
}

impl Drop for Issuer {
    fn drop(&mut self) {
        self.is_over.store(true, Relaxed);
        // It looks when it is called.
        if TcpStream::connect(self.address).is_ok()
            && let Some(thread) = self.thread.take()
        {
            let _ = thread.join();
        }
    }
}

fn encoded(document: &Value) -> String {
    URL_SAFE_NO_PAD.encode(document.to_string())
}

/// Answers one request and closes.
fn answer(mut stream: TcpStream, keys: &Value, discovery: &Value) -> Result<()> {
    stream.set_read_timeout(Some(SILENCE))?;
    let mut request = Vec::new();
    let mut buffer = [0; 1024];
    while !request.windows(4).any(|four| four == b"\r\n\r\n") {
        let count = stream.read(&mut buffer)?;
        anyhow::ensure!(count > 0 && request.len() < 16 << 10, "this is no request");
        request.extend_from_slice(&buffer[..count]);
    }
    let document = if request.starts_with(b"GET /keys ") {
        keys
    } else {
        discovery
    }
    .to_string();
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n";
    write!(stream, "{head}content-length: {}\r\n\r\n{document}", document.len()).context("could not answer")
}
