"""The native door: every operation as data, bound to its handler."""

from collections.abc import Iterator
from typing import Any

from runyard.dialects import reading
from runyard.dialects.door import WEBSOCKET, Door, Parameter, Route
from runyard.dialects.runta.files import FileHandlers
from runyard.identity.model import Permission
from runyard.server.house import House
from runyard.server.native.declaring import BASE, CURSOR, LIMIT, route
from runyard.server.native.executions import ExecutionHandlers
from runyard.server.native.guardrails import GuardrailHandlers, guardrail_routes
from runyard.server.native.identitywire import (
    ActionRoles,
    MadeTokenOut,
    ProjectIn,
    ProjectOut,
    TokenIn,
    TokenOut,
    UserIn,
    UserOut,
    WhoOut,
)
from runyard.server.native.images import NativeImageHandlers
from runyard.server.native.integrations import NativeIntegrationHandlers, integration_routes
from runyard.server.native.members import MemberHandlers, member_routes
from runyard.server.native.plans import PlanHandlers, plan_routes
from runyard.server.native.problems import CONTENT_TYPE, DOCUMENTED, Problem, write_error
from runyard.server.native.projects import ProjectHandlers
from runyard.server.native.runs import RunHandlers, run_routes
from runyard.server.native.runtimes import NativeCheckpointHandlers, NativeExecHandlers, NativeRuntimeHandlers
from runyard.server.native.secrets import NativeSecretHandlers
from runyard.server.native.states import StateHandlers, state_routes
from runyard.server.native.stream import NativeStreamHandlers
from runyard.server.native.system import SystemHandlers
from runyard.server.native.tokens import TokenHandlers
from runyard.server.native.users import ActionRoleHandlers, UserHandlers
from runyard.server.native.wire import (
    CancelIn,
    CapabilityOut,
    CheckpointIn,
    CommandIn,
    CommandOut,
    EventOut,
    ExecutionOut,
    HealthOut,
    Listed,
    NativeCheckpointOut,
    NativeImageIn,
    NativeImageOut,
    NativeRuntimeOut,
    NativeSecretIn,
    NativeSecretOut,
    OutputOut,
    RuntimeIn,
    SearchOut,
)
from runyard.server.native.workspaces import WorkspaceHandlers, workspace_routes

_READ, _WRITE, _EXEC = Permission.RUNTIMES_READ, Permission.RUNTIMES_WRITE, Permission.RUNTIMES_EXEC
_LEDGER, _CANCEL = Permission.EXECUTIONS_READ, Permission.EXECUTIONS_CANCEL


def _number(name: str, summary: str, maximum: int = 2**53) -> Parameter:
    return Parameter(name=name, summary=summary, schema={"type": "integer", "minimum": 0, "maximum": maximum})


_STREAM = Parameter(
    name="stream",
    summary="One stream only.",
    schema={"type": "string", "enum": ["stdout", "stderr", "system"]},
)
_OFFSET = _number("offset", "Byte of the log to begin at.")
_PATH = Parameter(name="path", summary="A regular file, absolute or relative to /root.", required=True)
_STATUS = Parameter(name="status", summary="Comma-separated statuses; all when left out.")
_FILTERS = [
    Parameter(name="kind", summary="Comma-separated kinds."),
    _STATUS,
    Parameter(name="place", summary="Id of a place, or kind:id."),
    Parameter(name="actor", summary="Who asked for it."),
    Parameter(name="door", summary="Through which API it came."),
    Parameter(name="parent", summary="Id of the parent."),
    Parameter(name="root", summary="Id of the top of a tree."),
    Parameter(name="top", summary="Only executions without a parent.", schema={"type": "boolean"}),
    Parameter(name="label", summary="name=value, comma-separated; all must match."),
    Parameter(name="text", summary="A part of the name or the command, case ignored."),
    Parameter(name="request_id", summary="The request that made it."),
    Parameter(name="created_after", summary="Inclusive, RFC 3339."),
    Parameter(name="created_before", summary="Exclusive, RFC 3339."),
    LIMIT,
    CURSOR,
]


