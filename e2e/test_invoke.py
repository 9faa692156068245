"""Invoking: kinds, headers, log tail, context, qualifiers, weights, streams, limits, waiters and downloads."""

import base64
import collections
import io
import json
import re
import stat
import urllib.error
import urllib.request
import warnings
import zipfile

import pytest
from botocore.exceptions import ClientError

from harness import package, together

ECHO = "def handler(event, context):\n    return event\n"
WHO = """
def handler(event, context):
    return {"version": context.function_version, "arn": context.invoked_function_arn}
"""
SYNC_LIMIT, RESPONSE_LIMIT, EVENT_LIMIT = 6_291_456, 6_291_556, 1_048_576


@pytest.fixture(scope="module")
def echo(platform):
    name = platform.create(ECHO, Timeout=10, MemorySize=256)
    yield name
    platform.lambda_.delete_function(FunctionName=name)


# What a cold call's report has beside AWS's own figures: where the time went, and where the environment came from.
START = (
    r"Init Duration: [0-9.]+ ms\tCold Start: queue [0-9.]+ ms, environment [0-9.]+ ms, boot [0-9.]+ ms, "
    r"init [0-9.]+ ms, first call [0-9.]+ ms, from (scratch|pool|zygote)\t?"
)

def refusal(call, **arguments):
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    answer = caught.value.response
    return answer["ResponseMetadata"]["HTTPStatusCode"], answer["Error"]["Code"], answer


@pytest.mark.parametrize("event", [{"a": [1, "ü", None, {"b": 2.5}]}, "text", 7, None, [], {}, True])
def test_the_answer_is_what_the_handler_returned(platform, echo, event):
    result = platform.call(echo, json.dumps(event).encode())
    assert (result.status, result.error, result.payload) == (200, None, event)
    assert result.version == "$LATEST"
    assert re.fullmatch("[0-9a-f-]{36}", result.request_id)
    assert result.headers["x-amz-executed-version"] == "$LATEST"
    assert re.match(r"(Root|root)=1-[0-9a-f]{8}-[0-9a-f]{24}", result.headers["x-amzn-trace-id"])


def test_no_payload_at_all_is_an_empty_object(platform, echo):
    answer = platform.lambda_.invoke(FunctionName=echo)
    assert json.load(answer["Payload"]) == {}


def test_log_tail_holds_the_invocation(platform, function):
    name = function("def handler(event, context):\n    print('seen', event['n'])\n    return 1\n")
    for n, cold in ((1, True), (2, False)):
        result = platform.call(name, {"n": n})
        lines = result.log.splitlines()
        start = next(i for i, line in enumerate(lines) if line.startswith("START"))
        assert lines[start] == f"START RequestId: {result.request_id} Version: $LATEST"
        assert f"seen {n}" in lines[start + 1 :]
        assert f"END RequestId: {result.request_id}" in lines
        report = lines[-1]
        shape = (
            rf"REPORT RequestId: {result.request_id}\tDuration: [0-9.]+ ms\tBilled Duration: \d+ ms\t"
            r"Memory Size: 128 MB\tMax Memory Used: \d+ MB\t" + (START if cold else "")
        )
        assert re.fullmatch(shape, report), report


def test_billed_duration_is_duration_and_init_rounded_up(platform, function):
    name = function("import time\ntime.sleep(0.05)\n" + ECHO)
    for cold in (True, False):
        log = platform.call(name).log
        numbers = {k: float(v) for k, v in re.findall(r"(Duration|Billed Duration|Init Duration): ([0-9.]+) ms", log)}
        wanted = numbers["Duration"] + numbers.get("Init Duration", 0)
        assert ("Init Duration" in numbers) == cold
        assert wanted <= numbers["Billed Duration"] + 0.02 and numbers["Billed Duration"] < wanted + 1.02, log
        if cold:
            assert numbers["Init Duration"] > 50


