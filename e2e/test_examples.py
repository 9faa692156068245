"""The applications in examples/, deployed and used as their READMEs say."""

import contextlib
import http.client
import json
import os
import pathlib
import re
import shutil
import subprocess
import urllib.parse

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
