"""Databases for the integration tests: a SQLite file, and PostgreSQL when it is installed. And an isolation engine."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import pytest_asyncio

import runyard.actions.access.tables
import runyard.actions.followups.tables
import runyard.actions.tables
import runyard.environments.packages.tables
import runyard.environments.tables
import runyard.environments.tasksets.tables
import runyard.environments.usersecrets.tables
import runyard.executions.tables
import runyard.identity.tables
import runyard.infrastructure.configurations.tables
import runyard.infrastructure.guardrails.tables
import runyard.infrastructure.integrations.tables
import runyard.infrastructure.notifications.tables
import runyard.infrastructure.oidc.tables
import runyard.infrastructure.plans.tables
import runyard.infrastructure.policies.tables
import runyard.infrastructure.projects.tables
import runyard.infrastructure.remote.tables
import runyard.infrastructure.runs.tables
import runyard.infrastructure.state.tables
import runyard.infrastructure.variables.tables
import runyard.infrastructure.workspaces.tables
import runyard.runtimes.tables  # noqa: F401  every domain's tables, so that `create_all` makes them
from runyard.database.engine import Database
from runyard.runtimes.isolation.engine import Engine
from tests.support.engines import make_engine, why_unavailable
from tests.support.postgres import Postgres
from tests.support.wing import Wing, open_wing


def with_tables(url: str, folder: Path) -> None:
    """Make all tables in an empty database. In a thread: no loop of a test is known there."""

    async def make() -> None:
        opened = await Database.open(url, folder)
        try:
            await opened.create_all()
        finally:
            await opened.close()

    with ThreadPoolExecutor(1) as pool:
        pool.submit(asyncio.run, make()).result()


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a file with all tables, to be copied: that takes a tenth of the time of making them."""
    folder = tmp_path_factory.mktemp("template")
    with_tables(f"sqlite:///{folder / 'template.db'}", folder)
    return folder / "template.db"


@pytest.fixture(scope="session")
def postgres_template(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the name of a database with all tables, to be copied."""
    url = postgres.database()
    with_tables(url, tmp_path_factory.mktemp("template"))
    return url.rpartition("/")[2]


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Return the URL of a database, once for each kind: an empty one, with the tables if the test takes `database`."""
    tables = "database" in request.fixturenames
    if request.param == "sqlite":
        if tables:
            shutil.copy(request.getfixturevalue("sqlite_template"), tmp_path / "test.db")
        yield f"sqlite:///{tmp_path / 'test.db'}"
        return
    postgres: Postgres = request.getfixturevalue("postgres")
    url = postgres.database(request.getfixturevalue("postgres_template") if tables else None)
    yield url
    postgres.drop(url)


@pytest.fixture
async def database(database_url: str, tmp_path: Path) -> AsyncIterator[Database]:
    """Open a database with all tables, once for each kind."""
    opened = await Database.open(database_url, tmp_path)
    await opened.create_all()
    try:
        yield opened
    finally:
        await opened.close()


@pytest.fixture
async def wing(database: Database, tmp_path: Path) -> AsyncIterator[Wing]:
    """Put the services of actions together over an empty database."""
    async with open_wing(database, tmp_path) as opened:
        yield opened


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def engine(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Engine]:
    """Start the namespaces engine once for a file; its tests are skipped where the host cannot run it."""
    folder = tmp_path_factory.mktemp("engine")
    if why := await why_unavailable(folder):
        pytest.skip(f"no namespaces engine on this host: {why}")
    made = make_engine("namespaces", folder)
    await made.start()
    yield made
    await made.stop()
