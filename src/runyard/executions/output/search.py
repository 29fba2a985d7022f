"""Search in one log. Owns how lines are found and counted; gets bytes by offset and holds one block at a time."""

from collections.abc import Callable

import msgspec

from runyard.executions.output.model import Hit, SearchResult
from runyard.kernel.errors import InvalidArgument
from runyard.kernel.paging import decode_cursor, encode_cursor

_BLOCK = 1 << 20
_MAX_LINE = 4096
_MAX_CARRY = 1 << 20
"""A line longer than this is searched in pieces that overlap by the length of the text."""
_MAX_TEXT = 1024
_MAX_HITS = 1000

Get = Callable[[int, int], bytes]


class Query(msgspec.Struct, frozen=True):
    """What to look for, checked."""

    needle: bytes
    fold: bool
    limit: int
    skip: int
    """Hits of earlier pages."""

    @classmethod
    def parse(cls, text: str, *, ignore_case: bool, limit: int, cursor: str | None) -> "Query":
        """Check the words of a caller. Raises InvalidArgument."""
        needle = text.encode("utf-8", "surrogateescape")
        if not needle or b"\n" in needle or len(needle) > _MAX_TEXT:
            raise InvalidArgument("the text must be one line of 1 to 1024 bytes")
        if not 1 <= limit <= _MAX_HITS:
            raise InvalidArgument("the limit must be 1 to 1000")
        skip = int(decode_cursor(cursor, int)[0]) if cursor is not None else 0
        if ignore_case:
            needle = text.lower().encode("utf-8", "surrogateescape")
        return cls(needle, ignore_case, limit, max(0, skip))


def search(query: Query, get: Get, size: int) -> SearchResult:
    """Walk a log of `size` bytes; count every line that contains the text, keep the hits of one page."""
    walk = _Walk(query)
    position = 0
    while position < size:
        block = get(position, min(_BLOCK, size - position))
        if not block:
            break
        position += len(block)
        walk.feed(block)
    walk.finish()
    done = query.skip + len(walk.hits)
    return SearchResult(walk.total, walk.hits, encode_cursor(done) if done < walk.total else None)


class _Walk:
    """Goes through the blocks of a log; keeps the unfinished last line between them."""

    def __init__(self, query: Query) -> None:
        self.hits: list[Hit] = []
        self.total = 0
        self._query = query
        self._buffer = b""
        self._start = 0
        """Offset of the buffer in the log."""
        self._number = 1
        """Number of the line that the buffer begins in."""
        self._line_start = 0
        self._reported = False
        """That line was counted already, in an earlier piece of it."""

    def feed(self, block: bytes) -> None:
        """Take the next bytes."""
        self._buffer += block
        cut = self._buffer.rfind(b"\n") + 1
        if cut:
            self._scan(cut)
        if len(self._buffer) > _MAX_CARRY:
            self._scan_piece(len(self._buffer) - len(self._query.needle) + 1)

    def finish(self) -> None:
        """Take the last line, which has no end."""
        if self._buffer:
            self._scan(len(self._buffer))

    def _scan(self, cut: int) -> None:
        """Count the lines of `buffer[:cut]`, which ends with a line, and drop it."""
        buffer = self._buffer[:cut]
        haystack = self._fold(buffer)
        needle = self._query.needle
        counted = 0
        found = haystack.find(needle)
        while found >= 0:
            begin = haystack.rfind(b"\n", 0, found) + 1
            end = haystack.find(b"\n", found)
            end = len(haystack) if end < 0 else end
            self._number += haystack.count(b"\n", counted, begin)
            counted = begin
            if begin > 0 or not self._reported:
                self._hit(self._line_start if begin == 0 else self._start + begin, buffer[begin:end])
            found = haystack.find(needle, end)
        self._number += haystack.count(b"\n", counted)
        self._drop(cut)
        self._line_start = self._start
        self._reported = False

    def _scan_piece(self, cut: int) -> None:
        """Look into a piece of a very long line and keep only what a match across the cut needs."""
        if not self._reported and self._query.needle in self._fold(self._buffer):
            self._hit(self._line_start, self._buffer)
            self._reported = True
        self._drop(cut)

    def _fold(self, data: bytes) -> bytes:
        if not self._query.fold:
            return data
        if self._query.needle.isascii() or data.isascii():
            return data.lower()  # keeps every offset
        return b"\n".join(_same_length_lower(line) for line in data.split(b"\n"))

    def _hit(self, offset: int, line: bytes) -> None:
        query = self._query
        if query.skip <= self.total < query.skip + query.limit:
            shown = line[:_MAX_LINE].rstrip(b"\r").decode("utf-8", "replace")
            self.hits.append(Hit(offset, self._number, shown))
        self.total += 1

    def _drop(self, cut: int) -> None:
        self._start += cut
        self._buffer = self._buffer[cut:]


def _same_length_lower(line: bytes) -> bytes:
    """Lower-case text where that keeps its length in bytes, so that offsets stay true; else ASCII alone."""
    lowered = line.decode("utf-8", "surrogateescape").lower().encode("utf-8", "surrogateescape")
    return lowered if len(lowered) == len(line) else line.lower()
