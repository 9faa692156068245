"""What functions do wrong, in each runtime: the environment ends, the caller gets Lambda's error, nobody else notices.

Each row of the table is a misdeed; each column a runtime. A test calls a function that behaves, has it misbehave, and
looks at four things: what its caller is told; whether the environment is gone, or is used again where Lambda uses it
again; that another function got right answers in good time all the while; and that nothing is left on the machine.

Below the table are extensions, and packages that are wrong from the start. More of these are in `test_runtimes.py`,
`test_java.py`, `test_custom_runtimes.py` and `test_extensions.py`; all of WebAssembly, which has one process for many
functions, in `test_wasm.py`; attempts to get out of a sandbox in `test_sandbox.py`.
"""

import json
import os
import pathlib
import re
import threading
import time

import pytest

import harness
from harness import HERE, package, together, until
from test_custom_runtimes import BASH, PROVIDED, PYTHON_CLIENT
from test_extensions import ECHO
from test_extensions import PYTHON as EXTENSION

TIMEOUT = 3
# Another function's answer is late beyond this, in seconds: two cores may be shared with much else.
BOUND = 2.0
# A shell takes little memory, so that it is the number of processes that is met first.
# Silent, or its complaints hide what the platform says; and late, or who starts it may find no place for a thread of its own.
BOMB = "exec 2>/dev/null; sleep 0.2; f() { f | f & }; f; while true; do f; done"

PYTHON = """
import os, signal, subprocess, sys, threading, time, uuid
kept, born, count, before = [], str(uuid.uuid4()), 0, bytes(16)
def answer(id, body):
    return (16 + len(body)).to_bytes(4, "little") + bytes((0x84, 2, 0, 0)) + id + body
def handler(event, context):
    global count, before
    id, last, what = uuid.UUID(context.aws_request_id).bytes, before, event.get("do")
    count, before = count + 1, id
    if what == "spins":
        while True: pass
    elif what == "forks without end":
        subprocess.run(["/bin/sh", "-c", event["bomb"]]); time.sleep(60)
    elif what == "leaves children":
        for _ in range(20): subprocess.Popen(["/bin/sleep", "600"])
    elif what == "leaks memory":
        while True: kept.append(b"x" * (8 << 20))
    elif what == "leaks descriptors":
        while True: kept.append(os.open("/dev/null", os.O_RDONLY))
    elif what == "leaks threads":
        while True: threading.Thread(target=time.sleep, args=(600,), daemon=True).start()
    elif what == "answers late":
        if os.fork() == 0:
            os.setsid()
            time.sleep(event["late"])
            os.write(3, answer(id, b'"late"'))
            time.sleep(60)
        time.sleep(60)
    elif what == "answers twice":
        os.write(3, answer(id, b'"first"') + answer(id, b'"second"'))
    elif what == "answers another's":
        os.write(3, answer(last, b'"late"')); time.sleep(60)
    elif what == "writes garbage":
        os.write(3, b"GET / HTTP/1.1\\r\\n\\r\\n"); time.sleep(60)
    elif what == "closes its socket":
        os.close(3); time.sleep(60)
    elif what == "floods its log":
        while True: print("x" * 1000)
    elif what == "writes a line without end":
        while True: os.write(1, b"x" * 100_000)
    elif what == "stops itself":
        os.kill(os.getpid(), signal.SIGSTOP)
    return {"count": count, "born": born, "sandbox": os.readlink("/proc/self/ns/pid")}
"""

