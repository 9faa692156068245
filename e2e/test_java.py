"""The Java runtime, with AWS's own libraries from Maven's repository: every shape of handler, events, failures, logs."""

import base64
import json
import os
import pathlib
import re
import subprocess

import pytest

import harness
from harness import package, together

HERE = pathlib.Path(__file__).parent / "java"
RUNTIME = HERE.parent.parent / "runtimes" / "java"


@pytest.fixture(scope="session")
def built():
    """The folder with functions.jar, its classes and its libraries."""
    folder = pathlib.Path(os.environ.get("EPHYRA_E2E_JAVA") or HERE / "target")
    if not (folder / "functions.jar").is_file():
        pytest.exit(f"the Java functions are not in {folder}: run scripts/test, or mvn package in {HERE}", 2)
    return folder


@pytest.fixture(scope="session")
def jdks(platform):
    rows = json.loads(platform.command("runtime", "list", "--json").stdout)
    rows = [row for row in rows if row["kind"] == "java"]
    assert any(row["compiler"] for row in rows), "these tests need a JDK"
    return rows


@pytest.fixture(scope="session")
def classes(built):
    """A lean package: classes in folders, no library. The runtime has AWS's interfaces itself."""
    root = built / "classes"
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*.class")}


@pytest.fixture(scope="session")
def libraries(built):
    return {f"lib/{path.name}": path.read_bytes() for path in (built / "lib").glob("*.jar") if "serialization" not in path.name}


@pytest.fixture
def java(platform, jdks, classes, function):
    """Makes Java functions: `java("e2e.Beans")`."""

    def make(handler, files=None, runtime=None, zip_file=None, **arguments):
        arguments.setdefault("MemorySize", 256)
        arguments.setdefault("Timeout", 20)
        code = {"ZipFile": zip_file or package(classes | (files or {}))}
        return function(None, runtime=runtime or jdks[0]["identifier"], handler=handler, Code=code, **arguments)

    return make


def test_every_shape_of_handler(platform, java):
    order = {"customer": "Ada", "amount": 41, "state": "PAID", "parts": [{"amount": 1}], "unknown": 1}
    shapes = [
        ("e2e.Beans", order, {"customer": "Ada", "amount": 42, "state": "PAID", "parts": [{"amount": 1}]}),
        ("e2e.Beans::handleRequest", {"amount": 1}, {"amount": 2}),
        ("e2e.Bytes", {"a": "é"}, [{"a": "é"}, {"a": "é"}]),
        ("e2e.Base$OfOrder", {"customer": "Ada"}, "Order Ada"),
        ("e2e.Base$OfOrder::plain", {"customer": "Ada"}, "plain Order Ada"),
        ("e2e.Plain::none", {}, "none"),
        ("e2e.Plain::number", 41, 42),
        ("e2e.Plain::list", [1, 2, 3], {"sum": 6}),
        ("e2e.Plain::amounts", {"a": {"amount": 1}, "b": {"amount": 2}}, {"a": 1, "b": 2}),
        ("e2e.Plain::fixed", "text", "text!"),
        ("e2e.Plain::nothing", {"a": [1, 2.5]}, None),
        ("e2e.Plain::in", {}, b""),
        ("e2e.Plain::out", {}, "out"),
        ("e2e.Plain::both", {"a": 1.50}, {"a": 1.5}),
        ("e2e.Plain::over", "text", "two"),
    ]

    def check(handler, event, want):
        result = platform.call(java(handler), event)
        assert (result.error, result.payload if result.raw else b"") == (None, want), (handler, result.payload, result.log)

    together([lambda shape=shape: check(*shape) for shape in shapes], threads=4)


def test_layouts_of_packages(platform, java, built, libraries, jdks):
    jar = (built / "functions.jar").read_bytes()
    # A jar is a zip: it may be the package itself. A bad one among the libraries is left alone.
    name = java("e2e.Beans", zip_file=jar)
    assert platform.invoke(name, {"amount": 1}) == {"amount": 2}
    name = java("e2e.Libraries", zip_file=package({"lib/functions.jar": jar, "lib/bad.jar": b"no zip"} | libraries))
    assert platform.invoke(name, {"a": 1}) == {"echo": {"a": 1}}
    # Classes of a layer, and a file beside the package's classes.
    layer = platform.lambda_.publish_layer_version(
        LayerName=harness.unique("java"), Content={"ZipFile": package({"java/lib/functions.jar": jar})}
    )["LayerVersionArn"]
    name = java("e2e.Seen::surroundings", zip_file=package({"data.txt": "data"}), Layers=[layer])
    seen = platform.invoke(name)
    assert (seen["resource"], seen["relative"], seen["folder"]) == ("data", "data", "/var/task")


