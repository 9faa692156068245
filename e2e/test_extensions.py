"""Extensions: the Extensions API, the Telemetry API, and the phases of an environment that has them.

AWS's own programs drive ours unmodified: its client for Rust (crates.io lambda-extension; `extension/` is an extension made
with it) and its Lambda Web Adapter (crates.io lambda_web_adapter), an extension that is the runtime of any HTTP server.
"""

import json
import os
import pathlib
import time

import pytest

from harness import HERE, package, together, until
from test_custom_runtimes import BASH as BOOTSTRAP

PYTHON = """#!/usr/bin/env python3
import http.client, http.server, json, os, signal, sys, threading, time
api = os.environ["AWS_LAMBDA_RUNTIME_API"]
name = os.path.basename(sys.argv[0])
def call(method, path, body=None, **headers):
    connection = http.client.HTTPConnection(api)
    connection.request(method, path, body, {key.replace("_", "-"): value for key, value in headers.items()})
    answer = connection.getresponse()
    return answer.status, answer.headers, json.loads(answer.read() or b"null")
def register(name, *events):
    return call("POST", "/2020-01-01/extension/register", json.dumps({"events": events}), Lambda_Extension_Name=name)
def following(id):
    return call("GET", "/2020-01-01/extension/event/next", Lambda_Extension_Identifier=id)[2]
def say(*words): print(name + ":", *words, flush=True)
"""

TELLER = (
    PYTHON
    + """
id = register(name, "INVOKE", "SHUTDOWN")[1]["lambda-extension-identifier"]
say("uid", os.getuid(), "variables", json.dumps(sorted(os.environ)))
while True:
    event = following(id)
    say("event", event["eventType"], event.get("requestId") or event["shutdownReason"])
    if event["eventType"] == "SHUTDOWN": break
    time.sleep(float(os.environ.get("WORK", "0")))
"""
)

BASH = r"""#!/bin/bash
host=${AWS_LAMBDA_RUNTIME_API%:*} port=${AWS_LAMBDA_RUNTIME_API#*:}
ask() { # METHOD PATH BODY HEADER: the answer's head and body
  exec 3<>"/dev/tcp/$host/$port"
  printf '%s %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n%s\r\n\r\n%s' "$1" "$2" "${#3}" "$4" "$3" >&3
  cat <&3
  exec 3<&-
}
id=$(ask POST /2020-01-01/extension/register '{"events":["INVOKE","SHUTDOWN"]}' "Lambda-Extension-Name: $(basename "$0")" |
  tr -d '\r' | sed -n 's/^lambda-extension-identifier: //Ip')
echo "bash: registered as $id"
while true; do
  event=$(ask GET /2020-01-01/extension/event/next '' "Lambda-Extension-Identifier: $id")
  case $event in
    *SHUTDOWN*) echo 'bash: the end'; exit 0 ;;
    *INVOKE*) echo 'bash: an invocation' ;;
  esac
done
"""

# Keeps what it is told in a file of /tmp, which the function can read.
SUBSCRIBER = (
    PYTHON
    + """
kept = open("/tmp/telemetry", "a")
class Listener(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        for record in json.loads(self.rfile.read(int(self.headers["content-length"]))):
            print(json.dumps(record), file=kept, flush=True)
        self.send_response(200)
        self.end_headers()
    def log_message(self, *_): pass
server = http.server.HTTPServer(("127.0.0.1", 4243), Listener)
threading.Thread(target=server.serve_forever, daemon=True).start()
id = register(name, "INVOKE", "SHUTDOWN")[1]["lambda-extension-identifier"]
path, version = os.environ.get("SUBSCRIBE", "/2022-07-01/telemetry 2022-12-13").split()
request = {"schemaVersion": version, "types": ["platform", "function", "extension"], "buffering": {"timeoutMs": 25},
    "destination": {"protocol": "HTTP", "URI": "http://sandbox.localdomain:4243/"}}
say("subscribed", call("PUT", path, json.dumps(request), Lambda_Extension_Identifier=id)[2])
while following(id)["eventType"] != "SHUTDOWN": pass
"""
)

