"""The StackStorm door: every operation as data, bound to its handler."""

import itertools
import re
from collections.abc import Iterator
from typing import Any, Final

from runyard.dialects.door import Call, Door, Handler, Route
from runyard.dialects.stackstorm import reading
from runyard.dialects.stackstorm.absent import ABSENT, absent
from runyard.dialects.stackstorm.catalogue import CatalogueHandlers
from runyard.dialects.stackstorm.declared import BODIES, parameters_of
from runyard.dialects.stackstorm.errors import DOCUMENTED, Fault, write_error
from runyard.dialects.stackstorm.executions import ExecutionHandlers
from runyard.dialects.stackstorm.granting import Gate
from runyard.dialects.stackstorm.instances import InstanceHandlers
from runyard.dialects.stackstorm.keys import InquiryHandlers, KeyHandlers, TraceHandlers
from runyard.dialects.stackstorm.replies import send_json
from runyard.dialects.stackstorm.roles import RoleHandlers
from runyard.dialects.stackstorm.services import StackStormServices
from runyard.dialects.stackstorm.stream import StreamHandlers
from runyard.dialects.stackstorm.tokens import ApiKeyHandlers, TokenHandlers
from runyard.identity.model import Permission

VERSION: Final = "3.9.0"
"""Of the published API that this door speaks."""
_LEDGER, _CANCEL = Permission.EXECUTIONS_READ, Permission.EXECUTIONS_CANCEL
_READ, _WRITE, _RUN = Permission.ACTIONS_READ, Permission.ACTIONS_WRITE, Permission.ACTIONS_RUN
_KEYS, _SET_KEYS = Permission.KEYS_READ, Permission.KEYS_WRITE
_TOKENS = Permission.TOKENS_MANAGE
_NAME = re.compile(r"[^A-Za-z0-9]+")
STREAM_PORT: Final = 9102
"""Where the published stream service listens."""
RESOURCES: Final = (
    "actions", "executions", "runnertypes", "packs", "config_schemas", "configs", "keys", "traces", "inquiries",
    "tokens", "apikeys", "user", "stream", "rules", "triggertypes", "triggers", "triggerinstances",
    "ruleenforcements", "webhooks", "timers", "policies", "policytypes", "actionalias", "aliasexecution",
    "workflows", "sensortypes", "rbac", "service_registry",
)  # fmt: skip
"""First segments of the door's paths, with and without a version before them."""


def _route(method: str, path: str, name: str, summary: str, **more: Any) -> Route:  # noqa: ANN401  a table reads better than a builder
    tag = path.split("/")[2] if path.startswith("/v1/") and len(path) > 4 else "stream"
    errors = [status for status in DOCUMENTED if status != 501]
    given: dict[str, Any] = {"parameters": parameters_of(name), "request": BODIES.get(name), **more}
    return Route(method=method, path=path, name=name, summary=summary, errors=errors, tags=[tag], **given)


def _tokens(h: TokenHandlers, k: ApiKeyHandlers) -> Iterator[Route]:
    one = "/v1/apikeys/{key}"
    yield _route("POST", "/v1/tokens", "logIn", "Log in.", handler=h.create, open=True, status=201)
    yield _route("POST", "/v1/tokens/validate", "validateToken", "Check a token.", handler=h.validate)
    yield _route("GET", "/v1/user", "getUser", "Tell who the caller is.", handler=h.user)
    yield _route("GET", "/v1/apikeys", "listApiKeys", "List API keys.", handler=k.list, permission=_TOKENS)
    yield _route(
        "POST",
        "/v1/apikeys",
        "createApiKey",
        "Make an API key.",
        handler=k.create,
        permission=_TOKENS,
        status=201,
    )
    yield _route("GET", one, "getApiKey", "Get an API key.", handler=k.get, permission=_TOKENS)
    yield _route("PUT", one, "updateApiKey", "Change an API key.", handler=k.update, permission=_TOKENS)
    yield _route(
        "DELETE", one, "deleteApiKey", "End an API key.", handler=k.delete, permission=_TOKENS, status=204
    )


