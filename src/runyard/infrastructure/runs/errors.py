"""Errors of runs. Owns their codes; no HTTP."""

from runyard.kernel.errors import CommandFailed, Conflict, FailedPrecondition, InvalidArgument, NotFound


class RunNotFound(NotFound):
    """Run not found."""

    code = "run_not_found"

    def __init__(self, reference: str = "") -> None:
        """Name what was asked for."""
        super().__init__(f"run '{reference[:200]}' not found" if reference else None)


class RunOver(Conflict):
    """The run is over."""

    code = "run_over"


class RunNotReady(FailedPrecondition):
    """The run does not wait for this."""

    code = "run_not_ready"


class RunBlocked(FailedPrecondition):
    """A strict guardrail blocks the run; nobody may override it."""

    code = "run_blocked"


class RefusedArguments(InvalidArgument):
    """These command line arguments are not allowed."""

    code = "refused_arguments"


class ToolMissing(FailedPrecondition):
    """The tool of the workspace is not installed on this server."""

    code = "tool_missing"


class CheckoutFailed(CommandFailed):
    """The code could not be checked out."""

    code = "checkout_failed"


class NotManaged(FailedPrecondition):
    """The runs of this workspace are executed by a pipeline elsewhere."""

    code = "workspace_not_managed"


class NotExternal(FailedPrecondition):
    """The runs of this workspace are executed by this server."""

    code = "workspace_managed"