ECHO = "def handler(event, context): return event"
# Gives what the subscriber has kept, once it has kept what the event names.
READER = """
import json, time
def handler(event, context):
    print("a line of the function")
    while True:
        try: records = [json.loads(line) for line in open("/tmp/telemetry")]
        except FileNotFoundError: records = []
        if sum(record["type"] == event["type"] for record in records) >= event.get("count", 1): return records
        time.sleep(0.01)
"""


@pytest.fixture
def layer(platform):
    """Makes layers of extensions, by name and content, and deletes them afterwards."""
    made = []

    def make(mode=0o755, **extensions):
        name = platform.unique("layer")
        files = {f"extensions/{file}": content for file, content in extensions.items()}
        content = package(files, dict.fromkeys(files, mode))
        made.append(name)
        return platform.lambda_.publish_layer_version(LayerName=name, Content={"ZipFile": content})["LayerVersionArn"]

    yield make
    for name in made:
        platform.lambda_.delete_layer_version(LayerName=name, VersionNumber=1)


def has_logged(platform, name, text, times=1):
    return until(
        lambda: (log := platform.logs(name)).count(text) >= times and log,
        f"{text!r} in the log of {name}",
        20,
    )


def variables(**values):
    return {"Variables": values}


def test_an_external_extension_lives_through_all_phases(platform, function, layer):
    name = function(ECHO, Layers=[layer(teller=TELLER)], Environment=variables(MINE="1"))
    results = [platform.call(name, n) for n in range(2)]
    assert [result.payload for result in results] == [0, 1]
    log = results[0].log
    assert f"teller: event INVOKE {results[0].request_id}" in log, log
    assert "REPORT RequestId" in log
    log = platform.logs(name)
    assert "EXTENSION\tName: teller\tState: Ready\tEvents: [INVOKE, SHUTDOWN]" in log
    told = next(line for line in log.splitlines() if "teller: uid" in line)
    seen = json.loads(told.partition("variables ")[2])
    assert {"MINE", "AWS_LAMBDA_RUNTIME_API", "AWS_LAMBDA_FUNCTION_NAME", "AWS_ACCESS_KEY_ID", "AWS_REGION"} <= set(seen)
    assert not {"_HANDLER", "LAMBDA_TASK_ROOT", "AWS_EXECUTION_ENV", "AWS_LAMBDA_LOG_STREAM_NAME"} & set(seen)
    platform.lambda_.update_function_configuration(FunctionName=name, Description="another")
    has_logged(platform, name, "teller: event SHUTDOWN SPINDOWN")


def test_the_answer_comes_before_extensions_are_done(platform, function, layer):
    name = function(ECHO, Layers=[layer(teller=TELLER)], Environment=variables(WORK="4"), Timeout=30)
    begun = time.monotonic()
    assert platform.invoke(name, 1, LogType="None") == 1
    assert time.monotonic() - begun < 3.5
    # Its environment is in use, so that this needs another.
    assert platform.invoke(name, 2, LogType="None") == 2
    assert time.monotonic() - begun < 7.5
    log = has_logged(platform, name, "REPORT RequestId", 2)
    assert log.count("INIT_START") == 2
    for report in (line for line in log.splitlines() if "REPORT RequestId" in line):
        assert float(report.partition("Duration: ")[2].split()[0]) >= 4000


@pytest.mark.parametrize("kind", ["python", "node", "bash"])
def test_an_extension_in_bash_beside_each_kind_of_runtime(platform, function, layer, kind):
    layers = [layer(bash=BASH)]
    if kind == "bash":
        name = function(BOOTSTRAP, runtime="provided.al2023", Layers=layers)
        assert platform.invoke(name, 5)["got"] == 5
    elif kind == "node":
        name = function("exports.handler = async (event) => event;", runtime=platform.node, Layers=layers)
        assert platform.invoke(name, 5) == 5
    else:
        name = function(ECHO, Layers=layers)
        assert platform.invoke(name, 5) == 5
    has_logged(platform, name, "bash: an invocation")
    platform.lambda_.update_function_configuration(FunctionName=name, Description="another")
    has_logged(platform, name, "bash: the end")


