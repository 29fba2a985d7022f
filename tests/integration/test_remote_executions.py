"""Remote executions on both databases: sources that are shared, kept and removed, and runs that begin once."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from runyard.database.engine import Database
from runyard.infrastructure.remote.errors import NotUploaded, SourceGone
from runyard.infrastructure.remote.model import RETENTION, RemoteExecution
from runyard.infrastructure.remote.service import RemoteExecutionService, RemoteOptions
from runyard.infrastructure.runs.model import RunQuery
from runyard.infrastructure.workspaces.errors import WorkspaceLocked
from runyard.infrastructure.workspaces.model import WorkspaceQuery
from runyard.kernel.errors import TooLarge
from runyard.kernel.tarballs import TarballLimits
from tests.support.engines import make_engine
from tests.support.harness import packed
from tests.support.infrastructure import Site, fake_tool, open_site

CODE = packed({"main.tf": ""})


@dataclass
class Clock:
    """A clock that goes when it is told."""

    now: datetime = field(default_factory=lambda: datetime.now(UTC))

    def __call__(self) -> datetime:
        """Tell the time."""
        return self.now


@dataclass
class Remote:
    """The service with what it stands on."""

    site: Site
    service: RemoteExecutionService
    clock: Clock

    async def made(self) -> RemoteExecution:
        """Make one on a workspace of its own."""
        names = await self.site.workspaces.count(self.site.caller.scope, everything())
        workspace = await self.site.workspace(f"w{names}")
        return await self.service.create(self.site.caller, workspace, {})

    async def upload(self, remote: RemoteExecution, data: bytes = CODE) -> RemoteExecution:
        """Upload in two pieces."""

        async def pieces() -> AsyncIterator[bytes]:
            yield data[:10]
            yield data[10:]

        digest = hashlib.sha256(data).hexdigest()
        return await self.service.upload(self.site.caller, remote, digest, pieces())


def everything() -> WorkspaceQuery:
    return WorkspaceQuery()


@pytest.fixture
async def remote(database: Database, tmp_path: Path) -> AsyncIterator[Remote]:
    async with AsyncExitStack() as stack:
        engine = make_engine("process", tmp_path / "engine")
        await engine.start()
        stack.push_async_callback(engine.stop)
        site = await open_site(stack, database, engine, tmp_path)
        fake_tool(site.tools_folder, {})
        clock, limits = Clock(), RemoteOptions(upload_bytes=1 << 20, unpacked=TarballLimits(bytes=1 << 20))
        yield Remote(site, RemoteExecutionService(database, site.runs, site.archives, limits, clock), clock)


async def test_source_is_removed_after_its_time_unless_another_needs_it(remote: Remote) -> None:
    first = await remote.upload(await remote.made())
    remote.clock.now += RETENTION / 2
    second = await remote.upload(await remote.made())
    assert first.checksum == second.checksum
    remote.clock.now += RETENTION / 2 + timedelta(seconds=1)
    assert await remote.service.sweep() == 1
    workspace = await remote.site.workspaces.get(remote.site.caller.scope, first.workspace_id)
    first = await remote.service.get(remote.site.caller, workspace, first.id)
    with pytest.raises(SourceGone):
        await remote.service.source(first)
    with pytest.raises(SourceGone):
        await remote.service.execute(remote.site.caller, workspace, first)
    with pytest.raises(SourceGone):
        await remote.upload(first)
    with await remote.service.source(second) as source:
        assert source.read() == CODE
    remote.clock.now += RETENTION
    assert await remote.service.sweep() == 1
    with pytest.raises(SourceGone):
        await remote.service.source(second)
    assert await remote.service.sweep() == 0


async def test_upload_and_sweep_of_equal_bytes_at_once_lose_nothing(remote: Remote) -> None:
    for _ in range(5):
        old = await remote.upload(await remote.made())
        new = await remote.made()
        remote.clock.now += RETENTION + timedelta(seconds=1)
        await asyncio.gather(remote.service.sweep(), remote.upload(new))
        workspace = await remote.site.workspaces.get(remote.site.caller.scope, new.workspace_id)
        new = await remote.service.get(remote.site.caller, workspace, new.id)
        with await remote.service.source(new) as source:
            assert source.read() == CODE
        assert old.checksum == new.checksum


async def test_execute_at_once_begins_one_run_and_again_gives_the_same(remote: Remote) -> None:
    made = await remote.upload(await remote.made())
    workspace = await remote.site.workspaces.get(remote.site.caller.scope, made.workspace_id)
    caller = remote.site.caller
    await asyncio.gather(*(remote.service.execute(caller, workspace, made) for _ in range(8)))
    runs = await remote.site.runs.search(caller.scope, RunQuery(workspace_id=workspace.id))
    assert [run.id for run in runs] == [made.run_id]
    settled = await remote.service.settled(caller.scope, made.run_id)
    assert settled.ended
    assert (await remote.service.of_run(caller, made.run_id)).id == made.id


async def test_execute_wants_a_source_and_an_unlocked_workspace(remote: Remote) -> None:
    made, caller = await remote.made(), remote.site.caller
    workspace = await remote.site.workspaces.get(caller.scope, made.workspace_id)
    with pytest.raises(NotUploaded):
        await remote.service.execute(caller, workspace, made)
    made = await remote.upload(made)
    locked = await remote.site.workspaces.lock(caller, workspace.id, reason="freeze")
    with pytest.raises(WorkspaceLocked, match="freeze"):
        await remote.service.execute(caller, locked, made)


async def test_upload_over_the_limit_is_refused_and_leaves_nothing(remote: Remote, tmp_path: Path) -> None:
    with pytest.raises(TooLarge):
        await remote.upload(await remote.made(), bytes(2 << 20))
    with pytest.raises(TooLarge):
        await remote.upload(await remote.made(), packed({"zeros": bytes(2 << 20)}))
    assert [path for path in (tmp_path / "archives").rglob("*") if path.is_file()] == []
