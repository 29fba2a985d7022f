"""Verbs of state versions: read, write, announce and finish, history.

Owns the order of things: bytes on the disk first, then the row that names them, in one transaction with the look at the
lock and at the current version. Whoever reads a row can read its bytes, whenever the process was killed.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final

from runyard.database.engine import Database, Transaction
from runyard.database.errors import UniqueViolation
from runyard.identity.model import Scope
from runyard.infrastructure.state import store
from runyard.infrastructure.state.document import Output, checked, read_facts, read_outputs
from runyard.infrastructure.state.errors import (
    BadState,
    LockLost,
    NoState,
    StaleState,
    StateLocked,
    StateVersionNotFound,
)
from runyard.infrastructure.state.files import SealedFiles
from runyard.infrastructure.state.model import (
    Facts,
    Lock,
    Owner,
    Stale,
    StateVersion,
    StateVersionId,
    Unchanged,
    Writer,
    judge,
)
from runyard.kernel.blobs import Incoming
from runyard.kernel.clock import Now, utc_now
from runyard.kernel.errors import InvalidArgument, TooLarge
from runyard.kernel.events import Event
from runyard.kernel.paging import Page

ANNOUNCED_FOR: Final = timedelta(hours=1)
"""How long the bytes of an announced version may take to come."""
SWEPT_AFTER_SECONDS: Final = 3600.0


Body = bytes | AsyncIterator[bytes]
"""The bytes of a state, at once or as they come."""


@dataclass(frozen=True, slots=True, kw_only=True)
class How:
    """How a state is written."""

    lock_id: str | None = None
    """The lock that the writer says it holds."""
    force: bool = False
    """Without a look at serial and lineage."""
    md5: str | None = None
    """What the bytes must have, in hex."""


PLAINLY: Final = How()


class StateService:
    """The verbs of state versions."""

    def __init__(
        self,
        database: Database,
        files: SealedFiles,
        *,
        max_bytes: int,
        on_kept: Callable[[StateVersion], Awaitable[None]] | None = None,
        now: Now = utc_now,
    ) -> None:
        """Take the parts. `max_bytes` bounds one state; `on_kept` hears of every new version after its commit."""
        self._database = database
        self._files = files
        self._on_kept = on_kept
        self._now = now
        self.max_bytes = max_bytes

    async def sweep(self, older_secs: float = SWEPT_AFTER_SECONDS) -> int:
        """Remove the files that no version names: left by a write that was cut short, or of a workspace that is gone.
        Return how many. The list of files is older than that of rows, and a write takes less than that age.
        """
        files = await self._files.listed(older_secs)
        async with self._database.scan() as tx:
            used = {blob for _, blob in await store.all_blobs(tx)}
        unused = [digest for digest in files if digest not in used]
        for digest in unused:
            self._files.delete(digest)
        return len(unused)

    # --- reading ---

    async def current(self, workspace_id: str) -> StateVersion | None:
        """Return the current version, None when there is no state."""
        async with self._database.read() as tx:
            return await store.current_version(tx, workspace_id)

    async def read(self, workspace_id: str) -> tuple[StateVersion, bytes]:
        """Return the current version and its bytes. Raises NoState."""
        version = await self.current(workspace_id)
        if version is None:
            raise NoState
        return version, await self.content(version)

    async def content(self, version: StateVersion) -> bytes:
        """Return the bytes of a version, exactly as they came. Raises StateVersionNotFound while they have not."""
        return await self._files.read(version.id, _blob(version), bytes)

    def stream(self, version: StateVersion) -> AsyncIterator[bytes]:
        """Yield the bytes of a version in pieces: `facts.size` of them. Raises as `content`."""
        return self._files.stream(version.id, _blob(version))

    async def outputs(self, version: StateVersion) -> Mapping[str, Output]:
        """Return the outputs of a version by name, sensitive ones in the clear."""
        return await self._files.read(version.id, _blob(version), read_outputs)

    async def get(self, scope: Scope, version_id: str) -> StateVersion:
        """Return a version of the scope. Raises StateVersionNotFound."""
        async with self._database.read() as tx:
            found = await store.version_by_id(tx, scope, version_id)
        if found is None:
            raise StateVersionNotFound
        return found

    async def numbered(self, workspace_id: str, number: int) -> StateVersion:
        """Return a version of a workspace's history. Raises StateVersionNotFound."""
        async with self._database.read() as tx:
            found = await store.version_by_number(tx, workspace_id, number)
        if found is None:
            raise StateVersionNotFound(f"the state has no version {number}")
        return found

    async def history(self, workspace_id: str, limit: int, before: int | None = None) -> Page[StateVersion]:
        """List versions below a number, the newest first. The cursor is the number for the next page."""
        async with self._database.read() as tx:
            found = await store.history(tx, workspace_id, limit + 1, before)
        more = len(found) > limit
        return Page(found[:limit], str(found[limit - 1].number) if more else None)

    # --- writing ---

    async def write(self, owner: Owner, writer: Writer, body: Body, *, how: How = PLAINLY) -> StateVersion:
        """Keep a state as the newest version and return it; the current one when nothing changed. A body that comes in
        pieces is never whole in memory but while it is looked at, a few at once. Raises BadState, TooLarge, StaleState,
        StateLocked, LockLost, and InvalidArgument for another MD5 than `how` names.
        """
        async with self._database.read() as tx:
            check_lock(await store.lock_of(tx, owner.id), how.lock_id)
        version_id = StateVersionId.new()
        with self._files.incoming() as incoming:
            facts = await self._received(version_id, body, incoming)
            if how.md5 is not None and facts.md5 != how.md5:
                raise InvalidArgument("the state is not the one of this MD5: it was damaged on its way")
            async with self._database.read() as tx:
                unchanged = await self._look(tx, owner, facts, how)
            if unchanged is not None:
                return unchanged
            version = self._new(version_id, owner, writer, facts, forced=how.force)
            return await self._keep(version, incoming, how.lock_id, announced=False)

    async def announce(
        self, owner: Owner, writer: Writer, facts: Facts, *, how: How = PLAINLY
    ) -> StateVersion:
        """Make room for a state whose bytes come in a request of their own, and return it; the current version when it is
        that one. Raises as `write`, before any byte is sent.
        """
        async with self._database.read() as tx:
            unchanged = await self._look(tx, owner, facts, how)
        if unchanged is not None:
            return unchanged
        version = self._new(StateVersionId.new(), owner, writer, checked(facts), forced=how.force)
        async with self._database.transaction() as tx:
            await store.forget_announced(tx, owner.id, self._now() - 2 * ANNOUNCED_FOR)
            await store.insert_version(tx, version)
        return version

    async def finish(self, version_id: str, body: Body, lock_id: str | None = None) -> StateVersion:
        """Take the bytes of an announced version. Sent again, they must be the same. Raises as `write`, and
        InvalidArgument when they are not what was announced.
        """
        async with self._database.read() as tx:
            version = await store.announced_version(tx, version_id)
        if version is None or (not version.is_kept and self._now() - version.created_at > ANNOUNCED_FOR):
            raise StateVersionNotFound
        with self._files.incoming() as incoming:
            facts, said = await self._received(version.id, body, incoming), version.facts
            wanted = (said.serial, said.lineage or facts.lineage, said.md5)
            if (facts.serial, facts.lineage, facts.md5) != wanted:
                raise InvalidArgument("the uploaded state is not the one that was announced")
            if version.is_kept:
                return version
            return await self._keep(replace(version, facts=facts), incoming, lock_id, announced=True)

    async def forget(self, workspace_id: str) -> None:
        """Remove all that is kept of a workspace that was deleted."""
        async with self._database.transaction() as tx:
            blobs = await store.delete_workspace(tx, workspace_id)
        for blob in blobs:
            self._files.delete(blob)

    async def seal_again(self) -> int:
        """Seal every version with the current key after a rotation and return how many needed it."""
        async with self._database.scan() as tx:
            rows: Sequence[tuple[str, str]] = await store.all_blobs(tx)
        done = 0
        for version_id, old in rows:
            new = await self._files.reseal(version_id, old)
            if new is None:
                continue
            async with self._database.transaction() as tx:
                replaced = await store.replace_blob(tx, version_id, old, new)
            self._files.delete(old if replaced else new)
            done += replaced
        return done

    def _new(
        self, version_id: StateVersionId, owner: Owner, writer: Writer, facts: Facts, *, forced: bool
    ) -> StateVersion:
        return StateVersion(
            id=version_id,
            workspace_id=owner.id,
            account_id=owner.account_id,
            project_id=owner.project_id,
            project_path=owner.project_path,
            number=None,
            facts=facts,
            created_at=self._now(),
            created_by=writer.actor,
            run_id=writer.run_id,
            forced=forced,
        )

    async def _received(self, version_id: StateVersionId, body: Body, incoming: Incoming) -> Facts:
        """Seal what comes and return what it says about itself. Raises BadState, TooLarge."""
        size = await self._files.receive(version_id, self._bounded(body), incoming)
        if size == 0:
            raise BadState("the state is empty")
        return await self._files.look(version_id, incoming, read_facts)

    async def _bounded(self, body: Body) -> AsyncIterator[bytes]:
        left = self.max_bytes
        async for piece in _once(body) if isinstance(body, bytes) else body:
            left -= len(piece)
            if left < 0:
                raise TooLarge(f"a state may have {self.max_bytes} bytes", limit=self.max_bytes)
            yield piece

    async def _look(self, tx: Transaction, owner: Owner, facts: Facts, how: How) -> StateVersion | None:
        """Refuse early what would be refused; return the current version when the write changes nothing."""
        check_lock(await store.lock_of(tx, owner.id), how.lock_id)
        current = await store.current_version(tx, owner.id)
        return _follows(current, facts, force=how.force)

    async def _keep(
        self, version: StateVersion, incoming: Incoming, lock_id: str | None, *, announced: bool
    ) -> StateVersion:
        blob = await self._files.keep(incoming)

        async def work(tx: Transaction) -> StateVersion:
            check_lock(await store.lock_of(tx, version.workspace_id, for_update=True), lock_id)
            current = await store.current_version(tx, version.workspace_id)
            same = _follows(current, version.facts, force=version.forced)
            if same is not None and not announced:
                # A write of the same bytes won the race. An announced one is asked for by its id, so it is kept.
                return same
            number = 1 if current is None or current.number is None else current.number + 1
            made = replace(version, number=number, blob=blob)
            if not announced:
                await store.insert_version(tx, made)
            elif not await store.keep_version(tx, made):
                raise StaleState("this version was uploaded already")
            await tx.record(self._event(made))
            return made

        try:
            kept = await self._database.run(work)
        except UniqueViolation:
            self._files.delete(blob)
            raise StaleState("another state was written at the same moment") from None
        except (StateLocked, LockLost, StaleState):
            self._files.delete(blob)
            raise
        # After any other end (cancelled, the connection lost during the commit) the row may be there: the sweep tells.
        if kept.blob != blob:
            self._files.delete(blob)
        elif self._on_kept is not None:
            await self._on_kept(kept)
        return kept

    def _event(self, version: StateVersion) -> Event:
        facts = version.facts
        return Event(
            account_id=version.account_id,
            subject_kind="workspace",
            subject_id=version.workspace_id,
            type="state.written",
            actor=version.created_by,
            at=self._now(),
            body={
                "version": str(version.id),
                "number": version.number,
                "serial": facts.serial,
                "forced": version.forced,
            },
        )


async def _once(body: bytes) -> AsyncIterator[bytes]:
    yield body


def _blob(version: StateVersion) -> str:
    if version.blob is None:
        raise StateVersionNotFound("the content of this version has not been uploaded")
    return version.blob


def check_lock(lock: Lock | None, lock_id: str | None) -> None:
    """Let pass who holds the lock, and who claims none while there is none. Raises StateLocked, LockLost."""
    if lock is None:
        if lock_id is not None:
            raise LockLost(f"the lock {lock_id[:64]} is not held any more; nothing was written")
        return
    if lock_id is None or not lock.is_held_by(lock_id):
        raise StateLocked(f"the state is locked by {lock.document()['Who']}", holder=lock)


def _follows(current: StateVersion | None, facts: Facts, *, force: bool) -> StateVersion | None:
    decision = judge(None if current is None else current.facts, facts, force=force)
    if isinstance(decision, Stale):
        raise StaleState(decision.reason)
    return current if isinstance(decision, Unchanged) else None
