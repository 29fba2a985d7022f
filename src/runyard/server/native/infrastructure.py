"""Workspaces and runs over the native API: their routes and handlers, the reports of pipelines among them."""

import asyncio
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec

from runyard.dialects import reading
from runyard.dialects.door import Call, Parameter, Route
from runyard.identity.model import Permission
from runyard.infrastructure.plans.reading import MAX_BYTES
from runyard.infrastructure.runs.arguments import split
from runyard.infrastructure.runs.external import NewReport, kind_of
from runyard.infrastructure.runs.model import NewRun, Origin, RunQuery, Trigger
from runyard.infrastructure.runs.pushes import Push, PushService
from runyard.infrastructure.workspaces.model import NewWorkspace, Workspace, WorkspaceQuery
from runyard.server.house import House
from runyard.server.native.infrawire import (
    FailureIn,
    LockIn,
    PushIn,
    ReportIn,
    RunIn,
    RunOut,
    WorkspaceIn,
    WorkspaceOut,
    code_of,
    run_view,
    workspace_view,
)
from runyard.server.native.problems import DOCUMENTED
from runyard.server.native.replies import send_json, send_nothing
from runyard.server.native.wire import Listed

_BASE: Final = "/runyard/v1"
_PAGE: Final = 50
_MOST: Final = 1000
_LARGEST_LOG: Final = 1 << 30
"""Bytes of one report of a log; how many of them are kept is the writer's matter."""


_workspace = msgspec.json.Decoder(WorkspaceIn)
_lock = msgspec.json.Decoder(LockIn)
_run = msgspec.json.Decoder(RunIn)
_report = msgspec.json.Decoder(ReportIn)
_push = msgspec.json.Decoder(PushIn)
_failure = msgspec.json.Decoder(FailureIn)


class WorkspaceHandlers:
    """Workspaces of the caller's part of the tree, by id or name."""

    def __init__(self, house: House) -> None:
        """Take the services."""
        self._house = house
        self._workspaces = house.infrastructure.workspaces
        self._runs = house.infrastructure.runs
        self._integrations = house.infrastructure.integrations

    async def _named(self, call: Call) -> Workspace:
        return await self._workspaces.look_up(call.caller.scope, call.params["workspace"])

    async def listing(self, call: Call) -> None:
        """List workspaces, the newest first."""
        values = reading.query(call)
        query = WorkspaceQuery(
            text=values.get("text", ""),
            offset=reading.integer(values, "offset", 0, 0, 10_000_000),
            limit=reading.integer(values, "limit", _PAGE, 1, _MOST),
        )
        found = await self._workspaces.search(call.caller.scope, query)
        await send_json(call, Listed(items=[workspace_view(one) for one in found]))

    async def create(self, call: Call) -> None:
        """Add a workspace."""
        body = await reading.read_json(call, _workspace)
        project_id, path = None, call.caller.scope.project_path
        if body.project is not None:
            project = await self._house.identity.find_project(call.caller, body.project)
            project_id, path = project.id, project.path
        code = code_of(body)
        if body.vcs_integration_id:
            account = call.caller.scope.account_id
            found = await self._integrations.usable(account, path, body.vcs_integration_id)
            code = msgspec.structs.replace(
                code, vcs_integration_id=found.id, vcs_type=code.vcs_type or found.type
            )
        new = NewWorkspace(
            name=body.name,
            project_id=project_id,
            description=body.description,
            labels=body.labels,
            runner_type=body.runner_type,
            iac_type=body.iac_type,
            iac_version=body.iac_version,
            code=code,
            apply_rule=body.apply_rule,
            cron=body.cron,
        )
        await send_json(call, workspace_view(await self._workspaces.create(call.caller, new)), status=201)

    async def get(self, call: Call) -> None:
        """Get one workspace."""
        await send_json(call, workspace_view(await self._named(call)))

    async def delete(self, call: Call) -> None:
        """Delete a workspace with its runs and its state; its resources stay."""
        await self._runs.delete_workspace(call.caller, (await self._named(call)).id)
        await send_nothing(call)

    async def lock(self, call: Call) -> None:
        """Keep runs from beginning."""
        body = await reading.read_optional_json(call, _lock)
        found = await self._named(call)
        await send_json(call, workspace_view(await self._workspaces.lock(call.caller, found.id, body.reason)))

    async def unlock(self, call: Call) -> None:
        """Let runs begin again."""
        body = await reading.read_optional_json(call, _lock)
        found = await self._named(call)
        after = await self._workspaces.unlock(call.caller, found.id, force=body.force)
        await self._runs.line.advance(after.id)
        await send_json(call, workspace_view(after))

    async def runs(self, call: Call) -> None:
        """List the runs of a workspace, the newest first."""
        values = reading.query(call)
        query = RunQuery(
            workspace_id=(await self._named(call)).id,
            text=values.get("text", ""),
            offset=reading.integer(values, "offset", 0, 0, 10_000_000),
            limit=reading.integer(values, "limit", _PAGE, 1, _MOST),
        )
        found = await self._runs.search(call.caller.scope, query)
        await send_json(call, Listed(items=[run_view(one) for one in found]))

    async def start(self, call: Call) -> None:
        """Ask for a run; it begins when no other one holds the workspace."""
        body = await reading.read_json(call, _run)
        new = NewRun(
            kind=body.kind,
            arguments=split(body.arguments),
            origin=Origin(branch=body.branch, commit=body.commit),
            title=body.title,
            auto_apply=body.auto_apply,
        )
        made = await self._runs.create(call.caller, (await self._named(call)).id, new)
        await send_json(call, run_view(made), status=201)


