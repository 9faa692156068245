"""Functions: create, get, update, delete, list, wrong inputs, sizes, account settings, runtimes."""

import base64
import hashlib
import re
import urllib.request
import zipfile

from recorded.recorder import ECHO, OTHER, RECORDED, archive

F = "TestLambdaFunction / "
SIZES = "TestLambdaSizeLimits / "
ACCOUNT = "TestLambdaAccountSettings / "
ZIPPED_LIMIT, REQUEST_LIMIT, UNZIPPED_LIMIT = 52_428_800, 70_167_211, 262_144_000


def lifecycle(r):
    name = r.name("fn")
    r.create(name, "create_response", wrapped=True, MemorySize=256, Timeout=5)
    r.step("get_function_response", "get_function", FunctionName=name)
    r.step(
        "update_func_conf_response",
        "update_function_configuration",
        FunctionName=name,
        Runtime=r.python,
        Description="Changed-Description",
        MemorySize=512,
        Timeout=10,
        Environment={"Variables": {"ENV_A": "a"}},
    )
    r.updated(name)
    r.step("get_function_response_postupdate", "get_function", FunctionName=name)
    r.step("update_code_response", "update_function_code", FunctionName=name, ZipFile=archive(OTHER))
    r.updated(name)
    r.step("get_function_response_postcodeupdate", "get_function", FunctionName=name)
    r.step("delete_response", "delete_function", FunctionName=name)
    r.step("delete_postdelete", "delete_function", FunctionName=name)


def redundant_updates(r):
    name = r.name("fn")
    r.create(name, "create_response", wrapped=True, Description="Initial description")
    for update in ("first_update_result", "redundant_update_result"):
        r.step(update, "update_function_configuration", FunctionName=name, Description="1st update description")
        r.updated(name)
        if update == "first_update_result":
            r.step("get_fn_config_result", "get_function_configuration", FunctionName=name)
            r.step("get_fn_result", "get_function", FunctionName=name)
    r.step("get_fn_result_after_redundant_update", "get_function", FunctionName=name)


def concurrent_updates(r, second):
    """AWS refuses a change while one is going on. Ours may be over too soon to be caught by one request."""
    name = r.name("fn")
    r.create(name, "create-function-response", wrapped="config" in r.case, Handler="handler.handler")
    codes = [archive(ECHO + f"# {n}\n") for n in range(2)]
    for attempt in range(200):
        first = r.call("update_function_code", FunctionName=name, ZipFile=codes[attempt % 2])
        answer = first if "Error" in first else second(r, name, attempt)
        if "Error" in answer:
            break
        r.updated(name)
    r.match("update-during-in-progress-update-exc", answer)
    r.updated(name)


def concurrent_code(r):
    concurrent_updates(
        r, lambda r, name, n: r.call("update_function_code", FunctionName=name, ZipFile=archive(OTHER + f"# {n}\n"))
    )


def concurrent_config(r):
    concurrent_updates(
        r, lambda r, name, n: r.call("update_function_configuration", FunctionName=name, Description=f"number {n}")
    )


def qualifier_mismatch(r):
    operation = parameter(r.case)
    arn = r.arn("function:some-function")
    r.step("not_match_exception", operation, FunctionName=f"{arn}:1", Qualifier="$LATEST")
    r.step("match_exception", operation, FunctionName=f"{arn}:$LATEST", Qualifier="$LATEST")


def nonexisting_version(r):
    name = r.name("i-exist")
    r.create(name)
    r.step("version_not_found_exception", parameter(r.case), FunctionName=name, Qualifier="1221")


def nonexisting_function(r):
    r.step("not_found_exception", parameter(r.case), FunctionName=r.name("i-dont-exist"))


