"""HTTP APIs over real HTTP: routes, stages, events, authorizers, throttling, CORS, other servers, domain names, logs."""

import base64
import http.client
import http.server
import json
import pathlib
import re
import ssl
import subprocess
import threading
import time

import boto3
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials

import harness
import oidc
from harness import until

PATIENCE = harness.PATIENCE

# What it does stands in the query; without that it says what it was told.
PYTHON = """
import json, time

def handler(event, context):
    query = event.get("queryStringParameters") or {}
    wanted = query.get("do", "echo")
    if wanted == "plain":
        return {"hello": "world"}
    if wanted == "answer":
        return json.loads(event["body"])
    if wanted == "raise":
        raise ValueError("a secret of the inside")
    if wanted == "nonsense":
        return {"statusCode": "a secret of the inside"}
    if wanted == "wait":
        time.sleep(20)
    return {"statusCode": 200, "headers": {"content-type": "application/json"}, "body": json.dumps(event)}
"""

NODE = """
exports.handler = async (event) => ({
  statusCode: 201,
  headers: { 'x-version': event.version },
  multiValueHeaders: { 'x-many': ['1', '2'] },
  body: Buffer.from(JSON.stringify(event)).toString('base64'),
  isBase64Encoded: true,
});
"""

# Lets in who knows the word; counts its calls by what it says.
AUTHORIZER = """
calls = 0

def handler(event, context):
    global calls
    calls += 1
    word = (event.get("identitySource") or [None])[0]
    if word == "fail":
        raise ValueError("a secret of the inside")
    if word == "nonsense":
        return {"isAuthorized": "a secret of the inside"}
    return {"isAuthorized": word == "sesame", "context": {"calls": calls, "type": event["type"], "arn": event["routeArn"]}}
"""

POLICY = """
def handler(event, context):
    statements = [{"Action": "execute-api:Invoke", "Effect": "Allow", "Resource": event["methodArn"].rsplit("/", 1)[0] + "/*"}]
    if event["identitySource"] == "wicked":
        statements = [{"Action": "execute-api:Invoke", "Effect": "Deny", "Resource": "*"}]
    policy = {"Version": "2012-10-17", "Statement": statements}
    return {"principalId": "user", "policyDocument": policy, "context": {"key": "value", "number": 7}}
"""

LOG = (
    '{"status":"$context.status","route":"$context.routeKey","path":"$context.path","id":"$context.requestId",'
    '"agent":"$context.identity.userAgent","error":"$context.error.message",'
    '"integration":"$context.integrationErrorMessage","authorizer":"$context.authorizer.error",'
    '"sub":"$context.authorizer.claims.sub"}'
)


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


class Api:
    """An HTTP API, configured by boto3 and asked over plain HTTP."""

    def __init__(self, platform, control, **arguments):
        self.platform, self.control = platform, control
        self.id = control.create_api(Name=harness.unique("api"), ProtocolType="HTTP", **arguments)["ApiId"]
        self.host = f"{self.id}.execute-api.{harness.REGION}.localhost:{platform.port}"

    def function(self, name, version="2.0", **arguments):
        arn = f"arn:aws:lambda:{harness.REGION}:{harness.ACCOUNT}:function:{name}"
        made = self.control.create_integration(
            ApiId=self.id, IntegrationType="AWS_PROXY", IntegrationUri=arn, PayloadFormatVersion=version, **arguments
        )
        return made["IntegrationId"]

    def server(self, url, **arguments):
        made = self.control.create_integration(
            ApiId=self.id, IntegrationType="HTTP_PROXY", IntegrationUri=url, PayloadFormatVersion="1.0",
            IntegrationMethod="ANY", **arguments,
        )  # fmt: skip
        return made["IntegrationId"]

    def route(self, key, integration, **arguments):
        self.control.create_route(ApiId=self.id, RouteKey=key, Target=f"integrations/{integration}", **arguments)

    def jwt(self, issuer, source="$request.header.Authorization"):
        made = self.control.create_authorizer(
            ApiId=self.id, Name=harness.unique("jwt"), AuthorizerType="JWT", IdentitySource=[source],
            JwtConfiguration={"Issuer": issuer, "Audience": ["app", "other"]},
        )  # fmt: skip
        return {"AuthorizationType": "JWT", "AuthorizerId": made["AuthorizerId"]}

    def authorizer(self, name, version="2.0", **arguments):
        arn = f"arn:aws:lambda:{harness.REGION}:{harness.ACCOUNT}:function:{name}"
        uri = f"arn:aws:apigateway:{harness.REGION}:lambda:path/2015-03-31/functions/{arn}/invocations"
        made = self.control.create_authorizer(
            ApiId=self.id, Name=harness.unique("lambda"), AuthorizerType="REQUEST", AuthorizerUri=uri,
            AuthorizerPayloadFormatVersion=version, **({"IdentitySource": ["$request.header.X-Word"]} | arguments),
        )  # fmt: skip
        return {"AuthorizationType": "CUSTOM", "AuthorizerId": made["AuthorizerId"]}

    def stage(self, name="$default", **arguments):
        self.control.create_stage(ApiId=self.id, StageName=name, AutoDeploy=True, **arguments)

    def send(self, method="GET", path="/", body=None, headers=(), host=None):
        """Sends one request; `headers` are pairs or a dictionary."""
        connection = http.client.HTTPConnection("127.0.0.1", self.platform.port, timeout=PATIENCE)
        try:
            connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            connection.putheader("Host", host or self.host)
            if body is not None:
                body = body if isinstance(body, bytes) else body.encode()
                connection.putheader("Content-Length", str(len(body)))
            for name, value in dict(headers).items() if isinstance(headers, dict) else headers:
                connection.putheader(name, value)
            connection.endheaders(body)
            return Answer(connection.getresponse())
        finally:
            connection.close()

    def event(self, *arguments, **named):
        answer = self.send(*arguments, **named)
        assert answer.status == 200, answer
        return answer.json


