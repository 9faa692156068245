"""Cold starts: environments that are held ready, and those that are not, are the same to a function."""

import contextlib
import os
import pathlib
import re
import signal
import time
import urllib.request

import pytest

from harness import together, until

PYTHON = '''
import os, sys, time
loaded = {"hour": time.localtime(0).tm_hour, "cwd": os.getcwd(), "task": sorted(os.listdir("/var/task"))}
def handler(event, context):
    with open("/tmp/mark", "a") as file:
        file.write("x")
    return dict(loaded, env=dict(os.environ), argv=sys.argv, path=sys.path, uid=os.getuid(), gid=os.getgid(),
                groups=os.getgroups(), fds=sorted(os.listdir("/proc/self/fd")), tmp=open("/tmp/mark").read(),
                name=context.function_name, handler=__name__, file=__file__, ids=[os.getpid() > 1],
                limits=open("/proc/self/limits").read(), mounts=len(open("/proc/self/mounts").readlines()),
                status=[line for line in open("/proc/self/status") if line.startswith(("Cap", "NoNew", "Seccomp"))])
'''
NODE = '''
const fs = require('fs');
const loaded = { hour: new Date(0).getHours(), cwd: process.cwd(), task: fs.readdirSync('/var/task').sort() };
exports.handler = async (event, context) => {
  fs.appendFileSync('/tmp/mark', 'x');
  return { ...loaded, env: { ...process.env }, argv: process.argv, execArgv: process.execArgv, paths: module.paths,
    uid: process.getuid(), gid: process.getgid(), groups: process.getgroups(), tmp: fs.readFileSync('/tmp/mark', 'utf8'),
    name: context.functionName, main: require.main.filename, file: __filename,
    heap: require('v8').getHeapStatistics().heap_size_limit, mounts: fs.readFileSync('/proc/self/mounts', 'utf8').split('\\n').length,
    limits: fs.readFileSync('/proc/self/limits', 'utf8') };
};
'''
ONE = "def handler(e, c):\n    return 1\n"
# What no two environments have in common.
OWN = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_LAMBDA_LOG_STREAM_NAME",
       "_X_AMZN_TRACE_ID")  # fmt: skip


def metric(server, name, **labels):
    """The value of a series; 0 when it is not there."""
    want = [f'{key}="{value}"' for key, value in labels.items()]
    with urllib.request.urlopen(f"{server.url}/_ephyra/metrics", timeout=10) as answer:
        text = answer.read().decode()
    lines = [line for line in text.splitlines() if line.startswith(name) and all(w in line for w in want)]
    return sum(float(line.rpartition(" ")[2]) for line in lines)


def hits(server):
    return metric(server, "ephyra_pool_starts_total", result="hit")


def misses(server):
    return metric(server, "ephyra_pool_starts_total", result="miss")


def held(server, runtime):
    return metric(server, "ephyra_pool_blanks", runtime=runtime)


def runtime_of(server, family):
    """The newest runtime of a family: that of which blanks are held from the start."""
    found = [name for name in server.runtimes() if name.startswith(family)]
    return max(found, key=lambda name: [int(number) for number in re.findall(r"\d+", name)])


@pytest.mark.parametrize("family, source, own_start", [
    ("python", PYTHON, {"MALLOC_TRIM_THRESHOLD_": "131072"}),
    ("nodejs", NODE, {"UV_THREADPOOL_SIZE": "4"}),
])  # fmt: skip
def test_a_function_sees_the_same_from_the_pool_and_without(own_server, family, source, own_start):
    with_pool, without = own_server(), own_server("--pool-memory", 0)
    runtime = runtime_of(with_pool, family)
    until(lambda: held(with_pool, runtime) >= 1, "a blank environment")
    variables = {"MINE": "é \" ' $x", "TZ": "Asia/Tokyo", "PATH": "/opt/bin:/usr/bin:/bin"}
    sights = []
    for server, more in ((with_pool, {}), (without, {}), (with_pool, own_start)):
        environment = {"Variables": variables | more}
        name = server.create(source, name="same", runtime=runtime, Environment=environment, Timeout=20)
        before = hits(server)
        sight = server.invoke(name)
        sights.append((hits(server) - before, sight))
        server.forget(name)
        for variable in (*OWN, *own_start):
            sight["env"].pop(variable, None)
    # The second start of its kind in the same pool is one with a start of its own.
    assert [hit for hit, _ in sights] == [1, 0, 0]
    assert sights[0][1]["hour"] == 9 and sights[0][1]["env"]["MINE"] == variables["MINE"]
    assert sights[0][1]["tmp"] == "x" and len(sights[0][1]["task"]) == 1
    assert sights[0][1] == sights[1][1]
    # One that was started for this function alone knows more of its variables from the start, but nothing else.
    assert sights[0][1] == sights[2][1]


