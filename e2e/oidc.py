"""An issuer of tokens for tests: OpenID Connect's discovery and keys on this machine, RS256 without a library."""

import base64
import functools
import hashlib
import http.server
import json
import secrets
import threading
import time

# DigestInfo of SHA-256 (RFC 8017, 9.2).
SHA256 = bytes.fromhex("3031300d060960864801650304020105000420")
EXPONENT = 65537


def _is_prime(number):
    """Miller-Rabin."""
    if number % 2 == 0:
        return False
    odd, twos = number - 1, 0
    while odd % 2 == 0:
        odd, twos = odd // 2, twos + 1
    for _ in range(8):
        x = pow(secrets.randbelow(number - 3) + 2, odd, number)
        if x in (1, number - 1):
            continue
        for _ in range(twos - 1):
            x = pow(x, 2, number)
            if x == number - 1:
                break
        else:
            return False
    return True


def _prime(bits):
    small = [n for n in range(3, 2000, 2) if all(n % d for d in range(3, int(n**0.5) + 1, 2))]
    while True:
        number = secrets.randbits(bits) | (3 << (bits - 2)) | 1
        if all(number % n for n in small) and (number - 1) % EXPONENT and _is_prime(number):
            return number


def encode(data):
    if not isinstance(data, (bytes, bytearray)):
        data = json.dumps(data).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class Key:
    """An RSA key of 2,048 bits."""

    def __init__(self, name):
        p, q = _prime(1024), _prime(1024)
        self.name, self.modulus = name, p * q
        self.private = pow(EXPONENT, -1, (p - 1) * (q - 1))

    @property
    def jwk(self):
        number = lambda n: encode(n.to_bytes((n.bit_length() + 7) // 8, "big"))  # noqa: E731
        return {"kty": "RSA", "use": "sig", "kid": self.name, "n": number(self.modulus), "e": number(EXPONENT)}

    def sign(self, claims, algorithm="RS256", name=None):
        """A token."""
        message = f"{encode({'alg': algorithm, 'kid': name or self.name})}.{encode(claims)}"
        digest = SHA256 + hashlib.sha256(message.encode()).digest()
        padded = b"\0\1" + b"\xff" * (256 - 3 - len(digest)) + b"\0" + digest
        signature = pow(int.from_bytes(padded, "big"), self.private, self.modulus).to_bytes(256, "big")
        return f"{message}.{encode(signature)}"


@functools.cache
def key(name):
    """A key, made once for all tests."""
    return Key(name)


class Issuer:
    """Serves discovery and keys; `keys` may be changed at any time."""

    def __init__(self):
        self.keys = [key("one")]
        self.fetches = 0
        issuer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                if self.path == "/.well-known/openid-configuration":
                    document = {"issuer": issuer.url, "jwks_uri": f"{issuer.url}/keys"}
                else:
                    issuer.fetches += 1
                    document = {"keys": [key.jwk for key in issuer.keys]}
                body = json.dumps(document).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def token(self, signer=None, algorithm="RS256", name=None, **changes):
        """A token for `app` that is good for an hour, with changes; a claim that is None is left out."""
        claims = {"iss": self.url, "aud": "app", "sub": "somebody", "exp": int(time.time()) + 3600} | changes
        claims = {name: value for name, value in claims.items() if value is not None}
        return (signer or self.keys[0]).sign(claims, algorithm, name)

    def close(self):
        self.server.shutdown()
        self.server.server_close()
