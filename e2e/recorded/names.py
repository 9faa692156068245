"""Names, partial ARNs, ARNs and qualifiers: what AWS refuses, and with which words (84 situations)."""

import re

from recorded.recorder import RECORDED, archive

CASE = re.compile(r"TestLambdaFunction / test_function_name_and_qualifier_validation\[(\w+)-(\w+)\]")


def inputs(account, region):
    """Name and qualifier of each kind."""
    arn = f"arn:aws:lambda:{region}:{account}:function:my-function"
    elsewhere = f"arn:aws:lambda:invalid-region:{account}:function:my-function"
    return {
        "full_arn_and_qualifier_too_long_and_invalid_region": (f"{elsewhere}-{'a' * 170}", "a" * 129),
        "full_arn_with_multiple_qualifiers": (f"{arn}:1:2", None),
        "function_name_and_qualifier_too_long": ("my-function", "a" * 65),
        "function_name_is_single_invalid": ("*", None),
        "function_name_too_long": ("a" * 65, None),
        "function_name_too_long_and_invalid_region": (f"{elsewhere}{'a' * 170}", None),
        "incomplete_arn": (f"arn:aws:lambda:{region}:{account}:function", None),
        "invalid_account_id_in_partial_arn": ("invalid-account:function:my-function", None),
        "invalid_characters_in_function_name": ("my-function!", None),
        "invalid_characters_in_qualifier": ("my-function", "invalid!"),
        "invalid_region_in_arn": (elsewhere, None),
        "latest_version_with_additional_qualifier": (f"{arn}:$LATEST", "1"),
        "lowercase_latest_qualifier": (arn, "$latest"),
        "missing_account_id_in_arn": (f"arn:aws:lambda:{region}::function:my-function", None),
        "missing_region_in_arn": (f"arn:aws:lambda::{account}:function:my-function", None),
        "misspelled_latest_in_arn": (f"{arn}:$LATES", None),
        "non_lambda_arn": (f"arn:aws:ec2:{region}:{account}:instance:i-1234567890abcdef0", None),
        "partial_arn_with_extra_qualifier": ("function:my-function:$LATEST:extra", None),
        "qualifier_too_long": ("my-function", "a" * 129),
        "qualifier_too_long0": ("my-function", "a" * 129),
        "qualifier_too_long1": ("my-function", "a" * 65),
    }


def replay(r):
    kind, operation = CASE.fullmatch(r.case).groups()
    name, qualifier = inputs(r.account, r.region)[kind]
    if operation == "create_function":
        # The operation has no qualifier: it goes into the name.
        arguments = {
            "FunctionName": name if qualifier is None else f"{name}:{qualifier}",
            "Runtime": r.python,
            "Role": r.role,
            "Handler": "index.handler",
            "Code": {"ZipFile": archive(name="index.py")},
        }
    else:
        arguments = {"FunctionName": name} | ({"Qualifier": qualifier} if qualifier else {})
    answer = r.call(operation, **arguments)
    label = f"{operation}_exception"
    if label not in r.answers:
        # AWS took it.
        assert "FunctionName" in answer, answer
        r.cleanups.append(lambda: r.call("delete_function", FunctionName=answer["FunctionName"]))
        return
    error = answer.get("Error", {})
    got = {"Code": error.get("Code")}
    counted = re.fullmatch(r"(\d+) validation errors? detected: (.*)", error.get("Message", ""), re.DOTALL)
    if counted:
        # AWS gives the order of several by chance.
        got |= {"Count": int(counted[1]), "Errors": sorted(counted[2].split("; "))}
    else:
        got["Message"] = error.get("Message")
    r.match(label, got)


SCENARIOS = {case: replay for case in RECORDED if CASE.fullmatch(case)}
