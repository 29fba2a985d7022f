"""The dialect's words for everything that can go wrong. Owns one table from error code to status."""

import math
from collections.abc import Mapping
from typing import Any

import msgspec

from runyard.actions.apikeys import API_KEY_NAME
from runyard.dialects.door import Answer
from runyard.kernel.errors import LimitExceeded, RunyardError
from runyard.kernel.jsons import encode_json

NOTHING_HERE = "The resource could not be found."
STATUSES: Mapping[str, int] = {
    "internal": 500,
    "invalid_argument": 400,
    "malformed_request": 400,
    "not_found": 404,
    "already_exists": 409,
    "failed_precondition": 400,
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
DOCUMENTED = (400, 401, 403, 404, 409, 413, 429, 500, 501, 503, 504)
_UNAUTHORIZED = "Unauthorized"


class Fault(msgspec.Struct, rename="kebab"):
    """What went wrong."""

    faultstring: str
    conflict_id: str | None = None
    """The id of what is there already."""


PERMISSIONS: Mapping[str, str] = {
    "actions:read": "action_view",
    "actions:run": "action_execute",
    "actions:write": "action_modify",
    "executions:cancel": "execution_stop",
    "executions:read": "execution_view",
    "keys:read": "key_value_pair_view",
    "keys:write": "key_value_pair_set",
    "tokens:manage": "api_key_all",
}
"""The dialect's names of the permissions."""


def status_of(error: RunyardError) -> int:
    """Return the status of an error, by its own code or that of its nearest ancestor in the table."""
    for kind in type(error).__mro__:
        found = STATUSES.get(getattr(kind, "code", ""))
        if found is not None:
            return found
    return 500


def text_of(error: RunyardError) -> str:
    """Return the sentence: the domain's own, but for what the dialect says in fixed words."""
    status = status_of(error)
    if status == 500:
        return "Internal Server Error"
    if status == 401 and error.detail.get("why") == "expired":
        return f"{_UNAUTHORIZED} - Token has expired."
    if status == 401 and error.detail.get("why") == "revoked" and error.detail.get("name") == API_KEY_NAME:
        return f"{_UNAUTHORIZED} - API key is disabled."
    if status == 401:
        return error.message if error.message.startswith((_UNAUTHORIZED, "Invalid")) else _UNAUTHORIZED
    if status == 403 and "permission" in error.detail:
        named = PERMISSIONS.get(str(error.detail["permission"]), str(error.detail["permission"]))
        on = f' on resource "{error.detail["resource"]}"' if "resource" in error.detail else ""
        return f'User "{error.detail.get("user", "")}" doesn\'t have required permission "{named}"{on}'
    if error.code in ("not_found", "method_not_allowed") and error.message.startswith(
        ("there is", "There is")
    ):
        return NOTHING_HERE
    return NOTHING_HERE if error.code == "method_not_allowed" else error.message


def write_error(error: RunyardError, request_id: str) -> Answer:
    """Return the whole answer of an error; the request id is in a header, as in every answer."""
    del request_id
    document: dict[str, Any] = {"faultstring": text_of(error)}
    existing = getattr(error, "existing", "")
    if existing:
        document["conflict-id"] = str(existing)
    headers: list[tuple[bytes, bytes]] = []
    if isinstance(error, LimitExceeded):
        headers.append((b"retry-after", str(max(1, math.ceil(error.retry_after))).encode()))
    return Answer(status_of(error), encode_json(document), headers=headers)
