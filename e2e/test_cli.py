"""The `ephyra` command line, as a person uses it in an empty folder, and as a program with --json."""

import json
import pathlib
import re
import subprocess
import threading

import pytest

import harness


@pytest.fixture
def project(platform, tmp_path):
    """Makes a function's folder with `ephyra new`; deletes what was deployed from it."""
    names = []

    def make(runtime="python"):
        name = platform.unique("cli")
        names.append(name)
        platform.command("new", name, "--runtime", runtime, cwd=tmp_path)
        return name, tmp_path / name

    yield make
    for name in names:
        platform.forget(name)


@pytest.mark.parametrize("runtime", ["python", "nodejs", "provided"])
def test_new_deploy_invoke_logs_list_delete(platform, project, tmp_path, runtime):
    name, folder = project(runtime)
    assert (folder / "ephyra.toml").exists()
    deployed = platform.command("deploy", name, cwd=tmp_path)
    assert name in deployed.stdout + deployed.stderr
    assert platform.lambda_.get_function(FunctionName=name)["Configuration"]["State"] == "Active"
    invoked = platform.command("invoke", name, "--payload", '{"name": "reader"}')
    # What bash answers does not depend on the event.
    assert ("Hello" if runtime == "provided" else "reader") in invoked.stdout, invoked.stdout
    shown = invoked.stdout + invoked.stderr
    assert re.search(r"\d+(\.\d+)? ?ms", shown), "its timing"
    assert "START RequestId" in platform.logs(name)
    assert name in platform.command("list").stdout
    platform.command("delete", name, "--yes")
    assert name not in platform.command("list").stdout


def test_the_same_with_json(platform, project, tmp_path):
    name, folder = project()
    deployed = json.loads(platform.command("deploy", name, "--json", cwd=tmp_path).stdout)
    assert name in json.dumps(deployed)
    invoked = json.loads(platform.command("invoke", name, "--payload", '{"name": "reader"}', "--json").stdout)
    assert "reader" in json.dumps(invoked)
    listed = json.loads(platform.command("list", "--json").stdout)
    assert name in json.dumps(listed)
    lines = [
        json.loads(line)
        for line in platform.command("logs", name, "--json").stdout.splitlines()
        if line.strip()[:1] == "{"
    ]
    assert any("START RequestId" in json.dumps(line) for line in lines)
    deleted = platform.command("delete", name, "--yes", "--json").stdout
    assert not deleted.strip() or json.loads(deleted) is not None


def test_deploy_sends_what_ephyra_toml_says(platform, project):
    name, folder = project()
    (folder / "app.py").write_text("import os\ndef handler(event, context):\n    return os.environ['WHO']\n")
    (folder / "ephyra.toml").write_text(
        f'name = "{name}"\nruntime = "{platform.python}"\nhandler = "app.handler"\nmemory = 192\ntimeout = 7\n'
        'description = "of mine"\n[environment]\nWHO = "me"\n'
    )
    # From inside the folder, without its name.
    platform.command("deploy", cwd=folder)
    configuration = platform.lambda_.get_function_configuration(FunctionName=name)
    assert (configuration["MemorySize"], configuration["Timeout"], configuration["Description"]) == (192, 7, "of mine")
    assert platform.invoke(name) == "me"
    # A change of settings, then of code.
    settings = folder / "ephyra.toml"
    settings.write_text(
        settings.read_text().replace('WHO = "me"', 'WHO = "you"').replace("memory = 192", "memory = 256")
    )
    platform.command("deploy", cwd=folder)
    assert platform.invoke(name) == "you"
    before = platform.lambda_.get_function_configuration(FunctionName=name)["RevisionId"]
    assert "Unchanged" in platform.command("deploy", cwd=folder).stdout
    assert platform.lambda_.get_function_configuration(FunctionName=name)["RevisionId"] == before
    (folder / "app.py").write_text("def handler(event, context):\n    return 'changed'\n")
    published = platform.command("deploy", "--publish", cwd=folder)
    assert platform.invoke(name) == "changed"
    assert platform.invoke(name, Qualifier="1") == "changed", published.stdout
    assert platform.lambda_.get_function_configuration(FunctionName=name)["MemorySize"] == 256


def test_deploy_in_an_empty_folder_says_what_to_do(platform, tmp_path):
    done = platform.command("deploy", cwd=tmp_path, check=False)
    assert done.returncode != 0 and "ephyra new" in done.stderr
    done = platform.command("deploy", "--json", cwd=tmp_path, check=False)
    assert done.returncode != 0 and "ephyra new" in json.loads(done.stderr)["error"]


def test_deploy_takes_secrets_from_the_environment(platform, project):
    name, folder = project()
    (folder / "app.py").write_text("import os\ndef handler(event, context):\n    return os.environ.get('TOKEN')\n")
    settings = folder / "ephyra.toml"
    settings.write_text(f'name = "{name}"\nruntime = "{platform.python}"\nsecrets = ["TOKEN"]\n')
    # Without a value it is said, and left out.
    assert "TOKEN has no value" in platform.command("deploy", cwd=folder).stderr
    assert platform.invoke(name) is None
    platform.command("deploy", cwd=folder, environment={"TOKEN": "first"})
    assert platform.invoke(name) == "first"
    # It stays while nobody says another, whatever else changes.
    settings.write_text(settings.read_text() + "memory = 192\n")
    assert "TOKEN" not in platform.command("deploy", cwd=folder).stderr
    assert platform.invoke(name) == "first"
    platform.command("deploy", cwd=folder, environment={"TOKEN": "second"})
    assert platform.invoke(name) == "second"


