"""Gives `logging` Lambda's handler, format and level. Loaded once something has imported `logging`."""

import json
import logging
import os
import sys
import time
import traceback

from ephyra_runtime import loop

_LEVELS = {"TRACE": 5, "DEBUG": 10, "INFO": 20, "WARN": 30, "WARNING": 30, "ERROR": 40, "FATAL": 50, "CRITICAL": 50}


# What a bare record has: whatever else one carries came with `extra`.
_BARE = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "aws_request_id", "taskName"}


class JsonFormatter(logging.Formatter):
    """Writes a record as JSON, as Lambda does."""

    def format(self, record):
        fields = {
            "timestamp": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(record.created)),
            "level": record.levelname,
            "message": record.getMessage(),
            "logger": record.name,
        }
        if record.exc_info and record.exc_info[0] is not None:
            kind, value, trace = record.exc_info
            fields["stackTrace"] = traceback.format_list(
                [(f.filename, f.lineno, f.name, f.line) for f in traceback.extract_tb(trace)])
            fields["errorType"] = kind.__name__
            fields["errorMessage"] = str(value)
            fields["location"] = "%s:%s:%s" % (record.pathname, record.funcName, record.lineno)
        if record.aws_request_id:
            fields["requestId"] = record.aws_request_id
        for name, value in record.__dict__.items():
            if name not in _BARE and name not in fields and value is not None:
                fields[name] = value
        return json.dumps(fields, default=str)


class TextFormatter(logging.Formatter):
    """Writes a record as one line of text, as Lambda does."""

    converter = time.gmtime

    def format(self, record):
        return logging.Formatter.format(self, record).replace("\n", "\r")


class LambdaHandler(logging.Handler):
    """Writes records to the standard output."""

    def emit(self, record):
        try:
            record.aws_request_id = loop.request_id or ""
            sys.stdout.write(self.format(record) + "\n")
        except Exception:
            self.handleError(record)


# Made in a zygote for its copies: making one takes a tenth of a millisecond.
_ready = None


def prepare():
    """Before the copying: makes what `install` installs where no other format is asked for."""
    global _ready
    _ready = _plain()


def _plain():
    handler = LambdaHandler()
    handler.setFormatter(TextFormatter("[%(levelname)s]\t%(asctime)s.%(msecs)03dZ\t%(aws_request_id)s\t%(message)s",
                                       "%Y-%m-%dT%H:%M:%S"))
    return handler


def install():
    """Puts the handler on the root logger."""
    handler = _ready or _plain()
    root = logging.getLogger()
    if os.environ.get("AWS_LAMBDA_LOG_FORMAT") == "JSON":
        handler.setFormatter(JsonFormatter())
        root.setLevel(_LEVELS.get(os.environ.get("AWS_LAMBDA_LOG_LEVEL", "INFO"), 20))
    root.addHandler(handler)
