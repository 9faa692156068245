"""The configuration of HTTP APIs (API Gateway v2) with boto3: what every operation takes, gives back, refuses and keeps."""

import json
import urllib.error
import urllib.request

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from harness import ACCESS_KEY, ACCOUNT, REGION, SECRET_KEY, together

FUNCTION = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:f"
INVOKED = f"arn:aws:apigateway:{REGION}:lambda:path/2015-03-31/functions/{FUNCTION}/invocations"


def connect(server):
    session = boto3.Session(ACCESS_KEY, SECRET_KEY, region_name=REGION)
    config = Config(retries={"total_max_attempts": 1}, read_timeout=60)
    return session.client("apigatewayv2", endpoint_url=server.url, config=config)


@pytest.fixture
def client(platform):
    return connect(platform)


@pytest.fixture
def api(client):
    """The id of an API of the test's own."""
    made = client.create_api(Name="test", ProtocolType="HTTP")["ApiId"]
    yield made
    client.delete_api(ApiId=made)


def bare(answer):
    return {key: value for key, value in answer.items() if key != "ResponseMetadata"}


def refused(code, text, call, **arguments):
    """Asserts that the call is refused with this code and a message that has this text."""
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    error = caught.value.response["Error"]
    assert error["Code"] == code, error
    assert text in error["Message"], error


def proxy(client, api, **arguments):
    made = {
        "IntegrationType": "HTTP_PROXY",
        "IntegrationMethod": "ANY",
        "IntegrationUri": "http://127.0.0.1:9/",
        "PayloadFormatVersion": "1.0",
    }
    return client.create_integration(ApiId=api, **made | arguments)["IntegrationId"]


# -- APIs


def test_an_api_with_nothing_said(client, api):
    found = client.get_api(ApiId=api)
    assert len(api) == 10
    assert api.isalnum() and api.lower() == api
    host = f"{api}.execute-api.{REGION}.localhost"
    assert found["ApiEndpoint"].startswith(f"http://{host}:")
    assert not found["ApiEndpoint"].endswith("/")
    assert found["ApiKeySelectionExpression"] == "$request.header.x-api-key"
    assert found["RouteSelectionExpression"] == "$request.method $request.path"
    assert found["DisableExecuteApiEndpoint"] is False
    assert found["ProtocolType"] == "HTTP"
    assert found["IpAddressType"] == "ipv4"
    assert found["Tags"] == {}
    assert found["CreatedDate"]
    assert "CorsConfiguration" not in found and "Description" not in found
    assert client.get_routes(ApiId=api)["Items"] == []
    assert client.get_integrations(ApiId=api)["Items"] == []
    assert client.get_stages(ApiId=api)["Items"] == []
    assert client.get_authorizers(ApiId=api)["Items"] == []
    assert client.get_deployments(ApiId=api)["Items"] == []


CORS = {
    "AllowCredentials": True,
    "AllowHeaders": ["x-header1"],
    "AllowMethods": ["GET", "PUT"],
    "AllowOrigins": ["https://example.com"],
    "ExposeHeaders": ["x-header1"],
    "MaxAge": 2,
}


def test_an_api_with_everything_said_is_changed_in_part(client):
    made = client.create_api(
        Name="all",
        ProtocolType="HTTP",
        ApiKeySelectionExpression="key",
        RouteSelectionExpression="route",
        CorsConfiguration=CORS,
        Description="my first",
        DisableExecuteApiEndpoint=True,
        Version="1.0",
        Tags={"a": "1"},
    )
    api = made["ApiId"]
    assert made["CorsConfiguration"] == CORS
    assert (made["Description"], made["Version"]) == ("my first", "1.0")
    assert made["DisableExecuteApiEndpoint"] is True
    assert (made["ApiKeySelectionExpression"], made["RouteSelectionExpression"]) == ("key", "route")
    assert bare(client.get_api(ApiId=api)) == bare(made)

    other = {"AllowOrigins": ["*"], "AllowMethods": ["GET"]}
    changed = client.update_api(ApiId=api, CorsConfiguration=other)
    assert bare(changed) == bare(made) | {"CorsConfiguration": other}
    changed = client.update_api(ApiId=api, Description="", Version="", Name="other")
    assert (changed["Description"], changed["Version"], changed["Name"]) == ("", "", "other")
    client.delete_cors_configuration(ApiId=api)
    assert "CorsConfiguration" not in client.get_api(ApiId=api)
    client.delete_api(ApiId=api)
    refused("NotFoundException", f"Invalid API identifier specified {ACCOUNT}:{api}", client.get_api, ApiId=api)


def test_what_is_no_http_api_is_refused(client):
    text = "Invalid protocol specified. Must be one of [HTTP, WEBSOCKET]"
    refused("BadRequestException", text, client.create_api, Name="x", ProtocolType="?")
    refused("BadRequestException", "WebSocket APIs", client.create_api, Name="x", ProtocolType="WEBSOCKET")
    refused("BadRequestException", "name", client.create_api, Name="x" * 129, ProtocolType="HTTP")
    cors = {"AllowCredentials": True, "AllowOrigins": ["*"]}
    refused(
        "BadRequestException", "CORS", client.create_api, Name="x", ProtocolType="HTTP", CorsConfiguration=cors
    )
    refused("BadRequestException", "VPC links", client.get_vpc_links)
    refused("BadRequestException", "Models", client.get_models, ApiId="x")
    refused("NotFoundException", "Invalid API identifier", client.get_api, ApiId="unknown")
    refused("NotFoundException", "Invalid API identifier", client.get_routes, ApiId="../x")


def test_rest_apis_are_refused_by_name(platform):
    session = boto3.Session(ACCESS_KEY, SECRET_KEY, region_name=REGION)
    rest = session.client("apigateway", endpoint_url=platform.url, config=Config(retries={"total_max_attempts": 1}))
    refused("BadRequestException", "REST APIs", rest.get_rest_apis)


