"""`[[route]]` in an ephyra.toml: an HTTP API of the function's own."""

import http.server
import json
import threading
import urllib.error
import urllib.request

import boto3
import pytest

import harness

SOURCE = """import json
def handler(event, context):
    print('called')
    return {'route': event['routeKey'], 'id': (event.get('pathParameters') or {}).get('id')}
"""


@pytest.fixture(scope="module")
def gateway(platform):
    return boto3.client(
        "apigatewayv2", endpoint_url=platform.url, region_name=platform.region,
        aws_access_key_id=harness.ACCESS_KEY, aws_secret_access_key=harness.SECRET_KEY,
    )  # fmt: skip


@pytest.fixture
def project(platform, tmp_path):
    """Makes a folder with a function whose settings end with a text; deletes what was deployed from it."""
    names = []

    def write(name, settings):
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        (folder / "app.py").write_text(SOURCE)
        (folder / "ephyra.toml").write_text(f'name = "{name}"\nruntime = "{platform.python}"\n{settings}\n')
        return folder

    def make(settings):
        name = platform.unique("routes")
        names.append(name)
        return name, write(name, settings)

    make.write = write
    yield make
    for name in names:
        platform.command("delete", name, "--yes", check=False)


def route(method, path, more=""):
    return f'[[route]]\nmethod = "{method}"\npath = "{path}"\n{more}\n'


def ask(address, method="GET", path="", headers=None):
    """Status and document of an answer."""
    request = urllib.request.Request(address.rstrip("/") + path, method=method, headers=headers or {})
    try:
        with urllib.request.urlopen(request, timeout=harness.PATIENCE) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as refused:
        return refused.code, json.loads(refused.read() or b"null")


def apis_of(gateway, name):
    return [api for api in gateway.get_apis()["Items"] if api["Tags"].get("ephyra:function") == name]


def test_routes_come_change_and_go(platform, project, gateway):
    name, folder = project(route("GET", "/notes") + route("GET", "/notes/{id}"))
    deployed = json.loads(platform.command("deploy", folder, "--json").stdout)
    address = deployed["ApiEndpointPath"]
    (api,) = apis_of(gateway, name)
    assert deployed["ApiEndpoint"] == api["ApiEndpoint"] + "/"
    assert ask(address, path="/notes") == (200, {"route": "GET /notes", "id": None})
    assert ask(address, path="/notes/7") == (200, {"route": "GET /notes/{id}", "id": "7"})
    assert ask(address, "POST", "/notes")[0] == 404
    shown = platform.command("open", name, "--print").stdout.strip()
    assert shown in (address, deployed["ApiEndpoint"])
    assert api["ApiEndpoint"] in platform.command("list").stdout

    def state():
        (api,) = apis_of(gateway, name)
        stage = gateway.get_stage(ApiId=api["ApiId"], StageName="$default")
        return api["ApiId"], stage["DeploymentId"]

    before = state()
    # Nothing has changed: nothing is deployed.
    assert platform.command("deploy", folder).stdout.count("_api/") == 1
    assert state() == before
    project.write(name, route("ANY", "/notes") + route("POST", "/new"))
    platform.command("deploy", folder)
    assert state()[0] == before[0] and state()[1] != before[1]
    assert ask(address, "POST", "/notes")[1]["route"] == "ANY /notes"
    assert ask(address, "POST", "/new")[0] == 200
    assert ask(address, path="/notes/7")[0] == 404
    assert len(gateway.get_deployments(ApiId=before[0])["Items"]) == 1, "former deployments are gone"
    # What somebody else has done to it is set right.
    for found in gateway.get_routes(ApiId=before[0])["Items"]:
        if found["RouteKey"] == "POST /new":
            gateway.delete_route(ApiId=before[0], RouteId=found["RouteId"])
    platform.command("deploy", folder)
    assert {r["RouteKey"] for r in gateway.get_routes(ApiId=before[0])["Items"]} == {"ANY /notes", "POST /new"}
    project.write(name, "")
    platform.command("deploy", folder)
    assert apis_of(gateway, name) == []
    assert ask(address, path="/notes")[0] in (403, 404)


