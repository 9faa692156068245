"""`ephyra dev`: what is saved is deployed, what is called is shown, what is wrong is said."""

import contextlib
import json
import os
import queue
import signal
import subprocess
import threading
import urllib.request

import pytest

import harness

GREETING = "def handler(event, context):\n    print('called with', event)\n    return {}\n"


def source(answer):
    return GREETING.format(repr(answer))


class Dev:
    """A running `ephyra dev --json`, and what it has shown."""

    def __init__(self, platform, folder, *options):
        variables = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "EPHYRA_"))}
        self.process = subprocess.Popen(
            [harness.BINARY, "dev", folder, *options],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=variables | platform.variables(),
        )  # fmt: skip
        self.lines = queue.Queue()
        self.shown = []
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        for line in self.process.stdout:
            self.lines.put(line.rstrip("\n"))
        self.lines.put(None)

    def wait(self, what, is_it):
        """Waits for a line; those before it are kept in `shown`."""
        while True:
            try:
                line = self.lines.get(timeout=harness.PATIENCE)
            except queue.Empty:
                raise AssertionError(f"waited for {what}; there was {self.shown}") from None
            assert line is not None, f"it ended before {what}: {self.shown} {self.process.stderr.read()}"
            self.shown.append(line)
            if is_it(line):
                return line

    def next(self, kind, is_it=lambda value: True):
        """Waits for a line of a kind, with --json."""
        line = self.wait(kind, lambda line: kind in json.loads(line) and is_it(json.loads(line)[kind]))
        return json.loads(line)[kind]

    def stop(self, number=signal.SIGINT):
        """Ends it; gives its exit code and what it still shows."""
        self.process.send_signal(number)
        code = self.process.wait(harness.PATIENCE)
        rest = []
        while (line := self.lines.get(timeout=harness.PATIENCE)) is not None:
            rest.append(line)
        return code, rest


@pytest.fixture
def dev(platform, tmp_path):
    """Makes a folder with a function and runs `ephyra dev` on it: (name, folder, dev)."""
    started, names = [], []

    def make(*options, settings=""):
        name = platform.unique("dev")
        names.append(name)
        folder = tmp_path / name
        folder.mkdir()
        (folder / "app.py").write_text(source("first"))
        (folder / "ephyra.toml").write_text(f'name = "{name}"\nruntime = "{platform.python}"\n{settings}\n')
        running = Dev(platform, folder, *options)
        started.append(running)
        return name, folder, running

    yield make
    for running in started:
        with contextlib.suppress(ProcessLookupError):
            running.process.kill()
        running.process.wait()
    for name in names:
        platform.forget(name)


def replace(path, text):
    """As editors do it: another file takes the place of the first."""
    new = path.with_name(path.name + ".new~")
    new.write_text(text)
    new.rename(path)