def test_quick_create_makes_route_integration_and_stage(client):
    made = client.create_api(Name="quick", ProtocolType="HTTP", Target=FUNCTION)["ApiId"]
    [route] = client.get_routes(ApiId=made)["Items"]
    [integration] = client.get_integrations(ApiId=made)["Items"]
    [stage] = client.get_stages(ApiId=made)["Items"]
    assert (route["RouteKey"], route["ApiGatewayManaged"]) == ("$default", True)
    assert route["Target"] == f"integrations/{integration['IntegrationId']}"
    assert integration["IntegrationType"] == "AWS_PROXY"
    assert integration["IntegrationUri"] == FUNCTION
    assert integration["PayloadFormatVersion"] == "2.0"
    assert (stage["StageName"], stage["AutoDeploy"], stage["ApiGatewayManaged"]) == ("$default", True, True)
    [deployment] = client.get_deployments(ApiId=made)["Items"]
    assert deployment["DeploymentId"] == stage["DeploymentId"]
    assert (deployment["AutoDeployed"], deployment["DeploymentStatus"]) == (True, "DEPLOYED")

    client.update_api(ApiId=made, RouteKey="GET /x", Target="https://example.com/y")
    [route] = client.get_routes(ApiId=made)["Items"]
    [integration] = client.get_integrations(ApiId=made)["Items"]
    assert route["RouteKey"] == "GET /x"
    assert (integration["IntegrationType"], integration["IntegrationMethod"]) == ("HTTP_PROXY", "ANY")
    assert integration["IntegrationUri"] == "https://example.com/y"
    assert client.get_stages(ApiId=made)["Items"][0]["DeploymentId"] != stage["DeploymentId"]
    refused(
        "ConflictException", "managed", client.delete_integration,
        ApiId=made, IntegrationId=integration["IntegrationId"],
    )  # fmt: skip
    client.delete_api(ApiId=made)


def test_lists_go_on_page_by_page(client):
    made = {client.create_api(Name="n", ProtocolType="HTTP")["ApiId"] for _ in range(5)}
    pages = list(client.get_paginator("get_apis").paginate(PaginationConfig={"PageSize": 2}))
    found = [item["ApiId"] for page in pages for item in page["Items"]]
    assert made <= set(found) and len(found) == len(set(found))
    assert all(len(page["Items"]) <= 2 for page in pages)
    refused("BadRequestException", "maxResults", client.get_apis, MaxResults="x")
    refused("BadRequestException", "nextToken", client.get_apis, NextToken="?")
    for api in made:
        client.delete_api(ApiId=api)


# -- integrations


def test_integrations_are_changed_in_part_and_parameters_one_by_one(client, api):
    made = client.create_integration(
        ApiId=api,
        ConnectionType="INTERNET",
        CredentialsArn="arn:aws:iam::111111111111:role/r",
        Description="full",
        IntegrationMethod="PUT",
        IntegrationType="HTTP_PROXY",
        IntegrationUri="https://example.com/{proxy}",
        PayloadFormatVersion="1.0",
        RequestParameters={"append:header.header1": "$context.requestId", "remove:querystring.qs1": "''"},
        ResponseParameters={
            "404": {"append:header.error": "$stageVariables.environmentId"},
            "500": {"append:header.header1": "$context.requestId", "overwrite:statuscode": "403"},
        },
        TimeoutInMillis=123,
        TlsConfig={"ServerNameToVerify": "server"},
    )
    one = made["IntegrationId"]
    assert made["TlsConfig"] == {"ServerNameToVerify": "server"}
    assert made["TimeoutInMillis"] == 123
    assert bare(client.get_integration(ApiId=api, IntegrationId=one)) == bare(made)

    changed = client.update_integration(ApiId=api, IntegrationId=one, Description="updated")
    assert bare(changed) == bare(made) | {"Description": "updated"}
    changed = client.update_integration(
        ApiId=api,
        IntegrationId=one,
        RequestParameters={
            "append:header.header1": "$context.accountId",
            "overwrite:header.header2": "$stageVariables.environmentId",
            "remove:querystring.qs1": "",
        },
        ResponseParameters={"404": {}, "500": {"overwrite:statuscode": "409"}},
        CredentialsArn="",
    )
    # An empty value takes a parameter away, an empty mapping those of a status.
    assert changed["RequestParameters"] == {
        "append:header.header1": "$context.accountId",
        "overwrite:header.header2": "$stageVariables.environmentId",
    }
    assert changed["ResponseParameters"] == {"500": {"overwrite:statuscode": "409"}}
    assert "CredentialsArn" not in changed
    client.delete_integration(ApiId=api, IntegrationId=one)
    for call in (client.get_integration, client.delete_integration, client.update_integration):
        refused(
            "NotFoundException", f"Invalid Integration identifier specified {one}",
            call, ApiId=api, IntegrationId=one,
        )  # fmt: skip


