"""The runtime `wasm`: components and modules from Rust, JavaScript and text; what they get, and what bad ones do to others."""

import contextlib
import json
import os
import pathlib
import re
import signal
import threading
import time

import pytest

import harness
from harness import package, processes, together, until
from test_urls import Url

HERE = pathlib.Path(__file__).parent / "wasm"
# What the host is called in a list of processes.
HOST = "wasm-host"


@pytest.fixture(scope="session")
def built():
    """The folder with the modules."""
    folder = pathlib.Path(os.environ.get("EPHYRA_E2E_WASM") or HERE / "target")
    if not (folder / "stamp").is_file():
        pytest.exit(f"the WebAssembly functions are not in {folder}: run scripts/test, or wasm_functions of scripts/lib.sh", 2)
    return folder


def create(server, built, module, note="", wait=True, **arguments):
    """Makes a function of a module; `note` makes it a package of its own."""
    name = harness.unique("w")
    files = {"app.wasm": (built / f"{module}.wasm").read_bytes()} | ({"note": note} if note else {})
    arguments.setdefault("MemorySize", 128)
    code = {"ZipFile": package(files)}
    server.create(None, name=name, runtime="wasm", handler="app", Code=code, wait=False, **arguments)
    if wait:
        server.wait_active(name, 120)
    return name


@pytest.fixture
def wasm(platform, built):
    """Makes WebAssembly functions on the shared platform: `wasm("rust-module")`."""
    names = []

    def make(module, **arguments):
        names.append(create(platform, built, module, **arguments))
        return names[-1]

    yield make
    for name in names:
        platform.forget(name)


def hosts(server):
    """The pids of the host processes."""
    found = []
    for pid in harness.descendants(server.process.pid):
        with contextlib.suppress(OSError):
            if HOST in pathlib.Path(f"/proc/{pid}/cmdline").read_text().split("\0"):
                found.append(pid)
    return found


@contextlib.contextmanager
def unharmed(server, name, event, answer, within=1.0):
    """Calls a function all the while: every call has to succeed, and soon."""
    done, times, failures = threading.Event(), [], []

    def work():
        while not done.is_set():
            began = time.monotonic()
            result = server.call(name, event)
            times.append(time.monotonic() - began)
            if result.error or result.payload != answer:
                failures.append((result.error, result.payload, result.log))
                return

    thread = threading.Thread(target=work)
    thread.start()
    try:
        until(lambda: len(times) >= 3 or failures, "the first calls")
        yield times
    finally:
        done.set()
        thread.join()
    assert not failures, failures
    slow = sorted(times)[int(len(times) * 0.9)]
    assert slow < within, f"nine of ten of {len(times)} calls took {slow} s"


# -- what they are


@pytest.mark.parametrize("module", ["rust-module", "rust-component"])
def test_a_command_takes_the_event_and_gives_the_answer(platform, wasm, module):
    name = wasm(module, Environment={"Variables": {"MINE": "1"}})
    assert platform.invoke(name, "echo [1, 2]") == [1, 2]
    assert platform.invoke(name, "anything") == "anything"
    found = platform.invoke(name, "environment")
    assert found["MINE"] == "1"
    assert (found["AWS_LAMBDA_FUNCTION_NAME"], found["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"]) == (name, "128")
    assert found["AWS_REGION"] == platform.region and found["AWS_LAMBDA_FUNCTION_VERSION"] == "$LATEST"
    assert re.fullmatch(r"[0-9a-f-]{36}", found["AWS_LAMBDA_REQUEST_ID"])
    assert not {"HOME", "USER", "HOSTNAME", "EPHYRA_ROOT_SECRET_ACCESS_KEY", "PATH"} & found.keys()
    # Each call is an instance of its own.
    assert [platform.invoke(name, "count") for _ in range(3)] == [1, 1, 1]
    result = platform.call(name, "log of it")
    assert "\na line\nand another: of it\n" in result.log, result.log


@pytest.mark.parametrize("module", ["rust-module", "rust-component"])
def test_a_command_has_nothing_of_the_world(platform, wasm, module):
    found = platform.invoke(wasm(module), "world")
    assert found == {"files": False, "writing": False, "tcp": False, "udp": False, "names": False, "arguments": 1}


