"""The dialect's words for everything that can go wrong. Owns one table from error code to status.

Clients decide by the text of a body: a resource is gone when the text holds `404` or `not found`. So every 404 says
`not found`, and no other answer says either, whatever a name or an id in it spells.
"""

import math
from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

import msgspec

from runyard.dialects.door import Answer
from runyard.kernel.errors import LimitExceeded, RunyardError
from runyard.kernel.jsons import encode_json

STATUSES: Final[Mapping[str, int]] = {
    "internal": 500,
    "invalid_argument": 400,
    "malformed_request": 400,
    "not_found": 404,
    "method_not_allowed": 405,
    "already_exists": 409,
    "failed_precondition": 409,
    "conflict": 409,
    "unauthenticated": 401,
    "permission_denied": 403,
    "limit_exceeded": 429,
    "too_large": 413,
    "unimplemented": 501,
    "unavailable": 503,
    "deadline_exceeded": 504,
    "command_failed": 400,
}
"""The codes of the kernel; a code of a domain is looked up along its class's ancestors."""
DOCUMENTED: Final = (400, 401, 403, 404, 405, 409, 413, 429, 500, 503, 504)
_GONE: Final = "not found"
_FORBIDDEN: Final = ("404", _GONE)
_PLAIN: Final[Mapping[int, str]] = {
    400: "The request is not valid",
    401: "Unauthorized",
    403: "Insufficient permissions",
    405: "This path does not know this method",
    409: "The resource is not in a state that allows this",
    413: "The request is too large",
    429: "Too many requests, try again later",
    500: "Internal server error",
    501: "Not implemented",
    503: "Not available now, try again later",
    504: "It did not finish in time",
}
"""What is said instead of a sentence that may not be said."""


class ErrorOut(msgspec.Struct, rename="camel"):
    """What went wrong."""

    status_code: int
    error: str
    message: str


def status_of(error: RunyardError) -> int:
    """Return the status of an error, by its own code or that of its nearest ancestor in the table."""
    for kind in type(error).__mro__:
        found = STATUSES.get(getattr(kind, "code", ""))
        if found is not None:
            return found
    return 500


def text_of(error: RunyardError, status: int) -> str:
    """Return the sentence of an error, in words from which no client concludes the wrong thing."""
    if status == 500:
        return _PLAIN[500]
    text = error.message
    if status == 404:
        return text if _GONE in text else f"not found: {text}"
    if any(word in text.lower() for word in _FORBIDDEN):
        text = "It already exists" if _is(error, "already_exists") else _PLAIN[status]
    if _is(error, "already_exists") and "already exists" not in text.lower():
        return f"{text.rstrip('.')}: already exists"
    return text


def _is(error: RunyardError, code: str) -> bool:
    return any(getattr(kind, "code", "") == code for kind in type(error).__mro__)


def write_error(error: RunyardError, request_id: str) -> Answer:
    """Return the whole answer of an error. The request id is in a header only: by its digits it may spell 404."""
    del request_id
    status = status_of(error)
    named = "not found" if status == 404 else HTTPStatus(status).phrase
    body = ErrorOut(status_code=status, error=named, message=text_of(error, status))
    headers: list[tuple[bytes, bytes]] = []
    if isinstance(error, LimitExceeded):
        headers.append((b"retry-after", str(max(1, math.ceil(error.retry_after))).encode()))
    return Answer(status, encode_json(body), headers=headers)