class RunHandlers:
    """Runs, by id."""

    def __init__(self, house: House) -> None:
        """Take the services."""
        self._runs = house.infrastructure.runs
        self._external = house.infrastructure.external
        self._pushes = PushService(house.infrastructure.runs)
        self._workspaces = WorkspaceHandlers(house)
        self._folder = house.settings.data_dir / "ways"

    async def get(self, call: Call) -> None:
        """Get one run."""
        await send_json(call, run_view(await self._runs.get(call.caller.scope, call.params["run"])))

    async def approve(self, call: Call) -> None:
        """Let a plan that waits be applied; where a flexible guardrail stopped it, this acknowledges that."""
        await send_json(call, run_view(await self._runs.approve(call.caller, call.params["run"])))

    async def discard(self, call: Call) -> None:
        """Give up a run that waits."""
        await send_json(call, run_view(await self._runs.discard(call.caller, call.params["run"])))

    async def cancel(self, call: Call) -> None:
        """Stop a run: an interrupt first, so that the tool can write its state."""
        await send_json(call, run_view(await self._runs.cancel(call.caller, call.params["run"])))

    async def push(self, call: Call) -> None:
        """Tell of a push, a merge or a pull request; the runs that it started are answered."""
        body = await reading.read_json(call, _push)
        told = Push(**{**msgspec.structs.asdict(body), "event": Trigger(body.event)})
        started = await self._pushes.happened(call.caller, told)
        await send_json(call, Listed(items=[run_view(one) for one in started]), status=201)

    # --- reports of pipelines ---

    async def report(self, call: Call) -> None:
        """Begin to report a run that a pipeline executes."""
        body = await reading.read_json(call, _report)
        origin = Origin(
            branch=body.branch,
            commit=body.commit,
            commit_url=body.commit_url,
            pull_request_id=body.pull_request_id,
            pull_request_url=body.pull_request_url,
            build_id=body.build_id,
            build_name=body.build_name,
            build_url=body.build_url,
        )
        new = NewRun(kind=kind_of(body.applies), title=body.title, origin=origin)
        report = NewReport(run=new, iac_version=body.iac_version)
        workspace = call.params["workspace"]
        found = await self._external.begin(call.caller, workspace, report)
        await send_json(call, run_view(found), status=201)

    async def log(self, call: Call) -> None:
        """Report what the task that is at work printed."""
        run = await self._external.log(call.caller, call.params["run"], reading.pieces(call, _LARGEST_LOG))
        await send_json(call, run_view(run))

    async def plan(self, call: Call) -> None:
        """Report the output of `show -json`; the answer says what guardrails find."""
        await self._runs.get(call.caller.scope, call.params["run"])  # before a gigabyte comes for nothing
        with tempfile.NamedTemporaryFile(dir=self._folder, suffix=".json") as kept:
            async for piece in reading.pieces(call, MAX_BYTES):
                await asyncio.to_thread(kept.write, piece)
            kept.flush()
            run = await self._external.plan(call.caller, call.params["run"], Path(kept.name))
        await send_json(call, run_view(run))

    async def apply(self, call: Call) -> None:
        """Report that the apply begins; refused while a guardrail stops it."""
        await send_json(call, run_view(await self._external.begin_apply(call.caller, call.params["run"])))

    async def applied(self, call: Call) -> None:
        """Report that the apply is done; the body may have the lines of `apply -json`."""
        lines = (await reading.read_body(call)).splitlines(keepends=True)
        run = await self._external.applied(call.caller, call.params["run"], lines)
        await send_json(call, run_view(run))

    async def failed(self, call: Call) -> None:
        """Report that the plan or the apply failed."""
        body = await reading.read_optional_json(call, _failure)
        run = await self._external.failed(call.caller, call.params["run"], body.reason)
        await send_json(call, run_view(run))


