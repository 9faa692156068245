"""Scheduling: one environment each, limits and their reasons, keep-alive, provisioning, time-outs, a full machine."""

import os
import re
import threading
import time
import urllib.request

import pytest
from botocore.exceptions import ClientError

from harness import together, until

WHERE = """
import os, time
fresh, born = True, time.time()
def handler(event, context):
    global fresh
    was, fresh = fresh, False
    time.sleep(event.get("s", 0))
    how = os.environ["AWS_LAMBDA_INITIALIZATION_TYPE"]
    return {"where": context.log_stream_name, "cold": was, "how": how, "born": born}
"""


def throttled(call):
    """The answer, or the error of a throttled call."""
    try:
        return call()
    except ClientError as error:
        assert error.response["ResponseMetadata"]["HTTPStatusCode"] == 429, error
        assert error.response["Error"]["Code"] == "TooManyRequestsException"
        assert error.response["Error"]["Message"] == "Rate Exceeded."
        assert error.response["Type"] == "User"
        return error.response["Reason"]


def test_each_concurrent_invocation_has_an_environment_of_its_own(platform, function):
    name = function(WHERE, Timeout=20)
    answers = together([lambda: platform.invoke(name, {"s": 1.5})] * 6, 6)
    assert len({a["where"] for a in answers}) == 6
    again = [platform.invoke(name) for _ in range(4)]
    assert {a["where"] for a in again} <= {a["where"] for a in answers}
    assert not any(a["cold"] for a in again)


def test_reserved_concurrency(platform, function):
    name = function(WHERE, Timeout=20)
    client = platform.lambda_
    client.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=2)
    answers = together([lambda: throttled(lambda: platform.invoke(name, {"s": 2}))] * 5, 5)
    refused = [a for a in answers if isinstance(a, str)]
    assert refused == ["ReservedFunctionConcurrentInvocationLimitExceeded"] * 3
    client.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=0)
    assert throttled(lambda: platform.invoke(name)) == "ReservedFunctionConcurrentInvocationLimitExceeded"
    client.delete_function_concurrency(FunctionName=name)
    platform.invoke(name)


def test_account_concurrency(own_server):
    server = own_server("--concurrency", 3)
    name = server.create(WHERE, Timeout=20)
    answers = together([lambda: throttled(lambda: server.invoke(name, {"s": 2}))] * 5, 5)
    assert [a for a in answers if isinstance(a, str)] == ["ConcurrentInvocationLimitExceeded"] * 2
    assert server.lambda_.get_account_settings()["AccountLimit"]["ConcurrentExecutions"] == 3


def test_throttled_events_wait(platform, function):
    name = function("def handler(event, context):\n    print('ran at last')\n")
    platform.lambda_.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=1)
    busy = function(WHERE, Timeout=20)
    platform.lambda_.put_function_concurrency(FunctionName=busy, ReservedConcurrentExecutions=1)
    call = threading.Thread(target=platform.invoke, args=(busy, {"s": 2}))
    call.start()
    for _ in range(3):
        platform.lambda_.invoke(FunctionName=name, InvocationType="Event", Payload=b"{}")
    until(lambda: platform.logs(name).count("ran at last") == 3, "three events one after another")
    call.join()
    for f in (name, busy):
        platform.lambda_.delete_function_concurrency(FunctionName=f)


def test_idle_environments_end_after_their_keep_alive(own_server):
    server = own_server("--keep-alive", "1s")
    name = server.create(WHERE)
    first = server.invoke(name)
    assert server.guests()
    until(lambda: not server.guests(), "the idle environment to end", 15)
    second = server.invoke(name)
    assert second["cold"] and second["where"] != first["where"]


def test_provisioned_environments_are_started_ahead(platform, function):
    name = function(WHERE, Timeout=10)
    client = platform.lambda_
    version = client.publish_version(FunctionName=name)["Version"]
    qualified = {"FunctionName": name, "Qualifier": version}
    before = platform.guests()
    answer = client.put_provisioned_concurrency_config(ProvisionedConcurrentExecutions=2, **qualified)
    assert answer["Status"] == "IN_PROGRESS" and answer["RequestedProvisionedConcurrentExecutions"] == 2

    def ready():
        return client.get_provisioned_concurrency_config(**qualified)["Status"] == "READY"

    until(ready, "two provisioned environments")
    state = client.get_provisioned_concurrency_config(**qualified)
    assert state["AvailableProvisionedConcurrentExecutions"] == state["AllocatedProvisionedConcurrentExecutions"] == 2
    assert len(platform.guests() - before) >= 2
    asked = time.time()
    results = together([lambda: platform.call(name, {"s": 1}, Qualifier=version)] * 2, 2)
    assert len({r.payload["where"] for r in results}) == 2
    for result in results:
        assert result.payload["born"] < asked, "it was started before it was asked for"
        assert result.payload["how"] == "provisioned-concurrency"
    listed = client.list_provisioned_concurrency_configs(FunctionName=name)["ProvisionedConcurrencyConfigs"]
    assert [c["FunctionArn"].rpartition(":")[2] for c in listed] == [version]
    # Less means less at once, and more calls than are provisioned get environments beside them.
    client.put_provisioned_concurrency_config(ProvisionedConcurrentExecutions=1, **qualified)
    state = client.get_provisioned_concurrency_config(**qualified)
    assert state["AvailableProvisionedConcurrentExecutions"] == state["AllocatedProvisionedConcurrentExecutions"] == 1
    results = together([lambda: platform.call(name, {"s": 1}, Qualifier=version)] * 2, 2)
    assert sorted(r.payload["how"] for r in results) == ["on-demand", "provisioned-concurrency"]
    client.delete_provisioned_concurrency_config(**qualified)
    assert client.list_provisioned_concurrency_configs(FunctionName=name)["ProvisionedConcurrencyConfigs"] == []


