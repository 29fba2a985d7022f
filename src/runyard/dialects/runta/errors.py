"""The dialect's words for everything that can go wrong. Owns one table from error code to status and slug."""

import math
from collections.abc import Mapping

import msgspec

from runyard.dialects.door import Answer
from runyard.kernel.errors import LimitExceeded, RunyardError
from runyard.kernel.jsons import encode_json

INVALID = (422, "invalid_argument")
NOT_FOUND = (404, "not_found")
PRECONDITION = (409, "failed_precondition")
EXISTS = (409, "already_exists")
INTERNAL = (500, "internal")
UNAVAILABLE = (503, "unavailable")
LIMITED = (429, "rate_limited")

WORDS: Mapping[str, tuple[int, str]] = {
    "internal": INTERNAL,
    "invalid_argument": INVALID,
    "malformed_request": (400, "invalid_argument"),
    "not_found": NOT_FOUND,
    "already_exists": EXISTS,
    "failed_precondition": PRECONDITION,
    "conflict": PRECONDITION,
    "unauthenticated": (401, "unauthenticated"),
    "permission_denied": (403, "permission_denied"),
    "limit_exceeded": LIMITED,
    "too_large": INVALID,
    "unimplemented": (501, "unimplemented"),
    "unavailable": UNAVAILABLE,
    "deadline_exceeded": (504, "deadline_exceeded"),
    "command_failed": (422, "command_failed"),
}
"""The codes of the kernel. A code of a domain is looked up along its class's ancestors, so that each is covered."""

DOCUMENTED = (400, 401, 403, 404, 409, 422, 429, 500, 501, 503, 504)


class ErrorBody(msgspec.Struct):
    """What went wrong."""

    code: str
    message: str


class Envelope(msgspec.Struct):
    """Every error of the dialect; `request_id` stands beside `error` and equals the header `X-Request-Id`."""

    error: ErrorBody
    request_id: str


def words(error: RunyardError) -> tuple[int, str]:
    """Return status and slug of an error, by its own code or that of its nearest ancestor in the table."""
    for kind in type(error).__mro__:
        found = WORDS.get(getattr(kind, "code", ""))
        if found is not None:
            return found
    return INTERNAL


def envelope(error: RunyardError, request_id: str) -> bytes:
    """Return the document of an error."""
    return encode_json(Envelope(ErrorBody(words(error)[1], error.message), str(request_id)))


def write_error(error: RunyardError, request_id: str) -> Answer:
    """Return the whole answer of an error."""
    headers: list[tuple[bytes, bytes]] = []
    if isinstance(error, LimitExceeded):
        headers.append((b"retry-after", str(max(1, math.ceil(error.retry_after))).encode()))
    if error.code == "unauthenticated":
        headers.append((b"www-authenticate", b"Bearer"))
    return Answer(words(error)[0], envelope(error, request_id), headers=headers)