def delete_nonexisting_version(r):
    name = r.name("i-exist")
    r.create(name)
    for _ in range(2):
        assert (
            r.call("delete_function", FunctionName=name, Qualifier="1233")["ResponseMetadata"]["HTTPStatusCode"] == 204
        )
    r.call("delete_function", FunctionName=name)
    r.step("delete_function_response_non_existent", "delete_function", FunctionName=name)
    r.step(
        "delete_function_response_non_existent_with_qualifier", "delete_function", FunctionName=name, Qualifier="1233"
    )


def wrong_region(r):
    name = r.name("i-exist")
    r.create(name)
    other = "eu-central-1" if r.region == "us-east-1" else "us-east-1"
    r.bindings.values["wrong-region"] = other
    arn = f"arn:aws:lambda:{other}:{r.account}:function:{name}"
    r.step("wrong_region_exception", parameter(r.case), FunctionName=arn)


def recursion_allow(r):
    name = r.name("recursive")
    r.create(name)
    r.step("put_recursion_config_response", "put_function_recursion_config", FunctionName=name, RecursiveLoop="Allow")
    r.step("get_recursion_config_response", "get_function_recursion_config", FunctionName=name)


def recursion_default(r):
    name = r.name("recursive")
    r.create(name)
    r.step("get_recursion_default_terminate_response", "get_function_recursion_config", FunctionName=name)


def recursion_invalid(r):
    name = r.name("recursive")
    r.create(name)
    r.step(
        "put_recursion_invalid_value_error",
        "put_function_recursion_config",
        FunctionName=name,
        RecursiveLoop="InvalidValue",
    )


def code_location(r):
    def check(answer, package):
        with urllib.request.urlopen(answer["Code"]["Location"], timeout=10) as download:
            assert download.read() == package
        configuration = answer["Configuration"]
        assert configuration["CodeSha256"] == base64.b64encode(hashlib.sha256(package).digest()).decode()
        assert configuration["CodeSize"] == len(package)

    name = r.name("code-function")
    first, second = archive(ECHO, "index.py"), archive(OTHER, "index.py")
    r.create(name, "create-response-zip-file", Code={"ZipFile": first})
    check(r.step("get-function-response", "get_function", FunctionName=name), first)
    r.step("update-function-response", "update_function_code", FunctionName=name, ZipFile=second)
    check(r.step("get-function-response-updated", "get_function", settled=True, FunctionName=name), second)


def arns(r):
    name = r.name("test-function-arn")
    r.create(r.arn(f"function:{name}"), "create-function-arn-response", wrapped=True)
    # The recording gives each zip another digest; the same one is as good.
    r.create(
        f"{r.account}:function:{r.name('test-partial-arn')}",
        "create-function-partial-arn-response",
        wrapped=True,
        Code={"ZipFile": archive(OTHER)},
    )
    base = {"Handler": "index.handler", "Code": {"ZipFile": archive()}, "Role": r.role, "Runtime": r.python}

    def refused(label, function):
        r.step(label, "create_function", FunctionName=function, **base)

    refused("invalid_function_name_exc", "invalid:function:name")
    refused("long_function_name_exc", "a" * 65)
    prefix = r.arn("function:")
    refused("long_function_arn_exc", prefix + "a" * (141 - len(prefix)))
    refused("function_arn_other_region_exc", f"arn:aws:lambda:ap-southeast-1:{r.account}:function:{r.name('fn')}")
    refused("function_arn_other_account_exc", f"arn:aws:lambda:{r.region}:123456789012:function:{r.name('fn')}")


def create_exceptions(r):
    base = {"FunctionName": r.name("invalid-function"), "Handler": "index.handler", "Role": r.role, "Runtime": r.python}
    base |= {"Code": {"ZipFile": archive()}, "PackageType": "Zip"}

    def refused(label, client=None, **change):
        r.step(label, "create_function", client=client, **base | change)

    refused("invalid_role_arn_exc", Role="r1")
    refused("invalid_runtime_exc", Runtime="non-existent-runtime")
    refused("uppercase_runtime_exc", Runtime="PYTHON3.9")
    # This one is boto3's own check.
    refused("empty_architectures", client=r.checked_client, Architectures=[])
    refused("multiple_architectures", Architectures=["x86_64", "arm64"])
    refused("uppercase_architecture", Architectures=["X86_64"])
    refused("invalid_zip_exc", Code={"ZipFile": b"this is not a zipfile, just a random string"})


