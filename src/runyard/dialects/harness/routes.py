"""The Harness door: every operation as data, bound to its handler. Three services stand behind one address, each with an
envelope of its own for errors: workspaces, pipelines, logs.
"""

import itertools
from collections.abc import Iterator, Sequence
from typing import Any, Final

from runyard.dialects.door import Door, Handler, Route
from runyard.dialects.harness.absent import ABSENT, absent
from runyard.dialects.harness.backend import BackendHandlers
from runyard.dialects.harness.errors import (
    DOCUMENTED,
    GoaError,
    LogError,
    PipelineError,
    write_error,
    write_log_error,
    write_pipeline_error,
)
from runyard.dialects.harness.logs import LogHandlers
from runyard.dialects.harness.pipeline_defaults import DefaultHandlers
from runyard.dialects.harness.pipelines import Drains, PipelineHandlers
from runyard.dialects.harness.reading import Reader, credential
from runyard.dialects.harness.remote import CreateRemoteExecution, RemoteExecutionView, RemoteHandlers
from runyard.dialects.harness.resources import ResourceHandlers
from runyard.dialects.harness.services import HarnessServices
from runyard.dialects.harness.sets import SetHandlers
from runyard.dialects.harness.wire import (
    CloneBody,
    CreateWorkspace,
    LockBody,
    PipelineBody,
    SearchBody,
    VariableSetBody,
    WorkspaceBody,
)
from runyard.dialects.harness.workspaces import WorkspaceHandlers
from runyard.identity.model import Permission

BASE: Final = "/iacm/api/orgs/{org}/projects/{project}"
_READ: Final[dict[str, Any]] = {"permission": Permission.WORKSPACES_READ}
_WRITE: Final[dict[str, Any]] = {"permission": Permission.WORKSPACES_WRITE}
_RUN: Final[dict[str, Any]] = {"permission": Permission.WORKSPACES_RUN}
_STATE: Final[dict[str, Any]] = {"permission": Permission.STATE_WRITE}
_SET: Final[dict[str, Any]] = {"request": VariableSetBody, **_WRITE}
_ADD_SET: Final[dict[str, Any]] = {"status": 201, **_SET}
_ONE: Final = "/workspaces/{workspace}"


def _route(method: str, path: str, name: str, summary: str, handler: Handler, **more: Any) -> Route:  # noqa: ANN401  a table reads better than a builder
    tag = path.strip("/").split("/")[0]
    return Route(
        method=method,
        path=BASE + path,
        name=name,
        summary=summary,
        handler=handler,
        errors=DOCUMENTED,
        tags=(tag,),
        **more,
    )


def _remote(h: RemoteHandlers) -> Iterator[Route]:
    base = f"{_ONE}/remote-executions"
    one = f"{base}/{{remote}}"
    view: dict[str, Any] = {"response": RemoteExecutionView}
    yield _route(
        "POST", base, "createRemoteExecution", "Make a remote execution.", h.create,
        status=201, request=CreateRemoteExecution, **view, **_RUN,
    )  # fmt: skip
    yield _route("GET", one, "showRemoteExecution", "Show a remote execution.", h.show, **view, **_READ)
    yield _route(
        "POST", f"{one}/upload", "uploadRemoteExecution", "Take its source.", h.upload,
        request=bytes, body_limit_bytes=0, **view, **_RUN,
    )  # fmt: skip
    yield _route(
        "POST", f"{one}/execute", "executeRemoteExecution", "Begin its plan.", h.execute, **view, **_RUN
    )
    yield _route(
        "GET", f"{one}/download", "downloadRemoteExecution", "Send its source.", h.download,
        response=bytes, **_READ,
    )  # fmt: skip


