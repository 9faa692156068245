"""Runtimes for Python and Node: handlers of all styles, the context, the environment, every kind of failure, logs."""

import json
import re
import time

import pytest

from harness import ACCESS_KEY, SECRET_KEY

# -- Python


PYTHON_CONTEXT = """
import os, time
def handler(event, context):
    return {
        "function_name": context.function_name,
        "function_version": context.function_version,
        "invoked_function_arn": context.invoked_function_arn,
        "memory_limit_in_mb": context.memory_limit_in_mb,
        "aws_request_id": context.aws_request_id,
        "log_group_name": context.log_group_name,
        "log_stream_name": context.log_stream_name,
        "identity": [context.identity.cognito_identity_id, context.identity.cognito_identity_pool_id],
        "client_context": context.client_context,
        "remaining": context.get_remaining_time_in_millis(),
    }
"""


def check_context(platform, name, result, value):
    arn = f"arn:aws:lambda:{platform.region}:{platform.account}:function:{name}"
    assert value["function_name"] == name
    assert value["function_version"] == "$LATEST"
    assert value["invoked_function_arn"] == arn
    assert str(value["memory_limit_in_mb"]) == "192"
    assert value["aws_request_id"] == result.request_id
    assert value["log_group_name"] == f"/aws/lambda/{name}"
    assert re.fullmatch(r"\d{4}/\d\d/\d\d/\[\$LATEST\][0-9a-f]{32}", value["log_stream_name"])
    assert 5000 < value["remaining"] <= 7000


def test_python_context(platform, function):
    name = function(PYTHON_CONTEXT, Timeout=7, MemorySize=192)
    result = platform.call(name)
    check_context(platform, name, result, result.payload)
    assert result.payload["memory_limit_in_mb"] in (192, "192")
    assert result.payload["identity"] == [None, None]
    assert result.payload["client_context"] is None


def expected_variables(platform, name, runtime, handler):
    return {
        "AWS_DEFAULT_REGION": platform.region,
        "AWS_EXECUTION_ENV": f"AWS_Lambda_{runtime}",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "128",
        "AWS_LAMBDA_FUNCTION_NAME": name,
        "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
        "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
        "AWS_LAMBDA_LOG_GROUP_NAME": f"/aws/lambda/{name}",
        "AWS_REGION": platform.region,
        "LAMBDA_RUNTIME_DIR": "/var/runtime",
        "LAMBDA_TASK_ROOT": "/var/task",
        "LANG": "en_US.UTF-8",
        "TZ": ":UTC",
        "_HANDLER": handler,
        "MINE": "of mine",
    }


CREDENTIALS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")


def check_variables(platform, name, runtime, handler, got):
    for key, value in expected_variables(platform, name, runtime, handler).items():
        assert got.get(key) == value, key
    assert re.fullmatch(r"\d{4}/\d\d/\d\d/\[\$LATEST\][0-9a-f]{32}", got["AWS_LAMBDA_LOG_STREAM_NAME"])
    for key in CREDENTIALS:
        assert got.get(key), key
    assert ACCESS_KEY not in got.values() and SECRET_KEY not in got.values()
    assert "/opt/bin" in got["PATH"].split(":") and "/usr/bin" in got["PATH"].split(":")
    assert "/opt/lib" in got["LD_LIBRARY_PATH"].split(":")
    assert not [key for key in got if key.startswith("EPHYRA")]


def test_python_environment_variables(platform, function):
    name = function(
        "import os, time\ndef handler(event, context):\n    return dict(os.environ) | {'offset': str(time.timezone)}\n",
        Environment={"Variables": {"MINE": "of mine"}},
    )
    got = platform.invoke(name)
    check_variables(platform, name, platform.python, "app.handler", got)
    assert got["offset"] == "0"


def test_python_module_and_class_handlers(platform, function):
    source = "class Thing:\n    @staticmethod\n    def run(event, context):\n        return 'static'\n"
    nested = function(
        None, files={"pkg/mod.py": "def run(event, context):\n    return __name__\n"}, handler="pkg/mod.run"
    )
    assert platform.invoke(nested) == "pkg.mod"
    dotted = function(
        None,
        files={
            "pkg/__init__.py": "",
            "pkg/deep/__init__.py": "",
            "pkg/deep/mod.py": "def run(e, c):\n    return __name__\n",
        },
        handler="pkg.deep.mod.run",
    )
    assert platform.invoke(dotted) == "pkg.deep.mod"
    callable_object = function(source + "run = Thing.run\n", handler="app.run")
    assert platform.invoke(callable_object) == "static"