def infrastructure_routes(house: House) -> Iterator[Route]:
    """Yield the operations on workspaces and runs."""
    yield from _workspaces(WorkspaceHandlers(house))
    yield from _runs(WorkspaceHandlers(house), RunHandlers(house))
    yield from _reports(RunHandlers(house))


_OFFSET: Final = Parameter(
    name="offset", summary="How many to pass over.", schema={"type": "integer", "minimum": 0}
)
_LIMIT: Final = Parameter(
    name="limit",
    summary="At most so many; 50 when left out.",
    schema={"type": "integer", "minimum": 1, "maximum": _MOST},
)
_TEXT: Final = Parameter(name="text", summary="A part of what is shown, in any case.")


def _workspaces(h: WorkspaceHandlers) -> Iterator[Route]:
    read: dict[str, Any] = {
        "permission": Permission.WORKSPACES_READ,
        "tags": ["workspaces"],
        "errors": DOCUMENTED,
    }
    write: dict[str, Any] = {**read, "permission": Permission.WORKSPACES_WRITE}
    run: dict[str, Any] = {**read, "permission": Permission.WORKSPACES_RUN}
    one = f"{_BASE}/workspaces/{{workspace}}"
    yield Route(
        method="GET", path=f"{_BASE}/workspaces", name="listWorkspaces", summary="List workspaces, the newest first.",
        handler=h.listing, response=Listed[WorkspaceOut], parameters=(_TEXT, _OFFSET, _LIMIT), **read,
    )  # fmt: skip
    yield Route(
        method="POST", path=f"{_BASE}/workspaces", name="createWorkspace", summary="Add a workspace.",
        handler=h.create, request=WorkspaceIn, response=WorkspaceOut, status=201, **write,
    )  # fmt: skip
    yield Route(
        method="GET", path=one, name="getWorkspace", summary="Get a workspace by its id or name.",
        handler=h.get, response=WorkspaceOut, **read,
    )  # fmt: skip
    yield Route(
        method="DELETE", path=one, name="deleteWorkspace", summary="Delete a workspace, its runs and its state.",
        handler=h.delete, status=204, **write,
    )  # fmt: skip
    yield Route(
        method="POST", path=f"{one}/lock", name="lockWorkspace", summary="Keep runs of a workspace from beginning.",
        handler=h.lock, request=LockIn, response=WorkspaceOut, **run,
    )  # fmt: skip
    yield Route(
        method="POST", path=f"{one}/unlock", name="unlockWorkspace", summary="Let runs of a workspace begin again.",
        handler=h.unlock, request=LockIn, response=WorkspaceOut, **run,
    )  # fmt: skip


