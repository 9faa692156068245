"""The protocol at the level of bytes: signatures that AWS refuses, and clients that are slow or huge."""

import concurrent.futures
import datetime
import hashlib
import hmac
import json
import re
import socket
import time
import urllib.parse

import pytest

from harness import ACCESS_KEY, SECRET_KEY, until

PATH = "/2015-03-31/functions/"
EMPTY = hashlib.sha256(b"").hexdigest()


class Signer:
    """Signature Version 4, written out so that each part can be made wrong."""

    def __init__(self, platform, **parts):
        self.host = f"127.0.0.1:{platform.port}"
        self.key, self.secret = parts.get("key", ACCESS_KEY), parts.get("secret", SECRET_KEY)
        self.region, self.service = parts.get("region", platform.region), parts.get("service", "lambda")
        self.terminator = parts.get("terminator", "aws4_request")
        self.now = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=parts.get("skew", 0))

    @property
    def stamp(self):
        return self.now.strftime("%Y%m%dT%H%M%SZ")

    @property
    def scope(self):
        return f"{self.now:%Y%m%d}/{self.region}/{self.service}/{self.terminator}"

    def signature(self, method, path, query, headers, body_hash):
        names = sorted(headers)
        canonical = "\n".join(
            [
                method,
                path,
                query,
                *(f"{n}:{' '.join(headers[n].split())}" for n in names),
                "",
                ";".join(names),
                body_hash,
            ]
        )
        text = "\n".join(["AWS4-HMAC-SHA256", self.stamp, self.scope, hashlib.sha256(canonical.encode()).hexdigest()])
        key = b"AWS4" + self.secret.encode()
        for part in self.scope.split("/"):
            key = hmac.new(key, part.encode(), hashlib.sha256).digest()
        return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()

    def headers(self, method="GET", path=PATH, query="", body=b"", **more):
        """The headers of a signed request."""
        headers = {"host": self.host, "x-amz-date": self.stamp} | more
        signature = self.signature(method, path, query, headers, hashlib.sha256(body).hexdigest())
        credential = f"{self.key}/{self.scope}"
        headers["authorization"] = (
            f"AWS4-HMAC-SHA256 Credential={credential}, SignedHeaders={';'.join(sorted(headers))}, Signature={signature}"
        )
        return headers

    def query(self, path=PATH, expires=300):
        """The query of a presigned GET."""
        fields = {
            "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
            "X-Amz-Credential": f"{self.key}/{self.scope}",
            "X-Amz-Date": self.stamp,
            "X-Amz-Expires": str(expires),
            "X-Amz-SignedHeaders": "host",
        }
        text = "&".join(f"{k}={urllib.parse.quote(v, safe='-_.~')}" for k, v in sorted(fields.items()))
        signature = self.signature("GET", path, text, {"host": self.host}, EMPTY)
        return f"{text}&X-Amz-Signature={signature}"


