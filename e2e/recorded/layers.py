"""Layers."""

from recorded.recorder import RECORDED, archive

LAYER = "TestLambdaLayer / "
X86 = {"CompatibleArchitectures": ["x86_64"]}


def compatibilities(r):
    want = r.answers["publish_result"]
    # These need not be on this machine.
    r.bindings.runtimes.clear()
    r.layer(
        r.name("testlayer"),
        "publish_result",
        CompatibleRuntimes=want["CompatibleRuntimes"],
        CompatibleArchitectures=want["CompatibleArchitectures"],
    )


def exceptions(r):
    name = r.name("testlayer")
    published = r.layer(name, "publish_result", CompatibleRuntimes=[r.python], **X86)
    r.step("list_layers_exc_compatibleruntime_invalid", "list_layers", CompatibleRuntime="runtimedoesnotexist")
    r.step("list_layers_exc_compatiblearchitecture_invalid", "list_layers", CompatibleArchitecture="archdoesnotexist")
    r.step("list_nonexistent_layer", "list_layer_versions", LayerName="layerdoesnotexist")

    def get(label, version, layer=name):
        r.step(f"get_layer_version_exc_{label}", "get_layer_version", LayerName=layer, VersionNumber=version)

    get("layer_doesnotexist", 1, "layerdoesnotexist")
    get("layer_version_doesnotexist_negative", -1)
    get("layer_version_doesnotexist_zero", 0)
    get("layer_version_doesnotexist_2", 2)

    def delete(label, version, layer=name):
        r.step(label, "delete_layer_version", LayerName=layer, VersionNumber=version)

    delete("delete_nonexistent_response", 1, "layerdoesnotexist")
    delete("delete_nonexistent_version_response", 2)
    delete("delete_layer_response", published["Version"])
    delete("delete_layer_again_response", published["Version"])
    delete("delete_layer_version_exc_layerversion_invalid_version", -1)
    r.layer(r.name("testlayer-empty"), "publish_empty_result", CompatibleRuntimes=[], CompatibleArchitectures=[])

    def refused(label, runtimes, architectures):
        r.layer(r.name("testlayer-2"), label, CompatibleRuntimes=runtimes, CompatibleArchitectures=architectures)

    refused("publish_layer_version_exc_invalid_runtime_arch", ["invalidruntime"], ["invalidarch"])
    refused(
        "publish_layer_version_exc_partially_invalid_values",
        ["invalidruntime", "invalidruntime2", "nodejs20.x"],
        ["invalidarch", "x86_64"],
    )


def function_exceptions(r):
    name, layer_name = r.name("fn-layer"), r.name("testlayer")
    first, second, third = (
        r.layer(layer_name, label, CompatibleRuntimes=[], **X86)
        for label in ("publish_result", "publish_result_2", "publish_result_3")
    )
    r.create(name, wrapped=True)
    r.step("get_fn_result", "get_function", FunctionName=name)
    one, two, three = (layer["LayerVersionArn"] for layer in (first, second, third))
    arn = first["LayerArn"]

    def refused(label, *layers):
        r.step(label, "update_function_configuration", FunctionName=name, Layers=list(layers))

    refused("two_layer_versions_single_function_exc", one, two)
    refused("three_layer_versions_single_function_exc", one, two, three)
    refused("two_identical_layer_versions_single_function_exc", one, one)
    refused("add_nonexistent_layer_exc", f"{arn.replace(layer_name, 'doesnotexist')}:1")
    refused("add_nonexistent_layer_version_exc", f"{arn}:9")
    refused("add_layer_arn_without_version_exc", arn)
    elsewhere = one.replace(f":{r.region}:", ":eu-west-1:" if r.region != "eu-west-1" else ":us-east-1:")
    r.step(
        "create_function_with_layer_in_different_region",
        "create_function",
        FunctionName=r.name("fn-layer"),
        Handler="handler.handler",
        Code={"ZipFile": archive()},
        Role=r.role,
        Runtime=r.python,
        Layers=[elsewhere],
    )


def quota(r):
    layers = [r.layer(r.name(f"testlayer-{n}"), CompatibleRuntimes=[], **X86)["LayerVersionArn"] for n in range(6)]
    r.step(
        "create_function_with_six_layers",
        "create_function",
        FunctionName=r.name("fn-layer"),
        Handler="handler.handler",
        Code={"ZipFile": archive()},
        Role=r.role,
        Runtime=r.python,
        Layers=layers,
    )


def lifecycle(r):
    name, layer_name = r.name("fn-layer"), r.name("testlayer")
    r.create(name, wrapped=True)
    r.step("get_fn_result", "get_function", FunctionName=name)
    r.step("get_fn_config_result", "get_function_configuration", FunctionName=name)
    words = {"LicenseInfo": "licenseinfo-1", "Description": "description-1"}
    r.bindings.values |= {"license-info": words["LicenseInfo"], "description": words["Description"]}
    layer = words | {"CompatibleRuntimes": [r.python]} | X86
    content = archive("x", "layer.txt")
    first = r.layer(layer_name, "publish_result", content, **layer)
    r.layer(layer_name, "publish_result_2", content, **layer)
    r.step("update_fn_config", "update_function_configuration", FunctionName=name, Layers=[first["LayerVersionArn"]])
    r.updated(name)
    r.step("get_fn_config", "get_function_configuration", FunctionName=name)
    r.step("get_layer_ver_result", "get_layer_version", LayerName=layer_name, VersionNumber=1)
    r.step("list_layer_versions_predelete", "list_layer_versions", LayerName=layer_name)
    # A function keeps a layer that was deleted.
    r.step("delete_layer_1", "delete_layer_version", LayerName=layer_name, VersionNumber=1)
    r.step("get_fn_config_postdelete", "get_function_configuration", FunctionName=name)
    r.step("delete_layer_2", "delete_layer_version", LayerName=layer_name, VersionNumber=2)
    r.step("list_layer_versions_postdelete", "list_layer_versions", LayerName=layer_name)
    # A number is never given twice.
    r.layer(layer_name, "publish_result_3", content, **layer)


SCENARIOS = {
    LAYER + "test_layer_exceptions": exceptions,
    LAYER + "test_layer_function_exceptions": function_exceptions,
    LAYER + "test_layer_function_quota_exception": quota,
    LAYER + "test_layer_lifecycle": lifecycle,
}
SCENARIOS |= {case: compatibilities for case in RECORDED if case.startswith(LAYER + "test_layer_compatibilities")}
# Answers of operations that are not offered.
EXCUSED = {
    LAYER + "test_layer_exceptions": [
        "get_layer_version_by_arn_exc_invalidarn",
        "get_layer_version_by_arn_exc_nonexistentversion",
    ],
    LAYER + "test_layer_lifecycle": ["get_layer_by_arn_version"],
}
