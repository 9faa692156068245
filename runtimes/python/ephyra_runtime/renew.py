"""Makes a copy of the zygote a process like one that has just been started: with randomness and numbers of its own."""

import os
import sys
import time

_BOOTSTRAP = "/var/runtime/bootstrap.py"
# What only the zygote uses, by the name that a function would find it under.
_OWN = tuple("ephyra_runtime." + name for name in ("zygote", "enter", "rehearsal", "renew"))


# What these do in a process that was forked takes longer than all else here: see `withhold`.
_SLOW = {"logging", "random", "threading"}
# What they have registered for forks.
_withheld = []
_register = os.register_at_fork


def withhold():
    """Before anything is imported: keeps what some modules register for forks from being done in copies of this process.

    It is about locks and threads, of which this process has none but its own, and about numbers, which `numbers` makes
    anew. A copy registers it for its own forks.
    """
    os.register_at_fork = _keep


def _keep(**functions):
    if {getattr(function, "__module__", None) for function in functions.values()} <= _SLOW:
        _withheld.append(functions)
    else:
        _register(**functions)


def prepare():
    """After the imports, before the copying: what all copies do alike."""
    os.register_at_fork = _register
    sys.argv[:] = [_BOOTSTRAP]
    original = getattr(sys, "orig_argv", None)
    if original is not None:
        original[-1] = _BOOTSTRAP
    hashlib = sys.modules.get("hashlib")
    if hashlib is not None:
        # OpenSSL reads its configuration and finds its algorithms now, without drawing a random number.
        hashlib.sha256()


def everything(zygote):
    """In a copy of the process with the number `zygote`."""
    for functions in _withheld:
        _register(**functions)
    numbers(zygote)


def numbers(zygote):
    """What is random, or a number of the process or the time."""
    modules = sys.modules
    random = modules.get("random")
    if random is not None:
        random.seed()
    threading = modules.get("threading")
    if threading is not None:
        thread = threading.main_thread()
        if hasattr(thread, "_set_native_id"):
            thread._set_native_id()
    tempfile = modules.get("tempfile")
    if tempfile is not None:
        tempfile._name_sequence = None
    uuid = modules.get("uuid")
    if uuid is not None:
        uuid._node = uuid._last_timestamp = None
    ssl = modules.get("ssl")
    if ssl is not None and os.getpid() == zygote:
        # OpenSSL seeds itself anew when it finds that its process has another number. Those of a sandbox are counted
        # apart, so it could be the same.
        ssl.RAND_add(os.urandom(32), 32.0)
    process = modules.get("multiprocessing.process")
    if process is not None:
        process.current_process()._config["authkey"] = process.AuthenticationString(os.urandom(32))
    numpy = modules.get("numpy.random")
    if numpy is not None:
        numpy.seed()
    logging = modules.get("logging")
    if logging is not None:
        # What records count their `relativeCreated` from; nanoseconds since 3.13.
        now = time.time_ns()
        logging._startTime = now if isinstance(logging._startTime, int) else now / 1e9


def scope():
    """The main module, as if the runtime's own program had been it from the start."""
    for name in _OWN:
        sys.modules.pop(name, None)
    main = sys.modules["__main__"].__dict__
    for name in [name for name in main if not name.startswith("__")]:
        del main[name]
    main["__doc__"] = None
    main["__file__"] = _BOOTSTRAP
    return main
