"""Fixtures of the whole suite. Owns the life of the servers that tests use; makes nothing until a test asks."""

import gc
import os
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.support.http import Api
from tests.support.postgres import MISSING, Postgres, binaries, running
from tests.support.server import Server
from tests.support.tenant import add_account

LOG_LINES_ON_FAILURE = 80

# How long an example takes says nothing here: two workers and the servers of both share the machine.
# On a build server the examples are the same each time: what they find by luck is found by who runs the tests at hand.
settings.register_profile(
    "suite",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    derandomize="CI" in os.environ,
)
settings.load_profile("suite")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show the end of the log of every server that a failed test used."""
    report = yield
    if report.failed:
        for name, value in getattr(item, "funcargs", {}).items():
            for one in value.made if isinstance(value, ServerFactory) else [value]:
                if isinstance(one, Server):
                    report.sections.append((f"server log ({name})", one.log_tail(LOG_LINES_ON_FAILURE)))
    return report


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Serve for one file of tests, so that none depends on which files ran before it on the same worker; at the end
    assert a clean exit and that nothing is left on the host.
    """
    one = Server(
        tmp_path_factory.mktemp("server"), {"RUNYARD_RUNTIMES__IDLE_SCAN_SECS": "0.25"}, compiled=True
    )
    one.start()
    yield one
    one.close()


class ServerFactory:
    """Makes servers of their own for one test."""

    def __init__(self, folder: Path) -> None:
        """Remember where their folders go."""
        self._folder = folder
        self.made: list[Server] = []

    def __call__(self, *, start: bool = True, compiled: bool = True, **settings: object) -> Server:
        """Make a server whose settings are given by name: `limits__x=1` becomes RUNYARD_LIMITS__X. One that is not
        `compiled` finds no data folder and compiles its agent itself.
        """
        environment = {f"RUNYARD_{name.upper()}": str(value) for name, value in settings.items()}
        one = Server(self._folder / f"server{len(self.made)}", environment, compiled=compiled)
        self.made.append(one)
        return one.start() if start else one


@pytest.fixture
def fresh_server(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[ServerFactory]:
    """Return a factory of servers; each is closed at the end and must leave nothing."""
    factory = ServerFactory(tmp_path)
    yield factory
    for one in factory.made:
        one.close()


@pytest.fixture(scope="module")
def two_organizations(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Api, Api]]:
    """Serve two accounts, `default` and `other`, with small limits for task packages, and a client of each."""
    small = {
        "RUNYARD_ENVIRONMENTS__PACKAGE_BYTES": str(2 << 20),
        "RUNYARD_ENVIRONMENTS__ACCOUNT_PACKAGE_BYTES": str(3 << 20),
    }
    one = Server(tmp_path_factory.mktemp("organizations"), small, compiled=True)
    one.start().stop()
    token = add_account(one, "other")
    one.start()
    with one.api() as mine, one.api().clone(token) as theirs:
        yield one, mine, theirs
    one.close()


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """Run a PostgreSQL instance for the session; its tests are skipped where it is not installed."""
    if binaries() is None:
        pytest.skip(MISSING)
    with running() as instance:
        yield instance


@pytest.fixture
def postgres_url(postgres: Postgres) -> str:
    """Return the address of an empty PostgreSQL database."""
    return postgres.database()


@pytest.fixture
def api(server: Server) -> Iterator[Api]:
    """Return a client of the file's server with the admin token."""
    with server.api() as client:
        yield client


@pytest.fixture
def make_runtime(api: Api) -> Iterator[Callable[..., str]]:
    """Return a factory of runtimes of the file's server; each is deleted at the end."""
    made: list[str] = []

    def make(**fields: object) -> str:
        runtime: str = api.create(**fields)["id"]
        made.append(runtime)
        return runtime

    yield make
    for runtime in made:
        assert api.delete(f"/v1/runtimes/{runtime}").status in (200, 404)


@pytest.fixture
def runtime(make_runtime: Callable[..., str]) -> str:
    """Return the id of a running runtime."""
    return make_runtime()


@pytest.fixture(scope="module")
def shared(server: Server) -> Iterator[str]:
    """Return the id of a runtime for tests of one module that leave no trace in each other's way."""
    with server.api() as client:
        runtime: str = client.create(name="shared")["id"]
    yield runtime
    with server.api() as client:
        client.delete(f"/v1/runtimes/{runtime}").expect(200)


def pytest_collection_finish() -> None:
    """Take what thousands of collected tests hold out of the collector's way: a full collection of it takes longer than
    the time that a template may take, and counts as the template's.
    """
    gc.collect()
    gc.freeze()