def test_python_state_and_tmp_are_kept_while_warm(platform, function):
    name = function(
        "import os\nn = 0\ndef handler(event, context):\n    global n\n    n += 1\n"
        "    old = os.path.exists('/tmp/mark')\n    open('/tmp/mark', 'w').close()\n    return [n, old]\n"
    )
    assert [platform.invoke(name) for _ in range(3)] == [[1, False], [2, True], [3, True]]
    # A changed function never sees what the old one left.
    platform.lambda_.update_function_configuration(FunctionName=name, Environment={"Variables": {"CHANGED": "1"}})
    platform.wait_updated(name)
    assert platform.invoke(name) == [1, False]


def test_python_logging_and_print(platform, function):
    name = function(
        "import logging, sys\nlogging.getLogger().setLevel('INFO')\n"
        "def handler(event, context):\n    logging.info('by logging')\n    print('by print')\n    print('to stderr', file=sys.stderr)\n"
    )
    result = platform.call(name)
    assert re.search(
        rf"^\[INFO\]\t\d{{4}}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{{3}}Z\t{result.request_id}\tby logging$", result.log, re.M
    ), result.log
    for line in ("by print", "to stderr"):
        assert line in result.log.splitlines()


# -- failures. Each: source, what the error is, and whether the environment is used again.


FAILING = """
import os, signal, sys, time
n = 0
def handler(event, context):
    global n
    n += 1
    kind = event.get("fail")
    if kind == "raise":
        raise KeyError("the key")
    if kind == "exit":
        sys.exit(0)
    if kind == "exit-3":
        os._exit(3)
    if kind == "segfault":
        os.kill(os.getpid(), signal.SIGSEGV)
    if kind == "timeout":
        time.sleep(30)
    if kind == "memory":
        eat = []
        while True:
            eat.append(bytearray(os.urandom(4096)) * 1024)
    if kind == "set":
        return {1, 2}
    if kind == "large":
        return "x" * 7_000_000
    return n
"""


@pytest.fixture(scope="module")
def failing(platform):
    name = platform.create(FAILING, Timeout=2, MemorySize=256)
    yield name
    platform.lambda_.delete_function(FunctionName=name)


def test_python_exception(platform, failing):
    before = platform.invoke(failing)
    result = platform.error_of(failing, {"fail": "raise"})
    assert set(result.payload) == {"errorMessage", "errorType", "requestId", "stackTrace"}
    assert result.payload["errorMessage"] == "'the key'"
    assert result.payload["errorType"] == "KeyError"
    assert result.payload["requestId"] == result.request_id
    assert re.match(r'  File "/var/task/app.py", line \d+, in handler\n', result.payload["stackTrace"][0])
    assert "[ERROR] KeyError: 'the key'" in result.log and "Traceback (most recent call last)" in result.log
    assert f"END RequestId: {result.request_id}" in result.log
    # The environment is used again.
    assert platform.invoke(failing) == before + 2


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("exit", "Runtime exited without providing a reason"),
        ("exit-3", "Runtime exited with error: exit status 3"),
        ("segfault", "Runtime exited with error: signal: segmentation fault"),
    ],
)
def test_python_exit(platform, failing, kind, message):
    platform.invoke(failing)
    platform.invoke(failing)
    result = platform.error_of(failing, {"fail": kind})
    assert result.payload["errorType"] == "Runtime.ExitError"
    assert result.payload["errorMessage"].startswith(f"RequestId: {result.request_id} Error: {message}")
    assert set(result.payload) == {"errorType", "errorMessage"}
    assert "Status: error\tError Type: Runtime.ExitError" in result.log, result.log
    assert platform.invoke(failing) == 1, "a fresh environment"


def test_python_timeout(platform, failing):
    platform.invoke(failing)
    result = platform.error_of(failing, {"fail": "timeout"})
    assert result.payload == {
        "errorType": "Sandbox.Timedout",
        "errorMessage": f"RequestId: {result.request_id} Error: Task timed out after 2.00 seconds",
    }
    assert "\tStatus: timeout" in result.log, result.log
    assert platform.invoke(failing) == 1, "a fresh environment"


