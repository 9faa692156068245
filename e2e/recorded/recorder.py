"""Runs the requests of one recorded situation and keeps what differs."""

import io
import json
import pathlib
import zipfile

from botocore.exceptions import ClientError, ParamValidationError

from recorded import compare

RECORDED = json.loads((pathlib.Path(__file__).parent / "lambda-control-plane.json").read_text())
# Before this year some members of today's answers did not exist.
MODERN = 2024

ECHO = "def handler(event, context):\n    return event\n"
OTHER = "import sys\ndef handler(event, context):\n    return {'version': sys.version}\n"


def archive(source=ECHO, name="handler.py", size=None, method=zipfile.ZIP_STORED):
    """A zip with one file; `size` pads it to exactly so many bytes."""

    def made(comment):
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", method) as z:
            entry = zipfile.ZipInfo(name, (2026, 1, 1, 0, 0, 0))
            entry.external_attr = 0o100644 << 16
            z.writestr(entry, source, method)
            z.comment = comment
        return buffer.getvalue()

    bare = made(b"")
    return bare if size is None else made(b"x" * (size - len(bare)))


class Recorder:
    """One situation: makes requests, compares each answer with the recorded one of the same label."""

    def __init__(self, case, platform):
        recorded = RECORDED[case]
        self.case = case
        self.answers = recorded["responses"]
        self.is_old = int(recorded["recorded"][6:10]) < MODERN
        self.platform = platform
        self.account, self.region = platform.account, platform.region
        self.python, self.node = platform.python, platform.node
        self.role = platform.role
        # Recorded runtimes are asked for as one that is here, so that the functions become active.
        pythons = [f"python3.{n}" for n in range(8, 15)]
        self.bindings = compare.Bindings(self.account, self.region, {p: self.python for p in pythons})
        self.compared, self.problems, self.cleanups = set(), [], []
        # Without boto3's own checks of parameters: AWS's are wanted.
        self.client = platform.client(parameter_validation=False)
        self.checked_client = platform.client()

    # -- requests

    def call(self, operation, client=None, **arguments):
        """The answer, be it a success or an error."""
        try:
            return getattr(client or self.client, operation)(**arguments)
        except ClientError as error:
            return error.response
        except ParamValidationError as error:
            return str(error)

    def step(self, label, operation, settled=False, sort=None, client=None, **arguments):
        """Makes a request and compares its answer. Returns the answer."""
        answer = self.call(operation, client, **arguments)
        self.match(label, answer, settled, sort)
        return answer

    def match(self, label, answer, settled=False, sort=None):
        """Compares an answer with the recorded one."""
        want = self.answers[label]
        self.compared.add(label)
        if sort:
            member, key = sort
            want, answer = dict(want), dict(answer)
            want[member] = sorted(want[member], key=lambda x: x[key])
            answer[member] = sorted(answer.get(member, []), key=lambda x: x[key])
        found = compare.differences(want, answer, self.bindings, self.is_old, settled)
        if found:
            lines = "\n    ".join(found)
            self.problems.append(f"{label}:\n    {lines}\n{compare.diff(want, answer, self.bindings)}")

    # -- functions

    def name(self, stem):
        return self.platform.unique(stem)

    def arn(self, resource):
        return f"arn:aws:lambda:{self.region}:{self.account}:{resource}"

    def create(self, name, label=None, wrapped=False, wait=True, **arguments):
        """Creates a function as the recordings did; `wrapped` is the shape of those made through a helper there."""
        request = {
            "FunctionName": name,
            "Runtime": self.python,
            "Role": self.role,
            "Handler": "handler.handler" if wrapped else "index.handler",
            "Code": {"ZipFile": archive()},
        }
        if wrapped:
            request |= {"Timeout": 30, "Environment": {"Variables": {}}}
        request |= arguments
        answer = self.call("create_function", **request)
        short = answer.get("FunctionName") or name
        self.cleanups.append(lambda: self.call("delete_function", FunctionName=short))
        if label:
            is_wrapped = wrapped and "Error" not in answer
            whole = {"CreateFunctionResponse": answer, "CreateEventSourceMappingResponse": None}
            self.match(label, whole if is_wrapped else answer)
        if wait:
            self.platform.wait_active(short)
        return answer

    def updated(self, name):
        self.platform.wait_updated(name)

    def layer(self, name, label=None, content=None, **arguments):
        answer = self.call(
            "publish_layer_version", LayerName=name, Content={"ZipFile": content or archive()}, **arguments
        )
        if "Version" in answer:
            version = answer["Version"]
            self.cleanups.append(lambda: self.call("delete_layer_version", LayerName=name, VersionNumber=version))
        if label:
            self.match(label, answer)
        return answer

    def clean_up(self):
        for cleanup in reversed(self.cleanups):
            cleanup()

    def finish(self, excused=()):
        """Fails with all that differed."""
        missed = set(self.answers) - self.compared - set(excused)
        assert not missed, f"recorded answers that nothing was compared with: {sorted(missed)}"
        assert not self.problems, f"{self.case}: {len(self.problems)} answers differ from AWS's\n\n" + "\n\n".join(
            self.problems
        )
