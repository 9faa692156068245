"""Python environments that are forked from a zygote: what they are, what they share, what becomes of them without it."""

import json
import os
import pathlib
import signal

import pytest

from harness import descendants, together, until

DRAW = '''
import os, random, secrets, ssl, tempfile, uuid
drawn = [random.random(), str(uuid.uuid4()), str(uuid.uuid1()), ssl.RAND_bytes(16).hex(), secrets.token_hex(8),
         os.path.basename(tempfile.mktemp()), os.urandom(8).hex()]
def handler(event, context):
    return {"drawn": drawn, "environ": dict(os.environ), "fds": sorted(os.listdir("/proc/self/fd"))}
'''
# What modules do in forked processes is left out in the zygote's copies, and not in what these fork.
FORK = '''
import json, logging, os, random, signal, threading
def look():
    return [random.random(), threading.main_thread().native_id == threading.get_native_id(), threading.active_count()]
def handler(event, context):
    taken, done = threading.Event(), threading.Event()
    def hold():
        with logging.getLogger().handlers[0].lock:
            taken.set(), done.wait()
    thread = threading.Thread(target=hold)
    thread.start(), taken.wait()
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        signal.alarm(20)
        logging.getLogger().warning("what the other thread holds is free here")
        os.write(writer, json.dumps(look()).encode())
        os._exit(0)
    done.set(), thread.join()
    return {"status": os.waitpid(pid, 0)[1], "child": json.loads(os.read(reader, 1000)), "parent": look()}
'''
STAY = '''
import os
def handler(event, context):
    return os.getpid()
'''
# Of /proc/PID/status: all that a process may do, and what it is.
RIGHTS = ("Groups", "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp", "Seccomp_filters", "SigBlk",
          "SigIgn", "Umask", "Threads")  # fmt: skip
NAMESPACES = ("cgroup", "ipc", "mnt", "net", "pid", "user", "uts")
# Acts at the start of the interpreter, so that whoever sets it is executed.
EXECUTED = {"Variables": {"PYTHONFAULTHANDLER": ""}}


def argument(pid):
    """What a process was executed with."""
    try:
        return pathlib.Path(f"/proc/{pid}/cmdline").read_text().split("\0")[-2]
    except (OSError, IndexError):
        return ""


def runtimes_of(server, program):
    """The pids in functions' sandboxes that run a program of the runtime's, itself or as copies of its process."""
    return {pid for pid in server.guests() if argument(pid) == f"/var/runtime/{program}"}


def zygotes(server):
    guests = set().union(*(set(pids) for kind in server.sandboxes() for pids in kind.values()))
    return {pid for pid in descendants(server.process.pid) if argument(pid) == "/var/runtime/zygote.py"} - guests


def the_zygote(server):
    """The only one; a copy that is not yet in its sandbox may look like another for a moment."""

    def alone():
        found = zygotes(server)
        return found if len(found) == 1 else None

    return until(alone, "one zygote").pop()


def status(pid):
    lines = pathlib.Path(f"/proc/{pid}/status").read_text().splitlines()
    return dict(line.split(":\t", 1) for line in lines if ":\t" in line)


def namespaces(pid):
    return {name: os.readlink(f"/proc/{pid}/ns/{name}") for name in NAMESPACES}


def new(server, make):
    """Makes a runtime process by what `make` does, and finds it."""
    known = server.guests()
    make()
    born = {pid for pid in server.guests() - known if argument(pid).startswith("/var/runtime/")}
    assert len(born) == 1, {pid: argument(pid) for pid in server.guests() - known}
    return born.pop()


def test_every_python_is_forked(own_server):
    server = own_server()
    found = [name for name in server.runtimes() if name.startswith("python")]
    listed = {row["identifier"]: row for row in json.loads(server.command("runtime", "list", "--json").stdout)}
    for runtime in found:
        name = server.create(STAY, runtime=runtime)
        process = new(server, lambda: server.invoke(name))
        if listed[runtime]["has_zygote"]:
            assert argument(process) == "/var/runtime/zygote.py", runtime
    count = sum(listed[runtime]["has_zygote"] for runtime in found)
    until(lambda: len(zygotes(server)) == count, f"{count} zygotes")


def test_forks_share_nothing_that_is_drawn(own_server):
    server = own_server()
    names = [server.create(DRAW, Environment={"Variables": {"MINE": str(n)}}) for n in range(3)]
    answers = together([lambda name=name: server.invoke(name) for name in names])
    for place in range(7):
        assert len({answer["drawn"][place] for answer in answers}) == 3, place
    assert sorted(answer["environ"]["MINE"] for answer in answers) == ["0", "1", "2"]
    assert len({answer["environ"]["AWS_SECRET_ACCESS_KEY"] for answer in answers}) == 3
    # The fourth is the folder that is being read.
    assert all(answer["fds"] == ["0", "1", "2", "3", "4"] for answer in answers)


