"""Loads the function and serves events over descriptor 3 (crates/guest/PROTOCOL.md).

Little is imported here, because each start pays for it: what only a failure or a logger needs is in `faults` and
`logs`.
"""

import os
import sys
import time
from json import JSONDecoder, JSONEncoder

_CONTROL = 3
_EVENT = 0x01
_CONFIGURE = 0x02
_RESTORE = 0x03
_VERSION = 2
_BOOTED = 0x81
_READY = 0x82
_INIT_ERROR = 0x83
_RESPONSE = 0x84
_ERROR = 0x85
_HEADER = 8
# The largest packet of either side.
_PACKET = 65536
_EVENT_HEAD = 32
_MAX_BODY = 0xFFFFFFFF

# The identifier of the invocation that runs, for log records; None while the function loads.
request_id = None

_environ = os.environ
_decode = JSONDecoder().decode


class Fault(Exception):
    """A failure that the runtime itself found, with Lambda's name for it."""

    def __init__(self, kind, message, trace=None):
        Exception.__init__(self, message)
        self.kind = kind
        self.message = message
        self.trace = trace or []


class Client:
    """The mobile application that called, out of the client context."""

    __slots__ = ("installation_id", "app_title", "app_version_name", "app_version_code", "app_package_name")

    def __init__(self, values):
        for name in self.__slots__:
            setattr(self, name, values.get(name))


class ClientContext:
    """What the caller sent as X-Amz-Client-Context."""

    __slots__ = ("custom", "env", "client")

    def __init__(self, values):
        self.custom = values.get("custom")
        self.env = values.get("env")
        client = values.get("client")
        self.client = Client(client) if isinstance(client, dict) else None


class CognitoIdentity:
    """The caller's Cognito identity; its members are None when there is none."""

    __slots__ = ("cognito_identity_id", "cognito_identity_pool_id")

    def __init__(self, values):
        self.cognito_identity_id = values.get("cognitoIdentityId")
        self.cognito_identity_pool_id = values.get("cognitoIdentityPoolId")


# What is the same for all events, for their contexts: log group and stream, name, memory and version.
_described = (None,) * 5


def _describe():
    """Takes what the environment's variables say of the function."""
    global _described
    _described = tuple(_environ.get("AWS_LAMBDA_" + name) for name in
                       ("LOG_GROUP_NAME", "LOG_STREAM_NAME", "FUNCTION_NAME", "FUNCTION_MEMORY_SIZE",
                        "FUNCTION_VERSION"))


class LambdaContext:
    """The second argument of a handler."""

    def __init__(self, identifier, deadline_ms, meta):
        self.aws_request_id = identifier
        (self.log_group_name, self.log_stream_name, self.function_name, self.memory_limit_in_mb,
         self.function_version) = _described
        self.invoked_function_arn = meta.get("invokedFunctionArn")
        self.tenant_id = meta.get("tenantId")
        context = meta.get("clientContext")
        context = _decode(context) if context else None
        self.client_context = ClientContext(context) if isinstance(context, dict) else None
        self.identity = CognitoIdentity(meta.get("identity") or {})
        self._epoch_deadline_time_in_ms = deadline_ms

    def get_remaining_time_in_millis(self):
        """Milliseconds until the deadline; 0 when it has passed."""
        left = self._epoch_deadline_time_in_ms - int(time.time() * 1000)
        return left if left > 0 else 0

    def log(self, message):
        """Writes a line to the log."""
        sys.stdout.write(str(message))

    def __repr__(self):
        members = ("aws_request_id", "log_group_name", "log_stream_name", "function_name", "memory_limit_in_mb",
                   "function_version", "invoked_function_arn", "client_context", "identity", "tenant_id")
        return "LambdaContext([%s])" % ",".join("%s=%s" % (name, getattr(self, name)) for name in members)


def _send(kind, head=b"", body=b""):
    length = len(head) + len(body)
    head = length.to_bytes(4, "little") + bytes((kind, _VERSION, 0, 0)) + head
    if _HEADER + length <= _PACKET:
        os.writev(_CONTROL, (head, body))
        return
    body = memoryview(body)
    first = _PACKET - len(head)
    os.writev(_CONTROL, (head, body[:first]))
    for begin in range(first, len(body), _PACKET):
        os.write(_CONTROL, body[begin:begin + _PACKET])


# What a packet is read into, and a look at it.
_packet = bytearray(_PACKET)
_packet_view = memoryview(_packet)
_into = (_packet,)