def _actions(h: CatalogueHandlers) -> Iterator[Route]:
    base, one = "/v1/actions", "/v1/actions/{action}"
    read: dict[str, Any] = {"permission": _READ}
    write: dict[str, Any] = {"permission": _WRITE}
    yield _route("GET", base, "listActions", "List actions.", handler=h.actions, **read)
    yield _route("POST", base, "createAction", "Add an action.", handler=h.create_action, status=201, **write)
    yield _route("GET", one, "getAction", "Get an action.", handler=h.action, **read)
    yield _route("PUT", one, "updateAction", "Replace an action.", handler=h.update_action, **write)
    yield _route(
        "DELETE", one, "deleteAction", "Remove an action.", handler=h.delete_action, status=204, **write
    )
    yield _route(
        "POST", f"{one}/clone", "cloneAction", "Copy an action.", handler=h.clone_action, status=201, **write
    )
    views = f"{base}/views"
    yield _route(
        "GET", f"{views}/parameters/{{action}}", "getActionParameters", "Show the merged parameters.",
        handler=h.parameters_view, **read,
    )  # fmt: skip
    yield _route(
        "GET", f"{views}/overview", "listActionOverviews", "Show all with merged parameters.",
        handler=h.overviews, **read,
    )  # fmt: skip
    yield _route(
        "GET", f"{views}/overview/{{action}}", "getActionOverview", "Show one with merged parameters.",
        handler=h.overview, **read,
    )  # fmt: skip
    yield _route(
        "GET", f"{views}/entry_point/{{action}}", "getEntryPoint", "Send the file that an action runs.",
        handler=h.entry_point, response=bytes, **read,
    )  # fmt: skip
    yield _route("GET", "/v1/runnertypes", "listRunners", "List runner types.", handler=h.runners, **read)
    yield _route(
        "GET", "/v1/runnertypes/{runner}", "getRunner", "Get a runner type.", handler=h.runner, **read
    )
    yield _route(
        "PUT", "/v1/runnertypes/{runner}", "updateRunner", "Switch a runner type on or off.",
        handler=h.update_runner, **write,
    )  # fmt: skip


def _packs(h: CatalogueHandlers) -> Iterator[Route]:
    read: dict[str, Any] = {"permission": _READ}
    yield _route("GET", "/v1/packs", "listPacks", "List packs.", handler=h.packs, **read)
    yield _route("GET", "/v1/packs/{pack}", "getPack", "Get a pack.", handler=h.pack, **read)
    yield _route(
        "POST",
        "/v1/packs/register",
        "registerPacks",
        "Load packs from disk.",
        handler=h.register,
        permission=_WRITE,
    )
    yield _route(
        "GET", "/v1/config_schemas", "listConfigSchemas", "List schemas of configurations.",
        handler=h.config_schemas, **read,
    )  # fmt: skip
    yield _route(
        "GET", "/v1/config_schemas/{pack}", "getConfigSchema", "Get the schema of a configuration.",
        handler=h.config_schema, **read,
    )  # fmt: skip
    one = "/v1/configs/{pack}"
    yield _route("GET", "/v1/configs", "listConfigs", "List configurations.", handler=h.configs, **read)
    yield _route("GET", one, "getConfig", "Get a configuration.", handler=h.config, **read)
    yield _route("PUT", one, "setConfig", "Set a configuration.", handler=h.set_config, permission=_WRITE)


def _executions(h: ExecutionHandlers, s: StreamHandlers) -> Iterator[Route]:
    base, one = "/v1/executions", "/v1/executions/{execution}"
    read: dict[str, Any] = {"permission": _LEDGER}
    yield _route("GET", base, "listExecutions", "List executions.", handler=h.list, **read)
    yield _route(
        "POST", base, "createExecution", "Run an action.", handler=h.create, permission=_RUN, status=201
    )
    yield _route(
        "GET", f"{base}/views/filters", "getFilters", "List values to filter by.", handler=h.filters, **read
    )
    yield _route("GET", one, "getExecution", "Get an execution.", handler=h.get, **read)
    yield _route(
        "PUT", one, "updateExecution", "Set status and result.", handler=h.update, permission=_CANCEL
    )
    yield _route("DELETE", one, "cancelExecution", "End an execution.", handler=h.cancel, permission=_CANCEL)
    yield _route(
        "GET",
        f"{one}/attribute/{{attribute}}",
        "getAttribute",
        "Get one member.",
        handler=h.attribute,
        **read,
    )
    yield _route("GET", f"{one}/children", "listChildren", "List all below.", handler=h.children, **read)
    yield _route(
        "GET",
        f"{one}/output",
        "getOutput",
        "Send the output so far.",
        handler=_output(h, s),
        response=bytes,
        **read,
    )
    yield _route(
        "GET", f"{one}/result", "getResult", "Send the result.", handler=h.result, response=bytes, **read
    )
    yield _route(
        "POST", f"{one}/re_run", "reRun", "Run again.", handler=h.re_run, permission=_RUN, status=201
    )
    yield _route("GET", "/v1/stream", "stream", "Send events as they come.", handler=s.events, **read)
    for prefix, name in (("/stream/v1", "streamOutput"), ("/stream", "streamOutputUnversioned")):
        path = f"{prefix}/executions/{{execution}}/output"
        yield _route("GET", path, name, "Send output as it comes.", handler=s.output, **read)


def _output(h: ExecutionHandlers, s: StreamHandlers) -> Handler:
    """Return the handler of a path that two of the published services have: on the port of the stream, it streams."""

    async def handler(call: Call) -> None:
        _, port = call.scope.get("server") or ("", None)
        await (s.output if port == STREAM_PORT else h.output)(call)

    return handler


