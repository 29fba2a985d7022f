"""A database that is away for a moment: what ran is recorded when it is back, and the line goes on."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest

from runyard.database import sqlite
from runyard.database.engine import Database
from runyard.database.errors import DatabaseUnavailable
from runyard.executions.model import Status
from runyard.executions.output.log import OutputLog
from runyard.executions.service import ExecutionService, NewAssignment
from tests.support.executions import Gate, TestTenant, new_execution


@pytest.fixture
async def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[ExecutionService]:
    """A service on SQLite that gives up on a locked file at once."""
    monkeypatch.setattr(sqlite, "_BUSY_SECONDS", 0.02)
    database = await Database.open(None, tmp_path)
    await database.create_all()
    made = ExecutionService(database, OutputLog(tmp_path / "output"))
    await made.recover()
    yield made
    await made.stop(1)
    await database.close()


async def test_locked_file_refuses_new_work_and_keeps_the_ends_of_running_work(
    service: ExecutionService, tmp_path: Path
) -> None:
    tenant, gate = TestTenant(), Gate()
    service.register_runner("test", lambda assignment: gate.run)
    running = await service.start(new_execution(tenant), gate.run)
    await gate.next()
    with closing(sqlite3.connect(tmp_path / "runyard.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(DatabaseUnavailable):
            await service.start(new_execution(tenant), gate.run)
        with pytest.raises(DatabaseUnavailable):
            await service.submit(new_execution(tenant), NewAssignment(runner="test"))
        gate.open(running.execution.id)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(running.finished(), 0.1)
        assert (await service.get(tenant, running.execution.id)).status is Status.RUNNING
        other.execute("ROLLBACK")
    ended = await asyncio.wait_for(running.finished(), 10)
    assert ended.status is Status.SUCCEEDED
    assert service.worker.free == service.worker.slots
    later = await service.submit(new_execution(tenant), NewAssignment(runner="test"))
    assert await gate.next() == later.execution.id
    gate.open(later.execution.id)
    assert (await later.finished()).status is Status.SUCCEEDED
