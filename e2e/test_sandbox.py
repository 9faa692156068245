"""Attempts to get out of an execution environment, each made from inside a function: all must fail.

A function runs what the test sends it, and reports. `denied(...)` inside it runs an attempt and gives the name of the
error that stopped it, or "DONE" when nothing did.
"""

import json
import os
import pathlib
import re
import socket
import socketserver
import threading

import pytest

from harness import ACCESS_KEY, SECRET_KEY, processes, together

PROBE = '''
import ctypes, errno, glob, json, os, resource, signal, socket, struct, subprocess, sys, threading, time

libc = ctypes.CDLL(None, use_errno=True)
kept = {}

def denied(attempt, *arguments):
    try:
        attempt(*arguments)
    except OSError as error:
        return errno.errorcode.get(error.errno, type(error).__name__)
    except (ValueError, subprocess.SubprocessError) as error:
        return type(error).__name__
    return "DONE"

def syscall(number, *arguments):
    """A raw system call; raises what it gave as an error."""
    ctypes.set_errno(0)
    value = libc.syscall(ctypes.c_long(number), *[ctypes.c_long(a) if isinstance(a, int) else a for a in arguments])
    if value == -1:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return value

def read(path):
    with open(path) as file:
        return file.read()

def handler(event, context):
    scope = dict(globals(), result=None)
    exec(event["code"], scope)
    return scope["result"]
'''

# x86-64's numbers of system calls that a function has no business with.
FORBIDDEN = {
    "mount": 165, "umount2": 166, "pivot_root": 155, "chroot": 161, "ptrace": 101, "init_module": 175,
    "delete_module": 176, "kexec_load": 246, "bpf": 321, "perf_event_open": 298, "keyctl": 250, "add_key": 248,
    "reboot": 169, "swapon": 167, "sethostname": 170, "unshare": 272, "setns": 308, "open_by_handle_at": 304,
    "process_vm_readv": 310, "process_vm_writev": 311, "kcmp": 312, "userfaultfd": 323, "move_mount": 429,
    "open_tree": 428, "fsopen": 430, "fsmount": 432, "io_uring_setup": 425, "pidfd_getfd": 438, "acct": 163,
    "settimeofday": 164, "iopl": 172, "ioperm": 173, "quotactl": 179, "mount_setattr": 442, "syslog": 103,
}  # fmt: skip


@pytest.fixture(scope="module")
def probe(platform):
    name = platform.create(PROBE, Timeout=20, MemorySize=256)

    def run(code, **more):
        return platform.invoke(name, {"code": code} | more)

    run.name = name
    yield run
    platform.lambda_.delete_function(FunctionName=name)


def healthy(platform):
    """The platform still serves others."""
    assert platform.is_healthy()


# -- who it is


def test_identity_and_privileges(probe):
    status = probe(
        "result = dict(line.split(':\\t') for line in read('/proc/self/status').splitlines() if ':\\t' in line)\n"
        "result['groups'] = os.getgroups(); result['dumpable'] = libc.prctl(3)"
    )
    assert "0" not in status["Uid"].split() and "0" not in status["Gid"].split()
    assert 0 not in status["groups"]
    for kind in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert int(status[kind], 16) == 0, kind
    assert status["NoNewPrivs"] == "1"
    assert status["Seccomp"] == "2"


def test_two_functions_have_different_users_on_the_host(platform, function, probe):
    other = function(PROBE, Timeout=20)
    code = "import time; time.sleep(1); result = os.getpid()"

    def look():
        # A sandbox that is being built is still the warden's; it gives up root before it sees any code of a function.
        known = processes()
        users = {known[pid][1] for pid in platform.guests() if pid in known}
        return len(users) >= 2 and 0 not in users

    threads = [threading.Thread(target=platform.invoke, args=(n, {"code": code})) for n in (probe.name, other)]
    for thread in threads:
        thread.start()
    try:
        platform.until(look, "two guests with users of their own, and none with root")
    finally:
        for thread in threads:
            thread.join()


def test_forbidden_system_calls(probe):
    outcome = probe(
        f"calls = {FORBIDDEN!r}\n"
        "result = {name: denied(syscall, number, 0, 0, 0, 0, 0) for name, number in calls.items()}"
    )
    allowed = {name: what for name, what in outcome.items() if what not in ("EPERM", "ENOSYS", "EACCES")}
    assert not allowed


