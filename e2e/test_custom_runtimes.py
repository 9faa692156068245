"""Custom runtimes that speak the HTTP Runtime API, and layers.

AWS's own client of that interface for Python (PyPI awslambdaric) drives ours unmodified. The one for Node
(npm aws-lambda-ric) compiles C++ when it is installed and is therefore not driven here.
"""

import importlib.metadata
import json
import re
import sys
import time

import pytest

from harness import package

# -- custom runtimes

PROVIDED = "provided.al2023"

BASH = r"""#!/bin/bash
# Speaks HTTP by itself, so that nothing but bash is needed.
set -u
host=${AWS_LAMBDA_RUNTIME_API%:*} port=${AWS_LAMBDA_RUNTIME_API#*:}
while true; do
  exec 3<>"/dev/tcp/$host/$port"
  printf 'GET /2018-06-01/runtime/invocation/next HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n' >&3
  id= length=0
  while IFS= read -r line <&3; line=${line%$'\r'}; [ -n "$line" ]; do
    case ${line,,} in
      lambda-runtime-aws-request-id:*) id=${line#*: } ;;
      content-length:*) length=${line#*: } ;;
    esac
  done
  IFS= LC_ALL=C read -r -N "$length" event <&3
  exec 3<&-
  echo "handling $event"
  answer="{\"got\":$event,\"handler\":\"$_HANDLER\",\"directory\":\"$PWD\"}"
  exec 3<>"/dev/tcp/$host/$port"
  printf 'POST /2018-06-01/runtime/invocation/%s/response HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s' \
    "$id" "${#answer}" "$answer" >&3
  read -r status <&3
  exec 3<&-
done
"""

PYTHON_CLIENT = """#!/usr/bin/env python3
import base64, http.client, json, os, socket, sys
api = os.environ["AWS_LAMBDA_RUNTIME_API"]
ROOT = "/2018-06-01/runtime"
def ask(method, path, body=None, headers={}):
    connection = http.client.HTTPConnection(api)
    connection.request(method, ROOT + path, body, headers)
    answer = connection.getresponse()
    return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()
"""


@pytest.mark.parametrize("runtime", [PROVIDED, "provided.al2"])
def test_bootstrap_in_bash(platform, function, runtime):
    name = function(BASH, runtime=runtime, handler="my.handler", Timeout=10)
    for n in range(2):
        result = platform.call(name, {"n": n})
        assert result.error is None, (result.payload, result.log)
        assert result.payload == {"got": {"n": n}, "handler": "my.handler", "directory": "/var/task"}
        assert 'handling {"n":' in result.log.replace('{"n": ', '{"n":')


def test_bootstrap_that_cannot_be_run(platform, function):
    result = platform.error_of(function(None, runtime=PROVIDED, files={"other": "x"}))
    assert result.payload["errorType"] == "Runtime.InvalidEntrypoint"
    result = platform.error_of(function(None, runtime=PROVIDED, files={"bootstrap": BASH}, modes={"bootstrap": 0o644}))
    assert result.payload["errorType"] in ("Runtime.InvalidEntrypoint", "Runtime.ExitError")


