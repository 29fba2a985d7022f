"""The Terraform door: every operation as data, bound to its handler."""

import itertools
from collections.abc import Iterator
from typing import Any, Final

from runyard.dialects.door import Door, Route
from runyard.dialects.terraform import reading
from runyard.dialects.terraform.addresses import BASE, Addresses
from runyard.dialects.terraform.backend import BackendHandlers, answering_locked
from runyard.dialects.terraform.configurations import ConfigurationHandlers
from runyard.dialects.terraform.errors import DOCUMENTED, MEDIA_TYPE, Faults, write_error
from runyard.dialects.terraform.provider import ISSUER, ProviderHandlers
from runyard.dialects.terraform.reading import Document, Documents
from runyard.dialects.terraform.runs import RunHandlers
from runyard.dialects.terraform.services import TerraformServices
from runyard.dialects.terraform.states import StateHandlers
from runyard.dialects.terraform.variables import VariableHandlers
from runyard.dialects.terraform.workspaces import WorkspaceHandlers
from runyard.identity.model import Permission

STATE: Final = "/terraform/state"
"""Where the `http` backend is."""
_READ, _WRITE = Permission.WORKSPACES_READ, Permission.WORKSPACES_WRITE
_RUN, _APPROVE = Permission.WORKSPACES_RUN, Permission.WORKSPACES_APPROVE
_STATE, _SET_STATE = Permission.STATE_READ, Permission.STATE_WRITE


def _route(method: str, path: str, name: str, summary: str, **more: Any) -> Route:  # noqa: ANN401  a table reads better than a builder
    tag = path.removeprefix(BASE).split("/")[1]
    return Route(
        method=method, path=path, name=name, summary=summary, errors=(*DOCUMENTED, 423), tags=[tag], **more
    )


def _backend(h: BackendHandlers) -> Iterator[Route]:
    """The handlers look at the credential themselves: it may be that of a run, which is no token."""
    one = f"{STATE}/{{workspace}}"
    lock = f"{one}/lock"
    own: dict[str, Any] = {"open": True, "body_limit_bytes": 0}
    yield _route("GET", one, "readState", "Send the current state.", handler=h.read, response=bytes, **own)
    yield _route(
        "POST", one, "writeState", "Keep a state.", handler=answering_locked(h.write), request=bytes, **own
    )
    for path, name, locks, unlocks in (
        (one, "", ("LOCK",), ("UNLOCK",)),
        (lock, "At", ("LOCK", "POST", "PUT"), ("UNLOCK", "DELETE")),
    ):
        for method in locks:
            handler = answering_locked(h.lock)
            yield _route(
                method, path, f"lockState{name}{method.title()}", "Lock a state.", handler=handler, **own
            )
        for method in unlocks:
            handler = answering_locked(h.unlock)
            yield _route(
                method, path, f"unlockState{name}{method.title()}", "Unlock a state.", handler=handler, **own
            )
    yield _route("GET", lock, "getStateLock", "Show the lock that is held.", handler=h.holder, **own)
    yield _route(
        "GET", f"{one}/versions", "listStates", "List the versions of a state.", handler=h.versions, **own
    )
    yield _route(
        "GET", f"{one}/versions/{{number}}", "readStateVersion", "Send a version of a state.",
        handler=h.version, response=bytes, **own,
    )  # fmt: skip


def _provider(h: ProviderHandlers) -> Iterator[Route]:
    yield _route(
        "GET", "/.well-known/terraform.json", "discover", "List services.", handler=h.services, open=True
    )
    issuer = f"{ISSUER}/.well-known"
    yield _route(
        "GET", f"{issuer}/openid-configuration", "openidConfiguration", "Describe the OpenID provider.",
        handler=h.configuration, open=True,
    )  # fmt: skip
    yield _route("GET", f"{issuer}/jwks.json", "keySet", "List keys of tokens.", handler=h.keys, open=True)


def _organizations(h: WorkspaceHandlers, r: RunHandlers) -> Iterator[Route]:
    one = f"{BASE}/organizations/{{organization}}"
    named = f"{one}/workspaces/{{name}}"
    read: dict[str, Any] = {"permission": _READ}
    write: dict[str, Any] = {"permission": _WRITE}
    yield _route("GET", f"{BASE}/ping", "ping", "Say that the server answers.", handler=h.ping, status=204)
    yield _route("GET", f"{BASE}/account/details", "getAccount", "Show the caller.", handler=h.account)
    yield _route("GET", one, "getOrganization", "Show an organization.", handler=h.organization, **read)
    yield _route(
        "GET",
        f"{one}/entitlement-set",
        "getEntitlements",
        "Show what can be done.",
        handler=h.entitlements,
        **read,
    )
    yield _route("GET", f"{one}/projects", "listProjects", "List projects.", handler=h.projects, **read)
    yield _route(
        "POST", f"{one}/projects", "createProject", "Make a project.",
        handler=h.create_project, request=Document, status=201, permission=Permission.ADMIN,
    )  # fmt: skip
    yield _route(
        "GET", f"{one}/runs/queue", "listQueue", "List runs that are not over.", handler=r.queue, **read
    )
    yield _route("GET", f"{one}/capacity", "getCapacity", "Count runs at work.", handler=r.capacity, **read)
    yield _route("GET", f"{one}/workspaces", "listWorkspaces", "List workspaces.", handler=h.list, **read)
    yield _route(
        "POST", f"{one}/workspaces", "createWorkspace", "Make a workspace.",
        handler=h.create, request=Document, status=201, **write,
    )  # fmt: skip
    yield _route("GET", named, "getWorkspace", "Show a workspace.", handler=h.get, **read)
    yield _route(
        "PATCH", named, "updateWorkspace", "Change a workspace.", handler=h.update, request=Document, **write
    )
    yield _route(
        "DELETE", named, "deleteWorkspace", "Delete a workspace.", handler=h.delete, status=204, **write
    )
    yield _route(
        "POST", f"{named}/actions/safe-delete", "safeDeleteWorkspace", "Delete a workspace without resources.",
        handler=h.safe_delete, status=204, **write,
    )  # fmt: skip