def test_python_out_of_memory(platform, failing):
    platform.invoke(failing)
    result = platform.error_of(failing, {"fail": "memory"})
    assert result.payload["errorType"] in ("Runtime.OutOfMemory", "Runtime.ExitError")
    assert "signal: killed" in result.payload["errorMessage"]
    assert "Status: error\tError Type: Runtime." in result.log
    used = int(re.search(r"Max Memory Used: (\d+) MB", result.log)[1])
    assert 240 <= used <= 257
    assert platform.invoke(failing) == 1, "a fresh environment"


def test_python_unserialisable(platform, failing):
    before = platform.invoke(failing)
    result = platform.error_of(failing, {"fail": "set"})
    assert result.payload["errorType"] == "Runtime.MarshalError"
    assert result.payload["errorMessage"] == "Unable to marshal response: Object of type set is not JSON serializable"
    assert platform.invoke(failing) == before + 2


def test_python_oversized(platform, failing):
    result = platform.error_of(failing, {"fail": "large"})
    assert result.payload["errorType"] == "Function.ResponseSizeTooLarge"


@pytest.mark.parametrize(
    ("source", "handler", "error_type", "message"),
    [
        ("raise RuntimeError('at load')", "app.handler", "RuntimeError", "at load"),
        ("import absent_module", "app.handler", "Runtime.ImportModuleError", "Unable to import module 'app': No module named 'absent_module'"),
        ("x = 1", "absent.handler", "Runtime.ImportModuleError", "Unable to import module 'absent': No module named 'absent'"),
        ("x = 1", "app.absent", "Runtime.HandlerNotFound", "Handler 'absent' missing on module 'app'"),
        ("x = 1", "nodot", "Runtime.MalformedHandlerName", "Bad handler 'nodot'"),
        ("def broken(:", "app.handler", "Runtime.UserCodeSyntaxError", "Syntax error in module 'app'"),
        ("import sys; sys.exit(1)", "app.handler", "Runtime.ExitError", "Runtime exited"),
    ],
)  # fmt: skip
def test_python_that_cannot_be_loaded(platform, function, source, handler, error_type, message):
    name = function(source, handler=handler)
    result = platform.error_of(name)
    assert result.payload["errorType"] == error_type
    assert message in result.payload["errorMessage"]
    if error_type != "Runtime.ExitError":
        assert result.payload["requestId"] == ""
        assert isinstance(result.payload["stackTrace"], list)
    assert platform.error_of(name).payload["errorType"] == error_type


def test_a_function_that_fails_to_load_once_is_loaded_afresh(platform, function):
    name = function(
        "import time\nif int(time.time()) < DEADLINE: raise RuntimeError('too early')\ndef handler(e, c): return 'late'".replace(
            "DEADLINE", str(int(time.time()) + 4)
        )
    )
    platform.error_of(name)
    platform.until(lambda: platform.call(name).payload == "late", "a fresh environment", 20)


# -- Node


NODE_CONTEXT = """
exports.handler = async (event, context) => ({
  function_name: context.functionName, function_version: context.functionVersion,
  invoked_function_arn: context.invokedFunctionArn, memory_limit_in_mb: context.memoryLimitInMB,
  aws_request_id: context.awsRequestId, log_group_name: context.logGroupName, log_stream_name: context.logStreamName,
  remaining: context.getRemainingTimeInMillis(), waits: context.callbackWaitsForEmptyEventLoop,
  functions: ['done', 'fail', 'succeed'].map(n => typeof context[n]),
});
"""


def test_node_context(platform, function):
    name = function(NODE_CONTEXT, runtime=platform.node, Timeout=7, MemorySize=192)
    result = platform.call(name)
    assert result.error is None, result.payload
    check_context(platform, name, result, result.payload)
    assert result.payload["memory_limit_in_mb"] == "192"
    assert result.payload["waits"] is True


def test_node_environment_variables(platform, function):
    name = function(
        "exports.handler = async () => process.env;",
        runtime=platform.node,
        Environment={"Variables": {"MINE": "of mine"}},
    )
    got = platform.invoke(name)
    check_variables(platform, name, platform.node, "index.handler", got)
    assert "/opt/nodejs/node_modules" in got["NODE_PATH"].split(":")


