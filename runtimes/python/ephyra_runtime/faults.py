"""Error documents and their log lines, as Lambda writes them. Loaded at the first failure."""

import json
import os
import sys
import time
import traceback

from ephyra_runtime import loop

_OWN_FILES = os.path.dirname(os.path.abspath(__file__))


def report(failure, identifier):
    """Logs a failure and returns its type and its document."""
    kind, value, trace = failure
    if isinstance(value, loop.Fault):
        name, message, stack = value.kind, value.message, value.trace
    else:
        name = kind.__name__
        try:
            message = str(value)
        except Exception:
            message = ""
        frames = [(f.filename, f.lineno, f.name, f.line) for f in traceback.extract_tb(trace)]
        first = next((at for at, f in enumerate(frames) if not f[0].startswith(_OWN_FILES)), 0)
        stack = traceback.format_list(frames[first:])
    document = {"errorMessage": message, "errorType": name, "requestId": identifier, "stackTrace": stack}
    _log(document)
    # ASCII alone: a message may hold lone surrogates, which UTF-8 has no form for.
    return name, json.dumps(document).encode()


def _log(document):
    if os.environ.get("AWS_LAMBDA_LOG_FORMAT") == "JSON":
        record = {"timestamp": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "log_level": "ERROR"}
        record.update(document)
        text = json.dumps(record)
    else:
        text = "[ERROR] %s: %s\nTraceback (most recent call last):\n%s" % (
            document["errorType"], document["errorMessage"], "".join(document["stackTrace"]))
        # One event, not one for each line.
        text = text.rstrip("\n").replace("\n", "\r")
    try:
        sys.stdout.write(text + "\n")
    except (AttributeError, OSError, ValueError, UnicodeError):
        os.write(1, text.encode("utf-8", "backslashreplace") + b"\n")
