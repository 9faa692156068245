"""TLS on the real program: a local authority, the operator's files, ACME; certificates that change while it runs."""

import contextlib
import http.client
import json
import os
import pathlib
import shutil
import socket
import ssl
import struct
import subprocess
import threading

import boto3
import botocore.exceptions
import pytest

import harness
from harness import until

ECHO = "def handler(event, context):\n    return event\n"


def make_authority(data, *names, region=harness.REGION):
    """Runs `ephyra tls init`; gives what it says."""
    command = [harness.BINARY, "--json", "tls", "init", "--data", str(data), "--region", region, *names]
    made = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert made.returncode == 0, made.stderr
    return json.loads(made.stdout)


def context(authority=None, **options):
    made = ssl.create_default_context(cafile=authority)
    for name, value in options.items():
        setattr(made, name, value)
    return made


@contextlib.contextmanager
def connected(server, trust, name="localhost", session=None):
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as plain:
        with trust.wrap_socket(plain, server_hostname=name, session=session) as secure:
            yield secure


def shown(server, name="localhost"):
    """The certificate that a client is shown who asks for a name, whoever has issued it."""
    trust = context(check_hostname=False)
    trust.verify_mode = ssl.CERT_NONE
    with connected(server, trust, name) as secure:
        return secure.getpeercert(binary_form=True)


def get(secure, path="/_ephyra/health", host="localhost", headers=""):
    secure.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{headers}\r\n".encode())
    answer = http.client.HTTPResponse(secure)
    answer.begin()
    return answer, answer.read()


@pytest.fixture(scope="module")
def local():
    """A platform with a local authority that was made before it was first started."""
    server = harness.Server()
    server.authority = os.path.join(server.data, "tls", "ca.pem")
    made = make_authority(server.data, "more.test", "10.1.2.3")
    assert made["isNewAuthority"] and {"localhost", "more.test", "10.1.2.3"} < set(made["names"])
    try:
        yield server.start()
        server.terminate()
    finally:
        server.close()


def test_one_port_speaks_both(local):
    trust = context(local.authority)
    for name in ["localhost", "more.test", f"abc.lambda-url.{local.region}.localhost", "127.0.0.1", "10.1.2.3"]:
        with connected(local, trust, name) as secure:
            answer, _ = get(secure)
            assert (answer.status, secure.version()) == (200, "TLSv1.3")
    with pytest.raises(ssl.SSLCertVerificationError):
        with connected(local, trust, "other.test"):
            pass
    # Plain HTTP goes on beside it.
    assert local.is_healthy()
    modes = {name: os.stat(os.path.join(local.data, "tls", name)) for name in ["ca.pem", "ca-key.pem", "local.pem"]}
    assert {name: stat.st_mode & 0o777 for name, stat in modes.items()} == {
        "ca.pem": 0o644,
        "ca-key.pem": 0o600,
        "local.pem": 0o600,
    }
    # The server can read what it shows, and not what makes others believe.
    assert modes["ca-key.pem"].st_uid == 0 != modes["local.pem"].st_uid


def test_versions_protocols_and_sessions(local):
    for version in [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]:
        trust = context(local.authority, minimum_version=version, maximum_version=version)
        trust.set_alpn_protocols(["h2", "http/1.1"])
        with connected(local, trust) as secure:
            assert secure.selected_alpn_protocol() == "h2"
        trust.set_alpn_protocols(["http/1.1"])
        with connected(local, trust) as secure:
            assert secure.selected_alpn_protocol() == "http/1.1"
            assert get(secure)[0].status == 200
            session = secure.session
        with connected(local, trust, session=session) as secure:
            assert get(secure)[0].status == 200
            assert secure.session_reused
    old = context(local.authority)
    old.minimum_version = ssl.TLSVersion.TLSv1
    old.maximum_version = ssl.TLSVersion.TLSv1_1
    old.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.raises((ssl.SSLError, OSError)):
        with connected(local, old):
            pass