@pytest.fixture(scope="module")
def control(platform):
    return boto3.client(
        "apigatewayv2", endpoint_url=platform.url, region_name=harness.REGION, aws_access_key_id=harness.ACCESS_KEY,
        aws_secret_access_key=harness.SECRET_KEY, config=Config(retries={"total_max_attempts": 1}, read_timeout=PATIENCE),
    )  # fmt: skip


@pytest.fixture(scope="module")
def functions(platform):
    made = {
        "python": platform.create(PYTHON, Timeout=30),
        "node": platform.create(NODE, runtime=platform.node, Timeout=30),
        "authorizer": platform.create(AUTHORIZER, Timeout=10),
        "policy": platform.create(POLICY, Timeout=10),
    }
    yield made
    for name in made.values():
        platform.forget(name)


@pytest.fixture
def api(platform, control):
    """Makes APIs and deletes them."""
    made = []

    def make(**arguments):
        made.append(Api(platform, control, **arguments))
        return made[-1]

    yield make
    for one in made:
        control.delete_api(ApiId=one.id)


@pytest.fixture
def issuer():
    issuer = oidc.Issuer()
    yield issuer
    issuer.close()


@pytest.fixture
def backend():
    """Another server: says what it was asked."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self):
            if self.path.startswith("/slow"):
                self.server.pause.wait(PATIENCE)
                return
            length = int(self.headers.get("Content-Length") or 0)
            said = {
                "method": self.command, "path": self.path, "headers": {k.lower(): v for k, v in self.headers.items()},
                "body": self.rfile.read(length).decode(), "connection": self.client_address[1],
            }  # fmt: skip
            body = json.dumps(said).encode()
            self.send_response(418 if self.path.startswith("/teapot") else 200)
            for name, value in [("X-Back", "end"), ("X-Hop", "1"), ("Connection", "X-Hop"), ("Set-Cookie", "a=1")]:
                self.send_header(name, value)
            self.send_header("Set-Cookie", "b=2")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = answer

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.pause = threading.Event()
    server.daemon_threads = True
    server.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.pause.set()
    server.shutdown()
    server.server_close()


def is_refused(answer, status, message):
    """AWS's status and body, and nothing about the inside."""
    assert (answer.status, answer.json) == (status, {"message": message}), answer
    assert answer.headers["content-type"] == "application/json"
    assert re.fullmatch(r"[\w-]{15}=", answer.headers["apigw-requestid"])
    assert "secret" not in str(answer) and "Traceback" not in str(answer)


# -- routes, stages, events


