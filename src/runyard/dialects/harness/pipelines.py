"""The pipeline execution on the wire: what a client polls while a remote plan runs, and the interrupt that ends it.

Owns when the log of a run was read to its end by somebody, which only paces what is shown: it is lost with the process,
and then the time limit of `progress` serves.
"""

from collections import OrderedDict
from datetime import datetime
from typing import Any, Final

from runyard.dialects.door import Call
from runyard.dialects.harness.graph import execution_document
from runyard.dialects.harness.progress import Ending, Progress
from runyard.dialects.harness.reading import Reader
from runyard.dialects.harness.replies import send_json
from runyard.dialects.harness.services import HarnessServices
from runyard.dialects.reading import query
from runyard.executions.model import Execution, Status
from runyard.identity.model import Permission
from runyard.infrastructure.runs.model import Block, Run, RunStatus
from runyard.kernel.clock import utc_now
from runyard.kernel.errors import InvalidArgument, NotFound, Unimplemented

_REMEMBERED: Final = 10_000
_ENDS: Final = {"AbortAll", "Abort", "ExpireAll"}
_OTHERS: Final = {
    "Pause",
    "PauseAll",
    "Resume",
    "ResumeAll",
    "StageRollback",
    "Retry",
    "Ignore",
    "MarkAsSuccess",
}
_FAILURES: Final = {RunStatus.INIT_ERROR, RunStatus.PLAN_ERROR, RunStatus.APPLY_ERROR}


class Drains:
    """Remembers when the logs of runs were first read to their end."""

    def __init__(self) -> None:
        """Begin with none."""
        self._seen: OrderedDict[str, datetime] = OrderedDict()

    def note(self, run_id: str) -> None:
        """A reader has all of it now."""
        self._seen.setdefault(run_id, utc_now())
        if len(self._seen) > _REMEMBERED:
            self._seen.popitem(last=False)

    def at(self, run_id: str) -> datetime | None:
        """Return when that was."""
        return self._seen.get(run_id)


def progress_of(run: Run, task: Execution, drained_at: datetime | None) -> Progress:
    """Return what is known of a run and its plan."""
    ended_at = None
    if task.ended:
        ended_at = (run.planned_at or run.updated_at) if run.waits else run.ended_at
    return Progress(
        accepted_at=run.created_at,
        started_at=task.started_at,
        ended_at=ended_at,
        ending=None if ended_at is None else ending_of(run, task),
        drained_at=drained_at,
        message="" if run.reason is None else run.reason,
    )


def ending_of(run: Run, task: Execution) -> Ending:
    """Return how an ended run ended."""
    if run.timed_out or task.status is Status.TIMEOUT:
        return Ending.EXPIRED
    if run.status in (RunStatus.CANCELLED, RunStatus.DISCARDED) or task.status is Status.CANCELED:
        return Ending.ABORTED
    if run.status in _FAILURES or run.block is not Block.NONE or task.status is not Status.SUCCEEDED:
        return Ending.FAILED
    return Ending.SUCCESS


def log_key(run: Run) -> str:
    """Return the key under which a client asks for the log of a run's plan."""
    return f"runs/{run.id}/plan"


class PipelineHandlers:
    """Executions of pipelines."""

    def __init__(self, services: HarnessServices, reader: Reader, drains: Drains) -> None:
        """Take the services."""
        self._services = services
        self._reader = reader
        self._drains = drains

    async def show(self, call: Call) -> None:
        """Show how far it is."""
        run, task, names = await self._found(call)
        document = execution_document(
            execution=run.id,
            org=names[0],
            project=names[1],
            pipeline="plan",
            log_key=log_key(run),
            progress=progress_of(run, task, self._drains.at(run.id)),
            now=utc_now(),
        )
        await self._send(call, document)

    async def interrupt(self, call: Call) -> None:
        """End it."""
        kind = query(call).get("interruptType", "")
        if kind in _OTHERS:
            raise Unimplemented(
                f"interrupts of type {kind} are not implemented; {', '.join(sorted(_ENDS))} are"
            )
        if kind not in _ENDS:
            raise InvalidArgument(f"interruptType must be one of {', '.join(sorted(_ENDS | _OTHERS))}")
        call.caller.require(Permission.WORKSPACES_RUN)
        run, _, _ = await self._found(call)
        if not run.ended:
            await self._services.runs.cancel(call.caller, run.id)
        await self._send(call, {"id": run.id, "type": kind, "planExecutionId": run.id})

    async def _found(self, call: Call) -> tuple[Run, Execution, tuple[str, str]]:
        await self._reader.account(call)
        values = query(call)
        org, project = values.get("orgIdentifier", ""), values.get("projectIdentifier", "")
        scope = call.caller.scope
        try:
            run = await self._services.runs.get(scope, call.params["execution"])
            if org and project:
                where = await self._reader.place(call, org, project)
                if run.project_id != where.project.id:
                    raise NotFound
            task = await self._services.executions.get(scope, run.plan_task_id)
        except NotFound:
            raise NotFound(f"pipeline execution {call.params['execution']} not found") from None
        return run, task, (org, project)

    async def _send(self, call: Call, data: dict[str, Any]) -> None:
        document = {"status": "SUCCESS", "data": data, "metaData": None, "correlationId": call.request_id}
        await send_json(call, document)
