"""Every operation through stock clients: the AWS CLI v1 and the AWS SDK for JavaScript v3; boto3 is in every other file.

Each row: an operation, good input, what the answer holds, and bad input with the code that AWS documents for it.
"""

import base64
import json
import os
import pathlib
import subprocess
import sys

import pytest

from harness import package, together

CODE = package({"app.py": "def handler(event, context):\n    return event\n"})
NOT_FOUND = "ResourceNotFoundException"
INVALID = "InvalidParameterValueException"
VALIDATION = "ValidationException"
ABSENT = {"FunctionName": "absent"}


class World:
    """What the rows work on; made anew for each client, as some rows change or delete it."""

    def __init__(self, platform):
        self.platform, client = platform, platform.lambda_
        self.functions, self.layer = [], platform.unique("layer")
        create = {
            "Runtime": platform.python,
            "Handler": "app.handler",
            "Role": platform.role,
            "Code": {"ZipFile": CODE},
        }
        self.create = create

        def function(stem, **more):
            name = platform.unique(stem)
            self.functions.append(name)
            client.create_function(FunctionName=name, Publish=True, **create | more)
            return name

        self.new = platform.unique("new")
        self.functions.append(self.new)
        self.main, self.changed, self.gone, self.other = (
            function(stem) for stem in ("main", "changed", "gone", "other")
        )
        for name in self.functions[1:]:
            platform.wait_active(name)
        for alias in ("live", "old"):
            client.create_alias(FunctionName=self.main, Name=alias, FunctionVersion="1")
        self.arn = client.get_function(FunctionName=self.main)["Configuration"]["FunctionArn"]
        self.absent_arn = self.arn.replace(self.main, "absent")
        for name in (self.main, self.other):
            client.put_function_event_invoke_config(FunctionName=name, MaximumRetryAttempts=1)
            client.put_function_concurrency(FunctionName=name, ReservedConcurrentExecutions=3)
            for sid in ("s1", "s2"):
                client.add_permission(
                    FunctionName=name, StatementId=sid, Action="lambda:InvokeFunction", Principal="s3.amazonaws.com"
                )
        client.tag_resource(Resource=self.arn, Tags={"a": "1", "b": "2"})
        for name in (self.main, self.other):
            client.put_provisioned_concurrency_config(
                FunctionName=name, Qualifier="1", ProvisionedConcurrentExecutions=1
            )
        for _ in range(2):
            client.publish_layer_version(LayerName=self.layer, Content={"ZipFile": CODE})

    def close(self):
        for name in self.functions:
            self.platform.forget(name)
        for version in (1, 2, 3):
            self.platform.lambda_.delete_layer_version(LayerName=self.layer, VersionNumber=version)


