"""SnapStart: a published version has an initialised environment ready, and its first call pays no initialisation."""

import importlib.metadata
import re
import sys
import time
import urllib.request

import pytest
from botocore.exceptions import ClientError

from harness import package, together, until

ON = {"ApplyOn": "PublishedVersions"}
SLOW = """
import os, random, time, uuid
import snapshot_restore_py as hooks
time.sleep(1)
born, told, at_init = time.time(), [], random.random()
how = os.environ["AWS_LAMBDA_INITIALIZATION_TYPE"]
hooks.register_before_snapshot(told.append, "before")
hooks.register_after_restore(told.append, "after")
print("loaded", how)
def handler(event, context):
    time.sleep((event or {}).get("s", 0))
    return {"how": how, "born": born, "told": told, "random": random.random(), "uuid": str(uuid.uuid4()),
            "where": context.log_stream_name}
"""


def published(server, name, **arguments):
    """Publishes `$LATEST`; gives the version when it is no longer Pending."""
    number = server.lambda_.publish_version(FunctionName=name, **arguments)["Version"]
    return settled(server, name, number)


def idle(server):
    """Environments that wait for calls, by the metrics."""
    with urllib.request.urlopen(f"{server.url}/_ephyra/metrics", timeout=5) as answer:
        metrics = answer.read().decode()
    return int(re.search(r'^ephyra_environments\{state="idle"\} (\d+)', metrics, re.M).group(1))


def settled(server, name, number):
    def state():
        config = server.lambda_.get_function_configuration(FunctionName=name, Qualifier=number)
        return config if config["State"] != "Pending" else None

    return until(state, f"{name}:{number} to be made", 30)


def test_a_version_is_pending_until_its_template_is_there_and_its_first_call_pays_no_init(platform, function):
    name = function(SLOW, SnapStart=ON, Timeout=10)
    latest = platform.lambda_.get_function_configuration(FunctionName=name)
    assert latest["SnapStart"] == {"ApplyOn": "PublishedVersions", "OptimizationStatus": "Off"}
    answer = platform.lambda_.publish_version(FunctionName=name)
    assert (answer["State"], answer["StateReasonCode"]) == ("Pending", "Creating")
    with pytest.raises(ClientError) as refused:
        platform.lambda_.invoke(FunctionName=name, Qualifier=answer["Version"])
    assert refused.value.response["Error"]["Code"] == "ResourceConflictException"
    version = settled(platform, name, answer["Version"])
    assert version["State"] == "Active"
    assert version["SnapStart"] == {"ApplyOn": "PublishedVersions", "OptimizationStatus": "On"}

    asked = time.time()
    first = platform.call(name, Qualifier=version["Version"])
    assert first.payload["born"] < asked and first.payload["how"] == "snap-start"
    assert first.payload["told"] == ["before", "after"]
    report = first.log.splitlines()[-1]
    assert "Init Duration" not in report
    figures = {k: float(v) for k, v in re.findall(r"\t([A-Z][A-Za-z ]+): ([0-9.]+) ms", report)}
    assert figures["Restore Duration"] < 500
    wanted = figures["Duration"] + figures["Restore Duration"]
    assert wanted - 0.02 <= figures["Billed Duration"] < wanted + 1.02
    assert report.rstrip().endswith("from template")
    lines = platform.logs(name)
    assert "RESTORE_START Runtime Version: python:" in lines and "RESTORE_REPORT Restore Duration: " in lines
    # $LATEST initialises as ever.
    assert platform.invoke(name)["how"] == "on-demand"


def test_a_template_that_was_used_is_replaced_and_none_is_like_another(platform, function):
    name = function(SLOW, SnapStart=ON, Timeout=10, Publish=True)
    settled(platform, name, "1")
    seen = [platform.invoke(name, Qualifier="1")]
    assert seen[0]["how"] == "snap-start"

    def next_template_served():
        # Two at once: one has the environment that is warm, and the other needs another one.
        pair = together([lambda: platform.invoke(name, {"s": 0.5}, Qualifier="1")] * 2, 2)
        seen.extend(pair)
        return len({s["where"] for s in seen if s["how"] == "snap-start"}) > 1

    until(next_template_served, "a call that takes the next template")
    assert len({s["random"] for s in seen}) == len({s["uuid"] for s in seen}) == len(seen)


