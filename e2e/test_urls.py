"""Function URLs over real HTTP: events, answers, streams, signatures, CORS, errors."""

import base64
import http.client
import json
import re
import socket
import subprocess
import threading
import time

import pytest
from botocore.auth import SigV4Auth, SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

import harness
from harness import until

PATIENCE = harness.PATIENCE

# One function for most tests: what it does stands in the query.
PYTHON = """
import base64, json, sys

def handler(event, context):
    wanted = event.get("queryStringParameters", {}).get("do", "echo")
    if wanted == "echo":
        event["arn"] = context.invoked_function_arn
        return event
    if wanted == "return":
        body = event["body"]
        if event["isBase64Encoded"]:
            body = base64.b64decode(body).decode()
        return json.loads(body)
    if wanted == "size":
        body = event.get("body", "")
        if event["isBase64Encoded"]:
            body = base64.b64decode(body)
        return {"length": len(body), "base64": event["isBase64Encoded"]}
    if wanted == "large":
        return {"statusCode": 200, "body": "x" * int(event["queryStringParameters"]["bytes"])}
    if wanted == "raise":
        raise ValueError("a secret of the inside")
    if wanted == "exit":
        sys.exit(3)
    if wanted == "wait":
        import time
        time.sleep(60)
"""

NODE = """
const { HttpResponseStream } = awslambda;
const nap = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

exports.handler = awslambda.streamifyResponse(async (event, stream) => {
  const query = event.queryStringParameters ?? {};
  switch (query.do) {
    case 'plain':
      stream.write('one ');
      stream.write('two');
      break;
    case 'typed':
      stream.setContentType('text/event-stream');
      stream.write('data: 1\\n\\n');
      break;
    case 'pause':
      stream = HttpResponseStream.from(stream, { statusCode: 200, headers: { 'Content-Type': 'text/plain' } });
      stream.write('first\\n');
      await nap(1500);
      stream.write(`${Date.now()}\\n`);
      break;
    case 'large': {
      const part = Buffer.alloc(256 * 1024, 'x');
      for (let left = Number(query.bytes); left > 0; left -= part.length) {
        if (!stream.write(left < part.length ? part.subarray(0, left) : part)) {
          await new Promise((resolve) => stream.once('drain', resolve));
        }
      }
      break;
    }
    case 'early':
      throw new Error('a secret of the inside');
    case 'late':
      stream.write('begun');
      await nap(50);
      throw new Error('a secret of the inside');
    case 'nonsense':
      stream = HttpResponseStream.from(stream, { statusCode: 99 });
      stream.write('body');
      break;
    default:
      stream = HttpResponseStream.from(stream, {
        statusCode: 418,
        headers: { 'Content-Type': 'application/json', 'X-Number': 7, Connection: 'x-number' },
        cookies: ['a=1; Path=/', 'b=2'],
      });
      stream.write(JSON.stringify(event));
  }
  stream.end();
  await new Promise((resolve) => stream.once('finish', resolve));
});
"""

BUFFERED_NODE = """
exports.handler = async (event) => ({ statusCode: 201, headers: { 'x-a': 'b' }, body: 'hello' });
"""


