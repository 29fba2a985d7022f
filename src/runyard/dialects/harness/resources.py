"""What a workspace manages, read from its current state: resources, data sources, outputs, modules, types.

Sensitive values are not among what is shown, and no values at all to callers who may not read states: which of them are
sensitive, older tools did not write down. A state is untrusted and may be large: it is read in a thread, once a call.
"""

import asyncio
import fnmatch
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from runyard.dialects.door import Call
from runyard.dialects.harness.reading import Reader
from runyard.dialects.harness.replies import millis, send_json
from runyard.dialects.harness.services import HarnessServices
from runyard.dialects.harness.wire import SearchBody
from runyard.dialects.reading import integer, query, read_optional_json
from runyard.identity.model import Permission
from runyard.infrastructure.state.errors import BadState, NoState
from runyard.infrastructure.state.model import StateVersion
from runyard.kernel.errors import InvalidArgument
from runyard.kernel.jsons import encode_json

_MAX_PAGE: Final = 1000
_HIDDEN: Final = "(sensitive value)"
_SELECTORS: Final = ("type", "name", "provider", "module", "mode")
_search: Final = msgspec.json.Decoder(SearchBody)


class _Instance(msgspec.Struct):
    attributes: dict[str, Any] | None = None
    index_key: str | int | None = None
    sensitive_attributes: list[Any] | None = None


class _Resource(msgspec.Struct):
    type: str
    name: str
    mode: str = "managed"
    provider: str = ""
    module: str = ""
    instances: list[_Instance] | None = None


class _Output(msgspec.Struct):
    value: Any = None
    sensitive: bool = False


class _State(msgspec.Struct):
    resources: list[_Resource] | None = None
    outputs: dict[str, _Output] | None = None


@dataclass(frozen=True, slots=True)
class _Seen:
    """What a caller sees."""

    stamp: int
    values: bool
    selectors: Sequence[Mapping[str, str]]


_state: Final = msgspec.json.Decoder(_State)


class ResourceHandlers:
    """Resources of workspaces."""

    def __init__(self, services: HarnessServices, reader: Reader) -> None:
        """Take the services."""
        self._states = services.states
        self._reader = reader

    async def show(self, call: Call) -> None:
        """Show all of them with the outputs."""
        values = query(call)
        limit = integer(values, "limit", _MAX_PAGE, 1, _MAX_PAGE)
        await self._send(call, [], integer(values, "page", 1, 1, 1_000_000), limit)

    async def search(self, call: Call) -> None:
        """Show a page of those that any selector fits."""
        body = await read_optional_json(call, _search)
        if not (1 <= body.limit <= _MAX_PAGE and body.page >= 1):
            raise InvalidArgument(f"limit must be from 1 to {_MAX_PAGE} and page from 1 on")
        selectors = body.selectors or []
        for selector in selectors:
            if not set(selector) <= set(_SELECTORS) or not all(isinstance(v, str) for v in selector.values()):
                raise InvalidArgument(f"a selector has texts for {', '.join(_SELECTORS)}")
        await self._send(call, selectors, body.page, body.limit)

    async def _send(self, call: Call, selectors: Sequence[Mapping[str, str]], page: int, limit: int) -> None:
        version, state = await self._state(call)
        seen = _Seen(
            stamp=0 if version is None else millis(version.created_at),
            values=call.caller.may(Permission.STATE_READ),
            selectors=selectors,
        )
        begin = (page - 1) * limit
        await send_json(call, await asyncio.to_thread(_document, state, seen, slice(begin, begin + limit)))

    async def modules(self, call: Call) -> None:
        """List the modules that resources come from."""
        _, state = await self._state(call)
        found = sorted({one.module for one in state.resources or () if one.module})
        await send_json(call, [{"module": name, "name": name.rpartition(".")[2]} for name in found])

    async def types(self, call: Call) -> None:
        """List the types of resources."""
        _, state = await self._state(call)
        await send_json(call, sorted({one.type for one in state.resources or () if one.mode == "managed"}))

    async def type_attributes(self, call: Call) -> None:
        """List the attributes that resources of a type have."""
        _, state = await self._state(call)
        wanted = call.params["type"]
        await send_json(call, sorted(_attributes(state).get(wanted, set())))

    async def types_and_attributes(self, call: Call) -> None:
        """List the types with their attributes."""
        _, state = await self._state(call)
        await send_json(call, {name: sorted(names) for name, names in sorted(_attributes(state).items())})

    async def _state(self, call: Call) -> tuple[StateVersion | None, _State]:
        call.caller.require(Permission.WORKSPACES_READ)
        _, workspace = await self._reader.workspace(call)
        try:
            version, body = await self._states.read(workspace.id)
        except NoState:
            return None, _State()
        return version, await asyncio.to_thread(_decoded, body)


def _decoded(body: bytes) -> _State:
    try:
        return _state.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise BadState("the state of the workspace cannot be read") from None


def _document(state: _State, seen: _Seen, page: slice) -> dict[str, Any]:
    managed, data = (
        [one for one in _views(state, mode, seen) if _fits(one, seen.selectors)]
        for mode in ("managed", "data")
    )
    outputs = [
        {
            "name": name,
            "value": one.value if seen.values and not one.sensitive else _HIDDEN,
            "sensitive": one.sensitive,
        }
        for name, one in sorted((state.outputs or {}).items())
    ]
    return {
        "resources": managed[page],
        "data_sources": data[page],
        "outputs": outputs,
        "total_resources": len(managed),
        "totalItems": len(managed),
        "pageNumber": page.start // (page.stop - page.start) + 1,
        "hasMore": page.stop < max(len(managed), len(data)),
    }


def _views(state: _State, mode: str, seen: _Seen) -> Iterator[dict[str, Any]]:
    for resource in state.resources or ():
        if resource.mode != mode:
            continue
        for instance in resource.instances or ():
            attributes = dict(instance.attributes or {})
            hidden = _sensitive(instance)
            for name in set(attributes) & hidden if seen.values else tuple(attributes):
                attributes[name] = _HIDDEN
            index = "" if instance.index_key is None else f"[{encode_json(instance.index_key).decode()}]"
            prefix = f"{resource.module}." if resource.module else ""
            yield {
                "type": resource.type,
                "name": f"{resource.name}{index}",
                "provider": resource.provider,
                "module": resource.module,
                "mode": mode,
                "attributes": attributes,
                "sensitive_attributes": sorted(hidden),
                "drift_status": "unchanged",
                "drift_attributes": {},
                "path_id": f"{prefix}{resource.type}.{resource.name}{index}",
                "resource_id": str(attributes.get("id", "")),
                "createdAt": seen.stamp,
                "lastSyncedAt": seen.stamp,
            }


def _sensitive(instance: _Instance) -> set[str]:
    """Return the attributes of which any part is sensitive; a path's first step names the attribute."""
    found: set[str] = set()
    for path in instance.sensitive_attributes or ():
        step = path[0] if isinstance(path, list) and path else None
        if isinstance(step, dict) and isinstance(step.get("value"), str):
            found.add(step["value"])
    return found


def _fits(view: Mapping[str, Any], selectors: Sequence[Mapping[str, str]]) -> bool:
    """Tell whether any selector fits; none at all fit everything. A selector's texts may hold `*`."""
    return not selectors or any(
        all(fnmatch.fnmatchcase(str(view[name]), wanted) for name, wanted in selector.items())
        for selector in selectors
    )


def _attributes(state: _State) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for resource in state.resources or ():
        if resource.mode == "managed":
            names = found.setdefault(resource.type, set())
            for instance in resource.instances or ():
                names.update(instance.attributes or {})
    return found
