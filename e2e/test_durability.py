"""What was acknowledged survives the death of every process, and nothing of the platform outlives it."""

import json
import pathlib
import re
import signal
import threading
import urllib.request

import botocore.exceptions
import pytest

import harness
from harness import together, until

RAN = "def handler(event, context):\n    print('ran', event['id'], '.')\n"
SLEEPER = "import time\ndef handler(event, context):\n    time.sleep(event['s'])\n    return 'done'\n"


def test_2000_events_survive_three_kills(own_server):
    """Each event that was acknowledged runs at least once."""
    server = own_server("--concurrency", 200, "--memory", 2048)
    # Without the platform's own lines, so that all that ran is among the lines that one request shows.
    quiet = {"LogFormat": "JSON", "SystemLogLevel": "WARN", "ApplicationLogLevel": "INFO"}
    name = server.create(RAN, Timeout=10, LoggingConfig=quiet)
    count, acknowledged, lock = 2000, set(), threading.Lock()
    alive = threading.Event()
    alive.set()
    remaining = list(range(count))

    def send():
        while True:
            with lock:
                if not remaining:
                    return
                number = remaining.pop()
            try:
                answer = server.lambda_.invoke(
                    FunctionName=name, InvocationType="Event", Payload=json.dumps({"id": number}).encode()
                )
                assert answer["StatusCode"] == 202
                with lock:
                    acknowledged.add(number)
            except (botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError):
                # Not acknowledged: it may or may not run, so it is sent again once there is a platform.
                with lock:
                    remaining.append(number)
                alive.wait(60)

    senders = [threading.Thread(target=send) for _ in range(8)]
    for sender in senders:
        sender.start()
    for n, mark in enumerate((400, 900, 1500)):
        until(lambda mark=mark: len(acknowledged) >= mark, f"{mark} acknowledgements")
        alive.clear()
        parts = server.parts()
        server.kill(*(parts if n == 2 else parts[n : n + 1]))
        server.start()
        alive.set()
    for sender in senders:
        sender.join()
    assert len(acknowledged) == count

    def ran():
        log = server.logs(name, "--limit", 10_000)
        return {int(n) for n in re.findall(r"ran (\d+) \.", log)}

    until(lambda: acknowledged <= ran(), "each event to have run", 90)
    assert ran() == set(range(count))


@pytest.mark.parametrize("victim", ["server", "warden", "both"])
def test_nothing_outlives_a_kill_once_it_starts_again(own_server, victim):
    server = own_server()
    name = server.create(SLEEPER, Timeout=60)
    version = server.lambda_.publish_version(FunctionName=name)["Version"]
    server.lambda_.create_alias(FunctionName=name, Name="live", FunctionVersion=version)
    server.invoke(name, {"s": 0})
    calls = [threading.Thread(target=swallow, args=(server, name, {"s": 50})) for _ in range(2)]
    for call in calls:
        call.start()
    until(lambda: len(server.guests()) >= 2, "two environments")
    chosen = dict(zip(("server", "warden"), server.parts()))
    former = server.former()
    server.kill(*([chosen[victim]] if victim != "both" else chosen.values()))
    for call in calls:
        call.join(30)
        assert not call.is_alive(), "a caller is told that the platform died"
    server.start()
    until(lambda: not former(), "nothing of the former platform to be left", 15)
    # What was acknowledged is there, and runs.
    assert server.invoke(name, {"s": 0}, Qualifier="live") == "done"


@pytest.mark.parametrize("victim", ["server", "warden"])
def test_nothing_outlives_a_kill_amid_starts_and_ends(own_server, victim):
    server = own_server()
    name = server.create("import os\ndef handler(event, context):\n    os._exit(0)\n")
    ended, is_over = [], threading.Event()

    def storm():
        while not is_over.is_set():
            swallow(server, name, {})
            ended.append(None)

    callers = [threading.Thread(target=storm) for _ in range(8)]
    for caller in callers:
        caller.start()
    until(lambda: len(ended) >= 60, "environments to have ended")
    chosen = dict(zip(("server", "warden"), server.parts()))
    former = server.former()
    is_over.set()
    server.kill(chosen[victim])
    for caller in callers:
        caller.join(30)
        assert not caller.is_alive(), "a caller is told that the platform died"
    server.start()
    until(lambda: not former(), "nothing of the former platform to be left", 15)
    server.terminate()
    devices = pathlib.Path("/sys/block").glob("loop*/loop/backing_file")
    assert not [device for device in devices if server.data in reading(device)]


def reading(path):
    """What is in a file that may be gone."""
    try:
        return path.read_text()
    except OSError:
        return ""


def swallow(server, name, event):
    try:
        server.call(name, event)
    except (botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError):
        return


