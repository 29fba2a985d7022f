"""The dialect's words for everything that can go wrong. Owns one table from error code to status and machine type."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from runyard.dialects.door import Answer
from runyard.kernel.errors import LimitExceeded, RunyardError
from runyard.kernel.jsons import encode_json

TABLE: Mapping[str, tuple[int, str]] = {
    "internal": (500, "app_error"),
    "bad_package": (400, "invalid_request_error"),
    "digest_mismatch": (400, "invalid_request_error"),
    "invalid_argument": (422, "validation_error"),
    "malformed_request": (422, "validation_error"),
    "not_found": (404, "not_found_error"),
    "already_exists": (409, "already_exists_error"),
    "failed_precondition": (409, "conflict_error"),
    "conflict": (409, "conflict_error"),
    "unauthenticated": (401, "authentication_error"),
    "permission_denied": (403, "forbidden_error"),
    "limit_exceeded": (429, "rate_limit_error"),
    "too_large": (400, "invalid_request_error"),
    "unimplemented": (409, "conflict_error"),
    "unavailable": (502, "bad_gateway_error"),
    "deadline_exceeded": (504, "gateway_timeout_error"),
    "command_failed": (502, "bad_gateway_error"),
}
"""The codes of the kernel, and those of a domain whose word is another one than that of its ancestors. The published
statuses have no 405, 413, 501 and 503: those are 404, 400, 409 (as where a sandbox cannot be paused) and 502 here.
"""
DOCUMENTED: Final = (400, 401, 403, 404, 409, 422, 429, 500, 502, 504)
_SERVER_FAULT: Final = "Internal server error"
_NO_BRACKETS: Final = str.maketrans("[]", "()")


class ValidationItem(msgspec.Struct):
    """What is wrong with one value."""

    loc: Sequence[str | int]
    msg: str
    type: str


class ErrorPayload(msgspec.Struct, omit_defaults=True):
    """What went wrong; `code` equals the HTTP status, `type` is stable, `detail` is for people."""

    code: int
    detail: str
    type: str
    errors: Sequence[ValidationItem] | None = None
    """The wrong values, when the status is 422."""


def status_and_type(kind: type[RunyardError]) -> tuple[int, str]:
    """Return status and machine type of an error, by its own code or that of its nearest ancestor in the table."""
    for one in kind.__mro__:
        found = TABLE.get(getattr(one, "code", ""))
        if found is not None:
            return found
    return TABLE["internal"]


def plain(text: str) -> str:
    """Return a sentence without square brackets: the published command reads them as markup and dies of some."""
    return text.translate(_NO_BRACKETS)


def write_error(error: RunyardError, request_id: str) -> Answer:
    """Return the whole answer of an error; the request id is in a header, as in every answer."""
    del request_id
    status, kind = status_and_type(type(error))
    payload = ErrorPayload(status, _SERVER_FAULT if status == 500 else plain(error.message), kind)
    if status == 422:
        payload.errors = (ValidationItem(_place(error.detail), payload.detail, error.code),)
    headers: list[tuple[bytes, bytes]] = []
    if isinstance(error, LimitExceeded):
        headers.append((b"retry-after", str(max(1, math.ceil(error.retry_after))).encode()))
    if status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    return Answer(status, encode_json(payload), headers=headers)


def _place(detail: Mapping[str, Any]) -> Sequence[str | int]:
    """Return where the wrong value is: what the error says under `loc`, else the body."""
    given = detail.get("loc")
    return tuple(given) if isinstance(given, list | tuple) else ("body",)