def http_event(path, method="GET", body=None, **more):
    """An event as function URLs and HTTP APIs send it, format 2.0."""
    path, _, query = path.partition("?")
    return {
        "version": "2.0", "routeKey": "$default", "rawPath": path, "rawQueryString": query, "cookies": ["c=1", "d=2"],
        "headers": {"x-mine": "yes", "host": "example.org"},
        "requestContext": {"http": {"method": method, "path": path}, "domainName": "example.org"},
        "body": body, "isBase64Encoded": False,
    } | more  # fmt: skip


def test_a_component_from_rust_answers_http(platform, wasm):
    name = wasm("rust-http")
    answer = platform.invoke(name, http_event("/a/b?x=1&y=%20", "PUT", "hello"))
    assert (answer["statusCode"], answer["cookies"]) == (200, ["a=1", "b=2"])
    assert answer["headers"]["content-type"] == "application/json" and answer["isBase64Encoded"] is False
    told = json.loads(answer["body"])
    assert (told["method"], told["path"], told["body"]) == ("PUT", "/a/b?x=1&y=%20", "hello")
    assert (told["headers"]["x-mine"], told["headers"]["cookie"]) == ("yes", "c=1; d=2")
    encoded = platform.invoke(name, http_event("/", "POST", "aGVsbG8=", isBase64Encoded=True))
    assert json.loads(encoded["body"])["body"] == "hello"
    # Any status is an answer to HTTP.
    assert platform.invoke(name, http_event("/refused"))["statusCode"] == 418
    assert json.loads(platform.invoke(name, http_event("/out"))["body"]) == {"reached": False}
    result = platform.call(name, http_event("/printed"))
    assert "printed for /printed" in result.log
    # Other events are posted as they are, and the body is the answer.
    told = platform.invoke(name, {"any": "event"})
    assert (told["method"], told["path"], told["body"]) == ("POST", "/", '{"any": "event"}')
    assert re.fullmatch(r"[0-9a-f-]{36}", told["headers"]["x-amzn-requestid"]), told


def test_a_component_from_javascript_answers_http(platform, wasm):
    name = wasm("js-http", MemorySize=256, Timeout=10)
    for _ in range(3):
        answer = platform.invoke(name, http_event("/a?b=c", "POST", "hällo"))
        told = json.loads(answer["body"])
        assert (answer["statusCode"], told["method"], told["path"]) == (201, "POST", "/a?b=c")
        # Each call is an instance of its own.
        assert (told["body"], told["headers"]["x-mine"], told["calls"]) == ("hällo", "yes", 1)
    assert platform.invoke(name, {"an": "event"})["body"] == '{"an": "event"}'
    result = platform.call(name, http_event("/printed"))
    assert "printed for /printed" in result.log
    assert platform.call(name, http_event("/throw")).payload.get("statusCode", 500) == 500
    assert platform.invoke(name, http_event("/"))["statusCode"] == 201


def test_answers_stream(platform, wasm):
    def stream(name, event):
        answer = platform.lambda_.invoke_with_response_stream(FunctionName=name, Payload=json.dumps(event).encode())
        body, end = b"", None
        for part in answer["EventStream"]:
            body += part.get("PayloadChunk", {}).get("Payload", b"")
            end = part.get("InvokeComplete", end)
        return body, end

    body, end = stream(wasm("rust-module"), "huge 160")
    assert (len(body), end.get("ErrorCode")) == (160 << 16, None)
    name = wasm("rust-http")
    body, end = stream(name, http_event("/parts"))
    prelude, _, rest = body.partition(b"\0" * 8)
    assert json.loads(prelude)["statusCode"] == 200 and rest.count(b'"/parts"') == 200
    _, end = stream(name, http_event("/panic"))
    assert end["ErrorCode"] == "Unhandled" and '"errorType":"Trap.' in end["ErrorDetails"], end


# -- how they come to be


