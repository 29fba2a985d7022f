"""Errors of remote executions. Owns their codes; no HTTP."""

from runyard.kernel.errors import Conflict, FailedPrecondition, InvalidArgument, NotFound


class RemoteExecutionNotFound(NotFound):
    """Remote execution not found."""

    code = "remote_execution_not_found"


class BadArgument(InvalidArgument):
    """A custom argument is not one that a plan takes."""

    code = "bad_custom_argument"


class BadDigest(InvalidArgument):
    """The digest of the upload is missing, malformed or not that of its bytes."""

    code = "bad_digest"


class AlreadyUploaded(Conflict):
    """The remote execution has a source already, and it is another one."""

    code = "already_uploaded"


class NotUploaded(FailedPrecondition):
    """The remote execution has no source yet: upload it before it is executed."""

    code = "not_uploaded"


class SourceGone(NotFound):
    """The source was removed: it is kept for seven days."""

    code = "source_gone"


class NoDefaultPipeline(FailedPrecondition):
    """The workspace has no default pipeline for plans."""

    code = "no_default_pipeline"