def test_log_tail_is_the_last_4_kib(platform, function):
    name = function("def handler(event, context):\n    for n in range(2000):\n        print('line', n)\n")
    log = base64.b64decode(platform.call(name).answer["LogResult"])
    assert 3500 < len(log) <= 4096
    assert b"line 1999" in log and b"REPORT RequestId" in log


def test_no_log_tail_unless_asked_for(platform, echo):
    assert "LogResult" not in platform.lambda_.invoke(FunctionName=echo)


def test_event_is_accepted_at_once_and_runs(platform, function):
    name = function("def handler(event, context):\n    print('ran', event['id'])\n")
    answer = platform.lambda_.invoke(FunctionName=name, InvocationType="Event", Payload=b'{"id": "a1"}')
    assert answer["StatusCode"] == 202
    assert answer["Payload"].read() == b""
    assert "FunctionError" not in answer
    platform.until(lambda: "ran a1" in platform.logs(name), "the event to run")


def test_failed_event_is_retried_twice_with_one_request_id(platform, function):
    name = function(
        "def handler(event, context):\n    print('try', context.aws_request_id)\n    raise ValueError('no')\n"
    )
    answer = platform.lambda_.invoke(FunctionName=name, InvocationType="Event", Payload=b"{}")
    request = answer["ResponseMetadata"]["RequestId"]
    platform.until(lambda: platform.logs(name).count(f"try {request}") == 3, "three attempts")
    assert platform.logs(name).count("try ") == 3


def test_maximum_retry_attempts_is_honoured(platform, function):
    name = function("def handler(event, context):\n    print('try', event['n'])\n    raise ValueError('no')\n")
    platform.lambda_.put_function_event_invoke_config(FunctionName=name, MaximumRetryAttempts=0)
    platform.lambda_.invoke(FunctionName=name, InvocationType="Event", Payload=b'{"n": 1}')
    platform.until(lambda: "try 1" in platform.logs(name), "the attempt")
    # With one retry allowed this one makes a second attempt: by then the first event would have had one too.
    platform.lambda_.put_function_event_invoke_config(FunctionName=name, MaximumRetryAttempts=1)
    platform.lambda_.invoke(FunctionName=name, InvocationType="Event", Payload=b'{"n": 2}')
    platform.until(lambda: platform.logs(name).count("try 2") == 2, "the retry")
    assert platform.logs(name).count("try 1") == 1


def test_dry_run_runs_nothing(platform, function):
    name = function("def handler(event, context):\n    print('ran')\n")
    answer = platform.lambda_.invoke(FunctionName=name, InvocationType="DryRun", Payload=b"{}")
    assert answer["StatusCode"] == 204 and answer["Payload"].read() == b""
    platform.call(name)
    assert platform.logs(name).count("ran") == 1


def test_client_context(platform, function):
    name = function(
        "def handler(event, context):\n"
        "    c = context.client_context\n"
        "    return {'custom': c.custom, 'env': c.env, 'title': c.client.app_title}\n"
    )
    context = {"custom": {"k": "v"}, "env": {"locale": "de"}, "client": {"app_title": "t"}}
    encoded = base64.b64encode(json.dumps(context).encode()).decode()
    assert platform.invoke(name, ClientContext=encoded) == {"custom": {"k": "v"}, "env": {"locale": "de"}, "title": "t"}


def test_client_context_that_is_no_json_is_refused(platform, echo):
    status, code, _ = refusal(platform.lambda_.invoke, FunctionName=echo, ClientContext="!!!")
    assert (status, code) == (400, "InvalidRequestContentException")


