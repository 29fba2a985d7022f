"""Verbs that change a run: end it, set its status, answer its inquiry. Owns what each status allows."""

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from typing import Final

import structlog

from runyard.actions.errors import InquiryClosed, RunRefused
from runyard.actions.masking import mask_inquiry_result
from runyard.actions.parameters.validate import check_value
from runyard.actions.runs.model import Record
from runyard.actions.runs.service import RunService
from runyard.actions.values import Json, JsonObject
from runyard.executions.errors import ExecutionEnded
from runyard.executions.model import (
    BEFORE_START,
    Execution,
    Finish,
    Outcome,
    Reject,
    Status,
)
from runyard.identity.model import Principal, Scope
from runyard.kernel.errors import InvalidArgument, NotFound, PermissionDenied, RunyardError
from runyard.kernel.ids import ExecutionId
from runyard.kernel.transitions import Refused

CANCELABLE: Final = BEFORE_START | {Status.RUNNING}
_ENDS: Final[Mapping[str, Status]] = {
    "succeeded": Status.SUCCEEDED,
    "failed": Status.FAILED,
    "timeout": Status.TIMEOUT,
    "abandoned": Status.ABANDONED,
}
_SCAN_SECONDS: Final = 2.0
_log = structlog.get_logger(__name__)


class RunChanges:
    """Changes runs."""

    def __init__(self, runs: RunService) -> None:
        """Work on runs."""
        self._runs = runs
        self._executions = runs.executions
        self._watch: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to give up inquiries whose time is up."""
        self._watch = asyncio.get_running_loop().create_task(self._expire_forever())

    async def stop(self) -> None:
        """End that."""
        if self._watch is not None:
            self._watch.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._watch

    async def cancel(self, caller: Principal, execution_id: str) -> Record:
        """End an execution, all its processes included. Raises NotFound, RunRefused with the published text."""
        record = await self._runs.get(caller.scope, execution_id)
        execution = record.execution
        if execution.status is Status.CANCELED:
            return record
        if execution.status not in CANCELABLE:
            raise RunRefused(f"Action cannot be canceled. State = {shown_status(record)}.")
        if not record.stands_in:
            await self._runs.note(execution.id, {"cancelled_by": caller.user_name})
        with contextlib.suppress(ExecutionEnded):
            await self._executions.cancel(
                caller.scope, execution.id, actor=caller.actor, reason="Action canceled by user."
            )
        for child in record.children:
            with contextlib.suppress(RunRefused, NotFound):
                await self.cancel(caller, child)
        return await self._runs.get(caller.scope, execution.id)

    async def set_status(
        self, caller: Principal, execution_id: str, status: str, result: JsonObject | None
    ) -> Record:
        """Set the status of an execution by hand. Raises NotFound, RunRefused with the published texts."""
        record = await self._runs.get(caller.scope, execution_id)
        execution = record.execution
        if execution.ended:
            raise RunRefused("Execution is already in completed state.")
        if status == shown_status(record):
            return record
        if status == "canceled" and execution.status is Status.CANCELING:
            return record  # it is as soon as its processes are gone
        if status in ("canceling", "canceled"):
            return await self.cancel(caller, execution_id)
        if status in ("pausing", "paused"):
            raise RunRefused(
                f'Failed updating execution. Unable to pause liveaction "{record.run.liveaction_id}" '
                f'because it is not supported by the "{record.run.runner}" runner.'
            )
        if status == "resuming":
            raise RunRefused(
                f'Failed updating execution. Unable to resume liveaction "{record.run.liveaction_id}" '
                f'because it is in "{shown_status(record)}" state and not in "paused" state.'
            )
        if status not in _ENDS:
            raise RunRefused(f"Failed updating execution. The status cannot be set to {status}.")
        if result is not None and not record.stands_in:
            result = await self._runs.concealed(record, result)
        await self._end(caller.actor, execution, Outcome(status=_ENDS[status], result=result))
        return await self._runs.get(caller.scope, execution_id)

    async def _end(self, actor: str, execution: Execution, outcome: Outcome) -> None:
        """Write an end and let go of whatever still runs."""
        begun = execution.status not in BEFORE_START
        command = Finish(outcome, execution.attempt) if begun else Reject(outcome)
        decision = await self._executions.command(execution.id, command, actor=actor)
        if isinstance(decision, Refused):
            raise RunRefused(f"Failed updating execution. {decision.reason}")
        self._executions.worker.cancel(execution.id, "its status was set by hand")

    # --- inquiries ---

    async def inquiry(self, scope: Scope, execution_id: str) -> Record:
        """Return an inquiry that waits. Raises NotFound, InquiryClosed, InvalidArgument."""
        record = await self._runs.get(scope, execution_id)
        if record.run.runner != "inquirer":
            raise InvalidArgument(f"{execution_id} is not an Inquiry.")
        if record.execution.status is Status.TIMEOUT:
            raise InquiryClosed(f'Inquiry "{execution_id}" timed out and cannot be responded to')
        if record.execution.status is not Status.WAITING:
            raise InquiryClosed(f'Inquiry "{execution_id}" has already been responded to')
        return record

    async def respond(
        self, caller: Principal, execution_id: str, response: Json, roles: Sequence[str] | None = None
    ) -> None:
        """Answer an inquiry, which ends it; `roles` are the caller's, None when roles are off. Raises as `inquiry`,
        PermissionDenied, InvalidArgument.
        """
        record = await self.inquiry(caller.scope, execution_id)
        asked = record.run.inquiry
        if not _may_answer(caller.user_name, roles, asked):
            raise PermissionDenied(
                f'Requesting user "{caller.user_name}" does not have permission to respond to inquiry '
                f'"{execution_id}".'
            )
        wrong = check_value(asked.get("schema") or {}, response)
        if wrong is not None:
            raise InvalidArgument(
                f'Response for inquiry "{execution_id}" did not pass schema validation. {wrong}'
            )
        result = {**asked, "response": response}
        shown = mask_inquiry_result(result)
        if shown != result:
            await self._runs.keep_result(record.execution.id, result)
        await self._end(caller.actor, record.execution, Outcome(status=Status.SUCCEEDED, result=shown))

    async def _expire_forever(self) -> None:
        while True:
            await asyncio.sleep(_SCAN_SECONDS)
            try:
                for execution_id in await self._runs.overdue():
                    await self._expire(execution_id)
            except RunyardError as error:
                _log.warning("actions.inquiries_not_expired", error=error.message)

    async def _expire(self, execution_id: str) -> None:
        outcome = Outcome(status=Status.TIMEOUT, reason="nobody answered in time")
        await self._executions.command(ExecutionId(execution_id), Finish(outcome), actor="system:inquiries")


def _may_answer(user: str, roles: Sequence[str] | None, asked: JsonObject) -> bool:
    """Tell whether a user is among those that an inquiry asks: administrators are no exception, or an answer would not
    tell that one of them gave it.
    """
    if asked.get("users") and user not in asked["users"]:
        return False
    return not asked.get("roles") or roles is None or not set(asked["roles"]).isdisjoint(roles)


def shown_status(record: Record) -> str:
    """Return the status in the dialect's words: what waits is `pending`."""
    status = record.execution.status
    return "pending" if status is Status.WAITING else status.value