def update_exceptions(r):
    name = r.name("invalid-function")
    r.create(name)
    r.step("invalid_role_arn_exc", "update_function_configuration", FunctionName=name, Role="r1")
    r.step("invalid_runtime_exc", "update_function_configuration", FunctionName=name, Runtime="non-existent-runtime")
    r.step("uppercase_runtime_exc", "update_function_configuration", FunctionName=name, Runtime="PYTHON3.9")


def list_functions(r):
    first, second = r.name("list-fn-1"), r.name("list-fn-2")
    r.create(first, "create_response_1", wrapped=True, Publish=True)
    r.create(second, "create_response_2", wrapped=True, Code={"ZipFile": archive(OTHER)})
    r.step("list_functions_invalid_functionversion", "list_functions", FunctionVersion="invalid")

    def listed(**arguments):
        # Pages of one, so that pagination is exercised.
        pages = r.client.get_paginator("list_functions").paginate(PaginationConfig={"PageSize": 1}, **arguments)
        functions = [f for page in pages for f in page["Functions"] if f["FunctionName"] in (first, second)]
        return {"Functions": functions}

    def order(f):
        return f["FunctionName"], f["Version"] != "$LATEST", f["Version"]

    everything = listed(FunctionVersion="ALL")
    everything["Functions"].sort(key=order)
    r.match("list_all", everything)
    r.match("list_default", {"Functions": sorted(listed()["Functions"], key=order)})


def invalid_invoke(r):
    name = f"arn:aws:lambda:{r.region}:123400000000@function:myfn"
    r.step("invoke_function_name_pattern_exc", "invoke", FunctionName=name, Payload=b"{}")


def image_for_zip(r):
    name = r.name("test-function")
    r.create(name, "create-image-response", Handler="handler.handler")
    r.step("get-function-code-response", "get_function", FunctionName=name)
    r.step("get-function-config-response", "get_function_configuration", FunctionName=name)
    r.step("zipfile-to-image-error", "update_function_code", FunctionName=name, ImageUri="repository/image:latest")
    r.step("get-function-code-response-after-update", "get_function", FunctionName=name)
    r.step("get-function-config-response-after-update", "get_function_configuration", FunctionName=name)


def full_arn_update(r):
    name = r.name("fn")
    arn = r.create(name, wrapped=True)["FunctionArn"]
    answer = r.call("update_function_configuration", FunctionName=arn, Description="by its ARN")
    assert answer.get("Description") == "by its ARN", answer
    r.updated(name)


def snapstart_apply(r):
    r.step(
        "create_function_invalid_snapstart_apply",
        "create_function",
        FunctionName=r.name("invalid-function"),
        Handler="app.handler",
        Code={"ZipFile": archive()},
        Role=r.role,
        Runtime=r.python,
        SnapStart={"ApplyOn": "invalidOption"},
    )


def snapstart_function(r):
    # Recorded with Java too, whose answers differ in nothing but the runtime's name.
    recorded = r.answers["create_function_response"]
    r.bindings.runtimes[recorded["Runtime"]] = r.python
    name = r.name("fn")
    r.create(name, "create_function_response", Handler=recorded["Handler"], MemorySize=1024, Timeout=5)
    return name


def snapstart_lifecycle(r):
    name = snapstart_function(r)
    r.step("get_function_response_latest", "get_function", FunctionName=name)
    r.call("publish_version", FunctionName=name, Description="version1")
    r.step("get_function_response_version_1", "get_function", FunctionName=name, Qualifier="1")