@pytest.mark.parametrize(
    ("files", "handler"),
    [
        ({"index.js": "exports.handler = async (event) => event.n + 1;"}, "index.handler"),
        ({"index.js": "exports.handler = (event, context, callback) => callback(null, event.n + 1);"}, "index.handler"),
        ({"index.js": "exports.handler = (e, c, cb) => { setTimeout(() => cb(null, e.n + 1), 5); };"}, "index.handler"),
        ({"index.js": "exports.handler = (event, context) => context.succeed(event.n + 1);"}, "index.handler"),
        ({"index.cjs": "exports.handler = async (event) => event.n + 1;"}, "index.handler"),
        ({"index.mjs": "export const handler = async (event) => event.n + 1;"}, "index.handler"),
        ({"index.mjs": "const more = await Promise.resolve(1); export const handler = async (e) => e.n + more;"}, "index.handler"),
        ({"package.json": '{"type": "module"}', "index.js": "export const handler = async (e) => e.n + 1;"}, "index.handler"),
        ({"src/app.js": "exports.api = {run: async (event) => event.n + 1};"}, "src/app.api.run"),
        ({"index.js": "const m = require('m'); exports.handler = async (e) => m(e.n);", "node_modules/m/index.js": "module.exports = n => n + 1;"}, "index.handler"),
    ],
    ids=["async", "callback", "later", "succeed", "cjs", "mjs", "top-level-await", "type-module", "nested", "dependency"],
)  # fmt: skip
def test_node_handlers_of_all_styles(platform, function, files, handler):
    name = function(None, runtime=platform.node, files=files, handler=handler)
    assert platform.invoke(name, {"n": 41}) == 42


NODE_FAILING = """
let n = 0;
exports.handler = async (event) => {
  n += 1;
  switch (event.fail) {
    case 'throw': throw new TypeError('of the wrong type');
    case 'rejection': Promise.reject(new Error('left alone')); await new Promise(r => setTimeout(r, 100)); break;
    case 'uncaught': setTimeout(() => { throw new RangeError('out of range'); }, 1); await new Promise(r => setTimeout(r, 500)); break;
    case 'exit': process.exit(0);
    case 'exit-3': process.exit(3);
    case 'timeout': await new Promise(r => setTimeout(r, 30000)); break;
    case 'spin': for (;;) {}
    case 'circular': { const a = {}; a.a = a; return a; }
    case 'large': return 'x'.repeat(7000000);
    case 'memory': { const eat = []; for (;;) eat.push(Buffer.alloc(4 << 20, 1)); }
  }
  return n;
};
"""


@pytest.fixture(scope="module")
def node_failing(platform):
    name = platform.create(NODE_FAILING, runtime=platform.node, Timeout=2, MemorySize=256)
    yield name
    platform.lambda_.delete_function(FunctionName=name)


def test_node_exception(platform, node_failing):
    before = platform.invoke(node_failing)
    result = platform.error_of(node_failing, {"fail": "throw"})
    assert result.payload["errorType"] == "TypeError"
    assert result.payload["errorMessage"] == "of the wrong type"
    assert result.payload["trace"][0] == "TypeError: of the wrong type"
    assert "/var/task/index.js" in result.payload["trace"][1]
    assert re.search(rf"{result.request_id}\tERROR\tInvoke Error", result.log), result.log
    assert platform.invoke(node_failing) == before + 2


@pytest.mark.parametrize(
    ("kind", "error_type", "message"),
    [
        ("rejection", "Runtime.UnhandledPromiseRejection", "left alone"),
        ("uncaught", "RangeError", "out of range"),
        ("exit", "Runtime.ExitError", "Runtime exited without providing a reason"),
        ("exit-3", "Runtime.ExitError", "Runtime exited with error: exit status 3"),
        ("timeout", "Sandbox.Timedout", "Task timed out after 2.00 seconds"),
        ("spin", "Sandbox.Timedout", "Task timed out after 2.00 seconds"),
        ("memory", "Runtime.", "signal: killed"),
    ],
)
def test_node_failures_that_end_the_environment(platform, node_failing, kind, error_type, message):
    platform.invoke(node_failing)
    result = platform.error_of(node_failing, {"fail": kind})
    assert error_type in result.payload["errorType"]
    assert message in result.payload["errorMessage"]
    assert platform.invoke(node_failing) == 1, "a fresh environment"


def test_node_unserialisable_and_oversized(platform, node_failing):
    result = platform.error_of(node_failing, {"fail": "circular"})
    assert "circular" in result.payload["errorMessage"].lower() or "stringify" in result.payload["errorMessage"].lower()
    result = platform.error_of(node_failing, {"fail": "large"})
    assert result.payload["errorType"] == "Function.ResponseSizeTooLarge"


