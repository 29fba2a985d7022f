"""Verbs of locks on state. Owns how a lock is taken, released and broken; one lock a workspace is the database's word."""

from collections.abc import Mapping
from datetime import datetime
from typing import Final

from runyard.database.engine import Database, Transaction
from runyard.database.errors import UniqueViolation
from runyard.infrastructure.state import store
from runyard.infrastructure.state.errors import StateLocked
from runyard.infrastructure.state.model import LOCK_MEMBERS, MAX_LOCK_ID, HolderKind, Lock, Owner, Writer
from runyard.kernel.clock import Now, utc_now
from runyard.kernel.errors import InvalidArgument, PermissionDenied
from runyard.kernel.events import Event

_MAX_MEMBER = 2048
_TRIES: Final = 5


class LockService:
    """Takes, releases and breaks locks."""

    def __init__(self, database: Database, now: Now = utc_now) -> None:
        """Work on a database."""
        self._database = database
        self._now = now

    async def holder(self, workspace_id: str) -> Lock | None:
        """Return the lock that is held on a workspace's state, None when it is free."""
        async with self._database.read() as tx:
            return await store.lock_of(tx, workspace_id)

    async def acquire(self, owner: Owner, writer: Writer, lock_id: str, info: Mapping[str, object]) -> Lock:
        """Take the lock; asked again by who holds it under the same id, it is still held. Raises StateLocked, InvalidArgument."""
        wanted = Lock(
            workspace_id=owner.id,
            account_id=owner.account_id,
            lock_id=_checked_id(lock_id),
            holder=HolderKind.RUN if writer.run_id else HolderKind.CLIENT,
            actor=writer.actor,
            created_at=self._now(),
            user_id=writer.user_id,
            run_id=writer.run_id,
            info=_checked_info(info),
        )
        for _ in range(_TRIES):
            try:
                async with self._database.transaction() as tx:
                    await store.insert_lock(tx, wanted)
                    await tx.record(_event(wanted, "state.locked", writer.actor, self._now()))
                return wanted
            except UniqueViolation:
                held = await self.holder(owner.id)
            if held is not None:
                return _same_or_refused(held, wanted)
        raise StateLocked("the lock changes hands too quickly; try again")

    async def release(self, owner: Owner, writer: Writer, lock_id: str) -> Lock | None:
        """Release a lock by its id and return it; None when nothing is locked, so that an answer that was lost on its
        way can be asked for again. Raises StateLocked when another one is held.
        """
        async with self._database.transaction() as tx:
            held = await store.lock_of(tx, owner.id, for_update=True)
            if held is None:
                return None
            if not held.is_held_by(lock_id) or (writer.run_id is not None and held.run_id != writer.run_id):
                raise StateLocked("the state is locked under another id", holder=held)
            await self._drop(tx, held, "state.unlocked", writer.actor)
        return held

    async def break_lock(self, owner: Owner, writer: Writer, lock_id: str | None = None) -> Lock | None:
        """Take a lock away from whoever holds it and return it, None when there was none. With `lock_id`, only that one:
        raises StateLocked when another is held. What the former holder writes then is refused. Runs break no locks:
        their code is anybody's. Raises PermissionDenied.
        """
        if writer.run_id is not None:
            raise PermissionDenied("a run may release its own lock only")
        async with self._database.transaction() as tx:
            held = await store.lock_of(tx, owner.id, for_update=True)
            if held is None:
                return None
            if lock_id is not None and not held.is_held_by(lock_id):
                raise StateLocked("the state is locked under another id", holder=held)
            await self._drop(tx, held, "state.lock_broken", writer.actor)
        return held

    async def release_run(self, run_id: str) -> int:
        """Release what a run holds and end its credentials; return how many locks that were. Idempotent: called at the
        end of every run, and again for runs that a killed server left behind.
        """
        async with self._database.transaction() as tx:
            held = await store.locks_of_run(tx, run_id)
            await store.delete_grants(tx, run_id)
            for lock in held:
                await self._drop(tx, lock, "state.unlocked", f"run:{run_id}", "the run ended")
        return len(held)

    async def _drop(
        self, tx: Transaction, lock: Lock, name: str, actor: str, reason: str | None = None
    ) -> None:
        await store.delete_lock(tx, lock.workspace_id, lock.lock_id)
        await tx.record(_event(lock, name, actor, self._now(), reason))


def _event(lock: Lock, name: str, actor: str, at: datetime, reason: str | None = None) -> Event:
    return Event(
        account_id=lock.account_id,
        subject_kind="workspace",
        subject_id=lock.workspace_id,
        type=name,
        actor=actor,
        at=at,
        reason=reason,
        body={"lock": lock.document(), "holder": lock.holder.value, "run": lock.run_id},
    )


def _same_or_refused(held: Lock, wanted: Lock) -> Lock:
    """An id is the client's own random one: who comes with it again did not hear the first answer."""
    if held.is_held_by(wanted.lock_id) and (held.actor, held.run_id) == (wanted.actor, wanted.run_id):
        return held
    raise StateLocked(f"the state is locked by {held.document()['Who']}", holder=held)


def _checked_id(lock_id: str) -> str:
    if not 1 <= len(lock_id) <= MAX_LOCK_ID or not lock_id.isprintable():
        raise InvalidArgument(f"the id of a lock has 1 to {MAX_LOCK_ID} printable characters")
    return lock_id


def _checked_info(info: Mapping[str, object]) -> dict[str, str]:
    """Keep the members that Terraform has, as text of bounded length: they are shown to whoever is refused."""
    return {
        name: value[:_MAX_MEMBER].replace("\0", "")
        for name in LOCK_MEMBERS
        if isinstance(value := info.get(name, ""), str)
    }