def test_what_is_no_handshake_is_closed(local):
    for garbage in [b"\x16\x03\x01\x00\x05hello", b"\x16" * 100, b"\x16\x03\x01\xff\xff" + b"\x01" * 70000]:
        with socket.create_connection(("127.0.0.1", local.port), timeout=30) as plain:
            with contextlib.suppress(ConnectionError):
                plain.sendall(garbage)
                while plain.recv(4096):
                    pass
    assert local.is_healthy()


def test_function_urls_are_https(local):
    name = local.create(ECHO)
    made = local.lambda_.create_function_url_config(FunctionName=name, AuthType="NONE")["FunctionUrl"]
    grant = {"Action": "lambda:InvokeFunctionUrl", "Principal": "*", "FunctionUrlAuthType": "NONE"}
    local.lambda_.add_permission(FunctionName=name, StatementId="open", **grant)
    assert made.startswith("https://") and made.endswith(f".lambda-url.{local.region}.localhost:{local.port}/")
    host = made.removeprefix("https://").rstrip("/")
    with connected(local, context(local.authority), host.split(":")[0]) as secure:
        answer, body = get(secure, "/a", host, "X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-Proto: http\r\n")
    event = json.loads(body)
    assert answer.status == 200, body
    assert event["headers"]["x-forwarded-proto"] == "https"
    assert event["headers"]["x-forwarded-for"] == event["requestContext"]["http"]["sourceIp"] == "127.0.0.1"
    local.forget(name)


def test_clients_use_it(local):
    """The command line trusts the authority of its own machine; AWS's clients are told to."""
    name = local.create(ECHO)
    endpoint = f"https://localhost:{local.port}"
    options = ["--endpoint", endpoint, "--data", local.data]
    assert json.loads(local.command("invoke", name, "--payload", '{"a": 1}', *options).stdout) == {"a": 1}
    session = boto3.Session(harness.ACCESS_KEY, harness.SECRET_KEY, region_name=local.region)
    client = session.client("lambda", endpoint_url=endpoint, verify=local.authority)
    assert client.get_function(FunctionName=name)["Configuration"]["FunctionName"] == name
    with pytest.raises(botocore.exceptions.SSLError):
        session.client("lambda", endpoint_url=endpoint, verify=True).list_functions()
    local.forget(name)


def test_a_renewed_certificate_is_shown_without_a_restart(local):
    before = shown(local)
    with connected(local, context(local.authority)) as open_before:
        assert not make_authority(local.data, "later.test")["isNewAuthority"]
        until(lambda: shown(local) != before, "the new certificate to be shown")
        assert get(open_before)[0].status == 200
    with connected(local, context(local.authority), "later.test"):
        pass
    # One that cannot be read changes nothing.
    file = pathlib.Path(local.data, "tls", "local.pem")
    good, now = file.read_text(), shown(local)
    file.write_text(good.replace("BEGIN CERTIFICATE", "BEGIN NONSENSE"))
    until(lambda: "a certificate cannot be used" in local.log(), "the log to say so")
    assert shown(local) == now
    file.write_text(good)


def test_an_authority_is_never_overwritten(tmp_path):
    data = tmp_path / "data"
    make_authority(data)
    (data / "tls" / "ca-key.pem").unlink()
    command = [harness.BINARY, "tls", "init", "--data", str(data)]
    refused = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert refused.returncode == 1 and "ca-key.pem is not" in refused.stderr
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").write_text("mine")
    command[-1] = str(tmp_path / "other")
    refused = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert refused.returncode == 1 and "not a data folder" in refused.stderr


def test_only_what_lies_in_the_folder_is_given_to_the_server(own_server, tmp_path):
    """Links of both kinds, which a server that was taken over could leave there, lead to nobody else's files."""
    data, others = tmp_path / "data", tmp_path / "others"
    make_authority(data)
    others.write_text("root's")
    others.chmod(0o600)
    (data / "tls" / "soft.pem").symlink_to(others)
    os.link(others, data / "tls" / "hard.pem")
    server = own_server(data=str(data))
    assert others.stat().st_uid == 0 and (data / "tls" / "ca-key.pem").stat().st_uid == 0
    assert (data / "tls" / "local.pem").stat().st_uid == (data / "tls").stat().st_uid != 0
    with connected(server, context(str(data / "tls" / "ca.pem"))) as secure:
        assert get(secure)[0].status == 200
    # Nor is the folder itself a way out.
    server.terminate()
    (data / "tls").rename(tmp_path / "moved")
    (data / "tls").symlink_to(tmp_path)
    again = harness.Server(data=str(data))
    try:
        again.start(wait=False)
        assert again.process.wait(60) != 0 and "taking over" in again.log()
    finally:
        again.close()
    assert others.stat().st_uid == 0


