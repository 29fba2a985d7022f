"""Errors of the native API as problem documents (RFC 9457). Owns one table from error code to status and title."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from runyard.dialects.door import Answer
from runyard.kernel.errors import LimitExceeded, RunyardError
from runyard.server.native.replies import encode

TABLE: Mapping[str, tuple[int, str]] = {
    "internal": (500, "Internal error"),
    "invalid_argument": (422, "Invalid argument"),
    "malformed_request": (400, "Malformed request"),
    "not_found": (404, "Not found"),
    "method_not_allowed": (405, "Method not allowed"),
    "already_exists": (409, "Already exists"),
    "failed_precondition": (409, "Not in this state"),
    "conflict": (409, "Conflict"),
    "unauthenticated": (401, "Unauthenticated"),
    "permission_denied": (403, "Permission denied"),
    "limit_exceeded": (429, "Limit reached"),
    "too_large": (413, "Too large"),
    "unimplemented": (501, "Not implemented"),
    "unavailable": (503, "Not available now"),
    "deadline_exceeded": (504, "Took too long"),
    "command_failed": (422, "Command failed"),
}
"""The codes of the kernel. A code of a domain is looked up along its class's ancestors, so that each is covered."""

CONTENT_TYPE = "application/problem+json"
DOCUMENTED = (400, 401, 403, 404, 409, 413, 422, 429, 500, 503)


class Problem(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What went wrong; `code` is stable, `detail` is for people."""

    type: str
    title: str
    status: int
    code: str
    detail: str
    request_id: str
    info: dict[str, Any] = {}
    """Machine-readable detail."""


def status_and_title(kind: type[RunyardError]) -> tuple[int, str]:
    """Return status and title of an error, by its own code or that of its nearest ancestor in the table."""
    for one in kind.__mro__:
        found = TABLE.get(getattr(one, "code", ""))
        if found is not None:
            return found
    return TABLE["internal"]


def catalogue() -> Sequence[dict[str, object]]:
    """Return every code that this server knows with its status and default sentence, for the API's document."""
    found: dict[str, dict[str, object]] = {}
    kinds: list[type[RunyardError]] = [RunyardError]
    while kinds:
        kind = kinds.pop(0)
        kinds += kind.__subclasses__()
        status, title = status_and_title(kind)
        text = (kind.__doc__ or title).strip().splitlines()[0]
        found.setdefault(kind.code, {"code": kind.code, "status": status, "description": text})
    return sorted(found.values(), key=lambda one: str(one["code"]))


def write_error(error: RunyardError, request_id: str) -> Answer:
    """Return the whole answer of an error."""
    status, title = status_and_title(type(error))
    headers: list[tuple[bytes, bytes]] = []
    if isinstance(error, LimitExceeded):
        headers.append((b"retry-after", str(max(1, math.ceil(error.retry_after))).encode()))
    if status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    problem = Problem(
        type=f"/docs#error-{error.code}",
        title=title,
        status=status,
        code=error.code,
        detail=error.message,
        request_id=request_id,
        info={
            name: value for name, value in error.detail.items() if isinstance(value, str | int | float | list)
        },
    )
    return Answer(status, encode(problem), CONTENT_TYPE, headers)