def test_routes_stages_and_events(platform, control, functions, api):
    a = api()
    python, node = a.function(functions["python"]), a.function(functions["node"], "1.0")
    a.route("GET /pets/{id}", python)
    a.route("GET /pets/dog", node)
    a.route("ANY /files/{path+}", python)
    a.stage()
    a.stage("dev", StageVariables={"color": "blue"})

    event = a.event("GET", "/pets/a%20cat?x=1&x=2", headers={"Cookie": "a=1; b=2", "User-Agent": "me"})
    assert (event["version"], event["routeKey"], event["rawPath"]) == ("2.0", "GET /pets/{id}", "/pets/a cat")
    assert event["pathParameters"] == {"id": "a cat"} and event["cookies"] == ["a=1", "b=2"]
    assert event["queryStringParameters"] == {"x": "1,2"} and "stageVariables" not in event
    context = event["requestContext"]
    assert (context["apiId"], context["accountId"], context["stage"]) == (a.id, harness.ACCOUNT, "$default")
    assert (context["domainName"], context["domainPrefix"]) == (a.host.split(":")[0], a.id)
    assert context["http"]["method"] == "GET" and context["http"]["userAgent"] == "me"

    event = a.event("DELETE", "/dev/files/x/y%2Fz", body="text", headers={"Content-Type": "text/plain"})
    assert event["pathParameters"] == {"path": "x/y/z"} and event["stageVariables"] == {"color": "blue"}
    assert (event["rawPath"], event["body"], event["requestContext"]["stage"]) == ("/dev/files/x/y/z", "text", "dev")

    answer = a.send("GET", "/pets/dog")
    assert (answer.status, answer.headers["x-version"], answer.headers.get_all("x-many")) == (201, "1.0", ["1", "2"])
    assert answer.json["resource"] == "/pets/dog" and answer.json["httpMethod"] == "GET"

    by_path = a.send("GET", f"/_api/{a.id}/dev/pets/1", host=f"127.0.0.1:{platform.port}")
    assert by_path.json["rawPath"] == "/dev/pets/1" and by_path.json["requestContext"]["stage"] == "dev"
    assert a.send("GET", "/pets/x?do=plain").json == {"hello": "world"}
    body = json.dumps({"statusCode": 202, "cookies": ["c=3"], "headers": {"x-a": "b"}, "body": "ok"})
    answer = a.send("PUT", "/files/x?do=answer", body=body, headers={"Content-Type": "application/json"})
    assert (answer.status, answer.headers["set-cookie"], answer.headers["x-a"], answer.body) == (202, "c=3", "b", b"ok")
    # HEAD has the headers of the answer and no body.
    assert (a.send("HEAD", "/files/x").status, a.send("HEAD", "/files/x").body) == (200, b"")

    # A change is seen by the next request.
    control.update_stage(ApiId=a.id, StageName="dev", StageVariables={"color": "red"})
    assert a.event("GET", "/dev/pets/1")["stageVariables"] == {"color": "red"}
    a.route("$default", python)
    assert a.event("POST", "/anything")["routeKey"] == "$default"


def test_what_is_not_there(platform, functions, api):
    a = api()
    a.route("GET /here", a.function(functions["python"]))
    a.stage("dev")
    for method, path in [("GET", "/"), ("GET", "/here"), ("POST", "/dev/here"), ("GET", "/dev"), ("GET", "/dev/other"),
                         ("GET", "/dev/here/"), ("GET", "/$default/here"), ("BREW", "/dev/here")]:  # fmt: skip
        is_refused(a.send(method, path), 404, "Not Found")
    for host in ["abcdefghij", a.id[:-1], ""]:
        host = f"{host}.execute-api.{harness.REGION}.localhost:{platform.port}"
        is_refused(a.send("GET", "/dev/here", host=host), 404, "Not Found")
    other = f"{a.id}.execute-api.us-west-2.localhost:{platform.port}"
    is_refused(a.send("GET", "/dev/here", host=other), 404, "Not Found")
    for path in ["/_api/", "/_api/none/dev/here", f"/_api/{a.id}/prod/here"]:
        is_refused(a.send("GET", path, host=f"127.0.0.1:{platform.port}"), 404, "Not Found")
    assert a.send("GET", "/dev/here").status == 200


