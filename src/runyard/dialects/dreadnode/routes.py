"""The Dreadnode door: every operation as data, bound to its handler."""

import itertools
from collections.abc import Iterator, Sequence
from typing import Any, Final

from runyard.dialects.door import Door, Parameter, Route
from runyard.dialects.dreadnode import reading, system
from runyard.dialects.dreadnode.declaring import route
from runyard.dialects.dreadnode.device import DeviceHandlers
from runyard.dialects.dreadnode.environments import environment_routes
from runyard.dialects.dreadnode.errors import DOCUMENTED, ErrorPayload, write_error
from runyard.dialects.dreadnode.identity import IdentityHandlers, KeyHandlers
from runyard.dialects.dreadnode.registry import RegistryHandlers
from runyard.dialects.dreadnode.sandboxes import SandboxHandlers
from runyard.dialects.dreadnode.secrets import SecretHandlers
from runyard.dialects.dreadnode.services import DreadnodeServices
from runyard.dialects.dreadnode.tasks import TaskHandlers
from runyard.dialects.dreadnode.tasksets import TaskSetHandlers
from runyard.environments.packages.model import SORTS as TASK_SORTS
from runyard.environments.tasksets.model import SORTS as SET_SORTS
from runyard.identity.model import Permission

_SMALL: Final = 1 << 20
"""Bytes of a body that is a handful of values."""


def _texts(**named: str) -> tuple[Parameter, ...]:
    """Declare parameters of the query that are texts, each with its summary."""
    return tuple(Parameter(name=name, summary=summary) for name, summary in named.items())


def _paged(sorts: Sequence[str]) -> tuple[Parameter, ...]:
    whole = {"type": "integer", "minimum": 1}
    return (
        Parameter(name="page", summary="Which page, from 1.", schema={**whole, "default": 1}),
        Parameter(name="limit", summary="Items on a page.", schema={**whole, "maximum": 100, "default": 50}),
        Parameter(name="sort_by", summary="What to sort by.", schema={"type": "string", "enum": list(sorts)}),
        Parameter(name="sort_dir", summary="Which way.", schema={"type": "string", "enum": ["asc", "desc"]}),
        Parameter(name="include_public", summary="Public ones of others too.", schema={"type": "boolean"}),
        *_texts(
            search="Text in name, description, source or tags.",
            tags="One of these; repeat it.",
            source="One of these; repeat it.",
        ),
    )


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
        parameters=_texts(code="The code that the device shows."), **shared,
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


def _tasks(h: TaskHandlers) -> Iterator[Route]:
    base, one = "/org/{org}/tasks", "/org/{org}/tasks/{task}"
    version = f"{one}/{{version}}"
    read: dict[str, Any] = {"permission": Permission.TASKS_READ}
    write: dict[str, Any] = {"permission": Permission.TASKS_WRITE, "body_limit_bytes": _SMALL}
    yield route(
        "GET",
        base,
        "listTasks",
        "List tasks.",
        h.list,
        parameters=[
            *_paged(TASK_SORTS),
            *_texts(difficulty="One of these; repeat it.", author="One of these; repeat it."),
        ],
        **read,
    )
    yield route("GET", f"{base}/facets", "listTaskFacets", "Count values to filter by.", h.facets, **read)
    yield route("GET", one, "getTask", "Tell about a task.", h.get, **read)
    yield route("GET", f"{one}/versions", "listTaskVersions", "List versions.", h.versions, **read)
    yield route("GET", f"{one}/readme", "getTaskReadme", "Send the README.", h.readme, **read)
    yield route(
        "GET",
        f"{one}/instruction",
        "getTaskInstruction",
        "Send the instruction.",
        h.instruction,
        parameters=_texts(sandbox_id="An environment that fills it in."),
        **read,
    )
    yield route(
        "PATCH", f"{one}/visibility", "setTaskVisibility", "Publish or take back.", h.set_visibility, **write
    )
    yield route("GET", version, "getTaskVersion", "Tell about a version.", h.get, **read)
    yield route("DELETE", version, "deleteTask", "Remove a version.", h.delete, status=204, **write)