def test_names_of_all_kinds(platform, function):
    name = function(WHO)
    version = platform.lambda_.publish_version(FunctionName=name)["Version"]
    alias = platform.lambda_.create_alias(FunctionName=name, Name="live", FunctionVersion=version)["AliasArn"]
    arn = f"arn:aws:lambda:{platform.region}:{platform.account}:function:{name}"
    latest, one = "$LATEST", "1"
    for function_name, qualifier, want in (
        (name, None, (latest, arn)),
        (arn, None, (latest, arn)),
        (f"{platform.account}:function:{name}", None, (latest, arn)),
        (name, "$LATEST", (latest, f"{arn}:$LATEST")),
        (name, "1", (one, f"{arn}:1")),
        (f"{name}:1", None, (one, f"{arn}:1")),
        (f"{arn}:1", "1", (one, f"{arn}:1")),
        (name, "live", (one, f"{arn}:live")),
        (alias, None, (one, f"{arn}:live")),
    ):
        arguments = {"Qualifier": qualifier} if qualifier else {}
        result = platform.call(function_name, **arguments)
        assert (result.payload["version"], result.payload["arn"]) == want, (function_name, qualifier)
        assert result.version == want[0]


def test_absent_names_are_not_found(platform, echo):
    for arguments in (
        {"FunctionName": "absent"},
        {"FunctionName": echo, "Qualifier": "7"},
        {"FunctionName": f"{echo}:no"},
    ):
        status, code, _ = refusal(platform.lambda_.invoke, **arguments)
        assert (status, code) == (404, "ResourceNotFoundException"), arguments


def test_weights_route(platform, function):
    name = function(WHO)
    platform.lambda_.publish_version(FunctionName=name)
    platform.lambda_.update_function_configuration(FunctionName=name, Description="second")
    platform.wait_updated(name)
    platform.lambda_.publish_version(FunctionName=name)
    platform.lambda_.create_alias(
        FunctionName=name, Name="live", FunctionVersion="1", RoutingConfig={"AdditionalVersionWeights": {"2": 0.3}}
    )
    calls = [lambda: platform.invoke(name, Qualifier="live")["version"] for _ in range(300)]
    counts = collections.Counter(together(calls, 4))
    assert set(counts) == {"1", "2"}
    # 300 draws with 0.3: five standard deviations are 40.
    assert 50 <= counts["2"] <= 130, counts


# -- limits


def test_payload_of_the_largest_size_is_taken(platform, echo):
    event = b'"' + b"x" * (SYNC_LIMIT - 2) + b'"'
    assert len(event) == SYNC_LIMIT
    result = platform.call(echo, event)
    assert result.error is None and len(result.raw) == SYNC_LIMIT


def test_a_larger_payload_is_refused(platform, echo):
    event = b'"' + b"x" * (SYNC_LIMIT - 1) + b'"'
    status, code, answer = refusal(platform.lambda_.invoke, FunctionName=echo, Payload=event)
    # The SDK's model calls it RequestTooLargeException, AWS's answer RequestEntityTooLargeException.
    assert status == 413 and code in ("RequestEntityTooLargeException", "RequestTooLargeException")
    assert "Request must be smaller than 6291456 bytes for the InvokeFunction operation" in answer["Error"]["Message"]


def test_events_may_have_one_mebibyte(platform, echo):
    fits = b'"' + b"x" * (EVENT_LIMIT - 2) + b'"'
    assert platform.lambda_.invoke(FunctionName=echo, InvocationType="Event", Payload=fits)["StatusCode"] == 202
    status, _, _ = refusal(platform.lambda_.invoke, FunctionName=echo, InvocationType="Event", Payload=fits + b" ")
    assert status == 413


def test_an_answer_that_is_too_large_is_a_function_error(platform, function):
    name = function("def handler(event, context):\n    return 'x' * (event - 2)\n", Timeout=10, MemorySize=512)
    assert len(platform.call(name, RESPONSE_LIMIT).raw) == RESPONSE_LIMIT
    result = platform.call(name, RESPONSE_LIMIT + 1)
    assert result.error == "Unhandled"
    assert result.payload == {
        "errorType": "Function.ResponseSizeTooLarge",
        "errorMessage": "Response payload size exceeded maximum allowed payload size (6291556 bytes).",
    }