def test_runtime_api_answers_and_errors(platform, function):
    source = (
        PYTHON_CLIENT
        + """
status, headers, event = ask("GET", "/invocation/next")
request = headers["lambda-runtime-aws-request-id"]
seen = {
    "headers": headers,
    "wrong id": ask("POST", "/invocation/00000000-0000-0000-0000-000000000000/response", b"{}")[::2],
    "no such path": ask("GET", "/nothing")[0],
    "init error too late": ask("POST", "/init/error", b"{}", {"Lambda-Runtime-Function-Error-Type": "Runtime.X"})[0],
}
seen = {k: [v[0], v[1].decode()] if isinstance(v, tuple) else v for k, v in seen.items()}
answered = ask("POST", f"/invocation/{request}/response", json.dumps(seen).encode())
print("answered", answered[0], answered[2].decode(), flush=True)
again = ask("POST", f"/invocation/{request}/response", b"{}")
print("again", again[0], again[2].decode(), flush=True)
while True:
    status, headers, event = ask("GET", "/invocation/next")
    request = headers["lambda-runtime-aws-request-id"]
    kind = json.loads(event).get("kind")
    error = {"errorMessage": "of mine", "errorType": "My.Error", "stackTrace": []}
    header = {"Lambda-Runtime-Function-Error-Type": kind}
    ask("POST", f"/invocation/{request}/error", json.dumps(error).encode(), header)
"""
    )
    name = function(source, runtime=PROVIDED, Timeout=10)
    result = platform.call(name, {})
    assert result.error is None, (result.payload, result.log)
    headers = result.payload["headers"]
    arn = f"arn:aws:lambda:{platform.region}:{platform.account}:function:{name}"
    assert headers["lambda-runtime-aws-request-id"] == result.request_id
    assert headers["lambda-runtime-invoked-function-arn"] == arn
    assert headers["lambda-runtime-trace-id"]
    assert abs(int(headers["lambda-runtime-deadline-ms"]) / 1000 - time.time()) < 15
    assert headers["content-type"] == "application/json"
    assert "lambda-runtime-client-context" not in headers
    status, body = result.payload["wrong id"]
    assert status == 400 and json.loads(body) == {"errorMessage": "Invalid request ID", "errorType": "InvalidRequestID"}
    assert result.payload["no such path"] == 404
    assert result.payload["init error too late"] == 403
    result = platform.error_of(name, {"kind": "Function.Mine"})
    assert result.payload == {"errorMessage": "of mine", "errorType": "My.Error", "stackTrace": []}
    log = platform.logs(name)
    assert 'answered 202 {"status":"OK"}' in log, log
    assert re.search(r"again 40[03] ", log), log


def test_init_error_of_a_custom_runtime(platform, function):
    source = (
        PYTHON_CLIENT
        + """
error = {"errorMessage": "cannot begin", "errorType": "My.Init", "stackTrace": []}
print(ask("POST", "/init/error", json.dumps(error).encode(), {"Lambda-Runtime-Function-Error-Type": "Runtime.Mine"})[0])
sys.exit(1)
"""
    )
    result = platform.error_of(function(source, runtime=PROVIDED))
    assert result.payload["errorMessage"] == "cannot begin"
    assert result.payload["errorType"] == "My.Init"


STREAMING = (
    PYTHON_CLIENT
    + """
while True:
    status, headers, event = ask("GET", "/invocation/next")
    event, request = json.loads(event), headers["lambda-runtime-aws-request-id"]
    host, port = api.split(":")
    s = socket.create_connection((host, int(port)))
    s.sendall((
        f"POST {ROOT}/invocation/{request}/response HTTP/1.1\\r\\nHost: x\\r\\nTransfer-Encoding: chunked\\r\\n"
        "Lambda-Runtime-Function-Response-Mode: streaming\\r\\nContent-Type: text/plain\\r\\n"
        "Trailer: Lambda-Runtime-Function-Error-Type, Lambda-Runtime-Function-Error-Body\\r\\n\\r\\n"
    ).encode())
    for n in range(event["parts"]):
        part = f"part {n};".encode()
        s.sendall(b"%x\\r\\n%s\\r\\n" % (len(part), part))
    s.sendall(b"0\\r\\n")
    if event.get("fail"):
        body = base64.b64encode(json.dumps({"errorType": "Mine", "errorMessage": "half way"}).encode()).decode()
        s.sendall(f"Lambda-Runtime-Function-Error-Type: Function.Mine\\r\\nLambda-Runtime-Function-Error-Body: {body}\\r\\n".encode())
    s.sendall(b"\\r\\n")
    print("answer", s.recv(4096).split(b"\\r\\n")[0])
    s.close()
"""
)