def test_what_a_function_sees(platform, java, jdks):
    for jdk in jdks:
        runtime = jdk["identifier"]
        name = java(
            "e2e.Seen", runtime=runtime, MemorySize=192, Timeout=7, Environment={"Variables": {"MINE": "é", "TZ": "Asia/Tokyo"}}
        )
        context = {"client": {"app_title": "app"}, "custom": {"c": "1"}, "env": {"platform": "p"}}
        encoded = base64.b64encode(json.dumps(context).encode()).decode()
        result = platform.call(name, {}, ClientContext=encoded)
        seen = result.payload
        arn = f"arn:aws:lambda:{platform.region}:{platform.account}:function:{name}"
        assert (seen["function_name"], seen["function_version"], seen["invoked_function_arn"]) == (name, "$LATEST", arn)
        assert (seen["aws_request_id"], seen["memory_limit_in_mb"]) == (result.request_id, 192)
        assert seen["log_group_name"] == f"/aws/lambda/{name}"
        assert re.fullmatch(r"\d{4}/\d\d/\d\d/\[\$LATEST\][0-9a-f]{32}", seen["log_stream_name"])
        assert 5000 < seen["remaining"] <= 7000
        assert (seen["identity"], seen["client"]) == ("none", "app {c=1} {platform=p}")
        platform.lambda_.update_function_configuration(FunctionName=name, Handler="e2e.Seen::surroundings")
        platform.wait_updated(name)
        seen = platform.invoke(name)
        variables = seen["variables"]
        assert (variables["MINE"], variables["AWS_EXECUTION_ENV"]) == ("é", f"AWS_Lambda_{runtime}")
        assert variables["_HANDLER"] == "e2e.Seen::surroundings"
        # Children see the variables, and nothing of the control socket.
        mine, descriptors = seen["child"].split("\n")
        assert mine == "é" and "3" in descriptors.split() and len(descriptors.split()) == 4
        assert (seen["zone"], seen["encoding"], seen["loader"]) == ("Asia/Tokyo", "UTF-8", True)
        assert f"java{seen['version'].removeprefix('1.')}" == runtime.split(".")[0]
        assert 140 <= seen["heap"] <= 160


def test_events_of_awss_own_classes(platform, java, libraries):
    time = "2026-01-02T03:04:05.678Z"
    millis = 1767323045678
    s3 = {
        "eventTime": time, "responseElements": {"x-amz-id-2": "id"},
        "s3": {"bucket": {"name": "b"}, "object": {"key": "a+b%21", "size": 5_000_000_000}},
    }  # fmt: skip
    sns = {"Message": "m", "Timestamp": time, "MessageAttributes": {"a": {"Type": "String", "Value": "v"}}}
    kinesis = {"data": base64.b64encode(b"data").decode(), "approximateArrivalTimestamp": millis / 1000}
    dynamodb = {
        "Keys": {"Id": {"N": "1"}}, "NewImage": {"list": {"L": [{"S": "first"}]}}, "ApproximateCreationDateTime": 1767323045
    }  # fmt: skip
    messages = [{"messageId": str(i), "body": body, "eventSourceARN": "arn:q"} for i, body in enumerate(["ok", "bad"])]
    http = {"rawPath": "/p", "queryStringParameters": {"q": "1"}, "requestContext": {"http": {"method": "PUT"}}}
    cases = [
        ("sqs", {"Records": messages}, {"batchItemFailures": [{"itemIdentifier": "1"}]}),
        ("s3", {"Records": [s3]}, f"b/a b! 5000000000 {millis} id"),
        ("sns", {"Records": [{"EventSource": "aws:sns", "Sns": sns}]}, "m 2026 v"),
        ("kinesis", {"Records": [{"kinesis": kinesis}]}, f"data {millis}"),
        ("dynamodb", {"Records": [{"eventName": "INSERT", "dynamodb": dynamodb}]}, "INSERT 1 first 1767323045000"),
        ("http", http, {"statusCode": 201, "headers": {"x-path": "/p", "x-method": "PUT"}, "body": "1", "isBase64Encoded": False}),
    ]
    wanted = {name: jar for name, jar in libraries.items() if "events" in name or "joda" in name}
    for method, event, want in cases:
        name = java(f"e2e.Events::{method}", files=wanted)
        assert platform.invoke(name, event) == want, method


