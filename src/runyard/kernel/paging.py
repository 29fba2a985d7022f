"""Cursor paging. Owns the opaque cursor and the page; knows nothing of tables or of any dialect's spelling."""

import base64
import binascii
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from runyard.kernel.errors import InvalidArgument

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Page(Generic[Item]):
    """One page of a list: its items and the cursor of the next page, None at the end."""

    items: Sequence[Item]
    next_cursor: str | None = None

    @property
    def has_more(self) -> bool:
        """Tell whether another page follows."""
        return self.next_cursor is not None


def encode_cursor(*parts: str | int) -> str:
    """Pack the sort key of the last item of a page into an opaque, URL-safe cursor."""
    raw = json.dumps(parts, separators=(",", ":")).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def decode_cursor(cursor: str, *types: type[str] | type[int]) -> tuple[str | int, ...]:
    """Unpack a cursor into its parts; raise InvalidArgument unless it has exactly these types."""
    try:
        raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        parts = json.loads(raw)
    except (ValueError, binascii.Error, RecursionError):
        raise InvalidArgument("the cursor is not one that this server gave") from None
    fits = isinstance(parts, list) and [type(part) for part in parts] == list(types)
    if not fits:
        raise InvalidArgument("the cursor is not one that this server gave")
    return tuple(parts)
