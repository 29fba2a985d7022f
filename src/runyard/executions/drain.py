"""Draining of pipes. Owns how the bytes of a command get from its pipes to the caller and into the log.

The caller who ran the command gets the first bytes as they are; what is kept goes through the masked log. Memory is
flat whatever the command prints: one buffer for all pipes of the process, a bounded head for each stream.
"""

import asyncio
import fcntl
import os
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final

from runyard.executions.output.model import Stream
from runyard.executions.output.writer import OutputWriter

PIPE_BYTES: Final = 1 << 20
_PIPE_DEFAULT: Final = 1 << 16
QUIET_SECONDS: Final = 0.25
_TURNS: Final = 4
"""Reads of one pipe in a row before the loop gets its turn."""
_REST_TURNS: Final = 32
"""Reads of a pipe whose writer has ended; somebody who writes on without end must not hold the loop."""

_buffer = bytearray(PIPE_BYTES)
_view = memoryview(_buffer)
# One buffer for every pipe: it is filled and emptied within one call, and the loop makes one call at a time.


def widen(fd: int) -> None:
    """Make a pipe hold 1 MiB, so that the command waits less; silently nothing where the user's quota is used up."""
    with suppress(OSError):
        fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, PIPE_BYTES)


class Head:
    """The first bytes of one stream, as they were written."""

    __slots__ = ("data", "limit", "total")

    def __init__(self, limit: int) -> None:
        """Keep at most `limit` bytes."""
        self.data = bytearray()
        self.limit = limit
        self.total = 0
        """Bytes seen, kept or not."""

    @property
    def truncated(self) -> bool:
        """Tell whether there were more than are kept."""
        return self.total > len(self.data)

    def take(self, data: memoryview) -> None:
        """Note some bytes."""
        self.total += len(data)
        room = self.limit - len(self.data)
        if room > 0:
            self.data += data[:room]


class HeadTail(Head):
    """The first and the last bytes of one stream, half of the limit each."""

    __slots__ = ("_half", "_tail")

    def __init__(self, limit: int) -> None:
        """Keep at most `limit` bytes."""
        super().__init__(limit)
        self._half = limit // 2
        self._tail = bytearray()

    @property
    def truncated(self) -> bool:
        """Tell whether there were more than are kept."""
        return self.total > self.limit

    def take(self, data: memoryview) -> None:
        """Note some bytes."""
        self.total += len(data)
        room = self._half - len(self.data)
        if room > 0:
            self.data += data[:room]
            data = data[room:]
        keep = self.limit - self._half
        if len(data) >= keep:
            self._tail[:] = data[len(data) - keep :]
        elif data:
            self._tail += data
            # Cut seldom: what is over costs a copy of the rest each time.
            if len(self._tail) > 2 * keep:
                del self._tail[: len(self._tail) - keep]

    def parts(self) -> tuple[bytes, int, bytes]:
        """Return the head, how many bytes were left out after it, and the tail."""
        tail = bytes(self._tail[max(0, len(self._tail) - (self.limit - self._half)) :])
        return bytes(self.data), self.total - len(self.data) - len(tail), tail


