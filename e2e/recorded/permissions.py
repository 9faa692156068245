"""Resource policies and tags."""

from recorded.functions import parameter
from recorded.recorder import RECORDED

PERMISSIONS = "TestLambdaPermissions / "
TAG = "TestLambdaTag / "
TAGS = "TestLambdaTags / "
BUCKET = "arn:aws:s3:::test-bucket"
S3 = {"Action": "lambda:InvokeFunction", "StatementId": "s3", "Principal": "s3.amazonaws.com", "SourceArn": BUCKET}


def function(r, label=None, **arguments):
    name = r.name("lambda_func")
    r.create(name, label, wrapped=True, **arguments)
    return name


def exceptions(r):
    name = function(r)

    def add(label, function=name, **change):
        request = {"FunctionName": function} | S3 | change
        r.step(label, "add_permission", **{k: v for k, v in request.items() if v is not None})

    add("add_permission_invalid_statement_id", StatementId="example.com", SourceArn=None)
    add("add_permission_fn_qualifier_mismatch", f"{name}:alias-not-42", Qualifier="42")
    add("add_permission_fn_qualifier_latest", f"{name}:$LATEST", Qualifier="$LATEST")
    add(
        "add_permission_principal_invalid",
        StatementId="lambda",
        Principal="invalid.nonaws.com",
        SourceArn=None,
        SourceAccount=r.account,
    )
    r.step("get_policy_fn_doesnotexist", "get_policy", FunctionName="doesnotexist")
    r.step("get_policy_fn_version_doesnotexist", "get_policy", FunctionName=name, Qualifier="77")
    add("add_permission_fn_doesnotexist", "doesnotexist")
    remove = {"FunctionName": name, "StatementId": "s3"}
    r.step("remove_permission_policy_doesnotexist", "remove_permission", **remove)
    add("add_permission_fn_alias_doesnotexist", f"{name}:alias-doesnotexist")
    add("add_permission_fn_version_doesnotexist", Qualifier="42")
    add("add_permission_fn_qualifier_invalid", Qualifier="invalid-qualifier-with-?-char")
    # A dollar is allowed for the sake of $LATEST.
    add("add_permission_fn_qualifier_valid_doesnotexist", Qualifier="valid-with-$-but-doesnotexist")
    assert "Statement" in r.call("add_permission", FunctionName=name, **S3)
    add("add_permission_conflicting_statement_id")
    r.step("remove_permission_fn_doesnotexist", "remove_permission", FunctionName="doesnotexist", StatementId="s3")
    r.step("remove_permission_fn_alias_doesnotexist", "remove_permission", Qualifier="alias-doesnotexist", **remove)


def add_permission(r):
    name = function(r, "create_lambda")
    r.step("add_permission", "add_permission", FunctionName=name, **S3)
    r.step("get_policy", "get_policy", FunctionName=name)


def versioning(r):
    name = function(r)
    r.step("add_permission", "add_permission", FunctionName=name, **S3)
    r.step("get_policy", "get_policy", FunctionName=name)
    r.step("publish_version_result", "publish_version", FunctionName=name)
    r.step("get_function_result_after_publishing", "get_function", FunctionName=name)
    r.step("get_policy_after_publishing_latest", "get_policy", FunctionName=name)
    # A policy belongs to the function, or to one version, or to one alias.
    r.step("get_policy_after_publishing_new_version", "get_policy", FunctionName=name, Qualifier="1")
    r.call("add_permission", FunctionName=f"{name}:1", Qualifier="1", **S3)
    r.step("get_policy_version", "get_policy", FunctionName=name, Qualifier="1")
    alias = {"FunctionName": name, "Name": "permission-alias"}
    r.step("create_alias_response", "create_alias", FunctionVersion="1", **alias)
    r.step("get_alias", "get_alias", **alias)
    r.step(
        "add_permission_alias_revision_exception",
        "add_permission",
        FunctionName=name,
        Qualifier="permission-alias",
        RevisionId="wrong",
        **S3,
    )
    r.call("add_permission", FunctionName=f"{name}:permission-alias", Qualifier="permission-alias", **S3)
    r.step("get_policy_alias", "get_policy", FunctionName=name, Qualifier="permission-alias")
    policy = r.step("get_policy_after_adding_to_new_version", "get_policy", FunctionName=name)
    r.call("add_permission", FunctionName=name, RevisionId=policy["RevisionId"], **S3 | {"StatementId": "s3_2"})
    r.step("get_policy_after_adding_2", "get_policy", FunctionName=name)