class Url:
    """A function URL and how it is asked: by its host, unless it is said to be by its path."""

    def __init__(self, platform, name, qualifier=None, auth="NONE", is_open=True, **arguments):
        self.platform = platform
        if qualifier:
            arguments["Qualifier"] = qualifier
        made = platform.lambda_.create_function_url_config(FunctionName=name, AuthType=auth, **arguments)
        if is_open and auth == "NONE":
            more = {"Qualifier": qualifier} if qualifier else {}
            platform.lambda_.add_permission(
                FunctionName=name, StatementId="open", Action="lambda:InvokeFunctionUrl", Principal="*",
                FunctionUrlAuthType="NONE", **more,
            )  # fmt: skip
        self.host = made["FunctionUrl"].removeprefix("http://").rstrip("/")
        self.id = self.host.split(".")[0]

    def send(self, method="GET", path="/", body=None, headers=(), host=None):
        """Sends one request; `headers` are pairs. Gives the answer, read to its end."""
        connection = http.client.HTTPConnection("127.0.0.1", self.platform.port, timeout=PATIENCE)
        try:
            connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            connection.putheader("Host", host or self.host)
            if body is not None:
                connection.putheader("Content-Length", str(len(body)))
            for name, value in headers:
                connection.putheader(name, value)
            connection.endheaders(body)
            return Answer(connection.getresponse())
        finally:
            connection.close()

    def event(self, *arguments, **named):
        """The event that a request became; the function echoes it."""
        answer = self.send(*arguments, **named)
        assert answer.status == 200, answer
        return answer.json

    def signed(self, method, path, body=b"", headers=(), host=None, secret=harness.SECRET_KEY, service="lambda"):
        """The headers of a request with a signature."""
        host = host or self.host
        request = AWSRequest(method, f"http://{host}{path}", headers={"Host": host, **dict(headers)}, data=body)
        SigV4Auth(Credentials(harness.ACCESS_KEY, secret), service, harness.REGION).add_auth(request)
        return [(name, value) for name, value in request.headers.items() if name.lower() != "host"]


class Answer:
    def __init__(self, response):
        self.status = response.status
        self.headers = response.headers
        self.body = response.read()

    @property
    def json(self):
        return json.loads(self.body)

    def __repr__(self):
        return f"{self.status} {dict(self.headers)} {self.body[:500]!r}"


@pytest.fixture(scope="module")
def python(platform):
    name = platform.create(PYTHON, Timeout=30, MemorySize=256)
    yield name
    platform.forget(name)


@pytest.fixture(scope="module")
def node(platform):
    name = platform.create(NODE, runtime=platform.node, Timeout=60, MemorySize=512)
    yield name
    platform.forget(name)


@pytest.fixture(scope="module")
def url(platform, python):
    return Url(platform, python)


@pytest.fixture(scope="module")
def stream(platform, node):
    return Url(platform, node, InvokeMode="RESPONSE_STREAM")


# -- the event


def test_all_of_the_event(platform, python, url):
    event = url.event(
        "POST",
        "/a%20b/%C3%BC?x=1&y=%26&x=2+3&empty",
        '{"ü": "\\n"}'.encode(),
        [
            ("Content-Type", "application/json; charset=utf-8"),
            ("X-Twice", "one"),
            ("Cookie", "a=1; b=2"),
            ("x-twice", "two, three"),
            ("User-Agent", "e2e/1"),
            ("Authorization", "Bearer token"),
            ("X-Forwarded-For", "6.6.6.6"),
            ("X-Forwarded-Host", "evil.example"),
            ("X-Forwarded-Proto", "https"),
        ],
    )
    context = event["requestContext"]
    assert (event["version"], event["routeKey"], event["isBase64Encoded"]) == ("2.0", "$default", False)
    assert (event["rawPath"], event["rawQueryString"]) == ("/a%20b/%C3%BC", "x=1&y=%26&x=2+3&empty")
    assert event["queryStringParameters"] == {"x": "1,2 3", "y": "&", "empty": ""}
    assert event["cookies"] == ["a=1", "b=2"]
    assert event["body"] == '{"ü": "\\n"}'
    trace = event["headers"].pop("x-amzn-trace-id")
    assert re.match(r"Root=1-[0-9a-f]{8}-[0-9a-f]{24}", trace)
    assert event["headers"] == {
        "authorization": "Bearer token",
        "content-length": "12",
        "content-type": "application/json; charset=utf-8",
        "cookie": "a=1; b=2",
        "host": url.host,
        "user-agent": "e2e/1",
        "x-forwarded-for": "127.0.0.1",
        "x-forwarded-port": str(platform.port),
        "x-forwarded-proto": "http",
        "x-twice": "one,two, three",
    }
    assert context["http"] == {
        "method": "POST", "path": "/a%20b/%C3%BC", "protocol": "HTTP/1.1", "sourceIp": "127.0.0.1", "userAgent": "e2e/1",
    }  # fmt: skip
    assert (context["accountId"], context["apiId"], context["domainPrefix"]) == ("anonymous", url.id, url.id)
    assert context["domainName"] == url.host.split(":")[0]
    assert (context["stage"], context["routeKey"]) == ("$default", "$default")
    assert re.fullmatch(r"\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d \+0000", context["time"])
    assert isinstance(context["timeEpoch"], int) and "authorizer" not in context
    assert event["arn"].endswith(f":function:{python}")