@pytest.mark.parametrize("payload", [b"{", b"{'a': 1}", b"\xff", b"nope"])
def test_a_payload_that_is_no_json_is_refused(platform, echo, payload):
    status, code, answer = refusal(platform.lambda_.invoke, FunctionName=echo, Payload=payload)
    assert (status, code) == (400, "InvalidRequestContentException")
    assert answer["Error"]["Message"].startswith("Could not parse request body into json:")


def test_an_unknown_kind_of_invocation_is_refused(platform, echo):
    client = platform.client(parameter_validation=False)
    status, code, _ = refusal(client.invoke, FunctionName=echo, InvocationType="Sometimes")
    assert status == 400 and code in ("ValidationException", "InvalidParameterValueException")


# -- streams

STREAM = """
exports.handler = awslambda.streamifyResponse(async (event, stream, context) => {
  stream.setContentType('text/plain');
  for (let n = 0; n < event.parts; n++) { stream.write(`part ${n};`); await new Promise(r => setTimeout(r, 5)); }
  if (event.fail) throw new Error('in the middle');
  stream.end();
});
"""


def streamed(platform, name, event, **arguments):
    answer = platform.lambda_.invoke_with_response_stream(
        FunctionName=name, Payload=json.dumps(event).encode(), LogType="Tail", **arguments
    )
    body, ends = b"", []
    for part in answer["EventStream"]:
        if "PayloadChunk" in part:
            body += part["PayloadChunk"]["Payload"]
        else:
            ends.append(part["InvokeComplete"])
    assert len(ends) == 1
    return answer, body, ends[0]


def test_stream_of_a_streaming_function(platform, function):
    name = function(STREAM, runtime=platform.node)
    answer, body, end = streamed(platform, name, {"parts": 20})
    assert body == b"".join(b"part %d;" % n for n in range(20))
    assert answer["StatusCode"] == 200 and answer["ExecutedVersion"] == "$LATEST"
    assert "ErrorCode" not in end
    assert b"REPORT RequestId" in base64.b64decode(end["LogResult"])


def test_stream_of_a_function_that_does_not_stream(platform, echo):
    _, body, end = streamed(platform, echo, {"a": 1})
    assert json.loads(body) == {"a": 1} and "ErrorCode" not in end


def test_stream_that_fails_in_the_middle(platform, function):
    name = function(STREAM, runtime=platform.node)
    _, body, end = streamed(platform, name, {"parts": 2, "fail": True})
    assert body.startswith(b"part 0;")
    assert end["ErrorCode"]
    assert "in the middle" in end["ErrorDetails"]


def test_buffered_call_of_a_streaming_function(platform, function):
    name = function(STREAM, runtime=platform.node)
    assert platform.call(name, {"parts": 2}).raw == b"part 0;part 1;"


# -- states and packages


def test_waiters_and_states(platform):
    client = platform.lambda_
    name = platform.create(ECHO, wait=False)
    client.get_waiter("function_active_v2").wait(FunctionName=name, WaiterConfig={"Delay": 1, "MaxAttempts": 30})
    assert client.update_function_configuration(FunctionName=name, Timeout=9)["LastUpdateStatus"] == "InProgress"
    client.get_waiter("function_updated_v2").wait(FunctionName=name, WaiterConfig={"Delay": 1, "MaxAttempts": 30})
    client.get_waiter("function_active").wait(FunctionName=name, WaiterConfig={"Delay": 1, "MaxAttempts": 30})
    client.get_waiter("function_exists").wait(FunctionName=name)
    client.delete_function(FunctionName=name)


def test_download_is_the_upload(platform, function):
    name = function(ECHO)
    code = package({"app.py": ECHO, "data.bin": bytes(range(256)) * 64})
    platform.lambda_.update_function_code(FunctionName=name, ZipFile=code)
    platform.wait_updated(name)
    location = platform.lambda_.get_function(FunctionName=name)["Code"]["Location"]
    with urllib.request.urlopen(location, timeout=10) as download:
        assert download.read() == code
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(location[:-1] + ("0" if location[-1] != "0" else "1"), timeout=10)
    assert caught.value.code == 403