def test_functions_are_named_by_arn_in_either_form(client, api):
    for uri in (FUNCTION, FUNCTION + ":live", INVOKED, FUNCTION + ":${stageVariables.alias}"):
        made = client.create_integration(
            ApiId=api, IntegrationType="AWS_PROXY", IntegrationUri=uri, PayloadFormatVersion="2.0"
        )
        assert made["IntegrationUri"] == uri
        assert (made["IntegrationMethod"], made["ConnectionType"]) == ("POST", "INTERNET")
        assert made["TimeoutInMillis"] == 30000


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"IntegrationType": "HTTP"}, "proxy integrations (AWS_PROXY, HTTP_PROXY)"),
        ({"IntegrationType": "MOCK"}, "proxy integrations (AWS_PROXY, HTTP_PROXY)"),
        ({"IntegrationType": "AWS_PROXY", "IntegrationUri": FUNCTION}, "PayloadFormatVersion"),
        (
            {"IntegrationType": "AWS_PROXY", "IntegrationUri": "arn:aws:s3:::b", "PayloadFormatVersion": "2.0"},
            "Invalid function ARN or invalid uri",
        ),
        ({"IntegrationType": "AWS_PROXY", "IntegrationSubtype": "SQS-SendMessage"}, "SQS-SendMessage"),
        ({"IntegrationType": "HTTP_PROXY", "ConnectionType": "VPC_LINK", "ConnectionId": "x"}, "VPC_LINK"),
        ({"IntegrationType": "HTTP_PROXY", "IntegrationUri": "x", "IntegrationMethod": "GET"}, "Invalid HTTP endpoint"),
        (
            {
                "IntegrationType": "HTTP_PROXY",
                "IntegrationUri": "http://a",
                "IntegrationMethod": "GET",
                "TimeoutInMillis": 30001,
            },
            "Timeout should be between 50 ms and 30000 ms",
        ),
        (
            {
                "IntegrationType": "HTTP_PROXY",
                "IntegrationUri": "http://a",
                "IntegrationMethod": "GET",
                "RequestParameters": {"append:header.Authorization": "x"},
            },
            "Invalid mapping expression",
        ),
    ],
)
def test_integrations_that_cannot_be(client, api, arguments, text):
    refused("BadRequestException", text, client.create_integration, ApiId=api, **arguments)


# -- routes


def test_a_route_from_first_to_last(client, api):
    made = client.create_route(ApiId=api, RouteKey="GET /")
    assert bare(made) == {
        "ApiKeyRequired": False, "AuthorizationType": "NONE", "RouteId": made["RouteId"], "RouteKey": "GET /",
    }  # fmt: skip
    one = made["RouteId"]
    target = f"integrations/{proxy(client, api)}"
    changed = client.update_route(ApiId=api, RouteId=one, Target=target, OperationName="op", RouteKey="ANY /{proxy+}")
    expected = bare(made) | {"Target": target, "OperationName": "op", "RouteKey": "ANY /{proxy+}"}
    assert bare(changed) == expected
    assert bare(client.get_route(ApiId=api, RouteId=one)) == expected
    assert client.get_routes(ApiId=api)["Items"] == [expected]
    changed = client.update_route(ApiId=api, RouteId=one, AuthorizationType="AWS_IAM")
    assert changed["AuthorizationType"] == "AWS_IAM"

    refused(
        "ConflictException", "Route with key ANY /{proxy+} already exists for this API",
        client.create_route, ApiId=api, RouteKey="ANY /{proxy+}",
    )  # fmt: skip
    # The old key is free.
    other = client.create_route(ApiId=api, RouteKey="GET /")["RouteId"]
    refused("ConflictException", "already exists", client.update_route, ApiId=api, RouteId=one, RouteKey="GET /")
    refused(
        "ConflictException", f"referenced by the following Routes with Ids: [{one}]",
        client.delete_integration, ApiId=api, IntegrationId=target.removeprefix("integrations/"),
    )  # fmt: skip
    for route in (one, other):
        client.delete_route(ApiId=api, RouteId=route)
    assert client.get_routes(ApiId=api)["Items"] == []
    refused("NotFoundException", "Invalid Route identifier specified", client.get_route, ApiId=api, RouteId=one)


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        ({"RouteKey": "/x"}, "BadRequestException", "not formatted properly"),
        ({"RouteKey": "FETCH /x"}, "BadRequestException", "not formatted properly"),
        ({"RouteKey": "GET /{a+}/b"}, "BadRequestException", "not formatted properly"),
        ({"RouteKey": "GET /", "Target": "integrations/gone"}, "NotFoundException", "Integration"),
        ({"RouteKey": "GET /", "Target": "x"}, "BadRequestException", "target"),
        ({"RouteKey": "GET /", "AuthorizationType": "JWT"}, "BadRequestException", "requires a valid authorizer"),
        ({"RouteKey": "GET /", "AuthorizationScopes": ["a"]}, "BadRequestException", "AuthorizationScopes"),
        ({"RouteKey": "GET /", "ApiKeyRequired": True}, "BadRequestException", "ApiKeyRequired"),
        ({"RouteKey": "GET /", "RequestModels": {"a": "b"}}, "BadRequestException", "RequestModels"),
    ],
)
def test_routes_that_cannot_be(client, api, arguments, code, text):
    refused(code, text, client.create_route, ApiId=api, **arguments)


def test_request_parameters_are_never_there(client, api):
    route = client.create_route(ApiId=api, RouteKey="GET /")["RouteId"]
    refused(
        "NotFoundException", "RequestParameter", client.delete_route_request_parameter,
        ApiId=api, RouteId=route, RequestParameterKey="route.request.header.x",
    )  # fmt: skip


# -- authorizers

JWT = {"Audience": ["a1", "a2"], "Issuer": "https://issuer.example.com/"}


