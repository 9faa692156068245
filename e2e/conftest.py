"""Fixtures: one platform for all tests that leave it whole, and platforms of a test's own."""

import os
import shutil

import pytest

import harness


def pytest_sessionstart(session):
    if os.geteuid() != 0:
        pytest.exit("the end-to-end tests start the platform, which needs root: run scripts/test", 2)
    if not os.access(harness.BINARY, os.X_OK):
        pytest.exit(f"{harness.BINARY} is not there: build it, or name it in EPHYRA_BIN", 2)


@pytest.fixture(scope="session")
def platform():
    """The shared platform. Tests use names of their own and clean up what counts against a limit."""
    server = harness.Server("--event-retry-delay", "200ms")
    try:
        server.start()
        yield server
        server.terminate()
    finally:
        server.close()


@pytest.fixture
def own_server():
    """Makes platforms for one test: `own_server("--memory", 512)`; it is started."""
    servers = []

    def make(*options, **arguments):
        server = harness.Server(*options, **arguments)
        servers.append(server)
        return server.start()

    try:
        yield make
        for server in servers:
            if server.process.poll() is None:
                server.terminate()
    finally:
        for server in servers:
            server.close()


@pytest.fixture
def function(platform):
    """Makes functions on the shared platform and deletes them afterwards."""
    names = []

    def make(source, **arguments):
        name = platform.create(source, **arguments)
        names.append(name)
        return name

    yield make
    for name in names:
        platform.forget(name)


@pytest.fixture(scope="session")
def node_modules():
    """Where the AWS SDK for JavaScript is installed."""
    folder = os.environ.get("EPHYRA_E2E_JS") or str(harness.HERE / "js")
    if not os.path.isdir(os.path.join(folder, "node_modules", "@aws-sdk")):
        pytest.exit(f"the AWS SDK for JavaScript is not in {folder}: run scripts/test, or npm ci there", 2)
    assert shutil.which("node")
    return folder