def rows(w):
    """(operation, good input, member of the answer or None, bad input or None, its code)."""
    main, version = {"FunctionName": w.main}, {"FunctionName": w.main, "Qualifier": "1"}
    other = {"FunctionName": w.other, "Qualifier": "1"}
    create = w.create | {"FunctionName": w.new}
    alias = {"FunctionName": w.main, "FunctionVersion": "1"}
    tags = {"Resource": w.arn}
    permission = {"Action": "lambda:InvokeFunction", "Principal": "sns.amazonaws.com", "StatementId": "s3"}
    latest = {"FunctionName": w.main, "Qualifier": "$LATEST"}
    return [
        ("CreateFunction", create, "FunctionArn", create | {"FunctionName": "bad-role", "Role": "r1"}, VALIDATION),
        ("GetFunction", main, "Configuration", ABSENT, NOT_FOUND),
        ("GetFunctionConfiguration", main, "FunctionArn", ABSENT, NOT_FOUND),
        ("UpdateFunctionCode", {"FunctionName": w.gone, "ZipFile": CODE}, "CodeSha256", {"FunctionName": w.main, "ZipFile": CODE, "RevisionId": "wrong"}, "PreconditionFailedException"),
        ("UpdateFunctionConfiguration", {"FunctionName": w.changed, "Timeout": 9}, "Timeout", main | {"Runtime": "none"}, INVALID),
        ("DeleteFunction", {"FunctionName": w.gone}, None, ABSENT, NOT_FOUND),
        ("ListFunctions", {}, "Functions", {"FunctionVersion": "some"}, VALIDATION),
        ("PublishVersion", main | {"Description": "x"}, "Version", main | {"RevisionId": "wrong"}, "PreconditionFailedException"),
        ("ListVersionsByFunction", main, "Versions", ABSENT, NOT_FOUND),
        ("CreateAlias", alias | {"Name": "made"}, "AliasArn", alias | {"Name": "bad", "FunctionVersion": "10"}, NOT_FOUND),
        ("GetAlias", main | {"Name": "live"}, "AliasArn", main | {"Name": "none"}, NOT_FOUND),
        ("UpdateAlias", main | {"Name": "live", "Description": "y"}, "Description", main | {"Name": "none"}, NOT_FOUND),
        ("DeleteAlias", main | {"Name": "old"}, None, main | {"Name": "2024"}, VALIDATION),
        ("ListAliases", main, "Aliases", ABSENT, NOT_FOUND),
        ("Invoke", main | {"Payload": b'{"a": 1}'}, "StatusCode", ABSENT, NOT_FOUND),
        ("InvokeWithResponseStream", main | {"Payload": b'{"a": 1}'}, "EventStream", ABSENT, NOT_FOUND),
        ("PublishLayerVersion", {"LayerName": w.layer, "Content": {"ZipFile": CODE}}, "LayerVersionArn", {"LayerName": w.layer, "Content": {"ZipFile": CODE}, "CompatibleRuntimes": ["none"]}, VALIDATION),
        ("GetLayerVersion", {"LayerName": w.layer, "VersionNumber": 1}, "Content", {"LayerName": w.layer, "VersionNumber": 99}, NOT_FOUND),
        ("ListLayers", {}, "Layers", {"CompatibleRuntime": "none"}, VALIDATION),
        ("ListLayerVersions", {"LayerName": w.layer}, "LayerVersions", {"LayerName": w.layer, "CompatibleRuntime": "none"}, VALIDATION),
        ("DeleteLayerVersion", {"LayerName": w.layer, "VersionNumber": 2}, None, {"LayerName": w.layer, "VersionNumber": -1}, INVALID),
        ("PutFunctionConcurrency", {"FunctionName": w.changed, "ReservedConcurrentExecutions": 2}, "ReservedConcurrentExecutions", main | {"ReservedConcurrentExecutions": 100000}, INVALID),
        ("GetFunctionConcurrency", main, "ReservedConcurrentExecutions", ABSENT, NOT_FOUND),
        ("DeleteFunctionConcurrency", {"FunctionName": w.other}, None, ABSENT, NOT_FOUND),
        ("PutProvisionedConcurrencyConfig", version | {"ProvisionedConcurrentExecutions": 1}, "Status", latest | {"ProvisionedConcurrentExecutions": 1}, INVALID),
        ("GetProvisionedConcurrencyConfig", version, "Status", main | {"Qualifier": "live"}, "ProvisionedConcurrencyConfigNotFoundException"),
        ("ListProvisionedConcurrencyConfigs", main, "ProvisionedConcurrencyConfigs", ABSENT, NOT_FOUND),
        ("DeleteProvisionedConcurrencyConfig", other, None, latest, INVALID),
        ("AddPermission", main | permission, "Statement", ABSENT | permission, NOT_FOUND),
        ("GetPolicy", main, "Policy", ABSENT, NOT_FOUND),
        ("RemovePermission", {"FunctionName": w.other, "StatementId": "s1"}, None, main | {"StatementId": "none"}, NOT_FOUND),
        ("TagResource", tags | {"Tags": {"c": "3"}}, None, {"Resource": w.absent_arn, "Tags": {"c": "3"}}, NOT_FOUND),
        ("UntagResource", tags | {"TagKeys": ["b"]}, None, {"Resource": w.absent_arn, "TagKeys": ["b"]}, NOT_FOUND),
        ("ListTags", tags, "Tags", {"Resource": w.absent_arn}, NOT_FOUND),
        ("PutFunctionEventInvokeConfig", main | {"MaximumRetryAttempts": 0}, "FunctionArn", main, INVALID),
        ("GetFunctionEventInvokeConfig", main, "MaximumRetryAttempts", ABSENT, NOT_FOUND),
        ("UpdateFunctionEventInvokeConfig", main | {"MaximumEventAgeInSeconds": 60}, "FunctionArn", ABSENT | {"MaximumRetryAttempts": 0}, NOT_FOUND),
        ("ListFunctionEventInvokeConfigs", main, "FunctionEventInvokeConfigs", ABSENT, NOT_FOUND),
        ("DeleteFunctionEventInvokeConfig", {"FunctionName": w.other}, None, ABSENT, NOT_FOUND),
        ("GetAccountSettings", {}, "AccountLimit", None, None),
        ("PutRuntimeManagementConfig", main | {"UpdateRuntimeOn": "Auto"}, "UpdateRuntimeOn", main | {"UpdateRuntimeOn": "Manual"}, INVALID),
        ("GetRuntimeManagementConfig", main, "UpdateRuntimeOn", ABSENT, NOT_FOUND),
    ]  # fmt: skip