def _workspaces(h: WorkspaceHandlers) -> Iterator[Route]:
    one = f"{BASE}/workspaces/{{workspace}}"
    locks: dict[str, Any] = {"permission": _SET_STATE}
    yield _route("GET", one, "getWorkspaceById", "Show a workspace.", handler=h.get_by_id, permission=_READ)
    yield _route(
        "PATCH", one, "updateWorkspaceById", "Change a workspace.",
        handler=h.update_by_id, request=Document, permission=_WRITE,
    )  # fmt: skip
    yield _route(
        "DELETE",
        one,
        "deleteWorkspaceById",
        "Delete a workspace.",
        handler=h.delete_by_id,
        status=204,
        permission=_WRITE,
    )
    yield _route(
        "POST",
        f"{one}/actions/lock",
        "lockWorkspace",
        "Lock a workspace.",
        handler=h.lock,
        request=Document,
        **locks,
    )
    yield _route(
        "POST", f"{one}/actions/unlock", "unlockWorkspace", "Unlock a workspace.", handler=h.unlock, **locks
    )
    yield _route(
        "POST", f"{one}/actions/force-unlock", "forceUnlock", "Break a lock.", handler=h.force_unlock, **locks
    )
    tags = f"{one}/relationships/tags"
    yield _route("GET", tags, "listTags", "List tags.", handler=h.tags, permission=_READ)
    yield _route(
        "POST", tags, "addTags", "Add tags.", handler=h.tag, request=Documents, status=204, permission=_WRITE
    )
    yield _route(
        "PATCH", f"{one}/tag-bindings", "addTagBindings", "Add tags with a value.",
        handler=h.bind, request=Documents, permission=_WRITE,
    )  # fmt: skip
    for name in ("tag-bindings", "effective-tag-bindings"):
        operation = f"list{name.title().replace('-', '')}"
        yield _route(
            "GET", f"{one}/{name}", operation, "List tags with a value.", handler=h.bindings, permission=_READ
        )


def _variables(h: VariableHandlers) -> Iterator[Route]:
    of = f"{BASE}/workspaces/{{workspace}}"
    for path, name, summary in (
        (f"{of}/vars", "listVariables", "List the variables of runs."),
        (f"{of}/all-vars", "listAllVariables", "List the variables of runs, those of sets among them."),
    ):
        yield _route("GET", path, name, summary, handler=h.list, permission=_READ)


def _states(h: StateHandlers) -> Iterator[Route]:
    of, one = f"{BASE}/workspaces/{{workspace}}", f"{BASE}/state-versions/{{version}}"
    read: dict[str, Any] = {"permission": _STATE}
    yield _route(
        "GET", f"{of}/current-state-version", "getCurrentState", "Show the current state version.",
        handler=h.current, **read,
    )  # fmt: skip
    yield _route(
        "GET",
        f"{of}/current-state-version-outputs",
        "listOutputs",
        "List outputs.",
        handler=h.outputs,
        **read,
    )
    yield _route(
        "POST", f"{of}/state-versions", "createStateVersion", "Announce a state version.",
        handler=h.create, request=Document, status=201, permission=_SET_STATE,
    )  # fmt: skip
    yield _route(
        "GET", f"{BASE}/state-versions", "listStateVersions", "List state versions.", handler=h.list, **read
    )
    yield _route("GET", one, "getStateVersion", "Show a state version.", handler=h.get, **read)
    yield _route(
        "GET", f"{one}/download", "downloadState", "Send a state.", handler=h.download, response=bytes, **read
    )
    yield _route(
        "GET", f"{one}/outputs", "listVersionOutputs", "List outputs.", handler=h.version_outputs, **read
    )


def _outputs(h: StateHandlers) -> Iterator[Route]:
    yield _route(
        "GET", f"{BASE}/state-version-outputs/{{output}}", "getOutput", "Show an output.",
        handler=h.output, permission=_STATE,
    )  # fmt: skip