def fields(r):
    name = function(r)
    user = f"arn:aws:iam::{r.account}:user/someone"
    r.bindings.values["user_arn"] = user
    invoke = {"Action": "lambda:InvokeFunction"}
    for label, request in (
        ("principal_wildcard", invoke | {"StatementId": "wilcard", "Principal": "*", "SourceAccount": r.account}),
        (
            "principal_service",
            invoke | {"StatementId": "lambda", "Principal": "lambda.amazonaws.com", "SourceAccount": r.account},
        ),
        ("principal_account", invoke | {"StatementId": "account-id", "Principal": r.account}),
        ("principal_arn", invoke | {"StatementId": "user-arn", "Principal": user, "SourceAccount": r.account}),
        (
            "optional_fields",
            {
                "StatementId": "urlPermission",
                "Action": "lambda:InvokeFunctionUrl",
                "Principal": "*",
                "SourceArn": BUCKET,
                "SourceAccount": r.account,
                "PrincipalOrgID": "o-1234567890",
                "FunctionUrlAuthType": "NONE",
            },
        ),
        (
            "alexa_skill",
            invoke
            | {
                "StatementId": "alexaSkill",
                "Principal": "*",
                "EventSourceToken": "amzn1.ask.skill.xxxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx",
            },
        ),
    ):
        r.step(f"add_permission_{label}", "add_permission", FunctionName=name, **request)


def removal(r):
    name = function(r)
    s3 = {k: v for k, v in S3.items() if k != "SourceArn"}
    r.step("add_permission_1", "add_permission", FunctionName=name, **s3)
    sqs = S3 | {"StatementId": "sqs", "Principal": "sqs.amazonaws.com"}
    r.step("add_permission_2", "add_permission", FunctionName=name, **sqs)
    r.step("policy_after_2_add", "get_policy", FunctionName=name)
    r.step(
        "remove_permission_exception_nonexisting_sid",
        "remove_permission",
        FunctionName=name,
        StatementId="non-existent",
    )
    r.call("remove_permission", FunctionName=name, StatementId="sqs")
    r.step("policy_after_removal", "get_policy", FunctionName=name)
    policy = r.step("policy_after_removal_attempt", "get_policy", FunctionName=name)
    r.call("remove_permission", FunctionName=name, StatementId="s3", RevisionId=policy["RevisionId"])
    r.step("get_policy_exception_removed_all", "get_policy", FunctionName=name)


def several(r):
    name = function(r)
    for label, service in (("add_permission_response_1", "logs"), ("add_permission_response_2", "kinesis")):
        r.step(
            label,
            "add_permission",
            FunctionName=name,
            Action="lambda:InvokeFunction",
            StatementId=service,
            Principal=f"{service}.amazonaws.com",
        )
    r.step("policy_after_2_add", "get_policy", FunctionName=name)


# -- tags


def tag_on_create(r):
    name = r.name("fn")
    r.bindings.values["custom-tag"] = "tag-1"
    arn = r.create(name, wrapped=True, Tags={"testtag": "tag-1"})["FunctionArn"]
    r.step("get_function_result", "get_function", FunctionName=name)
    r.step("list_tags_result", "list_tags", Resource=arn)


def tag_steps(r):
    arn = r.create(r.name("fn"), wrapped=True)["FunctionArn"]
    for label, operation, change in (
        ("tag_single_response", "tag_resource", {"Tags": {"A": "tag-a"}}),
        ("tag_multiple_response", "tag_resource", {"Tags": {"B": "tag-b", "C": "tag-c"}}),
        ("tag_overlap_response", "tag_resource", {"Tags": {"C": "tag-c-newsuffix", "D": "tag-d"}}),
        ("untag_single_response", "untag_resource", {"TagKeys": ["A"]}),
        ("untag_multiple_response", "untag_resource", {"TagKeys": ["B", "C"]}),
        ("untag_nonexisting_response", "untag_resource", {"TagKeys": ["F"]}),
        ("untag_existing_and_nonexisting_response", "untag_resource", {"TagKeys": ["D", "F"]}),
    ):
        r.step(label, operation, Resource=arn, **change)
        r.step(f"{label}_listtags", "list_tags", Resource=arn)


def tags_of_deleted(r):
    name = r.name("fn")
    arn = r.create(name, wrapped=True)["FunctionArn"]
    r.step("pre_delete_get_function", "get_function", FunctionName=arn)
    r.call("delete_function", FunctionName=arn)
    not_found(r, arn)


def not_found(r, arn):
    r.step("not_found_exception_tag", "tag_resource", Resource=arn, Tags={"A": "B"})
    r.step("not_found_exception_untag", "untag_resource", Resource=arn, TagKeys=["A"])
    r.step("not_found_exception_list", "list_tags", Resource=arn)


def tag_wrong_resources(r):
    assert parameter(r.case) == "lambda_function"
    name = r.name("resource")
    r.bindings.values["resource-name"] = name
    not_found(r, r.arn(f"function:{name}"))
    r.step("aliased_arn_exception", "tag_resource", Resource=r.arn(f"function:{name}:alias"), Tags={"A": "B"})
    r.step("invalid_arn_exception", "tag_resource", Resource=r.arn(f"foobar:{name}"), Tags={"A": "B"})


