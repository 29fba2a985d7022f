"""The `http` backend: one address for a state, with Terraform's own methods or with POST, PUT and DELETE for locks.

Serves people by their token (the password of Basic, or a bearer token) and runs by the credential that was made for them.
The service behind it is the one that every other way to a state uses.
"""

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from runyard.dialects.door import Call, Handler, send_answer
from runyard.dialects.reading import boolean, content_md5, decode, integer, pieces
from runyard.dialects.terraform import reading
from runyard.dialects.terraform.errors import write_locked
from runyard.dialects.terraform.finding import refuse_manual, writer_of
from runyard.dialects.terraform.replies import send_json, send_nothing, send_state, time_of
from runyard.dialects.terraform.services import TerraformServices
from runyard.identity.model import Permission
from runyard.infrastructure.state.errors import StateLocked
from runyard.infrastructure.state.grants import PREFIX
from runyard.infrastructure.state.model import Owner, StateVersion, Writer
from runyard.infrastructure.state.service import How
from runyard.kernel.errors import InvalidArgument, NotFound, PermissionDenied

_LARGEST_LOCK: Final = 64 << 10
_lock: msgspec.json.Decoder[Mapping[str, Any]] = msgspec.json.Decoder(dict[str, Any])


@dataclass(frozen=True, slots=True)
class Opened:
    """A state that a caller may use, and who that is."""

    owner: Owner
    writer: Writer
    writes: bool = True
    """The state itself may be written, not only locked."""


def answering_locked(handler: Handler) -> Handler:
    """Wrap a handler so that a lock in the way is answered with that lock."""

    async def answered(call: Call) -> None:
        try:
            await handler(call)
        except StateLocked as error:
            await send_answer(call, write_locked(error))

    return answered


class BackendHandlers:
    """States by the name or id of their workspace."""

    def __init__(self, services: TerraformServices) -> None:
        """Take the services."""
        self._services = services

    async def read(self, call: Call) -> None:
        """Send the current state, or nothing when there is none."""
        opened = await self._open(call, Permission.STATE_READ)
        version = await self._services.states.current(opened.owner.id)
        if version is None:
            await send_nothing(call)
            return
        await send_state(call, version, self._services.states.stream(version), _headers(version))

    async def write(self, call: Call) -> None:
        """Keep a state. `ID` names the lock that the writer holds."""
        opened = await self._open(call, Permission.STATE_WRITE)
        if not opened.writes:
            raise PermissionDenied("a plan does not write the state")
        values = reading.query(call)
        how = How(
            lock_id=values.get("ID") or None,
            force=boolean(values, "force"),
            md5=content_md5(call),
        )
        body = pieces(call, self._services.states.max_bytes)
        await self._services.states.write(opened.owner, opened.writer, body, how=how)
        await send_nothing(call, 200)

    async def lock(self, call: Call) -> None:
        """Take the lock."""
        opened = await self._open(call, Permission.STATE_WRITE)
        info = await self._lock_info(call)
        lock_id = _lock_id(info)
        if lock_id is None:
            raise InvalidArgument("the lock needs an ID")
        refuse_manual(await self._services.workspaces.by_id(opened.owner.id), opened.writer)
        lock = await self._services.locks.acquire(opened.owner, opened.writer, lock_id, info)
        await send_json(call, lock.document())

    async def unlock(self, call: Call) -> None:
        """Release the lock that the body names. Without a body, which is how `force-unlock` comes, break whichever is held."""
        opened = await self._open(call, Permission.STATE_WRITE)
        lock_id = _lock_id(await self._lock_info(call)) or reading.query(call).get("ID")
        if lock_id:
            await self._services.locks.release(opened.owner, opened.writer, lock_id)
        else:
            await self._services.locks.break_lock(opened.owner, opened.writer)
        await send_nothing(call, 200)

    async def holder(self, call: Call) -> None:
        """Show the lock that is held."""
        opened = await self._open(call, Permission.STATE_READ)
        lock = await self._services.locks.holder(opened.owner.id)
        if lock is None:
            raise NotFound("the state is not locked")
        await send_json(call, lock.document())

    async def versions(self, call: Call) -> None:
        """List the versions, the newest first; `before` goes on below a number."""
        opened = await self._open(call, Permission.STATE_READ)
        values = reading.query(call)
        limit = integer(values, "limit", 50, 1, 500)
        before = integer(values, "before", 0, 1, 2**31) if "before" in values else None
        page = await self._services.states.history(opened.owner.id, limit, before)
        items = [_shown(version) for version in page.items]
        await send_json(
            call, {"versions": items, "before": None if page.next_cursor is None else int(page.next_cursor)}
        )

    async def version(self, call: Call) -> None:
        """Send one version of the history."""
        opened = await self._open(call, Permission.STATE_READ)
        number = integer(call.params, "number", 0, 1, 2**31)
        version = await self._services.states.numbered(opened.owner.id, number)
        await send_state(call, version, self._services.states.stream(version), _headers(version))

    async def _lock_info(self, call: Call) -> Mapping[str, Any]:
        body = await reading.read_bounded(call, _LARGEST_LOCK)
        return decode(_lock, body) if body.strip() else {}

    async def _open(self, call: Call, permission: Permission) -> Opened:
        """Find the workspace for whoever asks. Raises Unauthenticated, PermissionDenied, WorkspaceNotFound."""
        secret = reading.credential(call.scope)
        reference = call.params["workspace"]
        if secret.startswith(PREFIX):
            grant = await self._services.grants.recognise(secret)
            if grant.id != reference:
                raise NotFound("the credential of a run opens the state of its own workspace only")
            return Opened(grant, grant.writer, grant.writes)
        identity = self._services.identity
        caller = identity.authenticate_cached(secret) or await identity.authenticate(secret)
        caller.require(permission)
        return Opened(await self._services.workspaces.look_up(caller.scope, reference), writer_of(caller))


def _lock_id(info: Mapping[str, Any]) -> str | None:
    found = info.get("ID")
    if found is not None and not isinstance(found, str):
        raise InvalidArgument("the ID of a lock is a text")
    return found or None


def _headers(version: StateVersion) -> list[tuple[bytes, bytes]]:
    """Let Terraform check what it got, and others see what it is."""
    md5 = base64.b64encode(bytes.fromhex(version.facts.md5))
    return [(b"content-md5", md5), (b"x-state-version", str(version.number).encode())]


def _shown(version: StateVersion) -> dict[str, Any]:
    facts = version.facts
    return {
        "number": version.number,
        "id": version.id,
        "serial": facts.serial,
        "lineage": facts.lineage,
        "md5": facts.md5,
        "size": facts.size,
        "resources": facts.resources,
        "terraform_version": facts.terraform_version,
        "created_at": time_of(version.created_at),
        "created_by": version.created_by,
        "run": version.run_id,
        "forced": version.forced,
    }