@pytest.mark.parametrize(
    ("source", "handler", "error_type", "message"),
    [
        ("throw new Error('at load');", "index.handler", "Error", "at load"),
        ("require('absent');", "index.handler", "Runtime.ImportModuleError", "Cannot find module 'absent'"),
        ("exports.x = 1;", "absent.handler", "Runtime.ImportModuleError", "Cannot find module 'absent'"),
        ("exports.x = 1;", "index.absent", "Runtime.HandlerNotFound", "index.absent is undefined or not exported"),
        ("exports.handler = 7;", "index.handler", "Runtime.HandlerNotFound", "index.handler is not a function"),
        ("exports.x = 1;", "nodot", "Runtime.MalformedHandlerName", "Bad handler"),
        ("exports.x = ;", "index.handler", "Runtime.UserCodeSyntaxError", "SyntaxError: Unexpected token ';'"),
        ("process.exit(2);", "index.handler", "Runtime.ExitError", "exit status 2"),
    ],
)
def test_node_that_cannot_be_loaded(platform, function, source, handler, error_type, message):
    name = function(source, runtime=platform.node, handler=handler)
    result = platform.error_of(name)
    assert result.payload["errorType"] == error_type
    assert message in result.payload["errorMessage"]


def test_node_console_lines(platform, function):
    name = function(
        "exports.handler = async () => { console.log('a', {b: 1}); console.error('c'); return 1; };",
        runtime=platform.node,
    )
    result = platform.call(name)
    at = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"
    assert re.search(rf"^{at}\t{result.request_id}\tINFO\ta {{ b: 1 }}$", result.log, re.M), result.log
    assert re.search(rf"^{at}\t{result.request_id}\tERROR\tc$", result.log, re.M), result.log


# -- JSON logs


@pytest.mark.parametrize("language", ["python", "node"])
def test_json_logs_and_levels(platform, function, language):
    sources = {
        "python": "import logging\nlog = logging.getLogger()\n"
        "def handler(event, context):\n    log.debug('low')\n    log.warning('high')\n    return 1\n",
        "node": "exports.handler = async () => { console.debug('low'); console.warn('high'); return 1; };",
    }
    name = function(
        sources[language],
        runtime=getattr(platform, language),
        LoggingConfig={"LogFormat": "JSON", "ApplicationLogLevel": "WARN", "SystemLogLevel": "INFO"},
    )
    result = platform.call(name)
    assert result.error is None, result.payload
    records = [json.loads(line) for line in result.log.splitlines()]
    types = [r.get("type") for r in records]
    assert "platform.start" in types and "platform.report" in types, result.log
    start = records[types.index("platform.start")]
    assert start["record"]["requestId"] == result.request_id and start["record"]["version"] == "$LATEST"
    report = records[types.index("platform.report")]["record"]
    assert report["metrics"]["memorySizeMB"] == 128 and report["metrics"]["billedDurationMs"] >= 1
    own = [r for r in records if "level" in r]
    assert [(r["level"].upper()[:4], r["message"], r["requestId"]) for r in own] == [
        ("WARN", "high", result.request_id)
    ]


# -- what may not be asked for


@pytest.mark.parametrize("variable", ["AWS_LAMBDA_FUNCTION_NAME", "_HANDLER", "LAMBDA_TASK_ROOT", "AWS_REGION"])
def test_reserved_variables_are_refused(platform, variable):
    with pytest.raises(platform.lambda_.exceptions.InvalidParameterValueException) as caught:
        platform.create("x = 1", Environment={"Variables": {variable: "x"}}, wait=False)
    assert variable in caught.value.response["Error"]["Message"]


def test_a_runtime_that_is_not_here_gets_a_clear_error(platform):
    absent = next(f"python3.{n}" for n in (14, 13, 12, 10) if f"python3.{n}" not in platform.runtimes())
    name = platform.unique("absent")
    try:
        platform.create("def handler(e, c): pass", name=name, runtime=absent, wait=False)
        platform.lambda_.invoke(FunctionName=name)
    except platform.lambda_.exceptions.ClientError as error:
        message = error.response["Error"]["Message"]
        assert absent in message and platform.python in message, message
    else:
        raise AssertionError(f"{absent} is not on this machine, yet it was run")
    finally:
        platform.forget(name)
