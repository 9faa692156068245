"""Versions, aliases, revisions and logging configuration."""

from recorded.functions import parameter
from recorded.recorder import OTHER, RECORDED, archive

VERSIONS = "TestLambdaVersions / "
ALIAS = "TestLambdaAlias / "
REVISIONS = "TestLambdaRevisions / "
LOGGING = "TestLoggingConfig / "


def publish_on_create(r):
    name = r.name("fn")
    r.create(name, "create_response", Publish=True)
    r.step("get_function_result", "get_function", FunctionName=name)
    r.step("get_function_version_result", "get_function", FunctionName=name, Qualifier="1")
    r.step("get_function_latest_result", "get_function", FunctionName=name, Qualifier="$LATEST")
    r.step("list_versions_result", "list_versions_by_function", FunctionName=name)
    r.step(
        "repeated_publish_response", "publish_version", FunctionName=name, Description="Repeated version description :)"
    )
    r.step("list_versions_result_after_publish", "list_versions_by_function", FunctionName=name)


def version_lifecycle(r):
    name = r.name("fn")
    r.create(name, "create_response", Description="No version :(")
    r.step("get_function_result", "get_function", FunctionName=name)
    r.step("list_versions_result", "list_versions_by_function", FunctionName=name)
    r.step("first_update_response", "update_function_configuration", FunctionName=name, Description="First version :)")
    r.updated(name)
    r.step("first_update_get_function", "get_function", FunctionName=name)
    r.step("first_publish_response", "publish_version", FunctionName=name, Description="First version description :)")
    r.step("first_publish_get_function", "get_function", FunctionName=name, Qualifier="1")
    r.step("first_publish_get_function_config", "get_function_configuration", FunctionName=name, Qualifier="1")
    r.step(
        "second_update_response", "update_function_configuration", FunctionName=name, Description="Second version :))"
    )
    r.updated(name)
    r.step("first_publish_get_function_after_update", "get_function", FunctionName=name, Qualifier="1")
    # Publishing what was not changed gives the version that is there.
    r.step("second_publish_response", "publish_version", FunctionName=name)
    r.step("third_publish_response", "publish_version", FunctionName=name, Description="Third version description :)))")
    r.step("list_versions_result_after_third_publish", "list_versions_by_function", FunctionName=name)
    r.call("delete_function", FunctionName=name, Qualifier="1")
    r.step("list_versions_result_after_deletion_of_first_version", "list_versions_by_function", FunctionName=name)


def wrong_sha256(r):
    name = r.name("fn")
    r.create(name, "create_response")
    got = r.step("get_fn_response", "get_function", FunctionName=name)
    r.step("publish_wrong_sha256_exc", "publish_version", FunctionName=name, CodeSha256="somenonexistentsha256")
    r.step("publish_result", "publish_version", FunctionName=name, CodeSha256=got["Configuration"]["CodeSha256"])


def wrong_revision(r):
    name = r.name("fn")
    r.create(name, "create_response")
    got = r.step("get_fn_response", "get_function", FunctionName=name)
    r.step("publish_wrong_revisionid_exc", "publish_version", FunctionName=name, RevisionId="doesntexist")
    r.step("publish_result", "publish_version", FunctionName=name, RevisionId=got["Configuration"]["RevisionId"])


def publish_with_update(r):
    name = r.name("fn")
    r.create(name, "create_response")
    r.step("get_function_result", "get_function", FunctionName=name)
    r.step(
        "update_function_code_result", "update_function_code", FunctionName=name, ZipFile=archive(OTHER), Publish=True
    )
    # AWS was still working when these were asked for.
    r.step("get_function_version_result", "get_function", settled=True, FunctionName=name, Qualifier="1")
    r.step("get_function_latest_result", "get_function", settled=True, FunctionName=name, Qualifier="$LATEST")
    r.updated(name)


# -- aliases


def staged(r, label="create_response", **arguments):
    name = r.name("alias-fn")
    r.create(name, label, Environment={"Variables": {"testenv": "staging"}}, **arguments)
    return name


def two_versions(r, name):
    r.step("publish_v1", "publish_version", FunctionName=name)
    r.call("update_function_configuration", FunctionName=name, Environment={"Variables": {"testenv": "prod"}})
    r.updated(name)
    r.step("publish_v2", "publish_version", FunctionName=name)


