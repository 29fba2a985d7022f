"""The Terraform `http` backend at the dialect's paths: the same state and the same lock as everywhere else."""

import base64
from typing import Any, Final

import msgspec

from runyard.dialects.door import Answer, Call, send_answer
from runyard.dialects.harness.reading import Reader, Where, writer_of
from runyard.dialects.harness.replies import encode, send_json, send_nothing
from runyard.dialects.harness.services import HarnessServices
from runyard.dialects.reading import content_md5, decode, pieces, query, read_body
from runyard.dialects.streaming import send_pieces
from runyard.infrastructure.state.errors import StateLocked
from runyard.infrastructure.state.model import HolderKind, Lock
from runyard.infrastructure.state.service import How
from runyard.infrastructure.workspaces.model import Lock as WorkspaceLock
from runyard.infrastructure.workspaces.model import Workspace
from runyard.kernel.errors import InvalidArgument, TooLarge

_LARGEST_LOCK: Final = 64 << 10
_lock: Final = msgspec.json.Decoder(dict[str, Any])


class BackendHandlers:
    """States of workspaces."""

    def __init__(self, services: HarnessServices, reader: Reader) -> None:
        """Take the services."""
        self._states = services.states
        self._locks = services.locks
        self._reader = reader

    async def read(self, call: Call) -> None:
        """Send the current state; nothing when there is none."""
        _, workspace = await self._reader.workspace(call)
        version = await self._states.current(workspace.id)
        if version is None:
            await send_nothing(call)
            return
        md5 = base64.b64encode(bytes.fromhex(version.facts.md5))
        headers = (
            (b"content-type", b"application/json"),
            (b"cache-control", b"no-store"),
            (b"content-md5", md5),
        )
        await send_pieces(call, version.facts.size, self._states.stream(version), headers)

    async def write(self, call: Call) -> None:
        """Keep a state; `ID` names the lock that the writer holds."""
        _, workspace = await self._reader.workspace(call)
        how = How(lock_id=query(call).get("ID") or None, md5=content_md5(call))
        body = pieces(call, self._states.max_bytes)
        await self._states.write(workspace, writer_of(call.caller), body, how=how)
        await send_nothing(call, 200)

    async def lock(self, call: Call) -> None:
        """Take the lock; when another is held, answer 423 with it, which the tool shows."""
        where, workspace = await self._reader.workspace(call)
        info = await self._info(call)
        lock_id = info.get("ID")
        if not isinstance(lock_id, str) or not lock_id:
            raise InvalidArgument("the lock needs an ID")
        if workspace.lock is not None and workspace.lock.actor != call.caller.actor:
            held = _manual(workspace, workspace.lock)
            await send_answer(call, Answer(423, encode(_view(where, workspace, held, workspace.lock.reason))))
            return
        try:
            lock = await self._locks.acquire(workspace, writer_of(call.caller), lock_id, info)
        except StateLocked as error:
            if error.holder is None:
                raise
            await send_answer(call, Answer(423, encode(_view(where, workspace, error.holder))))
            return
        await send_json(call, _view(where, workspace, lock))

    async def unlock(self, call: Call) -> None:
        """Release the lock that the body names; without a body, break whichever is held."""
        _, workspace = await self._reader.workspace(call)
        info = await self._info(call)
        lock_id = info.get("ID") or query(call).get("ID")
        if lock_id is not None and not isinstance(lock_id, str):
            raise InvalidArgument("the ID of a lock is a text")
        if lock_id:
            await self._locks.release(workspace, writer_of(call.caller), lock_id)
        else:
            await self._locks.break_lock(workspace, writer_of(call.caller))
        await send_nothing(call, 200)

    async def _info(self, call: Call) -> dict[str, Any]:
        body = await read_body(call)
        if len(body) > _LARGEST_LOCK:
            raise TooLarge(f"the lock has at most {_LARGEST_LOCK} bytes")
        return decode(_lock, body) if body.strip() else {}


def _manual(workspace: Workspace, manual: WorkspaceLock) -> Lock:
    """Return a person's lock on a workspace as one on its state: the tool knows no other."""
    return Lock(
        workspace_id=workspace.id,
        account_id=workspace.account_id,
        lock_id=manual.holder or str(workspace.record_id),
        holder=HolderKind.CLIENT,
        actor=manual.actor,
        created_at=manual.at,
        info={"Who": manual.actor, "Info": manual.reason, "Operation": "manual lock", "Path": workspace.name},
    )


def _view(where: Where, workspace: Workspace, lock: Lock, manual: str | None = None) -> dict[str, Any]:
    """Return the lock as the tool writes it, with where it is and who holds it; `manual` is why a person took it."""
    return {
        **lock.document(),
        "account": where.account.slug,
        "org": where.org_name,
        "project": where.project_name,
        "workspace": workspace.identifier,
        "manual": manual is not None,
        "reason": lock.info.get("Operation", "") if manual is None else manual,
        "locked_by_principal_id": lock.actor,
        "locked_by_principal_type": "USER",
        "locked_by_display_name": lock.actor,
    }
