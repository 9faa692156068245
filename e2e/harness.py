"""The real program, started and ended for tests, and what tests ask of it."""

import base64
import contextlib
import io
import itertools
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
import urllib.request
import zipfile

import boto3
from botocore.config import Config

HERE = pathlib.Path(__file__).parent
BINARY = os.environ.get("EPHYRA_BIN") or str(HERE.parent / "target" / "debug" / "ephyra")
ACCESS_KEY = "AKIAE2E0000000000000"
SECRET_KEY = "e2e-secret-key-of-the-root-user-0000000000"
# Neither is the default, so that no default is mistaken for an answer.
ACCOUNT = "111111111111"
REGION = "eu-central-1"
# A machine that runs everything at once may be slow.
PATIENCE = 60

_numbers = itertools.count(1)
_session = boto3.Session(ACCESS_KEY, SECRET_KEY, region_name=REGION)


def unique(stem):
    """A name that no other test uses."""
    return f"{stem}-{os.getpid()}-{next(_numbers)}"


def until(condition, what, timeout=PATIENCE):
    """Waits for a condition; gives its value."""
    end = time.monotonic() + timeout
    pause = 0.005
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"waited {timeout} s for {what}")
        threading.Event().wait(pause)
        pause = min(pause * 1.5, 0.2)


def together(calls, threads=16):
    """Runs the calls in parallel; gives their values in order. The first failure is raised."""
    results, errors, queue = {}, [], list(enumerate(calls))
    lock = threading.Lock()

    def work():
        while True:
            with lock:
                if not queue:
                    return
                index, call = queue.pop(0)
            try:
                results[index] = call()
            except BaseException as error:  # noqa: BLE001 - raised below
                errors.append(error)

    workers = [threading.Thread(target=work) for _ in range(min(threads, len(queue)))]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    if errors:
        raise errors[0]
    return [results[index] for index in sorted(results)]