def _configurations(h: ConfigurationHandlers) -> Iterator[Route]:
    yield _route(
        "POST", f"{BASE}/workspaces/{{workspace}}/configuration-versions", "createConfiguration",
        "Announce code.", handler=h.create, request=Document, status=201, permission=_RUN,
    )  # fmt: skip
    yield _route(
        "GET", f"{BASE}/configuration-versions/{{configuration}}", "getConfiguration", "Show uploaded code.",
        handler=h.get, permission=_READ,
    )  # fmt: skip


def _runs(h: RunHandlers) -> Iterator[Route]:
    one, check = f"{BASE}/runs/{{run}}", f"{BASE}/policy-checks/{{run}}"
    read: dict[str, Any] = {"permission": _READ}
    yield _route(
        "POST", f"{BASE}/runs", "createRun", "Ask for a run.",
        handler=h.create, request=Document, status=201, permission=_RUN,
    )  # fmt: skip
    yield _route(
        "GET", f"{BASE}/workspaces/{{workspace}}/runs", "listRuns", "List runs.", handler=h.list, **read
    )
    yield _route("GET", one, "getRun", "Show a run.", handler=h.get, **read)
    yield _route(
        "GET", f"{one}/run-events", "listRunEvents", "List events of a run.", handler=h.events, **read
    )
    yield _route(
        "GET", f"{one}/policy-checks", "listChecks", "List checks of a run.", handler=h.checks, **read
    )
    for action, handler, permission in (
        ("apply", h.apply, _APPROVE),
        ("discard", h.discard, _RUN),
        ("cancel", h.cancel, _RUN),
    ):
        yield _route(
            "POST", f"{one}/actions/{action}", f"{action}Run", f"{action.title()} a run.",
            handler=handler, status=202, permission=permission,
        )  # fmt: skip
    plan = f"{BASE}/plans/{{run}}"
    yield _route("GET", plan, "getPlan", "Show a plan.", handler=h.plan, **read)
    yield _route(
        "GET", f"{plan}/json-output", "getPlanJson", "Send a plan as JSON, masked.",
        handler=h.plan_json, response=bytes, **read,
    )  # fmt: skip
    yield _route(
        "GET", f"{plan}/json-output-redacted", "getPlanToDraw", "Send what a plan is drawn from.",
        handler=h.plan_drawable, response=bytes, **read,
    )  # fmt: skip
    yield _route("GET", f"{BASE}/applies/{{run}}", "getApply", "Show an apply.", handler=h.applied, **read)
    yield _route("GET", check, "getCheck", "Show what guardrails said.", handler=h.check, **read)
    yield _route(
        "GET",
        f"{check}/output",
        "readCheck",
        "Send what guardrails said.",
        handler=h.check_output,
        response=bytes,
        **read,
    )
    yield _route(
        "POST", f"{check}/actions/override", "overrideCheck", "Go on in spite of a guardrail.",
        handler=h.override, permission=_APPROVE,
    )  # fmt: skip


def _objects(s: StateHandlers, c: ConfigurationHandlers, r: RunHandlers) -> Iterator[Route]:
    """What has no credential: the address itself is the permission, made for one purpose and a short time."""
    of = f"{BASE}/objects"
    sent: dict[str, Any] = {"open": True, "request": bytes, "body_limit_bytes": 0}
    yield _route(
        "PUT",
        f"{of}/state/{{address}}",
        "sendState",
        "Send a state.",
        handler=answering_locked(s.receive),
        **sent,
    )
    yield _route(
        "PUT", f"{of}/state-json/{{address}}", "sendStateJson", "Send the other form of a state.",
        handler=s.receive_json, **sent,
    )  # fmt: skip
    yield _route(
        "PUT", f"{of}/configuration/{{address}}", "sendConfiguration", "Send code.", handler=c.receive, **sent
    )
    yield _route(
        "GET", f"{of}/log/{{address}}", "readLog", "Read a log.", handler=r.log, open=True, response=bytes
    )


def register(services: TerraformServices) -> Door:
    """Build the door over the domain services."""
    addresses = Addresses(services.vault, services.public_url)
    workspaces, runs = WorkspaceHandlers(services), RunHandlers(services, addresses)
    states, configurations = StateHandlers(services, addresses), ConfigurationHandlers(services, addresses)
    routes = itertools.chain(
        _provider(ProviderHandlers(services, addresses)),
        _backend(BackendHandlers(services)),
        _organizations(workspaces, runs),
        _workspaces(workspaces),
        _variables(VariableHandlers(services)),
        _states(states),
        _outputs(states),
        _configurations(configurations),
        _runs(runs),
        _objects(states, configurations, runs),
    )
    own = (
        "organizations", "workspaces", "state-versions", "configuration-versions", "runs", "plans", "applies",
        "policy-checks", "state-version-outputs", "objects", "account", "ping",
    )  # fmt: skip
    return Door(
        name="terraform",
        title="Terraform: state by the http backend, remote and cloud, and runs from the command line",
        routes=tuple(routes),
        prefixes=(
            f"{STATE}/",
            "/.well-known/",
            f"{ISSUER}/.well-known/",
            *(f"{BASE}/{name}/" for name in own),
        ),
        credential=reading.credential,
        claims=reading.speaks_protocol,
        write_error=write_error,
        error_body=Faults,
        error_type=MEDIA_TYPE,
    )
