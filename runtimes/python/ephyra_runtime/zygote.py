"""Serves requests for copies of this process, each of which becomes the runtime of one sandbox (`enter`, `renew`).

One thread, one socket of packets. The first packet is the setup, lines of `name value`; each later one asks for a copy:
names and numbers with descriptors (`_REQUEST`). A copy is made by a process between, in the sandbox's pid namespace and
control group, which ends at once (`enter.Kernel.copy`), so that the copy is adopted by the sandbox's pid 1, as if that
had started it. It says over the report descriptor that it is ready, or what failed, and ends then.

What goes wrong in a copy ends that copy. What the warden sends is trusted.
"""

import _socket
import array
import gc
import os
import signal
import struct
import sys

from ephyra_runtime import renew

renew.withhold()

# Some are for the copies alone.
from ephyra_runtime import enter, faults, lasting, loop, rehearsal  # noqa: E402, F401

_CONTROL = 3
_BOOTSTRAP = "/var/runtime/bootstrap.py"
_SETUP_BYTES = 64 * 1024
_DESCRIPTORS = 32

# Asked for one copy: the sandbox's name, flags, the namespaces to enter, user, group. With it come the sandbox's pid 1
# as a pidfd, the control stream and the output; then, as the flags say, the user namespace and the control group to be
# copied into; the rest are files to join others by.
_REQUEST = struct.Struct("=16sIIII")
_HAS_USER_NAMESPACE, _HAS_CGROUP = 1, 2

# The answer: the sandbox's name, 0 or an error's number, the pid of the copy in the sandbox, what failed.
_ANSWER = struct.Struct("=16sII")
_ANSWER_TEXT = 512

_READY = b"ready"


class Setup:
    """The first packet."""

    def __init__(self, packet):
        self.has_no_new_privileges = self.has_landlock = False
        self.filters, self.modules = [], []
        for line in packet.decode().splitlines():
            name, _, value = line.partition(" ")
            if name == "no-new-privileges":
                self.has_no_new_privileges = value == "1"
            elif name == "landlock":
                self.has_landlock = value == "1"
            elif name == "filter":
                self.filters.append(bytes.fromhex(value))
            elif name == "module":
                self.modules.append(value)
            else:
                raise ValueError("the setup has an unknown line: " + name)


def _receive(control, limit):
    """A packet and its descriptors; no bytes when the warden has gone."""
    space = _socket.CMSG_SPACE(_DESCRIPTORS * 4)
    data, ancillary, flags, _ = control.recvmsg(limit, space, _socket.MSG_CMSG_CLOEXEC)
    if flags & (_socket.MSG_TRUNC | _socket.MSG_CTRUNC):
        raise ValueError("a packet was cut off")
    descriptors = array.array("i")
    for level, kind, value in ancillary:
        if level == _socket.SOL_SOCKET and kind == _socket.SCM_RIGHTS:
            descriptors.frombytes(value)
    return data, descriptors


class Zygote:
    """What is ready to be copied."""

    def __init__(self, control, setup):
        self._control = control
        self.kernel = enter.Kernel()
        self._lockdown = enter.Lockdown(self.kernel, setup.has_no_new_privileges, setup.has_landlock, setup.filters)
        self._own = self.kernel.own_pidfd()
        self._number = os.getpid()

    def serve(self):
        """Answers requests until the warden goes; returns in each copy that is ready to be the runtime."""
        while True:
            packet, descriptors = _receive(self._control, _REQUEST.size + 1)
            if not packet:
                os._exit(0)
            if self._copy(packet, descriptors):
                return
            for descriptor in descriptors:
                os.close(descriptor)

    def _copy(self, packet, descriptors):
        """True in a copy that is ready; False here, whether there is a copy or not: the answer tells."""
        kernel = self.kernel
        name, flags, namespaces, uid, gid = _REQUEST.unpack(packet)
        rest = iter(descriptors)
        sandbox, stream, output = next(rest), next(rest), next(rest)
        user_namespace = next(rest) if flags & _HAS_USER_NAMESPACE else None
        cgroup = next(rest) if flags & _HAS_CGROUP else -1
        try:
            # For the next copy alone: this process stays where it is. The namespace may be gone, with its sandbox.
            kernel.setns(sandbox, enter.CLONE_NEWPID)
            is_copy = kernel.copy(list(rest), cgroup)
        except OSError as error:
            self._say(name, error)
            if kernel.is_between:
                os._exit(1)
            is_copy = False
        if not is_copy:
            kernel.setns(self._own, enter.CLONE_NEWPID)
            return False
        try:
            self._lockdown.enter(sandbox, namespaces & ~enter.CLONE_NEWPID, stream, output, user_namespace, uid, gid)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            renew.everything(self._number)
            os.write(self._lockdown.answer, _ANSWER.pack(name, 0, os.getpid()))
            os.close(self._lockdown.answer)
        except BaseException as error:
            self._say(name, error)
            os._exit(1)
        self._control.detach()
        return True

    def _say(self, name, error):
        """Reports a failure. Whoever waits for one that cannot be reported gives up at a time of its own."""
        errno = getattr(error, "errno", None) or 22
        text = "%s: %s" % (type(error).__name__, error)
        try:
            os.write(self._lockdown.answer, _ANSWER.pack(name, errno, 0) + text.encode("utf-8", "replace")[:_ANSWER_TEXT])
        except OSError:
            pass


def _begin():
    """Runs what the runtime's own program does before it knows anything, as the main module of all copies; gives back
    what it does afterwards.
    """
    with open(_BOOTSTRAP, "rb") as file:
        program = compile(file.read(), _BOOTSTRAP, "exec", dont_inherit=True)
    scope = renew.scope()
    # Under its own name it would go on to serve.
    scope["__name__"] = "__zygote__"
    exec(program, scope)
    scope["__name__"] = "__main__"
    return scope["serve"]


def main():
    """Boots, says so, and serves. In each copy it goes on as the runtime's own program."""
    control = _socket.socket(fileno=_CONTROL)
    setup = Setup(_receive(control, _SETUP_BYTES)[0])
    for module in setup.modules:
        __import__(module)
    zygote = Zygote(control, setup)
    zygote.kernel.hide()
    renew.prepare()
    serve = _begin()
    rehearsal.run()
    # Nobody waits for what this process copies: a sandbox's pid namespace could not end before that.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    gc.collect()
    # What is there by now stays shared, however often a copy uses it.
    lasting.make_immortal()
    del sys.modules[lasting.__name__]
    gc.freeze()
    rehearsal.fill_holes()
    control.send(_READY)
    zygote.serve()
    serve()
    sys.exit(0)