def package(files, modes=None):
    """A zip in memory; `files` maps names to text or bytes, `modes` some of them to their mode."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as z:
        for name, content in files.items():
            entry = zipfile.ZipInfo(name, (2026, 1, 1, 0, 0, 0))
            entry.external_attr = (0o100000 | (modes or {}).get(name, 0o644)) << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            z.writestr(entry, content)
    return buffer.getvalue()


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as s:
        return s.getsockname()[1]


# -- what is on the machine


def processes():
    """Every process: {pid: (parent, uid, name, depth of its pid namespace)}."""
    found = {}
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        with contextlib.suppress(OSError):
            status = pathlib.Path("/proc", entry, "status").read_text()
            fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
            if fields["State"].startswith("Z"):
                continue
            depth = len(fields["NSpid"].split())
            found[int(entry)] = (int(fields["PPid"]), int(fields["Uid"].split()[1]), fields["Name"], depth)
    return found


def descendants(root):
    """`root` and all below it."""
    known = processes()
    family = {root} & known.keys()
    while True:
        more = {pid for pid, (parent, *_) in known.items() if parent in family} - family
        if not more:
            return {pid: known[pid] for pid in family}
        family |= more


def cgroups_of(pid):
    """The folders of a process's cgroups that are the platform's."""
    found = set()
    mounts = {}
    for line in pathlib.Path("/proc/self/mountinfo").read_text().splitlines():
        before, after = line.split(" - ")
        kind, _, options = after.split(" ", 2)
        if kind == "cgroup2":
            mounts[""] = before.split()[4]
        elif kind == "cgroup":
            for controller in options.split(" ")[-1].split(","):
                mounts[controller] = before.split()[4]
    with contextlib.suppress(OSError):
        for line in pathlib.Path(f"/proc/{pid}/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            parts = pathlib.PurePosixPath(path).parts
            own = next((i for i, part in enumerate(parts) if part.startswith("ephyra")), None)
            if own is None:
                continue
            for controller in controllers.split(","):
                mount = mounts.get(controller) or mounts.get(f"name={controller}")
                if mount:
                    found.add(pathlib.Path(mount, *parts[1 : own + 1]))
    return found


def network_namespace(pid):
    with contextlib.suppress(OSError):
        return os.readlink(f"/proc/{pid}/ns/net")
    return None


def mounts_naming(text):
    """Mounts of this namespace that name `text`, and network namespaces that something keeps by a mount."""
    lines = pathlib.Path("/proc/self/mountinfo").read_text().splitlines()
    return [line for line in lines if text in line]


def started(pid):
    """When a process was started; tells it from a later one with the same number."""
    with contextlib.suppress(OSError):
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    return None


class Server:
    """One platform on its own data folder."""

    def __init__(self, *options, data=None, environment=None):
        self.options = [str(o) for o in options]
        self.environment = environment or {}
        self.data = data or tempfile.mkdtemp(prefix="ephyra-e2e-")
        self.owns_data = data is None
        os.chmod(self.data, 0o755)
        self.account, self.region = ACCOUNT, REGION
        self.role = f"arn:aws:iam::{ACCOUNT}:role/e2e"
        self.process = None
        self.port = free_port()
        self.log_path = pathlib.Path(self.data).with_suffix(".log")
        self._clients = {}
        self._seen = {}
        self._cgroups, self._namespaces = set(), set()
        self._runtimes = None

    # -- life

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def start(self, wait=True):
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "EPHYRA_"))}
        environment |= {"EPHYRA_ROOT_ACCESS_KEY_ID": ACCESS_KEY, "EPHYRA_ROOT_SECRET_ACCESS_KEY": SECRET_KEY}
        environment |= self.environment
        command = [BINARY, "serve", "--data", self.data, "--listen", f"127.0.0.1:{self.port}"]
        command += ["--region", REGION, "--account", ACCOUNT, *self.options]
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment)
        if wait:
            until(self.is_healthy, f"the platform to be healthy; it says:\n{self.log()[-4000:]}", 30)
            self.look()
        return self

    def is_healthy(self):
        code = self.process.poll()
        assert code is None, f"the platform ended with {code}:\n{self.log()[-4000:]}"
        with contextlib.suppress(OSError, ValueError):
            with urllib.request.urlopen(f"{self.url}/_ephyra/health", timeout=5) as answer:
                return answer.status == 200 and json.load(answer)["status"] == "ok"
        return False

    def log(self):
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def look(self):
        """Notes what is the platform's on this machine, for `left_over`."""
        for pid in descendants(self.process.pid):
            self._seen[pid] = started(pid)
            self._cgroups |= cgroups_of(pid)
            self._namespaces.add(network_namespace(pid))
        self._namespaces -= {network_namespace(os.getpid()), None}

    def left_over(self):
        """What is still there of what was noted: empty when the platform left nothing behind."""
        rest = [f"process {pid}" for pid, at in self._seen.items() if at and started(pid) == at and pid in processes()]
        rest += [f"cgroup {path}" for path in self._cgroups if path.exists()]
        rest += [f"mount {line}" for line in mounts_naming(self.data)]
        rest += [
            f"network namespace {name}" for pid in processes() if (name := network_namespace(pid)) in self._namespaces
        ]
        kept = [name.removeprefix("net:[").removesuffix("]") for name in self._namespaces]
        rest += [f"mount {line}" for line in mounts_naming("nsfs") if any(number in line for number in kept)]
        return rest

    def former(self):
        """What is there now of the platform; the function that it gives says what of this is left later."""
        self.look()
        seen, namespaces = dict(self._seen), set(self._namespaces)

        def left():
            # The kernel gives the numbers of namespaces that are gone to the next, which the platform may have by now.
            others = processes().keys() - descendants(self.process.pid).keys()
            return [pid for pid, at in seen.items() if at and started(pid) == at] + [
                name for pid in others if (name := network_namespace(pid)) in namespaces
            ]

        return left

    def parts(self):
        """The pids of the server and of the warden: (server, warden)."""
        depth = processes()[os.getpid()][3]
        servers = {
            pid: parent
            for pid, (parent, uid, name, level) in descendants(self.process.pid).items()
            if level == depth and uid != 0 and "ephyra" in name
        }
        assert len(servers) == 1, f"cannot tell the server: {servers}"
        # The warden forks the server, and others for a moment.
        return next(iter(servers.items()))

    def sandboxes(self):
        """The pids in each sandbox, by its pid namespace: those that are functions', and blank ones of nobody's."""
        depth = processes()[os.getpid()][3]
        functions, blank = {}, {}
        found, privileged = {}, set()
        for pid, (_, uid, _, level) in descendants(self.process.pid).items():
            if level > depth:
                with contextlib.suppress(OSError):
                    namespace = os.readlink(f"/proc/{pid}/ns/pid")
                    found.setdefault(namespace, set()).add(pid)
                    # The first process gives up its rights when the sandbox is given to a function.
                    if uid == 0:
                        privileged.add(namespace)
        for namespace, pids in found.items():
            (blank if namespace in privileged else functions)[namespace] = pids
        return functions, blank

    def guests(self):
        """The pids of all that runs in sandboxes of functions."""
        return set().union(*self.sandboxes()[0].values())

    def terminate(self):
        """SIGTERM, and the promises that go with it: exit code 0 and nothing left."""
        self.look()
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(60)
        assert code == 0, f"the platform ended with {code} after SIGTERM:\n{self.log()[-4000:]}"
        self.wait_gone()

    def wait_gone(self, timeout=10):
        try:
            until(lambda: not self.left_over(), "nothing to be left", timeout)
        except AssertionError:
            raise AssertionError(f"left behind: {self.left_over()}") from None

    def kill(self, *pids):
        """SIGKILL for these (server and warden when none is named); waits until both are gone."""
        self.look()
        parts = self.parts()
        for pid in pids or parts:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait(30)
        until(lambda: not set(parts) & processes().keys(), "server and warden to follow each other into death", 15)

    def close(self):
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        if self.owns_data:
            shutil.rmtree(self.data, ignore_errors=True)
            self.log_path.unlink(missing_ok=True)

    # -- asking

    def client(self, parameter_validation=True, read_timeout=70, **config):
        """A Lambda client of boto3; it retries nothing."""
        key = (parameter_validation, read_timeout, *sorted(config.items()))
        if key not in self._clients:
            self._clients[key] = _session.client(
                "lambda",
                endpoint_url=self.url,
                config=Config(
                    retries={"total_max_attempts": 1},
                    read_timeout=read_timeout,
                    connect_timeout=10,
                    parameter_validation=parameter_validation,
                    max_pool_connections=64,
                    **config,
                ),
            )
        return self._clients[key]

    @property
    def lambda_(self):
        return self.client()

    def command(self, *arguments, check=True, cwd=None, environment=None, input=None, timeout=60):
        """Runs `ephyra ARGUMENTS` with the root credentials and this platform's address."""
        variables = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "EPHYRA_"))}
        variables |= self.variables() | (environment or {})
        done = subprocess.run(
            [BINARY, *map(str, arguments)],
            capture_output=True, text=True, cwd=cwd, env=variables, input=input, timeout=timeout,
        )  # fmt: skip
        if check:
            assert done.returncode == 0, (
                f"ephyra {' '.join(map(str, arguments))}: {done.returncode}\n{done.stdout}\n{done.stderr}"
            )
        return done

    def variables(self):
        """What a stock AWS client needs to know."""
        return {
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_REGION": REGION,
            "AWS_ENDPOINT_URL": self.url,
            "AWS_CONFIG_FILE": "/dev/null",
            "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def runtimes(self):
        """Identifiers of the runtimes here: those of /usr/bin first, then the newest."""
        if self._runtimes is None:
            rows = json.loads(self.command("runtime", "list", "--json").stdout)

            def order(row):
                numbers = [int(n) for n in re.findall(r"\d+", row["identifier"])]
                return not row["executable"].startswith("/usr/bin/"), [-n for n in numbers]

            self._runtimes = [row["identifier"] for row in sorted(rows, key=order)]
        return self._runtimes

    @property
    def python(self):
        return next(name for name in self.runtimes() if name.startswith("python"))

    @property
    def node(self):
        return next(name for name in self.runtimes() if name.startswith("nodejs"))

    # -- functions

    unique = staticmethod(unique)
    until = staticmethod(until)

    def wait_active(self, name, timeout=30):
        def state():
            configuration = self.lambda_.get_function_configuration(FunctionName=name)
            assert configuration["State"] != "Failed", configuration
            return configuration if configuration["State"] == "Active" else None

        return until(state, f"{name} to be active", timeout)

    def wait_updated(self, name, timeout=30):
        def status():
            configuration = self.lambda_.get_function_configuration(FunctionName=name)
            assert configuration["LastUpdateStatus"] != "Failed", configuration
            return configuration if configuration["LastUpdateStatus"] == "Successful" else None

        return until(status, f"{name} to be updated", timeout)

    def create(self, source, name=None, runtime=None, handler=None, files=None, modes=None, wait=True, **arguments):
        """Makes a function from source text; gives its name."""
        name = name or unique("f")
        runtime = runtime or self.python
        if runtime.startswith("python"):
            main, default = "app.py", "app.handler"
        elif runtime.startswith("nodejs"):
            main, default = "index.js", "index.handler"
        else:
            main, default, modes = "bootstrap", "any", {"bootstrap": 0o755} | (modes or {})
        content = ({main: source} if source is not None else {}) | (files or {})
        request = {
            "FunctionName": name,
            "Runtime": runtime,
            "Handler": handler or default,
            "Role": self.role,
            "Code": {"ZipFile": package(content, modes)},
        }
        self.lambda_.create_function(**request | arguments)
        if wait:
            self.wait_active(name)
        return name

    def forget(self, name):
        """Deletes a function that may not be there."""
        with contextlib.suppress(self.lambda_.exceptions.ResourceNotFoundException):
            self.lambda_.delete_function(FunctionName=name)

    def invoke(self, name, event=None, **arguments):
        """Invokes and gives what the function answered; a function error is an assertion."""
        result = self.call(name, event, **arguments)
        assert result.error is None, f"{name}: {result.error}: {result.payload}\n{result.log}"
        return result.payload

    def call(self, name, event=None, **arguments):
        """Invokes with the log's tail; gives all that came back."""
        arguments.setdefault("LogType", "Tail")
        payload = event if isinstance(event, bytes) else json.dumps(event if event is not None else {}).encode()
        return Result(self.lambda_.invoke(FunctionName=name, Payload=payload, **arguments))

    def error_of(self, name, event=None):
        """Invokes and gives what came back; anything but a function error is an assertion."""
        result = self.call(name, event)
        assert (result.status, result.error) == (200, "Unhandled"), (result.error, result.payload)
        return result

    def logs(self, name, *arguments):
        """The log lines of a function."""
        return self.command("logs", name, *arguments).stdout


class Result:
    """What an invocation gave."""

    def __init__(self, answer):
        self.answer = answer
        self.status = answer["StatusCode"]
        self.error = answer.get("FunctionError")
        self.version = answer.get("ExecutedVersion")
        self.raw = answer["Payload"].read()
        self.log = base64.b64decode(answer.get("LogResult", "")).decode(errors="replace")
        self.headers = answer["ResponseMetadata"]["HTTPHeaders"]
        self.request_id = answer["ResponseMetadata"]["RequestId"]
        try:
            self.payload = json.loads(self.raw) if self.raw else None
        except ValueError:
            self.payload = self.raw
