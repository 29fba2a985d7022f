"""The dialect's words for everything that can go wrong. Owns one table from error code to status, and the envelope.

Clients of the protocol decide by the status and the path; people read `detail`. A lock conflict of the `http` backend is
answered with the lock itself, which is the form that Terraform shows.
"""

import math
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Final

import msgspec

from runyard.dialects.door import Answer
from runyard.infrastructure.state.errors import StateLocked
from runyard.kernel.errors import LimitExceeded, RunyardError
from runyard.kernel.jsons import encode_json

MEDIA_TYPE: Final = "application/vnd.api+json"
STATUSES: Final[Mapping[str, int]] = {
    "internal": 500,
    "invalid_argument": 422,
    "malformed_request": 400,
    "not_found": 404,
    "method_not_allowed": 405,
    "already_exists": 422,
    "failed_precondition": 409,
    "conflict": 409,
    "unauthenticated": 401,
    "permission_denied": 403,
    "limit_exceeded": 429,
    "too_large": 413,
    "unimplemented": 422,
    "unavailable": 503,
    "deadline_exceeded": 504,
    "command_failed": 422,
}
"""The codes of the kernel; a code of a domain is looked up along its class's ancestors. What is not implemented is a 422:
clients ask again and again for whatever is answered with 5xx.
"""
DOCUMENTED: Final = (400, 401, 403, 404, 405, 409, 413, 422, 429, 500, 503, 504)


class Fault(msgspec.Struct):
    """One thing that went wrong."""

    status: str
    title: str
    detail: str
    meta: Mapping[str, str] = {}
    """The id of the request."""


class Faults(msgspec.Struct):
    """What went wrong."""

    errors: Sequence[Fault]


def status_of(error: RunyardError) -> int:
    """Return the status of an error, by its own code or that of its nearest ancestor in the table."""
    for kind in type(error).__mro__:
        found = STATUSES.get(getattr(kind, "code", ""))
        if found is not None:
            return found
    return 500


def write_error(error: RunyardError, request_id: str) -> Answer:
    """Return the whole answer of an error."""
    status = status_of(error)
    detail = "the server made a mistake; its log has the details" if status == 500 else error.message
    title = "not found" if status == 404 else HTTPStatus(status).phrase.lower()
    body = Faults([Fault(str(status), title, detail, {"request_id": str(request_id)})])
    headers: list[tuple[bytes, bytes]] = []
    if isinstance(error, LimitExceeded):
        headers.append((b"retry-after", str(max(1, math.ceil(error.retry_after))).encode()))
    if status == 401:
        headers.append((b"www-authenticate", b'Basic realm="runyard", charset="UTF-8"'))
    return Answer(status, encode_json(body), MEDIA_TYPE, headers)


def write_locked(error: StateLocked) -> Answer:
    """Return the lock that is in the way, in Terraform's own form."""
    holder = {} if error.holder is None else error.holder.document()
    return Answer(423, encode_json(holder))