def test_who_may_come(platform, project, gateway):
    name, folder = project(
        '[jwt]\nissuer = "https://issuer.example"\naudience = "notes"\n'
        + route("GET", "/open")
        + route("GET", "/mine", 'auth = "jwt"\nscopes = ["read"]')
        + route("POST", "/mine", 'auth = "jwt"\nissuer = "https://other.example"\naudience = ["a", "b"]')
        + route("GET", "/signed", 'auth = "iam"')
    )
    address = json.loads(platform.command("deploy", folder, "--json").stdout)["ApiEndpointPath"]
    (api,) = apis_of(gateway, name)
    routes = {r["RouteKey"]: r for r in gateway.get_routes(ApiId=api["ApiId"])["Items"]}
    kinds = {key: r["AuthorizationType"] for key, r in routes.items()}
    assert kinds == {"GET /open": "NONE", "GET /mine": "JWT", "POST /mine": "JWT", "GET /signed": "AWS_IAM"}
    assert routes["GET /mine"]["AuthorizationScopes"] == ["read"]
    found = gateway.get_authorizers(ApiId=api["ApiId"])["Items"]
    authorizers = {a["AuthorizerId"]: a["JwtConfiguration"] for a in found}
    assert authorizers == {
        routes["GET /mine"]["AuthorizerId"]: {"Issuer": "https://issuer.example", "Audience": ["notes"]},
        routes["POST /mine"]["AuthorizerId"]: {"Issuer": "https://other.example", "Audience": ["a", "b"]},
    }
    assert ask(address, path="/open")[0] == 200
    assert ask(address, path="/mine")[0] == 401
    assert ask(address, path="/signed")[0] == 403
    # Open from now on, without authorizers.
    project.write(name, route("GET", "/mine"))
    platform.command("deploy", folder)
    assert ask(address, path="/mine")[0] == 200
    assert gateway.get_authorizers(ApiId=api["ApiId"])["Items"] == []


@pytest.fixture
def elsewhere():
    """Another server, which says what it was asked and by whom; its address."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            body = json.dumps({"path": self.path, "owner": self.headers.get_all("x-owner")}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_a_route_may_lead_to_another_server(platform, project, gateway, elsewhere):
    def to(owner):
        return route("GET", "/n/{id}", f'to = "{elsewhere}/notes/{{id}}"\nheaders = {{ x-owner = "{owner}" }}')

    name, folder = project(to("$context.stage") + route("GET", "/own"))
    address = json.loads(platform.command("deploy", folder, "--json").stdout)["ApiEndpointPath"]
    # What the client says of it does not go on.
    assert ask(address, path="/n/7", headers={"x-owner": "eve"}) == (200, {"path": "/notes/7", "owner": ["$default"]})
    assert ask(address, path="/own")[1]["route"] == "GET /own"
    project.write(name, to("me"))
    platform.command("deploy", folder)
    assert ask(address, path="/n/7")[1]["owner"] == ["me"]
    project.write(name, route("GET", "/n/{id}"))
    platform.command("deploy", folder)
    assert ask(address, path="/n/7")[1]["route"] == "GET /n/{id}"
    (api,) = apis_of(gateway, name)
    assert [i["IntegrationType"] for i in gateway.get_integrations(ApiId=api["ApiId"])["Items"]] == ["AWS_PROXY"]


def test_an_interrupted_deployment_is_ended_by_the_next(platform, project, gateway):
    name, folder = project(route("GET", "/a"))
    address = json.loads(platform.command("deploy", folder, "--json").stdout)["ApiEndpointPath"]
    (api,) = apis_of(gateway, name)
    # As if it had ended between the edits and the deployment.
    (found,) = gateway.get_routes(ApiId=api["ApiId"])["Items"]
    gateway.update_route(ApiId=api["ApiId"], RouteId=found["RouteId"], RouteKey="GET /b")
    assert ask(address, path="/a")[0] == 200, "what is deployed counts"
    project.write(name, route("GET", "/b"))
    platform.command("deploy", folder)
    assert ask(address, path="/b")[0] == 200 and ask(address, path="/a")[0] == 404


def test_what_is_wrong_is_named(platform, project, gateway):
    for settings, want in (
        (route("GET", "notes"), "begins with a slash"),
        (route("GET", "/a", 'auth = "jwt"'), "issuer"),
        (route("GET", "/a", 'auth = "basic"'), "basic"),
        (route("GET", "/a") + route("get", "/a"), "two routes"),
    ):
        name, folder = project(settings)
        done = platform.command("deploy", folder, check=False)
        assert done.returncode != 0 and want in done.stderr, done.stderr
        assert apis_of(gateway, name) == []


def test_delete_takes_the_routes_along(platform, project, gateway):
    name, folder = project(route("ANY", "$default") + 'method = "ANY"\n')
    # A setting twice is no setting.
    assert platform.command("deploy", folder, check=False).returncode != 0
    project.write(name, '[[route]]\npath = "$default"\n')
    address = json.loads(platform.command("deploy", folder, "--json").stdout)["ApiEndpointPath"]
    assert ask(address, path="/what/ever") == (200, {"route": "$default", "id": None})
    platform.command("delete", name, "--yes")
    assert apis_of(gateway, name) == []
