"""Compares an answer of ours with one recorded from AWS.

A recorded text may hold placeholders. Each stands for one value throughout a situation; `Bindings` remembers which.
"""

import datetime
import difflib
import json
import re

PLACEHOLDER = re.compile(r"<([a-z][a-z0-9_-]*(?::(?:\d+|len\(\d+\)))?)>")
FUNCTION_URL = re.compile(r"http://[a-z0-9]{32}\.lambda-url\.[a-z0-9-]+\.localhost:\d+/")
ISO_DATE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{3})?\+0000")

# Placeholders that may stand for another value each time.
FREE = {
    "location": r"https?://[^ ]+",
    "layer-location": r"https?://[^ ]+",
    "code-size": r"\d+",
    "aws_internal_failure": r".*",
}
# What a placeholder may stand for, by the part before its number.
SHAPES = {
    "uuid": r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}",
    "code-sha256": r"[A-Za-z0-9+/]{43}=",
    "function-name": r"[A-Za-z0-9_-]+",
    "fn-name": r"[A-Za-z0-9_-]+",
    "nonexisting-fn-name": r"[A-Za-z0-9_-]+",
    "resource": r"[A-Za-z0-9_./+=,@-]+",
    "resource-name": r"[A-Za-z0-9_-]+",
    "alias-name": r"[A-Za-z0-9_-]+",
    "region": r"[a-z0-9-]+",
    "wrong-region": r"[a-z0-9-]+",
    "min_unreserved_concurrency": r"\d+",
    "unreserved_concurrency": r"\d+",
}
# Two numbers of these never stand for the same value.
DISTINCT = {"uuid"}
# Members that came to AWS's answers after the oldest recordings were made.
NEWER_MEMBERS = {"LoggingConfig", "RuntimeVersionConfig", "EphemeralStorage", "SnapStart", "Architectures"}


class Bindings:
    """What the placeholders of one situation stand for."""

    def __init__(self, account, region, runtimes):
        self.values = {"partition": "aws", "region": region}
        self.account = account
        # Recorded runtime → the one that was used in its place, because it is on this machine.
        self.runtimes = runtimes

    def bind(self, name, value):
        """Remembers `value`; returns why it cannot be, or None."""
        kind = name.split(":")[0]
        if name in self.values:
            if self.values[name] == value:
                return None
            return f"<{name}> was {self.values[name]!r} before and is {value!r} now"
        if kind in DISTINCT:
            for other, known in self.values.items():
                if other.split(":")[0] == kind and known == value:
                    return f"<{name}> should have changed, it is still <{other}>"
        self.values[name] = value
        return None

    def text(self, want, got):
        """Why `got` does not say what `want` says, or None."""
        want = want.replace("111111111111", self.account)
        if want in ("date", "datetime") and isinstance(got, str):
            return None if ISO_DATE.fullmatch(got) else f"{got!r} is not a time as AWS writes it"
        if want == "lambda-url" and isinstance(got, str):
            return None if FUNCTION_URL.fullmatch(got) else f"{got!r} is not a function URL"
        if not isinstance(got, str):
            got = str(got)
        pattern, names, position = "", [], 0
        for match in PLACEHOLDER.finditer(want):
            pattern += re.escape(want[position : match.start()])
            position = match.end()
            name = match.group(1)
            kind, _, argument = name.partition(":")
            if kind == "a" and argument.startswith("len("):
                pattern += "a" * int(argument[4:-1])
            elif name in FREE:
                pattern += f"(?:{FREE[name]})"
            elif name in self.values:
                pattern += re.escape(str(self.values[name]))
            elif name in names:
                pattern += f"(?P=p{names.index(name)})"
            else:
                pattern += f"(?P<p{len(names)}>{SHAPES.get(kind, '.+?')})"
                names.append(name)
        pattern += re.escape(want[position:])
        match = re.fullmatch(pattern, got, re.DOTALL)
        if match is None:
            return f"want {self.shown(want)!r}\n       got  {got!r}"
        for index, name in enumerate(names):
            problem = self.bind(name, match.group(f"p{index}"))
            if problem:
                return problem
        return None

    def shown(self, want):
        """`want` with the placeholders filled in that are known."""
        return PLACEHOLDER.sub(lambda m: str(self.values.get(m.group(1), m.group(0))), want)


