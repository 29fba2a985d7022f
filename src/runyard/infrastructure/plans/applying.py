"""Reading `apply -json`. Owns what its lines say about each resource; pure."""

from collections.abc import Iterable
from typing import Any, Final

import msgspec

APPLIED: Final = "applied"
FAILED: Final = "failed"
STARTED: Final = "applying"
_STATUSES: Final = {"apply_start": STARTED, "apply_complete": APPLIED, "apply_errored": FAILED}


class _At(msgspec.Struct):
    addr: str = ""


class _Hook(msgspec.Struct):
    resource: _At = msgspec.field(default_factory=_At)


class _Line(msgspec.Struct):
    type: str = ""
    hook: _Hook = msgspec.field(default_factory=_Hook)


_lines: Final = msgspec.json.Decoder(_Line)


def outcomes(lines: Iterable[bytes]) -> dict[str, str]:
    """Return `applied`, `failed` or `applying` (begun, and never heard of again) by address.

    A line that is no JSON is somebody else's: a provider or a provisioner may write what it likes. A replacement has
    two halves; the worse one counts.
    """
    found: dict[str, str] = {}
    for line in lines:
        told = _told(line)
        if told is None:
            continue
        address, status = told
        if found.get(address) != FAILED:
            found[address] = status
    return found


def _told(line: bytes) -> tuple[str, Any] | None:
    if b'"apply_' not in line:
        return None
    try:
        read = _lines.decode(line)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return None
    status = _STATUSES.get(read.type)
    return None if status is None or not read.hook.resource.addr else (read.hook.resource.addr, status)