def test_a_function_that_fails_is_a_failure_without_a_reason(platform, control, functions, api):
    a = api()
    a.route("ANY /{path+}", a.function(functions["python"], TimeoutInMillis=1500))
    a.route("GET /gone", a.function(functions["python"] + "-gone"))
    control.create_route(ApiId=a.id, RouteKey="GET /nowhere")
    a.stage(AccessLogSettings=log_to("/failures"))
    is_refused(a.send("GET", "/x?do=raise"), 500, "Internal Server Error")
    is_refused(a.send("GET", "/x?do=nonsense"), 500, "Internal Server Error")
    is_refused(a.send("GET", "/gone"), 500, "Internal Server Error")
    is_refused(a.send("GET", "/nowhere"), 500, "Internal Server Error")
    begun = time.monotonic()
    is_refused(a.send("GET", "/x?do=wait"), 503, "Service Unavailable")
    assert time.monotonic() - begun < 15
    is_refused(a.send("POST", "/x", body=b"x" * (5 << 20)), 413, "Request Entity Too Large")
    is_refused(a.send("POST", "/x", body=b"x" * ((10 << 20) + 1)), 413, "Request Entity Too Large")
    # The reasons are in the access log; what the front refused is not.
    lines = read_log(platform, "/failures", 6)
    assert [line["integration"] for line in lines[:5]] == [
        "the function failed: ValueError",
        "the function's answer is no response: the status code is not a number from 200 to 599",
        f"the function cannot be called: {gone(functions)}",
        "the route has no integration",
        "the function has not answered in 1500 ms",
    ]
    assert "more than a function takes" in lines[5]["integration"]


def gone(functions):
    arn = f"arn:aws:lambda:{harness.REGION}:{harness.ACCOUNT}:function:{functions['python']}-gone"
    return f"{arn} does not exist"


# -- access logs


def log_to(group):
    arn = f"arn:aws:logs:{harness.REGION}:{harness.ACCOUNT}:log-group:{group}"
    return {"DestinationArn": arn, "Format": LOG}


def read_log(platform, group, count):
    """The lines of an access log, once there are `count`."""

    def lines():
        found = []
        for folder in pathlib.Path(platform.data, "logs").iterdir():
            if group.strip("/") in folder.name:
                for file in folder.iterdir():
                    text = file.read_text(errors="replace").replace("\\\\", "\\")
                    found += re.findall(r"\{.*\}", text)
        return found if len(found) >= count else None

    return [json.loads(line) for line in until(lines, f"{count} lines in {group}")]


def test_every_request_is_logged_and_cannot_write_its_own_line(platform, functions, api):
    a = api()
    group = "/" + harness.unique("access")
    a.route("GET /a", a.function(functions["python"]))
    a.stage(AccessLogSettings=log_to(group))
    answer = a.send("GET", "/a", headers={"User-Agent": '"} {"status":"forged'})
    a.send("GET", "/%0a%22missing")
    first, second = read_log(platform, group, 2)
    assert (first["status"], first["route"], first["path"]) == ("200", "GET /a", "/a")
    assert first["agent"] == '"} {"status":"forged' and first["id"] == answer.headers["apigw-requestid"]
    assert first["error"] == first["integration"] == "-"
    assert (second["status"], second["route"], second["path"]) == ("404", "-", '/\n"missing')
    assert second["error"] == "there is no route for the method and path"
    shown = [json.loads(line)["message"] for line in platform.command("logs", "--json", group).stdout.splitlines()]
    assert [json.loads(message)["id"] for message in shown] == [first["id"], second["id"]]
    assert platform.command("logs", "/not/there", check=False).returncode != 0


# -- tokens