def test_new_namespaces_cannot_be_made(probe):
    # CLONE_NEWUSER, NEWNS, NEWPID, NEWNET by unshare and by clone.
    flags = [0x10000000, 0x00020000, 0x20000000, 0x40000000]
    assert set(probe(f"result = [denied(syscall, 272, flag) for flag in {flags}]")) <= {"EPERM", "ENOSYS"}
    assert set(probe(f"result = [denied(syscall, 56, flag | 17, 0, 0, 0, 0) for flag in {flags}]")) <= {
        "EPERM",
        "ENOSYS",
    }


# -- files


def test_host_files_cannot_be_read(platform, probe, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("of the host")
    secret.chmod(0o644)
    for folder in (tmp_path, *tmp_path.parents[:-2]):
        folder.chmod(folder.stat().st_mode | 0o005)
    paths = [str(secret), platform.data, "/etc/shadow", "/root", "/home", "/var/lib", "/run", "/boot", "/proc/1/root",
             "/proc/1/environ", "/proc/1/mem", "/proc/kcore", "/proc/sys/kernel/core_pattern", "/sys/kernel",
             "/sys/fs/cgroup", "/dev/sda", "/dev/mem", "/dev/kmsg", "/proc/sysrq-trigger", "/lost+found"]  # fmt: skip
    outcome = probe(
        f"paths = {paths!r}\n"
        "def look(path):\n"
        "    if os.path.isdir(path):\n"
        "        if os.listdir(path): return\n"
        "        raise OSError(errno.ENOENT, 'an empty folder')\n"
        "    os.stat(path); open(path, 'r+b' if path.startswith('/proc/sys') else 'rb').read(1)\n"
        "result = {path: denied(look, path) for path in paths}"
    )
    # Its own root is all that pid 1's root may be; an interpreter may be mounted where it is on the host, and only that.
    interpreter = probe("result = sys.executable")
    above = {str(p) for p in pathlib.PurePosixPath(interpreter).parents}
    assert {path for path, what in outcome.items() if what == "DONE"} - above <= {"/proc/1/root"}, outcome
    for folder in above & set(paths):
        assert len(probe(f"result = os.listdir({folder!r})")) == 1
    marks = probe(
        "result = [os.path.exists(p) for p in ('/proc/1/root"
        + str(secret)
        + "', '/proc/self/root"
        + str(secret)
        + "')]"
    )
    assert marks == [False, False]


def test_root_holds_only_what_a_function_needs(probe):
    listed = set(probe("result = os.listdir('/')"))
    usual = {
        "bin",
        "dev",
        "etc",
        "lib",
        "lib32",
        "lib64",
        "libx32",
        "opt",
        "proc",
        "sbin",
        "tmp",
        "usr",
        "var",
        "sys",
        "run",
        "home",
        "root",
    }
    assert listed <= usual, listed - usual
    assert set(probe("result = os.listdir('/dev')")) <= {
        "fd", "full", "null", "ptmx", "pts", "random", "shm", "stderr", "stdin", "stdout", "tty", "urandom", "zero"
    }  # fmt: skip


def test_files_of_other_functions_cannot_be_read(platform, function, probe):
    other = function(
        "KEY = 'the key of another function'\ndef handler(event, context):\n    open('/tmp/mine', 'w').write(KEY)\n"
    )
    platform.invoke(other)
    found = probe(
        "found = []\n"
        "for base in ('/var', '/tmp', '/opt', '/run', '/srv', '/mnt'):\n"
        "    for folder, _, files in os.walk(base):\n"
        "        for name in files:\n"
        "            try:\n"
        "                if 'the key of another' in read(os.path.join(folder, name)): found.append(os.path.join(folder, name))\n"
        "            except (OSError, ValueError): pass\n"
        "result = found"
    )
    assert found == []
    assert "mine" not in probe("result = os.listdir('/tmp')")


def test_nothing_but_tmp_can_be_written(probe):
    outcome = probe(
        "def put(folder):\n"
        "    path = os.path.join(folder, 'mark-of-a-probe')\n"
        "    open(path, 'w').close(); os.unlink(path)\n"
        "folders = set()\n"
        "for base in os.listdir('/'):\n"
        "    if base in ('proc', 'tmp'): continue\n"
        "    for depth, (folder, below, _) in enumerate(os.walk('/' + base)):\n"
        "        folders.add(folder)\n"
        "        if depth > 300: break\n"
        "result = [f for f in sorted(folders | {'/', '/var/task', '/var/runtime', '/opt'}) if denied(put, f) == 'DONE']\n"
    )
    assert set(outcome) <= {"/dev/shm"}
    assert probe("open('/tmp/mark', 'w').write('x'); result = read('/tmp/mark')") == "x"


def test_remounting_and_setuid_programs_do_not_help(probe):
    options = probe("result = {line.split()[4]: line.split()[5] for line in read('/proc/self/mountinfo').splitlines()}")
    for path, flags in options.items():
        assert "nosuid" in flags.split(","), path
        if path not in ("/tmp", "/dev/shm", "/proc") and not path.startswith("/dev"):
            assert "ro" in flags.split(","), path
    assert probe("result = denied(os.setuid, 0)") != "DONE"
    assert probe("result = denied(os.mknod, '/tmp/disk', 0o60666, os.makedev(8, 0))") != "DONE"


# -- processes


def test_other_processes_are_not_seen(probe):
    seen = probe("result = {p: read(f'/proc/{p}/cmdline') for p in os.listdir('/proc') if p.isdigit()}")
    assert 1 <= len(seen) <= 4, seen
    assert not any("serve" in line for line in seen.values())


def test_other_processes_cannot_be_signalled(platform, probe):
    server, warden = platform.parts()
    pids = [server, warden, os.getpid(), *list(platform.guests())[:5]]
    outcome = probe(
        f"result = {{pid: denied(os.kill, pid, 0) for pid in {pids} if pid not in (1, os.getpid(), os.getppid())}}"
    )
    # A number that is taken in its own namespace is its own process.
    inside = probe("result = [int(p) for p in os.listdir('/proc') if p.isdigit()]")
    assert {pid: what for pid, what in outcome.items() if what == "DONE" and int(pid) not in inside} == {}
    assert probe("result = denied(os.kill, -1, 0)") in ("DONE", "ESRCH", "EPERM")
    healthy(platform)


def test_killing_everything_it_sees_ends_only_itself(platform, function):
    name = function(PROBE, Timeout=10)
    result = platform.call(name, {"code": "os.kill(-1, 9)\nos.kill(os.getpid(), 9)"})
    assert result.error == "Unhandled"
    assert platform.invoke(name, {"code": "result = 1"}) == 1
    healthy(platform)


def test_ptrace_of_a_child_is_refused(probe):
    assert probe("result = denied(syscall, 101, 0, 0, 0, 0)") in ("EPERM", "ENOSYS", "EACCES")
    assert probe("result = denied(open, '/proc/1/mem', 'rb')") in ("EPERM", "EACCES", "ENOENT")


def test_processes_are_limited(platform, function):
    # With a whole CPU and enough memory, so that the limit is what is met first.
    name = function(PROBE, Timeout=20, MemorySize=3538)
    code = (
        "made = []\n"
        "try:\n"
        "    for n in range(5000):\n"
        "        pid = os.fork()\n"
        "        if pid == 0:\n"
        "            time.sleep(60); os._exit(0)\n"
        "        made.append(pid)\n"
        "except OSError as error:\n"
        "    why = errno.errorcode[error.errno]\n"
        "else:\n"
        "    why = 'DONE'\n"
        "for pid in made: os.kill(pid, 9)\n"
        "for pid in made: os.waitpid(pid, 0)\n"
        "result = [len(made), why]"
    )
    count, why = platform.invoke(name, {"code": code})
    assert why == "EAGAIN" and 900 <= count <= 1024
    healthy(platform)


def test_fork_bomb_ends_with_its_time(platform, function):
    name = function(PROBE, Timeout=3, MemorySize=256)
    before = platform.guests()
    bomb = platform.call(name, {"code": "while True:\n    try: os.fork()\n    except OSError: pass"})
    assert bomb.error == "Unhandled"
    healthy(platform)
    # Hundreds of processes that want the CPU must not starve the one that is to end them all.
    platform.until(lambda: not platform.guests() - before, "all its processes to be gone", 20)
    assert platform.invoke(name, {"code": "result = 1"}) == 1


# -- network


@pytest.fixture
def host_listener():
    """Something on the host's loopback that a function would like to reach."""
    reached = []

    class Handler(socketserver.BaseRequestHandler):
        def handle(self):
            reached.append(self.client_address)

    with socketserver.ThreadingTCPServer(("0.0.0.0", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1], reached
        server.shutdown()


def test_the_host_network_cannot_be_reached(platform, probe, host_listener):
    port, reached = host_listener
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        try:
            s.connect(("192.0.2.1", 9))
            addresses = ["127.0.0.1", s.getsockname()[0]]
        except OSError:
            addresses = ["127.0.0.1"]
    targets = [(a, p) for a in addresses for p in (port, platform.port)] + [
        ("192.0.2.1", 80),
        ("8.8.8.8", 53),
        ("169.254.169.254", 80),
    ]
    outcome = probe(
        "result = [[*t, denied(lambda: socket.create_connection(tuple(t), 0.5).close())] for t in "
        + repr(targets)
        + "]\n"
    )
    assert [line for line in outcome if line[2] == "DONE"] == []
    assert probe(f"result = denied(lambda: socket.create_connection(('::1', {platform.port}), 0.5))") != "DONE"
    assert reached == []
    # The same from here works, so the attempts above would have.
    socket.create_connection(("127.0.0.1", port), 5).close()


def test_there_is_only_a_loopback(probe):
    names = probe("result = [line.split(':')[0].strip() for line in read('/proc/net/dev').splitlines()[2:]]")
    assert names == ["lo"] or set(names) <= {
        "lo",
        "sit0",
        "tunl0",
        "gre0",
        "ip6tnl0",
        "erspan0",
        "gretap0",
        "ip_vti0",
        "ip6_vti0",
        "ip6gre0",
    }


def test_raw_and_strange_sockets_are_refused(probe):
    kinds = {
        "raw": (2, 3, 1), "raw6": (10, 3, 58), "packet": (17, 3, 0x300), "netlink route": (16, 3, 0),
        "vsock": (40, 1, 0), "bluetooth": (31, 3, 1), "can": (29, 3, 1), "alg": (38, 5, 0), "key": (15, 3, 2),
    }  # fmt: skip
    outcome = probe(f"result = {{name: denied(socket.socket, *kind) for name, kind in {kinds!r}.items()}}")
    assert {name for name, what in outcome.items() if what == "DONE"} <= {"netlink route"}, outcome


def test_abstract_and_other_unix_sockets_of_the_host_are_not_reached(probe):
    with socket.socket(socket.AF_UNIX) as s:
        s.bind("\0ephyra-e2e-abstract")
        s.listen()
        assert probe("s = socket.socket(socket.AF_UNIX)\nresult = denied(s.connect, '\\0ephyra-e2e-abstract')") in (
            "ECONNREFUSED",
            "EPERM",
            "EACCES",
        )


def test_other_guests_cannot_be_reached(platform, function, probe):
    other = function(PROBE, Timeout=20)
    listening = platform.invoke(
        other, {"code": "s = socket.create_server(('0.0.0.0', 8077)); kept['s'] = s; result = s.getsockname()[1]"}
    )
    assert listening == 8077
    assert probe("result = denied(lambda: socket.create_connection(('127.0.0.1', 8077), 0.5))") != "DONE"
    assert probe("result = os.readlink('/proc/self/ns/net')") != platform.invoke(
        other, {"code": "result = os.readlink('/proc/self/ns/net')"}
    )


# -- resources


def test_tmp_is_of_its_size(platform, function):
    name = function(PROBE, Timeout=30, MemorySize=1024)
    code = (
        "block, total = bytes(1 << 20), 0\n"
        "try:\n"
        "    with open('/tmp/fill', 'wb', 0) as file:\n"
        "        while total < 2000: total += file.write(block) >> 20\n"
        "    why = 'DONE'\n"
        "except OSError as error:\n"
        "    why = errno.errorcode[error.errno]\n"
        "os.unlink('/tmp/fill')\n"
        "result = [total, why]"
    )
    total, why = platform.invoke(name, {"code": code})
    assert why in ("ENOSPC", "EDQUOT") and 490 <= total <= 512
    healthy(platform)


def test_memory_beyond_the_size_ends_the_environment(platform, function):
    name = function(PROBE, Timeout=20, MemorySize=128)
    result = platform.call(name, {"code": "kept['x'] = [os.urandom(1 << 20) for _ in range(400)]; result = 'DONE'"})
    assert result.error == "Unhandled" and "signal: killed" in result.payload["errorMessage"]
    assert platform.invoke(name, {"code": "result = 'again'"}) == "again"
    healthy(platform)


def test_shared_memory_and_files_in_memory_count_too(platform, function):
    name = function(PROBE, Timeout=20, MemorySize=128)
    result = platform.call(
        name,
        {
            "code": "fd = os.memfd_create('x') if denied(os.memfd_create, 'x') == 'DONE' else None\n"
            "block = os.urandom(1 << 20)\n"
            "if fd is not None:\n"
            "    for n in range(600): os.write(fd, block)\n"
            "result = 'DONE' if fd is not None else 'refused'"
        },
    )
    assert result.error == "Unhandled" or result.payload == "refused", result.payload


def test_open_files_are_limited(probe):
    soft, hard = probe("result = resource.getrlimit(resource.RLIMIT_NOFILE)")
    assert soft <= 1024 and hard <= 1024
    assert probe("result = denied(resource.setrlimit, resource.RLIMIT_NOFILE, (4096, 4096))") != "DONE"
    assert probe("result = resource.getrlimit(resource.RLIMIT_CORE)")[0] == 0


def test_cpu_is_a_share(platform, function):
    name = function(PROBE, Timeout=20, MemorySize=256)
    code = (
        "def burn(seconds):\n"
        "    end = time.monotonic() + seconds\n"
        "    while time.monotonic() < end: pass\n"
        "burn(0.3)\n"
        "wall, cpu = time.monotonic(), time.process_time()\n"
        "burn(2)\n"
        "result = (time.process_time() - cpu) / (time.monotonic() - wall)"
    )
    platform.invoke(name, {"code": "result = 1"})
    share = platform.invoke(name, {"code": code})
    # 256 of 1,769 MB is 0.145 of a CPU.
    assert share < 0.25, share


# -- what it holds


def test_descriptors(platform, function):
    name = function(PROBE)
    held = platform.invoke(
        name,
        {
            "code": "result = {}\n"
            "for fd in os.listdir('/proc/self/fd'):\n"
            "    try: result[fd] = os.readlink(f'/proc/self/fd/{fd}')\n"
            "    except OSError: pass"
        },
    )
    # Standard streams and the runtime's control socket; what Python itself opened is in /proc or nameless.
    assert {"0", "1", "2"} <= set(held)
    assert held["0"] in ("/dev/null", "pipe:" + held["0"].removeprefix("pipe:"))
    sockets = [fd for fd, target in held.items() if target.startswith("socket:")]
    assert len(sockets) <= 1, held
    for fd, target in held.items():
        assert re.match(r"(pipe|socket|anon_inode):|/dev/(null|urandom)|/proc/", target), (fd, target)
    assert not [t for t in held.values() if platform.data in t]


def test_environment_and_credentials_of_others(platform, function, probe):
    function(PROBE, Environment={"Variables": {"SECRET_OF_ANOTHER": "do-not-tell"}})
    everything = probe(
        "text = json.dumps(dict(os.environ))\n"
        "for path in glob.glob('/proc/*/environ') + glob.glob('/proc/*/cmdline'):\n"
        "    try: text += open(path, 'rb').read().decode(errors='replace')\n"
        "    except OSError: pass\n"
        "result = text"
    )
    for secret in ("do-not-tell", SECRET_KEY, ACCESS_KEY, platform.data):
        assert secret not in everything


def test_secrets_are_not_in_its_memory(platform, function):
    """A forked or copied runtime could carry the platform's memory along."""
    name = function(PROBE, Timeout=20, MemorySize=512)
    marks = [SECRET_KEY[:12], SECRET_KEY[12:]]
    found = platform.invoke(
        name,
        {
            "code": "found = 0\n"
            "halves = event_marks\n"
            "needle = (halves[0] + halves[1]).encode()\n"
            "own = id(needle)\n"
            "with open('/proc/self/mem', 'rb', 0) as memory:\n"
            "    for line in open('/proc/self/maps'):\n"
            "        a, b = (int(x, 16) for x in line.split()[0].split('-'))\n"
            "        if 'r' not in line.split()[1] or b - a > (64 << 20): continue\n"
            "        try: memory.seek(a); data = memory.read(b - a)\n"
            "        except (OSError, ValueError, OverflowError): continue\n"
            "        at = data.find(needle)\n"
            "        while at >= 0:\n"
            "            if not own <= a + at < own + 200: found += 1\n"
            "            at = data.find(needle, at + 1)\n"
            "        del data\n"
            "result = found".replace("event_marks", json.dumps(marks))
        },
    )
    # Reading may itself leave copies of what was sought; the platform's own would be there as well as these.
    assert found <= 3


# -- after the answer

TICKER = """
import os, threading, time
ticks = [0]
def tick():
    while True:
        ticks[0] += 1
        time.sleep(0.01)
def handler(event, context):
    if event.get("start"):
        threading.Thread(target=tick, daemon=True).start()
    if event.get("child"):
        pid = os.fork()
        if pid == 0:
            try:
                n = 0
                while True:
                    n += 1
                    with open('/tmp/child', 'w') as f: f.write(str(n))
                    time.sleep(0.01)
            finally:
                os._exit(0)
    if event.get("hang"):
        time.sleep(60)
    child = int(open('/tmp/child').read() or 0) if os.path.exists('/tmp/child') else None
    return [ticks[0], child, time.time()]
"""


def test_nothing_runs_after_the_answer(platform, function):
    name = function(TICKER, Timeout=10)
    platform.invoke(name, {"start": True, "child": True})
    # The child counts once it got its turn, which may be after the answer.
    before = platform.until(lambda: (counts := platform.invoke(name))[1] and counts, "the child to count", 10)
    guests = platform.guests()
    # Wait until a second has gone by on the clock, by doing something else: other functions run meanwhile.
    other = function("import time\ndef handler(e, c):\n    time.sleep(1)\n    return time.time()\n", Timeout=5)
    platform.invoke(other)
    after = platform.invoke(name)
    assert after[2] - before[2] > 1
    # A hundred ticks would have fitted; a few fit into the time before it is frozen and after it is thawed.
    assert after[0] - before[0] < 40, (before, after)
    assert after[1] - before[1] < 40, (before, after)
    assert guests


def test_what_runs_in_the_background_dies_with_the_timeout(platform, function):
    name = function(TICKER, Timeout=1)
    before = platform.guests()
    result = platform.call(name, {"child": True, "hang": True})
    assert result.payload["errorType"] == "Sandbox.Timedout"
    platform.until(lambda: not platform.guests() - before, "all its processes to be gone", 10)


def test_what_left_its_session_dies_too(platform, function):
    name = function(
        "import os, time\ndef handler(event, context):\n"
        "    if os.fork() == 0:\n"
        "        os.setsid()\n"
        "        if os.fork() == 0:\n"
        "            time.sleep(600)\n"
        "        os._exit(0)\n"
        "    time.sleep(0.2)\n"
        "    os._exit(1)\n"
    )
    before = platform.guests()
    assert platform.call(name).payload["errorType"] == "Runtime.ExitError"
    platform.until(lambda: not platform.guests() - before, "all its processes to be gone", 10)


def test_many_hostile_functions_at_once_leave_the_platform_whole(platform, function):
    hostile = [
        "while True: pass",
        "kept['x'] = [os.urandom(1 << 20) for _ in range(4000)]",
        "while True:\n    try: os.fork()\n    except OSError: pass",
        "open('/tmp/x', 'wb').write(bytes(700 << 20))",
        "[print('x' * 1000) for _ in range(100000)]",
    ]
    names = [function(PROBE, Timeout=2, MemorySize=128) for _ in hostile]
    calls = [lambda n=n, c=c: platform.call(n, {"code": c}) for n, c in zip(names, hostile)]
    results = together(calls, len(calls))
    assert all(r.status == 200 for r in results)
    healthy(platform)
    assert platform.invoke(names[0], {"code": "result = 'well'"}) == "well"
    data = pathlib.Path(platform.data)
    assert sum(f.stat().st_size for f in data.rglob("*") if f.is_file()) < 2 << 30