def test_an_internal_extension(platform, function):
    source = PYTHON.replace("#!/usr/bin/env python3\n", "").replace("os.path.basename(sys.argv[0])", "'inner'") + (
        "seen = []\n"
        "refused = register('inner', 'SHUTDOWN')[2]['errorType']\n"
        "id = register('inner', 'INVOKE')[1]['lambda-extension-identifier']\n"
        "def listen():\n"
        "    while True: seen.append(following(id)['requestId'])\n"
        "threading.Thread(target=listen, daemon=True).start()\n"
        "def handler(event, context):\n"
        "    while context.aws_request_id not in seen: time.sleep(0.001)\n"
        "    return [refused, register('late')[2]['errorType'], len(seen)]\n"
    )
    name = function(source)
    for n in (1, 2):
        answer = platform.invoke(name)
        assert answer == ["Extension.InvalidEventType", "Extension.RegistrationClosed", n]
    assert "EXTENSION\tName: inner\tState: Ready\tEvents: [INVOKE]" in platform.logs(name)


def test_a_later_layer_covers_an_extension_of_the_same_name(platform, function, layer):
    one, two = (layer(teller=TELLER.replace('say("uid"', f'say("{n}"')) for n in ("first", "second"))
    name = function(ECHO, Layers=[one, two])
    platform.invoke(name)
    log = platform.logs(name)
    assert "teller: second" in log and "teller: first" not in log
    assert log.count("EXTENSION\t") == 1


def test_what_goes_wrong_at_the_start_is_told_as_by_aws(platform, function, layer):
    crash = PYTHON + "register(name, 'INVOKE'); sys.exit(7)"
    init_error = PYTHON + (
        "id = register(name, 'INVOKE')[1]['lambda-extension-identifier']\n"
        "call('POST', '/2020-01-01/extension/init/error', '{}', Lambda_Extension_Identifier=id,\n"
        "    Lambda_Extension_Function_Error_Type='Extension.Mine')\n"
        "sys.exit(3)\n"
    )
    for made, error_type, reason, line in (
        (layer(ext=crash), "Extension.Crash", "exit status 7", "State: Exited\tEvents: [INVOKE]"),
        (layer(ext=init_error), "Extension.InitError", "exit status 3", "State: InitError\tEvents: [INVOKE]\tError Type: Extension.Mine"),
        (
            layer(mode=0o644, ext=TELLER),
            "Extension.LaunchError",
            "fork/exec /opt/extensions/ext: permission denied",
            "State: LaunchError\tEvents: []\tError Type: PermissionDenied",
        ),
        (layer(ext=b"\x7fELF no"), "Extension.LaunchError", "fork/exec /opt/extensions/ext: exec format error", "State: LaunchError"),
    ):
        result = platform.error_of(function(ECHO, Layers=[made]))
        assert result.payload["errorType"] == error_type, result.payload
        assert result.payload["errorMessage"] == f"RequestId: {result.request_id} Error: {reason}"
        assert line in result.log, result.log


def test_extensions_that_never_answer(platform, function, layer):
    """One does not register, one does not finish, one does not end: the functions' and the phases' times hold."""
    mute = layer(mute="#!/bin/sh\nexec sleep 1000\n")
    busy = layer(teller=TELLER)
    # It hears of the end, and stays.
    stays = layer(teller=TELLER.replace('== "SHUTDOWN": break', '== "SHUTDOWN": time.sleep(1000)'))

    def never_registers():
        begun = time.monotonic()
        result = platform.error_of(function(ECHO, Layers=[mute], Timeout=2))
        assert result.payload["errorType"] == "Sandbox.Timedout", result.payload
        assert 11 < time.monotonic() - begun < 30
        assert "Phase: invoke\tStatus: timeout" in result.log

    def never_finishes():
        name = function(ECHO, Layers=[busy], Environment=variables(WORK="1000"), Timeout=2)
        assert platform.invoke(name, 3, LogType="None") == 3
        log = has_logged(platform, name, "Status: timeout")
        assert "Task timed out after 2.00 seconds" in log
        # The environment is not used again.
        assert platform.invoke(name, 4, LogType="None") == 4

    def never_ends():
        name = function(ECHO, Layers=[stays])
        platform.invoke(name)
        platform.lambda_.update_function_configuration(FunctionName=name, Description="another")
        has_logged(platform, name, "teller: event SHUTDOWN SPINDOWN")
        # It is killed, and its function goes on.
        platform.wait_updated(name)
        assert platform.invoke(name, 5) == 5

    together([never_registers, never_finishes, never_ends])