def test_a_bare_request_has_nothing_that_says_nothing(url):
    event = url.event()
    assert set(event) == {
        "version", "routeKey", "rawPath", "rawQueryString", "headers", "requestContext", "isBase64Encoded", "arn",
    }  # fmt: skip
    assert (event["rawPath"], event["rawQueryString"]) == ("/", "")


@pytest.mark.parametrize(
    "content_type, body, is_base64",
    [
        ("text/plain", b"plain", False),
        ("application/json", b"{}", False),
        ("application/xml", b"<a/>", False),
        ("application/x-www-form-urlencoded", b"a=b", True),
        ("application/octet-stream", bytes(range(256)), True),
        ("text/plain", b"\xff\xfe", True),
        (None, b"plain", True),
    ],
)
def test_bodies_are_text_or_base64(url, content_type, body, is_base64):
    headers = [("Content-Type", content_type)] if content_type else []
    event = url.event("PUT", "/", body, headers)
    assert event["isBase64Encoded"] is is_base64
    assert (base64.b64decode(event["body"]) if is_base64 else event["body"].encode()) == body


def test_an_address_by_its_path_is_the_same_url(platform, url):
    host = f"127.0.0.1:{platform.port}"
    event = url.event("GET", f"/_url/{url.id}/a/b%2Fc?x=y", host=host)
    assert (event["rawPath"], event["rawQueryString"]) == ("/a/b%2Fc", "x=y")
    assert event["requestContext"]["apiId"] == url.id and event["headers"]["host"] == host
    assert url.event("GET", f"/_url/{url.id}", host=host)["rawPath"] == "/"


def test_an_alias_has_a_url_of_its_own(platform, python, url):
    client = platform.lambda_
    version = client.publish_version(FunctionName=python)["Version"]
    client.create_alias(FunctionName=python, Name="live", FunctionVersion=version)
    live = Url(platform, python, "live")
    assert live.id != url.id
    assert live.event()["arn"].endswith(f":function:{python}:live")
    client.delete_alias(FunctionName=python, Name="live")
    assert live.send().status == 403


# -- the answer


@pytest.mark.parametrize(
    "returned, body",
    [
        ('{"hello":"world"}', '{"hello": "world"}'),
        ('["hello",3,true]', '["hello", 3, true]'),
        ('"hello"', "hello"),
        ('"say \\"hi\\" \\u00fc"', 'say "hi" ü'),
        ("3", "3"),
        ("3.1", "3.1"),
        ("true", "true"),
        ("null", "null"),
        ('{"statusCode":200,"body":"body123"}', "body123"),
        ('{"statusCode":"200","body":"{\\"hello\\":\\"world\\"}"}', '{"hello":"world"}'),
        ('{"statusCode":200,"body":{"a":1}}', '{"a": 1}'),
        ('{"statusCode":200}', ""),
    ],
)
def test_what_an_answer_means(url, returned, body):
    answer = url.send("POST", "/?do=return", returned.encode(), [("Content-Type", "text/plain")])
    assert (answer.status, answer.body.decode()) == (200, body)
    assert answer.headers["Content-Type"] == "application/json"
    assert re.fullmatch("[0-9a-f-]{36}", answer.headers["x-amzn-RequestId"])
    assert answer.headers["X-Amzn-Trace-Id"].startswith("Root=1-")


def returning(url, value, method="POST", **named):
    return url.send(method, "/?do=return", json.dumps(value).encode(), [("Content-Type", "text/plain")], **named)