NODE = """
const fs = require('fs'), { spawn } = require('child_process'), { Worker } = require('worker_threads');
const kept = [], born = require('crypto').randomUUID();
let count = 0, before = Buffer.alloc(16);
const answer = (id, body) => Buffer.concat([Buffer.from([16 + body.length, 0, 0, 0, 0x84, 2, 0, 0]), id, Buffer.from(body)]);
const ever = () => new Promise(() => setTimeout(() => {}, 60000));
exports.handler = async (event, context) => {
  const id = Buffer.from(context.awsRequestId.replaceAll('-', ''), 'hex'), last = before;
  count += 1;
  before = id;
  switch (event.do) {
    case 'spins': for (;;) {}
    case 'forks without end': spawn('/bin/sh', ['-c', event.bomb]); await ever();
    case 'leaves children': for (let n = 0; n < 20; n += 1) spawn('/bin/sleep', ['600'], { stdio: 'ignore' }).unref(); break;
    case 'leaks memory': for (;;) kept.push(Buffer.alloc(8 << 20, 1));
    case 'leaks descriptors': for (;;) kept.push(fs.openSync('/dev/null'));
    case 'leaks threads': for (;;) { kept.push(new Worker('setInterval(() => {}, 1000)', { eval: true })); await null; }
    case 'answers late':
      spawn('/bin/sh', ['-c', `sleep ${event.late}; echo late >&3`], { stdio: ['ignore', 'ignore', 'ignore', 3], detached: true });
      await ever();
    case 'answers twice': fs.writeSync(3, Buffer.concat([answer(id, '"first"'), answer(id, '"second"')])); break;
    case "answers another's": fs.writeSync(3, answer(last, '"late"')); await ever();
    case 'writes garbage': fs.writeSync(3, 'GET / HTTP/1.1\\r\\n\\r\\n'); await ever();
    case 'closes its socket': fs.closeSync(3); await ever();
    case 'floods its log': for (;;) console.log('x'.repeat(1000));
    case 'writes a line without end': for (;;) fs.writeSync(1, 'x'.repeat(100000));
    case 'stops itself': process.kill(process.pid, 'SIGSTOP'); await ever();
  }
  return { count, born, sandbox: fs.readlinkSync('/proc/self/ns/pid') };
};
"""

BOOTSTRAP = (
    PYTHON_CLIENT
    + """
import signal, subprocess, threading, time, uuid
kept, born, count, before = [], str(uuid.uuid4()), 0, "none"
line = http.client.HTTPConnection(api)
def ask(method, path, body=None, headers={}):
    line.request(method, ROOT + path, body, headers)
    answer = line.getresponse()
    return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()
def raw(text):
    host, port = api.split(":")
    connection = socket.create_connection((host, int(port)))
    connection.sendall(text)
    return connection
def post(id, what, value, headers={}):
    return ask("POST", f"/invocation/{id}/{what}", json.dumps(value).encode(), headers)[0]
def run(event, id, last):
    what = event.get("do")
    if what == "spins":
        while True: pass
    elif what == "forks without end":
        subprocess.run(["/bin/sh", "-c", event["bomb"]]); time.sleep(60)
    elif what == "leaves children":
        for _ in range(20): subprocess.Popen(["/bin/sleep", "600"])
    elif what == "leaks memory":
        while True: kept.append(b"x" * (8 << 20))
    elif what == "leaks descriptors":
        while True: kept.append(os.open("/dev/null", os.O_RDONLY))
    elif what == "leaks threads":
        while True: threading.Thread(target=time.sleep, args=(600,), daemon=True).start()
    elif what == "answers late":
        if os.fork() == 0:
            os.setsid()
            time.sleep(event["late"])
            raw(f"POST {ROOT}/invocation/{id}/response HTTP/1.1\\r\\nHost: x\\r\\nContent-Length: 6\\r\\n\\r\\n\\"late\\"".encode())
            time.sleep(60)
        time.sleep(60)
    elif what == "answers twice":
        assert post(id, "response", "first") == 202
        assert post(id, "response", "second") == 403
        return
    elif what == "answers another's":
        assert post(last, "response", "late") == 400
    elif what == "writes garbage":
        for text in (b"\\0\\xff" * 5000, b"GET / HTTP/9\\r\\n\\r\\n", b"POST x\\r\\n", b"GET /" + b"x" * 100_000):
            try: kept.append(raw(text))
            except OSError: pass
    elif what == "closes its socket":
        # Half of an answer does not count, nor may it go on without one.
        raw(f"POST {ROOT}/invocation/{id}/response HTTP/1.1\\r\\nHost: x\\r\\nContent-Length: 100\\r\\n\\r\\n\\"half".encode()).close()
        while ask("GET", "/invocation/next")[0] == 403: time.sleep(0.1)
    elif what == "floods its log":
        while True: print("x" * 1000)
    elif what == "writes a line without end":
        while True: os.write(1, b"x" * 100_000)
    elif what == "stops itself":
        os.kill(os.getpid(), signal.SIGSTOP)
    post(id, "response", {"count": count, "born": born, "sandbox": os.readlink("/proc/self/ns/pid")})
while True:
    status, headers, event = ask("GET", "/invocation/next")
    id, last = headers["lambda-runtime-aws-request-id"], before
    count, before = count + 1, id
    try:
        run(json.loads(event), id, last)
    except Exception as error:
        value = {"errorType": type(error).__name__, "errorMessage": str(error), "stackTrace": []}
        post(id, "error", value, {"Lambda-Runtime-Function-Error-Type": "Function.Failed"})
"""
)

