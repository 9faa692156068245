"""The applications in examples/, deployed and used as their READMEs say."""

import base64
import contextlib
import hashlib
import hmac
import http.client
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import time
import urllib.parse
from concurrent.futures import ThreadPoolExecutor

import boto3
import pytest

import harness

EXAMPLES = harness.HERE.parent / "examples"
# Where scripts/test installs what the examples' package.json names.
PACKAGES = pathlib.Path(os.environ.get("EPHYRA_E2E_EXAMPLES") or EXAMPLES)


class Answer:
    def __init__(self, answer):
        self.status = answer.status
        self.headers = {name.lower(): value for name, value in answer.getheaders()}
        self.body = answer.read()

    def json(self):
        return json.loads(self.body)

    def __repr__(self):
        return f"{self.status} {self.headers} {self.body!r}"


def ask(address, method="GET", path="", body=None, **headers):
    """One request; headers as names with `_` for `-`."""
    url = urllib.parse.urlsplit(address.rstrip("/") + path)
    connection = http.client.HTTPConnection(url.hostname, url.port, timeout=harness.PATIENCE)
    if isinstance(body, dict | list):
        body, headers = json.dumps(body), {"content_type": "application/json"} | headers
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    target = url.path + (f"?{url.query}" if url.query else "")
    with contextlib.closing(connection):
        connection.request(method, target or "/", body.encode() if isinstance(body, str) else body, headers)
        return Answer(connection.getresponse())


def elsewhere(settings, ports):
    """Settings that name programs of this test's: `ports` maps the ports that they name to those of this test's."""
    for usual, own in ports.items():
        assert f"127.0.0.1:{usual}" in settings, usual
        settings = settings.replace(f"127.0.0.1:{usual}", f"127.0.0.1:{own}")
    return settings


@pytest.fixture
def deployed(platform, tmp_path):
    """Deploys a copy of an example under a name of this test's own; gives the folder and what `ephyra deploy` says."""
    names = []

    def deploy(example, environment=None, ports=None):
        folder = tmp_path / example
        shutil.copytree(EXAMPLES / example, folder, ignore=shutil.ignore_patterns("node_modules", "__pycache__"))
        if (folder / "package.json").exists():
            packages = PACKAGES / example / "node_modules"
            assert packages.is_dir(), f"{packages} is not there: run scripts/test, or npm ci in examples/{example}"
            shutil.copytree(packages, folder / "node_modules", symlinks=True)
        settings = (folder / "ephyra.toml").read_text()
        settings = elsewhere(settings, ports or {})
        name = platform.unique(example)
        settings, count = re.subn(r'(?m)^name = ".*"$', f'name = "{name}"', settings)
        assert count == 1
        (folder / "ephyra.toml").write_text(settings)
        names.append(name)
        return folder, json.loads(platform.command("deploy", folder, "--json", environment=environment).stdout)

    yield deploy
    for name in names:
        platform.command("delete", name, "--yes", check=False)