def tag_exceptions(r):
    arn = r.create(r.name("fn-tag"), wrapped=True)["FunctionArn"]
    tags = {"Tags": {"key_a": "value_a"}}
    r.step("tag_lambda_invalidarn", "tag_resource", Resource="arn:aws:something", **tags)
    r.step("tag_lambda_doesnotexist", "tag_resource", Resource=r.arn("function:doesnotexist"), **tags)
    r.step("tag_lambda_qualifier_doesnotexist", "tag_resource", Resource=f"{arn}:v1", **tags)
    r.step("list_tag_lambda_empty", "list_tags", Resource=arn)
    r.step("untag_nomatch", "untag_resource", Resource=arn, TagKeys=["somekey"])
    r.step("untag_empty_keys", "untag_resource", Resource=arn, TagKeys=[])
    r.step("tag_empty_tags", "tag_resource", Resource=arn, Tags={})
    r.call("tag_resource", Resource=arn, Tags={"a_key": "a_value", "b_key": "b_value"})
    r.call("untag_resource", Resource=arn, TagKeys=["a_key", "c_key"])
    assert r.call("list_tags", Resource=arn)["Tags"] == {"b_key": "b_value"}


def tag_limits(r):
    def tags(count):
        return {f"{n}_key": f"{n}_value" for n in range(count)}

    name = r.name("fn-tag")
    r.create(r.name("fn-tag"), "create_function_invalid_tags", wait=False, Tags=tags(51))
    arn = r.create(name, wrapped=True)["FunctionArn"]
    r.step("tag_lambda_too_many_tags", "tag_resource", Resource=arn, Tags=tags(51))
    r.step("tag_response", "tag_resource", Resource=arn, Tags=tags(50))
    r.step("list_tags_response", "list_tags", Resource=arn)
    r.step("get_fn_response", "get_function", FunctionName=name)
    r.step("tag_lambda_too_many_tags_additional", "tag_resource", Resource=arn, Tags={"a_key": "a_value"})


def tag_versions(r):
    name = r.name("fn-tag")
    arn = r.create(name, wrapped=True, Tags={"key_a": "value_a"})["FunctionArn"]
    version = r.call("publish_version", FunctionName=name)["FunctionArn"]
    tags = {f"key_{letter}": f"value_{letter}" for letter in "bcde"}
    r.step("tag_resource_exception", "tag_resource", Resource=version, Tags=tags)
    r.step("tag_resource_latest_exception", "tag_resource", Resource=f"{arn}:$LATEST", Tags=tags)


def tag_lifecycle(r):
    name = r.name("fn-tag")

    def look(suffix):
        r.step(f"list_tags_response_{suffix}", "list_tags", Resource=arn)
        r.step(f"get_fn_response_{suffix}", "get_function", FunctionName=arn)

    arn = r.create(name, wrapped=True, Tags={"key_a": "value_a"})["FunctionArn"]
    look("postfncreate")
    tags = {f"key_{letter}": f"value_{letter}" for letter in "bcde"}
    r.step("tag_resource_response", "tag_resource", Resource=arn, Tags=tags)
    look("postaddtags")
    r.step("tag_resource_overwrite", "tag_resource", Resource=arn, Tags={"key_b": "value_b", "key_c": "value_x"})
    look("overwrite")
    r.call("untag_resource", Resource=arn, TagKeys=["key_c", "key_d"])
    look("postuntag")
    r.call("untag_resource", Resource=arn, TagKeys=["key_a", "key_b", "key_e"])
    look("postuntagall")
    r.call("delete_function", FunctionName=name)
    r.step("list_tags_postdelete", "list_tags", Resource=arn)


SCENARIOS = {
    PERMISSIONS + "test_permission_exceptions": exceptions,
    PERMISSIONS + "test_add_lambda_permission_aws": add_permission,
    PERMISSIONS + "test_lambda_permission_fn_versioning": versioning,
    PERMISSIONS + "test_add_lambda_permission_fields": fields,
    PERMISSIONS + "test_remove_multi_permissions": removal,
    PERMISSIONS + "test_create_multiple_lambda_permissions": several,
    TAG + "test_create_tag_on_fn_create": tag_on_create,
    TAG + "test_tag_lifecycle": tag_steps,
    TAG + "test_tag_lifecycle[lambda_function]": tag_steps,
    TAG + "test_tag_nonexisting_resource": tags_of_deleted,
    TAG + "test_tag_exceptions[lambda_function]": tag_wrong_resources,
    TAGS + "test_tag_exceptions": tag_exceptions,
    TAGS + "test_tag_limits": tag_limits,
    TAGS + "test_tag_versions": tag_versions,
    TAGS + "test_tag_lifecycle": tag_lifecycle,
}
assert SCENARIOS.keys() <= RECORDED.keys()