def test_authorizers_by_token_and_by_function(client, api):
    source = ["$request.header.Authorization"]
    token = client.create_authorizer(
        ApiId=api, Name="token", AuthorizerType="JWT", IdentitySource=source, JwtConfiguration=JWT
    )
    assert token["JwtConfiguration"] == JWT
    function = client.create_authorizer(
        ApiId=api,
        Name="function",
        AuthorizerType="REQUEST",
        AuthorizerUri=INVOKED,
        AuthorizerPayloadFormatVersion="2.0",
        EnableSimpleResponses=True,
        IdentitySource=["$request.header.A", "$request.querystring.b"],
    )
    assert "AuthorizerResultTtlInSeconds" not in function
    one = function["AuthorizerId"]
    for seconds in (300, 0):
        changed = client.update_authorizer(
            ApiId=api, AuthorizerId=one, AuthorizerResultTtlInSeconds=seconds, Name="other"
        )
        assert bare(changed) == bare(function) | {"AuthorizerResultTtlInSeconds": seconds, "Name": "other"}
    assert bare(client.get_authorizer(ApiId=api, AuthorizerId=one)) == bare(changed)
    assert {item["Name"] for item in client.get_authorizers(ApiId=api)["Items"]} == {"token", "other"}

    route = client.create_route(
        ApiId=api,
        RouteKey="GET /",
        AuthorizationType="JWT",
        AuthorizerId=token["AuthorizerId"],
        AuthorizationScopes=["read", "write"],
    )
    assert route["AuthorizationScopes"] == ["read", "write"]
    refused(
        "ConflictException", "referenced", client.delete_authorizer, ApiId=api, AuthorizerId=token["AuthorizerId"]
    )
    by_function = client.update_route(
        ApiId=api, RouteId=route["RouteId"], AuthorizationType="CUSTOM", AuthorizerId=one
    )
    assert by_function["AuthorizerId"] == one and "AuthorizationScopes" not in by_function
    open_ = client.update_route(ApiId=api, RouteId=route["RouteId"], AuthorizationType="NONE")
    assert "AuthorizerId" not in open_
    for authorizer in (one, token["AuthorizerId"]):
        client.delete_authorizer(ApiId=api, AuthorizerId=authorizer)
        refused("NotFoundException", "Authorizer", client.get_authorizer, ApiId=api, AuthorizerId=authorizer)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (
            {"AuthorizerType": "REQUEST", "AuthorizerUri": INVOKED, "IdentitySource": [""]},
            "AuthorizerPayloadFormatVersion is a required parameter for REQUEST authorizer",
        ),
        (
            {"AuthorizerType": "REQUEST", "AuthorizerPayloadFormatVersion": "2.0", "IdentitySource": []},
            "Authorizer URI",
        ),
        (
            {
                "AuthorizerType": "REQUEST",
                "AuthorizerUri": INVOKED,
                "AuthorizerPayloadFormatVersion": "3.0",
                "IdentitySource": [],
            },
            "payload format version",
        ),
        (
            {
                "AuthorizerType": "REQUEST",
                "AuthorizerUri": INVOKED,
                "AuthorizerPayloadFormatVersion": "2.0",
                "AuthorizerResultTtlInSeconds": 300,
                "IdentitySource": [],
            },
            "IdentitySource",
        ),
        ({"AuthorizerType": "JWT", "IdentitySource": ["$request.header.A"]}, "JwtConfiguration"),
        ({"AuthorizerType": "JWT", "IdentitySource": ["x"], "JwtConfiguration": JWT}, "identity source"),
        (
            {
                "AuthorizerType": "JWT",
                "IdentitySource": ["$request.header.A"],
                "JwtConfiguration": {"Audience": ["a"], "Issuer": "x"},
            },
            "issuer",
        ),
    ],
)
def test_authorizers_that_cannot_be(client, api, arguments, text):
    refused("BadRequestException", text, client.create_authorizer, ApiId=api, Name="a", **arguments)


# -- stages and deployments


def test_a_stage_with_nothing_said(client, api):
    client.create_stage(ApiId=api, StageName="my_stage")
    stage = client.get_stage(ApiId=api, StageName="my_stage")
    assert stage["DefaultRouteSettings"] == {"DetailedMetricsEnabled": False}
    assert stage["RouteSettings"] == {} and stage["StageVariables"] == {} and stage["Tags"] == {}
    assert stage["AutoDeploy"] is False
    assert stage["CreatedDate"] and stage["LastUpdatedDate"]
    assert "DeploymentId" not in stage
    assert [item["StageName"] for item in client.get_stages(ApiId=api)["Items"]] == ["my_stage"]
    refused("ConflictException", "Stage already exists", client.create_stage, ApiId=api, StageName="my_stage")
    client.delete_stage(ApiId=api, StageName="my_stage")
    refused(
        "NotFoundException", "Invalid stage identifier specified", client.get_stage, ApiId=api, StageName="my_stage"
    )


def test_stages_are_changed_in_part(client, api):
    client.create_route(ApiId=api, RouteKey="GET /pets")
    log = {"DestinationArn": f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:access", "Format": "$context.requestId"}
    made = client.create_stage(
        ApiId=api,
        StageName="$default",
        AccessLogSettings=log,
        DefaultRouteSettings={
            "DetailedMetricsEnabled": True, "ThrottlingBurstLimit": 9000, "ThrottlingRateLimit": 2.5,
        },
        Description="shiny",
        RouteSettings={"GET /pets": {"ThrottlingRateLimit": 1.0}},
        StageVariables={"a": "1", "b": "2"},
        Tags={"k": "v"},
    )  # fmt: skip
    assert made["AccessLogSettings"] == log
    assert made["DefaultRouteSettings"]["ThrottlingRateLimit"] == 2.5
    changed = client.update_stage(ApiId=api, StageName="$default", StageVariables={"a": "", "c": "3"})
    assert changed["StageVariables"] == {"b": "2", "c": "3"}
    for key in bare(made).keys() - {"StageVariables", "LastUpdatedDate"}:
        assert changed[key] == made[key], key
    client.delete_route_settings(ApiId=api, StageName="$default", RouteKey="GET /pets")
    client.delete_access_log_settings(ApiId=api, StageName="$default")
    client.reset_authorizers_cache(ApiId=api, StageName="$default")
    found = client.get_stage(ApiId=api, StageName="$default")
    assert found["RouteSettings"] == {} and "AccessLogSettings" not in found
    refused(
        "NotFoundException", "Unable to find Route by key GET /x within the provided RouteSettings",
        client.update_stage, ApiId=api, StageName="$default", RouteSettings={"GET /x": {}},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"StageName": "a/b"}, "Stage name only allows"),
        ({"StageName": "a", "StageVariables": {"x": "${y}"}}, "Stage variable"),
        ({"StageName": "a", "DefaultRouteSettings": {"LoggingLevel": "INFO"}}, "Execution logs are not supported"),
        ({"StageName": "a", "DefaultRouteSettings": {"ThrottlingBurstLimit": -1}}, "throttlingBurstLimit"),
        ({"StageName": "a", "AccessLogSettings": {"Format": "a\nb"}}, "single line"),
    ],
)
def test_stages_that_cannot_be(client, api, arguments, text):
    refused("BadRequestException", text, client.create_stage, ApiId=api, **arguments)