ENDS, KEPT = "the environment ends", "the environment is used again"
TIMES_OUT = ("Sandbox.Timedout", rf"RequestId: {{id}} Error: Task timed out after {TIMEOUT}\.00 seconds", ENDS)
KILLED = ("Runtime.OutOfMemory", "RequestId: {id} Error: Runtime exited with error: signal: killed", ENDS)
IS_BREACH = ("Runtime.ExitError", "RequestId: {id} Error: Runtime broke the protocol: .*{how}.*", ENDS)
GOES_ON = (None, None, KEPT)
FIRST_COUNTS = (None, '"first"', ENDS)


def breach(how):
    return tuple(part.replace("{how}", how) for part in IS_BREACH)


def everywhere(outcome, **others):
    return dict.fromkeys(("python", "node", "java", "provided"), outcome) | others


# What the caller is told (None: an answer) and what becomes of the environment.
TABLE = {
    "spins": everywhere(TIMES_OUT),
    "forks without end": everywhere(TIMES_OUT),
    "leaves children": everywhere(GOES_ON),
    "leaks memory": everywhere(KILLED, java=("java.lang.OutOfMemoryError", "Java heap space", ENDS)),
    "leaks memory that is not the heap's": {"java": KILLED},
    "leaks descriptors": {
        "python": ("OSError", r"\[Errno 24\] Too many open files: '/dev/null'", KEPT),
        "node": ("Error", "EMFILE: too many open files, open '/dev/null'", KEPT),
        "java": ("java.io.FileNotFoundException", r"/dev/null \(Too many open files\)", KEPT),
        "provided": ("OSError", r"\[Errno 24\] Too many open files: '/dev/null'", KEPT),
    },
    "leaks threads": {
        "python": ("RuntimeError", "can't start new thread", KEPT),
        # Each thread is an interpreter: memory or time is short first.
        "node": tuple(f"({one})|({other})" if one != other else one for one, other in zip(KILLED, TIMES_OUT)),
        "java": ("java.lang.OutOfMemoryError", "unable to create native thread.*", ENDS),
        "provided": ("RuntimeError", "can't start new thread", KEPT),
    },
    "answers late": everywhere(TIMES_OUT),
    "answers twice": everywhere(FIRST_COUNTS, provided=(None, '"first"', KEPT)),
    "answers another's": everywhere(breach("RESPONSE which is not about this invocation"), provided=GOES_ON),
    "writes garbage": everywhere(breach("a frame of version 32"), provided=GOES_ON),
    "closes its socket": everywhere(breach("closed its control socket"), provided=TIMES_OUT),
    "floods its log": everywhere(TIMES_OUT),
    "writes a line without end": everywhere(TIMES_OUT),
    "stops itself": everywhere(TIMES_OUT),
}