def _registry(h: RegistryHandlers) -> Iterator[Route]:
    uploads, manifests = "/{org}/{task}/blobs/uploads", "/{org}/{task}/manifests/{reference}"
    tag: dict[str, Any] = {"tags": ("registry",)}
    read: dict[str, Any] = {"permission": Permission.TASKS_READ, **tag}
    write: dict[str, Any] = {"permission": Permission.TASKS_WRITE, "status": 201, **tag}
    yield route("GET", "/{org}/blobs/{digest}", "getBlob", "Send a blob.", h.blob, response=bytes, **read)
    yield route("POST", uploads, "beginUpload", "Tell where to upload.", h.begin, **{**write, "status": 202})
    # The handler bounds this body by its own setting, while it writes it to disk.
    yield route(
        "PUT", f"{uploads}/{{upload}}", "uploadBlob", "Take a blob.", h.upload, request=bytes,
        body_limit_bytes=0, parameters=[Parameter(name="digest", summary="Of the bytes: sha256:...", required=True)],
        **write,
    )  # fmt: skip
    yield route(
        "PUT", manifests, "putManifest", "Take in a version.", h.put_manifest, request=bytes,
        body_limit_bytes=_SMALL, **write,
    )  # fmt: skip
    yield route("GET", manifests, "getManifest", "Send a manifest.", h.manifest, response=bytes, **read)
    yield route("GET", "/{org}/{task}/tags/list", "listTags", "List versions.", h.tags, **read)


def _task_sets(h: TaskSetHandlers) -> Iterator[Route]:
    base, one = "/org/{org}/task-sets", "/org/{org}/task-sets/{set}"
    read: dict[str, Any] = {"permission": Permission.TASKS_READ}
    write: dict[str, Any] = {"permission": Permission.TASKS_WRITE, "body_limit_bytes": _SMALL}
    yield route(
        "GET",
        base,
        "listTaskSets",
        "List task sets.",
        h.list,
        parameters=[*_paged(SET_SORTS), *_texts(contains="A task that the set refers to.")],
        **read,
    )
    yield route("POST", base, "createTaskSet", "Make a task set.", h.create, status=201, **write)
    yield route("GET", f"{base}/facets", "listTaskSetFacets", "Count values to filter by.", h.facets, **read)
    yield route("GET", one, "getTaskSet", "Tell about a task set.", h.get, **read)
    yield route("PUT", one, "replaceTaskSet", "Give a task set other content.", h.replace, **write)
    yield route("DELETE", one, "deleteTaskSet", "Remove a task set.", h.delete, **write)
    yield route(
        "PATCH",
        f"{one}/visibility",
        "setTaskSetVisibility",
        "Publish or take back.",
        h.set_visibility,
        **write,
    )


def _sandboxes(h: SandboxHandlers) -> Iterator[Route]:
    base, one = "/org/{org}/sandboxes", "/org/{org}/sandboxes/{sandbox}"
    read: dict[str, Any] = {"permission": Permission.ENVIRONMENTS_READ}
    yield route(
        "GET",
        base,
        "listSandboxes",
        "List sandboxes.",
        h.list,
        parameters=_texts(
            state="Comma-joined: running, paused, killed.",
            project_id="Of one project.",
            cursor="From the page before.",
            limit="Items on a page, 1 to 200.",
        ),
        **read,
    )
    yield route("GET", f"{base}/usage", "getSandboxUsage", "Tell how long they lived.", h.usage, **read)
    yield route("GET", one, "getSandbox", "Tell about a sandbox.", h.get, **read)
    yield route("GET", f"{one}/logs", "getSandboxLogs", "Send the log of its making.", h.logs, **read)
    yield route(
        "DELETE", one, "deleteSandbox", "End a sandbox.", h.delete, status=204,
        permission=Permission.ENVIRONMENTS_WRITE,
    )  # fmt: skip


def register(services: DreadnodeServices) -> Door:
    """Build the door over the domain services."""
    routes = itertools.chain(
        _system(),
        _identity(IdentityHandlers(services)),
        _keys(KeyHandlers(services)),
        _device(DeviceHandlers(services)),
        _secrets(SecretHandlers(services)),
        _tasks(TaskHandlers(services)),
        _registry(RegistryHandlers(services)),
        environment_routes(services),
        _sandboxes(SandboxHandlers(services)),
        _task_sets(TaskSetHandlers(services)),
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
