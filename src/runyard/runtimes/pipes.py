"""Pipes and terminals between a command and its caller. Owns descriptors and non-blocking transfers; judges nothing."""

import asyncio
import errno
import fcntl
import os
import struct
import termios
from dataclasses import dataclass

READ_SIZE = 64 << 10
_ENDED = (errno.EPIPE, errno.EIO, errno.ECONNRESET)


def close_all(*fds: int) -> None:
    """Close descriptors; negative ones stand for none."""
    for fd in fds:
        if fd >= 0:
            os.close(fd)


@dataclass(slots=True)
class Ends:
    """The descriptors of one command: the child's three and the caller's three; -1 where there is none."""

    child_in: int
    child_out: int
    child_err: int
    stdin: int = -1
    stdout: int = -1
    stderr: int = -1
    shared_in: bool = False
    """`child_in` belongs to somebody else."""

    def close_child(self) -> None:
        """Close what the child has its own copies of."""
        child = (
            {self.child_out, self.child_err}
            if self.shared_in
            else {self.child_in, self.child_out, self.child_err}
        )
        close_all(*child)
        self.child_in = self.child_out = self.child_err = -1

    def close_stdin(self) -> None:
        """Tell the reader of the input that there is none."""
        close_all(self.stdin)
        self.stdin = -1

    def close(self) -> None:
        """Close the caller's ends."""
        close_all(*{self.stdin, self.stdout, self.stderr})
        self.stdin = self.stdout = self.stderr = -1


def make_ends(devnull: int, *, with_stdin: bool) -> Ends:
    """Return pipes for a command; without `with_stdin` its input is `devnull`, which stays the caller's."""
    child_in, stdin = (devnull, -1) if not with_stdin else os.pipe2(os.O_CLOEXEC)
    stdout, child_out = os.pipe2(os.O_CLOEXEC)
    stderr, child_err = os.pipe2(os.O_CLOEXEC)
    return Ends(child_in, child_out, child_err, stdin, stdout, stderr, shared_in=not with_stdin)


class Feeder:
    """Writes to the input of a command without blocking; input that nobody reads is dropped without an error."""

    def __init__(self, fd: int) -> None:
        """Own the descriptor until `close`."""
        os.set_blocking(fd, False)
        self._fd = fd
        self._loop = asyncio.get_running_loop()
        self._turn = asyncio.Lock()
        self._waiting: asyncio.Future[None] | None = None

    @property
    def open(self) -> bool:
        """Tell whether somebody may still read."""
        return self._fd >= 0

    async def write(self, data: bytes) -> None:
        """Write all of it, waiting while the reader is busy; return early when the reader is gone."""
        async with self._turn:
            view = memoryview(data)
            while view and self._fd >= 0:
                try:
                    view = view[os.write(self._fd, view) :]
                except BlockingIOError:
                    await self._writable()
                except OSError as error:
                    if error.errno not in _ENDED:
                        raise
                    self.close()

    async def write_and_close(self, data: bytes) -> None:
        """Write all of it, then tell the reader that this was all."""
        try:
            await self.write(data)
        finally:
            self.close()

    async def _writable(self) -> None:
        waiting = self._loop.create_future()
        self._waiting = waiting
        self._loop.add_writer(self._fd, _set, waiting)
        try:
            await waiting
        finally:
            self._waiting = None
            if self._fd >= 0:
                self._loop.remove_writer(self._fd)

    def close(self) -> None:
        """Close the descriptor and let a waiting writer go; idempotent."""
        if self._fd < 0:
            return
        if self._waiting is not None:
            self._loop.remove_writer(self._fd)
            _set(self._waiting)
        os.close(self._fd)
        self._fd = -1


class Source:
    """Reads the output of a command piece by piece, no faster than its taker asks."""

    def __init__(self, fd: int) -> None:
        """Own the descriptor until the end of the stream or `close`."""
        os.set_blocking(fd, False)
        self._fd = fd
        self._loop = asyncio.get_running_loop()
        self._waiting: asyncio.Future[None] | None = None

    async def read(self) -> bytes:
        """Return up to 64 KiB as soon as there is something; empty at the end."""
        while self._fd >= 0:
            try:
                data = os.read(self._fd, READ_SIZE)
            except BlockingIOError:
                await self._readable()
                continue
            except OSError as error:
                # EIO is how a terminal tells that nobody is left on its other side.
                if error.errno not in _ENDED:
                    raise
                data = b""
            if not data:
                self.close()
            return data
        return b""

    def detach(self) -> int:
        """Give the descriptor away; -1 when the stream has ended."""
        if self._waiting is not None:
            self._loop.remove_reader(self._fd)
            _set(self._waiting)
        fd, self._fd = self._fd, -1
        return fd

    async def _readable(self) -> None:
        waiting = self._loop.create_future()
        self._waiting = waiting
        self._loop.add_reader(self._fd, _set, waiting)
        try:
            await waiting
        finally:
            self._waiting = None
            if self._fd >= 0:
                self._loop.remove_reader(self._fd)

    def close(self) -> None:
        """Stop reading; a waiting `read` returns empty. Idempotent."""
        if self._fd < 0:
            return
        if self._waiting is not None:
            self._loop.remove_reader(self._fd)
            _set(self._waiting)
        os.close(self._fd)
        self._fd = -1


def _set(waiting: "asyncio.Future[None]") -> None:
    if not waiting.done():
        waiting.set_result(None)


def set_size(terminal: int, rows: int, columns: int) -> None:
    """Give a terminal its size; its foreground processes are told by the kernel."""
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("=HHHH", rows, columns, 0, 0))