def test_tokens(platform, functions, api, issuer):
    a = api()
    group = "/" + harness.unique("tokens")
    jwt = a.jwt(issuer.url)
    python = a.function(functions["python"])
    a.route("GET /any", python, **jwt)
    a.route("GET /scoped", python, AuthorizationScopes=["write", "admin"], **jwt)
    a.route("GET /query", python, **a.jwt(issuer.url, "$request.querystring.token"))
    a.stage(AccessLogSettings=log_to(group))

    def ask(token, path="/any"):
        return a.send("GET", path, headers={"Authorization": token})

    event = ask("Bearer " + issuer.token(groups=["a", "b"], scope="read")).json
    claims = event["requestContext"]["authorizer"]["jwt"]["claims"]
    assert (claims["sub"], claims["aud"], claims["groups"]) == ("somebody", "app", "[a b]")
    assert ask(issuer.token(aud=["x", "other"])).status == 200
    assert ask("bearer " + issuer.token(aud=None, client_id="app")).status == 200
    assert a.send("GET", f"/query?token={issuer.token()}").status == 200

    missing = a.send("GET", "/any")
    is_refused(missing, 401, "Unauthorized")
    assert missing.headers["www-authenticate"] == "Bearer"
    now = int(time.time())
    stranger = oidc.key("stranger")
    for token, why in [
        (issuer.token(exp=now - 100), "the token has expired"),
        (issuer.token(nbf=now + 100), "the token is not valid yet"),
        (issuer.token(aud="another"), "the token does not have a valid audience"),
        (issuer.token(iss="https://other.example"), "the token does not have a valid issuer"),
        (issuer.token(exp=None), "the token does not have an expiration time"),
        (issuer.token(stranger, name="one"), "the signature is invalid"),
        (issuer.token(stranger), "the token was signed by an unknown key"),
        (issuer.token(algorithm="HS256"), "the signing method is invalid"),
        (issuer.token(algorithm="none"), "the signing method is invalid"),
        (issuer.token().rsplit(".", 1)[0], "the token contains an invalid number of segments"),
        (issuer.token().rsplit(".", 1)[0] + ".", "the token contains an invalid number of segments"),
        ("nonsense", "the token contains an invalid number of segments"),
        ("a.b.c", "the token cannot be decoded"),
    ]:
        answer = ask(f"Bearer {token}")
        is_refused(answer, 401, "Unauthorized")
        expected = f'Bearer scope="" error="invalid_token" error_description="{why}"'
        assert answer.headers["www-authenticate"] == expected, (answer, why)

    assert ask("Bearer " + issuer.token(scope="read write"), "/scoped").status == 200
    assert ask("Bearer " + issuer.token(scp=["admin"]), "/scoped").status == 200
    for token in [issuer.token(), issuer.token(scope="writer")]:
        is_refused(ask(f"Bearer {token}", "/scoped"), 403, "Forbidden")
    lines = read_log(platform, group, 20)
    assert lines[0]["sub"] == "somebody" and lines[0]["authorizer"] == "-"
    assert [line["authorizer"] for line in lines if line["status"] == "401"][:2] == [
        "the token is missing",
        "the token has expired",
    ]


def test_keys_are_fetched_once_and_again_when_they_change(functions, api, issuer):
    a = api()
    a.route("GET /any", a.function(functions["python"]), **a.jwt(issuer.url))
    a.stage()
    token = {"Authorization": issuer.token()}
    for _ in range(5):
        assert a.send("GET", "/any", headers=token).status == 200
    assert issuer.fetches == 1
    issuer.keys = [oidc.key("two")]
    assert a.send("GET", "/any", headers={"Authorization": issuer.token()}).status == 200
    assert issuer.fetches == 2
    # What the old key has signed is not good any longer, though it was remembered.
    assert a.send("GET", "/any", headers=token).status == 401
    for _ in range(20):
        stranger = issuer.token(oidc.key("stranger"), name=harness.unique("key"))
        assert a.send("GET", "/any", headers={"Authorization": stranger}).status == 401
    assert issuer.fetches <= 5, "a stranger has had keys fetched without end"


def test_an_issuer_that_is_not_there_lets_nobody_in(functions, api, issuer):
    a = api()
    nobody = f"http://127.0.0.1:{harness.free_port()}"
    a.route("GET /any", a.function(functions["python"]), **a.jwt(nobody))
    a.stage()
    answer = a.send("GET", "/any", headers={"Authorization": issuer.token(iss=nobody)})
    is_refused(answer, 401, "Unauthorized")
    assert "OIDC discovery endpoint communication error" in answer.headers["www-authenticate"]


# -- other authorizers