def snapstart_update(r):
    name = snapstart_function(r)
    r.step(
        "update_function_response",
        "update_function_configuration",
        FunctionName=name,
        SnapStart={"ApplyOn": "PublishedVersions"},
    )
    r.updated(name)


def deprecated_runtime(r):
    r.step(
        "deprecation_error",
        "create_function",
        FunctionName=r.name("fn"),
        Handler="index.handler",
        Code={"ZipFile": archive()},
        PackageType="Zip",
        Role=r.role,
        Runtime=parameter(r.case),
    )


# -- sizes


def large_variable(r, label, variables, works=False):
    name = r.name("large-envvar-lambda")
    answer = r.create(name, label, wrapped=True, wait=works, Environment={"Variables": variables})
    if not works:
        assert r.call("get_function", FunctionName=name)["Error"]["Code"] == "ResourceNotFoundException", answer


def variables_near_limit(r):
    value = "x" * (4096 - 7 - len("LARGE_VAR"))
    large_variable(r, "successful_create_fn_result", {"LARGE_VAR": value}, works=True)


def variables_over_limit(r):
    large_variable(r, "failed_create_fn_result", {"LARGE_VAR": "x" * (4096 - 6 - len("LARGE_VAR"))})


def variables_over_limit_together(r):
    large_variable(r, "failured_create_fn_result_multi_key", {"SMALL_VAR": "ok", "LARGE_VAR": "x" * 4064})


def sized(r, label, package, **arguments):
    return r.create(
        r.name("test-lambda"),
        label,
        wait=False,
        Handler="handler.handler",
        Timeout=10,
        Code={"ZipFile": package},
        **arguments,
    )


def unpacked_to(size):
    """A small package that unpacks to `size` bytes."""
    return archive(ECHO + "#" * (size - len(ECHO)), method=zipfile.ZIP_DEFLATED)


def oversized_request(r):
    sized(
        r,
        "invalid_param_exc",
        archive("#" * (ZIPPED_LIMIT - 1024)),
        Environment={"Variables": {"largeKey": "x" * (REQUEST_LIMIT - ZIPPED_LIMIT + 1024 * 1024)}},
    )


def oversized_zip(r):
    sized(r, "invalid_param_exc", archive("#" * ZIPPED_LIMIT))


def oversized_unzipped(r):
    # AWS was given it through S3; in the request it is small enough too.
    sized(r, "invalid_param_exc", unpacked_to(UNZIPPED_LIMIT))


def just_small_enough(r):
    answer = sized(r, "create_function_large_zip", unpacked_to(UNZIPPED_LIMIT - 1000))
    r.platform.wait_active(answer["FunctionName"])


# -- account settings


def account_settings(r):
    answer = r.call("get_account_settings")
    for member in ("AccountLimit", "AccountUsage"):
        answer[member] = sorted(answer[member])
    r.match("acc_settings_modded", answer)


class Usage:
    """How the account's total code size changes."""

    def __init__(self, r):
        self.r = r
        self.size = self.total()

    def total(self):
        return self.r.call("get_account_settings")["AccountUsage"]["TotalCodeSize"]

    def change(self):
        before, self.size = self.size, self.total()
        return self.size - before


def code_size(r):
    usage = Usage(r)
    package, layer = archive(size=276), archive("", "x", size=169)
    name, layer_name = r.name("lambda-func"), r.name("testlayer")
    r.create(name, wrapped=True, Code={"ZipFile": package})
    r.match("total_code_size_diff_create_function", usage.change())
    r.call("update_function_code", FunctionName=name, ZipFile=package, Publish=True)
    r.match("total_code_size_diff_update_function", usage.change())
    r.layer(layer_name, content=layer)
    r.match("total_code_size_diff_publish_layer", usage.change())
    r.layer(layer_name, content=layer)
    r.match("total_code_size_diff_publish_layer_version", usage.change())
    r.updated(name)