def test_an_extension_that_dies_takes_the_environment_with_it(platform, function, layer):
    dies = TELLER.replace('time.sleep(float(os.environ.get("WORK", "0")))', "sys.exit(1)")
    name = function("import time\ndef handler(event, context): time.sleep(event)", Layers=[layer(teller=dies)], Timeout=30)
    result = platform.error_of(name, 20)
    assert result.payload["errorType"] == "Extension.Crash"
    assert result.payload["errorMessage"].endswith("Error: exit status 1")


def test_extensions_hear_why_it_ends(platform, function, layer):
    made = layer(teller=TELLER)
    for source, error, reason in (
        ("import time\ndef handler(event, context): time.sleep(100)", "Sandbox.Timedout", "TIMEOUT"),
        ("import os\ndef handler(event, context): os._exit(1)", "Runtime.ExitError", "FAILURE"),
    ):
        name = function(source, Layers=[made], Timeout=2)
        assert platform.error_of(name).payload["errorType"] == error
        has_logged(platform, name, f"teller: event SHUTDOWN {reason}")


def test_telemetry_from_the_start(platform, function, layer):
    name = function(READER, Layers=[layer(subscriber=SUBSCRIBER)], Timeout=20)
    platform.invoke(name, {"type": "platform.start"})
    records = platform.invoke(name, {"type": "platform.report"})
    types = [record["type"] for record in records]
    # Once it has registered, the function is loaded while it subscribes.
    assert types[0] == "platform.initStart" and "platform.telemetrySubscription" in types
    wanted = ["initRuntimeDone", "extension", "initReport", "start", "runtimeDone", "report"]
    order = [types.index(f"platform.{kind}") for kind in wanted]
    assert order == sorted(order), types
    assert all(record["time"].endswith("Z") and record["record"] for record in records)
    lines = [record["record"] for record in records if record["type"] == "function"]
    assert set(lines) == {"a line of the function"}
    assert {"type": "extension", "record": "subscriber: subscribed OK"}.items() <= next(
        record for record in records if record["type"] == "extension"
    ).items()
    report = next(record["record"] for record in records if record["type"] == "platform.report")
    assert report["status"] == "success" and report["metrics"]["memorySizeMB"] == 128
    log = platform.logs(name)
    assert "TELEMETRY\tName: subscriber\tState: Subscribed\tTypes: [Platform, Function, Extension]" in log


def test_the_logs_api_as_it_was(platform, function, layer):
    layers = [layer(subscriber=SUBSCRIBER)]
    old = variables(SUBSCRIBE="/2020-08-15/logs 2020-08-15")
    name = function(READER, Layers=layers, Environment=old, Timeout=20)
    platform.invoke(name, {"type": "platform.start"})
    records = platform.invoke(name, {"type": "platform.report"})
    types = {record["type"] for record in records}
    assert types >= {"platform.logsSubscription", "platform.extension", "platform.start", "platform.end", "platform.report"}
    assert not types & {"platform.runtimeDone", "platform.initStart", "platform.telemetrySubscription"}