@pytest.fixture
def files(tmp_path):
    """Certificates for two regions' names in files that only root can read, with the authorities that issued them."""
    made = {}
    for region in ["aa-test-1", "bb-test-1"]:
        make_authority(tmp_path / region, region=region)
        folder = tmp_path / f"files-{region}"
        folder.mkdir(mode=0o700)
        shutil.copy(tmp_path / region / "tls" / "local.pem", folder / "cert.pem")
        shutil.copy(tmp_path / region / "tls" / "local.pem", folder / "key.pem")
        os.chmod(folder / "key.pem", 0o600)
        made[region] = (folder, tmp_path / region / "tls" / "ca.pem")
    return made


def test_the_operators_files_are_followed(own_server, files, tmp_path):
    (first, first_authority), (second, second_authority) = files.values()
    server = own_server(
        *("--tls-cert", first / "cert.pem", "--tls-key", first / "key.pem"),
        *("--tls-cert", second / "cert.pem", "--tls-key", second / "key.pem"),
    )
    # The name chooses.
    for authority, name in [
        (first_authority, "a.lambda-url.aa-test-1.localhost"),
        (second_authority, "a.lambda-url.bb-test-1.localhost"),
        (first_authority, "localhost"),
    ]:
        with connected(server, context(authority), name) as secure:
            assert get(secure)[0].status == 200
    # New ones take the place of the old, as tools do it: a new file is renamed.
    make_authority(tmp_path / "aa-test-1", region="aa-test-1")
    before = shown(server)
    for name in ["key.pem", "cert.pem"]:
        shutil.copy(tmp_path / "aa-test-1" / "tls" / "local.pem", first / "new")
        os.rename(first / "new", first / name)
    until(lambda: shown(server) != before, "the new certificate to be shown")
    # A key that does not fit is said, and changes nothing.
    now = shown(server)
    shutil.copy(second / "key.pem", first / "key.pem")
    until(lambda: "the private key does not fit" in server.log(), "the log to say so")
    assert shown(server) == now
    # The server itself reads none of these files: it does not see them.
    warden = server.parts()[1]
    keepers = [
        pid
        for pid, (parent, uid, *_) in harness.descendants(server.process.pid).items()
        if parent == warden and uid == 0 and b"keep" in pathlib.Path(f"/proc/{pid}/cmdline").read_bytes()
    ]
    assert len(keepers) == 1
    assert b"SECRET" not in pathlib.Path(f"/proc/{keepers[0]}/environ").read_bytes()


def test_files_that_cannot_be_used_end_the_start(files, tmp_path):
    (first, _), (second, _) = files.values()
    for certificate, key, why in [
        (first / "cert.pem", second / "key.pem", "does not fit"),
        (first / "cert.pem", tmp_path / "none.pem", "cannot be read"),
    ]:
        server = harness.Server("--tls-cert", certificate, "--tls-key", key)
        try:
            server.start(wait=False)
            assert server.process.wait(60) != 0
            assert why in server.log()
        finally:
            server.close()


# -- ACME


class Names:
    """A name server that gives every name this machine's address; over TCP, as pebble asks."""

    def __init__(self):
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        with contextlib.suppress(OSError):
            while True:
                client, _ = self.socket.accept()
                threading.Thread(target=self.answer, args=(client,), daemon=True).start()

    def answer(self, client):
        with client, client.makefile("rwb") as stream:
            while length := stream.read(2):
                query = stream.read(int.from_bytes(length))
                question = query[12 : query.index(b"\0", 12) + 5]
                is_address = question[-4:-2] == b"\0\1"
                head = query[:2] + b"\x81\x80" + struct.pack(">HHHH", 1, int(is_address), 0, 0)
                found = b"\xc0\x0c\0\1\0\1\0\0\0\0\0\4\x7f\0\0\1" if is_address else b""
                answer = head + question + found
                stream.write(len(answer).to_bytes(2) + answer)
                stream.flush()


