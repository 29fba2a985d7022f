"""Verbs of remote executions. Owns the order create, upload, execute, and how long a source is kept.

Executing is idempotent: the id of the run is fixed when the remote execution is made, so a client that sends the
request again gets the run that it began. Only `SourceKeeper` stores and removes sources.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import BinaryIO, Final

import structlog

from runyard.database.engine import Database
from runyard.database.errors import UniqueViolation
from runyard.identity.model import Permission, Principal, Scope
from runyard.infrastructure.remote import store
from runyard.infrastructure.remote.errors import (
    AlreadyUploaded,
    BadDigest,
    NotUploaded,
    RemoteExecutionNotFound,
    SourceGone,
)
from runyard.infrastructure.remote.model import RETENTION, RemoteExecution, check_arguments
from runyard.infrastructure.runs.arguments import checked
from runyard.infrastructure.runs.model import Archive, NewRun, Origin, Run, RunKind, RunStatus, Trigger
from runyard.infrastructure.runs.service import RunService
from runyard.infrastructure.workspaces.errors import WorkspaceLocked
from runyard.infrastructure.workspaces.model import Workspace
from runyard.kernel.blobs import BlobStore, Incoming
from runyard.kernel.clock import Now, utc_now
from runyard.kernel.errors import NotFound
from runyard.kernel.events import Event
from runyard.kernel.ids import RemoteExecutionId, RunId
from runyard.kernel.tarballs import TarballLimits, check

SWEEP_SECONDS: Final = 3600.0
_AT_ONCE: Final = 100
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteOptions:
    """Limits of sources."""

    upload_bytes: int = 1 << 30
    """Largest archive."""
    unpacked: TarballLimits = field(default_factory=TarballLimits)


class RemoteExecutionService:
    """Remote executions of all accounts."""

    def __init__(
        self,
        database: Database,
        runs: RunService,
        blobs: BlobStore,
        options: RemoteOptions | None = None,
        now: Now = utc_now,
    ) -> None:
        """Take the parts; `blobs` are those from which runs read their archives."""
        self._database = database
        self._runs = runs
        self._blobs = blobs
        self._options = options or RemoteOptions()
        self._now = now
        self._keeping = asyncio.Lock()
        """Held while a source is kept and written down, and while one is found unneeded and removed: two remote
        executions may share a blob."""

    async def create(
        self, caller: Principal, workspace: Workspace, arguments: Mapping[str, Sequence[str]]
    ) -> RemoteExecution:
        """Make one without a source. Raises BadArgument, RefusedArguments, WorkspaceLocked."""
        caller.require(Permission.WORKSPACES_RUN)
        _refuse_locked(workspace)
        now = self._now()
        remote = RemoteExecution(
            id=RemoteExecutionId.new(),
            account_id=workspace.account_id,
            project_id=workspace.project_id,
            project_path=workspace.project_path,
            workspace_id=workspace.id,
            actor=caller.actor,
            arguments=check_arguments(arguments),
            run_id=RunId.new(),
            created_at=now,
            updated_at=now,
        )
        checked(remote.plan_arguments)
        async with self._database.transaction() as tx:
            await store.add(tx, remote)
            await tx.record(_event(remote, "created", caller.actor))
        return remote

    async def get(self, caller: Principal, workspace: Workspace, remote_id: str) -> RemoteExecution:
        """Return one of a workspace. Raises RemoteExecutionNotFound."""
        async with self._database.read() as tx:
            found = await store.get(tx, caller.scope, remote_id)
        if found is None or found.workspace_id != workspace.id:
            raise RemoteExecutionNotFound(f"remote execution {remote_id} not found")
        return found

    async def of_run(self, caller: Principal, run_id: str) -> RemoteExecution:
        """Return the one whose run this is. Raises RemoteExecutionNotFound."""
        async with self._database.read() as tx:
            found = await store.by_run(tx, caller.scope, run_id)
        if found is None:
            raise RemoteExecutionNotFound(f"pipeline execution {run_id} not found")
        return found

    async def upload(
        self, caller: Principal, remote: RemoteExecution, digest: str, body: AsyncIterator[bytes]
    ) -> RemoteExecution:
        """Take the source: checked against its digest and read once as the hostile input that it is, before anything
        is kept. The same bytes again are welcome while they are kept. Raises BadDigest, BadTarball, TooLarge,
        AlreadyUploaded, SourceGone.
        """
        caller.require(Permission.WORKSPACES_RUN)
        if remote.removed_at is not None:
            raise SourceGone
        with self._blobs.receive() as incoming:
            await incoming.take(body, self._options.upload_bytes, "a source")
            if incoming.digest != digest:
                raise BadDigest(f"the SHA-256 of the body is {incoming.digest}, not {digest}")
            if remote.checksum and remote.checksum != digest:
                raise AlreadyUploaded
            if not remote.checksum:
                await asyncio.to_thread(self._check, incoming)
                await self._keep(caller, remote, incoming)
        return await self._again(caller, remote)

    def _check(self, incoming: Incoming) -> None:
        with incoming.reader() as reader:
            check(reader, self._options.unpacked)

    async def _keep(self, caller: Principal, remote: RemoteExecution, incoming: Incoming) -> None:
        async with self._keeping:
            digest = await asyncio.to_thread(incoming.keep)
            async with self._database.transaction() as tx:
                first = await store.set_source(tx, remote.id, digest, incoming.size, self._now())
                if first:
                    await tx.record(_event(remote, "uploaded", caller.actor))
        if not first and (await self._again(caller, remote)).checksum != digest:
            raise AlreadyUploaded

    async def execute(
        self, caller: Principal, workspace: Workspace, remote: RemoteExecution
    ) -> RemoteExecution:
        """Begin its run, once however often this is called. Raises NotUploaded, SourceGone, WorkspaceLocked."""
        caller.require(Permission.WORKSPACES_RUN)
        if remote.executed_at is not None:
            return remote
        if not remote.checksum:
            raise NotUploaded
        if remote.removed_at is not None:
            raise SourceGone
        _refuse_locked(workspace)
        new = NewRun(
            id=remote.run_id,
            kind=RunKind.PLAN,
            trigger=Trigger.ARCHIVE,
            title="remote plan",
            origin=Origin(archive=Archive(blob=remote.checksum)),
            arguments=remote.plan_arguments,
            door="harness",
            extras={"harness": {"remote_execution": str(remote.id)}},
        )
        with contextlib.suppress(UniqueViolation):  # another request for the same began it at this moment
            await self._runs.create(caller, workspace.id, new)
        async with self._database.transaction() as tx:
            await store.set_executed(tx, remote.id, self._now())
        return await self._again(caller, remote)

    async def begun(self, scope: Scope, run_id: str) -> Run:
        """Wait until a run waits in line no more, and return it. Raises RunNotFound."""
        return await self._reached(scope, run_id, lambda run: run.status is not RunStatus.PENDING)

    async def settled(self, scope: Scope, run_id: str) -> Run:
        """Wait until a run is over or waits for a person, and return it. Raises RunNotFound."""
        return await self._reached(scope, run_id, lambda run: run.ended or run.waits)

    async def _reached(self, scope: Scope, run_id: str, there: Callable[[Run], bool]) -> Run:
        with self._database.broker.subscribe(f"run:{run_id}") as events:
            while True:
                run = await self._runs.get(scope, run_id)
                if there(run):
                    return run
                await events.next()

    async def source(self, remote: RemoteExecution) -> BinaryIO:
        """Open the source. Raises NotUploaded, SourceGone."""
        if not remote.checksum:
            raise NotUploaded
        if remote.removed_at is not None:
            raise SourceGone
        try:
            return self._blobs.open(remote.checksum)
        except NotFound:
            raise SourceGone from None

    async def sweep(self) -> int:
        """Remove the sources that were kept long enough; return how many."""
        before, removed = self._now() - RETENTION, 0
        while True:
            async with self._database.read() as tx:
                found = await store.outdated(tx, before, _AT_ONCE)
            for remote in found:
                await self._remove(remote)
            removed += len(found)
            if len(found) < _AT_ONCE:
                break
        if removed:
            _log.info("remote.sources_removed", count=removed)
        return removed

    async def _remove(self, remote: RemoteExecution) -> None:
        async with self._keeping:
            async with self._database.transaction() as tx:
                await store.set_removed(tx, remote.id, self._now())
                needed = await store.needed(tx, remote.checksum)
            if not needed:
                await asyncio.to_thread(self._blobs.delete, remote.checksum)

    async def _again(self, caller: Principal, remote: RemoteExecution) -> RemoteExecution:
        async with self._database.read() as tx:
            found = await store.get(tx, caller.scope, remote.id)
        if found is None:
            raise RemoteExecutionNotFound(f"remote execution {remote.id} not found")
        return found


def _refuse_locked(workspace: Workspace) -> None:
    if workspace.lock is not None:
        reason = f": {workspace.lock.reason}" if workspace.lock.reason else ""
        raise WorkspaceLocked(f"workspace {workspace.identifier} is locked by {workspace.lock.actor}{reason}")


def _event(remote: RemoteExecution, what: str, actor: str) -> Event:
    return Event(
        account_id=remote.account_id,
        subject_kind="remote_execution",
        subject_id=remote.id,
        type=f"remote_execution.{what}",
        actor=actor,
        at=remote.created_at if what == "created" else utc_now(),
        body=None if what != "created" else {"workspace_id": str(remote.workspace_id)},
    )