class Drain:
    """Reads the pipes of one command until they end.

    `finished` returns at the end of all pipes, or when the command has ended and its pipes were quiet for 250 ms:
    a process that it left in the background may hold them for ever. Those pipes are then read to nowhere (still
    counted) so that the background process neither blocks nor dies of a broken pipe, until it ends or `close`.
    """

    def __init__(
        self,
        writer: OutputWriter | None = None,
        *,
        late_writer: Callable[[], OutputWriter] | None = None,
    ) -> None:
        """Copy everything into a log when there is one, or one is made for the first bytes. Use within a running
        event loop.
        """
        self._writer = writer
        self._late_writer = late_writer
        self._reading = False
        self._loop = asyncio.get_running_loop()
        self._open: dict[int, tuple[Stream, Head]] = {}
        self._ended: asyncio.Future[None] | None = None
        self._last_read = self._loop.time()
        self.bytes_read = 0

    def add(self, fd: int, stream: Stream, *, head_limit: int = 0) -> Head:
        """Read a pipe or terminal; the descriptor belongs to the drain from now on. Return the head that fills."""
        head = self.own(fd, stream, head_limit=head_limit)
        self._reading = True
        self._loop.add_reader(fd, self._readable, fd)
        return head

    def own(self, fd: int, stream: Stream, *, head_limit: int = 0, head: Head | None = None) -> Head:
        """Take over a pipe that is not read before `read` or `take_rest`. Return the head that fills."""
        head = head or Head(head_limit)
        os.set_blocking(fd, False)
        self._open[fd] = (stream, head)
        return head

    def take_rest(self) -> bool:
        """Read what is there without waiting. Return whether that was all: every pipe has ended."""
        for fd in list(self._open):
            for _ in range(_REST_TURNS):
                if not self._take(fd):
                    break
        return not self._open

    def read(self) -> None:
        """Read as it comes what was taken over by `own`."""
        self._reading = True
        for fd in self._open:
            self._loop.add_reader(fd, self._readable, fd)

    async def finished(self, child: Awaitable[object] | None = None) -> bool:
        """Wait for the end of all pipes, or for `child` to end and 250 ms of quiet after that.
        Return False when a pipe was still held. Afterwards nothing more goes into heads and log.
        """
        if not self._open:
            return True
        ended = self._ended = self._loop.create_future()
        if child is None:
            await ended
            return True
        waiting = asyncio.ensure_future(child)
        await asyncio.wait((ended, waiting), return_when=asyncio.FIRST_COMPLETED)
        self._last_read = max(self._last_read, self._loop.time())
        while not ended.done():
            left = self._last_read + QUIET_SECONDS - self._loop.time()
            if left <= 0:
                break
            await asyncio.wait((ended,), timeout=left)
        if ended.done():
            return True
        self._hand_over()
        return False

    def close(self) -> None:
        """Stop reading and close what is open; whoever still writes gets a broken pipe."""
        for fd in list(self._open):
            self._end(fd)

    def _readable(self, fd: int) -> None:
        for _ in range(_TURNS):
            if self._take(fd) < 4096:
                return

    def _take(self, fd: int) -> int:
        """Read once. Return how many bytes came; 0 when there are none now, or the pipe has ended and is closed."""
        stream, head = self._open[fd]
        try:
            count = os.readv(fd, (_buffer,))
        except BlockingIOError:
            return 0
        except OSError:  # EIO: the other end of a terminal is gone
            count = 0
        if count == 0:
            self._end(fd)
            return 0
        data = _view[:count]
        if count == _PIPE_DEFAULT:  # full: this one prints a lot; most never do and are spared the call
            widen(fd)
        self.bytes_read += count
        if len(head.data) < head.limit:
            head.take(data)
        else:
            head.total += count
        if self._writer is None and self._late_writer is not None:
            self._writer = self._late_writer()
        if self._writer is not None:
            self._writer.write(stream, data)
        self._last_read = self._loop.time()
        return count

    def _end(self, fd: int) -> None:
        if self._reading:
            self._loop.remove_reader(fd)
        os.close(fd)
        del self._open[fd]
        if not self._open and self._ended is not None and not self._ended.done():
            self._ended.set_result(None)

    def _hand_over(self) -> None:
        """Leave the pipes that are still held to `_discard`."""
        for fd in list(self._open):
            self._loop.remove_reader(fd)
            self._loop.add_reader(fd, self._discard, fd)
        self._writer = self._late_writer = None

    def _discard(self, fd: int) -> None:
        try:
            count = os.readv(fd, (_buffer,))
        except BlockingIOError:
            return
        except OSError:
            count = 0
        if count == 0:
            self._end(fd)
        self.bytes_read += count
