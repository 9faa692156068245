"""HTTP to the letter, through function URLs of the real program: smuggling is refused, answers are compressed for who asks,
and proxies are believed when they are trusted."""

import gzip
import http.client
import json
import re
import socket

import pytest

import harness

PYTHON = """
def handler(event, context):
    size = int(event.get("queryStringParameters", {}).get("size", 0))
    if size:
        return {"statusCode": 200, "headers": {"content-type": "text/html", "etag": '"a"'}, "body": "ephyra " * (size // 7)}
    return {"path": event["rawPath"], "ip": event["requestContext"]["http"]["sourceIp"], "headers": event["headers"]}
"""
SECOND = b"GET /second HTTP/1.1\r\nHost: a\r\n\r\n"


@pytest.fixture(scope="module")
def site():
    """A platform behind a proxy that it trusts, and an open function's path."""
    server = harness.Server("--trusted-proxy", "127.0.0.1", "--trusted-proxy", "10.0.0.0/8")
    try:
        server.start()
        server.path = open_url(server)
        yield server
        server.terminate()
    finally:
        server.close()


def open_url(server):
    name = server.create(PYTHON)
    made = server.lambda_.create_function_url_config(FunctionName=name, AuthType="NONE")["FunctionUrl"]
    grant = {"Action": "lambda:InvokeFunctionUrl", "Principal": "*", "FunctionUrlAuthType": "NONE"}
    server.lambda_.add_permission(FunctionName=name, StatementId="open", **grant)
    return f"/_url/{made.removeprefix('http://').split('.')[0]}"


def ask(server, path="/", headers=(), method="GET"):
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    connection.putrequest(method, server.path + path, skip_accept_encoding=True)
    for name, value in headers:
        connection.putheader(name, value)
    connection.endheaders()
    answer = connection.getresponse()
    return answer, answer.read()


def exchange(server, sent):
    """What comes back until the connection is closed."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as stream:
        answer = b""
        try:
            stream.sendall(sent)
            while part := stream.recv(65536):
                answer += part
        except ConnectionError:
            pass
        return answer


CHUNKED = "POST {path}/first HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    "malformed",
    [
        "POST {path}/first HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "POST {path}/first HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
        "POST {path}/first HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nContent-Length: 0\r\n\r\n",
        "POST {path}/first HTTP/1.1\r\nHost: a\r\nContent-Length: 0, 0\r\n\r\n",
        "POST {path}/first HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        "POST {path}/first HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        "POST {path}/first HTTP/1.1\r\nHost: a\r\nTransfer_Encoding: chunked\r\n\r\n0\r\n\r\n",
        "POST {path}/first HTTP/1.1\r\nHost: a\r\nX: y\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "POST {path}/first HTTP/1.1\r\nHost: a\r\nX: y\r\n z\r\n\r\n",
        "GET {path}/first HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        "GET {path}/first HTTP/1.1\r\n\r\n",
        "GET http://b{path}/first HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET {path}/first HTTP/1.2\r\nHost: a\r\n\r\n",
        "GET {path}/first\r\n",
        "GET {path}/first%00 HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET {path}/first\x00 HTTP/1.1\r\nHost: a\r\n\r\n",
        "TRACE {path}/first HTTP/1.1\r\nHost: a\r\n\r\n",
        "CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n",
        CHUNKED + "1;a\nb\r\nx\r\n0\r\n\r\n",
        CHUNKED + "0x1\r\nx\r\n0\r\n\r\n",
        CHUNKED + "11111111111111111\r\nx\r\n0\r\n\r\n",
        CHUNKED + "0\r\nContent-Length: 5\r\n\r\n",
    ],
)
def test_what_could_be_read_in_two_ways_is_refused(site, malformed):
    answer = exchange(site, malformed.format(path=site.path).encode() + SECOND.replace(b"/second", site.path.encode() + b"/second"))
    statuses = re.findall(rb"HTTP/1\.1 (\d+)", answer)
    assert len(statuses) <= 1 and all(status.startswith(b"4") for status in statuses), answer
    assert b'"path"' not in answer, answer


def test_pipelined_requests_are_answered_in_order(site):
    one = f"GET {site.path}/one HTTP/1.1\r\nHost: a\r\n\r\n"
    two = f"POST {site.path}/two HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
    three = f"GET {site.path}/three HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    answer = exchange(site, (one + two + three).encode()).decode()
    assert re.findall(r'"path": ?"/(\w+)"', answer) == ["one", "two", "three"]


def test_answers_are_compressed_for_who_asks(site):
    plain = b"ephyra " * (50_000 // 7)
    answer, body = ask(site, "/?size=50000")
    assert answer.getheader("content-encoding") is None and body == plain
    assert answer.getheader("vary") == "Accept-Encoding" and answer.getheader("etag") == '"a"'
    answer, body = ask(site, "/?size=50000", [("Accept-Encoding", "gzip, br;q=0")])
    assert answer.getheader("content-encoding") == "gzip" and gzip.decompress(body) == plain
    assert answer.getheader("etag") == 'W/"a"' and int(answer.getheader("content-length")) == len(body)
    answer, body = ask(site, "/?size=50000", [("Accept-Encoding", "gzip;q=0.9, br")])
    assert answer.getheader("content-encoding") == "br" and len(body) < 1000
    answer, body = ask(site, "/?size=70", [("Accept-Encoding", "gzip")])
    assert answer.getheader("content-encoding") is None and body == plain[:70]


def test_compression_can_be_switched_off(own_server):
    server = own_server("--no-compression")
    server.path = open_url(server)
    answer, body = ask(server, "/?size=50000", [("Accept-Encoding", "gzip")])
    assert answer.getheader("content-encoding") is None and len(body) == 49_994


def test_a_trusted_proxy_says_who_the_client_is(site):
    told = [("X-Forwarded-For", "6.6.6.6, 192.0.2.9, 10.3.3.3"), ("X-Forwarded-Proto", "https")]
    _, body = ask(site, "/", told)
    event = json.loads(body)
    assert event["ip"] == "192.0.2.9"
    assert event["headers"]["x-forwarded-for"] == "192.0.2.9"
    assert event["headers"]["x-forwarded-proto"] == "https"


def test_nobody_else_does(own_server):
    server = own_server("--trusted-proxy", "10.0.0.0/8")
    server.path = open_url(server)
    lies = [("X-Forwarded-For", "6.6.6.6"), ("X-Forwarded-Proto", "https"), ("X-Forwarded-Host", "bank.test")]
    _, body = ask(server, "/", [*lies, ("Forwarded", "for=6.6.6.6")])
    event = json.loads(body)
    assert event["ip"] == "127.0.0.1" and event["headers"]["x-forwarded-proto"] == "http"
    assert "6.6.6.6" not in body.decode() and "bank.test" not in body.decode()