def _executions(h: ExecutionHandlers) -> Iterator[Route]:
    one = "/executions/{execution}"
    out: dict[str, Any] = {"permission": _LEDGER, "tags": ["executions"]}
    yield route(
        "GET", "/executions", "listExecutions", "List executions, the newest first.",
        handler=h.listing, response=Listed[ExecutionOut], parameters=_FILTERS, **out,
    )  # fmt: skip
    yield route("GET", one, "getExecution", "Get an execution.", handler=h.get, response=ExecutionOut, **out)
    yield route(
        "GET", f"{one}/history", "getHistory", "Get all changes of an execution, the oldest first.",
        handler=h.history, response=Listed[EventOut], **out,
    )  # fmt: skip
    yield route(
        "POST", f"{one}/cancel", "cancelExecution", "Ask for the end of an execution.",
        handler=h.cancel, request=CancelIn, response=ExecutionOut, permission=_CANCEL, status=202, tags=["executions"],
    )  # fmt: skip
    form = Parameter(
        name="format", summary="json or raw.", schema={"type": "string", "enum": ["json", "raw"]}
    )
    bytes_ = Parameter(
        name="limit", summary="Bytes at most.", schema={"type": "integer", "minimum": 1, "maximum": 8 << 20}
    )
    yield route(
        "GET", f"{one}/output", "readOutput", "Read a range of the output log.",
        handler=h.output, response=OutputOut, parameters=[_OFFSET, bytes_, _STREAM, form], **out,
    )  # fmt: skip
    text = Parameter(
        name="text", summary="What to look for.", required=True, schema={"type": "string", "minLength": 1}
    )
    case = Parameter(name="ignore_case", summary="Ignore case.", schema={"type": "boolean"})
    yield route(
        "GET", f"{one}/output/search", "searchOutput", "Find the lines that contain a text.",
        handler=h.search, response=SearchOut, parameters=[text, case, LIMIT, CURSOR], **out,
    )  # fmt: skip
    last = Parameter(name="Last-Event-ID", summary="Byte of the log to go on at.", where="header")
    yield route(
        "GET", f"{one}/output/live", "followOutput", "Follow the output log as server-sent events.",
        handler=h.live, response=bytes, parameters=[_OFFSET, _STREAM, last], **out,
    )  # fmt: skip


def _runtimes(h: NativeRuntimeHandlers) -> Iterator[Route]:
    one, tags = "/runtimes/{runtime}", ["runtimes"]
    yield route(
        "GET", "/runtimes", "listRuntimes", "List runtimes, the newest first.",
        handler=h.listing, response=Listed[NativeRuntimeOut], permission=_READ, tags=tags,
        parameters=[_STATUS, LIMIT, CURSOR],
    )  # fmt: skip
    key = Parameter(
        name="Idempotency-Key", summary="The same key and body give the same runtime.", where="header"
    )
    yield route(
        "POST", "/runtimes", "createRuntime", "Create a runtime, or restore a checkpoint into one.",
        handler=h.create, request=RuntimeIn, response=NativeRuntimeOut, permission=_WRITE, status=201, tags=tags,
        parameters=[key],
    )  # fmt: skip
    yield route(
        "GET", one, "getRuntime", "Get a runtime by id or unique name.",
        handler=h.get, response=NativeRuntimeOut, permission=_READ, tags=tags,
    )  # fmt: skip
    yield route(
        "DELETE", one, "deleteRuntime", "Delete a runtime with its files.",
        handler=h.delete, permission=_WRITE, status=204, tags=tags,
    )  # fmt: skip
    for verb, handler in (("start", h.start), ("stop", h.stop), ("pause", h.pause), ("resume", h.resume)):
        yield route(
            "POST", f"{one}/{verb}", f"{verb}Runtime", f"{verb.capitalize()} a runtime.",
            handler=handler, response=NativeRuntimeOut, permission=_WRITE, tags=tags,
        )  # fmt: skip


def _work(house: House) -> Iterator[Route]:
    one = "/runtimes/{runtime}"
    files = FileHandlers(house)
    more: dict[str, Any] = {"permission": _EXEC, "tags": ["runtimes"]}
    yield route(
        "POST", f"{one}/exec", "execCommand", "Run a command to its end.",
        handler=NativeExecHandlers(house).run, request=CommandIn, response=CommandOut, **more,
    )  # fmt: skip
    yield route(
        WEBSOCKET, f"{one}/exec/stream", "execStream", "Run a command over a WebSocket: frames in JSON, bytes in Base64.",
        handler=NativeStreamHandlers(house).run, status=101, **more,
    )  # fmt: skip
    yield route(
        "GET",
        f"{one}/files",
        "readFile",
        "Read a file.",
        handler=files.read,
        response=bytes,
        parameters=[_PATH],
        **more,
    )
    yield route(
        "PUT", f"{one}/files", "writeFile", "Write a file, making its parents.",
        handler=files.write, request=bytes, status=204, parameters=[_PATH],
        body_limit_bytes=house.settings.limits.upload_bytes, **more,
    )  # fmt: skip


