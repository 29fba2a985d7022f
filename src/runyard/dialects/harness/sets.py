"""Variable sets on the wire, at the levels of an account, an organization and a project, and how workspaces name them.

A set is called by its identifier, which is its name everywhere else. A reference in a workspace may say its level:
`account.base`, `org.base`, or `base` alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import msgspec

from runyard.dialects.door import Call
from runyard.dialects.harness.reading import MAX_IDENTIFIER, Reader
from runyard.dialects.harness.replies import millis, send_json, send_nothing
from runyard.dialects.harness.services import HarnessServices
from runyard.dialects.harness.variables import maps_of, variables_of
from runyard.dialects.harness.views import check_connectors, check_kept
from runyard.dialects.harness.wire import VariableSetBody
from runyard.dialects.reading import integer, query, read_json
from runyard.identity.model import Principal, Project, Scope
from runyard.infrastructure.variables.errors import VariableSetNotFound
from runyard.infrastructure.variables.model import NewSet, SetChanges, VariableSet
from runyard.infrastructure.variables.sets import VariableSetService
from runyard.kernel.errors import InvalidArgument, PermissionDenied

_body: Final = msgspec.json.Decoder(VariableSetBody)
_MOST: Final = 1000
_LEVELS: Final = ("account", "org")


class SetHandlers:
    """Variable sets."""

    def __init__(self, services: HarnessServices, reader: Reader) -> None:
        """Take the services."""
        self._sets = services.variable_sets
        self._reader = reader

    async def list(self, call: Call) -> None:
        """List those of a level, all when no page is asked for: clients ask for none."""
        values = query(call)
        limit, page = integer(values, "limit", _MOST, 1, _MOST), integer(values, "page", 1, 1, 1_000_000)
        place, names = await self._place(call)
        found = await self._sets.list(call.caller, values.get("searchTerm", ""), 0, _MOST)
        own = [one for one in found if one.project_id == _level(call.caller, place)]
        shown = [_summary(names, one) for one in own[(page - 1) * limit : page * limit]]
        headers = [
            (b"x-total-items", str(len(own)).encode()),
            (b"x-total-pages", str(-(-len(own) // limit)).encode()),
            (b"x-page-size", str(limit).encode()),
        ]
        await send_json(call, shown, headers=headers)

    async def show(self, call: Call) -> None:
        """Show one with its variables."""
        names, found = await self._found(call)
        variables = await self._sets.variables(call.caller, found.id, 0, _MOST)
        await send_json(call, {**_summary(names, found), **maps_of(variables)})

    async def create(self, call: Call) -> None:
        """Add one at a level."""
        body = await read_json(call, _body)
        if not body.identifier:
            raise InvalidArgument("identifier is required")
        place, names = await self._place(call)
        new = NewSet(
            name=body.identifier,
            description=body.description,
            variables=variables_of(body),
            extras=_extras(body),
        )
        made = await self._sets.create(_at(call.caller, place), new)
        variables = await self._sets.variables(call.caller, made.id, 0, _MOST)
        await send_json(call, {**_summary(names, made), **maps_of(variables)}, 201)

    async def replace(self, call: Call) -> None:
        """Replace one: what the body leaves out is gone."""
        names, found = await self._found(call)
        body = await read_json(call, _body)
        changes = SetChanges(description=body.description, variables=variables_of(body), extras=_extras(body))
        changed = await self._sets.update(call.caller, found.id, changes)
        variables = await self._sets.variables(call.caller, found.id, 0, _MOST)
        await send_json(call, {**_summary(names, changed), **maps_of(variables)})

    async def delete(self, call: Call) -> None:
        """Remove one; who used it does without."""
        _, found = await self._found(call)
        await self._sets.delete(call.caller, found.id)
        await send_nothing(call)

    async def _found(self, call: Call) -> tuple[Mapping[str, str], VariableSet]:
        place, names = await self._place(call)
        wanted = call.params["identifier"]
        for one in await self._sets.list(call.caller, wanted, 0, _MOST):
            if one.name == wanted and one.project_id == _level(call.caller, place):
                return names, one
        raise VariableSetNotFound(f"variable set {wanted} not found")

    async def _place(self, call: Call) -> tuple[Project | None, Mapping[str, str]]:
        """Return the node that a path names, None for the account, with the names in it."""
        account = await self._reader.account(call)
        names = {"account": account.slug}
        if "org" not in call.params:
            return None, names
        if "project" not in call.params:
            org = await self._reader.organization(call)
            return org, {**names, "org": org.slug}
        where = await self._reader.where(call)
        return where.project, {**names, "org": where.org_name, "project": where.project_name}


async def ids_of(sets: VariableSetService, caller: Principal, references: Sequence[str]) -> list[str]:
    """Return the ids of the sets that a workspace refers to. Raises VariableSetNotFound."""
    found: list[str] = []
    for reference in references:
        level, _, rest = reference.partition(".")
        wanted = rest if level in _LEVELS and rest else reference
        known = await sets.list(caller, wanted, 0, _MOST)
        match = next((one.id for one in known if wanted in (one.name, one.id)), None)
        if match is None:
            raise VariableSetNotFound(f"variable set {reference[:200]} not found")
        found.append(match)
    return found


def _level(caller: Principal, place: Project | None) -> str:
    return caller.scope.project_id if place is None else place.id


def _extras(body: VariableSetBody) -> dict[str, Any]:
    """Return what only this dialect keeps of a set. Raises InvalidArgument."""
    if len(body.name) > MAX_IDENTIFIER:
        raise InvalidArgument(f"length of name must be between 1 and {MAX_IDENTIFIER}")
    check_connectors(body.connectors or ())
    kept = {
        "name": body.name,
        "connectors": body.connectors or [],
        "terraform_variable_files": body.terraform_variable_files or [],
    }
    return {"harness": check_kept(kept)}


def _at(caller: Principal, place: Project | None) -> Principal:
    """Return the caller narrowed to a node: what it makes hangs there. Raises PermissionDenied for a node above the
    caller's own part, which can be named but not written.
    """
    if place is None:
        return caller
    if not place.path.startswith(caller.scope.project_path):
        raise PermissionDenied(f"the key is narrowed to a part of {place.slug}")
    return replace(caller, scope=Scope(caller.scope.account_id, place.id, place.path))


def _summary(names: Mapping[str, str], one: VariableSet) -> dict[str, Any]:
    own = one.extras.get("harness") or {}
    return {
        **names,
        "identifier": one.name,
        "name": own.get("name") or one.name,
        "description": one.description,
        "connectors": own.get("connectors", []),
        "terraform_variable_files": own.get("terraform_variable_files", []),
        "created": millis(one.created_at),
        "updated": millis(one.updated_at),
    }
