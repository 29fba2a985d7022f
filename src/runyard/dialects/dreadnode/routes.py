"""The Dreadnode door: every operation as data, bound to its handler."""

import itertools
from collections.abc import Iterator
from typing import Any, Final

from runyard.dialects.door import Door, Route
from runyard.dialects.dreadnode import reading, system
from runyard.dialects.dreadnode.declaring import route
from runyard.dialects.dreadnode.device import DeviceHandlers
from runyard.dialects.dreadnode.environments import environment_routes
from runyard.dialects.dreadnode.errors import DOCUMENTED, ErrorPayload, write_error
from runyard.dialects.dreadnode.identity import IdentityHandlers, KeyHandlers
from runyard.dialects.dreadnode.secrets import SecretHandlers
from runyard.dialects.dreadnode.services import DreadnodeServices
from runyard.identity.model import Permission

_SMALL: Final = 1 << 20
"""Bytes of a body that is a handful of values."""


def _system() -> Iterator[Route]:
    yield route("GET", "/health", "getHealth", "Tell that the server answers.", system.health, open=True)
    yield route("GET", "/config", "getConfig", "Tell what this installation is.", system.config, open=True)


def _identity(h: IdentityHandlers) -> Iterator[Route]:
    org, ws = "/org/{org}", "/org/{org}/ws/{ws}"
    read: dict[str, Any] = {"permission": None}
    yield route("GET", "/user", "getUser", "Tell who the caller is.", h.user)
    yield route("GET", "/user/organizations", "listOrganizations", "List organizations.", h.organizations)
    yield route("GET", org, "getOrganization", "Tell about an organization.", h.organization, **read)
    yield route("GET", f"{org}/ws", "listWorkspaces", "List workspaces.", h.workspaces, **read)
    yield route("GET", ws, "getWorkspace", "Tell about a workspace.", h.workspace, **read)
    yield route("GET", f"{ws}/projects", "listProjects", "List projects.", h.projects, **read)
    yield route(
        "POST", f"{ws}/projects", "createProject", "Add a project.", h.create_project,
        permission=Permission.ADMIN, status=201, body_limit_bytes=_SMALL,
    )  # fmt: skip
    yield route("GET", f"{ws}/projects/{{project}}", "getProject", "Tell about a project.", h.project, **read)


def _keys(h: KeyHandlers) -> Iterator[Route]:
    base = "/user/api-keys"
    yield route(
        "POST", base, "createApiKey", "Make an API key.", h.create, status=201, body_limit_bytes=_SMALL
    )
    yield route("GET", base, "listApiKeys", "List API keys.", h.list)
    yield route("DELETE", f"{base}/self", "revokeOwnKey", "End the caller's key.", h.delete_self, status=204)
    yield route("DELETE", f"{base}/{{key}}", "revokeApiKey", "End an API key.", h.delete, status=204)


def _device(h: DeviceHandlers) -> Iterator[Route]:
    small: dict[str, Any] = {"open": True, "body_limit_bytes": 16 << 10}
    code = "/auth/device/code"
    yield route("POST", code, "beginDeviceLogin", "Begin a device's log-in.", h.begin, **small)
    yield route("GET", f"{code}/{{code}}", "pollDeviceLogin", "Ask whether it is confirmed.", h.poll, **small)
    yield route("POST", "/auth/device/token", "getDeviceToken", "Get the device's token.", h.token, **small)
    shared: dict[str, Any] = {"path": "/login/device", "errors": DOCUMENTED, "tags": ("auth",), **small}
    yield Route(
        method="GET", name="showDevicePage", summary="Show the page that confirms a device.", handler=h.page,
        **shared,
    )  # fmt: skip
    yield Route(method="POST", name="confirmDevice", summary="Confirm a device.", handler=h.confirm, **shared)


def _secrets(h: SecretHandlers) -> Iterator[Route]:
    base, one = "/user/secrets", "/user/secrets/{secret}"
    read: dict[str, Any] = {"permission": Permission.SECRETS_READ}
    write: dict[str, Any] = {"permission": Permission.SECRETS_WRITE, "body_limit_bytes": _SMALL}
    yield route("GET", base, "listSecrets", "List secrets.", h.list, **read)
    yield route("POST", base, "createSecret", "Store a secret.", h.create, status=201, **write)
    yield route("GET", f"{base}/presets", "listPresets", "List known providers.", h.presets, **read)
    yield route(
        "POST", f"{base}/preset", "setPreset", "Store a provider's secret.", h.set_preset, status=201, **write
    )
    yield route("GET", one, "getSecret", "Tell about a secret.", h.get, **read)
    yield route("PUT", one, "replaceSecret", "Give a secret another value.", h.replace, **write)
    yield route("DELETE", one, "deleteSecret", "Delete a secret.", h.delete, status=204, **write)


def register(services: DreadnodeServices) -> Door:
    """Build the door over the domain services."""
    routes = itertools.chain(
        _system(),
        _identity(IdentityHandlers(services)),
        _keys(KeyHandlers(services)),
        _device(DeviceHandlers(services)),
        _secrets(SecretHandlers(services)),
        environment_routes(services),
    )
    return Door(
        name="dreadnode",
        title="Dreadnode: task packages and environments",
        routes=tuple(routes),
        prefixes=("/api/", "/login/device/"),
        aliases=(("/api/", "/api/v1/"),),
        credential=reading.credential,
        write_error=write_error,
        error_body=ErrorPayload,
    )
