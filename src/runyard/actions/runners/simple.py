"""noop, announcement and the runners that are not there: what needs no process and no connection."""

from collections.abc import Callable

from runyard.actions.runners.job import Job, failed, outcome
from runyard.actions.runnertypes import RUNS_NOT_YET
from runyard.actions.values import JsonObject
from runyard.executions.model import Outcome, Status
from runyard.executions.worker import RunContext

Announce = Callable[[str, str, JsonObject, JsonObject], None]
"""Tells everybody who listens: account, route, message, trace context."""


async def noop(job: Job, context: RunContext) -> Outcome:
    """Do nothing, well."""
    del job, context
    return outcome(Status.SUCCEEDED, {"failed": False, "succeeded": True, "return_code": 0})


class AnnouncementRunner:
    """Sends a message to all listeners of the stream."""

    def __init__(self, announce: Announce) -> None:
        """Tell through this function."""
        self._announce = announce

    async def __call__(self, job: Job, context: RunContext) -> Outcome:
        """Announce the action's parameters."""
        del context
        if job.given.runner.get("experimental") is not True:
            return failed("Experimental flag is missing for action")
        message = dict(job.given.action)
        trace = job.run.context.get("trace_context")
        self._announce(
            job.account, job.text("route", "general"), message, trace if isinstance(trace, dict) else {}
        )
        return outcome(Status.SUCCEEDED, {"output": message, **message})


async def not_there(job: Job, context: RunContext) -> Outcome:
    """Fail with the sentence that says so."""
    del context
    sentence = RUNS_NOT_YET.get(job.runner.name, f"The runner {job.runner.name} is not available in Runyard.")
    return failed(sentence)