def test_status_headers_cookies_and_bytes(url):
    answer = returning(
        url,
        {
            "statusCode": 418,
            "headers": {"Content-Type": "image/x", "X-A": 1, "X-B": True, "Connection": "close", "Keep-Alive": "x"},
            "multiValueHeaders": {"X-C": ["ignored"]},
            "cookies": ["a=1; Path=/", "b=2"],
            "body": base64.b64encode(bytes(range(256))).decode(),
            "isBase64Encoded": True,
        },
    )
    assert (answer.status, answer.body) == (418, bytes(range(256)))
    assert (answer.headers["Content-Type"], answer.headers["X-A"], answer.headers["X-B"]) == ("image/x", "1", "true")
    assert answer.headers.get_all("Set-Cookie") == ["a=1; Path=/", "b=2"]
    assert not {"connection", "keep-alive", "x-c"} & {name.lower() for name in answer.headers}


@pytest.mark.parametrize(
    "returned",
    [
        {"statusCode": 99},
        {"statusCode": "nonsense"},
        {"statusCode": 200, "headers": {"a b": "c"}},
        {"statusCode": 200, "headers": {"a": "b\r\nSet-Cookie: c"}},
        {"statusCode": 200, "cookies": ["a\nb"]},
        {"statusCode": 200, "body": "!", "isBase64Encoded": True},
    ],
)
def test_nonsense_is_a_bad_gateway(url, returned):
    answer = returning(url, returned)
    assert (answer.status, answer.body) == (502, b"Internal Server Error")


def test_no_answer_to_head_and_204_has_a_body(url):
    head = url.send("HEAD", "/?do=large&bytes=1000")
    assert (head.status, head.body, head.headers["Content-Length"]) == (200, b"", "1000")
    answer = returning(url, {"statusCode": 204, "body": "x"})
    assert (answer.status, answer.body) == (204, b"")


@pytest.mark.parametrize("wanted", ["raise", "exit"])
def test_a_failure_tells_nothing_of_the_inside(url, wanted):
    answer = url.send("GET", f"/?do={wanted}")
    assert (answer.status, answer.body) == (502, b"Internal Server Error")
    assert "secret" not in str(answer.headers)


def test_a_time_out_tells_nothing_of_the_inside(platform, function):
    url = Url(platform, function(PYTHON, Timeout=1))
    answer = url.send("GET", "/?do=wait")
    assert (answer.status, answer.body) == (502, b"Internal Server Error")


def test_a_function_without_concurrency_is_throttled(platform, function):
    name = function(PYTHON)
    url = Url(platform, name)
    assert url.send().status == 200
    platform.lambda_.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=0)
    answer = url.send()
    assert (answer.status, answer.json) == (429, {"message": "Rate Exceeded."})
    assert answer.headers["x-amzn-ErrorType"] == "TooManyRequestsException"


def test_large_bodies_both_ways(url):
    text = b"x" * 6_200_000
    answer = url.send("POST", "/?do=size", text, [("Content-Type", "text/plain")])
    assert answer.json == {"length": len(text), "base64": False}
    binary = bytes(4_600_000)
    assert url.send("POST", "/?do=size", binary).json == {"length": len(binary), "base64": True}
    answer = url.send("GET", "/?do=large&bytes=6200000")
    assert (answer.status, len(answer.body)) == (200, 6_200_000)
    # In base64 it would be too large for an event, and the other is too large as it is.
    for body in (bytes(5_000_000), b"x" * 6_291_457):
        answer = url.send("POST", "/?do=size", body)
        assert answer.status == 413, answer
        assert answer.headers["x-amzn-ErrorType"] == "RequestEntityTooLargeException"
    answer = url.send("GET", "/?do=large&bytes=6300000")
    assert (answer.status, answer.body) == (502, b"Internal Server Error")


# -- who may