def test_deployments_by_hand(client, api):
    refused("BadRequestException", "no routes exist", client.create_deployment, ApiId=api)
    client.create_route(ApiId=api, RouteKey="GET /1")
    client.create_stage(ApiId=api, StageName="prod")
    first = client.create_deployment(ApiId=api, Description="first", StageName="prod")
    assert (first["AutoDeployed"], first["DeploymentStatus"]) == (False, "DEPLOYED")
    assert client.get_stage(ApiId=api, StageName="prod")["DeploymentId"] == first["DeploymentId"]
    client.create_route(ApiId=api, RouteKey="GET /2")
    second = client.create_deployment(ApiId=api)["DeploymentId"]
    assert exported(client, api, "prod") == {"/1"}
    client.update_stage(ApiId=api, StageName="prod", DeploymentId=second)
    assert exported(client, api, "prod") == {"/1", "/2"}
    changed = client.update_deployment(ApiId=api, DeploymentId=first["DeploymentId"], Description="old")
    assert changed["Description"] == "old"
    refused(
        "BadRequestException", "Active stages pointing to this deployment must be moved or deleted",
        client.delete_deployment, ApiId=api, DeploymentId=second,
    )  # fmt: skip
    client.delete_deployment(ApiId=api, DeploymentId=first["DeploymentId"])
    refused(
        "NotFoundException", "Deployment", client.get_deployment, ApiId=api, DeploymentId=first["DeploymentId"]
    )
    refused(
        "NotFoundException", "Deployment", client.update_stage, ApiId=api, StageName="prod", DeploymentId="gone"
    )


def exported(client, api, stage):
    """The paths that a stage serves."""
    body = client.export_api(ApiId=api, Specification="OAS30", OutputType="JSON", StageName=stage)["body"]
    return set(json.load(body)["paths"])


def test_each_change_is_deployed_by_itself(client, api):
    client.create_stage(ApiId=api, StageName="$default", AutoDeploy=True)
    assert "DeploymentId" not in client.get_stage(ApiId=api, StageName="$default")
    seen = []

    def deployed():
        stage = client.get_stage(ApiId=api, StageName="$default")
        assert stage["DeploymentId"] not in seen
        assert stage["DeploymentId"] in stage["LastDeploymentStatusMessage"]
        assert client.get_deployment(ApiId=api, DeploymentId=stage["DeploymentId"])["AutoDeployed"] is True
        seen.append(stage["DeploymentId"])

    route = client.create_route(ApiId=api, RouteKey="GET /1")["RouteId"]
    deployed()
    integration = proxy(client, api)
    deployed()
    client.update_route(ApiId=api, RouteId=route, Target=f"integrations/{integration}")
    deployed()
    client.update_integration(ApiId=api, IntegrationId=integration, TimeoutInMillis=50)
    deployed()
    client.update_api(ApiId=api, CorsConfiguration={"AllowOrigins": ["*"]})
    deployed()
    # What a stage does not serve any more is not kept.
    assert len(client.get_deployments(ApiId=api)["Items"]) == 1
    refused(
        "BadRequestException", "AutoDeploy enabled", client.create_deployment, ApiId=api, StageName="$default"
    )
    # Without automatic deployment a stage stays as it is.
    client.update_stage(ApiId=api, StageName="$default", AutoDeploy=False)
    client.create_route(ApiId=api, RouteKey="GET /2")
    assert client.get_stage(ApiId=api, StageName="$default")["DeploymentId"] == seen[-1]
    assert exported(client, api, "$default") == {"/1"}
    client.update_stage(ApiId=api, StageName="$default", AutoDeploy=True)
    deployed()
    assert exported(client, api, "$default") == {"/1", "/2"}


# -- tags, domain names


def test_tags_of_apis_stages_and_domains(client, api):
    client.create_stage(ApiId=api, StageName="$default")
    domain = f"tags-{api}.example.com"
    client.create_domain_name(DomainName=domain, Tags={"key1": "value1"})
    base = f"arn:aws:apigateway:{REGION}::"
    for path in (f"/apis/{api}", f"/apis/{api}/stages/$default", f"/domainnames/{domain}"):
        arn = base + path
        client.tag_resource(ResourceArn=arn, Tags={"key1": "value1", "key2": "value2", "key3": "3"})
        client.untag_resource(ResourceArn=arn, TagKeys=["key2", "key4"])
        assert client.get_tags(ResourceArn=arn)["Tags"] == {"key1": "value1", "key3": "3"}
    assert client.get_api(ApiId=api)["Tags"] == {"key1": "value1", "key3": "3"}
    assert client.get_stage(ApiId=api, StageName="$default")["Tags"] == {"key1": "value1", "key3": "3"}
    refused("NotFoundException", "API", client.get_tags, ResourceArn=f"{base}/apis/unknown")
    refused("BadRequestException", "ARN", client.get_tags, ResourceArn="unknown")
    refused("BadRequestException", "aws:", client.tag_resource, ResourceArn=f"{base}/apis/{api}", Tags={"aws:x": "y"})
    client.delete_domain_name(DomainName=domain)