class Witness:
    """Another function, called again and again while somebody misbehaves."""

    def __init__(self, server):
        self.server = server
        self.name = server.create(ECHO)
        assert server.invoke(self.name, -1) == -1

    def __enter__(self):
        self.done, self.failures, self.times = threading.Event(), [], []
        self.thread = threading.Thread(target=self.watch)
        self.thread.start()
        return self

    def watch(self):
        while not self.times or not self.done.is_set():
            begun = time.monotonic()
            try:
                answer = self.server.invoke(self.name, len(self.times), LogType="None")
                assert answer == len(self.times), answer
            except Exception as error:  # noqa: BLE001 - looked at below
                self.failures.append(error)
            self.times.append(time.monotonic() - begun)

    def __exit__(self, kind, *_):
        self.done.set()
        self.thread.join()
        if kind is None:
            assert not self.failures, self.failures[:3]
            assert max(self.times) < BOUND, sorted(self.times)[-5:]


# Descriptors of the warden's: 64 users, 128 networks, 32 file systems of two.
KEPT = 64 + 128 + 64


def descriptors(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


@pytest.fixture(scope="module")
def server():
    """A platform for misdeeds alone. When all is over it has what it had before them, and leaves nothing when it ends."""
    server = harness.Server()
    try:
        server.start()
        server.witness = Witness(server)
        parts = server.parts()
        before = [descriptors(pid) for pid in parts]
        server.made = []
        yield server
        for name in server.made:
            server.forget(name)
        until(lambda: len(server.sandboxes()[0]) == 1, "the witness to be alone")
        # A connection of a client's, and environments that are held ready, may be more than there were; and what the warden
        # keeps for those to come, which has its bounds.
        spare = 3 + 16 * len(server.sandboxes()[1]) + KEPT
        until(lambda: all(descriptors(pid) <= had + spare for pid, had in zip(parts, before)), "descriptors to be closed")
        server.terminate()
    finally:
        server.close()


def java(server):
    return next(name for name in server.runtimes() if name.startswith("java"))


def compiled(name):
    """A Java class of these tests with its inner ones, as files of a package."""
    folder = pathlib.Path(os.environ.get("EPHYRA_E2E_JAVA") or HERE / "java" / "target") / "classes" / "e2e"
    files = {f"e2e/{path.name}": path.read_bytes() for path in folder.glob(f"{name}*.class")}
    if not files:
        pytest.exit(f"{name} is not in {folder}: run scripts/test, or mvn package in {HERE / 'java'}", 2)
    return files


@pytest.fixture(scope="module")
def wrongdoer(server):
    """The function that misbehaves in a runtime."""
    made = {}

    def make(runtime):
        if runtime not in made:
            more = {"Timeout": TIMEOUT, "MemorySize": 512}
            if runtime == "java":
                code = {"ZipFile": package(compiled("Misdeeds"))}
                made[runtime] = server.create(None, runtime=java(server), handler="e2e.Misdeeds::handle", Code=code, **more)
            else:
                source = {"python": PYTHON, "node": NODE, "provided": BOOTSTRAP}[runtime]
                identifier = {"python": server.python, "node": server.node, "provided": PROVIDED}[runtime]
                made[runtime] = server.create(source, runtime=identifier, **more)
            server.made.append(made[runtime])
        return made[runtime]

    return make


@pytest.mark.parametrize(("misdeed", "runtime"), [(misdeed, runtime) for misdeed, row in TABLE.items() for runtime in row])
def test_misdeeds(server, wrongdoer, misdeed, runtime):
    error_type, message, fate = TABLE[misdeed][runtime]
    name = wrongdoer(runtime)
    before = server.invoke(name)
    # What runs on between invocations is there when the environment ends.
    inside = server.sandboxes()[0][before["sandbox"]]

    def gone():
        return before["sandbox"] not in server.sandboxes()[0] and not inside & server.guests()

    event = {"do": misdeed, "bomb": BOMB, "late": TIMEOUT + 0.1}
    with server.witness:
        result = server.call(name, {key: str(value) if runtime == "java" else value for key, value in event.items()})
        if fate is ENDS:
            until(gone, "the environment to be gone", 20)
        after = server.invoke(name)
    assert result.status == 200
    if error_type:
        assert result.error == "Unhandled" and re.fullmatch(error_type, result.payload["errorType"]), result.payload
        assert re.fullmatch(message.replace("{id}", result.request_id), result.payload["errorMessage"], re.S), result.payload
        assert f"REPORT RequestId: {result.request_id}" in result.log
    else:
        assert result.error is None, result.payload
        assert message is None or result.raw.decode() == message
    if fate is ENDS:
        assert (after["count"], after["born"] == before["born"]) == (1, False)
    else:
        assert (after["count"], after["born"]) == (before["count"] + 2, before["born"])
        # What it left behind goes with it.
        server.lambda_.update_function_configuration(FunctionName=name, Description=misdeed)
        server.wait_updated(name)
        until(gone, "the environment to be gone", 20)


# -- extensions

REGISTERED = EXTENSION + "id = register(name, 'INVOKE', 'SHUTDOWN')[1]['lambda-extension-identifier']\nsay('registered')\n"
HANGING = {
    "before it registers": EXTENSION + "time.sleep(1000)\n",
    "before it asks for an event": REGISTERED + "time.sleep(1000)\n",
    "with half a request": EXTENSION + "import socket\nhost, port = api.split(':')\n"
    "s = socket.create_connection((host, int(port)))\ns.sendall(b'POST /2020-01-01/extension/register HTTP/1.1\\r\\nHost: x')\ntime.sleep(1000)\n",
}  # fmt: skip
# It has heard of an invocation, or of the end.
ON = {
    "INVOKE": REGISTERED + "while following(id)['eventType'] != 'INVOKE': pass\nMISDEED\n",
    "SHUTDOWN": REGISTERED + "while following(id)['eventType'] != 'SHUTDOWN': pass\nMISDEED\n",
}


@pytest.fixture(scope="module")
def with_extension(server):
    """Makes functions that have an extension."""
    layers = []

    def make(extension, source="def handler(event, context): return event", **arguments):
        layers.append(server.unique("layer"))
        content = package({"extensions/wrong": extension}, {"extensions/wrong": 0o755})
        arn = server.lambda_.publish_layer_version(LayerName=layers[-1], Content={"ZipFile": content})["LayerVersionArn"]
        arguments.setdefault("Timeout", TIMEOUT)
        server.made.append(server.create(source, Layers=[arn], **arguments))
        return server.made[-1]

    yield make
    for layer in layers:
        server.lambda_.delete_layer_version(LayerName=layer, VersionNumber=1)


def alone(server):
    """Whether no function but the witness has an environment."""
    return len(server.sandboxes()[0]) == 1


@pytest.fixture
def quiet(server):
    """The witness alone has an environment, before and after."""
    for name in server.made:
        server.forget(name)
    server.made.clear()
    until(lambda: alone(server), "the witness to be alone", 20)
    yield
    until(lambda: alone(server), "the environments to be gone", 20)


def test_extensions_that_never_answer_at_the_start(server, quiet, with_extension):
    sources = {"python": {}, "node": {"source": NODE, "runtime": server.node}, "bash": {"source": BASH, "runtime": PROVIDED}}
    names = [with_extension(source, **more) for source in HANGING.values() for more in sources.values()]

    def check(name):
        # The ten seconds of an initialisation are over, and so is the function's own time.
        begun = time.monotonic()
        result = server.error_of(name)
        message = f"RequestId: {result.request_id} Error: Task timed out after {TIMEOUT}.00 seconds"
        assert result.payload == {"errorType": "Sandbox.Timedout", "errorMessage": message}
        assert 10 + TIMEOUT <= time.monotonic() - begun < 40
        assert "INIT_REPORT" in server.logs(name) and "Status: timeout" in server.logs(name)

    with server.witness:
        together([lambda name=name: check(name) for name in names])


def test_extensions_that_never_answer_at_the_end(server, quiet, with_extension):
    deaf = "signal.signal(signal.SIGTERM, signal.SIG_IGN)\nsay('hangs')\nwhile True: time.sleep(1000)"
    name = with_extension(ON["SHUTDOWN"].replace("MISDEED", deaf))
    assert server.invoke(name, 1) == 1
    with server.witness:
        begun = time.monotonic()
        server.lambda_.update_function_configuration(FunctionName=name, Description="another")
        until(lambda: alone(server), "the environment to be gone", 20)
        # Two seconds are theirs, and no more.
        assert 1.5 < time.monotonic() - begun < 10
        assert "hangs" in server.logs(name)
        server.wait_updated(name)
        assert server.invoke(name, 2) == 2
    server.forget(name)


@pytest.mark.parametrize(
    ("what", "error_type", "message"),
    [
        ("while True: pass", None, None),
        (f"import subprocess; subprocess.run(['/bin/sh', '-c', {BOMB!r}]); time.sleep(1000)", None, None),
        ("while True: print('x' * 1000)", None, None),
        ("kept = []\nwhile True: kept.append(b'x' * (8 << 20))", "Extension.Crash", "signal: killed"),
        ("os.kill(os.getpid(), 11)", "Extension.Crash", "signal: segmentation fault"),
        ("sys.exit(0)", "Extension.Crash", "exit code 0"),
        ("call('POST', '/2020-01-01/extension/exit/error', '{}', Lambda_Extension_Identifier=id,"
         " Lambda_Extension_Function_Error_Type='Extension.Mine'); time.sleep(1000)", "Extension.ExitError", "wrong failed"),
    ],
    ids=["spins", "forks", "floods", "leaks", "crashes", "leaves", "gives up"],
)  # fmt: skip
def test_extensions_that_misbehave_at_an_invocation(server, quiet, with_extension, what, error_type, message):
    slow = "import time\ndef handler(event, context):\n    time.sleep(event)\n    return event"
    name = with_extension(ON["INVOKE"].replace("MISDEED", what), slow, MemorySize=512, Timeout=TIMEOUT if error_type is None else 30)
    with server.witness:
        if error_type is None:
            # The function has answered; its extension has its time, and the environment ends.
            assert server.invoke(name, 0, LogType="None") == 0
        else:
            result = server.error_of(name, 20)
            assert result.payload["errorType"] == error_type, result.payload
            assert re.fullmatch(f"RequestId: {result.request_id} Error: {message}", result.payload["errorMessage"]), result.payload
        until(lambda: alone(server), "the environment to be gone", 20)
        # A flood may have gone on behind it, beyond what is shown.
        assert error_type or "print" in what or "Task timed out" in server.logs(name)
    server.forget(name)


# -- packages that are wrong from the start


def test_a_jar_without_the_class(server, quiet):
    manifest = {"META-INF/MANIFEST.MF": "Manifest-Version: 1.0\r\n\r\n"}
    jar = package(manifest | compiled("Order"))
    absent = "java.lang.ClassNotFoundException"
    cases = [
        # The package is the jar; the jar is a library; the library is none; the class is none.
        (jar, absent),
        (package({"lib/functions.jar": jar}), absent),
        (package({"lib/functions.jar": jar[:100]}), absent),
        (package(manifest | {"e2e/Misdeeds.class": b"\xca\xfe\xba\xbe\0\0\0\x34 not a class"}), "java.lang.ClassFormatError"),
    ]
    for code, error_type in cases:
        name = server.create(
            None, runtime=java(server), handler="e2e.Misdeeds::handle", Code={"ZipFile": code}, MemorySize=256, Timeout=20
        )
        server.made.append(name)
        with server.witness:
            results = [server.error_of(name) for _ in range(2)]
            server.forget(name)
            until(lambda: alone(server), "the environment to be gone", 20)
        for result in results:
            assert result.payload["errorType"] == error_type, result.payload
            assert error_type != absent or result.payload["errorMessage"] == "Class not found: e2e.Misdeeds"
        # As on Lambda, Java's runtime goes on without a class: it is the invocations that fail.
        assert [("Init Duration" in result.log) for result in results] == [True, error_type != absent]
