"""Event invoke configurations, reserved and provisioned concurrency."""

EVENTS = "TestLambdaEventInvokeConfig / "
RESERVED = "TestLambdaReservedConcurrency / "
PROVISIONED = "TestLambdaProvisionedConcurrency / "
BY_ARN = ("FunctionEventInvokeConfigs", "FunctionArn")


def events_lifecycle(r):
    name = r.name("fn-eventinvoke")
    r.create(name, wrapped=True)
    put, update, get, listed = (
        f"{verb}_function_event_invoke_config{s}"
        for verb, s in (("put", ""), ("update", ""), ("get", ""), ("list", "s"))
    )
    r.step("put_invokeconfig_retries_0", put, FunctionName=name, MaximumRetryAttempts=0)
    r.step("put_invokeconfig_eventage_60", put, FunctionName=name, MaximumEventAgeInSeconds=60)
    r.step("update_invokeconfig_eventage_nochange", update, FunctionName=name, MaximumEventAgeInSeconds=60)
    r.step("update_invokeconfig_retries", update, FunctionName=name, MaximumRetryAttempts=1)
    r.step("get_invokeconfig", get, FunctionName=name)
    r.step("get_invokeconfig_latest", get, FunctionName=name, Qualifier="$LATEST")
    r.step("list_single_invokeconfig", listed, FunctionName=name)
    r.step("publish_version_result", "publish_version", FunctionName=name)
    r.step("get_invokeconfig_postpublish", get, FunctionName=name, Qualifier="1")
    r.step("put_published_invokeconfig", put, FunctionName=name, Qualifier="1", MaximumEventAgeInSeconds=120)
    r.step("get_published_invokeconfig", get, FunctionName=name, Qualifier="1")

    def arns(page):
        return [c["FunctionArn"] for c in page["FunctionEventInvokeConfigs"]]

    one = r.call(listed, FunctionName=name, MaxItems=1)
    rest = r.call(listed, FunctionName=name, MaxItems=1, Marker=one["NextMarker"])
    assert len(arns(one)) == len(arns(rest)) == 1
    assert set(arns(one) + arns(rest)) == set(arns(r.call(listed, FunctionName=name)))
    r.call("delete_function_event_invoke_config", FunctionName=name)
    r.step("list_paging_nolimit_postdelete", listed, FunctionName=name)