def test_saved_called_shown(platform, dev):
    name, folder, running = dev("--json", "--payload", '{"n": 1}', settings="url = true")
    first = running.next("deployed")
    assert (first["name"], first["outcome"], first["changed"]) == (name, "Created", [])
    assert running.next("answer")["payload"] == '"first"'
    running.next("log", lambda line: "called with {'n': 1}" in line["message"])
    url = platform.lambda_.get_function_url_config(FunctionName=name)["FunctionUrl"]
    assert any(url in line for line in running.shown)
    took = []
    for number in range(5):
        replace(folder / "app.py", source(f"change {number}"))
        change = running.next("deployed")
        assert (change["outcome"], change["changed"]) == ("Updated", ["app.py"])
        took.append(change["ms"])
        assert running.next("answer")["payload"] == f'"change {number}"'
    # The machine may be busy with other things; the best of some is what a change costs.
    assert min(took) < 300, took
    # Whoever calls it, its answer is shown; those of other functions are not.
    other = platform.create(GREETING.format("'other'"))
    try:
        platform.invoke(other, {})
        platform.invoke(name, {"n": 2})
    finally:
        platform.forget(other)
    assert running.next("answer")["payload"] == '"change 4"'
    notes = " ".join(json.loads(line).get("note", "") for line in running.shown)
    by_path = next(word for word in notes.split() if "/_url/" in word)
    with urllib.request.urlopen(by_path, timeout=harness.PATIENCE) as answer:
        assert answer.read() == b"change 4"
    assert running.next("answer")["payload"] == '"change 4"'
    # A file that was not there, in a folder that was not there.
    (folder / "lib").mkdir()
    (folder / "lib" / "words.py").write_text("WORD = 'from lib'\n")
    running.wait("the new folder", lambda line: "deployed" in line and "lib" in line)
    replace(folder / "app.py", "from lib import words\ndef handler(event, context):\n    return words.WORD\n")
    assert running.next("answer", lambda answer: answer["payload"] == '"from lib"')
    replace(folder / "lib" / "words.py", "WORD = 'changed'\n")
    assert running.next("answer", lambda answer: answer["payload"] == '"changed"')
    code, rest = running.stop()
    assert code == 0 and any("Stopped" in line for line in rest), rest
    assert platform.invoke(name) == "changed", "it stays deployed"


def test_it_goes_on_after_what_is_wrong(platform, dev):
    name, folder, running = dev("--json", "--payload", "{}")
    running.next("deployed")
    settings = (folder / "ephyra.toml").read_text()
    replace(folder / "ephyra.toml", settings + "memry = 1\n")
    assert "memry" in running.next("error")
    replace(folder / "ephyra.toml", settings + "timeout = 0\n")
    assert "timeout" in running.next("error")
    replace(folder / "ephyra.toml", settings + "timeout = 5\n")
    assert running.next("deployed")["changed"] == ["ephyra.toml"]
    assert platform.lambda_.get_function_configuration(FunctionName=name)["Timeout"] == 5
    # The function's own mistakes are answers.
    replace(folder / "app.py", "def handler(event, context)\n")
    failed = running.next("answer", lambda answer: "error" in answer)
    assert failed["error"] == "Runtime.UserCodeSyntaxError"
    replace(folder / "app.py", source("well again"))
    running.next("answer", lambda answer: answer["payload"] == '"well again"')
    code, _ = running.stop(signal.SIGTERM)
    assert code == 0


def test_it_outlives_the_platform(own_server, tmp_path):
    server = own_server()
    folder = tmp_path / "survivor"
    folder.mkdir()
    (folder / "app.py").write_text(source("first"))
    (folder / "ephyra.toml").write_text(f'name = "survivor"\nruntime = "{server.python}"\n')
    running = Dev(server, folder, "--json", "--payload", "{}")
    try:
        running.next("answer")
        server.kill()
        replace(folder / "app.py", source("second"))
        running.next("error", lambda error: "ephyra serve" in error)
        server.start()
        # What is tried again is tried at the next change.
        replace(folder / "app.py", source("third"))
        running.next("answer", lambda answer: answer["payload"] == '"third"')
        assert running.stop()[0] == 0
    finally:
        running.process.kill()
        running.process.wait()


def test_plain_lines_in_a_pipe(platform, dev):
    name, folder, running = dev("--payload", "{}")
    running.wait("the deployment", lambda line: line.startswith(f"Created {name} in "))
    running.wait("the answer", lambda line: '→ "first" (' in line)
    replace(folder / "app.py", source("second"))
    line = running.wait("the change", lambda line: line.startswith(f"Updated {name} in "))
    assert line.endswith(" ms: app.py"), line
    assert running.stop()[0] == 0
    assert not any("\x1b" in line for line in running.shown), "colours are for terminals"


def test_a_folder_that_is_no_project(platform, tmp_path):
    done = platform.command("dev", tmp_path, check=False)
    assert done.returncode != 0 and "ephyra new" in done.stderr
