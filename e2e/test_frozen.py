"""An idle environment is frozen: not at once, as the next call may come at once, and then entirely."""

import ctypes
import os
import pathlib
import select
import time

from harness import until

SPINNER = """
import os, threading

def spin():
    while True:
        pass

def handler(event, context):
    if event.get("spin"):
        threading.Thread(target=spin, daemon=True).start()
        if os.fork() == 0:
            spin()
    return os.getpid()
"""
ECHO = "def handler(event, context):\n    return event\n"
SLEEPER = "import time\ndef handler(event, context):\n    time.sleep(0.5)\n"
# Half of what a call that came sooner would find an environment unfrozen in.
SOON = 0.025
IN_MODIFY = 2


def control_file(pid):
    """The file by which the environment of a process is frozen, and how to see that it is."""
    for line in pathlib.Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if "ephyra" not in path:
            continue
        for mount in ("/sys/fs/cgroup/freezer", "/sys/fs/cgroup", "/sys/fs/cgroup/unified"):
            group = pathlib.Path(mount + path)
            if controllers == "freezer" and (group / "freezer.state").exists():
                return group / "freezer.state", lambda: (group / "freezer.state").read_text() == "FROZEN\n"
            if controllers == "" and (group / "cgroup.freeze").exists():
                return group / "cgroup.freeze", lambda: "frozen 1" in (group / "cgroup.events").read_text()
    raise AssertionError(f"process {pid} is in no control group that can be frozen")


def cpu_of(pids):
    """Nanoseconds of CPU that all threads of these processes have used."""
    used = {}
    for pid in pids:
        for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
            used[task.name] = int((task / "schedstat").read_text().split()[0])
    return used


def environment(server, name, event):
    """The processes of the environment that a function's first call starts."""
    before = set(server.sandboxes()[0])
    server.invoke(name, event)
    functions = server.sandboxes()[0]
    (new,) = functions.keys() - before
    return functions[new]


def test_a_frozen_environment_uses_no_cpu(own_server):
    server = own_server()
    pids = environment(server, server.create(SPINNER, MemorySize=1769), {"spin": True})
    _, is_frozen = control_file(min(pids))
    until(is_frozen, "the environment to be frozen", 10)
    before = cpu_of(pids)
    # Half a second goes by for another function.
    server.invoke(server.create(SLEEPER, Timeout=10), {})
    assert is_frozen() and cpu_of(pids) == before
    assert len(before) >= 4, "pid 1, the runtime, its thread and its child"


class Writes:
    """Counts how often a file is written to."""

    def __init__(self, path):
        self.libc = ctypes.CDLL(None, use_errno=True)
        self.descriptor = self.libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        watch = self.libc.inotify_add_watch(self.descriptor, os.fsencode(path), IN_MODIFY)
        assert watch > 0, os.strerror(ctypes.get_errno())
        self.count = 0

    def taken(self):
        """Equal events that nobody has read in between are one, so this is to be asked often."""
        while select.select([self.descriptor], [], [], 0)[0]:
            self.count += len(os.read(self.descriptor, 65536)) // 16
        return self.count


def test_warm_calls_neither_freeze_nor_thaw(own_server):
    server = own_server()
    name = server.create(ECHO)
    file, is_frozen = control_file(min(environment(server, name, {})))
    until(is_frozen, "the environment to be frozen", 10)
    writes = Writes(file)
    server.invoke(name, {})
    assert until(writes.taken, "it to be thawed for a call", 10) >= 1
    until(is_frozen, "the environment to be frozen again", 10)
    server.invoke(name, {})
    before, pauses, last = writes.taken(), 0, time.monotonic()
    for number in range(200):
        server.invoke(name, {"number": number})
        now = time.monotonic()
        # Where this machine was slow, it may have been frozen and thawed in between.
        pauses += now - last > SOON
        last = now
        during = writes.taken() - before
        assert during <= 2 * pauses, f"{during} writes in {number} calls with {pauses} pauses"
    assert pauses < 150, "the machine is too slow to tell"
    until(is_frozen, "the environment to be frozen in the end", 10)
    assert writes.taken() > before