def events_exceptions(r):
    name, other = r.name("fn-eventinvoke"), r.name("fn-eventinvoke-2")
    arn = r.create(name, wrapped=True)["FunctionArn"]
    other_arn = r.create(other, wrapped=True)["FunctionArn"]
    r.step("fn_version_result", "publish_version", FunctionName=name)
    alias_name = "eventinvokealias"
    alias = r.step("fn_alias_result", "create_alias", FunctionName=name, Name=alias_name, FunctionVersion="1")[
        "AliasArn"
    ]
    absent = r.arn("function:doesnotexist")

    def put(label, function=name, **arguments):
        r.step(label, "put_function_event_invoke_config", FunctionName=function, **arguments)

    def destination(label, kind, where):
        put(label, DestinationConfig={kind: {"Destination": where} if where else {}})

    put("put_functionname_name_notfound", "doesnotexist", MaximumRetryAttempts=1)
    put("put_functionname_arn_notfound", absent, MaximumRetryAttempts=1)
    put("put_functionname_nootherargs", "doesnotexist")
    destination("put_destination_lambda_doesntexist", "OnSuccess", absent)
    destination("put_destination_recursive", "OnSuccess", arn)
    destination("put_destination_other_lambda", "OnSuccess", other_arn)
    destination("put_destination_invalid_service_arn", "OnSuccess", arn.replace(":lambda:", ":iam:"))
    destination("put_destination_success_no_destination_arn", "OnSuccess", None)
    destination("put_destination_failure_no_destination_arn", "OnFailure", None)
    destination("put_destination_invalid_arn_pattern", "OnFailure", arn.replace(":lambda:", ":_-/!lambda:"))

    once = {"MaximumRetryAttempts": 1}
    put("put_destination_latest", **once)
    put("put_destination_latest_explicit_qualifier", Qualifier="$LATEST", **once)
    put("put_destination_version", Qualifier="1", **once)
    put("put_alias_functionname_qualifier", Qualifier=alias_name, **once)
    put("put_alias_doesnotexist", Qualifier=f"{alias_name}doesnotexist", **once)
    for kind, function in (("qualifiedarn", alias), ("shorthand", f"{name}:{alias_name}")):
        put(f"put_alias_{kind}", function, **once)
        put(f"put_alias_{kind}_qualifier", function, Qualifier=alias_name, **once)
        put(f"put_alias_{kind}_qualifierconflict", function, Qualifier=f"{alias_name}doesnotexist", **once)
    put("put_version_shorthand", f"{name}:1", **once)
    put("put_shorthand_qualifier_match", f"{name}:$LATEST", Qualifier="$LATEST", **once)
    put("put_shorthand_qualifier_mismatch_1", f"{name}:1", Qualifier="$LATEST", **once)
    put("put_shorthand_qualifier_mismatch_2", f"{name}:$LATEST", Qualifier="1", **once)
    put("put_shorthand_qualifier_mismatch_3", f"{name}:1", Qualifier=alias_name, **once)

    # Put replaces the whole, update changes what it names.
    put("put_maxevent_maxvalue_result", MaximumRetryAttempts=2, MaximumEventAgeInSeconds=21600)
    put("put_pre_overwrite", MaximumRetryAttempts=2, MaximumEventAgeInSeconds=60)
    put("put_post_overwrite", MaximumRetryAttempts=0)
    put("second_overwrite_existing_response", MaximumRetryAttempts=0)
    r.step("get_post_overwrite", "get_function_event_invoke_config", FunctionName=name)
    put("pre_update_response", MaximumRetryAttempts=2, MaximumEventAgeInSeconds=60)
    for label in ("update_response", "update_response_existing"):
        r.step(label, "update_function_event_invoke_config", FunctionName=name, MaximumRetryAttempts=0)

    listed = "list_function_event_invoke_configs"
    r.step("list_configs", listed, sort=BY_ARN, FunctionName=name)
    page = r.call(listed, FunctionName=name, MaxItems=2)
    assert len(page["FunctionEventInvokeConfigs"]) == 2 and page["NextMarker"], page
    for label, qualifier in (("latest", "$LATEST"), ("version", "1"), ("alias", alias_name)):
        r.step(f"delete_{label}", "delete_function_event_invoke_config", FunctionName=name, Qualifier=qualifier)
    r.step("list_configs_postdelete", listed, FunctionName=name)

    def absent_config(label, verb, **arguments):
        r.step(label, f"{verb}_function_event_invoke_config", **{"FunctionName": name} | arguments)

    none = {"MaximumRetryAttempts": 0}
    absent_config("delete_function_not_found", "delete")
    absent_config("delete_function_doesnotexist", "delete", FunctionName="doesnotexist")
    r.step("list_function_doesnotexist", listed, FunctionName="doesnotexist")
    absent_config("get_function_doesnotexist", "get", FunctionName="doesnotexist")
    absent_config("get_qualifier_doesnotexist", "get", Qualifier="doesnotexist")
    absent_config("update_eventinvokeconfig_function_doesnotexist", "update", FunctionName="doesnotexist", **none)
    absent_config("get_eventinvokeconfig_doesnotexist", "get", FunctionName=alias)
    absent_config("update_eventinvokeconfig_config_doesnotexist_with_qualifier", "update", FunctionName=alias, **none)
    absent_config("update_eventinvokeconfig_config_doesnotexist_without_qualifier", "update", FunctionName=arn, **none)


# -- reserved


def account_limit(r):
    return r.call("get_account_settings")["AccountLimit"]


def reserved_exceptions(r):
    prefix = "put_function_concurrency_with_"
    for label, count in (("function_name_doesnotexist", 1), ("function_name_doesnotexist_and_invalid_concurrency", 0)):
        r.step(
            prefix + label, "put_function_concurrency", FunctionName="doesnotexist", ReservedConcurrentExecutions=count
        )
    name = r.name("lambda_func")
    r.create(name, wrapped=True)
    arn = r.call("get_function_configuration", FunctionName=name, Qualifier="$LATEST")["FunctionArn"]
    r.step(prefix + "qualified_arn", "put_function_concurrency", FunctionName=arn, ReservedConcurrentExecutions=0)


def reserved_limits(r):
    name = r.name("lambda_func")
    r.create(name, wrapped=True)
    limit = account_limit(r)["ConcurrentExecutions"]
    for label, count in (("account_limit_exceeded", limit + 1), ("below_unreserved_min_value", limit)):
        r.step(
            f"put_function_concurrency_{label}",
            "put_function_concurrency",
            FunctionName=name,
            ReservedConcurrentExecutions=count,
        )


def reserved(r):
    name = r.name("lambda_func")
    r.create(name, wrapped=True)
    for count in (0, 1):
        r.step(
            f"put_function_concurrency_with_reserved_{count}",
            "put_function_concurrency",
            FunctionName=name,
            ReservedConcurrentExecutions=count,
        )
    r.step("get_function_concurrency", "get_function_concurrency", FunctionName=name)
    r.step("delete_response", "delete_function_concurrency", FunctionName=name)
    r.step("get_function_concurrency_after_delete", "get_function_concurrency", FunctionName=name)
    most = account_limit(r)["UnreservedConcurrentExecutions"] - 100
    answer = r.call("put_function_concurrency", FunctionName=name, ReservedConcurrentExecutions=most)
    assert answer["ReservedConcurrentExecutions"] == most


