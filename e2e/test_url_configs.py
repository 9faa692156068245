"""The configuration of function URLs through boto3: operations, constraints, permissions, and what a kill leaves."""

import json
import re
import threading
import urllib.error
import urllib.request

import botocore.exceptions
import pytest

import harness

ECHO = "def handler(event, context):\n    return event\n"
PUBLIC = {"Action": "lambda:InvokeFunctionUrl", "Principal": "*", "FunctionUrlAuthType": "NONE"}


def error_of(call, **arguments):
    """The code, the text and the status of the error that a call ends with."""
    with pytest.raises(botocore.exceptions.ClientError) as raised:
        call(**arguments)
    answer = raised.value.response
    return (answer["Error"]["Code"], answer["Error"]["Message"], answer["ResponseMetadata"]["HTTPStatusCode"])


def status_of(platform, url):
    """What a request without a signature gets at a URL, reached by its id."""
    identifier = url.removeprefix("http://").partition(".")[0]
    try:
        with urllib.request.urlopen(f"{platform.url}/_url/{identifier}/", timeout=harness.PATIENCE) as answer:
            return answer.status
    except urllib.error.HTTPError as refused:
        return refused.code


def url_pattern(platform):
    return re.compile(rf"http://[a-z0-9]{{32}}\.lambda-url\.{platform.region}\.localhost:{platform.port}/")


def test_a_url_with_all_of_it(platform, function):
    client = platform.lambda_
    name = function(ECHO)
    cors = {
        "AllowCredentials": True,
        "AllowHeaders": ["content-type", "x-api-key"],
        "AllowMethods": ["GET", "POST"],
        "AllowOrigins": ["https://example.com", "http://localhost:3000"],
        "ExposeHeaders": ["x-total"],
        "MaxAge": 86400,
    }
    arguments = {"AuthType": "AWS_IAM", "Cors": cors, "InvokeMode": "RESPONSE_STREAM"}
    made = client.create_function_url_config(FunctionName=name, **arguments)
    assert made["ResponseMetadata"]["HTTPStatusCode"] == 201
    assert url_pattern(platform).fullmatch(made["FunctionUrl"]), made["FunctionUrl"]
    assert made["FunctionArn"].endswith(f":function:{name}")
    shown = client.get_function_url_config(FunctionName=made["FunctionArn"])
    for member in ("FunctionUrl", "FunctionArn", "AuthType", "Cors", "InvokeMode", "CreationTime"):
        assert shown[member] == made[member], member
    assert shown["Cors"] == cors and shown["LastModifiedTime"] == shown["CreationTime"]
    changed = client.update_function_url_config(FunctionName=name, AuthType="NONE", Cors={"AllowOrigins": ["*"]})
    assert changed["FunctionUrl"] == made["FunctionUrl"] and changed["Cors"] == {"AllowOrigins": ["*"]}
    shown = client.get_function_url_config(FunctionName=name)
    assert (shown["AuthType"], shown["InvokeMode"]) == ("NONE", "RESPONSE_STREAM")
    assert shown["LastModifiedTime"] >= shown["CreationTime"]
    client.delete_function_url_config(FunctionName=name)
    assert error_of(client.get_function_url_config, FunctionName=name)[2] == 404


def test_each_alias_has_its_own_and_they_are_listed_in_pages(platform, function):
    client = platform.lambda_
    name = function(ECHO)
    client.publish_version(FunctionName=name)
    aliases = [f"a{n}" for n in range(5)]
    for alias in aliases:
        client.create_alias(FunctionName=name, Name=alias, FunctionVersion="1")
        client.create_function_url_config(FunctionName=name, Qualifier=alias, AuthType="NONE")
    client.create_function_url_config(FunctionName=name, AuthType="NONE")
    pages = client.get_paginator("list_function_url_configs").paginate(
        FunctionName=name, PaginationConfig={"PageSize": 2}
    )
    sizes, arns, addresses = [], [], set()
    for page in pages:
        sizes.append(len(page["FunctionUrlConfigs"]))
        arns += [c["FunctionArn"].rpartition(":")[2] for c in page["FunctionUrlConfigs"]]
        addresses |= {c["FunctionUrl"] for c in page["FunctionUrlConfigs"]}
    assert (sizes, arns, len(addresses)) == ([2, 2, 2], [name, *aliases], 6)
    client.delete_alias(FunctionName=name, Name="a0")
    client.create_alias(FunctionName=name, Name="a0", FunctionVersion="1")
    assert error_of(client.get_function_url_config, FunctionName=name, Qualifier="a0")[2] == 404, "a new alias"


