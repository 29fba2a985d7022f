"""The writer of one log. Owns masking, the size limit and when bytes reach the disk; readers see every byte at once.

Bytes gather in memory up to 64 KiB or one second, then go to the log's files. A log that ends before that becomes
an entry of a pack. A disk that is full never fails the execution: the log is cut and says so.
"""

import os
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Protocol

import structlog

from runyard.executions.output.model import Chunk, OutputSummary, Stream
from runyard.executions.output.redact import Bytes, Redactor, needles
from runyard.executions.output.segments import (
    PackWriter,
    Record,
    file_base,
    open_files,
    pack_records,
    slice_records,
    write_all,
)
from runyard.kernel.ids import ExecutionId

MEMORY_BYTES = 64 * 1024
_JOIN_MICROS = 20_000
"""Writes of one stream within this time share an index record."""

_log = structlog.get_logger(__name__)


class Home(Protocol):
    """What a writer needs of the log it belongs to."""

    root: Path
    packs: PackWriter

    def dirty(self, writer: "OutputWriter") -> None:
        """Flush this writer within a second."""
        ...

    def wake(self, execution_id: ExecutionId) -> None:
        """Wake those who follow."""
        ...

    def closed(self, writer: "OutputWriter", ref: str | None) -> None:
        """Note that the writer is closed."""
        ...


class OutputWriter:
    """Appends the output of one execution; made by `OutputLog.writer`. All methods are synchronous and quick."""

    __slots__ = (
        "_buffer",
        "_files",
        "_home",
        "_kept",
        "_limit",
        "_needles",
        "_records",
        "_redactors",
        "_total",
        "_truncated",
        "execution_id",
        "flushed",
        "summary",
    )

    def __init__(
        self, home: Home, execution_id: ExecutionId, secrets: Sequence[bytes], limit_bytes: int
    ) -> None:
        """Begin an empty log."""
        self._home = home
        self.execution_id = execution_id
        self._needles = needles(secrets) if secrets else ()
        self._redactors: dict[Stream, Redactor] = {}
        self._limit = limit_bytes
        self._total = 0
        self._kept = 0
        self._truncated = False
        self._buffer = bytearray()
        self._records: list[Record] = []
        self._files: tuple[int, int] | None = None
        self.flushed = 0
        """Bytes that are in the files."""
        self.summary: OutputSummary | None = None
        """Set once closed."""

    @property
    def kept(self) -> int:
        """Return the size of the log in bytes."""
        return self._kept

    def write(self, stream: Stream, data: Bytes) -> None:
        """Append bytes of a stream, masked. Copies what it keeps; what is past the limit is only counted.
        Raises ValueError when closed.
        """
        if self.summary is not None:
            raise ValueError("the log is closed")
        self._total += len(data)
        if self._kept >= self._limit:
            self._truncated = self._truncated or len(data) > 0
            return
        if self._needles:
            redactor = self._redactors.get(stream)
            if redactor is None:
                redactor = self._redactors[stream] = Redactor(self._needles)
            data = redactor.feed(data)
        self._append(stream, data)

    def add_secrets(self, secrets: Sequence[bytes]) -> None:
        """Mask these too from now on, for secrets that become known while it runs."""
        for stream, redactor in self._redactors.items():
            self._append(stream, redactor.finish())
        self._redactors.clear()
        self._needles = sorted({*self._needles, *needles(secrets)}, key=lambda value: (-len(value), value))

    def close(self) -> OutputSummary:
        """End the log: let go what was withheld, put it to its place, wake the readers. Idempotent."""
        if self.summary is not None:
            return self.summary
        for stream, redactor in self._redactors.items():
            self._append(stream, redactor.finish())
        ref = self._settle()
        self.summary = OutputSummary(self._total, self._kept, self._truncated, ref)
        self._home.closed(self, ref)
        return self.summary

    def flush(self) -> None:
        """Put what is in memory into the log's files."""
        if self._buffer:
            self._spill(b"")

    def read(self, offset: int, limit: int, stream: Stream | None) -> tuple[list[Chunk], int]:
        """Cut chunks from memory; `offset` must not lie in the files. See `slice_records`."""
        base = self.flushed
        return slice_records(
            self._records,
            lambda begin, length: bytes(self._buffer[begin - base : begin - base + length]),
            offset,
            limit,
            stream,
        )

    def unflushed(self) -> bytes:
        """Return the bytes that are only in memory."""
        return bytes(self._buffer)

    def _append(self, stream: Stream, data: Bytes) -> None:
        size = len(data)
        if not size:
            return
        room = self._limit - self._kept
        if size > room:
            data = memoryview(data)[:room]
            size = room
            self._truncated = True
        if size == 0:
            return
        self._index(stream, size)
        self._kept += size
        if len(self._buffer) + size > MEMORY_BYTES:
            self._spill(data)
        else:
            if not self._buffer:
                self._home.dirty(self)
            self._buffer += data
        self._home.wake(self.execution_id)

    def _index(self, stream: Stream, size: int) -> None:
        now = time.time_ns() // 1000
        if self._records:
            start, length, kind, micros = self._records[-1]
            if kind == stream and now - micros < _JOIN_MICROS:
                self._records[-1] = (start, length + size, kind, micros)
                return
        self._records.append((self._kept, size, int(stream), now))

    def _spill(self, data: Bytes) -> None:
        """Write memory and `data` into the files: bytes first, so that a record never tells of missing ones."""
        try:
            if self._files is None:
                self._files = open_files(file_base(self._home.root, self.execution_id))
            write_all(self._files[0], (self._buffer, data))
            write_all(self._files[1], (pack_records(self._records),))
            self.flushed = self._kept
        except OSError as error:
            self._fail(error)
        self._buffer = bytearray()
        self._records.clear()

    def _settle(self) -> str | None:
        files = self._files
        if files is not None:
            self.flush()
            for fd in files:
                os.close(fd)
            return "f"
        if not self._buffer:
            return None
        try:
            now = time.time_ns() // 1000
            ref = self._home.packs.append(self.execution_id, self._records, self._buffer, now)
        except OSError as error:
            self._fail(error)
            return None
        return ref

    def _fail(self, error: OSError) -> None:
        """Cut the log at what the files hold; the execution goes on."""
        _log.error("output.write_failed", execution_id=self.execution_id, error=str(error))
        self._kept = self._limit = self.flushed
        self._truncated = True
        if self._files is not None:
            with suppress(OSError):
                self._realign()

    def _realign(self) -> None:
        """Drop a half-written tail so that the files agree with `flushed`."""
        assert self._files is not None
        os.ftruncate(self._files[0], self.flushed)