def test_nobody_is_behind_an_unknown_host(platform, url):
    answer = url.send(host=f"{'x' * 32}.lambda-url.{platform.region}.localhost")
    assert (answer.status, answer.json) == (403, {"Message": None})
    assert answer.headers["x-amzn-ErrorType"] == "AccessDeniedException"
    assert answer.headers["x-amzn-RequestId"]
    other_region = url.host.replace(platform.region, "us-west-1")
    assert url.send(host=other_region).status == 403


def test_a_url_is_closed_until_its_policy_opens_it(platform, function):
    name = function(PYTHON)
    url = Url(platform, name, is_open=False)
    answer = url.send()
    assert answer.status == 403
    assert answer.json["Message"].startswith("Forbidden. For troubleshooting Function URL authorization issues, see: ")
    arguments = {"FunctionName": name, "StatementId": "open"}
    platform.lambda_.add_permission(
        **arguments, Action="lambda:InvokeFunctionUrl", Principal="*", FunctionUrlAuthType="NONE"
    )
    assert url.send().status == 200
    platform.lambda_.remove_permission(**arguments)
    assert url.send().status == 403


def test_who_has_to_sign_does_so_by_host_and_by_path(platform, function):
    url = Url(platform, function(PYTHON), auth="AWS_IAM")
    for path, host in [
        ("/a%20b?x=1&y=%2F", url.host),
        (f"/_url/{url.id}/a%20b?x=1&y=%2F", f"127.0.0.1:{platform.port}"),
    ]:
        event = url.event("PUT", path, b"body", url.signed("PUT", path, b"body", host=host), host)
        assert event["requestContext"]["accountId"] == platform.account
        assert event["requestContext"]["authorizer"]["iam"] == {
            "accessKey": harness.ACCESS_KEY,
            "accountId": platform.account,
            "callerId": platform.account,
            "cognitoIdentity": None,
            "principalOrgId": None,
            "userArn": f"arn:aws:iam::{platform.account}:root",
            "userId": platform.account,
        }
        assert "authorization" not in event["headers"] and "x-amz-date" in event["headers"]
        for other in ({"secret": "x" * 40}, {"service": "execute-api"}):
            headers = url.signed("PUT", path, b"body", host=host, **other)
            answer = url.send("PUT", path, b"body", headers, host)
            assert answer.status == 403, answer
            assert answer.headers["x-amzn-ErrorType"] == "InvalidSignatureException"
        headers = url.signed("PUT", path, b"body", host=host)
        assert url.send("PUT", path, b"other", headers, host).status == 403
        assert url.send("PUT", path + "&z", b"body", headers, host).status == 403
    request = AWSRequest("GET", f"http://{url.host}/p", headers={"Host": url.host})
    SigV4QueryAuth(Credentials(harness.ACCESS_KEY, harness.SECRET_KEY), "lambda", harness.REGION).add_auth(request)
    assert url.event("GET", request.url.removeprefix(f"http://{url.host}"))["rawPath"] == "/p"
    answer = url.send()
    assert (answer.status, answer.headers["x-amzn-ErrorType"]) == (403, "AccessDeniedException")


def test_pages_of_other_origins(platform, function):
    cors = {
        "AllowCredentials": True,
        "AllowHeaders": ["x-a", "content-type"],
        "AllowMethods": ["GET", "PUT"],
        "AllowOrigins": ["https://a.example"],
        "ExposeHeaders": ["x-b"],
        "MaxAge": 60,
    }
    url = Url(platform, function(PYTHON), Cors=cors)
    ask = [("Access-Control-Request-Method", "PUT"), ("Access-Control-Request-Headers", "x-a")]
    answer = url.send("OPTIONS", headers=[("Origin", "https://a.example"), *ask])
    assert (answer.status, answer.body) == (200, b"")
    for name, value in [
        ("Allow-Origin", "https://a.example"),
        ("Allow-Credentials", "true"),
        ("Allow-Methods", "GET,PUT"),
        ("Allow-Headers", "x-a,content-type"),
        ("Max-Age", "60"),
    ]:
        assert answer.headers[f"Access-Control-{name}"] == value
    answer = url.send(headers=[("Origin", "https://a.example")])
    assert (answer.status, answer.headers["Vary"]) == (200, "Origin")
    assert answer.headers["Access-Control-Allow-Origin"] == "https://a.example"
    assert answer.headers["Access-Control-Expose-Headers"] == "x-b"
    for method, more in (("GET", []), ("OPTIONS", ask)):
        answer = url.send(method, headers=[("Origin", "https://b.example"), *more])
        assert answer.status == 200 and "Access-Control-Allow-Origin" not in answer.headers