def _workspaces(h: WorkspaceHandlers) -> Iterator[Route]:
    yield _route("GET", "/workspaces", "listWorkspaces", "List workspaces.", h.list, **_READ)
    yield _route(
        "POST", "/workspaces", "createWorkspace", "Add a workspace.", h.create,
        status=201, request=CreateWorkspace, **_WRITE,
    )  # fmt: skip
    yield _route("GET", _ONE, "showWorkspace", "Show a workspace.", h.show, **_READ)
    yield _route(
        "PUT", _ONE, "updateWorkspace", "Replace a workspace.", h.replace, request=WorkspaceBody, **_WRITE
    )
    yield _route("DELETE", _ONE, "deleteWorkspace", "Delete a workspace.", h.delete, status=204, **_WRITE)
    yield _route(
        "POST", f"{_ONE}/clone", "cloneWorkspace", "Copy a workspace.", h.clone,
        status=201, request=CloneBody, **_WRITE,
    )  # fmt: skip
    yield _route(
        "POST", f"{_ONE}/actions/lock", "lockWorkspace", "Lock it.", h.lock, request=LockBody, **_RUN
    )
    yield _route(
        "POST", f"{_ONE}/actions/force-unlock", "forceUnlockWorkspace", "Unlock it.", h.unlock, **_RUN
    )
    yield _route("GET", f"{_ONE}/pipelines", "listPipelines", "Name its pipelines.", h.pipelines, **_READ)
    yield _route("GET", "/workspaces/provisioners-ratio", "getRatio", "Compare tools.", h.ratio, **_READ)
    yield _route("GET", "/tags", "listTags", "List tags.", h.tags, **_READ)


def _defaults(h: DefaultHandlers) -> Iterator[Route]:
    path = "/settings/default-pipelines"
    body: dict[str, Any] = {"request": PipelineBody, **_WRITE}
    yield _route("GET", path, "listDefaultPipelines", "List default pipelines.", h.list, **_READ)
    yield _route("POST", path, "setDefaultPipeline", "Set a default pipeline.", h.put, **body)
    yield _route(
        "DELETE", path, "deleteDefaultPipeline", "Remove a default pipeline.", h.delete, status=204, **body
    )


def _resources(h: ResourceHandlers) -> Iterator[Route]:
    yield _route("GET", f"{_ONE}/resources", "listResources", "Show what it manages.", h.show, **_READ)
    yield _route(
        "POST", f"{_ONE}/resources/search", "searchResources", "Search what it manages.", h.search,
        request=SearchBody, **_READ,
    )  # fmt: skip
    yield _route("GET", f"{_ONE}/modules", "listModules", "List its modules.", h.modules, **_READ)
    yield _route("GET", f"{_ONE}/resource-types", "listResourceTypes", "List types.", h.types, **_READ)
    yield _route(
        "GET", f"{_ONE}/resource-types/{{type}}/attributes", "listAttributes", "List a type's attributes.",
        h.type_attributes, **_READ,
    )  # fmt: skip
    yield _route(
        "GET", f"{_ONE}/resource-types-and-attributes", "listTypesAndAttributes", "List types with attributes.",
        h.types_and_attributes, **_READ,
    )  # fmt: skip


def _backend(h: BackendHandlers) -> Iterator[Route]:
    base = f"{_ONE}/terraform-backend"
    read: dict[str, Any] = {"permission": Permission.STATE_READ}
    yield _route("GET", base, "getState", "Send the state.", h.read, response=bytes, **read)
    yield _route(
        "POST", base, "putState", "Keep a state.", h.write, request=bytes, body_limit_bytes=0, **_STATE
    )
    yield _route("POST", f"{base}/lock", "lockState", "Lock the state.", h.lock, **_STATE)
    yield _route("DELETE", f"{base}/lock", "unlockState", "Unlock the state.", h.unlock, **_STATE)


