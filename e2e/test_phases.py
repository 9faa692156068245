"""The phases of every cold start: the usage record, the metrics, the REPORT line and `ephyra invoke` say the same, and
the phases add up to the whole."""

import json
import pathlib
import re
import time

import pytest

from harness import until
from test_cold import held, metric, runtime_of
from test_custom_runtimes import BASH, PROVIDED

PYTHON = """
import time
time.sleep(0.2)
def handler(event, context):
    time.sleep(0.1)
    return 1
"""
NODE = """
Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 200);
exports.handler = async () => { await new Promise((done) => setTimeout(done, 100)); return 1; };
"""
# In milliseconds: what the functions above sleep.
INIT, CALL = 200, 100
PHASES = ("queue", "environment", "boot", "init", "restore", "first call")
# Acts at the start of the interpreter, so that whoever sets it is executed.
EXECUTED = {"Variables": {"PYTHONFAULTHANDLER": ""}}


def record_of(server, request_id):
    """The usage record of a request."""

    def look():
        files = [path for path in pathlib.Path(server.data, "usage").rglob("*") if path.is_file()]
        lines = [line for path in files for line in path.read_text().splitlines() if request_id in line]
        return json.loads(lines[0]) if lines else None

    return until(look, f"the usage record of {request_id}")


def counted(server):
    """The sum of each phase in milliseconds, and how many cold starts there were, by the metrics."""
    label = {phase: phase.replace(" ", "_") for phase in PHASES}
    sums = {phase: metric(server, "ephyra_cold_start_seconds_sum", phase=label[phase]) * 1000 for phase in PHASES}
    return sums, metric(server, "ephyra_cold_start_seconds_count", phase="queue")


def invoked(server, *arguments):
    """What `ephyra invoke` says, and how long it took as seen from here, in milliseconds."""
    begun = time.monotonic()
    said = json.loads(server.command("invoke", *arguments, "--json").stdout)
    assert said["functionError"] is None, said
    return said, (time.monotonic() - begun) * 1000


def near(one, other):
    # Reports have two decimals.
    return abs(one - other) <= 0.011


def check(server, origin, *arguments, init=INIT, call=CALL):
    """Invokes for the first time, and compares everything that tells of it."""
    before, starts = counted(server)
    said, took = invoked(server, *arguments)
    told = said["timing"]["report"]
    cold = told["coldStart"]
    assert cold["origin"] == origin, cold
    names = ["queue", "restore", "first call"] if origin == "template" else ["queue", "environment", "boot", "init", "first call"]
    assert cold["phasesMs"].keys() == set(names)
    phases = {name: cold["phasesMs"][name] for name in names}

    report = next(line for line in said["log"].splitlines() if line.startswith("REPORT "))
    field = ", ".join(f"{name} {ms:.2f} ms" for name, ms in phases.items()) + f", from {origin}"
    assert f"\tCold Start: {field}" in report, report
    assert phases["first call"] == told["durationMs"]

    record = record_of(server, said["requestId"])
    assert record["cold"]["origin"] == origin
    for name in names[:-1]:
        assert near(phases[name], record["cold"][f"{name}_us"] / 1000), (name, phases, record)
    assert near(phases["first call"], record["duration_ms"])

    after, now = counted(server)
    assert now - starts == 1
    for name in PHASES:
        assert near(phases.get(name, 0), after[name] - before[name]), (name, phases, before, after)

    # All of it, and nothing twice: what is left is the way there and back.
    whole = said["timing"]["roundTripMs"]
    total = sum(phases.values())
    assert total <= whole <= took and whole - total < 300, (phases, whole)
    assert phases["first call"] >= call
    if origin == "template":
        assert phases["restore"] < 500 and "initDurationMs" not in told
        paid = phases["restore"]
    else:
        assert phases["boot"] + phases["init"] >= init
        paid = told["initDurationMs"]
        assert near(paid, phases["boot"] + phases["init"]) or abs(paid - phases["boot"] - phases["init"]) < 0.02
    assert phases["first call"] + paid - 0.03 <= told["billedDurationMs"] == record["billed_ms"]

    # The next call is warm, and nothing tells of a start.
    said, _ = invoked(server, *arguments)
    told = said["timing"]["report"]
    assert not {"coldStart", "initDurationMs", "restoreDurationMs"} & told.keys()
    assert "Cold Start" not in said["log"]
    assert "cold" not in record_of(server, said["requestId"])
    assert counted(server)[1] == now


@pytest.mark.parametrize("family", ["python", "nodejs"])
def test_from_the_pool(own_server, family):
    server = own_server()
    runtime = runtime_of(server, family)
    until(lambda: held(server, runtime) >= 1, f"a blank {runtime}")
    name = server.create(PYTHON if family == "python" else NODE, runtime=runtime, Timeout=20)
    check(server, "pool", name)


def test_from_nothing_prepared(own_server):
    server = own_server("--pool-memory", 0)
    check(server, "zygote", server.create(PYTHON, Timeout=20))
    check(server, "scratch", server.create(PYTHON, Environment=EXECUTED, Timeout=20))
    check(server, "scratch", server.create(NODE, runtime=server.node, Timeout=20))
    check(server, "scratch", server.create(BASH, runtime=PROVIDED, Timeout=20), init=0, call=0)


def test_from_a_template(own_server):
    server = own_server()
    name = server.create(PYTHON, SnapStart={"ApplyOn": "PublishedVersions"}, Timeout=20, Publish=True)

    def is_active():
        return server.lambda_.get_function_configuration(FunctionName=name, Qualifier="1")["State"] == "Active"

    until(is_active, "the version to be active")
    check(server, "template", name, "--qualifier", "1")


def test_one_that_waits_has_its_wait_in_the_queue(own_server):
    # There is room for one environment: the second start begins when the first is over.
    server = own_server("--memory", 128, "--pool-memory", 0)
    slow = server.create("import time\ndef handler(event, context): time.sleep(1)", Timeout=20)
    name = server.create(PYTHON, Timeout=20)
    server.invoke(slow)
    server.lambda_.invoke(FunctionName=slow, InvocationType="Event")
    until(lambda: metric(server, "ephyra_concurrency") >= 1, "the other to run")
    said, _ = invoked(server, name)
    phases = said["timing"]["report"]["coldStart"]["phasesMs"]
    record = record_of(server, said["requestId"])
    assert phases["queue"] > 300 and near(phases["queue"], record["cold"]["queue_us"] / 1000)
    report = re.search(r"Cold Start: queue ([0-9.]+) ms", said["log"])
    assert float(report[1]) == phases["queue"]
    assert sum(phases.values()) <= said["timing"]["roundTripMs"]