@pytest.fixture
def acme(tmp_path):
    """Starts an ACME server that looks for proofs at a port; gives its directory and how to trust it."""
    program = os.environ.get("EPHYRA_E2E_PEBBLE") or shutil.which("pebble")
    if not program:
        pytest.skip("pebble is not there: scripts/test installs it where Go is")
    make_authority(tmp_path / "pebble")
    names, started = Names(), []

    def start(port, seconds):
        own, management = harness.free_port(), harness.free_port()
        pem = str(tmp_path / "pebble" / "tls" / "local.pem")
        settings = {
            "listenAddress": f"127.0.0.1:{own}",
            "managementListenAddress": f"127.0.0.1:{management}",
            "certificate": pem,
            "privateKey": pem,
            "httpPort": port,
            "tlsPort": 1,
            "profiles": {"default": {"description": "short", "validityPeriod": seconds}},
        }
        file = tmp_path / "pebble.json"
        file.write_text(json.dumps({"pebble": settings}))
        command = [program, "-config", str(file), "-dnsserver", f"127.0.0.1:{names.port}"]
        environment = os.environ | {"PEBBLE_VA_NOSLEEP": "1", "PEBBLE_WFE_NONCEREJECT": "20"}
        log = open(tmp_path / "pebble.log", "ab")  # noqa: SIM115 - closed with the process
        started.append(subprocess.Popen(command, stdout=log, stderr=log, env=environment))
        trust = context(str(tmp_path / "pebble" / "tls" / "ca.pem"))

        def root():
            with contextlib.suppress(OSError):
                connection = http.client.HTTPSConnection("localhost", management, context=trust, timeout=5)
                connection.request("GET", "/roots/0")
                return connection.getresponse().read().decode()

        root_file = tmp_path / "root.pem"
        root_file.write_text(until(root, "pebble to answer"))
        return f"https://localhost:{own}/dir", tmp_path / "pebble" / "tls" / "ca.pem", root_file

    yield start
    for process in started:
        process.kill()
        process.wait()
    names.socket.close()


def test_acme_issues_and_renews(acme):
    server = harness.Server()
    directory, authority, root = acme(server.port, seconds=12)
    server.options += ["--acme-domain", "fn.example.test", "--acme-domain", "api.example.test"]
    server.options += ["--acme-directory", directory, "--acme-ca", str(authority)]
    server.options += ["--acme-contact", "mailto:somebody@example.test"]
    try:
        server.start()

        def is_shown(name):
            with contextlib.suppress(OSError):
                with connected(server, context(str(root)), name) as secure:
                    return get(secure)[0].status == 200

        for name in ["fn.example.test", "api.example.test"]:
            try:
                until(lambda: is_shown(name), f"a certificate for {name}")
            except AssertionError as error:
                raise AssertionError(f"{error}; the log says\n{server.log()[-4000:]}") from None
        before = shown(server, "fn.example.test")
        until(lambda: shown(server, "fn.example.test") != before, "the certificate to be renewed")
        assert is_shown("fn.example.test")
        for name in ["acme-account.json", "acme-fn.example.test.pem"]:
            assert os.stat(os.path.join(server.data, "tls", name)).st_mode & 0o777 == 0o600
        # A token that nobody has asked for is nobody's.
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
        connection.request("GET", "/.well-known/acme-challenge/none")
        assert connection.getresponse().status == 403
        server.terminate()
    finally:
        server.close()


def test_an_acme_server_that_is_away_holds_nobody_up(own_server):
    directory = f"https://localhost:{harness.free_port()}/dir"
    server = own_server("--acme-domain", "fn.example.test", "--acme-directory", directory)
    assert server.is_healthy()
    until(lambda: "no certificate was issued" in server.log(), "the log to say so")