def _sets(h: SetHandlers) -> Iterator[Route]:
    """Yield the routes of all three levels; the operation's name says which."""
    more: dict[str, Any] = {"errors": DOCUMENTED, "tags": ("variable sets",)}
    for level, base in (("Account", "/iacm/api"), ("Org", "/iacm/api/orgs/{org}"), ("Project", BASE)):
        one = f"{base}/variable-set/{{identifier}}"
        for method, path, name, summary, handler, extra in (
            ("GET", f"{base}/variable-sets", "list{}VariableSets", "List variable sets.", h.list, _READ),
            (
                "POST",
                f"{base}/variable-set",
                "create{}VariableSet",
                "Add a variable set.",
                h.create,
                _ADD_SET,
            ),
            ("GET", one, "show{}VariableSet", "Show a variable set.", h.show, _READ),
            ("PUT", one, "update{}VariableSet", "Replace a variable set.", h.replace, _SET),
            (
                "DELETE",
                one,
                "delete{}VariableSet",
                "Remove a variable set.",
                h.delete,
                {**_WRITE, "status": 204},
            ),
        ):
            yield Route(
                method=method, path=path, name=name.format(level), summary=summary, handler=handler,
                **more, **extra,
            )  # fmt: skip


def _absent() -> Iterator[Route]:
    for method, path, name in ABSENT:
        yield _route(method, path, name, "Not implemented by this server.", absent, status=501)


def register(services: HarnessServices) -> Sequence[Door]:
    """Build the doors of the three services over the domain services."""
    reader, drains = Reader(services), Drains()
    routes = itertools.chain(
        _remote(RemoteHandlers(services, reader)),
        _workspaces(WorkspaceHandlers(services, reader)),
        _defaults(DefaultHandlers(services, reader)),
        _resources(ResourceHandlers(services, reader)),
        _backend(BackendHandlers(services, reader)),
        _sets(SetHandlers(services, reader)),
        _absent(),
    )
    iacm = Door(
        name="harness",
        title="Harness IaCM",
        routes=tuple(routes),
        prefixes=("/iacm/", "/gateway/iacm/", "/api/orgs/", "/gateway/api/orgs/"),
        credential=credential,
        write_error=write_error,
        aliases=(
            ("/gateway/iacm/", "/iacm/"),
            ("/gateway/api/orgs/", "/iacm/api/orgs/"),
            ("/api/orgs/", "/iacm/api/orgs/"),
        ),
        error_body=GoaError,
    )
    return (
        iacm,
        _pipelines(PipelineHandlers(services, reader, drains)),
        _logs(LogHandlers(services, reader, drains)),
    )


def _pipelines(h: PipelineHandlers) -> Door:
    more: dict[str, Any] = {"errors": DOCUMENTED, "tags": ("pipelines",)}
    routes = (
        Route(
            method="GET", path="/pipeline/api/pipelines/execution/v2/{execution}", name="getPipelineExecution",
            summary="Show how far a pipeline execution is.", handler=h.show, **_READ, **more,
        ),
        Route(
            method="PUT", path="/pipeline/api/pipeline/execute/interrupt/{execution}", name="interruptExecution",
            summary="End a pipeline execution.", handler=h.interrupt, **_RUN, **more,
        ),
    )  # fmt: skip
    return Door(
        name="harness-pipelines",
        title="Harness pipelines",
        routes=routes,
        prefixes=("/pipeline/", "/gateway/pipeline/"),
        credential=credential,
        write_error=write_pipeline_error,
        aliases=(("/gateway/pipeline/", "/pipeline/"),),
        error_body=PipelineError,
    )


def _logs(h: LogHandlers) -> Door:
    more: dict[str, Any] = {"errors": DOCUMENTED, "tags": ("logs",), **_READ}
    base = "/log-service"
    routes = (
        Route(
            method="GET", path=f"{base}/token", name="getLogToken", summary="Make a token for logs.",
            handler=h.token, response=bytes, **more,
        ),
        Route(
            method="GET", path=f"{base}/blob", name="getLog", summary="Send a finished log.", handler=h.blob,
            response=bytes, **more,
        ),
        Route(
            method="GET", path=f"{base}/stream", name="streamLog", summary="Send a log as it comes.",
            handler=h.stream, response=bytes, **more,
        ),
    )  # fmt: skip
    return Door(
        name="harness-logs",
        title="Harness logs",
        routes=routes,
        prefixes=("/log-service/", "/gateway/log-service/"),
        credential=credential,
        write_error=write_log_error,
        aliases=(("/gateway/log-service/", "/log-service/"),),
        error_body=LogError,
    )
