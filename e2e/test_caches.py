"""What loading a function has made is kept for its next starts: V8's code of its scripts, a JVM's archive of its classes."""

import contextlib
import json
import os
import pathlib

import pytest

from harness import package, until

# Enough to take a while: a bundle, as bundlers make them. Half of its functions run while it is loaded.
BUNDLE = "\n".join(
    f"const f{n} = (x) => {{ const parts = [x, {n}]; for (const p of [1, 2, 3]) {{ parts.push(p * x + {n}); }} "
    f"return parts.reduce((a, b) => a + b, 0); }}; total += {'f%d(%d)' % (n, n) if n % 2 else '0'};"
    for n in range(20_000)
)
SCRIPT = f"""let total = 0; const where = new Error('first line').stack.split('\\n')[1].trim();
{BUNDLE}
const path = require('path');
const other = require('./other');
const importer = require('./importer');
const Module = require('module');
exports.handler = async () => ({{
  total, where, other, here: [__filename, __dirname, typeof module.exports.handler, require.main === module],
  resolved: require.resolve('./other'), imported: (await importer()).default,
  thrown: (() => {{ try {{ null.x; }} catch (error) {{ return error.stack.split('\\n')[1].trim(); }} }})(),
  children: module.children.map((child) => path.basename(child.filename)),
  isKept: /scriptOf/.test(Module.prototype._compile.toString()),
}});
"""


def kept(server, file):
    """The folders of what is kept of functions, which are whole."""
    return [path.parent for path in pathlib.Path(server.data, "prepared").glob(f"*/{file}") if path.parent.name[0] != "."]


def renew(server, name, **changes):
    """A new revision, whose next call is a cold start."""
    changes = changes or {"Description": os.urandom(4).hex()}
    server.lambda_.update_function_configuration(FunctionName=name, **changes)
    server.wait_updated(name)


def until_kept(server, name, file, event):
    """Has the function started cold until there is what is kept of it. A start that was quick makes nothing."""

    def is_kept():
        if not kept(server, file):
            renew(server, name)
            assert server.call(name, event).error is None
        return kept(server, file)

    (folder,) = until(is_kept, f"{file} to be made", 90)
    return folder


def test_code_of_scripts(own_server):
    server = own_server()
    # A script that came out of its code could not import(): such a one is left alone.
    importer = "module.exports = () => import('./esm.mjs');"
    files = {"other.js": "module.exports = 'other';", "importer.js": importer, "esm.mjs": "export default 'module';"}
    name = server.create(SCRIPT, runtime=server.node, files=files, MemorySize=512, Timeout=20)
    first = server.call(name).payload
    assert not first.pop("isKept")
    assert (first["other"], first["imported"]) == ("other", "module")
    folder = until_kept(server, name, "code", {})
    assert (folder / "code").stat().st_size > 1 << 20
    assert not os.access(folder / "code", os.X_OK)
    renew(server, name)
    assert server.call(name).payload == first | {"isKept": True}
    # Of another heap V8 uses no code; another function, even of the same package, never uses this one's.
    renew(server, name, MemorySize=256)
    assert server.call(name).payload == first | {"isKept": False}
    other = server.create(SCRIPT, runtime=server.node, files=files, MemorySize=512, Timeout=20)
    assert server.call(other).payload == first | {"isKept": False}

    # What is not whole is not used, and does no harm.
    renew(server, name, MemorySize=512)
    code = (folder / "code").read_bytes()
    (folder / "code").write_bytes(code[:-1000])
    renew(server, name)
    assert server.call(name).payload == first | {"isKept": True}

    # It goes with the function's code: at the latest when the platform starts again.
    for each in (name, other):
        server.lambda_.delete_function(FunctionName=each)
    server.terminate()
    server.start()
    server.terminate()
    server.start()
    assert kept(server, "code") == []


def test_archives_of_classes(own_server):
    built = pathlib.Path(os.environ.get("EPHYRA_E2E_JAVA") or pathlib.Path(__file__).parent / "java" / "target")
    server = own_server()
    rows = json.loads(server.command("runtime", "list", "--json").stdout)
    java = next((row["identifier"] for row in rows if row["kind"] == "java" and row["identifier"] != "java8.al2"), None)
    if java is None or not (built / "functions.jar").is_file():
        pytest.exit("these tests need a JDK and what scripts/test builds with it", 2)
    # Nothing of Java is made for those who have none.
    assert kept(server, "runtime.jar") == []
    libraries = {f"lib/{jar.name}": jar.read_bytes() for jar in (built / "lib").glob("*.jar") if "serialization" not in jar.name}
    code = package({"lib/functions.jar": (built / "functions.jar").read_bytes()} | libraries)
    name = server.create(
        None, runtime=java, handler="e2e.Libraries", Code={"ZipFile": code}, MemorySize=512, Timeout=30
    )
    event = {"a": [1, None, "é"]}
    want = {"echo": event}
    assert server.call(name, event).payload == want
    folder = until_kept(server, name, "function.jsa", event)
    assert (folder / "function.jsa").stat().st_size > 1 << 20

    # A /tmp of another size needs a JVM of the function's own, which maps the archive.
    def is_mapped():
        for pid in server.guests():
            with contextlib.suppress(OSError):
                if "function.jsa" in pathlib.Path(f"/proc/{pid}/maps").read_text():
                    return True
        return False

    renew(server, name, EphemeralStorage={"Size": 600})
    assert server.call(name, event).payload == want
    assert is_mapped()

    # One that does not fit is not used.
    (folder / "function.jsa").write_bytes(b"no archive")
    renew(server, name, EphemeralStorage={"Size": 601})
    assert server.call(name, event).payload == want
    until(lambda: not is_mapped(), "only a JVM without the archive to be left")

    # After an update of the runtime everything is made anew, and what was made before goes.
    (base,) = [each.parent for each in pathlib.Path(server.data, "prepared").glob("*/classes.jsa")]
    server.terminate()
    stale = base.with_name("0" * len(base.name))
    base.rename(stale)
    server.start()
    assert not stale.exists() and not folder.exists()
    assert server.call(name, event).payload == want
    until(base.exists, "the archive to be made anew", 60)