def test_domain_names_and_mappings(client, api):
    name = f"dev-{api}.example.com"
    certificate = f"arn:aws:acm:{REGION}:{ACCOUNT}:certificate/x"
    made = client.create_domain_name(
        DomainName=name, DomainNameConfigurations=[{"CertificateArn": certificate, "EndpointType": "REGIONAL"}]
    )
    assert made["DomainNameArn"] == f"arn:aws:apigateway:{REGION}::/domainnames/{name}"
    [configuration] = made["DomainNameConfigurations"]
    assert configuration["DomainNameStatus"] == "AVAILABLE"
    assert configuration["SecurityPolicy"] == "TLS_1_2"
    assert configuration["ApiGatewayDomainName"]
    assert bare(client.get_domain_name(DomainName=name)) == bare(made)
    assert bare(made) in client.get_domain_names()["Items"]
    refused("ConflictException", "already exists", client.create_domain_name, DomainName=name)
    for bad in ("localhost", "127.0.0.1", "a..b", f"x.execute-api.{REGION}.localhost", "a/b", "*"):
        refused("BadRequestException", "domain name", client.create_domain_name, DomainName=bad)

    refused(
        "NotFoundException", "stage", client.create_api_mapping, DomainName=name, ApiId=api, Stage="$default"
    )
    client.create_stage(ApiId=api, StageName="$default")
    mapping = client.create_api_mapping(DomainName=name, ApiId=api, Stage="$default", ApiMappingKey="v1/api")
    one = mapping["ApiMappingId"]
    assert bare(client.get_api_mapping(DomainName=name, ApiMappingId=one)) == bare(mapping)
    whole = client.create_api_mapping(DomainName=name, ApiId=api, Stage="$default")
    assert whole["ApiMappingKey"] == ""
    assert len(client.get_api_mappings(DomainName=name)["Items"]) == 2
    refused(
        "ConflictException", "already exists", client.create_api_mapping,
        DomainName=name, ApiId=api, Stage="$default", ApiMappingKey="v1/api",
    )  # fmt: skip
    for key in ("/api", "v1//api", "api/", "a b"):
        refused(
            "BadRequestException", "API mapping key", client.create_api_mapping,
            DomainName=name, ApiId=api, Stage="$default", ApiMappingKey=key,
        )  # fmt: skip
    changed = client.update_api_mapping(DomainName=name, ApiMappingId=one, ApiId=api, ApiMappingKey="v2")
    assert changed["ApiMappingKey"] == "v2"
    refused(
        "NotFoundException", "API", client.create_api_mapping,
        DomainName=name, Stage="$default", ApiId="unknown", ApiMappingKey="other",
    )  # fmt: skip
    refused(
        "NotFoundException", "domain name", client.create_api_mapping,
        DomainName="gone.example.com", Stage="$default", ApiId=api,
    )  # fmt: skip
    refused("ConflictException", name, client.delete_stage, ApiId=api, StageName="$default")
    refused("ConflictException", name, client.delete_api, ApiId=api)
    client.delete_api_mapping(DomainName=name, ApiMappingId=one)
    refused("NotFoundException", "api mapping", client.delete_api_mapping, DomainName=name, ApiMappingId=one)
    client.delete_domain_name(DomainName=name)
    refused("NotFoundException", "domain name", client.get_domain_name, DomainName=name)
    refused("BadRequestException", "Routing rules", client.list_routing_rules, DomainName=name)


# -- OpenAPI

DOCUMENT = f"""
openapi: 3.0.1
info: {{title: pets, version: 2.0}}
x-amazon-apigateway-cors: {{allowMethods: [GET], allowOrigins: ['https://www.example.com']}}
paths:
  /test:
    get:
      security: [{{token: [read]}}]
      x-amazon-apigateway-integration:
        type: HTTP_PROXY
        httpMethod: GET
        payloadFormatVersion: '1.0'
        uri: https://www.example.com
  /pets/{{id}}:
    x-amazon-apigateway-any-method:
      x-amazon-apigateway-integration:
        type: aws_proxy
        httpMethod: POST
        uri: {INVOKED}
        payloadFormatVersion: '2.0'
components:
  securitySchemes:
    token:
      type: oauth2
      x-amazon-apigateway-authorizer:
        type: jwt
        identitySource: $request.header.Authorization
        jwtConfiguration: {{audience: [me], issuer: 'https://issuer.example.com'}}
"""


def shape(client, api):
    """An API without its ids."""
    integrations = {item.pop("IntegrationId"): item for item in client.get_integrations(ApiId=api)["Items"]}
    authorizers = {item.pop("AuthorizerId"): item for item in client.get_authorizers(ApiId=api)["Items"]}
    routes = {}
    for item in client.get_routes(ApiId=api)["Items"]:
        item.pop("RouteId")
        target = item.pop("Target", None)
        item["to"] = integrations[target.removeprefix("integrations/")] if target else None
        item["by"] = authorizers.get(item.pop("AuthorizerId", None))
        routes[item["RouteKey"]] = item
    found = client.get_api(ApiId=api)
    return routes, {key: found.get(key) for key in ("Name", "Version", "CorsConfiguration", "Description")}


def test_a_document_comes_and_goes(client):
    made = client.import_api(Body=DOCUMENT)
    api = made["ApiId"]
    assert (made["Name"], made["Version"]) == ("pets", "2.0")
    assert made["CorsConfiguration"] == {"AllowMethods": ["GET"], "AllowOrigins": ["https://www.example.com"]}
    routes, about = shape(client, api)
    assert set(routes) == {"GET /test", "ANY /pets/{id}"}
    assert routes["GET /test"]["AuthorizationScopes"] == ["read"]
    assert routes["GET /test"]["by"]["JwtConfiguration"]["Audience"] == ["me"]
    assert routes["GET /test"]["to"]["IntegrationMethod"] == "GET"
    for output in ("JSON", "YAML"):
        body = client.export_api(ApiId=api, Specification="OAS30", OutputType=output)["body"].read().decode()
        assert "x-amazon-apigateway-importexport-version" in body
        again = client.import_api(Body=body, FailOnWarnings=True)["ApiId"]
        assert shape(client, again) == (routes, about)
        client.delete_api(ApiId=again)
    plain = client.export_api(ApiId=api, Specification="OAS30", OutputType="JSON", IncludeExtensions=False)["body"]
    assert "x-amazon-apigateway-integration" not in plain.read().decode()
    client.delete_api(ApiId=api)