def _receive_frame(kind, least):
    """What a frame of this kind is in, with at least so many bytes in its body, and its end; ends the process when the
    host has gone. It is there until the next one is received."""
    view = _packet_view
    filled = os.readv(_CONTROL, _into)
    while filled < _HEADER:
        count = os.readv(_CONTROL, (view[filled:],))
        if not count:
            os._exit(0)
        filled += count
    total = _HEADER + int.from_bytes(view[:4], "little")
    if filled < total:
        if total > _PACKET:
            view = memoryview(bytearray(total))
            view[:filled] = _packet_view[:filled]
        while filled < total:
            count = os.readv(_CONTROL, (view[filled:total],))
            if not count:
                os._exit(0)
            filled += count
    if view[4] != kind or view[5] != _VERSION or filled != total or total < _HEADER + least:
        sys.stderr.write("the host sent another frame than protocol %d has here\n" % _VERSION)
        os._exit(70)
    return view, total


def _receive():
    """The next event's identifier, deadline, meta and payload."""
    view, total = _receive_frame(_EVENT, _EVENT_HEAD)
    meta_at = _HEADER + _EVENT_HEAD
    payload_at = meta_at + int.from_bytes(view[32:36], "little")
    return (bytes(view[8:24]), int.from_bytes(view[24:32], "little"), str(view[meta_at:payload_at], "utf-8"),
            view[payload_at:total])


_TRACE = '","traceId":"'
# A meta but for its trace, which comes last and is another for each event, and the ARN in it.
_known_meta, _known_arn = None, None


def _meta(text):
    """What a meta says."""
    global _known_meta, _known_arn
    if _known_meta is not None and text.startswith(_known_meta) and text.endswith('"}'):
        trace_id = text[len(_known_meta):-2]
        if '"' not in trace_id and "\\" not in trace_id:
            return {"invokedFunctionArn": _known_arn, "traceId": trace_id}
    meta = _decode(text)
    arn, trace_id = meta.get("invokedFunctionArn"), meta.get("traceId")
    head = '{"invokedFunctionArn":"%s%s' % (arn, _TRACE)
    is_plain = len(meta) == 2 and text == '%s%s"}' % (head, trace_id)
    _known_meta, _known_arn = (head, arn) if is_plain else (None, None)
    return meta


# Decimals leave as bare numbers with all their digits. The encoder cannot write such a thing, so they pass it as
# strings with a random mark, which `_encode` takes away again.
_mark = None


def _default(value):
    global _mark
    decimal = sys.modules.get("decimal")
    if decimal is not None and isinstance(value, decimal.Decimal):
        if value.is_nan():
            return float("nan")
        if _mark is None:
            _mark = os.urandom(16).hex() + ":"
        return _mark + str(value)
    if isinstance(value, bytes):
        return value.decode()
    raise TypeError("Object of type %s is not JSON serializable" % type(value).__name__)


_dump = JSONEncoder(ensure_ascii=sys.version_info < (3, 12), default=_default).encode
_dump_ascii = JSONEncoder(default=_default).encode


def _unmark(text):
    if _mark is None or _mark not in text:
        return text
    parts = text.split('"' + _mark)
    return parts[0] + "".join(part.replace('"', "", 1) for part in parts[1:])


def _encode(value):
    try:
        return _unmark(_dump(value)).encode()
    except UnicodeEncodeError:
        # A lone surrogate has no form in UTF-8, only as an escape.
        return _unmark(_dump_ascii(value)).encode()


def _load(handler):
    module, dot, name = handler.rpartition(".")
    if not dot:
        raise Fault("Runtime.MalformedHandlerName",
                    "Bad handler '%s': not enough values to unpack (expected 2, got 1)" % handler)
    if module.split(".")[0] in sys.builtin_module_names:
        raise Fault("Runtime.BuiltInModuleConflict", "Cannot use built-in module %s as a handler module" % module)
    try:
        # `importlib.import_module` without importing importlib.
        __import__(module.replace("/", "."))
        loaded = sys.modules[module.replace("/", ".")]
    except ImportError as error:
        raise Fault("Runtime.ImportModuleError", "Unable to import module '%s': %s" % (module, error)) from None
    except SyntaxError as error:
        trace = ['  File "%s" Line %s\n    %s' % (error.filename, error.lineno, error.text)]
        raise Fault("Runtime.UserCodeSyntaxError", "Syntax error in module '%s': %s" % (module, error), trace) from None
    try:
        return getattr(loaded, name)
    except AttributeError:
        raise Fault("Runtime.HandlerNotFound", "Handler '%s' missing on module '%s'" % (name, module)) from None


def _flush():
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (AttributeError, OSError, ValueError):
            pass  # The function has put something else there, or closed it.


def _report_plainly(failure, identifier):
    """What `faults.report` gives, without what it takes files to find out."""
    value = failure[1]
    if isinstance(value, Fault):
        name, message, trace = value.kind, value.message, value.trace
    else:
        name, message, trace = failure[0].__name__, "", []
        try:
            message = str(value)
        except Exception:
            pass  # As `faults` has it.
    sys.stderr.write("[ERROR] %s: %s\n" % (name, message))
    document = {"errorMessage": message, "errorType": name, "requestId": identifier, "stackTrace": trace}
    return name, _dump_ascii(document).encode()


