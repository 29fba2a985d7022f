"""Verbs of checkpoints. A checkpoint is a copy of the writable files; memory is never part of it."""

import asyncio
import secrets
from dataclasses import replace

import structlog

from runyard.database.engine import Database
from runyard.identity.model import Principal, Scope
from runyard.kernel.clock import utc_now
from runyard.kernel.errors import RunyardError
from runyard.kernel.events import Event
from runyard.kernel.ids import CheckpointId
from runyard.kernel.paging import Page
from runyard.runtimes.definition import NAME_LIMIT, check_name
from runyard.runtimes.errors import CheckpointNotFound, CheckpointNotReady, TransitionRefused
from runyard.runtimes.isolation.engine import Engine
from runyard.runtimes.model import Checkpoint, CheckpointKind, CheckpointState, Runtime, Status
from runyard.runtimes.options import RuntimesOptions
from runyard.runtimes.references import only
from runyard.runtimes.resident import Resident
from runyard.runtimes.store import BEING_DELETED, CheckpointStore

_COPYABLE = frozenset({Status.RUNNING, Status.PAUSED, Status.SUSPENDED, Status.SHUTDOWN, Status.CRASHED})
_log = structlog.get_logger(__name__)


class CheckpointService:
    """Makes, finds and deletes checkpoints."""

    def __init__(self, database: Database, engine: Engine, options: RuntimesOptions) -> None:
        """Take the parts."""
        self._database = database
        self._engine = engine
        self._options = options
        self._store = CheckpointStore()
        self._copies: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Undo the copies that an earlier server did not finish, and finish its deletions."""
        async with self._database.read() as tx:
            left = await self._store.unfinished(tx)
        for checkpoint in left:
            await self._engine.delete_checkpoint(checkpoint.id)
            if checkpoint.error_code != BEING_DELETED:
                await self._finish(checkpoint, CheckpointState.FAILED, None, "interrupted")
                continue
            async with self._database.transaction() as tx:
                await self._store.delete(tx, checkpoint.id)

    async def stop(self) -> None:
        """Wait for the copies under way."""
        await asyncio.gather(*self._copies, return_exceptions=True)

    async def create(
        self, principal: Principal, resident: Resident, kind: CheckpointKind, name: str | None
    ) -> Checkpoint:
        """Begin to copy a runtime's files; processes stand still meanwhile. `cold` wants a stopped runtime.
        Raises TransitionRefused, InvalidArgument.
        """
        runtime = resident.runtime
        _check_copyable(runtime, kind)
        default = f"{runtime.display_name[: NAME_LIMIT - 9]}-{secrets.token_hex(4)}"
        checkpoint = Checkpoint(
            id=CheckpointId.new(),
            account_id=runtime.account_id,
            project_id=runtime.project_id,
            project_path=runtime.project_path,
            display_name=default if name is None else check_name(name),
            kind=kind,
            definition=runtime.definition,
            source_runtime_id=runtime.id,
            source_runtime_name=runtime.display_name,
            created_at=utc_now(),
        )
        async with self._database.transaction() as tx:
            await self._store.insert(tx, checkpoint)
            await tx.record(_event(checkpoint, "created", principal.actor))
        copy = asyncio.create_task(self._copy(resident, checkpoint))
        self._copies.add(copy)
        copy.add_done_callback(self._copies.discard)
        await asyncio.wait({copy}, timeout=self._options.settle_secs)
        return await self.get(principal.scope, checkpoint.id)

    async def _copy(self, resident: Resident, checkpoint: Checkpoint) -> None:
        try:
            async with resident.lock:
                _check_copyable(resident.runtime, checkpoint.kind)
                size = await self._capture(resident, checkpoint.id)
        except RunyardError as error:
            await self._engine.delete_checkpoint(checkpoint.id)
            await self._finish(checkpoint, CheckpointState.FAILED, None, error.code)
            _log.warning("checkpoints.failed", checkpoint=checkpoint.id, reason=error.message)
        except OSError as error:
            await self._engine.delete_checkpoint(checkpoint.id)
            await self._finish(checkpoint, CheckpointState.FAILED, None, "host_refused")
            _log.warning("checkpoints.failed", checkpoint=checkpoint.id, reason=str(error))
        else:
            await self._finish(checkpoint, CheckpointState.READY, size, None)

    async def _capture(self, resident: Resident, checkpoint_id: CheckpointId) -> int:
        sandbox = resident.sandbox
        if sandbox is None or resident.runtime.status is not Status.RUNNING:
            return await self._engine.capture(resident.runtime.id, checkpoint_id)
        await sandbox.freeze()
        try:
            return await self._engine.capture(resident.runtime.id, checkpoint_id)
        finally:
            await sandbox.thaw()

    async def _finish(
        self, checkpoint: Checkpoint, state: CheckpointState, size: int | None, error_code: str | None
    ) -> None:
        ended = replace(checkpoint, state=state, size_bytes=size, error_code=error_code)
        async with self._database.transaction() as tx:
            await self._store.finish(tx, ended)
            await tx.record(_event(ended, str(state), "system:runtimes"))

    async def get(self, scope: Scope, reference: str) -> Checkpoint:
        """Find a checkpoint by id, then by name. Raises CheckpointNotFound, AmbiguousName."""
        async with self._database.read() as tx:
            try:
                found = await self._store.get(tx, scope, CheckpointId.parse(reference))
            except ValueError:
                found = None
            named = [] if found else await self._store.named(tx, scope, reference)
        found = found or only(named, reference, "checkpoints")
        if found is None:
            raise CheckpointNotFound(reference)
        return found

    async def page(self, scope: Scope, limit: int, after: str | None) -> Page[Checkpoint]:
        """List checkpoints, the newest first."""
        async with self._database.read() as tx:
            return await self._store.page(tx, scope, limit, after)

    async def delete(self, principal: Principal, reference: str) -> None:
        """Delete a checkpoint; runtimes restored from it keep their files. Raises CheckpointNotFound,
        CheckpointNotReady while it is being made.
        """
        checkpoint = await self.get(principal.scope, reference)
        if checkpoint.state is CheckpointState.CREATING:
            raise CheckpointNotReady(f"checkpoint '{checkpoint.id}' is still being made")
        doomed = replace(checkpoint, state=CheckpointState.FAILED, error_code=BEING_DELETED)
        async with self._database.transaction() as tx:
            await self._store.finish(tx, doomed)
            await tx.record(_event(checkpoint, "deleted", principal.actor))
        await self._engine.delete_checkpoint(checkpoint.id)
        async with self._database.transaction() as tx:
            await self._store.delete(tx, checkpoint.id)


def _check_copyable(runtime: Runtime, kind: CheckpointKind) -> None:
    if runtime.status not in _COPYABLE:
        raise TransitionRefused(f"runtime '{runtime.id}' has no files to copy (status: {runtime.status})")
    if kind is CheckpointKind.COLD and runtime.status not in (Status.SHUTDOWN, Status.CRASHED):
        raise TransitionRefused(
            f"runtime '{runtime.id}' must be stopped for a cold checkpoint (status: {runtime.status})"
        )


def _event(checkpoint: Checkpoint, what: str, actor: str) -> Event:
    return Event(
        account_id=checkpoint.account_id,
        subject_kind="checkpoint",
        subject_id=checkpoint.id,
        type=f"checkpoint.{what}",
        actor=actor,
        at=utc_now(),
        body={"source": str(checkpoint.source_runtime_id or ""), "state": str(checkpoint.state)},
    )
