"""What a zygote does before it is copied so that its copies need not: it is the runtime some times, for nobody.

An interpreter does more when a line runs for the first time: it binds names, fills caches, replaces operations by quicker
ones. Each copy would do so anew, and what it writes to costs a page of its own, which takes longer than what is written.
Nothing of a rehearsal stays but that.
"""

import _socket
import ctypes
import json
import logging
import os
import sys

from ephyra_runtime import logs, loop, renew

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

# The C library has what is smaller than this from its heap, in steps of as many bytes; each smaller size is tried after
# the next larger one.
_HEAP_LARGEST, _HEAP_STEP, _HEAP_LEAST = 96 * 1024, 16, 24
# The most that is filled of its heap.
_HEAP_MOST = 4 * 1024 * 1024

# Kept for ever: see `fill_holes`.
_filling = []


def handler(event, context):
    """A function like any other."""
    return None


def run():
    """All that copies do and that is the same in each, some times; then everything is as if nothing had been."""
    here, there = _socket.socketpair()
    control, loop._CONTROL = loop._CONTROL, here.fileno()
    loop.prepare_streams()
    logs.prepare()
    known = set(sys.modules)
    try:
        for _ in range(_ROUNDS):
            renew.numbers(os.getpid())
            for name in _HANDLERS:
                _serve(there, name)
    finally:
        loop._CONTROL = control
        here.close()
        there.close()
        for name in set(sys.modules) - known:
            del sys.modules[name]


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
        identifier, deadline_ms, meta, payload = loop._receive()
        loop._answer(handler, identifier, deadline_ms, loop._meta(meta), payload)
        there.recv(64 * 1024)
    finally:
        loop._known_meta = loop._known_arn = None
        root.handlers[:] = handlers
        for variable in _VARIABLES:
            os.environ.pop(variable, None)
        if before is not None:
            sys.modules[module] = before


def _send(there, kind, body):
    there.send(len(body).to_bytes(4, "little") + bytes((kind, loop._VERSION, 0, 0)) + body)


def fill_holes():
    """Takes up the room that booting has left between what it keeps. The last thing before the copying.

    What a copy allocates would otherwise come to lie there, in hundreds of pages that it shares with the zygote, of
    which each that it writes to becomes its own.
    """
    _fill_heap()
    head = sys.getsizeof(b"")
    for size in range(-(-head // _STEP) * _STEP, _LARGEST + 1, _STEP):
        in_a_pool = _POOL // size
        last = row = 0
        for _ in range(in_a_pool * _POOLS):
            block = bytes(size - head)
            # As many neighbours in a row as a pool has, and one elsewhere: that was taken for them, and is full.
            if id(block) == last + size:
                row += 1
            elif row >= in_a_pool - 2:
                # The next pool, which is free again with it.
                break
            else:
                row = 0
            _filling.append(block)
            last = id(block)
        block = None


class _HeapState(ctypes.Structure):
    """`struct mallinfo2`; the last member is how much is free at the heap's end."""

    _fields_ = tuple((name, ctypes.c_size_t) for name in "abcdefghi") + (("at_the_end", ctypes.c_size_t),)


def _fill_heap():
    """The same for what is too large for the interpreter's own allocator. Only where the C library is glibc (2.33)."""
    libc = ctypes.PyDLL(None)
    try:
        state, malloc, free, sbrk = libc.mallinfo2, libc.malloc, libc.free, libc.sbrk
    except AttributeError:
        return
    state.restype, malloc.restype, sbrk.restype = _HeapState, ctypes.c_void_p, ctypes.c_void_p
    malloc.argtypes, free.argtypes, sbrk.argtypes = (ctypes.c_size_t,), (ctypes.c_void_p,), (ctypes.c_ssize_t,)
    end = sbrk(0) - state().at_the_end
    size, taken = _HEAP_LARGEST, 0
    while size >= _HEAP_LEAST and taken < _HEAP_MOST:
        piece = malloc(size)
        if not piece:
            return
        if piece >= end:
            # There is no hole for it any more.
            free(piece)
            size -= max(_HEAP_STEP, size // 8 // _HEAP_STEP * _HEAP_STEP)
        else:
            taken += size