def test_a_function_says_who_may_call(platform, functions, api):
    a = api()
    python = a.function(functions["python"])
    kept = a.authorizer(functions["authorizer"], EnableSimpleResponses=True, AuthorizerResultTtlInSeconds=300)
    asked = a.authorizer(functions["authorizer"], EnableSimpleResponses=True, AuthorizerResultTtlInSeconds=0)
    policy = a.authorizer(functions["policy"], "1.0", AuthorizerResultTtlInSeconds=300)
    a.route("GET /kept/{id}", python, **kept)
    a.route("GET /asked", python, **asked)
    a.route("GET /policy/{id}", python, **policy)
    a.route("GET /other", python, **policy)
    a.stage()

    def ask(path, word):
        return a.send("GET", path, headers={"X-Word": word})

    said = [ask(f"/kept/{n}", "sesame").json["requestContext"]["authorizer"]["lambda"] for n in range(3)]
    assert said[0]["type"] == "REQUEST" and said[0]["arn"].endswith(f"{a.id}/$default/GET/kept/0")
    assert said[0] == said[1] == said[2], "an answer was not remembered"
    calls = [ask("/asked", "sesame").json["requestContext"]["authorizer"]["lambda"]["calls"] for _ in range(3)]
    assert len(set(calls)) == 3 or calls == [1, 1, 1], calls
    for path in ["/kept/1", "/asked"]:
        is_refused(ask(path, "abracadabra"), 403, "Forbidden")
        is_refused(a.send("GET", path), 401, "Unauthorized")
        is_refused(ask(path, "fail"), 500, "Internal Server Error")
        is_refused(ask(path, "nonsense"), 500, "Internal Server Error")
    said = ask("/policy/1", "anybody").json["requestContext"]["authorizer"]["lambda"]
    assert (said["key"], said["number"], said["principalId"]) == ("value", 7, "user")
    # The policy was for what is below /policy.
    is_refused(ask("/other", "anybody"), 403, "Forbidden")
    is_refused(ask("/policy/1", "wicked"), 403, "Forbidden")


def test_who_has_credentials_signs(platform, functions, api):
    a = api()
    a.route("POST /signed", a.function(functions["python"]), AuthorizationType="AWS_IAM")
    a.stage()

    def ask(service="execute-api", secret=harness.SECRET_KEY, body=b"hello", sent=None):
        url = f"http://{a.host}/signed?x=1"
        request = AWSRequest("POST", url, headers={"Host": a.host, "Content-Type": "text/plain"}, data=body)
        SigV4Auth(Credentials(harness.ACCESS_KEY, secret), service, harness.REGION).add_auth(request)
        headers = {name: value for name, value in request.headers.items() if name.lower() != "host"}
        return a.send("POST", "/signed?x=1", body=sent or body, headers=headers)

    answer = ask()
    assert answer.status == 200, answer
    iam = answer.json["requestContext"]["authorizer"]["iam"]
    assert (iam["accessKey"], iam["accountId"]) == (harness.ACCESS_KEY, harness.ACCOUNT)
    assert answer.json["body"] == "hello" and "authorization" not in answer.json["headers"]
    for wrong in [ask(service="lambda"), ask(secret="x" * 40), ask(sent=b"other"), a.send("POST", "/signed?x=1")]:
        is_refused(wrong, 403, "Forbidden")


# -- throttling, CORS


def test_throttling(control, functions, api):
    a = api()
    python = a.function(functions["python"])
    for path in ["a", "b"]:
        a.route(f"GET /{path}", python)
    limits = {"ThrottlingBurstLimit": 2, "ThrottlingRateLimit": 0.01}
    a.stage(RouteSettings={"GET /a": limits})
    assert [a.send("GET", "/a").status for _ in range(4)] == [200, 200, 429, 429]
    is_refused(a.send("GET", "/a"), 429, "Too Many Requests")
    assert [a.send("GET", "/b").status for _ in range(4)] == [200] * 4
    control.update_stage(ApiId=a.id, StageName="$default", RouteSettings={}, DefaultRouteSettings=limits)
    assert sorted(a.send("GET", path).status for path in ["/b", "/b", "/b", "/b"]) == [200, 200, 429, 429]


def test_pages_of_other_origins(functions, api):
    a = api(CorsConfiguration={
        "AllowOrigins": ["https://app.example", "http://localhost:3000"], "AllowMethods": ["GET", "POST"],
        "AllowHeaders": ["authorization"], "ExposeHeaders": ["x-total"], "MaxAge": 300, "AllowCredentials": True,
    })  # fmt: skip
    a.route("GET /a", a.function(functions["python"]))
    a.stage()
    asks = {"Origin": "https://app.example", "Access-Control-Request-Method": "GET"}
    preflight = a.send("OPTIONS", "/a", headers=asks)
    assert (preflight.status, preflight.body) == (204, b"")
    assert preflight.headers["access-control-allow-origin"] == "https://app.example"
    assert preflight.headers["access-control-allow-methods"] == "GET,POST"
    assert preflight.headers["access-control-max-age"] == "300"
    answer = a.send("GET", "/a", headers={"Origin": "https://app.example"})
    assert answer.headers["access-control-allow-origin"] == "https://app.example"
    assert answer.headers["access-control-expose-headers"] == "x-total"
    assert answer.headers["access-control-allow-credentials"] == "true"
    for answer in [a.send("GET", "/a", headers={"Origin": "https://evil.example"}), a.send("GET", "/a")]:
        assert answer.status == 200 and "access-control-allow-origin" not in answer.headers


