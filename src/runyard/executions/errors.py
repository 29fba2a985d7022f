"""Errors of the ledger."""

from runyard.kernel.errors import FailedPrecondition, NotFound


class ExecutionNotFound(NotFound):
    """There is no such execution."""

    code = "execution_not_found"


class ExecutionEnded(FailedPrecondition):
    """The execution has ended already."""

    code = "execution_ended"


class ServerStopping(FailedPrecondition):
    """The server is stopping and begins nothing new."""

    code = "server_stopping"