# -- streams


def test_a_streamed_answer_has_status_headers_and_cookies(stream):
    answer = stream.send("POST", "/p?a=b", b"x", [("Cookie", "c=d")])
    assert answer.status == 418
    assert (answer.headers["Content-Type"], answer.headers["X-Number"]) == ("application/json", "7")
    assert answer.headers.get_all("Set-Cookie") == ["a=1; Path=/", "b=2"]
    assert "Connection" not in answer.headers and answer.headers["x-amzn-RequestId"]
    assert (answer.json["rawPath"], answer.json["body"], answer.json["cookies"]) == ("/p", "eA==", ["c=d"])


def test_a_stream_without_a_prelude_is_bytes(stream):
    answer = stream.send(path="/?do=plain")
    assert (answer.status, answer.body, answer.headers["Content-Type"]) == (200, b"one two", "application/octet-stream")
    answer = stream.send(path="/?do=typed")
    assert (answer.body, answer.headers["Content-Type"]) == (b"data: 1\n\n", "text/event-stream")


def test_the_first_part_arrives_while_the_function_waits(stream):
    connection = http.client.HTTPConnection("127.0.0.1", stream.platform.port, timeout=PATIENCE)
    connection.request("GET", "/?do=pause", headers={"Host": stream.host})
    answer = connection.getresponse()
    assert answer.readline() == b"first\n"
    received = time.time() * 1000
    # Both clocks are this machine's.
    assert received < int(answer.readline())
    connection.close()


def test_a_large_stream_takes_no_memory(stream):
    server, _ = stream.platform.parts()

    def resident():
        with open(f"/proc/{server}/status") as status:
            return int(re.search(r"VmRSS:\s+(\d+) kB", status.read())[1])

    total, before, seen = 120_000_000, resident(), 0
    connection = http.client.HTTPConnection("127.0.0.1", stream.platform.port, timeout=PATIENCE)
    connection.request("GET", f"/?do=large&bytes={total}", headers={"Host": stream.host})
    answer = connection.getresponse()
    most = 0
    while part := answer.read(1 << 20):
        seen += len(part)
        most = max(most, resident())
    connection.close()
    assert seen == total
    assert most - before < 32_000, f"{before} kB before, {most} kB meanwhile"


def test_a_stream_that_fails_is_refused_or_broken_off(stream):
    for wanted in ("early", "nonsense"):
        answer = stream.send(path=f"/?do={wanted}")
        assert (answer.status, answer.body) == (502, b"Internal Server Error"), wanted
    with pytest.raises(http.client.IncompleteRead) as caught:
        stream.send(path="/?do=late")
    assert caught.value.partial == b"begun"


def test_who_goes_away_leaves_the_function_whole(stream):
    with socket.create_connection(("127.0.0.1", stream.platform.port)) as s:
        s.sendall(f"GET /?do=large&bytes=60000000 HTTP/1.1\r\nHost: {stream.host}\r\n\r\n".encode())
        assert s.recv(100).startswith(b"HTTP/1.1 200 OK\r\n")
    assert stream.send(path="/?do=plain").body == b"one two"


def test_each_kind_of_function_behind_each_kind_of_url(platform, function, node):
    buffered = Url(platform, function(BUFFERED_NODE, runtime=platform.node), InvokeMode="RESPONSE_STREAM")
    answer = buffered.send()
    assert (answer.status, answer.headers["Content-Type"]) == (200, "application/json")
    assert answer.json == {"statusCode": 201, "headers": {"x-a": "b"}, "body": "hello"}
    platform.lambda_.publish_version(FunctionName=node)
    platform.lambda_.create_alias(FunctionName=node, Name="whole", FunctionVersion="1")
    streaming = Url(platform, node, "whole")
    answer = streaming.send("GET", "/p")
    assert (answer.status, answer.json["rawPath"], answer.headers["X-Number"]) == (418, "/p", "7")
    answer = streaming.send(path="/?do=plain")
    assert (answer.status, answer.body) == (200, b"one two")


