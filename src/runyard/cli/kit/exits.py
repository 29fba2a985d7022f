"""Exit statuses. Owns what each number means and which error code ends with which number.

Think hard before changing a line: people match on these numbers in their scripts.
"""

OK = 0
FAILED = 1
USAGE = 2
NOT_FOUND = 3
NOT_PERMITTED = 4
REFUSED = 5
CONFLICT = 6
TIMED_OUT = 124
CONTROL_PLANE = 125
NOT_EXECUTABLE = 126
COMMAND_NOT_FOUND = 127
INTERRUPTED = 130

BY_CODE = {
    "internal": FAILED,
    "malformed_request": USAGE,
    "invalid_argument": USAGE,
    "invalid_output": FAILED,
    "usage": USAGE,
    "bad_settings": USAGE,
    "method_not_allowed": FAILED,
    "not_found": NOT_FOUND,
    "unauthenticated": NOT_PERMITTED,
    "permission_denied": NOT_PERMITTED,
    "guardrail_refused": REFUSED,
    "already_exists": CONFLICT,
    "conflict": CONFLICT,
    "failed_precondition": CONFLICT,
    "locked": CONFLICT,
    "limit_exceeded": FAILED,
    "too_large": FAILED,
    "unimplemented": FAILED,
    "unavailable": FAILED,
    "unreachable": FAILED,
    "connection_lost": FAILED,
    "deadline_exceeded": FAILED,
    "command_failed": FAILED,
    "declined": FAILED,
    "interrupted": INTERRUPTED,
}
"""Exit status of a command that only talks to the server, by the error's `code`."""

BY_HTTP_STATUS = {
    400: USAGE,
    401: NOT_PERMITTED,
    403: NOT_PERMITTED,
    404: NOT_FOUND,
    409: CONFLICT,
    412: CONFLICT,
    422: USAGE,
    423: CONFLICT,
}
"""The fallback for a code that this version does not know."""

CONTROL_TABLE = (
    (OK, "done"),
    (FAILED, "failed"),
    (USAGE, "wrong usage or a value that the server refused"),
    (NOT_FOUND, "not found"),
    (NOT_PERMITTED, "not permitted: no token, a wrong one, or one without the scope"),
    (REFUSED, "refused by a guardrail"),
    (CONFLICT, "conflict, locked, or not in a state that allows it"),
    (INTERRUPTED, "interrupted"),
)
REMOTE_TABLE = (
    ("0-255", "the status of the remote command"),
    (TIMED_OUT, "timed out"),
    (CONTROL_PLANE, "Runyard itself failed: server, network, usage, not found, not permitted"),
    (NOT_EXECUTABLE, "the command is there but cannot be executed"),
    (COMMAND_NOT_FOUND, "the command is not there"),
    (INTERRUPTED, "interrupted here"),
)
"""A remote command may use our numbers too; `--json` says who ended it (`ended_by`)."""


def status_of(code: str, http_status: int | None, *, remote: bool) -> int:
    """Return the exit status for an error code; a command that runs something remotely says 125, not 1 to 6."""
    if remote:
        return INTERRUPTED if code == "interrupted" else CONTROL_PLANE
    if code in BY_CODE:
        return BY_CODE[code]
    return BY_HTTP_STATUS.get(http_status or 0, FAILED)