@pytest.fixture
def world(platform):
    made = World(platform)
    yield made
    made.close()


# -- the AWS CLI

AWS = str(pathlib.Path(sys.executable).parent / "aws")


def kebab(operation):
    return "".join(f"-{c.lower()}" if c.isupper() else c for c in operation).lstrip("-")


class Cli:
    def __init__(self, platform, folder):
        self.folder, self.count = folder, 0
        kept = {k: v for k, v in os.environ.items() if not k.startswith("AWS_")}
        self.environment = kept | platform.variables() | {"AWS_MAX_ATTEMPTS": "1", "AWS_PAGER": ""}
        folder.joinpath("code.zip").write_bytes(CODE)

    def run(self, *arguments):
        command = [sys.executable, AWS, "--output", "json", *arguments]
        return subprocess.run(command, capture_output=True, text=True, env=self.environment, timeout=120)

    def call(self, operation, request):
        """(answer, code of the error)."""
        request, more = dict(request), []
        # Bytes are given as files; JSON has none.
        if operation in ("CreateFunction", "PublishLayerVersion"):
            request.pop("Code", None) or request.pop("Content", None)
            more = ["--zip-file", f"fileb://{self.folder}/code.zip"]
        elif operation == "UpdateFunctionCode":
            del request["ZipFile"]
            more = ["--zip-file", f"fileb://{self.folder}/code.zip"]
        elif operation == "Invoke":
            payload = request.pop("Payload", b"{}")
            out = self.folder / f"out-{id(request)}"
            more = ["--function-name", request["FunctionName"], "--payload", payload.decode(), str(out)]
        if operation != "Invoke":  # Its command takes no such input.
            more += ["--cli-input-json", json.dumps(request)]
        done = self.run("lambda", kebab(operation), *more)
        if done.returncode:
            code = done.stderr.partition("An error occurred (")[2].partition(")")[0]
            return None, code or f"exit code {done.returncode}: {done.stderr}"
        answer = json.loads(done.stdout) if done.stdout.strip() else {}
        if operation == "Invoke":
            assert json.loads(out.read_text()) == {"a": 1}
        return answer, None


def check(operation, member, answer, error):
    if error is not None:
        return f"{operation}: {error}"
    if member is not None and member not in answer:
        return f"{operation}: no {member} in {answer}"
    return None


