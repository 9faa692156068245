"""Function URLs."""

URL = "TestLambdaUrl / "
CREATE, GET, UPDATE, DELETE, LIST = (
    f"{verb}_function_url_config{s}"
    for verb, s in (("create", ""), ("get", ""), ("update", ""), ("delete", ""), ("list", "s"))
)


def create_node(r, name):
    """As recorded: in Node, be it another version of it."""
    r.bindings.runtimes["nodejs20.x"] = r.node
    return r.create(name, wrapped=True, Runtime=r.node, Handler="lambda_handler.handler")


def lifecycle(r):
    name = r.name("fn-url")
    r.create(name, wrapped=True)
    r.step("url_creation", CREATE, FunctionName=name, AuthType="NONE")
    r.step("failed_duplication", CREATE, FunctionName=name, AuthType="NONE")
    r.step("get_url_config", GET, FunctionName=name)
    r.step("updated_url_config", UPDATE, FunctionName=name, AuthType="AWS_IAM")
    r.call(DELETE, FunctionName=name)
    r.step("failed_getter", GET, FunctionName=name)


def deletion_without_qualifier(r):
    name, alias = r.name("fn-url"), "test-alias"
    r.create(name, wrapped=True)
    r.call("create_alias", FunctionName=name, Name=alias, FunctionVersion="$LATEST")
    r.step("url_creation", CREATE, FunctionName=name, AuthType="NONE")
    r.step("url_with_alias_creation", CREATE, FunctionName=name, Qualifier=alias, AuthType="NONE")
    r.step("get_url_config", GET, FunctionName=name)
    r.step("get_url_config_with_alias", GET, FunctionName=name, Qualifier=alias)
    r.step("delete_function_url_config", DELETE, FunctionName=name)
    r.step("get_url_config_after_deletion", GET, FunctionName=name)
    r.step("get_url_config_with_alias_after_deletion", GET, FunctionName=name, Qualifier=alias)


def list_paging(r):
    name, alias = r.name("fn-url"), "urlalias"
    create_node(r, name)
    r.step("fn_version_result", "publish_version", FunctionName=name)
    r.step("create_alias_result", "create_alias", FunctionName=name, Name=alias, FunctionVersion="1")
    r.step("list_function_notfound", LIST, FunctionName="doesnotexist")
    r.step("list_all_empty", LIST, FunctionName=name)
    r.step("url_config_fn", CREATE, FunctionName=name, AuthType="NONE")
    r.step("url_config_alias", CREATE, FunctionName=f"{name}:{alias}", Qualifier=alias, AuthType="NONE")
    r.step("list_all", LIST, FunctionName=name, sort=("FunctionUrlConfigs", "FunctionArn"))

    def arns(page):
        return [c["FunctionArn"] for c in page["FunctionUrlConfigs"]]

    one = r.call(LIST, FunctionName=name, MaxItems=1)
    rest = r.call(LIST, FunctionName=name, MaxItems=1, Marker=one["NextMarker"])
    assert len(arns(one)) == len(arns(rest)) == 1 and "NextMarker" not in rest
    assert set(arns(one) + arns(rest)) == set(arns(r.call(LIST, FunctionName=name)))


def exceptions(r):
    name, alias = r.name("fn-url"), "urlalias"
    arn = create_node(r, name)["FunctionArn"]
    r.step("fn_version_result", "publish_version", FunctionName=name)
    alias_arn = r.step("create_alias_result", "create_alias", FunctionName=name, Name=alias, FunctionVersion="1")[
        "AliasArn"
    ]
    absent = arn.replace(name, "doesnotexist")
    situations = {
        "arn_doesnotexist": {"FunctionName": absent},
        "config_doesnotexist": {"FunctionName": name},
        "name_doesnotexist": {"FunctionName": "doesnotexist"},
        "name_doesnotexist_qualifier": {"FunctionName": "doesnotexist", "Qualifier": "1"},
        "qualifier_alias_doesnotexist": {"FunctionName": name, "Qualifier": "doesnotexist"},
        "qualifier_alias_doesnotmatch_arn": {"FunctionName": alias_arn, "Qualifier": "doesnotexist"},
        "qualifier_latest": {"FunctionName": name, "Qualifier": "$LATEST"},
        "qualifier_version": {"FunctionName": name, "Qualifier": "1"},
        "qualifier_version_doesnotexist": {"FunctionName": name, "Qualifier": "2"},
    }
    for operation in (CREATE, GET, UPDATE, DELETE):
        more = {"AuthType": "NONE"} if operation in (CREATE, UPDATE) else {}
        for situation, arguments in situations.items():
            if operation == CREATE and situation == "config_doesnotexist":
                continue
            r.step(f"{operation}_{situation}", operation, **arguments, **more)


SCENARIOS = {
    URL + "test_url_config_deletion_without_qualifier": deletion_without_qualifier,
    URL + "test_url_config_exceptions": exceptions,
    URL + "test_url_config_lifecycle": lifecycle,
    URL + "test_url_config_list_paging": list_paging,
}
