"""The yardstick: processes spawned with nothing between. Owns its children; no isolation, no server, no record."""

import asyncio
import contextlib
import os
from collections.abc import Sequence

ENVIRONMENT = {"PATH": "/usr/bin:/bin"}


def launch(argv: Sequence[str]) -> tuple[int, int, int]:
    """Spawn a command with both outputs on pipes; return its pid and the two read ends."""
    out_read, out_write = os.pipe2(os.O_CLOEXEC)
    err_read, err_write = os.pipe2(os.O_CLOEXEC)
    null = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
    actions = [
        (os.POSIX_SPAWN_DUP2, null, 0),
        (os.POSIX_SPAWN_DUP2, out_write, 1),
        (os.POSIX_SPAWN_DUP2, err_write, 2),
    ]
    pid = os.posix_spawn(argv[0], list(argv), ENVIRONMENT, file_actions=actions)
    for end in (out_write, err_write, null):
        os.close(end)
    return pid, out_read, err_read


def run(argv: Sequence[str]) -> int:
    """Run a command, read both outputs to their end, and return its exit status."""
    pid, out, err = launch(argv)
    for end in (out, err):
        while os.read(end, 65_536):
            pass
        os.close(end)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


class Loop:
    """Keeps a number of commands running from one asyncio event loop, as a server without isolation would."""

    def __init__(self, argv: Sequence[str], seconds: float) -> None:
        """Prepare; nothing runs yet."""
        self._argv, self._seconds = argv, seconds
        self._loop = asyncio.get_running_loop()
        self._open: dict[int, int] = {}
        self._deadline = 0.0
        self._idle = asyncio.Event()
        self.done = 0

    async def run(self, concurrency: int) -> float:
        """Run for the time and return the ends per second."""
        self._deadline = self._loop.time() + self._seconds
        for _ in range(concurrency):
            self._begin()
        await self._idle.wait()
        return self.done / self._seconds

    def _begin(self) -> None:
        pid, out, err = launch(self._argv)
        self._open[pid] = 3
        for end in (out, err, os.pidfd_open(pid)):
            self._loop.add_reader(end, self._readable, end, pid)

    def _readable(self, end: int, pid: int) -> None:
        with contextlib.suppress(OSError):  # a pidfd cannot be read: that it is readable means the end
            if os.read(end, 65_536):
                return
        self._loop.remove_reader(end)
        os.close(end)
        self._open[pid] -= 1
        if self._open[pid]:
            return
        del self._open[pid]
        os.waitpid(pid, 0)
        if self._loop.time() < self._deadline:
            self.done += 1
            self._begin()
        elif not self._open:
            self._idle.set()


def loop(argv: Sequence[str], concurrency: int, seconds: float) -> float:
    """Keep a number of commands running for a time and return the ends per second."""

    async def run() -> float:
        return await Loop(argv, seconds).run(concurrency)

    return asyncio.run(run())