def test_the_template_works(platform, built, tmp_path):
    name = harness.unique("greeter")
    platform.command("new", tmp_path / name, "--runtime", "wasm")
    (tmp_path / name / "app.wasm").write_bytes((built / "template.wasm").read_bytes())
    platform.command("deploy", tmp_path / name)
    assert platform.invoke(name, {"a": 1}) == {"message": "Hello, world!", "event": {"a": 1}}
    platform.command("delete", name, "--yes")


@pytest.mark.parametrize(
    ("module", "reason"),
    [
        ("invalid", "type mismatch"),
        ("stranger", "env::system"),
        ("nothing", "exports none of what can be called"),
        ("table", "table"),
    ],
)
def test_a_module_that_cannot_run_fails_at_deploy(platform, wasm, module, reason):
    name = wasm(module, wait=False)
    config = failed(platform, name)
    assert config["StateReasonCode"] == "InvalidZipFileException"
    assert config["StateReason"].startswith("The module cannot be run: ") and reason in config["StateReason"], config
    with pytest.raises(platform.lambda_.exceptions.ResourceConflictException):
        platform.call(name)


def failed(server, name):
    def settled():
        config = server.lambda_.get_function_configuration(FunctionName=name)
        return config if config["State"] != "Pending" else None

    config = until(settled, f"{name} to be settled")
    assert config["State"] == "Failed", config
    return config


def test_packages_that_are_no_modules(platform):
    for files, handler, reason in [
        ({"app.wasm": b"#!/bin/sh"}, "app", "it is not WebAssembly"),
        ({"app.wasm": b""}, "app", "it is not WebAssembly"),
        ({"app.py": b"x"}, "app", "no file that ends in .wasm"),
        ({"a.wasm": b"", "b.wasm": b""}, "c", "names none of them"),
        ({"app.wasm": b"\0asm\x01\0\0\0" + b"\xff" * 1000}, "app", "cannot be run"),
        ({"app.wasm": b"\0asm\x0d\0\1\0" + b"\xff" * 1000}, "app", "cannot be run"),
    ]:
        name = harness.unique("w")
        code = {"ZipFile": package(files)}
        platform.create(None, name=name, runtime="wasm", handler=handler, Code=code, wait=False)
        assert reason in failed(platform, name)["StateReason"]
        platform.forget(name)


def test_an_update_that_cannot_run_leaves_what_ran(platform, wasm, built):
    name = wasm("null")
    update = {"FunctionName": name, "ZipFile": package({"app.wasm": (built / "invalid.wasm").read_bytes()})}
    platform.lambda_.update_function_code(**update)

    def status():
        config = platform.lambda_.get_function_configuration(FunctionName=name)
        return config if config["LastUpdateStatus"] != "InProgress" else None

    config = until(status, "the update to be settled")
    assert (config["State"], config["LastUpdateStatus"]) == ("Active", "Failed")
    assert config["LastUpdateStatusReasonCode"] == "InvalidZipFileException"
    update["ZipFile"] = package({"app.wasm": (built / "rust-module.wasm").read_bytes()})
    platform.lambda_.update_function_code(**update)
    platform.wait_updated(name)
    assert platform.invoke(name, "echo 5") == 5
    version = platform.lambda_.publish_version(FunctionName=name)["Version"]
    platform.until(lambda: platform.call(name, "echo 6", Qualifier=version).payload == 6, "the version to answer")


# -- what bad ones do


def test_failures_are_told_as_lambda_tells_them(platform, wasm):
    command = wasm("rust-module", Timeout=5)
    for name, event, kind, message in [
        (command, "exit 3", "Runtime.ExitError", "Runtime exited with error: exit status 3"),
        (command, "panic at once", "Trap.UnreachableCodeReached", "wasm trap"),
        (command, "leak", "Runtime.OutOfMemory", "Runtime exited with error: signal: killed"),
        (command, "huge 97", "Function.ResponseSizeTooLarge", "exceeded maximum allowed payload size (6291556 bytes)"),
        (wasm("trap"), None, "Trap.UnreachableCodeReached", "unreachable"),
        (wasm("stack"), None, "Trap.StackOverflow", "call stack exhausted"),
        (wasm("needy"), None, "Runtime.OutOfMemory", "signal: killed"),
        (wasm("rust-http"), http_event("/silent"), "Runtime.NoAnswer", "without an answer"),
        (wasm("rust-http"), http_event("/panic"), "Trap.UnreachableCodeReached", "wasm trap"),
        (wasm("rust-http"), http_event("/twice"), "Trap.Host", "unknown handle index"),
    ]:
        result = platform.error_of(name, event)
        assert result.payload["errorType"] == kind, (event, result.payload)
        assert message in result.payload["errorMessage"], result.payload
        assert f"Status: error\tError Type: {kind}" in result.log, result.log
    trace = platform.error_of(wasm("trap")).payload["stackTrace"]
    assert len(trace) == 3, trace
    # To write twice is no error: what was written is the answer.
    assert platform.call(wasm("twice")).raw == b"1\n1\n"
    assert platform.invoke(command, "echo 1") == 1


