"""What the Runta door reads beyond the common: page limits, revisions, cursors, statuses in both vocabularies."""

from collections.abc import Collection, Mapping

from runyard.dialects.reading import (
    bearer,
    decode,
    header,
    integer,
    query,
    read_body,
    read_json,
    read_optional_json,
)
from runyard.kernel.errors import InvalidArgument
from runyard.runtimes.model import Status

__all__ = [
    "PAGE_LIMIT",
    "V1_PAGE_LIMIT",
    "bearer",
    "cursor",
    "decode",
    "header",
    "integer",
    "query",
    "read_body",
    "read_json",
    "read_optional_json",
    "revision",
    "statuses",
]

PAGE_LIMIT = 100
V1_PAGE_LIMIT = 1000

_ALIASES = {"active": Status.RUNNING, "stopped": Status.SHUTDOWN}
_HIDDEN_STATUSES = frozenset({"unavailable"})


def revision(values: Mapping[str, str]) -> int:
    """Return the required `expected_revision`. Raises InvalidArgument."""
    if "expected_revision" not in values:
        raise InvalidArgument("expected_revision is required")
    return integer(values, "expected_revision", 0, 1, 2**53)


def cursor(values: Mapping[str, str]) -> str | None:
    """Return the cursor of the query, None at the beginning."""
    return values.get("after") or None


def statuses(values: Mapping[str, str], *, aliases: bool) -> Collection[Status] | None:
    """Return the statuses to list; empty means all, None that only statuses were named which never occur here.
    Raises InvalidArgument for an unknown word.
    """
    text = values.get("status", "")
    found: set[Status] = set()
    words = [word.strip() for word in text.split(",") if word.strip()]
    for word in words:
        if aliases and word in _ALIASES:
            found.add(_ALIASES[word])
        elif word in _HIDDEN_STATUSES:
            continue
        else:
            try:
                found.add(Status(word))
            except ValueError:
                raise InvalidArgument(f"unknown status '{word[:40]}'") from None
    return None if words and not found else found
