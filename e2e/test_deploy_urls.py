"""`url` in an ephyra.toml, and `ephyra open`."""

import json
import re
import urllib.error
import urllib.request

import pytest

import harness

ECHO = "def handler(event, context):\n    return 'hello'\n"


@pytest.fixture
def project(platform, tmp_path):
    """Makes a folder with a function whose settings end with a text; deletes what was deployed from it."""
    names = []

    def write(name, settings):
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        (folder / "app.py").write_text(ECHO)
        (folder / "ephyra.toml").write_text(f'name = "{name}"\nruntime = "{platform.python}"\n{settings}\n')
        return folder

    def make(settings):
        name = platform.unique("url")
        names.append(name)
        return name, write(name, settings)

    make.write = write
    yield make
    for name in names:
        platform.forget(name)


def config_of(platform, name):
    try:
        answer = platform.lambda_.get_function_url_config(FunctionName=name)
    except platform.lambda_.exceptions.ResourceNotFoundException:
        return None
    answer.pop("ResponseMetadata")
    return answer


def statements_of(platform, name):
    try:
        policy = platform.lambda_.get_policy(FunctionName=name)["Policy"]
    except platform.lambda_.exceptions.ResourceNotFoundException:
        return []
    return json.loads(policy)["Statement"]


def test_a_url_in_one_word(platform, project):
    name, folder = project("url = true")
    shown = platform.command("deploy", folder).stdout
    config = config_of(platform, name)
    by_path = re.sub(r"http://(\w+)\..*", rf"{platform.url}/_url/\1/", config["FunctionUrl"])
    assert config["FunctionUrl"] in shown, shown
    assert (config["AuthType"], config["InvokeMode"]) == ("NONE", "BUFFERED")
    (statement,) = statements_of(platform, name)
    assert (statement["Action"], statement["Principal"]) == ("lambda:InvokeFunctionUrl", "*")
    assert statement["Condition"] == {"StringEquals": {"lambda:FunctionUrlAuthType": "NONE"}}
    # Again: nothing changes, and the address is still told.
    shown = platform.command("deploy", folder).stdout
    assert "Unchanged" in shown and config["FunctionUrl"] in shown
    assert config_of(platform, name) == config
    deployed = json.loads(platform.command("deploy", folder, "--json").stdout)
    assert (deployed["FunctionUrl"], deployed["FunctionUrlPath"]) == (config["FunctionUrl"], by_path)
    listed = {f["FunctionName"]: f for f in json.loads(platform.command("list", "--json").stdout)}
    assert listed[name]["FunctionUrl"] == config["FunctionUrl"]
    assert config["FunctionUrl"] in platform.command("list").stdout
    # Not a terminal: printed, in the form that works here.
    for arguments in (("open", name), ("open", name, "--print")):
        assert platform.command(*arguments).stdout.strip() in (config["FunctionUrl"], by_path)
    opened = json.loads(platform.command("open", name, "--json").stdout)
    assert opened == {"Address": config["FunctionUrl"], "AddressPath": by_path}


@pytest.mark.parametrize("runtime", ["python", "nodejs", "provided"])
def test_a_new_function_has_an_address_that_answers(platform, tmp_path, runtime):
    name = platform.unique("new")
    platform.command("new", name, "--runtime", runtime, "--url", cwd=tmp_path)
    try:
        platform.command("deploy", name, cwd=tmp_path)
        address = platform.command("open", name, "--print").stdout.strip()
        with urllib.request.urlopen(f"{address}?name=reader", timeout=harness.PATIENCE) as answer:
            assert answer.status == 200 and json.load(answer)["message"] == "Hello, reader!"
        # Without its permission it is nobody's.
        platform.lambda_.remove_permission(FunctionName=name, StatementId="FunctionURLAllowPublicAccess")
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(address, timeout=harness.PATIENCE)
        assert refused.value.code == 403
    finally:
        platform.forget(name)


def test_a_url_in_full_and_its_changes(platform, project):
    name, folder = project(
        '[url]\nauth = "AWS_IAM"\ninvoke_mode = "RESPONSE_STREAM"\n'
        '[url.cors]\nallow_origins = ["https://example.com"]\nallow_methods = ["GET"]\nmax_age = 60\n'
    )
    platform.command("deploy", folder)
    config = config_of(platform, name)
    assert (config["AuthType"], config["InvokeMode"]) == ("AWS_IAM", "RESPONSE_STREAM")
    assert config["Cors"] == {"AllowOrigins": ["https://example.com"], "AllowMethods": ["GET"], "MaxAge": 60}
    assert statements_of(platform, name) == []
    assert "signed" in platform.command("open", name).stderr
    project.write(name, "url = true")
    platform.command("deploy", folder)
    changed = config_of(platform, name)
    assert (changed["AuthType"], changed["InvokeMode"], changed.get("Cors")) == ("NONE", "BUFFERED", None)
    assert changed["FunctionUrl"] == config["FunctionUrl"] and len(statements_of(platform, name)) == 1
    project.write(name, '[url]\nauth = "AWS_IAM"')
    platform.command("deploy", folder)
    assert config_of(platform, name)["AuthType"] == "AWS_IAM" and statements_of(platform, name) == []
    # Nothing said: it stays. Said that there is none: it goes.
    project.write(name, "")
    assert config["FunctionUrl"] in platform.command("deploy", folder).stdout
    project.write(name, "url = false")
    assert config["FunctionUrl"] not in platform.command("deploy", folder).stdout
    assert config_of(platform, name) is None


def test_what_is_wrong_is_named(platform, project):
    _, folder = project('[url]\nauht = "NONE"')
    done = platform.command("deploy", folder, check=False)
    assert done.returncode != 0 and "auht" in done.stderr
    name, folder = project('[url.cors]\nallow_methods = ["OPTIONS"]')
    done = platform.command("deploy", folder, check=False)
    assert done.returncode != 0 and "cors.allowMethods" in done.stderr
    assert config_of(platform, name) is None


def test_open_says_what_is_missing(platform, project):
    name, folder = project("")
    done = platform.command("open", name, check=False)
    assert done.returncode != 0 and "Function not found" in done.stderr
    platform.command("deploy", folder)
    done = platform.command("open", name, check=False)
    assert done.returncode != 0 and "url = true" in done.stderr