@pytest.mark.parametrize("environment", [{}, EXECUTED])
def test_a_function_forks_as_ever(own_server, environment):
    server = own_server()
    for runtime in [name for name in server.runtimes() if name.startswith("python")]:
        answer = server.invoke(server.create(FORK, runtime=runtime, Timeout=60, Environment=environment))
        assert answer["status"] == 0, runtime
        (child, _, threads), (parent, *of_the_parent) = answer["child"], answer["parent"]
        assert child != parent and threads == 1 and of_the_parent == [True, 1], runtime


def test_a_fork_is_held_as_what_is_executed(own_server):
    server = own_server()
    forked = server.create(STAY)
    executed = server.create(STAY, Environment=EXECUTED)
    one, two = (new(server, lambda name=name: server.invoke(name)) for name in (forked, executed))
    assert [argument(one), argument(two)] == ["/var/runtime/zygote.py", "/var/runtime/bootstrap.py"]
    assert {n: status(one)[n] for n in RIGHTS} == {n: status(two)[n] for n in RIGHTS}
    assert status(one)["CapBnd"].strip("0\n") == "" and status(one)["Seccomp"] == "2"
    # Each is one user, in all four places, whom no other sandbox has.
    users = [set(status(pid)[kind].split()) for pid in (one, two) for kind in ("Uid", "Gid")]
    assert all(len(user) == 1 for user in users) and users[0] == users[1] != users[2] == users[3]
    zygote = the_zygote(server)
    third = new(server, lambda: server.invoke(server.create(STAY)))
    all_of_them = [namespaces(pid) for pid in (one, two, third, zygote, os.getpid())]
    for name in NAMESPACES:
        seen = [spaces[name] for spaces in all_of_them[:3]]
        assert len(set(seen)) == 3, name
        assert not set(seen) & {spaces[name] for spaces in all_of_them[3:]}, name
    assert {fd.name for fd in pathlib.Path(f"/proc/{one}/fd").iterdir()} == {"0", "1", "2", "3"}
    # It is its sandbox's own: not the zygote's child, and in no group of the zygote's.
    assert int(status(one)["PPid"]) != zygote
    groups = [pathlib.Path(f"/proc/{pid}/cgroup").read_text() for pid in (one, zygote)]
    assert "zygote" in groups[1] and "zygote" not in groups[0]


def test_a_killed_zygote_is_not_missed(own_server):
    # Nothing is held ready, so that the next start needs the zygote.
    server = own_server("--pool-memory", 0)
    first, second = server.create(STAY), server.create(STAY)
    pid = new(server, lambda: server.invoke(first))
    zygote = the_zygote(server)
    os.kill(zygote, signal.SIGKILL)
    until(lambda: zygote not in descendants(server.process.pid), "the zygote's end")
    server.invoke(first)
    assert pid in server.guests(), "what runs goes on"
    process = new(server, lambda: server.invoke(second))
    if argument(process) != "/var/runtime/zygote.py":
        pytest.fail("the next start is executed")
    assert zygotes(server) != {zygote}


def test_a_zygote_is_held_itself(own_server):
    server = own_server()
    server.invoke(server.create(STAY))
    zygote = the_zygote(server)
    mine = status(zygote)
    names = {6: "SETGID", 7: "SETUID", 8: "SETPCAP", 18: "SYS_CHROOT", 19: "SYS_PTRACE", 21: "SYS_ADMIN"}
    want = f"{sum(1 << number for number in names):016x}"
    assert [mine[name] for name in ("CapPrm", "CapEff", "CapBnd")] == [want] * 3
    assert mine["NoNewPrivs"] == "1" and mine["Threads"] == "1" and mine["Groups"].strip() == ""
    spaces, ours = namespaces(zygote), namespaces(os.getpid())
    assert all(spaces[name] != ours[name] for name in ("ipc", "mnt", "net", "uts"))
    # Nobody can look inside: its files in /proc are root's even for its own user.
    root = pathlib.Path(f"/proc/{zygote}/root")
    assert sorted(os.listdir(root / "var/task")) == ["lib"] and os.listdir(root / "proc") == []
    os.kill(zygote, signal.SIGTERM)
    until(lambda: zygote not in descendants(server.process.pid), "the zygote's end")


def test_what_a_copy_only_uses_is_not_written_to(platform, function):
    name = function(
        "import json, sys, weakref\n"
        "class Own:\n"
        "    pass\n"
        "def handler(event, context):\n"
        "    own = Own()\n"
        "    gone = weakref.ref(own)\n"
        "    del own\n"
        "    return [sys.version_info[:2], sys.getrefcount(json.JSONDecoder), sys.getrefcount(Own), gone() is None]\n"
    )
    version, shared, own, is_freed = platform.invoke(name)
    # Before 3.12 every object's references are counted.
    assert (shared >= 3 << 30) == (tuple(version) >= (3, 12))
    assert own < 100 and is_freed, "the function's own objects live and die as ever"