def _runs(h: WorkspaceHandlers, runs: RunHandlers) -> Iterator[Route]:
    read: dict[str, Any] = {"permission": Permission.WORKSPACES_READ, "tags": ["runs"], "errors": DOCUMENTED}
    run: dict[str, Any] = {**read, "permission": Permission.WORKSPACES_RUN}
    approve: dict[str, Any] = {**read, "permission": Permission.WORKSPACES_APPROVE}
    of, one = f"{_BASE}/workspaces/{{workspace}}/runs", f"{_BASE}/runs/{{run}}"
    yield Route(
        method="GET", path=of, name="listRuns", summary="List the runs of a workspace, the newest first.",
        handler=h.runs, response=Listed[RunOut], parameters=(_TEXT, _OFFSET, _LIMIT), **read,
    )  # fmt: skip
    yield Route(
        method="POST", path=of, name="startRun", summary="Ask for a plan, an apply or a destruction.",
        handler=h.start, request=RunIn, response=RunOut, status=201, **run,
    )  # fmt: skip
    yield Route(
        method="POST", path=f"{_BASE}/pushes", name="tellPush",
        summary="Tell of a push, a merge or a pull request, which starts the runs that workspaces want of it.",
        handler=runs.push, request=PushIn, response=Listed[RunOut], status=201, **run,
    )  # fmt: skip
    yield Route(
        method="GET", path=one, name="getRun", summary="Get a run.", handler=runs.get, response=RunOut, **read
    )
    yield Route(
        method="POST", path=f"{one}/approve", name="approveRun", summary="Let a plan that waits be applied.",
        handler=runs.approve, response=RunOut, **approve,
    )  # fmt: skip
    yield Route(
        method="POST", path=f"{one}/discard", name="discardRun", summary="Give up a run that waits.",
        handler=runs.discard, response=RunOut, **run,
    )  # fmt: skip
    yield Route(
        method="POST", path=f"{one}/cancel", name="cancelRun", summary="Stop a run.",
        handler=runs.cancel, response=RunOut, **run,
    )  # fmt: skip


def _reports(h: RunHandlers) -> Iterator[Route]:
    more: dict[str, Any] = {
        "permission": Permission.WORKSPACES_RUN,
        "tags": ["reported runs"],
        "errors": DOCUMENTED,
    }
    one = f"{_BASE}/runs/{{run}}"
    yield Route(
        method="POST", path=f"{_BASE}/workspaces/{{workspace}}/reports", name="reportRun",
        summary="Report that a pipeline begins to plan.",
        handler=h.report, request=ReportIn, response=RunOut, status=201, **more,
    )  # fmt: skip
    yield Route(
        method="PUT", path=f"{one}/log", name="reportLog", summary="Report what the task that is at work printed.",
        handler=h.log, request=bytes, response=RunOut, **more,
    )  # fmt: skip
    yield Route(
        method="PUT", path=f"{one}/plan", name="reportPlan", summary="Report a plan as `show -json` prints it.",
        handler=h.plan, request=bytes, response=RunOut, **more,
    )  # fmt: skip
    yield Route(
        method="POST", path=f"{one}/apply", name="reportApply", summary="Report that the apply begins.",
        handler=h.apply, response=RunOut, **more,
    )  # fmt: skip
    yield Route(
        method="POST", path=f"{one}/applied", name="reportApplied", summary="Report that the apply is done.",
        handler=h.applied, request=bytes, response=RunOut, **more,
    )  # fmt: skip
    yield Route(
        method="POST", path=f"{one}/failed", name="reportFailed", summary="Report that the plan or the apply failed.",
        handler=h.failed, request=FailureIn, response=RunOut, **more,
    )  # fmt: skip