def _fail(kind, identifier_bytes, identifier):
    failure = sys.exc_info()
    try:
        from ephyra_runtime import faults

        name, document = faults.report(failure, identifier)
    except OSError:
        # The function has left no descriptor to load anything with.
        name, document = _report_plainly(failure, identifier)
    _flush()
    name = name.encode("utf-8", "replace")[:256].decode("utf-8", "ignore").encode()
    _send(kind, identifier_bytes + len(name).to_bytes(2, "little") + name, document)


def _answer(handler, identifier_bytes, deadline_ms, meta, payload):
    try:
        context = LambdaContext(request_id, deadline_ms, meta)
        try:
            event = _decode(str(payload, "utf-8"))
        except ValueError as error:
            raise Fault("Runtime.UnmarshalError", "Unable to unmarshal input: %s" % error) from None
        result = handler(event, context)
        try:
            body = _encode(result)
        except (TypeError, ValueError, RecursionError) as error:
            raise Fault("Runtime.MarshalError", "Unable to marshal response: %s" % error) from None
        if len(body) > _MAX_BODY - 16:
            raise Fault("Function.ResponseSizeTooLarge",
                        "Response payload size exceeded maximum allowed payload size (6291556 bytes).")
    except Exception:
        _fail(_ERROR, identifier_bytes, request_id)
        return
    _flush()
    _send(_RESPONSE, identifier_bytes, body)


def _configure():
    """Becomes the function that the host says; returns the handler's name."""
    view, total = _receive_frame(_CONFIGURE, 2)
    told = _decode(str(view[_HEADER:total], "utf-8"))
    variables = told["variables"]
    _environ.update(variables)
    if "TZ" in variables:
        time.tzset()
    if "handler" not in told:
        # It was started with its variables and goes by them: a wrapper script may have changed the handler.
        return _environ.get("_HANDLER", "")
    # What was the working folder at the start, and what was looked for in the function's folders, may have been
    # mounted over since.
    os.chdir(_environ["LAMBDA_TASK_ROOT"])
    for path, finder in list(sys.path_importer_cache.items()):
        if path.startswith((_environ["LAMBDA_TASK_ROOT"], "/opt")):
            if finder is None:
                del sys.path_importer_cache[path]
            else:
                finder.invalidate_caches()
    return told["handler"]


def _set_trace(trace_id):
    """Shows the event's trace header to the function, and to the processes that it starts.

    A value that the C library has once been given is never freed, and finding the place for the next one takes longer
    with each: so it learns of it only where there is something that starts processes.
    """
    if "subprocess" in sys.modules:
        _environ["_X_AMZN_TRACE_ID"] = trace_id
    else:
        _environ._data[b"_X_AMZN_TRACE_ID"] = _environ.encodevalue(trace_id)


def prepare_streams():
    """Has each line written when it ends."""
    for stream in (sys.stdout, sys.stderr):
        if not stream.line_buffering:
            stream.reconfigure(line_buffering=True)


def main():
    """Loads the function, then serves events until the host goes."""
    global request_id
    os.set_inheritable(_CONTROL, False)
    prepare_streams()
    _send(_BOOTED)
    handler = _configure()
    _describe()
    if "logging" in sys.modules:
        from ephyra_runtime import logs

        logs.install()
    else:
        sys.meta_path.insert(0, LoggingHook())
    is_template = _environ.get("AWS_LAMBDA_INITIALIZATION_TYPE") == "snap-start"
    try:
        handler = _load(handler)
        if is_template:
            from ephyra_runtime import restore

            restore.before_snapshot()
    except Exception:
        _fail(_INIT_ERROR, b"", "")
        sys.exit(1)
    _flush()
    _send(_READY)
    if is_template:
        _receive_frame(_RESTORE, 2)
        try:
            restore.after_restore()
        except Exception:
            _fail(_INIT_ERROR, b"", "")
            sys.exit(1)
        _flush()
        _send(_READY)
    traced = False
    while True:
        identifier, deadline_ms, meta, payload = _receive()
        meta = _meta(meta)
        trace_id = meta.get("traceId")
        if trace_id:
            _set_trace(trace_id)
            traced = True
        elif traced:
            _environ.pop("_X_AMZN_TRACE_ID", None)
        digits = identifier.hex()
        request_id = "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))
        _answer(handler, identifier, deadline_ms, meta, payload)


class LoggingHook:
    """Sets up `logging` at the moment someone imports it, so that a function without it does not pay for it."""

    def find_spec(self, name, path=None, target=None):
        if name != "logging":
            return None
        sys.meta_path.remove(self)
        for finder in sys.meta_path:
            spec = finder.find_spec(name, path, target)
            if spec is not None:
                self.loader, spec.loader = spec.loader, self
                return spec
        return None

    def create_module(self, spec):
        return self.loader.create_module(spec)

    def exec_module(self, module):
        module.__spec__.loader = module.__loader__ = self.loader
        self.loader.exec_module(module)
        from ephyra_runtime import logs

        logs.install()