def alias_lifecycle(r):
    name = staged(r)
    two_versions(r, name)
    weights = {"RoutingConfig": {"AdditionalVersionWeights": {"2": 0.2}}}
    arn = r.arn(f"function:{name}")
    for suffix, alias, version, more in (
        ("1_1", "aliasname1_1", "1", {"Description": "custom-alias"} | weights),
        ("1_2", "aliasname1_2", "1", {"Description": "custom-alias"}),
        ("1_3", "aliasname1_3", "1", {}),
        ("2", "aliasname2", "2", {"Description": "custom-alias"}),
    ):
        r.step(f"create_alias_{suffix}", "create_alias", FunctionName=name, Name=alias, FunctionVersion=version, **more)
        r.step(f"get_alias_{suffix}", "get_alias", FunctionName=name, Name=alias)
        if suffix == "1_1":
            r.step("get_function_alias_1_1", "get_function", FunctionName=name, Qualifier=alias)
            r.step("get_function_byarn_alias_1_1", "get_function", FunctionName=f"{arn}:{alias}")
            r.step("get_function_alias_notfound_exc", "get_function", FunctionName=name, Qualifier="aliasdoesnotexist")
            r.step("get_function_alias_byarn_notfound_exc", "get_function", FunctionName=f"{arn}:aliasdoesnotexist")
    by_name = ("Aliases", "Name")
    pages = r.client.get_paginator("list_aliases").paginate(FunctionName=name, PaginationConfig={"PageSize": 1})
    r.match("list_aliases_for_fnname", {"Aliases": [a for page in pages for a in page["Aliases"]]}, sort=by_name)
    r.step(
        "update_alias_1_1",
        "update_alias",
        FunctionName=name,
        Name="aliasname1_1",
        RoutingConfig={"AdditionalVersionWeights": {}},
    )
    r.step("get_alias_1_1_after_update", "get_alias", FunctionName=name, Name="aliasname1_1")
    r.step("list_aliases_for_fnname_after_update", "list_aliases", sort=by_name, FunctionName=name)
    r.step("update_alias_1_2", "update_alias", FunctionName=name, Name="aliasname1_2")
    r.step("get_alias_1_2_after_update", "get_alias", FunctionName=name, Name="aliasname1_2")
    r.step("list_aliases_for_fnname_after_update_2", "list_aliases", sort=by_name, FunctionName=name)
    r.step("list_aliases_for_version", "list_aliases", sort=by_name, FunctionName=name, FunctionVersion="1")
    r.step("delete_alias_response", "delete_alias", FunctionName=name, Name="aliasname1_1")
    r.step("list_aliases_for_fnname_afterdelete", "list_aliases", sort=by_name, FunctionName=name)


def routing(r):
    name = staged(r, Publish=True)
    two_versions(r, name)

    def create(label, weights=None, version="1", alias="custom", function=name):
        more = {} if weights is None else {"RoutingConfig": {"AdditionalVersionWeights": weights}}
        r.step(label, "create_alias", FunctionName=function, Name=alias, FunctionVersion=version, **more)

    create("routing_config_exc_toomany", {"1": 0.8, "2": 0.2})
    create("routing_config_exc_toohigh", {"2": 2})
    create("routing_config_exc_subzero", {"2": -1})
    create("routing_config_exc_sameversion", {"1": 0.5})
    create("target_version_doesnotexist", {"2": 0.5}, version="10")
    create("routing_config_exc_version_doesnotexist", {"10": 0.5})
    create("target_version_exc_version_latest", {"1": 0.5}, version="$LATEST")
    create("routing_config_exc_version_latest", {"$LATEST": 0.5})
    create("create-alias-latest", version="$LATEST", alias="custom-latest")
    create("routing_config_exc_fn_doesnotexist", {"2": 0.5}, function=f"{name}-unknown")
    create("create_alias_empty_routingconfig", {}, alias="custom-empty-routingconfig")
    create("create_alias_response", {"2": 0.5})
    create("routing_config_exc_already_exist", {"2": 0.5})
    r.step("alias_does_not_exist_esc", "get_alias", FunctionName=name, Name="non-existent")


def alias_naming(r):
    name = staged(r)
    r.step("publish_v1", "publish_version", FunctionName=name)
    alias = {"FunctionName": name, "FunctionVersion": "1", "Description": "custom-alias"}
    r.step("create_alias_date", "create_alias", Name="2024-01-02", **alias)
    r.step("get_alias_date", "get_alias", FunctionName=name, Name="2024-01-02")
    r.step("create_alias_number_exception", "create_alias", Name="2024", **alias)


def alias_deletion(r):
    name = staged(r)
    r.step("delete_alias_response", "delete_alias", FunctionName=name, Name="non-existent")


def alias_update(r):
    name = staged(r)
    r.step("update_alias_response", "update_alias", FunctionName=name, Name="non-existent")


# -- revisions


def revisions(r):
    name = r.name("fn")
    package = archive(name="index.py")
    r.create(name, "create_function_response_rev1", wrapped=True, Handler="index.handler", Code={"ZipFile": package})
    at = r.step("get_function_response_rev2", "get_function", FunctionName=name)["Configuration"]["RevisionId"]
    code = {"FunctionName": name, "ZipFile": package}
    r.step("update_function_revision_exception", "update_function_code", RevisionId="wrong", **code)
    r.step("update_function_code_response_rev3", "update_function_code", RevisionId=at, **code)
    r.updated(name)
    at = r.step("get_function_response_rev4", "get_function", FunctionName=name)["Configuration"]["RevisionId"]
    change = {"FunctionName": name, "Runtime": r.python}
    r.step(
        "update_function_configuration_revision_exception",
        "update_function_configuration",
        RevisionId="wrong",
        **change,
    )
    r.step("update_function_configuration_response_rev5", "update_function_configuration", RevisionId=at, **change)
    r.updated(name)
    r.step("get_function_response_rev6", "get_function", FunctionName=name)


