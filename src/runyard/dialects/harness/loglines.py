"""Cuts an output log into the lines that the dialect sends. Owns the size of a line and where a reader goes on; reads
no log itself.

Clients give up on an event or line of 64 KiB, so a long line is cut. A line's id is the offset after it: a reader that
comes back with it gets the same cuts from there on, so each line comes once. A line ends early where the other stream
begins, because an offset must not lie within two unfinished lines at once.
"""

from collections.abc import Iterator
from datetime import datetime

import msgspec

from runyard.executions.output.model import Chunk, Stream

MAX_BYTES = 8192
"""Of a line before it is escaped: six times that and the other fields stay below 64 KiB."""
_LEVELS = {Stream.STDOUT: "info", Stream.STDERR: "error", Stream.SYSTEM: "warn"}


class LogLine(msgspec.Struct):
    """One line as it is sent."""

    level: str
    out: str
    time: datetime
    pos: int
    """The offset of its first byte."""


class Cut(msgspec.Struct, frozen=True):
    """A line and where a reader goes on after it."""

    end: int
    line: LogLine


class Cutter:
    """Turns chunks into lines; feed them in order."""

    def __init__(self) -> None:
        """Begin at the start of a line."""
        self._held = bytearray()
        self._start = 0
        self._stream = Stream.STDOUT
        self._time: datetime | None = None

    def feed(self, chunk: Chunk) -> Iterator[Cut]:
        """Yield the lines that a chunk completes."""
        if self._held and chunk.stream is not self._stream:
            yield self._take(len(self._held))
        if not self._held:
            self._start = chunk.offset
        self._stream, self._time = chunk.stream, chunk.time
        self._held += chunk.data
        while self._held:
            newline = self._held.find(b"\n", 0, MAX_BYTES)
            if newline >= 0:
                yield self._take(newline + 1)
            elif len(self._held) >= MAX_BYTES:
                yield self._take(_boundary(self._held))
            else:
                return

    def finish(self) -> Iterator[Cut]:
        """Yield what is left at the end of the log."""
        while self._held:
            yield self._take(_boundary(self._held) if len(self._held) > MAX_BYTES else len(self._held))

    def _take(self, length: int) -> Cut:
        data = bytes(self._held[:length])
        del self._held[:length]
        start, self._start = self._start, self._start + length
        assert self._time is not None, "bytes are held only after a chunk"
        text = data.decode("utf-8", "replace").rstrip("\r\n")
        return Cut(self._start, LogLine(_LEVELS[self._stream], text, self._time, start))


def _boundary(held: bytearray) -> int:
    """Return a length of at most `MAX_BYTES` that does not cut through a character."""
    for length in range(MAX_BYTES, MAX_BYTES - 4, -1):
        if len(held) == length or held[length] & 0xC0 != 0x80:
            return length
    return MAX_BYTES
