"""Runs over the native API, those among them that pipelines report: their routes and handlers."""

import asyncio
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec

from runyard.dialects import reading
from runyard.dialects.door import Call, Route
from runyard.identity.model import Permission
from runyard.infrastructure.plans.reading import MAX_BYTES
from runyard.infrastructure.runs.arguments import split
from runyard.infrastructure.runs.external import NewReport, kind_of
from runyard.infrastructure.runs.model import NewRun, Origin, RunQuery, Trigger
from runyard.infrastructure.runs.pushes import Push, PushService
from runyard.infrastructure.workspaces.model import Workspace
from runyard.server.house import House
from runyard.server.native.declaring import LIMIT, MOST, OFFSET, PAGE, TEXT, route
from runyard.server.native.infrawire import FailureIn, PushIn, ReportIn, RunIn, RunOut, run_view
from runyard.server.native.replies import send_json
from runyard.server.native.wire import Listed

_LARGEST_LOG: Final = 1 << 30
"""Bytes of one report of a log; how many of them are kept is the writer's matter."""

_run = msgspec.json.Decoder(RunIn)
_report = msgspec.json.Decoder(ReportIn)
_push = msgspec.json.Decoder(PushIn)
_failure = msgspec.json.Decoder(FailureIn)


class RunHandlers:
    """Runs, by id."""

    def __init__(self, house: House) -> None:
        """Take the services."""
        self._runs = house.infrastructure.runs
        self._external = house.infrastructure.external
        self._pushes = PushService(house.infrastructure.runs)
        self._workspaces = house.infrastructure.workspaces
        self._folder = house.settings.data_dir / "ways"

    async def listing(self, call: Call) -> None:
        """List the runs of a workspace, the newest first."""
        values = reading.query(call)
        query = RunQuery(
            workspace_id=(await self._workspace(call)).id,
            text=values.get("text", ""),
            offset=reading.integer(values, "offset", 0, 0, 10_000_000),
            limit=reading.integer(values, "limit", PAGE, 1, MOST),
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
        made = await self._runs.create(call.caller, (await self._workspace(call)).id, new)
        await send_json(call, run_view(made), status=201)

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

    async def _workspace(self, call: Call) -> Workspace:
        return await self._workspaces.look_up(call.caller.scope, call.params["workspace"])


def run_routes(h: RunHandlers) -> Iterator[Route]:
    """Yield the operations on runs, then the reports of pipelines."""
    yield from _runs(h)
    yield from _reports(h)


def _runs(h: RunHandlers) -> Iterator[Route]:
    read: dict[str, Any] = {"permission": Permission.WORKSPACES_READ, "tags": ["runs"]}
    run: dict[str, Any] = {**read, "permission": Permission.WORKSPACES_RUN}
    approve: dict[str, Any] = {**read, "permission": Permission.WORKSPACES_APPROVE}
    of, one = "/workspaces/{workspace}/runs", "/runs/{run}"
    yield route(
        "GET", of, "listRuns", "List the runs of a workspace, the newest first.",
        handler=h.listing, response=Listed[RunOut], parameters=(TEXT, OFFSET, LIMIT), **read,
    )  # fmt: skip
    yield route(
        "POST", of, "startRun", "Ask for a plan, an apply or a destruction.",
        handler=h.start, request=RunIn, response=RunOut, status=201, **run,
    )  # fmt: skip
    yield route(
        "POST", "/pushes", "tellPush", "Tell of a push, a merge or a pull request, which starts the runs that workspaces want of it.",
        handler=h.push, request=PushIn, response=Listed[RunOut], status=201, **run,
    )  # fmt: skip
    yield route("GET", one, "getRun", "Get a run.", handler=h.get, response=RunOut, **read)
    yield route(
        "POST", f"{one}/approve", "approveRun", "Let a plan that waits be applied.",
        handler=h.approve, response=RunOut, **approve,
    )  # fmt: skip
    yield route(
        "POST", f"{one}/discard", "discardRun", "Give up a run that waits.",
        handler=h.discard, response=RunOut, **run,
    )  # fmt: skip
    yield route(
        "POST", f"{one}/cancel", "cancelRun", "Stop a run.",
        handler=h.cancel, response=RunOut, **run,
    )  # fmt: skip


def _reports(h: RunHandlers) -> Iterator[Route]:
    more: dict[str, Any] = {
        "permission": Permission.WORKSPACES_RUN,
        "tags": ["reported runs"],
    }
    one = "/runs/{run}"
    yield route(
        "POST", "/workspaces/{workspace}/reports", "reportRun", "Report that a pipeline begins to plan.",
        handler=h.report, request=ReportIn, response=RunOut, status=201, **more,
    )  # fmt: skip
    yield route(
        "PUT", f"{one}/log", "reportLog", "Report what the task that is at work printed.",
        handler=h.log, request=bytes, response=RunOut, **more,
    )  # fmt: skip
    yield route(
        "PUT", f"{one}/plan", "reportPlan", "Report a plan as `show -json` prints it.",
        handler=h.plan, request=bytes, response=RunOut, **more,
    )  # fmt: skip
    yield route(
        "POST", f"{one}/apply", "reportApply", "Report that the apply begins.",
        handler=h.apply, response=RunOut, **more,
    )  # fmt: skip
    yield route(
        "POST", f"{one}/applied", "reportApplied", "Report that the apply is done.",
        handler=h.applied, request=bytes, response=RunOut, **more,
    )  # fmt: skip
    yield route(
        "POST", f"{one}/failed", "reportFailed", "Report that the plan or the apply failed.",
        handler=h.failed, request=FailureIn, response=RunOut, **more,
    )  # fmt: skip