def test_a_version_that_cannot_initialise_has_failed(platform, function):
    name = function("raise RuntimeError('never')\n", SnapStart=ON)
    version = published(platform, name)
    assert (version["State"], version["StateReasonCode"]) == ("Failed", "FunctionError.RuntimeInitError")
    assert "never" in version["StateReason"]
    assert version["SnapStart"]["OptimizationStatus"] == "Off"
    with pytest.raises(ClientError) as refused:
        platform.lambda_.invoke(FunctionName=name, Qualifier=version["Version"])
    assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 409


def test_a_hook_that_fails_after_the_restore_fails_that_call_alone(platform, function):
    name = function(
        "import snapshot_restore_py as hooks\n"
        "hooks.register_after_restore(lambda: 1 / 0)\n"
        "def handler(event, context):\n    return 1\n",
        SnapStart=ON,
    )
    version = published(platform, name)["Version"]
    result = platform.call(name, Qualifier=version)
    assert result.error == "Unhandled" and result.payload["errorType"] == "ZeroDivisionError"


def test_templates_end_with_their_version_and_come_back_after_a_restart(own_server):
    server = own_server()
    name = server.create(SLOW, SnapStart=ON, Timeout=10, Publish=True)
    settled(server, name, "1")
    server.kill()
    server.start()
    # The version is usable at once, and soon has its template again.
    server.wait_active(name)
    restarted = time.time()
    until(lambda: idle(server) == 1, "the template after the restart", 20)
    answer = server.invoke(name, Qualifier="1")
    assert answer["how"] == "snap-start" and answer["born"] > restarted - 5
    until(lambda: idle(server) == 2, "the next template", 20)
    server.lambda_.delete_function(FunctionName=name)
    until(lambda: idle(server) == 0, "templates to end with their function", 20)


def test_provisioned_concurrency_and_snapstart_exclude_each_other(platform, function):
    name = function("def handler(event, context):\n    return 1\n", SnapStart=ON)
    version = published(platform, name)["Version"]
    with pytest.raises(ClientError) as refused:
        platform.lambda_.put_provisioned_concurrency_config(
            FunctionName=name, Qualifier=version, ProvisionedConcurrentExecutions=1
        )
    assert refused.value.response["Error"]["Code"] == "InvalidParameterValueException"


def test_a_change_of_code_published_with_the_update_gets_a_template_too(platform, function):
    name = function("def handler(event, context):\n    return 1\n", SnapStart=ON)
    code = package({"app.py": SLOW})
    answer = platform.lambda_.update_function_code(FunctionName=name, ZipFile=code, Publish=True)
    assert settled(platform, name, answer["Version"])["State"] == "Active"
    assert platform.invoke(name, Qualifier=answer["Version"])["how"] == "snap-start"


def test_awss_own_runtime_client_runs_its_hooks_in_a_template(platform, function):
    files = {
        "app.py": "import os, snapshot_restore_py as hooks\ntold = [os.environ['AWS_LAMBDA_INITIALIZATION_TYPE']]\n"
        "hooks.register_before_snapshot(told.append, 'before')\nhooks.register_after_restore(told.append, 'after')\n"
        "def handler(event, context):\n    return told\n"
    }
    for distribution in ("awslambdaric", "simplejson", "snapshot-restore-py"):
        for path in importlib.metadata.files(distribution) or ():
            if not str(path).startswith("..") and "__pycache__" not in str(path):
                files[str(path)] = path.locate().read_bytes()
    interpreter = f"/usr/bin/python{sys.version_info.major}.{sys.version_info.minor}"
    files["bootstrap"] = f"#!/bin/sh\nexec {interpreter} -m awslambdaric app.handler\n"
    name = function(
        None,
        runtime="provided.al2023",
        files=files,
        modes={"bootstrap": 0o755},
        Timeout=10,
        MemorySize=256,
        SnapStart=ON,
    )
    version = published(platform, name)["Version"]
    first = platform.call(name, Qualifier=version)
    assert first.payload == ["snap-start", "before", "after"], (first.payload, first.log)
    assert "Restore Duration" in first.log and "Init Duration" not in first.log


def test_node_versions_have_templates_too(platform, function):
    source = "const born = Date.now();\nexports.handler = async () => ({born, how: process.env.AWS_LAMBDA_INITIALIZATION_TYPE});\n"
    name = function(source, runtime=platform.node, SnapStart=ON)
    version = published(platform, name)["Version"]
    asked = time.time() * 1000
    answer = platform.invoke(name, Qualifier=version)
    assert answer["how"] == "snap-start" and answer["born"] < asked