def test_another_document_replaces_everything(client, api):
    client.create_stage(ApiId=api, StageName="$default", AutoDeploy=True)
    client.create_route(ApiId=api, RouteKey="GET /old", Target=f"integrations/{proxy(client, api)}")
    before = client.get_stage(ApiId=api, StageName="$default")["DeploymentId"]
    client.reimport_api(ApiId=api, Body=DOCUMENT)
    routes, about = shape(client, api)
    assert set(routes) == {"GET /test", "ANY /pets/{id}"}
    assert about["Name"] == "pets"
    assert len(client.get_integrations(ApiId=api)["Items"]) == 2
    stage = client.get_stage(ApiId=api, StageName="$default")
    assert stage["DeploymentId"] != before
    assert exported(client, api, "$default") == {"/test", "/pets/{id}"}


def test_warnings_are_told_or_fail(client, api):
    content = {"application/json": {"schema": {"$ref": "#/components/schemas/Gone"}}}
    document = {
        "openapi": "3.0.1",
        "info": {"title": "other", "version": "1"},
        "paths": {"/update": {"get": {"responses": {"200": {"description": "", "content": content}}}}},
    }
    warning = (
        "Parse issue: attribute paths.'/update'(get).responses.200.content.schema.#/components/schemas/Gone is missing"
    )
    refused(
        "BadRequestException", f"Warnings found during import:\n\t{warning}",
        client.reimport_api, ApiId=api, Body=json.dumps(document), FailOnWarnings=True,
    )  # fmt: skip
    assert client.get_api(ApiId=api)["Name"] == "test"
    assert client.reimport_api(ApiId=api, Body=json.dumps(document))["Warnings"] == [warning]
    assert client.get_api(ApiId=api)["Name"] == "other"


def test_documents_that_are_none(client, api):
    laughs = "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 30))
    for body in ("", "[", "{", "- " * 10000, "[" * 10000, "a0: &a0 x\n" + laughs, "swagger: '2.0'\ninfo: {title: x}"):
        refused("BadRequestException", "Invalid OpenAPI input", client.reimport_api, ApiId=api, Body=body or " ")
    assert client.get_api(ApiId=api)["Name"] == "test"


# -- what tools do