def test_libraries_of_the_functions_own(platform, java, libraries):
    name = java("e2e.Libraries", files=libraries | {"log4j2.xml": (HERE / "src/main/resources/log4j2.xml").read_bytes()})
    result = platform.call(name, {"a": "é"})
    assert result.payload == {"echo": {"a": "é"}}
    assert re.search(rf"^{result.request_id} INFO +Libraries - by log4j\nin two lines$", result.log, re.M), result.log
    service = "META-INF/services/com.amazonaws.services.lambda.runtime.CustomPojoSerializer"
    name = java("e2e.Beans", files=libraries | {service: "e2e.Own"})
    assert platform.invoke(name, {"amount": 1})["own"]["amount"] == 2


def test_values_are_read_and_written_as_by_awss_own_library(jdks, built, tmp_path):
    compiler = next(row["compiler"] for row in jdks if row["compiler"])
    path = ":".join(str(jar) for jar in (built / "lib").glob("*.jar") if "java-core" not in jar.name)
    sources = [*(RUNTIME / "src").rglob("*.java"), *(HERE / "compare").rglob("*.java")]
    subprocess.run([compiler, "-nowarn", "-proc:none", "-cp", path, "-d", tmp_path, *sources], check=True)
    for name in ("events", "beans"):
        command = [f"{pathlib.Path(compiler).parent}/java", "-cp", f"{tmp_path}:{path}", "ephyra.runtime.Compare"]
        done = subprocess.run([*command, HERE / "compare" / f"{name}.txt"], capture_output=True, text=True)
        count = len((HERE / "compare" / f"{name}.txt").read_text().splitlines())
        assert done.stdout == f"{count} compared\n", done.stdout + done.stderr


def test_failures_of_handlers(platform, java):
    name = java("e2e.Errors::fail", Timeout=3)
    result = platform.error_of(name, "custom")
    document = result.payload
    assert (document["errorType"], document["errorMessage"]) == ("e2e.Errors$Custom", "it failed")
    assert document["stackTrace"][0].startswith("e2e.Errors.fail(Errors.java:")
    assert not any("ephyra" in frame for frame in document["stackTrace"])
    cause = document["cause"]
    assert (cause["errorType"], cause["errorMessage"]) == ("java.lang.IllegalStateException", "why")
    assert "it failed: e2e.Errors$Custom\ne2e.Errors$Custom: it failed\n\tat e2e.Errors.fail" in result.log
    for event, error_type, message in [
        ("silent", "java.lang.IllegalArgumentException", "java.lang.IllegalArgumentException"),
        ("cyclic", "java.lang.Exception", "a"),
        ({"not": "text"}, "java.lang.RuntimeException", "An error occurred during JSON parsing"),
        ("cycle", "java.lang.RuntimeException", "An error occurred during JSON serialization of response"),
        ("getter", "java.lang.RuntimeException", "An error occurred during JSON serialization of response"),
    ]:
        document = platform.error_of(name, event).payload
        assert (document["errorType"], document["errorMessage"]) == (error_type, message), event
    # All of these left the environment in use, as these do, which are no failures.
    assert platform.invoke(name, "interrupt") == "interrupted"
    result = platform.call(name, "thread")
    assert result.payload == "went on" and 'Exception in thread "Thread-' in result.log
    assert "Init Duration" not in result.log
    # After these it is ended.
    for event, error_type, message in [
        ("stack", "java.lang.StackOverflowError", "java.lang.StackOverflowError"),
        ("memory", "java.lang.OutOfMemoryError", "Java heap space"),
        ("exit", "Runtime.ExitError", "RequestId: {} Error: Runtime exited with error: exit status 3"),
        ("halt", "Runtime.ExitError", "RequestId: {} Error: Runtime exited without providing a reason"),
        ("sleep", "Sandbox.Timedout", "RequestId: {} Error: Task timed out after 3.00 seconds"),
        ("spin", "Sandbox.Timedout", "RequestId: {} Error: Task timed out after 3.00 seconds"),
    ]:
        result = platform.error_of(name, event)
        want = message.format(result.request_id)
        assert (result.payload["errorType"], result.payload["errorMessage"]) == (error_type, want), event
        assert platform.invoke(name, "next") == {"kind": "next"}