def _checkpoints(h: NativeCheckpointHandlers) -> Iterator[Route]:
    tags = ["checkpoints"]
    yield route(
        "POST", "/runtimes/{runtime}/checkpoints", "createCheckpoint", "Copy the writable files of a runtime.",
        handler=h.create, request=CheckpointIn, response=NativeCheckpointOut, permission=_WRITE, status=201, tags=tags,
    )  # fmt: skip
    yield route(
        "GET", "/checkpoints", "listCheckpoints", "List checkpoints, the newest first.",
        handler=h.listing, response=Listed[NativeCheckpointOut], permission=_READ, parameters=[LIMIT, CURSOR], tags=tags,
    )  # fmt: skip
    one = "/checkpoints/{checkpoint}"
    yield route(
        "GET", one, "getCheckpoint", "Get a checkpoint.",
        handler=h.get, response=NativeCheckpointOut, permission=_READ, tags=tags,
    )  # fmt: skip
    yield route(
        "DELETE", one, "deleteCheckpoint", "Delete a checkpoint.",
        handler=h.delete, permission=_WRITE, status=204, tags=tags,
    )  # fmt: skip


def _images(h: NativeImageHandlers) -> Iterator[Route]:
    tags = ["images"]
    yield route(
        "GET", "/images", "listImages", "List what runtimes can be made from: host, folders, images.",
        handler=h.listing, response=Listed[NativeImageOut], permission=_READ, tags=tags,
    )  # fmt: skip
    yield route(
        "POST", "/images", "importImage", "Import an OCI image layout from a folder of the server's host.",
        handler=h.create, request=NativeImageIn, response=NativeImageOut, permission=Permission.ADMIN, status=201,
        tags=tags, errors=(*DOCUMENTED, 501),
    )  # fmt: skip
    yield route(
        "DELETE", "/images/{image}", "removeImage", "Remove an imported image; runtimes that live on it go on.",
        handler=h.delete, permission=Permission.ADMIN, status=204, tags=tags,
    )  # fmt: skip


def _secrets(h: NativeSecretHandlers) -> Iterator[Route]:
    one, read, write = "/secrets/{secret}", Permission.SECRETS_READ, Permission.SECRETS_WRITE
    tags = ["secrets"]
    yield route(
        "GET", "/secrets", "listSecrets", "List secrets by name, without their values.",
        handler=h.listing, response=Listed[NativeSecretOut], permission=read, tags=tags,
    )  # fmt: skip
    yield route(
        "GET", one, "getSecret", "Get a secret by id or unique name, without its value.",
        handler=h.get, response=NativeSecretOut, permission=read, tags=tags,
    )  # fmt: skip
    yield route(
        "PUT", one, "putSecret", "Store a secret under a name, or replace its value.",
        handler=h.put, request=NativeSecretIn, response=NativeSecretOut, permission=write, tags=tags,
    )  # fmt: skip
    yield route(
        "DELETE", one, "deleteSecret", "Delete a secret; runtimes that use it go on without it.",
        handler=h.delete, permission=write, status=204, tags=tags,
    )  # fmt: skip


def _tokens(h: TokenHandlers) -> Iterator[Route]:
    tags = ["tokens"]
    yield route(
        "GET", "/whoami", "whoAmI", "Tell who the caller is.", handler=h.who, response=WhoOut, tags=tags
    )
    yield route(
        "GET", "/tokens", "listTokens", "List tokens without their secrets.",
        handler=h.listing, response=Listed[TokenOut], permission=Permission.TOKENS_MANAGE,
        parameters=[LIMIT, CURSOR], tags=tags,
    )  # fmt: skip
    yield route(
        "POST", "/tokens", "createToken", "Make a token; its secret is shown this once.",
        handler=h.create, request=TokenIn, response=MadeTokenOut, permission=Permission.TOKENS_MANAGE, status=201,
        tags=tags,
    )  # fmt: skip
    yield route(
        "DELETE", "/tokens/{token}", "revokeToken", "Make a token useless at once.",
        handler=h.revoke, status=204, tags=tags,
    )  # fmt: skip