def test_terraform_reads_back_what_it_wrote(client):
    """The calls of aws_apigatewayv2_* in the order of a plan, each followed by the reads that decide on a diff."""
    api = client.create_api(
        Name="tf",
        ProtocolType="HTTP",
        CorsConfiguration={"AllowOrigins": ["*"], "AllowHeaders": ["Authorization"], "AllowMethods": ["*"]},
        Tags={"env": "dev"},
    )["ApiId"]
    found = client.get_api(ApiId=api)
    assert found["CorsConfiguration"]["AllowHeaders"] == ["Authorization"]
    assert found["Tags"] == {"env": "dev"}
    stage = client.create_stage(
        ApiId=api,
        StageName="$default",
        AutoDeploy=True,
        DefaultRouteSettings={
            "DetailedMetricsEnabled": False, "ThrottlingBurstLimit": 100, "ThrottlingRateLimit": 50.0,
        },
        StageVariables={},
    )  # fmt: skip
    assert stage["DefaultRouteSettings"]["ThrottlingBurstLimit"] == 100
    integration = client.create_integration(
        ApiId=api,
        ConnectionType="INTERNET",
        IntegrationMethod="POST",
        IntegrationType="AWS_PROXY",
        IntegrationUri=INVOKED,
        PassthroughBehavior="WHEN_NO_MATCH",
        PayloadFormatVersion="2.0",
    )
    assert "PassthroughBehavior" not in integration
    read = client.get_integration(ApiId=api, IntegrationId=integration["IntegrationId"])
    for key in ("ConnectionType", "IntegrationMethod", "IntegrationUri", "PayloadFormatVersion", "TimeoutInMillis"):
        assert read[key] == integration[key]
    authorizer = client.create_authorizer(
        ApiId=api,
        Name="a",
        AuthorizerType="JWT",
        IdentitySource=["$request.header.Authorization"],
        JwtConfiguration={"Audience": ["a"], "Issuer": "https://i.example.com"},
    )
    read = client.get_authorizer(ApiId=api, AuthorizerId=authorizer["AuthorizerId"])
    assert bare(read) == bare(authorizer)
    assert "AuthorizerResultTtlInSeconds" not in read
    route = client.create_route(
        ApiId=api,
        RouteKey="GET /pets",
        Target=f"integrations/{integration['IntegrationId']}",
        ApiKeyRequired=False,
        AuthorizationType="JWT",
        AuthorizerId=authorizer["AuthorizerId"],
    )
    assert bare(client.get_route(ApiId=api, RouteId=route["RouteId"])) == bare(route)
    # Another apply: settings of a route come and go, variables come and go, CORS goes, a target is cleared.
    client.update_stage(ApiId=api, StageName="$default", RouteSettings={"GET /pets": {"ThrottlingRateLimit": 1.0}})
    client.delete_route_settings(ApiId=api, StageName="$default", RouteKey="GET /pets")
    log = {"DestinationArn": f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:access", "Format": "$context.requestId"}
    client.update_stage(ApiId=api, StageName="$default", AccessLogSettings=log)
    changed = client.update_stage(ApiId=api, StageName="$default", AccessLogSettings={}, DefaultRouteSettings={})
    assert "AccessLogSettings" not in changed
    assert changed["DefaultRouteSettings"] == {"DetailedMetricsEnabled": False}
    client.update_stage(ApiId=api, StageName="$default", StageVariables={"a": "1"})
    client.update_stage(ApiId=api, StageName="$default", StageVariables={"a": ""})
    assert client.get_stage(ApiId=api, StageName="$default")["StageVariables"] == {}
    client.delete_cors_configuration(ApiId=api)
    cleared = client.update_route(
        ApiId=api, RouteId=route["RouteId"], AuthorizationType="NONE", AuthorizerId="", Target=""
    )
    assert "Target" not in cleared and "AuthorizerId" not in cleared
    # An API of a document: made empty, filled, then given back what the configuration says.
    filled = client.reimport_api(ApiId=api, Body=DOCUMENT)
    assert filled["Name"] == "pets"
    client.update_api(ApiId=api, Name="tf", Version="1")
    client.delete_cors_configuration(ApiId=api)
    client.untag_resource(ResourceArn=f"arn:aws:apigateway:{REGION}::/apis/{api}", TagKeys=["env"])
    found = client.get_api(ApiId=api)
    assert (found["Name"], found["Version"], found["Tags"]) == ("tf", "1", {})
    # Destroyed from the leaves.
    client.delete_stage(ApiId=api, StageName="$default")
    client.delete_api(ApiId=api)


# -- what is acknowledged is served

ECHO = """
def handler(event, context):
    return {"route": event["routeKey"], "stage": event["requestContext"]["stage"], "variables": event.get("stageVariables")}
"""


def test_a_change_is_served_when_it_is_acknowledged(client, platform, function, api):
    arn = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{function(ECHO)}"

    def get(stage, path):
        path = f"{stage}/{path}" if stage != "$default" else path
        try:
            with urllib.request.urlopen(f"{platform.url}/_api/{api}/{path}", timeout=60) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code

    target = client.create_integration(
        ApiId=api, IntegrationType="AWS_PROXY", IntegrationUri=arn, PayloadFormatVersion="2.0"
    )["IntegrationId"]
    one = client.create_route(ApiId=api, RouteKey="GET /1", Target=f"integrations/{target}")["RouteId"]
    assert get("$default", "1") == 404
    client.create_stage(ApiId=api, StageName="$default", AutoDeploy=True)
    client.create_stage(ApiId=api, StageName="prod", StageVariables={"v": "1"})
    client.create_deployment(ApiId=api, StageName="prod")
    assert get("$default", "1") == {"route": "GET /1", "stage": "$default", "variables": None}
    assert get("prod", "1") == {"route": "GET /1", "stage": "prod", "variables": {"v": "1"}}

    client.update_route(ApiId=api, RouteId=one, RouteKey="GET /2")
    assert get("$default", "1") == 404
    assert get("$default", "2")["route"] == "GET /2"
    assert get("prod", "1")["route"] == "GET /1", "a deployment stays"
    client.update_stage(ApiId=api, StageName="prod", StageVariables={"v": "2"})
    assert get("prod", "1")["variables"] == {"v": "2"}, "variables are the stage's"

    document = {
        "openapi": "3.0.1",
        "info": {"title": "t", "version": "1"},
        "paths": {
            "/3": {
                "get": {
                    "x-amazon-apigateway-integration": {
                        "type": "aws_proxy", "uri": arn, "payloadFormatVersion": "2.0",
                    }
                }
            }
        },
    }  # fmt: skip
    client.reimport_api(ApiId=api, Body=json.dumps(document))
    assert (get("$default", "2"), get("$default", "3")["route"]) == (404, "GET /3")
    assert get("prod", "1")["route"] == "GET /1"
    latest = client.create_deployment(ApiId=api)["DeploymentId"]
    assert get("prod", "3") == 404
    client.update_stage(ApiId=api, StageName="prod", DeploymentId=latest)
    assert get("prod", "3")["stage"] == "prod"
    client.delete_stage(ApiId=api, StageName="prod")
    assert get("prod", "3") == 404


# -- durability


def test_what_was_acknowledged_survives_kill_9(own_server):
    server = own_server()
    client = connect(server)
    api = client.import_api(Body=DOCUMENT)["ApiId"]
    client.create_stage(ApiId=api, StageName="auto", AutoDeploy=True)
    client.create_stage(ApiId=api, StageName="prod")
    client.create_deployment(ApiId=api, StageName="prod")
    gone = client.create_api(Name="gone", ProtocolType="HTTP", Target=FUNCTION)["ApiId"]
    client.create_domain_name(DomainName="kill.example.com")
    client.create_api_mapping(DomainName="kill.example.com", ApiId=api, Stage="prod", ApiMappingKey="v1")
    integration = proxy(client, api)
    arguments = {"ApiId": api, "Target": f"integrations/{integration}"}
    together([lambda n=n: client.create_route(RouteKey=f"GET /many/{n}", **arguments) for n in range(200)], 8)
    client.delete_api(ApiId=gone)

    def everything(client):
        pages = client.get_paginator("get_routes").paginate(ApiId=api)
        routes = [item for page in pages for item in page["Items"]]
        return (
            client.get_apis()["Items"],
            routes,
            client.get_integrations(ApiId=api)["Items"],
            client.get_authorizers(ApiId=api)["Items"],
            client.get_stages(ApiId=api)["Items"],
            client.get_deployments(ApiId=api)["Items"],
            client.get_domain_names()["Items"],
            client.get_api_mappings(DomainName="kill.example.com")["Items"],
            exported(client, api, "prod"),
            len(exported(client, api, "auto")),
        )

    before = everything(client)
    assert len(before[1]) == 202
    assert before[8] == {"/test", "/pets/{id}"} and before[9] == 202
    server.kill()
    server.start()
    # The address of an API has the port in it, which stays.
    assert everything(connect(server)) == before