def test_deploy_names_a_link_that_leads_out(platform, project):
    _, folder = project()
    (folder / "venv").mkdir()
    (folder / "venv" / "python").symlink_to("/usr/bin/python3")
    done = platform.command("deploy", cwd=folder, check=False)
    assert done.returncode != 0 and "venv/python" in done.stderr and "exclude" in done.stderr


@pytest.mark.parametrize(
    "option", ["--memory=10", "--concurrency=0", "--region=mars", "--public-url=foo", "--log-level=loud"]
)
def test_serve_refuses_nonsense(platform, option, tmp_path):
    done = platform.command("serve", "--data", tmp_path / "data", option, check=False)
    assert done.returncode != 0 and option.split("=")[1] in done.stderr


def test_logs_of_no_function(platform):
    done = platform.command("logs", "nobody-knows-it", check=False)
    assert done.returncode != 0 and "nobody-knows-it" in done.stderr


def test_new_does_not_overwrite(platform, project, tmp_path):
    name, folder = project()
    (folder / "app.py").write_text("mine")
    done = platform.command("new", name, cwd=tmp_path, check=False)
    assert done.returncode != 0 and (folder / "app.py").read_text() == "mine"


def test_invoke_shows_failures(platform, function):
    name = function("def handler(event, context):\n    print('before')\n    raise ValueError('so it goes')\n")
    done = platform.command("invoke", name, check=False)
    assert done.returncode != 0
    assert "so it goes" in done.stdout + done.stderr and "before" in done.stdout + done.stderr
    done = platform.command("invoke", "absent", check=False)
    assert done.returncode != 0 and "absent" in done.stderr and "Traceback" not in done.stderr


def test_invoke_reads_payloads_from_files_and_standard_input(platform, function, tmp_path):
    name = function("def handler(event, context):\n    return event\n")
    (tmp_path / "event.json").write_text('{"from": "file"}')
    assert "file" in platform.command("invoke", name, "--payload", "@event.json", cwd=tmp_path).stdout
    assert "input" in platform.command("invoke", name, "--payload", "-", input='{"from": "input"}').stdout


def test_logs_follow(platform, function):
    name = function("def handler(event, context):\n    print('saw', event['n'])\n")
    environment = platform.variables()
    command = [harness.BINARY, "logs", "--follow", name]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    seen = []
    reader = threading.Thread(target=lambda: seen.extend(iter(process.stdout.readline, "")))
    reader.start()
    try:
        for n in range(3):
            platform.invoke(name, {"n": n})
            platform.until(lambda n=n: any(f"saw {n}" in line for line in seen), f"line {n}", 15)
    finally:
        process.terminate()
        process.wait(10)
        reader.join()


def test_without_a_platform_the_error_says_what_to_do(platform):
    port = harness.free_port()
    done = platform.command("list", "--endpoint", f"http://127.0.0.1:{port}", check=False)
    assert done.returncode != 0 and str(port) in done.stderr and "ephyra serve" in done.stderr


def test_credentials_are_made_on_first_start_and_kept(own_server):
    server = own_server(environment={"EPHYRA_ROOT_ACCESS_KEY_ID": "", "EPHYRA_ROOT_SECRET_ACCESS_KEY": ""})
    first = json.loads(server.command("credentials", "--data", server.data, "--json").stdout)
    key, secret = first["accessKeyId"], first["secretAccessKey"]
    text = server.command("credentials", "--data", server.data).stdout
    assert key in text and secret in text
    lines = server.command("credentials", "--data", server.data, "--export").stdout.splitlines()
    assert lines == [f"export AWS_ACCESS_KEY_ID={key}", f"export AWS_SECRET_ACCESS_KEY={secret}"]
    kept = [f for f in pathlib.Path(server.data).rglob("*") if f.is_file() and "credential" in f.name]
    assert kept and all(f.stat().st_mode & 0o077 == 0 for f in kept)
    mine = {"AWS_ACCESS_KEY_ID": key, "AWS_SECRET_ACCESS_KEY": secret}
    server.command("list", environment=mine)
    done = server.command("list", check=False)
    assert done.returncode != 0, "the key of another platform is refused"
    # Without any in the environment, the command line takes them from the data folder.
    server.command("list", "--data", server.data, environment=dict.fromkeys(mine, ""))
    server.terminate()
    server.start()
    assert json.loads(server.command("credentials", "--data", server.data, "--json").stdout) == first
    server.command("list", environment=mine)


def test_credentials_of_a_folder_that_has_none(platform, tmp_path):
    done = platform.command("credentials", "--data", tmp_path, check=False)
    assert done.returncode != 0 and "ephyra serve" in done.stderr


def test_doctor(platform):
    done = platform.command("doctor")
    for piece in ("namespace", "seccomp", "cgroup", "landlock"):
        assert piece in done.stdout.lower(), piece
    assert isinstance(json.loads(platform.command("doctor", "--json").stdout), (dict, list))


def test_runtime_list(platform):
    text = platform.command("runtime", "list").stdout
    for name in (platform.python, platform.node, "provided.al2023"):
        assert name in text
        assert name in platform.runtimes()


def test_help_and_mistakes(platform):
    assert "deploy" in platform.command("--help").stdout
    assert re.search(r"\d+\.\d+\.\d+", platform.command("--version").stdout)
    done = platform.command("deplyo", check=False)
    assert done.returncode == 2 and "deploy" in done.stderr


def test_pipes_get_plain_lines(platform):
    for arguments in (("list",), ("runtime", "list"), ("doctor",)):
        done = platform.command(*arguments)
        assert "\x1b" not in done.stdout + done.stderr
