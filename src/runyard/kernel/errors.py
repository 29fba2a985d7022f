"""The error base. Owns the shape of every domain error; knows nothing of HTTP or of any dialect.

A domain error is a subclass whose docstring is its default message and whose `code` is a stable slug.
Each door maps every code once (a test walks all subclasses through all doors).
"""

from typing import ClassVar


class RunyardError(Exception):
    """Something went wrong."""

    code: ClassVar[str] = "internal"

    def __init__(self, message: str | None = None, **detail: object) -> None:
        """Take a message for people (default: the class docstring) and machine-readable detail."""
        self.message = message or (self.__doc__ or type(self).__name__).strip()
        self.detail: dict[str, object] = detail
        super().__init__(self.message)


class InvalidArgument(RunyardError):
    """A value in the request is not valid."""

    code = "invalid_argument"


class MalformedRequest(RunyardError):
    """The request could not be parsed."""

    code = "malformed_request"


class NotFound(RunyardError):
    """There is no such resource."""

    code = "not_found"


class AlreadyExists(RunyardError):
    """A resource with this name or key exists already."""

    code = "already_exists"


class FailedPrecondition(RunyardError):
    """The resource is not in a state that allows this."""

    code = "failed_precondition"


class Conflict(RunyardError):
    """The resource was changed by somebody else meanwhile."""

    code = "conflict"


class Unauthenticated(RunyardError):
    """The credential is missing or not valid."""

    code = "unauthenticated"


class PermissionDenied(RunyardError):
    """The credential does not allow this."""

    code = "permission_denied"


class LimitExceeded(RunyardError):
    """A limit of this server is reached; try again later."""

    code = "limit_exceeded"

    def __init__(self, message: str | None = None, *, retry_after: float = 1.0, **detail: object) -> None:
        """Carry `retry_after`, the seconds after which a new try makes sense."""
        super().__init__(message, **detail)
        self.retry_after = retry_after


class TooLarge(RunyardError):
    """The request is larger than this server accepts."""

    code = "too_large"


class Unimplemented(RunyardError):
    """This operation is not implemented by this server."""

    code = "unimplemented"


class Unavailable(RunyardError):
    """The service needed for this is not available now."""

    code = "unavailable"


class DeadlineExceeded(RunyardError):
    """The operation did not finish in time."""

    code = "deadline_exceeded"


class CommandFailed(RunyardError):
    """A command needed for this operation failed."""

    code = "command_failed"
