"""Errors of the client. Owns the tree that a caller may catch; knows nothing of exit statuses or terminals."""

from collections.abc import Mapping


class ClientError(Exception):
    """Talking to the Runyard server failed."""

    code = "client_error"

    def __init__(self, message: str | None = None) -> None:
        """Take a message for people; default: the class docstring."""
        self.message = message or (self.__doc__ or type(self).__name__).strip()
        super().__init__(self.message)


class InvalidConfiguration(ClientError):
    """The address, the token or the profile is not usable."""

    code = "usage"


class InvalidUse(ClientError):
    """A value given by the caller cannot be used."""

    code = "usage"


class Unreachable(ClientError):
    """The server could not be reached."""

    code = "unreachable"


class ConnectionLost(ClientError):
    """The connection broke before the answer was complete."""

    code = "connection_lost"


class InvalidAnswer(ClientError):
    """The server answered with something that this version does not understand."""

    code = "internal"


class ApiError(ClientError):
    """The server refused or failed."""

    def __init__(
        self,
        message: str,
        *,
        status: int,
        code: str,
        request_id: str | None = None,
        retry_after: float | None = None,
        extra: Mapping[str, object] | None = None,
    ) -> None:
        """Carry the problem document: HTTP status, stable code, request id, seconds until a new try makes sense."""
        super().__init__(message)
        self.status = status
        self.code = code
        self.request_id = request_id
        self.retry_after = retry_after
        self.extra = dict(extra or {})


class CommandEnded(ClientError):
    """The exec stream ended with an error instead of an exit status."""

    code = "internal"