def test_functions_that_cannot_be_loaded(platform, java):
    cases = [
        ("e2e.None", "java.lang.ClassNotFoundException", "Class not found: e2e.None"),
        ("", None, None),
        ("e2e.Plain", None, "Class does not implement an appropriate handler interface: e2e.Plain"),
        ("e2e.Plain::missing", None, "No public method named missing with appropriate method signature found on class e2e.Plain"),
        ("e2e.Plain::unfit", None, "No public method named unfit with appropriate method signature found on class e2e.Plain"),
        ("e2e.Events::sqs", "java.lang.NoClassDefFoundError", None),
        ("e2e.Errors$BadConstructor::handle", "java.lang.IllegalStateException", "cannot be made"),
        ("e2e.Errors$BadClass::handle", "java.lang.ExceptionInInitializerError", "Error loading class e2e.Errors$BadClass"),
        ("e2e.Errors$NoConstructor::handle", "java.lang.Exception", "has no public zero-argument constructor"),
        ("e2e.Errors$Inner::handle", "java.lang.Exception", "because it is a non-static inner class"),
        ("e2e.Errors$Raw", None, "does not implement RequestHandler with concrete type parameters"),
    ]

    def check(handler, error_type, message):
        document = platform.error_of(java(handler)).payload
        assert document.get("errorType") == error_type, document
        assert message is None or message in document["errorMessage"], document

    together([lambda case=case: check(*case) for case in cases if case[0]], threads=4)
    bad = package({"e2e/Beans.class": b"\xca\xfe\xba\xbe\x00\x00\x00\x34 not a class"})
    document = platform.error_of(java("e2e.Beans", zip_file=bad)).payload
    assert document["errorType"] == "java.lang.ClassFormatError", document
    old = package({"e2e/Beans.class": b"\xca\xfe\xba\xbe\x00\x00\x7f\xff" + bytes(100)})
    document = platform.error_of(java("e2e.Beans", zip_file=old)).payload
    assert document["errorType"] == "java.lang.UnsupportedClassVersionError", document


def test_logs(platform, java):
    name = java("e2e.Logs::log")
    result = platform.call(name)
    lines = result.log.split("\n")
    want = [
        "plain é", "and more", "bytes", "[DEBUG] debug", "[WARN] warn", "from anywhere", "out", "of two lines",
        "begun and ended", "err ü", "without end",
    ]  # fmt: skip
    assert lines[1 : 1 + len(want)] == want
    name = java("e2e.Logs::log", LoggingConfig={"LogFormat": "JSON", "ApplicationLogLevel": "INFO"})
    result = platform.call(name)
    records = [json.loads(line) for line in result.log.splitlines() if line.startswith('{"timestamp"')]
    assert [(r["level"], r["message"]) for r in records] == [
        ("UNDEFINED", "plain é\nand more\n"), ("WARN", "warn"), ("UNDEFINED", "from anywhere")
    ]  # fmt: skip
    assert all(record["AWSRequestId"] == result.request_id for record in records)
    assert "debug" not in result.log and "out\nof two lines" in result.log


def test_options_of_the_jvm(platform, java):
    name = java("e2e.Seen::surroundings", Environment={"Variables": {"JAVA_TOOL_OPTIONS": "-Dfile.encoding=ISO-8859-1 -Xmx99m"}})
    result = platform.call(name)
    assert "Picked up JAVA_TOOL_OPTIONS: -Dfile.encoding" in platform.logs(name)
    assert result.payload["variables"]["JAVA_TOOL_OPTIONS"].endswith("-Xmx99m")


def test_a_snapshot_runs_the_functions_hooks(platform, java, libraries):
    wanted = {name: jar for name, jar in libraries.items() if "crac" in name}
    name = java("e2e.Hooks::handle", files=wanted, SnapStart={"ApplyOn": "PublishedVersions"})
    version = platform.lambda_.publish_version(FunctionName=name)["Version"]
    waiter = lambda: platform.lambda_.get_function_configuration(FunctionName=name, Qualifier=version)["State"] == "Active"
    harness.until(waiter, "the version to be active")
    assert platform.invoke(name, Qualifier=version) == ["before", "after"]
    assert platform.invoke(name) == []