def code_size_of_configuration(r):
    usage = Usage(r)
    name = r.name("lambda-func")
    r.create(name, wrapped=True, Code={"ZipFile": archive(size=300)})
    r.match("is_total_code_size_diff_create_function_more_than_200", usage.change() > 200)
    r.call("update_function_configuration", FunctionName=name, Timeout=31)
    r.updated(name)
    r.match("total_code_size_diff_update_function_configuration", usage.change())
    r.call("publish_version", FunctionName=name, Description="publish the changed configuration")
    r.match("is_total_code_size_diff_publish_version_after_config_update_more_than_200", usage.change() > 200)


def parameter(case):
    """What stands in the brackets of a situation's name."""
    return re.search(r"\[(.*)\]", case)[1]


SCENARIOS = {
    F + "test_function_lifecycle": lifecycle,
    F + "test_redundant_updates": redundant_updates,
    F + "test_lambda_concurrent_code_updates": concurrent_code,
    F + "test_lambda_concurrent_config_updates": concurrent_config,
    F + "test_delete_on_nonexisting_version": delete_nonexisting_version,
    F + "test_lambda_code_location_zipfile": code_location,
    F + "test_function_arns": arns,
    F + "test_create_lambda_exceptions": create_exceptions,
    F + "test_update_lambda_exceptions": update_exceptions,
    F + "test_list_functions": list_functions,
    F + "test_invalid_invoke": invalid_invoke,
    "TestLambdaImages / test_lambda_zip_file_to_image": image_for_zip,
    "TestPartialARNMatching / test_update_function_configuration_full_arn": full_arn_update,
    "TestLambdaSnapStart / test_snapstart_exceptions": snapstart_apply,
    SIZES + "test_lambda_envvars_near_limit_succeeds": variables_near_limit,
    SIZES + "test_large_environment_variables_fails": variables_over_limit,
    SIZES + "test_large_environment_fails_multiple_keys": variables_over_limit_together,
    SIZES + "test_oversized_request_create_lambda": oversized_request,
    SIZES + "test_oversized_zipped_create_lambda": oversized_zip,
    SIZES + "test_oversized_unzipped_lambda": oversized_unzipped,
    SIZES + "test_large_lambda": just_small_enough,
    ACCOUNT + "test_account_settings": account_settings,
    ACCOUNT + "test_account_settings_total_code_size": code_size,
    ACCOUNT + "test_account_settings_total_code_size_config_update": code_size_of_configuration,
}
SNAPSTART = "TestLambdaSnapStart / test_snapstart_"
for runtime in ("java11", "java17", "java21", "java25", "python3.12", "python3.13"):
    SCENARIOS[f"{SNAPSTART}lifecycle[{runtime}]"] = snapstart_lifecycle
    SCENARIOS[f"{SNAPSTART}update_function_configuration[{runtime}]"] = snapstart_update
RECURSION = "TestLambdaRecursion / test_put_function_recursion_config_"
SCENARIOS |= {
    RECURSION + "allow": recursion_allow,
    RECURSION + "default_terminate": recursion_default,
    RECURSION + "invalid_value": recursion_invalid,
}
OF_LIST = {
    "delete_function",
    "get_function",
    "get_function_code_signing_config",
    "get_function_concurrency",
    "get_function_configuration",
    "get_function_event_invoke_config",
    "get_function_url_config",
    "invoke",
}
for case in RECORDED:
    for prefix, scenario in (
        (F + "test_ops_with_arn_qualifier_mismatch[", qualifier_mismatch),
        (F + "test_ops_on_nonexisting_version[", nonexisting_version),
        (F + "test_ops_on_nonexisting_fn[", nonexisting_function),
        (F + "test_get_function_wrong_region[", wrong_region),
    ):
        if case.startswith(prefix) and parameter(case) in OF_LIST:
            SCENARIOS[case] = scenario
    if case.startswith("TestRuntimeValidation / test_create_deprecated"):
        SCENARIOS[case] = deprecated_runtime