@pytest.fixture
def beside(tmp_path):
    """Starts a program that runs beside the platform; gives the address that it says it serves, and its process."""
    running = []

    def start(*command):
        log = open(tmp_path / f"beside-{len(running)}.log", "wb")  # noqa: SIM115 - closed below
        process = subprocess.Popen(
            [str(part) for part in command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, text=True
        )
        running.append((process, log))
        line = process.stdout.readline()
        found = re.search(r"http://127\.0\.0\.1:\d+", line)
        assert found, f"{command} says {line!r}: {pathlib.Path(log.name).read_text()}"
        return found[0], process

    yield start
    for process, log in running:
        process.kill()
        process.wait()
        process.stdout.close()
        log.close()


# -- graphql


CART_KEY = "0123456789abcdef0123456789abcdef"
MEDIA_TYPE = "application/graphql-response+json"


@pytest.fixture
def bookshop(deployed):
    return deployed("graphql", {"CART_KEY": CART_KEY})[1]["FunctionUrlPath"]


def query(address, text, variables=None, **headers):
    return ask(address, "POST", "", {"query": text, "variables": variables or {}}, **headers)


def test_graphql_queries_and_mutations(bookshop):
    answer = query(bookshop, '{ books(search: "wells", first: 1) { books { title author { name } } next } }')
    assert (answer.status, answer.headers["content-type"]) == (200, "application/json; charset=utf-8")
    page = answer.json()["data"]["books"]
    assert page["books"] == [{"title": "The Time Machine", "author": {"name": "H. G. Wells"}}]
    rest = query(
        bookshop,
        'query($n: String) { books(search: "wells", after: $n) { books { title } next } }',
        {"n": page["next"]},
    ).json()["data"]["books"]
    assert rest == {"books": [{"title": "The War of the Worlds"}], "next": None}

    put = 'mutation($t: String, $c: Int!) { putIntoCart(token: $t, isbn: "9780141439976", copies: $c) { token total } }'
    cart = query(bookshop, put, {"c": 2}).json()["data"]["putIntoCart"]
    assert cart["total"] == 2 * 699
    look = "query($t: String!) { cart(token: $t) { total lines { copies book { title } } } }"
    # As a link that a browser opens.
    got = ask(
        bookshop, path="?" + urllib.parse.urlencode({"query": look, "variables": json.dumps({"t": cart["token"]})})
    )
    assert got.json()["data"]["cart"]["lines"] == [{"copies": 2, "book": {"title": "The Time Machine"}}]
    emptied = query(bookshop, put, {"t": cart["token"], "c": 0}).json()["data"]["putIntoCart"]
    assert emptied["total"] == 0
    # Who has no key cannot make a cart, nor change one.
    content, signature = cart["token"].split(".")
    for forged in (f"{content}.{signature[::-1]}", f"{content}A.{signature}", content, "", "x" * 10_000):
        refused = query(bookshop, look, {"t": forged}).json()
        assert (refused["data"], refused["errors"][0]["message"]) == (None, "This is no cart of ours."), forged


def test_graphql_in_a_browser(bookshop):
    page = ask(bookshop, accept="text/html,application/xhtml+xml;q=0.9,*/*;q=0.8")
    assert (page.status, page.headers["content-type"]) == (200, "text/html; charset=utf-8"), page
    assert page.body == (EXAMPLES / "graphql" / "page.html").read_bytes()
    assert ask(bookshop).status == 400


def test_graphql_refuses_what_is_too_much_or_wrong(bookshop):
    schema = query(bookshop, "{ __schema { queryType { name } types { name } } }").json()["data"]["__schema"]
    assert schema["queryType"] == {"name": "Query"} and {"name": "Cart"} in schema["types"]

    def refused(text, variables=None):
        answer = query(bookshop, text, variables, accept=MEDIA_TYPE)
        assert (answer.status, answer.headers["content-type"]) == (400, f"{MEDIA_TYPE}; charset=utf-8"), answer
        assert "data" not in answer.json()
        return answer.json()["errors"][0]["message"]

    assert 'Cannot query field "nope"' in refused("{ nope }")
    assert "Syntax Error" in refused("{")
    assert "token" in refused("{ " + "a " * 3000 + "}")
    around = "author { books(first: 1) { " * 5 + "title" + " } }" * 5
    assert "levels deep" in refused("{ book(isbn: 1) { " + around + " } }")
    wide = "query($n: Int = 50) { books(first: $n) { books { author { books(first: $n) { title } } } } }"
    assert "fields" in refused(wide) and "fields" in refused(wide, {"n": 40})
    # A fragment that is used twice in one that is used twice … costs no time to refuse.
    bombs = "".join(f"fragment f{i} on Author {{ ...f{i + 1} ...f{i + 1} }} " for i in range(60))
    assert "fields" in refused("{ author(id: 1) { ...f0 } } " + bombs + "fragment f60 on Author { id }")
    assert "$t" in refused("query($t: String!) { cart(token: $t) { total } }")
    # Who does not know of the media type gets 200, as ever.
    assert query(bookshop, "{ nope }").status == 200

    mutation = urllib.parse.urlencode({"query": 'mutation { putIntoCart(isbn: "1", copies: 1) { total } }'})
    by_get = ask(bookshop, path=f"?{mutation}")
    assert (by_get.status, by_get.headers["allow"]) == (405, "POST")
    assert ask(bookshop, "PUT").status == 405
    assert ask(bookshop, "POST", "", "query={books}", content_type="application/x-www-form-urlencoded").status == 415
    assert ask(bookshop, "POST", "", "{", content_type="application/json").status == 400
    assert ask(bookshop, "POST", "", "[]", content_type="application/json").status == 400
    assert ask(bookshop, "POST", "", {"query": "#" * 70_000}).status == 413
    # Nothing of the inside goes out.
    unknown = query(bookshop, 'mutation { putIntoCart(isbn: "1", copies: 1) { total } }').json()
    assert unknown["errors"][0]["message"] == "There is no such book."


# -- bots


SECRETS = {
    "SLACK_SIGNING_SECRET": "8f742231b10e8888abcd99yyyzzz85a5",
    "TELEGRAM_SECRET_TOKEN": "told-to-telegram-alone",
    "MESSENGER_APP_SECRET": "meta-app-secret",
    "MESSENGER_VERIFY_TOKEN": "verify-me",
}


@pytest.fixture
def bots(deployed):
    return deployed("bots", SECRETS)[1]["ApiEndpointPath"]


def digest(key, message):
    return hmac.new(SECRETS[key].encode(), message, hashlib.sha256).hexdigest()


def slack(address, body, at=None, sign=None, kind="application/x-www-form-urlencoded"):
    at = str(int(time.time()) if at is None else at)
    signature = "v0=" + digest("SLACK_SIGNING_SECRET", f"v0:{at}:{body if sign is None else sign}".encode())
    return ask(
        address, "POST", "/slack", body, content_type=kind, x_slack_request_timestamp=at, x_slack_signature=signature
    )


def test_bots_slack(bots):
    answer = slack(bots, "command=%2Froll&text=2d6%2B1&user_id=U1")
    assert answer.status == 200 and answer.json()["response_type"] == "in_channel", answer
    a, b, total = map(int, re.fullmatch(r"([1-6]) \+ ([1-6]) \+ 1 = (\d+)", answer.json()["text"]).groups())
    assert a + b + 1 == total
    assert "2d6" in slack(bots, "command=%2Froll&text=999d9999").json()["text"]

    hello = json.dumps({"type": "url_verification", "challenge": "3eZbrw1a", "token": "old"})
    assert slack(bots, hello, kind="application/json").json() == {"challenge": "3eZbrw1a"}
    happened = json.dumps({"type": "event_callback", "team_id": "T1", "event": {"type": "app_mention"}})
    assert slack(bots, happened, kind="application/json").status == 200

    now = int(time.time())
    for refused in (
        slack(bots, "text=d6", sign="text=d20"),
        slack(bots, "text=d6", at=now - 301),
        slack(bots, "text=d6", at=now + 400),
        slack(bots, "text=d6", at="soon"),
        ask(bots, "POST", "/slack", "text=d6"),
    ):
        assert refused.status == 401, refused


def test_bots_telegram(bots):
    update = {"update_id": 1, "message": {"message_id": 7, "chat": {"id": -42, "type": "group"}, "text": "/roll d20"}}
    token = {"x_telegram_bot_api_secret_token": SECRETS["TELEGRAM_SECRET_TOKEN"]}
    answer = ask(bots, "POST", "/telegram", update, **token).json()
    assert (answer["method"], answer["chat_id"], answer["reply_parameters"]["message_id"]) == ("sendMessage", -42, 7)
    assert re.fullmatch(r"(\d+) = \1", answer["text"])
    edited = ask(bots, "POST", "/telegram", {"update_id": 2, "edited_message": {}}, **token)
    assert (edited.status, edited.body) == (200, b"")
    assert ask(bots, "POST", "/telegram", "{", **token).status == 400
    assert ask(bots, "POST", "/telegram", update).status == 401
    assert (
        ask(bots, "POST", "/telegram", update, x_telegram_bot_api_secret_token="told-to-telegram-alonf").status == 401
    )


def test_bots_messenger(platform, bots):
    def verify(**parameters):
        return ask(bots, path="/messenger?" + urllib.parse.urlencode({f"hub.{k}": v for k, v in parameters.items()}))

    asked = verify(mode="subscribe", verify_token="verify-me", challenge="1158201444")
    assert (asked.status, asked.body) == (200, b"1158201444"), asked
    assert asked.headers["content-type"].startswith("text/plain")
    assert verify(mode="subscribe", verify_token="verify-you", challenge="1").status == 403
    assert verify(mode="subscribe", verify_token="verify-me", challenge="<script>").status == 400
    assert verify().status == 403

    event = {"sender": {"id": "PSID"}, "message": {"mid": "m", "text": "größer als 3d6"}}
    body = json.dumps({"object": "page", "entry": [{"messaging": [event]}]}, ensure_ascii=False)
    signature = "sha256=" + digest("MESSENGER_APP_SECRET", body.encode())
    sent = ask(bots, "POST", "/messenger", body, content_type="application/json", x_hub_signature_256=signature)
    assert (sent.status, sent.body) == (200, b"EVENT_RECEIVED"), sent
    forged = ask(bots, "POST", "/messenger", body + " ", content_type="application/json", x_hub_signature_256=signature)
    assert forged.status == 401
    assert ask(bots, "POST", "/messenger", body).status == 401


def test_bots_without_secrets_let_nobody_in(deployed):
    bots = deployed("bots")[1]["ApiEndpointPath"]
    assert ask(bots, "POST", "/telegram", {}, x_telegram_bot_api_secret_token="").status == 503
    assert slack(bots, "text=d6").status == 503
    assert ask(bots, path="/messenger?hub.verify_token=").status == 503
    # What is no bot is nobody's.
    assert ask(bots, "POST", "/whatsapp", {}).status == 404


# -- rest


@pytest.fixture
def notes(deployed, beside, tmp_path):
    """The API with all that stands behind it: ask(user, method, path, …), and how to start the store anew."""
    issuer, _ = beside("node", EXAMPLES / "rest" / "issuer.mjs", 0)
    port = harness.free_port()
    said = deployed("rest", ports={9000: issuer.rpartition(":")[2], 8081: port})[1]

    class Notes:
        address = said["ApiEndpointPath"]
        tokens = {}

        def store(self):
            return beside(
                "node", EXAMPLES / "rest" / "store.mjs", said["FunctionUrlPath"], tmp_path / "notes.jsonl", port
            )[1]

        def token(self, user, **claims):
            key = (user, *claims.items())
            if key not in self.tokens:
                parameters = urllib.parse.urlencode({"user": user} | claims)
                self.tokens[key] = ask(issuer, path=f"/token?{parameters}").body.decode()
            return self.tokens[key]

        def ask(self, user, method="GET", path="/notes", body=None, claims=None, **headers):
            bearer = f"Bearer {self.token(user, **(claims or {}))}"
            return ask(self.address, method, path, body, authorization=bearer, **headers)

    notes = Notes()
    notes.process = notes.store()
    return notes


def test_rest_create_read_update_delete(notes):
    made = notes.ask("ada", "POST", body={"title": "Milk", "text": "two bottles"})
    assert (made.status, made.headers["etag"]) == (201, '"1"'), made
    note = made.json()
    path = "/" + made.headers["location"]
    assert path == f"/notes/{note['id']}" and (note["title"], note["version"]) == ("Milk", 1)

    read = notes.ask("ada", path=path)
    assert (read.status, read.headers["etag"], read.json()) == (200, '"1"', note)
    same = notes.ask("ada", path=path, if_none_match='"0", W/"1"')
    assert (same.status, same.body) == (304, b"")

    blind = notes.ask("ada", "PUT", path, {"title": "Bread"})
    assert blind.status == 428 and blind.headers["content-type"].startswith("application/problem+json"), blind
    changed = notes.ask("ada", "PUT", path, {"title": "Bread"}, if_match='"1"')
    assert (changed.status, changed.headers["etag"]) == (200, '"2"'), changed
    assert changed.json() == note | {"title": "Bread", "text": "", "version": 2, "changed": changed.json()["changed"]}
    for method, body in (("PUT", {"title": "Mine"}), ("DELETE", None)):
        assert notes.ask("ada", method, path, body, if_match='"1"').status == 412

    # Nobody else's, whatever they say they are.
    for method, body in (("GET", None), ("PUT", {"title": "Mine"}), ("DELETE", None)):
        assert notes.ask("eve", method, path, body, if_match="*", notes_owner="ada").status == 404
    assert notes.ask("eve", notes_owner="ada").json() == {"notes": []}

    # What was acknowledged is there after a kill.
    notes.process.kill()
    notes.process.wait()
    assert notes.ask("ada", path=path).status == 503
    notes.process = notes.store()
    assert notes.ask("ada", path=path).json() == changed.json()

    gone = notes.ask("ada", "DELETE", path, if_match='"2"')
    assert (gone.status, gone.body) == (204, b"")
    assert notes.ask("ada", path=path).status == 404
    assert notes.ask("ada", "DELETE", path).status == 404


def test_rest_pages(notes):
    ids = [notes.ask("ada", "POST", body={"title": f"note {i}"}).json()["id"] for i in range(5)]
    assert ids == sorted(ids)
    seen, path = [], "/notes?limit=2"
    for _ in range(3):
        page = notes.ask("ada", path=path)
        seen.append([note["title"] for note in page.json()["notes"]])
        if "next" in page.json():
            assert page.headers["link"] == f'<{page.json()["next"]}>; rel="next"'
            path = "/notes" + page.json()["next"]
    assert seen == [["note 0", "note 1"], ["note 2", "note 3"], ["note 4"]] and "link" not in page.headers
    for limit in ("0", "51", "x", "-1", "1e1"):
        assert notes.ask("ada", path=f"/notes?limit={limit}").status == 400, limit


def test_rest_refuses_what_is_not_right(notes):
    def refused(status, body, **headers):
        answer = notes.ask("ada", "POST", body=body, **headers)
        assert (answer.status, answer.json()["status"]) == (status, status), answer
        return answer.json()

    assert refused(422, {"title": " ", "text": 1, "colour": "red"})["errors"].keys() == {"title", "text", "colour"}
    assert "title" in refused(422, {"title": "x" * 201})["errors"]
    assert refused(422, '{"title": "x", "__proto__": {}, "constructor": 1}', content_type="application/json")
    refused(400, "{", content_type="application/json")
    refused(400, "[]", content_type="application/json")
    refused(400, "null", content_type="application/json")
    refused(415, "title=x", content_type="application/x-www-form-urlencoded")
    assert notes.ask("ada", "POST", body={"title": "x", "text": "y" * 70_000}).status == 413

    # The token is the API's to judge.
    api = notes.address
    assert ask(api, path="/notes").status == 401
    assert ask(api, path="/notes", authorization="Bearer x.y.z").status == 401
    token = notes.token("ada")
    assert ask(api, path="/notes", authorization=f"Bearer {token[:-8]}AAAAAAAA").status == 401
    for claims in ({"audience": "others"}, {"lifetime": -3600}):
        assert notes.ask("ada", claims=claims).status == 401, claims
    reader = {"scope": "notes:read"}
    assert notes.ask("ada", claims=reader).status == 200
    assert notes.ask("ada", "POST", body={"title": "x"}, claims=reader).status == 403
    assert notes.ask("ada", path="/secrets").status == 404
    assert notes.ask("ada", "PATCH").status == 404


def test_rest_one_of_many_changes_at_once_wins(notes):
    path = "/" + notes.ask("ada", "POST", body={"title": "0"}).headers["location"]
    notes.token("ada")
    with ThreadPoolExecutor(6) as pool:
        change = lambda i: notes.ask("ada", "PUT", path, {"title": str(i)}, if_match='"1"')  # noqa: E731
        answers = list(pool.map(change, range(6)))
    assert sorted(answer.status for answer in answers) == [200] + [412] * 5
    won = next(answer.json() for answer in answers if answer.status == 200)
    assert notes.ask("ada", path=path).json() == won


# -- legacy


@pytest.fixture
def warehouse(platform, deployed, beside):
    """The API in front of the old service, made as the README says; the process of the service; the function's URL."""
    service, process = beside(sys.executable, EXAMPLES / "legacy" / "service.py", 0)
    folder, said = deployed("legacy")
    relay, _ = beside(sys.executable, EXAMPLES / "legacy" / "relay.py", said["FunctionUrlPath"], service, 0)
    document = elsewhere(
        (folder / "api.json").read_text(), {8082: service.rpartition(":")[2], 8083: relay.rpartition(":")[2]}
    )
    apis = boto3.client(
        "apigatewayv2", endpoint_url=platform.url, region_name=platform.region,
        aws_access_key_id=harness.ACCESS_KEY, aws_secret_access_key=harness.SECRET_KEY,
    )  # fmt: skip
    api = apis.import_api(Body=document)["ApiId"]
    apis.create_stage(ApiId=api, StageName="$default", AutoDeploy=True)
    yield f"{platform.url}/_api/{api}", process, said["FunctionUrlPath"]
    apis.delete_api(ApiId=api)


def test_legacy_without_code(warehouse):
    api, *_ = warehouse
    answer = ask(api, path="/xml/stock/A-200", cookie="session=1")
    assert (answer.status, answer.headers["cache-control"]) == (200, "max-age=5"), answer
    assert not {"x-backend", "server"} & answer.headers.keys()
    assert b"Washer &lt;M8&gt;" in answer.body and b"<?xml" in answer.body
    assert b'code="UNKNOWN-SKU"' in ask(api, path="/xml/stock/%3Cx%3E?SKU=A-200").body


def test_legacy_as_json(warehouse):
    api, service, _ = warehouse
    bolts = ask(api, path="/stock/A-100")
    assert (bolts.status, bolts.headers["content-type"]) == (200, "application/json"), bolts
    bins = [{"city": "Hamburg", "count": 1200}, {"city": "Vienna", "count": 80}]
    assert bolts.json() == {"sku": "A-100", "description": "Hex bolt M8 x 40", "onHand": 1280, "bins": bins}
    gloves = ask(api, path="/stock/B-7").json()
    assert (gloves["description"], gloves["bins"]) == ("Größe L Handschuhe", [])

    taken = ask(api, "POST", "/reservations", {"sku": "A-100", "quantity": 1250})
    assert (taken.status, taken.json()) == (200, {"sku": "A-100", "quantity": 1250})
    assert ask(api, path="/stock/A-100").json()["onHand"] == 30
    assert ask(api, "POST", "/reservations", {"sku": "A-100", "quantity": 31}).status == 409

    assert ask(api, path="/stock/Z-1").status == 404
    assert ask(api, path="/stock/no").status == 400
    for body in ("{", [], {"sku": "A-100"}, {"sku": "A-100", "quantity": True}, {"sku": "A-100", "quantity": 0}):
        assert ask(api, "POST", "/reservations", body).status == 400, body
    assert ask(api, "PUT", "/reservations", {}).status == 404

    service.kill()
    service.wait()
    assert ask(api, path="/stock/A-100").status == 504


def test_legacy_reads_xml_of_strangers(warehouse):
    *_, function = warehouse
    body = '<StockRecord xmlns="urn:warehouse:2004"><Sku>A-1</Sku>{}<OnHand>{}</OnHand></StockRecord>'
    space = 'xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"'
    envelope = f"<s:Envelope {space}><s:Body>{body}</s:Body></s:Envelope>"

    def understood(xml):
        reply = {"operation": "GetStock", "status": 200, "xml": base64.b64encode(xml).decode()}
        answer = ask(function, "POST", "", {"reply": reply})
        assert answer.status == 200, answer
        return answer.json()["answer"]

    # In the letters that its first line names, as old services have it.
    named = "<Description>Größe</Description>"
    old = f'<?xml version="1.0" encoding="ISO-8859-1"?>{envelope.format(named, 3)}'.encode("latin-1")
    record = {"sku": "A-1", "description": "Größe", "onHand": 3, "bins": []}
    assert understood(old) == {"status": 200, "body": record}
    bomb = '<!DOCTYPE s [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;">]>' + envelope.format(
        "<Description>&b;</Description>", 1
    )
    file = '<!DOCTYPE s [<!ENTITY a SYSTEM "file:///etc/passwd">]>' + envelope.format(
        "<Description>&a;</Description>", 1
    )
    deep = "<a>" * 10_000 + "</a>" * 10_000
    letters = [f'<?xml version="1.0" encoding="{name}"?>{envelope.format(named, 3)}' for name in ("Big5", "no-such")]
    for hostile in (bomb, file, deep, envelope.format(named, "many"), envelope.format("", 1), "<a", "", "\0", *letters):
        answer = understood(hostile.encode())
        assert answer["status"] == 502 and "passwd" not in str(answer), hostile[:80]
