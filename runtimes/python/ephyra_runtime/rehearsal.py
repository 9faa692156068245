"""What a zygote does before it is copied so that its copies need not: it is the runtime some times, for nobody.

An interpreter does more when a line runs for the first time: it binds names, fills caches, replaces operations by quicker
ones. Each copy would do so anew, and what it writes to costs a page of its own, which takes longer than what is written.
Nothing of a rehearsal stays but that.
"""

import _socket
import gc
import json
import logging
import os
import random
import sys

from ephyra_runtime import logs, loop

# After so many rounds nothing of the interpreter's changes any more.
_ROUNDS = 4
# A function whose file is not compiled yet, and a module that is looked for along the path; neither does anything.
_HANDLERS = ("ephyra_runtime.rehearsal.handler", "colorsys.rgb_to_yiq")
_VARIABLES = {"EPHYRA_REHEARSAL_%d" % number: str(number) for number in range(24)}

# The sizes of the interpreter's own allocator, and what it takes at once for one of them (Objects/obmalloc.c).
_STEP, _LARGEST = 16, 512
_POOL = 16 * 1024 if sys.version_info >= (3, 10) else 4 * 1024
# The most that is filled of one size, in pools: should no row of neighbours ever show that it is full.
_POOLS = 16

# Kept for ever: see `_fill_holes`.
_filling = []


def handler(event, context):
    """A function like any other."""
    return None


def run():
    """All that copies do and that is the same in each, some times; then everything is as if nothing had been."""
    here, there = _socket.socketpair()
    control, loop._CONTROL = loop._CONTROL, here.fileno()
    loop.prepare_streams()
    known = set(sys.modules)
    try:
        for _ in range(_ROUNDS):
            random.seed()
            for name in _HANDLERS:
                _serve(there, name)
    finally:
        loop._CONTROL = control
        here.close()
        there.close()
        for name in set(sys.modules) - known:
            del sys.modules[name]
    gc.collect()
    _fill_holes()


def _serve(there, name):
    """A function is told, loaded and called."""
    root = logging.getLogger()
    handlers = root.handlers[:]
    module = name.rpartition(".")[0]
    before = sys.modules.pop(module, None)
    try:
        _send(there, loop._CONFIGURE, json.dumps({"variables": _VARIABLES, "handler": name}).encode())
        handler_name = loop._configure()
        logs.install()
        loop._load(handler_name)
        loop._flush()
        loop._send(loop._READY)
        meta = b'{"invokedFunctionArn":"","traceId":""}'
        _send(there, loop._EVENT, bytes(24) + len(meta).to_bytes(4, "little") + bytes(4) + meta + b"{}")
        identifier, deadline_ms, raw, payload = loop._receive()
        loop._answer(handler, identifier, deadline_ms, loop._decode(str(raw, "utf-8")), payload)
        there.recv(64 * 1024)
    finally:
        root.handlers[:] = handlers
        for variable in _VARIABLES:
            os.environ.pop(variable, None)
        if before is not None:
            sys.modules[module] = before


def _send(there, kind, body):
    there.send(len(body).to_bytes(4, "little") + bytes((kind, loop._VERSION, 0, 0)) + body)


def _fill_holes():
    """Takes up the room that booting has left between what it keeps.

    What a copy allocates would otherwise come to lie there, in hundreds of pages that it shares with the zygote, of
    which each that it writes to becomes its own.
    """
    head = sys.getsizeof(b"")
    for size in range(-(-head // _STEP) * _STEP, _LARGEST + 1, _STEP):
        in_a_pool = _POOL // size
        last = row = 0
        for _ in range(in_a_pool * _POOLS):
            block = bytes(size - head)
            _filling.append(block)
            row = row + 1 if id(block) == last + size else 0
            last = id(block)
            # As many neighbours in a row as a pool has: it was taken for them.
            if row >= in_a_pool - 2:
                break
