"""State versions in the words of the protocol: announce, send, read, list; the outputs of the current one."""

import base64
from typing import Any, Final

from runyard.dialects.door import Call
from runyard.dialects.reading import pieces
from runyard.dialects.terraform import reading
from runyard.dialects.terraform.addresses import BASE, Addresses, Purpose
from runyard.dialects.terraform.finding import organization, writer_of
from runyard.dialects.terraform.replies import (
    resource,
    send_list,
    send_nothing,
    send_resource,
    send_state,
    time_of,
)
from runyard.dialects.terraform.runviews import named
from runyard.dialects.terraform.services import TerraformServices
from runyard.identity.model import Principal
from runyard.infrastructure.state.document import Output
from runyard.infrastructure.state.errors import NoState
from runyard.infrastructure.state.model import Facts, HolderKind, StateVersion
from runyard.infrastructure.state.service import How
from runyard.infrastructure.workspaces.model import Workspace
from runyard.kernel.errors import InvalidArgument, NotFound

_KINDS: Final = {"list": "array", "set": "array", "tuple": "array", "map": "map", "object": "map"}


class StateHandlers:
    """State versions."""

    def __init__(self, services: TerraformServices, addresses: Addresses) -> None:
        """Take the services."""
        self._services = services
        self._states = services.states
        self._addresses = addresses

    async def current(self, call: Call) -> None:
        """Show the current version."""
        found = await self._workspace(call)
        version = await self._states.current(found.id)
        if version is None:
            raise NoState
        await send_resource(call, self._shown(call, version))

    async def get(self, call: Call) -> None:
        """Show a version."""
        await send_resource(call, self._shown(call, await self._version(call)))

    async def download(self, call: Call) -> None:
        """Send the bytes of a version."""
        version = await self._version(call)
        await send_state(call, version, self._states.stream(version))

    async def list(self, call: Call) -> None:
        """List the versions of a workspace, which a filter names, the newest first."""
        values = reading.query(call)
        name, account = values.get("filter[workspace][name]"), values.get("filter[organization][name]")
        if not name or not account:
            raise InvalidArgument("filter[workspace][name] and filter[organization][name] are needed")
        call.params = {**call.params, "organization": account}
        await organization(self._services, call)
        found = await self._services.workspaces.find(call.caller.scope, name)
        number, size = reading.page(call)
        newest = await self._states.current(found.id)
        if newest is None or newest.number is None:
            await send_list(call, [], number, size)
            return
        # Numbers have no gaps, so a page begins where its number says, however long the history is.
        page = await self._states.history(found.id, size, newest.number + 1 - (number - 1) * size)
        items = [self._shown(call, one) for one in page.items]
        await send_list(call, items, number, size, more=page.has_more)

    async def create(self, call: Call) -> None:
        """Announce a version and say where its bytes are to be sent, or keep one that comes with its bytes."""
        found = await self._workspace(call)
        asked = await reading.read_document(call)
        force = reading.attribute(asked, "force", bool, default=False)
        md5 = reading.attribute(asked, "md5", str, "")
        lock_id = await self._own_lock(found, call.caller)
        writer = writer_of(call.caller)
        inline = reading.attribute(asked, "state", str, "")
        if inline:
            how = How(lock_id=lock_id, force=force, md5=md5 or None)
            version = await self._states.write(found, writer, _decoded(inline), how=how)
            await send_resource(call, self._shown(call, version), 201)
            return
        if not md5:
            raise InvalidArgument("md5 is needed")
        facts = Facts(
            serial=reading.attribute(asked, "serial", int, 0),
            lineage=reading.attribute(asked, "lineage", str, ""),
            md5=md5.lower(),
            size=0,
        )
        version = await self._states.announce(found, writer, facts, how=How(lock_id=lock_id, force=force))
        await send_resource(call, self._shown(call, version, lock_id, sending=True), 201)

    async def receive(self, call: Call) -> None:
        """Take the bytes of an announced version; the address is the permission."""
        version_id, lock_id = self._addresses.open(call.params["address"], Purpose.STATE)
        body = pieces(call, self._states.max_bytes)
        await self._states.finish(version_id, body, lock_id or None)
        await send_nothing(call, 200)

    async def receive_json(self, call: Call) -> None:
        """Take the other form of a state that clients send beside it. It has nothing that the state has not, so it is read
        to its end and not kept.
        """
        self._addresses.open(call.params["address"], Purpose.STATE_JSON)
        await reading.skip_bounded(call, self._states.max_bytes)
        await send_nothing(call, 200)

    async def outputs(self, call: Call) -> None:
        """List the outputs of the current version."""
        found = await self._workspace(call)
        version = await self._states.current(found.id)
        if version is None:
            raise NoState
        await self._send_outputs(call, version)

    async def version_outputs(self, call: Call) -> None:
        """List the outputs of a version."""
        await self._send_outputs(call, await self._version(call))

    async def _send_outputs(self, call: Call, version: StateVersion) -> None:
        found = await self._states.outputs(version)
        items = [_output(version, name, one, shown=not one.sensitive) for name, one in found.items()]
        await send_list(call, items, 1, max(len(items), 1))

    async def output(self, call: Call) -> None:
        """Show one output; the value of a sensitive one is in this answer only."""
        version_id, _, name = call.params["output"].partition("-")
        version = await self._states.get(call.caller.scope, version_id)
        found = (await self._states.outputs(version)).get(name)
        if found is None:
            raise NotFound("the state has no such output")
        await send_resource(call, _output(version, name, found, shown=True))

    async def _workspace(self, call: Call) -> Workspace:
        return await self._services.workspaces.look_up(call.caller.scope, call.params["workspace"])

    async def _version(self, call: Call) -> StateVersion:
        return await self._states.get(call.caller.scope, call.params["version"])

    async def _own_lock(self, found: Workspace, caller: Principal) -> str | None:
        """Return the lock that the caller holds: in this protocol a lock belongs to a user and is not named again."""
        lock = await self._services.locks.holder(found.id)
        if lock is None or lock.holder is not HolderKind.CLIENT or lock.user_id != caller.user_id:
            return None
        return lock.lock_id

    def _shown(
        self, call: Call, version: StateVersion, lock_id: str | None = None, *, sending: bool = False
    ) -> dict[str, Any]:
        facts, base = version.facts, f"{self._addresses.base(call)}{BASE}/state-versions/{version.id}"
        attributes: dict[str, Any] = {
            "created-at": time_of(version.created_at),
            "serial": facts.serial,
            "lineage": facts.lineage,
            "md5": facts.md5,
            "size": facts.size,
            "status": "finalized" if version.is_kept else "pending",
            "terraform-version": facts.terraform_version or None,
            "state-version": 4,
            "resources-processed": version.is_kept,
            "hosted-state-download-url": f"{base}/download" if version.is_kept else None,
            "hosted-json-state-download-url": None,
            "version-number": version.number,
        }
        if sending:
            make = self._addresses.make
            attributes["hosted-state-upload-url"] = make(call, Purpose.STATE, version.id, lock_id or "")
            attributes["hosted-json-state-upload-url"] = make(call, Purpose.STATE_JSON, version.id)
        related: dict[str, Any] = {"workspace": ("workspaces", version.workspace_id)}
        if version.run_id:
            related["run"] = ("runs", named("run", version.run_id))
        return resource("state-versions", version.id, attributes, related)


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        raise InvalidArgument("state must be base64") from None


def _output(version: StateVersion, name: str, output: Output, *, shown: bool) -> dict[str, Any]:
    kind = (
        output.type
        if isinstance(output.type, str)
        else _KINDS.get(str(output.type[0]) if output.type else "", "")
    )
    attributes = {
        "name": name,
        "sensitive": output.sensitive,
        "type": kind,
        "value": output.value if shown else None,
        "detailed-type": output.type,
    }
    return resource("state-version-outputs", f"{version.id}-{name}", attributes)
