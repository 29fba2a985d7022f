"""Words of the output log. Owns the small records that writers and readers exchange; does no I/O."""

import enum
from collections.abc import Sequence
from datetime import datetime

import msgspec

from runyard.kernel.errors import NotFound


class Stream(enum.IntEnum):
    """Where a byte came from; the value is stored."""

    STDOUT = 1
    STDERR = 2
    SYSTEM = 3
    """Written by Runyard itself: why a run failed."""


class Chunk(msgspec.Struct, frozen=True):
    """Consecutive bytes of one stream. `offset` counts the kept bytes of all streams of the log, from 0."""

    offset: int
    stream: Stream
    time: datetime
    data: bytes

    @property
    def end(self) -> int:
        """Return the offset after the last byte: where a reader goes on."""
        return self.offset + len(self.data)


class OutputSummary(msgspec.Struct, frozen=True):
    """What a closed writer wrote."""

    total_bytes: int
    """All bytes that were written, masked, kept or not."""
    kept_bytes: int
    truncated: bool
    ref: str | None
    """Where the log lies; None when nothing was kept."""


class Hit(msgspec.Struct, frozen=True):
    """One line that contains the text."""

    offset: int
    """Of the first byte of the line."""
    line_number: int
    """From 1."""
    line: str
    """At most 4096 bytes of the line, decoded with replacement."""


class SearchResult(msgspec.Struct, frozen=True):
    """A page of hits and the exact number of lines that contain the text."""

    total: int
    hits: Sequence[Hit]
    next_cursor: str | None = None


class OutputLocation(msgspec.Struct, frozen=True):
    """What the ledger knows of a log: where it lies, and whether it will still grow."""

    ref: str | None
    closed: bool


class OutputGone(NotFound):
    """The output was removed by retention."""

    code = "output_gone"
