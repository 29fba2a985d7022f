"""The dialect's words for everything that can go wrong. Owns one table from error code to name and status, and the
three envelopes of the services behind it: workspaces, pipelines, logs.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from runyard.dialects.door import Answer
from runyard.kernel.errors import LimitExceeded, RunyardError
from runyard.kernel.jsons import encode_json


@dataclass(frozen=True, slots=True)
class Word:
    """One of the published errors."""

    status: int
    name: str
    temporary: bool = False
    timeout: bool = False
    fault: bool = False


BAD = Word(400, "BadRequestError")
UNAUTHORIZED = Word(401, "UnauthorizedError")
FORBIDDEN = Word(403, "ForbiddenError")
NOT_FOUND = Word(404, "NotFoundError")
TIMEOUT = Word(408, "TimeoutError", timeout=True)
CONFLICT = Word(409, "ConflictError")
BUSY = Word(409, "ConflictError", temporary=True)
LOCKED = Word(423, "LockedError", temporary=True)
GONE = Word(499, "ContextCancelledError")
"""Published for a caller that went away. It is never sent: there is nobody to read it."""
INTERNAL = Word(500, "InternalServerError", fault=True)
ABSENT = Word(501, "NotImplementedError")
UNAVAILABLE = Word(502, "BadGatewayError", temporary=True, fault=True)

WORDS: Mapping[str, Word] = {
    "internal": INTERNAL,
    "invalid_argument": BAD,
    "malformed_request": BAD,
    "not_found": NOT_FOUND,
    "already_exists": CONFLICT,
    "failed_precondition": BAD,
    "conflict": BUSY,
    "unauthenticated": UNAUTHORIZED,
    "permission_denied": FORBIDDEN,
    "limit_exceeded": BUSY,
    "too_large": BAD,
    "unimplemented": ABSENT,
    "unavailable": UNAVAILABLE,
    "deadline_exceeded": TIMEOUT,
    "command_failed": BAD,
    "workspace_locked": LOCKED,
    "workspace_busy": LOCKED,
    "state_locked": LOCKED,
    "lock_lost": CONFLICT,
    "stale_state": CONFLICT,
    "already_uploaded": CONFLICT,
    "source_gone": NOT_FOUND,
}
"""The codes of the kernel and of locks; a code of a domain is looked up along its class's ancestors."""
DOCUMENTED = (400, 401, 403, 404, 408, 409, 423, 499, 500, 502)


class GoaError(msgspec.Struct):
    """What went wrong, as the workspace service says it."""

    name: str
    id: str
    """Of this occurrence: the request id."""
    message: str
    temporary: bool
    timeout: bool
    fault: bool


class PipelineError(msgspec.Struct, rename="camel"):
    """What went wrong, as the pipeline service says it."""

    status: str
    code: str
    message: str
    detailed_message: str
    correlation_id: str


class LogError(msgspec.Struct):
    """What went wrong, as the log service says it: under both names that clients look for."""

    error_msg: str
    message: str
    correlation_id: str


def word_of(error: RunyardError) -> Word:
    """Return the published error of a domain error, by its own code or that of its nearest ancestor in the table."""
    for kind in type(error).__mro__:
        found = WORDS.get(getattr(kind, "code", ""))
        if found is not None:
            return found
    return INTERNAL


def _headers(error: RunyardError, word: Word) -> list[tuple[bytes, bytes]]:
    headers = [(b"goa-error", word.name.encode())]
    if isinstance(error, LimitExceeded):
        headers.append((b"retry-after", str(max(1, math.ceil(error.retry_after))).encode()))
    return headers


def write_error(error: RunyardError, request_id: str) -> Answer:
    """Return the answer of the workspace service. Its content type is plain JSON: a client prints nothing else."""
    word = word_of(error)
    body = GoaError(
        name=word.name,
        id=str(request_id),
        message=error.message,
        temporary=word.temporary,
        timeout=word.timeout,
        fault=word.fault,
    )
    return Answer(word.status, encode_json(body), headers=_headers(error, word))


def write_pipeline_error(error: RunyardError, request_id: str) -> Answer:
    """Return the answer of the pipeline service."""
    word = word_of(error)
    body = PipelineError("ERROR", error.code.upper(), error.message, error.message, str(request_id))
    return Answer(word.status, encode_json(body), headers=_headers(error, word))


def write_log_error(error: RunyardError, request_id: str) -> Answer:
    """Return the answer of the log service."""
    word = word_of(error)
    body = LogError(error.message, error.message, str(request_id))
    return Answer(word.status, encode_json(body), headers=_headers(error, word))