def test_streaming_with_trailers(platform, function):
    name = function(STREAMING, runtime=PROVIDED, Timeout=10)

    def stream(event):
        answer = platform.lambda_.invoke_with_response_stream(FunctionName=name, Payload=json.dumps(event).encode())
        parts = list(answer["EventStream"])
        return b"".join(p["PayloadChunk"]["Payload"] for p in parts if "PayloadChunk" in p), parts[-1]["InvokeComplete"]

    body, end = stream({"parts": 3})
    assert body == b"part 0;part 1;part 2;" and "ErrorCode" not in end
    body, end = stream({"parts": 1, "fail": True})
    assert body == b"part 0;"
    assert end["ErrorCode"] == "Unhandled" and "half way" in end["ErrorDetails"]
    assert platform.call(name, {"parts": 2}).raw == b"part 0;part 1;"


def test_awslambdaric_runs_unmodified(platform, function):
    files = {
        "app.py": "import logging\ndef handler(event, context):\n    logging.warning('heard')\n    if event.get('fail'):\n        raise ValueError('so be it')\n    return [event, context.aws_request_id, context.get_remaining_time_in_millis()]\n"
    }
    for distribution in ("awslambdaric", "simplejson", "snapshot-restore-py"):
        for path in importlib.metadata.files(distribution) or ():
            if not str(path).startswith("..") and "__pycache__" not in str(path):
                files[str(path)] = path.locate().read_bytes()
    # The wheel has a compiled part: the interpreter must be the one that it was installed for.
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    files["bootstrap"] = f"#!/bin/sh\nexec /usr/bin/python{version} -m awslambdaric app.handler\n"
    name = function(None, runtime=PROVIDED, files=files, modes={"bootstrap": 0o755}, Timeout=10, MemorySize=256)
    result = platform.call(name, {"a": 1})
    assert result.error is None, (result.payload, result.log)
    event, request, remaining = result.payload
    assert (event, request) == ({"a": 1}, result.request_id) and 0 < remaining <= 10_000
    result = platform.error_of(name, {"fail": True})
    assert result.payload["errorType"] == "ValueError" and result.payload["errorMessage"] == "so be it"


# -- layers


def test_layers_are_under_opt_in_order(platform, function):
    name = platform.unique("layer")
    layers = []
    for n, files in enumerate(
        (
            {
                "both.txt": "first",
                "one.txt": "1",
                "python/helper.py": "WHERE = 'first'",
                "bin/tool": "#!/bin/sh\necho first\n",
            },
            {"both.txt": "second", "two.txt": "2", "python/helper.py": "WHERE = 'second'"},
        )
    ):
        answer = platform.lambda_.publish_layer_version(
            LayerName=f"{name}-{n}", Content={"ZipFile": package(files, {"bin/tool": 0o755})}
        )
        layers.append(answer["LayerVersionArn"])
    source = (
        "import helper, os, subprocess\ndef handler(event, context):\n"
        "    read = lambda name: open(f'/opt/{name}.txt').read()\n"
        "    return [read('both'), read('one'), read('two'), helper.WHERE, os.access('/opt', os.W_OK),"
        " subprocess.run(['tool'], capture_output=True, text=True).stdout]\n"
    )
    # A later layer covers an earlier one.
    for order, wins in ((layers, "second"), (layers[::-1], "first")):
        f = function(source, Layers=order)
        assert platform.invoke(f) == [wins, "1", "2", wins, False, "first\n"]
    for n in range(2):
        platform.lambda_.delete_layer_version(LayerName=f"{name}-{n}", VersionNumber=1)


def test_node_finds_modules_of_a_layer(platform, function):
    layer = platform.unique("layer")
    arn = platform.lambda_.publish_layer_version(
        LayerName=layer,
        Content={"ZipFile": package({"nodejs/node_modules/m/index.js": "module.exports = 'of the layer';"})},
    )["LayerVersionArn"]
    name = function("exports.handler = async () => require('m');", runtime=platform.node, Layers=[arn])
    assert platform.invoke(name) == "of the layer"
    platform.lambda_.delete_layer_version(LayerName=layer, VersionNumber=1)
