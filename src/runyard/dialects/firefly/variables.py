"""Variables of projects, workspaces and sets, and the sets themselves."""

from collections.abc import Sequence
from typing import Any, Final

import msgspec
from msgspec import UNSET, UnsetType

from runyard.dialects.door import Call
from runyard.dialects.firefly import reading
from runyard.dialects.firefly.projectwire import (
    AttachIn,
    VariableIn,
    VariableItem,
    VariableNamesIn,
    VariableSetChange,
    VariableSetFull,
    VariableSetIn,
    VariableSetItem,
    VariableSetMade,
    VariablesIn,
)
from runyard.dialects.firefly.replies import send_json, send_nothing
from runyard.dialects.firefly.services import FireflyServices
from runyard.infrastructure.variables.model import (
    Destination,
    NewSet,
    NewVariable,
    Sensitivity,
    SetChanges,
    Variable,
    VariableSet,
)
from runyard.infrastructure.workspaces.model import Workspace
from runyard.kernel.errors import InvalidArgument

_variables: Final = msgspec.json.Decoder(VariablesIn)
_names: Final = msgspec.json.Decoder(VariableNamesIn)
_set: Final = msgspec.json.Decoder(VariableSetIn)
_set_change: Final = msgspec.json.Decoder(VariableSetChange)
_attach: Final = msgspec.json.Decoder(AttachIn)


class VariableHandlers:
    """Variables of projects and workspaces."""

    def __init__(self, services: FireflyServices) -> None:
        """Take the services."""
        self._variables = services.variables
        self._sets = services.variable_sets
        self._workspaces = services.workspaces

    async def of_project(self, call: Call) -> None:
        """List variables of a project."""
        found = await self._variables.of_project(call.caller, call.params["projectId"])
        await send_json(call, [variable_item(one) for one in found])

    async def set_for_project(self, call: Call) -> None:
        """Write variables of a project."""
        body = await reading.read(call, _variables)
        wanted = new_variables(body.variables)
        await self._variables.set_for_project(call.caller, call.params["projectId"], wanted)
        await send_nothing(call)

    async def delete_of_project(self, call: Call) -> None:
        """Remove variables of a project."""
        names = await _read_names(call, "variableKeys")
        await self._variables.delete_of_project(call.caller, call.params["projectId"], names)
        await send_nothing(call)

    async def of_workspace(self, call: Call) -> None:
        """List variables of a workspace."""
        offset, limit = reading.windowed(call, default=reading.MAX_PAGE)
        found = await self._variables.of_workspace(await self._workspace(call), offset, limit)
        await send_json(call, [variable_item(one) for one in found])

    async def set_for_workspace(self, call: Call) -> None:
        """Write variables of a workspace."""
        body = await reading.read(call, _variables)
        wanted = new_variables(body.variables)
        await self._variables.set_for_workspace(call.caller, await self._workspace(call), wanted)
        await send_nothing(call)

    async def delete_of_workspace(self, call: Call) -> None:
        """Remove variables of a workspace."""
        names = await _read_names(call, "variableIds")
        await self._variables.delete_of_workspace(call.caller, await self._workspace(call), names)
        await send_nothing(call)

    async def bind(self, call: Call) -> None:
        """Let a workspace use a set."""
        workspace = await self._workspace(call)
        await self._sets.bind(call.caller, workspace, [call.params["variableSetId"]])
        await send_nothing(call)

    async def unbind(self, call: Call) -> None:
        """Undo it."""
        workspace = await self._workspace(call)
        await self._sets.unbind(call.caller, workspace, call.params["variableSetId"])
        await send_nothing(call)

    async def _workspace(self, call: Call) -> Workspace:
        return await self._workspaces.get(call.caller.scope, call.params["workspaceId"])


