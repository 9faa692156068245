"""What the command line does on a terminal and not in a pipe."""

import contextlib
import os
import pathlib
import pty
import select
import signal
import subprocess
import time

import pytest

import harness

SOURCE = "def handler(event, context):\n    return 'hello'\n"


class Terminal:
    """A command that runs on a terminal of its own."""

    def __init__(self, platform, *arguments, **environment):
        self.screen, theirs = pty.openpty()
        variables = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "EPHYRA_", "NO_COLOR"))}
        self.process = subprocess.Popen(
            [harness.BINARY, *map(str, arguments)],
            stdin=theirs, stdout=theirs, stderr=theirs, env=variables | platform.variables() | environment,
        )  # fmt: skip
        os.close(theirs)
        self.shown = ""

    def read(self, is_enough=lambda shown: False):
        """Reads until there is enough, or to the end."""
        end = time.monotonic() + harness.PATIENCE
        while not is_enough(self.shown):
            assert time.monotonic() < end, f"waited for more than {self.shown!r}"
            if select.select([self.screen], [], [], 1)[0]:
                # The end of a terminal is an error.
                with contextlib.suppress(OSError):
                    part = os.read(self.screen, 65536)
                    self.shown += part.decode()
                    continue
                break
        return self.shown

    def close(self):
        self.process.kill()
        self.process.wait()
        os.close(self.screen)


@pytest.fixture
def terminal(platform):
    opened = []

    def make(*arguments, **environment):
        opened.append(Terminal(platform, *arguments, **environment))
        return opened[-1]

    yield make
    for one in opened:
        one.close()


@pytest.fixture
def project(platform, tmp_path):
    name = platform.unique("tty")
    folder = tmp_path / name
    folder.mkdir()
    (folder / "app.py").write_text(SOURCE)
    (folder / "ephyra.toml").write_text(f'name = "{name}"\nruntime = "{platform.python}"\nurl = true\n')
    yield name, folder
    platform.forget(name)


def test_dev_has_colours_and_ends_with_ctrl_c(project, terminal):
    name, folder = project
    dev = terminal("dev", folder, "--payload", "{}")
    shown = dev.read(lambda shown: '"hello"' in shown)
    assert f"\x1b[32mCreated\x1b[0m {name} in " in shown and '\x1b[32m→\x1b[0m "hello"' in shown
    # As the terminal does it when somebody presses Ctrl-C.
    dev.process.send_signal(signal.SIGINT)
    assert "Stopped" in dev.read(lambda shown: "Stopped" in shown)
    assert dev.process.wait(harness.PATIENCE) == 0


def test_open_hands_the_address_to_the_desktop(platform, project, terminal, tmp_path):
    name, folder = project
    platform.command("deploy", folder)
    told = tmp_path / "told"
    opener = tmp_path / "bin" / "xdg-open"
    opener.parent.mkdir()
    opener.write_text(f'#!/bin/sh\necho "$1" > {told}\n')
    opener.chmod(0o755)
    path = f"{opener.parent}:{os.environ['PATH']}"
    address = platform.command("open", name, "--print").stdout.strip()
    opened = terminal("open", name, PATH=path, DISPLAY=":7")
    assert f"Opening {address}" in opened.read(lambda shown: "\n" in shown)
    assert opened.process.wait(harness.PATIENCE) == 0
    assert pathlib.Path(told).read_text().strip() == address
    # Where there is no desktop, and where one is not wanted, the address is printed.
    told.unlink()
    for arguments, variables in ((["--print"], {"DISPLAY": ":7"}), ([], {"DISPLAY": "", "WAYLAND_DISPLAY": ""})):
        printed = terminal("open", name, *arguments, PATH=path, **variables)
        assert printed.read(lambda shown: "\n" in shown).strip() == address
        assert printed.process.wait(harness.PATIENCE) == 0
    assert not told.exists()
