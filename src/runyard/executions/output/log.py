"""The output log of all executions. Owns who writes and who follows; the ledger tells where an old log lies.

Readers hold only an offset: a hundred of them cost nothing more than one. A reader subscribes before it reads what
is there, so nothing falls between the two, and goes on by offset, so nothing comes twice.
"""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from pathlib import Path

import msgspec

from runyard.executions.output.model import Chunk, OutputLocation, SearchResult, Stream
from runyard.executions.output.retention import Sweeper, SweepReport
from runyard.executions.output.search import Query, search
from runyard.executions.output.segments import FileLog, PackedLog, PackWriter, cut_torn_tail, file_base
from runyard.executions.output.writer import OutputWriter
from runyard.kernel.errors import InvalidArgument
from runyard.kernel.ids import ExecutionId

Locate = Callable[[ExecutionId], Awaitable[OutputLocation]]

_RECENT = 8_192
_FLUSH_SECONDS = 1.0
_FOLLOW_BYTES = 64 * 1024
_MAX_READ_BYTES = 8 << 20


class OutputOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Limits of the log."""

    limit_bytes: int = 64 << 20
    """Bytes of one execution that are kept: the first ones."""
    retention_age: timedelta | None = timedelta(days=30)
    """Logs that ended longer ago are removed; None keeps them."""
    retention_bytes: int | None = 20 << 30
    """Above this total the oldest logs are removed; None means no bound."""


class OutputLog:
    """The logs below one folder. Use within one event loop."""

    def __init__(self, root: Path, options: OutputOptions | None = None) -> None:
        """Use a folder; it is made with the first log."""
        self.root = root
        self.options = options or OutputOptions()
        self.packs = PackWriter(root)
        self.locate: Locate | None = None
        """How a log that is neither open nor recent is found; set by the ledger's service."""
        self._writers: dict[ExecutionId, OutputWriter] = {}
        self._recent: OrderedDict[ExecutionId, str | None] = OrderedDict()
        self._waiters: dict[ExecutionId, list[asyncio.Future[None]]] = {}
        self._dirty: set[OutputWriter] = set()
        self._timer: asyncio.TimerHandle | None = None

    def writer(
        self, execution_id: ExecutionId, *, secrets: Sequence[bytes] = (), limit_bytes: int | None = None
    ) -> OutputWriter:
        """Begin the log of an execution; `secrets` are masked (see `redact`). One writer at a time."""
        if execution_id in self._writers:
            raise InvalidArgument("the log is being written already")
        limit = self.options.limit_bytes if limit_bytes is None else limit_bytes
        writer = OutputWriter(self, execution_id, secrets, limit)
        self._writers[execution_id] = writer
        return writer

    async def read(
        self, execution_id: ExecutionId, offset: int = 0, limit: int = 1 << 20, stream: Stream | None = None
    ) -> Sequence[Chunk]:
        """Return chunks from `offset` on, together at most `limit` bytes (at most 8 MiB); empty at the end of what
        there is now. Raises OutputGone, ExecutionNotFound.
        """
        if offset < 0 or limit < 1:
            raise InvalidArgument("offset must not be negative, and limit must be positive")
        chunks: list[Chunk] = []
        left = min(limit, _MAX_READ_BYTES)
        while left > 0:
            more, position, _ = await self._slice(execution_id, offset, left, stream)
            chunks += more
            left -= sum(len(chunk.data) for chunk in more)
            if position == offset:
                break
            offset = position
        return chunks

    async def follow(
        self, execution_id: ExecutionId, offset: int = 0, stream: Stream | None = None
    ) -> AsyncIterator[Chunk]:
        """Yield chunks from `offset` on as they come, until the log is closed; also before the execution began.
        A reader that is slow misses nothing: it reads from the file. Raises OutputGone, ExecutionNotFound.
        """
        while True:
            waiter = self._subscribe(execution_id)
            try:
                chunks, position, closed = await self._slice(execution_id, offset, _FOLLOW_BYTES, stream)
                if position == offset:
                    if closed:
                        return
                    await waiter
            finally:
                self._unsubscribe(execution_id, waiter)
            for chunk in chunks:
                yield chunk
            offset = position

    async def search(
        self,
        execution_id: ExecutionId,
        text: str,
        *,
        ignore_case: bool = False,
        limit: int = 100,
        cursor: str | None = None,
    ) -> SearchResult:
        """Find the lines that contain a text: an exact count, and a page of hits in order. Reads in a thread.
        Raises InvalidArgument (empty text, bad cursor), OutputGone, ExecutionNotFound.
        """
        query = Query.parse(text, ignore_case=ignore_case, limit=limit, cursor=cursor)
        writer = self._writers.get(execution_id)
        if writer is not None:
            if writer.flushed == 0:
                data = writer.unflushed()
                return search(query, lambda start, length: data[start : start + length], len(data))
            writer.flush()
            return await asyncio.to_thread(self._search_file, execution_id, query, writer.flushed)
        ref, _ = await self._find(execution_id)
        if ref is None:
            return SearchResult(0, ())
        if ref == "f":
            return await asyncio.to_thread(self._search_file, execution_id, query, None)
        packed = PackedLog(self.root, ref, execution_id).data
        return search(query, lambda start, length: packed[start : start + length], len(packed))

    def settle(self, execution_id: ExecutionId, ref: str | None) -> None:
        """Note that an execution has ended, with or without a log, and let its followers go."""
        writer = self._writers.get(execution_id)
        if writer is not None:
            writer.close()
        else:
            self._remember(execution_id, ref)
        self.wake(execution_id)

    def recover(self, execution_id: ExecutionId) -> tuple[str | None, int]:
        """Close the log of an execution whose server was killed; return where it lies and its size."""
        size = cut_torn_tail(file_base(self.root, execution_id))
        ref = "f" if size else None
        self.settle(execution_id, ref)
        return ref, size

    def flush(self) -> None:
        """Put everything that is in memory into files."""
        for writer in list(self._dirty):
            if writer.summary is None:
                writer.flush()
        self._dirty.clear()

    def close(self) -> None:
        """Close all logs and wake everyone who follows."""
        for writer in list(self._writers.values()):
            writer.close()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.packs.close()

    def is_open(self, name: str) -> bool:
        """Tell whether the log of this execution, or the pack of this name, is being written."""
        return name in self._writers or name == self.packs.name

    async def sweep(self, now: datetime) -> SweepReport:
        """Remove logs by the retention of the options."""
        age = self.options.retention_age
        return await Sweeper(self.root, self.is_open).sweep(
            older_than=None if age is None else now - age, max_bytes=self.options.retention_bytes
        )

    def dirty(self, writer: OutputWriter) -> None:
        """Flush this writer within a second, so that a kill loses no more."""
        self._dirty.add(writer)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_FLUSH_SECONDS, self._flush_due)

    def wake(self, execution_id: ExecutionId) -> None:
        """Wake those who follow this log."""
        waiters = self._waiters.pop(execution_id, None)
        for waiter in waiters or ():
            if not waiter.done():
                waiter.set_result(None)

    def closed(self, writer: OutputWriter, ref: str | None) -> None:
        """Take a writer off the books."""
        self._writers.pop(writer.execution_id, None)
        self._dirty.discard(writer)
        self._remember(writer.execution_id, ref)
        self.wake(writer.execution_id)

    def _flush_due(self) -> None:
        self._timer = None
        self.flush()

    def _remember(self, execution_id: ExecutionId, ref: str | None) -> None:
        """Keep the place of a closed log until the ledger has it; far more than can be in flight."""
        self._recent[execution_id] = ref
        if len(self._recent) > _RECENT:
            self._recent.popitem(last=False)

    def _subscribe(self, execution_id: ExecutionId) -> asyncio.Future[None]:
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.setdefault(execution_id, []).append(waiter)
        return waiter

    def _unsubscribe(self, execution_id: ExecutionId, waiter: asyncio.Future[None]) -> None:
        waiters = self._waiters.get(execution_id)
        if waiters is not None and waiter in waiters:
            waiters.remove(waiter)
            if not waiters:
                del self._waiters[execution_id]

    async def _find(self, execution_id: ExecutionId) -> tuple[str | None, bool]:
        """Return the place of a log that is not open, and whether it is closed for good."""
        if execution_id in self._recent:
            return self._recent[execution_id], True
        if self.locate is None:
            return None, False
        location = await self.locate(execution_id)
        return location.ref, location.closed

    async def _slice(
        self, execution_id: ExecutionId, offset: int, limit: int, stream: Stream | None
    ) -> tuple[list[Chunk], int, bool]:
        """Read once from wherever the offset lies; return chunks, the next offset, and whether no more will come."""
        writer = self._writers.get(execution_id)
        ref: str | None = "f"
        if writer is None:
            ref, closed = await self._find(execution_id)
            writer = self._writers.get(execution_id)  # it may have begun while the ledger was asked
        if writer is not None:
            if offset >= writer.flushed:
                return *writer.read(offset, limit, stream), False
            return *self._read_file(execution_id, offset, limit, stream, writer.flushed), False
        if ref is None:
            return [], offset, closed
        if ref == "f":
            return *self._read_file(execution_id, offset, limit, stream, None), closed
        return *PackedLog(self.root, ref, execution_id).read(offset, limit, stream), closed

    def _read_file(
        self, execution_id: ExecutionId, offset: int, limit: int, stream: Stream | None, size: int | None
    ) -> tuple[list[Chunk], int]:
        log = FileLog(file_base(self.root, execution_id), size)
        try:
            return log.read(offset, limit, stream)
        finally:
            log.close()

    def _search_file(self, execution_id: ExecutionId, query: Query, size: int | None) -> SearchResult:
        log = FileLog(file_base(self.root, execution_id), size)
        try:
            return search(query, log.get, log.size)
        finally:
            log.close()