# -- other servers


def test_another_server_behind_an_api(platform, api, backend):
    a = api()
    a.route("ANY /p/{rest+}", a.server(
        f"{backend.url}/base/{{rest}}",
        RequestParameters={
            "overwrite:header.x-who": "$context.identity.sourceIp", "remove:header.x-drop": "''",
            "append:querystring.stage": "${stageVariables.name}-${request.path.rest}",
        },
        ResponseParameters={"200": {"overwrite:header.x-new": "$response.header.x-back", "remove:header.x-back": "''"},
                            "418": {"overwrite:statuscode": "200"}},
    ))  # fmt: skip
    a.route("GET /teapot", a.server(f"{backend.url}/teapot", ResponseParameters={
        "418": {"overwrite:statuscode": "202", "append:header.x-from": "$response.body.method"},
    }))  # fmt: skip
    a.route("POST /fixed", a.server(f"{backend.url}/fixed?k=v"))
    a.route("$default", a.server(backend.url))
    a.stage("dev", StageVariables={"name": "blue"})

    sent = {"X-Who": "root", "X-Drop": "1", "X-Keep": "1", "X-Forwarded-For": "6.6.6.6", "Forwarded": "for=6.6.6.6",
            "X-Real-Ip": "6.6.6.6", "Connection": "x-secret, x-who", "X-Secret": "1", "TE": "trailers"}  # fmt: skip
    answers = [a.send("PATCH", "/dev/p/a/b%20c?q=1", body="body", headers=sent) for _ in range(3)]
    for answer in answers:
        assert answer.status == 200, answer
        said = answer.json
        assert (said["method"], said["path"]) == ("PATCH", "/base/a/b%20c?q=1&stage=blue-a%2Fb%20c")
        assert said["body"] == "body"
        assert said["headers"]["x-who"] == "127.0.0.1" and said["headers"]["x-keep"] == "1"
        assert not {"x-drop", "x-secret", "te", "x-real-ip"} & set(said["headers"])
        assert said["headers"]["x-forwarded-for"] == "127.0.0.1" and "6.6.6.6" not in str(said)
        assert said["headers"]["x-forwarded-host"] == a.host and said["headers"]["host"] in backend.url
        assert answer.headers["x-new"] == "end" and "x-hop" not in answer.headers
        assert "x-back" not in answer.headers and answer.headers.get_all("set-cookie") == ["a=1", "b=2"]
    assert len({answer.json["connection"] for answer in answers}) == 1, "connections are not used again"

    answer = a.send("GET", "/dev/teapot")
    assert (answer.status, answer.headers["x-from"]) == (202, "GET")
    assert a.send("POST", "/dev/fixed?a=b", body="x").json["path"] == "/fixed?k=v&a=b"
    assert a.send("PUT", "/dev/what/ever?a=b", body="").json["path"] == "/what/ever?a=b"
    is_refused(a.send("GET", "/dev/p/x/../../secret"), 400, "Bad Request")
    is_refused(a.send("GET", "/dev/p/x/%2e%2e/%2e%2e/secret"), 400, "Bad Request")


def test_a_server_that_is_not_there_or_slow_is_unavailable(platform, api, backend):
    a = api()
    group = "/" + harness.unique("servers")
    a.route("GET /slow", a.server(f"{backend.url}/slow", TimeoutInMillis=300))
    a.route("GET /gone", a.server(f"http://127.0.0.1:{harness.free_port()}"))
    a.stage(AccessLogSettings=log_to(group))
    is_refused(a.send("GET", "/slow"), 503, "Service Unavailable")
    is_refused(a.send("GET", "/gone"), 503, "Service Unavailable")
    slow, gone = read_log(platform, group, 2)
    assert slow["integration"] == "the server has not answered in time"
    assert gone["integration"].startswith("the server could not be reached")


# -- domain names