class Answer:
    def __init__(self, raw):
        head, _, self.body = raw.partition(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        self.status = int(lines[0].split()[1]) if raw else None
        self.headers = {k.strip().lower(): v.strip() for k, v in (line.split(":", 1) for line in lines[1:])}
        self.code = self.headers.get("x-amzn-errortype", "").split(":")[0]

    @property
    def message(self):
        document = json.loads(self.body)
        return document.get("message", document.get("Message"))


def send(platform, method="GET", target=PATH, headers=None, body=b""):
    """Sends exactly these headers and gives the answer."""
    headers = {"host": f"127.0.0.1:{platform.port}"} | (headers or {})
    lines = [f"{method} {target} HTTP/1.1", *(f"{k}: {v}" for k, v in headers.items()), "connection: close"]
    if body:
        lines.append(f"content-length: {len(body)}")
    with socket.create_connection(("127.0.0.1", platform.port), 20) as s:
        s.sendall("\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body)
        return Answer(read_all(s))


def read_all(s):
    data = b""
    try:
        while part := s.recv(1 << 16):
            data += part
    except ConnectionResetError:
        pass
    return data


def test_a_right_signature_is_taken(platform):
    answer = send(platform, headers=Signer(platform).headers())
    assert answer.status == 200 and "Functions" in json.loads(answer.body)
    assert re.fullmatch("[0-9a-f-]{36}", answer.headers["x-amzn-requestid"])


def test_a_presigned_request_is_taken(platform):
    answer = send(platform, target=f"{PATH}?{Signer(platform).query()}")
    assert answer.status == 200, answer.body


def test_spaces_and_unsigned_headers_do_not_matter(platform):
    headers = Signer(platform).headers(**{"x-amz-meta": "a   b"})
    headers["x-not-signed"] = "1"
    assert send(platform, headers=headers).status == 200


def test_an_unsigned_request_is_refused(platform):
    answer = send(platform)
    assert (answer.status, answer.code) == (403, "MissingAuthenticationTokenException")
    assert answer.message == "Missing Authentication Token"


@pytest.mark.parametrize(
    ("parts", "code", "message"),
    [
        ({"key": "AKIANOTKNOWN00000000"}, "UnrecognizedClientException", "The security token included in the request is invalid"),
        ({"secret": "wrong"}, "InvalidSignatureException", "The request signature we calculated does not match the signature you provided"),
        ({"skew": -3600}, "InvalidSignatureException", "Signature expired: "),
        ({"skew": 3600}, "InvalidSignatureException", "Signature not yet current: "),
        ({"region": "ap-south-1"}, "InvalidSignatureException", "Credential should be scoped to a valid region"),
        ({"service": "s3"}, "InvalidSignatureException", "Credential should be scoped to correct service"),
        ({"terminator": "aws5_request"}, "InvalidSignatureException", "Credential should be scoped with a valid terminator"),
    ],
    ids=["key", "secret", "late", "early", "region", "service", "terminator"],
)  # fmt: skip
def test_a_wrong_signature_is_refused(platform, parts, code, message):
    answer = send(platform, headers=Signer(platform, **parts).headers())
    assert (answer.status, answer.code) == (403, code), answer.body
    assert message in answer.message
    assert SECRET_KEY not in answer.message


def test_clocks_may_differ_a_little(platform):
    for skew in (-240, 240):
        assert send(platform, headers=Signer(platform, skew=skew).headers()).status == 200


def test_what_was_signed_may_not_change(platform):
    headers = Signer(platform).headers()
    for change in (
        {"target": PATH + "?MaxItems=1"},
        {"target": "/2015-03-31/functions/other"},
        {"method": "DELETE", "target": PATH + "x"},
        {"headers": headers | {"x-amz-date": Signer(platform, skew=-5).stamp}},
        {"body": b"{}", "method": "GET"},
    ):
        answer = send(platform, **{"headers": headers} | change)
        assert (answer.status, answer.code) == (403, "InvalidSignatureException"), (change, answer.body)


@pytest.mark.parametrize(
    "authorization",
    [
        "AWS4-HMAC-SHA256",
        "AWS4-HMAC-SHA256 Credential=x, SignedHeaders=host, Signature=y",
        "AWS4-HMAC-SHA256 Credential=a/b/c/d/e",
        "AWS4-HMAC-SHA256 Credential=, SignedHeaders=, Signature=",
        "Bearer token",
        "AWS4-ECDSA-P256-SHA256 Credential=a/b/c/d, SignedHeaders=host, Signature=00",
        "AWS4-HMAC-SHA256 " + "x" * 4000,
    ],
)
def test_a_malformed_authorization_is_refused(platform, authorization):
    headers = {"x-amz-date": Signer(platform).stamp, "authorization": authorization}
    answer = send(platform, headers=headers)
    assert answer.status in (400, 403)
    assert answer.code in (
        "IncompleteSignatureException", "InvalidSignatureException", "MissingAuthenticationTokenException",
        "UnrecognizedClientException",
    )  # fmt: skip


def test_presigned_requests_expire(platform):
    query = Signer(platform, skew=-120).query(expires=60)
    answer = send(platform, target=f"{PATH}?{query}")
    assert (answer.status, answer.code) == (403, "InvalidSignatureException"), answer.body
    assert "Signature expired" in answer.message
    assert send(platform, target=f"{PATH}?{Signer(platform, skew=-120).query(expires=300)}").status == 200


def test_presigned_requests_may_not_be_changed_or_last_forever(platform):
    query = Signer(platform).query()
    answer = send(platform, target=f"{PATH}?{query.replace('Expires=300', 'Expires=301')}")
    assert (answer.status, answer.code) == (403, "InvalidSignatureException")
    assert send(platform, target=f"{PATH}?{Signer(platform).query(expires=8 * 86400)}").status in (400, 403)


def test_what_is_not_offered_says_so_by_name(platform):
    path = "/2015-03-31/event-source-mappings/"
    answer = send(platform, target=path, headers=Signer(platform).headers(path=path))
    assert 400 <= answer.status < 600
    assert "ListEventSourceMappings" in answer.message
    path = "/no/such/path"
    answer = send(platform, target=path, headers=Signer(platform).headers(path=path))
    assert answer.status == 404, answer.body
    assert answer.code == "UnknownOperationException"


def test_health_needs_no_signature(platform):
    answer = send(platform, target="/_ephyra/health")
    assert answer.status == 200 and json.loads(answer.body)["status"] == "ok"


def test_both_loopbacks_are_served(platform):
    with socket.create_connection(("::1", platform.port), 5) as s:
        s.sendall(b"GET /_ephyra/health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        assert Answer(read_all(s)).status == 200


# -- slow and huge clients


def still_serves(platform):
    began = time.monotonic()
    assert send(platform, headers=Signer(platform).headers()).status == 200
    assert time.monotonic() - began < 5


def test_huge_headers_cost_one_connection(platform):
    for headers in ({"x-huge": "x" * (4 << 20)}, {f"x-{n}": "v" for n in range(20_000)}):
        try:
            answer = send(platform, headers=headers)
        except (BrokenPipeError, ConnectionResetError):
            continue
        assert answer.status is None or 400 <= answer.status < 500, answer.status
    try:
        answer = send(platform, target="/" + "x" * (2 << 20))
        assert answer.status is None or 400 <= answer.status < 500
    except (BrokenPipeError, ConnectionResetError):
        pass
    still_serves(platform)


def test_huge_bodies_are_refused_before_they_are_read(platform):
    signed = Signer(platform).headers("POST")
    head = "\r\n".join(
        [f"POST {PATH} HTTP/1.1", *(f"{k}: {v}" for k, v in signed.items()), "content-length: 99999999999"]
    )
    with socket.create_connection(("127.0.0.1", platform.port), 20) as s:
        s.sendall(head.encode() + b"\r\n\r\n")
        assert Answer(s.recv(1 << 16)).status == 413
    still_serves(platform)


def test_endless_bodies_are_cut(platform):
    signed = Signer(platform).headers("POST")
    head = "\r\n".join(
        [f"POST {PATH} HTTP/1.1", *(f"{k}: {v}" for k, v in signed.items()), "transfer-encoding: chunked"]
    )
    part = b"100000\r\n" + bytes(1 << 20) + b"\r\n"
    sent = 0
    with socket.create_connection(("127.0.0.1", platform.port), 20) as s:
        s.sendall(head.encode() + b"\r\n\r\n")
        try:
            while sent < 300:
                s.sendall(part)
                sent += 1
        except (BrokenPipeError, ConnectionResetError):
            pass
    # 70,167,211 bytes is the most that any request may have; socket buffers hold some more.
    assert sent < 90
    still_serves(platform)


def test_unsigned_bodies_are_not_taken_in(platform):
    """Who cannot sign may not make the platform hold 70 MB for long."""
    with socket.create_connection(("127.0.0.1", platform.port), 20) as s:
        s.sendall(
            f"POST {PATH} HTTP/1.1\r\nhost: 127.0.0.1:{platform.port}\r\ncontent-length: 69000000\r\n\r\n".encode()
        )
        s.settimeout(5)
        answer = Answer(s.recv(1 << 16))
    assert (answer.status, answer.code) == (403, "MissingAuthenticationTokenException")


def drip(platform, first, piece, every=0.5, limit=90):
    """Sends a piece now and then until the platform has had enough; gives how long that took."""
    began = time.monotonic()
    with socket.create_connection(("127.0.0.1", platform.port), 10) as s:
        s.sendall(first)
        s.settimeout(every)
        while time.monotonic() - began < limit:
            try:
                if not s.recv(1 << 16):
                    return time.monotonic() - began
            except TimeoutError:
                pass
            except ConnectionResetError:
                return time.monotonic() - began
            try:
                s.sendall(piece)
            except (BrokenPipeError, ConnectionResetError):
                return time.monotonic() - began
    return None


def test_slow_clients_cost_one_connection_each(platform, function):
    name = function("def handler(event, context):\n    return 1\n")
    host = f"host: 127.0.0.1:{platform.port}\r\n"
    signed = Signer(platform).headers("POST")
    head = "\r\n".join([f"POST {PATH} HTTP/1.1", *(f"{k}: {v}" for k, v in signed.items()), "content-length: 9999"])
    slow = {
        "half a line": (b"GET / HT", b""),
        "slow headers": (f"GET / HTTP/1.1\r\n{host}".encode(), b"x-a: b\r\n"),
        "slow body": (head.encode() + b"\r\n\r\n", b" "),
        "no body": (head.encode() + b"\r\n\r\n", b""),
    }
    with concurrent.futures.ThreadPoolExecutor(len(slow) * 10) as pool:
        clients = {(what, n): pool.submit(drip, platform, *parts) for what, parts in slow.items() for n in range(10)}
        # Meanwhile others are served as ever.
        for _ in range(20):
            began = time.monotonic()
            assert platform.invoke(name) == 1
            assert time.monotonic() - began < 5
        times = {what: client.result() for what, client in clients.items()}
    assert not [what for what, took in times.items() if took is None], "never cut off"
    assert max(times.values()) < 40


def test_many_idle_connections_do_not_keep_others_out(platform):
    sockets = [socket.create_connection(("127.0.0.1", platform.port), 10) for _ in range(500)]
    try:
        still_serves(platform)
    finally:
        for s in sockets:
            s.close()


@pytest.mark.parametrize(
    "raw",
    [
        b"\x00\x01\x02\x03\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\ncontent-length: 3\r\n\r\nzzz",
        b"GET / HTTP/1.1\r\nhost: a\r\nbad header\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: -1\r\n\r\n",
        b"GET /%zz%00 HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n",
        b"GET /../../etc/passwd HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n",
    ],
)
def test_garbage_is_answered_with_an_error(platform, raw):
    with socket.create_connection(("127.0.0.1", platform.port), 20) as s:
        s.sendall(raw)
        s.shutdown(socket.SHUT_WR)
        answer = read_all(s)
    assert not answer or 400 <= Answer(answer).status < 500, answer[:200]
    until(platform.is_healthy, "the platform to be well", 5)