def revisions_of_versions(r):
    name = r.name("fn")
    r.create(name, "create_function_response_rev1", wrapped=True)
    at = r.step("get_function_active_rev2", "get_function", FunctionName=name)["Configuration"]["RevisionId"]
    r.step("publish_version_revision_exception", "publish_version", FunctionName=name, RevisionId="wrong")
    r.step("publish_version_response_rev_v1", "publish_version", FunctionName=name, RevisionId=at)
    r.step("get_function_published_version_rev_v2", "get_function", FunctionName=name, Qualifier="1")
    r.step("get_function_latest_rev3", "get_function", FunctionName=name)
    alias = {"FunctionName": name, "Name": "revision_alias"}
    at = r.step("create_alias_response_rev_a1", "create_alias", FunctionVersion="1", **alias)["RevisionId"]
    r.step("get_function_latest_rev4", "get_function", FunctionName=name)
    r.step("get_function_published_version_rev_v3", "get_function", FunctionName=name, Qualifier="1")
    r.step("update_alias_revision_exception", "update_alias", RevisionId="wrong", **alias)
    r.step("update_alias_response_rev_a2", "update_alias", RevisionId=at, Description="something changed", **alias)


def revisions_of_permissions(r):
    name = r.name("fn")
    r.create(name, wrapped=True)
    r.step(
        "add_permission_revision_exception",
        "add_permission",
        FunctionName=name,
        StatementId="s3",
        Action="lambda:InvokeFunction",
        Principal="s3.amazonaws.com",
        RevisionId="wrong",
    )


# -- logging


def logging_change(r, name, change, suffix=""):
    r.step(f"updated_config{suffix}", "update_function_configuration", FunctionName=name, LoggingConfig=change)
    r.updated(name)
    r.step(f"received_config{suffix}", "get_function_configuration", FunctionName=name)


def logged(r, **arguments):
    name = r.name("fn")
    r.create(name, "create_response", wrapped=True, MemorySize=256, Timeout=5, **arguments)
    r.step("get_function_response", "get_function", FunctionName=name)
    r.step("function_config", "get_function_configuration", FunctionName=name)
    return name


def logging_configuration(r):
    name = logged(r, LoggingConfig={"LogFormat": "JSON"})
    change = {"LogFormat": "JSON", "ApplicationLogLevel": "INFO", "SystemLogLevel": "INFO", "LogGroup": "cool_lambda"}
    logging_change(r, name, change)


def logging_switch(r):
    name = logged(r)
    logging_change(r, name, {"LogFormat": "JSON"})
    logging_change(r, name, {"LogFormat": "Text"}, "_v2")


PARTIAL = {
    "partial_config0": {"LogFormat": "JSON"},
    "partial_config1": {"LogFormat": "JSON", "ApplicationLogLevel": "DEBUG"},
    "partial_config2": {"LogFormat": "JSON", "SystemLogLevel": "DEBUG"},
    "partial_config3": {"LogGroup": "cool_lambda"},
}


def partial_logging(r):
    logging_change(r, logged(r), PARTIAL[parameter(r.case)])


SCENARIOS = {
    VERSIONS + "test_publish_version_on_create": publish_on_create,
    VERSIONS + "test_version_lifecycle": version_lifecycle,
    VERSIONS + "test_publish_with_wrong_sha256": wrong_sha256,
    VERSIONS + "test_publish_with_wrong_revisionid": wrong_revision,
    VERSIONS + "test_publish_with_update": publish_with_update,
    ALIAS + "test_alias_lifecycle": alias_lifecycle,
    ALIAS + "test_notfound_and_invalid_routingconfigs": routing,
    ALIAS + "test_alias_naming": alias_naming,
    ALIAS + "test_non_existent_alias_deletion": alias_deletion,
    ALIAS + "test_non_existent_alias_update": alias_update,
    REVISIONS + "test_function_revisions_basic": revisions,
    REVISIONS + "test_function_revisions_version_and_alias": revisions_of_versions,
    REVISIONS + "test_function_revisions_permissions": revisions_of_permissions,
    LOGGING + "test_function_advanced_logging_configuration": logging_configuration,
    LOGGING + "test_advanced_logging_configuration_format_switch": logging_switch,
}
SCENARIOS |= {case: partial_logging for case in RECORDED if case.startswith(LOGGING + "test_function_partial")}