def _users(u: UserHandlers, r: ActionRoleHandlers) -> Iterator[Route]:
    more: dict[str, Any] = {"permission": Permission.ADMIN, "tags": ["users"]}
    yield route(
        "GET", "/users", "listUsers", "List users.", handler=u.listing, response=Listed[UserOut], **more
    )
    yield route(
        "POST", "/users", "createUser", "Add a user.",
        handler=u.create, request=UserIn, response=UserOut, status=201, **more,
    )  # fmt: skip
    path = "/action-roles"
    yield route(
        "GET", path, "getActionRoles", "Get the roles of actions and who holds them.",
        handler=r.get, response=ActionRoles, **more,
    )  # fmt: skip
    yield route(
        "PUT", path, "applyActionRoles", "Put roles of actions and holders in the place of all that are there.",
        handler=r.put, request=ActionRoles, response=ActionRoles, **more,
    )  # fmt: skip


def _projects(h: ProjectHandlers) -> Iterator[Route]:
    tags, admin = ["projects"], Permission.ADMIN
    yield route(
        "GET", "/projects", "listProjects", "List the caller's project and all below it, parents first.",
        handler=h.listing, response=Listed[ProjectOut], permission=_READ, tags=tags,
    )  # fmt: skip
    yield route(
        "POST", "/projects", "createProject", "Add a project below another.",
        handler=h.create, request=ProjectIn, response=ProjectOut, permission=admin, status=201, tags=tags,
    )  # fmt: skip
    yield route(
        "DELETE", "/projects/{project}", "deleteProject", "Delete a project on which nothing hangs.",
        handler=h.delete, permission=admin, status=204, tags=tags,
    )  # fmt: skip


def _system(h: SystemHandlers, *, open_metrics: bool) -> Iterator[Route]:
    tags = ["server"]
    more: dict[str, Any] = {"open": True, "tags": tags}
    yield Route(
        method="GET",
        path="/healthz",
        name="healthz",
        summary="Answer while serving.",
        handler=h.healthz,
        **more,
    )
    yield route(
        "GET", "/health/live", "live", "Answer while alive.", handler=h.live, response=HealthOut, **more
    )
    yield route(
        "GET", "/health/ready", "ready", "Tell whether new work would be done, with reasons.",
        handler=h.ready, response=HealthOut, **more,
    )  # fmt: skip
    yield route(
        "GET", "/capabilities", "listCapabilities", "List what this host enforces and what not.",
        handler=h.capabilities, response=Listed[CapabilityOut], permission=_READ, tags=tags,
    )  # fmt: skip
    yield Route(
        method="GET", path="/metrics", name="metrics", summary="Metrics for Prometheus.", handler=h.metrics,
        open=open_metrics, response=bytes, errors=(401, 403), tags=tags,
    )  # fmt: skip
    yield Route(
        method="GET",
        path="/openapi.json",
        name="openapi",
        summary="This document.",
        handler=h.openapi,
        **more,
    )
    yield Route(
        method="GET", path="/docs", name="docs", summary="A viewer of this document.", handler=h.docs, **more
    )
    yield Route(
        method="GET", path="/docs/{file}", name="docsFile", summary="A part of the viewer.", handler=h.docs,
        errors=(404,), **more,
    )  # fmt: skip


def register(house: House) -> Door:
    """Build the door over the house."""
    routes = (
        *_executions(ExecutionHandlers(house)),
        *_runtimes(NativeRuntimeHandlers(house)),
        *_work(house),
        *_checkpoints(NativeCheckpointHandlers(house)),
        *_images(NativeImageHandlers(house)),
        *_secrets(NativeSecretHandlers(house)),
        *_projects(ProjectHandlers(house)),
        *member_routes(MemberHandlers(house)),
        *_tokens(TokenHandlers(house)),
        *_users(UserHandlers(house), ActionRoleHandlers(house)),
        *integration_routes(NativeIntegrationHandlers(house)),
        *state_routes(StateHandlers(house)),
        *workspace_routes(WorkspaceHandlers(house)),
        *run_routes(RunHandlers(house)),
        *plan_routes(PlanHandlers(house)),
        *guardrail_routes(GuardrailHandlers(house)),
        *_system(SystemHandlers(house), open_metrics=house.settings.metrics.open),
    )
    return Door(
        name="native",
        title="Runyard's own API",
        routes=routes,
        prefixes=(f"{BASE}/",),
        credential=reading.bearer,
        write_error=write_error,
        error_body=Problem,
        error_type=CONTENT_TYPE,
    )