def test_a_subscriber_that_hangs_delays_nobody(platform, function, layer):
    hangs = SUBSCRIBER.replace("    def do_POST(self):\n", "    def do_POST(self):\n        time.sleep(1000)\n")
    noisy = "def handler(event, context):\n    for n in range(3000): print('x' * 200)\n    return 1"
    name = function(noisy, Layers=[layer(subscriber=hangs)], Timeout=20)
    begun = time.monotonic()
    for _ in range(3):
        assert platform.invoke(name) == 1
    assert time.monotonic() - begun < 15


def built(name):
    """A program of AWS's or with its client."""
    folder = pathlib.Path(os.environ.get("EPHYRA_E2E_EXTENSION") or HERE / "extension" / "target" / "bin")
    if not (folder / name).exists():
        pytest.exit(f"{name} is not in {folder}: run scripts/test, or name the folder in EPHYRA_E2E_EXTENSION", 2)
    return (folder / name).read_bytes()


def test_awss_own_client(platform, function, layer):
    made = layer(**{"telemetry-extension": built("telemetry-extension")})
    name = function("def handler(event, context): print('hello'); return 1", Layers=[made])
    results = [platform.call(name) for _ in range(2)]
    assert [result.payload for result in results] == [1, 1]
    assert f"client: invoke {results[0].request_id}" in results[0].log

    # What was told to it after an invocation is read at the next one, if the environment was frozen meanwhile.
    def all_told():
        platform.call(name)
        log = platform.logs(name)
        return all(f"client: telemetry {text}" in log for text in ('Function("hello")', "PlatformReport", "PlatformInitReport"))

    until(all_told, "all kinds of telemetry to be told")
    platform.lambda_.update_function_configuration(FunctionName=name, Description="another")
    has_logged(platform, name, "client: shutdown SPINDOWN")


WEB_SERVER = """
import http.server
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"hello " + self.path.encode())
    def log_message(self, *_): pass
http.server.HTTPServer(("127.0.0.1", 8080), Handler).serve_forever()
"""


@pytest.mark.parametrize("kind", ["managed", "provided"])
def test_awss_web_adapter_is_the_runtime_of_an_http_server(platform, function, kind):
    files = {
        "extensions/lambda-adapter": built("lambda-adapter"),
        "bootstrap": '#!/bin/bash\nexec -- "${LAMBDA_TASK_ROOT}/${_HANDLER}"\n',
    }
    layer = platform.unique("layer")
    arn = platform.lambda_.publish_layer_version(
        LayerName=layer, Content={"ZipFile": package(files, dict.fromkeys(files, 0o755))}
    )["LayerVersionArn"]
    start = "#!/bin/sh\nexec python3 server.py\n"
    if kind == "managed":
        # As its documentation has it: the wrapper starts the server, and Python's own runtime never runs.
        name = function(
            None,
            files={"run.sh": start, "server.py": WEB_SERVER},
            modes={"run.sh": 0o755},
            handler="run.sh",
            Layers=[arn],
            Environment=variables(AWS_LAMBDA_EXEC_WRAPPER="/opt/bootstrap"),
            Timeout=20,
        )
    else:
        name = function(start, runtime="provided.al2023", files={"server.py": WEB_SERVER}, Layers=[arn], Timeout=20)
    http = {"method": "GET", "path": "/x", "protocol": "HTTP/1.1", "sourceIp": "127.0.0.1", "userAgent": "e2e"}
    context = {
        "accountId": "1", "apiId": "a", "domainName": "a", "domainPrefix": "a", "http": http, "requestId": "1",
        "routeKey": "$default", "stage": "$default", "time": "12/Mar/2020:19:03:58 +0000", "timeEpoch": 1583348638390,
    }  # fmt: skip
    event = {
        "version": "2.0", "routeKey": "$default", "rawPath": "/x", "rawQueryString": "", "headers": {"host": "a"},
        "requestContext": context, "isBase64Encoded": False,
    }  # fmt: skip
    for _ in range(2):
        answer = platform.invoke(name, event)
        assert (answer["statusCode"], answer["body"]) == (200, "hello /x")
    platform.lambda_.delete_layer_version(LayerName=layer, VersionNumber=1)
