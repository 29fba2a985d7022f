"""The wire to launcher and agents: datagrams with descriptors. Owns the format, which native/common.h mirrors, and a
channel that never blocks the loop; knows nothing of what the messages mean.
"""

import asyncio
import contextlib
import enum
import os
import socket
import struct
from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple

INLINE_MAX = 32_768
"""Payloads beyond this travel in a memfd."""
_FDS_MAX = 8
_REQUEST = struct.Struct("=IIiii")
_REPLY = struct.Struct("=IIiiQQQ")
_ANCILLARY = socket.CMSG_SPACE(_FDS_MAX * 4)
_REPLY_ROOM = 2048
_BURST = 64


class Op(enum.IntEnum):
    """Requests."""

    CREATE = 1
    KILL = 2
    BUILD = 15
    GO = 16
    IDENTITY = 17
    SPAWN = 18
    SIGNAL = 19
    OPEN = 20
    CREATE_FILE = 21
    RENAME = 22
    UNLINK = 23
    TERMINAL = 24
    LISTEN = 25
    SWEEP = 26


class Re(enum.IntEnum):
    """Answers and notices."""

    OK = 1
    FAILED = 2
    READY = 3
    STARTED = 4
    EXITED = 5
    FILE = 6
    TERMINAL = 7
    LISTENER = 8


class Stage(enum.IntEnum):
    """Where a request failed."""

    SETUP = 1
    FORK = 2
    RESOURCES = 3
    CWD = 4
    EXEC = 5
    PATH = 6
    NOT_FILE = 7
    HELPER = 8


SPAWN_TTY = 1
FLAG_MEMFD = 2
FLAG_CGROUP = 4
SPAWN_GATED = 8
SPAWN_BRIEF = 16
EXTRA_FD = 9
"""Number that the fourth descriptor of a spawn gets."""


class Reply(NamedTuple):
    """One message from launcher or agent; whoever handles it owns `fds`."""

    op: int
    id: int
    a: int
    b: int
    c: int
    d: int
    e: int
    text: bytes
    fds: list[int]


class Failed(Exception):
    """The other side could not do it."""

    def __init__(self, stage: int, error: int, what: str) -> None:
        """Carry the stage, the errno and what was tried."""
        self.stage, self.error, self.what = stage, error, what
        super().__init__(f"{what}: {os.strerror(error)}" if what else os.strerror(error))


class Gone(Exception):
    """The other side has closed the channel."""


class Channel:
    """One end of a SOCK_SEQPACKET pair on the running loop."""

    def __init__(
        self, sock: socket.socket, on_reply: Callable[[Reply], None], on_gone: Callable[[], None]
    ) -> None:
        """Take over the socket; `on_gone` is called once when the other side closes, not after `close`."""
        sock.setblocking(False)
        self._sock: socket.socket | None = sock
        self._fd = sock.fileno()
        self._loop = asyncio.get_running_loop()
        self._on_reply = on_reply
        self._on_gone = on_gone
        self._queue: deque[tuple[list[bytes], list[int]]] = deque()
        self._loop.add_reader(self._fd, self._readable)

    @property
    def closed(self) -> bool:
        """Tell whether this end is closed."""
        return self._sock is None

    def send(
        self,
        op: Op,
        request_id: int,
        numbers: tuple[int, int, int] = (0, 0, 0),
        payload: bytes = b"",
        fds: Sequence[int] = (),
    ) -> None:
        """Send now or, when the other side is slow, in order later. The descriptors stay the caller's, who may close
        them at once. Raises Gone, OSError (no descriptor left).
        """
        if self._sock is None:
            raise Gone
        first, second, third = numbers
        memfd = -1
        try:
            if len(payload) > INLINE_MAX:
                memfd = _in_memory(payload)
                first, payload, fds = first | FLAG_MEMFD, b"", [memfd, *fds]
            parts = [_REQUEST.pack(op, request_id, first, second, third), payload]
            if self._queue or not self._try_send(parts, fds):
                self._enqueue(parts, fds)
        finally:
            if memfd >= 0:
                os.close(memfd)

    def close(self) -> None:
        """Close this end; queued messages are dropped."""
        if self._sock is None:
            return
        self._loop.remove_reader(self._fd)
        if self._queue:
            self._loop.remove_writer(self._fd)
        for _, fds in self._queue:
            _close_all(fds)
        self._queue.clear()
        self._sock.close()
        self._sock = None

    def _enqueue(self, parts: list[bytes], fds: Sequence[int]) -> None:
        if not self._queue:
            self._loop.add_writer(self._fd, self._writable)
        self._queue.append((parts, [os.dup(fd) for fd in fds]))

    def _try_send(self, parts: list[bytes], fds: Sequence[int]) -> bool:
        assert self._sock is not None
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack(f"={len(fds)}i", *fds))] if fds else []
        try:
            self._sock.sendmsg(parts, rights, socket.MSG_NOSIGNAL)
        except BlockingIOError:
            return False
        except (BrokenPipeError, ConnectionResetError):
            raise Gone from None
        return True

    def _writable(self) -> None:
        try:
            while self._queue and self._try_send(*self._queue[0]):
                _close_all(self._queue.popleft()[1])
        except Gone:
            return  # the reader finds out too, and tells
        if not self._queue:
            self._loop.remove_writer(self._fd)

    def _readable(self) -> None:
        for _ in range(_BURST):
            if self._sock is None:
                return
            try:
                data, ancillary, _, _ = self._sock.recvmsg(_REPLY_ROOM, _ANCILLARY, socket.MSG_CMSG_CLOEXEC)
            except BlockingIOError:
                return
            except (ConnectionResetError, BrokenPipeError):
                data, ancillary = b"", []
            if not data:
                self.close()
                self._on_gone()
                return
            fds = _descriptors(ancillary) if ancillary else []
            op, reply_id, a, b, c, d, e = _REPLY.unpack_from(data)
            self._on_reply(Reply(op, reply_id, a, b, c, d, e, data[_REPLY.size :], fds))


def seqpacket_pair() -> tuple[socket.socket, socket.socket]:
    """Return a connected pair that keeps message boundaries."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def fields(*values: str | bytes) -> bytes:
    """Join values into a payload, each ended by NUL. Raises ValueError when one contains NUL or cannot be encoded."""
    encoded = [value if isinstance(value, bytes) else os.fsencode(value) for value in values]
    encoded.append(b"")
    joined = b"\0".join(encoded)
    if joined.count(b"\0") != len(values):
        raise ValueError("a NUL character")
    return joined


def close_fds(fds: Sequence[int]) -> None:
    """Close descriptors that nobody wants any more."""
    _close_all(fds)


def _descriptors(ancillary: Sequence[tuple[int, int, bytes]]) -> list[int]:
    return [
        fd
        for level, kind, raw in ancillary
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS
        for fd in struct.unpack(f"={len(raw) // 4}i", raw[: len(raw) // 4 * 4])
    ]


def _close_all(fds: Sequence[int]) -> None:
    for fd in fds:
        with contextlib.suppress(OSError):
            os.close(fd)


def _in_memory(payload: bytes) -> int:
    fd = os.memfd_create("runyard-request")
    view = memoryview(payload)
    while view:
        view = view[os.write(fd, view) :]
    return fd