def test_aws_cli(platform, world, tmp_path):
    cli = Cli(platform, tmp_path)
    # The CLI has no command for event streams.
    table = [row for row in rows(world) if row[0] != "InvokeWithResponseStream"]
    bad = together([lambda row=row: cli.call(row[0], row[3]) for row in table if row[3] is not None], 4)
    wrong = [
        f"{row[0]} with bad input: want {row[4]}, got {code or answer}"
        for row, (answer, code) in zip([r for r in table if r[3] is not None], bad)
        if code != row[4]
    ]
    # The last to go: what others need, and what is changed while it is read.
    late = ("DeleteFunction",)
    early = [row for row in table if row[0] not in late]
    good = together([lambda row=row: (row, cli.call(row[0], row[1])) for row in early], 4)
    good += [(row, cli.call(row[0], row[1])) for row in table if row[0] in late]
    wrong += [text for row, (answer, error) in good if (text := check(row[0], row[2], answer or {}, error))]
    assert not wrong, "\n".join(wrong)


def test_aws_cli_waits(platform, tmp_path):
    cli = Cli(platform, tmp_path)
    name = platform.create("def handler(event, context):\n    return 1\n", wait=False)
    for waiter in ("function-active-v2", "function-updated-v2", "function-exists"):
        done = cli.run("lambda", "wait", waiter, "--function-name", name)
        assert done.returncode == 0, done.stderr
    platform.forget(name)


def test_aws_cli_pages_through_lists(platform, tmp_path):
    cli = Cli(platform, tmp_path)
    names = [platform.create("x = 1\n", wait=False) for _ in range(3)]
    done = cli.run("lambda", "list-functions", "--page-size", "1", "--query", "Functions[].FunctionName")
    assert set(names) <= set(json.loads(done.stdout))
    done = cli.run("lambda", "list-functions", "--max-items", "1")
    assert len(json.loads(done.stdout)["Functions"]) == 1 and "NextToken" in json.loads(done.stdout)
    for name in names:
        platform.forget(name)


# -- the AWS SDK for JavaScript


def marked(value):
    """Bytes as the runner reads them."""
    if isinstance(value, bytes):
        return {"$base64": base64.b64encode(value).decode()}
    if isinstance(value, dict):
        return {k: marked(v) for k, v in value.items()}
    return value


def test_sdk_for_javascript(platform, world, node_modules):
    table = rows(world)
    bad = [row for row in table if row[3] is not None]
    good = [row for row in table if row[0] != "DeleteFunction"] + [row for row in table if row[0] == "DeleteFunction"]
    requests = [{"operation": row[0], "input": marked(row[3])} for row in bad]
    requests += [{"operation": row[0], "input": marked(row[1])} for row in good]
    kept = {k: v for k, v in os.environ.items() if not k.startswith("AWS_")}
    done = subprocess.run(
        ["node", str(pathlib.Path(__file__).parent / "js" / "run.mjs")],
        input=json.dumps(requests),
        capture_output=True,
        text=True,
        timeout=180,
        env=kept | platform.variables() | {"EPHYRA_E2E_JS": node_modules},
    )
    assert done.returncode == 0, done.stderr
    results = json.loads(done.stdout)
    wrong = []
    for row, result in zip(bad, results):
        got = result.get("error", {}).get("name")
        if got != row[4]:
            wrong.append(f"{row[0]} with bad input: want {row[4]}, got {got or result}")
    for row, result in zip(good, results[len(bad) :]):
        answer = result.get("output", {})
        text = check(row[0], row[2], answer, result.get("error"))
        if text:
            wrong.append(text)
        elif row[0] == "Invoke" and json.loads(answer["Payload"]) != {"a": 1}:
            wrong.append(f"Invoke: {answer}")
        elif row[0] == "InvokeWithResponseStream" and json.loads(answer["EventStream"][0]["text"]) != {"a": 1}:
            wrong.append(f"InvokeWithResponseStream: {answer}")
    assert not wrong, "\n".join(wrong)