# -- provisioned


def provision(r, label, function, qualifier, count=1):
    r.step(
        label,
        "put_provisioned_concurrency_config",
        FunctionName=function,
        Qualifier=qualifier,
        ProvisionedConcurrentExecutions=count,
    )


def provisioned_exceptions(r):
    name = r.name("lambda_func")
    r.create(name, wrapped=True)
    r.step("publish_version_result", "publish_version", FunctionName=name)

    def ask(verb, label, function, qualifier):
        r.step(
            f"{verb}_provisioned_{label}",
            f"{verb}_provisioned_concurrency_config",
            FunctionName=function,
            Qualifier=qualifier,
        )

    ask("get", "config_doesnotexist", name, "1")
    ask("get", "functionname_doesnotexist", "doesnotexist", "noalias")
    for verb in ("get", "delete"):
        ask(verb, "qualifier_doesnotexist", name, "noalias")
        ask(verb, "version_doesnotexist", name, "10")
        ask(verb, "latest", name, "$LATEST")
    ask("delete", "functionname_doesnotexist", "doesnotexist", "1")
    ask("delete", "config_doesnotexist", name, "1")
    r.step("list_provisioned_noconfigs", "list_provisioned_concurrency_configs", FunctionName=name)
    r.step(
        "list_provisioned_functionname_doesnotexist",
        "list_provisioned_concurrency_configs",
        FunctionName="doesnotexist",
    )
    provision(r, "put_provisioned_invalid_param_0", name, "1", 0)
    provision(r, "put_provisioned_functionname_doesnotexist_alias", "doesnotexist", "noalias")
    provision(r, "put_provisioned_functionname_doesnotexist_version", "doesnotexist", "1")
    provision(r, "put_provisioned_qualifier_doesnotexist", name, "doesnotexist")
    provision(r, "put_provisioned_version_doesnotexist", name, "10")
    provision(r, "put_provisioned_latest", name, "$LATEST")


def provisioned_limits(r):
    name = r.name("lambda_func")
    r.create(name, wrapped=True)
    r.call("publish_version", FunctionName=name)
    limit = account_limit(r)["ConcurrentExecutions"]
    r.bindings.values["unreserved_concurrency"] = str(limit)
    provision(r, "put_provisioned_concurrency_account_limit_exceeded", name, "1", limit + 1)
    provision(r, "put_provisioned_concurrency_below_unreserved_min_value", name, "1", limit)


def provisioned_lifecycle(r):
    name = r.name("lambda_func")
    r.create(name, wrapped=True)
    r.step("publish_version_result", "publish_version", FunctionName=name)
    alias = r.name("alias")
    r.bindings.values["alias-name"] = alias
    r.step("create_alias_result", "create_alias", FunctionName=name, Name=alias, FunctionVersion="1")
    provision(r, "put_provisioned_on_version", name, "1")
    provision(r, "put_provisioned_on_alias_versionconflict", name, alias)
    version = {"FunctionName": name, "Qualifier": "1"}
    r.platform.until(
        lambda: r.call("get_provisioned_concurrency_config", **version).get("Status") == "READY",
        "the provisioned environment to be ready",
    )
    r.step("delete_provisioned_version", "delete_provisioned_concurrency_config", **version)
    r.step("get_provisioned_version_postdelete", "get_provisioned_concurrency_config", **version)
    provision(r, "put_provisioned_on_alias", name, alias)
    provision(r, "put_provisioned_on_version_conflict", name, "1")
    # With the alias goes what was provisioned for it.
    r.step("delete_alias_result", "delete_alias", FunctionName=name, Name=alias)
    r.step(
        "get_provisioned_alias_postaliasdelete",
        "get_provisioned_concurrency_config",
        FunctionName=name,
        Qualifier=alias,
    )
    r.step("list_response_postdeletes", "list_provisioned_concurrency_configs", FunctionName=name)


SCENARIOS = {
    EVENTS + "test_lambda_eventinvokeconfig_lifecycle": events_lifecycle,
    EVENTS + "test_lambda_eventinvokeconfig_exceptions": events_exceptions,
    RESERVED + "test_function_concurrency": reserved,
    RESERVED + "test_function_concurrency_exceptions": reserved_exceptions,
    RESERVED + "test_function_concurrency_limits": reserved_limits,
    PROVISIONED + "test_provisioned_concurrency_exceptions": provisioned_exceptions,
    PROVISIONED + "test_provisioned_concurrency_limits": provisioned_limits,
    PROVISIONED + "test_lambda_provisioned_lifecycle": provisioned_lifecycle,
}
