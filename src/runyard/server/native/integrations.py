"""Integrations with version control over the native API: their routes, shapes and handlers. A credential comes in here
and leaves by nothing.
"""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

import msgspec

from runyard.dialects import reading
from runyard.dialects.door import Call, Route
from runyard.identity.model import Permission
from runyard.infrastructure.integrations.model import Integration, NewIntegration
from runyard.server.house import House
from runyard.server.native.declaring import route
from runyard.server.native.replies import send_json, send_nothing
from runyard.server.native.wire import Listed

_PATH = "/integrations"


class NativeIntegrationIn(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Where repositories are and how they are reached."""

    name: str
    type: str
    """`github`, `gitlab`, `bitbucket`, `bitbucketdc`, `codecommit`, `azuredevops`, or `git` for any other."""
    url: str = ""
    """What stands before the name of a repository; the public host of the kind when left out."""
    username: str = ""
    password: str = ""
    """A token or password for http(s)."""
    ssh_key: str = ""
    known_hosts: str = ""
    """Host keys to accept; any at the first contact when left out."""
    repositories: list[str] = []
    """What to offer, where the server cannot list repositories by itself."""


class NativeIntegrationOut(msgspec.Struct, kw_only=True):
    """An integration without its credential."""

    id: str
    name: str
    type: str
    url: str
    username: str
    has_credential: bool
    repositories: list[str]
    project: str
    created_at: datetime
    fetched_at: datetime | None
    fetch_error: str
    """Why the last try to reach it failed; empty after a success."""


_integration = msgspec.json.Decoder(NativeIntegrationIn)


class NativeIntegrationHandlers:
    """Integrations of the caller's part of the tree."""

    def __init__(self, house: House) -> None:
        """Take the services."""
        self._integrations = house.infrastructure.integrations

    async def listing(self, call: Call) -> None:
        """List integrations, the oldest first."""
        found = await self._integrations.list(call.caller)
        await send_json(call, Listed(items=[_view(one) for one in found]))

    async def create(self, call: Call) -> None:
        """Add an integration."""
        body = await reading.read_json(call, _integration)
        new = NewIntegration(**msgspec.structs.asdict(body))
        await send_json(call, _view(await self._integrations.create(call.caller, new)), status=201)

    async def delete(self, call: Call) -> None:
        """Remove an integration."""
        await self._integrations.delete(call.caller, call.params["integration"])
        await send_nothing(call)


def integration_routes(h: NativeIntegrationHandlers) -> Iterator[Route]:
    """Yield the operations."""
    more: dict[str, Any] = {"permission": Permission.ADMIN, "tags": ["integrations"]}
    yield route(
        "GET", _PATH, "listIntegrations", "List integrations.",
        handler=h.listing, response=Listed[NativeIntegrationOut], **more,
    )  # fmt: skip
    yield route(
        "POST", _PATH, "createIntegration", "Add an integration with version control.",
        handler=h.create, request=NativeIntegrationIn, response=NativeIntegrationOut, status=201, **more,
    )  # fmt: skip
    yield route(
        "DELETE", f"{_PATH}/{{integration}}", "deleteIntegration", "Remove an integration.",
        handler=h.delete, status=204, **more,
    )  # fmt: skip


def _view(one: Integration) -> NativeIntegrationOut:
    return NativeIntegrationOut(
        id=one.id,
        name=one.name,
        type=one.type,
        url=one.url,
        username=one.username,
        has_credential=one.has_credential,
        repositories=list(one.repositories),
        project=one.project_id,
        created_at=one.created_at,
        fetched_at=one.fetched_at,
        fetch_error=one.fetch_error,
    )