# -- the protocol


def test_many_requests_on_one_connection(url):
    with socket.create_connection(("127.0.0.1", url.platform.port), timeout=PATIENCE) as s:
        for number in range(3):
            s.sendall(f"GET /{number} HTTP/1.1\r\nHost: {url.host}\r\n\r\n".encode())
            answer = http.client.HTTPResponse(s, method="GET")
            answer.begin()
            assert json.loads(answer.read())["rawPath"] == f"/{number}"
        # Written in chunks, after it was told to go on.
        s.sendall(
            f"POST /?do=size HTTP/1.1\r\nHost: {url.host}\r\nExpect: 100-continue\r\n"
            "Transfer-Encoding: chunked\r\n\r\n".encode()
        )
        assert s.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        s.sendall(b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")
        answer = http.client.HTTPResponse(s, method="POST")
        answer.begin()
        assert json.loads(answer.read()) == {"length": 5, "base64": True}


def test_there_is_no_upgrade_to_web_sockets(url):
    headers = [
        ("Connection", "Upgrade"), ("Upgrade", "websocket"), ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ]  # fmt: skip
    answer = url.send(headers=headers)
    # It is a request as any other.
    assert answer.status == 200 and "Upgrade" not in answer.headers
    assert not {"upgrade", "connection"} & answer.json["headers"].keys()


HTTP2 = """
const http2 = require('http2');
const [port, host, ...paths] = process.argv.slice(1);
const session = http2.connect(`http://127.0.0.1:${port}`);
session.on('error', (error) => { throw error; });
const ask = (path) => new Promise((resolve, reject) => {
  const request = session.request({ ':authority': host, ':path': path, ':method': 'POST', cookie: ['a=1', 'b=2'] });
  let body = '', head;
  request.on('response', (headers) => { head = headers; });
  request.on('data', (data) => { body += data; });
  request.on('end', () => resolve([head, body]));
  request.on('error', reject);
  request.end('abc');
});
Promise.all(paths.map(ask)).then((all) => { console.log(JSON.stringify(all)); session.close(); });
"""


def test_http2_without_asking_first(url, stream):
    for target, paths in ((url, ["/one", "/two"]), (stream, ["/one", "/?do=plain"])):
        command = ["node", "-e", HTTP2, str(url.platform.port), target.host, *paths]
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
        assert done.returncode == 0, done.stderr
        (head, body), (_, other) = json.loads(done.stdout)
        event = json.loads(body)
        assert event["rawPath"] == "/one" and event["headers"]["host"] == target.host
        assert (event["requestContext"]["http"]["protocol"], event["body"]) == ("HTTP/2.0", "YWJj")
        assert event["cookies"] == ["a=1", "b=2"] and head["x-amzn-requestid"]
        assert other == "one two" if target is stream else json.loads(other)["rawPath"] == "/two"


def test_many_at_once(url):
    results = harness.together([lambda n=n: url.event("GET", f"/{n}")["rawPath"] for n in range(40)], threads=8)
    assert results == [f"/{n}" for n in range(40)]


def test_a_platform_that_goes_down_finishes_what_runs(own_server):
    server = own_server()
    url = Url(server, server.create(NODE, runtime=server.node, Timeout=30))
    assert url.send(path="/?do=plain").status == 200
    answers = []
    thread = threading.Thread(target=lambda: answers.append(url.send(path="/?do=pause")))
    thread.start()
    until(lambda: server.guests(), "the function to run")
    server.process.terminate()
    thread.join(PATIENCE)
    assert answers and answers[0].status == 200 and answers[0].body.startswith(b"first\n")
    server.process.wait(PATIENCE)