@pytest.mark.parametrize("module", ["spin", "start", "hog", "fill", "flood", "storm", "sleeper"])
def test_what_does_not_end_is_ended_and_nobody_notices(platform, wasm, module):
    """Four at once, each with its time; another function's calls go on."""
    other = wasm("rust-module")
    name = wasm(module, Timeout=1)
    [host] = hosts(platform)
    with unharmed(platform, other, "echo 7", 7):
        began = time.monotonic()
        results = together([lambda: platform.error_of(name)] * 4, threads=4)
        took = time.monotonic() - began
    for result in results:
        assert result.payload["errorType"] == "Sandbox.Timedout", result.payload
        assert "Task timed out after 1.00 seconds" in result.payload["errorMessage"]
        assert "Status: timeout" in result.log
    assert took < 6, took
    assert hosts(platform) == [host]


def test_a_spinning_component_is_ended_too(platform, wasm):
    other = wasm("rust-component")
    for name, event in [
        (wasm("rust-http", Timeout=1), http_event("/spin")),
        (wasm("js-http", Timeout=2, MemorySize=256), http_event("/spin")),
    ]:
        with unharmed(platform, other, "echo 7", 7):
            assert platform.error_of(name, event).payload["errorType"] == "Sandbox.Timedout"


def test_who_answers_too_late_has_not_answered(platform, wasm):
    other = wasm("rust-component")
    name = wasm("rust-http", Timeout=1)
    with unharmed(platform, other, "echo 7", 7):
        result = platform.error_of(name, http_event("/late"))
    assert result.payload["errorType"] == "Sandbox.Timedout", result.payload
    # Nothing of it comes with the next.
    assert json.loads(platform.invoke(name, http_event("/soon"))["body"])["path"] == "/soon"


def test_a_function_has_its_share_of_a_processor(platform, wasm):
    """128 MB are 7 % of one: two seconds of spinning use about 0.15 s of it."""
    name = wasm("spin", Timeout=2, MemorySize=128)
    platform.error_of(name)
    [record] = usage(platform, name)
    assert record["cpu_us"] < 600_000, record


def usage(server, name):
    """The usage records of a function."""
    records = []
    for file in sorted(pathlib.Path(server.data, "usage").glob("*")):
        records += [json.loads(line) for line in file.read_text().splitlines()]
    return [record for record in records if record["function"] == name]


def test_calls_are_reported_and_metered(platform, wasm):
    name = wasm("rust-module")
    result = platform.call(name, "log it")
    report = next(line for line in result.log.splitlines() if line.startswith("REPORT"))
    assert re.search(r"Memory Size: 128 MB\tMax Memory Used: [1-9]\d* MB\tInit Duration: [\d.]+ ms", report), report
    assert "Cold Start: " in report
    second = platform.call(name, "log it")
    assert "Init Duration" not in second.log and "START RequestId" in second.log
    until(lambda: len(usage(platform, name)) >= 2, "the usage to be written")
    logs = platform.logs(name)
    assert logs.count("a line") == 2 and logs.count("REPORT") == 2, logs


def test_many_at_once(platform, wasm):
    """More than there are processors, each an instance of its own."""
    name = wasm("rust-module")
    answers = together([lambda n=n: platform.invoke(name, f"echo {n}") for n in range(200)], threads=32)
    assert answers == list(range(200))
    assert len(hosts(platform)) == 1


# -- what becomes of them