def differences(want, got, bindings, old=False, settled=False, path=""):
    """Each way in which `got` is not the recorded `want`, as text.

    `old`: recorded before some members existed. `settled`: a change that AWS still showed as going on may be over.
    """
    if isinstance(want, dict) and isinstance(got, str):
        try:
            got = json.loads(got)
        except ValueError:
            return [f"{path}: want a JSON document, got {got!r}"]
    if isinstance(want, dict):
        if not isinstance(got, dict):
            return [f"{path}: want an object, got {got!r}"]
        return list(_members(want, got, bindings, old, settled, path))
    if isinstance(want, list):
        if not isinstance(got, list):
            return [f"{path}: want a list, got {got!r}"]
        if len(want) != len(got):
            return [f"{path}: want {len(want)} items, got {len(got)}: {got!r}"]
        found = []
        for index, (w, g) in enumerate(zip(want, got)):
            found += differences(w, g, bindings, old, settled, f"{path}[{index}]")
        return found
    if isinstance(want, str):
        if want == "datetime" and isinstance(got, datetime.datetime):
            return []
        key = path.rpartition(".")[2].partition("[")[0]
        if key in ("Runtime", "CompatibleRuntimes"):
            want = bindings.runtimes.get(want, want)
        problem = bindings.text(want, got)
        return [f"{path}: {problem}"] if problem else []
    if want != got or isinstance(want, bool) != isinstance(got, bool):
        return [f"{path}: want {want!r}, got {got!r}"]
    return []


def _members(want, got, bindings, old, settled, path):
    want, got = dict(want), dict(got)
    if settled and want.get("LastUpdateStatus") == "InProgress" and got.get("LastUpdateStatus") == "Successful":
        for name in ("LastUpdateStatus", "LastUpdateStatusReason", "LastUpdateStatusReasonCode", "RevisionId"):
            want.pop(name, None)
            got.pop(name, None)
    if settled and want.get("State") == "Pending" and got.get("State") == "Active":
        for name in ("State", "StateReason", "StateReasonCode", "LastUpdateStatus", "RevisionId"):
            want.pop(name, None)
            got.pop(name, None)
    for name in sorted(set(want) | set(got), key=lambda n: (n != "FunctionName", n)):
        here = f"{path}.{name}" if path else name
        if name == "ResponseMetadata":
            if name in want:
                status = (got.get(name) or {}).get("HTTPStatusCode")
                if status != want[name]["HTTPStatusCode"]:
                    yield f"HTTP status: want {want[name]['HTTPStatusCode']}, got {status}"
        elif name not in got:
            yield f"{here}: missing, want {bindings.shown(json.dumps(want[name]))}"
        elif name not in want:
            if not (old and name in NEWER_MEMBERS):
                yield f"{here}: AWS has no such member, got {got[name]!r}"
        elif name in ("Policy", "Statement") and isinstance(got[name], str):
            yield from differences(want[name], json.loads(got[name]), bindings, old, settled, here)
        else:
            yield from differences(want[name], got[name], bindings, old, settled, here)


def shown(value):
    """A value as lines, for a diff."""
    if isinstance(value, dict) and "ResponseMetadata" in value:
        value = value | {"ResponseMetadata": {"HTTPStatusCode": value["ResponseMetadata"].get("HTTPStatusCode")}}
    return json.dumps(value, indent=1, sort_keys=True, default=str).splitlines()


def diff(want, got, bindings):
    """A unified diff of the recorded answer and ours."""
    wanted = [bindings.shown(line.replace("111111111111", bindings.account)) for line in shown(want)]
    return "\n".join(difflib.unified_diff(wanted, shown(got), "AWS", "Ephyra", lineterm="", n=1))