def test_provisioning_that_cannot_succeed_says_so(platform, function):
    name = function("raise RuntimeError('never')\n")
    client = platform.lambda_
    qualified = {"FunctionName": name, "Qualifier": client.publish_version(FunctionName=name)["Version"]}
    client.put_provisioned_concurrency_config(ProvisionedConcurrentExecutions=1, **qualified)

    def state():
        answer = client.get_provisioned_concurrency_config(**qualified)
        return answer if answer["Status"] == "FAILED" else None

    assert until(state, "FAILED", 30)["StatusReason"]
    client.delete_provisioned_concurrency_config(**qualified)


@pytest.mark.parametrize("seconds", [1, 2])
def test_timeouts_are_exact(platform, function, seconds):
    name = function(
        "import time\ndef handler(event, context):\n    time.sleep(event)\n    return 'in time'\n", Timeout=seconds
    )
    platform.invoke(name, 0)
    began = time.monotonic()
    result = platform.call(name, 30)
    took = time.monotonic() - began
    assert result.payload["errorType"] == "Sandbox.Timedout"
    duration = float(re.search(r"\tDuration: ([0-9.]+) ms", result.log)[1])
    assert 1000 * seconds <= duration <= 1000 * seconds + 50, duration
    # What the caller sees, on a busy machine.
    assert seconds <= took < seconds + 0.5
    # A little less than the limit is in time.
    assert platform.invoke(name, seconds - 0.2) == "in time"


def test_a_slow_start_does_not_count_against_the_timeout(platform, function):
    name = function("import time\ntime.sleep(1.5)\ndef handler(event, context):\n    return 'in time'\n", Timeout=1)
    assert platform.invoke(name) == "in time"


def test_the_least_recently_used_environment_goes_first(own_server):
    server = own_server("--memory", 512)
    names = [server.create(WHERE, MemorySize=128) for _ in range(5)]
    for name in names[:4]:
        assert server.invoke(name)["cold"]
    # The first one is used again, so that the second is now the oldest.
    assert not server.invoke(names[0])["cold"]
    assert server.invoke(names[4])["cold"]
    assert not server.invoke(names[0])["cold"]
    assert not server.invoke(names[3])["cold"]
    assert server.invoke(names[1])["cold"]


def test_a_burst_waits_for_room_and_never_exceeds_it(own_server):
    server = own_server("--memory", 512, "--queue-timeout", "60s")
    name = server.create(WHERE, MemorySize=128, Timeout=20)
    most, done = [0], threading.Event()

    def watch():
        while not done.wait(0.05):
            most[0] = max(most[0], len(environments(server)))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        answers = together([lambda: server.invoke(name, {"s": 0.1})] * 40, 40)
    finally:
        done.set()
        watcher.join()
    assert len(answers) == 40
    assert len({a["where"] for a in answers}) <= 4
    assert most[0] <= 4


def environments(server):
    """The pid namespaces of what runs in sandboxes."""
    found = set()
    for pid in server.guests():
        try:
            found.add(os.readlink(f"/proc/{pid}/ns/pid"))
        except OSError:
            continue
    return found


def test_a_request_that_finds_no_room_in_time_is_throttled(own_server):
    server = own_server("--memory", 128, "--queue-timeout", "500ms")
    name = server.create(WHERE, MemorySize=128, Timeout=20)
    call = threading.Thread(target=server.invoke, args=(name, {"s": 4}))
    server.invoke(name)
    call.start()
    until(lambda: throttled(lambda: server.invoke(name)) == "CallerRateLimitExceeded", "no room", 5)
    call.join()


def test_different_functions_started_at_once_all_run(platform, function):
    names = [function(WHERE, Timeout=20) for _ in range(6)]
    answers = together([lambda n=n: platform.invoke(n) for n in names], 6)
    assert all(a["cold"] for a in answers) and len({a["where"] for a in answers}) == 6


def test_an_environment_serves_one_invocation_at_a_time(platform, function):
    name = function(
        "import time\nbusy = False\ndef handler(event, context):\n    global busy\n"
        "    clash, busy = busy, True\n    time.sleep(0.01)\n    busy = False\n    return clash\n",
        Timeout=20,
    )
    assert not any(together([lambda: platform.invoke(name)] * 200, 8))


def test_metrics_tell_of_invocations(platform, function):
    name = function("def handler(event, context):\n    return 1 / event['n']\n")
    platform.invoke(name, {"n": 1})
    platform.invoke(name, {"n": 1})
    assert platform.call(name, {"n": 0}).error
    with urllib.request.urlopen(f"{platform.url}/_ephyra/metrics", timeout=5) as answer:
        assert answer.headers["Content-Type"].startswith("text/plain")
        text = answer.read().decode()
    samples = [line for line in text.splitlines() if line.startswith("ephyra_invocations_total{") and name in line]
    counts = {re.search(r'outcome="(\w+)"', line)[1]: float(line.rpartition(" ")[2]) for line in samples}
    assert counts == {"success": 2, "error": 1} | dict.fromkeys(counts.keys() - {"success", "error"}, 0)
    for metric in ("throttles_total", "cold_start_seconds", "concurrency", "environments", "memory_reserved_bytes"):
        assert f"ephyra_{metric}" in text, metric