def test_custom_domain_names(platform, control, functions, api):
    a, b = api(), api()
    for one in (a, b):
        one.route("GET /x", one.function(functions["python"]))
        one.route("GET /", one.function(functions["python"]))
        one.stage()
        one.stage("v2")
    name = f"{harness.unique('d')}.example.com"
    certificate = f"arn:aws:acm:{harness.REGION}:{harness.ACCOUNT}:certificate/x"
    control.create_domain_name(DomainName=name, DomainNameConfigurations=[
        {"CertificateArn": certificate, "EndpointType": "REGIONAL", "SecurityPolicy": "TLS_1_2"},
    ])  # fmt: skip
    try:
        is_refused(a.send("GET", "/x", host=name), 404, "Not Found")
        mapped = {"orders": (a, "$default"), "orders/v2": (a, "v2"), "": (b, "$default")}
        for key, (one, stage) in mapped.items():
            control.create_api_mapping(DomainName=name, ApiId=one.id, Stage=stage, ApiMappingKey=key)
        for path, one, stage in [("/orders/x", a, "$default"), ("/orders/v2/x", a, "v2"), ("/orders", a, "$default"),
                                 ("/x", b, "$default")]:  # fmt: skip
            event = a.event("GET", path, host=name.upper())
            context = event["requestContext"]
            assert (context["apiId"], context["stage"]) == (one.id, stage), path
            assert event["rawPath"] == path
        is_refused(a.send("GET", "/ordersx/x", host=name), 404, "Not Found")
        control.update_api(ApiId=b.id, DisableExecuteApiEndpoint=True)
        is_refused(b.send("GET", "/x"), 404, "Not Found")
        assert a.send("GET", "/x", host=name).status == 200
        # The platform's own addresses stay what they are.
        assert control.get_apis()["Items"]
    finally:
        control.delete_domain_name(DomainName=name)
    # A host that is nobody's is asked what AWS's APIs are asked: for a signature.
    assert a.send("GET", "/x", host=name).status == 403


def test_a_deleted_api_is_gone_at_once(platform, control, functions, api):
    a = Api(platform, control)
    a.route("GET /x", a.function(functions["python"]))
    a.stage()
    assert a.send("GET", "/x").status == 200
    control.delete_api(ApiId=a.id)
    is_refused(a.send("GET", "/x"), 404, "Not Found")


def test_bodies_of_bytes(functions, api):
    a = api()
    a.route("POST /x", a.function(functions["python"]))
    a.stage()
    event = a.event("POST", "/x", body=bytes(range(256)), headers={"Content-Type": "application/octet-stream"})
    assert event["isBase64Encoded"] and base64.b64decode(event["body"]) == bytes(range(256))


# -- TLS


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    """An authority of our own, and a certificate of it for `localhost`: the files (authority, certificate and key)."""
    folder = tmp_path_factory.mktemp("authority")

    def openssl(*arguments):
        subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True, cwd=folder)

    openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", "ca.key",
            "-out", "ca.pem", "-subj", "/CN=e2e", "-days", "2")  # fmt: skip
    openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", "own.key",
            "-out", "own.csr", "-subj", "/CN=localhost")  # fmt: skip
    (folder / "names").write_text("subjectAltName=DNS:localhost\nextendedKeyUsage=serverAuth\nbasicConstraints=CA:FALSE\n")
    openssl("x509", "-req", "-in", "own.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2",
            "-extfile", "names", "-out", "own.pem")  # fmt: skip
    (folder / "both.pem").write_text((folder / "own.pem").read_text() + (folder / "own.key").read_text())
    return folder / "ca.pem", folder / "both.pem"


def test_servers_and_issuers_over_tls_are_believed_by_their_authority(own_server, authority, backend, issuer):
    ca, both = authority
    for server in (backend, issuer.server):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(both)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    url = f"https://localhost:{backend.server_port}"
    issuer.url = f"https://localhost:{issuer.server.server_port}"
    trusting, other = own_server("--trust", ca), own_server()
    for platform, status in [(trusting, 200), (other, 503)]:
        control = boto3.client("apigatewayv2", endpoint_url=platform.url, region_name=harness.REGION,
                               aws_access_key_id=harness.ACCESS_KEY, aws_secret_access_key=harness.SECRET_KEY)  # fmt: skip
        a = Api(platform, control)
        a.route("GET /open", a.server(url))
        a.route("GET /wrong", a.server(url.replace("localhost", "127.0.0.1")))
        a.route("GET /closed", a.server(url), **a.jwt(issuer.url))
        a.stage()
        assert a.send("GET", "/open").status == status
        # The certificate is for another name.
        is_refused(a.send("GET", "/wrong"), 503, "Service Unavailable")
        token = {"Authorization": issuer.token()}
        assert a.send("GET", "/closed", headers=token).status == (200 if status == 200 else 401)