def _rest(k: KeyHandlers, t: TraceHandlers, i: InquiryHandlers) -> Iterator[Route]:
    key, inquiry = "/v1/keys/{key}", "/v1/inquiries/{inquiry}"
    read: dict[str, Any] = {"permission": _LEDGER}
    yield _route("GET", "/v1/keys", "listKeys", "List keys.", handler=k.list, permission=_KEYS)
    yield _route("GET", key, "getKey", "Get a key.", handler=k.get, permission=_KEYS)
    yield _route("PUT", key, "setKey", "Set a key.", handler=k.put, permission=_SET_KEYS)
    yield _route(
        "DELETE", key, "deleteKey", "Remove a key.", handler=k.delete, permission=_SET_KEYS, status=204
    )
    yield _route("GET", "/v1/traces", "listTraces", "List traces.", handler=t.list, **read)
    yield _route("GET", "/v1/traces/{trace}", "getTrace", "Get a trace.", handler=t.get, **read)
    yield _route("GET", "/v1/inquiries", "listInquiries", "List inquiries that wait.", handler=i.list, **read)
    yield _route("GET", inquiry, "getInquiry", "Get an inquiry.", handler=i.get, **read)
    yield _route("PUT", inquiry, "respond", "Answer an inquiry.", handler=i.respond, permission=_RUN)


def _instances(h: InstanceHandlers) -> Iterator[Route]:
    base, read = "/v1/triggerinstances", {"permission": _LEDGER}
    yield _route("GET", base, "listTriggerInstances", "List trigger instances.", handler=h.list, **read)
    yield _route(
        "GET", f"{base}/{{instance}}", "getTriggerInstance", "Get a trigger instance.", handler=h.get, **read
    )


def _roles(h: RoleHandlers) -> Iterator[Route]:
    base = "/v1/rbac"
    for path, name, summary, handler in (
        ("roles", "listRoles", "List roles.", h.roles),
        ("roles/{role}", "getRole", "Get a role.", h.role),
        ("role_assignments", "listRoleAssignments", "List who holds which role.", h.assignments),
        ("role_assignments/{assignment}", "getRoleAssignment", "Get one.", h.assignment),
        ("permission_types", "listPermissionTypes", "List permission types.", h.permission_types),
        (
            "permission_types/{resource}",
            "listPermissionTypesOf",
            "List those of a type.",
            h.permission_types_of,
        ),
    ):
        yield _route("GET", f"{base}/{path}", name, summary, handler=handler, permission=Permission.ADMIN)


def _few() -> Iterator[Route]:
    yield _route("GET", "/v1", "getVersion", "Tell the version.", handler=_version)
    yield _route(
        "GET", "/v1/service_registry/groups", "listGroups", "List groups of services.", handler=_groups
    )
    yield _route(
        "GET", "/v1/service_registry/groups/{group}/members", "listGroupMembers", "List the members of a group.",
        handler=_members,
    )  # fmt: skip
    for group, path, methods in ABSENT:
        for method in methods.split():
            name = f"absent{method.capitalize()}{_NAME.sub('_', path).rstrip('_')}"
            yield Route(
                method=method, path=path, name=name, summary="Published, not available here yet.", handler=absent,
                status=501, errors=[401, 501], tags=[f"not implemented: {group}"],
            )  # fmt: skip


async def _version(call: Call) -> None:
    await send_json(call, {"version": VERSION, "docs_url": "/docs"})


async def _groups(call: Call) -> None:
    await send_json(call, {"groups": []})


async def _members(call: Call) -> None:
    await send_json(call, {"members": []})


def register(services: StackStormServices) -> Door:
    """Build the door over the domain services."""
    catalogue = CatalogueHandlers(services)
    routes = itertools.chain(
        _tokens(TokenHandlers(services), ApiKeyHandlers(services)),
        _actions(catalogue),
        _packs(catalogue),
        _executions(ExecutionHandlers(services), StreamHandlers(services)),
        _roles(RoleHandlers(services)),
        _instances(InstanceHandlers(services)),
        _rest(KeyHandlers(services), TraceHandlers(services), InquiryHandlers(services)),
        _few(),
    )
    own = [f"/{version}{name}/" for name in (*RESOURCES, "actionexecutions") for version in ("", "v1/")]
    return Door(
        name="stackstorm",
        title=f"StackStorm {VERSION}: actions and executions",
        routes=tuple(routes),
        prefixes=("/api/", "/auth/", "/exp/", "/v1/", *own),
        credential=reading.credential,
        unknown=reading.unknown,
        write_error=write_error,
        error_body=Fault,
        aliases=tuple(_aliases()),
        claims=reading.claims,
        admit=Gate(services.access),
        prepare=reading.prepare,
    )


def _aliases() -> Iterator[tuple[str, str]]:
    """Yield the other spellings of paths: behind the prefixes of a reverse proxy, without a version, and old names."""
    for front in ("/api/v1/", "/api/", "/auth/v1/", "/auth/", "/stream/v1/", "/"):
        yield f"{front}actionexecutions/", "/v1/executions/"
        for name in RESOURCES:
            yield f"{front}{name}/", f"/v1/{name}/"
    yield "/v1/actionexecutions/", "/v1/executions/"
    yield "/api/v1/", "/v1/"