def test_an_update_takes_effect_and_versions_do_not_change(platform, function):
    name = function("def handler(event, context):\n    return 'first'\n")
    assert platform.invoke(name) == "first"
    platform.lambda_.publish_version(FunctionName=name)
    second = package({"app.py": "def handler(event, context):\n    return 'second'\n"})
    platform.lambda_.update_function_code(FunctionName=name, ZipFile=second)
    platform.wait_updated(name)
    assert platform.invoke(name) == "second"
    assert platform.invoke(name, Qualifier="1") == "first"


def test_modes_and_links_of_a_package_are_kept(platform, function):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as z:
        for name, mode, content in (
            ("app.py", stat.S_IFREG | 0o644, LOOK),
            ("bin/tool", stat.S_IFREG | 0o755, "#!/bin/sh\necho tool\n"),
            ("link", stat.S_IFLNK | 0o777, "bin/tool"),
        ):
            entry = zipfile.ZipInfo(name)
            entry.create_system, entry.external_attr = 3, mode << 16
            z.writestr(entry, content)
    name = function(None, wait=False, Code={"ZipFile": buffer.getvalue()})
    platform.wait_active(name)
    assert platform.invoke(name) == {"mode": "0o755", "link": "bin/tool", "says": "tool\n", "writable": False}


LOOK = """
import os, subprocess
def handler(event, context):
    os.chdir(os.environ['LAMBDA_TASK_ROOT'])
    return {
        'mode': oct(os.stat('bin/tool').st_mode & 0o777),
        'link': os.readlink('link'),
        'says': subprocess.run(['./link'], capture_output=True, text=True).stdout,
        'writable': os.access('.', os.W_OK),
    }
"""


def hostile_packages():
    def made(*entries):
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as z:
            for name, mode, content in entries:
                entry = zipfile.ZipInfo(name)
                entry.create_system, entry.external_attr = 3, mode << 16
                entry.compress_type = zipfile.ZIP_DEFLATED
                z.writestr(entry, content)
        return buffer.getvalue()

    plain = stat.S_IFREG | 0o644
    good = ("app.py", plain, ECHO)
    link = stat.S_IFLNK | 0o777
    return {
        "absolute path": made(good, ("/etc/evil", plain, "x")),
        "parent path": made(good, ("a/../../evil", plain, "x")),
        "link out": made(good, ("out", link, "../../../etc")),
        "absolute link": made(good, ("out", link, "/etc/passwd")),
        "write through a link": made(good, ("d", link, "."), ("d/../x", plain, "x")),
        "device": made(good, ("dev", stat.S_IFCHR | 0o666, "")),
        "fifo": made(good, ("pipe", stat.S_IFIFO | 0o666, "")),
        "bomb": made(good, ("zeros", plain, bytes(270_000_000))),
        "cut short": made(good)[:-30],
    }


def test_hostile_packages_are_refused(platform):
    cases = hostile_packages()
    outcomes = {}
    for what, code in cases.items():
        name = platform.unique("hostile")
        try:
            platform.create(None, name=name, Code={"ZipFile": code}, wait=False)
            outcomes[what] = "taken"
            platform.lambda_.delete_function(FunctionName=name)
        except ClientError as error:
            outcomes[what] = error.response["Error"]["Code"]
    assert outcomes == dict.fromkeys(cases, "InvalidParameterValueException")


def test_duplicate_entries_are_refused(platform):
    buffer = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(buffer, "w") as z:
        warnings.simplefilter("ignore")
        z.writestr("app.py", ECHO)
        z.writestr("app.py", "import os")
    status, code, _ = refusal(
        platform.lambda_.create_function,
        FunctionName=platform.unique("hostile"),
        Runtime=platform.python,
        Handler="app.handler",
        Role=platform.role,
        Code={"ZipFile": buffer.getvalue()},
    )
    assert (status, code) == (400, "InvalidParameterValueException")