@pytest.mark.parametrize(
    "arguments, member, text",
    [
        ({"AuthType": "JWT"}, "authType", "Member must satisfy enum value set: [NONE, AWS_IAM]"),
        ({"InvokeMode": "X"}, "invokeMode", "Member must satisfy enum value set: [RESPONSE_STREAM, BUFFERED]"),
        ({"Cors": {"MaxAge": 86401}}, "cors.maxAge", "Member must have value less than or equal to 86400"),
        ({"Cors": {"MaxAge": -1}}, "cors.maxAge", "Member must have value greater than or equal to 0"),
        ({"Cors": {"AllowMethods": list("ABCDEFG")}}, "cors.allowMethods", "length less than or equal to 6"),
        ({"Cors": {"AllowMethods": ["OPTIONS"]}}, "cors.allowMethods", "length less than or equal to 6"),
        ({"Cors": {"AllowOrigins": [""]}}, "cors.allowOrigins", "length greater than or equal to 1"),
        ({"Cors": {"AllowHeaders": ["h"] * 101}}, "cors.allowHeaders", "length less than or equal to 100"),
        ({"Cors": {"ExposeHeaders": ["h" * 1025]}}, "cors.exposeHeaders", "length less than or equal to 1024"),
        ({"Qualifier": "$LATEST"}, "qualifier", r"pattern: ((?!^\d+$)^[0-9a-zA-Z-_]+$)"),
        ({"Qualifier": "7"}, "qualifier", r"pattern: ((?!^\d+$)^[0-9a-zA-Z-_]+$)"),
    ],
)
def test_broken_constraints_are_named(platform, function, arguments, member, text):
    name = function(ECHO, wait=False)
    client = platform.client(parameter_validation=False)
    call = {"FunctionName": name, "AuthType": "NONE"} | arguments
    code, message, status = error_of(client.create_function_url_config, **call)
    assert (code, status) == ("ValidationException", 400), message
    assert f"' at '{member}' failed to satisfy constraint: " in message and text in message, message
    assert client.list_function_url_configs(FunctionName=name)["FunctionUrlConfigs"] == []


def test_permissions_of_urls(platform, function):
    client = platform.lambda_
    name = function(ECHO)
    text = client.add_permission(FunctionName=name, StatementId="public", **PUBLIC)["Statement"]
    assert json.loads(text)["Condition"] == {"StringEquals": {"lambda:FunctionUrlAuthType": "NONE"}}
    text = client.add_permission(
        FunctionName=name, StatementId="via", Action="lambda:InvokeFunction", Principal="*", InvokedViaFunctionUrl=True
    )["Statement"]
    assert json.loads(text)["Condition"] == {"Bool": {"lambda:InvokedViaFunctionUrl": "true"}}
    wrong = PUBLIC | {"Action": "lambda:InvokeFunction"}
    assert error_of(client.add_permission, FunctionName=name, StatementId="wrong", **wrong) == (
        "InvalidParameterValueException",
        "FunctionUrlAuthType is only supported for lambda:InvokeFunctionUrl action",
        400,
    )


def test_the_address_is_that_which_clients_are_told(own_server):
    server = own_server("--public-url", "http://fn.example.org")
    name = server.create(ECHO, wait=False)
    url = server.lambda_.create_function_url_config(FunctionName=name, AuthType="NONE")["FunctionUrl"]
    assert re.fullmatch(rf"http://[a-z0-9]{{32}}\.lambda-url\.{server.region}\.fn\.example\.org/", url), url


def test_what_was_acknowledged_survives_kills(own_server):
    """URLs are made and deleted while the platform is killed: those acknowledged are there, others are whole or not."""
    server = own_server()
    name = server.create(ECHO)
    server.lambda_.publish_version(FunctionName=name)
    aliases = [f"a{n}" for n in range(40)]
    for alias in aliases:
        server.lambda_.create_alias(FunctionName=name, Name=alias, FunctionVersion="1")
        server.lambda_.add_permission(FunctionName=name, Qualifier=alias, StatementId="public", **PUBLIC)
    made, deleted = {}, set()

    def is_for_a_moment(alias):
        return int(alias[1:]) % 3 == 0

    def work():
        for alias in aliases:
            try:
                answer = server.lambda_.create_function_url_config(FunctionName=name, Qualifier=alias, AuthType="NONE")
                made[alias] = answer["FunctionUrl"]
                if is_for_a_moment(alias):
                    server.lambda_.delete_function_url_config(FunctionName=name, Qualifier=alias)
                    deleted.add(alias)
            except (botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError):
                return

    worker = threading.Thread(target=work)
    worker.start()
    harness.until(lambda: len(made) >= 15, "fifteen URLs")
    server.kill()
    worker.join()
    server.start()
    listed = server.lambda_.list_function_url_configs(FunctionName=name)["FunctionUrlConfigs"]
    found = {c["FunctionArn"].rpartition(":")[2]: c["FunctionUrl"] for c in listed}
    for alias, url in made.items():
        if alias in deleted:
            assert alias not in found
        elif not is_for_a_moment(alias):
            assert found.get(alias) == url
    for alias, url in made.items():
        assert status_of(server, url) == (200 if alias in found else 403), alias
    # What may have been lost half-way can be made and deleted as ever.
    for alias in aliases:
        if alias not in found:
            server.lambda_.create_function_url_config(FunctionName=name, Qualifier=alias, AuthType="NONE")
    listed = server.lambda_.list_function_url_configs(FunctionName=name)["FunctionUrlConfigs"]
    assert len({c["FunctionUrl"] for c in listed}) == len(aliases)
    # What is done takes effect at once.
    url = next(c["FunctionUrl"] for c in listed if c["FunctionArn"].endswith(":a1"))
    assert status_of(server, url) == 200
    server.lambda_.remove_permission(FunctionName=name, Qualifier="a1", StatementId="public")
    assert status_of(server, url) == 403
    server.lambda_.add_permission(FunctionName=name, Qualifier="a1", StatementId="public", **PUBLIC)
    assert status_of(server, url) == 200
    server.lambda_.delete_alias(FunctionName=name, Name="a1")
    assert status_of(server, url) == 403