def artefacts(server):
    """The names of what was compiled."""
    return {path.name for path in pathlib.Path(server.data, "prepared").glob("*/*.*") if re.fullmatch(r"[0-9a-f]{64}\.[0-9a-f]{64}", path.name)}


def test_a_host_that_is_killed_is_replaced(own_server, built):
    server = own_server()
    name, spins = create(server, built, "rust-module"), create(server, built, "spin", Timeout=20)
    assert server.invoke(name, "echo 1") == 1
    for _ in range(3):
        [host] = hosts(server)
        answers = []
        caller = threading.Thread(target=lambda: answers.append(server.error_of(spins)))
        caller.start()
        # It spins when the host does.
        until(lambda: cpu(host) > 0.02 or not caller.is_alive(), "the call to run")
        os.kill(host, signal.SIGKILL)
        caller.join()
        assert answers[0].payload["errorType"] == "Runtime.ExitError", answers[0].payload
        assert server.invoke(name, "echo 2") == 2
        assert host not in processes()
    # After all of it, and after a start, what was compiled is used again.
    before = artefacts(server)
    server.kill()
    server.start()
    assert server.invoke(name, "echo 3") == 3
    assert artefacts(server) == before


def cpu(pid):
    """Seconds of processor time that a process has used."""
    try:
        fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_what_was_compiled_goes_with_its_function(own_server, built):
    server = own_server()
    names = [create(server, built, "null", note=f"{n}") for n in range(3)]
    assert len(artefacts(server)) == 3
    for name in names[:2]:
        assert server.invoke(name) is None
        server.forget(name)
    until(lambda: len(artefacts(server)) == 1, "what belongs to nobody to be removed")
    assert server.invoke(names[2]) is None
    server.forget(names[2])
    until(lambda: not artefacts(server), "the last to be removed")


def test_the_host_is_in_a_sandbox(platform, wasm):
    """It has no rights, no network, nothing of the data folder but what was compiled."""
    platform.invoke(wasm("rust-module"), "echo 1")
    [host] = hosts(platform)
    status = dict(line.split(":\t", 1) for line in pathlib.Path(f"/proc/{host}/status").read_text().splitlines() if ":\t" in line)
    assert status["CapEff"].strip("0") == "" and status["NoNewPrivs"] == "1" and status["Seccomp"] == "2", status
    assert status["Uid"].split()[0] != "0"
    assert harness.network_namespace(host) != harness.network_namespace(os.getpid())
    root = pathlib.Path(f"/proc/{host}/root")
    assert not (root / platform.data.strip("/")).exists()
    seen = {path.name for path in (root / "var/lang/base").iterdir()}
    assert artefacts(platform) <= seen
    mounts = pathlib.Path(f"/proc/{host}/mountinfo").read_text()
    assert all(" ro," in line for line in mounts.splitlines() if "/var/lang" in line), mounts


def test_a_component_answers_behind_urls(platform, wasm):
    name = wasm("rust-http")
    url = Url(platform, name)
    sent = [("Content-Type", "text/plain"), ("Cookie", "c=1; d=2")]
    for mode in ("BUFFERED", "RESPONSE_STREAM"):
        platform.lambda_.update_function_url_config(FunctionName=name, InvokeMode=mode)
        answer = url.send("PUT", "/a%20b?x=1", b"hello", sent)
        assert answer.status == 200 and answer.headers.get_all("Set-Cookie") == ["a=1", "b=2"], answer
        assert (answer.json["method"], answer.json["path"], answer.json["body"]) == ("PUT", "/a%20b?x=1", "hello")
        assert answer.json["headers"]["cookie"] == "c=1; d=2" and answer.json["headers"]["x-forwarded-for"] == "127.0.0.1"
        # Bytes that are no text are a header's value too.
        assert url.send("GET", "/refused", headers=[("X-Mine", "\u00fc")]).status == 418
        assert url.send("GET", "/parts").body.count(b'"/parts"') == 200
    platform.lambda_.update_function_url_config(FunctionName=name, InvokeMode="BUFFERED")
    answer = url.send("GET", "/panic")
    assert (answer.status, answer.body) == (502, b"Internal Server Error")