def test_environments_of_the_pool_are_used_once_and_replaced(own_server):
    server = own_server()
    runtime = runtime_of(server, "python")
    source = "import os\ndef handler(e, c):\n    return os.readlink('/proc/self/ns/pid')\n"
    names = [server.create(source, runtime=runtime) for _ in range(4)]
    seen = set()
    for name in names:
        until(lambda: held(server, runtime) >= 1, "a blank environment")
        seen.add(server.invoke(name))
    assert len(seen) == 4
    assert hits(server) == 4 and misses(server) == 0


def test_an_environment_that_died_is_not_handed_out(own_server):
    server = own_server()
    runtime = runtime_of(server, "python")
    until(lambda: held(server, runtime) >= 2, "blank environments")
    name = server.create(ONE, runtime=runtime)
    for pids in server.sandboxes()[1].values():
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass  # Its first process took it along.
    assert server.invoke(name) == 1
    until(lambda: held(server, runtime) >= 1, "other blank environments")
    assert server.invoke(server.create(ONE, runtime=runtime)) == 1


def test_nothing_of_the_pool_outlives_a_killed_server(own_server):
    server = own_server()
    until(lambda: len(server.sandboxes()[1]) >= 2, "blank environments")
    left = server.former()
    server.kill(server.parts()[0])
    until(lambda: not left(), "nothing to be left", 10)


def test_without_a_pool_nothing_is_held(own_server):
    server = own_server("--pool-memory", 0)
    name = server.create(ONE)
    assert server.invoke(name) == 1
    # What runtimes boot from is made in blank sandboxes too, when a platform is started for the first time.
    until(lambda: not server.sandboxes()[1], "no blank sandbox")
    assert len(server.sandboxes()[0]) == 1
    assert hits(server) == 0


def test_blank_environments_use_no_cpu(own_server):
    server = own_server()
    for family in ("python", "nodejs"):
        until(lambda: held(server, runtime_of(server, family)) >= 1, f"a blank {family}")

    def used():
        times = {}
        for pids in server.sandboxes()[1].values():
            for pid in pids:
                with contextlib.suppress(OSError):
                    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
                    times[pid] = int(fields[11]) + int(fields[12])
        return times

    def rested():
        before, end = used(), time.monotonic() + 1
        until(lambda: time.monotonic() > end, "a second to go by")
        return before if before == used() else None

    # Not at once: what runtimes boot from may still be in the making.
    assert until(rested, "a second in which none of them ran")


def test_a_burst_of_one_function_is_answered(own_server):
    server = own_server()
    source = "import time\ndef handler(e, c):\n    time.sleep(0.3)\n    return 1\n"
    runtime = runtime_of(server, "python")
    name = server.create(source, runtime=runtime, Timeout=20)
    assert together([lambda: server.invoke(name)] * 30, 30) == [1] * 30
    # The next burst finds more of it ready, but never more than there is memory for.
    until(lambda: held(server, runtime) >= 3, "more blank environments")


def test_the_first_call_reports_its_phases(own_server):
    server = own_server()
    runtime = runtime_of(server, "python")
    until(lambda: held(server, runtime) >= 1, "a blank environment")
    name = server.create(ONE, runtime=runtime)
    report = server.call(name, LogType="Tail").log
    assert "from pool" in report, report
    second = server.call(name, LogType="Tail").log
    assert "Cold Start" not in second