class VariableSetHandlers:
    """Variable sets."""

    def __init__(self, services: FireflyServices) -> None:
        """Take the services."""
        self._sets = services.variable_sets

    async def list(self, call: Call) -> None:
        """List sets."""
        offset, limit = reading.windowed(call, default=reading.MAX_PAGE)
        text = reading.query(call).get("searchQuery", "")
        found = await self._sets.list(call.caller, text, offset, limit)
        await send_json(call, [VariableSetItem(**_members_of(one)) for one in found])

    async def create(self, call: Call) -> None:
        """Make a set."""
        body = await reading.read(call, _set)
        new = NewSet(
            name=reading.required(body.name, "name"),
            description=body.description or "",
            labels=tuple(body.labels or ()),
            parents=tuple(body.parents or ()),
            variables=new_variables(body.variables or []),
        )
        made = await self._sets.create(call.caller, new)
        await send_json(call, VariableSetMade(variable_set_id=made.id), 201)

    async def get(self, call: Call) -> None:
        """Get a set."""
        found, below = await self._sets.get(call.caller, call.params["variableSetId"])
        await send_json(call, VariableSetFull(**_members_of(found), consumable=True, descendants=list(below)))

    async def update(self, call: Call) -> None:
        """Change a set."""
        body = await reading.read(call, _set_change)
        variables = UNSET if isinstance(body.variables, UnsetType) else new_variables(body.variables or [])
        changes = SetChanges(
            name=reading.unless_unset(body.name, ""),
            description=reading.unless_unset(body.description, ""),
            labels=reading.tuple_unless_unset(body.labels),
            parents=reading.tuple_unless_unset(body.parents),
            variables=variables,
        )
        await self._sets.update(call.caller, call.params["variableSetId"], changes)
        await send_json(call, "")

    async def delete(self, call: Call) -> None:
        """Remove a set."""
        await self._sets.delete(call.caller, call.params["variableSetId"])
        await send_nothing(call)

    async def variables(self, call: Call) -> None:
        """List variables of a set."""
        offset, limit = reading.paged(call)
        found = await self._sets.variables(call.caller, call.params["variableSetId"], offset, limit)
        await send_json(call, [variable_item(one) for one in found])

    async def set_variables(self, call: Call) -> None:
        """Write variables of a set."""
        body = await reading.read(call, _variables)
        wanted = new_variables(body.variables)
        await self._sets.set_variables(call.caller, call.params["variableSetId"], wanted)
        await send_nothing(call)

    async def delete_variables(self, call: Call) -> None:
        """Remove variables of a set."""
        names = await _read_names(call, "variableIds")
        await self._sets.delete_variables(call.caller, call.params["variableSetId"], names)
        await send_nothing(call)

    async def attach(self, call: Call) -> None:
        """Make a set known at a project."""
        body = await reading.read(call, _attach)
        consume = True if body.consume is None else body.consume
        await self._sets.attach(
            call.caller, call.params["projectId"], call.params["variableSetId"], consume=consume
        )
        await send_nothing(call)

    async def detach(self, call: Call) -> None:
        """Undo it."""
        await self._sets.detach(call.caller, call.params["projectId"], call.params["variableSetId"])
        await send_nothing(call)


def new_variables(given: Sequence[VariableIn]) -> Sequence[NewVariable]:
    """Return what a body asks to write, with the dialect's defaults. Raises InvalidArgument."""
    return [
        NewVariable(
            key=reading.required(one.key, "key"),
            value=one.value,
            sensitivity=one.sensitivity or Sensitivity.STRING,
            destination=one.destination or Destination.ENV,
        )
        for one in given
    ]


def variable_item(one: Variable) -> VariableItem:
    """Return a variable as the wire has it; a secret without a value."""
    return VariableItem(
        id=one.id,
        key=one.key,
        value=UNSET if one.value is None else one.value,
        sensitivity=one.sensitivity.value,
        destination=one.destination.value,
    )


def _members_of(one: VariableSet) -> dict[str, Any]:
    return {
        "id": one.id,
        "version": one.version,
        "name": one.name,
        "description": one.description,
        "labels": list(one.labels),
        "parents": list(one.parents),
    }


async def _read_names(call: Call, member: str) -> Sequence[str]:
    """Read which variables to delete; clients put ids and keys into either member. Raises InvalidArgument."""
    body = await reading.read(call, _names)
    names = [*(body.variable_ids or ()), *(body.variable_keys or ())]
    if not names:
        raise InvalidArgument(f"{reading.title(member)} is required")
    return names