def test_sigterm_drains(own_server):
    server = own_server()
    name = server.create(SLEEPER, Timeout=30)
    server.invoke(name, {"s": 0})
    answers = []
    call = threading.Thread(target=lambda: answers.append(server.invoke(name, {"s": 4})))
    call.start()
    until(lambda: running(server) == 1, "the invocation to run")
    server.look()
    server.process.send_signal(signal.SIGTERM)

    def refused():
        try:
            server.call(name, {"s": 0})
        except botocore.exceptions.ClientError as error:
            return error.response["ResponseMetadata"]["HTTPStatusCode"]
        return None

    assert until(refused, "a new invocation to be refused", 3) == 503
    assert not answers, "the running invocation goes on meanwhile"
    call.join(30)
    assert answers == ["done"]
    assert server.process.wait(30) == 0
    server.wait_gone()


def running(server):
    """Invocations that run now, as the metrics say."""
    with urllib.request.urlopen(f"{server.url}/_ephyra/metrics", timeout=5) as answer:
        text = answer.read().decode()
    value = re.search(r"^ephyra_concurrency ([0-9.]+)$", text, re.M)
    assert value, f"no metric of concurrency:\n{text}"
    return float(value[1])


def test_drain_time_is_bounded(own_server):
    server = own_server("--drain-timeout", "1s")
    name = server.create(SLEEPER, Timeout=60)
    call = threading.Thread(target=swallow, args=(server, name, {"s": 50}))
    call.start()
    until(lambda: server.guests(), "the environment")
    server.look()
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(15) == 0
    call.join(15)
    server.wait_gone()


def test_events_accepted_before_sigterm_run_after_it(own_server):
    server = own_server("--concurrency", 100)
    name = server.create("import time\n" + RAN.replace("    print", "    time.sleep(0.05)\n    print"), Timeout=10)
    sends = [
        lambda n=n: server.lambda_.invoke(
            FunctionName=name, InvocationType="Event", Payload=json.dumps({"id": n}).encode()
        )
        for n in range(100)
    ]
    together(sends, 8)
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(60) == 0
    server.start()
    until(lambda: {int(n) for n in re.findall(r"ran (\d+) \.", server.logs(name))} == set(range(100)), "all 100")


def test_state_survives_a_restart(own_server):
    server = own_server()
    client = server.lambda_
    name = server.create(RAN, Description="kept", Tags={"a": "b"})
    client.put_function_event_invoke_config(FunctionName=name, MaximumRetryAttempts=1)
    client.add_permission(FunctionName=name, StatementId="s", Action="lambda:InvokeFunction", Principal="*")
    client.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=7)

    def state():
        answers = [
            client.get_function(FunctionName=name),
            client.get_function_event_invoke_config(FunctionName=name),
            client.get_policy(FunctionName=name),
            client.list_functions(),
            client.get_account_settings(),
        ]
        for answer in answers:
            answer.pop("ResponseMetadata")
        answers[0]["Code"].pop("Location")
        return answers

    before = state()
    server.terminate()
    server.start()
    assert state() == before
    server.kill()
    server.start()
    assert state() == before


def test_usage_records_are_left(own_server):
    server = own_server()
    name = server.create("def handler(event, context):\n    return event\n")
    request = server.call(name, {"x": 1}).request_id
    server.terminate()
    files = [
        f for f in pathlib.Path(server.data).rglob("*") if f.is_file() and "usage" in str(f.relative_to(server.data))
    ]
    text = "".join(f.read_text(errors="replace") for f in files)
    records = [json.loads(line) for line in text.splitlines() if request in line]
    assert len(records) == 1, files
    record = records[0]
    assert record["function"] == name and record["version"] == "$LATEST" and record["outcome"] == "success"
    assert record["memory_mb"] == 128 and record["billed_ms"] >= 1 and record["duration_ms"] > 0
    assert record["bytes_in"] == len('{"x": 1}') and record["bytes_out"] == len('{"x": 1}')
    assert record["peak_memory_bytes"] > 1 << 20 and record["cpu_us"] > 0
    assert record["cold"]["init_us"] > 0 and record["start_ms"] > 1_700_000_000_000


def test_a_data_folder_of_a_newer_layout_is_refused(own_server):
    server = own_server()
    server.terminate()
    marks = [
        f
        for f in pathlib.Path(server.data).iterdir()
        if f.is_file() and "layout" in f.name.lower() or f.name == "version"
    ]
    assert marks, list(pathlib.Path(server.data).iterdir())
    text = marks[0].read_text()
    marks[0].write_text(re.sub(r"\d+", lambda m: str(int(m[0]) + 1), text, count=1))
    server.start(wait=False)
    assert server.process.wait(20) != 0
    assert "newer" in server.log().lower() or "layout" in server.log().lower()


def test_one_data_folder_serves_one_platform(own_server):
    server = own_server()
    second = harness.Server(data=server.data)
    second.start(wait=False)
    assert second.process.wait(20) != 0
    assert server.is_healthy()
